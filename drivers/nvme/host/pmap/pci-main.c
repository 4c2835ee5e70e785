// SPDX-License-Identifier: GPL-2.0
/* The passthrough queues of a struct nvme_dev in its probe, disable and remove. */

static unsigned int pmap_queue_depth = 1024;
module_param(pmap_queue_depth, uint, 0444);
MODULE_PARM_DESC(pmap_queue_depth, "most entries of a passthrough queue");

/*
 * The controller is about to be disabled: stop the queues, so that no command gets to
 * them, and delete the pairs if it answers.  The caller holds shutdown_lock, and will
 * free the vectors.  Returns with pair_lock held, for nvme_pmap_disable_end().
 */
static void nvme_pmap_disable_begin(struct nvme_dev *dev)
{
	struct nvme_pmap_queues *set = dev->pmap.queues;
	unsigned int i;

	lockdep_assert_held(&dev->shutdown_lock);
	dev->pmap.stopped = set;
	if (!set)
		return;
	mutex_lock(&set->pair_lock);
	WRITE_ONCE(set->resets, set->resets + 1);
	for (i = 0; i < set->nr; i++) {
		struct nvme_pmap_queue *q = &set->queue[i];

		if (q->qid)
			nvme_pmap_queue_stop(q);
	}
	if (!nvme_pci_ctrl_is_dead(dev))
		nvme_pmap_delete_pairs(set);
	for (i = 0; i < set->nr; i++)
		if (set->queue[i].qid)
			nvme_pmap_free_irq(&set->queue[i]);
}

/* The controller is disabled: end the commands that it has not answered. */
static void nvme_pmap_disable_end(struct nvme_dev *dev)
{
	struct nvme_pmap_queues *set = dev->pmap.stopped;
	bool kick = false;
	unsigned int i;

	if (!set)
		return;
	lockdep_assert_held(&dev->shutdown_lock);
	for (i = 0; i < set->nr; i++) {
		struct nvme_pmap_queue *q = &set->queue[i];

		if (!q->qid)
			continue;
		nvme_pmap_queue_cancel(q);
		q->qid = 0;
		kick = true;
	}
	mutex_unlock(&set->pair_lock);
	if (kick)
		mod_delayed_work(nvme_wq, &set->work, PMAP_WORK_SOON);
}

/*
 * In a reset, after the disable: wait for time-outs that are being handled, as
 * nvme_sync_queues() does for blk-mq's.  They must not act on a controller that is
 * being connected.
 */
static void nvme_pmap_sync(struct nvme_dev *dev)
{
	struct nvme_pmap_queues *set = dev->pmap.queues;

	if (set) {
		mutex_lock(&set->lock);
		mutex_unlock(&set->lock);
	}
}

static const struct nvme_pmap_queue_ops nvme_pmap_pci_ops = {
	.up = nvme_pmap_pci_up,
	.down = nvme_pmap_pci_down,
	.kick = nvme_pmap_pci_kick,
};

static struct nvme_pmap_queues *nvme_pmap_pci_queues(struct nvme_dev *dev)
{
	struct pci_dev *pdev = to_pci_dev(dev->dev);
	unsigned int nr = nvme_pmap_queues_usable(dev);
	struct nvme_pmap_queues *set;

	if (!nr || !dev->pmap.granted)
		return NULL;
	set = nvme_pmap_queues_alloc(&nvme_pmap_pci_ops, dev, dev->dev, nr);
	dev->pmap.stand_in = nvme_pmap_stand_in_alloc(dev);
	if (!set || !dev->pmap.stand_in)
		goto fail;
	set->base = dev->pmap.base;
	set->granted = min(dev->pmap.granted, nr);
	set->depth =
		rounddown_pow_of_two(clamp(pmap_queue_depth, 2u, dev->q_depth));
	INIT_DELAYED_WORK(&set->work, nvme_pmap_queues_work);
	dev->pmap.pm.notifier_call = nvme_pmap_pm;
	/* mapped once: pci.c may map its own doorbells again in a reset */
	set->db = ioremap(pci_resource_start(pdev, 0) + NVME_REG_DBS,
			  (nvme_pmap_max_qid(dev) + 1) * 8 * dev->db_stride);
	if (set->db)
		return set;
fail:
	dev_warn(dev->ctrl.device, "pmap: no memory for passthrough queues\n");
	kfree(dev->pmap.stand_in);
	kvfree(set);
	return NULL;
}

/* At the end of probe: the controller is live, and has no user yet. */
static void nvme_pmap_pci_add(struct nvme_dev *dev)
{
	struct nvme_pmap_queues *set = nvme_pmap_pci_queues(dev);

	if (!nvme_pmap_ctrl_add(&dev->ctrl, dev->dev, set)) {
		dev->pmap.queues = set;
		if (set)
			register_pm_notifier(&dev->pmap.pm);
	} else if (set) {
		kfree(dev->pmap.stand_in);
		iounmap(set->db);
		kvfree(set);
	}
}

/* In remove: the controller is disabled, and nothing is in flight. */
static void nvme_pmap_pci_del(struct nvme_dev *dev)
{
	struct nvme_pmap_queues *set = dev->pmap.queues;

	if (set)
		unregister_pm_notifier(&dev->pmap.pm);
	/* a late time-out may be disabling the controller once more */
	mutex_lock(&dev->shutdown_lock);
	dev->pmap.queues = NULL;
	mutex_unlock(&dev->shutdown_lock);
	if (set) {
		nvme_pmap_queues_kill(set);
		cancel_delayed_work_sync(&set->work);
		kfree(dev->pmap.stand_in);
		iounmap(set->db);
	}
	/* with its last file, the set is freed too */
	nvme_pmap_ctrl_del(&dev->ctrl);
}
