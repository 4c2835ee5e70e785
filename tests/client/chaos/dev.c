// SPDX-License-Identifier: GPL-2.0
/*
 * Disturbances of the device under load: commands that run out of time (-D names
 * a device that takes three seconds), the device gone and back (-D names one
 * that the host can unplug), the machine asleep, the driver gone and back.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/klog.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/storm.h"

static unsigned int rounds(unsigned int usual) { return opt.rounds ? opt.rounds : usual; }

/* The host's id for a device is its serial number. */
static void ask_host(const char *command, const char *rest)
{
	printf("# host %s id=%s%s\n", command, opt.dev2 + strlen("serial="), rest);
}

/* A device that the host plugs into @bus. */
static void ask_plug(const char *bus)
{
	const char *name = opt.dev2 + strlen("serial=");
	char rest[128];

	snprintf(rest, sizeof(rest), " driver=nvme serial=%s drive=%s bus=%s", name, name, bus);
	ask_host("device_add", rest);
}

/* ---- commands that run out of time ---- */

#define SLOW_NR 6
/* The block layer looks at its clock once a second or so. */
#define SLOW_MS 300

static const enum mode slow_modes[] = { MODE_IRQ, MODE_POLL, MODE_DEFER, MODE_POLL_DEFER };
#define SLOW_MODES ARRAY_SIZE(slow_modes)

/* How often the driver has said so. */
static unsigned int kernel_said(const char *what)
{
	int size = klogctl(10, NULL, 0), n;
	char *log = malloc((size_t)size + 1), *at;
	unsigned int times = 0;

	n = log ? klogctl(3, log, size) : -1;
	if (n > 0) {
		log[n] = 0;
		for (at = log; (at = strstr(at, what)); at++)
			times++;
	}
	free(log);
	return times;
}

/* An Abort frees the tags of these commands, or else a reset. */
static bool all_end(struct setup *s, unsigned int nr)
{
	struct completion done;
	uint64_t seen = 0;
	unsigned int i;

	for (i = 0; i < nr; i++) {
		if (!CHECK_RET(ring_reap(&s->ring, &done, 30000), 0, "completion %u of %u", i,
			       nr) ||
		    !CHECK(done.user_data < nr && !(seen >> done.user_data & 1),
			   "a second CQE for command %" PRIu64, done.user_data))
			return false;
		seen |= 1ull << done.user_data;
		/*
		 * aborted, cancelled by the reset, or failed by it; or well over
		 * after all, while the device was being stopped
		 */
		CHECK(!done.res || done.res == -EINTR || done.res == -EIO || done.res == 0x7 ||
			      done.res == 0x4 || done.res == 0x371 || done.res == 0x4371 ||
			      done.res == 0x370,
		      "a command out of time: %s", err_name(done.res));
	}
	return CHECK_RET(ring_reap(&s->ring, &done, 0), -ETIME, "one CQE more");
}

/*
 * Until the door serves as it should: of a block that the disk does not have, which it
 * says at once.
 */
static bool slow_door(struct setup *s)
{
	struct iovec iov = { s->mem.map, s->mem.len };
	struct paths w = { 0 };
	unsigned int i;

	if (!door_open(&s->dev) ||
	    !CHECK_RET(io_uring_register_buffers(&s->ring, &iov, 1), 0, "buffer"))
		return false;
	for (i = 0; i < 1000 && !(opt.queues ? w.queue : w.blk_mq); i++) {
		struct completion done = { 0 };

		sqe_fixed(prep_stock(&s->ring, &s->dev, OP_READ, s->mem.map, PAGE, s->dev.blocks,
				     0),
			  0);
		if (!CHECK(io_uring_submit(&s->ring) == 1 && !ring_reap(&s->ring, &done, 20000) &&
				   NVME_STATUS(done.res) == SC_LBA_RANGE,
			   "a read beyond the end: %s", err_name(done.res)))
			return false;
		w = door_paths(&s->dev);
		sleep_ms(i > 2 ? 10 : 0);
	}
	return CHECK(opt.queues ? w.queue : w.blk_mq, "the door does not serve the slow device");
}

static void slow_prep(struct setup *s, unsigned int i)
{
	uint32_t timeout_ms = i % 2 ? SLOW_MS : 0;

	if (opt.door) {
		struct io_uring_sqe *sqe = prep_stock(&s->ring, &s->dev, OP_READ,
						      s->mem.map + i * PAGE, PAGE, 0, i);

		sqe_fixed(sqe, 0);
		((struct nvme_uring_cmd *)(void *)sqe->cmd)->timeout_ms = timeout_ms;
	} else {
		struct nvme_pmap_cmd cmd = cmd_rw(&s->dev, OP_READ, s->index, i * PAGE, PAGE, 0);

		cmd.timeout_ms = timeout_ms;
		prep_cmd(&s->ring, s->dev.fd, &cmd, i);
	}
}

/* Half of them with a time-out of their own, half with the queue's. */
static bool slow_start(struct setup *s, enum mode mode, uint32_t flags)
{
	unsigned int i;

	if (!setup_make(s, opt.dev2, mode, MEM_4K, SLOW_NR * PAGE) ||
	    !must_unregister(&s->dev, s->index) ||
	    !(opt.door ? slow_door(s) :
			 must_register(&s->dev, s->mem.map, s->mem.len, flags, &s->index)))
		return false;
	for (i = 0; i < SLOW_NR; i++)
		slow_prep(s, i);
	return CHECK_RET(ring_push(&s->ring), 0, "submit");
}

static bool slow_end(struct setup *s)
{
	if (!all_end(s, SLOW_NR))
		return false;
	/* Nothing comes to this memory any more. */
	poison(s->mem.map, s->mem.len);
	return (opt.door || must_unregister(&s->dev, s->index)) &&
	       CHECK(poisoned(s->mem.map, s->mem.len) == s->mem.len, "written to after the end");
}

/* In a line about an Abort: a Read without a request, which would tell its size. */
#define OF_QUEUE "req_op:DRV_IN(34) size:0"

/* All ring modes at once. */
static bool out_of_time_once(void)
{
	static const uint32_t forms[] = { 0, NVME_PMAP_REG_PRP, NVME_PMAP_REG_SGL_LIST };
	unsigned int i, aborts = kernel_said("timeout, aborting"), by_queue = kernel_said(OF_QUEUE);
	struct setup s[SLOW_MODES];
	bool good = true;

	memset(s, 0, sizeof(s));
	for (i = 0; i < SLOW_MODES; i++)
		s[i].dev.fd = s[i].mem.fd = -1;
	for (i = 0; good && i < SLOW_MODES; i++)
		good = slow_start(&s[i], slow_modes[i], forms[rnd_below(ARRAY_SIZE(forms))]);
	for (i = 0; good && i < SLOW_MODES; i++)
		good = slow_end(&s[i]);
	for (i = 0; i < SLOW_MODES; i++)
		setup_close(&s[i]);
	return good && CHECK(kernel_said("timeout, aborting") > aborts, "nothing was aborted") &&
	       CHECK(!opt.queues || kernel_said(OF_QUEUE) > by_queue,
		     "nothing of a queue was aborted");
}

/* The reset that ended the last commands may still be under way. */
static bool wait_live(const char *name)
{
	uint64_t end = now_ms() + 20000;
	struct dev dev = { .fd = -1 };

	if (!CHECK(dev_path(name, dev.path, sizeof(dev.path)), "no device %s", name))
		return false;
	while (!ctrl_is_live(&dev) && now_ms() < end)
		sleep_ms(10);
	return CHECK(ctrl_is_live(&dev), "%s is not live", name);
}

/* Slow as it is, the kernel takes a while to look for partitions. */
static bool wait_plugged(void)
{
	uint64_t end = now_ms() + 50000;
	char path[64];

	while (!dev_path(NULL, path, sizeof(path)) || !dev_path(opt.dev2, path, sizeof(path)))
		if (!CHECK(now_ms() < end, "no device %s", opt.dev2))
			return false;
	return true;
}

static bool queue_timeout(const char *ms)
{
	char node[64];

	return CHECK(dev_path(opt.dev2, node, sizeof(node)), "no device %s", opt.dev2) &&
	       CHECK(node_timeout(node, ms), "time-out of %s: %s", node, strerror(errno));
}

static void out_of_time(void)
{
	struct storm s = { .tolerated = NULL };
	unsigned int i, nr = rounds(2);
	long pins = pins_held();

	if (!opt.dev2) {
		skip_case("-D names no slow device");
		return;
	}
	ask_plug("slot8");
	/* On another controller: the others' data, which a reset must not touch. */
	if (wait_plugged() && storm_start(&s) && queue_timeout("300")) {
		for (i = 0; i < nr; i++)
			if (!out_of_time_once() || !storm_moves(&s, 2) || !wait_live(opt.dev2))
				break;
		storm_end(&s);
		/* As a rule; a slow machine may see the commands end before. */
		note("%u resets by timeout", kernel_said("timeout, reset controller"));
	}
	/*
	 * QEMU 7.2 never lets go of a device that was disabled while it had commands of
	 * queues that had not been deleted: it forgets to unmap their memory.
	 */
	ask_host("device_del", "");
	pins_back(pins, 5000);
}

static const struct test_case chaos_timeout_cases[] = { { "out-of-time", out_of_time } };

SUBJECT(chaos_timeout);

/* ---- the device gone and back ---- */

static const int by_removal[] = {
	-ENODEV, -EINTR, -EIO, -EAGAIN, -ENXIO, 0x4, 0x7, 0x370, 0x371, 0x4370, 0x4371, 0,
};

static bool driver_file(const char *file, const char *pci)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/bus/pci/drivers/nvme/%s", file);
	return CHECK(write_file(path, pci), "%s %s: %s", file, pci, strerror(errno));
}

/* @others: KiB that this process has pinned for another device; @pins: all that is pinned. */
static bool all_gone(struct storm *s, long others, long pins)
{
	uint64_t end = now_ms() + 30000;
	struct nvme_pmap_query q;
	unsigned int i;
	int ret = 0;

	for (i = 0; i < STREAMS; i++) {
		while ((ret = nvme_pmap_query_file(s->stream[i].dev.fd, &q)) != -ENODEV &&
		       now_ms() < end)
			sleep_ms(10);
		CHECK_RET(ret, -ENODEV, "query after removal");
	}
	storm_stop(s);
	for (i = 0; !opt.door && i < STREAMS; i++)
		CHECK_RET(nvme_pmap_unregister_buf(s->stream[i].dev.fd, s->stream[i].load.index),
			  -ENODEV, "unregister after removal");
	end = now_ms() + 30000;
	while (status_kib(getpid(), "VmPin") != others && now_ms() < end)
		sleep_ms(5);
	note("unpinned after %" PRIu64 " ms", now_ms() + 30000 - end);
	return CHECK(status_kib(getpid(), "VmPin") == others,
		     "VmPin is %ld KiB with the files open, %ld of them of another device",
		     status_kib(getpid(), "VmPin"), others) &&
	       pins_back(pins, 30000);
}

/* It comes back, perhaps with another name, and with the data on it. */
static bool all_back(struct storm *s)
{
	bool good = storm_check(s);

	storm_close(s);
	storm_forget(s);
	return good;
}

static void rebind(void)
{
	struct storm s = { .tolerated = by_removal, .shut = opt.door };
	struct beside door = { .dev.fd = -1 };
	unsigned int i, nr = rounds(3);
	long pins = pins_held();
	char pci[32];

	if (opt.door && !beside_start(&door, 0, beside_switches))
		return;
	for (i = 0; i < nr; i++) {
		if (!storm_start(&s) || !dev_pci(&s.stream[0].dev, pci, sizeof(pci))) {
			storm_end(&s);
			break;
		}
		driver_file("unbind", pci);
		all_gone(&s, 0, pins);
		driver_file("bind", pci);
		if (!all_back(&s) || !pins_back(pins, 5000))
			break;
	}
	if (opt.door)
		beside_stop(&door, "door switched");
}

static void replug(void)
{
	struct storm s = { .name = opt.dev2, .tolerated = by_removal };
	struct storm other = { .tolerated = NULL };
	unsigned int i, nr = rounds(3);
	long others, pins;

	if (!opt.dev2) {
		skip_case("-D names no device that the host will unplug");
		return;
	}
	if (!storm_start(&other))
		goto out;
	others = status_kib(getpid(), "VmPin");
	pins = pins_held();
	for (i = 0; i < nr && storm_start(&s); i++) {
		ask_host("device_del", "");
		all_gone(&s, others, pins);
		ask_plug("slot7");
		if (!all_back(&s) || !storm_moves(&other, 2))
			break;
	}
out:
	storm_end(&other);
}

static const struct test_case chaos_hotplug_cases[] = {
	{ "replug", replug },
	{ "rebind", rebind },
};

SUBJECT(chaos_hotplug);

/* ---- the machine asleep, the driver gone ---- */

/*
 * Before a suspend the driver waits for commands in flight, io_timeout seconds
 * at most; polled commands would need their program for that, which is frozen.
 * It is so with the stock driver's, too.
 */
static bool io_timeout(const char *seconds)
{
	static const char path[] = "/sys/module/nvme_core/parameters/io_timeout";

	return CHECK(write_file(path, seconds), "%s: %s", path, strerror(errno));
}

static bool suspend_to(const char *state, const char *test)
{
	return CHECK(write_file("/sys/power/pm_test", test), "pm_test %s: %s", test,
		     strerror(errno)) &&
	       CHECK(write_file("/sys/power/state", state), "state %s: %s", state, strerror(errno));
}

/* All of suspend but the last step, which the kernel only waits out. */
static void suspend_devices(void)
{
	struct storm s = { .tolerated = by_reset };
	unsigned int i, nr = rounds(2);
	long pins = pins_held();

	if (access("/sys/power/pm_test", W_OK)) {
		skip_case("no /sys/power/pm_test");
		return;
	}
	if (storm_start(&s) && io_timeout("1")) {
		for (i = 0; i < nr; i++)
			if (!suspend_to(i % 2 ? "freeze" : "mem", "devices") || !storm_moves(&s, 3))
				break;
		write_file("/sys/power/pm_test", "none");
		io_timeout("30");
	}
	storm_end(&s);
	pins_back(pins, 5000);
}

/*
 * The whole of it, until the host wakes the machine.  Once only: QEMU's ACPI
 * does not do it again, nor power off.
 */
static void suspend_ram(void)
{
	struct storm s = { .tolerated = by_reset };
	long pins = pins_held();

	if (storm_start(&s) && io_timeout("1")) {
		printf("# host system_wakeup\n");
		if (suspend_to("mem", "none"))
			storm_moves(&s, 3);
		io_timeout("30");
	}
	storm_end(&s);
	pins_back(pins, 5000);
}

static bool refused_to_unload(void)
{
	long ret = syscall(SYS_delete_module, "nvme_core", O_NONBLOCK);

	return CHECK_RET(ret ? -errno : 0, -EWOULDBLOCK, "unload nvme-core under load");
}

/* Unloads first; a worker may close the last file a little later. */
static bool load_driver(void)
{
	uint64_t end = now_ms() + 10000;
	int ret;

	while ((ret = system("nvme-driver fork >&2")) && now_ms() < end)
		sleep_ms(100);
	return CHECK(!ret, "nvme-driver fork: %d", ret);
}

/* Nothing may keep the modules after the last file: not a lost reference. */
static void reload(void)
{
	struct storm s = { .tolerated = NULL };
	unsigned int i, nr = rounds(3);
	long pins = pins_held();

	for (i = 0; i < nr; i++) {
		if (storm_start(&s) && storm_serves(&s) && refused_to_unload())
			storm_moves(&s, 2);
		storm_stop(&s);
		if (!storm_drop(&s) || !load_driver() || !storm_check(&s))
			break;
		storm_forget(&s);
		if (!pins_back(pins, 5000))
			break;
	}
}

static const struct test_case chaos_end_cases[] = {
	{ "suspend-devices", suspend_devices },
	{ "reload", reload },
	{ "suspend-ram", suspend_ram },
};

SUBJECT(chaos_end);
