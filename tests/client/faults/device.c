// SPDX-License-Identifier: GPL-2.0
/* The first use of a controller fails; its probe does; it is taken away. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "faults/faults.h"

#define DRIVER "/sys/bus/pci/drivers/nvme/"

static char pci[32];

/* The PCI address of the device, known while it is there. */
bool learn_pci(void)
{
	char path[64], link[160], real[256];
	const char *base;
	struct dev dev = { 0 };

	if (pci[0])
		return true;
	if (!CHECK(dev_path(NULL, path, sizeof(path)), "no device %s", opt.dev))
		return false;
	snprintf(dev.path, sizeof(dev.path), "%s", path);
	dev_sysfs(&dev, "device", link, sizeof(link));
	if (!CHECK(realpath(link, real), "%s: %s", link, strerror(errno)))
		return false;
	base = strrchr(real, '/');
	snprintf(pci, sizeof(pci), "%s", base + 1);
	return true;
}

const char *bound_pci(void) { return pci; }

bool bind_to(const char *what)
{
	char path[64];

	snprintf(path, sizeof(path), DRIVER "%s", what);
	return CHECK(write_file(path, pci), "%s %s: %s", what, pci, strerror(errno));
}

bool rebind(void)
{
	char path[64];

	return learn_pci() && bind_to("unbind") && bind_to("bind") &&
	       CHECK(dev_path(NULL, path, sizeof(path)), "%s does not come back", opt.dev);
}

static int open_node(void)
{
	char path[64];
	int fd = dev_path(NULL, path, sizeof(path)) ? open(path, O_RDWR | O_CLOEXEC) : -1;

	CHECK(fd >= 0, "open %s: %s", opt.dev, strerror(errno));
	return fd;
}

/* No memory at all for the second step, which the failed first use has left to do. */
static bool starve(int fd)
{
	struct nvme_pmap_query q;
	int ret;

	if (!inject_from(0))
		return false;
	ret = nvme_pmap_query_file(fd, &q);
	return CHECK(inject_end() && ret == -ENOMEM, "a query without any memory: %s",
		     err_name(ret));
}

static bool first_attempt(unsigned int n, bool pages, unsigned int *hits, unsigned int *refused)
{
	struct nvme_pmap_query q;
	int fd, ret;
	bool good;

	if (!rebind())
		return false;
	fd = open_node();
	if (fd < 0 || !inject_pages(pages) || !inject_nth(n))
		return false;
	ret = nvme_pmap_query_file(fd, &q);
	*hits = inject_end();
	*refused += ret != 0;
	inject_pages(true);
	good = CHECK(!ret || (*hits && (ret == -ENOMEM || ret == -EFAULT)),
		     "failure %u: %s after %u hits", n, err_name(ret), *hits) &&
	       (ret != -ENOMEM || starve(fd)) &&
	       CHECK_RET(nvme_pmap_query_file(fd, &q), 0, "after failure %u", n) &&
	       works("after a failed first use", 8);
	close(fd);
	return good;
}

static bool first_sweep(bool pages, unsigned int *refused)
{
	unsigned int n, hits, misses = 0;

	/* caches make one first use need a little more than another */
	for (n = 1; misses < 4 && n < 300; n++) {
		if (!first_attempt(n, pages, &hits, refused))
			return false;
		misses = hits ? 0 : misses + 1;
	}
	note("first use, %s: %u attempts", pages ? "a page each" : "one after another", n - 1);
	return true;
}

/* The argument of a query cannot be copied in, then not out. */
void copies(void)
{
	struct nvme_pmap_query q;
	struct nvme_pmap_stats stats;
	unsigned int n;
	int fd = open_node();

	if (fd < 0 || !inject_init() || !inject_below("nvme_pmap_ioctl") ||
	    !CHECK_RET(nvme_pmap_query_file(fd, &q), 0, "query"))
		return;
	for (n = 1; n <= 2; n++) {
		inject_nth(n);
		CHECK_RET(nvme_pmap_query_file(fd, &q), -EFAULT, "query, failure %u", n);
		CHECK(inject_end() == 1, "query, failure %u: not injected", n);
		inject_nth(n);
		CHECK_RET(nvme_pmap_stats_file(fd, &stats), -EFAULT, "stats, failure %u", n);
		CHECK(inject_end() == 1, "stats, failure %u: not injected", n);
	}
	CHECK_RET(nvme_pmap_query_file(fd, &q), 0, "query");
	CHECK_RET(nvme_pmap_stats_file(fd, &stats), 0, "stats");
	close(fd);
	inject_report();
}

/* Each failure meets a controller that was bound a moment ago. */
void first_use(void)
{
	unsigned int refused = 0;

	if (inject_init() && inject_below("nvme_pmap_ioctl") && first_sweep(false, &refused) &&
	    first_sweep(true, &refused))
		CHECK(refused > 3, "%u refused", refused);
	note("%u refused", refused);
	inject_report();
}

static bool stock_works(void)
{
	struct mem mem = { .fd = -1 };
	struct io_uring ring;
	struct dev dev;
	bool good = false;

	if (dev_open(&dev, NULL, O_RDWR) && mem_alloc(&mem, MEM_4K, PAGE) &&
	    ring_open(&ring, MODE_IRQ, 8)) {
		pattern_fill(mem.map, dev.block, 3, PAGE / dev.block, 2);
		good = CHECK_RET(run_stock(&ring, &dev, OP_WRITE, mem.map, PAGE, 3), 0, "write");
		poison(mem.map, PAGE);
		good = good &&
		       CHECK_RET(run_stock(&ring, &dev, OP_READ, mem.map, PAGE, 3), 0, "read") &&
		       CHECK(pattern_verify(mem.map, dev.block, 3, PAGE / dev.block, 2, "stock"),
			     "data");
		io_uring_queue_exit(&ring);
	}
	mem_free(&mem);
	dev_close(&dev);
	return good;
}

static void all_notty(void)
{
	struct mem mem = { .fd = -1 };
	struct nvme_pmap_query q;
	struct nvme_pmap_stats stats;
	struct io_uring ring;
	struct dev dev;
	uint32_t index;

	if (dev_open(&dev, NULL, O_RDWR) && mem_alloc(&mem, MEM_4K, PAGE) &&
	    ring_open(&ring, MODE_IRQ, 8)) {
		CHECK_RET(nvme_pmap_query_file(dev.fd, &q), -ENOTTY, "query");
		CHECK_RET(nvme_pmap_stats_file(dev.fd, &stats), -ENOTTY, "stats");
		CHECK_RET(nvme_pmap_register_buf(dev.fd, mem.map, PAGE, 0, &index), -ENOTTY,
			  "register");
		CHECK_RET(nvme_pmap_unregister_buf(dev.fd, 0), -ENOTTY, "unregister");
		CHECK_RET(run_rw(&ring, &dev, OP_READ, 0, 0, PAGE, 0), -ENOTTY, "command");
		io_uring_queue_exit(&ring);
	}
	mem_free(&mem);
	dev_close(&dev);
}

/* Without memory at its probe a controller is a stock one. */
void probe(void)
{
	unsigned int hits;

	if (!inject_init() || !inject_below("nvme_pmap_ctrl_add") || !learn_pci() ||
	    !bind_to("unbind") || !inject_slab_all(true))
		return;
	bind_to("bind");
	inject_slab_all(false);
	hits = inject_end();
	CHECK(hits == 1, "%u failures in the probe, not one", hits);
	if (stock_works())
		all_notty();
	rebind();
	works("after another probe", 8);
	inject_report();
}

/* Identify comes back with a status, each time it is asked for. */
void identify_fails(void)
{
	static const char *const attrs[][2] = {
		{ "verbose", "0" }, { "status", "0x6" }, { "times", "2" }, { "probability", "100" }
	};
	char path[128], node[64];
	struct nvme_pmap_query q;
	unsigned int i, ctrl = 0;
	int fd;

	if (!rebind() || (fd = open_node()) < 0)
		return;
	if (!CHECK(dev_path(NULL, node, sizeof(node)) && sscanf(node, "/dev/ng%un", &ctrl) == 1,
		   "node %s", node))
		return;
	for (i = 0; i < ARRAY_SIZE(attrs); i++) {
		snprintf(path, sizeof(path), "/sys/kernel/debug/nvme%u/fault_inject/%s", ctrl,
			 attrs[i][0]);
		CHECK(write_file(path, attrs[i][1]), "%s: %s", path, strerror(errno));
	}
	CHECK_RET(nvme_pmap_query_file(fd, &q), -EIO, "a query whose Identify fails");
	CHECK_RET(nvme_pmap_query_file(fd, &q), -EIO, "another");
	CHECK_RET(nvme_pmap_query_file(fd, &q), 0, "one whose Identify does not");
	note("injected status 2");
	snprintf(path, sizeof(path), "/sys/kernel/debug/nvme%u/fault_inject/probability", ctrl);
	write_file(path, "0");
	close(fd);
	works("after a failed Identify", 8);
}

/* All calls, on a file that has buffers and on one that never had any. */
void removed(void)
{
	struct setup used, unused;
	struct nvme_pmap_query q;
	uint32_t index;

	memset(&unused, 0, sizeof(unused));
	unused.mem.fd = used.mem.fd = -1;
	if (!learn_pci() || !setup_make(&used, NULL, MODE_IRQ, MEM_4K, 8 * PAGE) ||
	    !dev_open(&unused.dev, NULL, O_RDWR) || !bind_to("unbind"))
		goto out;
	CHECK_RET(nvme_pmap_query_file(used.dev.fd, &q), -ENODEV, "query, used");
	CHECK_RET(nvme_pmap_query_file(unused.dev.fd, &q), -ENODEV, "query, unused");
	CHECK_RET(nvme_pmap_register_buf(used.dev.fd, used.mem.map, PAGE, 0, &index), -ENODEV,
		  "register");
	CHECK_RET(run_rw(&used.ring, &used.dev, OP_READ, used.index, 0, PAGE, 0), -ENODEV,
		  "command, used");
	CHECK_RET(run_rw(&used.ring, &unused.dev, OP_READ, 0, 0, PAGE, 0), -ENODEV,
		  "command, unused");
	nothing_left(unused.dev.fd);
	note("injected removal 1");
	bind_to("bind");
out:
	dev_close(&unused.dev);
	setup_close(&used);
	works("after a removal", 8);
}

/* ---- where DMA bounces: every registration is refused, and undone ---- */

static bool bounce(const struct dev *dev, void *map, size_t len, const char *what)
{
	unsigned int n, hits = 1, refused = 0;
	uint32_t index;
	int ret;

	for (n = 1; hits && n < 300; n++) {
		inject_nth(n);
		ret = nvme_pmap_register_buf(dev->fd, map, len, 0, &index);
		hits = inject_end();
		refused += ret == -ENOMEM;
		if (!CHECK(ret == -ENXIO || (hits && (ret == -ENOMEM || ret == -EFAULT)),
			   "%s, failure %u: %s after %u hits", what, n, err_name(ret), hits) ||
		    !nothing_left(dev->fd))
			return false;
	}
	note("%s: %u attempts, %u for want of memory", what, n - 1, refused);
	return true;
}

void bounced(void)
{
	struct mem small = { .fd = -1 }, large = { .fd = -1 };
	uint32_t index;
	struct dev dev;

	if (!inject_init() || !inject_below("nvme_pmap_ioctl") || !dev_open(&dev, NULL, O_RDWR) ||
	    !mem_alloc(&small, MEM_4K, 4 * PAGE) || !mem_alloc(&large, MEM_THP, MIB(2)))
		return;
	if (nvme_pmap_register_buf(dev.fd, small.map, small.len, 0, &index) != -ENXIO) {
		skip_case("DMA does not bounce in this guest");
	} else {
		/* the second is a piece that no bounce buffer takes */
		bounce(&dev, small.map, small.len, "bounced pages");
		bounce(&dev, large.map, large.len, "a bounced huge page");
		stock_works();
	}
	mem_free(&small);
	mem_free(&large);
	dev_close(&dev);
	inject_report();
}
