// SPDX-License-Identifier: GPL-2.0
/*
 * The entry of io_uring's commands on /dev/ngXnY: it chooses the door.
 */
#include "nvme.h"
#include "auto.h"
#include "batch.h"
#include "file.h"
#include "hooks.h"
#include "mends.h"
#include "queue.h"

/* A command of NVME_URING_CMD_PMAP. */
static __always_inline int nvme_pmap_door_pmap(struct io_uring_cmd *ioucmd,
					       unsigned int issue_flags)
{
	struct nvme_pmap_file *pf = nvme_pmap_cmd_file(ioucmd);
	struct nvme_pmap_queue *q = NULL;
	enum nvme_pmap_next next;

	if (likely(pf))
		q = nvme_pmap_cmd_queue(pf, issue_flags);
	if (!q)
		return nvme_pmap_cmd_alone(ioucmd, issue_flags, pf, q);
	next = nvme_pmap_enqueue_next(pf, q, ioucmd, NULL);
	if (likely(next == PMAP_NEXT_QUEUED))
		return -EIOCBQUEUED;
	if (next == PMAP_NEXT_ELSEWHERE)
		return nvme_pmap_enqueue_elsewhere(ioucmd, issue_flags);
	return nvme_pmap_cmd_first(ioucmd, issue_flags);
}

/**
 * nvme_pmap_chr_uring_cmd - uring_cmd of /dev/ngXnY
 * @ioucmd: the command; for NVME_URING_CMD_PMAP its SQE holds a nvme_pmap_cmd
 * @issue_flags: IO_URING_F_*
 *
 * Return: -EIOCBQUEUED, or an errno that linux/nvme_pmap.h lists.
 */
int nvme_pmap_chr_uring_cmd(struct io_uring_cmd *ioucmd,
			    unsigned int issue_flags)
{
	/* these are jumps: no door pays for the others */
	if (likely(ioucmd->cmd_op == NVME_URING_CMD_PMAP))
		return nvme_pmap_door_pmap(ioucmd, issue_flags);
	/* of one byte; READ_ONCE() would cost stock commands an instruction more */
	if (data_race(nvme_pmap_auto_open) &&
	    ioucmd->cmd_op == NVME_URING_CMD_IO &&
	    ioucmd->flags & IORING_URING_CMD_FIXED)
		return nvme_pmap_door_auto(ioucmd, issue_flags);
	return nvme_ns_chr_uring_cmd(ioucmd, issue_flags);
}

/**
 * nvme_pmap_chr_uring_cmd_iopoll - uring_cmd_iopoll of /dev/ngXnY
 * @ioucmd: the command at the head of the ring's list
 * @iob: collects the completions
 * @poll_flags: BLK_POLL_*; one look is taken in any case
 *
 * Return: the number of completions found.
 */
int nvme_pmap_chr_uring_cmd_iopoll(struct io_uring_cmd *ioucmd,
				   struct io_comp_batch *iob,
				   unsigned int poll_flags)
{
	struct nvme_ns *ns;

	if (ioucmd->cmd_op == NVME_URING_CMD_PMAP)
		return nvme_pmap_iopoll(ioucmd, iob);
	/* as nvme_ns_chr_uring_cmd_iopoll(), but not through the request */
	ns = container_of(file_inode(ioucmd->file)->i_cdev, struct nvme_ns,
			  cdev);
	return nvme_pmap_poll_hctx(ns->queue, *pmap_stock_hctx(ioucmd), iob);
}
