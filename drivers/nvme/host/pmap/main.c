// SPDX-License-Identifier: GPL-2.0
/*
 * The begin and the end, in order, of a controller, an open file and the module.  Only
 * the hooks and pci-main.c, which does the same for a struct nvme_dev, use this file.
 */
#include "nvme.h"
#include "adopt.h"
#include "auto.h"
#include "buffer.h"
#include "ctrl.h"
#include "file.h"
#include "hooks.h"
#include "main.h"
#include "map.h"
#include "queue.h"
#include "sysfs.h"

/**
 * nvme_pmap_exit - the module goes: no file is open, and no controller is left
 */
void nvme_pmap_exit(void)
{
	/* a work on its workqueue may be about to return */
	nvme_pmap_ctrl_exit();
	nvme_pmap_unwatch();
	nvme_pmap_file_exit();
}

/**
 * nvme_pmap_ctrl_add - a live controller offers itself to the overlay
 * @ctrl: the controller
 * @dev: the device that does its DMA
 * @queues: its passthrough queues, or NULL; the overlay owns them if this succeeds
 *
 * Called at the end of probe.  Without memory the controller works as on stock, and
 * pmap ioctls on it answer ENOTTY.
 *
 * Return: 0 or -ENOMEM.
 */
int nvme_pmap_ctrl_add(struct nvme_ctrl *ctrl, struct device *dev,
		       struct nvme_pmap_queues *queues)
{
	struct nvme_pmap_ctrl *pc = nvme_pmap_ctrl_alloc(ctrl, dev, queues);

	if (!pc) {
		dev_warn(ctrl->device, "pmap: no memory, not offered\n");
		return -ENOMEM;
	}
	nvme_pmap_auto_ctrl_start(pc);
	nvme_pmap_ctrl_publish(pc);
	nvme_pmap_sysfs_add(pc);
	return 0;
}
EXPORT_SYMBOL_GPL(nvme_pmap_ctrl_add);

/**
 * nvme_pmap_ctrl_del - end every mapping of a controller that goes away
 * @ctrl: the controller
 *
 * Called in remove, when the device is disabled and all its requests have been
 * cancelled.  References on pmaps are then being put, and a task that takes a new one
 * soon puts it again, since requests can no longer be allocated.  Afterwards the
 * buffers of open files are empty shells that answer ENODEV.
 */
void nvme_pmap_ctrl_del(struct nvme_ctrl *ctrl)
{
	struct nvme_pmap_ctrl *pc = nvme_pmap_ctrl_unpublish(ctrl);

	if (!pc)
		return;
	nvme_pmap_sysfs_del(pc);
	nvme_pmap_auto_ctrl_stop(pc);
	mutex_lock(&pc->lock);
	WRITE_ONCE(pc->dead, true);
	nvme_pmap_end_buffers(pc);
	nvme_pmap_end_mappings(pc);
	nvme_pmap_ctrl_unprepare(pc);
	mutex_unlock(&pc->lock);
	nvme_pmap_ctrl_put(pc);
}
EXPORT_SYMBOL_GPL(nvme_pmap_ctrl_del);

/**
 * nvme_pmap_release - the last reference on an open file is gone
 * @file: the file
 *
 * No command is in flight: each holds the file.
 */
void nvme_pmap_release(struct file *file)
{
	struct nvme_pmap_file *pf = nvme_pmap_file(file);

	if (!pf)
		return;
	nvme_pmap_detach_all(pf);
	nvme_pmap_auto_file_free(pf);
	nvme_pmap_unregister_all(pf);
	nvme_pmap_ctrl_put(pf->pc);
	nvme_pmap_file_free(pf);
}
