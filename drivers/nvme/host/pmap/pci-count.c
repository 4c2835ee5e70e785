// SPDX-License-Identifier: GPL-2.0
/*
 * The number of passthrough queues to ask a controller for, and blk-mq's share of the
 * queues that it grants.
 */

static unsigned int pmap_queues = 32;
module_param(pmap_queues, uint, 0444);
MODULE_PARM_DESC(pmap_queues, "passthrough queues to ask a controller for");

static unsigned int pmap_reserve;
module_param(pmap_reserve, uint, 0444);
MODULE_PARM_DESC(pmap_reserve,
		 "passthrough queues that the block device must leave free");

#define PMAP_MAX_QUEUES 256

static struct nvme_dev *nvme_pmap_dev(const struct nvme_pmap_queue *q)
{
	return q->set->dev;
}

static unsigned int nvme_pmap_queues_wanted(void)
{
	return min_t(unsigned int, pmap_queues, PMAP_MAX_QUEUES);
}

/* None if SQ entries are larger, tags are shared, or a queue takes one command. */
static unsigned int nvme_pmap_queues_usable(struct nvme_dev *dev)
{
	if (dev->ctrl.quirks &
	    (NVME_QUIRK_SHARED_TAGS | NVME_QUIRK_128_BYTES_SQES |
	     NVME_QUIRK_QDEPTH_ONE))
		return 0;
	return nvme_pmap_queues_wanted();
}

/* The last queue identifier that has a doorbell, and a shadow of it. */
static unsigned int nvme_pmap_max_qid(struct nvme_dev *dev)
{
	u64 len = pci_resource_len(to_pci_dev(dev->dev), 0) - NVME_REG_DBS;

	return min_t(u64, dev->nr_allocated_queues,
		     div_u64(len, 8 * dev->db_stride)) -
	       1;
}

/*
 * blk-mq's share of @granted queues, at least one.  It gets the number that it asks
 * for, unless the operator reserves some (pmap_reserve).
 */
static unsigned int nvme_pmap_leave_blk_mq(struct nvme_dev *dev,
					   unsigned int asked,
					   unsigned int granted)
{
	unsigned int reserve = min(pmap_reserve, nvme_pmap_queues_usable(dev));

	if (!reserve)
		return min(asked, granted);
	granted = min(granted, nvme_pmap_max_qid(dev));
	if (granted > reserve)
		return min(asked, granted - reserve);
	return min(granted, 1u);
}

/*
 * nvme_set_queue_count() for blk-mq's queues and ours; *nr becomes blk-mq's share.  In
 * a reset the controller has no queue at this point, so the identifiers may change.
 */
static int nvme_pmap_set_queue_count(struct nvme_dev *dev, unsigned int *nr)
{
	struct nvme_pmap_queues *set = dev->pmap.queues;
	unsigned int granted = *nr + nvme_pmap_queues_usable(dev);
	int ret;

	nvme_pmap_ctrl_reset(&dev->ctrl);
	if (set)
		mutex_lock(&set->lock);
	ret = nvme_set_queue_count(&dev->ctrl, &granted);
	/* a controller that fails instead of granting less: ask stock's question */
	if (!ret && !granted) {
		granted = *nr;
		ret = nvme_set_queue_count(&dev->ctrl, &granted);
	}
	*nr = nvme_pmap_leave_blk_mq(dev, *nr, granted);
	dev->pmap.base = *nr + 1;
	granted = clamp(nvme_pmap_max_qid(dev), *nr, granted);
	dev->pmap.granted = granted - *nr;
	if (set) {
		set->base = dev->pmap.base;
		WRITE_ONCE(set->granted, min(dev->pmap.granted, set->nr));
		mutex_unlock(&set->lock);
	}
	return ret;
}
