// SPDX-License-Identifier: GPL-2.0
/*
 * The queues' work: one for all passthrough queues of a controller.  Every second while a file
 * has a queue, it handles time-outs, brings queues up after a reset, moves a queue to
 * another vector when all CPUs of its vector are offline, and deletes queues that have
 * had no user for a while.  It processes the CQ for a ring that polls while the ring's
 * program sleeps.
 */
#include <linux/suspend.h>

/* How often it looks, while queues are attached. */
#define PMAP_WORK_INTERVAL HZ

/* Return: jiffies until the next look at the queue. */
static unsigned long nvme_pmap_queue_look_after(struct nvme_pmap_queue *q)
{
	int ret = 0;

	nvme_pmap_check_timeouts(q);
	if (q->draining || (q->live && !nvme_pmap_vector_lost(q)))
		return PMAP_WORK_INTERVAL;
	/* move it to another vector, when it is idle */
	if (q->live)
		nvme_pmap_queue_stop(q);
	if (q->qid && nvme_pmap_vector_lost(q)) {
		if (nvme_pmap_queue_busy(q) || nvme_pmap_pci_down(q) == -EAGAIN)
			return PMAP_WORK_SOON;
	}
	if (q->create_failed != READ_ONCE(q->set->resets) + 1)
		ret = nvme_pmap_pci_up(q);
	return ret == -EAGAIN && !q->set->asleep ? PMAP_WORK_SOON :
						   PMAP_WORK_INTERVAL;
}

/* Bring each queue to the state that its users need. */
static void nvme_pmap_queues_work(struct work_struct *work)
{
	struct nvme_pmap_queues *set = container_of(to_delayed_work(work),
						    struct nvme_pmap_queues,
						    work);
	unsigned long next = MAX_JIFFY_OFFSET, again;
	unsigned int i, noio;

	mutex_lock(&set->lock);
	noio = memalloc_noio_save();
	for (i = 0; !set->dead && i < set->nr; i++) {
		struct nvme_pmap_queue *q = &set->queue[i];

		again = q->users ? nvme_pmap_queue_look_after(q) :
				   nvme_pmap_queue_free_if_idle(q);
		next = min(next, again);
	}
	memalloc_noio_restore(noio);
	mutex_unlock(&set->lock);
	if (next != MAX_JIFFY_OFFSET)
		queue_delayed_work(nvme_wq, &set->work, next);
}

/*
 * The system goes to sleep, or has woken up.  When this returns for a sleep, no admin
 * command about a queue is under way, and none is sent until the system has woken up.
 * Time-outs are still handled, since a suspend waits for commands.
 */
static int nvme_pmap_pm(struct notifier_block *pm, unsigned long event,
			void *unused)
{
	struct nvme_pmap_queues *set =
		container_of(pm, struct nvme_pmap_pci, pm)->queues;

	switch (event) {
	case PM_SUSPEND_PREPARE:
	case PM_HIBERNATION_PREPARE:
	case PM_RESTORE_PREPARE:
	case PM_POST_SUSPEND:
	case PM_POST_HIBERNATION:
	case PM_POST_RESTORE:
		mutex_lock(&set->lock);
		set->asleep = event == PM_SUSPEND_PREPARE ||
			      event == PM_HIBERNATION_PREPARE ||
			      event == PM_RESTORE_PREPARE;
		mutex_unlock(&set->lock);
		mod_delayed_work(nvme_wq, &set->work, PMAP_WORK_SOON);
	}
	return NOTIFY_DONE;
}
