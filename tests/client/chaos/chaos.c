// SPDX-License-Identifier: GPL-2.0
/*
 * A load in every ring mode and form goes on while something disturbs it, many
 * times.  In every case: each command has one CQE; a command ends with zero or
 * an error that the disturbance explains; every acknowledged write is read back;
 * pins and counters at the end equal the ones at the start.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/storm.h"

#define NOBODY 65534

static unsigned int rounds(unsigned int usual) { return opt.rounds ? opt.rounds : usual; }

/* ---- controller resets, with registrations and block IO beside the load ---- */

static void resets(void)
{
	struct storm s = { .tolerated = by_reset };
	struct beside reg = { .dev.fd = -1 }, block = { .dev.fd = -1 };
	unsigned int i, nr = rounds(6);
	long pins = pins_held();
	char path[160];

	if (storm_start(&s) && beside_start(&reg, 8192, beside_registers) &&
	    beside_start(&block, 8704, beside_block)) {
		dev_sysfs(&s.stream[0].dev, "rescan_controller", path, sizeof(path));
		for (i = 0; i < nr && ctrl_reset(&s.stream[0].dev); i++) {
			if (i % 2)
				CHECK(write_file(path, "1"), "%s: %s", path, strerror(errno));
			/* Some of them hit a load that has hardly begun again. */
			if (i % 3 && !storm_moves(&s, 3))
				break;
		}
		storm_moves(&s, 3);
	}
	beside_stop(&reg, "registrations");
	beside_stop(&block, "block device");
	storm_end(&s);
	pins_back(pins, 5000);
}

/* ---- unregister and register buffers that the load uses ---- */

static const int by_unregister[] = { -ENOENT, 0 };

static bool register_again(struct stream *st)
{
	static const uint32_t forms[] = { 0, NVME_PMAP_REG_SGL_LIST, NVME_PMAP_REG_PRP };
	struct nvme_pmap_register reg = { .size = sizeof(reg),
					  .len = st->mem.len,
					  .addr = (uintptr_t)st->mem.map,
					  .index = st->load.index,
					  .flags = forms[rnd_below(3)] };

	return CHECK_RET(nvme_pmap_ioctl(st->dev.fd, NVME_PMAP_IOC_REGISTER, &reg), 0,
			 "register index %u again", reg.index);
}

static void reregister(void)
{
	struct storm s = { .tolerated = by_unregister };
	unsigned int i, nr = rounds(100);
	long pins = pins_held();

	if (storm_start(&s)) {
		for (i = 0; i < nr; i++) {
			struct stream *st = &s.stream[i % STREAMS];

			if (!must_unregister(&st->dev, st->load.index) || !register_again(st))
				break;
			if (i % 8 == 7 && !storm_moves(&s, 1))
				break;
		}
		CHECK(s.stop || i == nr, "%u of %u", i, nr);
	}
	storm_end(&s);
	CHECK(s.failed > 0, "no command met an index without a buffer");
	pins_back(pins, 5000);
}

/* ---- CPUs that come and go ---- */

/* The hardware queues of a CPU go with it; no command may be lost in them. */
static void cpu_hotplug(void)
{
	unsigned int cpus = (unsigned int)sysconf(_SC_NPROCESSORS_CONF), i, nr = rounds(5), cpu;
	struct storm s = { .tolerated = NULL };
	long pins = pins_held();

	if (cpus < 2) {
		skip_case("one CPU");
		return;
	}
	if (storm_start(&s)) {
		for (i = 0; i < nr; i++) {
			for (cpu = 1; cpu < cpus && cpu_online(cpu, "0"); cpu++)
				;
			storm_moves(&s, 2);
			while (--cpu && cpu_online(cpu, "1"))
				;
			if (!storm_moves(&s, 2))
				break;
		}
	}
	storm_end(&s);
	pins_back(pins, 5000);
}

/* ---- memory pressure ---- */

unsigned long meminfo_kib(const char *key)
{
	char text[4096], *at;

	if (!read_file("/proc/meminfo", text, sizeof(text)))
		return 0;
	at = strstr(text, key);
	return at ? strtoul(at + strlen(key), NULL, 10) : 0;
}

/* Allocate all available memory but @arg MiB, touch it, and free it. */
static void hog(void *arg)
{
	size_t keep = *(const size_t *)arg, len;
	unsigned char *map;

	len = (size_t)meminfo_kib("MemAvailable:") << 10;
	if (len <= keep)
		return;
	len -= keep;
	map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
		   -1, 0);
	CHECK(map != MAP_FAILED, "mmap of %zu bytes: %s", len, strerror(errno));
}

/* Pinned pages are neither reclaimed nor moved; the rest of memory is. */
static void pressure(void)
{
	/* a list built for one command is allocated on the spot */
	static const int by_pressure[] = { -ENOMEM, 0 };
	struct storm s = { .tolerated = by_pressure };
	size_t keep = MIB(96);
	unsigned int i, nr = rounds(1);
	long pins = pins_held();

	if (storm_start(&s)) {
		for (i = 0; i < nr && in_child(hog, &keep, 0); i++) {
			CHECK(write_file("/proc/sys/vm/compact_memory", "1"), "compact_memory");
			CHECK(write_file("/proc/sys/vm/drop_caches", "3"), "drop_caches");
			if (!storm_moves(&s, 1))
				break;
		}
	}
	storm_end(&s);
	pins_back(pins, 5000);
}

/* ---- owners that are killed ---- */

/* In memory that both processes see, since the parent checks the child's results. */
struct owner *owner_alloc(void)
{
	struct owner *o = mmap(NULL, sizeof(*o), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			       -1, 0);

	return CHECK(o != MAP_FAILED, "no memory") ? o : NULL;
}

void owner_free(struct owner *o)
{
	storm_forget(&o->storm);
	munmap(o, sizeof(*o));
}

static void owns(void *arg)
{
	struct owner *o = arg;

	if (storm_run(&o->storm) && storm_moves(&o->storm, opt.door ? 16 * STREAM_DEPTH : 1) &&
	    (!opt.door || storm_served(&o->storm))) {
		o->running = true;
		pause();
	}
}

/* The files are the child's alone, and so is its state in shared memory. */
static void hand_over(const struct storm *s)
{
	unsigned int i;

	for (i = 0; i < STREAMS; i++)
		close(s->stream[i].dev.fd);
}

static bool wait_running(const struct owner *o, pid_t pid)
{
	uint64_t end = now_ms() + 30000;

	while (!o->running && now_ms() < end && !waitpid(pid, NULL, WNOHANG))
		sleep_ms(2);
	return CHECK(o->running, "the owner does not start");
}

/* As user nobody, with a limit for one storm: a charge that stays would make it fail. */
bool owner_kill(struct owner *o, uint64_t lba, const struct dev *reset)
{
	bool good;
	pid_t pid;

	*o = (struct owner){ .storm = { .lba = lba,
					.tolerated = by_reset,
					.unprivileged = true,
					.queues = o->storm.queues } };
	if (!storm_open(&o->storm))
		return false;
	pid = child_start(owns, o, NOBODY);
	hand_over(&o->storm);
	good = pid > 0 && wait_running(o, pid);
	sleep_ms((unsigned int)rnd_below(60));
	if (pid > 0) {
		kill(pid, SIGKILL);
		if (reset)
			good &= ctrl_reset(reset);
		waitpid(pid, NULL, 0);
	}
	return good;
}

static size_t storm_bytes(void)
{
	struct storm s = { .tolerated = NULL };
	long pins = pins_held();
	size_t bytes = 0;
	unsigned int i;

	/* Bytes that a storm of this process has pinned. */
	if (storm_start(&s))
		bytes = (size_t)status_kib(getpid(), "VmPin") << 10;
	for (i = 0; i < STREAMS; i++)
		CHECK(s.stream[i].mem.map, "stream %u", i);
	storm_end(&s);
	/* io_uring ends a closed ring in a worker, its buffers last */
	pins_back(pins, 5000);
	/* a page of descriptors is charged for each, if its form has any */
	return opt.door ? bytes : bytes + STREAMS * PAGE;
}

static void owner_killed(void)
{
	struct storm s = { .tolerated = by_reset };
	struct owner *o = owner_alloc();
	long pins, all = pins_held();
	size_t bytes = storm_bytes();
	struct rlimit limit = { bytes, bytes }, old;
	unsigned int i, nr = rounds(5);

	if (!o)
		return;
	getrlimit(RLIMIT_MEMLOCK, &old);
	if (storm_start(&s)) {
		pins = pins_held();
		setrlimit(RLIMIT_MEMLOCK, &limit);
		for (i = 0; i < nr; i++) {
			if (!owner_kill(o, 16384, i % 2 ? &s.stream[0].dev : NULL) ||
			    !pins_back(pins, 10000) || !storm_check(&o->storm))
				break;
			storm_forget(&o->storm);
		}
		setrlimit(RLIMIT_MEMLOCK, &old);
		storm_moves(&s, 3);
	}
	storm_end(&s);
	pins_back(all, 5000);
	owner_free(o);
}

/* ---- an owner that the OOM killer takes ---- */

#define CGROUP "/sys/fs/cgroup"

static bool make_cgroup(struct owner *o, const char *max)
{
	char path[128];

	mount("cgroup", CGROUP, "cgroup2", 0, NULL);
	write_file(CGROUP "/cgroup.subtree_control", "+memory");
	snprintf(o->cgroup, sizeof(o->cgroup), CGROUP "/owner");
	snprintf(path, sizeof(path), "%s/memory.max", o->cgroup);
	return CHECK(!mkdir(o->cgroup, 0755), "%s: %s", o->cgroup, strerror(errno)) &&
	       CHECK(write_file(path, max), "%s: %s", path, strerror(errno));
}

static unsigned long cgroup_value(const struct owner *o, const char *file, const char *key)
{
	char path[128], text[2048], *at = text;

	snprintf(path, sizeof(path), "%s/%s", o->cgroup, file);
	if (!read_file(path, text, sizeof(text)))
		return 0;
	if (key)
		at = strstr(text, key);
	return at ? strtoul(at + (key ? strlen(key) : 0), NULL, 10) : 0;
}

/* A buffer of 2 MiB, and a write from the middle of it. */
static void use_new(struct prog *p, unsigned int i, unsigned char *map)
{
	uint32_t index = 0;
	int ret;

	if (opt.door) {
		if (buffer_set(p, i, map, MIB(2)))
			CHECK_RET(run_fixed(p, OP_WRITE, i, map + MIB(1), 4 * PAGE, 40000), 0,
				  "write");
		return;
	}
	ret = nvme_pmap_register_buf(p->dev.fd, map, MIB(2), 0, &index);
	/* Pages that stay pinned after the kill, if any. */
	if (ret == -ENOMEM || ret == -EFAULT)
		return;
	CHECK_RET(ret, 0, "register");
	CHECK_RET(run_rw(&p->ring, &p->dev, OP_WRITE, index, MIB(1), 4 * PAGE, 40000), 0, "write");
}

/* Write by buffers of 2 MiB, each of which the registration itself brings in. */
static void grows(void *arg)
{
	struct owner *o = arg;
	struct prog p = { .dev = o->storm.stream[0].dev };
	char path[128];
	void *map;
	unsigned int i;

	snprintf(path, sizeof(path), "%s/cgroup.procs", o->cgroup);
	if (!CHECK(write_file(path, "0"), "%s: %s", path, strerror(errno)) ||
	    !storm_run(&o->storm) || !ring_open(&p.ring, MODE_IRQ, 4) ||
	    !CHECK_RET(io_uring_register_buffers_sparse(&p.ring, TABLE), 0, "table"))
		return;
	o->running = true;
	for (i = 0; i < 100; i++) {
		map = mmap(NULL, MIB(2), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			   0);
		use_new(&p, i, map);
	}
	CHECK(false, "200 MiB in a group of 40");
}

static bool killed(pid_t pid)
{
	uint64_t end = now_ms() + 40000;
	int status = 0;
	pid_t got;

	while (!(got = waitpid(pid, &status, WNOHANG)) && now_ms() < end)
		sleep_ms(5);
	if (!got)
		kill(pid, SIGKILL);
	return CHECK(got == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
		     "not killed: wait status %#x", status);
}

/* Its charge must end as well: pages that stay pinned are seen here. */
static bool cgroup_empties(const struct owner *o)
{
	uint64_t end = now_ms() + 10000;
	unsigned long bytes;

	while ((bytes = cgroup_value(o, "memory.current", NULL)) > MIB(2) && now_ms() < end)
		sleep_ms(20);
	return CHECK(cgroup_value(o, "memory.events", "\noom_kill ") > 0,
		     "nobody ran out of memory") &&
	       CHECK(bytes <= MIB(2), "%lu bytes stay charged", bytes) &&
	       CHECK(!rmdir(o->cgroup), "rmdir: %s", strerror(errno));
}

static bool oom_one(struct owner *o)
{
	bool good;
	pid_t pid;

	*o = (struct owner){ .storm = { .lba = 16384, .tolerated = by_reset } };
	if (!make_cgroup(o, "40M") || !storm_open(&o->storm))
		return false;
	pid = child_start(grows, o, 0);
	hand_over(&o->storm);
	good = pid > 0 && killed(pid);
	return good && CHECK(o->running, "killed before it began");
}

static void oom(void)
{
	struct storm s = { .tolerated = NULL };
	struct owner *o = owner_alloc();
	long pins, all = pins_held();
	unsigned int i, nr = rounds(2);

	if (!o)
		return;
	if (storm_start(&s)) {
		pins = pins_held();
		for (i = 0; i < nr; i++) {
			if (!oom_one(o) || !pins_back(pins, 10000) || !cgroup_empties(o) ||
			    !storm_check(&o->storm))
				break;
			storm_forget(&o->storm);
		}
		storm_moves(&s, 3);
	}
	storm_end(&s);
	pins_back(all, 5000);
	owner_free(o);
}

static const struct test_case chaos_cases[] = {
	{ "resets", resets },
	{ "reregister", reregister },
	{ "cpu-hotplug", cpu_hotplug },
	{ "pressure", pressure },
	{ "owner-killed", owner_killed },
	{ "oom", oom },
	{ "shared-file", chaos_shared_file },
};

SUBJECT(chaos);
