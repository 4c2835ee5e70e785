// SPDX-License-Identifier: GPL-2.0
/*
 * The SQ of a passthrough queue and the batch that owns it: room, slots, the doorbell at
 * the end of a batch, and how a batch is revoked.  See batch.h for the states.
 */
#include <linux/blkdev.h>
#include <linux/sched/clock.h>

#include "nvme.h"
#include "batch.h"
#include "buffer.h"
#include "counts.h"
#include "ctrl.h"
#include "file.h"
#include "layout.h"
#include "map.h"
#include "queue.h"

/* How long a task waits for another task's batch before it uses blk-mq, in ns. */
#define PMAP_PATIENCE 2000u

/* The plug of a batch that no task owns: no task submits under it. */
static struct blk_plug nvme_pmap_no_plug;

/* Count a command that the queue could not take and that uses blk-mq. */
static noinline void nvme_pmap_count_fallback(struct nvme_pmap_file *pf,
					      enum nvme_pmap_fallback why)
{
	this_cpu_inc(pf->counts->fallback[why]);
	this_cpu_inc(pf->pc->fallbacks->n[why]);
}

/*
 * Commands that the queue can take.  One entry of the SQ stays empty, because a full SQ
 * would look like an empty one.  q->done may briefly read low while the CQ is processed.
 */
static u32 nvme_pmap_room(struct nvme_pmap_queue *q)
{
	/* pairs with the release in nvme_pmap_handle_cqes() */
	u32 busy = q->sent - smp_load_acquire(&q->done);

	return likely(busy < q->mask) ? q->mask - busy : 0;
}

/* Search away from the next slots: the commands after this one use those first. */
static noinline struct nvme_pmap_slot *
nvme_pmap_search_slot(const struct nvme_pmap_queue *q)
{
	u32 i = q->sent + q->mask / 2;

	while (!nvme_pmap_slot_free(&q->slot[i & q->mask]))
		i++;
	return &q->slot[i & q->mask];
}

/*
 * A free slot.  There is one, because there are more slots than commands in flight; in
 * most cases it has the number of the next entry in the SQ.
 */
static __always_inline struct nvme_pmap_slot *
nvme_pmap_pick_slot(const struct nvme_pmap_queue *q)
{
	struct nvme_pmap_slot *slot = &q->slot[q->sent & q->mask];

	return likely(nvme_pmap_slot_free(slot)) ? slot :
						   nvme_pmap_search_slot(q);
}

static __always_inline void nvme_pmap_ring_sq(struct nvme_pmap_queue *q)
{
	u16 tail = q->sent & q->mask;

	q->rung = q->sent;
	if (nvme_pmap_shadow(q->sq_shadow, q->sq_event, tail))
		writel(tail, q->sq_db);
}

/* Add the commands of the batch to the file's counters. */
static void nvme_pmap_batch_count(struct nvme_pmap_batch *b)
{
	struct nvme_pmap_counts __percpu *counts = b->pf->counts;
	int i;

	for (i = 0; i < PMAP_KIND_BUILT; i++)
		this_cpu_add(counts->queued[i], b->queued[i]);
	memset(b->queued, 0, sizeof(b->queued));
	if (b->nr_auto) {
		this_cpu_add(counts->path[PMAP_PATH_QUEUE], b->nr_auto);
		b->nr_auto = 0;
	}
}

/* Put the references of @left commands that did not come. */
static noinline void nvme_pmap_batch_put_unused(struct nvme_pmap_batch *b,
						u32 left)
{
	percpu_ref_put_many(&b->pmap->ref, left + b->elsewhere);
	if (left)
		percpu_ref_put_many(b->pf->usage, left);
	b->elsewhere = 0;
}

/* Put the batch's unused references.  Later commands have to open a new batch. */
static noinline void nvme_pmap_batch_settle(struct nvme_pmap_queue *q)
{
	struct nvme_pmap_batch *b = &q->batch;
	u32 left = b->limit - q->sent;

	if (!b->pf)
		return;
	nvme_pmap_batch_count(b);
	if (left || b->elsewhere)
		nvme_pmap_batch_put_unused(b, left);
	b->by_caller = false;
	b->pf = NULL;
	b->table_pf = NULL;
}

/* End the batch, and ring the doorbell if it has sent commands. */
static __always_inline void nvme_pmap_batch_close(struct nvme_pmap_queue *q)
{
	nvme_pmap_batch_settle(q);
	if (likely(q->rung != q->sent))
		nvme_pmap_ring_sq(q);
}

/* Under sq_lock. */
static void nvme_pmap_batch_set_state(struct nvme_pmap_batch *b,
				      enum nvme_pmap_batch_state state,
				      struct blk_plug *plug)
{
	WRITE_ONCE(b->state, state);
	WRITE_ONCE(b->plug, plug);
}

/**
 * nvme_pmap_batch_init - the batch of a new queue
 * @b: the batch
 */
void nvme_pmap_batch_init(struct nvme_pmap_batch *b)
{
	nvme_pmap_batch_set_state(b, PMAP_BATCH_IDLE, &nvme_pmap_no_plug);
}

/* io_uring has submitted the batch, or its task goes to sleep. */
static void nvme_pmap_unplug(struct blk_plug_cb *cb, bool from_schedule)
{
	struct nvme_pmap_queue *q = container_of(cb, struct nvme_pmap_queue,
						 cb);

	spin_lock(&q->sq_lock);
	/* a batch that was revoked has nothing left to end */
	nvme_pmap_batch_close(q);
	if (unlikely(q->slow_plug))
		WRITE_ONCE(q->slow_plug, NULL);
	nvme_pmap_batch_set_state(&q->batch, PMAP_BATCH_IDLE,
				  &nvme_pmap_no_plug);
	spin_unlock(&q->sq_lock);
}

/* May this task use the SQ?  A hint without sq_lock. */
static bool nvme_pmap_sq_free(const struct nvme_pmap_queue *q)
{
	return READ_ONCE(q->batch.state) == PMAP_BATCH_IDLE ||
	       READ_ONCE(q->batch.plug) == current->plug;
}

/*
 * Another task's batch ends soon if that task runs.  One task waits for it, and only for
 * PMAP_PATIENCE; if that was in vain, or the batch is revoked, tasks use blk-mq at once.
 */
static noinline void nvme_pmap_await_sq(struct nvme_pmap_queue *q)
{
	const struct blk_plug *plug = READ_ONCE(q->batch.plug);
	u64 end;

	if (nvme_pmap_sq_free(q) || plug == READ_ONCE(q->slow_plug))
		return;
	end = local_clock() + PMAP_PATIENCE;
	while (READ_ONCE(q->batch.state) != PMAP_BATCH_REVOKED) {
		cpu_relax();
		if (nvme_pmap_sq_free(q))
			return;
		if (local_clock() >= end) {
			WRITE_ONCE(q->slow_plug, plug);
			return;
		}
	}
}

/*
 * Serialises revokers: a second caller returns only after the first has rung the doorbell.
 */
static DEFINE_MUTEX(nvme_pmap_revoke_lock);

/**
 * nvme_pmap_queue_revoke_batch - end a batch whose task may still go on with it
 * @q: the queue
 *
 * A task need not sleep, nor get the CPU, while it has a batch.  The doorbell is rung for
 * the commands that it has sent; its further commands use blk-mq.
 */
void nvme_pmap_queue_revoke_batch(struct nvme_pmap_queue *q)
{
	struct nvme_pmap_batch *b = &q->batch;
	bool owned;

	mutex_lock(&nvme_pmap_revoke_lock);
	spin_lock(&q->sq_lock);
	owned = b->state == PMAP_BATCH_OWNED;
	if (owned)
		nvme_pmap_batch_set_state(b, PMAP_BATCH_REVOKED,
					  &nvme_pmap_no_plug);
	spin_unlock(&q->sq_lock);
	if (!owned)
		goto unlock;
	/*
	 * The owner compares its plug and writes its command with preemption off, see
	 * nvme_pmap_enqueue_next(): after this it has seen that the batch is revoked.
	 */
	synchronize_rcu();
	spin_lock(&q->sq_lock);
	/* the owner may have ended it meanwhile, and another task own one */
	if (b->state == PMAP_BATCH_REVOKED)
		nvme_pmap_batch_close(q);
	spin_unlock(&q->sq_lock);
unlock:
	mutex_unlock(&nvme_pmap_revoke_lock);
}
EXPORT_SYMBOL_GPL(nvme_pmap_queue_revoke_batch);

/**
 * nvme_pmap_queue_stop - no new commands; those in flight go on
 * @q: the queue, which the controller still has
 */
void nvme_pmap_queue_stop(struct nvme_pmap_queue *q)
{
	spin_lock(&q->sq_lock);
	q->live = false;
	spin_unlock(&q->sq_lock);
	nvme_pmap_queue_revoke_batch(q);
}
EXPORT_SYMBOL_GPL(nvme_pmap_queue_stop);

/*
 * The submission is plugged: the SQ is the task's until the end of the batch, when
 * nvme_pmap_unplug() rings the doorbell.
 */
static __always_inline void nvme_pmap_plug(struct nvme_pmap_queue *q,
					   struct blk_plug *plug)
{
	struct nvme_pmap_batch *b = &q->batch;

	if (b->plug == plug)
		return;
	/* as blk_check_plugged(), which would allocate it */
	q->cb.callback = nvme_pmap_unplug;
	list_add(&q->cb.list, &plug->cb_list);
	nvme_pmap_batch_set_state(b, PMAP_BATCH_OWNED, plug);
}
