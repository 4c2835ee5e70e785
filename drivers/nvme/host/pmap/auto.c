// SPDX-License-Identifier: GPL-2.0
/*
 * Which mapping belongs to which buffer that io_uring has registered: made when the
 * buffer has been used enough, and ended when it is given up, idle, or told to end.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/io_uring_types.h>
#include <linux/memcontrol.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "nvme.h"
#include "adopt.h"
#include "auto.h"
#include "buffer.h"
#include "counts.h"
#include "ctrl.h"
#include "file.h"
#include "map.h"
#include "queue.h"

/* How soon to look again for commands on what is to end. */
#define PMAP_AUTO_SOON (HZ / 10 ?: 1)

/* How soon to see that io_uring has let go of a buffer; a queue outlives the last. */
#define PMAP_AUTO_TICK HZ

/* How long what cannot be mapped is not tried again. */
#define PMAP_AUTO_REFUSED (5 * HZ)

/*
 * A buffer is mapped after two commands, and one more for each 64 KiB of it; a command
 * counts once more for each 64 KiB that it transfers.  Stock then has cost about what
 * the mapping will: a buffer that is used no more has at most doubled what it cost.
 */
#define PMAP_AUTO_WAIT	     2
#define PMAP_AUTO_WAIT_SHIFT 16

/* ---- by commands ---- */

/* An entry for a buffer that has none; NULL if another command is first. */
static struct nvme_pmap_auto *
nvme_pmap_auto_new(struct nvme_pmap_autos *autos,
		   const struct io_mapped_ubuf *imu)
{
	struct nvme_pmap_auto *a;

	if (atomic_read(&autos->nr) >= PMAP_AUTO_MAX)
		return NULL;
	/* no reclaim, nor is anybody killed, for what only makes things faster */
	a = kzalloc(sizeof(*a), GFP_NOWAIT | __GFP_ACCOUNT | __GFP_NOWARN);
	if (!a)
		return NULL;
	a->imu = imu;
	atomic_set(&a->wait,
		   PMAP_AUTO_WAIT + (int)(imu->len >> PMAP_AUTO_WAIT_SHIFT));
	if (rhashtable_insert_fast(&autos->table, &a->hash,
				   nvme_pmap_auto_params)) {
		kfree(a);
		return NULL;
	}
	atomic_inc(&autos->nr);
	llist_add(&a->fresh, &autos->fresh);
	/* where it ticks already, that will do */
	queue_delayed_work(nvme_wq, &autos->work, PMAP_AUTO_TICK);
	return a;
}

/* The last count: the work is to map it. */
static void nvme_pmap_auto_hand_over(struct nvme_pmap_autos *autos,
				     struct nvme_pmap_auto *a,
				     const struct io_kiocb *req)
{
	a->adopted = nvme_pmap_adopt(req);
	llist_add(&a->want, &autos->want);
	nvme_pmap_autos_kick(autos, 0);
}

/**
 * nvme_pmap_auto_count_down - a command on a buffer that has no mapping
 * @pf: the file's state
 * @req: the command, which stock is going to serve
 * @len: bytes that it transfers
 *
 * Return: why.
 */
enum nvme_pmap_way nvme_pmap_auto_count_down(struct nvme_pmap_file *pf,
					     const struct io_kiocb *req,
					     u32 len)
{
	int weight = 1 + (int)(len >> PMAP_AUTO_WAIT_SHIFT), left;
	enum nvme_pmap_way way = PMAP_WAY_STARTING;
	struct nvme_pmap_autos *autos = pf->autos;
	struct nvme_pmap_auto *a;

	rcu_read_lock();
	a = rhashtable_lookup(&autos->table, &req->imu, nvme_pmap_auto_params);
	if (!a)
		a = nvme_pmap_auto_new(autos, req->imu);
	if (!a || READ_ONCE(a->refused)) {
		way = PMAP_WAY_REFUSED;
		goto unlock;
	}
	if (!READ_ONCE(a->used))
		WRITE_ONCE(a->used, true);
	if (atomic_read(&a->wait) <= 0)
		goto unlock;
	/* pairs with the xchg in nvme_pmap_auto_over(): one of them crosses zero */
	left = atomic_fetch_sub(weight, &a->wait);
	if (left > 0 && left <= weight)
		nvme_pmap_auto_hand_over(autos, a, req);
unlock:
	rcu_read_unlock();
	return way;
}

/* ---- by the file's work: mapping ---- */

/*
 * Map a buffer that is adopted, unless that has been done for another file.
 *
 * Return: it as this file's, or an ERR_PTR.
 */
static struct nvme_pmap *nvme_pmap_auto_map(struct nvme_pmap_file *pf,
					    struct nvme_pmap_adopted *adopted)
{
	struct mem_cgroup *memcg = nvme_pmap_adopted_memcg(adopted), *old;
	u64 addr = adopted->imu->ubuf;
	struct nvme_pmap_map *map;
	struct nvme_pmap *pmap;

	old = set_active_memcg(memcg);
	map = nvme_pmap_map_share(pf->pc, adopted);
	pmap = IS_ERR(map) ? ERR_CAST(map) : nvme_pmap_create(pf, addr, map);
	set_active_memcg(old);
	mem_cgroup_put(memcg);
	if (map == ERR_PTR(-ENXIO))
		WRITE_ONCE(pf->pc->unreachable, true);
	return pmap;
}

/* Return: the mapping of what a command has handed over, or NULL. */
static struct nvme_pmap *nvme_pmap_auto_take(struct nvme_pmap_file *pf,
					     struct nvme_pmap_adopted *adopted)
{
	struct nvme_pmap *pmap;

	if (IS_ERR(adopted))
		return NULL;
	if (READ_ONCE(pf->pc->unreachable) ||
	    READ_ONCE(pf->pc->mode) == PMAP_AUTO_OFF) {
		nvme_pmap_disown(adopted);
		return NULL;
	}
	pmap = nvme_pmap_auto_map(pf, adopted);
	return IS_ERR(pmap) ? NULL : pmap;
}

/* Map what commands have handed over. */
static void nvme_pmap_autos_map(struct nvme_pmap_autos *autos)
{
	struct llist_node *want = llist_del_all(&autos->want);
	struct nvme_pmap_auto *a, *next;
	struct nvme_pmap *pmap;

	llist_for_each_entry_safe(a, next, want, want) {
		pmap = nvme_pmap_auto_take(autos->pf, a->adopted);
		a->adopted = NULL;
		if (pmap) {
			rcu_assign_pointer(a->pmap, pmap);
			continue;
		}
		a->since = jiffies;
		WRITE_ONCE(a->refused, true);
	}
}

/* ---- by the file's work: ending ---- */

/* No new commands on it; the entry is gone for those who look up. */
static void nvme_pmap_auto_evict(struct nvme_pmap_autos *autos,
				 struct nvme_pmap_auto *a)
{
	struct nvme_pmap *pmap = rcu_dereference_protected(a->pmap, true);

	rhashtable_remove_fast(&autos->table, &a->hash, nvme_pmap_auto_params);
	if (atomic_dec_and_test(&autos->nr))
		autos->emptied = jiffies;
	list_move_tail(&a->node, &autos->ending);
	if (pmap)
		nvme_pmap_kill(pmap);
}

/* The end of an entry that has left the table, and that no command uses. */
static void nvme_pmap_auto_free(struct nvme_pmap_auto *a)
{
	struct nvme_pmap *pmap = rcu_dereference_protected(a->pmap, true);

	list_del(&a->node);
	if (pmap)
		nvme_pmap_destroy(pmap);
	kfree_rcu(a, rcu);
}

/* Has io_uring let go of the buffer, or is the controller gone? */
static bool nvme_pmap_auto_lost(struct nvme_pmap *pmap)
{
	bool lost;

	/* the removal of the controller may end it at any time */
	if (!percpu_ref_tryget_live(&pmap->ref))
		return true;
	lost = nvme_pmap_given_up(pmap->map->adopted);
	if (lost)
		nvme_pmap_note_given_up(pmap->map->adopted);
	percpu_ref_put(&pmap->ref);
	return lost;
}

/* Has it not been used for so many rounds? */
static bool nvme_pmap_auto_old(struct nvme_pmap_auto *a)
{
	if (!READ_ONCE(a->used))
		return ++a->age >= PMAP_AUTO_LOOKS;
	WRITE_ONCE(a->used, false);
	a->age = 0;
	return false;
}

/* Is it to end?  @all: whatever it is; @retry: what was refused; @round: what is old. */
static bool nvme_pmap_auto_over(struct nvme_pmap_auto *a, bool all, bool retry,
				bool round)
{
	struct nvme_pmap *pmap = rcu_dereference_protected(a->pmap, true);

	if (a->refused)
		return all || retry ||
		       !time_before(jiffies, a->since + PMAP_AUTO_REFUSED);
	if (pmap && nvme_pmap_auto_lost(pmap))
		return true;
	if (!all && !(round && nvme_pmap_auto_old(a)))
		return false;
	/* or it has been handed over since */
	return pmap || atomic_xchg(&a->wait, 0) > 0;
}

/* One visit to each: evict what is to end. */
static void nvme_pmap_autos_age(struct nvme_pmap_autos *autos)
{
	bool all = READ_ONCE(autos->pf->pc->mode) == PMAP_AUTO_OFF;
	bool retry = test_and_clear_bit(PMAP_AUTOS_RETRY, &autos->flags);
	bool round = !time_before(jiffies,
				  autos->aged + nvme_pmap_auto_interval());
	struct nvme_pmap_auto *a, *next;

	if (round)
		autos->aged = jiffies;
	if (round || retry) {
		/* there may be a queue to be had by now */
		clear_bit(PMAP_AUTOS_TRIED, &autos->flags);
		clear_bit(PMAP_AUTOS_TRIED_POLLED, &autos->flags);
	}
	list_for_each_entry_safe(a, next, &autos->all, node) {
		if (nvme_pmap_auto_over(a, all, retry, round))
			nvme_pmap_auto_evict(autos, a);
		cond_resched();
	}
}

/* Free those whose last command has ended. */
static void nvme_pmap_autos_end(struct nvme_pmap_autos *autos)
{
	struct nvme_pmap_auto *a, *next;
	struct nvme_pmap *pmap;

	list_for_each_entry_safe(a, next, &autos->ending, node) {
		pmap = rcu_dereference_protected(a->pmap, true);
		if (!pmap || completion_done(&pmap->idle))
			nvme_pmap_auto_free(a);
	}
}

/* What commands have added since. */
static void nvme_pmap_autos_collect(struct nvme_pmap_autos *autos)
{
	struct nvme_pmap_auto *a;

	/* the first: its age is looked at from now on */
	if (list_empty(&autos->all))
		autos->aged = jiffies;
	llist_for_each_entry(a, llist_del_all(&autos->fresh), fresh)
		list_add_tail(&a->node, &autos->all);
}

/* ---- by the file's work: queues ---- */

/* May the file have queues of the door's?  For a tick there may be nothing to use them. */
static bool nvme_pmap_autos_want_queue(const struct nvme_pmap_autos *autos)
{
	return READ_ONCE(autos->pf->pc->mode) == PMAP_AUTO_QUEUE &&
	       (atomic_read(&autos->nr) ||
		time_before(jiffies, autos->emptied + PMAP_AUTO_TICK));
}

/*
 * Give back the queues that were attached here, if they are not wanted.  Return:
 * when to look again for one that stays, or 0.
 */
static unsigned long nvme_pmap_autos_detach(struct nvme_pmap_autos *autos)
{
	struct nvme_pmap_file *pf = autos->pf;
	unsigned long again = 0;
	int polled;

	for (polled = 0; polled < 2; polled++) {
		if (!READ_ONCE(pf->by_door[polled]))
			continue;
		/* for each: the one before may have taken its time */
		if (nvme_pmap_autos_want_queue(autos)) {
			again = again ?: PMAP_AUTO_TICK;
			continue;
		}
		/* the program is about to detach it, and may not */
		if (nvme_pmap_detach(pf, polled, true) == -EALREADY)
			again = PMAP_AUTO_SOON;
		/* at once, if there is something to use it again */
		clear_bit(PMAP_AUTOS_TRIED + polled, &autos->flags);
	}
	return again;
}

static void nvme_pmap_autos_work(struct work_struct *work)
{
	struct nvme_pmap_autos *autos = container_of(to_delayed_work(work),
						     struct nvme_pmap_autos,
						     work);
	unsigned long again = 0;

	nvme_pmap_autos_map(autos);
	/* not before: what was handed over has been added by then */
	nvme_pmap_autos_collect(autos);
	nvme_pmap_autos_age(autos);
	nvme_pmap_autos_end(autos);
	if (!list_empty(&autos->all))
		again = PMAP_AUTO_TICK;
	if (!list_empty(&autos->ending))
		again = PMAP_AUTO_SOON;
	again = min_not_zero(again, nvme_pmap_autos_detach(autos));
	/* not sooner than somebody has asked for meanwhile */
	if (again)
		queue_delayed_work(nvme_wq, &autos->work, again);
}

/* ---- queues ---- */

static void nvme_pmap_autos_attach(struct work_struct *work)
{
	struct nvme_pmap_autos *autos =
		container_of(work, struct nvme_pmap_autos, attach);
	bool polled = autos->attach_polled;
	struct nvme_pmap_attach att = {
		.flags = polled ? NVME_PMAP_QUEUE_POLLED : 0,
	};
	struct file *file = autos->attach_file;

	nvme_pmap_attach(file, autos->pf, &att, true);
	/* not to be missed by who switches the door, nor when nothing uses it */
	smp_mb();
	if (READ_ONCE(autos->pf->pc->mode) != PMAP_AUTO_QUEUE)
		nvme_pmap_autos_kick(autos, 0);
	else
		queue_delayed_work(nvme_wq, &autos->work, PMAP_AUTO_TICK);
	clear_bit_unlock(PMAP_AUTOS_ATTACHING, &autos->flags);
	/* which may be the last, and end all this */
	fput(file);
}

/**
 * nvme_pmap_auto_attach - a file should have a queue; not at once
 * @pf: its state
 * @file: the open file, held by a command
 * @polled: which kind of queue
 *
 * Without one left, commands go by blk-mq; it is tried again in the next round, or
 * when the operator writes the door.
 */
void nvme_pmap_auto_attach(struct nvme_pmap_file *pf, struct file *file,
			   bool polled)
{
	struct nvme_pmap_autos *autos = pf->autos;

	if (!pf->pc->queues ||
	    test_bit(PMAP_AUTOS_TRIED + polled, &autos->flags) ||
	    test_and_set_bit_lock(PMAP_AUTOS_ATTACHING, &autos->flags))
		return;
	set_bit(PMAP_AUTOS_TRIED + polled, &autos->flags);
	autos->attach_file = get_file(file);
	autos->attach_polled = polled;
	/* the queue's vector is that of the CPU that attaches */
	schedule_work_on(raw_smp_processor_id(), &autos->attach);
}

/* ---- the door of a file ---- */

/**
 * nvme_pmap_autos_make - the auto door of a file, unless it has one
 * @pf: the file's state
 *
 * Return: 0 or -ENOMEM.
 */
int nvme_pmap_autos_make(struct nvme_pmap_file *pf)
{
	struct nvme_pmap_autos *autos;

	/* only the controller's work makes them */
	if (pf->autos)
		return 0;
	nvme_pmap_watch();
	autos = kzalloc(sizeof(*autos), PMAP_AUTO_GFP);
	if (!autos)
		return -ENOMEM;
	if (rhashtable_init(&autos->table, &nvme_pmap_auto_params)) {
		kfree(autos);
		return -ENOMEM;
	}
	init_llist_head(&autos->fresh);
	init_llist_head(&autos->want);
	INIT_LIST_HEAD(&autos->all);
	INIT_LIST_HEAD(&autos->ending);
	INIT_DELAYED_WORK(&autos->work, nvme_pmap_autos_work);
	INIT_WORK(&autos->attach, nvme_pmap_autos_attach);
	autos->pf = pf;
	autos->aged = jiffies;
	autos->emptied = jiffies;
	nvme_pmap_autos_enlist(autos);
	/* pairs with the acquire in nvme_pmap_fixed_single() */
	smp_store_release(&pf->autos, autos);
	return 0;
}

/**
 * nvme_pmap_autos_free - the file is being released, no command is in flight
 * @pf: its state
 */
void nvme_pmap_autos_free(struct nvme_pmap_file *pf)
{
	struct nvme_pmap_autos *autos = pf->autos;
	struct nvme_pmap_auto *a, *next;

	if (!autos)
		return;
	nvme_pmap_autos_delist(autos);
	/* it has given back the file, but may not have returned yet */
	cancel_work_sync(&autos->attach);
	cancel_delayed_work_sync(&autos->work);

	llist_for_each_entry(a, llist_del_all(&autos->want), want)
		if (!IS_ERR(a->adopted))
			nvme_pmap_disown(a->adopted);
	nvme_pmap_autos_collect(autos);
	list_splice(&autos->all, &autos->ending);
	/* before its entries: it may be about to grow */
	rhashtable_destroy(&autos->table);
	list_for_each_entry_safe(a, next, &autos->ending, node)
		nvme_pmap_auto_free(a);
	kfree(autos);
}
