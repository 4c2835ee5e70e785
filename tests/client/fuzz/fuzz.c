// SPDX-License-Identifier: GPL-2.0
/*
 * Random calls of the user API by a user without rights: right ones, nearly
 * right ones and nonsense, by threads that share files and rings and close,
 * unmap and fork meanwhile.  The numbers come from the seed; only how the
 * threads interleave differs from run to run.  -n is the number of calls.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "auto/auto.h"
#include "fuzz/fuzz.h"

#define NOBODY	 65534
#define CALLS	 1000000u
#define FIRST_FD 500
#define MEMLOCK	 (16u << 20)
/* From here on any answer may come. */
#define COMPLETE 200000u

struct fuzz fuzz;

/*
 * Each file has a number of its own that nothing else ever gets, so that a
 * command meant for a file opened read-only never reaches another.
 */
static bool open_file(unsigned int file)
{
	int fd = open(fuzz.dev.path, (file_writable(file) ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	bool good = CHECK(fd >= 0, "open %s: %s", fuzz.dev.path, strerror(errno)) &&
		    CHECK(dup2(fd, fuzz.fd[file]) == fuzz.fd[file], "dup2: %s", strerror(errno));

	if (fd >= 0)
		close(fd);
	return good;
}

/* Count the commands that its queues have taken, before it is closed. */
static void count_queued(struct worker *w, unsigned int file)
{
	struct nvme_pmap_stats stats;

	if (nvme_pmap_stats_file(fuzz.fd[file], &stats))
		return;
	/* commands with mapped fixed buffers may use any queue */
	w->tally->by_queue[file_queues(file)] += stats.queue - stats.auto_queue;
	w->tally->by_path[PATH_BLK_MQ] += stats.auto_mq;
	w->tally->by_path[PATH_QUEUE] += stats.auto_queue;
	w->tally->by_path[PATH_SETUP] += stats.stock_setup;
	w->tally->by_path[PATH_UNSUPPORTED] += stats.stock_unsupported;
	w->tally->by_path[PATH_UNMAPPED] += stats.stock_unmapped;
	w->tally->by_path[PATH_OTHER] += stats.stock_other;
}

/* Close a file under all its users, and open another in its place. */
static void reopen(struct worker *w)
{
	unsigned int file = NR_KEPT + (unsigned int)draw_below(w, NR_FILES - NR_KEPT), i;

	for (i = 0; i < NR_GUESSED; i++)
		__atomic_store_n(&fuzz.guess[file][i], 0, __ATOMIC_RELAXED);
	count_queued(w, file);
	if (chance(w, 300)) {
		close(fuzz.fd[file]);
		for (i = 0; i < 8; i++)
			fuzz_ioctl(w);
	}
	if (open_file(file))
		fuzz_attach(w, file);
}

/* The fixed files of a ring follow the open ones, now and then. */
static void update_files(struct worker *w, struct fuzz_ring *r)
{
	unsigned int file = draw_file(w);
	int fd = fuzz.fd[file];

	pthread_mutex_lock(&r->lock);
	io_uring_register_files_update(&r->ring, file, &fd, 1);
	pthread_mutex_unlock(&r->lock);
}

/* A child that has the files and the memory, and none of the threads. */
static void forked(struct worker *w)
{
	unsigned int i;
	pid_t pid = fork();

	if (!pid) {
		alarm(60);
		w->state ^= 0x5555;
		for (i = 0; i < 24; i++)
			fuzz_ioctl(w);
		_exit(0);
	}
	w->done += 24;
	if (CHECK(pid > 0, "fork: %s", strerror(errno)))
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
}

static void read_fdinfo(struct worker *w)
{
	uint64_t value;

	fdinfo_counter(fuzz.fd[draw_file(w)], "prp", &value);
}

static const enum mode own_modes[] = { MODE_IRQ, MODE_POLL, MODE_DEFER, MODE_POLL_DEFER };
static const enum mode shared_modes[NR_SHARED] = {
	MODE_IRQ,
	MODE_POLL,
	MODE_SQPOLL,
	MODE_POLL_SQPOLL,
};

/* Another ring; the old one may have commands in flight. */
static void reopen_ring(struct worker *w)
{
	enum mode mode = own_modes[draw_below(w, ARRAY_SIZE(own_modes))];

	/* see draw_kind() */
	if (w->own.mode == MODE_POLL_DEFER || chance(w, 500))
		fuzz_ring_drain(w, &w->own);
	fuzz_ring_close(&w->own);
	fuzz_ring_open(&w->own, mode);
}

static struct fuzz_ring *draw_ring(struct worker *w)
{
	return chance(w, 600) ? &w->own : &fuzz.shared[draw_below(w, NR_SHARED)];
}

static void special(struct worker *w)
{
	unsigned int n = (unsigned int)draw_below(w, 100);

	if (n < 40)
		reopen(w);
	else if (n < 60)
		update_files(w, draw_ring(w));
	else if (n < 64)
		forked(w);
	else if (n < 70)
		reopen_ring(w);
	else if (n < 80)
		read_fdinfo(w);
	else
		arena_check(&w->arena, "a worker's");
}

static void step(struct worker *w)
{
	unsigned int i;

	if (chance(w, 20)) {
		special(w);
	} else if (chance(w, 100)) {
		struct fuzz_ring *r = draw_ring(w);

		for (i = 0; i < 4; i++)
			fuzz_buffers(w, r);
	} else if (chance(w, 600)) {
		fuzz_batch(w, draw_ring(w));
	} else {
		for (i = 0; i < 16; i++)
			fuzz_ioctl(w);
	}
}

static void *work(void *arg)
{
	struct worker *w = arg;

	/* A ring of DEFER_TASKRUN belongs to the thread that made it. */
	if (fuzz_ring_open(&w->own, own_modes[w->id % ARRAY_SIZE(own_modes)])) {
		while (w->done < w->quota && !__atomic_load_n(&fuzz.stop, __ATOMIC_RELAXED))
			step(w);
		fuzz_ring_drain(w, &w->own);
		fuzz_ring_close(&w->own);
	}
	arena_check(&w->arena, "a worker's");
	__atomic_store_n(&w->quota, 0, __ATOMIC_RELEASE);
	return NULL;
}

static uint64_t calls_done(bool *busy)
{
	uint64_t done = 0;
	unsigned int i;

	*busy = false;
	for (i = 0; i < NR_WORKERS; i++) {
		done += __atomic_load_n(&fuzz.worker[i].done, __ATOMIC_RELAXED);
		*busy |= __atomic_load_n(&fuzz.worker[i].quota, __ATOMIC_ACQUIRE) != 0;
	}
	return done;
}

/* The late worker, and the commands that its ring waits for. */
static void tell_late(void)
{
	unsigned int i;

	for (i = 0; i < NR_WORKERS; i++)
		if (fuzz.worker[i].quota)
			note("worker %u: %" PRIu64 " of %" PRIu64
			     " calls, %u commands in flight (%s)",
			     i, fuzz.worker[i].done, fuzz.worker[i].quota, fuzz.worker[i].own.busy,
			     mode_names[fuzz.worker[i].own.mode]);
	for (i = 0; i < NR_SHARED; i++)
		note("shared ring, %s: %u commands in flight", mode_names[fuzz.shared[i].mode],
		     fuzz.shared[i].busy);
}

/* Until all are done; a line for each tenth. */
static void watch(uint64_t total)
{
	uint64_t start = now_ms(), next = total / 10, done, last = 0, moved = start;
	bool busy;

	do {
		sleep_ms(100);
		done = calls_done(&busy);
		if (done != last)
			moved = now_ms();
		last = done;
		if (now_ms() - moved > 20000) {
			tell_late();
			moved = now_ms();
		}
		if (done < next)
			continue;
		note("fuzz: %" PRIu64 " of %" PRIu64 " calls, %" PRIu64 " s", done, total,
		     (now_ms() - start) / 1000);
		next = done + total / 10;
	} while (busy);
}

static void start_workers(struct worker *mangle, uint64_t total)
{
	unsigned int i;

	for (i = 0; i < NR_WORKERS; i++) {
		struct worker *w = &fuzz.worker[i];

		w->id = i;
		w->state = opt.seed + i * 0x2545f4914f6cdd1dull;
		w->quota = total / NR_WORKERS;
		w->tally = &fuzz.tallies[i];
		w->junk = fuzz.hole + HOLE_LEN / 2 + i * MIB(1);
		worker_memory(w);
	}
	for (i = 0; i < NR_WORKERS; i++)
		pthread_create(&fuzz.worker[i].thread, NULL, work, &fuzz.worker[i]);
	mangle->state = opt.seed + 4711;
	pthread_create(&mangle->thread, NULL, mangler, mangle);
}

static void nothing(int sig) { (void)sig; }

static void close_all(struct worker *w)
{
	unsigned int i;

	for (i = 0; i < NR_SHARED; i++) {
		fuzz_ring_drain(w, &fuzz.shared[i]);
		fuzz_ring_close(&fuzz.shared[i]);
	}
	for (i = 0; i < NR_FILES; i++) {
		count_queued(w, i);
		close(fuzz.fd[i]);
	}
}

/* In the child, which is nobody. */
static void fuzz_child(void *arg)
{
	struct sigaction sa = { .sa_handler = nothing }; /* without SA_RESTART */
	uint64_t total = *(const uint64_t *)arg;
	static struct worker mangle;
	unsigned int i;

	fuzz.pid = getpid();
	sigaction(SIGUSR1, &sa, NULL);
	for (i = NR_KEPT; i < NR_FILES; i++)
		if (!open_file(i))
			return;
	for (i = 0; i < NR_SHARED; i++)
		if (!fuzz_ring_open(&fuzz.shared[i], shared_modes[i]))
			return;
	if (!hole_make())
		return;
	start_workers(&mangle, total);
	watch(total);
	__atomic_store_n(&fuzz.stop, true, __ATOMIC_RELAXED);
	pthread_join(mangle.thread, NULL);
	for (i = 0; i < NR_WORKERS; i++)
		pthread_join(fuzz.worker[i].thread, NULL);
	close_all(&fuzz.worker[0]);
	CHECK(pins_gone(getpid(), 60000), "VmPin is %ld KiB when all is closed",
	      status_kib(getpid(), "VmPin"));
	tally_report(fuzz.tallies, NR_WORKERS, total >= COMPLETE);
}

/* Root registers in the form that has no lengths, and hands over the files. */
static bool prp_files(void)
{
	static const uint16_t pages[NR_SLOTS] = { 1, 2, 3, 20, 300, 600 };
	static struct worker root;
	unsigned int file, i;

	root.state = opt.seed;
	arena_make(&fuzz.prp, pages, MAP_SHARED, &root, false);
	for (file = 0; file < NR_KEPT; file++) {
		if (!open_file(file))
			return false;
		for (i = 0; i < NR_SLOTS; i++) {
			struct nvme_pmap_register reg = {
				.size = sizeof(reg),
				.flags = NVME_PMAP_REG_PRP,
				.addr = (uintptr_t)fuzz.prp.slot[i].at,
				.len = fuzz.prp.slot[i].len,
				.index = PRP_INDEX + i,
			};

			if (!CHECK_RET(nvme_pmap_ioctl(fuzz.fd[file], NVME_PMAP_IOC_REGISTER, &reg),
				       0, "register PRP buffer %u", i))
				return false;
			fuzz.guess[file][PRP_INDEX + i] = fuzz.prp.slot[i].len;
		}
	}
	return true;
}

/* With -a, as root: the auto door, which is open for queues most of the time. */
static void *switches(void *arg)
{
	static const char *const modes[] = { "on", "queue", "off", "queue" };
	unsigned int i;

	for (i = 0; !__atomic_load_n(&fuzz.over, __ATOMIC_RELAXED); i++) {
		set_door(arg, modes[i % 4]);
		sleep_ms((i % 2 ? 300 : 20) + (unsigned int)rnd_below(i % 2 ? 1000 : 200));
	}
	return NULL;
}

/* The child's files are closed: nothing is kept. */
static void wait_switching(pid_t pid)
{
	pthread_t thread;

	if (!CHECK(!pthread_create(&thread, NULL, switches, &fuzz.dev), "pthread_create"))
		return;
	child_wait(pid);
	__atomic_store_n(&fuzz.over, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	pinned_becomes(&fuzz.dev, 0, 10000);
	set_door(&fuzz.dev, "off");
}

static void calls(void)
{
	const struct rlimit limit = { MEMLOCK, MEMLOCK };
	uint64_t total = opt.rounds ? opt.rounds : CALLS;
	unsigned int i;
	pid_t pid = -1;

	if (!dev_open(&fuzz.dev, NULL, O_RDWR))
		return;
	/* for map_mixed(); without it, pages are small */
	write_file("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "force");
	for (i = 0; i < NR_FILES; i++)
		fuzz.fd[i] = FIRST_FD + (int)i;
	fuzz.tallies = map_pages(NR_WORKERS * sizeof(*fuzz.tallies), MAP_SHARED);
	chmod(fuzz.dev.path, 0666);
	if (fuzz.tallies && prp_files()) {
		setrlimit(RLIMIT_MEMLOCK, &limit);
		if (opt.door)
			set_door(&fuzz.dev, "queue");
		pid = child_start(fuzz_child, &total, NOBODY);
	}
	/* The child's alone: its registrations there end with it. */
	for (i = 0; i < NR_KEPT; i++)
		close(fuzz.fd[i]);
	if (pid > 0) {
		opt.door ? wait_switching(pid) : (void)child_wait(pid);
		arena_check(&fuzz.prp, "root's");
	}
	munmap(fuzz.prp.map, fuzz.prp.len);
	dev_close(&fuzz.dev);
}

static const struct test_case fuzz_cases[] = {
	{ "calls", calls },
};

SUBJECT(fuzz);
