/* SPDX-License-Identifier: GPL-2.0 */
/* What is counted: which way commands went, and why. */
#ifndef _NVME_PMAP_COUNTS_H
#define _NVME_PMAP_COUNTS_H

#include <linux/types.h>

#include "layout.h"

/* Why a command of a file that has a queue goes by blk-mq; indexes the counters. */
enum nvme_pmap_fallback {
	PMAP_FALLBACK_FULL = 1, /* as many in flight as the queue takes */
	PMAP_FALLBACK_DOWN,	/* the pair is not there: reset, CPU offline */
	PMAP_FALLBACK_FROZEN,	/* the namespace is frozen, or going */
	PMAP_FALLBACK_LIST,	/* a list has to be built for the command */
	PMAP_FALLBACK_MODE, /* the ring polls and the queue does not, or v.v. */
	PMAP_FALLBACK_LOGGED, /* errors are to be logged, which blk-mq does */
	PMAP_FALLBACK_WORKER, /* issued by an io-wq thread */
	PMAP_FALLBACK_BUSY,   /* another ring is submitting a batch */
	PMAP_FALLBACKS
};

/* Which way a command with a fixed buffer went; indexes the counters. */
enum nvme_pmap_path {
	PMAP_PATH_BLK_MQ,      /* by its mapping, over blk-mq */
	PMAP_PATH_QUEUE,       /* by its mapping and a passthrough queue */
	PMAP_PATH_STOCK_SETUP, /* stock: the first ones of a file, or on a buffer */
	PMAP_PATH_STOCK_UNSUPPORTED, /* stock: not a plain Read or Write, or an odd slice */
	PMAP_PATH_STOCK_UNMAPPED, /* stock: over a limit, or memory that cannot be mapped */
	PMAP_PATH_STOCK_OTHER, /* stock: whatever else the fast way did not take */
	PMAP_PATHS
};

/* Per CPU, so that a submission touches no shared cache line. */
struct nvme_pmap_counts {
	u64 kind[PMAP_KINDS];
	u64 queued[PMAP_KINDS]; /* those that went by a passthrough queue */
	u64 direct;
	u64 deferred;
	u64 fallback[PMAP_FALLBACKS];
	u64 path[PMAP_PATHS];
};

/* Per CPU: with all queues used up there is one for every command. */
struct nvme_pmap_fallbacks {
	u64 n[PMAP_FALLBACKS];
};

#endif /* _NVME_PMAP_COUNTS_H */
