// SPDX-License-Identifier: GPL-2.0
/*
 * Making a buffer, in the steps of nvme_pmap_buffer_create(): this repeats the order
 * of the calls, and all arithmetic is in the headers.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buffer.h"

/* Places far apart and above 4 GiB; see where a wild address came from. */
#define DATA_AT	   0x0003000000000000ull
#define LISTS_AT   0x0005000000000000ull
#define BUILT_AT   0x0006000000000000ull
#define GUARD_AT   0x0007000000000000ull
#define SEGMENT_AT 0x0008000000000000ull

u64 next_random(u64 *state)
{
	u64 z = *state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static void *must_alloc(size_t nr, size_t size)
{
	void *mem = calloc(nr, size);

	if (!mem) {
		perror("calloc");
		exit(2);
	}
	return mem;
}

/* Groups go down in memory with gaps between, so no two of them join. */
static u64 grouped_dma(u32 slots, u32 at, u8 shift)
{
	u64 group = (slots >> shift) + 1 - (at >> shift);
	u64 slot = (group << (shift + 1)) + (at & ((1u << shift) - 1));

	return DATA_AT + slot * PMAP_SLOT_SIZE;
}

static void place_slots(struct buffer *b)
{
	const struct buffer_spec *spec = &b->spec;
	u64 next = DATA_AT, seed = spec->seed;

	for (u32 i = 0; i < spec->slots; i++, next += PMAP_SLOT_SIZE) {
		switch (spec->shape) {
		case SHAPE_ONE_RUN:
			break;
		case SHAPE_SCATTERED:
			next = grouped_dma(spec->slots, i, 0);
			break;
		case SHAPE_RUNS:
			next = grouped_dma(spec->slots + spec->phase, i + spec->phase, spec->run);
			break;
		case SHAPE_RANDOM:
			if (!(next_random(&seed) & ((1u << spec->run) - 1)))
				next += (1 + (seed >> 60)) * PMAP_SLOT_SIZE;
			break;
		}
		b->dma[i] = next;
	}
}

static bool goes_on(const struct buffer *b, u32 slot)
{
	return b->dma[slot] == b->dma[slot - 1] + PMAP_SLOT_SIZE;
}

/* Are neighbours in the same aligned group of 2^shift slots contiguous? */
static bool groups_hold(const struct buffer *b, u8 shift)
{
	for (u32 i = 1; i < b->spec.slots; i++) {
		u32 at = i + b->spec.phase;

		if (at >> shift == (at - 1) >> shift && !goes_on(b, i))
			return false;
	}
	return true;
}

static u8 naive_run_shift(const struct buffer *b)
{
	u8 shift = 30;

	for (u32 i = 1; i < b->spec.slots && goes_on(b, i); i++)
		if (i + 1 == b->spec.slots)
			return 31;
	if (b->spec.slots == 1)
		return 31;
	while (!groups_hold(b, shift))
		shift--;
	return shift;
}

/* nvme_pmap_list_size(), with blocks below a page not rounded up to it. */
static u32 list_size(const struct buffer *b, u32 i)
{
	u32 left = b->l.nr_slots - (i << b->l.list_shift);
	u32 bytes = (left * (u32)sizeof(struct nvme_sgl_desc) + 4095) & ~4095u;

	return b->l.form == NVME_PMAP_FORM_PRP || bytes > b->list_bytes ? b->list_bytes : bytes;
}

static void alloc_lists(struct buffer *b, u8 shift, u32 list_bytes)
{
	b->nr_lists = pmap_nr_lists(b->l.nr_slots, shift);
	b->l.list_shift = shift;
	b->l.list_mask = (1u << shift) - 1;
	b->l.list_slots = 1u << shift;
	b->list_bytes = list_bytes;
	b->l.list = must_alloc(b->nr_lists, sizeof(*b->l.list));

	/* at least one free page after each, and the first list comes last */
	for (b->stride_shift = 13; 1u << b->stride_shift < 2 * list_bytes;)
		b->stride_shift++;
	for (u32 i = 0; i < b->nr_lists; i++) {
		b->l.list[i].prp = must_alloc(1, list_size(b, i));
		b->l.list[i].dma = LISTS_AT + ((u64)(b->nr_lists - 1 - i) << b->stride_shift);
	}
}

static void start_sgl(struct buffer *b, u32 slots)
{
	b->l.form = NVME_PMAP_FORM_SGL_LIST;
	alloc_lists(b, b->spec.list_shift, sizeof(struct nvme_sgl_desc) << b->spec.list_shift);
	pmap_fill_lists(&b->l, 0, b->l.base, slots);
}

/* nvme_pmap_start_lists() */
static void start_lists(struct buffer *b)
{
	if (b->spec.want == WANT_PRP) {
		b->l.form = NVME_PMAP_FORM_PRP;
		alloc_lists(b, PMAP_PRP_SHIFT, PMAP_SLOT_SIZE);
		return;
	}
	b->l.form = NVME_PMAP_FORM_SGL_RUN;
	if (b->spec.want == WANT_SGL_LIST)
		start_sgl(b, 0);
	else
		b->l.run_above = PMAP_RUN_ALL;
}

/* nvme_pmap_record_run() */
static void note_run(struct buffer *b, u32 slot, u64 dma, u32 nr, u64 next)
{
	struct pmap_layout *l = &b->l;

	if (!slot)
		l->base = dma;
	if (slot && dma != next) {
		l->run_above = pmap_break_run(l->run_above, slot + l->run_phase);
		if (l->form == NVME_PMAP_FORM_SGL_RUN)
			start_sgl(b, slot);
	}
	if (l->form != NVME_PMAP_FORM_SGL_RUN)
		pmap_fill_lists(l, slot, dma, nr);
}

/* Report the slots in runs, as the DMA API does, of @spec.step at most. */
static void note_slots(struct buffer *b)
{
	u64 next = 0;
	u32 slot, nr;

	for (slot = 0; slot < b->spec.slots; slot += nr) {
		for (nr = 1;
		     nr < b->spec.step && slot + nr < b->spec.slots && goes_on(b, slot + nr);)
			nr++;
		note_run(b, slot, b->dma[slot], nr, next);
		next = b->dma[slot] + ((u64)nr << PMAP_SLOT_SHIFT);
	}
}

/* The entries of a PRP window, see the head comment of pmap/layout.h. */
static const char *check_windows(const struct buffer *b)
{
	for (u32 h = 0; h < b->nr_lists; h++)
		for (u32 i = 0; i < 512; i++) {
			u32 slot = 256 * h + i;
			u64 want = slot < b->spec.slots ? b->dma[slot] : GUARD_AT;

			if (le64toh(b->l.list[h].prp[i]) != want)
				return slot < b->spec.slots ?
					       "a window entry is not its slot's" :
					       "an entry past the end is not the guard page";
		}
	return NULL;
}

static const char *check_made(const struct buffer *b)
{
	u32 lists_for = b->spec.want == WANT_PRP ? 256 : 1u << b->spec.list_shift;

	/* unmapping takes the addresses from there */
	for (u32 i = 0; i < b->spec.slots; i++)
		if (pmap_slot_dma(&b->l, i) != b->dma[i])
			return "pmap_slot_dma() is not the slot's address";
	if (b->l.list && b->nr_lists != (b->spec.slots + lists_for - 1) / lists_for)
		return "the wrong number of lists";
	if (b->spec.want == WANT_PRP)
		return b->l.list ? check_windows(b) : "no windows";
	if (b->l.run_above != ~((1u << b->run_shift) - 1))
		return "run_above is not the largest whose groups are runs";
	if (b->spec.want == WANT_SGL &&
	    (b->l.form == NVME_PMAP_FORM_SGL_RUN) != (b->run_shift == 31))
		return "one run, and not the form for it, or the reverse";
	return NULL;
}

/* A kept list ends, for the device, before entry 511 or where the slots do. */
static u32 list_visible(const struct buffer *b, u32 i)
{
	u32 left = b->spec.slots - (i << b->l.list_shift);

	if (b->l.form == NVME_PMAP_FORM_PRP)
		return 511 * 8;
	return (left <= b->l.list_mask ? left : b->l.list_mask + 1) * 16;
}

static const void *read_memory(void *ctx, u64 dma, u32 *bytes)
{
	struct buffer *b = ctx;
	u64 n = (dma - BUILT_AT) / 8192, off = (dma - BUILT_AT) % 8192;

	if (dma >= BUILT_AT && n < b->built_pages && off < 4096) {
		b->built_read |= 1u << n;
		*bytes = 4096 - (u32)off;
		return (const char *)b->built[n].prp + off;
	}
	if (dma >= SEGMENT_AT && dma - SEGMENT_AT < b->segment_bytes) {
		b->built_read = 1;
		*bytes = b->segment_bytes - (u32)(dma - SEGMENT_AT);
		return (const char *)b->segment.sgl + (dma - SEGMENT_AT);
	}
	n = (dma - LISTS_AT) >> b->stride_shift;
	off = (dma - LISTS_AT) & ((1ull << b->stride_shift) - 1);
	if (dma < LISTS_AT || n >= b->nr_lists)
		return NULL;
	n = b->nr_lists - 1 - n;
	if (off >= list_visible(b, (u32)n))
		return NULL;
	*bytes = list_visible(b, (u32)n) - (u32)off;
	return (const char *)b->l.list[n].prp + off;
}

const char *buffer_make(struct buffer *b, const struct buffer_spec *spec)
{
	memset(b, 0, offsetof(struct buffer, dev));
	memset(b->kinds, 0, sizeof(b->kinds));
	memset(b->large, 0, sizeof(b->large));
	b->spec = *spec;
	b->dev.read = read_memory;
	b->dev.ctx = b;
	b->nr_lists = 0;
	b->l.len = ((u64)spec->slots << PMAP_SLOT_SHIFT) - spec->head - spec->tail;
	b->l.head = spec->head;
	b->l.nr_slots = spec->slots;
	b->l.run_above = PMAP_RUN_NONE;
	b->l.run_phase = spec->phase;
	b->l.prp_end = spec->whole_lists ? 0 : 511;

	for (u32 i = 0; i <= PMAP_BUILT_MAX; i++) {
		b->built[i].prp = must_alloc(1, PMAP_SLOT_SIZE);
		b->built[i].dma = BUILT_AT + i * 8192;
	}
	b->segment.sgl = must_alloc(1, SEGMENT_BYTES);
	b->segment.dma = SEGMENT_AT;
	b->dma = must_alloc(spec->slots, sizeof(*b->dma));
	place_slots(b);
	b->run_shift = spec->want == WANT_SGL_LIST ? 0 : naive_run_shift(b);
	start_lists(b);
	note_slots(b);
	if (spec->want == WANT_PRP)
		pmap_put_guard(&b->l, GUARD_AT);
	return check_made(b);
}

void buffer_free(struct buffer *b)
{
	for (u32 i = 0; i <= PMAP_BUILT_MAX; i++)
		free(b->built[i].prp);
	for (u32 i = 0; i < b->nr_lists; i++)
		free(b->l.list[i].prp);
	free(b->segment.sgl);
	free(b->l.list);
	free(b->dma);
}
