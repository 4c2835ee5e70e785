/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The auto door: programs that send NVME_URING_CMD_IO with a buffer that io_uring
 * has registered (IORING_URING_CMD_FIXED), and know nothing of pmaps.
 *
 *   pmap-auto.c   which mapping belongs to which of io_uring's buffers: made at the
 *		   first use, ended when idle or given up
 *   pmap-auto-ctrl.c  limits, the switch, pressure, counts: what is a controller's
 *   pmap-fixed.c  (end of ioctl.c) a command
 *
 * Identity.  What io_uring has for a buffer is used as a hint: it is compared, and
 * never followed.  The pages that it imports for a command are what a stock command
 * would be sent to; where they are the pages that the mapping holds, byte for byte in
 * the same order, the mapping is used, else it ends, and another is made of all the
 * pages that io_uring imports for the buffer, which it has pinned.  A page that a
 * mapping holds is nobody else's, so that equal pointers mean the same memory,
 * whatever became of the buffer that the hint was for.
 *
 * Lifetimes.  An entry is found under RCU; a command holds the pmap, not the
 * entry.  An entry that is evicted leaves the table at once; its pmap is killed,
 * and taken down when its last command has ended, by the file's work or its
 * release.
 */
#ifndef _NVME_PMAP_AUTO_H
#define _NVME_PMAP_AUTO_H

#include <linux/hash.h>
#include <linux/rculist.h>
#include <linux/workqueue.h>

#include "pmap.h"

struct file;

#define PMAP_AUTO_BITS 10

/* Rounds for which a mapping is not used before it ends. */
#define PMAP_AUTO_LOOKS 2

/* Entries of a file: what a ring can have of buffers. */
#define PMAP_AUTO_MAX 16384u

/**
 * struct nvme_pmap_auto - a buffer of io_uring's
 * @node: in its bucket
 * @ending: when it has left that: on nvme_pmap_autos.ending
 * @hint: io_uring's object
 * @pmap: the mapping; NULL while it is being made, or where it cannot be
 * @base: user address of the mapping's first page
 * @making: @pmap is being made: leave it alone
 * @used: a command has used it since its age was last looked at
 * @age: how often it was found unused
 * @rcu: those who look up may still see the entry when it is freed
 */
struct nvme_pmap_auto {
	struct hlist_node node;
	struct list_head ending;
	const void *hint;
	struct nvme_pmap __rcu *pmap;
	u64 base;
	bool making;
	bool used;
	u8 age;
	struct rcu_head rcu;
};

/**
 * struct nvme_pmap_autos - the auto door of a file
 * @bucket: the entries, by hint; read under RCU
 * @lock: guards changes, and what follows; never held while memory is pinned
 * @ending: entries that have left the table, until no command uses their pmap
 * @pf: the file
 * @node: in the list of all (its lock)
 * @idle: ends what has not been used for long
 * @attach: attaches a queue; @attach_file is the open file meanwhile
 * @attach_file: see there
 * @attach_polled: which kind
 * @nr: entries in the table
 * @emptied: when the last had left it, in jiffies
 * @aged: when their ages were looked at, in jiffies
 * @flags: enum nvme_pmap_autos_flags
 */
struct nvme_pmap_autos {
	struct hlist_head bucket[1 << PMAP_AUTO_BITS];
	struct mutex lock; /* the table, and its changes */
	struct list_head ending;
	struct nvme_pmap_file *pf;
	struct list_head node;
	struct delayed_work idle;
	struct work_struct attach;
	struct file *attach_file;
	bool attach_polled;
	unsigned int nr;
	unsigned long emptied;
	unsigned long aged;
	unsigned long flags;
};

enum nvme_pmap_autos_flags {
	PMAP_AUTOS_TRIED, /* to attach a queue for rings that do not poll; + 1: do */
	PMAP_AUTOS_TRIED_POLLED,
	PMAP_AUTOS_ATTACHING,
	PMAP_AUTOS_PRESSURE, /* end what has not been used lately */
	PMAP_AUTOS_RETRY,    /* what was refused may be had by now */
};

static inline struct hlist_head *
nvme_pmap_auto_bucket(struct nvme_pmap_autos *a, const void *hint)
{
	return &a->bucket[hash_ptr(hint, PMAP_AUTO_BITS)];
}

/* Whether the door of any controller is open. */
extern bool nvme_pmap_auto_open;

/* At once, or so many jiffies from now. */
static inline void nvme_pmap_autos_kick(struct nvme_pmap_autos *autos,
					unsigned long delay)
{
	mod_delayed_work(system_unbound_wq, &autos->idle, delay);
}

/* pmap-auto-ctrl.c */
unsigned long nvme_pmap_auto_limit(void);
unsigned long nvme_pmap_auto_interval(void);
void nvme_pmap_auto_press(struct nvme_pmap_ctrl *pc);
void nvme_pmap_autos_enlist(struct nvme_pmap_autos *autos);
void nvme_pmap_autos_delist(struct nvme_pmap_autos *autos);

/* pmap-auto.c */
struct nvme_pmap_autos *nvme_pmap_autos_get(struct nvme_pmap_file *pf);
void nvme_pmap_auto_make(struct nvme_pmap_file *pf, const void *hint, u64 base,
			 u64 len, const struct iov_iter *iter);
void nvme_pmap_auto_drop(struct nvme_pmap_file *pf, const void *hint,
			 const struct nvme_pmap *pmap);
void nvme_pmap_auto_attach(struct nvme_pmap_file *pf, struct file *file,
			   bool polled);

#endif /* _NVME_PMAP_AUTO_H */
