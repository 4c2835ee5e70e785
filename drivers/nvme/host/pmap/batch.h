/* SPDX-License-Identifier: GPL-2.0 */
/* The batch of commands that owns the SQ of a passthrough queue. */
#ifndef _NVME_PMAP_BATCH_H
#define _NVME_PMAP_BATCH_H

#include <linux/types.h>

#include "layout.h"

struct blk_plug;
struct cred;
struct io_mapped_ubuf;
struct nvme_pmap;
struct nvme_pmap_file;
struct nvme_pmap_queue;
struct task_struct;

/* In place of a plug: no batch.  Not NULL, which is what a task without one has. */
#define PMAP_NO_PLUG	((struct blk_plug *)1ul)
/* The batch has been taken from its task, whose plug has the queue's @cb still. */
#define PMAP_PLUG_TAKEN ((struct blk_plug *)2ul)

/**
 * struct nvme_pmap_batch - what the commands of one batch have in common
 * @plug: the batch of io_uring, PMAP_NO_PLUG or PMAP_PLUG_TAKEN; its end gives back
 *	what is left
 * @pf: the file they came by
 * @table: the same, where @pmap is in its table; NULL with one of the auto door's,
 *	which only commands of that door may use
 * @first: the smallest first quadword that a command may have, see @others
 * @others: how many above it are fine as well
 * @by_caller: that took a capability: commands are to have the same @cred
 * @task: whose batch it is, with @by_caller
 * @cred: credentials that stock has been asked for, with a reference; or NULL
 * @asked_for: and the file
 * @asked_until: and until when that holds, in jiffies
 * @asked_may: which of Read and Write they may send, by bits 1 and 0
 * @lba_shift: of the namespace, whose format stays while references are held
 * @deadline: of commands without a time-out of their own
 * @limit: where struct nvme_pmap_queue.sent may go, by the references taken on
 *	@pf->usage for commands to come, and by the room in the SQ
 * @index: the buffer's, with @table
 * @ubuf: io_uring's object for a buffer of the auto door; NULL: one of @table
 * @addr: and its user address
 * @max: bytes that a command on it may transfer
 * @pmap: the buffer
 * @psdt: what commands on it need in the second byte of their first quadword
 * @elsewhere: commands on other buffers, which have their own reference; of
 *	those on @pmap as many are left as up to @limit, and these
 * @queued: commands by kind, not yet in the counters of the file
 * @nr_auto: those of them that came by the auto door
 *
 * What its first command finds out about the file, the namespace and the buffer
 * holds for the rest, because references for the rest are taken with it: whoever
 * freezes the namespace, or ends the buffer, waits for those, and what is left of
 * them goes back when the batch has been submitted, or its task sleeps.  Until
 * then the SQ is the task's own, and it need not take the lock; others wait for a
 * moment, or go by blk-mq.
 */
struct nvme_pmap_batch {
	struct blk_plug *plug;
	struct nvme_pmap_file *pf;
	struct nvme_pmap_file *table;
	u64 first;
	u64 others;
	struct task_struct *task;
	const struct cred *cred;
	struct nvme_pmap_file *asked_for;
	unsigned long asked_until;
	u64 index;
	const struct io_mapped_ubuf *ubuf;
	u64 addr;
	struct nvme_pmap *pmap;
	u64 psdt;
	u32 limit;
	u32 elsewhere;
	u32 deadline;
	u32 max;
	u32 queued[PMAP_KINDS];
	u32 nr_auto;
	u8 lba_shift;
	u8 asked_may;
	bool by_caller;
};

/**
 * struct nvme_pmap_fixed - a command of the auto door
 * @offset: of its data in the buffer; may be any number
 * @len: bytes, as read from the SQE
 */
struct nvme_pmap_fixed {
	u64 offset;
	u32 len;
};

void nvme_pmap_queue_revoke_batch(struct nvme_pmap_queue *q);
void nvme_pmap_queue_stop(struct nvme_pmap_queue *q);

#endif /* _NVME_PMAP_BATCH_H */
