// SPDX-License-Identifier: GPL-2.0
/*
 * The pairs of passthrough queues and their interrupts, on pci.c's side.
 *
 * Queue identifiers follow blk-mq's, and begin anew with each reset: by then the
 * controller has forgotten every queue.  A task that sends an admin command about a
 * queue holds nvme_pmap_queues.lock.  Exception: nvme_dev_disable() deletes the pairs
 * that exist and are not being deleted.  No command about an old identifier is
 * sent after the reset: see pci-admin.c.
 */
#include <linux/sched/mm.h>

#include "pci.h"

/* How soon the queues' work looks after a change; otherwise see PMAP_WORK_INTERVAL. */
#define PMAP_WORK_SOON (HZ / 50 ?: 1)

/* A free identifier, or 0. */
static u16 nvme_pmap_pick_qid(struct nvme_pmap_queues *set)
{
	unsigned int i, qid;

	for (qid = set->base; qid < set->base + set->granted; qid++) {
		for (i = 0; i < set->nr; i++)
			if (set->queue[i].qid == qid)
				break;
		if (i == set->nr)
			return qid;
	}
	return 0;
}

/* The vector of blk-mq's queue on @cpu; if that is offline, on another CPU. */
static u16 nvme_pmap_pick_vector(struct nvme_dev *dev, unsigned int cpu)
{
	struct blk_mq_queue_map *map = &dev->tagset.map[HCTX_TYPE_DEFAULT];

	if (dev->num_vecs <= 1 || !map->mq_map)
		return 0;
	if (!cpu_online(cpu))
		cpu = cpumask_any(cpu_online_mask);
	return map->mq_map[cpu] + 1;
}

/* Are all CPUs of the interrupt offline, for another reason than a suspend? */
static bool nvme_pmap_vector_lost(const struct nvme_pmap_queue *q)
{
	struct nvme_dev *dev = nvme_pmap_dev(q);
	const struct cpumask *mask;
	bool lost = false;

	if (!q->irq || q->set->asleep)
		return false;
	/* its holder may be about to free the vectors, or wait for this work */
	if (!mutex_trylock(&q->set->pair_lock))
		return false;
	if (q->qid) {
		mask = pci_irq_get_affinity(to_pci_dev(dev->dev), q->vector);
		lost = mask && !cpumask_intersects(mask, cpu_online_mask);
	}
	mutex_unlock(&q->set->pair_lock);
	return lost;
}

static irqreturn_t nvme_pmap_irq(int irq, void *data)
{
	return nvme_pmap_process_cq_irq(data) ? IRQ_HANDLED : IRQ_NONE;
}

static int nvme_pmap_request_irq(struct nvme_pmap_queue *q)
{
	struct nvme_dev *dev = nvme_pmap_dev(q);
	int ret;

	lockdep_assert_held(&q->set->pair_lock);
	if (q->polled)
		return 0;
	/* shares the vector with nvme_irq(), as pci_request_irq() allows */
	ret = pci_request_irq(to_pci_dev(dev->dev), q->vector, nvme_pmap_irq,
			      NULL, q, "nvme%dp%d", dev->ctrl.instance, q->qid);
	q->irq = !ret;
	return ret;
}

static void nvme_pmap_free_irq(struct nvme_pmap_queue *q)
{
	lockdep_assert_held(&q->set->pair_lock);
	if (q->irq)
		pci_free_irq(to_pci_dev(nvme_pmap_dev(q)->dev), q->vector, q);
	q->irq = false;
}

/* Set the state of a pair that the controller is about to get. */
static void nvme_pmap_init_pair(struct nvme_pmap_queue *q, u16 qid)
{
	struct nvme_dev *dev = nvme_pmap_dev(q);
	u32 stride = dev->db_stride;

	/* a task whose batch was taken may still be about to end it */
	spin_lock(&q->sq_lock);
	q->sent = 0;
	q->rung = 0;
	q->batch.limit = 0;
	q->mask = q->set->depth - 1;
	q->sq_db = q->set->db + (sq_idx(qid, stride) << 2);
	q->sq_shadow = NULL;
	q->sq_event = NULL;
	spin_unlock(&q->sq_lock);

	q->aborts = false;
	nvme_pmap_lock_cq(q);
	/* the interrupt of a former user of the other kind has been freed */
	q->polls = q->polled;
	memset(q->cq, 0, q->set->depth * sizeof(*q->cq));
	q->done = 0;
	q->cq_head = 0;
	q->order = ilog2(q->set->depth);
	q->cq_db = q->set->db + (cq_idx(qid, stride) << 2);
	q->cq_shadow = NULL;
	q->cq_event = NULL;
	if (dev->dbbuf_dbs) {
		q->sq_shadow = &dev->dbbuf_dbs[sq_idx(qid, stride)];
		q->sq_event = &dev->dbbuf_eis[sq_idx(qid, stride)];
		q->cq_shadow = &dev->dbbuf_dbs[cq_idx(qid, stride)];
		q->cq_event = &dev->dbbuf_eis[cq_idx(qid, stride)];
		/* left by an earlier queue with this identifier */
		*q->sq_shadow = 0;
		*q->sq_event = 0;
		*q->cq_shadow = 0;
		*q->cq_event = 0;
	}
	nvme_pmap_unlock_cq(q);
}

/* An on-stack struct nvme_queue for the admin commands of pci.c. */
static struct nvme_queue
nvme_pmap_as_nvme_queue(const struct nvme_pmap_queue *q)
{
	struct nvme_queue hw = {
		.dev = nvme_pmap_dev(q),
		.sq_dma_addr = q->sq_dma,
		.cq_dma_addr = q->cq_dma,
		.q_depth = q->set->depth,
	};

	if (q->polled)
		__set_bit(NVMEQ_POLLED, &hw.flags);
	return hw;
}

static int nvme_pmap_create_pair(struct nvme_pmap_queue *q, u16 qid)
{
	struct nvme_dev *dev = nvme_pmap_dev(q);
	struct nvme_queue hw = nvme_pmap_as_nvme_queue(q);
	int ret;

	ret = adapter_alloc_cq(dev, qid, &hw, q->vector);
	if (ret)
		return ret;
	ret = adapter_alloc_sq(dev, qid, &hw);
	if (ret)
		adapter_delete_cq(dev, qid);
	return ret;
}

/*
 * The controller has the pair: let commands in, unless it has been disabled since the
 * set was at @resets.
 */
static int nvme_pmap_pair_go_live(struct nvme_pmap_queue *q, u16 qid,
				  unsigned int resets)
{
	int ret = -EAGAIN;

	mutex_lock(&q->set->pair_lock);
	if (resets != q->set->resets)
		goto unlock;
	q->qid = qid;
	ret = nvme_pmap_request_irq(q);
	if (ret) {
		q->qid = 0;
		goto unlock;
	}
	spin_lock(&q->sq_lock);
	q->live = true;
	spin_unlock(&q->sq_lock);
unlock:
	mutex_unlock(&q->set->pair_lock);
	return ret;
}

/* Does the pair interrupt the right CPU?  With commands in flight, any will do. */
static bool nvme_pmap_vector_fits(struct nvme_pmap_queue *q)
{
	return q->polled || nvme_pmap_queue_busy(q) ||
	       q->vector == nvme_pmap_pick_vector(nvme_pmap_dev(q), q->cpu);
}

/*
 * Go live again, if the pair is still there: after a detach that was given up, or for
 * another user of the same kind and CPU.
 */
static bool nvme_pmap_pair_resume(struct nvme_pmap_queue *q)
{
	bool live;

	/* only set under the set lock; a suspend may hold pair_lock for long */
	if (!READ_ONCE(q->qid))
		return false;
	mutex_lock(&q->set->pair_lock);
	live = q->qid && q->irq != q->polled && nvme_pmap_vector_fits(q);
	if (live) {
		spin_lock(&q->sq_lock);
		q->live = true;
		spin_unlock(&q->sq_lock);
	}
	mutex_unlock(&q->set->pair_lock);
	return live;
}

static int nvme_pmap_create_queue(struct nvme_pmap_queue *q,
				  unsigned int resets)
{
	struct nvme_dev *dev = nvme_pmap_dev(q);
	u16 qid = nvme_pmap_pick_qid(q->set);
	int ret;

	if (!qid)
		return -EUSERS;
	q->vector = q->polled ? 0 : nvme_pmap_pick_vector(dev, q->cpu);
	nvme_pmap_init_pair(q, qid);
	ret = nvme_pmap_create_pair(q, qid);
	if (ret)
		return ret;
	ret = nvme_pmap_pair_go_live(q, qid, resets);
	if (!ret)
		return 0;
	/* in case the controller still has it */
	adapter_delete_sq(dev, qid);
	adapter_delete_cq(dev, qid);
	return ret;
}

/*
 * Has the controller been disabled since @resets?  Waits for a disable that has begun:
 * until its end the controller may use the pair.
 */
static bool nvme_pmap_was_disabled(struct nvme_pmap_queue *q,
				   unsigned int resets)
{
	bool was;

	mutex_lock(&q->set->pair_lock);
	was = resets != q->set->resets;
	mutex_unlock(&q->set->pair_lock);
	return was;
}

/* See struct nvme_pmap_queue_ops. */
static int nvme_pmap_pci_down(struct nvme_pmap_queue *q)
{
	struct nvme_dev *dev = nvme_pmap_dev(q);
	unsigned int resets;
	int ret;
	u16 qid;

	lockdep_assert_held(&q->set->lock);
	/* the Abort must not hit a command of the next queue with this identifier */
	if (q->set->asleep ||
	    (q->aborts && nvme_pmap_abort_out(dev, READ_ONCE(q->qid))))
		return -EAGAIN;
	mutex_lock(&q->set->pair_lock);
	qid = q->qid;
	resets = q->set->resets;
	q->set->life = resets;
	nvme_pmap_queue_stop(q);
	if (qid)
		nvme_pmap_free_irq(q);
	q->qid = 0;
	mutex_unlock(&q->set->pair_lock);
	if (!qid)
		return q->delete_failed == resets + 1 ? -EIO : 0;

	ret = adapter_delete_sq(dev, qid);
	if (!ret)
		ret = adapter_delete_cq(dev, qid);
	if (!ret || nvme_pmap_was_disabled(q, resets))
		return 0;
	q->delete_failed = resets + 1;
	dev_warn_ratelimited(dev->ctrl.device,
			     "pmap: the controller does not delete queue %u: %d; reset\n",
			     qid, ret);
	nvme_reset_ctrl(&dev->ctrl);
	return ret;
}

/* See struct nvme_pmap_queue_ops. */
static int nvme_pmap_pci_up(struct nvme_pmap_queue *q)
{
	struct nvme_pmap_queues *set = q->set;
	struct nvme_dev *dev = nvme_pmap_dev(q);
	unsigned int resets = READ_ONCE(set->resets);
	int ret;

	lockdep_assert_held(&set->lock);
	set->life = resets;
	if (nvme_pmap_pair_resume(q))
		return 0;
	if (nvme_state_terminal(&dev->ctrl))
		return -ENODEV;
	if (set->asleep || nvme_ctrl_state(&dev->ctrl) != NVME_CTRL_LIVE)
		return -EAGAIN;
	/* a former user's pair of the other kind, or one that is not deleted yet */
	if (nvme_pmap_pci_down(q))
		return -EAGAIN;
	if (!__ratelimit(&set->creations))
		return -EAGAIN;
	ret = nvme_pmap_create_queue(q, resets);
	if (!ret)
		q->create_failed = 0;
	if (!ret || ret == -EUSERS)
		return ret;
	if (ret == -EAGAIN || resets != READ_ONCE(set->resets))
		return -EAGAIN;
	dev_warn_ratelimited(dev->ctrl.device,
			     "pmap: the controller refused a passthrough queue: %d\n",
			     ret);
	if (ret < 0)
		return ret;
	q->create_failed = resets + 1;
	return -EIO;
}

/*
 * Delete an SQ or CQ with an entry of dev->queues, which nvme_delete_queue() needs.
 * blk-mq's entries end before the first of ours.
 *
 * Return: jiffies that are left of @timeout, or 0: the controller does not answer.
 */
static long nvme_pmap_delete(struct nvme_dev *dev, u16 qid, u8 opcode,
			     long timeout)
{
	struct nvme_queue *hw = &dev->queues[qid];

	hw->dev = dev;
	hw->qid = qid;
	if (nvme_delete_queue(hw, opcode))
		return 0;
	return wait_for_completion_io_timeout(&hw->delete_done, timeout);
}

/* After the deletion of its SQ, all completions of the queue are in its CQ. */
static long nvme_pmap_delete_pair(struct nvme_pmap_queue *q, long timeout)
{
	struct nvme_dev *dev = nvme_pmap_dev(q);

	timeout = nvme_pmap_delete(dev, q->qid, nvme_admin_delete_sq, timeout);
	if (!timeout)
		return 0;
	nvme_pmap_process_cq(q);
	return nvme_pmap_delete(dev, q->qid, nvme_admin_delete_cq, timeout);
}

/*
 * Delete the queues in order, as pci.c does with blk-mq's: a controller must have none
 * when it is shut down, and nothing defines how it treats the commands of a queue that
 * just vanishes.  If it does not answer, the disable makes it forget the queues, and
 * the delete command ends with the admin queue, before this can be called again.
 * Queues with commands in flight come last: such a command may be the reason for the
 * disable.
 */
static void nvme_pmap_delete_pairs(struct nvme_pmap_queues *set)
{
	unsigned long deleted[BITS_TO_LONGS(PMAP_MAX_QUEUES)] = {};
	long left = PMAP_DELETE_TIMEOUT;
	unsigned int i, busy;

	for (busy = 0; busy < 2; busy++)
		for (i = 0; i < set->nr && left; i++) {
			struct nvme_pmap_queue *q = &set->queue[i];

			if (!q->qid || test_bit(i, deleted) ||
			    (!busy && nvme_pmap_queue_busy(q)))
				continue;
			__set_bit(i, deleted);
			left = nvme_pmap_delete_pair(q, left);
		}
}

static void nvme_pmap_pci_kick(struct nvme_pmap_queues *set)
{
	queue_delayed_work(nvme_wq, &set->work, PMAP_WORK_SOON);
}
