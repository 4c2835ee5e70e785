// SPDX-License-Identifier: GPL-2.0
/*
 * A command into a passthrough queue: a free identifier, a checked entry in the
 * SQ, one doorbell for a batch.
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
#include "map.h"
#include "queue.h"

/* References that a batch takes at a time, where it does not say how long it is. */
#define PMAP_BATCH 64u

/* The largest logical blocks that the short way is for. */
#define PMAP_BATCH_LBA_SHIFT 15

/*
 * What a command holds until it ends: its buffer, and the namespace's queue as
 * a request would, so that who freezes it waits.  The lock keeps preemption
 * off, which makes this an RCU read-side critical section; lockdep is told.
 *
 * Return: 0, an errno, or why it has to go by blk-mq.
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

/* The same with a buffer that the caller has referenced. */
static int nvme_pmap_enter(struct nvme_pmap_file *pf)
{
	bool live;

	pmap_rcu_acquire();
	live = percpu_ref_tryget_live_rcu(pf->usage);
	pmap_rcu_release();
	return live ? 0 : PMAP_FALLBACK_FROZEN;
}

/*
 * Write the command where the controller will read it, and check it there.
 * Return: 0, an errno, or why it has to go by blk-mq.
 */
static int nvme_pmap_write_sqe(struct nvme_ns *ns, struct nvme_pmap_file *pf,
			       struct nvme_pmap_queue *q, u16 id,
			       const struct nvme_pmap *pmap,
			       const struct nvme_pmap_cmd *cmd,
			       struct nvme_pmap_io *io)
{
	struct nvme_command *c = &q->sq[q->sent & q->mask];
	enum pmap_kind kind;
	s64 len;
	int ret;

	ret = nvme_pmap_check_slice(pf, pmap, io->offset, io->data_len);
	if (ret)
		return ret;
	nvme_pmap_fill_cmd(c, io->opcode, id, ns->head->ns_id, cmd);
	len = nvme_pmap_check_xfer(pf, c, &pmap->l, io);
	if (len == -EBUSY)
		return PMAP_FALLBACK_FROZEN;
	if (len <= 0)
		return len;
	kind = nvme_pmap_point(pmap, c, &io->offset, len);
	if (kind == PMAP_KIND_BUILT)
		return PMAP_FALLBACK_LIST;
	this_cpu_inc(pf->counts->queued[kind]);
	return 0;
}

/*
 * The entry at the tail is complete: from here it is the controller's, and may
 * end as soon as the doorbell is rung.
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
	/* pairs with the look at deadlines in nvme_pmap_queue_overdue() */
	smp_store_release(&slot->ioucmd, ioucmd);
	/* one instruction; who looks without the lock takes what there is */
	data_race(q->sent++);
}

/* On the buffer that the command names; or on @fixed, of the auto door. */
static int
nvme_pmap_enqueue_locked(struct nvme_ns *ns, struct nvme_pmap_file *pf,
			 struct nvme_pmap_queue *q, struct io_uring_cmd *ioucmd,
			 struct nvme_pmap_io *io, struct nvme_pmap *fixed)
{
	const struct nvme_pmap_cmd *cmd = io_uring_sqe_cmd(ioucmd->sqe);
	struct nvme_pmap *pmap = fixed;
	struct nvme_pmap_slot *slot;
	int ret;

	/* or it has been detached, and is another file's by now */
	if (!q->live || READ_ONCE(pf->queue[q->polled]) != q)
		return PMAP_FALLBACK_DOWN;
	if (!nvme_pmap_room(q))
		return PMAP_FALLBACK_FULL;
	if (fixed)
		ret = nvme_pmap_enter(pf);
	else
		ret = nvme_pmap_get_refs(pf, READ_ONCE(cmd->index), &pmap);
	if (ret)
		return ret;
	slot = nvme_pmap_pick_slot(q);
	ret = nvme_pmap_write_sqe(ns, pf, q, slot->cid, pmap, cmd, io);
	if (ret) {
		percpu_ref_put(pf->usage);
		if (!fixed)
			percpu_ref_put(&pmap->ref);
		return ret;
	}
	if (fixed)
		this_cpu_inc(pf->counts->path[PMAP_PATH_QUEUE]);
	/* the credit of a batch counts from q->sent */
	nvme_pmap_end_credit(q);
	nvme_pmap_commit(q, slot, ioucmd, pmap,
			 nvme_pmap_deadline(ns, READ_ONCE(cmd->timeout_ms)));
	if (current->plug)
		nvme_pmap_plug(q, current->plug);
	else
		nvme_pmap_ring_sq(q);
	return -EIOCBQUEUED;
}

enum pmap_next {
	PMAP_NEXT_QUEUED,
	PMAP_NEXT_ALONE,     /* not just one more of the batch */
	PMAP_NEXT_ELSEWHERE, /* on another buffer than the batch's own */
};

/*
 * One more Read or Write of a batch, by what nvme_pmap_begin_batch() found out.
 * Whatever is not plain is left to nvme_pmap_enqueue(), which says what is wrong
 * with it, if anything.  The entry is the controller's only when it is committed,
 * and may be half written until then.
 *
 * No lock: a batch that is ours is nobody else's, unless it is taken away, and who
 * does that waits until preemption has been on again.  Those in a plug come from
 * one ring, with the same issue flags, and not from an io-wq thread.
 *
 * @other: a referenced buffer in place of the batch's own, which is looked for by
 * the caller so that the common case calls nothing, and needs no frame.
 * @fx: of a command of the auto door: where its data is in the buffer.
 */
static __always_inline enum pmap_next
nvme_pmap_enqueue_owned(struct nvme_pmap_file *pf, struct nvme_pmap_queue *q,
			struct io_uring_cmd *ioucmd, struct nvme_pmap *other,
			const struct nvme_pmap_fixed *fx)
{
	const struct nvme_pmap_cmd *cmd = io_uring_sqe_cmd(ioucmd->sqe);
	struct nvme_pmap_batch *b = &q->batch;
	u32 sent = q->sent, at = sent & q->mask;
	struct nvme_pmap_slot *slot = &q->slot[at];
	struct nvme_command *c = &q->sq[at];
	struct nvme_pmap *pmap;
	enum pmap_kind kind;
	u64 first, psdt, offset, len, v;

	/* for a command of the auto door on the batch's own buffer: looked at before */
	if (unlikely((!(fx && !other) &&
		      ((fx ? b->pf : b->table) != pf || b->limit == sent)) ||
		     (!fx && ioucmd->flags & IORING_URING_CMD_FIXED) ||
		     !nvme_pmap_slot_free(slot)))
		return PMAP_NEXT_ALONE;
	first = pmap_load_pair(&cmd->opcode);
	if (unlikely(first - b->first > b->others))
		return PMAP_NEXT_ALONE;
	/* io_uring gives each command its personality's credentials */
	if (unlikely(b->by_caller) &&
	    READ_ONCE(b->cred) != rcu_access_pointer(b->task->cred))
		return PMAP_NEXT_ALONE;
	psdt = other ? other->cmd_flags << 8 : b->psdt;
	pmap_store_pair(&c->common.opcode, first | (u64)slot->cid << 16 | psdt);
	v = pmap_load_pair(&cmd->cdw12);
	pmap_store_pair(&c->common.cdw12, v);
	len = ((u16)v + 1ull) << b->lba_shift;
	if (unlikely(len != (fx ? fx->len : READ_ONCE(cmd->data_len)) ||
		     (!fx && len > b->max)))
		return PMAP_NEXT_ALONE;
	/* of a stock command: the metadata pointer */
	if (unlikely(pmap_load_pair(&cmd->timeout_ms) | READ_ONCE(cmd->rsvd3) |
		     (fx ? pmap_load_pair(&cmd->index) : 0)))
		return PMAP_NEXT_ALONE;
	pmap_store_pair(&c->common.cdw10, pmap_load_pair(&cmd->cdw10));
	pmap_store_pair(&c->common.cdw14, pmap_load_pair(&cmd->cdw14));
	pmap_store_pair(c->common.cdw2, pmap_load_pair(&cmd->cdw2));
	c->common.metadata = 0;

	pmap = other ?: b->pmap;
	if (!fx && !other && unlikely(pmap_load_pair(&cmd->index) != b->index))
		return PMAP_NEXT_ELSEWHERE;
	offset = fx ? fx->offset : READ_ONCE(cmd->offset);
	if (unlikely(offset % NVME_PMAP_ALIGN))
		return PMAP_NEXT_ALONE;
	if (unlikely(offset >= pmap->l.len))
		return PMAP_NEXT_ALONE;
	offset = array_index_nospec(offset, pmap->l.len);
	if (unlikely(len > pmap->l.len - offset))
		return PMAP_NEXT_ALONE;
	kind = pmap_dptr(&pmap->l, offset, len, &c->common.dptr);
	if (unlikely(kind == PMAP_KIND_BUILT))
		return PMAP_NEXT_ALONE;
	b->queued[kind]++;
	if (fx)
		b->nr_auto++;
	if (other)
		b->elsewhere++;
	nvme_pmap_commit(q, slot, ioucmd, pmap, b->deadline);
	return PMAP_NEXT_QUEUED;
}

static __always_inline enum pmap_next
nvme_pmap_enqueue_next(struct nvme_pmap_file *pf, struct nvme_pmap_queue *q,
		       struct io_uring_cmd *ioucmd, struct nvme_pmap *other,
		       const struct nvme_pmap_fixed *fx)
{
	enum pmap_next next = PMAP_NEXT_ALONE;

	preempt_disable();
	if (READ_ONCE(q->batch.plug) == current->plug)
		next = nvme_pmap_enqueue_owned(pf, q, ioucmd, other, fx);
	preempt_enable();
	return next;
}

/* The first command is in: take references for those to come. */
static noinline void nvme_pmap_extend_batch(struct nvme_pmap_queue *q)
{
	struct nvme_pmap_batch *b = &q->batch;
	/* what io_uring has to submit; 1 when a request was allocated since */
	u32 more = current->plug->nr_ios - 1 ?: PMAP_BATCH;

	more = min(more, nvme_pmap_room(q));
	pmap_ref_get_many(b->pf->usage, more);
	pmap_ref_get_many(&b->pmap->ref, more);
	b->limit += more;
	nvme_pmap_plug(q, current->plug);
}

/* May a batch of the file begin?  Not where one that has begun did not take it. */
static __always_inline bool nvme_pmap_may_begin(struct nvme_pmap_queue *q,
						struct nvme_pmap_file *pf)
{
	/* it may have been detached, and be another file's by now */
	if (!nvme_pmap_sq_free(q) || !q->live ||
	    READ_ONCE(pf->queue[q->polled]) != q || !nvme_pmap_room(q) ||
	    (q->batch.pf == pf && q->batch.limit != q->sent))
		return false;
	if (unlikely(q->batch.pf))
		nvme_pmap_end_credit(q);
	return true;
}

/*
 * Open a batch: find out what holds for the Reads and Writes of @pf on a buffer.
 * The references for the first are the caller's; @pf->usage keeps the format as it
 * is.
 *
 * Return: whether the command may be tried as the first of them.
 */
static __always_inline bool nvme_pmap_open_batch(struct nvme_pmap_queue *q,
						 struct nvme_ns *ns,
						 struct nvme_pmap_file *pf,
						 struct io_uring_cmd *ioucmd,
						 struct nvme_pmap *pmap)
{
	const struct nvme_pmap_cmd *cmd = io_uring_sqe_cmd(ioucmd->sqe);
	const struct nvme_ns_head *head = ns->head;
	u64 format = READ_ONCE(pf->format->word);
	struct nvme_pmap_batch *b = &q->batch;

	b->pf = pf;
	b->pmap = pmap;
	b->psdt = pmap->cmd_flags << 8;
	b->limit = q->sent + 1;
	b->lba_shift = format;
	b->deadline = nvme_pmap_deadline(ns, 0);
	/*
	 * Errors that are to be logged are blk-mq's to log; and 65536 blocks are
	 * to fit in the 32 bits of a length.
	 */
	if (!pmap_format_plain(format) || head->passthru_err_log_enabled ||
	    b->lba_shift > PMAP_BATCH_LBA_SHIFT ||
	    !nvme_pmap_batch_opcodes(b, ns, READ_ONCE(cmd->opcode),
				     ioucmd->file->f_mode)) {
		nvme_pmap_end_credit(q);
		return false;
	}
	return true;
}

/* On a buffer of the file's table. */
static __always_inline bool nvme_pmap_begin_batch(struct nvme_pmap_queue *q,
						  struct nvme_ns *ns,
						  struct nvme_pmap_file *pf,
						  struct io_uring_cmd *ioucmd)
{
	const struct nvme_pmap_cmd *cmd = io_uring_sqe_cmd(ioucmd->sqe);
	u64 index = pmap_load_pair(&cmd->index);
	struct nvme_pmap *pmap;

	if (index > U32_MAX || !nvme_pmap_may_begin(q, pf) ||
	    nvme_pmap_get_refs(pf, index, &pmap))
		return false;
	q->batch.index = index;
	q->batch.ubuf = NULL;
	q->batch.max = READ_ONCE(pf->pc->max_transfer);
	q->batch.table = pf;
	return nvme_pmap_open_batch(q, ns, pf, ioucmd, pmap);
}

/* In a batch that has been opened for it.  Return: whether it has been sent. */
static __always_inline bool
nvme_pmap_first_of_batch(struct nvme_pmap_file *pf, struct nvme_pmap_queue *q,
			 struct io_uring_cmd *ioucmd,
			 const struct nvme_pmap_fixed *fx)
{
	bool sent = nvme_pmap_enqueue_owned(pf, q, ioucmd, NULL, fx) ==
		    PMAP_NEXT_QUEUED;

	/* a batch is of a file that has a command in it: none may close */
	if (unlikely(!sent))
		nvme_pmap_end_credit(q);
	else if (likely(current->plug))
		nvme_pmap_extend_batch(q);
	else
		nvme_pmap_close_batch(q);
	return sent;
}

/* A command that begins a batch.  Return: whether it has been sent. */
static __always_inline bool nvme_pmap_enqueue_first(struct nvme_ns *ns,
						    struct nvme_pmap_file *pf,
						    struct nvme_pmap_queue *q,
						    struct io_uring_cmd *ioucmd)
{
	bool sent;

	spin_lock(&q->sq_lock);
	sent = likely(nvme_pmap_begin_batch(q, ns, pf, ioucmd)) &&
	       nvme_pmap_first_of_batch(pf, q, ioucmd, NULL);
	spin_unlock(&q->sq_lock);
	return sent;
}

/*
 * Put a command into a passthrough queue by itself; @fixed as above.
 *
 * Return: -EIOCBQUEUED, an errno, or enum nvme_pmap_fallback.
 */
static noinline int
nvme_pmap_enqueue_io(struct nvme_ns *ns, struct nvme_pmap_file *pf,
		     struct nvme_pmap_queue *q, struct io_uring_cmd *ioucmd,
		     struct nvme_pmap_io *io, struct nvme_pmap *fixed)
{
	int ret = PMAP_FALLBACK_BUSY;

	if (ns->head->passthru_err_log_enabled)
		return PMAP_FALLBACK_LOGGED;
	nvme_pmap_await_sq(q);
	spin_lock(&q->sq_lock);
	if (nvme_pmap_sq_free(q))
		ret = nvme_pmap_enqueue_locked(ns, pf, q, ioucmd, io, fixed);
	spin_unlock(&q->sq_lock);
	return ret;
}

/* Check a command of the pmap door, and do the same with it. */
static noinline int nvme_pmap_enqueue(struct nvme_ns *ns,
				      struct nvme_pmap_file *pf,
				      struct nvme_pmap_queue *q,
				      struct io_uring_cmd *ioucmd,
				      unsigned int issue_flags)
{
	struct nvme_pmap_io io;
	int ret;

	/* the ring's lock is not held, which its poll takes for granted */
	if (issue_flags & IO_URING_F_UNLOCKED)
		return PMAP_FALLBACK_WORKER;
	ret = nvme_pmap_parse(ns, ioucmd, io_uring_sqe_cmd(ioucmd->sqe), &io);
	if (ret)
		return ret;
	return nvme_pmap_enqueue_io(ns, pf, q, ioucmd, &io, NULL);
}
