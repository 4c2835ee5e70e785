// SPDX-License-Identifier: GPL-2.0
/*
 * Namespaces that go, come back, and change their format under load.  -d names
 * a controller with two of them; the load on the first must not notice changes of
 * the second.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/storm.h"

static unsigned int rounds(unsigned int usual) { return opt.rounds ? opt.rounds : usual; }

static const char *ns_name(unsigned int nsid)
{
	static char name[2][64];

	snprintf(name[nsid & 1], sizeof(name[0]), "%s:%u", opt.dev, nsid);
	return name[nsid & 1];
}

static int open_ctrl(void)
{
	int fd = ctrl_open(opt.dev);

	CHECK(fd >= 0, "no controller %s: %s", opt.dev, strerror(errno));
	return fd;
}

/* ---- detach and attach ---- */

static bool attach(int fd, bool on)
{
	return CHECK_RET(ns_attach(fd, 2, on), 0, on ? "attach" : "detach");
}

/* Buffers in the PRP form, while a command may change a format; nothing else. */
static const int by_admin[] = { -EBUSY, 0 };

/* The controller does not know the namespace, or the driver no longer does. */
static const int by_detach[] = {
	-ENODEV, -EINTR, -EIO,	 -EAGAIN, -ENXIO, -EBUSY, 0xb, 0x400b, /* invalid namespace */
	0x2,	 0x4002, /* invalid field: QEMU's word for an inactive one */
	0x370,	 0x371,	 0x4370, 0x4371,  0,
};

static int read_block(struct io_uring *ring, const struct stream *st)
{
	static unsigned char page[PAGE] __attribute__((aligned(PAGE)));

	return opt.door ? run_stock(ring, &st->dev, OP_READ, page, PAGE, 0) :
			  run_rw(ring, &st->dev, OP_READ, st->load.index, 0, PAGE, 0);
}

/* The files are on a namespace that is gone, their buffers on a controller that is not. */
static bool end_detached(struct storm *s)
{
	uint64_t end = now_ms() + 20000;
	struct io_uring ring;
	int ret = 0;

	if (!ring_open(&ring, MODE_IRQ, 4))
		return false;
	while ((ret = read_block(&ring, &s->stream[0])) != -ENODEV && now_ms() < end)
		sleep_ms(20);
	CHECK_RET(ret, -ENODEV, "a read of a namespace that is gone");
	io_uring_queue_exit(&ring);
	storm_stop(s);
	return storm_drop(s);
}

static void attach_detach(void)
{
	struct storm first = { .name = ns_name(1), .tolerated = by_admin };
	struct storm second = { .name = ns_name(2), .tolerated = by_detach };
	unsigned int i, nr = rounds(4);
	long pins = pins_held();
	int fd = open_ctrl();

	if (fd < 0 || !storm_start(&first))
		goto out;
	for (i = 0; i < nr && storm_start(&second); i++) {
		/* in every other round when the auto door serves, else at once */
		if ((i % 2 && !storm_serves(&second)) || !attach(fd, false) ||
		    !end_detached(&second) || !storm_moves(&first, 1) || !attach(fd, true) ||
		    !storm_check(&second))
			break;
		storm_forget(&second);
	}
out:
	storm_end(&first);
	if (fd >= 0)
		close(fd);
	pins_back(pins, 5000);
}

/* ---- format ---- */

/* QEMU's formats without metadata. */
enum { LBAF_512 = 0, LBAF_4096 = 4 };

#define PROWL_PAGES 32u

/*
 * A program that continues with the old format: reads of eight blocks
 * of 512 bytes into every fourth page.  As eight of 4096 they would run over
 * the pages between, which therefore stay as they were.
 */
struct prowler {
	struct dev dev;
	struct mem mem;
	enum mode mode;
	uint32_t index;
	volatile bool stop;
	uint64_t read, refused;
	pthread_t thread;
};

static bool by_format(int res)
{
	static const int ends[] = {
		0,
		-EBUSY,
		-EOVERFLOW, /* being formatted; has become too long */
		-EAGAIN,
		0x84, /* format in progress */
		SC_SGL_LEN_INVALID,
		0x4000 | SC_SGL_LEN_INVALID,
	};
	size_t i = 0;

	while (i < ARRAY_SIZE(ends) && ends[i] != res)
		i++;
	return i < ARRAY_SIZE(ends);
}

static bool prowl_turn(struct prowler *p, struct io_uring *ring)
{
	struct completion done;
	unsigned int i, nr = PROWL_PAGES / 4;

	for (i = 0; i < nr; i++) {
		struct nvme_pmap_cmd cmd = cmd_rw(&p->dev, OP_READ, p->index, i * 4 * PAGE, PAGE,
						  8 * i);

		cmd.cdw12 = 7;
		prep_cmd(ring, p->dev.fd, &cmd, i);
	}
	if (!CHECK(io_uring_submit(ring) == (int)nr, "submit"))
		return false;
	for (i = 0; i < nr; i++) {
		if (!CHECK_RET(ring_reap(ring, &done, 20000), 0, "completion") ||
		    !CHECK(by_format(done.res), "a read across a format: %s", err_name(done.res)))
			return false;
		*(done.res ? &p->refused : &p->read) += 1;
	}
	return true;
}

static void *prowl(void *arg)
{
	struct prowler *p = arg;
	struct io_uring ring;

	if (!ring_open(&ring, p->mode, 2 * PROWL_PAGES))
		return NULL;
	while (!p->stop && prowl_turn(p, &ring))
		;
	io_uring_queue_exit(&ring);
	return NULL;
}

static bool prowl_start(struct prowler *p, enum mode mode, uint32_t flags)
{
	*p = (struct prowler){ .mode = mode, .dev.fd = -1, .mem.fd = -1 };
	if (!dev_open(&p->dev, ns_name(2), O_RDONLY) ||
	    !CHECK(mem_alloc(&p->mem, MEM_4K, PROWL_PAGES * PAGE), "no memory"))
		return false;
	poison(p->mem.map, p->mem.len);
	return must_register(&p->dev, p->mem.map, p->mem.len, flags, &p->index) &&
	       CHECK(!pthread_create(&p->thread, NULL, prowl, p), "pthread_create");
}

static bool untouched(const struct prowler *p)
{
	unsigned int i;

	for (i = 0; p->mem.map && i < PROWL_PAGES; i++)
		if (i % 4 && !CHECK(poisoned(p->mem.map + i * PAGE, PAGE) == PAGE,
				    "%s: page %u was written over", mode_names[p->mode], i))
			return false;
	return true;
}

static void prowl_end(struct prowler *p)
{
	p->stop = true;
	if (p->thread)
		pthread_join(p->thread, NULL);
	untouched(p);
	CHECK(p->read && p->refused, "%s: %" PRIu64 " reads, %" PRIu64 " refused",
	      mode_names[p->mode], p->read, p->refused);
	if (p->dev.fd >= 0)
		must_unregister(&p->dev, p->index);
	mem_free(&p->mem);
	dev_close(&p->dev);
}

/* The ioctl returns when the driver knows the new format. */
static bool format(int fd, unsigned int lbaf, uint32_t block)
{
	uint64_t end = now_ms() + 10000;
	char path[128], text[32], node[64];

	if (!CHECK_RET(ns_format(fd, 2, lbaf, false), 0, "format") ||
	    !dev_path(ns_name(2), node, sizeof(node)))
		return false;
	snprintf(path, sizeof(path), "/sys/block/nvme%s/queue/logical_block_size",
		 node + strlen("/dev/ng"));
	while ((!read_file(path, text, sizeof(text)) || (uint32_t)atoi(text) != block) &&
	       now_ms() < end)
		sleep_ms(10);
	return CHECK((uint32_t)atoi(text) == block, "blocks of %s after format", text);
}

/* All works in the new format; its blocks differ from the old ones. */
static bool in_new_format(uint32_t block, uint64_t bytes)
{
	struct storm s = { .name = ns_name(2), .lba = 1024, .tolerated = NULL };
	bool good = storm_start(&s) && storm_moves(&s, 3);

	good = good &&
	       CHECK(s.stream[0].dev.block == block && s.stream[0].dev.blocks * block <= bytes &&
			     s.stream[0].dev.blocks * block > bytes - MIB(1),
		     "%" PRIu64 " blocks of %u", s.stream[0].dev.blocks, s.stream[0].dev.block);
	return storm_end(&s) && good;
}

static void formats(void)
{
	static const uint32_t blocks[] = { 4096, 512 };
	static const unsigned int lbaf[] = { LBAF_4096, LBAF_512 };
	struct storm first = { .name = ns_name(1), .tolerated = by_admin };
	struct prowler p[3];
	unsigned int i, nr = rounds(4);
	long pins = pins_held();
	int fd = open_ctrl();

	if (fd >= 0 && storm_start(&first) && prowl_start(&p[0], MODE_IRQ, 0) &&
	    prowl_start(&p[1], MODE_POLL, NVME_PMAP_REG_PRP) &&
	    prowl_start(&p[2], MODE_DEFER, NVME_PMAP_REG_PRP)) {
		uint64_t bytes = p[0].dev.blocks * p[0].dev.block;

		for (i = 0; i < nr; i++)
			if (!format(fd, lbaf[i % 2], blocks[i % 2]) ||
			    !in_new_format(blocks[i % 2], bytes) || !untouched(&p[0]) ||
			    !untouched(&p[1]) || !untouched(&p[2]))
				break;
		for (i = 0; i < ARRAY_SIZE(p); i++)
			prowl_end(&p[i]);
	}
	storm_end(&first);
	if (fd >= 0)
		close(fd);
	pins_back(pins, 5000);
}

static const struct test_case chaos_ns_cases[] = {
	{ "attach", attach_detach },
	{ "format", formats },
};

SUBJECT(chaos_ns);
