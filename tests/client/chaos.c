// SPDX-License-Identifier: GPL-2.0
/*
 * A load in every ring mode and form goes on while something disturbs it, many
 * times.  In every case: each command has one CQE; a command ends with zero or
 * an error that the disturbance explains; what was acknowledged as written is
 * read back; pins and counters are at the end what they were.
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

#include "storm.h"

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

/* ---- unregister and register, of what the load uses ---- */

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

/* Take what is available but for @arg MiB, touch it, and give it back. */
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

/* In memory that both processes see, for the parent checks what the child did. */
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

	if (storm_run(&o->storm) && storm_moves(&o->storm, 1)) {
		o->running = true;
		pause();
	}
}

/* The files are the child's alone; what stands in shared memory is its, too. */
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

/* As nobody, whose limit is what one storm needs: what stays charged is missed. */
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
	size_t bytes = 0;
	unsigned int i;

	/* What a storm of this process has pinned, in bytes. */
	if (storm_start(&s))
		bytes = (size_t)status_kib(getpid(), "VmPin") << 10;
	for (i = 0; i < STREAMS; i++)
		CHECK(s.stream[i].mem.map, "stream %u", i);
	storm_end(&s);
	return bytes;
}

static void owner_killed(void)
{
	struct storm s = { .tolerated = by_reset };
	struct owner *o = owner_alloc();
	size_t bytes = storm_bytes();
	struct rlimit limit = { bytes, bytes }, old;
	unsigned int i, nr = rounds(5);
	long pins;

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

/* Write by buffers of 2 MiB, each of which the registration itself brings in. */
static void grows(void *arg)
{
	struct owner *o = arg;
	struct stream *st = &o->storm.stream[0];
	struct io_uring ring;
	uint32_t index = 0;
	char path[128];
	void *map;
	int i, ret;

	snprintf(path, sizeof(path), "%s/cgroup.procs", o->cgroup);
	if (!CHECK(write_file(path, "0"), "%s: %s", path, strerror(errno)) ||
	    !storm_run(&o->storm) || !ring_open(&ring, MODE_IRQ, 4))
		return;
	o->running = true;
	for (i = 0; i < 100; i++) {
		map = mmap(NULL, MIB(2), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			   0);
		ret = nvme_pmap_register_buf(st->dev.fd, map, MIB(2), 0, &index);
		/* What the kill leaves to be seen, if anything. */
		if (ret == -ENOMEM || ret == -EFAULT)
			continue;
		CHECK_RET(ret, 0, "register");
		CHECK_RET(run_rw(&ring, &st->dev, OP_WRITE, index, MIB(1), 4 * PAGE, 40000), 0,
			  "write");
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

/* What it was charged goes as well: pages that stayed pinned would be seen here. */
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
	unsigned int i, nr = rounds(2);
	long pins;

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
	owner_free(o);
}

/* ---- one file in three processes ---- */

#define SHARERS 3

struct sharing {
	struct dev dev;
	struct mem mem[SHARERS];
	struct load load[SHARERS];
	volatile bool stop, leave;
	bool good[SHARERS];
	int sock[2];
};

static void sharing_load(struct sharing *sh, unsigned int i, enum mode mode)
{
	sh->load[i] = (struct load){ .name = mode_names[mode],
				     .mode = mode,
				     .dev = &sh->dev,
				     .len = 2 * PAGE,
				     .depth = 6,
				     .count = UINT32_MAX,
				     .entries = 16,
				     .base = sh->mem[i].map,
				     .lba = 49152 + 256 * i,
				     .tolerated = by_reset,
				     .stop = &sh->stop };
}

static struct sharing *sharing_alloc(void)
{
	static const enum mode modes[SHARERS] = { MODE_IRQ, MODE_POLL, MODE_POLL_DEFER };
	struct sharing *sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned int i;

	if (!CHECK(sh != MAP_FAILED && !socketpair(AF_UNIX, SOCK_STREAM, 0, sh->sock), "no memory"))
		return NULL;
	for (i = 0; i < SHARERS; i++) {
		if (!CHECK(mem_alloc(&sh->mem[i], MEM_SHMEM, LOAD_BYTES(6, 2 * PAGE)), "no memory"))
			return NULL;
		sharing_load(sh, i, modes[i]);
		if (!load_keep(&sh->load[i]))
			return NULL;
	}
	return sh;
}

static void sharing_free(struct sharing *sh)
{
	unsigned int i;

	for (i = 0; i < SHARERS; i++) {
		load_forget(&sh->load[i]);
		mem_free(&sh->mem[i]);
	}
	munmap(sh, sizeof(*sh));
}

/* Has the file from fork(); will be killed. */
static void inherits(void *arg)
{
	struct sharing *sh = arg;

	load_run(&sh->load[1]);
}

/* Has the file from a socket, and everything of it in the end. */
static void receives(void *arg)
{
	struct sharing *sh = arg;
	struct nvme_pmap_query q;
	unsigned int i;
	int fd = receive_fd(sh->sock[0]);

	if (!CHECK(fd >= 0, "recvmsg: %s", strerror(errno)))
		return;
	/* By the same number, for what all three share to be right. */
	if (fd != sh->dev.fd && !CHECK(dup2(fd, sh->dev.fd) >= 0 && !close(fd), "dup2"))
		return;
	sh->good[2] = load_run(&sh->load[2]);
	while (!sh->leave)
		sleep_ms(2);
	for (i = 0; i < SHARERS; i++)
		must_unregister(&sh->dev, sh->load[i].index);
	if (CHECK_RET(nvme_pmap_query_file(sh->dev.fd, &q), 0, "query"))
		CHECK(!q.nr_pmaps && !q.pinned, "%u buffers left", q.nr_pmaps);
}

static bool load_moves(const struct load *l, unsigned int pairs)
{
	uint64_t end = now_ms() + 30000, from = *(const volatile uint64_t *)&l->verified;

	while (*(const volatile uint64_t *)&l->verified < from + pairs && now_ms() < end)
		sleep_ms(2);
	return CHECK(*(const volatile uint64_t *)&l->verified >= from + pairs,
		     "%s: no progress in 30 s", l->name);
}

/* The forked one dies in the middle; the other two go on, through a reset. */
static bool share(struct sharing *sh)
{
	bool good;
	pid_t pid = child_start(inherits, sh, 0);

	good = pid > 0 && load_start(&sh->load[0]) && load_moves(&sh->load[1], 12) &&
	       load_moves(&sh->load[2], 12) && load_moves(&sh->load[0], 12);
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	good = good && ctrl_reset(&sh->dev) && load_moves(&sh->load[0], 12) &&
	       load_moves(&sh->load[2], 12);
	sh->stop = true;
	if (sh->load[0].thread)
		load_join(&sh->load[0]);
	return good;
}

static bool share_out(struct sharing *sh)
{
	unsigned int i;

	for (i = 0; i < SHARERS; i++)
		if (!must_register(&sh->dev, sh->mem[i].map, sh->mem[i].len,
				   i ? 0 : NVME_PMAP_REG_PRP, &sh->load[i].index))
			return false;
	return CHECK_RET(send_fd(sh->sock[1], sh->dev.fd), 0, "sendmsg") && share(sh);
}

static void shared_file(void)
{
	struct sharing *sh = sharing_alloc();
	long pins = pins_held();
	struct setup s;
	unsigned int i;
	pid_t pid;

	if (!sh)
		return;
	/* Before the file is open, so that the socket is its only way. */
	pid = child_start(receives, sh, 0);
	if (pid > 0 && dev_open(&sh->dev, NULL, O_RDWR)) {
		share_out(sh);
		/* The number stays written there, for the receiver. */
		close(sh->dev.fd);
	}
	sh->stop = sh->leave = true;
	child_wait(pid);
	CHECK(sh->good[2], "the receiver's load failed");
	CHECK(pins_gone(getpid(), 5000), "the first process stays charged");
	if (setup_make(&s, NULL, MODE_IRQ, MEM_4K, PAGE))
		for (i = 0; i < SHARERS; i++)
			load_check(&sh->load[i], &s.dev, &s.ring);
	setup_close(&s);
	close(sh->sock[0]);
	close(sh->sock[1]);
	sharing_free(sh);
	pins_back(pins, 5000);
}

static const struct test_case chaos_cases[] = {
	{ "resets", resets },
	{ "reregister", reregister },
	{ "cpu-hotplug", cpu_hotplug },
	{ "pressure", pressure },
	{ "owner-killed", owner_killed },
	{ "oom", oom },
	{ "shared-file", shared_file },
};

SUBJECT(chaos);
