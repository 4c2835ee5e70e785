// SPDX-License-Identifier: GPL-2.0
/*
 * Passthrough queues that cannot be had, or are refused: after each failure as
 * many are free as before, and the next one works.
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "faults/faults.h"

unsigned int by_queue(int fd)
{
	struct nvme_pmap_stats st = { 0 };

	CHECK_RET(nvme_pmap_stats_file(fd, &st), 0, "stats");
	return (unsigned int)st.queue;
}

bool queue_up(int fd, uint32_t flags)
{
	uint64_t end = now_ms() + 20000;
	struct nvme_pmap_query q;

	do {
		q = queue_query(fd);
		if (flags ? q.queue_polled : q.queue_irq)
			return true;
		sleep_ms(5);
	} while (now_ms() < end && !case_failed());
	return CHECK(false, "the queue does not come up");
}

bool read_by_queue(struct dev *dev, uint32_t flags)
{
	uint64_t end = now_ms() + 20000;
	struct mem mem = { .fd = -1 };
	struct io_uring ring;
	unsigned int before = by_queue(dev->fd);
	uint32_t index;
	bool good;

	if (!CHECK(mem_alloc(&mem, MEM_4K, PAGE), "no memory") ||
	    !ring_open(&ring, flags ? MODE_POLL : MODE_IRQ, 8))
		return false;
	good = must_register(dev, mem.map, PAGE, 0, &index);
	while (good && by_queue(dev->fd) == before && now_ms() < end)
		good = CHECK_RET(run_rw(&ring, dev, OP_READ, index, 0, PAGE, 0), 0, "read");
	good = good && CHECK(by_queue(dev->fd) > before, "nothing goes by the queue") &&
	       must_unregister(dev, index);
	io_uring_queue_exit(&ring);
	mem_free(&mem);
	return good;
}

bool queue_works(struct dev *dev, uint32_t flags, unsigned int all)
{
	return CHECK(queue_query(dev->fd).queues_free == all, "%u queues free, not %u",
		     queue_query(dev->fd).queues_free, all) &&
	       must_attach(dev->fd, flags) && queue_up(dev->fd, flags) &&
	       read_by_queue(dev, flags) && must_detach(dev->fd, flags) && nothing_left(dev->fd);
}

/* ---- no memory for a queue ---- */

struct sweep {
	uint32_t flags;
	unsigned int all, refused;
};

static bool attach_attempt(struct sweep *s, unsigned int n, bool *more)
{
	unsigned int hits;
	struct dev dev;
	bool good;
	int ret;

	if (!dev_open(&dev, NULL, O_RDWR) || !inject_nth(n))
		return false;
	ret = nvme_pmap_attach_queue(dev.fd, s->flags);
	hits = inject_end();
	*more = hits;
	s->refused += ret != 0;
	good = CHECK(!ret || (hits && (ret == -ENOMEM || ret == -EFAULT)),
		     "attach, flags %u, failure %u: %s after %u hits", s->flags, n, err_name(ret),
		     hits) &&
	       (ret || must_detach(dev.fd, s->flags)) && queue_works(&dev, s->flags, s->all);
	dev_close(&dev);
	return good;
}

static bool attach_sweep(uint32_t flags, bool pages, unsigned int all)
{
	struct sweep s = { .flags = flags, .all = all };
	unsigned int n, misses = 0;
	bool more;

	if (!inject_pages(pages))
		return false;
	/* caches make one attachment need a little more than another */
	for (n = 1; misses < 2 && n < 200; n++) {
		if (!attach_attempt(&s, n, &more))
			return false;
		misses = more ? 0 : misses + 1;
	}
	note("attach, flags %u, %s: %u attempts, %u refused", flags,
	     pages ? "a page each" : "one after another", n - 1, s.refused);
	return CHECK(s.refused, "no failure came back");
}

/* Slots, SQ, CQ, the interrupt: all that an attachment needs, in either form. */
void attach_fails(void)
{
	unsigned int all;
	struct dev dev;

	if (!inject_init() || !inject_below("nvme_pmap_ioctl") || !dev_open(&dev, NULL, O_RDWR))
		return;
	all = queue_query(dev.fd).queues_free;
	if (CHECK(all, "no queues") && attach_sweep(0, false, all) && attach_sweep(0, true, all) &&
	    attach_sweep(POLLED, false, all))
		attach_sweep(POLLED, true, all);
	dev_close(&dev);
	inject_report();
}

/* ---- the controller refuses a command about a queue ---- */

/* The @nth admin command from now on comes back with a status; 0: none. */
static bool refuse_admin(const struct dev *dev, unsigned int nth)
{
	char path[128], space[16];
	const char *const attrs[][2] = { { "probability", nth ? "100" : "0" },
					 { "verbose", "0" },
					 { "status", "0x6" },
					 { "space", space },
					 { "times", "1" } };
	unsigned int i, ctrl;

	snprintf(space, sizeof(space), "%u", nth);
	if (!CHECK(sscanf(dev->path, "/dev/ng%un", &ctrl) == 1, "node %s", dev->path))
		return false;
	for (i = ARRAY_SIZE(attrs); i > 0; i--) {
		snprintf(path, sizeof(path), "/sys/kernel/debug/nvme%u/fault_inject/%s", ctrl,
			 attrs[i - 1][0]);
		if (!CHECK(write_file(path, attrs[i - 1][1]), "%s: %s", path, strerror(errno)))
			return false;
	}
	return true;
}

/*
 * The driver sees a refusal, but the controller has created the CQ, or both, keeps
 * them until the reset, and really refuses the next one.
 */
static bool refused_create(struct dev *dev, uint32_t flags, unsigned int nth, unsigned int all)
{
	bool good = refuse_admin(dev, nth) && CHECK_RET(nvme_pmap_attach_queue(dev->fd, flags),
							-EIO, "command %u refused", nth);

	good = refuse_admin(dev, 0) && good &&
	       CHECK_RET(nvme_pmap_attach_queue(dev->fd, flags), -EIO, "an identifier in use") &&
	       CHECK(queue_query(dev->fd).queues_free == all, "%u queues free, not %u",
		     queue_query(dev->fd).queues_free, all);
	return reset_ctrl(dev) && good && queue_works(dev, flags, all);
}

/* A reset deletes queues that the controller does not give back. */
static bool refused_delete(struct dev *dev, uint32_t flags, unsigned int nth, unsigned int all)
{
	bool good = must_attach(dev->fd, flags) && refuse_admin(dev, nth) &&
		    must_detach(dev->fd, flags);

	return refuse_admin(dev, 0) && good && queue_works(dev, flags, all);
}

void refused_pairs(void)
{
	unsigned int i, all;
	struct dev dev;

	if (!dev_open(&dev, NULL, O_RDWR))
		return;
	all = queue_query(dev.fd).queues_free;
	for (i = 0; i < 4; i++) {
		uint32_t flags = i & 1 ? POLLED : 0;

		if (!refused_create(&dev, flags, 1 + i / 2, all) ||
		    !refused_delete(&dev, flags, 1 + i / 2, all))
			break;
	}
	note("injected status %u", 2 * i);
	dev_close(&dev);
}

/* ---- one that failed once, and then did not, is looked after like any other ---- */

/* No memory for its interrupt; and then the CPU of that goes. */
void failed_once(void)
{
	struct dev dev;

	if (!inject_init() || !inject_below("request_threaded_irq") ||
	    !dev_open(&dev, NULL, O_RDWR) || !run_on(1))
		return;
	inject_nth(1);
	CHECK_RET(nvme_pmap_attach_queue(dev.fd, 0), -ENOMEM, "no memory for the interrupt");
	CHECK(inject_end() == 1, "not injected");
	if (must_attach(dev.fd, 0) && run_on(0) && cpu_online(1, "0")) {
		read_by_queue(&dev, 0);
		read_by_queue(&dev, 0);
		cpu_online(1, "1");
		must_detach(dev.fd, 0);
	}
	dev_close(&dev);
	inject_report();
}

/* ---- a probe without memory for queues ---- */

static bool have_queues(void)
{
	struct dev dev;
	bool have = dev_open(&dev, NULL, O_RDWR) && queue_query(dev.fd).queues_free;

	dev_close(&dev);
	return have;
}

static bool no_queues(const char *what)
{
	struct dev dev;
	bool good = dev_open(&dev, NULL, O_RDWR);

	if (good) {
		struct nvme_pmap_query q = queue_query(dev.fd);

		good = CHECK(!(q.features & NVME_PMAP_FEATURE_QUEUE) && !q.queues_free &&
				     !q.queue_depth,
			     "%s: doors %#x, %u queues of %u", what, q.features, q.queues_free,
			     q.queue_depth) &&
		       CHECK_RET(nvme_pmap_attach_queue(dev.fd, 0), -EUSERS, "%s: attach", what) &&
		       CHECK_RET(nvme_pmap_detach_queue(dev.fd, 0), -ENOTCONN, "%s: detach",
				 what) &&
		       reset_ctrl(&dev);
	}
	dev_close(&dev);
	return good && works(what, 8);
}

bool all_queues(void)
{
	struct dev dev;
	bool good = dev_open(&dev, NULL, O_RDWR) &&
		    queue_works(&dev, 0, queue_query(dev.fd).queues_free);

	dev_close(&dev);
	return good;
}

/* Pages, or all else, of @function fail while the controller is bound. */
static bool probe_without(const char *function, bool pages)
{
	unsigned int hits;

	if (!inject_below(function) || !inject_pages(pages) || !bind_to("unbind"))
		return false;
	if (pages ? !inject_from(0) : !inject_slab_all(true))
		return false;
	bind_to("bind");
	inject_slab_all(false);
	hits = inject_end();
	return CHECK(hits, "%s: no failure in the probe", function);
}

/* One ioremap() after another fails, until only queues are missing. */
static void without_doorbells(void)
{
	unsigned int n, hits = 1, spared = 0;
	char path[64];

	if (!inject_below("ioremap"))
		return;
	for (n = 1; hits && !spared && n < 40; n++) {
		bool bound;

		if (!bind_to("unbind") || !inject_nth(n))
			return;
		bound = write_file("/sys/bus/pci/drivers/nvme/bind", bound_pci());
		hits = inject_end();
		if (!bound && !bind_to("bind"))
			return;
		if (!CHECK(dev_path(NULL, path, sizeof(path)), "%s does not come back", opt.dev))
			return;
		if (bound && hits && !have_queues()) {
			spared++;
			no_queues("without doorbells");
		}
	}
	note("%u attempts without a mapping", n - 1);
	CHECK(spared, "no probe without doorbells for queues");
}

static void without_sysfs(void)
{
	struct dev dev;
	char path[160];

	if (!probe_without("nvme_pmap_sysfs_add", false) || !dev_open(&dev, NULL, O_RDWR))
		return;
	dev_sysfs(&dev, "pmap", path, sizeof(path));
	CHECK(access(path, F_OK), "%s is there", path);
	dev_close(&dev);
	all_queues();
}

void probe_queues(void)
{
	if (!inject_init() || !learn_pci())
		return;
	if (probe_without("nvme_pmap_queues_alloc", true) && no_queues("without queues"))
		without_doorbells();
	without_sysfs();
	if (rebind() && works("after another probe", 8))
		all_queues();
	inject_report();
}
