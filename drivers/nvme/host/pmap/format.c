// SPDX-License-Identifier: GPL-2.0
/* Which formats of namespaces the driver knows: see format.h. */
#include <linux/hashtable.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/wait.h>

#include "nvme.h"
#include "ctrl.h"
#include "drain.h"
#include "file.h"
#include "format.h"
#include "hooks.h"

/* Least time between two scans that are asked for; waiting commands look as often. */
#define PMAP_SCAN_EVERY (HZ / 20 ?: 1)

/* How long a change lets commands go first that waited for the last one. */
#define PMAP_CHANGE_PATIENCE (HZ / 2)

/* Scans after a change that no command asks for: how many, how far apart. */
#define PMAP_RESCANS	  10
#define PMAP_RESCAN_EVERY (HZ / 10 ?: 1)

/* How long scans may fail before the commands that wait for one fail too. */
#define PMAP_SCAN_PATIENCE (10 * HZ)

/**
 * struct nvme_pmap_change - an admin command that may change formats, under way
 * @node: in nvme_pmap_changes
 * @subsys: its subsystem; only for comparison
 */
struct nvme_pmap_change {
	struct list_head node;
	struct nvme_subsystem *subsys;
};

/* A change by a request that no task waits for. */
struct nvme_pmap_async_change {
	struct nvme_pmap_change change;
	struct work_struct work;
	struct request *req;
	rq_end_io_fn *end_io;
	void *end_io_data;
};

/*
 * Guards the table and the objects in it, and the format fields of struct nvme_ns_head,
 * which paths share.  Taken with queues frozen: its holder must not wait for a command.
 */
static DEFINE_MUTEX(nvme_pmap_ns_lock);
static DEFINE_HASHTABLE(nvme_pmap_ns_table, 6);
static u64 nvme_pmap_nr_changes;

/* The changes under way.  One may end in an interrupt. */
static LIST_HEAD(nvme_pmap_changes);
static DEFINE_SPINLOCK(nvme_pmap_changes_lock);

/* Open files of all namespaces (nvme_pmap_changes_lock); without one no rescan runs. */
static unsigned int nvme_pmap_ns_files;
static void nvme_pmap_rescan(struct work_struct *work);
/* On a freezable workqueue: not while the system sleeps. */
static DECLARE_DELAYED_WORK(nvme_pmap_rescan_work, nvme_pmap_rescan);

static void nvme_pmap_kick_rescan(void)
{
	lockdep_assert_held(&nvme_pmap_changes_lock);
	if (nvme_pmap_ns_files)
		mod_delayed_work(nvme_pmap_wq, &nvme_pmap_rescan_work, 0);
}

/* The tasks that wait for a format. */
static DECLARE_WAIT_QUEUE_HEAD(nvme_pmap_ns_wait);

static bool nvme_pmap_changing(const struct nvme_subsystem *subsys)
{
	struct nvme_pmap_change *change;
	bool changing = false;
	unsigned long flags;

	spin_lock_irqsave(&nvme_pmap_changes_lock, flags);
	list_for_each_entry(change, &nvme_pmap_changes, node)
		changing |= change->subsys == subsys;
	spin_unlock_irqrestore(&nvme_pmap_changes_lock, flags);
	return changing;
}

static struct nvme_pmap_ns *nvme_pmap_ns_find(struct nvme_ns *ns)
{
	struct nvme_pmap_ns *pn;

	lockdep_assert_held(&nvme_pmap_ns_lock);
	hash_for_each_possible(nvme_pmap_ns_table, pn, node, (unsigned long)ns)
		if (pn->ns == ns)
			return pn;
	return NULL;
}

static struct nvme_pmap_ns *nvme_pmap_ns_make(struct nvme_ns *ns)
{
	struct nvme_pmap_ns *pn;

	lockdep_assert_held(&nvme_pmap_ns_lock);
	/* other tasks wait for the lock with a queue frozen that reclaim may need */
	pn = kzalloc(sizeof(*pn), GFP_NOIO);
	if (!pn)
		return NULL;
	pn->ns = ns;
	pn->subsys = ns->head->subsys;
	pn->asked = jiffies - PMAP_SCAN_EVERY;
	/* no block size, until a scan has read it */
	pn->word = (u64)ns->head->ids.csi << PMAP_FORMAT_CSI;
	hash_add(nvme_pmap_ns_table, &pn->node, (unsigned long)ns);
	return pn;
}

/**
 * nvme_pmap_ns_ask - a scan is about to read the format from the device
 * @ns: the namespace; no other scan of this path is under way
 *
 * Context: other queues may be frozen, this one is not.
 */
void nvme_pmap_ns_ask(struct nvme_ns *ns)
{
	struct nvme_pmap_ns *pn;

	/* no buffer is mapped for these */
	if (ns->ctrl->ops->flags & NVME_F_FABRICS)
		return;
	mutex_lock(&nvme_pmap_ns_lock);
	/* without memory, nvme_pmap_ns_get() tries again */
	pn = nvme_pmap_ns_find(ns) ?: nvme_pmap_ns_make(ns);
	if (pn)
		pn->missed = nvme_pmap_changing(pn->subsys);
	mutex_unlock(&nvme_pmap_ns_lock);
}

/**
 * nvme_pmap_ns_write - a scan is about to write the format into the head
 *
 * Scans of other paths write there as well: the lock, which nvme_pmap_ns_read()
 * releases, makes that function see this scan's format.
 */
void nvme_pmap_ns_write(void)
{
	mutex_lock(&nvme_pmap_ns_lock);
}

/* Pack the format in stock's head. */
static u64 nvme_pmap_head_word(const struct nvme_ns_head *head)
{
	u64 word = head->lba_shift;

	word |= (u64)head->ids.csi << PMAP_FORMAT_CSI;
	word |= (u64)head->ms << PMAP_FORMAT_MS;
	/* stock sets pi_size for any metadata, with or without PI */
	if (head->pi_type)
		word |= (u64)head->pi_size << PMAP_FORMAT_PI;
	if (head->features & NVME_NS_EXT_LBAS)
		word |= PMAP_FORMAT_EXT;
	return word;
}

/**
 * nvme_pmap_ns_read - a scan has written the format into the head
 * @ns: the namespace, frozen
 */
void nvme_pmap_ns_read(struct nvme_ns *ns)
{
	struct nvme_pmap_ns *pn = nvme_pmap_ns_find(ns);
	u64 word = nvme_pmap_head_word(ns->head);

	if (pn) {
		if (pn->missed || nvme_pmap_changing(pn->subsys))
			word |= PMAP_FORMAT_STALE;
		WRITE_ONCE(pn->word, word);
	}
	mutex_unlock(&nvme_pmap_ns_lock);
	if (pn && !pmap_format_stale(word))
		wake_up_all(&nvme_pmap_ns_wait);
}

/**
 * nvme_pmap_ns_free - a namespace is about to be freed
 * @ns: the namespace; no file has it open
 */
void nvme_pmap_ns_free(struct nvme_ns *ns)
{
	struct nvme_pmap_ns *pn;

	mutex_lock(&nvme_pmap_ns_lock);
	pn = nvme_pmap_ns_find(ns);
	if (pn)
		hash_del(&pn->node);
	mutex_unlock(&nvme_pmap_ns_lock);
	kfree(pn);
}

/**
 * nvme_pmap_ns_get - the object of a namespace, for an open file
 * @ns: the namespace; it stays while it is open
 *
 * Return: the object, or NULL without memory.
 */
struct nvme_pmap_ns *nvme_pmap_ns_get(struct nvme_ns *ns)
{
	struct nvme_pmap_ns *pn;

	mutex_lock(&nvme_pmap_ns_lock);
	pn = nvme_pmap_ns_find(ns);
	if (!pn) {
		pn = nvme_pmap_ns_make(ns);
		/* the scan had no memory for it: a change may have been missed */
		if (pn)
			pn->word |= PMAP_FORMAT_STALE;
	}
	if (pn) {
		pn->files++;
		spin_lock_irq(&nvme_pmap_changes_lock);
		nvme_pmap_ns_files++;
		/* no scan was asked for after the change, or none succeeded */
		if (pmap_format_stale(pn->word)) {
			pn->rescans = 0;
			nvme_pmap_kick_rescan();
		}
		spin_unlock_irq(&nvme_pmap_changes_lock);
	}
	mutex_unlock(&nvme_pmap_ns_lock);
	return pn;
}

/**
 * nvme_pmap_ns_put - put the object; after the last one the module may go
 * @pn: from nvme_pmap_ns_get()
 */
void nvme_pmap_ns_put(struct nvme_pmap_ns *pn)
{
	bool last;

	mutex_lock(&nvme_pmap_ns_lock);
	pn->files--;
	spin_lock_irq(&nvme_pmap_changes_lock);
	last = !--nvme_pmap_ns_files;
	spin_unlock_irq(&nvme_pmap_changes_lock);
	mutex_unlock(&nvme_pmap_ns_lock);
	if (!last)
		return;
	cancel_delayed_work_sync(&nvme_pmap_rescan_work);
	/* a file may have been opened meanwhile */
	spin_lock_irq(&nvme_pmap_changes_lock);
	nvme_pmap_kick_rescan();
	spin_unlock_irq(&nvme_pmap_changes_lock);
}

/**
 * nvme_pmap_ns_scan - ask for a scan, unless it is useless or too soon
 * @pn: of an open file
 */
void nvme_pmap_ns_scan(struct nvme_pmap_ns *pn)
{
	unsigned long asked = READ_ONCE(pn->asked);

	if (time_before(jiffies, asked + PMAP_SCAN_EVERY) ||
	    nvme_pmap_changing(pn->subsys) ||
	    cmpxchg(&pn->asked, asked, jiffies) != asked)
		return;
	nvme_queue_scan(pn->ns->ctrl);
}

/* Should a scan succeed now? */
static bool nvme_pmap_ns_may_scan(const struct nvme_pmap_ns *pn)
{
	return nvme_ctrl_state(pn->ns->ctrl) == NVME_CTRL_LIVE &&
	       !nvme_pmap_changing(pn->subsys);
}

/* Do open files of a path need a scan that only the rescan work asks for? */
static bool nvme_pmap_ns_owed(const struct nvme_pmap_ns *pn)
{
	/* the end of a change that is under way starts the work again */
	return pn->files && pmap_format_stale(pn->word) &&
	       pn->rescans < PMAP_RESCANS && !nvme_pmap_changing(pn->subsys) &&
	       !nvme_state_terminal(pn->ns->ctrl);
}

/*
 * Open files need the format soon, even if no command waits for it: commands with SGLs
 * do not wait, nor do the auto door's.  Scans are repeated, since one may fail or be
 * cut short, and none runs during a reset or firmware activation.
 */
static void nvme_pmap_rescan(struct work_struct *work)
{
	struct nvme_pmap_ns *pn;
	unsigned int bucket;
	bool again = false;

	mutex_lock(&nvme_pmap_ns_lock);
	hash_for_each(nvme_pmap_ns_table, bucket, pn, node) {
		if (!nvme_pmap_ns_owed(pn))
			continue;
		again = true;
		if (nvme_ctrl_state(pn->ns->ctrl) != NVME_CTRL_LIVE)
			continue;
		pn->rescans++;
		nvme_pmap_ns_scan(pn);
	}
	mutex_unlock(&nvme_pmap_ns_lock);
	if (again)
		queue_delayed_work(nvme_pmap_wq, &nvme_pmap_rescan_work,
				   PMAP_RESCAN_EVERY);
}

static bool nvme_pmap_ns_known(const struct nvme_pmap_ns *pn)
{
	return !pmap_format_stale(READ_ONCE(pn->word));
}

/**
 * nvme_pmap_ns_await - wait until the format is known
 * @pn: of an open file
 *
 * Waits as long as a change or a reset takes, but not so long for failing scans.
 *
 * Context: an io-wq thread; a scan waits for nothing that it holds.
 * Return: 0; -EINTR; -ENODEV; or -EBUSY: the format cannot be read.
 */
int nvme_pmap_ns_await(struct nvme_pmap_ns *pn)
{
	long patience = PMAP_SCAN_PATIENCE, ret;
	bool fair;

	while (!nvme_pmap_ns_known(pn)) {
		if (nvme_state_terminal(pn->ns->ctrl) ||
		    blk_queue_dying(pn->ns->queue))
			return -ENODEV;
		fair = nvme_pmap_ns_may_scan(pn);
		nvme_pmap_ns_scan(pn);
		ret = wait_event_freezable_timeout(nvme_pmap_ns_wait,
						   nvme_pmap_ns_known(pn),
						   PMAP_SCAN_EVERY);
		if (ret < 0)
			return -EINTR;
		if (fair)
			patience -= PMAP_SCAN_EVERY;
		if (patience < 0)
			return -EBUSY;
	}
	return 0;
}

/*
 * May the command change a format?  Yes, unless it is known not to: a vendor's opcodes
 * may, and those of future specifications.
 */
static bool nvme_pmap_may_change(struct nvme_ctrl *ctrl, u8 opcode)
{
	const u32 changes = NVME_CMD_EFFECTS_NIC | NVME_CMD_EFFECTS_NCC;

	if (!ctrl->effects ||
	    nvme_command_effects(ctrl, NULL, opcode) & changes)
		return true;
	switch (opcode) {
	case nvme_admin_delete_sq:
	case nvme_admin_create_sq:
	case nvme_admin_get_log_page:
	case nvme_admin_delete_cq:
	case nvme_admin_create_cq:
	case nvme_admin_identify:
	case nvme_admin_abort_cmd:
	case nvme_admin_set_features:
	case nvme_admin_get_features:
	case nvme_admin_async_event:
	case nvme_admin_activate_fw:
	case nvme_admin_download_fw:
	case nvme_admin_dev_self_test:
	case nvme_admin_keep_alive:
	case nvme_admin_directive_send:
	case nvme_admin_directive_recv:
	case nvme_admin_dbbuf:
	case nvme_admin_security_send:
	case nvme_admin_security_recv:
	case nvme_admin_sanitize_nvm:
	case nvme_admin_get_lba_status:
		return false;
	default:
		return true;
	}
}

/* Make all formats of the subsystem stale.  Return: the number of the change. */
static u64 nvme_pmap_change_formats(struct nvme_pmap_change *change)
{
	struct nvme_pmap_ns *pn;
	unsigned int bucket;
	u64 nr;

	mutex_lock(&nvme_pmap_ns_lock);
	nr = ++nvme_pmap_nr_changes;
	spin_lock_irq(&nvme_pmap_changes_lock);
	list_add(&change->node, &nvme_pmap_changes);
	spin_unlock_irq(&nvme_pmap_changes_lock);
	hash_for_each(nvme_pmap_ns_table, bucket, pn, node) {
		if (pn->subsys != change->subsys)
			continue;
		pn->missed = true;
		pn->rescans = 0;
		/* without a block size the format is unknown already */
		if ((u8)pn->word)
			WRITE_ONCE(pn->word, pn->word | PMAP_FORMAT_STALE);
	}
	mutex_unlock(&nvme_pmap_ns_lock);
	/*
	 * Pairs with nvme_pmap_count_prp(): the caller's look at the count sees a new
	 * PRP mapping, or the commands on that mapping see the stale words.
	 */
	smp_mb();
	return nr;
}

/*
 * Find a path with commands that may have been checked before change @nr, and take a
 * reference.  The commands of a path without open files have ended.
 */
static struct nvme_ns *nvme_pmap_ns_undrained(struct nvme_subsystem *subsys,
					      u64 nr)
{
	struct nvme_pmap_ns *pn;
	unsigned int bucket;

	lockdep_assert_held(&nvme_pmap_ns_lock);
	hash_for_each(nvme_pmap_ns_table, bucket, pn, node)
		if (pn->subsys == subsys && pn->files && pn->drained < nr &&
		    nvme_pmap_ctrl_has_prp(pn->ns->ctrl) && nvme_get_ns(pn->ns))
			return pn->ns;
	return NULL;
}

/*
 * Commands of IOPOLL rings end only when a task polls, and this task may be the only
 * one that does.
 */
static void nvme_pmap_ns_freeze_wait(struct nvme_ns *ns)
{
	blk_freeze_queue_start(ns->queue);
	while (!blk_mq_freeze_queue_wait_timeout(ns->queue, PMAP_SCAN_EVERY))
		nvme_pmap_poll_ns(ns);
	blk_mq_unfreeze_queue(ns->queue);
}

/* Wait until all commands that were checked before change @nr have ended. */
static void nvme_pmap_drain(struct nvme_subsystem *subsys, u64 nr)
{
	struct nvme_pmap_ns *pn;
	struct nvme_ns *ns;

	mutex_lock(&nvme_pmap_ns_lock);
	while ((ns = nvme_pmap_ns_undrained(subsys, nr))) {
		mutex_unlock(&nvme_pmap_ns_lock);
		nvme_pmap_ctrl_revoke_batches(ns->ctrl);
		nvme_pmap_ns_freeze_wait(ns);
		mutex_lock(&nvme_pmap_ns_lock);
		/* the reference on @ns keeps it */
		pn = nvme_pmap_ns_find(ns);
		if (pn)
			pn->drained = max(pn->drained, nr);
		mutex_unlock(&nvme_pmap_ns_lock);
		nvme_put_ns(ns);
		mutex_lock(&nvme_pmap_ns_lock);
	}
	mutex_unlock(&nvme_pmap_ns_lock);
}

static bool nvme_pmap_waited_for(struct nvme_subsystem *subsys)
{
	struct nvme_pmap_ns *pn;
	unsigned int bucket;
	bool waiting = false;

	mutex_lock(&nvme_pmap_ns_lock);
	hash_for_each(nvme_pmap_ns_table, bucket, pn, node)
		waiting |= pn->subsys == subsys && atomic_read(&pn->waiting);
	mutex_unlock(&nvme_pmap_ns_lock);
	return waiting;
}

/*
 * Leave time for a scan between two changes.  If the command's effects exclude scans,
 * stock holds the scan lock, which is fair.
 */
static void nvme_pmap_change_in_turn(struct nvme_ctrl *ctrl, u8 opcode)
{
	unsigned long end = jiffies + PMAP_CHANGE_PATIENCE;

	if (ctrl->effects && nvme_command_effects(ctrl, NULL, opcode) &
				     NVME_CMD_EFFECTS_CSE_MASK)
		return;
	while (nvme_pmap_waited_for(ctrl->subsys) && time_before(jiffies, end))
		schedule_timeout_uninterruptible(1);
}

static void nvme_pmap_change_begin(struct nvme_pmap_change *change,
				   struct request *req)
{
	struct nvme_ctrl *ctrl = nvme_req(req)->ctrl;

	nvme_pmap_change_in_turn(ctrl, nvme_req(req)->cmd->common.opcode);
	change->subsys = ctrl->subsys;
	nvme_pmap_drain(change->subsys, nvme_pmap_change_formats(change));
}

/* The device has completed the command: from now on scans read the new format. */
static void nvme_pmap_change_end(struct nvme_pmap_change *change)
{
	unsigned long flags;

	spin_lock_irqsave(&nvme_pmap_changes_lock, flags);
	list_del(&change->node);
	nvme_pmap_kick_rescan();
	spin_unlock_irqrestore(&nvme_pmap_changes_lock, flags);
	/* the waiting tasks ask for a scan too */
	wake_up_all(&nvme_pmap_ns_wait);
}

static bool nvme_pmap_rq_may_change(struct request *req)
{
	/* no disk: it goes to the admin queue */
	return !req->q->queuedata &&
	       nvme_pmap_may_change(nvme_req(req)->ctrl,
				    nvme_req(req)->cmd->common.opcode);
}

/**
 * nvme_pmap_execute_rq - nvme_execute_rq() for a command of user space
 * @req: the request
 *
 * Return: an NVMe status, or an errno.
 */
int nvme_pmap_execute_rq(struct request *req)
{
	struct nvme_pmap_change change;
	int ret;

	if (!nvme_pmap_rq_may_change(req))
		return nvme_execute_rq(req, false);
	nvme_pmap_change_begin(&change, req);
	ret = nvme_execute_rq(req, false);
	nvme_pmap_change_end(&change);
	return ret;
}

static enum rq_end_io_ret nvme_pmap_async_end_io(struct request *req,
						 blk_status_t err)
{
	struct nvme_pmap_async_change *async = req->end_io_data;
	rq_end_io_fn *end_io = async->end_io;

	req->end_io_data = async->end_io_data;
	nvme_pmap_change_end(&async->change);
	kfree(async);
	return end_io(req, err);
}

/* The submitter must not wait; this work does. */
static void nvme_pmap_async_work(struct work_struct *work)
{
	struct nvme_pmap_async_change *async =
		container_of(work, struct nvme_pmap_async_change, work);

	nvme_pmap_change_begin(&async->change, async->req);
	/* the request may end, and @async be freed, before this returns */
	blk_execute_rq_nowait(async->req, false);
}

/**
 * nvme_pmap_execute_other_nowait - blk_execute_rq_nowait() for a user's command
 * @req: the request, with its end_io
 */
void nvme_pmap_execute_other_nowait(struct request *req)
{
	struct nvme_pmap_async_change *async;

	if (!nvme_pmap_rq_may_change(req)) {
		blk_execute_rq_nowait(req, false);
		return;
	}
	async = kmalloc(sizeof(*async), GFP_KERNEL);
	if (!async) {
		blk_mq_end_request(req, BLK_STS_RESOURCE);
		return;
	}
	async->req = req;
	async->end_io = req->end_io;
	async->end_io_data = req->end_io_data;
	req->end_io = nvme_pmap_async_end_io;
	req->end_io_data = async;
	INIT_WORK(&async->work, nvme_pmap_async_work);
	/* freezable: the work waits, and must not talk to a suspended controller */
	queue_work(READ_ONCE(nvme_pmap_wq) ?: nvme_wq, &async->work);
}
