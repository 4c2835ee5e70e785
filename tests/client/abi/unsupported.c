// SPDX-License-Identifier: GPL-2.0
/*
 * Where pmap must say no as a whole: a controller of another transport, or the
 * stock driver (unsupported), and a guest whose DMA bounces, or a device that the
 * kernel does not trust (bounce).
 */
#include <fcntl.h>
#include <unistd.h>

#include "lib/util.h"

static bool stock_io(struct io_uring *ring, const struct dev *dev, struct mem *mem)
{
	uint32_t len = 8 * dev->block;

	pattern_fill(mem->map, dev->block, 11, 8, 4);
	if (!CHECK_RET(run_stock(ring, dev, OP_WRITE, mem->map, len, 11), 0, "stock write"))
		return false;
	poison(mem->map, mem->len);
	return CHECK_RET(run_stock(ring, dev, OP_READ, mem->map, len, 11), 0, "stock read") &&
	       CHECK(pattern_verify(mem->map, dev->block, 11, 8, 4, "stock"), "stock data");
}

static void notty(void)
{
	struct mem mem = { .fd = -1 };
	struct nvme_pmap_query q;
	struct nvme_pmap_stats st;
	struct nvme_pmap_cmd cmd;
	struct io_uring ring;
	struct dev dev;
	uint32_t index;

	if (!dev_open(&dev, NULL, O_RDWR) || !mem_alloc(&mem, MEM_4K, 16 * PAGE) ||
	    !ring_open(&ring, MODE_IRQ, 8))
		goto out;
	CHECK_RET(nvme_pmap_query_file(dev.fd, &q), -ENOTTY, "query");
	CHECK_RET(nvme_pmap_stats_file(dev.fd, &st), -ENOTTY, "stats");
	CHECK_RET(nvme_pmap_register_buf(dev.fd, mem.map, PAGE, 0, &index), -ENOTTY, "register");
	CHECK_RET(nvme_pmap_unregister_buf(dev.fd, 0), -ENOTTY, "unregister");
	cmd = cmd_rw(&dev, OP_READ, 0, 0, PAGE, 0);
	CHECK_RET(run_cmd(&ring, dev.fd, &cmd), -ENOTTY, "pmap command");
	stock_io(&ring, &dev, &mem);
	io_uring_queue_exit(&ring);
out:
	mem_free(&mem);
	dev_close(&dev);
}

static const struct test_case unsupported_cases[] = { { "notty", notty } };

SUBJECT(unsupported);

/* Every kind of memory would bounce, or might, and none is taken. */
static void refused(void)
{
	struct nvme_pmap_query q;
	struct io_uring ring;
	struct dev dev;
	struct mem mem;
	uint32_t index;
	int kind;

	if (!dev_open(&dev, NULL, O_RDWR) || !ring_open(&ring, MODE_IRQ, 8))
		return;
	for (kind = 0; kind < NR_MEM_KINDS; kind++) {
		if (!mem_alloc(&mem, (enum mem_kind)kind, MIB(2)))
			continue;
		CHECK_RET(nvme_pmap_register_buf(dev.fd, mem.map, PAGE, 0, &index), -ENXIO,
			  "%s, a page", mem_names[kind]);
		CHECK_RET(nvme_pmap_register_buf(dev.fd, mem.map, MIB(1), 0, &index), -ENXIO,
			  "%s, 1 MiB", mem_names[kind]);
		CHECK(status_kib(getpid(), "VmPin") == 0, "%s stays pinned", mem_names[kind]);
		stock_io(&ring, &dev, &mem);
		mem_free(&mem);
	}
	if (CHECK_RET(nvme_pmap_query_file(dev.fd, &q), 0, "query"))
		CHECK(!q.nr_pmaps && !q.pinned && !q.list_bytes,
		      "%u buffers, %llu pinned, %llu kept left", q.nr_pmaps, q.pinned,
		      q.list_bytes);
	io_uring_queue_exit(&ring);
	dev_close(&dev);
}

/* 300 refusals of 4 MiB each: a leaked bounce slot would use up all 64 MiB. */
static void no_leak(void)
{
	struct mem mem = { .fd = -1 };
	struct io_uring ring;
	struct dev dev;
	uint32_t index;
	int i;

	if (!dev_open(&dev, NULL, O_RDWR) || !mem_alloc(&mem, MEM_4K, MIB(4)) ||
	    !ring_open(&ring, MODE_IRQ, 8))
		goto out;
	for (i = 0; i < 300; i++)
		if (!CHECK_RET(nvme_pmap_register_buf(dev.fd, mem.map, mem.len, 0, &index), -ENXIO,
			       "registration %d", i))
			break;
	stock_io(&ring, &dev, &mem);
	io_uring_queue_exit(&ring);
out:
	mem_free(&mem);
	dev_close(&dev);
}

static const struct test_case bounce_cases[] = {
	{ "refused", refused },
	{ "no-leak", no_leak },
};

SUBJECT(bounce);
