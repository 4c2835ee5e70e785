// SPDX-License-Identifier: GPL-2.0
/*
 * Which mapping belongs to which buffer that io_uring has registered: made at the
 * first use, and ended when it is given up, idle, or told to end.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "nvme.h"
#include "pmap.h"
#include "pmap-auto.h"

/* Nobody is to be killed for what only makes things faster. */
#define PMAP_AUTO_GFP (GFP_KERNEL_ACCOUNT | __GFP_NORETRY | __GFP_NOWARN)

/* How soon to look again for commands on what is to end. */
#define PMAP_AUTO_SOON (HZ / 10 ?: 1)

/* What has not been used for so long can end when memory is short. */
#define PMAP_AUTO_LULL (HZ / 2)

/* How soon to see that io_uring has let go of a buffer; a queue outlives the last. */
#define PMAP_AUTO_TICK HZ

/* No new commands on it; the entry is gone for those who look up. */
static void nvme_pmap_auto_evict(struct nvme_pmap_autos *autos,
				 struct nvme_pmap_auto *a)
{
	struct nvme_pmap *pmap =
		rcu_dereference_protected(a->pmap,
					  lockdep_is_held(&autos->lock));

	hlist_del_rcu(&a->node);
	if (!--autos->nr)
		autos->emptied = jiffies;
	list_add_tail(&a->ending, &autos->ending);
	if (pmap)
		nvme_pmap_kill(pmap);
}

/* The end of an entry that has left the table, and that no command uses. */
static void nvme_pmap_auto_free(struct nvme_pmap_autos *autos,
				struct nvme_pmap_auto *a)
{
	struct nvme_pmap *pmap = rcu_dereference_protected(a->pmap, true);

	if (pmap) {
		u32 pages = pmap->nr_pages;

		nvme_pmap_destroy(pmap);
		atomic_long_sub(pages, &autos->pf->pc->auto_pages);
	}
	kfree_rcu(a, rcu);
}

/* Does io_uring still have all of it?  What it has, it has pinned. */
static bool nvme_pmap_auto_pinned(struct nvme_pmap *pmap)
{
	bool pinned = true;
	u32 i;

	/* the removal of the controller may end it at any time */
	if (!percpu_ref_tryget_live(&pmap->ref))
		return true;
	for (i = 0; pinned && i < pmap->nr_pages; i++) {
		pinned = folio_maybe_dma_pinned(page_folio(pmap->pages[i]));
		if (i % PMAP_CHUNK_PAGES == 0)
			cond_resched();
	}
	percpu_ref_put(&pmap->ref);
	return pinned;
}

/* Has it been used since the last round?  A refusal is for one, whatever it is. */
static bool nvme_pmap_auto_old(struct nvme_pmap_auto *a, bool pressure)
{
	bool refusal = !rcu_access_pointer(a->pmap);

	if (refusal && pressure)
		return false;
	if (!READ_ONCE(a->used))
		return refusal || pressure || ++a->age >= PMAP_AUTO_LOOKS;
	WRITE_ONCE(a->used, false);
	a->age = 0;
	return false;
}

/* Is it to end?  What io_uring has given up is, @round or not. */
static bool nvme_pmap_auto_over(struct nvme_pmap_autos *autos,
				struct nvme_pmap_auto *a, bool round,
				bool pressure)
{
	struct nvme_pmap *pmap =
		rcu_dereference_protected(a->pmap,
					  lockdep_is_held(&autos->lock));

	if (round && nvme_pmap_auto_old(a, pressure))
		return true;
	return pmap && !nvme_pmap_auto_pinned(pmap);
}

/* Evict what has been given up, in turns, or under pressure, what is old, or all. */
static void nvme_pmap_autos_age(struct nvme_pmap_autos *autos)
{
	bool all = READ_ONCE(autos->pf->pc->mode) == PMAP_AUTO_OFF;
	bool retry = test_and_clear_bit(PMAP_AUTOS_RETRY, &autos->flags);
	/* what has not been used since the last round: that was not just now */
	bool pressure = !time_before(jiffies, autos->aged + PMAP_AUTO_LULL) &&
			test_and_clear_bit(PMAP_AUTOS_PRESSURE, &autos->flags);
	bool round = all || pressure ||
		     !time_before(jiffies,
				  autos->aged + nvme_pmap_auto_interval());
	struct nvme_pmap_auto *a;
	struct hlist_node *next;
	unsigned int i;

	lockdep_assert_held(&autos->lock);
	if (round)
		autos->aged = jiffies;
	if (round || retry) {
		/* there may be a queue to be had by now */
		clear_bit(PMAP_AUTOS_TRIED, &autos->flags);
		clear_bit(PMAP_AUTOS_TRIED_POLLED, &autos->flags);
	}
	for (i = 0; i < ARRAY_SIZE(autos->bucket); i++)
		hlist_for_each_entry_safe(a, next, &autos->bucket[i], node) {
			if (!a->making &&
			    (all || (retry && !rcu_access_pointer(a->pmap)) ||
			     nvme_pmap_auto_over(autos, a, round, pressure)))
				nvme_pmap_auto_evict(autos, a);
			else if (a->making && retry)
				/* by what was known before, it may be refused */
				set_bit(PMAP_AUTOS_RETRY, &autos->flags);
		}
}

/* Take those whose last command has ended off the list of those that end. */
static void nvme_pmap_autos_ended(struct nvme_pmap_autos *autos,
				  struct list_head *ended)
{
	struct nvme_pmap_auto *a, *next;
	struct nvme_pmap *pmap;

	lockdep_assert_held(&autos->lock);
	list_for_each_entry_safe(a, next, &autos->ending, ending) {
		pmap = rcu_dereference_protected(a->pmap, true);
		if (!pmap || completion_done(&pmap->idle))
			list_move(&a->ending, ended);
	}
}

/* May the file have queues of the door's?  For a tick there may be nothing to use them. */
static bool nvme_pmap_autos_want(struct nvme_pmap_autos *autos)
{
	bool want;

	mutex_lock(&autos->lock);
	want = READ_ONCE(autos->pf->pc->mode) == PMAP_AUTO_QUEUE &&
	       (autos->nr ||
		time_before(jiffies, autos->emptied + PMAP_AUTO_TICK));
	mutex_unlock(&autos->lock);
	return want;
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
		if (nvme_pmap_autos_want(autos)) {
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

static void nvme_pmap_autos_look(struct work_struct *work)
{
	struct nvme_pmap_autos *autos = container_of(to_delayed_work(work),
						     struct nvme_pmap_autos,
						     idle);
	struct nvme_pmap_auto *a, *next;
	unsigned long again = 0;
	LIST_HEAD(ended);

	mutex_lock(&autos->lock);
	nvme_pmap_autos_age(autos);
	if (autos->nr)
		again = PMAP_AUTO_TICK;
	nvme_pmap_autos_ended(autos, &ended);
	if (!list_empty(&autos->ending) ||
	    test_bit(PMAP_AUTOS_PRESSURE, &autos->flags))
		again = PMAP_AUTO_SOON;
	mutex_unlock(&autos->lock);

	list_for_each_entry_safe(a, next, &ended, ending)
		nvme_pmap_auto_free(autos, a);
	again = min_not_zero(again, nvme_pmap_autos_detach(autos));
	/* not sooner than somebody has asked for meanwhile */
	if (again)
		queue_delayed_work(system_unbound_wq, &autos->idle, again);
}

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
		queue_delayed_work(system_unbound_wq, &autos->idle,
				   PMAP_AUTO_TICK);
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

/**
 * nvme_pmap_autos_get - the auto door of a file; made at its first command
 * @pf: the file's state
 *
 * Return: it, or NULL without memory.
 */
struct nvme_pmap_autos *nvme_pmap_autos_get(struct nvme_pmap_file *pf)
{
	/* pairs with the cmpxchg() below, of another thread */
	struct nvme_pmap_autos *autos = smp_load_acquire(&pf->autos), *old;

	if (autos)
		return autos;
	autos = kzalloc(sizeof(*autos), PMAP_AUTO_GFP);
	if (!autos)
		return NULL;
	mutex_init(&autos->lock);
	INIT_LIST_HEAD(&autos->ending);
	INIT_DELAYED_WORK(&autos->idle, nvme_pmap_autos_look);
	INIT_WORK(&autos->attach, nvme_pmap_autos_attach);
	autos->pf = pf;
	autos->aged = jiffies;
	autos->emptied = jiffies;
	/* another thread may be first */
	old = cmpxchg(&pf->autos, NULL, autos);
	if (old) {
		kfree(autos);
		return old;
	}
	nvme_pmap_autos_enlist(autos);
	return autos;
}

/**
 * nvme_pmap_autos_free - the file is being released, no command is in flight
 * @pf: its state
 */
void nvme_pmap_autos_free(struct nvme_pmap_file *pf)
{
	struct nvme_pmap_autos *autos = pf->autos;
	struct nvme_pmap_auto *a, *after;
	struct hlist_node *next;
	unsigned int i;

	if (!autos)
		return;
	nvme_pmap_autos_delist(autos);
	cancel_delayed_work_sync(&autos->idle);
	/* it has given back the file, but may not have returned yet */
	cancel_work_sync(&autos->attach);

	list_for_each_entry_safe(a, after, &autos->ending, ending)
		nvme_pmap_auto_free(autos, a);
	for (i = 0; i < ARRAY_SIZE(autos->bucket); i++)
		hlist_for_each_entry_safe(a, next, &autos->bucket[i], node)
			nvme_pmap_auto_free(autos, a);
	kfree(autos);
}

static struct nvme_pmap_auto *nvme_pmap_auto_find(struct nvme_pmap_autos *autos,
						  const void *hint)
{
	struct nvme_pmap_auto *a;

	lockdep_assert_held(&autos->lock);
	hlist_for_each_entry(a, nvme_pmap_auto_bucket(autos, hint), node)
		if (a->hint == hint)
			return a;
	return NULL;
}

static void nvme_pmap_auto_add(struct nvme_pmap_autos *autos,
			       struct nvme_pmap_auto *a)
{
	lockdep_assert_held(&autos->lock);
	/* the first one: from now on */
	if (!autos->nr++)
		autos->aged = jiffies;
	hlist_add_head_rcu(&a->node, nvme_pmap_auto_bucket(autos, a->hint));
}

/* An entry for a buffer that has none; NULL if it has, or without memory. */
static struct nvme_pmap_auto *
nvme_pmap_auto_claim(struct nvme_pmap_autos *autos, const void *hint, u64 base)
{
	struct nvme_pmap_auto *a = kzalloc(sizeof(*a), PMAP_AUTO_GFP);

	if (!a)
		return NULL;
	a->hint = hint;
	a->base = base;
	a->used = true;
	a->making = true;
	mutex_lock(&autos->lock);
	if (nvme_pmap_auto_find(autos, hint)) {
		mutex_unlock(&autos->lock);
		kfree(a);
		return NULL;
	}
	nvme_pmap_auto_add(autos, a);
	mutex_unlock(&autos->lock);
	return a;
}

/* Runs of pages that are neighbours in memory; see pmap_layout.run_above. */
static void nvme_pmap_note_pages(struct nvme_pmap *pmap, u64 base)
{
	u32 above = PMAP_RUN_ALL,
	    phase = (base >> PAGE_SHIFT) % PMAP_CHUNK_PAGES;
	u32 i;

	for (i = 1; i < pmap->nr_pages; i++)
		if (pmap->pages[i] != nth_page(pmap->pages[i - 1], 1))
			above = pmap_break_run(above, i + phase);
	pmap->page_phase = phase;
	pmap->page_above = above;
}

static struct nvme_pmap *nvme_pmap_auto_create(struct nvme_pmap_file *pf,
					       u64 base, u64 len,
					       const struct iov_iter *iter)
{
	const struct nvme_pmap_register reg = { .addr = base, .len = len };
	struct nvme_pmap_ctrl *pc = pf->pc;
	unsigned long pages = len >> PAGE_SHIFT;
	struct nvme_pmap *pmap = ERR_PTR(-EDQUOT);

	if (atomic_long_add_return(pages, &pc->auto_pages) <=
	    nvme_pmap_auto_limit())
		pmap = nvme_pmap_create(pc, &reg, iter);
	else
		/* others make room, if they have not been used lately */
		nvme_pmap_auto_press(pc);
	if (IS_ERR(pmap)) {
		if (pmap == ERR_PTR(-ENXIO))
			WRITE_ONCE(pc->unreachable, true);
		atomic_long_sub(pages, &pc->auto_pages);
		return NULL;
	}
	nvme_pmap_own(pf, pmap);
	pmap->page_above = PMAP_RUN_NONE;
	/* the removal of the controller may end it at any time */
	if (iter->nr_segs < pmap->nr_pages &&
	    percpu_ref_tryget_live(&pmap->ref)) {
		nvme_pmap_note_pages(pmap, base);
		percpu_ref_put(&pmap->ref);
	}
	return pmap;
}

/**
 * nvme_pmap_auto_make - map a buffer of io_uring's, unless that has been tried
 * @pf: the file's state
 * @hint: io_uring's object
 * @base: user address, at the start of a page
 * @len: bytes; whole pages
 * @iter: the pages that it has for all of it
 *
 * In the task that submits, as a registration would be; the memory is charged to
 * it.
 */
void nvme_pmap_auto_make(struct nvme_pmap_file *pf, const void *hint, u64 base,
			 u64 len, const struct iov_iter *iter)
{
	struct nvme_pmap_autos *autos = pf->autos;
	struct nvme_pmap_auto *a = nvme_pmap_auto_claim(autos, hint, base);
	struct nvme_pmap *pmap = NULL;

	if (!a)
		return;
	if (!READ_ONCE(pf->pc->unreachable))
		pmap = nvme_pmap_auto_create(pf, base, len, iter);
	mutex_lock(&autos->lock);
	a->making = false;
	rcu_assign_pointer(a->pmap, pmap);
	mutex_unlock(&autos->lock);
	/* not to be missed by who switches the door off */
	smp_mb();
	if (READ_ONCE(pf->pc->mode) == PMAP_AUTO_OFF)
		nvme_pmap_autos_kick(autos, 0);
	/* where it ticks already, that will do */
	queue_delayed_work(system_unbound_wq, &autos->idle, PMAP_AUTO_TICK);
}

/**
 * nvme_pmap_auto_drop - the mapping is of a buffer that was there before
 * @pf: the file's state
 * @hint: io_uring's object
 * @pmap: the mapping
 */
void nvme_pmap_auto_drop(struct nvme_pmap_file *pf, const void *hint,
			 const struct nvme_pmap *pmap)
{
	struct nvme_pmap_autos *autos = pf->autos;
	struct nvme_pmap_auto *a;

	mutex_lock(&autos->lock);
	a = nvme_pmap_auto_find(autos, hint);
	if (a && rcu_access_pointer(a->pmap) == pmap)
		nvme_pmap_auto_evict(autos, a);
	mutex_unlock(&autos->lock);
	nvme_pmap_autos_kick(autos, 0);
}
