// SPDX-License-Identifier: GPL-2.0
/*
 * Commands into the SQ of a passthrough queue, by three routes: one more of a batch, the
 * first of a batch, and a command by itself.  A command that one route does not accept
 * takes the next; only the last route says what is wrong with it.
 */
#include <linux/blkdev.h>

#include "nvme.h"
#include "batch.h"
#include "buffer.h"
#include "compat.h"
#include "counts.h"
#include "ctrl.h"
#include "file.h"
#include "format.h"
#include "layout.h"
#include "queue.h"

/* References that a batch takes at a time where io_uring does not say its length. */
#define PMAP_BATCH 64u

/* Log2 of the largest logical blocks of a batch: 65536 of them fit a u32. */
#define PMAP_BATCH_LBA_SHIFT 15

/* It may have been detached, and belong to another file by now; under sq_lock. */
static __always_inline bool
nvme_pmap_queue_is_ours(const struct nvme_pmap_queue *q,
			const struct nvme_pmap_file *pf)
{
	enum nvme_pmap_queue_kind kind = nvme_pmap_queue_kind(q->polled);

	return q->live && READ_ONCE(pf->queue[kind]) == q;
}

/* Does the namespace want errors in the log?  Only blk-mq writes them. */
static __always_inline bool nvme_pmap_logs_errors(const struct nvme_ns *ns)
{
	return ns->head->passthru_err_log_enabled;
}

/*
 * Take the reference on the namespace's queue that a request would have, so that a freeze
 * waits for the command.  sq_lock keeps preemption off, which makes this an RCU read-side
 * critical section; lockdep is told.
 *
 * Return: 0, or enum nvme_pmap_fallback.
 */
static __always_inline int nvme_pmap_get_usage(struct nvme_pmap_file *pf)
{
	bool live;

	pmap_rcu_acquire();
	live = percpu_ref_tryget_live_rcu(pf->usage);
	pmap_rcu_release();
	return likely(live) ? 0 : PMAP_FALLBACK_FROZEN;
}

/*
 * Take both references of a command: on its buffer, and as nvme_pmap_get_usage().
 *
 * Return: 0, an errno, or enum nvme_pmap_fallback.
 */
static __always_inline int nvme_pmap_get_refs(struct nvme_pmap_file *pf,
					      u32 index,
					      struct nvme_pmap **pmap)
{
	int ret = 0;

	pmap_rcu_acquire();
	*pmap = nvme_pmap_lookup_rcu(pf, index);
	if (unlikely(!*pmap)) {
		ret = nvme_pmap_no_buffer(pf);
	} else if (unlikely(!percpu_ref_tryget_live_rcu(pf->usage))) {
		percpu_ref_put(&(*pmap)->ref);
		ret = PMAP_FALLBACK_FROZEN;
	}
	pmap_rcu_release();
	return ret;
}

/*
 * Write a command at the tail of the SQ, and check it there.
 *
 * Return: 0, an errno, or enum nvme_pmap_fallback.
 */
static int nvme_pmap_write_sqe(struct nvme_ns *ns, struct nvme_pmap_file *pf,
			       struct nvme_pmap_queue *q, u16 cid,
			       const struct nvme_pmap *pmap,
			       const struct nvme_pmap_cmd *cmd,
			       struct nvme_pmap_io *io)
{
	struct nvme_command *c = &q->sq[q->sent & q->mask];
	enum pmap_kind kind;
	s64 len;
	int ret;

	ret = nvme_pmap_check_slice(pf, pmap, &io->offset, io->data_len);
	if (ret)
		return ret;
	len = nvme_pmap_write_cmd(pf, c, cid, ns->head->ns_id, pmap, cmd, io);
	if (len == -EBUSY)
		return PMAP_FALLBACK_FROZEN;
	if (len <= 0)
		return len;
	kind = nvme_pmap_point(pmap, c, io->offset, len);
	if (kind == PMAP_KIND_BUILT)
		return PMAP_FALLBACK_LIST;
	this_cpu_inc(pf->counts->queued[kind]);
	return 0;
}

/*
 * The entry at the tail is complete: it is the controller's from here, and may complete
 * as soon as the doorbell is rung.
 */
static __always_inline void nvme_pmap_commit(struct nvme_pmap_queue *q,
					     struct nvme_pmap_slot *slot,
					     struct io_uring_cmd *ioucmd,
					     struct nvme_pmap *pmap,
					     u32 deadline)
{
	struct nvme_pmap_pdu *pdu = nvme_pmap_pdu(ioucmd);

	pdu->pmap = pmap;
	pdu->route = q->index;
	slot->deadline = deadline;
	/* pairs with the acquire in nvme_pmap_find_overdue() */
	smp_store_release(&slot->ioucmd, ioucmd);
	/* one instruction; a reader without the lock may see either value */
	data_race(q->sent++);
}

/* On @mapped, which the auto door has found, or else on the buffer that the command names. */
static int
nvme_pmap_enqueue_locked(struct nvme_ns *ns, struct nvme_pmap_file *pf,
			 struct nvme_pmap_queue *q, struct io_uring_cmd *ioucmd,
			 struct nvme_pmap_io *io, struct nvme_pmap *mapped)
{
	const struct nvme_pmap_cmd *cmd = io_uring_sqe_cmd(ioucmd->sqe);
	struct nvme_pmap *pmap = mapped;
	struct nvme_pmap_slot *slot;
	int ret;

	if (!nvme_pmap_queue_is_ours(q, pf))
		return PMAP_FALLBACK_DOWN;
	if (!nvme_pmap_room(q))
		return PMAP_FALLBACK_FULL;
	if (mapped)
		ret = nvme_pmap_get_usage(pf);
	else
		ret = nvme_pmap_get_refs(pf, READ_ONCE(cmd->index), &pmap);
	if (ret)
		return ret;
	slot = nvme_pmap_pick_slot(q);
	ret = nvme_pmap_write_sqe(ns, pf, q, slot->cid, pmap, cmd, io);
	if (ret) {
		percpu_ref_put(pf->usage);
		if (!mapped)
			percpu_ref_put(&pmap->ref);
		return ret;
	}
	if (mapped)
		this_cpu_inc(pf->counts->path[PMAP_PATH_QUEUE]);
	/* the references of a batch are counted from q->sent */
	nvme_pmap_batch_settle(q);
	nvme_pmap_commit(q, slot, ioucmd, pmap,
			 nvme_pmap_deadline(ns, READ_ONCE(cmd->timeout_ms)));
	if (current->plug)
		nvme_pmap_plug(q, current->plug);
	else
		nvme_pmap_ring_sq(q);
	return -EIOCBQUEUED;
}

enum nvme_pmap_next {
	PMAP_NEXT_QUEUED,
	PMAP_NEXT_ALONE,     /* needs another route: see the top of this file */
	PMAP_NEXT_ELSEWHERE, /* on another buffer than the batch's own */
};

/*
 * One more Read or Write of a batch: write the command, and check all of it but its data
 * pointer.  Its length must be exactly @data_len.  @other is a referenced buffer in place
 * of the batch's own; @by_auto: through the auto door.
 *
 * The owner takes no lock: revoking the batch waits until preemption is on again.  The
 * commands of a plug come from one ring, with the same issue flags, and never from an
 * io-wq thread.  The entry may be left half written: it is the controller's only when it
 * is committed.
 */
static __always_inline bool
nvme_pmap_batch_write(const struct nvme_pmap_batch *b, struct nvme_command *c,
		      u16 cid, const struct nvme_pmap *other,
		      const struct nvme_pmap_cmd *cmd, u32 data_len,
		      bool by_auto)
{
	u64 first = pmap_load_pair(&cmd->opcode), cdw12;

	if (unlikely(first - b->first > b->others))
		return false;
	/* io_uring gives each command its personality's credentials */
	if (unlikely(b->by_caller) &&
	    READ_ONCE(b->cred) != rcu_access_pointer(b->task->cred))
		return false;
	nvme_pmap_write_head(c, first, cid, other ? other->psdt : b->psdt);
	cdw12 = nvme_pmap_write_cdw12(c, cmd);
	if (unlikely(pmap_xfer_plain(cdw12, b->lba_shift) != data_len))
		return false;
	/* a stock command has its metadata pointer in place of the index */
	if (unlikely(pmap_load_pair(&cmd->timeout_ms) | READ_ONCE(cmd->rsvd3) |
		     (by_auto ? pmap_load_pair(&cmd->index) : 0)))
		return false;
	nvme_pmap_write_dwords(c, cmd);
	return true;
}

/* Point the command at its slice, and commit it. */
static __always_inline enum nvme_pmap_next
nvme_pmap_batch_send(struct nvme_pmap_queue *q, struct nvme_pmap_slot *slot,
		     struct io_uring_cmd *ioucmd, struct nvme_command *c,
		     struct nvme_pmap *pmap, u64 offset, u32 len)
{
	struct nvme_pmap_batch *b = &q->batch;
	enum pmap_kind kind;

	/* whole blocks have an aligned length */
	if (unlikely(!nvme_pmap_aligned(offset, 0)))
		return PMAP_NEXT_ALONE;
	if (!pmap_inside(&pmap->l, &offset, len))
		return PMAP_NEXT_ALONE;
	kind = nvme_pmap_point(pmap, c, offset, len);
	if (unlikely(kind == PMAP_KIND_BUILT))
		return PMAP_NEXT_ALONE;
	b->queued[kind]++;
	nvme_pmap_commit(q, slot, ioucmd, pmap, b->deadline);
	return PMAP_NEXT_QUEUED;
}

/*
 * A command of the pmap door.  The caller looks @other up, so that the common case calls
 * nothing and needs no frame.
 */
static __always_inline enum nvme_pmap_next
nvme_pmap_enqueue_owned(struct nvme_pmap_file *pf, struct nvme_pmap_queue *q,
			struct io_uring_cmd *ioucmd, struct nvme_pmap *other)
{
	const struct nvme_pmap_cmd *cmd = io_uring_sqe_cmd(ioucmd->sqe);
	struct nvme_pmap_batch *b = &q->batch;
	u32 sent = q->sent, at = sent & q->mask;
	struct nvme_pmap_slot *slot = &q->slot[at];
	struct nvme_command *c = &q->sq[at];
	enum nvme_pmap_next next;
	u32 len;

	if (unlikely(b->table_pf != pf || b->limit == sent ||
		     ioucmd->flags & IORING_URING_CMD_FIXED ||
		     !nvme_pmap_slot_free(slot)))
		return PMAP_NEXT_ALONE;
	len = READ_ONCE(cmd->data_len);
	if (unlikely(!nvme_pmap_len_ok(len, b->max)))
		return PMAP_NEXT_ALONE;
	if (!nvme_pmap_batch_write(b, c, slot->cid, other, cmd, len, false))
		return PMAP_NEXT_ALONE;
	if (!other && unlikely(pmap_load_pair(&cmd->index) != b->index))
		return PMAP_NEXT_ELSEWHERE;
	next = nvme_pmap_batch_send(q, slot, ioucmd, c, other ?: b->pmap,
				    READ_ONCE(cmd->offset), len);
	if (other && next == PMAP_NEXT_QUEUED)
		b->elsewhere++;
	return next;
}

/*
 * A command of the auto door; @other as above.  The caller has compared the file and the
 * limit of the batch.
 *
 * Return: whether it has been sent; if not, its cmd_op is the caller's to restore.
 */
static __always_inline bool
nvme_pmap_enqueue_owned_auto(struct nvme_pmap_queue *q,
			     struct io_uring_cmd *ioucmd,
			     struct nvme_pmap *other)
{
	const struct nvme_pmap_cmd *cmd = io_uring_sqe_cmd(ioucmd->sqe);
	struct nvme_pmap_batch *b = &q->batch;
	u32 at = q->sent & q->mask, len = READ_ONCE(cmd->data_len);
	struct nvme_pmap_slot *slot = &q->slot[at];
	struct nvme_command *c = &q->sq[at];
	u64 offset;

	if (unlikely(!nvme_pmap_len_ok(len, b->max) ||
		     !nvme_pmap_slot_free(slot)))
		return false;
	if (!nvme_pmap_batch_write(b, c, slot->cid, other, cmd, len, true))
		return false;
	/* the poll takes it for a pmap command; it may complete before this returns */
	ioucmd->cmd_op = NVME_URING_CMD_PMAP;
	offset = READ_ONCE(cmd->offset) - (other ? other->addr : b->addr);
	if (unlikely(nvme_pmap_batch_send(q, slot, ioucmd, c, other ?: b->pmap,
					  offset, len) != PMAP_NEXT_QUEUED))
		return false;
	b->nr_auto++;
	if (other)
		b->elsewhere++;
	return true;
}

/* Does the task own the batch of the queue?  With preemption on, it may be revoked. */
static __always_inline bool
nvme_pmap_owns_batch(const struct nvme_pmap_queue *q)
{
	return READ_ONCE(q->batch.plug) == current->plug;
}

static __always_inline enum nvme_pmap_next
nvme_pmap_enqueue_next(struct nvme_pmap_file *pf, struct nvme_pmap_queue *q,
		       struct io_uring_cmd *ioucmd, struct nvme_pmap *other)
{
	enum nvme_pmap_next next = PMAP_NEXT_ALONE;

	/* pairs with synchronize_rcu() in nvme_pmap_queue_revoke_batch() */
	preempt_disable();
	if (nvme_pmap_owns_batch(q))
		next = nvme_pmap_enqueue_owned(pf, q, ioucmd, other);
	preempt_enable();
	return next;
}

/* The first command is in the SQ: take references for the next ones. */
static noinline void nvme_pmap_batch_extend(struct nvme_pmap_queue *q)
{
	struct nvme_pmap_batch *b = &q->batch;
	/* SQEs that io_uring has to submit; 1 if a request was allocated since */
	u32 more = current->plug->nr_ios - 1 ?: PMAP_BATCH;

	more = min(more, nvme_pmap_room(q));
	pmap_ref_get_many(b->pf->usage, more);
	pmap_ref_get_many(&b->pmap->ref, more);
	b->limit += more;
	nvme_pmap_plug(q, current->plug);
}

/* May a batch of the file begin?  Not if the open one refused the command. */
static __always_inline bool nvme_pmap_batch_may_open(struct nvme_pmap_queue *q,
						     struct nvme_pmap_file *pf)
{
	if (!nvme_pmap_sq_free(q) || !nvme_pmap_queue_is_ours(q, pf) ||
	    !nvme_pmap_room(q) ||
	    (q->batch.pf == pf && q->batch.limit != q->sent))
		return false;
	if (unlikely(q->batch.pf))
		nvme_pmap_batch_settle(q);
	return true;
}

/*
 * Open a batch of Reads and Writes of @pf on a buffer.  The caller has taken the first
 * command's references; that on @pf->usage keeps the format constant.
 *
 * Return: whether the command may be tried as the first of the batch.
 */
static __always_inline bool nvme_pmap_batch_setup(struct nvme_pmap_queue *q,
						  struct nvme_ns *ns,
						  struct nvme_pmap_file *pf,
						  struct io_uring_cmd *ioucmd,
						  struct nvme_pmap *pmap)
{
	const struct nvme_pmap_cmd *cmd = io_uring_sqe_cmd(ioucmd->sqe);
	u64 format = READ_ONCE(pf->format->word);
	struct nvme_pmap_batch *b = &q->batch;

	b->pf = pf;
	b->pmap = pmap;
	b->psdt = pmap->psdt;
	b->limit = q->sent + 1;
	b->lba_shift = format;
	b->deadline = nvme_pmap_deadline(ns, 0);
	if (!pmap_format_plain(format) || nvme_pmap_logs_errors(ns) ||
	    b->lba_shift > PMAP_BATCH_LBA_SHIFT ||
	    !nvme_pmap_batch_opcodes(b, ns, READ_ONCE(cmd->opcode),
				     ioucmd->file->f_mode)) {
		nvme_pmap_batch_settle(q);
		return false;
	}
	return true;
}

/* Open a batch on a buffer of the file's table. */
static __always_inline bool nvme_pmap_batch_open(struct nvme_pmap_queue *q,
						 struct nvme_ns *ns,
						 struct nvme_pmap_file *pf,
						 struct io_uring_cmd *ioucmd)
{
	const struct nvme_pmap_cmd *cmd = io_uring_sqe_cmd(ioucmd->sqe);
	u64 index = pmap_load_pair(&cmd->index);
	struct nvme_pmap *pmap;

	if (index > U32_MAX || !nvme_pmap_batch_may_open(q, pf) ||
	    nvme_pmap_get_refs(pf, index, &pmap))
		return false;
	q->batch.index = index;
	q->batch.ubuf = NULL;
	q->batch.max = nvme_pmap_max(pf);
	q->batch.table_pf = pf;
	return nvme_pmap_batch_setup(q, ns, pf, ioucmd, pmap);
}

/* The first command of a batch that has just been opened was @sent, or was refused. */
static __always_inline void
nvme_pmap_batch_first_done(struct nvme_pmap_queue *q, bool sent)
{
	/* without a command in it nothing keeps the batch's file open */
	if (unlikely(!sent))
		nvme_pmap_batch_settle(q);
	else if (likely(current->plug))
		nvme_pmap_batch_extend(q);
	else
		nvme_pmap_batch_close(q);
}

/* Begin a batch with this command.  Return: whether it has been sent. */
static __always_inline bool nvme_pmap_enqueue_first(struct nvme_ns *ns,
						    struct nvme_pmap_file *pf,
						    struct nvme_pmap_queue *q,
						    struct io_uring_cmd *ioucmd)
{
	bool sent = false;

	spin_lock(&q->sq_lock);
	if (likely(nvme_pmap_batch_open(q, ns, pf, ioucmd))) {
		sent = nvme_pmap_enqueue_owned(pf, q, ioucmd, NULL) ==
		       PMAP_NEXT_QUEUED;
		nvme_pmap_batch_first_done(q, sent);
	}
	spin_unlock(&q->sq_lock);
	return sent;
}

/*
 * Put a command into a passthrough queue by itself; @mapped as for
 * nvme_pmap_enqueue_locked().
 *
 * Return: -EIOCBQUEUED, an errno, or enum nvme_pmap_fallback.
 */
static noinline int
nvme_pmap_enqueue_io(struct nvme_ns *ns, struct nvme_pmap_file *pf,
		     struct nvme_pmap_queue *q, struct io_uring_cmd *ioucmd,
		     struct nvme_pmap_io *io, struct nvme_pmap *mapped)
{
	int ret = PMAP_FALLBACK_BUSY;

	if (nvme_pmap_logs_errors(ns))
		return PMAP_FALLBACK_LOGGED;
	nvme_pmap_await_sq(q);
	spin_lock(&q->sq_lock);
	if (nvme_pmap_sq_free(q))
		ret = nvme_pmap_enqueue_locked(ns, pf, q, ioucmd, io, mapped);
	spin_unlock(&q->sq_lock);
	return ret;
}

/* The same for a command of the pmap door, which is checked first. */
static noinline int nvme_pmap_enqueue(struct nvme_ns *ns,
				      struct nvme_pmap_file *pf,
				      struct nvme_pmap_queue *q,
				      struct io_uring_cmd *ioucmd,
				      unsigned int issue_flags)
{
	struct nvme_pmap_io io;
	int ret;

	/* an io-wq thread does not hold the ring's lock, which the poll relies on */
	if (issue_flags & IO_URING_F_UNLOCKED)
		return PMAP_FALLBACK_WORKER;
	ret = nvme_pmap_parse(ns, ioucmd, io_uring_sqe_cmd(ioucmd->sqe), &io);
	if (ret)
		return ret;
	return nvme_pmap_enqueue_io(ns, pf, q, ioucmd, &io, NULL);
}
