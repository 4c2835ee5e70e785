/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The batch of commands that owns the SQ of a passthrough queue.
 *
 * io_uring submits the SQEs of one io_uring_enter() under one plug.  The first command
 * of such a batch looks up the file, the namespace and the buffer, and takes references
 * for the commands to come; these then only compare and copy, without a lock.
 *
 *	       nvme_pmap_plug()		  nvme_pmap_queue_revoke_batch()
 *	IDLE -----------------> OWNED -----------------------------> REVOKED
 *	 ^			  |				       |
 *	 +------------------------+------------------------------------+
 *			nvme_pmap_unplug(), by the owner
 *
 * Only the owner leaves OWNED and REVOKED for IDLE: its plug has the callback until then.
 */
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

/**
 * enum nvme_pmap_batch_state - who may put commands into the SQ
 * @PMAP_BATCH_IDLE: any task that takes sq_lock
 * @PMAP_BATCH_OWNED: the task that submits under the batch's plug, without sq_lock
 * @PMAP_BATCH_REVOKED: no task; nvme_pmap_unplug() of the former owner sets IDLE
 */
enum nvme_pmap_batch_state {
	PMAP_BATCH_IDLE,
	PMAP_BATCH_OWNED,
	PMAP_BATCH_REVOKED,
};

/**
 * struct nvme_pmap_batch - what the commands of one batch have in common
 * @plug: the owner's plug; of no task, and so equal to none, unless PMAP_BATCH_OWNED
 * @state: enum nvme_pmap_batch_state (sq_lock to write)
 * @pf: the file that the commands use
 * @table_pf: equal to @pf where @pmap is in the file's table; NULL where @pmap belongs to
 *	the auto door, whose commands alone may use it
 * @first: the smallest first quadword that a command may have, see @others
 * @others: number of further values above @first that are allowed
 * @by_caller: the commands need a capability, which stock has found in @cred
 * @task: the owner, where @by_caller
 * @cred: credentials that stock has been asked about, with a reference; or NULL
 * @asked_for: the file that @cred was asked about
 * @asked_until: when the answer about @cred expires, in jiffies
 * @asked_may: commands that @cred may send: bit 1 is Read, bit 0 is Write
 * @lba_shift: log2 of the logical block size; constant while references are held
 * @deadline: deadline of commands without a time-out of their own, see
 *	struct nvme_pmap_slot
 * @limit: value of nvme_pmap_queue.sent at which the references on @pf->usage, or the
 *	room in the SQ, are used up
 * @index: index of the buffer in the file's table, where @table_pf is set
 * @ubuf: io_uring's object for a buffer of the auto door; NULL where @table_pf is set
 * @addr: user address of that buffer
 * @max: largest transfer of a command on the buffer, in bytes
 * @pmap: the buffer, with references for the commands up to @limit
 * @psdt: PSDT of commands on it, in bits 15:8 as in their first quadword
 * @elsewhere: commands sent on other buffers, which have references of their own; as
 *	many references on @pmap are left over
 * @queued: commands by kind that the file's counters do not have yet
 * @nr_auto: commands of @queued that came through the auto door
 */
struct nvme_pmap_batch {
	struct blk_plug *plug;
	struct nvme_pmap_file *pf;
	struct nvme_pmap_file *table_pf;
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
	u8 state;
};

void nvme_pmap_batch_init(struct nvme_pmap_batch *b);
void nvme_pmap_queue_revoke_batch(struct nvme_pmap_queue *q);
void nvme_pmap_queue_stop(struct nvme_pmap_queue *q);

#endif /* _NVME_PMAP_BATCH_H */
