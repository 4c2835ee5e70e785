// SPDX-License-Identifier: GPL-2.0
/*
 * SQEs that another thread rewrites while they are submitted.  Each field changes between
 * values that are right and others that would reach too far: into memory beside the buffer, into
 * another namespace, or to a write on a file that is open for reading only.  A driver that
 * checks a field and then reads it again sends such a command now and then.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "auto/auto.h"

#define NOBODY	65534
#define ENTRIES 64u /* of prog_start()'s rings */
#define BATCH	16u
#define GUARD	(16u * PAGE) /* before, between and behind the buffers */
#define BUFFERS 2u
#define SPAN	(2 * LEN) /* of the disk, that commands read from and must not write */

static const unsigned char secret[8] = "ns two!";

struct race {
	struct prog p;
	enum mode mode;
	bool by_auto;
	struct dev other; /* another namespace of the same controller */
	unsigned char *buf[BUFFERS];
	uint32_t index[BUFFERS];
	uint64_t draws;
	unsigned int first; /* entry of the SQ that this round begins with */
	pthread_t thread;
	bool stop;
	uint64_t good, failed;
};

/* ---- the other thread ---- */

struct field {
	size_t at, bytes;
	unsigned int nr;
	uint64_t value[10];
};

#define AT(name) offsetof(struct nvme_pmap_cmd, name), sizeof(((struct nvme_pmap_cmd *)0)->name)

static uint64_t draw(struct race *r, uint64_t limit)
{
	r->draws ^= r->draws << 13;
	r->draws ^= r->draws >> 7;
	r->draws ^= r->draws << 17;
	return r->draws % limit;
}

static void put(unsigned char *at, size_t bytes, uint64_t value)
{
	switch (bytes) {
	case 1:
		__atomic_store_n(at, (uint8_t)value, __ATOMIC_RELAXED);
		break;
	case 4:
		__atomic_store_n((uint32_t *)(void *)at, (uint32_t)value, __ATOMIC_RELAXED);
		break;
	default:
		__atomic_store_n((uint64_t *)(void *)at, value, __ATOMIC_RELAXED);
	}
}

/*
 * Of a stock command, no value of cdw12 transfers more than any of data_len: stock does not
 * compare them (CVE-2023-6238).
 */
static unsigned int fields_of(const struct race *r, struct field *f)
{
	uint64_t base = r->by_auto ? (uintptr_t)r->buf[0] : 0, blocks = SLICE / r->p.dev.block;
	unsigned int n = 0;

	f[n++] = (struct field){ AT(opcode),
				 5,
				 { OP_READ, OP_WRITE, OP_WRITE_ZEROES, OP_WRITE, OP_FLUSH } };
	f[n++] = (struct field){ AT(nsid), 4, { r->p.dev.nsid, r->other.nsid, 0xffffffff } };
	f[n++] = (struct field){ AT(offset),
				 7,
				 { base, base + LEN - SLICE, base + LEN, base - SLICE,
				   base + LEN - SLICE / 2, base + SLICE, base + 2 } };
	f[n++] = (struct field){ AT(cdw12), 2, { blocks - 1, 0 } };
	f[n++] = (struct field){ AT(data_len), 3, { SLICE, 2 * SLICE, LEN + GUARD } };
	f[n++] = (struct field){ AT(cdw10), 4, { 0, 8, SPAN / r->p.dev.block / 2, 1 } };
	f[n++] = (struct field){ AT(timeout_ms), 2, { 0, 60000 } };
	if (r->by_auto) {
		f[n++] = (struct field){ AT(index), 2, { 0, 4096 } };
		return n;
	}
	f[n++] = (struct field){ AT(cdw12), 2, { blocks - 1, 0xffff } };
	f[n++] = (struct field){ AT(data_len), 5, { SLICE, 0, 3, 512, 0xfffff000 } };
	f[n++] = (struct field){ AT(index), 4, { r->index[0], r->index[1], 77, 0xffffffff } };
	f[n++] = (struct field){ AT(flags), 3, { 0, 0x40, 1 } };
	return n;
}

/*
 * A field of the entries that are being submitted, or prepared: wrong and right by turns, as
 * fast as can be, since a driver that reads it twice does so within nanoseconds.
 */
static void rewrite_field(struct race *r, const struct field *f)
{
	unsigned int turns = 2048, first, i;
	unsigned char *at[BATCH];
	uint64_t bad;

	while (turns--) {
		first = __atomic_load_n(&r->first, __ATOMIC_RELAXED);
		bad = f->value[1 + turns % (f->nr - 1)];
		for (i = 0; i < BATCH; i++)
			at[i] = (unsigned char *)r->p.ring.sq.sqes[2 * ((first + i) % ENTRIES)].cmd +
				f->at;
		for (i = 0; i < BATCH; i++)
			put(at[i], f->bytes, bad);
		for (i = 0; i < BATCH; i++)
			put(at[i], f->bytes, f->value[0]);
	}
}

static void *rewrite(void *arg)
{
	struct race *r = arg;
	struct field fields[16];
	unsigned int nr = fields_of(r, fields);

	while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED))
		rewrite_field(r, &fields[draw(r, nr)]);
	return NULL;
}

/* ---- the submitter ---- */

static void prep_one(struct race *r, unsigned int i)
{
	struct prog *p = &r->p;
	struct nvme_pmap_cmd cmd;

	if (r->by_auto) {
		prep_fixed(p, OP_READ, 0, r->buf[0] + i % (LEN / SLICE) * SLICE, SLICE, 0);
		return;
	}
	cmd = cmd_rw(&p->dev, OP_READ, r->index[0], i % (LEN / SLICE) * SLICE, SLICE, 0);
	CHECK(prep_cmd(&p->ring, p->dev.fd, &cmd, 0), "the submission queue is full");
}

static bool round_run(struct race *r)
{
	struct completion done;
	unsigned int i;

	__atomic_store_n(&r->first, r->p.ring.sq.sqe_tail, __ATOMIC_RELAXED);
	for (i = 0; i < BATCH; i++)
		prep_one(r, i);
	if (!CHECK_RET(ring_push(&r->p.ring), 0, "submit"))
		return false;
	for (i = 0; i < BATCH; i++) {
		if (!CHECK_RET(ring_reap(&r->p.ring, &done, 20000), 0, "completion %u", i))
			return false;
		r->good += !done.res;
		r->failed += done.res != 0;
	}
	return true;
}

/* Only the buffers have changed, and none of them shows the other namespace. */
static bool memory_right(const struct race *r)
{
	const unsigned char *at = r->p.mem.map;
	unsigned int i;
	size_t off;

	for (i = 0; i < BUFFERS; i++, at += LEN) {
		if (!CHECK(poisoned(at, GUARD) == GUARD, "byte %#zx before buffer %u has changed",
			   poisoned(at, GUARD), i))
			return false;
		at += GUARD;
		for (off = 0; off < LEN; off += 512)
			if (!CHECK(memcmp(at + off, secret, sizeof(secret)),
				   "data of another namespace"))
				return false;
	}
	return CHECK(poisoned(at, GUARD) == GUARD, "byte %#zx behind the buffers has changed",
		     poisoned(at, GUARD));
}

static bool buffers_make(struct race *r)
{
	unsigned int i;

	poison(r->p.mem.map, r->p.mem.len);
	for (i = 0; i < BUFFERS; i++) {
		r->buf[i] = r->p.mem.map + GUARD + i * (LEN + GUARD);
		if (r->by_auto ? !buffer_set(&r->p, i, r->buf[i], LEN) :
				 !must_register(&r->p.dev, r->buf[i], LEN, 0, &r->index[i]))
			return false;
	}
	return true;
}

/* As a user without capabilities, for whom the file can only be read. */
static void race_child(void *arg)
{
	struct race *r = arg;
	uint64_t end = now_ms() + 1000ull * (opt.rounds ? opt.rounds : 3), rounds = 0;
	struct paths before;
	bool good;

	good = prog_start(&r->p, r->mode, MEM_4K, BUFFERS * LEN + (BUFFERS + 1) * GUARD) &&
	       buffers_make(r) && (!r->by_auto || buffer_warm(&r->p, 0, r->buf[0]));
	if (!good)
		return;
	before = paths_of(&r->p.dev);
	r->draws = rnd() | 1;
	if (!CHECK(!pthread_create(&r->thread, NULL, rewrite, r), "pthread_create"))
		return;
	/* until both kinds of end have been seen: a thread may get little of the CPU */
	while (good &&
	       (now_ms() < end || ((!r->good || r->failed < 20) && now_ms() < end + 20000))) {
		good = round_run(r) && (rounds % 8 || memory_right(r));
		rounds++;
	}
	__atomic_store_n(&r->stop, true, __ATOMIC_RELAXED);
	pthread_join(r->thread, NULL);
	memory_right(r);
	note("%s: %" PRIu64 " rounds, %" PRIu64 " commands succeeded, %" PRIu64 " failed",
	     mode_names[r->mode], rounds, r->good, r->failed);
	CHECK(r->good && r->failed, "%" PRIu64 " succeeded and %" PRIu64 " failed", r->good,
	      r->failed);
	if (r->by_auto)
		CHECK(paths_since(&r->p.dev, &before).served, "the door has served none");
	io_uring_queue_exit(&r->p.ring);
}

/* As root, and through the block devices. */
static bool disks_fill(struct race *r)
{
	unsigned char *data = aligned_alloc(PAGE, SPAN);
	int own = dev_open_block(&r->p.dev, O_RDWR), other = dev_open_block(&r->other, O_RDWR);
	bool good = CHECK(data && own >= 0 && other >= 0, "no block device");
	size_t i;

	if (good) {
		for (i = 0; i < SPAN; i += sizeof(secret))
			memcpy(data + i, secret, sizeof(secret));
		good = CHECK(pwrite(other, data, SPAN, 0) == SPAN, "fill: %s", strerror(errno));
		pattern_fill(data, r->p.dev.block, 0, SPAN / r->p.dev.block, 1);
		good &= CHECK(pwrite(own, data, SPAN, 0) == SPAN, "fill: %s", strerror(errno));
	}
	close(own);
	close(other);
	free(data);
	return good;
}

static void disk_right(struct race *r)
{
	unsigned char *data = aligned_alloc(PAGE, SPAN);
	int own = dev_open_block(&r->p.dev, O_RDONLY);

	if (CHECK(data && own >= 0, "no block device") &&
	    CHECK(pread(own, data, SPAN, 0) == SPAN, "read: %s", strerror(errno)))
		CHECK(pattern_verify(data, r->p.dev.block, 0, SPAN / r->p.dev.block, 1, "the disk"),
		      "a file open for reading has written");
	close(own);
	free(data);
}

static void race(bool by_auto, enum mode mode)
{
	const struct rlimit limit = { MIB(64), MIB(64) };
	struct race r = { .mode = mode, .by_auto = by_auto };
	bool good;

	if (by_auto)
		good = prog_device(&r.p, NULL, O_RDONLY) && set_door(&r.p.dev, door_mode());
	else
		good = dev_open(&r.p.dev, NULL, O_RDONLY);
	r.other.fd = -1;
	good = good && dev_open(&r.other, opt.dev2, O_RDONLY) && disks_fill(&r) &&
	       CHECK(!setrlimit(RLIMIT_MEMLOCK, &limit), "setrlimit");
	if (good) {
		in_child(race_child, &r, NOBODY);
		disk_right(&r);
	}
	if (by_auto)
		set_door(&r.p.dev, "off");
	dev_close(&r.other);
	dev_close(&r.p.dev);
}

static const enum mode modes[] = { MODE_IRQ, MODE_DEFER, MODE_POLL, MODE_POLL_DEFER };

static void racing_pmap(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(modes) && !case_failed(); i++)
		race(false, modes[i]);
}

static void racing_auto(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(modes) && !case_failed(); i++)
		race(true, modes[i]);
}

static const struct test_case racing_cases[] = {
	{ "pmap", racing_pmap },
	{ "auto", racing_auto },
};

SUBJECT(racing);
