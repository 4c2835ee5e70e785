/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A registered buffer without a kernel: its slots at made-up DMA addresses, its
 * lists written by pmap/layout.h as pmap/map.c has them written, and a device
 * that sees these lists and nothing else.
 */
#ifndef PMAP_TEST_BUFFER_H
#define PMAP_TEST_BUFFER_H

#include "shim.h"
#include "device.h"
#include "layout.h"

/* The driver's number; t-layout.sh passes it. */
#ifndef PMAP_BUILT_MAX
#define PMAP_BUILT_MAX 5
#endif

/* The largest max_transfer that pmap/ctrl.c admits. */
#define MAX_TRANSFER (8u << 20)

/* An element of pmap/ctrl.c's sgl_pool: 2049 descriptors, in whole pages. */
#define SEGMENT_BYTES 36864u

/* The form requested at registration, and whether the controller has SGLs. */
enum buffer_want {
	WANT_PRP,
	WANT_SGL,      /* one run if it is one, else a list with runs */
	WANT_SGL_LIST, /* NVME_PMAP_REG_SGL_LIST: runs are not looked for */
};

enum buffer_shape {
	SHAPE_ONE_RUN,
	SHAPE_SCATTERED, /* no two neighbours are contiguous */
	SHAPE_RUNS,	 /* aligned groups of 2^run slots */
	SHAPE_RANDOM,	 /* a break at one slot in 2^run */
};

/**
 * struct buffer_spec - a buffer to be made
 * @want: how
 * @shape: where its slots are
 * @run: see enum buffer_shape
 * @list_shift: log2 of the slots of an SGL block
 * @whole_lists: as in struct pmap_layout
 * @phase: run_phase, and that of the groups of SHAPE_RUNS
 * @step: slots that the DMA API reports at once, at most
 * @slots: its size
 * @head: bytes of slot 0 before the buffer
 * @tail: bytes of the last slot after it
 * @seed: of SHAPE_RANDOM
 */
struct buffer_spec {
	enum buffer_want want;
	enum buffer_shape shape;
	u8 run;
	u8 list_shift;
	bool whole_lists;
	u32 phase;
	u32 step;
	u32 slots;
	u32 head;
	u32 tail;
	u64 seed;
};

struct buffer {
	struct buffer_spec spec;
	struct pmap_layout l;
	struct device dev;
	u64 *dma;     /* of each slot: the right one */
	u8 run_shift; /* by definition rather than by the headers */
	u32 nr_lists;
	u32 list_bytes;
	u8 stride_shift;
	u32 built_pages;
	u32 built_read; /* a bit for each page that the device has read */
	/* one more than is ever right, to see it used */
	struct pmap_list built[PMAP_BUILT_MAX + 1];
	struct pmap_list segment;
	u32 segment_bytes; /* the bytes of it that the device may read */
	u64 kinds[PMAP_KINDS];
	/* built lists larger than a page: of PRPs, of SGL descriptors */
	u64 large[2];
};

u64 next_random(u64 *state);

/* NULL, or a mistake in the lists; free the buffer in either case. */
const char *buffer_make(struct buffer *b, const struct buffer_spec *spec);
void buffer_free(struct buffer *b);

/* Send @len bytes at @offset to the device: NULL, or the mistake. */
const char *buffer_check(struct buffer *b, u64 offset, u32 len);

static inline u64 buffer_len(const struct buffer *b)
{
	return b->l.len;
}

#endif
