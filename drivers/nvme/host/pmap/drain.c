// SPDX-License-Identifier: GPL-2.0
/*
 * Help for tasks that wait for other tasks' commands: a task may keep its batch, and
 * commands of IOPOLL rings end only when a task polls.
 */
#include <linux/blk-mq.h>

#include "nvme.h"
#include "batch.h"
#include "ctrl.h"
#include "drain.h"
#include "file.h"
#include "queue.h"

/**
 * nvme_pmap_ctrl_revoke_batches - end all batches on a controller's queues
 * @ctrl: the controller
 *
 * A batch relies on a format that it read earlier.
 */
void nvme_pmap_ctrl_revoke_batches(struct nvme_ctrl *ctrl)
{
	struct nvme_pmap_ctrl *pc = nvme_pmap_ctrl_get(ctrl);
	unsigned int i;

	if (!pc)
		return;
	for (i = 0; pc->queues && i < pc->queues->nr; i++)
		nvme_pmap_queue_revoke_batch(&pc->queues->queue[i]);
	nvme_pmap_ctrl_put(pc);
}

static void nvme_pmap_drain_hctxs(struct request_queue *q)
{
	struct blk_mq_hw_ctx *hctx;
	unsigned long i;

	/* not while a reset changes the queues */
	if (!percpu_ref_tryget(&q->q_usage_counter))
		return;
	queue_for_each_hw_ctx(q, hctx, i)
		if (hctx->type == HCTX_TYPE_POLL)
			q->mq_ops->poll(hctx, NULL);
	percpu_ref_put(&q->q_usage_counter);
}

/**
 * nvme_pmap_poll_file - look for completions of a file's commands
 * @pf: the file's state
 * @q: the namespace's request queue
 *
 * The caller waits for them.  Commands of IOPOLL rings end only when a task polls, and
 * the caller may be the only one that does.
 */
void nvme_pmap_poll_file(struct nvme_pmap_file *pf, struct request_queue *q)
{
	struct nvme_pmap_queue *polled =
		READ_ONCE(pf->queue[PMAP_QUEUE_POLLED]);

	if (polled)
		nvme_pmap_process_cq(polled);
	nvme_pmap_drain_hctxs(q);
}

/**
 * nvme_pmap_poll_ns - look for completions of all files' commands
 * @ns: the namespace
 */
void nvme_pmap_poll_ns(struct nvme_ns *ns)
{
	struct nvme_pmap_ctrl *pc = nvme_pmap_ctrl_get(ns->ctrl);
	unsigned int i;

	nvme_pmap_drain_hctxs(ns->queue);
	if (!pc)
		return;
	for (i = 0; pc->queues && i < pc->queues->nr; i++)
		nvme_pmap_process_cq(&pc->queues->queue[i]);
	nvme_pmap_ctrl_put(pc);
}
