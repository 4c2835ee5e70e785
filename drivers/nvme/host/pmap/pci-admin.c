// SPDX-License-Identifier: GPL-2.0
/*
 * Admin commands about passthrough queues.  A command reaches the controller before the
 * next disable, or not at all: after a reset a queue must not be created before the
 * controller has been asked for queues, and an identifier means another queue.
 */

struct nvme_pmap_wait {
	struct completion done;
	blk_status_t error;
};

static enum rq_end_io_ret nvme_pmap_admin_end(struct request *req,
					      blk_status_t error)
{
	struct nvme_pmap_wait *wait = req->end_io_data;

	wait->error = error;
	complete(&wait->done);
	return RQ_END_IO_NONE;
}

/*
 * Start the command, unless a disable has begun since it was decided on.  pair_lock
 * keeps a new disable out until the controller has the command, or it has failed.
 */
static bool nvme_pmap_start_admin(struct nvme_pmap_queues *set,
				  struct request *req, bool creates)
{
	struct nvme_dev *dev = set->dev;
	bool start;

	mutex_lock(&set->pair_lock);
	start = set->life == set->resets &&
		(!creates || nvme_ctrl_state(&dev->ctrl) == NVME_CTRL_LIVE);
	if (start)
		blk_execute_rq_nowait(req, false);
	mutex_unlock(&set->pair_lock);
	return start;
}

/*
 * Other users may hold all admin tags for long.  A Create CQ, the first command for a
 * pair, then fails, and its caller tries again; the other commands wait for a tag.
 */
static struct request *nvme_pmap_alloc_admin(struct nvme_pmap_queues *set,
					     struct nvme_command *c)
{
	unsigned long end = jiffies + PMAP_DELETE_TIMEOUT;
	struct nvme_dev *dev = set->dev;
	struct request *req;

	for (;;) {
		req = blk_mq_alloc_request(dev->ctrl.admin_q, nvme_req_op(c),
					   BLK_MQ_REQ_NOWAIT);
		if (!IS_ERR(req) || c->common.opcode == nvme_admin_create_cq ||
		    set->life != READ_ONCE(set->resets))
			return req;
		if (time_after(jiffies, end))
			return ERR_PTR(-EBUSY);
		schedule_timeout_uninterruptible(1);
	}
}

static int nvme_pmap_submit_admin(struct nvme_pmap_queues *set,
				  struct nvme_command *c)
{
	bool creates = c->common.opcode == nvme_admin_create_cq ||
		       c->common.opcode == nvme_admin_create_sq;
	struct nvme_pmap_wait wait;
	struct request *req;
	int ret = -EAGAIN;

	lockdep_assert_held(&set->lock);
	req = nvme_pmap_alloc_admin(set, c);
	if (IS_ERR(req))
		return PTR_ERR(req);
	nvme_init_request(req, c);
	init_completion(&wait.done);
	req->end_io = nvme_pmap_admin_end;
	req->end_io_data = &wait;
	if (nvme_pmap_start_admin(set, req, creates)) {
		wait_for_completion_io(&wait.done);
		/* as nvme_execute_rq() returns it */
		ret = nvme_req(req)->flags & NVME_REQ_CANCELLED ?
			      -EINTR :
		      nvme_req(req)->status ?:
					      blk_status_to_errno(wait.error);
	}
	blk_mq_free_request(req);
	return ret;
}

/*
 * Replaces nvme_submit_sync_cmd() where pci.c creates and deletes queues.  Identifiers
 * below base are blk-mq's.
 */
static int nvme_pmap_queue_cmd(struct nvme_dev *dev, u16 qid,
			       struct nvme_command *c)
{
	struct nvme_pmap_queues *set = READ_ONCE(dev->pmap.queues);

	if (qid < dev->pmap.base)
		return nvme_submit_sync_cmd(dev->ctrl.admin_q, c, NULL, 0);
	/* NULL: the controller is being removed */
	return set ? nvme_pmap_submit_admin(set, c) : -ENODEV;
}

struct nvme_pmap_abort_search {
	__le16 sqid;
	bool found;
};

static bool nvme_pmap_is_abort(struct request *req, void *data)
{
	const struct nvme_command *cmd = nvme_req(req)->cmd;
	struct nvme_pmap_abort_search *look = data;

	look->found = cmd->common.opcode == nvme_admin_abort_cmd &&
		      cmd->abort.sqid == look->sqid;
	return !look->found;
}

/* Is an Abort for a command of this queue under way?  A reset ends it too. */
static bool nvme_pmap_abort_out(struct nvme_dev *dev, u16 qid)
{
	struct nvme_pmap_abort_search look = { .sqid = cpu_to_le16(qid) };

	blk_mq_tagset_busy_iter(&dev->admin_tagset, nvme_pmap_is_abort, &look);
	return look.found;
}
