// SPDX-License-Identifier: GPL-2.0
/* Slots that write their blocks and read them back; see load.h. */
#include <inttypes.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "lib/load.h"

enum { WRITING, READING, LINKED };

/* user_data: the slot below, the number of the command above. */
#define SLOT_BITS 16

static bool pending(const struct slot *slot) { return slot->owed[0] || slot->owed[1]; }

static unsigned char *half(const struct load *l, unsigned int i, int read)
{
	return l->base + ((size_t)2 * i + (size_t)read) * l->len;
}

static uint64_t slot_lba(const struct load *l, unsigned int i)
{
	return l->lba + (uint64_t)i * (l->len / l->dev->block);
}

static bool push(struct load *l)
{
	int ret = io_uring_submit(&l->ring);

	return CHECK(ret >= 0, "%s: io_uring_submit: %s", l->name, err_name(ret));
}

static bool prep_one(struct load *l, unsigned int i, uint8_t opcode, unsigned int flags)
{
	bool stock = l->stock && l->sent % l->stock == 0;
	uint64_t nr = l->sent + 1, user_data = nr << SLOT_BITS | i;
	unsigned char *at = half(l, i, opcode == OP_READ);
	uint64_t offset = l->offset + (uint64_t)(at - l->base);
	struct nvme_pmap_cmd cmd = cmd_rw(l->dev, opcode, l->index, offset, l->len, slot_lba(l, i));
	struct io_uring_sqe *sqe;

	if (!io_uring_sq_space_left(&l->ring) && !push(l))
		return false;
	if (stock)
		sqe = prep_stock(&l->ring, l->dev, opcode, at, l->len, slot_lba(l, i), user_data);
	else
		sqe = prep_cmd(&l->ring, l->dev->fd, &cmd, user_data);
	if (!CHECK(sqe, "%s: the submission queue is full", l->name))
		return false;
	if (stock && l->fixed_buf)
		sqe_fixed(sqe, 0);
	if (l->fixed_file) {
		sqe->fd = 0;
		flags |= IOSQE_FIXED_FILE;
	}
	sqe->flags |= flags | l->sqe_flags;
	l->pmap_sent += !stock;
	l->sent++;
	l->busy++;
	l->slots[i].owed[!!l->slots[i].owed[0]] = nr;
	return true;
}

static bool start_pair(struct load *l, unsigned int i)
{
	struct slot *slot = &l->slots[i];

	if (l->started >= l->count || (l->stop && *l->stop))
		return true;
	l->started++;
	slot->gen++;
	slot->bad = false;
	slot->phase = l->link ? LINKED : WRITING;
	pattern_fill(half(l, i, 0), l->dev->block, slot_lba(l, i), l->len / l->dev->block,
		     slot->gen);
	/* The read must bring every byte anew. */
	poison(half(l, i, 1), l->len);
	if (!l->link)
		return prep_one(l, i, OP_WRITE, 0);
	return prep_one(l, i, OP_WRITE, IOSQE_IO_LINK) && prep_one(l, i, OP_READ, 0);
}

static bool tolerated(const struct load *l, int res)
{
	const int *t = l->tolerated;

	for (; t && *t; t++)
		if (*t == res)
			return true;
	return false;
}

/* A command has one CQE; an acknowledged write is on the disk. */
static bool account(struct load *l, const struct completion *done)
{
	unsigned int i = done->user_data & ((1u << SLOT_BITS) - 1), which = 0;
	uint64_t nr = done->user_data >> SLOT_BITS;
	struct slot *slot = &l->slots[i];

	if (i < l->depth && slot->owed[1] == nr)
		which = 1;
	if (!CHECK(nr && i < l->depth && slot->owed[which] == nr,
		   "%s: a CQE for command %" PRIu64 " of slot %u, which is not in flight", l->name,
		   nr, i))
		return false;
	slot->owed[which] = 0;
	l->busy--;
	if (!done->res && (slot->phase == WRITING || (slot->phase == LINKED && !which)))
		slot->acked = slot->gen;
	return true;
}

static bool completed(struct load *l, const struct completion *done)
{
	unsigned int i = done->user_data & ((1u << SLOT_BITS) - 1);
	struct slot *slot = &l->slots[i];

	if (!account(l, done))
		return false;
	if (done->res) {
		l->failed++;
		slot->bad = true;
		if (!tolerated(l, done->res) &&
		    !CHECK_RET(done->res, 0, "%s: slot %u phase %u", l->name, i, slot->phase))
			return false;
	}
	if (pending(slot))
		return true;
	/* The device is gone for good: the slot ends. */
	if (slot->bad)
		return done->res == -ENODEV || start_pair(l, i);
	if (slot->phase == WRITING) {
		slot->phase = READING;
		return prep_one(l, i, OP_READ, 0);
	}
	l->verified++;
	return CHECK(pattern_verify(half(l, i, 1), l->dev->block, slot_lba(l, i),
				    l->len / l->dev->block, slot->gen, l->name),
		     "%s: slot %u read back wrong", l->name, i) &&
	       start_pair(l, i);
}

static bool prepare(struct load *l)
{
	struct iovec iov = { l->base, LOAD_BYTES(l->depth, l->len) };
	unsigned int entries = l->entries, all = 2 * l->count;
	int ret = 0;

	if (!entries)
		entries = all < 32768 ? all : 32768;

	if (!l->kept)
		l->slots = calloc(l->depth, sizeof(*l->slots));
	if (!l->slots || !ring_open_cq(&l->ring, l->mode, entries,
				       2 * (entries > 2 * l->depth ? entries : 2 * l->depth)))
		return false;
	if (l->fixed_buf)
		ret = io_uring_register_buffers(&l->ring, &iov, 1);
	if (!ret && l->fixed_file)
		ret = io_uring_register_files(&l->ring, &l->dev->fd, 1);
	return CHECK_RET(ret, 0, "%s: io_uring_register", l->name);
}

/* More or less of the memory; commands in flight have the buffer that they began with. */
static bool renew(struct load *l)
{
	size_t lead = l->renewed % 2 ? 0 : l->lead;
	struct iovec iov = { l->base - lead, LOAD_BYTES(l->depth, l->len) + lead };
	__u64 tag = 0;

	l->renewed++;
	return CHECK_RET(io_uring_register_buffers_update_tag(&l->ring, 0, &iov, &tag, 1), 1,
			 "%s: buffer anew", l->name);
}

static bool turn(struct load *l)
{
	struct completion done;
	bool good = CHECK_RET(ring_reap(&l->ring, &done, 20000), 0,
			      "%s: %u commands in flight do not end", l->name, l->busy);

	if (!good)
		return false;
	do {
		good = completed(l, &done);
	} while (good && !ring_reap(&l->ring, &done, 0));
	if (good && l->renew && l->renewed < *l->renew)
		good = renew(l);
	return good && push(l);
}

bool load_run(struct load *l)
{
	bool good = prepare(l);
	unsigned int i;

	for (i = 0; good && i < l->depth; i++)
		l->slots[i].gen = l->first_gen;
	for (i = 0; good && i < l->depth; i++)
		good = start_pair(l, i);
	good = good && push(l);
	while (good && l->busy)
		good = turn(l);
	good = good && CHECK(!io_uring_cq_ready(&l->ring) && !*l->ring.cq.koverflow,
			     "%s: CQEs beyond the commands", l->name);
	/* Commands still in flight end with the ring. */
	if (l->ring.ring_fd > 0)
		io_uring_queue_exit(&l->ring);
	if (!l->kept)
		free(l->slots);
	return good;
}

static void *load_thread(void *arg)
{
	load_run(arg);
	return NULL;
}

bool load_start(struct load *l)
{
	return CHECK(!pthread_create(&l->thread, NULL, load_thread, l), "pthread_create");
}

void load_join(struct load *l) { pthread_join(l->thread, NULL); }

bool load_keep(struct load *l)
{
	l->slots = mmap(NULL, l->depth * sizeof(*l->slots), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	l->kept = l->slots != MAP_FAILED;
	return CHECK(l->kept, "%s: no memory", l->name);
}

void load_forget(struct load *l)
{
	if (l->kept)
		munmap(l->slots, l->depth * sizeof(*l->slots));
	l->kept = false;
}

/* A write that failed may have been done in part, but never an older one since. */
static bool check_slot(const struct load *l, const struct dev *dev, unsigned int i,
		       const unsigned char *buf)
{
	const struct slot *slot = &l->slots[i];
	uint64_t lba = slot_lba(l, i), gen, n;

	for (n = 0; n < l->len / dev->block; n++, lba++, buf += dev->block) {
		memcpy(&gen, buf + 8, 8);
		if (gen < slot->acked || gen > slot->gen)
			gen = slot->acked;
		if (!CHECK(pattern_verify(buf, dev->block, lba, 1, gen, l->name),
			   "%s: slot %u: acknowledged data are not there (generations %" PRIu64
			   " to %" PRIu64 ")",
			   l->name, i, slot->acked, slot->gen))
			return false;
	}
	return true;
}

bool load_check(const struct load *l, const struct dev *dev, struct io_uring *ring)
{
	unsigned char *buf = aligned_alloc(PAGE, PAGE_ROUND(l->len));
	bool good = buf;
	unsigned int i;

	for (i = 0; good && i < l->depth; i++)
		good = !l->slots[i].acked ||
		       (CHECK_RET(run_stock(ring, dev, OP_READ, buf, l->len, slot_lba(l, i)), 0,
				  "%s: stock read of slot %u", l->name, i) &&
			check_slot(l, dev, i, buf));
	free(buf);
	return good;
}
