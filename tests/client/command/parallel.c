// SPDX-License-Identifier: GPL-2.0
/*
 * Several at a time: rings in threads, rings that poll one queue, files and
 * namespaces with a ring or memory in common.
 */
#include <fcntl.h>
#include <inttypes.h>

#include "lib/stage.h"

/* Several rings in as many threads on one file and one registration. */
static void threads(void)
{
	static const enum mode modes[] = { MODE_IRQ, MODE_POLL, MODE_POLL, MODE_DEFER };
	struct load loads[ARRAY_SIZE(modes)];
	uint64_t sent = 0;
	struct stage s;
	unsigned int i;

	if (stage_open(&s, NULL, STAGE_PART * ARRAY_SIZE(modes))) {
		for (i = 0; i < ARRAY_SIZE(modes); i++)
			loads[i] = stage_load(&s, modes[i], i);
		stage_run(loads, ARRAY_SIZE(modes));
		for (i = 0; i < ARRAY_SIZE(modes); i++)
			sent += loads[i].pmap_sent;
		stage_check_stats(&s, sent, true);
	}
	stage_close(&s);
}

/*
 * Two rings that poll the one poll queue find each other's completions all the
 * time; with one command in flight each, a completion that is not handed over
 * stops its ring for good.
 */
static void poll_threads(void)
{
	struct load loads[2];
	struct stage s;
	unsigned int i;

	if (stage_open(&s, NULL, 2 * STAGE_PART)) {
		for (i = 0; i < 2; i++) {
			loads[i] = stage_load(&s, i ? MODE_POLL_DEFER : MODE_POLL, i);
			loads[i].depth = 1;
			loads[i].len = PAGE;
			loads[i].count = 400;
		}
		stage_run(loads, 2);
	}
	stage_close(&s);
}

/* The same, one step at a time: B's poll finds A's completion; then A asks. */
static void poll_foreign(void)
{
	struct io_uring a, b;
	struct nvme_pmap_cmd cmd;
	struct completion done;
	struct stage s;
	unsigned int i;

	if (!stage_open(&s, NULL, STAGE_PART) || !ring_open(&a, MODE_POLL, 8))
		goto out;
	if (!ring_open(&b, MODE_POLL, 8))
		goto out_a;
	cmd = cmd_rw(&s.dev, OP_READ, s.index, 0, PAGE, 0);
	for (i = 0; i < 50; i++) {
		prep_cmd(&a, s.dev.fd, &cmd, 1);
		if (!CHECK_RET(ring_push(&a), 0, "submit on A") ||
		    !CHECK_RET(run_cmd(&b, s.dev.fd, &cmd), 0, "command on B") ||
		    !CHECK_RET(ring_reap(&a, &done, 5000), 0, "completion of A, round %u", i) ||
		    !CHECK_RET(done.res, 0, "command on A"))
			break;
	}
	io_uring_queue_exit(&b);
out_a:
	io_uring_queue_exit(&a);
out:
	stage_close(&s);
}

/* ---- a poll must not touch a request that another poll has freed ---- */

struct poller {
	const struct stage *s;
	enum mode mode;
	unsigned int part;
	bool stop;
	unsigned int ended;
	pthread_t thread;
};

/*
 * Every other read is behind the last block: one that failed is not ended with
 * others in a batch, but on its own, and its request loses its queue.
 */
static struct nvme_pmap_cmd polled_read(const struct stage *s, unsigned int part, unsigned int i)
{
	return cmd_rw(&s->dev, OP_READ, s->index, part * STAGE_PART + i * PAGE, PAGE,
		      i & 1 ? s->dev.blocks : 0);
}

static bool push_reads(struct io_uring *ring, const struct stage *s, unsigned int part)
{
	unsigned int i;

	for (i = 0; i < 4; i++) {
		struct nvme_pmap_cmd cmd = polled_read(s, part, i);

		prep_cmd(ring, s->dev.fd, &cmd, i);
	}
	return CHECK_RET(ring_push(ring), 0, "submit");
}

static bool reap_reads(struct io_uring *ring)
{
	struct completion done;
	unsigned int i;

	for (i = 0; i < 4; i++)
		if (!CHECK_RET(ring_reap(ring, &done, 20000), 0, "completion") ||
		    !CHECK(done.user_data & 1 ?
				   NVME_STATUS(done.res) == SC_LBA_RANGE && done.res > 0 :
				   done.res == 0,
			   "read %u: %s", (unsigned int)done.user_data, err_name(done.res)))
			return false;
	return true;
}

static void *poller(void *arg)
{
	struct poller *p = arg;
	struct io_uring ring;

	if (!ring_open(&ring, p->mode, 8))
		return NULL;
	while (!__atomic_load_n(&p->stop, __ATOMIC_ACQUIRE) && push_reads(&ring, p->s, p->part) &&
	       reap_reads(&ring))
		p->ended += 4;
	io_uring_queue_exit(&ring);
	return NULL;
}

/* A worker of the kernel polls a ring that was closed with commands in flight. */
static void close_polled(const struct stage *s, unsigned int part)
{
	struct io_uring ring;

	if (!ring_open(&ring, MODE_POLL, 8))
		return;
	push_reads(&ring, s, part);
	io_uring_queue_exit(&ring);
}

/* And the call that ends a registration polls every queue. */
static void unregister_polled(struct stage *s, struct io_uring *ring, unsigned int part)
{
	struct completion done;
	struct nvme_pmap_cmd cmd;
	uint32_t index;

	if (!must_register(&s->dev, s->mem.map + part * STAGE_PART, PAGE, 0, &index))
		return;
	cmd = cmd_rw(&s->dev, OP_READ, index, 0, PAGE, 0);
	prep_cmd(ring, s->dev.fd, &cmd, 0);
	CHECK_RET(ring_push(ring), 0, "submit");
	must_unregister(&s->dev, index);
	if (CHECK_RET(ring_reap(ring, &done, 20000), 0, "completion"))
		CHECK_RET(done.res, 0, "read, unregistered in flight");
}

static void poll_freed(void)
{
	const unsigned int rounds = opt.rounds ?: 100;
	/* three threads that never sleep: on a busy machine fewer rounds must do */
	const uint64_t end = now_ms() + (opt.rounds ? 1000 * opt.limit / 2 : 10000);
	struct poller p[2] = { { .mode = MODE_POLL }, { .mode = MODE_POLL_DEFER } };
	unsigned int i, started = 0;
	struct io_uring ring;
	struct stage s;

	if (!stage_open(&s, NULL, 4 * STAGE_PART) || !ring_open(&ring, MODE_POLL, 8))
		goto out;
	for (i = 0; i < ARRAY_SIZE(p); i++, started++) {
		p[i].s = &s;
		p[i].part = i;
		if (!CHECK(!pthread_create(&p[i].thread, NULL, poller, &p[i]), "pthread_create"))
			break;
	}
	for (i = 0; i < rounds && now_ms() < end; i++) {
		close_polled(&s, 2);
		unregister_polled(&s, &ring, 3);
	}
	note("%u rings closed", i);
	for (i = 0; i < started; i++) {
		__atomic_store_n(&p[i].stop, true, __ATOMIC_RELEASE);
		pthread_join(p[i].thread, NULL);
		CHECK(p[i].ended, "poller %u did nothing", i);
		note("poller %u: %u commands", i, p[i].ended);
	}
	io_uring_queue_exit(&ring);
out:
	stage_close(&s);
}

/* Several files of one namespace, each with its own table, in parallel. */
static void files(void)
{
	static const enum mode modes[] = { MODE_IRQ, MODE_POLL, MODE_DEFER };
	struct stage s[3];
	struct load loads[3];
	unsigned int i, opened = 0;

	for (i = 0; i < 3; i++, opened++) {
		if (!stage_open(&s[i], NULL, STAGE_PART))
			goto out;
		loads[i] = stage_load(&s[i], modes[i], 0);
		loads[i].lba = i * (STAGE_PART / s[i].dev.block);
	}
	stage_run(loads, 3);
	for (i = 0; i < 3; i++)
		stage_check_stats(&s[i], loads[i].pmap_sent, modes[i] == MODE_POLL);
out:
	for (i = 0; i <= opened && i < 3; i++)
		stage_close(&s[i]);
}

/* One ring, two files: the index is looked up in the command's own file. */
static void ring_two_files(void)
{
	struct dev other = { .fd = -1 };
	struct io_uring ring;
	uint32_t second;
	struct stage s;

	if (!stage_open(&s, NULL, STAGE_PART) || !dev_open(&other, NULL, O_RDWR) ||
	    !ring_open(&ring, MODE_IRQ, 8))
		goto out;
	CHECK_RET(run_rw(&ring, &other, OP_READ, s.index, 0, PAGE, 0), -ENOENT,
		  "the index of another file");
	if (must_register(&other, s.mem.map + PAGE, PAGE, 0, &second)) {
		CHECK_RET(run_rw(&ring, &other, OP_READ, second, 0, PAGE, 0), 0, "own index");
		CHECK_RET(run_rw(&ring, &other, OP_READ, second, 0, 2 * PAGE, 0), -ERANGE,
			  "more than this file's buffer");
		CHECK_RET(run_rw(&ring, &s.dev, OP_READ, s.index, 0, 2 * PAGE, 0), 0,
			  "the other file's buffer");
	}
	io_uring_queue_exit(&ring);
out:
	dev_close(&other);
	stage_close(&s);
}

static const struct test_case parallel_cases[] = {
	{ "threads", threads },
	{ "poll-foreign", poll_foreign },
	{ "poll-threads", poll_threads },
	{ "poll-freed", poll_freed },
	{ "files", files },
	{ "ring-two-files", ring_two_files },
};

SUBJECT(parallel);

/* ---- several namespaces of one controller: -d serial=S:1 -D serial=S:2 ---- */

static void parallel(void)
{
	struct load loads[4];
	struct stage s[2];
	unsigned int i;
	bool good = stage_open(&s[0], opt.dev, 2 * STAGE_PART);

	good = stage_open(&s[1], opt.dev2, 2 * STAGE_PART) && good;
	for (i = 0; good && i < 4; i++)
		loads[i] = stage_load(&s[i % 2], i < 2 ? MODE_IRQ : MODE_POLL, i / 2);
	if (good)
		stage_run(loads, 4);
	stage_close(&s[1]);
	stage_close(&s[0]);
}

/* The same memory by two files of two namespaces; a command stays in its own. */
static void same_memory(void)
{
	struct dev second = { .fd = -1 };
	struct nvme_pmap_cmd cmd;
	struct io_uring ring;
	uint32_t index;
	struct stage s;

	if (!stage_open(&s, opt.dev, STAGE_PART) || !dev_open(&second, opt.dev2, O_RDWR) ||
	    !ring_open(&ring, MODE_IRQ, 8))
		goto out;
	if (must_register(&second, s.mem.map, STAGE_PART, 0, &index)) {
		pattern_fill(s.mem.map, s.dev.block, 7, 8, 1);
		CHECK_RET(run_rw(&ring, &s.dev, OP_WRITE, s.index, 0, 8 * s.dev.block, 7), 0,
			  "write to 1");
		pattern_fill(s.mem.map, s.dev.block, 7, 8, 2);
		CHECK_RET(run_rw(&ring, &second, OP_WRITE, index, 0, 8 * s.dev.block, 7), 0,
			  "write to 2");
		CHECK_RET(run_rw(&ring, &s.dev, OP_READ, s.index, 0, 8 * s.dev.block, 7), 0,
			  "read from 1");
		CHECK(pattern_verify(s.mem.map, s.dev.block, 7, 8, 1, "namespace 1"),
		      "namespace 1");
		CHECK_RET(run_rw(&ring, &second, OP_READ, index, 0, 8 * s.dev.block, 7), 0,
			  "read from 2");
		CHECK(pattern_verify(s.mem.map, s.dev.block, 7, 8, 2, "namespace 2"),
		      "namespace 2");
		cmd = cmd_rw(&second, OP_READ, s.index, 0, PAGE, 7);
		CHECK_RET(run_cmd(&ring, s.dev.fd, &cmd), -EINVAL,
			  "the NSID of the other namespace");
		CHECK_RET(nvme_pmap_unregister_buf(second.fd, index), 0, "unregister");
		CHECK_RET(run_rw(&ring, &s.dev, OP_READ, s.index, 0, PAGE, 7), 0,
			  "read from 1 with 2's registration gone");
	}
	io_uring_queue_exit(&ring);
out:
	dev_close(&second);
	stage_close(&s);
}

static const struct test_case namespaces_cases[] = {
	{ "parallel", parallel },
	{ "same-memory", same_memory },
};

SUBJECT(namespaces);
