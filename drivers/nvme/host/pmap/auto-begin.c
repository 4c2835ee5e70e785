// SPDX-License-Identifier: GPL-2.0
/*
 * How a file gets its auto door: the first command that could use it starts a work, and
 * does not wait.
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

/* Make the state and the auto door of a file. */
static void nvme_pmap_auto_file_begin_work(struct work_struct *work)
{
	struct nvme_pmap_ctrl *pc = container_of(work, struct nvme_pmap_ctrl,
						 begin);
	struct file *file = pc->begin_file;
	struct nvme_ns *ns = container_of(file_inode(file)->i_cdev,
					  struct nvme_ns, cdev);
	struct mem_cgroup *old = set_active_memcg(pc->begin_memcg);
	struct nvme_pmap_file *pf = NULL;

	/* the file holds pc->ctrl; this fails if the controller was removed */
	if (!nvme_pmap_ctrl_prepare(pc))
		pf = nvme_pmap_file_get(file, ns, pc, PMAP_AUTO_GFP);
	if (!pf || nvme_pmap_auto_file_make(pf))
		WRITE_ONCE(pc->begin_at, jiffies + HZ);
	set_active_memcg(old);
	mem_cgroup_put(pc->begin_memcg);
	/* pairs with the cmpxchg() in nvme_pmap_auto_file_begin() */
	smp_store_release(&pc->begin_file, NULL);
	nvme_pmap_ctrl_put(pc);
	/* after the last file the module may go */
	fput(file);
}

/**
 * nvme_pmap_auto_file_begin - have a work give a file its auto door
 * @ctrl: the controller of its namespace
 * @file: the open file, held by a command
 *
 * One file of a controller at a time; other files ask again with their next command.
 * After a failure there is no try for a second.
 */
void nvme_pmap_auto_file_begin(struct nvme_ctrl *ctrl, struct file *file)
{
	struct nvme_pmap_ctrl *pc;

	rcu_read_lock();
	pc = nvme_pmap_ctrl_find_rcu(ctrl);
	if (pc && (READ_ONCE(pc->mode) == NVME_PMAP_AUTO_OFF ||
		   READ_ONCE(pc->begin_file) ||
		   time_before(jiffies, READ_ONCE(pc->begin_at)) ||
		   /* the controller's state is being freed */
		   !kref_get_unless_zero(&pc->ref)))
		pc = NULL;
	rcu_read_unlock();
	if (!pc)
		return;
	/* pairs with the release in nvme_pmap_auto_file_begin_work() */
	if (cmpxchg(&pc->begin_file, NULL, file)) {
		nvme_pmap_ctrl_put(pc);
		return;
	}
	get_file(file);
	/* the program that opens files pays for their state */
	pc->begin_memcg = get_mem_cgroup_from_mm(current->mm);
	/*
	 * The work takes over the reference on @pc.  It sends an admin command, which a
	 * suspended controller must not get: the workqueue is freezable.
	 */
	queue_work(nvme_pmap_wq, &pc->begin);
}

/**
 * nvme_pmap_auto_ctrl_start - set up the auto door of a new controller
 * @pc: the controller's state
 */
void nvme_pmap_auto_ctrl_start(struct nvme_pmap_ctrl *pc)
{
	INIT_WORK(&pc->begin, nvme_pmap_auto_file_begin_work);
	pc->begin_at = jiffies;
	nvme_pmap_auto_switch(pc, nvme_pmap_auto_default());
}

/**
 * nvme_pmap_auto_ctrl_stop - switch the auto door off for good
 * @pc: the state of a controller that is being removed, already unpublished
 */
void nvme_pmap_auto_ctrl_stop(struct nvme_pmap_ctrl *pc)
{
	nvme_pmap_auto_switch(pc, NVME_PMAP_AUTO_OFF);
}
