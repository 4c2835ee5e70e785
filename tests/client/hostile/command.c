// SPDX-License-Identifier: GPL-2.0
/*
 * The commands of an attacker: their interface, the part of the buffer, and the check of
 * the data when they have ended; see hostile.h.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "hostile/hostile.h"

#define COMMAND_MS 60000u

const char *const door_names[NR_DOORS] = { "plain", "fixed", "pmap", "bad" };

static bool among(const int *ends, size_t nr, int res)
{
	while (nr && ends[nr - 1] != res)
		nr--;
	return nr;
}

bool by_disturbance(int res)
{
	static const int ends[] = {
		-ENODEV, /* the controller or the namespace is gone */
		-EINTR,	 /* cancelled: by a reset, a suspend, a removal */
		-EIO,	 /* sent to queues that are going, or a controller that is not live */
		-EAGAIN, /* the same in a call that must not wait */
		-EBUSY,	 /* PRP: for too long a format may have changed that is not known yet */
		-ENOMEM, /* under pressure: no request, no list for a command */
		0x4,	 /* QEMU's, when the registers are reset below its transfer */
		0x7,	 /* aborted: by Abort, or with its queue */
		0x370,	 /* the host's own words: no path, aborted; and so not to be retried */
		0x371,	 0x4370, 0x4371,
	};

	return among(ends, ARRAY_SIZE(ends), res);
}

bool by_detach(int res)
{
	static const int ends[] = {
		0xb, /* invalid namespace: the controller does not have it */
		0x400b,
		0x2, /* invalid field: QEMU's word for one that is not attached */
		0x4002,
	};

	return among(ends, ARRAY_SIZE(ends), res);
}

void end_counted(struct hostile *h, int res)
{
	struct ends *e = &h->tally.ends;
	unsigned int i;

	for (i = 0; res && i < NR_ENDS; i++) {
		int none = 0;

		if (__atomic_load_n(&e->res[i], __ATOMIC_RELAXED) != res &&
		    !__atomic_compare_exchange_n(&e->res[i], &none, res, false, __ATOMIC_RELAXED,
						 __ATOMIC_RELAXED) &&
		    none != res)
			continue;
		__atomic_fetch_add(&e->times[i], 1, __ATOMIC_RELAXED);
		break;
	}
}

static uint64_t user_data(const struct attacker *a, unsigned int i) { return a->batches << 8 | i; }

/* May a block have these contents, after the writes sent to it? */
static bool block_right(const struct attacker *a, uint32_t block, const unsigned char *at)
{
	const struct region *r = a->region;
	uint32_t bytes = a->dev.block;
	uint64_t gen;

	memcpy(&gen, at + 8, 8);
	if (!r->acked[block] && !gen) {
		uint32_t i = 0;

		while (i < bytes && !at[i])
			i++;
		if (i == bytes)
			return true;
	}
	if (gen < r->acked[block] || gen > r->newest[block])
		gen = r->acked[block];
	return CHECK(pattern_verify(at, bytes, a->lba + block, 1, gen, a->name),
		     "%s: block %u is not of generations %" PRIu64 " to %" PRIu64, a->name, block,
		     r->acked[block], r->newest[block]);
}

static bool read_right(struct attacker *a, const struct flight *f)
{
	uint32_t blocks = f->len / a->dev.block, i;

	buffer_read(&f->buf, f->from, a->data, f->len);
	for (i = 0; i < blocks; i++)
		if (!block_right(a, f->block + i, a->data + i * a->dev.block))
			return false;
	COUNT(a->h, verified, 1);
	COUNT(a->h, bytes, f->len);
	return true;
}

/* The data of a write are on the disk as they were sent, in spite of all disturbances. */
static bool write_right(struct attacker *a, const struct flight *f)
{
	uint32_t blocks = f->len / a->dev.block, i;

	buffer_read(&f->buf, f->from, a->data, f->len);
	for (i = 0; i < blocks; i++)
		__atomic_store_n(&a->region->acked[f->block + i], f->gen, __ATOMIC_RELAXED);
	COUNT(a->h, verified, 1);
	return CHECK(pattern_verify(a->data, a->dev.block, a->lba + f->block, blocks, f->gen,
				    a->name),
		     "%s: memory that was written from has changed", a->name);
}

static void write_begins(struct attacker *a, struct flight *f)
{
	uint32_t blocks = f->len / a->dev.block, i;

	f->gen = ++a->region->next;
	/* before it is sent: the process that continues after a kill must know */
	for (i = 0; i < blocks; i++)
		__atomic_store_n(&a->region->newest[f->block + i], f->gen, __ATOMIC_RELEASE);
	pattern_fill(a->data, a->dev.block, a->lba + f->block, blocks, f->gen);
	buffer_write(&f->buf, f->from, a->data, f->len);
}

/* The buffer of a command on one interface; its index there. */
static const struct buffer *some_buffer(struct attacker *a, unsigned int door, unsigned int *index)
{
	const struct buffer *b;

	if (door == DOOR_PMAP) {
		*index = draw_of(&a->draw, PMAPS);
		b = &a->pmap[*index];
		*index = a->index[*index];
		return b;
	}
	*index = some_slot(a, a->by == &a->twin ? a->cloned_slots : a->slots);
	return a->by == &a->twin ? &a->cloned[*index] : &a->slot[*index];
}

/* Begins and ends of whole blocks anywhere in the buffer; false: not this time. */
static bool some_part(struct attacker *a, struct flight *f)
{
	uint32_t block = a->dev.block, most = (uint32_t)(f->buf.len / block), blocks;

	if (most > PART)
		most = PART;
	if (!most)
		return false;
	blocks = one_in(&a->draw, 3) ? most : 1 + draw_of(&a->draw, most);
	f->len = blocks * block;
	f->from = NVME_PMAP_ALIGN * draw_of(&a->draw, (f->buf.len - f->len) / NVME_PMAP_ALIGN + 1);
	if (one_in(&a->draw, 2))
		f->from = one_in(&a->draw, 2) ? 0 : f->buf.len - f->len;
	return true;
}

static bool prep_one(struct attacker *a, unsigned int i, unsigned int index)
{
	struct flight *f = &a->flight[i];
	uint64_t lba = a->lba + f->block;
	struct io_uring_sqe *sqe;

	if (f->door == DOOR_PMAP) {
		struct nvme_pmap_cmd cmd = cmd_rw(&a->dev, f->opcode, index, f->from, f->len, lba);

		sqe = prep_cmd(a->by, a->dev.fd, &cmd, user_data(a, i));
	} else {
		sqe = prep_stock(a->by, &a->dev, f->opcode, f->buf.at + f->from, f->len, lba,
				 user_data(a, i));
	}
	if (!CHECK(sqe, "%s: the submission queue is full", a->name))
		return false;
	if (f->door == DOOR_FIXED || f->door == DOOR_BAD)
		sqe_fixed(sqe, index);
	if (f->door != DOOR_PLAIN && one_in(&a->draw, 24))
		sqe->flags |= IOSQE_ASYNC;
	f->sent = true;
	COUNT(a->h, sent[f->door], 1);
	a->nr++;
	return true;
}

/* Beyond the buffer, or in a slot without one: it must fail, and change nothing. */
static bool prep_bad(struct attacker *a, unsigned int i)
{
	struct flight *f = &a->flight[i];
	unsigned int index;

	f->buf = *some_buffer(a, DOOR_BAD, &index);
	f->opcode = OP_READ;
	f->len = PAGE;
	if (f->buf.at) {
		f->from = one_in(&a->draw, 2) ? f->buf.len - PAGE / 2 : f->buf.len;
		if (one_in(&a->draw, 3))
			f->from = (size_t) - (int64_t)PAGE;
	} else {
		f->buf.at = a->arena[0].mem.map;
		f->from = 0;
	}
	return prep_one(a, i, index);
}

/*
 * Stock of 6.12 spins for ever when a ring that polls and defers ends with commands of
 * stock's in flight (docs/threat-model.md): such a ring then has others only.
 */
static bool only_pmap(const struct attacker *a, bool last)
{
	enum mode mode = a->by == &a->twin ? a->twin_mode : a->mode;

	return mode == MODE_POLL_DEFER && (last || a->prog->mortal);
}

static unsigned int some_door(struct attacker *a, bool last)
{
	static const unsigned int doors[] = { DOOR_PLAIN, DOOR_PLAIN, DOOR_PMAP, DOOR_PMAP,
					      DOOR_PMAP,  DOOR_PMAP,  DOOR_BAD };
	unsigned int at = draw_of(&a->draw, 16);

	if (only_pmap(a, last))
		return DOOR_PMAP;
	return at < ARRAY_SIZE(doors) ? doors[at] : DOOR_FIXED;
}

/* @last: the ring is closed, and the memory given back, while it is in flight. */
bool command_prep(struct attacker *a, unsigned int i, bool last)
{
	struct flight *f = &a->flight[i];
	unsigned int index;

	*f = (struct flight){ .opcode = OP_READ, .door = some_door(a, last), .block = i * PART };
	if (f->door == DOOR_BAD)
		return prep_bad(a, i);
	f->buf = *some_buffer(a, f->door, &index);
	/* an io-wq thread translates the address later, when the memory may be other */
	if (f->door == DOOR_PLAIN && (f->buf.windowed || last))
		f->door = DOOR_FIXED;
	if (!f->buf.at || !some_part(a, f) || !buffer_take(&f->buf, f->from, f->len))
		return true;
	f->block += draw_of(&a->draw, PART - f->len / a->dev.block + 1);
	if (!last && one_in(&a->draw, 2)) {
		f->opcode = OP_WRITE;
		write_begins(a, f);
	}
	return prep_one(a, i, index);
}

/* A command has ended, one way or the other: its memory is poison again. */
static bool ended(struct attacker *a, struct flight *f, int res)
{
	bool good = true;

	f->sent = false;
	a->nr--;
	COUNT(a->h, failed[f->door], res != 0);
	if (f->door == DOOR_BAD)
		return CHECK(res == -EFAULT || by_disturbance(res), "%s: beyond a buffer: %s",
			     a->name, err_name(res));
	end_counted(a->h, res);
	if (res) {
		if (res == -ENODEV)
			give_up(a);
		good = CHECK(by_disturbance(res) || by_detach(res),
			     "%s: %s of %u bytes by %s, %s: %s", a->name,
			     f->opcode == OP_READ ? "read" : "write", f->len, door_names[f->door],
			     mode_names[a->mode], err_name(res));
	} else {
		good = f->opcode == OP_READ ? read_right(a, f) : write_right(a, f);
	}
	buffer_write(&f->buf, f->from, NULL, f->len);
	buffer_give(&f->buf, f->from, f->len);
	return good;
}

bool commands_reap(struct attacker *a)
{
	unsigned int wait = slow_kernel() ? 4 * COMMAND_MS : COMMAND_MS, i;
	struct completion done;

	while (a->nr) {
		if (!CHECK_RET(ring_reap(a->by, &done, wait), 0, "%s: %u commands do not end (%s)",
			       a->name, a->nr, mode_names[a->mode]))
			return false;
		i = done.user_data & 0xff;
		if (!CHECK(i < PARTS && a->flight[i].sent && done.user_data == user_data(a, i),
			   "%s: a CQE of no command", a->name) ||
		    !ended(a, &a->flight[i], done.res))
			return false;
	}
	return true;
}
