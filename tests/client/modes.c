// SPDX-License-Identifier: GPL-2.0
/*
 * The ways in which programs drive io_uring: ring modes, links, io-wq, threads,
 * rings and files in all combinations, more in flight than the queue holds.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "load.h"

#define LEN 16384u

/* A device, a buffer and a registration that the loads of a case share. */
struct stage {
	struct dev dev;
	struct mem mem;
	uint32_t index;
};

static bool stage_open(struct stage *s, const char *name, size_t len)
{
	memset(s, 0, sizeof(*s));
	s->mem.fd = -1;
	return dev_open(&s->dev, name, O_RDWR) &&
	       CHECK(mem_alloc(&s->mem, MEM_4K, len), "no memory") &&
	       must_register(&s->dev, s->mem.map, len, 0, &s->index);
}

static void stage_close(struct stage *s)
{
	mem_free(&s->mem);
	dev_close(&s->dev);
}

/* The @nr-th load of the stage, with its own part of the buffer and the disk. */
static struct load stage_load(const struct stage *s, enum mode mode, unsigned int nr)
{
	struct load l = {
		.name = mode_names[mode],
		.mode = mode,
		.dev = &s->dev,
		.index = s->index,
		.len = LEN,
		.depth = 16,
		.count = opt.rounds ?: 128,
	};
	size_t part = LOAD_BYTES(l.depth, LEN);

	l.offset = nr * part;
	l.base = s->mem.map + l.offset;
	l.lba = nr * (part / s->dev.block);
	return l;
}

#define PART LOAD_BYTES(16, LEN)

/*
 * Every command is counted once by its form and once by the way its completion
 * took; only a ring that polls can find a completion itself.
 */
static void check_stats(const struct dev *dev, uint64_t sent, bool polled)
{
	struct nvme_pmap_stats st;

	if (!CHECK_RET(nvme_pmap_stats_file(dev->fd, &st), 0, "stats"))
		return;
	CHECK(stats_total(&st) == sent, "%" PRIu64 " commands sent, %" PRIu64 " counted", sent,
	      stats_total(&st));
	CHECK(st.direct + st.deferred == sent, "%" PRIu64 " commands, %llu direct, %llu deferred",
	      sent, (unsigned long long)st.direct, (unsigned long long)st.deferred);
	if (polled)
		CHECK(st.direct, "no completion was posted by the ring that polled it");
	else
		CHECK(!st.direct, "%llu direct completions without polling",
		      (unsigned long long)st.direct);
}

static void one_mode(enum mode mode)
{
	bool polled = mode == MODE_POLL || mode == MODE_POLL_DEFER || mode == MODE_POLL_SQPOLL;
	struct stage s;

	if (stage_open(&s, NULL, PART)) {
		struct load l = stage_load(&s, mode, 0);

		if (load_run(&l)) {
			CHECK(l.verified == l.count, "%" PRIu64 " of %u verified", l.verified,
			      l.count);
			check_stats(&s.dev, l.pmap_sent, polled);
		}
	}
	stage_close(&s);
}

static void irq(void) { one_mode(MODE_IRQ); }
static void poll_mode(void) { one_mode(MODE_POLL); }
static void defer(void) { one_mode(MODE_DEFER); }
static void poll_defer(void) { one_mode(MODE_POLL_DEFER); }
static void sqpoll(void) { one_mode(MODE_SQPOLL); }
static void poll_sqpoll(void) { one_mode(MODE_POLL_SQPOLL); }

/* A variation, set by @tweak, in several modes one after the other. */
static void in_modes(const enum mode *modes, size_t nr, void (*tweak)(struct load *))
{
	struct stage s;
	size_t i;

	if (stage_open(&s, NULL, PART)) {
		for (i = 0; i < nr; i++) {
			struct load l = stage_load(&s, modes[i], 0);

			tweak(&l);
			if (load_run(&l))
				CHECK(l.verified == l.count, "%s: %" PRIu64 " of %u verified",
				      l.name, l.verified, l.count);
		}
	}
	stage_close(&s);
}

static const enum mode common[] = { MODE_IRQ, MODE_POLL, MODE_DEFER };

static void tweak_async(struct load *l)
{
	l->sqe_flags = IOSQE_ASYNC;
	l->count /= 2;
}

static void tweak_link(struct load *l) { l->link = true; }
static void tweak_fixed_file(struct load *l) { l->fixed_file = true; }
static void tweak_mixed(struct load *l) { l->stock = 3; }

static void tweak_mixed_fixed(struct load *l)
{
	l->stock = 3;
	l->fixed_buf = true;
}

static void async(void) { in_modes(common, 2, tweak_async); }
static void links(void) { in_modes(common, 3, tweak_link); }
static void fixed_file(void) { in_modes(common, 2, tweak_fixed_file); }
static void mixed(void) { in_modes(common, 3, tweak_mixed); }
static void mixed_fixed(void) { in_modes(common, 3, tweak_mixed_fixed); }

/* A refused command breaks its chain, as any failed request does. */
static void link_broken(void)
{
	struct nvme_pmap_cmd good, bad;
	struct completion done;
	struct io_uring ring;
	struct stage s;
	unsigned int i;

	if (!stage_open(&s, NULL, PART) || !ring_open(&ring, MODE_IRQ, 8))
		goto out;
	good = cmd_rw(&s.dev, OP_READ, s.index, 0, LEN, 0);
	bad = good;
	bad.offset = 2;
	prep_cmd(&ring, s.dev.fd, &bad, 0)->flags |= IOSQE_IO_LINK;
	prep_cmd(&ring, s.dev.fd, &good, 1);
	CHECK_RET(io_uring_submit(&ring), 2, "submit");
	for (i = 0; i < 2; i++)
		if (CHECK_RET(ring_reap(&ring, &done, 5000), 0, "completion %u", i))
			CHECK_RET(done.res, done.user_data ? -ECANCELED : -EDOM, "command %u",
				  (unsigned int)done.user_data);
	CHECK_RET(run_cmd(&ring, s.dev.fd, &good), 0, "the next command");
	io_uring_queue_exit(&ring);
out:
	stage_close(&s);
}

/* Does this kernel copy the SQE of a chained uring_cmd when it is submitted? */
static bool copies_early(void)
{
	unsigned int major = 0, minor = 0;
	struct utsname name;

	uname(&name);
	sscanf(name.release, "%u.%u", &major, &minor);
	note("Linux %u.%u", major, minor);
	return major < 6 || (major == 6 && (minor < 10 || minor > 13));
}

/*
 * A chain whose second entry the program overwrites after io_uring_submit(),
 * when its turn has not come: this ring has it after the wait only.
 */
static int overwritten(struct io_uring *ring, const struct stage *s, struct nvme_pmap_cmd with)
{
	struct nvme_pmap_cmd first = cmd_rw(&s->dev, OP_READ, s->index, 0, PAGE, 0);
	struct nvme_pmap_cmd second = cmd_rw(&s->dev, OP_READ, s->index, PAGE, PAGE, 8);
	struct completion done = { .res = -ETIME };
	struct io_uring_sqe *sqe;
	int i;

	poison(s->mem.map, PART);
	prep_cmd(ring, s->dev.fd, &first, 0)->flags |= IOSQE_IO_LINK;
	sqe = prep_cmd(ring, s->dev.fd, &second, 1);
	CHECK_RET(io_uring_submit(ring), 2, "submit");
	*(struct nvme_pmap_cmd *)(void *)sqe->cmd = with;
	for (i = 0; i < 2; i++)
		if (!CHECK_RET(ring_reap(ring, &done, 20000), 0, "completion %d", i) ||
		    !CHECK(done.user_data == (unsigned int)i, "completion %d is not command %d's",
			   i, i))
			return -ETIME;
	return done.res;
}

/*
 * On some kernels it is the new contents that count (README).  The driver's part:
 * what it sends is what it has checked.
 */
static void link_overwritten(void)
{
	bool early = copies_early();
	struct nvme_pmap_cmd other;
	struct io_uring ring;
	struct stage s;
	uint64_t lba;

	if (!stage_open(&s, NULL, PART) || !ring_open(&ring, MODE_DEFER, 8))
		goto out;
	pattern_fill(s.mem.map, s.dev.block, 0, PART / s.dev.block, 3);
	CHECK_RET(run_rw(&ring, &s.dev, OP_WRITE, s.index, 0, 8 * PAGE, 0), 0, "write");
	other = cmd_rw(&s.dev, OP_READ, s.index, PAGE, PAGE, 24);
	lba = early ? 8 : 24;
	CHECK_RET(overwritten(&ring, &s, other), 0, "another block");
	CHECK(pattern_verify(s.mem.map + PAGE, s.dev.block, lba, PAGE / s.dev.block, 3,
			     "chained read"),
	      "not the data of block %" PRIu64, lba);
	CHECK(poisoned(s.mem.map + 2 * PAGE, PART - 2 * PAGE) == PART - 2 * PAGE,
	      "memory behind the slice changed");
	other.index++;
	CHECK_RET(overwritten(&ring, &s, other), early ? 0 : -ENOENT, "no such buffer");
	other.index--;
	other.offset = PART;
	CHECK_RET(overwritten(&ring, &s, other), early ? 0 : -ERANGE, "behind the buffer");
	other.offset = PAGE;
	other.cdw12 = 0xffff;
	CHECK_RET(overwritten(&ring, &s, other), early ? 0 : -EOVERFLOW, "too long");
	io_uring_queue_exit(&ring);
out:
	stage_close(&s);
}

/* More in flight than the driver has tags (the script loads it with few). */
static void deep(void)
{
	static const enum mode modes[] = { MODE_IRQ, MODE_POLL, MODE_DEFER, MODE_SQPOLL };
	const unsigned int depth = 1500;
	struct stage s;
	size_t i;

	if (stage_open(&s, NULL, LOAD_BYTES(depth, PAGE))) {
		for (i = 0; i < ARRAY_SIZE(modes); i++) {
			struct load l = stage_load(&s, modes[i], 0);

			l.depth = depth;
			l.len = PAGE;
			l.count = depth + 500;
			if (!load_run(&l))
				break;
		}
	}
	stage_close(&s);
}

/*
 * The same with a small submission queue: a command that waits for a tag in a
 * worker must not be read again from an entry that has been used anew.
 */
static void sqe_reused(void)
{
	const unsigned int depth = 512;
	struct stage s;
	size_t i;

	if (stage_open(&s, NULL, LOAD_BYTES(depth, PAGE))) {
		for (i = 0; i < ARRAY_SIZE(common); i++) {
			struct load l = stage_load(&s, common[i], 0);

			l.depth = depth;
			l.len = PAGE;
			l.count = 2 * depth;
			l.entries = 32;
			if (!load_run(&l))
				break;
		}
	}
	stage_close(&s);
}

static void run_all(struct load *loads, unsigned int nr)
{
	unsigned int i, started = 0;

	for (i = 0; i < nr && load_start(&loads[i]); i++)
		started++;
	for (i = 0; i < started; i++) {
		load_join(&loads[i]);
		CHECK(loads[i].verified == loads[i].count,
		      "load %u (%s): %" PRIu64 " of %u verified", i, loads[i].name,
		      loads[i].verified, loads[i].count);
	}
}

/* Several rings in as many threads on one file and one registration. */
static void threads(void)
{
	static const enum mode modes[] = { MODE_IRQ, MODE_POLL, MODE_POLL, MODE_DEFER };
	struct load loads[ARRAY_SIZE(modes)];
	uint64_t sent = 0;
	struct stage s;
	unsigned int i;

	if (stage_open(&s, NULL, PART * ARRAY_SIZE(modes))) {
		for (i = 0; i < ARRAY_SIZE(modes); i++)
			loads[i] = stage_load(&s, modes[i], i);
		run_all(loads, ARRAY_SIZE(modes));
		for (i = 0; i < ARRAY_SIZE(modes); i++)
			sent += loads[i].pmap_sent;
		check_stats(&s.dev, sent, true);
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

	if (stage_open(&s, NULL, 2 * PART)) {
		for (i = 0; i < 2; i++) {
			loads[i] = stage_load(&s, i ? MODE_POLL_DEFER : MODE_POLL, i);
			loads[i].depth = 1;
			loads[i].len = PAGE;
			loads[i].count = 400;
		}
		run_all(loads, 2);
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

	if (!stage_open(&s, NULL, PART) || !ring_open(&a, MODE_POLL, 8))
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

/* ---- who polls must not touch a request that another's poll has freed ---- */

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
	return cmd_rw(&s->dev, OP_READ, s->index, part * PART + i * PAGE, PAGE,
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

/* A ring closed with commands in flight is polled by a worker of the kernel. */
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

	if (!must_register(&s->dev, s->mem.map + part * PART, PAGE, 0, &index))
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

	if (!stage_open(&s, NULL, 4 * PART) || !ring_open(&ring, MODE_POLL, 8))
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
	struct stage s[3];
	struct load loads[3];
	unsigned int i, opened = 0;

	for (i = 0; i < 3; i++, opened++) {
		if (!stage_open(&s[i], NULL, PART))
			goto out;
		loads[i] = stage_load(&s[i], common[i], 0);
		loads[i].lba = i * (PART / s[i].dev.block);
	}
	run_all(loads, 3);
	for (i = 0; i < 3; i++)
		check_stats(&s[i].dev, loads[i].pmap_sent, common[i] == MODE_POLL);
out:
	for (i = 0; i <= opened && i < 3; i++)
		stage_close(&s[i]);
}

/* One ring, two files: the index means what the command's own file says. */
static void ring_two_files(void)
{
	struct dev other = { .fd = -1 };
	struct io_uring ring;
	uint32_t second;
	struct stage s;

	if (!stage_open(&s, NULL, PART) || !dev_open(&other, NULL, O_RDWR) ||
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

static const struct test_case modes_cases[] = {
	{ "irq", irq },
	{ "poll", poll_mode },
	{ "defer", defer },
	{ "poll-defer", poll_defer },
	{ "sqpoll", sqpoll },
	{ "poll-sqpoll", poll_sqpoll },
	{ "async", async },
	{ "link", links },
	{ "link-broken", link_broken },
	{ "link-overwritten", link_overwritten },
	{ "fixed-file", fixed_file },
	{ "mixed", mixed },
	{ "mixed-fixed", mixed_fixed },
	{ "deep", deep },
	{ "sqe-reused", sqe_reused },
	{ "threads", threads },
	{ "poll-foreign", poll_foreign },
	{ "poll-threads", poll_threads },
	{ "poll-freed", poll_freed },
	{ "files", files },
	{ "ring-two-files", ring_two_files },
};

SUBJECT(modes);

/* ---- several namespaces of one controller: -d serial=S:1 -D serial=S:2 ---- */

static void parallel(void)
{
	struct load loads[4];
	struct stage s[2];
	unsigned int i;
	bool good = stage_open(&s[0], opt.dev, 2 * PART);

	good = stage_open(&s[1], opt.dev2, 2 * PART) && good;
	for (i = 0; good && i < 4; i++)
		loads[i] = stage_load(&s[i % 2], i < 2 ? MODE_IRQ : MODE_POLL, i / 2);
	if (good)
		run_all(loads, 4);
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

	if (!stage_open(&s, opt.dev, PART) || !dev_open(&second, opt.dev2, O_RDWR) ||
	    !ring_open(&ring, MODE_IRQ, 8))
		goto out;
	if (must_register(&second, s.mem.map, PART, 0, &index)) {
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
