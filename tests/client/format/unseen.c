// SPDX-License-Identifier: GPL-2.0
/*
 * Formats whose end the driver does not see: sent with io_uring, without a waiting task;
 * with a reset of the controller before the driver has scanned the namespaces again;
 * through another controller of the subsystem; and admin commands that only might have
 * formatted something.
 * -d is the disk; -D another one, or the same one through another controller.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "format/formatting.h"

#define ADMIN_VENDOR 0xc0

static int format_uring(const struct dev *dev, unsigned int lbaf)
{
	int fd = ctrl_open(dev->path), ret;

	if (!CHECK(fd >= 0, "no node of the controller of %s", dev->path))
		return -ENODEV;
	ret = ns_format(fd, dev->nsid, lbaf, true);
	close(fd);
	return ret;
}

/* ---- a command right after it, and many beside it ---- */

static int read_after(struct stand *st, unsigned int page, unsigned int pages, unsigned int blocks)
{
	struct nvme_pmap_cmd cmd = cmd_rw(&st->s.dev, OP_READ, st->index, page * PAGE, pages * PAGE,
					  0);

	cmd.cdw12 = blocks - 1;
	return run_cmd(&st->s.ring, st->s.dev.fd, &cmd);
}

/* 4096 bytes where the driver may think 512: it would run on over the buffer. */
static void after_large(struct stand *st, format_fn *format)
{
	unsigned char *map = st->s.mem.map;

	poison(map, FORMAT_PAGES * PAGE);
	if (!CHECK_RET(format(&st->s.dev, (unsigned int)st->lbaf[1]), 0, "format"))
		return;
	CHECK_RET(read_after(st, 4, 3, 24), -EOVERFLOW, "24 blocks for 3 pages");
	CHECK(poisoned(map, FORMAT_PAGES * PAGE) == FORMAT_PAGES * PAGE, "memory changed");
	lists_intact(st);
	/* and of the list that the next one could overwrite */
	CHECK_RET(read_after(st, 255, 16, 16), 0, "16 blocks of 4096 bytes");
	CHECK(poisoned(map + 271 * PAGE, 17 * PAGE) == 17 * PAGE && !map[270 * PAGE],
	      "the data went elsewhere");
}

/* 512 bytes where it may think 4096: the list would be the second data page. */
static void after_small(struct stand *st, format_fn *format)
{
	unsigned char *map = st->s.mem.map;

	poison(map, FORMAT_PAGES * PAGE);
	if (!CHECK_RET(format(&st->s.dev, (unsigned int)st->lbaf[0]), 0, "format"))
		return;
	CHECK_RET(read_after(st, 255, 16, 16), 0, "16 blocks for 16 pages");
	CHECK(poisoned(map, 255 * PAGE) == 255 * PAGE && !map[255 * PAGE] &&
		      !memcmp(map + 255 * PAGE, map + 255 * PAGE + 1, 2 * PAGE - 1) &&
		      poisoned(map + 257 * PAGE, 31 * PAGE) == 31 * PAGE,
	      "not what was asked for, or not there");
}

static void after(void)
{
	format_fn *const doors[] = { format_ioctl, format_uring };
	struct stand st = { 0 };
	unsigned int i;

	if (stand_open(&st, opt.dev, NVME_PMAP_REG_PRP))
		for (i = 0; i < 8 && !case_failed(); i++) {
			after_large(&st, doors[i & 1]);
			after_small(&st, doors[i >> 1 & 1]);
		}
	setup_close(&st.s);
}

static void race(format_fn *format, bool resets, unsigned int rounds)
{
	const struct race_of of = { .flags = NVME_PMAP_REG_PRP,
				    .format = format,
				    .last = format_uring,
				    .resets = resets,
				    .rounds = rounds };

	format_race(&of);
}

static void uring(void) { race(format_uring, false, 16); }

/* ---- a reset before the driver has looked ---- */

struct resetter {
	const struct dev *dev;
	unsigned int delay;
};

static void *resetter(void *arg)
{
	struct resetter *r = arg;

	sleep_ms(r->delay);
	reset_ctrl(r->dev);
	return NULL;
}

/* Later each time. */
static unsigned int reset_delay;

static int format_reset(const struct dev *dev, unsigned int lbaf)
{
	struct resetter r = { .dev = dev, .delay = reset_delay++ % 60 };
	pthread_t thread;
	int ret;

	if (!CHECK(!pthread_create(&thread, NULL, resetter, &r), "pthread_create"))
		return -ENOMEM;
	ret = format_ioctl(dev, lbaf);
	pthread_join(thread, NULL);
	/* once more, where the reset came first: EINTR, or the driver's own status */
	if (ret == -EINTR || (ret > 0 && ret >> 8 & 3))
		ret = format_ioctl(dev, lbaf);
	return ret;
}

static void reset(void) { race(format_reset, true, 60); }

/* ---- admin commands that might have formatted something ---- */

struct prober {
	const struct dev *dev;
	unsigned int nr;
	bool stop;
};

/* No device knows the opcode; its answer is of no interest. */
static void *prober(void *arg)
{
	const struct nvme_passthru_cmd cmd = { .opcode = ADMIN_VENDOR };
	struct prober *p = arg;
	int fd = ctrl_open(p->dev->path);

	CHECK(fd >= 0, "no node of the controller of %s", p->dev->path);
	while (!__atomic_load_n(&p->stop, __ATOMIC_ACQUIRE)) {
		if (p->nr++ & 1)
			admin_ioctl(p->dev->fd, &cmd);
		else
			admin_uring(fd, &cmd);
	}
	close(fd);
	return NULL;
}

/* Reads of @st beside the probes of @dev: all good. */
static void beside(struct stand *st, const struct dev *dev, unsigned int reads)
{
	struct prober p = { .dev = dev };
	uint64_t start = now_ms();
	pthread_t thread;
	unsigned int i;

	if (!CHECK(!pthread_create(&thread, NULL, prober, &p), "pthread_create"))
		return;
	for (i = 0; i < reads; i++)
		if (!CHECK_RET(read_after(st, 4, 3, 24), 0, "read %u beside vendor commands", i))
			break;
	__atomic_store_n(&p.stop, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	note("%u reads beside %u vendor commands in %" PRIu64 " ms", i, p.nr, now_ms() - start);
}

static void vendor(void)
{
	struct stand st = { 0 };
	struct dev by = { .fd = -1 };

	if (!stand_open(&st, opt.dev, NVME_PMAP_REG_PRP) || !dev_open(&by, opt.dev2, O_RDWR))
		goto out;
	beside(&st, &by, 3000);
	beside(&st, &st.s.dev, 300);
out:
	dev_close(&by);
	setup_close(&st.s);
}

/* ---- a scan that fails ---- */

/* The next @times admin commands come back with a status; -1: all, 0: none. */
static bool refuse_admin(const struct dev *dev, const char *times)
{
	const char *const attrs[][2] = {
		{ "verbose", "0" }, { "status", "0x6" }, { "dont_retry", "0" },
		{ "space", "0" },   { "times", times },	 { "probability", "100" },
	};
	unsigned int i, ctrl;
	char path[128];

	if (!CHECK(sscanf(dev->path, "/dev/ng%un", &ctrl) == 1, "node %s", dev->path))
		return false;
	for (i = 0; i < ARRAY_SIZE(attrs); i++) {
		snprintf(path, sizeof(path), "/sys/kernel/debug/nvme%u/fault_inject/%s", ctrl,
			 attrs[i][0]);
		if (!i && access(path, W_OK)) {
			skip_case("no faults to inject in this kernel");
			return false;
		}
		if (!CHECK(write_file(path, attrs[i][1]), "%s: %s", path, strerror(errno)))
			return false;
	}
	return true;
}

/* They wait for as long as it may take, but not for ever. */
static void refused_scan(struct stand *st, const char *times, int want)
{
	unsigned char *map = st->s.mem.map;

	poison(map, FORMAT_PAGES * PAGE);
	if (!CHECK_RET(format_uring(&st->s.dev, (unsigned int)st->lbaf[1]), 0, "format") ||
	    !refuse_admin(&st->s.dev, times))
		return;
	CHECK_RET(read_after(st, 4, 3, 24), want, "24 blocks for 3 pages, %s scans refused", times);
	CHECK(poisoned(map, FORMAT_PAGES * PAGE) == FORMAT_PAGES * PAGE, "memory changed");
	if (refuse_admin(&st->s.dev, "0"))
		lists_intact(st);
	CHECK_RET(format_uring(&st->s.dev, (unsigned int)st->lbaf[0]), 0, "format");
}

static void scan_fails(void)
{
	struct stand st = { 0 };

	if (stand_open(&st, opt.dev, NVME_PMAP_REG_PRP) && refuse_admin(&st.s.dev, "0")) {
		refused_scan(&st, "12", -EOVERFLOW);
		refused_scan(&st, "-1", -EBUSY);
	}
	setup_close(&st.s);
}

/* ---- the lists, which a device that is mistaken about a format writes to ---- */

/* Mappings of all devices; -1 where the kernel does not keep a record of them. */
static int count_mappings(const char *what)
{
	FILE *dump = fopen("/sys/kernel/debug/dma-api/dump", "re");
	char line[512];
	int nr = 0;

	if (!dump)
		return -1;
	while (fgets(line, sizeof(line), dump))
		nr += !!strstr(line, what);
	fclose(dump);
	return nr;
}

/* Lists are mapped DMA_TO_DEVICE; the IOMMU's driver has to enforce it. */
static void lists_read_only(void)
{
	int before = count_mappings("DMA_TO_DEVICE"), coherent = count_mappings("coherent"), nr;
	struct stand st = { 0 };

	if (before < 0) {
		skip_case("no record of mappings in this kernel");
		return;
	}
	if (stand_open(&st, opt.dev, NVME_PMAP_REG_PRP)) {
		nr = count_mappings("DMA_TO_DEVICE") - before;
		/* 256 pages are in one of them, and the next begins there */
		CHECK(nr == 2, "%d mappings that the device can only read, for 2 lists", nr);
		/* the page for unused entries, which it may write to */
		nr = count_mappings("coherent") - coherent;
		note("%d coherent allocations", nr);
	}
	setup_close(&st.s);
	nr = count_mappings("DMA_TO_DEVICE") - before;
	CHECK(!nr, "%d mappings are left", nr);
}

/* ---- another controller of the subsystem ---- */

static struct dev twin;

static int twin_ioctl(const struct dev *dev, unsigned int lbaf)
{
	(void)dev;
	return format_ioctl(&twin, lbaf);
}

static int twin_uring(const struct dev *dev, unsigned int lbaf)
{
	(void)dev;
	return format_uring(&twin, lbaf);
}

static void shared(void)
{
	twin.fd = -1;
	if (!dev_open(&twin, opt.dev2, O_RDWR))
		return;
	race(twin_ioctl, false, 8);
	race(twin_uring, false, 8);
	dev_close(&twin);
}

static const struct test_case format_unseen_cases[] = {
	{ "after", after },   { "uring", uring },	    { "reset", reset },
	{ "vendor", vendor }, { "scan-fails", scan_fails }, { "lists-read-only", lists_read_only },
	{ "shared", shared },
};

SUBJECT(format_unseen);
