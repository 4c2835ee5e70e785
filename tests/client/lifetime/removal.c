// SPDX-License-Identifier: GPL-2.0
/*
 * The controller goes while files are open: every call then says ENODEV, and
 * nothing stays pinned although the file does (removal).  The module goes, or
 * rather does not while a file is open (unload).
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/load.h"

#define LEN (16u * PAGE)

static bool setup_open(struct setup *s, const char *name, enum mode mode)
{
	return setup_make(s, name, mode, MEM_4K, LEN);
}

static bool has_pci(const char *name)
{
	char path[64];

	return dev_path(name, path, sizeof(path)) && !access(path, F_OK);
}

static bool remove_pci(const struct dev *dev)
{
	char path[160];

	dev_sysfs(dev, "device/remove", path, sizeof(path));
	return CHECK(write_file(path, "1"), "%s: %s", path, strerror(errno));
}

static void rescan(void)
{
	CHECK(write_file("/sys/bus/pci/rescan", "1"), "rescan: %s", strerror(errno));
	/* Wait until it is there, or the next case fails for the wrong reason. */
	CHECK(has_pci(NULL), "%s does not come back", opt.dev);
}

/* All calls, on a file whose controller is gone. */
static void all_enodev(struct setup *s, const char *when)
{
	struct nvme_pmap_query q;
	struct nvme_pmap_stats st;
	uint32_t index;

	CHECK_RET(nvme_pmap_query_file(s->dev.fd, &q), -ENODEV, "query %s", when);
	CHECK_RET(nvme_pmap_stats_file(s->dev.fd, &st), -ENODEV, "stats %s", when);
	CHECK_RET(nvme_pmap_register_buf(s->dev.fd, s->mem.map, LEN, 0, &index), -ENODEV,
		  "register %s", when);
	CHECK_RET(nvme_pmap_unregister_buf(s->dev.fd, s->index), -ENODEV, "unregister %s", when);
	CHECK_RET(nvme_pmap_unregister_buf(s->dev.fd, 999), -ENODEV, "unregister of nothing %s",
		  when);
	CHECK_RET(run_rw(&s->ring, &s->dev, OP_READ, s->index, 0, LEN, 0), -ENODEV, "read %s",
		  when);
	CHECK_RET(run_rw(&s->ring, &s->dev, OP_READ, 999, 0, LEN, 0), -ENODEV,
		  "read of index 999 %s", when);
}

static void check_gone(struct setup *s, const char *when)
{
	char text[64], path[64];
	uint64_t value;

	all_enodev(s, when);
	CHECK(pins_gone(getpid(), 1000), "VmPin is %ld KiB %s, with the file open",
	      status_kib(getpid(), "VmPin"), when);
	/* Other processes may still read fdinfo. */
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", s->dev.fd);
	CHECK(read_file(path, text, sizeof(text)), "fdinfo %s", when);
	if (fdinfo_counter(s->dev.fd, "pinned", &value))
		CHECK(!value, "fdinfo says that %" PRIu64 " bytes are pinned", value);
}

static void idle(void)
{
	struct setup s;
	uint32_t index;

	if (setup_open(&s, NULL, MODE_IRQ) &&
	    must_register(&s.dev, s.mem.map, LEN, NVME_PMAP_REG_PRP, &index) &&
	    CHECK_RET(run_rw(&s.ring, &s.dev, OP_READ, s.index, 0, LEN, 0), 0, "read before") &&
	    remove_pci(&s.dev))
		check_gone(&s, "after removal");
	rescan();
	if (s.dev.fd >= 0)
		all_enodev(&s, "after the controller came back");
	setup_close(&s);
}

/* A file that never registered anything is told the same. */
static void unused(void)
{
	struct setup s;

	memset(&s, 0, sizeof(s));
	s.mem.fd = -1;
	if (dev_open(&s.dev, NULL, O_RDWR) && ring_open(&s.ring, MODE_IRQ, 8) &&
	    mem_alloc(&s.mem, MEM_4K, LEN) && remove_pci(&s.dev))
		all_enodev(&s, "after removal, never used");
	rescan();
	setup_close(&s);
}

static void *remove_later(void *arg)
{
	struct setup *s = arg;

	sleep_ms(20);
	remove_pci(&s->dev);
	return NULL;
}

/*
 * The program continues to reap while the controller goes: polled commands end
 * when their program polls, else only with their timeout.
 */
static void in_flight(enum mode mode)
{
	struct completion done;
	struct setup s;
	pthread_t thread;
	unsigned int i, nr = 8;

	if (!setup_open(&s, NULL, mode))
		goto out;
	for (i = 0; i < nr; i++) {
		struct nvme_pmap_cmd cmd = cmd_rw(&s.dev, OP_READ, s.index, i * PAGE, PAGE, 0);

		prep_cmd(&s.ring, s.dev.fd, &cmd, i);
	}
	CHECK_RET(ring_push(&s.ring), 0, "submit");
	pthread_create(&thread, NULL, remove_later, &s);
	for (i = 0; i < nr; i++) {
		if (!CHECK_RET(ring_reap(&s.ring, &done, 10000), 0, "completion %u of %u", i, nr))
			break;
		/* It ended well before, was cancelled, or failed with a status. */
		CHECK(done.res >= 0 || done.res == -EINTR || done.res == -EIO ||
			      done.res == -ENODEV,
		      "command in flight: %s", err_name(done.res));
	}
	pthread_join(thread, NULL);
	check_gone(&s, "after removal under commands");
out:
	rescan();
	setup_close(&s);
}

static void in_flight_irq(void) { in_flight(MODE_IRQ); }
static void in_flight_poll(void) { in_flight(MODE_POLL); }

/* ---- under load, in several threads and by several files ---- */

static const int by_removal[] = {
	-ENODEV, -EINTR, -EIO, -EAGAIN, -ENXIO, 0x4, 0x7, 0x370, 0x371, 0x4370, 0x4371, 0,
};

static void under_load(void)
{
	struct load loads[3];
	volatile bool stop = false;
	struct setup s[3];
	unsigned int i, opened;

	for (opened = 0; opened < 3; opened++) {
		static const enum mode modes[] = { MODE_IRQ, MODE_POLL, MODE_DEFER };
		struct setup *one = &s[opened];

		if (!setup_open(one, NULL, MODE_IRQ))
			break;
		loads[opened] = (struct load){ .name = mode_names[modes[opened]],
					       .mode = modes[opened],
					       .dev = &one->dev,
					       .index = one->index,
					       .base = one->mem.map,
					       .len = PAGE,
					       .depth = 8,
					       .count = 1000000,
					       .lba = opened * 128,
					       .tolerated = by_removal,
					       .stop = &stop };
	}
	for (i = 0; opened == 3 && i < opened; i++)
		load_start(&loads[i]);
	sleep_ms(300);
	if (opened == 3 && remove_pci(&s[0].dev)) {
		sleep_ms(100);
		stop = true;
		for (i = 0; i < opened; i++)
			load_join(&loads[i]);
		for (i = 0; i < opened; i++)
			check_gone(&s[i], "after removal under load");
	}
	rescan();
	for (i = 0; i < opened; i++)
		setup_close(&s[i]);
}

/* unregister waits for a command when the controller goes: both end. */
static void during_unregister(void)
{
	struct completion done;
	struct setup s;
	pthread_t thread;
	int ret;

	if (setup_open(&s, NULL, MODE_IRQ)) {
		struct nvme_pmap_cmd cmd = cmd_rw(&s.dev, OP_READ, s.index, 0, PAGE, 0);

		prep_cmd(&s.ring, s.dev.fd, &cmd, 0);
		CHECK_RET(ring_push(&s.ring), 0, "submit");
		pthread_create(&thread, NULL, remove_later, &s);
		ret = nvme_pmap_unregister_buf(s.dev.fd, s.index);
		CHECK(ret == 0 || ret == -ENODEV, "unregister while the controller goes: %s",
		      err_name(ret));
		pthread_join(thread, NULL);
		CHECK_RET(ring_reap(&s.ring, &done, 10000), 0, "completion");
		check_gone(&s, "afterwards");
	}
	rescan();
	setup_close(&s);
}

/* With -D: wait until the host takes the controller away. */
static void by_host(void)
{
	uint64_t end = now_ms() + 40000;
	struct nvme_pmap_query q;
	struct setup s;

	if (!opt.dev2) {
		skip_case("-D names no device that the host will unplug");
		return;
	}
	if (setup_open(&s, opt.dev2, MODE_IRQ)) {
		/* A line for tests/lib.sh; the host's id is the serial number. */
		printf("# host device_del id=%s\n", opt.dev2 + strlen("serial="));
		while (nvme_pmap_query_file(s.dev.fd, &q) != -ENODEV && now_ms() < end)
			sleep_ms(20);
		check_gone(&s, "after the host unplugged it");
	}
	setup_close(&s);
}

static const struct test_case removal_cases[] = {
	{ "by-host", by_host },
	{ "idle", idle },
	{ "unused", unused },
	{ "in-flight-irq", in_flight_irq },
	{ "in-flight-poll", in_flight_poll },
	{ "under-load", under_load },
	{ "during-unregister", during_unregister },
};

SUBJECT(removal);

/* ---- unload: the last thing in a guest ---- */

static int delete_module(const char *name)
{
	return syscall(SYS_delete_module, name, O_NONBLOCK) ? -errno : 0;
}

static void refused(void)
{
	struct setup s;

	if (setup_open(&s, NULL, MODE_IRQ)) {
		CHECK_RET(delete_module("nvme"), -EWOULDBLOCK, "unload nvme with a file open");
		CHECK_RET(delete_module("nvme_core"), -EWOULDBLOCK,
			  "unload nvme-core with a file open");
		CHECK_RET(run_rw(&s.ring, &s.dev, OP_READ, s.index, 0, LEN, 0), 0,
			  "read afterwards");
	}
	setup_close(&s);
}

/* A file that is open on a controller that is gone keeps the module too. */
static void refused_after_removal(void)
{
	struct setup s;

	if (setup_open(&s, NULL, MODE_IRQ) && remove_pci(&s.dev)) {
		CHECK_RET(delete_module("nvme_core"), -EWOULDBLOCK, "unload nvme-core");
		all_enodev(&s, "after removal");
	}
	setup_close(&s);
	rescan();
}

static void possible(void)
{
	uint64_t end = now_ms() + 5000;
	struct setup s;
	int ret;

	/* Used, and closed without unregistering anything. */
	if (setup_open(&s, NULL, MODE_IRQ))
		CHECK_RET(run_rw(&s.ring, &s.dev, OP_READ, s.index, 0, LEN, 0), 0, "read");
	setup_close(&s);
	/* The ring's worker may hold the file a little longer than the close. */
	while ((ret = delete_module("nvme")) == -EWOULDBLOCK && now_ms() < end)
		sleep_ms(20);
	CHECK_RET(ret, 0, "unload nvme");
	CHECK_RET(delete_module("nvme_core"), 0, "unload nvme-core");
}

static const struct test_case unload_cases[] = {
	{ "refused", refused },
	{ "refused-after-removal", refused_after_removal },
	{ "possible", possible },
};

SUBJECT(unload);
