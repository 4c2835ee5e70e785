// SPDX-License-Identifier: GPL-2.0
/*
 * Entries out of the CQ of a passthrough queue, to the rings of their commands.
 * Compiled at the end of ioctl.c, after pmap-end.c.
 */
#include "pmap.h"

/*
 * Commands in a row on one buffer, the first of them at @from in the CQ: what they
 * hold is given back together.
 */
struct nvme_pmap_run {
	struct nvme_pmap *pmap;
	u32 from;
	u32 handed; /* those of them that were handed over */
};

/*
 * The run ends before @to.  The commands may have ended, and their file been
 * closed, when they were handed over: see nvme_pmap_queues_quiet().
 */
static noinline void nvme_pmap_put_run(const struct nvme_pmap_run *run, u32 to)
{
	u32 ended = to - run->from;
	struct nvme_pmap_file *pf;

	if (!ended || !run->pmap)
		return;
	pf = run->pmap->pf;
	this_cpu_add(pf->counts->direct, ended - run->handed);
	percpu_ref_put_many(pf->usage, ended);
	percpu_ref_put_many(&run->pmap->ref, ended);
}

static noinline void nvme_pmap_next_run(struct nvme_pmap_run *run, u32 at,
					struct nvme_pmap *pmap)
{
	nvme_pmap_put_run(run, at);
	*run = (struct nvme_pmap_run){ .pmap = pmap, .from = at };
}

/*
 * The DMA of a command is over.  @ring is the one that polls, its lock is held,
 * and it may be told at once of what is its own; others get it handed over.
 */
static __always_inline void nvme_pmap_end_queued(struct io_uring_cmd *ioucmd,
						 int status, u64 result,
						 struct io_ring_ctx *ring,
						 struct nvme_pmap_run *run,
						 u32 at)
{
	struct nvme_pmap *pmap = nvme_pmap_pdu(ioucmd)->pmap;

	if (unlikely(pmap != run->pmap))
		nvme_pmap_next_run(run, at, pmap);
	if (cmd_to_io_kiocb(ioucmd)->ctx == ring) {
		io_uring_cmd_iopoll_done(ioucmd, status, result);
	} else {
		run->handed++;
		nvme_pmap_hand_over(ioucmd, status, result);
	}
}

/*
 * Free the slot of a command that has ended, unless an Abort still names it.
 * Return: 0, or 1 for a slot that is held back.
 */
static __always_inline u32 nvme_pmap_release_slot(struct nvme_pmap_slot *slot)
{
	if (unlikely(slot->aborted)) {
		slot->aborted = false;
		if (slot->aborting) {
			slot->ioucmd = PMAP_SLOT_HELD;
			return 1;
		}
	}
	/* pairs with the look for a free slot in nvme_pmap_pick_slot() */
	smp_store_release(&slot->ioucmd, NULL);
	return 0;
}

/*
 * The second half of a completion queue entry, in one load: SQ head and ID, the
 * command's identifier, the phase tag, and the status.
 */
static u64 nvme_pmap_cqe_tail(const struct nvme_completion *cqe)
{
	BUILD_BUG_ON(offsetof(struct nvme_completion, sq_head) != 8);
	return le64_to_cpu(READ_ONCE(*(const __le64 *)&cqe->sq_head));
}

/* An entry about a command that is not in flight. */
static noinline void nvme_pmap_bad_cqe(const struct nvme_pmap_queue *q, u16 id)
{
	dev_warn_ratelimited(q->set->dma,
			     "pmap: invalid id %u completed on queue %u\n", id,
			     q->qid);
}

static void nvme_pmap_ring_cq(struct nvme_pmap_queue *q)
{
	u16 head = q->cq_head & q->mask;

	if (nvme_pmap_shadow(q->cq_shadow, q->cq_event, head))
		writel(head, q->cq_db);
}

/* Return: entries found. */
static int nvme_pmap_queue_look(struct nvme_pmap_queue *q,
				struct io_ring_ctx *ring)
{
	u32 i = q->cq_head & q->mask, found = 0, kept = 0;
	/* new entries have the tag 1 in the first round */
	u32 phase = ~(q->cq_head >> q->order);
	struct nvme_pmap_run run = {};

	lockdep_assert_held(&q->cq_lock);
	for (;; found++) {
		const struct nvme_completion *cqe = &q->cq[i];
		u64 tail = nvme_pmap_cqe_tail(cqe);
		u32 id = (tail >> 32) & U16_MAX;
		struct nvme_pmap_slot *slot = &q->slot[id];
		struct io_uring_cmd *ioucmd;

		if (((u32)(tail >> 48) ^ phase) & 1)
			break;
		i = (i + 1) & q->mask;
		if (unlikely(!i))
			phase = ~phase;
		/* the phase tag before the rest of the entry */
		dma_rmb();
		if (unlikely(id > q->mask || slot->ioucmd <= PMAP_SLOT_HELD)) {
			nvme_pmap_bad_cqe(q, id);
			nvme_pmap_next_run(&run, found, NULL);
			run.from++;
			kept++;
			continue;
		}
		ioucmd = slot->ioucmd;
		kept += nvme_pmap_release_slot(slot);
		nvme_pmap_end_queued(ioucmd, (u32)(tail >> 49),
				     le64_to_cpu(cqe->result.u64), ring, &run,
				     found);
	}
	if (!found)
		return 0;
	nvme_pmap_put_run(&run, found);
	q->cq_head += found;
	nvme_pmap_ring_cq(q);
	/* pairs with the acquire in nvme_pmap_room() */
	smp_store_release(&q->done, q->done + found - kept);
	return found;
}

/**
 * nvme_pmap_queue_reap - hand over what has completed on a queue
 * @q: the queue
 *
 * Return: entries found in the CQ.
 */
int nvme_pmap_queue_reap(struct nvme_pmap_queue *q)
{
	unsigned long flags;
	int found = 0;

	spin_lock_irqsave(&q->cq_lock, flags);
	if (q->cq)
		found = nvme_pmap_queue_look(q, NULL);
	spin_unlock_irqrestore(&q->cq_lock, flags);
	return found;
}
EXPORT_SYMBOL_GPL(nvme_pmap_queue_reap);

/**
 * nvme_pmap_queue_cancel - end what is left on a queue that is no longer live
 * @q: the queue; the controller is disabled, and does no DMA
 */
void nvme_pmap_queue_cancel(struct nvme_pmap_queue *q)
{
	struct nvme_pmap_run run = {};
	u32 i, ended = 0, kept = 0;
	unsigned long flags;

	spin_lock_irqsave(&q->cq_lock, flags);
	if (!q->cq)
		goto unlock;
	nvme_pmap_queue_look(q, NULL);
	for (i = 0; i <= q->mask; i++) {
		struct io_uring_cmd *ioucmd = q->slot[i].ioucmd;

		if ((uintptr_t)ioucmd <= (uintptr_t)PMAP_SLOT_HELD)
			continue;
		kept += nvme_pmap_release_slot(&q->slot[i]);
		nvme_pmap_end_queued(ioucmd, -EINTR, 0, NULL, &run, ended++);
	}
	nvme_pmap_put_run(&run, ended);
	/* pairs with the acquire in nvme_pmap_room() */
	smp_store_release(&q->done, q->done + ended - kept);
unlock:
	spin_unlock_irqrestore(&q->cq_lock, flags);
}
EXPORT_SYMBOL_GPL(nvme_pmap_queue_cancel);

/* When a command that begins now has timed out; @timeout_ms as it asks for. */
static u32 nvme_pmap_deadline(struct nvme_ns *ns, u32 timeout_ms)
{
	u64 timeout = timeout_ms ? msecs_to_jiffies(timeout_ms) :
				   ns->queue->rq_timeout;

	/* which may be as long as an unsigned int is */
	return (u32)jiffies + min_t(u64, timeout, PMAP_MAX_TIMEOUT);
}

/* As blk-mq gives an aborted request: as long again as the namespace's time-out. */
static u32 nvme_pmap_more_time(const struct io_uring_cmd *ioucmd)
{
	struct nvme_ns *ns = container_of(file_inode(ioucmd->file)->i_cdev,
					  struct nvme_ns, cdev);

	return nvme_pmap_deadline(ns, 0);
}

/* Return: the identifier of a command that is overdue, or -ENOENT. */
static int nvme_pmap_find_overdue(struct nvme_pmap_queue *q)
{
	u32 i;

	for (i = 0; i <= q->mask; i++) {
		struct nvme_pmap_slot *slot = &q->slot[i];

		/* pairs with the release in nvme_pmap_commit() */
		if (smp_load_acquire(&slot->ioucmd) > PMAP_SLOT_HELD &&
		    (s32)((u32)jiffies - slot->deadline) >= 0)
			return i;
	}
	return -ENOENT;
}

/**
 * nvme_pmap_queue_overdue - find a command that is overdue, and mark it as being
 * aborted
 * @q: the queue
 *
 * A completion that nobody has looked at is not a time-out.  Nor is it to wait
 * for a poller that sleeps: where nothing has ended since the last call, this
 * looks.
 *
 * Return: its identifier; -ENOENT: there is none; -ETIME: one that was aborted
 * before.
 */
int nvme_pmap_queue_overdue(struct nvme_pmap_queue *q)
{
	struct nvme_pmap_slot *slot;
	unsigned long flags;
	int ret = -ENOENT;

	spin_lock_irqsave(&q->cq_lock, flags);
	if (!q->cq)
		goto unlock;
	if (q->seen == q->done)
		nvme_pmap_queue_look(q, NULL);
	q->seen = q->done;
	ret = nvme_pmap_find_overdue(q);
	if (ret >= 0 && nvme_pmap_queue_look(q, NULL))
		ret = nvme_pmap_find_overdue(q);
	if (ret < 0)
		goto unlock;
	slot = &q->slot[ret];
	slot->deadline = nvme_pmap_more_time(slot->ioucmd);
	if (slot->aborted)
		ret = -ETIME;
	else
		slot->aborting = true;
	slot->aborted = true;
unlock:
	spin_unlock_irqrestore(&q->cq_lock, flags);
	return ret;
}
EXPORT_SYMBOL_GPL(nvme_pmap_queue_overdue);

/**
 * nvme_pmap_queue_abort_end - an Abort command has been answered
 * @q: the queue
 * @id: the identifier it was for
 * @sent: false: it could not be sent, and is to be tried again in a second
 */
void nvme_pmap_queue_abort_end(struct nvme_pmap_queue *q, u16 id, bool sent)
{
	struct nvme_pmap_slot *slot;
	unsigned long flags;

	spin_lock_irqsave(&q->cq_lock, flags);
	/* an Abort can outlive all else, in a queue of admin commands */
	if (!q->cq)
		goto unlock;
	slot = &q->slot[id];
	slot->aborting = false;
	if (!sent) {
		slot->aborted = false;
		slot->deadline = (u32)jiffies + HZ;
	}
	if (slot->ioucmd == PMAP_SLOT_HELD) {
		slot->aborted = false;
		/* pairs with the look for a free slot in nvme_pmap_pick_slot() */
		smp_store_release(&slot->ioucmd, NULL);
		/* pairs with the acquire in nvme_pmap_room() */
		smp_store_release(&q->done, q->done + 1);
	}
unlock:
	spin_unlock_irqrestore(&q->cq_lock, flags);
}
EXPORT_SYMBOL_GPL(nvme_pmap_queue_abort_end);

/*
 * A ring looks.  Where another looks already, that one finds what there is; and
 * the memory of the queue is safe only under the lock.
 */
static int nvme_pmap_queue_poll(struct nvme_pmap_queue *q,
				struct io_ring_ctx *ring)
{
	unsigned long flags;
	int found = 0;

	if (!spin_trylock_irqsave(&q->cq_lock, flags))
		return 0;
	if (likely(q->cq))
		found = nvme_pmap_queue_look(q, ring);
	spin_unlock_irqrestore(&q->cq_lock, flags);
	return found;
}

/*
 * What a poll of a hardware queue finds may belong to any ring.  Commands of
 * this ring end on the spot: the caller holds the lock of the ring.  The others
 * go to where they belong, when the caller completes @iob.
 */
static noinline int nvme_pmap_iopoll(struct io_uring_cmd *ioucmd,
				     struct io_comp_batch *iob)
{
	struct nvme_ns *ns = container_of(file_inode(ioucmd->file)->i_cdev,
					  struct nvme_ns, cdev);
	struct io_ring_ctx *ring = cmd_to_io_kiocb(ioucmd)->ctx;
	struct nvme_pmap_file *pf = nvme_pmap_cmd_file(ioucmd);
	struct nvme_pmap_pdu *pdu = nvme_pmap_pdu(ioucmd);
	u32 route = pdu->route;
	int found;

	if (!(route & PMAP_BY_BLK_MQ))
		return nvme_pmap_queue_poll(&pf->pc->queues->queue[route],
					    ring);
	found = nvme_pmap_poll_queue(ns->queue, (u16)route, iob);
	if (!rq_list_empty(&iob->req_list))
		this_cpu_add(pf->counts->direct,
			     nvme_pmap_end_batch(ring, iob));
	return found;
}
