// SPDX-License-Identifier: GPL-2.0
/*
 * Passthrough queues: attaching, sharing and detaching them; what they do not take,
 * and the count of it; what becomes of them in a reset, and when a CPU goes.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stage.h"

#define POLLED NVME_PMAP_QUEUE_POLLED

static bool must_attach(const struct dev *dev, uint32_t flags)
{
	return CHECK_RET(nvme_pmap_attach_queue(dev->fd, flags), 0, "attach, flags %u", flags);
}

static bool must_detach(const struct dev *dev, uint32_t flags)
{
	return CHECK_RET(nvme_pmap_detach_queue(dev->fd, flags), 0, "detach, flags %u", flags);
}

static struct nvme_pmap_query query(const struct dev *dev)
{
	struct nvme_pmap_query q = { 0 };

	CHECK_RET(nvme_pmap_query_file(dev->fd, &q), 0, "query");
	return q;
}

static struct nvme_pmap_stats stats(const struct dev *dev)
{
	struct nvme_pmap_stats st = { 0 };

	CHECK_RET(nvme_pmap_stats_file(dev->fd, &st), 0, "stats");
	return st;
}

/* A number of the controller, in its directory pmap/. */
static long sysfs_number(const struct dev *dev, const char *name)
{
	char attr[64], path[160], text[32];

	snprintf(attr, sizeof(attr), "pmap/%s", name);
	if (!CHECK(dev_sysfs(dev, attr, path, sizeof(path)), "no %s", attr) ||
	    !CHECK(read_file(path, text, sizeof(text)), "%s: %s", path, strerror(errno)))
		return -1;
	return atol(text);
}

/* A stage whose file has the queues that @flags ask for. */
static bool queue_open(struct stage *s, const char *name, unsigned int parts, bool irq, bool polled)
{
	return stage_open(s, name, parts * STAGE_PART) && (!irq || must_attach(&s->dev, 0)) &&
	       (!polled || must_attach(&s->dev, POLLED));
}

static int call(const struct dev *dev, unsigned int request, uint32_t flags, int32_t fd,
		uint32_t reserved)
{
	struct nvme_pmap_attach att = {
		.size = request == NVME_PMAP_IOC_ATTACH ? sizeof(att) :
							  sizeof(struct nvme_pmap_detach),
		.flags = flags,
		.fd = fd,
		.reserved = reserved,
	};

	return nvme_pmap_ioctl(dev->fd, request, &att);
}

static void arguments(void)
{
	struct dev other = { .fd = -1 };
	struct stage s;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (!stage_open(&s, NULL, STAGE_PART) || !dev_open(&other, NULL, O_RDONLY))
		goto out;
	CHECK_RET(call(&s.dev, NVME_PMAP_IOC_ATTACH, 4, 0, 0), -EOPNOTSUPP, "unknown flag");
	CHECK_RET(call(&s.dev, NVME_PMAP_IOC_ATTACH, 1u << 31, 0, 0), -EOPNOTSUPP, "last flag");
	CHECK_RET(call(&s.dev, NVME_PMAP_IOC_ATTACH, 0, 0, 1), -EINVAL, "reserved field");
	CHECK_RET(call(&s.dev, NVME_PMAP_IOC_ATTACH, 0, other.fd, 0), -EINVAL,
		  "a file not asked for");
	CHECK_RET(nvme_pmap_share_queue(s.dev.fd, -1, 0), -EBADF, "no file");
	CHECK_RET(nvme_pmap_share_queue(s.dev.fd, null, 0), -EBADF, "another kind of file");
	CHECK_RET(nvme_pmap_share_queue(s.dev.fd, other.fd, 0), -EBADF, "a file without queue");
	CHECK_RET(nvme_pmap_share_queue(s.dev.fd, s.dev.fd, 0), -EBADF, "its own");
	CHECK_RET(call(&s.dev, NVME_PMAP_IOC_DETACH, 2, 0, 0), -EOPNOTSUPP, "detach, unknown flag");
	CHECK_RET(nvme_pmap_detach_queue(s.dev.fd, 0), -ENOTCONN, "nothing to detach");
	CHECK_RET(nvme_pmap_detach_queue(other.fd, POLLED), -ENOTCONN, "nothing at all");
	if (!must_attach(&other, POLLED) || !must_attach(&s.dev, 0))
		goto out;
	CHECK_RET(nvme_pmap_attach_queue(s.dev.fd, 0), -EALREADY, "a second one");
	CHECK_RET(nvme_pmap_share_queue(s.dev.fd, other.fd, 0), -EALREADY, "a second, shared");
	CHECK_RET(nvme_pmap_share_queue(other.fd, s.dev.fd, POLLED), -EALREADY, "shared, polled");
	CHECK_RET(nvme_pmap_detach_queue(s.dev.fd, POLLED), -ENOTCONN, "the other kind");
	must_detach(&s.dev, 0);
	CHECK_RET(nvme_pmap_detach_queue(s.dev.fd, 0), -ENOTCONN, "a second time");
	if (opt.dev2) {
		struct dev foreign;

		if (dev_open(&foreign, opt.dev2, O_RDWR) && must_attach(&foreign, 0))
			CHECK_RET(nvme_pmap_share_queue(s.dev.fd, foreign.fd, 0), -EBADF,
				  "of another controller");
		dev_close(&foreign);
	}
out:
	close(null);
	dev_close(&other);
	stage_close(&s);
}

/* All that there are; then commands go on without, and one given back is had again. */
static void all_taken(void)
{
	struct dev *devs;
	struct stage s;
	unsigned int i, nr = 0, all;
	struct io_uring ring;

	if (!stage_open(&s, NULL, STAGE_PART) || !ring_open(&ring, MODE_POLL, 8))
		return;
	all = query(&s.dev).queues_free;
	CHECK(all && all == (unsigned int)sysfs_number(&s.dev, "queues"), "%u queues free", all);
	devs = calloc(all + 1, sizeof(*devs));
	for (i = 0; devs && i < all; i++, nr++)
		if (!dev_open(&devs[i], NULL, O_RDWR) || !must_attach(&devs[i], i & POLLED))
			break;
	CHECK(!query(&s.dev).queues_free, "%u queues free of none", query(&s.dev).queues_free);
	CHECK(!sysfs_number(&s.dev, "queues_free"), "sysfs: queues free of none");
	CHECK_RET(nvme_pmap_attach_queue(s.dev.fd, 0), -EUSERS, "one too many");
	CHECK_RET(nvme_pmap_attach_queue(s.dev.fd, POLLED), -EUSERS, "one too many, polled");
	CHECK_RET(run_rw(&ring, &s.dev, OP_READ, s.index, 0, PAGE, 0), 0, "without a queue");
	if (nr) {
		dev_close(&devs[0]);
		must_attach(&s.dev, POLLED);
		CHECK_RET(run_rw(&ring, &s.dev, OP_READ, s.index, 0, PAGE, 0), 0, "with one");
		CHECK(stats(&s.dev).queue == 1, "%llu commands by queue",
		      (unsigned long long)stats(&s.dev).queue);
	}
	io_uring_queue_exit(&ring);
	while (nr)
		dev_close(&devs[--nr]);
	free(devs);
	stage_close(&s);
}

static void identifiers(void)
{
	struct nvme_pmap_query q;
	struct stage s;

	if (queue_open(&s, NULL, 1, true, true)) {
		q = query(&s.dev);
		CHECK(q.queue_irq && q.queue_polled && q.queue_irq != q.queue_polled,
		      "queues %u and %u", q.queue_irq, q.queue_polled);
		CHECK(q.doors == (NVME_PMAP_DOOR_PMAP | NVME_PMAP_DOOR_QUEUE), "doors %#x",
		      q.doors);
		must_detach(&s.dev, 0);
		q = query(&s.dev);
		CHECK(!q.queue_irq && q.queue_polled, "queues %u and %u", q.queue_irq,
		      q.queue_polled);
	}
	stage_close(&s);
}

static uint64_t counter_at(const struct nvme_pmap_stats *st, size_t offset)
{
	uint64_t value;

	memcpy(&value, (const char *)st + offset, sizeof(value));
	return value;
}

/* Every reason that can be had at will: @what counts it, and the command succeeds. */
static void expect_fallback(const struct dev *dev, struct io_uring *ring,
			    const struct nvme_pmap_cmd *cmd, unsigned int sqe_flags, size_t what,
			    const char *name)
{
	struct nvme_pmap_stats before = stats(dev), after;
	struct completion done = { .res = -ETIME };
	char counter[32];
	long sysfs;

	snprintf(counter, sizeof(counter), "fallback_%s", name);
	sysfs = sysfs_number(dev, counter);
	prep_cmd(ring, dev->fd, cmd, 0)->flags |= (uint8_t)sqe_flags;
	CHECK_RET(ring_push(ring), 0, "submit");
	if (CHECK_RET(ring_reap(ring, &done, 10000), 0, "%s: completion", name))
		CHECK_RET(done.res, 0, "%s", name);
	after = stats(dev);
	CHECK(after.queue == before.queue, "%s: it went by the queue", name);
	CHECK(counter_at(&after, what) == counter_at(&before, what) + 1, "%s is not counted", name);
	CHECK(sysfs_number(dev, counter) == sysfs + 1, "%s is not counted in sysfs", counter);
}

#define FALLBACK(name) offsetof(struct nvme_pmap_stats, fallback_##name), #name

static void log_errors(const struct dev *dev, const char *on)
{
	char path[160];

	snprintf(path, sizeof(path), "/sys/block/nvme%s/passthru_err_log_enabled",
		 dev->path + strlen("/dev/ng"));
	CHECK(write_file(path, on), "%s: %s", path, strerror(errno));
}

static void fallbacks(void)
{
	struct io_uring irq, polled;
	struct nvme_pmap_cmd cmd;
	struct stage s;

	if (!queue_open(&s, NULL, 8, true, false) || !ring_open(&irq, MODE_IRQ, 8) ||
	    !ring_open(&polled, MODE_POLL, 8))
		goto out;
	cmd = cmd_rw(&s.dev, OP_READ, s.index, 0, PAGE, 0);
	expect_fallback(&s.dev, &polled, &cmd, 0, FALLBACK(mode));
	expect_fallback(&s.dev, &irq, &cmd, IOSQE_ASYNC, FALLBACK(worker));
	log_errors(&s.dev, "on");
	expect_fallback(&s.dev, &irq, &cmd, 0, FALLBACK(logged));
	log_errors(&s.dev, "off");
	/* an SGL whose ends are inside pages */
	must_unregister(&s.dev, s.index);
	if (must_register(&s.dev, s.mem.map, 8 * STAGE_PART, NVME_PMAP_REG_SGL_LIST, &s.index)) {
		cmd = cmd_rw(&s.dev, OP_READ, s.index, 512, 4 * PAGE, 0);
		expect_fallback(&s.dev, &irq, &cmd, 0, FALLBACK(list));
	}
	cmd = cmd_rw(&s.dev, OP_READ, s.index, 0, PAGE, 0);
	CHECK_RET(run_cmd(&irq, s.dev.fd, &cmd), 0, "and by the queue");
	CHECK(stats(&s.dev).queue == 1, "%llu commands by queue",
	      (unsigned long long)stats(&s.dev).queue);
	io_uring_queue_exit(&polled);
	io_uring_queue_exit(&irq);
out:
	stage_close(&s);
}

/* Files that share one queue, each with rings of its own in threads. */
static void shared(void)
{
	static const enum mode modes[] = { MODE_POLL, MODE_POLL_DEFER, MODE_IRQ, MODE_DEFER };
	struct stage s[2];
	struct load loads[4];
	unsigned int i;
	bool good = queue_open(&s[0], NULL, 2, true, true);

	good = stage_open(&s[1], opt.dev2, 2 * STAGE_PART) && good;
	good = good && CHECK_RET(nvme_pmap_share_queue(s[1].dev.fd, s[0].dev.fd, 0), 0, "share") &&
	       CHECK_RET(nvme_pmap_share_queue(s[1].dev.fd, s[0].dev.fd, POLLED), 0,
			 "share, polled");
	if (good) {
		CHECK(query(&s[0].dev).queue_polled == query(&s[1].dev).queue_polled,
		      "two queues where one is shared");
		for (i = 0; i < 4; i++) {
			loads[i] = stage_load(&s[i & 1], modes[i], i / 2);
			loads[i].lba = i * (STAGE_PART / s[0].dev.block);
		}
		stage_run(loads, 4);
		/* the owner goes; the other keeps it */
		must_detach(&s[0].dev, 0);
		must_detach(&s[0].dev, POLLED);
		loads[1] = stage_load(&s[1], MODE_POLL, 0);
		loads[3] = stage_load(&s[1], MODE_IRQ, 1);
		stage_run(&loads[1], 1);
		stage_run(&loads[3], 1);
		for (i = 0; i < 2; i++)
			CHECK(stats(&s[i].dev).queue, "nothing of file %u went by the queue", i);
		CHECK(!stats(&s[1].dev).fallback_down, "the queue went down with its first file");
	}
	stage_close(&s[1]);
	stage_close(&s[0]);
}

/*
 * Two files on one queue, one step at a time: the poll of B's ring finds what A
 * has in flight, and must not drop it.
 */
static void shared_foreign(void)
{
	struct dev other = { .fd = -1 };
	struct completion done;
	struct io_uring a, b;
	struct nvme_pmap_cmd cmd, cmd_b;
	unsigned int i;
	uint32_t index;
	struct stage s;

	if (!queue_open(&s, NULL, 2, false, true) || !dev_open(&other, NULL, O_RDWR) ||
	    !CHECK_RET(nvme_pmap_share_queue(other.fd, s.dev.fd, POLLED), 0, "share") ||
	    !must_register(&other, s.mem.map + STAGE_PART, PAGE, 0, &index) ||
	    !ring_open(&a, MODE_POLL, 8) || !ring_open(&b, MODE_POLL, 8))
		goto out;
	cmd = cmd_rw(&s.dev, OP_READ, s.index, 0, PAGE, 0);
	cmd_b = cmd_rw(&other, OP_READ, index, 0, PAGE, 8);
	for (i = 0; i < 50; i++) {
		prep_cmd(&a, s.dev.fd, &cmd, 1);
		if (!CHECK_RET(ring_push(&a), 0, "submit on A") ||
		    !CHECK_RET(run_cmd(&b, other.fd, &cmd_b), 0, "command on B") ||
		    !CHECK_RET(ring_reap(&a, &done, 5000), 0, "completion of A, round %u", i) ||
		    !CHECK_RET(done.res, 0, "command on A"))
			break;
	}
	CHECK(stats(&s.dev).queue == i && stats(&other).queue == i,
	      "%u rounds, %llu and %llu commands", i, (unsigned long long)stats(&s.dev).queue,
	      (unsigned long long)stats(&other).queue);
	io_uring_queue_exit(&b);
	io_uring_queue_exit(&a);
out:
	dev_close(&other);
	stage_close(&s);
}

/* One ring polls the queues of two files, in one batch. */
static void ring_two_queues(void)
{
	struct completion done;
	struct io_uring ring;
	struct stage s[2];
	unsigned int i, j, reaped;
	bool good = queue_open(&s[0], NULL, 1, false, true);

	good = queue_open(&s[1], NULL, 1, false, true) && good && ring_open(&ring, MODE_POLL, 32);
	for (i = 0; good && i < 40; i++) {
		for (j = 0; j < 16; j++) {
			struct nvme_pmap_cmd cmd = cmd_rw(&s[j & 1].dev, OP_READ, s[j & 1].index,
							  j * PAGE, PAGE, j * 8);

			prep_cmd(&ring, s[j & 1].dev.fd, &cmd, j);
		}
		good = CHECK_RET(ring_push(&ring), 0, "submit");
		for (reaped = 0; good && reaped < 16; reaped++)
			good = CHECK_RET(ring_reap(&ring, &done, 5000), 0, "completion") &&
			       CHECK_RET(done.res, 0, "command");
	}
	if (good) {
		for (j = 0; j < 2; j++)
			CHECK(stats(&s[j].dev).queue == 320, "%llu commands by queue",
			      (unsigned long long)stats(&s[j].dev).queue);
		io_uring_queue_exit(&ring);
	}
	stage_close(&s[1]);
	stage_close(&s[0]);
}

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
	depth = query(&s.dev).queue_depth;
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
	st = stats(&s.dev);
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

		if (!must_attach(&b.s.dev, 0))
			break;
		while (b.done == before && now_ms() < start + 10000)
			sched_yield();
		if (!must_detach(&b.s.dev, 0) ||
		    !CHECK(now_ms() - start < 10000, "detach %u took %" PRIu64 " ms", i,
			   now_ms() - start))
			break;
	}
	b.stop = true;
	pthread_join(thread, NULL);
	CHECK(stats(&b.s.dev).queue, "nothing went by a queue");
	note("%" PRIu64 " batches, %llu commands by queue", b.done,
	     (unsigned long long)stats(&b.s.dev).queue);
out:
	stage_close(&b.s);
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

/* The caller is the only one who would poll, and waits in the kernel. */
static void detach_waits(enum mode mode)
{
	uint32_t flags = mode == MODE_POLL ? POLLED : 0;
	uint64_t start = now_ms();
	struct io_uring ring;
	struct stage s;

	if (start_slow(&s, &ring, mode)) {
		must_detach(&s.dev, flags);
		CHECK(now_ms() - start >= 150, "detach did not wait");
		slow_ends(&ring);
		CHECK_RET(run_rw(&ring, &s.dev, OP_READ, s.index, 0, PAGE, 0), 0, "by blk-mq");
		CHECK(stats(&s.dev).queue == 1, "a command went by a queue that is detached");
		must_attach(&s.dev, flags);
		CHECK_RET(run_rw(&ring, &s.dev, OP_READ, s.index, 0, PAGE, 0), 0, "by a new one");
		CHECK(stats(&s.dev).queue == 2, "the new queue is not used");
		io_uring_queue_exit(&ring);
	}
	stage_close(&s);
}

static void detach_irq(void) { detach_waits(MODE_IRQ); }
static void detach_poll(void) { detach_waits(MODE_POLL); }

static void on_signal(int sig) { (void)sig; }

static void detach_interrupted(void)
{
	struct sigaction sa = { .sa_handler = on_signal };
	struct io_uring ring;
	struct stage s;

	sigaction(SIGALRM, &sa, NULL);
	if (start_slow(&s, &ring, MODE_IRQ)) {
		ualarm(30000, 0);
		CHECK_RET(nvme_pmap_detach_queue(s.dev.fd, 0), -EINTR, "detach, interrupted");
		CHECK(query(&s.dev).queue_irq, "the queue is gone");
		slow_ends(&ring);
		CHECK_RET(run_rw(&ring, &s.dev, OP_READ, s.index, 0, PAGE, 0), 0, "still attached");
		CHECK(stats(&s.dev).queue == 2, "%llu commands by queue",
		      (unsigned long long)stats(&s.dev).queue);
		must_detach(&s.dev, 0);
		io_uring_queue_exit(&ring);
	}
	stage_close(&s);
}

/* ---- detaching while others submit batches ---- */

/* A batch that has been begun when the queue is detached goes to the controller. */
static void detach_load(void)
{
	const unsigned int rounds = opt.rounds ?: 40;
	volatile bool stop = false;
	struct load load;
	struct stage s;
	unsigned int i;

	if (queue_open(&s, NULL, 1, true, false)) {
		load = stage_load(&s, MODE_IRQ, 0);
		load.count = 1u << 30;
		load.stop = &stop;
		if (CHECK(load_start(&load), "thread")) {
			for (i = 0; i < rounds && !case_failed(); i++) {
				uint64_t start = now_ms();

				must_detach(&s.dev, 0);
				CHECK(now_ms() - start < 3000, "detach took %" PRIu64 " ms",
				      now_ms() - start);
				must_attach(&s.dev, 0);
				sleep_ms(2);
			}
			stop = true;
			load_join(&load);
			note("%" PRIu64 " pairs verified meanwhile", load.verified);
		}
	}
	stage_close(&s);
}

struct long_batch {
	struct stage s;
	struct io_uring ring;
	struct mem buf;
	int file;
	volatile bool begun, over;
	pthread_t thread;
};

#define LONG_READS 200u
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

		if (!CHECK(sqe, "the submission queue is full"))
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

/* Nobody waits for a batch that its task makes last as long as it likes. */
static void long_batch(void)
{
	struct long_batch l = { .file = -1, .buf.fd = -1 };
	struct completion done;
	unsigned int i, good = 0;
	uint64_t start, took;

	l.file = open("/dev/urandom", O_RDONLY);
	if (!queue_open(&l.s, NULL, 1, true, false) || !ring_open(&l.ring, MODE_IRQ, 256) ||
	    !CHECK(mem_alloc(&l.buf, MEM_4K, LONG_BYTES), "no memory"))
		goto out;
	if (!CHECK(!pthread_create(&l.thread, NULL, submit_long, &l), "thread"))
		goto out;
	while (!l.begun)
		sleep_ms(1);
	sleep_ms(20);
	start = now_ms();
	must_detach(&l.s.dev, 0);
	took = now_ms() - start;
	note("detached after %" PRIu64 " ms, the batch %s", took, l.over ? "was over" : "went on");
	CHECK(took < 1500, "detach waited %" PRIu64 " ms", took);
	/* and the queue is not to be had while the batch has it */
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

/* Blocks so large that their number times their size has more than 32 bits. */
static void big_blocks(void)
{
	struct completion done;
	struct io_uring ring;
	struct stage s;
	unsigned int i;

	if (!queue_open(&s, opt.dev2, 4, true, false) || !ring_open(&ring, MODE_IRQ, 16))
		goto out;
	CHECK(s.dev.lba >= 65536, "blocks of %u bytes", s.dev.lba);
	for (i = 0; i < 8; i++) {
		struct nvme_pmap_cmd cmd = cmd_rw(&s.dev, OP_READ, s.index, 0, 65536, 0);

		/* the first is fine, the others follow in its batch */
		cmd.data_len = i ? 0 : 65536;
		cmd.cdw12 = i ? 0xffff : 0;
		prep_cmd(&ring, s.dev.fd, &cmd, i);
	}
	CHECK_RET(ring_push(&ring), 0, "submit");
	for (i = 0; i < 8; i++)
		if (CHECK_RET(ring_reap(&ring, &done, 10000), 0, "completion"))
			CHECK_RET(done.res, done.user_data ? -ERANGE : 0, "command %u",
				  (unsigned int)done.user_data);
	CHECK(stats(&s.dev).queue == 1, "%llu commands by queue",
	      (unsigned long long)stats(&s.dev).queue);
	io_uring_queue_exit(&ring);
out:
	stage_close(&s);
}

static const struct test_case queue_big_cases[] = { { "big-blocks", big_blocks } };

SUBJECT(queue_big);

/* ---- what a reset leaves ---- */

static bool reset(const struct dev *dev)
{
	char path[160];

	return CHECK(dev_sysfs(dev, "reset_controller", path, sizeof(path)), "no reset") &&
	       CHECK(write_file(path, "1"), "%s: %s", path, strerror(errno));
}

/* Until the keeper has brought it up again. */
static bool comes_up(const struct dev *dev, bool polled)
{
	uint64_t end = now_ms() + 10000;
	struct nvme_pmap_query q;

	do {
		q = query(dev);
		if (polled ? q.queue_polled : q.queue_irq)
			return true;
		sleep_ms(5);
	} while (now_ms() < end);
	return CHECK(false, "the queue does not come up");
}

/* Soon a command goes by the queue: a scan may still freeze the namespace. */
static bool used_again(struct io_uring *ring, const struct stage *s)
{
	uint64_t end = now_ms() + 10000, before = stats(&s->dev).queue;

	do {
		if (!CHECK_RET(run_rw(ring, &s->dev, OP_READ, s->index, 0, PAGE, 0), 0, "read"))
			return false;
		if (stats(&s->dev).queue > before)
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
		if (!reset(&s.dev) || !comes_up(&s.dev, false) || !comes_up(&s.dev, true) ||
		    !used_again(&irq, &s) || !used_again(&polled, &s))
			break;
	}
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
	if (!good || !CHECK(sysfs_number(&s[0].dev, "queues") == 2, "%ld queues, not 2",
			    sysfs_number(&s[0].dev, "queues")))
		goto out;
	if (!param("write_queues", "1") || !reset(&s[0].dev))
		goto out;
	CHECK(sysfs_number(&s[0].dev, "queues") == 1, "%ld queues, not 1",
	      sysfs_number(&s[0].dev, "queues"));
	CHECK(!sysfs_number(&s[0].dev, "queues_free"), "queues free where one is missing");
	if (!comes_up(&s[0].dev, false))
		goto out;
	used_again(&ring, &s[0]);
	CHECK_RET(run_rw(&ring, &s[1].dev, OP_READ, s[1].index, 0, PAGE, 0), 0, "without");
	CHECK(!query(&s[1].dev).queue_irq, "a queue too many");
	CHECK(!stats(&s[1].dev).queue && stats(&s[1].dev).fallback_down == 1,
	      "%llu by queue, %llu past it", (unsigned long long)stats(&s[1].dev).queue,
	      (unsigned long long)stats(&s[1].dev).fallback_down);
	if (param("write_queues", "0") && reset(&s[0].dev) && comes_up(&s[1].dev, false))
		used_again(&ring, &s[1]);
	io_uring_queue_exit(&ring);
out:
	stage_close(&s[1]);
	stage_close(&s[0]);
}

/* ---- a CPU goes offline, with the interrupt of the queue ---- */

static bool cpu_online(unsigned int cpu, const char *on)
{
	char path[80];

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/online", cpu);
	return CHECK(write_file(path, on), "%s: %s", path, strerror(errno));
}

static bool run_on(unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return CHECK(!sched_setaffinity(0, sizeof(set), &set), "CPU %u: %s", cpu, strerror(errno));
}

static void cpu_gone(void)
{
	struct io_uring ring;
	struct stage s;
	unsigned int i, j;
	uint64_t end;

	/* the vector is that of the CPU which attaches */
	if (!run_on(1) || !queue_open(&s, NULL, 1, true, false) || !run_on(0) ||
	    !ring_open(&ring, MODE_IRQ, 8))
		goto out;
	CHECK_RET(run_rw(&ring, &s.dev, OP_READ, s.index, 0, PAGE, 0), 0, "read");
	for (i = 0; i < 2 && cpu_online(1, "0"); i++) {
		uint64_t before;

		/* late by a second at most, then by another vector */
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

/* A file that floods its queue leaves the block device its share. */
static void fairness(void)
{
	struct load flood;
	struct stage s;
	volatile bool stop = false;
	unsigned int i;
	uint64_t start;
	void *page = aligned_alloc(PAGE, PAGE);
	int fd;

	if (!page || !queue_open(&s, NULL, 1, false, true))
		return;
	fd = dev_open_block(&s.dev, O_RDONLY);
	flood = stage_load(&s, MODE_POLL, 0);
	flood.count = 1u << 30;
	flood.stop = &stop;
	if (CHECK(fd >= 0, "block device") && CHECK(load_start(&flood), "thread")) {
		start = now_ms();
		for (i = 0; i < 200 && now_ms() < start + 20000; i++)
			if (!CHECK(pread(fd, page, PAGE, i * PAGE) == PAGE, "pread: %s",
				   strerror(errno)))
				break;
		CHECK(i == 200, "%u reads of the block device in 20 s", i);
		note("200 reads in %" PRIu64 " ms beside the flood", now_ms() - start);
		stop = true;
		load_join(&flood);
		note("%" PRIu64 " pairs by the queue meanwhile", flood.verified);
	}
	close(fd);
	free(page);
	stage_close(&s);
}

static const struct test_case queue_cases[] = {
	{ "arguments", arguments },
	{ "all-taken", all_taken },
	{ "identifiers", identifiers },
	{ "fallbacks", fallbacks },
	{ "shared", shared },
	{ "shared-foreign", shared_foreign },
	{ "ring-two-queues", ring_two_queues },
	{ "detach-load", detach_load },
	{ "long-batch", long_batch },
	{ "resets", resets },
	{ "detach-in-batch", detach_in_batch },
	{ "cpu-gone", cpu_gone },
	{ "fairness", fairness },
};

SUBJECT(queue);

/* -D: the slow device, with short queues. */
static const struct test_case queue_slow_cases[] = {
	{ "full", full },
	{ "detach-irq", detach_irq },
	{ "detach-poll", detach_poll },
	{ "detach-interrupted", detach_interrupted },
};

SUBJECT(queue_slow);

/* -D: a controller with five queues. */
static const struct test_case queue_few_cases[] = { { "fewer", fewer } };

SUBJECT(queue_few);
