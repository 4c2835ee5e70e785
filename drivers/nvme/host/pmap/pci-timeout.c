// SPDX-License-Identifier: GPL-2.0
/*
 * Time-outs of commands on passthrough queues.  nvme_timeout() decides what to do, as
 * for blk-mq's commands, in each state of the controller.
 */

/**
 * struct nvme_pmap_stand_in - shown to nvme_timeout() in place of a request
 * @req: the request; nvme_pmap_timeout() sets the fields that nvme_timeout() reads
 * @iod: the iod, where blk_mq_rq_to_pdu() finds it
 * @hctx: leads from @req to @hw
 * @hw: a polled queue, so that nvme_timeout() leaves its interrupt alone
 * @none: the empty CQ of @hw; the caller has looked at the real CQ
 * @cmd: the command, for the log
 *
 * Guarded by the lock of the controller's queues.
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

/* The opcode of a command, for the log, if its entry is still in the SQ. */
static u8 nvme_pmap_sq_opcode(const struct nvme_pmap_queue *q, u16 cid)
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
	/* a disable has ended the command meanwhile; and qid 0 is the admin queue's */
	if (!in->hw.qid)
		return;
	in->cmd.common.opcode = nvme_pmap_sq_opcode(q, cid);
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

/*
 * Pass overdue commands to nvme_timeout(); the deadline of each has been extended.  A reset
 * waits for this before it connects the controller again: see nvme_pmap_sync().
 */
static void nvme_pmap_check_timeouts(struct nvme_pmap_queue *q)
{
	unsigned int left = q->mask + 1;
	bool aborted;
	int cid;

	/* for a second the task has neither ended its batch nor slept */
	if (READ_ONCE(q->rung) != READ_ONCE(q->sent) && q->stuck == q->rung)
		nvme_pmap_queue_revoke_batch(q);
	q->stuck = READ_ONCE(q->rung);
	while (left-- && nvme_pmap_queue_busy(q)) {
		cid = nvme_pmap_queue_overdue(q, &aborted);
		if (cid < 0)
			return;
		nvme_pmap_timeout(q, cid, aborted);
	}
}
