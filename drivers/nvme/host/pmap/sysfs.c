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

/* A sysfs file that shows a number. */
struct nvme_pmap_attr {
	struct device_attribute attr;
	/* Return: the number, or an errno */
	s64 (*value)(struct nvme_pmap_ctrl *pc, unsigned int which);
	unsigned int which;
};

static ssize_t value_show(struct device *dev, struct device_attribute *attr,
			  char *buf)
{
	struct nvme_pmap_attr *pa = container_of(attr, struct nvme_pmap_attr,
						 attr);
	struct nvme_pmap_ctrl *pc = nvme_pmap_ctrl_get(dev_get_drvdata(dev));
	s64 value;

	if (!pc)
		return -ENODEV;
	value = pa->value(pc, pa->which);
	nvme_pmap_ctrl_put(pc);
	return value < 0 ? value : sysfs_emit(buf, "%lld\n", value);
}

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

#define PMAP_ATTR(_name, _value, _which)                       \
	(&(struct nvme_pmap_attr){                             \
		.attr = __ATTR(_name, 0444, value_show, NULL), \
		.value = _value,                               \
		.which = _which,                               \
	}                                                      \
		  .attr.attr)

static struct attribute *nvme_pmap_attrs[] = {
	&dev_attr_auto_mode.attr,
	PMAP_ATTR(queues, nvme_pmap_sysfs_granted, 0),
	PMAP_ATTR(queues_free, nvme_pmap_sysfs_available, 0),
	PMAP_ATTR(auto_pinned, nvme_pmap_auto_bytes, 0),
#define PMAP_FILE(name, sum, which)
#define PMAP_CTRL(name, sum, which) \
	PMAP_ATTR(name, nvme_pmap_ctrl_##sum, which),
	PMAP_COUNTERS(PMAP_FILE, PMAP_CTRL)
#undef PMAP_CTRL
#undef PMAP_FILE
		NULL,
};

static const struct attribute_group nvme_pmap_group = {
	.name = "pmap",
	.attrs = nvme_pmap_attrs,
};

/**
 * nvme_pmap_sysfs_add - create the sysfs files of a new controller
 * @pc: the controller's state
 */
void nvme_pmap_sysfs_add(struct nvme_pmap_ctrl *pc)
{
	if (sysfs_create_group(&pc->ctrl->device->kobj, &nvme_pmap_group))
		dev_warn(pc->ctrl->device, "pmap: not shown in sysfs\n");
}

/**
 * nvme_pmap_sysfs_del - remove the sysfs files of a controller
 * @pc: the controller's state
 */
void nvme_pmap_sysfs_del(struct nvme_pmap_ctrl *pc)
{
	sysfs_remove_group(&pc->ctrl->device->kobj, &nvme_pmap_group);
}
