// SPDX-License-Identifier: GPL-2.0
/* Mends: repairs of stock bugs in core.c; mends.h has those in ioctl.c. */
#include "nvme.h"
#include "hooks.h"

/* Stock's release of a namespace's cdev_device; the same for all. */
static void (*nvme_pmap_stock_cdev_rel)(struct device *dev);

static void nvme_pmap_cdev_rel(struct device *dev)
{
	struct nvme_ns *ns = container_of(dev, struct nvme_ns, cdev_device);

	nvme_pmap_stock_cdev_rel(dev);
	nvme_put_ns(ns);
}

/**
 * nvme_pmap_cdev_added - let the character device hold its namespace
 * @ns: the namespace
 * @ret: what nvme_cdev_add() returned
 *
 * Stock frees a removed namespace, with the cdev in it, in the release of the last open
 * file; only then does the VFS put the cdev, and writes to freed memory.  The device
 * under the cdev lives until that put.
 *
 * Return: @ret.
 */
int nvme_pmap_cdev_added(struct nvme_ns *ns, int ret)
{
	if (!ret && nvme_get_ns(ns)) {
		nvme_pmap_stock_cdev_rel = ns->cdev_device.release;
		ns->cdev_device.release = nvme_pmap_cdev_rel;
	}
	return ret;
}
