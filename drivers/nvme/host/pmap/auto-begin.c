// SPDX-License-Identifier: GPL-2.0
/*
 * How a file gets its auto door: by the first of its commands that could use one, which
 * does not wait for it.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/memcontrol.h>
#include <linux/sched/mm.h>

#include "nvme.h"
#include "adopt.h"
#include "auto.h"
#include "ctrl.h"
#include "file.h"

/* A file's first command with a fixed buffer: what it needs is made here. */
static void nvme_pmap_auto_begin_work(struct work_struct *work)
{
	struct nvme_pmap_ctrl *pc = container_of(work, struct nvme_pmap_ctrl,
						 begin);
	struct file *file = pc->begin_file;
	struct nvme_ns *ns = container_of(file_inode(file)->i_cdev,
					  struct nvme_ns, cdev);
	struct mem_cgroup *old = set_active_memcg(pc->begin_memcg);
	struct nvme_pmap_file *pf = NULL;

	/* the file holds the controller, and this finds out that it is gone */
	if (!nvme_pmap_ctrl_prepare(pc))
		pf = nvme_pmap_file_get(file, ns, pc, PMAP_AUTO_GFP);
	if (!pf || nvme_pmap_auto_file_make(pf))
		WRITE_ONCE(pc->begin_at, jiffies + HZ);
	set_active_memcg(old);
	mem_cgroup_put(pc->begin_memcg);
	/* pairs with the cmpxchg() of the next */
	smp_store_release(&pc->begin_file, NULL);
	nvme_pmap_ctrl_put(pc);
	/* and with the file the module may go */
	fput(file);
}

/**
 * nvme_pmap_auto_begin - a file should have what the auto door needs; not at once
 * @ctrl: the controller of its namespace
 * @file: the open file, held by a command
 *
 * One file of a controller at a time; the others ask again with their next command.
 * Where it fails nobody tries for a second.
 */
void nvme_pmap_auto_begin(struct nvme_ctrl *ctrl, struct file *file)
{
	struct nvme_pmap_ctrl *pc;

	rcu_read_lock();
	pc = nvme_pmap_ctrl_find_rcu(ctrl);
	if (pc && (READ_ONCE(pc->mode) == NVME_PMAP_AUTO_OFF ||
		   READ_ONCE(pc->begin_file) ||
		   time_before(jiffies, READ_ONCE(pc->begin_at)) ||
		   /* or it is being removed */
		   !kref_get_unless_zero(&pc->ref)))
		pc = NULL;
	rcu_read_unlock();
	if (!pc)
		return;
	/* pairs with the release in nvme_pmap_auto_begin_work() */
	if (cmpxchg(&pc->begin_file, NULL, file)) {
		nvme_pmap_ctrl_put(pc);
		return;
	}
	get_file(file);
	/* who opens many files pays for what each takes */
	pc->begin_memcg = get_mem_cgroup_from_mm(current->mm);
	/*
	 * Which has the reference on the controller's state now.  It speaks to the
	 * controller, which a suspended one is not to hear.
	 */
	queue_work(nvme_pmap_wq, &pc->begin);
}

/**
 * nvme_pmap_auto_start - a controller that does as the module was told
 * @pc: the controller
 */
void nvme_pmap_auto_start(struct nvme_pmap_ctrl *pc)
{
	INIT_WORK(&pc->begin, nvme_pmap_auto_begin_work);
	pc->begin_at = jiffies;
	nvme_pmap_auto_switch(pc, nvme_pmap_auto_default());
}

/**
 * nvme_pmap_auto_stop - a controller that is being removed
 * @pc: the controller, which nobody finds any more
 */
void nvme_pmap_auto_stop(struct nvme_pmap_ctrl *pc)
{
	nvme_pmap_auto_switch(pc, NVME_PMAP_AUTO_OFF);
}
