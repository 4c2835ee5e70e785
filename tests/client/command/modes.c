// SPDX-License-Identifier: GPL-2.0
/*
 * The ways in which programs drive a ring: its modes, links, io-wq, fixed files
 * and stock commands between ours, more in flight than the queue holds, SQEs that are
 * prepared once.  Several at a time are parallel.c's.
 */
#include <inttypes.h>
#include <stdio.h>
#include <sys/utsname.h>

#include "lib/stage.h"

static void one_mode(enum mode mode)
{
	bool polled = mode == MODE_POLL || mode == MODE_POLL_DEFER || mode == MODE_POLL_SQPOLL;
	struct stage s;

	if (stage_open(&s, NULL, STAGE_PART)) {
		struct load l = stage_load(&s, mode, 0);

		if (load_run(&l)) {
			CHECK(l.verified == l.count, "%" PRIu64 " of %u verified", l.verified,
			      l.count);
			stage_check_stats(&s, l.pmap_sent, polled);
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

	if (stage_open(&s, NULL, STAGE_PART)) {
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

	if (!stage_open(&s, NULL, STAGE_PART) || !ring_open(&ring, MODE_IRQ, 8))
		goto out;
	good = cmd_rw(&s.dev, OP_READ, s.index, 0, STAGE_LEN, 0);
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

	poison(s->mem.map, STAGE_PART);
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
 * On some kernels the new contents count (docs/threat-model.md).  The driver must send the same
 * contents that it has checked.
 */
static void link_overwritten(void)
{
	bool early = copies_early();
	struct nvme_pmap_cmd other;
	struct io_uring ring;
	struct stage s;
	uint64_t lba;

	if (!stage_open(&s, NULL, STAGE_PART) || !ring_open(&ring, MODE_DEFER, 8))
		goto out;
	pattern_fill(s.mem.map, s.dev.block, 0, STAGE_PART / s.dev.block, 3);
	CHECK_RET(run_rw(&ring, &s.dev, OP_WRITE, s.index, 0, 8 * PAGE, 0), 0, "write");
	other = cmd_rw(&s.dev, OP_READ, s.index, PAGE, PAGE, 24);
	lba = early ? 8 : 24;
	CHECK_RET(overwritten(&ring, &s, other), 0, "another block");
	CHECK(pattern_verify(s.mem.map + PAGE, s.dev.block, lba, PAGE / s.dev.block, 3,
			     "chained read"),
	      "not the data of block %" PRIu64, lba);
	CHECK(poisoned(s.mem.map + 2 * PAGE, STAGE_PART - 2 * PAGE) == STAGE_PART - 2 * PAGE,
	      "memory behind the slice changed");
	other.index++;
	CHECK_RET(overwritten(&ring, &s, other), early ? 0 : -ENOENT, "no such buffer");
	other.index--;
	other.offset = STAGE_PART;
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

/* ---- SQEs that are prepared once ---- */

#define AGAIN 32u /* SQEs of setup_make()'s ring, and pages of the buffer */

/* A command on each of the first @n pages. */
static bool again_round(struct setup *s, unsigned int n, uint64_t lba, const char *what)
{
	uint32_t blocks = PAGE / s->dev.block;
	struct completion done;
	unsigned int i;
	int ret;

	for (i = 0; i < n; i++)
		nvme_pmap_prep_again(nvme_pmap_ring_sqe(&s->ring, i), i * PAGE, lba + i * blocks);
	nvme_pmap_ring_advance(&s->ring, n);
	ret = io_uring_submit(&s->ring);
	if (!CHECK(ret == (int)n, "%s: submitted %d of %u", what, ret, n))
		return false;
	for (i = 0; i < n; i++)
		if (!CHECK_RET(ring_reap(&s->ring, &done, 20000), 0, "%s: completion", what) ||
		    !CHECK_RET(done.res, 0, "%s: command %u", what, i) ||
		    !CHECK(done.user_data >= 100 && done.user_data < 100 + AGAIN, "user data"))
			return false;
	return true;
}

static bool prepare_all(struct setup *s, uint8_t opcode)
{
	unsigned int i;

	for (i = 0; i < s->ring.sq.ring_entries; i++) {
		struct io_uring_sqe *sqe = nvme_pmap_ring_sqe(&s->ring, i);

		nvme_pmap_prep_rw(sqe, s->dev.fd, opcode, s->dev.nsid, s->index, 0, PAGE, 0,
				  PAGE / s->dev.block);
		sqe->user_data = 100 + i;
	}
	return CHECK(i == AGAIN, "a ring of %u", i);
}

/* Rounds of all lengths: each entry of the ring comes first at some time. */
static void prepared_once(void)
{
	uint64_t lba = (1ull << 32) | 8, first;
	struct setup s;
	unsigned int n;
	bool good;

	good = setup_make(&s, NULL, MODE_IRQ, MEM_4K, AGAIN * PAGE);
	/* both halves of SLBA, where the namespace is that large */
	first = good && s.dev.blocks > lba + AGAIN * PAGE / s.dev.block ? lba : 8;
	for (n = 1; good && n <= AGAIN; n++) {
		uint32_t blocks = n * PAGE / s.dev.block;

		pattern_fill(s.mem.map, s.dev.block, first, blocks, n);
		good = prepare_all(&s, NVME_PMAP_OP_WRITE) && again_round(&s, n, first, "write");
		poison(s.mem.map, s.mem.len);
		good = good && prepare_all(&s, NVME_PMAP_OP_READ) &&
		       again_round(&s, n, first, "read") &&
		       CHECK(pattern_verify(s.mem.map, s.dev.block, first, blocks, n, "again"),
			     "%u commands: wrong data", n) &&
		       CHECK(poisoned(s.mem.map + n * PAGE, s.mem.len - n * PAGE) ==
				     s.mem.len - n * PAGE,
			     "%u commands: more than they were to read", n);
	}
	setup_close(&s);
}

/* It names a buffer, and does not touch it. */
static void flush(void)
{
	struct io_uring_sqe *sqe;
	struct completion done;
	struct setup s;

	if (setup_make(&s, NULL, MODE_IRQ, MEM_4K, PAGE) &&
	    CHECK((sqe = io_uring_get_sqe(&s.ring)), "no SQE")) {
		poison(s.mem.map, PAGE);
		nvme_pmap_prep_flush(sqe, s.dev.fd, s.dev.nsid, s.index);
		CHECK(io_uring_submit(&s.ring) == 1, "submit");
		CHECK_RET(ring_reap(&s.ring, &done, 20000), 0, "completion");
		CHECK_RET(done.res, 0, "flush");
		CHECK(poisoned(s.mem.map, PAGE) == PAGE, "a Flush has written");
	}
	setup_close(&s);
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
	{ "prepared-once", prepared_once },
	{ "flush", flush },
};

SUBJECT(modes);
