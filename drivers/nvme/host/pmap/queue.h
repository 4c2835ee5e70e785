/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Passthrough queues: SQ/CQ pairs for pmap commands only, outside blk-mq.
 *
 * Who does what:
 *   pci-count.c  (end of pci.c) how many the controller is asked for
 *   pci-pair.c	   (end of pci.c) the pair itself: queue IDs, admin commands,
 *		   interrupts, what a reset does to it
 *   pci-timeout.c   (end of pci.c) time-outs, and bringing pairs up again
 *   attach.c  which file uses which queue: attach, detach, sharing, memory
 *   batch.c  whose the SQ is, the doorbell
 *   sq.c   a command into the SQ
 *   cq.c   entries out of the CQ, to their rings
 *
 * Lifetimes.  The objects are allocated with the controller's nvme_pmap_ctrl and
 * live as long as that: a pointer to one is never stale.  Their memory comes with
 * the first user and goes a moment after the last.  A command in flight holds its file (so
 * the queue keeps a user), its buffer, and the namespace's q_usage_counter, as a
 * request would: freezing, format, removal and suspend wait for it.
 *
 * Locks.  nvme_pmap_queues.lock is for those who send admin commands about
 * queues, but for the deletions of a disable; who disables the controller never
 * takes it, so it may be held while waiting for an answer, but not while
 * allocating memory with IO.  Whether the controller has a pair changes under
 * pair_lock; not under its shutdown_lock, which a reset only tries to take, and
 * gives the controller up if it cannot.  The order is:
 * nvme_pmap_file.lock, nvme_pmap_queues.lock, the controller's shutdown_lock (by a
 * time-out), pair_lock, sq_lock, poll_lock, cq_lock.  Who takes a batch away holds
 * nvme_pmap_revoke_lock (of batch.c), which comes after pair_lock and before sq_lock.
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

struct device;
struct io_uring_cmd;
struct nvme_pmap_attach;
struct nvme_pmap_file;
struct nvme_pmap_queue;
struct nvme_pmap_queues;

/* The longest time-out, in jiffies: a quarter of what the u32 of a deadline holds. */
#define PMAP_MAX_TIMEOUT ((u32)BIT(30))

/**
 * struct nvme_pmap_slot - a place for a command in flight on a queue
 * @ioucmd: the command in flight, or NULL: free
 * @deadline: when it has timed out: the low half of jiffies, with PMAP_ABORTED for its
 *	lowest bit
 * @cid: the identifier of that command, or of the next: the number of the slot, and
 *	above it a generation, which changes when the command ends, so that what
 *	completes twice ends no other, nor does an Abort that comes late
 */
struct nvme_pmap_slot {
	struct io_uring_cmd *ioucmd;
	u32 deadline;
	u16 cid;
};

/* In a deadline: nvme_timeout() has tried to abort the command. */
#define PMAP_ABORTED 1u

/*
 * What the generation of a slot is advanced by.  Its lowest bit stays zero: no command
 * is to have the identifier FFFFh.
 */
#define PMAP_NEXT_CID(mask) (2 * ((mask) + 1))

/**
 * struct nvme_pmap_queue - an SQ/CQ pair
 * @slot: by the low bits of the command identifier; this and what follows up to
 *	@sq_lock is read by who submits and who completes, and written by neither
 * @cq: the CQ; NULL while nobody uses the queue.  Who looks without a lock is in an
 *	RCU read-side critical section: the memory is freed a grace period later
 * @mask: entries of the SQ, of the CQ, and slots, less one
 * @index: its place in the set
 * @polled: no interrupts; IOPOLL rings use it
 * @order: log2 of the entries; the phase tag changes with this bit of @cq_head
 * @sq_lock: guards this part, while @batch is idle or the
 *	holder's own; process context only
 * @live: the controller has the pair, and takes commands
 * @sent: commands put into the SQ, free running; with @mask, its tail
 * @rung: of them, those that the controller has been told of
 * @sq: the SQ
 * @batch: see there
 * @slow_plug: plug of a batch that a task has waited for in vain, or NULL
 * @cb: tells of the end of the batch
 * @sq_db: its tail doorbell
 * @sq_shadow: its shadow doorbell, or NULL
 * @sq_event: the controller wants to hear when the tail passes this
 * @poll_lock: guards the rest together with @cq_lock; a poll holds this one alone, and
 *	leaves interrupts on
 * @cq_lock: an interrupt holds this one alone
 * @polls: the pair has no interrupt: polls may look
 * @cq_db: its head doorbell
 * @cq_shadow: its shadow doorbell, or NULL
 * @cq_event: as @sq_event
 * @cq_head: the next entry to look at, free running
 * @done: commands that have ended, free running; while somebody looks, less entries
 *	found that ended none
 * @seen: as many as the keeper saw when it last looked
 * @set: the controller's queues
 * @users: files that have it attached (set lock)
 * @idle: since when there are none, in jiffies
 * @draining: a detach waits until it is idle (set lock)
 * @qid: its identifier, or 0 (set lock to set, pair_lock to clear)
 * @irq: its pair has an interrupt; other than @polled where the pair is of a former user
 *	(pair_lock)
 * @vector: the interrupt vector
 * @cpu: the CPU that it was attached on
 * @stuck: what @rung was when the keeper last looked
 * @aborts: since the pair was created, commands of it may have been aborted
 * @create_failed: the controller refused it when nvme_pmap_queues.resets was one less
 * @delete_failed: likewise, it refused to delete it
 * @cq_memory: what @cq was or is, until it is freed
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
	spinlock_t cq_lock; /* after the other */
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
 * struct nvme_pmap_queue_ops - what pci.c does for attach.c
 * @up: create the pair; set lock held.  0, -EAGAIN while the controller is being
 *	reset, -EUSERS without a queue ID left, -EIO, or a negative errno
 * @down: take it away, if it is there; set lock held, and the queue is idle.  0, -EAGAIN:
 *	not now, or a negative errno: not before the next reset
 * @keep: look after the queues now
 */
struct nvme_pmap_queue_ops {
	int (*up)(struct nvme_pmap_queue *q);
	int (*down)(struct nvme_pmap_queue *q);
	void (*keep)(struct nvme_pmap_queues *set);
};

/**
 * struct nvme_pmap_queues - the queues of a controller
 * @lock: see the top of this file
 * @pair_lock: likewise
 * @dead: the controller is being removed
 * @asleep: the system goes to sleep: a controller that looks live may be in a power
 *	state, and is not spoken to (set lock)
 * @nr: objects in @queue
 * @granted: how many of them the controller has to spare
 * @base: queue ID of the first
 * @resets: how often the controller was disabled (pair_lock)
 * @life: what @resets was when the admin commands under way were decided (set lock)
 * @depth: entries of a queue
 * @creations: so many in a time
 * @generation: of the command identifiers that the next queue begins with
 * @ops: pci.c
 * @dev: struct nvme_dev, for pci.c
 * @dma: for the memory
 * @db: the mapped doorbells of this set, for pci.c
 * @work: brings queues up after a reset, and sees to time-outs
 * @queue: the objects
 */
struct nvme_pmap_queues {
	struct mutex lock;	/* who sends admin commands about queues */
	struct mutex pair_lock; /* what the controller has, and @resets */
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
 * @shadow: it, or NULL where the controller has none
 * @event: the value that the controller wants to hear of
 * @value: the new head or tail
 *
 * Return: whether the doorbell register has to be written as well.
 */
static inline bool nvme_pmap_shadow(__le32 *shadow, const __le32 *event,
				    u16 value)
{
	u16 old, at;

	if (!shadow)
		return true;
	/* the entries before the value that covers them */
	wmb();
	old = le32_to_cpu(READ_ONCE(*shadow));
	WRITE_ONCE(*shadow, cpu_to_le32(value));
	/* the controller writes its event and then reads the value once more */
	mb();
	at = le32_to_cpu(READ_ONCE(*event));
	return (u16)(value - at - 1) < (u16)(value - old);
}

static __always_inline bool nvme_pmap_slot_free(struct nvme_pmap_slot *slot)
{
	/* before the look at its @cid; pairs with nvme_pmap_release_slot() */
	return !smp_load_acquire(&slot->ioucmd);
}

/* For all but polls and interrupts: neither looks at the CQ meanwhile. */
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

/* Commands in flight.  A hint without both locks. */
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
int nvme_pmap_detach(struct nvme_pmap_file *pf, bool polled, bool by_door);
void nvme_pmap_detach_all(struct nvme_pmap_file *pf);

/* cq.c */
int nvme_pmap_queue_process_cq(struct nvme_pmap_queue *q);
int nvme_pmap_queue_irq(struct nvme_pmap_queue *q);
void nvme_pmap_queue_cancel(struct nvme_pmap_queue *q);
int nvme_pmap_queue_overdue(struct nvme_pmap_queue *q, bool *aborted);
void nvme_pmap_queue_aborted(struct nvme_pmap_queue *q, u16 cid);

#endif /* _NVME_PMAP_QUEUE_H */
