// SPDX-License-Identifier: GPL-2.0
/*
 * The operator's view of a controller in /sys/class/nvme/nvmeN/pmap/: its passthrough
 * queues, the auto door, and why commands did not use them.
 */
#include <linux/percpu.h>
#include <linux/sysfs.h>

#include "nvme.h"
#include "auto.h"
#include "counts.h"
#include "ctrl.h"
#include "queue.h"
#include "sysfs.h"

/* Queues that the controller has to spare beyond blk-mq's. */
static s64 nvme_pmap_sysfs_granted(struct nvme_pmap_ctrl *pc,
				   unsigned int which)
{
	return pc->queues ? READ_ONCE(pc->queues->granted) : 0;
}

/* Spare queues that no file has attached. */
static s64 nvme_pmap_sysfs_available(struct nvme_pmap_ctrl *pc,
				     unsigned int which)
{
	u16 irq, polled;

	return nvme_pmap_queues_available(pc->queues, NULL, &irq, &polled);
}

/* Bytes that the auto door keeps pinned. */
static s64 nvme_pmap_auto_bytes(struct nvme_pmap_ctrl *pc, unsigned int which)
{
	return (s64)atomic_long_read(&pc->auto_pages) << PAGE_SHIFT;
}

/* The mode of the auto door: off, on, or queue. */
static ssize_t auto_mode_show(struct device *dev, struct device_attribute *attr,
			      char *buf)
{
	struct nvme_pmap_ctrl *pc = nvme_pmap_ctrl_get(dev_get_drvdata(dev));
	u8 mode;

	if (!pc)
		return -ENODEV;
	mode = READ_ONCE(pc->mode);
	nvme_pmap_ctrl_put(pc);
	return sysfs_emit(buf, "%s\n", nvme_pmap_auto_modes[mode]);
}

static ssize_t auto_mode_store(struct device *dev,
			       struct device_attribute *attr, const char *buf,
			       size_t len)
{
	int mode = sysfs_match_string(nvme_pmap_auto_modes, buf);
	struct nvme_pmap_ctrl *pc;

	if (mode < 0)
		return mode;
	pc = nvme_pmap_ctrl_get(dev_get_drvdata(dev));
	if (!pc)
		return -ENODEV;
	nvme_pmap_auto_switch(pc, mode);
	nvme_pmap_ctrl_put(pc);
	return len;
}
static DEVICE_ATTR_RW(auto_mode);

#define PMAP_ATTR(_name, _value)                                        \
	(&(struct nvme_pmap_attr){                                      \
		.attr = __ATTR(_name, 0444, nvme_pmap_attr_show, NULL), \
		.value = _value,                                        \
	}                                                               \
		  .attr.attr)

/* The counters are added by nvme_pmap_sysfs_add(). */
static struct attribute *nvme_pmap_attrs[] = {
	&dev_attr_auto_mode.attr,
	PMAP_ATTR(queues_granted, nvme_pmap_sysfs_granted),
	PMAP_ATTR(queues_free, nvme_pmap_sysfs_available),
	PMAP_ATTR(auto_pinned, nvme_pmap_auto_bytes),
	NULL,
};

static const struct attribute_group nvme_pmap_group = {
	.name = "pmap",
	.attrs = nvme_pmap_attrs,
};

/**
 * nvme_pmap_sysfs_add - show a controller that has been added
 * @pc: the controller
 */
void nvme_pmap_sysfs_add(struct nvme_pmap_ctrl *pc)
{
	struct kobject *kobj = &pc->ctrl->device->kobj;
	int i, ret = sysfs_create_group(kobj, &nvme_pmap_group);

	for (i = 0; !ret && i < nvme_pmap_nr_counters; i++) {
		struct nvme_pmap_attr *pa = &nvme_pmap_counters[i].sysfs;

		if (pa->value)
			ret = sysfs_add_file_to_group(kobj, &pa->attr.attr,
						      nvme_pmap_group.name);
	}
	if (ret)
		dev_warn(pc->ctrl->device, "pmap: not shown in sysfs\n");
}

/**
 * nvme_pmap_sysfs_del - the controller is being removed
 * @pc: the controller
 *
 * The counters go with their directory.
 */
void nvme_pmap_sysfs_del(struct nvme_pmap_ctrl *pc)
{
	sysfs_remove_group(&pc->ctrl->device->kobj, &nvme_pmap_group);
}
