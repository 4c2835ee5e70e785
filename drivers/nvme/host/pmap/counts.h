/* SPDX-License-Identifier: GPL-2.0 */
/* The counters of commands: the path that each took, and the reason. */
#ifndef _NVME_PMAP_COUNTS_H
#define _NVME_PMAP_COUNTS_H

#include <linux/device.h>
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

/**
 * struct nvme_pmap_attr - a file of /sys/class/nvme/nvmeN/pmap/ that shows a number
 * @attr: its name, and nvme_pmap_attr_show()
 * @value: returns the number, or an errno
 * @which: an argument of @value
 */
struct nvme_pmap_attr {
	struct device_attribute attr;
	s64 (*value)(struct nvme_pmap_ctrl *pc, unsigned int which);
	unsigned int which;
};

/**
 * struct nvme_pmap_counter - a counter that programs and operators can read
 * @sysfs: the counter of a controller.  Its name is the counter's; without a value() sysfs
 *	has no file for it.
 * @offset: offset of the member of struct nvme_pmap_stats
 * @sum: returns the counter of one open file, from the sum of its per-CPU counts and
 *	@sysfs.which
 */
struct nvme_pmap_counter {
	struct nvme_pmap_attr sysfs;
	size_t offset;
	u64 (*sum)(const struct nvme_pmap_counts *counts, unsigned int which);
};

/*
 * counters.c: every counter, in the order of fdinfo.  A new one is an entry there and a
 * member of struct nvme_pmap_stats; NVME_PMAP_IOC_STATS, fdinfo and sysfs follow.
 */
extern struct nvme_pmap_counter nvme_pmap_counters[];
extern const unsigned int nvme_pmap_nr_counters;

ssize_t nvme_pmap_attr_show(struct device *dev, struct device_attribute *attr,
			    char *buf);
void nvme_pmap_file_counters(const struct nvme_pmap_file *pf,
			     struct nvme_pmap_stats *stats);
u64 nvme_pmap_counter_value(const struct nvme_pmap_stats *stats,
			    const struct nvme_pmap_counter *counter);

#endif /* _NVME_PMAP_COUNTS_H */
