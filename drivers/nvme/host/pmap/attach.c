// SPDX-License-Identifier: GPL-2.0
/*
 * Which file uses which passthrough queue: attach, detach, sharing, and the memory of
 * queues in use.
 */
#include <linux/cred.h>
#include <linux/dma-mapping.h>
#include <linux/file.h>
#include <linux/ratelimit.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "nvme.h"
#include "batch.h"
#include "ctrl.h"
#include "file.h"
#include "queue.h"

static unsigned int pmap_queue_linger_ms = 1000;
module_param(pmap_queue_linger_ms, uint, 0644);
MODULE_PARM_DESC(pmap_queue_linger_ms,
		 "ms to keep an unused passthrough queue for its next user");

static size_t nvme_pmap_sq_bytes(const struct nvme_pmap_queues *set)
{
	return set->depth * sizeof(struct nvme_command);
}

static size_t nvme_pmap_cq_bytes(const struct nvme_pmap_queues *set)
{
	return set->depth * sizeof(struct nvme_completion);
}

/*
 * Clear the CQ pointer: a task that still processes the CQ holds the lock, the next one
 * sees NULL.
 */
static void nvme_pmap_queue_hide_cq(struct nvme_pmap_queue *q)
{
	nvme_pmap_lock_cq(q);
	WRITE_ONCE(q->cq, NULL);
	nvme_pmap_unlock_cq(q);
}

/*
 * Free the memory a grace period after nvme_pmap_queue_hide_cq(), for
 * nvme_pmap_cqe_pending().  Idempotent.
 */
static void nvme_pmap_queue_free_hidden(struct nvme_pmap_queue *q)
{
	struct nvme_pmap_queues *set = q->set;

	if (q->cq_memory)
		dma_free_coherent(set->dma, nvme_pmap_cq_bytes(set),
				  q->cq_memory, q->cq_dma);
	q->cq_memory = NULL;
	if (q->sq)
		dma_free_coherent(set->dma, nvme_pmap_sq_bytes(set), q->sq,
				  q->sq_dma);
	q->sq = NULL;
	kvfree(q->slot);
	q->slot = NULL;
}

/* Free the memory of a queue that neither a file nor the controller uses. */
static void nvme_pmap_queue_free_memory(struct nvme_pmap_queue *q)
{
	nvme_pmap_queue_hide_cq(q);
	synchronize_rcu();
	nvme_pmap_queue_free_hidden(q);
}

/*
 * Number the slots.  An Abort for a command of the last queue with this QID may still be under
 * way: no identifier that it can name is used again soon.
 */
static void nvme_pmap_number_slots(struct nvme_pmap_queue *q)
{
	u32 i, mask = q->set->depth - 1;
	u16 first = q->set->generation++ * PMAP_NEXT_CID(mask);

	lockdep_assert_held(&q->set->lock);
	for (i = 0; i <= mask; i++)
		q->slot[i].cid = first + i;
}

static int nvme_pmap_queue_alloc_memory(struct nvme_pmap_queue *q)
{
	struct nvme_pmap_queues *set = q->set;

	/* the memory of the previous user is still allocated */
	if (q->cq)
		return 0;
	q->slot = kvcalloc(set->depth, sizeof(*q->slot),
			   GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	q->sq = dma_alloc_coherent(set->dma, nvme_pmap_sq_bytes(set),
				   &q->sq_dma, GFP_KERNEL | __GFP_NOWARN);
	q->cq_memory = dma_alloc_coherent(set->dma, nvme_pmap_cq_bytes(set),
					  &q->cq_dma,
					  GFP_KERNEL | __GFP_NOWARN);
	nvme_pmap_lock_cq(q);
	WRITE_ONCE(q->cq, q->cq_memory);
	/* zeroed entries are no new ones in the first round; the queue may stay down */
	q->cq_head = 0;
	nvme_pmap_unlock_cq(q);
	if (q->slot && q->sq && q->cq_memory) {
		nvme_pmap_number_slots(q);
		return 0;
	}
	nvme_pmap_queue_free_memory(q);
	return -ENOMEM;
}

/*
 * Take the set lock, and allocate without I/O: a reset waits for the lock, and memory
 * may be swapped to its device.
 */
static int nvme_pmap_queues_lock(struct nvme_pmap_queues *set,
				 unsigned int *noio)
{
	if (mutex_lock_killable(&set->lock))
		return -EINTR;
	*noio = memalloc_noio_save();
	return 0;
}

static void nvme_pmap_queues_unlock(struct nvme_pmap_queues *set,
				    unsigned int noio)
{
	memalloc_noio_restore(noio);
	mutex_unlock(&set->lock);
}

static unsigned int nvme_pmap_queues_used(const struct nvme_pmap_queues *set)
{
	unsigned int i, used = 0;

	lockdep_assert_held(&set->lock);
	for (i = 0; i < set->nr; i++)
		used += !!set->queue[i].users;
	return used;
}

static u16 nvme_pmap_qid(const struct nvme_pmap_queue *q)
{
	return q ? READ_ONCE(q->qid) : 0;
}

/**
 * nvme_pmap_queues_available - count the queues that files could attach now
 * @set: the controller's queues, or NULL
 * @pf: a file's state, or NULL
 * @irq: (out) identifier of the file's queue for rings that do not poll, or 0
 * @polled: (out) identifier of the file's queue for rings that poll, or 0
 *
 * Return: their number, or -EINTR.
 */
int nvme_pmap_queues_available(struct nvme_pmap_queues *set,
			       const struct nvme_pmap_file *pf, u16 *irq,
			       u16 *polled)
{
	int left = 0;

	*irq = *polled = 0;
	if (!set)
		return 0;
	if (mutex_lock_killable(&set->lock))
		return -EINTR;
	if (!set->dead)
		left = (int)set->granted - (int)nvme_pmap_queues_used(set);
	if (pf) {
		*irq = nvme_pmap_qid(pf->queue[PMAP_QUEUE_IRQ]);
		*polled = nvme_pmap_qid(pf->queue[PMAP_QUEUE_POLLED]);
	}
	mutex_unlock(&set->lock);
	return max(left, 0);
}

/*
 * How good is the queue for a new user?  Zero: not at all.  Best is a former user's
 * pair of the same kind and CPU, which only has to go live again; then a new pair; then
 * a pair of another CPU or kind, which may have to be deleted first.
 */
static unsigned int nvme_pmap_queue_rank(const struct nvme_pmap_queue *q,
					 bool polled, unsigned int cpu,
					 bool more)
{
	/* in use, or a task still has its batch, or the controller may have the pair */
	if (q->users || READ_ONCE(q->batch.state) != PMAP_BATCH_IDLE ||
	    q->delete_failed == READ_ONCE(q->set->resets) + 1)
		return 0;
	if (!READ_ONCE(q->qid))
		return more ? 3 : 0;
	if (READ_ONCE(q->irq) != polled)
		return polled || q->cpu == cpu ? 4 : 2;
	return 1;
}

static struct nvme_pmap_queue *
nvme_pmap_choose_queue(struct nvme_pmap_queues *set, bool polled,
		       unsigned int cpu)
{
	struct nvme_pmap_queue *best = NULL;
	unsigned int i, rank, top = 0, pairs = 0;

	if (nvme_pmap_queues_used(set) >= set->granted)
		return NULL;
	for (i = 0; i < set->nr; i++)
		pairs += set->queue[i].users || READ_ONCE(set->queue[i].qid);
	for (i = 0; i < set->nr; i++) {
		rank = nvme_pmap_queue_rank(&set->queue[i], polled, cpu,
					    pairs < set->granted);
		if (rank <= top)
			continue;
		top = rank;
		best = &set->queue[i];
	}
	return best;
}

/**
 * nvme_pmap_queue_free_if_idle - delete a queue that has had no user for a while
 * @q: the queue, without users; the caller holds the set lock
 *
 * Return: jiffies until the next try, or MAX_JIFFY_OFFSET: the queue is deleted.
 */
unsigned long nvme_pmap_queue_free_if_idle(struct nvme_pmap_queue *q)
{
	unsigned long linger =
		msecs_to_jiffies(min(READ_ONCE(pmap_queue_linger_ms), 60000u));

	lockdep_assert_held(&q->set->lock);
	if (!q->cq)
		return MAX_JIFFY_OFFSET;
	if (time_before(jiffies, q->idle + linger))
		return q->idle + linger - jiffies;
	/* if the controller refuses, the queue stays until the next reset */
	if (q->set->ops->down(q))
		return HZ;
	nvme_pmap_queue_free_memory(q);
	return MAX_JIFFY_OFFSET;
}
EXPORT_SYMBOL_GPL(nvme_pmap_queue_free_if_idle);

/*
 * The last user has left, or the first one failed to attach.  The pair is kept for a
 * while, so that a program that attaches and detaches in a loop does not create and
 * delete queues.
 */
static void nvme_pmap_queue_last_user(struct nvme_pmap_queue *q)
{
	lockdep_assert_held(&q->set->lock);
	q->users = 0;
	q->idle = jiffies;
	if (!q->set->dead &&
	    nvme_pmap_queue_free_if_idle(q) != MAX_JIFFY_OFFSET)
		q->set->ops->kick(q->set);
}

/* Choose a queue and attach its first user. */
static struct nvme_pmap_queue *
nvme_pmap_queue_first_user(struct nvme_pmap_queues *set,
			   const struct nvme_pmap_attach *att)
{
	unsigned int cpu = att->flags & NVME_PMAP_QUEUE_CPU ?
				   att->cpu :
				   raw_smp_processor_id();
	bool polled = att->flags & NVME_PMAP_QUEUE_POLLED;
	struct nvme_pmap_queue *q = nvme_pmap_choose_queue(set, polled, cpu);
	int ret;

	if (!q)
		return ERR_PTR(-EUSERS);
	ret = nvme_pmap_queue_alloc_memory(q);
	if (ret)
		return ERR_PTR(ret);
	q->polled = polled;
	q->cpu = cpu;
	q->users = 1;
	q->create_failed = 0;
	ret = set->ops->up(q);
	/* during a reset: the queue comes up later, until then blk-mq serves */
	if (!ret || ret == -EAGAIN) {
		set->ops->kick(set);
		return q;
	}
	nvme_pmap_queue_last_user(q);
	return ERR_PTR(ret);
}

/* Attach to the queue of the file @fd, which must be of the same controller. */
static struct nvme_pmap_queue *
nvme_pmap_queue_next_user(struct nvme_pmap_queues *set, struct file *file,
			  int fd, enum nvme_pmap_queue_kind kind)
{
	struct nvme_pmap_queue *q = ERR_PTR(-EBADF);
	struct file *other = fget(fd);
	struct nvme_pmap_file *pf;

	if (!other)
		return q;
	if (other->f_op != file->f_op)
		goto put;
	pf = nvme_pmap_file(other);
	/* the set lock is held: pf->queue does not change */
	if (!pf || pf->pc->queues != set || !pf->queue[kind])
		goto put;
	q = pf->queue[kind];
	if (q->draining)
		q = ERR_PTR(-EBADF);
	else
		q->users++;
put:
	fput(other);
	return q;
}

static int nvme_pmap_attach_locked(struct nvme_pmap_queues *set,
				   struct file *file, struct nvme_pmap_file *pf,
				   const struct nvme_pmap_attach *att,
				   bool by_door)
{
	enum nvme_pmap_queue_kind kind =
		nvme_pmap_queue_kind(att->flags & NVME_PMAP_QUEUE_POLLED);
	struct nvme_pmap_queue *q;

	if (set->dead)
		return -ENODEV;
	if (pf->queue[kind])
		return -EALREADY;
	if (att->flags & NVME_PMAP_QUEUE_SHARE)
		q = nvme_pmap_queue_next_user(set, file, att->fd, kind);
	else
		q = nvme_pmap_queue_first_user(set, att);
	if (IS_ERR(q))
		return PTR_ERR(q);
	pf->had_queue = true;
	WRITE_ONCE(pf->by_door[kind], by_door);
	WRITE_ONCE(pf->queue[kind], q);
	return 0;
}

/**
 * nvme_pmap_attach - NVME_PMAP_IOC_ATTACH
 * @file: the open /dev/ngXnY
 * @pf: its state
 * @att: the argument, checked
 * @by_door: the caller is the auto door, not the program
 *
 * Return: 0, or an errno that linux/nvme_pmap.h lists.
 */
int nvme_pmap_attach(struct file *file, struct nvme_pmap_file *pf,
		     const struct nvme_pmap_attach *att, bool by_door)
{
	struct nvme_pmap_queues *set = pf->pc->queues;
	unsigned int noio;
	int ret;

	if (!set)
		return -EUSERS;
	ret = nvme_pmap_queues_lock(set, &noio);
	if (ret)
		return ret;
	ret = nvme_pmap_attach_locked(set, file, pf, att, by_door);
	nvme_pmap_queues_unlock(set, noio);
	return ret;
}

/*
 * Wait for the commands in flight; those of IOPOLL rings end only when a task polls.
 * Not under the set lock: the queues' work takes it to end a command that hangs.
 */
static int nvme_pmap_queue_drain(struct nvme_pmap_queue *q, bool interruptible)
{
	while (nvme_pmap_queue_busy(q)) {
		nvme_pmap_process_cq(q);
		if (!nvme_pmap_queue_busy(q))
			break;
		if (interruptible && signal_pending(current))
			return -ERESTARTSYS;
		schedule_timeout_uninterruptible(1);
	}
	return 0;
}

/* Forget stock's answer for a caller: it was about a file that leaves the queue. */
static void nvme_pmap_queue_drop_cred(struct nvme_pmap_queue *q)
{
	const struct cred *cred;

	spin_lock(&q->sq_lock);
	cred = q->batch.cred;
	WRITE_ONCE(q->batch.cred, NULL);
	q->batch.asked_for = NULL;
	spin_unlock(&q->sq_lock);
	if (cred)
		put_cred(cred);
}

static int nvme_pmap_detach_last(struct nvme_pmap_file *pf,
				 struct nvme_pmap_queue *q, bool interruptible)
{
	struct nvme_pmap_queues *set = q->set;
	int ret;

	q->draining = true;
	nvme_pmap_queue_stop(q);
	mutex_unlock(&set->lock);
	ret = nvme_pmap_queue_drain(q, interruptible);
	mutex_lock(&set->lock);
	q->draining = false;
	if (ret) {
		/* still attached: live again, unless a reset came */
		if (!set->dead)
			set->ops->up(q);
		return ret;
	}
	WRITE_ONCE(pf->queue[nvme_pmap_queue_kind(q->polled)], NULL);
	nvme_pmap_queue_drop_cred(q);
	nvme_pmap_queue_last_user(q);
	return 0;
}

static int nvme_pmap_detach_locked(struct nvme_pmap_file *pf,
				   enum nvme_pmap_queue_kind kind,
				   bool interruptible)
{
	struct nvme_pmap_queue *q = pf->queue[kind];

	if (!q)
		return -ENOTCONN;
	if (q->draining)
		return -EALREADY;
	if (q->users == 1)
		return nvme_pmap_detach_last(pf, q, interruptible);
	q->users--;
	WRITE_ONCE(pf->queue[kind], NULL);
	nvme_pmap_queue_drop_cred(q);
	return 0;
}

/**
 * nvme_pmap_detach - NVME_PMAP_IOC_DETACH
 * @pf: the file's state, or NULL
 * @kind: which of its queues
 * @by_door: the caller is the auto door: detach only a queue that it attached
 *
 * Return: 0; -ENOTCONN; -EALREADY: another thread is detaching it; -ERESTARTSYS.
 */
int nvme_pmap_detach(struct nvme_pmap_file *pf, enum nvme_pmap_queue_kind kind,
		     bool by_door)
{
	struct nvme_pmap_queues *set = pf ? pf->pc->queues : NULL;
	unsigned int noio;
	int ret;

	if (!set)
		return -ENOTCONN;
	ret = nvme_pmap_queues_lock(set, &noio);
	if (ret)
		return ret;
	if (by_door && !pf->by_door[kind])
		ret = -ENOTCONN;
	else
		ret = nvme_pmap_detach_locked(pf, kind, true);
	if (!ret)
		WRITE_ONCE(pf->by_door[kind], false);
	nvme_pmap_queues_unlock(set, noio);
	return ret;
}

/*
 * A task that has handed over the last commands of a file still puts their references
 * afterwards, under the CQ lock.  Wait for it, on any queue that the file may have had.
 */
static void nvme_pmap_queues_sync_cq(struct nvme_pmap_queues *set)
{
	unsigned int i;

	for (i = 0; i < set->nr; i++) {
		nvme_pmap_lock_cq(&set->queue[i]);
		nvme_pmap_unlock_cq(&set->queue[i]);
	}
}

/**
 * nvme_pmap_detach_all - detach the queues of a file that is closed
 * @pf: the file's state; none of its commands is in flight
 */
void nvme_pmap_detach_all(struct nvme_pmap_file *pf)
{
	struct nvme_pmap_queues *set = pf->pc->queues;

	if (!pf->had_queue)
		return;
	mutex_lock(&set->lock);
	nvme_pmap_detach_locked(pf, PMAP_QUEUE_IRQ, false);
	nvme_pmap_detach_locked(pf, PMAP_QUEUE_POLLED, false);
	mutex_unlock(&set->lock);
	nvme_pmap_queues_sync_cq(set);
}

/**
 * nvme_pmap_queues_alloc - allocate the queue objects of a new controller
 * @ops: the functions of pci.c
 * @dev: struct nvme_dev, for @ops
 * @dma: the device that does the DMA
 * @nr: most queues
 *
 * Return: the set, or NULL: the controller then works without queues.
 */
struct nvme_pmap_queues *
nvme_pmap_queues_alloc(const struct nvme_pmap_queue_ops *ops, void *dev,
		       struct device *dma, unsigned int nr)
{
	struct nvme_pmap_queues *set;
	unsigned int i;

	set = kvzalloc_node(struct_size(set, queue, nr),
			    GFP_KERNEL | __GFP_NOWARN, dev_to_node(dma));
	if (!set)
		return NULL;
	set->nr = nr;
	set->ops = ops;
	set->dev = dev;
	set->dma = dma;
	mutex_init(&set->lock);
	mutex_init(&set->pair_lock);
	/* all queues twice a second: files come and go, and controllers reset */
	ratelimit_state_init(&set->creations, HZ, 2 * nr);
	ratelimit_set_flags(&set->creations, RATELIMIT_MSG_ON_RELEASE);
	for (i = 0; i < nr; i++) {
		set->queue[i].set = set;
		set->queue[i].index = i;
		nvme_pmap_batch_init(&set->queue[i].batch);
		spin_lock_init(&set->queue[i].sq_lock);
		spin_lock_init(&set->queue[i].poll_lock);
		spin_lock_init(&set->queue[i].cq_lock);
	}
	return set;
}
EXPORT_SYMBOL_GPL(nvme_pmap_queues_alloc);

/**
 * nvme_pmap_queues_kill - end the queues of a controller that is gone for good
 * @set: its queues; the controller is disabled, and every command has ended
 *
 * Files may still point at the queues; they find no CQ there.
 */
void nvme_pmap_queues_kill(struct nvme_pmap_queues *set)
{
	unsigned int i;

	mutex_lock(&set->lock);
	set->dead = true;
	for (i = 0; i < set->nr; i++)
		nvme_pmap_queue_hide_cq(&set->queue[i]);
	/* one grace period for all of them */
	synchronize_rcu();
	for (i = 0; i < set->nr; i++)
		nvme_pmap_queue_free_hidden(&set->queue[i]);
	mutex_unlock(&set->lock);
}
EXPORT_SYMBOL_GPL(nvme_pmap_queues_kill);
