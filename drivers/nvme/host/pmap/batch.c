// SPDX-License-Identifier: GPL-2.0
/*
 * The SQ of a passthrough queue, and the batch of commands that owns it: room, command
 * identifiers, the doorbell at the end of io_uring's batch, and how a batch is taken
 * from its task.
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

/* How long another's batch is waited for before commands go by blk-mq, in ns. */
#define PMAP_PATIENCE 2000u

/* A command that a queue could not take; it goes by blk-mq. */
static noinline void nvme_pmap_count_fallback(struct nvme_pmap_file *pf,
					      enum nvme_pmap_fallback why)
{
	this_cpu_inc(pf->counts->fallback[why]);
	this_cpu_inc(pf->pc->fallbacks->n[why]);
}

/*
 * Commands that the queue can take; one entry of the SQ stays empty: full is not
 * the same as empty.  Who looks at the CQ may say for a moment that fewer have
 * ended than did: see struct nvme_pmap_queue.
 */
static u32 nvme_pmap_room(struct nvme_pmap_queue *q)
{
	/* pairs with the release in nvme_pmap_process_cq() */
	u32 busy = q->sent - smp_load_acquire(&q->done);

	return likely(busy < q->mask) ? q->mask - busy : 0;
}

/* Away from the slots that come next: these commands would have to look as well. */
static noinline struct nvme_pmap_slot *
nvme_pmap_search_slot(const struct nvme_pmap_queue *q)
{
	u32 i = q->sent + q->mask / 2;

	while (!nvme_pmap_slot_free(&q->slot[i & q->mask]))
		i++;
	return &q->slot[i & q->mask];
}

/*
 * A slot that is not in use, and there is one: more slots than commands in flight.
 * Mostly it has the number of the entry in the SQ.
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

/* Into the file's counters. */
static void nvme_pmap_count_batch(struct nvme_pmap_batch *b)
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

/* What was taken for @left commands that did not come. */
static noinline void nvme_pmap_put_unused_refs(struct nvme_pmap_batch *b,
					       u32 left)
{
	percpu_ref_put_many(&b->pmap->ref, left + b->elsewhere);
	if (left)
		percpu_ref_put_many(b->pf->usage, left);
	b->elsewhere = 0;
}

/* No command takes the short way any more, until the next batch is opened. */
static noinline void nvme_pmap_end_credit(struct nvme_pmap_queue *q)
{
	struct nvme_pmap_batch *b = &q->batch;
	u32 left = b->limit - q->sent;

	if (!b->pf)
		return;
	nvme_pmap_count_batch(b);
	if (left || b->elsewhere)
		nvme_pmap_put_unused_refs(b, left);
	b->by_caller = false;
	b->pf = NULL;
	b->table = NULL;
}

/* End the batch: what was sent is told to the controller. */
static __always_inline void nvme_pmap_close_batch(struct nvme_pmap_queue *q)
{
	nvme_pmap_end_credit(q);
	if (likely(q->rung != q->sent))
		nvme_pmap_ring_sq(q);
}

/* The batch of io_uring has been submitted, or its task goes to sleep. */
static void nvme_pmap_unplug(struct blk_plug_cb *cb, bool from_schedule)
{
	struct nvme_pmap_queue *q = container_of(cb, struct nvme_pmap_queue,
						 cb);

	spin_lock(&q->sq_lock);
	/* if it has been taken, nothing may be left to end */
	nvme_pmap_close_batch(q);
	if (unlikely(q->vain))
		WRITE_ONCE(q->vain, NULL);
	WRITE_ONCE(q->batch.plug, PMAP_NO_PLUG);
	spin_unlock(&q->sq_lock);
}

/* Is there no batch but perhaps our own? */
static bool nvme_pmap_sq_free(const struct nvme_pmap_queue *q)
{
	const struct blk_plug *plug = READ_ONCE(q->batch.plug);

	return plug == PMAP_NO_PLUG || plug == current->plug;
}

/*
 * Another task's batch is over soon if that task runs.  It is waited for once, and not
 * for long: who comes after one that has waited in vain goes by blk-mq at once, as
 * where the batch has been taken away.
 */
static noinline void nvme_pmap_await_sq(struct nvme_pmap_queue *q)
{
	const struct blk_plug *plug = READ_ONCE(q->batch.plug);
	u64 end;

	if (nvme_pmap_sq_free(q) || plug == READ_ONCE(q->vain))
		return;
	end = local_clock() + PMAP_PATIENCE;
	while (READ_ONCE(q->batch.plug) != PMAP_PLUG_TAKEN) {
		cpu_relax();
		if (nvme_pmap_sq_free(q))
			return;
		if (local_clock() >= end) {
			WRITE_ONCE(q->vain, plug);
			return;
		}
	}
}

static void nvme_pmap_revoke_batch(struct nvme_pmap_queue *q)
{
	struct blk_plug *plug;

	spin_lock(&q->sq_lock);
	plug = q->batch.plug;
	if (plug != PMAP_NO_PLUG)
		WRITE_ONCE(q->batch.plug, PMAP_PLUG_TAKEN);
	spin_unlock(&q->sq_lock);
	if (plug == PMAP_NO_PLUG || plug == PMAP_PLUG_TAKEN)
		return;
	/* until its command of this moment is in; see nvme_pmap_enqueue_next() */
	synchronize_rcu();
	spin_lock(&q->sq_lock);
	/* or its task has ended it, and another may have one by now */
	if (q->batch.plug == PMAP_PLUG_TAKEN)
		nvme_pmap_close_batch(q);
	spin_unlock(&q->sq_lock);
}

/* Who takes batches, one at a time: what is taken has been ended, for all others. */
static DEFINE_MUTEX(nvme_pmap_revoke_lock);

/**
 * nvme_pmap_queue_revoke_batch - end a batch that its task still goes on with
 * @q: the queue
 *
 * A task does not have to sleep, nor to be given the CPU, for as long as its batch
 * lasts.  What it has sent is told to the controller; the rest goes by blk-mq.
 */
void nvme_pmap_queue_revoke_batch(struct nvme_pmap_queue *q)
{
	mutex_lock(&nvme_pmap_revoke_lock);
	nvme_pmap_revoke_batch(q);
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
 * The submission is plugged: the doorbell is rung at the end of the batch, and the
 * SQ is the task's until then.
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
	WRITE_ONCE(b->plug, plug);
}
