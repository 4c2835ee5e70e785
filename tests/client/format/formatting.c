// SPDX-License-Identifier: GPL-2.0
/*
 * Format NVM by ioctl while others read.  The device then knows the new format before
 * the driver does, and PRPs carry no length: commands with them wait until it does.
 * -d is the controller to be formatted, a slow one; -D another one.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "format/formatting.h"

#define NOBODY 65534
#define PAGES  64u /* parts of the memory: read buffers, and guards */

int format_ioctl(const struct dev *dev, unsigned int lbaf)
{
	return ns_format(dev->fd, dev->nsid, lbaf, false);
}

/* The LBA format of @bytes without metadata, by Identify; -1 if there is none. */
static int find_format(const struct dev *dev, unsigned int bytes)
{
	static unsigned char id[4096] __attribute__((aligned(4096)));
	uint32_t lbaf;
	int i;

	if (!CHECK_RET(admin_identify(dev->fd, 0, dev->nsid, id), 0, "identify"))
		return -1;
	for (i = 0; i <= id[25]; i++) {
		memcpy(&lbaf, id + 128 + 4 * i, 4);
		if (!(lbaf & 0xffff) && 1u << (lbaf >> 16 & 0xff) == bytes)
			return i;
	}
	CHECK(false, "no LBA format of %u bytes", bytes);
	return -1;
}

bool stand_open(struct stand *st, const char *name, uint32_t flags)
{
	if (!setup_make(&st->s, name, MODE_IRQ, MEM_SHMEM, FORMAT_PAGES * PAGE) ||
	    !must_register(&st->s.dev, st->s.mem.map, FORMAT_PAGES * PAGE, flags, &st->index))
		return false;
	st->lbaf[0] = find_format(&st->s.dev, 512);
	st->lbaf[1] = find_format(&st->s.dev, 4096);
	return st->lbaf[0] >= 0 && st->lbaf[1] >= 0;
}

/* ---- another controller, whose formats are all known, serves every command ---- */

struct formatter {
	const struct dev *dev;
	unsigned int lbaf;
	int ret;
	bool done;
	pthread_t thread;
};

static void *formatter(void *arg)
{
	struct formatter *f = arg;

	f->ret = format_ioctl(f->dev, f->lbaf);
	__atomic_store_n(&f->done, true, __ATOMIC_RELEASE);
	return NULL;
}

/* Reads of @by while @f is at work: how many there were. */
static unsigned int undisturbed(struct formatter *f, struct stand *by)
{
	unsigned int nr = 0;

	if (!CHECK(!pthread_create(&f->thread, NULL, formatter, f), "pthread_create"))
		return 0;
	do {
		CHECK_RET(run_rw(&by->s.ring, &by->s.dev, OP_READ, by->index, 0, 3 * PAGE, 0), 0,
			  "PRP");
		CHECK_RET(run_rw(&by->s.ring, &by->s.dev, OP_READ, by->s.index, 0, 3 * PAGE, 0), 0,
			  "SGL");
		nr++;
	} while (!__atomic_load_n(&f->done, __ATOMIC_ACQUIRE));
	pthread_join(f->thread, NULL);
	return nr;
}

static void other(void)
{
	struct stand slow = { 0 }, by = { 0 };
	struct formatter f;
	unsigned int i, nr;

	if (!stand_open(&slow, opt.dev, NVME_PMAP_REG_PRP) ||
	    !stand_open(&by, opt.dev2, NVME_PMAP_REG_PRP))
		goto out;
	for (i = 0; i < 4; i++) {
		f = (struct formatter){ .dev = &slow.s.dev,
					.lbaf = (unsigned int)slow.lbaf[~i & 1] };
		nr = undisturbed(&f, &by);
		CHECK_RET(f.ret, 0, "format");
		CHECK(nr > 4, "%u reads of the other disk during format %u", nr, i);
	}
	/* One that fails is over as well. */
	f = (struct formatter){ .dev = &slow.s.dev, .lbaf = 15 };
	undisturbed(&f, &by);
	CHECK(f.ret > 0, "format to no such LBA format: %s", err_name(f.ret));
	CHECK_RET(run_rw(&slow.s.ring, &slow.s.dev, OP_READ, slow.index, 0, 3 * PAGE, 0), 0,
		  "the disk of the failed format");
out:
	setup_close(&by.s);
	setup_close(&slow.s);
}

/* ---- the namespace itself, read all the time by a user ---- */

/*
 * Two commands that are right in one of the formats: 24 blocks are three pages
 * or else run on into 21 more; 16 blocks are 16 pages, or else two, and then
 * the device takes the list for the second of them.
 */
enum { SMALL, LARGE };

static const struct {
	unsigned int page, pages, blocks;
} reads[] = {
	[SMALL] = { 4, 3, 24 },
	[LARGE] = { 8, 16, 16 },
};

/* In memory that the child sees as well. */
struct race {
	struct stand *st;
	bool stop, resets;
	unsigned int rounds, good, busy, overflow, status, ended;
};

static bool guards_intact(const unsigned char *map)
{
	const unsigned int guard[][2] = { { 0, 4 }, { 7, 8 }, { 24, PAGES } };
	size_t i, len;

	for (i = 0; i < ARRAY_SIZE(guard); i++) {
		len = (guard[i][1] - guard[i][0]) * PAGE;
		if (!CHECK(poisoned(map + guard[i][0] * PAGE, len) == len,
			   "memory of pages %u to %u changed", guard[i][0], guard[i][1]))
			return false;
	}
	return true;
}

static void prep_read(struct io_uring *ring, const struct stand *st, unsigned int which)
{
	struct nvme_pmap_cmd cmd = cmd_rw(&st->s.dev, OP_READ, st->index, reads[which].page * PAGE,
					  reads[which].pages * PAGE, 0);

	cmd.cdw12 = reads[which].blocks - 1;
	prep_cmd(ring, st->s.dev.fd, &cmd, which);
}

static void count(struct race *r, int res)
{
	r->good += res == 0;
	r->busy += res == -EBUSY;
	r->overflow += res == -EOVERFLOW;
	r->status += res > 0;
	/* cancelled by a reset, or sent while the queues were down */
	r->ended += res == -EINTR || res == -EIO || res == -EAGAIN;
	CHECK(res >= 0 || res == -EBUSY || res == -EOVERFLOW ||
		      (r->resets && (res == -EINTR || res == -EIO || res == -EAGAIN)),
	      "read: %s", err_name(res));
}

/* Without root: only the file, which root had open and registered on. */
static void reader(void *arg)
{
	struct race *r = arg;
	struct completion done;
	struct io_uring ring;
	unsigned int i;

	if (!ring_open(&ring, MODE_IRQ, 16))
		return;
	while (!__atomic_load_n(&r->stop, __ATOMIC_ACQUIRE)) {
		for (i = 0; i < 8; i++)
			prep_read(&ring, r->st, i & 1);
		if (!CHECK_RET(ring_push(&ring), 0, "submit"))
			return;
		for (i = 0; i < 8; i++) {
			if (!CHECK_RET(ring_reap(&ring, &done, 20000), 0, "completion"))
				return;
			count(r, done.res);
		}
		if (!guards_intact(r->st->s.mem.map))
			return;
		__atomic_fetch_add(&r->rounds, 1, __ATOMIC_RELEASE);
	}
	io_uring_queue_exit(&ring);
}

/* False when the child is gone, or does nothing for 20 s. */
static bool another_round(const struct race *r, pid_t pid)
{
	unsigned int before = __atomic_load_n(&r->rounds, __ATOMIC_ACQUIRE);
	uint64_t end = now_ms() + 20000;
	siginfo_t info;

	while (__atomic_load_n(&r->rounds, __ATOMIC_ACQUIRE) == before) {
		info.si_pid = 0;
		waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT);
		if (info.si_pid || now_ms() > end)
			return false;
		sleep_ms(1);
	}
	return true;
}

/* Every command still goes where it should: the lists are what they were. */
void lists_intact(struct stand *st)
{
	unsigned char *map = st->s.mem.map;
	struct completion done;

	poison(map, PAGES * PAGE);
	prep_read(&st->s.ring, st, LARGE);
	CHECK_RET(ring_push(&st->s.ring), 0, "submit");
	if (!CHECK_RET(ring_reap(&st->s.ring, &done, 20000), 0, "completion") ||
	    !CHECK_RET(done.res, 0, "16 blocks of 4096 bytes"))
		return;
	guards_intact(map);
	CHECK(poisoned(map + 4 * PAGE, 4 * PAGE) == 4 * PAGE, "memory before the slice changed");
	/* the device reads as zeroes */
	CHECK(!map[8 * PAGE] && !memcmp(map + 8 * PAGE, map + 8 * PAGE + 1, 16 * PAGE - 1),
	      "the data did not arrive");
}

static bool race_run(struct race *r, format_fn *format, unsigned int rounds)
{
	unsigned int i;
	pid_t pid;
	int ret;

	poison(r->st->s.mem.map, PAGES * PAGE);
	pid = child_start(reader, r, NOBODY);
	if (pid < 0)
		return false;
	/* An even number of times: 512 at the end. */
	for (i = 0; i < rounds || i % 2; i++) {
		if (!another_round(r, pid))
			break;
		ret = format(&r->st->s.dev, (unsigned int)r->st->lbaf[~i & 1]);
		if (!CHECK(!ret || (r->resets && ret == -EINTR), "format: %s", err_name(ret)))
			break;
	}
	CHECK(another_round(r, pid), "the reader does nothing any more");
	__atomic_store_n(&r->stop, true, __ATOMIC_RELEASE);
	child_wait(pid);
	note("%u formats, %u rounds: %u good, %u EBUSY, %u EOVERFLOW, %u failed by the device, %u ended by resets",
	     i, r->rounds, r->good, r->busy, r->overflow, r->status, r->ended);
	CHECK(r->good && r->overflow, "%u reads in the one format, %u refusals in the other",
	      r->good, r->overflow);
	CHECK(!r->busy, "%u commands were refused rather than made to wait", r->busy);
	return !case_failed();
}

static struct race *race_alloc(struct stand *st)
{
	struct race *r = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
			      0);

	if (!CHECK(r != MAP_FAILED, "no memory"))
		return NULL;
	r->st = st;
	return r;
}

void format_race(const struct race_of *of)
{
	struct stand st = { 0 };
	struct race *r = race_alloc(&st);

	if (!r || !stand_open(&st, opt.dev, of->flags))
		goto out;
	r->resets = of->resets;
	if (!race_run(r, of->format, opt.rounds ?: of->rounds))
		goto out;
	if (CHECK_RET(of->last(&st.s.dev, (unsigned int)st.lbaf[1]), 0, "format"))
		lists_intact(&st);
	CHECK_RET(of->last(&st.s.dev, (unsigned int)st.lbaf[0]), 0, "format");
out:
	setup_close(&st.s);
	if (r)
		munmap(r, PAGE);
}

static void race(uint32_t flags)
{
	const struct race_of of = {
		.flags = flags, .format = format_ioctl, .last = format_ioctl, .rounds = 8
	};

	format_race(&of);
}

static void race_prp(void) { race(NVME_PMAP_REG_PRP); }
static void race_sgl_list(void) { race(NVME_PMAP_REG_SGL_LIST); }
static void race_sgl(void) { race(0); }

static const struct test_case formatting_cases[] = {
	{ "other", other },
	{ "race-prp", race_prp },
	{ "race-sgl-list", race_sgl_list },
	{ "race-sgl", race_sgl },
};

SUBJECT(formatting);
