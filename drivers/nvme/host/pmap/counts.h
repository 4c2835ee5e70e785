/* SPDX-License-Identifier: GPL-2.0 */
/* The counters of commands: the path that each took, and the reason. */
#ifndef _NVME_PMAP_COUNTS_H
#define _NVME_PMAP_COUNTS_H

#include <linux/types.h>

#include <uapi/linux/nvme_pmap.h>

#include "layout.h"

struct nvme_pmap_ctrl;
struct nvme_pmap_file;

/* Why blk-mq serves a command of a file with a queue; indexes the counters. */
enum nvme_pmap_fallback {
	PMAP_FALLBACK_FULL = 1, /* the queue has no room */
	PMAP_FALLBACK_DOWN,	/* no pair: a reset, or a CPU went offline */
	PMAP_FALLBACK_FROZEN,	/* the namespace is frozen or going away */
	PMAP_FALLBACK_LIST,	/* the command needs a list built for it */
	PMAP_FALLBACK_MODE, /* the ring polls and the queue does not, or v.v. */
	PMAP_FALLBACK_LOGGED, /* errors must be logged, which blk-mq does */
	PMAP_FALLBACK_WORKER, /* issued by an io-wq thread */
	PMAP_FALLBACK_BUSY,   /* another ring is submitting a batch */
	PMAP_FALLBACKS
};

/* The path of a command with a fixed buffer; indexes the counters. */
enum nvme_pmap_path {
	PMAP_PATH_BLK_MQ,      /* by its mapping, over blk-mq */
	PMAP_PATH_QUEUE,       /* by its mapping, over a passthrough queue */
	PMAP_PATH_STOCK_SETUP, /* stock: early commands of a file, or on a buffer */
	PMAP_PATH_STOCK_UNSUPPORTED, /* stock: no plain Read or Write, or odd slice */
	PMAP_PATH_STOCK_UNMAPPED, /* stock: over a limit, or unmappable memory */
	PMAP_PATH_STOCK_OTHER,	  /* stock: any other reason */
	PMAP_PATHS
};

/* Per CPU, so that a submission writes no shared cache line. */
struct nvme_pmap_counts {
	u64 kind[PMAP_KINDS];
	u64 queued[PMAP_KINDS]; /* over a passthrough queue */
	u64 direct;
	u64 deferred;
	u64 fallback[PMAP_FALLBACKS];
	u64 path[PMAP_PATHS];
};

/* Per CPU: when all queues are taken, every command may count here. */
struct nvme_pmap_fallbacks {
	u64 n[PMAP_FALLBACKS];
};

/*
 * Every counter that a program or an operator can read, in the order of fdinfo.  A new one
 * is an entry here and a member of struct nvme_pmap_stats: NVME_PMAP_IOC_STATS, fdinfo and
 * sysfs follow.
 *
 * FILE(name, sum, which): of an open file; counters.c has the functions nvme_pmap_sum_*(),
 * and which is an argument.  CTRL: of the whole controller as well, in sysfs, with the
 * functions nvme_pmap_ctrl_*().
 */
#define PMAP_COUNTERS(FILE, CTRL)                                  \
	FILE(prp, form, PMAP_KIND_PRP)                             \
	FILE(sgl_list, form, PMAP_KIND_SGL_LIST)                   \
	FILE(sgl_run, form, PMAP_KIND_SGL_RUN)                     \
	FILE(built, form, PMAP_KIND_BUILT)                         \
	FILE(direct, direct, 0)                                    \
	FILE(deferred, deferred, 0)                                \
	FILE(queue, queued, 0)                                     \
	CTRL(fallback_full, fallback, PMAP_FALLBACK_FULL)          \
	CTRL(fallback_down, fallback, PMAP_FALLBACK_DOWN)          \
	CTRL(fallback_frozen, fallback, PMAP_FALLBACK_FROZEN)      \
	CTRL(fallback_list, fallback, PMAP_FALLBACK_LIST)          \
	CTRL(fallback_mode, fallback, PMAP_FALLBACK_MODE)          \
	CTRL(fallback_logged, fallback, PMAP_FALLBACK_LOGGED)      \
	CTRL(fallback_worker, fallback, PMAP_FALLBACK_WORKER)      \
	CTRL(fallback_busy, fallback, PMAP_FALLBACK_BUSY)          \
	CTRL(auto_mq, path, PMAP_PATH_BLK_MQ)                      \
	CTRL(auto_queue, path, PMAP_PATH_QUEUE)                    \
	CTRL(stock_setup, path, PMAP_PATH_STOCK_SETUP)             \
	CTRL(stock_unsupported, path, PMAP_PATH_STOCK_UNSUPPORTED) \
	CTRL(stock_unmapped, path, PMAP_PATH_STOCK_UNMAPPED)       \
	CTRL(stock_other, path, PMAP_PATH_STOCK_OTHER)

void nvme_pmap_file_counters(const struct nvme_pmap_file *pf,
			     struct nvme_pmap_stats *stats);
s64 nvme_pmap_ctrl_fallback(struct nvme_pmap_ctrl *pc, u32 why);
s64 nvme_pmap_ctrl_path(struct nvme_pmap_ctrl *pc, u32 path);

#endif /* _NVME_PMAP_COUNTS_H */
