// SPDX-License-Identifier: GPL-2.0
/*
 * Fuzzing: buffers of io_uring's, and stock commands with them, as programs send that
 * know nothing of pmaps.
 */
#include <sys/syscall.h>
#include <unistd.h>

#include "fuzz/fuzz.h"

/* Newer than liburing's header. */
#define CLONE_BUFFERS 30
struct clone {
	uint32_t src_fd, flags, src_off, dst_off, nr, pad[3];
};

/* ---- buffers ---- */

/* A slot of the worker, junk, vanishing memory, nothing, or an impossible buffer. */
static struct iovec gen_buffer(struct worker *w)
{
	unsigned int slot = (unsigned int)draw_below(w, NR_SLOTS), n;
	struct iovec iov = { w->arena.slot[slot].at, w->arena.slot[slot].len };

	n = (unsigned int)draw_below(w, 100);
	if (n < 60)
		return iov;
	if (n < 80) {
		iov.iov_base = w->junk + draw_below(w, JUNK_LEN / 8) * 4;
		iov.iov_len = 512 + draw_below(w, JUNK_LEN / 8) * 4;
	} else if (n < 86) {
		iov.iov_base = fuzz.unstable + draw_below(w, VOLATILE_LEN / 2);
		iov.iov_len = 512 + draw_below(w, VOLATILE_LEN / 2 - 512);
	} else if (n < 94) {
		iov = (struct iovec){ 0 };
	} else if (n < 97) {
		iov.iov_base = w->args + ARGS_LEN;
	} else {
		iov.iov_len = odd_value(w, iov.iov_len);
		if (iov.iov_len - 1 < (1ull << 30))
			iov.iov_base = w->args + ARGS_LEN;
	}
	return iov;
}

static int ring_register(const struct fuzz_ring *r, unsigned int op, const void *arg,
			 unsigned int nr)
{
	long ret = syscall(__NR_io_uring_register, r->ring.ring_fd, op, arg, nr);

	return ret < 0 ? -errno : (int)ret;
}

static void note_buffers(struct worker *w, struct fuzz_ring *r, unsigned int first, unsigned int nr,
			 const struct iovec *iov)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		r->buffer[first + i] = iov[i];
	/* the memory at its address has been replaced since */
	if (chance(w, 500))
		replace_junk(w);
}

/* Of any size, with buffers or sparse. */
static int new_table(struct worker *w, struct fuzz_ring *r)
{
	unsigned int nr = 1 + (unsigned int)draw_below(w, NR_BUFFERS), i;
	bool sparse = chance(w, 600), old = chance(w, 300), spoil = chance(w, 250);
	struct iovec iov[NR_BUFFERS] = { 0 };
	struct io_uring_rsrc_register reg = {
		.nr = nr,
		.flags = sparse ? IORING_RSRC_REGISTER_SPARSE : 0,
		.data = sparse ? 0 : (uintptr_t)iov,
	};
	const void *nowhere = w->args + ARGS_LEN;
	unsigned int size = sizeof(reg);
	int ret;

	for (i = 0; i < nr && !sparse; i++)
		iov[i] = gen_buffer(w);
	if (old && !sparse) {
		ret = ring_register(r, IORING_REGISTER_BUFFERS, spoil ? nowhere : iov, nr);
	} else {
		if (spoil && chance(w, 250))
			size = (unsigned int)draw_below(w, 2 * sizeof(reg));
		else if (spoil && chance(w, 300))
			reg.resv2 = draw(w);
		else if (spoil && chance(w, 500))
			reg.flags ^= 1u << draw_below(w, 32);
		else if (spoil)
			reg.data = (uintptr_t)nowhere;
		ret = ring_register(r, IORING_REGISTER_BUFFERS2, &reg, size);
	}
	if (!ret) {
		r->table = nr;
		note_buffers(w, r, 0, nr, iov);
	}
	return ret;
}

/* All that a shared ring has, of which only its lock's owner knows. */
static int clone_table(struct worker *w, struct fuzz_ring *r)
{
	struct fuzz_ring *from = &fuzz.shared[draw_below(w, NR_SHARED)];
	struct clone c = { .src_fd = (uint32_t)from->ring.ring_fd };
	int ret;

	if (from == r || pthread_mutex_trylock(&from->lock))
		from = NULL;
	if (!from)
		c.src_fd = (uint32_t)(draw(w) % 2 ? 5000 : r->ring.ring_fd);
	if (chance(w, 150))
		c.flags = 1u << draw_below(w, 32);
	if (chance(w, 150))
		c.pad[draw_below(w, 3)] = 1;
	ret = ring_register(r, CLONE_BUFFERS, &c, chance(w, 50) ? 2 : 1);
	if (!ret && from) {
		r->table = from->table;
		note_buffers(w, r, 0, r->table, from->buffer);
	}
	if (from)
		pthread_mutex_unlock(&from->lock);
	return ret;
}

static int update_table(struct worker *w, struct fuzz_ring *r)
{
	static const uint64_t tags[NR_BUFFERS];
	unsigned int nr = 1 + (unsigned int)draw_below(w, 3), i;
	struct iovec iov[3];
	struct io_uring_rsrc_update2 up = {
		.offset = (uint32_t)draw_below(w, r->table ?: 1),
		.data = (uintptr_t)iov,
		.tags = chance(w, 500) ? (uintptr_t)tags : 0,
		.nr = nr,
	};
	int ret;

	for (i = 0; i < nr; i++)
		iov[i] = gen_buffer(w);
	if (chance(w, 50))
		up.data = (uintptr_t)w->args + ARGS_LEN - chance(w, 500) * sizeof(*iov);
	else if (chance(w, 50))
		up.offset = (uint32_t)odd_value(w, r->table);
	else if (chance(w, 50))
		up.nr = (uint32_t)odd_value(w, 0);
	else if (chance(w, 30))
		up.resv = (uint32_t)draw(w);
	ret = ring_register(r, IORING_REGISTER_BUFFERS_UPDATE, &up, sizeof(up));
	if (ret > 0 && up.data == (uintptr_t)iov)
		note_buffers(w, r, up.offset, (unsigned int)ret, iov);
	return ret > 0 ? 0 : ret;
}

/* It waits for all commands, but does not poll for them. */
static int end_table(struct worker *w, struct fuzz_ring *r)
{
	int ret;

	if (r->ring.flags & IORING_SETUP_IOPOLL && !fuzz_ring_drain(w, r))
		return 0;
	ret = ring_register(r, IORING_UNREGISTER_BUFFERS, NULL, 0);
	if (!ret) {
		r->table = 0;
		memset(r->buffer, 0, sizeof(r->buffer));
	}
	return ret;
}

void fuzz_buffers(struct worker *w, struct fuzz_ring *r)
{
	unsigned int n = (unsigned int)draw_below(w, 100);
	int ret;

	pthread_mutex_lock(&r->lock);
	if (n < 5)
		ret = end_table(w, r);
	else if (n < (r->table ? 10 : 60))
		ret = new_table(w, r);
	else if (n < (r->table ? 15 : 95))
		ret = clone_table(w, r);
	else
		ret = update_table(w, r);
	pthread_mutex_unlock(&r->lock);
	w->done++;
	w->tally->calls[K_BUFFERS]++;
	tally_count(w, K_BUFFERS, ret, "");
}

/* ---- commands ---- */

/* Where the buffer is not, at the distance of a byte or anywhere. */
static uint64_t beside(struct worker *w, const struct iovec *iov, uint32_t len)
{
	uint64_t from = (uintptr_t)iov->iov_base, to = from + iov->iov_len;

	switch (draw_below(w, 4)) {
	case 0:
		return from - 1 - draw_below(w, len);
	case 1:
		return to - len + 1 + draw_below(w, len);
	case 2:
		return to + draw_below(w, 4 * PAGE);
	default:
		return from + (1ull << (32 + draw_below(w, 31)));
	}
}

/*
 * As of gen_stock(): opcode, count and length agree, or the command needs less than
 * the memory that it names.  Spoilt commands are refused before they reach the device.
 */
static void spoil_fixed(struct worker *w, struct nvme_uring_cmd *c, const struct iovec *iov)
{
	switch (draw_below(w, 24)) {
	case 0:
		c->opcode = (uint8_t)(0x80 | draw(w));
		break;
	case 1:
		c->flags = (uint8_t)(1 + draw_below(w, 255));
		break;
	case 2:
	case 3:
		if (iov->iov_base)
			c->addr = beside(w, iov, c->data_len);
		break;
	case 4:
		c->metadata = 1ull << draw_below(w, 64);
		c->metadata_len = 8;
		break;
	case 5:
		/* without a length it is no metadata */
		c->metadata = 1ull << draw_below(w, 64);
		break;
	case 6:
		c->nsid += chance(w, 5);
		break;
	case 7:
		c->data_len += 4 * (uint32_t)draw_below(w, 4 * PAGE);
		break;
	case 8:
		c->cdw12 = (uint32_t)draw_below(w, c->cdw12 + 1);
		break;
	case 9:
		c->cdw2 = (uint32_t)draw(w);
		c->cdw13 = (uint32_t)draw(w);
		break;
	case 10:
		c->timeout_ms = 60000 + (uint32_t)draw_below(w, 1u << 31);
		break;
	case 11:
		if (c->opcode == OP_READ)
			c->cdw10 = (uint32_t)(fuzz.dev.blocks - draw_below(w, c->cdw12 + 1));
		break;
	}
}

struct nvme_uring_cmd gen_fixed(struct worker *w, const struct fuzz_ring *r, unsigned int file,
				uint16_t *index)
{
	const struct iovec *iov;
	uint32_t max, blocks, i;
	struct nvme_uring_cmd c = {
		.opcode = chance(w, 300) ? OP_WRITE :
			  chance(w, 50)	 ? OP_COMPARE :
					   OP_READ,
		.nsid = fuzz.dev.nsid,
	};

	/* from there on the next that is one, if there is */
	*index = (uint16_t)draw_below(w, NR_BUFFERS);
	for (i = 1; i < NR_BUFFERS && !r->buffer[*index].iov_base; i++)
		*index = (uint16_t)((*index + 1) % NR_BUFFERS);
	iov = &r->buffer[*index];
	max = iov->iov_len < MIB(1) ? (uint32_t)iov->iov_len / 512 : 1;
	blocks = 1 + (uint32_t)draw_below(w, chance(w, 800) && max > 16 ? 16 : max ?: 1);
	c.data_len = 512 * blocks;
	/* never NULL, which for stock means no data */
	c.addr = (uintptr_t)iov->iov_base ?: (uintptr_t)w->junk;
	if (iov->iov_len > c.data_len)
		c.addr += draw_below(w, (iov->iov_len - c.data_len) / 4 + 1) * 4;
	c.cdw10 = (uint32_t)draw_below(w, fuzz.dev.blocks - blocks);
	c.cdw12 = blocks - 1;
	if (c.opcode == OP_WRITE && file_writable(file))
		c.cdw10 = SCRATCH_END - blocks;
	spoil_fixed(w, &c, iov);
	if (chance(w, 30))
		*index = (uint16_t)odd_value(w, *index);
	return c;
}
