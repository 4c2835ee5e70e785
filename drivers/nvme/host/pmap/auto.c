// SPDX-License-Identifier: GPL-2.0
/*
 * Which mapping belongs to which buffer registered with io_uring.  A mapping is made
 * when its buffer has been used enough.  It ends when io_uring lets go of the buffer,
 * when the buffer is idle, or when the operator switches the door off.
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

/* How soon to look again for evicted entries without commands. */
#define PMAP_AUTO_SOON (HZ / 10 ?: 1)

/*
 * How often to look for buffers that io_uring has let go of.  A file without buffers
 * keeps its queue for as long.
 */
#define PMAP_AUTO_TICK HZ

/* How soon a refused buffer is tried again. */
#define PMAP_AUTO_REFUSED (5 * HZ)

/*
 * A buffer is mapped after two commands, and one more for each 64 KiB of its length; a
 * command counts once more for each 64 KiB that it transfers.  By then the stock path
 * has cost about as much as the mapping will.  So a buffer that is not used any more
 * has cost at most twice as much as on stock.
 */
#define PMAP_AUTO_WAIT	     2
#define PMAP_AUTO_WAIT_SHIFT 16

/* ---- by commands ---- */

/*
 * Make an entry for a buffer.  Return: NULL without memory or room, or if another
 * command was first.
 */
static struct nvme_pmap_auto_entry *
nvme_pmap_auto_entry_new(struct nvme_pmap_auto_file *af,
			 const struct io_mapped_ubuf *imu)
{
	struct nvme_pmap_auto_entry *a;

	if (atomic_read(&af->nr) >= PMAP_AUTO_MAX)
		return NULL;
	/* neither reclaim nor the OOM killer for a speed-up */
	a = kzalloc(sizeof(*a), GFP_NOWAIT | __GFP_ACCOUNT | __GFP_NOWARN);
	if (!a)
		return NULL;
	a->imu = imu;
	atomic_set(&a->wait,
		   PMAP_AUTO_WAIT + (int)(imu->len >> PMAP_AUTO_WAIT_SHIFT));
	if (rhashtable_insert_fast(&af->table, &a->hash,
				   nvme_pmap_auto_params)) {
		kfree(a);
		return NULL;
	}
	atomic_inc(&af->nr);
	llist_add(&a->fresh, &af->fresh);
	/* if the work is pending, it comes soon enough */
	queue_delayed_work(nvme_wq, &af->work, PMAP_AUTO_TICK);
	return a;
}

/* The last count: let the work map the buffer. */
static void nvme_pmap_auto_request_map(struct nvme_pmap_auto_file *af,
				       struct nvme_pmap_auto_entry *a,
				       const struct io_kiocb *req)
{
	a->adopted = nvme_pmap_adopt(req);
	llist_add(&a->want, &af->want);
	nvme_pmap_auto_file_kick(af, 0);
}

/**
 * nvme_pmap_auto_count_down - count a command on a buffer that has no mapping
 * @pf: the file's state
 * @req: the command, which goes to stock
 * @len: bytes that it transfers
 *
 * Return: why it goes to stock.
 */
enum nvme_pmap_path nvme_pmap_auto_count_down(struct nvme_pmap_file *pf,
					      const struct io_kiocb *req,
					      u32 len)
{
	int weight = 1 + (int)(len >> PMAP_AUTO_WAIT_SHIFT), left;
	enum nvme_pmap_path path = PMAP_PATH_STOCK_SETUP;
	struct nvme_pmap_auto_file *af = pf->auto_file;
	struct nvme_pmap_auto_entry *a;

	rcu_read_lock();
	a = rhashtable_lookup(&af->table, &req->imu, nvme_pmap_auto_params);
	if (!a)
		a = nvme_pmap_auto_entry_new(af, req->imu);
	if (!a || READ_ONCE(a->refused)) {
		path = PMAP_PATH_STOCK_UNMAPPED;
		goto unlock;
	}
	if (!READ_ONCE(a->used))
		WRITE_ONCE(a->used, true);
	if (atomic_read(&a->wait) <= 0)
		goto unlock;
	/* pairs with the xchg in nvme_pmap_auto_entry_expired(): one crosses zero */
	left = atomic_fetch_sub(weight, &a->wait);
	if (left > 0 && left <= weight)
		nvme_pmap_auto_request_map(af, a, req);
unlock:
	rcu_read_unlock();
	return path;
}

/* ---- by the file's work: mapping ---- */

/*
 * Map an adopted buffer, or share the mapping that another file has made.
 *
 * Return: the buffer for this file, or an ERR_PTR.
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
	pmap = IS_ERR(map) ? ERR_CAST(map) :
			     nvme_pmap_buffer_create(pf, addr, map);
	set_active_memcg(old);
	mem_cgroup_put(memcg);
	if (map == ERR_PTR(-ENXIO))
		WRITE_ONCE(pf->pc->unreachable, true);
	return pmap;
}

/* Map a buffer that a command has handed over.  Return: the buffer, or NULL. */
static struct nvme_pmap *
nvme_pmap_auto_map_one(struct nvme_pmap_file *pf,
		       struct nvme_pmap_adopted *adopted)
{
	struct nvme_pmap *pmap;

	if (IS_ERR(adopted))
		return NULL;
	if (READ_ONCE(pf->pc->unreachable) ||
	    READ_ONCE(pf->pc->mode) == NVME_PMAP_AUTO_OFF) {
		nvme_pmap_disown(adopted);
		return NULL;
	}
	pmap = nvme_pmap_auto_map(pf, adopted);
	return IS_ERR(pmap) ? NULL : pmap;
}

/* Map the buffers that commands have handed over. */
static void nvme_pmap_auto_map_requested(struct nvme_pmap_auto_file *af)
{
	struct llist_node *want = llist_del_all(&af->want);
	struct nvme_pmap_auto_entry *a, *next;
	struct nvme_pmap *pmap;

	llist_for_each_entry_safe(a, next, want, want) {
		pmap = nvme_pmap_auto_map_one(af->pf, a->adopted);
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

/* Take an entry out of the table: commands do not find it, nor get its buffer. */
static void nvme_pmap_auto_entry_evict(struct nvme_pmap_auto_file *af,
				       struct nvme_pmap_auto_entry *a)
{
	struct nvme_pmap *pmap = rcu_dereference_protected(a->pmap, true);

	rhashtable_remove_fast(&af->table, &a->hash, nvme_pmap_auto_params);
	if (atomic_dec_and_test(&af->nr))
		af->emptied = jiffies;
	list_move_tail(&a->node, &af->ending);
	if (pmap)
		nvme_pmap_buffer_kill(pmap);
}

/* Free an entry that has left the table, and that no command uses. */
static void nvme_pmap_auto_entry_free(struct nvme_pmap_auto_entry *a)
{
	struct nvme_pmap *pmap = rcu_dereference_protected(a->pmap, true);

	list_del(&a->node);
	if (pmap)
		nvme_pmap_buffer_destroy(pmap);
	kfree_rcu(a, rcu);
}

/* Has io_uring let go of the buffer, or is the controller gone? */
static bool nvme_pmap_auto_entry_lost(struct nvme_pmap *pmap)
{
	bool lost;

	/* the removal of the controller may end the buffer at any time */
	if (!percpu_ref_tryget_live(&pmap->ref))
		return true;
	lost = nvme_pmap_given_up(pmap->map->adopted);
	if (lost)
		nvme_pmap_note_given_up(pmap->map->adopted);
	percpu_ref_put(&pmap->ref);
	return lost;
}

/* Has the entry been unused for enough rounds? */
static bool nvme_pmap_auto_entry_idle(struct nvme_pmap_auto_entry *a)
{
	if (!READ_ONCE(a->used))
		return ++a->age >= PMAP_AUTO_ROUNDS;
	WRITE_ONCE(a->used, false);
	a->age = 0;
	return false;
}

/* Must the entry go?  @all: any entry; @retry: a refused one; @round: an idle one. */
static bool nvme_pmap_auto_entry_expired(struct nvme_pmap_auto_entry *a,
					 bool all, bool retry, bool round)
{
	struct nvme_pmap *pmap = rcu_dereference_protected(a->pmap, true);

	if (a->refused)
		return all || retry ||
		       !time_before(jiffies, a->since + PMAP_AUTO_REFUSED);
	if (pmap && nvme_pmap_auto_entry_lost(pmap))
		return true;
	if (!all && !(round && nvme_pmap_auto_entry_idle(a)))
		return false;
	/* or a command has handed the entry over meanwhile */
	return pmap || atomic_xchg(&a->wait, 0) > 0;
}

/* Visit each entry, and evict the ones that must go. */
static void nvme_pmap_auto_age_entries(struct nvme_pmap_auto_file *af)
{
	bool all = READ_ONCE(af->pf->pc->mode) == NVME_PMAP_AUTO_OFF;
	bool retry = test_and_clear_bit(PMAP_AUTO_RETRY, &af->flags);
	bool round = !time_before(jiffies,
				  af->aged + nvme_pmap_auto_interval());
	struct nvme_pmap_auto_entry *a, *next;

	if (round)
		af->aged = jiffies;
	if (round || retry) {
		/* a queue may be free by now */
		clear_bit(PMAP_AUTO_TRIED_QUEUE, &af->flags);
		clear_bit(PMAP_AUTO_TRIED_QUEUE_POLLED, &af->flags);
	}
	list_for_each_entry_safe(a, next, &af->all, node) {
		if (nvme_pmap_auto_entry_expired(a, all, retry, round))
			nvme_pmap_auto_entry_evict(af, a);
		cond_resched();
	}
}

/* Free evicted entries whose last command has ended. */
static void nvme_pmap_auto_free_idle(struct nvme_pmap_auto_file *af)
{
	struct nvme_pmap_auto_entry *a, *next;
	struct nvme_pmap *pmap;

	list_for_each_entry_safe(a, next, &af->ending, node) {
		pmap = rcu_dereference_protected(a->pmap, true);
		if (!pmap || completion_done(&pmap->idle))
			nvme_pmap_auto_entry_free(a);
	}
}

/* Collect the entries that commands have added. */
static void nvme_pmap_auto_collect_fresh(struct nvme_pmap_auto_file *af)
{
	struct nvme_pmap_auto_entry *a;

	/* the first entries: their age counts from now on */
	if (list_empty(&af->all))
		af->aged = jiffies;
	llist_for_each_entry(a, llist_del_all(&af->fresh), fresh)
		list_add_tail(&a->node, &af->all);
}

/* ---- by the file's work: queues ---- */

/* May the file keep the door's queues?  Also for a tick without any entry. */
static bool nvme_pmap_auto_wants_queue(const struct nvme_pmap_auto_file *af)
{
	return READ_ONCE(af->pf->pc->mode) == NVME_PMAP_AUTO_QUEUE &&
	       (atomic_read(&af->nr) ||
		time_before(jiffies, af->emptied + PMAP_AUTO_TICK));
}

/*
 * Detach the queues that the auto door attached, if they are not wanted.  Return:
 * jiffies until the next look at a queue that stays, or 0.
 */
static unsigned long
nvme_pmap_auto_detach_unused(struct nvme_pmap_auto_file *af)
{
	struct nvme_pmap_file *pf = af->pf;
	unsigned long again = 0;
	enum nvme_pmap_queue_kind kind;

	for (kind = 0; kind < PMAP_QUEUE_KINDS; kind++) {
		if (!READ_ONCE(pf->by_door[kind]))
			continue;
		/* for each kind: detaching the other may have taken long */
		if (nvme_pmap_auto_wants_queue(af)) {
			again = again ?: PMAP_AUTO_TICK;
			continue;
		}
		/* the program is detaching it, but may give up */
		if (nvme_pmap_detach(pf, kind, true) == -EALREADY)
			again = PMAP_AUTO_SOON;
		/* a new entry may attach a queue at once */
		clear_bit(PMAP_AUTO_TRIED_QUEUE + kind, &af->flags);
	}
	return again;
}

static void nvme_pmap_auto_file_work(struct work_struct *work)
{
	struct nvme_pmap_auto_file *af =
		container_of(to_delayed_work(work), struct nvme_pmap_auto_file,
			     work);
	unsigned long again = 0;

	nvme_pmap_auto_map_requested(af);
	/* after the mapping: each mapped entry is on the list by then */
	nvme_pmap_auto_collect_fresh(af);
	nvme_pmap_auto_age_entries(af);
	nvme_pmap_auto_free_idle(af);
	if (!list_empty(&af->all))
		again = PMAP_AUTO_TICK;
	if (!list_empty(&af->ending))
		again = PMAP_AUTO_SOON;
	again = min_not_zero(again, nvme_pmap_auto_detach_unused(af));
	/* does not delay a run that somebody has asked for meanwhile */
	if (again)
		queue_delayed_work(nvme_wq, &af->work, again);
}

/* ---- queues ---- */

static void nvme_pmap_auto_attach_work(struct work_struct *work)
{
	struct nvme_pmap_auto_file *af =
		container_of(work, struct nvme_pmap_auto_file, attach);
	bool polled = af->attach_polled;
	struct nvme_pmap_attach att = {
		.flags = polled ? NVME_PMAP_QUEUE_POLLED : 0,
	};
	struct file *file = af->attach_file;

	nvme_pmap_attach(file, af->pf, &att, true);
	/*
	 * Pairs with the xchg() in nvme_pmap_auto_switch(): this sees the new mode, or
	 * the file's work sees the queue.  The tick detaches a queue that nothing uses.
	 */
	smp_mb();
	if (READ_ONCE(af->pf->pc->mode) != NVME_PMAP_AUTO_QUEUE)
		nvme_pmap_auto_file_kick(af, 0);
	else
		queue_delayed_work(nvme_wq, &af->work, PMAP_AUTO_TICK);
	clear_bit_unlock(PMAP_AUTO_ATTACHING, &af->flags);
	/* this may be the last reference, and free @af */
	fput(file);
}

/**
 * nvme_pmap_auto_request_queue - have a queue attached to a file, by a work
 * @pf: the file's state
 * @file: the open file, held by a command
 * @polled: which kind of queue
 *
 * If no queue is left, commands go over blk-mq.  The next try is in the next round, or
 * when the operator changes a setting of the auto door.
 */
void nvme_pmap_auto_request_queue(struct nvme_pmap_file *pf, struct file *file,
				  bool polled)
{
	struct nvme_pmap_auto_file *af = pf->auto_file;

	if (!pf->pc->queues ||
	    test_bit(PMAP_AUTO_TRIED_QUEUE + polled, &af->flags) ||
	    test_and_set_bit_lock(PMAP_AUTO_ATTACHING, &af->flags))
		return;
	set_bit(PMAP_AUTO_TRIED_QUEUE + polled, &af->flags);
	af->attach_file = get_file(file);
	af->attach_polled = polled;
	/* the queue gets the vector of the CPU that attaches it */
	schedule_work_on(raw_smp_processor_id(), &af->attach);
}

/* ---- the door of a file ---- */

/**
 * nvme_pmap_auto_file_make - give a file its auto door, unless it has one
 * @pf: the file's state
 *
 * Return: 0 or -ENOMEM.
 */
int nvme_pmap_auto_file_make(struct nvme_pmap_file *pf)
{
	struct nvme_pmap_auto_file *af;

	/* only the controller's work calls this */
	if (pf->auto_file)
		return 0;
	nvme_pmap_watch();
	af = kzalloc(sizeof(*af), PMAP_AUTO_GFP);
	if (!af)
		return -ENOMEM;
	if (rhashtable_init(&af->table, &nvme_pmap_auto_params)) {
		kfree(af);
		return -ENOMEM;
	}
	init_llist_head(&af->fresh);
	init_llist_head(&af->want);
	INIT_LIST_HEAD(&af->all);
	INIT_LIST_HEAD(&af->ending);
	INIT_DELAYED_WORK(&af->work, nvme_pmap_auto_file_work);
	INIT_WORK(&af->attach, nvme_pmap_auto_attach_work);
	af->pf = pf;
	af->aged = jiffies;
	af->emptied = jiffies;
	nvme_pmap_auto_file_enlist(af);
	/* pairs with the acquire in nvme_pmap_auto_if_open() */
	smp_store_release(&pf->auto_file, af);
	return 0;
}

/**
 * nvme_pmap_auto_file_free - free the auto door of a file that is being released
 * @pf: the file's state; no command is in flight
 */
void nvme_pmap_auto_file_free(struct nvme_pmap_file *pf)
{
	struct nvme_pmap_auto_file *af = pf->auto_file;
	struct nvme_pmap_auto_entry *a, *next;

	if (!af)
		return;
	nvme_pmap_auto_file_delist(af);
	/* it has put the file, but may still be running */
	cancel_work_sync(&af->attach);
	cancel_delayed_work_sync(&af->work);

	llist_for_each_entry(a, llist_del_all(&af->want), want)
		if (!IS_ERR(a->adopted))
			nvme_pmap_disown(a->adopted);
	nvme_pmap_auto_collect_fresh(af);
	list_splice(&af->all, &af->ending);
	/* before its entries: its own work may be about to move them */
	rhashtable_destroy(&af->table);
	list_for_each_entry_safe(a, next, &af->ending, node)
		nvme_pmap_auto_entry_free(a);
	kfree(af);
}
