// SPDX-License-Identifier: GPL-2.0
/* The auto door with several rings, and several processes. */
#include <fcntl.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "auto/auto.h"

/* ---- cloned ---- */

#define CLONE_BUFFERS 30 /* IORING_REGISTER_CLONE_BUFFERS, newer than liburing's header */

int clone_buffers(int to, int from)
{
	struct {
		uint32_t src_fd, flags, src_off, dst_off, nr, pad[3];
	} clone = { .src_fd = (uint32_t)from };
	long ret = syscall(__NR_io_uring_register, to, CLONE_BUFFERS, &clone, 1);

	return ret < 0 ? -errno : 0;
}

/* Both by buffer 0, used before, and by buffer 1. */
static void cloned_check(struct prog *p, unsigned char *at)
{
	struct paths before = paths_of(&p->dev);

	/* a clone is the same buffer, and mapped */
	pattern_fill(p->mem.map, p->dev.block, 0, LEN / p->dev.block, 3);
	poison(at, LEN);
	if (move(p, OP_WRITE, 0, p->mem.map, 0, "write") && move(p, OP_READ, 1, at, 0, "read") &&
	    shows(p, at, LEN, 0, 3, "by cloned buffers") &&
	    disk_shows(p, 0, LEN, 0, 3, "by a cloned buffer"))
		paths_served(p, &before, 2 * LEN / SLICE, "cloned");
}

void auto_cloned(void)
{
	struct io_uring ring;
	struct prog p;
	unsigned char *at = place(&p);
	int ret;

	if (!at || !buffer_set(&p, 1, at, LEN) || !ring_open(&ring, MODE_DEFER, 64))
		goto out;
	ret = clone_buffers(ring.ring_fd, p.ring.ring_fd);
	if (ret == -EINVAL) {
		skip_case("io_uring does not clone buffers");
		io_uring_queue_exit(&ring);
	} else if (CHECK_RET(ret, 0, "clone") && buffer_warm(&p, 1, at)) {
		cloned_check(&p, at);
		io_uring_queue_exit(&p.ring);
		p.ring = ring;
		cloned_check(&p, at);
		/* when the first ring has ended for good */
		sleep_ms(200);
		cloned_check(&p, at);
	}
out:
	if (at)
		munmap(at, LEN);
	prog_close(&p);
}

/* ---- reused ---- */

#define TAKEN MIB(192)

/* How far parent and child are; in memory that they share. */
struct steps {
	volatile int step;
};

static struct steps *steps_make(void)
{
	struct steps *s = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
			       0);

	return CHECK(s != MAP_FAILED, "mmap") ? s : NULL;
}

static bool step_reached(const struct steps *s, int step)
{
	uint64_t end = now_ms() + opt.limit * 1000ull;

	while (s->step < step && now_ms() < end)
		sleep_ms(2);
	return CHECK(s->step >= step, "the other process does not get to step %d", step);
}

/* Another process, which takes all the memory it gets. */
static void takes(void *arg)
{
	struct steps *s = arg;
	struct mem mem;

	if (!CHECK(mem_alloc(&mem, MEM_4K, TAKEN), "no memory"))
		return;
	poison(mem.map, TAKEN);
	s->step = 1;
	step_reached(s, 2);
	CHECK(poisoned(mem.map, TAKEN) == TAKEN, "byte %zu of another process changed",
	      poisoned(mem.map, TAKEN));
}

/* A buffer that comes and goes; the blocks are of generation @gen afterwards. */
static bool passing(struct prog *p, uint64_t gen)
{
	struct paths before;
	struct mem mem;
	bool good;

	if (!CHECK(mem_alloc(&mem, MEM_4K, LEN), "no memory"))
		return false;
	good = buffer_set(p, 1, mem.map, LEN) && buffer_warm(p, 1, mem.map);
	before = paths_of(&p->dev);
	pattern_fill(mem.map, p->dev.block, 0, LEN / p->dev.block, gen);
	good = good && move(p, OP_WRITE, 1, mem.map, 0, "write");
	poison(mem.map, LEN);
	good = good && move(p, OP_READ, 1, mem.map, 0, "read") &&
	       shows(p, mem.map, LEN, 0, gen, "a passing buffer") &&
	       paths_served(p, &before, 2 * LEN / SLICE, "a passing buffer");
	buffer_set(p, 1, NULL, 0);
	mem_free(&mem);
	return good;
}

/* With @given_back the door has let go of the memory before the other takes it. */
static void reused_round(struct prog *p, bool given_back, unsigned int round)
{
	struct steps *s = steps_make();
	unsigned int i;
	pid_t pid;

	if (!s)
		return;
	for (i = 0; i < 20; i++)
		passing(p, 100 * round + i + 1);
	if (given_back) {
		set_param("pmap_auto_idle_s", 1);
		pinned_becomes(&p->dev, 0, 10000);
		set_param("pmap_auto_idle_s", 60);
		/* and of the queue, which is attached again */
		prog_warm(p);
	}
	pid = child_start(takes, s, 0);
	if (step_reached(s, 1))
		for (i = 0; i < 20 && passing(p, 100 * round + i + 50); i++)
			;
	s->step = 2;
	child_wait(pid);
	munmap(s, PAGE);
}

void auto_reused(void)
{
	unsigned int round;
	struct prog p;

	if (prog_open(&p, MODE_IRQ, MEM_4K, LEN) && prog_warm(&p)) {
		for (round = 0; round < 4; round++) {
			set_param("pmap_auto_idle_s", 60);
			reused_round(&p, round % 2, round);
		}
	}
	prog_close(&p);
	reset_params();
}

/* ---- forked ---- */

struct forked {
	struct prog *p;
	struct steps *s;
	unsigned char *used, *fresh; /* buffers 1 and 2 */
};

/* On the inherited ring data go to the pages that io_uring has pinned: not the child's. */
static void child_reads(void *arg)
{
	struct forked *f = arg;
	struct prog *p = f->p;
	struct paths before, w;

	poison(f->used, LEN);
	poison(f->fresh, LEN);
	if (!step_reached(f->s, 1))
		return;
	before = paths_of(&p->dev);
	move(p, OP_READ, 1, f->used, 0, "child's read");
	w = paths_since(&p->dev, &before);
	CHECK(w.served == LEN / SLICE, "of the buffer that was used %" PRIu64 " served", w.served);
	buffer_warm(p, 2, f->fresh);
	before = paths_of(&p->dev);
	move(p, OP_READ, 2, f->fresh, 0, "child's read");
	w = paths_since(&p->dev, &before);
	CHECK(w.served == LEN / SLICE, "of the other %" PRIu64 " served", w.served);
	CHECK(poisoned(f->used, LEN) == LEN && poisoned(f->fresh, LEN) == LEN,
	      "data for the parent is in the child's memory");
	f->s->step = 2;
	step_reached(f->s, 3);
	CHECK(poisoned(f->used, LEN) == LEN && poisoned(f->fresh, LEN) == LEN,
	      "the parent's commands changed the child's memory");
}

/* The child has used the queue that both see; this copy does not know. */
static void catch_up(struct io_uring *ring)
{
	ring->sq.sqe_head = ring->sq.sqe_tail = *ring->sq.ktail;
}

static void parent_goes_on(struct forked *f)
{
	struct prog *p = f->p;

	pattern_fill(f->used, p->dev.block, 9, LEN / p->dev.block, 2);
	memset(f->fresh, 0, LEN);
	f->s->step = 1;
	if (!step_reached(f->s, 2))
		return;
	catch_up(&p->ring);
	shows(p, f->used, LEN, 0, 1, "the child's command, in the parent");
	shows(p, f->fresh, LEN, 0, 1, "the child's command, in the parent's other buffer");
	pattern_fill(f->used, p->dev.block, 9, LEN / p->dev.block, 3);
	if (move(p, OP_WRITE, 1, f->used, 4096, "parent's write"))
		disk_shows(p, 4096, LEN, 9, 3, "from the parent");
	if (move(p, OP_READ, 1, f->used, 0, "parent's read"))
		shows(p, f->used, LEN, 0, 1, "in the parent");
}

void auto_forked(void)
{
	struct prog p;
	struct forked f = { .p = &p, .used = place(&p), .s = steps_make() };
	pid_t pid;

	f.fresh = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (f.used && f.s && disk_fill(&p, 0, LEN, 0, 1) && buffer_set(&p, 1, f.used, LEN) &&
	    buffer_set(&p, 2, f.fresh, LEN) && move(&p, OP_READ, 1, f.used, 0, "first use") &&
	    shows(&p, f.used, LEN, 0, 1, "first use") && buffer_warm(&p, 1, f.used)) {
		pid = child_start(child_reads, &f, 0);
		parent_goes_on(&f);
		f.s->step = 3;
		child_wait(pid);
	}
	munmap(f.fresh, LEN);
	if (f.used)
		munmap(f.used, LEN);
	if (f.s)
		munmap(f.s, PAGE);
	prog_close(&p);
}

/* ---- another program of the user's ---- */

#define NOBODY	  65534
#define LOCK_SIZE MIB(2)

/* Another process registers as much; the result is io_uring's. */
static int other_registers(void *at)
{
	int status = 0;
	pid_t pid = fork();

	if (!pid) {
		struct iovec iov = { at, LOCK_SIZE };
		struct io_uring ring;
		int ret = io_uring_queue_init(4, &ring, 0);

		_exit(-(ret ?: io_uring_register_buffers(&ring, &iov, 1)));
	}
	if (!CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status), "fork"))
		return 0;
	return -WEXITSTATUS(status);
}

/* At once, while the door may still hold pages, and in every way of making room. */
static void registers_again(struct prog *p, const char *when)
{
	struct iovec iov = { p->mem.map, p->mem.len };

	CHECK_RET(io_uring_unregister_buffers(&p->ring), 0, "unregister %s", when);
	CHECK_RET(io_uring_register_buffers(&p->ring, &iov, 1), 0, "register again %s", when);
	buffer_set(p, 0, NULL, 0);
	buffer_set(p, 0, p->mem.map, p->mem.len);
}

/* An unregistered buffer is held for a second, a refused one is retried after five. */
static bool served_later(struct prog *p)
{
	uint64_t end = now_ms() + 15000;

	while (buffer_settle(p, 0, p->mem.map) != SERVED)
		if (!CHECK(now_ms() < end, "still refused"))
			return false;
		else
			sleep_ms(100);
	return true;
}

/* io_uring lets go of it in the background, on stock as well: for a moment there is no room. */
static void ring_closed(struct prog *p)
{
	struct iovec iov = { p->mem.map, p->mem.len };
	uint64_t start;
	int ret;

	if (!served_later(p))
		return;
	io_uring_queue_exit(&p->ring);
	if (!ring_open(&p->ring, MODE_IRQ, 64))
		return;
	start = now_ms();
	do {
		ret = io_uring_register_buffers(&p->ring, &iov, 1);
		sleep_ms(ret ? 10 : 0);
	} while (ret == -ENOMEM && now_ms() - start < 20000);
	CHECK_RET(ret, 0, "register by a second ring");
	note("room for a second ring after %" PRIu64 " ms", now_ms() - start);
}

static void limited(void *arg)
{
	struct rlimit limit = { LOCK_SIZE, LOCK_SIZE };
	struct prog *p = arg;
	void *other = mmap(NULL, LOCK_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
			   0);
	struct iovec iov;

	if (!CHECK(!setrlimit(RLIMIT_MEMLOCK, &limit) && other != MAP_FAILED, "setrlimit") ||
	    !ring_open(&p->ring, MODE_IRQ, 64) ||
	    !CHECK(mem_alloc(&p->mem, MEM_4K, LOCK_SIZE), "no memory"))
		return;
	iov = (struct iovec){ p->mem.map, p->mem.len };
	if (!CHECK_RET(io_uring_register_buffers(&p->ring, &iov, 1), 0, "register") ||
	    !prog_warm(p))
		return;
	CHECK_RET(other_registers(other), -ENOMEM, "another's while the first is mapped");
	registers_again(p, "while it is mapped");
	CHECK_RET(other_registers(other), -ENOMEM, "another's after that");
	/* the mapping ends, and not the registration */
	if (served_later(p) && pinned_becomes(&p->dev, 0, 10000)) {
		CHECK_RET(other_registers(other), -ENOMEM, "another's when the door is idle");
		registers_again(p, "after an idle time");
	}
	ring_closed(p);
	/* buffers given up but not yet free refuse no other */
	served_later(p);
	CHECK_RET(io_uring_unregister_buffers(&p->ring), 0, "unregister");
	CHECK_RET(other_registers(other), 0, "another's when the first is gone");
}

/* The limit is the user's: the door admits and refuses the same users as stock. */
void auto_memlock_others(void)
{
	struct prog owner, p;

	if (prog_open(&owner, MODE_IRQ, MEM_4K, PAGE) && pinned_becomes(&owner.dev, 0, 5000) &&
	    set_param("pmap_auto_idle_s", 1)) {
		p = (struct prog){ .dev = owner.dev, .mem.fd = -1 };
		child_wait(child_start(limited, &p, NOBODY));
	}
	reset_params();
	prog_close(&owner);
}
