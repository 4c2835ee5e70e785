/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Passthrough queues: SQ/CQ pairs for pmap commands only, outside blk-mq.
 *
 * The files:
 *	pci-main.c     (end of pci.c) begins and ends the queues of a controller
 *	pci-count.c    (end of pci.c) how many queues the controller is asked for
 *	pci-admin.c    (end of pci.c) admin commands about queues
 *	pci-pair.c     (end of pci.c) the pair itself: queue IDs, interrupts, the effect of
 *		       a reset
 *	pci-timeout.c  (end of pci.c) time-outs
 *	pci-work.c     (end of pci.c) the queues' work, which brings pairs up again
 *	attach.c       attach, detach, sharing, memory
 *	batch.c        the owner of the SQ, the doorbell
 *	sq.c           submission: a command into the SQ
 *	cq.c           completion: entries out of the CQ, to their rings
 *
 * Lifetimes.  The queue objects are allocated and freed with the controller's
 * nvme_pmap_ctrl: a pointer to one is never stale.  Their memory is allocated for the
 * first user and freed some time after the last.  A command in flight holds its file
 * (so the queue keeps a user), its buffer, and the namespace's q_usage_counter, as a
 * request does: freeze, format, removal and suspend wait for it.
 *
 * Locks: docs/architecture.md has the order of all, and the rules of each.
 */
#ifndef _NVME_PMAP_QUEUE_H
#define _NVME_PMAP_QUEUE_H

#include <linux/blkdev.h>
#include <linux/io.h>
#include <linux/mutex.h>
#include <linux/nvme.h>
#include <linux/ratelimit_types.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/workqueue.h>

#include "batch.h"
#include "file.h"

struct device;
struct io_uring_cmd;
struct nvme_pmap_attach;
struct nvme_pmap_file;
struct nvme_pmap_queue;
struct nvme_pmap_queues;

/* The longest time-out, in jiffies: a quarter of the range of a u32 deadline. */
#define PMAP_MAX_TIMEOUT ((u32)BIT(30))

/**
 * struct nvme_pmap_slot - a place for a command in flight on a queue
 * @ioucmd: the command in flight; NULL: the slot is free
 * @deadline: time at which the command times out: the low 32 bits of jiffies, with
 *	PMAP_ABORTED as bit 0
 * @cid: identifier of the command, or of the next one.  The low bits are the number of
 *	the slot.  The high bits are a generation, which changes when the command ends:
 *	a duplicate completion or a late Abort then hits no other command.
 */
struct nvme_pmap_slot {
	struct io_uring_cmd *ioucmd;
	u32 deadline;
	u16 cid;
};

/* In a deadline: nvme_timeout() has tried to abort the command. */
#define PMAP_ABORTED 1u

/*
 * Step of a slot's generation.  Its lowest bit stays zero, so that no command has the
 * identifier FFFFh.
 */
#define PMAP_NEXT_CID(mask) (2 * ((mask) + 1))

/**
 * struct nvme_pmap_queue - an SQ/CQ pair
 * @slot: slots, by the low bits of the command identifier.  Submission and completion
 *	read @slot to @order; neither writes them.
 * @cq: the CQ, or NULL without memory (@poll_lock and @cq_lock to write).  To read it
 *	without a lock, enter an RCU read-side critical section: the memory is freed a
 *	grace period after the pointer is cleared.
 * @mask: entries of the SQ, of the CQ, and slots, less one
 * @index: index in nvme_pmap_queues.queue
 * @polled: the users are IOPOLL rings: no interrupt
 * @order: log2 of the entries; this bit of @cq_head gives the phase tag
 * @sq_lock: guards @live to @sq_event, while @batch is idle or the plug is the
 *	holder's own; process context only
 * @live: the controller has the pair, and submissions may use it
 * @sent: commands written to the SQ, free running; modulo the entries, the tail
 * @rung: @sent as last written to the doorbell
 * @sq: the SQ
 * @batch: the batch that owns the SQ
 * @slow_plug: plug of a batch that a task waited for in vain, or NULL
 * @cb: plug callback that ends the batch
 * @sq_db: tail doorbell of the SQ
 * @sq_shadow: shadow of @sq_db, or NULL
 * @sq_event: write @sq_db when the tail passes this value
 * @poll_lock: with @cq_lock, guards @polls to @seen.  A poll takes only this lock, and
 *	leaves interrupts on.
 * @cq_lock: see @poll_lock.  An interrupt takes only this lock.
 * @polls: the pair has no interrupt, so polls may process the CQ
 * @cq_db: head doorbell of the CQ
 * @cq_shadow: shadow of @cq_db, or NULL
 * @cq_event: write @cq_db when the head passes this value
 * @cq_head: next entry of the CQ, free running
 * @done: commands completed, free running (@poll_lock or @cq_lock to write).  It may
 *	briefly read low while the CQ is processed.
 * @seen: @done when @work of the set last looked
 * @set: the queues of the controller
 * @users: files that have the queue attached (set lock)
 * @idle: jiffies at which the last user left (set lock)
 * @draining: a detach waits for the commands in flight (set lock)
 * @irq: the pair has an interrupt.  It may disagree with @polled if the pair is a
 *	former user's (pair_lock).
 * @qid: queue identifier, or 0 without a pair (set lock to set, pair_lock to clear)
 * @vector: interrupt vector
 * @cpu: CPU of the task that attached the queue, or the CPU that it named
 * @stuck: @rung when @work of the set last looked
 * @aborts: Aborts may have been sent for commands of this pair
 * @create_failed: nvme_pmap_queues.resets plus one when the controller refused to
 *	create the pair
 * @delete_failed: nvme_pmap_queues.resets plus one when the controller refused to
 *	delete the pair
 * @cq_memory: memory of the CQ, also after @cq has been cleared
 * @sq_dma: DMA address of @sq
 * @cq_dma: DMA address of @cq
 */
struct nvme_pmap_queue {
	struct nvme_pmap_slot *slot ____cacheline_aligned_in_smp;
	struct nvme_completion *cq;
	u32 mask;
	u16 index;
	bool polled;
	u8 order;

	spinlock_t sq_lock ____cacheline_aligned_in_smp;
	bool live;
	u32 sent;
	u32 rung;
	struct nvme_command *sq;
	struct nvme_pmap_batch batch;
	const struct blk_plug *slow_plug;
	struct blk_plug_cb cb;
	void __iomem *sq_db;
	__le32 *sq_shadow;
	__le32 *sq_event;

	spinlock_t poll_lock ____cacheline_aligned_in_smp;
	spinlock_t cq_lock; /* taken after poll_lock */
	bool polls;
	void __iomem *cq_db;
	__le32 *cq_shadow;
	__le32 *cq_event;
	u32 cq_head;
	u32 done;
	u32 seen;

	struct nvme_pmap_queues *set ____cacheline_aligned_in_smp;
	unsigned int users;
	unsigned long idle;
	bool draining;
	bool irq;
	u16 qid;
	u16 vector;
	unsigned int cpu;
	u32 stuck;
	bool aborts;
	unsigned int create_failed;
	unsigned int delete_failed;
	struct nvme_completion *cq_memory;
	dma_addr_t sq_dma;
	dma_addr_t cq_dma;
};

/**
 * struct nvme_pmap_queue_ops - the functions of pci.c that attach.c calls
 * @up: create the pair; set lock held.  Return 0, -EAGAIN: not now (a reset, a suspend,
 *	too many creations), -EUSERS: no queue ID is left, -EIO: the controller refused,
 *	or another negative errno.
 * @down: delete the pair, if there is one; set lock held, the queue idle.  Return 0,
 *	-EAGAIN: not now, or another error or NVMe status: not before the next reset.
 * @kick: run the work of the queues soon
 */
struct nvme_pmap_queue_ops {
	int (*up)(struct nvme_pmap_queue *q);
	int (*down)(struct nvme_pmap_queue *q);
	void (*kick)(struct nvme_pmap_queues *set);
};

/**
 * struct nvme_pmap_queues - the passthrough queues of a controller
 * @lock: serialises admin commands about queues, except those by which
 *	nvme_dev_disable() deletes queues; allocations under it are NOIO
 * @pair_lock: guards the pairs that the controller has; a disable holds it
 * @dead: the controller is being removed (@lock)
 * @asleep: the system is going to sleep: send no admin command, since a controller that
 *	looks live may be in a low-power state (@lock)
 * @nr: objects in @queue
 * @granted: queues that the controller has to spare, at most @nr
 * @base: queue ID of the first one
 * @resets: how often the controller has been disabled (@pair_lock to write)
 * @life: @resets when the present admin commands were decided on (@lock)
 * @depth: entries of a queue
 * @creations: rate limit for creating pairs
 * @generation: first command identifier generation of the next queue (@lock)
 * @ops: functions of pci.c
 * @dev: struct nvme_dev, for pci.c
 * @dma: device that does the DMA
 * @db: mapped doorbell registers, for pci.c
 * @work: brings queues up after a reset, and checks for time-outs
 * @queue: the queue objects
 */
struct nvme_pmap_queues {
	struct mutex lock;	/* serialises admin commands about queues */
	struct mutex pair_lock; /* guards the pairs and @resets */
	bool dead;
	bool asleep;
	unsigned int nr;
	unsigned int granted;
	u16 base;
	unsigned int resets;
	unsigned int life;
	unsigned int depth;
	struct ratelimit_state creations;
	unsigned int generation;
	const struct nvme_pmap_queue_ops *ops;
	void *dev;
	struct device *dma;
	void __iomem *db;
	struct delayed_work work;
	struct nvme_pmap_queue queue[] __counted_by(nr);
};

/**
 * nvme_pmap_shadow - write a shadow doorbell
 * @shadow: the shadow doorbell, or NULL where the controller has none
 * @event: the controller's EventIdx of that doorbell
 * @value: the new head or tail
 *
 * Return: whether the doorbell register must be written as well.
 */
static inline bool nvme_pmap_shadow(__le32 *shadow, const __le32 *event,
				    u16 value)
{
	u16 old, at;

	if (!shadow)
		return true;
	/* the queue's entries before the shadow that covers them */
	wmb();
	old = le32_to_cpu(READ_ONCE(*shadow));
	WRITE_ONCE(*shadow, cpu_to_le32(value));
	/*
	 * the new shadow before the event: the controller writes the event, then reads
	 * the shadow
	 */
	mb();
	at = le32_to_cpu(READ_ONCE(*event));
	return (u16)(value - at - 1) < (u16)(value - old);
}

static __always_inline bool nvme_pmap_slot_free(struct nvme_pmap_slot *slot)
{
	/*
	 * before the load of @cid; pairs with the release in nvme_pmap_release_slot()
	 */
	return !smp_load_acquire(&slot->ioucmd);
}

/* For callers other than polls and interrupts: keeps both away from the CQ. */
static inline void nvme_pmap_lock_cq(struct nvme_pmap_queue *q)
{
	spin_lock(&q->poll_lock);
	spin_lock_irq(&q->cq_lock);
}

static inline void nvme_pmap_unlock_cq(struct nvme_pmap_queue *q)
{
	spin_unlock_irq(&q->cq_lock);
	spin_unlock(&q->poll_lock);
}

/* Commands in flight; without sq_lock and a CQ lock, only a hint. */
static inline u32 nvme_pmap_queue_busy(struct nvme_pmap_queue *q)
{
	return READ_ONCE(q->sent) - READ_ONCE(q->done);
}

/* attach.c */
struct nvme_pmap_queues *
nvme_pmap_queues_alloc(const struct nvme_pmap_queue_ops *ops, void *dev,
		       struct device *dma, unsigned int nr);
void nvme_pmap_queues_kill(struct nvme_pmap_queues *set);
unsigned long nvme_pmap_queue_free_if_idle(struct nvme_pmap_queue *q);
int nvme_pmap_queues_available(struct nvme_pmap_queues *set,
			       const struct nvme_pmap_file *pf, u16 *irq,
			       u16 *polled);
int nvme_pmap_attach(struct file *file, struct nvme_pmap_file *pf,
		     const struct nvme_pmap_attach *att, bool by_door);
int nvme_pmap_detach(struct nvme_pmap_file *pf, enum nvme_pmap_queue_kind kind,
		     bool by_door);
void nvme_pmap_detach_all(struct nvme_pmap_file *pf);

/* cq.c */
int nvme_pmap_process_cq(struct nvme_pmap_queue *q);
int nvme_pmap_process_cq_irq(struct nvme_pmap_queue *q);
void nvme_pmap_queue_cancel(struct nvme_pmap_queue *q);
int nvme_pmap_queue_overdue(struct nvme_pmap_queue *q, bool *aborted);
void nvme_pmap_queue_aborted(struct nvme_pmap_queue *q, u16 cid);

#endif /* _NVME_PMAP_QUEUE_H */
