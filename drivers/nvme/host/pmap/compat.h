/* SPDX-License-Identifier: GPL-2.0 */
/* Differences between the kernels that the overlay builds on, by feature. */
#ifndef _NVME_PMAP_COMPAT_H
#define _NVME_PMAP_COMPAT_H

#include <linux/blkdev.h>
#include <linux/blk-mq.h>
#include <linux/compat.h>
#include <linux/io_uring/cmd.h>
#include <linux/version.h>

/* A hardware queue by its number; the caller holds q_usage_counter. */
static inline struct blk_mq_hw_ctx *pmap_hctx(struct request_queue *q, u16 i)
{
	return xa_load(&q->hctx_table, i);
}

/*
 * For lockdep: an RCU read-side critical section that exists because preemption is off
 * (with PREEMPT_RT: because a lock is held).
 */
#ifdef CONFIG_DEBUG_LOCK_ALLOC
#define pmap_rcu_acquire() rcu_lock_acquire(&rcu_lock_map)
#define pmap_rcu_release() rcu_lock_release(&rcu_lock_map)
#else
#define pmap_rcu_acquire() \
	do {               \
	} while (0)
#define pmap_rcu_release() \
	do {               \
	} while (0)
#endif

/* A short critical section: preemption off costs less than rcu_read_lock(). */
static inline void pmap_rcu_begin(void)
{
	preempt_disable();
	pmap_rcu_acquire();
}

static inline void pmap_rcu_end(void)
{
	pmap_rcu_release();
	preempt_enable();
}

/*
 * percpu_ref_get_many() and percpu_ref_put_many() for callers that hold a spinlock:
 * preemption is off, so percpu_ref_kill() waits for them already.
 */
static __always_inline void pmap_ref_get_many(struct percpu_ref *ref,
					      unsigned long nr)
{
	unsigned long __percpu *count;

	pmap_rcu_acquire();
	if (likely(__ref_is_percpu(ref, &count)))
		this_cpu_add(*count, nr);
	else
		atomic_long_add(nr, &ref->data->count);
	pmap_rcu_release();
}

static __always_inline void pmap_ref_put_many(struct percpu_ref *ref,
					      unsigned long nr)
{
	unsigned long __percpu *count;

	pmap_rcu_acquire();
	if (likely(__ref_is_percpu(ref, &count)))
		this_cpu_sub(*count, nr);
	else if (atomic_long_sub_and_test(nr, &ref->data->count))
		ref->data->release(ref);
	pmap_rcu_release();
}

/* The requests that a poll has collected. */
#define pmap_for_each_batched(iob, req) rq_list_for_each(&(iob)->req_list, req)

#endif /* _NVME_PMAP_COMPAT_H */
