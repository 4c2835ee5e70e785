// SPDX-License-Identifier: GPL-2.0
/*
 * The keeper of a controller's passthrough queues, at the end of pci.c after
 * pmap-pci.c.  Every second while a file has one it sees to commands that have
 * timed out, brings queues up after a reset, and takes them to another vector
 * when the CPUs of theirs went offline.  A ring that polls, and whose program
 * sleeps, has its completions marked meanwhile.
 */

/* How often the keeper looks, while queues are attached. */
#define PMAP_KEEP HZ

struct nvme_pmap_abort {
	struct nvme_pmap_queue *q;
	u16 id;
};

static enum rq_end_io_ret nvme_pmap_abort_done(struct request *req,
					       blk_status_t error)
{
	struct nvme_pmap_abort *abort = req->end_io_data;
	struct nvme_dev *dev = nvme_pmap_dev(abort->q);

	dev_warn(dev->ctrl.device, "pmap: Abort status: 0x%x\n",
		 nvme_req(req)->status);
	atomic_inc(&dev->ctrl.abort_limit);
	nvme_pmap_queue_abort_end(abort->q, abort->id, true);
	kfree(abort);
	blk_mq_free_request(req);
	return RQ_END_IO_NONE;
}

/* Return: whether an Abort has been sent; else it is tried again later. */
static bool nvme_pmap_send_abort(struct nvme_pmap_queue *q, u16 id)
{
	struct nvme_dev *dev = nvme_pmap_dev(q);
	u16 qid = READ_ONCE(q->qid);
	struct nvme_command cmd = {
		.abort.opcode = nvme_admin_abort_cmd,
		.abort.cid = id,
		.abort.sqid = cpu_to_le16(qid),
	};
	struct nvme_pmap_abort *abort;
	struct request *req;

	/* a reset ends the command, and the identifier of its queue */
	if (!qid || nvme_ctrl_state(&dev->ctrl) != NVME_CTRL_LIVE)
		return false;
	if (atomic_dec_return(&dev->ctrl.abort_limit) < 0)
		goto undo;
	abort = kmalloc(sizeof(*abort), GFP_NOIO);
	if (!abort)
		goto undo;
	req = blk_mq_alloc_request(dev->ctrl.admin_q, nvme_req_op(&cmd),
				   BLK_MQ_REQ_NOWAIT);
	if (IS_ERR(req)) {
		kfree(abort);
		goto undo;
	}
	*abort = (struct nvme_pmap_abort){ .q = q, .id = id };
	nvme_init_request(req, &cmd);
	req->end_io = nvme_pmap_abort_done;
	req->end_io_data = abort;
	blk_execute_rq_nowait(req, false);
	return true;
undo:
	atomic_inc(&dev->ctrl.abort_limit);
	return false;
}

/* Has the controller itself failed?  Its registers stay while it has the queue. */
static bool nvme_pmap_ctrl_failed(struct nvme_pmap_queue *q)
{
	struct nvme_dev *dev = nvme_pmap_dev(q);
	bool failed = false;

	if (!mutex_trylock(&q->set->pair_lock))
		return false;
	if (q->qid)
		failed = nvme_should_reset(dev,
					   readl(dev->bar + NVME_REG_CSTS));
	mutex_unlock(&q->set->pair_lock);
	return failed;
}

/* Time-outs of a queue: Abort, and a reset if that does not help. */
static void nvme_pmap_expire(struct nvme_pmap_queue *q)
{
	struct nvme_dev *dev = nvme_pmap_dev(q);
	int id;

	/* PCI error recovery is at work, as nvme_timeout() says */
	if (pci_channel_offline(to_pci_dev(dev->dev)))
		return;
	/* for a second its task has had no end, nor sleep */
	if (READ_ONCE(q->rung) != READ_ONCE(q->sent) && q->stuck == q->rung)
		nvme_pmap_queue_take(q);
	q->stuck = READ_ONCE(q->rung);
	while (nvme_pmap_queue_busy(q)) {
		id = nvme_pmap_queue_overdue(q);
		if (id == -ENOENT)
			return;
		if (id == -ETIME || nvme_pmap_ctrl_failed(q)) {
			if (id >= 0)
				nvme_pmap_queue_abort_end(q, id, true);
			dev_warn(dev->ctrl.device,
				 "pmap: queue %u timeout, reset controller\n",
				 q->qid);
			/* nor may its removal wait for a command for ever */
			if (nvme_reset_ctrl(&dev->ctrl) &&
			    nvme_state_terminal(&dev->ctrl))
				nvme_dev_disable(dev, true);
			return;
		}
		dev_warn(dev->ctrl.device,
			 "pmap: queue %u id %d timeout, aborting\n", q->qid,
			 id);
		if (!nvme_pmap_send_abort(q, id)) {
			/* too many under way: in a while */
			nvme_pmap_queue_abort_end(q, id, false);
			return;
		}
	}
}

/* Return: jiffies until it has to be looked at again. */
static unsigned long nvme_pmap_keep_queue(struct nvme_pmap_queue *q)
{
	int ret = 0;

	if (q->draining || (q->live && !nvme_pmap_vector_lost(q))) {
		nvme_pmap_expire(q);
		return PMAP_KEEP;
	}
	/* to another vector, when it is idle */
	if (q->live)
		nvme_pmap_queue_stop(q);
	if (q->qid && nvme_pmap_vector_lost(q)) {
		nvme_pmap_expire(q);
		if (nvme_pmap_queue_busy(q))
			return PMAP_KEEP_SOON;
		nvme_pmap_pci_down(q);
	}
	/* a suspended controller may be live, and not to be spoken to */
	if (q->failed != READ_ONCE(q->set->resets) + 1 &&
	    pm_suspend_target_state == PM_SUSPEND_ON)
		ret = nvme_pmap_pci_up(q);
	return ret == -EAGAIN ? PMAP_KEEP_SOON : PMAP_KEEP;
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
		if (set->queue[i].users)
			next = min(next, nvme_pmap_keep_queue(&set->queue[i]));
	memalloc_noio_restore(noio);
	mutex_unlock(&set->lock);
	if (next != MAX_JIFFY_OFFSET)
		queue_delayed_work(nvme_wq, &set->keeper, next);
}
