/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A load: slots that write their own blocks and read them back, many at a
 * time, on one ring, verifying every read.
 */
#ifndef PMAP_TEST_LOAD_H
#define PMAP_TEST_LOAD_H

#include <pthread.h>

#include "lib/util.h"

struct load {
	const char *name;
	enum mode mode;
	const struct dev *dev;
	uint32_t index;	     /* the pmap ... */
	unsigned char *base; /* ... and where its offset @offset is in memory */
	uint64_t offset;
	uint64_t lba;	      /* first block of the first slot */
	uint32_t len;	      /* bytes of a transfer */
	unsigned int depth;   /* slots */
	unsigned int count;   /* write-and-read pairs, in all */
	unsigned int entries; /* of the submission queue; see load_run() */
	unsigned int sqe_flags;
	bool link;	    /* the read is linked to the write */
	unsigned int stock; /* every how manieth command is a stock one */
	bool fixed_buf;	    /* stock ones use a registered buffer of the ring */
	bool fixed_file;
	/* -errno that a command may also end with; the pair is then given up. */
	const int *tolerated;
	const volatile bool *stop; /* ends it early */
	/* The ring's buffer is registered anew when this changes, with the bytes before it. */
	const volatile unsigned int *renew;
	size_t lead;
	uint64_t first_gen; /* of the patterns; for blocks that were used before */
	/* out */
	uint64_t pmap_sent, failed, verified;
	/* private */
	struct slot *slots;
	bool kept;
	struct io_uring ring;
	unsigned int started, busy, renewed;
	uint64_t sent;
	pthread_t thread;
};

/*
 * A slot: the generations of its blocks, and the numbers of the commands that owe
 * it a CQE.  @acked is the last generation whose write succeeded; writes up to
 * @gen may have reached the disk without saying so.
 */
struct slot {
	uint64_t gen, acked, owed[2];
	unsigned int phase;
	bool bad;
};

/* Bytes of the pmap (from @offset) and blocks of the disk that a load needs. */
#define LOAD_BYTES(depth, len) ((size_t)(depth)*2 * (len))

/*
 * io_uring of 6.12 looks at an SQE again when its command is issued late: in a
 * worker after -EAGAIN, or as the second of a chain.  By then the program may
 * have reused the entry.  The stock door is helpless against that, and so is
 * any door where chains are concerned: unless @entries says otherwise, the
 * queue is so large that no entry is used twice.
 */
bool load_run(struct load *load);
/*
 * Slots that outlive the load, and its process: in memory that children share.
 * load_check() reads all that was acknowledged back, with stock commands and by
 * any file; load_forget() ends it.
 */
bool load_keep(struct load *load);
bool load_check(const struct load *load, const struct dev *dev, struct io_uring *ring);
void load_forget(struct load *load);
/* The same in a thread of its own; load_join() says how it went. */
bool load_start(struct load *load);
void load_join(struct load *load);

#endif
