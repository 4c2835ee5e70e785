// SPDX-License-Identifier: GPL-2.0
/*
 * libFuzzer chooses a large buffer and slices of it.  The input is a header of
 * how the buffer is kept and placed, then 7 bytes for each slice.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buffer.h"

#define MAX_SLICES 64

static unsigned long slices;

/* The rest of the input; reads zeroes past its end. */
struct input {
	const u8 *at;
	size_t left;
};

static u32 take(struct input *in, unsigned int bytes)
{
	u32 value = 0;

	while (bytes-- && in->left) {
		value = value << 8 | *in->at++;
		in->left--;
	}
	return value;
}

/* Small sizes as likely as large ones. */
static u32 take_scaled(struct input *in, unsigned int bits)
{
	u32 value = take(in, 3) & ((1u << bits) - 1);

	return value >> take(in, 1) % bits;
}

static struct buffer_spec take_spec(struct input *in)
{
	struct buffer_spec spec = {
		.want = take(in, 1) % 3,
		.shape = take(in, 1) % 4,
		.run = take(in, 1) % 12,
		.list_shift = take(in, 1) % 14,
		.whole_lists = !(take(in, 1) % 4),
		/* run_phase is below PMAP_CHUNK_PAGES */
		.phase = take(in, 2) % 8192,
		.step = 1 + take_scaled(in, 13),
		.slots = 1 + take_scaled(in, 16),
		.seed = take(in, 4),
	};
	u32 bytes = spec.slots < 16 ? spec.slots * PMAP_SLOT_SIZE : 65536;

	spec.head = take(in, 2) % bytes & ~3u;
	spec.tail = take(in, 2) % (bytes - spec.head) & ~3u;
	/* that many single descriptors would take the time of all else */
	if (spec.slots > 4096 && spec.list_shift < 4)
		spec.list_shift += 4;
	return spec;
}

static void complain(const struct buffer *b, const char *wrong, u64 offset, u32 len)
{
	const struct buffer_spec *s = &b->spec;

	if (!wrong)
		return;
	fprintf(stderr,
		"want %d shape %d run %u list_shift %u whole %d phase %u step %u slots %u head %u tail %u seed %llu: %u bytes at %llu: %s\n",
		s->want, s->shape, s->run, s->list_shift, s->whole_lists, s->phase, s->step,
		s->slots, s->head, s->tail, (unsigned long long)s->seed, len,
		(unsigned long long)offset, wrong);
	abort();
}

/* A slice; the low bits of a byte put its ends on pages, as far as they can. */
static void one_slice(struct buffer *b, struct input *in)
{
	u64 total = buffer_len(b), offset, room;
	u32 how = take(in, 1), len;

	offset = ((u64)take(in, 3) << 6) % total & ~3ull;
	if (how & 1)
		offset -= (b->spec.head + offset) % PMAP_SLOT_SIZE <= offset ?
				  (b->spec.head + offset) % PMAP_SLOT_SIZE :
				  0;
	room = total - offset < MAX_TRANSFER ? total - offset : MAX_TRANSFER;
	len = 4 + (take(in, 3) >> how / 8 % 16) * 4 % (u32)room;
	if (how & 2)
		len = (len + PMAP_SLOT_MASK) & ~PMAP_SLOT_MASK;
	if (len > room)
		len = (u32)room;
	complain(b, buffer_check(b, offset, len), offset, len);
	slices++;
}

static void __attribute__((__destructor__)) count(void)
{
	printf("%lu slices\n", slices);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct input in = { data, size };
	struct buffer_spec spec = take_spec(&in);
	static struct buffer b;

	complain(&b, buffer_make(&b, &spec), 0, 0);
	for (int i = 0; i < MAX_SLICES && in.left; i++)
		one_slice(&b, &in);
	buffer_free(&b);
	return 0;
}
