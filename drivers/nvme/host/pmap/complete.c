// SPDX-License-Identifier: GPL-2.0
/*
 * The end of a pmap command: the references that it holds in flight, and how its
 * completion gets to the ring.
 */
#include <linux/dmapool.h>
#include <linux/io_uring/cmd.h>

#include "nvme.h"
#include "buffer.h"
#include "compat.h"
#include "counts.h"
#include "file.h"
#include "layout.h"
#include "map.h"

/* List pages of the largest transfer: PMAP_MAX_TRANSFER and a page. */
#define PMAP_BUILT_MAX 5

/* A list that is built for one command. */
struct nvme_pmap_built {
	struct dma_pool *pool;
	u32 nr;
	struct pmap_list page[PMAP_BUILT_MAX];
};

/*
 * Our part of struct io_uring_cmd.  @built is read when the command ends, before
 * @result is written.  There is no pointer to the request: any poller may free it at
 * any time.  So a ring that polls needs the number of the hardware queue.  @worker is
 * for commands that go over blk-mq; a passthrough queue takes none from a worker.
 */
struct nvme_pmap_pdu {
	struct nvme_pmap *pmap;
	union {
		struct nvme_pmap_built *built;
		u64 result;
	};
	int status;
	u32 route;   /* the queue; see below */
	bool worker; /* issued by an io-wq thread, without the ring's lock */
};

/* Over blk-mq: hctx->queue_num; else the index of the passthrough queue. */
#define PMAP_BY_BLK_MQ BIT(31)

static struct nvme_pmap_pdu *nvme_pmap_pdu(struct io_uring_cmd *ioucmd)
{
	return io_uring_cmd_to_pdu(ioucmd, struct nvme_pmap_pdu);
}

/* The state of the file that a command holds; it exists before any command. */
static struct nvme_pmap_file *
nvme_pmap_cmd_file(const struct io_uring_cmd *ioucmd)
{
	/* pairs with the cmpxchg() in nvme_pmap_file_get() */
	return smp_load_acquire(&ioucmd->file->private_data);
}

static void nvme_pmap_free_built(struct nvme_pmap_built *built)
{
	while (built->nr) {
		struct pmap_list *page = &built->page[--built->nr];

		dma_pool_free(built->pool, page->prp, page->dma);
	}
	kfree(built);
}

/*
 * The outcome of a request.  If the controller did not answer, the request still has
 * the result of an earlier command, perhaps of another user.
 */
static int nvme_pmap_rq_status(struct request *req, blk_status_t err,
			       u64 *result)
{
	int status = nvme_req(req)->status;

	*result = le64_to_cpu(nvme_req(req)->result.u64);
	if (unlikely(nvme_req(req)->flags & NVME_REQ_CANCELLED)) {
		*result = 0;
		return -EINTR;
	}
	if (likely(!err))
		return status;
	/* never sent, or the host's own status */
	if (!status || (status & NVME_SCT_MASK) == NVME_SCT_PATH)
		*result = 0;
	return status ?: blk_status_to_errno(err);
}

static void nvme_pmap_task_cb(struct io_uring_cmd *ioucmd,
			      unsigned int issue_flags)
{
	struct nvme_pmap_pdu *pdu = nvme_pmap_pdu(ioucmd);

	this_cpu_inc(nvme_pmap_cmd_file(ioucmd)->counts->deferred);
	io_uring_cmd_done(ioucmd, pdu->status, pdu->result, issue_flags);
}

/*
 * Hand a command over to its ring: an interrupt, a reset, or a poll of another ring or
 * of a block device found its end.
 *
 * If the ring polls, the command is marked as completed, and the ring's next poll finds
 * it; the ring's caches stay untouched, since its lock is not held.  Task work would
 * not do: when a ring with IORING_SETUP_DEFER_TASKRUN is torn down, a worker polls
 * until nothing is left, and runs no task work meanwhile.
 */
static void nvme_pmap_complete_deferred(struct io_uring_cmd *ioucmd, int status,
					u64 result)
{
	struct nvme_pmap_pdu *pdu = nvme_pmap_pdu(ioucmd);

	pdu->status = status;
	pdu->result = result;
	if (cmd_to_io_kiocb(ioucmd)->ctx->flags & IORING_SETUP_IOPOLL)
		nvme_pmap_task_cb(ioucmd, IO_URING_F_UNLOCKED);
	else
		io_uring_cmd_do_in_task_lazy(ioucmd, nvme_pmap_task_cb);
}

/* blk-mq calls this when the request has done its last DMA. */
static enum rq_end_io_ret nvme_pmap_end_io(struct request *req,
					   blk_status_t err)
{
	struct io_uring_cmd *ioucmd = req->end_io_data;
	struct nvme_pmap_pdu *pdu = nvme_pmap_pdu(ioucmd);
	u64 result;
	int status = nvme_pmap_rq_status(req, err, &result);

	if (unlikely(pdu->built))
		nvme_pmap_free_built(pdu->built);
	percpu_ref_put(&pdu->pmap->ref);
	nvme_pmap_complete_deferred(ioucmd, status, result);
	return RQ_END_IO_FREE;
}

/*
 * Is it a pmap command issued under the lock of @ring?  Not with a built list: that
 * needs the buffer (and the controller behind it) until the request ends.
 */
static bool nvme_pmap_completes_here(struct request *req,
				     struct io_ring_ctx *ring)
{
	return req->end_io == nvme_pmap_end_io &&
	       cmd_to_io_kiocb(req->end_io_data)->ctx == ring &&
	       !nvme_pmap_pdu(req->end_io_data)->worker &&
	       likely(!nvme_pmap_pdu(req->end_io_data)->built);
}

/* The request has its status and its DMA is over: complete the command at once. */
static void nvme_pmap_complete_direct(struct request *req,
				      struct io_uring_cmd *ioucmd)
{
	u64 result;
	int status = nvme_pmap_rq_status(req, 0, &result);

	/* blk-mq only has to free it */
	req->end_io = NULL;
	io_uring_cmd_iopoll_done(ioucmd, status, result);
}

/*
 * Complete the commands of @ring that a poll has found, and put their references on
 * buffers, together for neighbours on one buffer.  The commands hold their file, and
 * with it the buffers, until the caller takes them off its list.
 */
static int nvme_pmap_complete_polled(struct io_ring_ctx *ring,
				     struct io_comp_batch *iob)
{
	struct nvme_pmap *pmap = NULL, *next;
	int refs = 0, direct = 0;
	struct request *req;

	pmap_for_each_batched(iob, req) {
		if (!nvme_pmap_completes_here(req, ring))
			continue;
		next = nvme_pmap_pdu(req->end_io_data)->pmap;
		if (next != pmap) {
			if (refs)
				percpu_ref_put_many(&pmap->ref, refs);
			pmap = next;
			refs = 0;
		}
		refs++;
		direct++;
		nvme_pmap_complete_direct(req, req->end_io_data);
	}
	if (refs)
		percpu_ref_put_many(&pmap->ref, refs);
	return direct;
}

/*
 * As blk_rq_poll(), but for a hardware queue: the request and its hctx may be gone.  It
 * polls once.  io_uring asks again, and knows when a command has ended elsewhere; and a
 * freeze or a reset may wait for the reference taken here.
 */
static int nvme_pmap_poll_hctx(struct request_queue *q, u16 hw_queue,
			       struct io_comp_batch *iob)
{
	struct blk_mq_hw_ctx *hctx;
	int found = 0;

	/* while the reference is held, the hardware queues stay */
	if (!percpu_ref_tryget(&q->q_usage_counter))
		return 0;
	hctx = pmap_hctx(q, hw_queue);
	if (hctx && hctx->type == HCTX_TYPE_POLL)
		found = q->mq_ops->poll(hctx, iob);
	percpu_ref_put(&q->q_usage_counter);
	/* a transport's own errors are not for the poller */
	return max(found, 0);
}
