// SPDX-License-Identifier: GPL-2.0
/*
 * What an operator sees of a controller, in /sys/class/nvme/nvmeN/pmap/: its
 * passthrough queues, and why commands went past them.
 */
#include <linux/sysfs.h>

#include "nvme.h"
#include "pmap.h"

struct nvme_pmap_attr {
	struct device_attribute attr;
	union {
		enum nvme_pmap_fallback why;
		enum nvme_pmap_way way;
	};
};

/* Queues that the controller has to spare beside blk-mq's. */
static ssize_t queues_show(struct device *dev, struct device_attribute *attr,
			   char *buf)
{
	struct nvme_pmap_ctrl *pc = nvme_pmap_ctrl_get(dev_get_drvdata(dev));
	unsigned int granted = 0;

	if (!pc)
		return -ENODEV;
	if (pc->queues)
		granted = READ_ONCE(pc->queues->granted);
	nvme_pmap_ctrl_put(pc);
	return sysfs_emit(buf, "%u\n", granted);
}
static DEVICE_ATTR_RO(queues);

/* Those of them that no file has attached. */
static ssize_t queues_free_show(struct device *dev,
				struct device_attribute *attr, char *buf)
{
	struct nvme_pmap_ctrl *pc = nvme_pmap_ctrl_get(dev_get_drvdata(dev));
	u16 irq, polled;
	int free;

	if (!pc)
		return -ENODEV;
	free = nvme_pmap_queues_free(pc->queues, NULL, &irq, &polled);
	nvme_pmap_ctrl_put(pc);
	return free < 0 ? free : sysfs_emit(buf, "%d\n", free);
}
static DEVICE_ATTR_RO(queues_free);

/* What is done with fixed buffers of unmodified programs: off, on, or queue. */
static ssize_t auto_door_show(struct device *dev, struct device_attribute *attr,
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

static ssize_t auto_door_store(struct device *dev,
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
static DEVICE_ATTR_RW(auto_door);

/* Bytes that it keeps pinned. */
static ssize_t auto_pinned_show(struct device *dev,
				struct device_attribute *attr, char *buf)
{
	struct nvme_pmap_ctrl *pc = nvme_pmap_ctrl_get(dev_get_drvdata(dev));
	u64 pages;

	if (!pc)
		return -ENODEV;
	pages = atomic_long_read(&pc->auto_pages);
	nvme_pmap_ctrl_put(pc);
	return sysfs_emit(buf, "%llu\n", pages << PAGE_SHIFT);
}
static DEVICE_ATTR_RO(auto_pinned);

/* Commands of files with a queue that went by blk-mq, for one reason. */
static ssize_t fallback_show(struct device *dev, struct device_attribute *attr,
			     char *buf)
{
	struct nvme_pmap_attr *pa = container_of(attr, struct nvme_pmap_attr,
						 attr);
	struct nvme_pmap_ctrl *pc = nvme_pmap_ctrl_get(dev_get_drvdata(dev));
	s64 count;

	if (!pc)
		return -ENODEV;
	count = atomic64_read(&pc->fallback[pa->why]);
	nvme_pmap_ctrl_put(pc);
	return sysfs_emit(buf, "%lld\n", count);
}

#define PMAP_FALLBACK_ATTR(_name, _why)                                      \
	{                                                                    \
		.attr = __ATTR(fallback_##_name, 0444, fallback_show, NULL), \
		.why = PMAP_FALLBACK_##_why,                                 \
	}

static struct nvme_pmap_attr nvme_pmap_fallbacks[] = {
	PMAP_FALLBACK_ATTR(full, FULL),	    PMAP_FALLBACK_ATTR(down, DOWN),
	PMAP_FALLBACK_ATTR(frozen, FROZEN), PMAP_FALLBACK_ATTR(list, LIST),
	PMAP_FALLBACK_ATTR(mode, MODE),	    PMAP_FALLBACK_ATTR(logged, LOGGED),
	PMAP_FALLBACK_ATTR(worker, WORKER), PMAP_FALLBACK_ATTR(busy, BUSY),
};

/* Commands with fixed buffers, by the way they went. */
static ssize_t way_show(struct device *dev, struct device_attribute *attr,
			char *buf)
{
	struct nvme_pmap_attr *pa = container_of(attr, struct nvme_pmap_attr,
						 attr);
	struct nvme_pmap_ctrl *pc = nvme_pmap_ctrl_get(dev_get_drvdata(dev));
	u64 count;

	if (!pc)
		return -ENODEV;
	count = nvme_pmap_auto_count(pc, pa->way);
	nvme_pmap_ctrl_put(pc);
	return sysfs_emit(buf, "%llu\n", count);
}

#define PMAP_WAY_ATTR(_name, _way)                           \
	{                                                    \
		.attr = __ATTR(_name, 0444, way_show, NULL), \
		.way = PMAP_WAY_##_way,                      \
	}

static struct nvme_pmap_attr nvme_pmap_ways[] = {
	PMAP_WAY_ATTR(auto_mq, MQ),
	PMAP_WAY_ATTR(auto_queue, QUEUE),
	PMAP_WAY_ATTR(stock_starting, STARTING),
	PMAP_WAY_ATTR(stock_command, COMMAND),
	PMAP_WAY_ATTR(stock_refused, REFUSED),
	PMAP_WAY_ATTR(stock_failed, FAILED),
};

static struct attribute *nvme_pmap_attrs[] = {
	&dev_attr_auto_door.attr,
	&dev_attr_auto_pinned.attr,
	&nvme_pmap_ways[0].attr.attr,
	&nvme_pmap_ways[1].attr.attr,
	&nvme_pmap_ways[2].attr.attr,
	&nvme_pmap_ways[3].attr.attr,
	&nvme_pmap_ways[4].attr.attr,
	&nvme_pmap_ways[5].attr.attr,
	&dev_attr_queues.attr,
	&dev_attr_queues_free.attr,
	&nvme_pmap_fallbacks[0].attr.attr,
	&nvme_pmap_fallbacks[1].attr.attr,
	&nvme_pmap_fallbacks[2].attr.attr,
	&nvme_pmap_fallbacks[3].attr.attr,
	&nvme_pmap_fallbacks[4].attr.attr,
	&nvme_pmap_fallbacks[5].attr.attr,
	&nvme_pmap_fallbacks[6].attr.attr,
	&nvme_pmap_fallbacks[7].attr.attr,
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
	if (sysfs_create_group(&pc->ctrl->device->kobj, &nvme_pmap_group))
		dev_warn(pc->ctrl->device, "pmap: not shown in sysfs\n");
}

/**
 * nvme_pmap_sysfs_del - the controller is being removed
 * @pc: the controller
 */
void nvme_pmap_sysfs_del(struct nvme_pmap_ctrl *pc)
{
	sysfs_remove_group(&pc->ctrl->device->kobj, &nvme_pmap_group);
}
