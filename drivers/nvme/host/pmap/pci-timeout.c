// SPDX-License-Identifier: GPL-2.0
/*
 * The keeper of a controller's passthrough queues, at the end of pci.c after
 * pci-pair.c.  Every second while a file has one it sees to commands that have
 * timed out, brings queues up after a reset, takes them to another vector when the
 * CPUs of theirs went offline, and deletes those that nobody has used for a while.
 * A ring that polls, and whose program sleeps, has its completions marked meanwhile.
 *
 * What becomes of a command that has timed out is nvme_timeout()'s to decide, as for
 * those of blk-mq: in each state of the controller.
 */

#include <linux/suspend.h>

/* How often the keeper looks, while queues are attached. */
#define PMAP_KEEP HZ

/**
 * struct nvme_pmap_stand_in - what nvme_timeout() is shown in place of a request
 * @req: the request, of which nvme_timeout() looks at what nvme_pmap_timeout() sets
 * @iod: where blk_mq_rq_to_pdu() finds it
 * @hctx: leads to @hw
 * @hw: a queue that is polled, so that its interrupt is left alone
 * @none: its CQ, with nothing in it: who has called looked at the true one
 * @cmd: for the log
 *
 * Used under the lock of the controller's queues.
 */
struct nvme_pmap_stand_in {
	struct request req;
	struct nvme_iod iod;
	struct blk_mq_hw_ctx hctx;
	struct nvme_queue hw;
	struct nvme_completion none;
	struct nvme_command cmd;
};

static struct nvme_pmap_stand_in *nvme_pmap_stand_in_alloc(struct nvme_dev *dev)
{
	struct nvme_pmap_stand_in *in = kzalloc(sizeof(*in), GFP_KERNEL);

	BUILD_BUG_ON(offsetof(struct nvme_pmap_stand_in, iod) !=
		     sizeof(struct request));
	if (!in)
		return NULL;
	in->hw.dev = dev;
	in->hw.cqes = &in->none;
	in->hw.cq_phase = 1;
	__set_bit(NVMEQ_POLLED, &in->hw.flags);
	spin_lock_init(&in->hw.cq_poll_lock);
	in->hctx.driver_data = &in->hw;
	in->req.mq_hctx = &in->hctx;
	in->iod.req.ctrl = &dev->ctrl;
	in->iod.req.cmd = &in->cmd;
	return in;
}

/* The opcode of a command, if its entry in the SQ is there still; for the log. */
static u8 nvme_pmap_recall(const struct nvme_pmap_queue *q, u16 cid)
{
	u32 i, sent = READ_ONCE(q->sent), nr = min(sent, q->mask + 1);

	for (i = 1; i <= nr; i++) {
		const struct nvme_command *c = &q->sq[(sent - i) & q->mask];

		if (READ_ONCE(c->common.command_id) == cid)
			return READ_ONCE(c->common.opcode);
	}
	/* no such opcode */
	return U8_MAX;
}

/* The command @cid of the queue has timed out. */
static void nvme_pmap_timeout(struct nvme_pmap_queue *q, u16 cid, bool aborted)
{
	struct nvme_pmap_stand_in *in = nvme_pmap_dev(q)->pmap.stand_in;

	lockdep_assert_held(&q->set->lock);
	in->hw.qid = READ_ONCE(q->qid);
	/* a disable has ended it meanwhile; and 0 is the admin queue's */
	if (!in->hw.qid)
		return;
	in->cmd.common.opcode = nvme_pmap_recall(q, cid);
	in->req.cmd_flags = nvme_req_op(&in->cmd);
	in->req.state = MQ_RQ_IN_FLIGHT;
	in->req.tag = nvme_tag_from_cid(cid);
	in->iod.req.genctr = nvme_genctr_from_cid(cid);
	in->iod.req.flags = 0;
	in->iod.aborted = aborted;
	nvme_timeout(&in->req);
	if (in->iod.aborted && !aborted) {
		q->aborts = true;
		nvme_pmap_queue_aborted(q, cid);
	}
}

struct nvme_pmap_abort_look {
	__le16 sqid;
	bool found;
};

static bool nvme_pmap_is_abort(struct request *req, void *data)
{
	const struct nvme_command *cmd = nvme_req(req)->cmd;
	struct nvme_pmap_abort_look *look = data;

	look->found = cmd->common.opcode == nvme_admin_abort_cmd &&
		      cmd->abort.sqid == look->sqid;
	return !look->found;
}

/* Is one under way for a command of this queue?  They end with the admin queue. */
static bool nvme_pmap_abort_out(struct nvme_dev *dev, u16 qid)
{
	struct nvme_pmap_abort_look look = { .sqid = cpu_to_le16(qid) };

	blk_mq_tagset_busy_iter(&dev->admin_tagset, nvme_pmap_is_abort, &look);
	return look.found;
}

/*
 * Each has as long again, whatever is done about it; what is cancelled has ended.
 * A reset waits for this before the controller is connected again: see
 * nvme_pmap_sync().
 */
static void nvme_pmap_expire(struct nvme_pmap_queue *q)
{
	unsigned int left = q->mask + 1;
	bool aborted;
	int cid;

	/* for a second its task has had no end, nor sleep */
	if (READ_ONCE(q->rung) != READ_ONCE(q->sent) && q->stuck == q->rung)
		nvme_pmap_queue_take(q);
	q->stuck = READ_ONCE(q->rung);
	while (left-- && nvme_pmap_queue_busy(q)) {
		cid = nvme_pmap_queue_overdue(q, &aborted);
		if (cid < 0)
			return;
		nvme_pmap_timeout(q, cid, aborted);
	}
}

/* Return: jiffies until it has to be looked at again. */
static unsigned long nvme_pmap_keep_queue(struct nvme_pmap_queue *q)
{
	int ret = 0;

	nvme_pmap_expire(q);
	if (q->draining || (q->live && !nvme_pmap_vector_lost(q)))
		return PMAP_KEEP;
	/* to another vector, when it is idle */
	if (q->live)
		nvme_pmap_queue_stop(q);
	if (q->qid && nvme_pmap_vector_lost(q)) {
		if (nvme_pmap_queue_busy(q) || nvme_pmap_pci_down(q) == -EAGAIN)
			return PMAP_KEEP_SOON;
	}
	if (q->failed != READ_ONCE(q->set->resets) + 1)
		ret = nvme_pmap_pci_up(q);
	return ret == -EAGAIN && !q->set->asleep ? PMAP_KEEP_SOON : PMAP_KEEP;
}

/* Desired and actual state of the queues are brought together here. */
static void nvme_pmap_keep(struct work_struct *work)
{
	struct nvme_pmap_queues *set = container_of(to_delayed_work(work),
						    struct nvme_pmap_queues,
						    keeper);
	unsigned long next = MAX_JIFFY_OFFSET;
	unsigned int i, noio;

	mutex_lock(&set->lock);
	noio = memalloc_noio_save();
	for (i = 0; !set->dead && i < set->nr; i++)
		next = min(next, set->queue[i].users ?
					 nvme_pmap_keep_queue(&set->queue[i]) :
					 nvme_pmap_queue_tidy(&set->queue[i]));
	memalloc_noio_restore(noio);
	mutex_unlock(&set->lock);
	if (next != MAX_JIFFY_OFFSET)
		queue_delayed_work(nvme_wq, &set->keeper, next);
}

/*
 * The system goes to sleep, or has woken up.  When this returns, nobody is sending an
 * admin command about a queue, nor does until it wakes up; time-outs go on, for a
 * suspend waits for commands.
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
		mod_delayed_work(nvme_wq, &set->keeper, PMAP_KEEP_SOON);
	}
	return NOTIFY_DONE;
}
