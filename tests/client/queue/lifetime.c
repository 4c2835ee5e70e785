// SPDX-License-Identifier: GPL-2.0
/*
 * Passthrough queues that are full, detached with commands in flight or in the middle
 * of a batch, reset, fewer than before, without their CPU.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "queue/queue.h"

/* More commands than the queue takes; the slow device keeps them. */
static void full(void)
{
	const unsigned int nr = 48;
	struct nvme_pmap_stats st;
	struct completion done;
	struct io_uring ring;
	struct stage s;
	unsigned int i, depth;

	if (!queue_open(&s, opt.dev2, 2, true, false) || !ring_open(&ring, MODE_IRQ, 64))
		goto out;
	depth = queue_query(s.dev.fd).queue_depth;
	if (!CHECK(depth < nr, "a queue of %u is too long for this", depth))
		goto out;
	for (i = 0; i < nr; i++) {
		struct nvme_pmap_cmd cmd = cmd_rw(&s.dev, OP_READ, s.index, i * PAGE, PAGE, i * 8);

		prep_cmd(&ring, s.dev.fd, &cmd, i);
	}
	CHECK_RET(ring_push(&ring), 0, "submit");
	for (i = 0; i < nr; i++)
		if (!CHECK_RET(ring_reap(&ring, &done, 10000), 0, "completion %u", i) ||
		    !CHECK_RET(done.res, 0, "command"))
			break;
	st = queue_stats(&s.dev);
	/* on a slow machine the batch may be taken away before it is over */
	CHECK(st.queue + st.fallback_full + st.fallback_busy == nr && st.queue <= depth &&
		      (st.fallback_busy || st.queue == depth),
	      "of %u commands %llu went by the queue of %u, %llu did not fit, %llu found it busy",
	      nr, (unsigned long long)st.queue, depth, (unsigned long long)st.fallback_full,
	      (unsigned long long)st.fallback_busy);
	io_uring_queue_exit(&ring);
out:
	stage_close(&s);
}

/* ---- detaching while another thread submits ---- */

#define BATCH	 64
#define DETACHES 600

struct batches {
	struct stage s;
	volatile bool stop;
	volatile uint64_t done;
};

static bool one_batch(struct batches *b, struct io_uring *ring)
{
	struct completion done;
	unsigned int i;

	for (i = 0; i < BATCH; i++) {
		struct nvme_pmap_cmd cmd = cmd_rw(&b->s.dev, OP_READ, b->s.index, i * 512, 512, i);

		prep_cmd(ring, b->s.dev.fd, &cmd, i);
	}
	if (!CHECK_RET(ring_push(ring), 0, "submit"))
		return false;
	for (i = 0; i < BATCH; i++)
		if (!CHECK_RET(ring_reap(ring, &done, 10000), 0, "completion %u of %u", i, BATCH) ||
		    !CHECK_RET(done.res, 0, "command"))
			return false;
	b->done++;
	return true;
}

static void *batches(void *arg)
{
	struct batches *b = arg;
	struct io_uring ring;

	if (!ring_open(&ring, MODE_IRQ, BATCH))
		return NULL;
	while (!b->stop && one_batch(b, &ring))
		;
	io_uring_queue_exit(&ring);
	return NULL;
}

/* A batch that is under way has its doorbell rung, for the detach waits for it. */
static void detach_in_batch(void)
{
	struct batches b = { .stop = false };
	pthread_t thread;
	unsigned int i;

	if (!stage_open(&b.s, NULL, STAGE_PART) ||
	    !CHECK(!pthread_create(&thread, NULL, batches, &b), "pthread_create"))
		goto out;
	for (i = 0; i < DETACHES; i++) {
		uint64_t start = now_ms(), before = b.done;

		if (!must_attach(b.s.dev.fd, 0))
			break;
		while (b.done == before && now_ms() < start + 10000)
			sched_yield();
		if (!must_detach(b.s.dev.fd, 0) ||
		    !CHECK(now_ms() - start < 10000, "detach %u took %" PRIu64 " ms", i,
			   now_ms() - start))
			break;
	}
	b.stop = true;
	pthread_join(thread, NULL);
	CHECK(queue_stats(&b.s.dev).queue, "nothing went by a queue");
	note("%" PRIu64 " batches, %llu commands by queue", b.done,
	     (unsigned long long)queue_stats(&b.s.dev).queue);
out:
	stage_close(&b.s);
}

struct long_batch {
	struct stage s;
	struct io_uring ring;
	struct mem buf;
	int file;
	volatile bool begun, over;
	pthread_t thread;
};

#define LONG_READS 2500u
#define LONG_BYTES (3u << 20)

/* Commands first, then reads of random bytes, which do not sleep. */
static void *submit_long(void *arg)
{
	struct long_batch *l = arg;
	unsigned int i;

	for (i = 0; i < 4; i++) {
		struct nvme_pmap_cmd cmd = cmd_rw(&l->s.dev, OP_READ, l->s.index, i * PAGE, PAGE,
						  i * 8);

		prep_cmd(&l->ring, l->s.dev.fd, &cmd, i);
	}
	for (i = 0; i < LONG_READS; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&l->ring);

		CHECK(sqe, "the submission queue is full");
		if (!sqe)
			return NULL;
		memset(sqe, 0, 2 * sizeof(*sqe));
		io_uring_prep_read(sqe, l->file, l->buf.map, LONG_BYTES, 0);
		sqe->user_data = 100;
	}
	l->begun = true;
	CHECK_RET(ring_push(&l->ring), 0, "submit");
	l->over = true;
	return NULL;
}

/* A task can make a batch last as long as it likes, and no other task waits for it. */
static void long_batch(void)
{
	struct long_batch l = { .file = -1, .buf.fd = -1 };
	struct completion done;
	unsigned int i, good = 0;
	uint64_t start, took;

	l.file = open("/dev/urandom", O_RDONLY);
	if (!queue_open(&l.s, NULL, 1, true, false) || !ring_open(&l.ring, MODE_IRQ, 4096) ||
	    !CHECK(mem_alloc(&l.buf, MEM_4K, LONG_BYTES), "no memory"))
		goto out;
	if (!CHECK(!pthread_create(&l.thread, NULL, submit_long, &l), "thread"))
		goto out;
	while (!l.begun)
		sleep_ms(1);
	sleep_ms(20);
	start = now_ms();
	must_detach(l.s.dev.fd, 0);
	took = now_ms() - start;
	note("detached after %" PRIu64 " ms, the batch %s", took, l.over ? "was over" : "went on");
	/* nor for the queues' work, which takes a stale batch after a second */
	CHECK(!l.over && took < 700, "detach waited %" PRIu64 " ms for the batch", took);
	/* the batch still has the old queue: this must not attach it */
	CHECK_RET(nvme_pmap_attach_queue(l.s.dev.fd, 0), 0, "attach");
	pthread_join(l.thread, NULL);
	for (i = 0; i < LONG_READS + 4; i++) {
		if (!CHECK_RET(ring_reap(&l.ring, &done, 10000), 0, "completion %u", i))
			break;
		good += done.user_data == 100 ? done.res > 0 : done.res == 0;
	}
	CHECK(good == LONG_READS + 4, "%u of %u as they should be", good, LONG_READS + 4);
	CHECK_RET(run_rw(&l.ring, &l.s.dev, OP_READ, l.s.index, 0, PAGE, 0), 0, "afterwards");
	io_uring_queue_exit(&l.ring);
out:
	close(l.file);
	mem_free(&l.buf);
	stage_close(&l.s);
}

/* ---- a file closed while the batch goes on that its command was to begin ---- */

#define CLOSES 12
#define NOPS   30000u

struct closer {
	struct io_uring ring;
	volatile int fd;
	volatile bool stop;
};

/* By one of two threads. */
static void close_now(struct closer *c)
{
	int fd = __atomic_exchange_n(&c->fd, -1, __ATOMIC_ACQ_REL);

	if (fd >= 0)
		close(fd);
}

/* As soon as the first completion can be seen. */
static void *closes(void *arg)
{
	struct closer *c = arg;

	while (!c->stop)
		if (c->fd >= 0 && io_uring_cq_ready(&c->ring))
			close_now(c);
	return NULL;
}

/* A refused command, and SQEs that keep io_uring busy between completions and batch end. */
static bool close_once(struct closer *c, const struct stage *owner)
{
	struct completion done;
	struct nvme_pmap_cmd cmd;
	struct stage s;
	unsigned int i;
	bool good;

	good = stage_open(&s, NULL, STAGE_PART) &&
	       CHECK_RET(nvme_pmap_share_queue(s.dev.fd, owner->dev.fd, 0), 0, "share");
	if (good) {
		cmd = cmd_rw(&s.dev, OP_READ, s.index, 0, PAGE, 0);
		cmd.cdw12++;
		prep_cmd(&c->ring, s.dev.fd, &cmd, 1);
		for (i = 0; i < NOPS; i++) {
			struct io_uring_sqe *sqe = io_uring_get_sqe(&c->ring);

			if (!sqe)
				break;
			io_uring_prep_nop(sqe);
			sqe->user_data = 0;
		}
		c->fd = s.dev.fd;
		s.dev.fd = -1;
		good = CHECK_RET(ring_push(&c->ring), 0, "submit");
	}
	for (i = 0; i <= NOPS && good; i++)
		good = CHECK_RET(ring_reap(&c->ring, &done, 10000), 0, "completion %u", i) &&
		       CHECK_RET(done.res, done.user_data == 1 ? -EOVERFLOW : 0, "command %u", i);
	/* if the other thread was given no turn before all had been taken */
	close_now(c);
	stage_close(&s);
	return good;
}

static void closed_in_batch(void)
{
	struct closer c = { .fd = -1 };
	pthread_t thread;
	struct stage s;
	unsigned int i;

	if (!queue_open(&s, NULL, 1, true, false) || !ring_open(&c.ring, MODE_IRQ, NOPS + 1))
		goto out;
	if (CHECK(!pthread_create(&thread, NULL, closes, &c), "thread")) {
		for (i = 0; i < CLOSES && close_once(&c, &s); i++)
			;
		c.stop = true;
		pthread_join(thread, NULL);
		CHECK_RET(run_rw(&c.ring, &s.dev, OP_READ, s.index, 0, PAGE, 0), 0, "afterwards");
	}
	io_uring_queue_exit(&c.ring);
out:
	stage_close(&s);
}

/* ---- detaching with a command in flight, on the slow device ---- */

static bool start_slow(struct stage *s, struct io_uring *ring, enum mode mode)
{
	bool polled = mode == MODE_POLL;
	struct nvme_pmap_cmd cmd;

	if (!queue_open(s, opt.dev2, 1, !polled, polled) || !ring_open(ring, mode, 8))
		return false;
	cmd = cmd_rw(&s->dev, OP_READ, s->index, 0, PAGE, 0);
	prep_cmd(ring, s->dev.fd, &cmd, 0);
	return CHECK_RET(ring_push(ring), 0, "submit");
}

static bool slow_ends(struct io_uring *ring)
{
	struct completion done;

	return CHECK_RET(ring_reap(ring, &done, 10000), 0, "completion") &&
	       CHECK_RET(done.res, 0, "command");
}

/* Only the caller would poll, and it waits in the kernel. */
static void detach_waits(enum mode mode)
{
	uint32_t flags = mode == MODE_POLL ? POLLED : 0;
	uint64_t start = now_ms();
	struct io_uring ring;
	struct stage s;

	if (start_slow(&s, &ring, mode)) {
		must_detach(s.dev.fd, flags);
		CHECK(now_ms() - start >= 150, "detach did not wait");
		slow_ends(&ring);
		CHECK_RET(run_rw(&ring, &s.dev, OP_READ, s.index, 0, PAGE, 0), 0, "by blk-mq");
		CHECK(queue_stats(&s.dev).queue == 1, "a command went by a queue that is detached");
		must_attach(s.dev.fd, flags);
		CHECK_RET(run_rw(&ring, &s.dev, OP_READ, s.index, 0, PAGE, 0), 0, "by a new one");
		CHECK(queue_stats(&s.dev).queue == 2, "the new queue is not used");
		io_uring_queue_exit(&ring);
	}
	stage_close(&s);
}

static void detach_irq(void) { detach_waits(MODE_IRQ); }
static void detach_poll(void) { detach_waits(MODE_POLL); }

/* Tried again where a slow machine lets the command end before. */
static void detach_interrupted(void)
{
	unsigned int tries = 0;
	struct io_uring ring;
	pthread_t thread;
	struct stage s;
	int ret = 0;

	while (start_slow(&s, &ring, MODE_IRQ)) {
		thread = interrupt_soon();
		ret = nvme_pmap_detach_queue(s.dev.fd, 0);
		pthread_join(thread, NULL);
		if (ret || ++tries == SLOW_TRIES)
			break;
		note("late");
		slow_ends(&ring);
		io_uring_queue_exit(&ring);
		stage_close(&s);
	}
	if (CHECK_RET(ret, -EINTR, "detach, interrupted")) {
		CHECK(queue_query(s.dev.fd).queue_irq, "the queue is gone");
		slow_ends(&ring);
		CHECK_RET(run_rw(&ring, &s.dev, OP_READ, s.index, 0, PAGE, 0), 0, "still attached");
		CHECK(queue_stats(&s.dev).queue == 2, "%llu commands by queue",
		      (unsigned long long)queue_stats(&s.dev).queue);
		must_detach(s.dev.fd, 0);
		io_uring_queue_exit(&ring);
	}
	stage_close(&s);
}

/* ---- queues after a reset ---- */

/* Until the queues' work has brought it up again. */
static bool comes_up(const struct dev *dev, bool polled)
{
	uint64_t end = now_ms() + 10000;
	struct nvme_pmap_query q;

	do {
		q = queue_query(dev->fd);
		if (polled ? q.queue_polled : q.queue_irq)
			return true;
		sleep_ms(5);
	} while (now_ms() < end);
	return CHECK(false, "the queue does not come up");
}

/* Soon the queue takes a command: a scan may still freeze the namespace. */
static bool used_again(struct io_uring *ring, const struct stage *s)
{
	uint64_t end = now_ms() + 10000, before = queue_stats(&s->dev).queue;

	do {
		if (!CHECK_RET(run_rw(ring, &s->dev, OP_READ, s->index, 0, PAGE, 0), 0, "read"))
			return false;
		if (queue_stats(&s->dev).queue > before)
			return true;
		sleep_ms(5);
	} while (now_ms() < end);
	return CHECK(false, "the queue is not used again");
}

static void resets(void)
{
	struct io_uring irq, polled;
	struct stage s;
	unsigned int i;

	if (!queue_open(&s, NULL, 1, true, true) || !ring_open(&irq, MODE_IRQ, 8) ||
	    !ring_open(&polled, MODE_POLL, 8))
		goto out;
	for (i = 0; i < 5; i++) {
		if (!reset_ctrl(&s.dev) || !comes_up(&s.dev, false) || !comes_up(&s.dev, true) ||
		    !used_again(&irq, &s) || !used_again(&polled, &s))
			break;
	}
	io_uring_queue_exit(&polled);
	io_uring_queue_exit(&irq);
out:
	stage_close(&s);
}

bool hide_registers(const struct dev *dev)
{
	uint16_t command = 0;
	char path[160];
	bool good;
	int fd;

	dev_sysfs(dev, "device/config", path, sizeof(path));
	fd = open(path, O_RDWR | O_CLOEXEC);
	good = pread(fd, &command, 2, 4) == 2;
	command &= ~2;
	good = good && pwrite(fd, &command, 2, 4) == 2;
	close(fd);
	return CHECK(good, "%s: %s", path, strerror(errno));
}

static bool two_reads(struct io_uring *ring, const struct stage *s)
{
	struct nvme_pmap_cmd cmd = cmd_rw(&s->dev, OP_READ, s->index, 0, PAGE, 0);

	prep_cmd(ring, s->dev.fd, &cmd, 0);
	prep_cmd(ring, s->dev.fd, &cmd, 1);
	return CHECK_RET(ring_push(ring), 0, "submit");
}

/* Counts them; a slow machine may see the commands end before. */
static bool are_cancelled(struct io_uring *ring, unsigned int *cancelled)
{
	struct completion done;
	int i;

	for (i = 0; i < 2; i++) {
		if (!CHECK_RET(ring_reap(ring, &done, 10000), 0, "completion"))
			return false;
		*cancelled += done.res == -EINTR;
		if (!CHECK(!done.res || done.res == -EINTR, "command: %s", err_name(done.res)))
			return false;
	}
	return true;
}

/* Nothing tells of the commands in flight, and their queues are not deleted. */
static void registers_gone(void)
{
	unsigned int i, by_irq = 0, by_poll = 0;
	struct io_uring irq, polled;
	struct stage s;

	if (!queue_open(&s, opt.dev2, 1, true, true) || !ring_open(&irq, MODE_IRQ, 8) ||
	    !ring_open(&polled, MODE_POLL, 8))
		goto out;
	for (i = 0; i < 10 && !(by_irq > 1 && by_poll > 1); i++)
		if (!two_reads(&irq, &s) || !two_reads(&polled, &s) || !hide_registers(&s.dev) ||
		    !reset_ctrl(&s.dev) || !are_cancelled(&irq, &by_irq) ||
		    !are_cancelled(&polled, &by_poll) || !comes_up(&s.dev, false) ||
		    !comes_up(&s.dev, true) || !used_again(&irq, &s) || !used_again(&polled, &s))
			break;
	CHECK(by_irq > 1 && by_poll > 1, "of %u commands each, %u and %u were cancelled", 2 * i,
	      by_irq, by_poll);
	io_uring_queue_exit(&polled);
	io_uring_queue_exit(&irq);
out:
	stage_close(&s);
}

static bool param(const char *name, const char *value)
{
	char path[80];

	snprintf(path, sizeof(path), "/sys/module/nvme/parameters/%s", name);
	return CHECK(write_file(path, value), "%s: %s", path, strerror(errno));
}

/*
 * -D: a controller with few queues.  blk-mq is given more of them in a reset, and
 * one of ours stays down, which is no harm to its file; then it comes back.
 */
static void fewer(void)
{
	struct io_uring ring;
	struct stage s[2];
	bool good = queue_open(&s[0], opt.dev2, 1, true, false);

	good = queue_open(&s[1], opt.dev2, 1, true, false) && good && ring_open(&ring, MODE_IRQ, 8);
	if (!good || !CHECK(sysfs_number(&s[0].dev, "queues_granted") == 2, "%ld queues, not 2",
			    sysfs_number(&s[0].dev, "queues_granted")))
		goto out;
	if (!param("write_queues", "1") || !reset_ctrl(&s[0].dev))
		goto out;
	CHECK(sysfs_number(&s[0].dev, "queues_granted") == 1, "%ld queues, not 1",
	      sysfs_number(&s[0].dev, "queues_granted"));
	CHECK(!sysfs_number(&s[0].dev, "queues_free"), "queues free where one is missing");
	if (!comes_up(&s[0].dev, false))
		goto out;
	used_again(&ring, &s[0]);
	CHECK_RET(run_rw(&ring, &s[1].dev, OP_READ, s[1].index, 0, PAGE, 0), 0, "without");
	CHECK(!queue_query(s[1].dev.fd).queue_irq, "a queue too many");
	CHECK(!queue_stats(&s[1].dev).queue && queue_stats(&s[1].dev).fallback_down == 1,
	      "%llu by queue, %llu past it", (unsigned long long)queue_stats(&s[1].dev).queue,
	      (unsigned long long)queue_stats(&s[1].dev).fallback_down);
	if (param("write_queues", "0") && reset_ctrl(&s[0].dev) && comes_up(&s[1].dev, false))
		used_again(&ring, &s[1]);
	io_uring_queue_exit(&ring);
out:
	stage_close(&s[1]);
	stage_close(&s[0]);
}

/* ---- a CPU goes offline, with the interrupt of the queue ---- */

static void cpu_gone(void)
{
	struct io_uring ring;
	struct stage s;
	unsigned int i, j;
	uint64_t end;

	/* the queue has the vector of the CPU that attaches */
	if (!run_on(1) || !queue_open(&s, NULL, 1, true, false) || !run_on(0) ||
	    !ring_open(&ring, MODE_IRQ, 8))
		goto out;
	CHECK_RET(run_rw(&ring, &s.dev, OP_READ, s.index, 0, PAGE, 0), 0, "read");
	for (i = 0; i < 2 && cpu_online(1, "0"); i++) {
		uint64_t before;

		/* a second late at most, then with another vector */
		CHECK_RET(run_rw(&ring, &s.dev, OP_READ, s.index, 0, PAGE, 0), 0, "CPU 1 offline");
		end = now_ms() + 10000;
		do {
			before = now_ms();
			for (j = 0; j < 10; j++)
				CHECK_RET(run_rw(&ring, &s.dev, OP_READ, s.index, 0, PAGE, 0), 0,
					  "read");
		} while (now_ms() - before > 2000 && now_ms() < end && !case_failed());
		CHECK(now_ms() - before <= 2000, "ten reads in %" PRIu64 " ms", now_ms() - before);
		used_again(&ring, &s);
		cpu_online(1, "1");
	}
	io_uring_queue_exit(&ring);
out:
	stage_close(&s);
}

static const struct test_case queue_lifetime_cases[] = {
	{ "detach-in-batch", detach_in_batch },
	{ "long-batch", long_batch },
	{ "closed-in-batch", closed_in_batch },
	{ "resets", resets },
	{ "cpu-gone", cpu_gone },
};

SUBJECT(queue_lifetime);

/* -D: the slow device, with short queues. */
static const struct test_case queue_slow_cases[] = {
	{ "full", full },
	{ "detach-irq", detach_irq },
	{ "detach-poll", detach_poll },
	{ "detach-interrupted", detach_interrupted },
	{ "registers-gone", registers_gone },
};

SUBJECT(queue_slow);

/* -D: a controller with five queues. */
static const struct test_case queue_few_cases[] = { { "fewer", fewer } };

SUBJECT(queue_few);
