// SPDX-License-Identifier: GPL-2.0
/*
 * Completion: entries out of the CQ of a passthrough queue, to the rings of their
 * commands.
 */
#include "nvme.h"
#include "buffer.h"
#include "compat.h"
#include "counts.h"
#include "ctrl.h"
#include "file.h"
#include "map.h"
#include "queue.h"

/*
 * Neighbours on one buffer, or NULL: their references are put together.  The first one
 * has the number @from.  The run stays in registers: nothing takes its address.
 */
struct nvme_pmap_ref_run {
	struct nvme_pmap *pmap;
	u32 from;
};

/*
 * Put the references of @ended commands, of which the polling ring has completed
 * @direct.  The commands are handed over, so their file may be closed by now:
 * nvme_pmap_queues_sync_cq() waits for this.
 */
static noinline void nvme_pmap_put_completed(struct nvme_pmap *pmap,
					     unsigned long ended,
					     unsigned long direct)
{
	struct nvme_pmap_file *pf = pmap->pf;

	this_cpu_add(pf->counts->direct, direct);
	pmap_ref_put_many(pf->usage, ended);
	pmap_ref_put_many(&pmap->ref, ended);
}

/* End the run before @to; @polls as in nvme_pmap_complete_queued(). */
static __always_inline void
nvme_pmap_put_run(const struct nvme_pmap_ref_run *run, u32 to, bool polls)
{
	u32 ended = to - run->from;

	if (run->pmap)
		nvme_pmap_put_completed(run->pmap, ended, polls ? ended : 0);
}

/* Command number @at is on @pmap: it extends the run, or begins another. */
static __always_inline void nvme_pmap_note_run(struct nvme_pmap_ref_run *run,
					       u32 at, struct nvme_pmap *pmap,
					       bool polls)
{
	if (likely(pmap == run->pmap))
		return;
	nvme_pmap_put_run(run, at, polls);
	run->pmap = pmap;
	run->from = at;
}

/* Complete another ring's command, and take it off the count of direct ones. */
static noinline void nvme_pmap_complete_other_ring(struct io_uring_cmd *ioucmd,
						   int status, u64 result)
{
	this_cpu_dec(nvme_pmap_cmd_file(ioucmd)->counts->direct);
	nvme_pmap_complete_deferred(ioucmd, status, result);
}

/*
 * The DMA of a command is over.  If @polls, @ring polls and its lock is held: its own
 * commands are completed at once.  All others are handed over.
 */
static __always_inline void
nvme_pmap_complete_queued(struct io_uring_cmd *ioucmd, int status, u64 result,
			  bool polls, struct io_ring_ctx *ring)
{
	if (!polls)
		nvme_pmap_complete_deferred(ioucmd, status, result);
	else if (likely(cmd_to_io_kiocb(ioucmd)->ctx == ring))
		io_uring_cmd_iopoll_done(ioucmd, status, result);
	else
		nvme_pmap_complete_other_ring(ioucmd, status, result);
}

/* Free the slot of a command that has ended. */
static __always_inline void nvme_pmap_release_slot(struct nvme_pmap_queue *q,
						   struct nvme_pmap_slot *slot)
{
	slot->cid += PMAP_NEXT_CID(q->mask);
	/* after the store of @cid; pairs with the acquire in nvme_pmap_slot_free() */
	smp_store_release(&slot->ioucmd, NULL);
}

/* A CQ entry for a command that is not in flight. */
static noinline void nvme_pmap_bad_cqe(const struct nvme_pmap_queue *q, u16 id)
{
	dev_warn_ratelimited(q->set->dma,
			     "pmap: invalid id %u completed on queue %u\n", id,
			     q->qid);
}

static __always_inline void nvme_pmap_ring_cq(struct nvme_pmap_queue *q)
{
	u16 head = q->cq_head & q->mask;

	if (nvme_pmap_shadow(q->cq_shadow, q->cq_event, head))
		writel(head, q->cq_db);
}

/* The command in flight with this identifier, or NULL. */
static __always_inline struct io_uring_cmd *
nvme_pmap_in_flight(const struct nvme_pmap_queue *q, u32 id)
{
	const struct nvme_pmap_slot *slot = &q->slot[id & q->mask];

	return likely(slot->cid == id) ? slot->ioucmd : NULL;
}

/* Process the new entries of the CQ.  Return: their number. */
static __always_inline int nvme_pmap_handle_cqes(struct nvme_pmap_queue *q,
						 bool polls,
						 struct io_ring_ctx *ring)
{
	const struct nvme_completion *cqe = &q->cq[q->cq_head & q->mask];
	const struct nvme_completion *end = q->cq + q->mask + 1;
	/* new entries have phase tag 1 in the first round */
	u32 phase = ~(q->cq_head >> q->order), found = 0, status;
	struct nvme_pmap_ref_run run = {};

	lockdep_assert_held(polls ? &q->poll_lock : &q->cq_lock);
	status = le16_to_cpu(READ_ONCE(cqe->status));
	if ((status ^ phase) & 1)
		return 0;
	do {
		struct io_uring_cmd *ioucmd;
		u32 id;

		/* the phase tag before the rest of the entry */
		dma_rmb();
		id = READ_ONCE(cqe->command_id);
		ioucmd = nvme_pmap_in_flight(q, id);
		if (likely(ioucmd)) {
			nvme_pmap_note_run(&run, found,
					   nvme_pmap_pdu(ioucmd)->pmap, polls);
			nvme_pmap_release_slot(q, &q->slot[id & q->mask]);
			nvme_pmap_complete_queued(ioucmd, status >> 1,
						  le64_to_cpu(cqe->result.u64),
						  polls, ring);
		} else {
			nvme_pmap_bad_cqe(q, id);
			nvme_pmap_note_run(&run, found, NULL, polls);
			WRITE_ONCE(q->done, q->done - 1);
		}
		found++;
		if (unlikely(++cqe == end)) {
			cqe = q->cq;
			phase = ~phase;
		}
		status = le16_to_cpu(READ_ONCE(cqe->status));
	} while (!((status ^ phase) & 1));
	nvme_pmap_put_run(&run, found, polls);
	q->cq_head += found;
	nvme_pmap_ring_cq(q);
	/* pairs with the acquire in nvme_pmap_room() */
	smp_store_release(&q->done, q->done + found);
	return found;
}

/* For callers other than a ring's poll. */
static noinline int nvme_pmap_process_cq_locked(struct nvme_pmap_queue *q)
{
	return nvme_pmap_handle_cqes(q, false, NULL);
}

/**
 * nvme_pmap_process_cq - hand over the completions of a queue
 * @q: the queue
 *
 * Context: process.
 *
 * Return: entries found in the CQ.
 */
int nvme_pmap_process_cq(struct nvme_pmap_queue *q)
{
	int found = 0;

	nvme_pmap_lock_cq(q);
	if (q->cq)
		found = nvme_pmap_process_cq_locked(q);
	nvme_pmap_unlock_cq(q);
	return found;
}
EXPORT_SYMBOL_GPL(nvme_pmap_process_cq);

/**
 * nvme_pmap_process_cq_irq - hand over the completions of a queue, in its interrupt
 * @q: the queue
 *
 * Return: entries found in the CQ.
 */
int nvme_pmap_process_cq_irq(struct nvme_pmap_queue *q)
{
	int found = 0;

	spin_lock(&q->cq_lock);
	if (q->cq)
		found = nvme_pmap_process_cq_locked(q);
	spin_unlock(&q->cq_lock);
	return found;
}
EXPORT_SYMBOL_GPL(nvme_pmap_process_cq_irq);

/**
 * nvme_pmap_queue_cancel - end the commands left on a queue that is no longer live
 * @q: the queue; the controller is disabled, and does no DMA
 */
void nvme_pmap_queue_cancel(struct nvme_pmap_queue *q)
{
	struct nvme_pmap_ref_run run = {};
	u32 i, ended = 0;

	nvme_pmap_lock_cq(q);
	if (!q->cq)
		goto unlock;
	nvme_pmap_process_cq_locked(q);
	for (i = 0; i <= q->mask; i++) {
		struct io_uring_cmd *ioucmd = q->slot[i].ioucmd;

		if (!ioucmd)
			continue;
		nvme_pmap_note_run(&run, ended++, nvme_pmap_pdu(ioucmd)->pmap,
				   false);
		nvme_pmap_release_slot(q, &q->slot[i]);
		nvme_pmap_complete_queued(ioucmd, -EINTR, 0, false, NULL);
	}
	nvme_pmap_put_run(&run, ended, false);
	/* pairs with the acquire in nvme_pmap_room() */
	smp_store_release(&q->done, q->done + ended);
unlock:
	nvme_pmap_unlock_cq(q);
}
EXPORT_SYMBOL_GPL(nvme_pmap_queue_cancel);

/* The deadline of a command that begins now; @timeout_ms: its own time-out, or 0. */
static u32 nvme_pmap_deadline(struct nvme_ns *ns, u32 timeout_ms)
{
	u64 timeout = timeout_ms ? msecs_to_jiffies(timeout_ms) :
				   ns->queue->rq_timeout;

	/* rq_timeout may be as large as an unsigned int */
	timeout = min_t(u64, timeout, PMAP_MAX_TIMEOUT);
	return round_up((u32)jiffies + (u32)timeout, PMAP_ABORTED + 1);
}

/* As blk-mq when it restarts a request's timer: the namespace's time-out. */
static u32 nvme_pmap_more_time(const struct io_uring_cmd *ioucmd)
{
	struct nvme_ns *ns = container_of(file_inode(ioucmd->file)->i_cdev,
					  struct nvme_ns, cdev);

	return nvme_pmap_deadline(ns, 0);
}

/* Return: the slot of an overdue command, or -ENOENT. */
static int nvme_pmap_find_overdue(struct nvme_pmap_queue *q)
{
	u32 i;

	for (i = 0; i <= q->mask; i++) {
		struct nvme_pmap_slot *slot = &q->slot[i];

		/* pairs with the release in nvme_pmap_commit() */
		if (smp_load_acquire(&slot->ioucmd) &&
		    (s32)((u32)jiffies - slot->deadline) >= 0)
			return i;
	}
	return -ENOENT;
}

/**
 * nvme_pmap_queue_overdue - find an overdue command, and give it more time
 * @q: the queue
 * @aborted: (out) whether the command has been aborted
 *
 * A completion in the CQ is no time-out, and must not wait for a poller that sleeps: if
 * nothing has ended since the last call, this processes the CQ.
 *
 * Return: the identifier of the command, or -ENOENT: there is none.
 */
int nvme_pmap_queue_overdue(struct nvme_pmap_queue *q, bool *aborted)
{
	struct nvme_pmap_slot *slot;
	int ret = -ENOENT;

	nvme_pmap_lock_cq(q);
	if (!q->cq)
		goto unlock;
	if (q->seen == q->done)
		nvme_pmap_process_cq_locked(q);
	q->seen = q->done;
	ret = nvme_pmap_find_overdue(q);
	if (ret >= 0 && nvme_pmap_process_cq_locked(q))
		ret = nvme_pmap_find_overdue(q);
	if (ret < 0)
		goto unlock;
	slot = &q->slot[ret];
	ret = slot->cid;
	*aborted = slot->deadline & PMAP_ABORTED;
	slot->deadline = nvme_pmap_more_time(slot->ioucmd) | *aborted;
unlock:
	nvme_pmap_unlock_cq(q);
	return ret;
}
EXPORT_SYMBOL_GPL(nvme_pmap_queue_overdue);

/**
 * nvme_pmap_queue_aborted - note that an Abort has been tried for a command
 * @q: the queue
 * @cid: the identifier of the command, which may have ended
 */
void nvme_pmap_queue_aborted(struct nvme_pmap_queue *q, u16 cid)
{
	struct nvme_pmap_slot *slot;

	nvme_pmap_lock_cq(q);
	slot = q->cq ? &q->slot[cid & q->mask] : NULL;
	if (slot && slot->cid == cid && slot->ioucmd)
		slot->deadline |= PMAP_ABORTED;
	nvme_pmap_unlock_cq(q);
}
EXPORT_SYMBOL_GPL(nvme_pmap_queue_aborted);

/*
 * Does the CQ have a new entry?  A hint: another task may be processing it.  There is
 * no lock, so the queue may be going; its memory stays for a grace period.
 */
static __always_inline bool
nvme_pmap_cqe_pending(const struct nvme_pmap_queue *q)
{
	const struct nvme_completion *cq;
	bool pending = false;
	u32 head, status;

	pmap_rcu_begin();
	/* pairs with synchronize_rcu() in nvme_pmap_queue_free_memory() */
	cq = READ_ONCE(q->cq);
	if (likely(cq)) {
		head = READ_ONCE(q->cq_head);
		/* new entries have phase tag 1 in the first round */
		status = le16_to_cpu(READ_ONCE(cq[head & q->mask].status));
		pending = (status ^ head >> q->order) & 1;
	}
	pmap_rcu_end();
	return pending;
}

/*
 * Poll the CQ for a ring.  If another task holds the lock, that task finds the entries.
 * The lock keeps the memory of the CQ allocated.
 */
static noinline int nvme_pmap_poll_cq(struct nvme_pmap_queue *q,
				      struct io_ring_ctx *ring)
{
	int found = 0;

	if (!nvme_pmap_cqe_pending(q) || !spin_trylock(&q->poll_lock))
		return 0;
	/* or the command has ended, and the queue has another user */
	if (likely(q->cq && q->polls))
		found = nvme_pmap_handle_cqes(q, true, ring);
	spin_unlock(&q->poll_lock);
	return found;
}

/*
 * Poll a hardware queue, which may find commands of any ring.  This ring's commands are
 * completed at once: the caller holds the lock of the ring.  The others are handed over
 * when the caller completes @iob.
 */
static noinline int nvme_pmap_iopoll_blk_mq(struct io_uring_cmd *ioucmd,
					    struct io_comp_batch *iob,
					    u16 route)
{
	struct nvme_ns *ns = container_of(file_inode(ioucmd->file)->i_cdev,
					  struct nvme_ns, cdev);
	int found = nvme_pmap_poll_hctx(ns->queue, route, iob);

	if (!rq_list_empty(&iob->req_list))
		this_cpu_add(nvme_pmap_cmd_file(ioucmd)->counts->direct,
			     nvme_pmap_complete_polled(cmd_to_io_kiocb(ioucmd)
							       ->ctx,
						       iob));
	return found;
}

static __always_inline int nvme_pmap_iopoll(struct io_uring_cmd *ioucmd,
					    struct io_comp_batch *iob)
{
	u32 route = nvme_pmap_pdu(ioucmd)->route;
	struct nvme_pmap_queues *set;

	if (route & PMAP_BY_BLK_MQ)
		return nvme_pmap_iopoll_blk_mq(ioucmd, iob, route);
	set = nvme_pmap_cmd_file(ioucmd)->pc->queues;
	return nvme_pmap_poll_cq(&set->queue[route],
				 cmd_to_io_kiocb(ioucmd)->ctx);
}
