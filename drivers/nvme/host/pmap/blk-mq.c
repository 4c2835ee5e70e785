// SPDX-License-Identifier: GPL-2.0
/*
 * The pmap door, NVME_URING_CMD_PMAP, and commands over blk-mq.
 *
 * A command goes to the passthrough queue of its file, or over blk-mq.  There it is a
 * request without a bio: pci.c does not map it, and sends the data pointer as it is.
 */
#include <linux/dmapool.h>

#include "nvme.h"
#include "buffer.h"
#include "counts.h"
#include "ctrl.h"
#include "file.h"
#include "format.h"
#include "layout.h"
#include "map.h"
#include "mends.h"
#include "queue.h"

/* Allocate a list: pages to be chained (PRP), or one contiguous piece (SGL). */
static struct nvme_pmap_built *
nvme_pmap_alloc_built(const struct nvme_pmap_map *map, struct dma_pool *pool,
		      u32 nr)
{
	/*
	 * The caller holds a request, and reclaim must not wait for one of this device.
	 * The auto door allows no reclaim at all: stock can send the command.
	 */
	gfp_t gfp = map->adopted ? GFP_NOWAIT | __GFP_NOWARN : GFP_NOIO;
	struct nvme_pmap_built *built;
	dma_addr_t dma;

	if (WARN_ON_ONCE(nr > PMAP_BUILT_MAX))
		return NULL;
	built = kmalloc(sizeof(*built), gfp);
	if (!built)
		return NULL;
	built->pool = pool;
	for (built->nr = 0; built->nr < nr; built->nr++) {
		struct pmap_list *page = &built->page[built->nr];

		page->prp = dma_pool_alloc(pool, gfp, &dma);
		if (!page->prp) {
			nvme_pmap_free_built(built);
			return NULL;
		}
		page->dma = dma;
	}
	return built;
}

/*
 * Build a list that lives as long as the command, for a slice that the kept lists cannot
 * express.  pmap_dptr() shows how rare that is.
 */
static noinline struct nvme_pmap_built *
nvme_pmap_build(const struct nvme_pmap *pmap, u64 offset, u32 len,
		union nvme_data_ptr *dptr)
{
	struct pmap_slice s = pmap_slice(&pmap->l, offset, len);
	struct nvme_pmap_built *built;
	struct dma_pool *pool;

	if (pmap->l.form == NVME_PMAP_FORM_PRP) {
		built = nvme_pmap_alloc_built(pmap->map,
					      pmap->map->pc->page_pool,
					      pmap_built_pages(s.nr));
		if (built)
			pmap_fill_prp(&pmap->l, &s, built->page, dptr);
		return built;
	}
	pool = s.nr * sizeof(struct nvme_sgl_desc) <= PMAP_SLOT_SIZE ?
		       pmap->map->pc->page_pool :
		       pmap->map->pc->sgl_pool;
	built = nvme_pmap_alloc_built(pmap->map, pool, 1);
	if (built)
		pmap_fill_sgl(&pmap->l, &s, built->page, dptr);
	return built;
}

/* Point the request's command at the slice. */
static int nvme_pmap_set_dptr(struct nvme_pmap_file *pf,
			      struct nvme_pmap_pdu *pdu, struct nvme_command *c,
			      u64 offset, u32 len)
{
	const struct nvme_pmap *pmap = pdu->pmap;
	enum pmap_kind kind = nvme_pmap_point(pmap, c, offset, len);

	if (unlikely(kind == PMAP_KIND_BUILT)) {
		pdu->built = nvme_pmap_build(pmap, offset, len,
					     &c->common.dptr);
		if (!pdu->built)
			return -ENOMEM;
	}
	this_cpu_inc(pf->counts->kind[kind]);
	return 0;
}

static struct request *nvme_pmap_alloc_request(struct nvme_ns *ns, u8 opcode,
					       unsigned int issue_flags)
{
	/* as nvme_req_op() for a command that is not a fabrics command */
	blk_opf_t opf = opcode & 1 ? REQ_OP_DRV_OUT : REQ_OP_DRV_IN;
	blk_mq_req_flags_t flags = 0;

	opf |= REQ_ALLOC_CACHE;
	if (issue_flags & IO_URING_F_NONBLOCK) {
		opf |= REQ_NOWAIT;
		flags = BLK_MQ_REQ_NOWAIT;
	}
	if (issue_flags & IO_URING_F_IOPOLL)
		opf |= REQ_POLLED;
	return blk_mq_alloc_request(ns->queue, opf, flags);
}

/*
 * As nvme_init_request(), without its copy of the command, which is in place already, and
 * without REQ_POLLED, which the allocation has set.
 */
static void nvme_pmap_init_request(struct nvme_ns *ns, struct request *req)
{
	struct nvme_request *nr = nvme_req(req);

	nr->status = 0;
	nr->retries = 0;
	nr->flags = NVME_REQ_USERCMD;
	req->cmd_flags |= REQ_FAILFAST_DRIVER;
	req->rq_flags |= RQF_DONTPREP;
	if (likely(!nvme_pmap_logs_errors(ns)))
		req->rq_flags |= RQF_QUIET;
}

/* Write the command into the request, and check it there. */
static __always_inline int
nvme_pmap_prep_request(struct nvme_ns *ns, struct nvme_pmap_file *pf,
		       struct nvme_pmap_pdu *pdu, struct request *req,
		       const struct nvme_pmap_cmd *cmd,
		       const struct nvme_pmap_io *io)
{
	struct nvme_command *c = nvme_req(req)->cmd;
	u32 timeout_ms = READ_ONCE(cmd->timeout_ms);
	s64 len;

	nvme_pmap_init_request(ns, req);
	req->timeout = unlikely(timeout_ms) ? msecs_to_jiffies(timeout_ms) : 0;
	len = nvme_pmap_write_cmd(pf, c, 0, ns->head->ns_id, pdu->pmap, cmd,
				  io);
	if (unlikely(len <= 0))
		return len;
	return nvme_pmap_set_dptr(pf, pdu, c, io->offset, len);
}

/*
 * Send a command on a slice of a referenced buffer over blk-mq.
 *
 * Return: -EIOCBQUEUED: the request has the reference; or an errno.
 */
static __always_inline int
nvme_pmap_send(struct nvme_ns *ns, struct nvme_pmap_file *pf,
	       struct io_uring_cmd *ioucmd, const struct nvme_pmap_cmd *cmd,
	       const struct nvme_pmap_io *io, unsigned int issue_flags)
{
	struct nvme_pmap_pdu *pdu = nvme_pmap_pdu(ioucmd);
	struct request *req;
	int ret;

	req = nvme_pmap_alloc_request(ns, io->opcode, issue_flags);
	/* no free tag, or the queue is frozen by a reset: -EAGAIN */
	if (IS_ERR(req))
		return pmap_copy_sqe(ioucmd, PTR_ERR(req));
	ret = nvme_pmap_prep_request(ns, pf, pdu, req, cmd, io);
	if (unlikely(ret)) {
		blk_mq_free_request(req);
		return ret;
	}
	pdu->worker = issue_flags & IO_URING_F_UNLOCKED;
	req->end_io = nvme_pmap_end_io;
	req->end_io_data = ioucmd;
	pdu->route = PMAP_BY_BLK_MQ | req->mq_hctx->queue_num;
	blk_execute_rq_nowait(req, false);
	return -EIOCBQUEUED;
}

/*
 * Check a command, and send it over blk-mq.
 *
 * Return: -EIOCBQUEUED; -EBUSY: the format is not known; or another errno.
 */
static __always_inline int nvme_pmap_try_issue(struct nvme_ns *ns,
					       struct nvme_pmap_file *pf,
					       struct io_uring_cmd *ioucmd,
					       unsigned int issue_flags)
{
	const struct nvme_pmap_cmd *cmd = io_uring_sqe_cmd(ioucmd->sqe);
	struct nvme_pmap_pdu *pdu = nvme_pmap_pdu(ioucmd);
	struct nvme_pmap_io io __uninitialized;
	int ret;

	ret = nvme_pmap_parse(ns, ioucmd, cmd, &io);
	if (unlikely(ret))
		return ret;
	pdu->built = NULL;
	pdu->pmap = nvme_pmap_lookup(pf, READ_ONCE(cmd->index));
	if (unlikely(!pdu->pmap))
		return nvme_pmap_no_buffer(pf);
	ret = nvme_pmap_check_slice(pf, pdu->pmap, &io.offset, io.data_len);
	if (likely(!ret))
		ret = nvme_pmap_send(ns, pf, ioucmd, cmd, &io, issue_flags);
	if (unlikely(ret != -EIOCBQUEUED))
		percpu_ref_put(&pdu->pmap->ref);
	return ret;
}

/*
 * The length of the command is known only after the next scan of the namespace.  An io-wq
 * thread waits for that, as it does for a tag or the end of a freeze.
 */
static noinline int nvme_pmap_issue_known(struct nvme_ns *ns,
					  struct nvme_pmap_file *pf,
					  struct io_uring_cmd *ioucmd,
					  unsigned int issue_flags)
{
	struct nvme_pmap_ns *pn = pf->format;
	int ret;

	if (issue_flags & IO_URING_F_NONBLOCK) {
		nvme_pmap_ns_scan(pn);
		return pmap_copy_sqe(ioucmd, -EAGAIN);
	}
	atomic_inc(&pn->waiting);
	do {
		ret = nvme_pmap_ns_await(pn);
		if (ret)
			break;
		ret = nvme_pmap_try_issue(ns, pf, ioucmd, issue_flags);
	} while (ret == -EBUSY);
	atomic_dec(&pn->waiting);
	return ret;
}

static int nvme_pmap_issue(struct nvme_ns *ns, struct nvme_pmap_file *pf,
			   struct io_uring_cmd *ioucmd,
			   unsigned int issue_flags)
{
	int ret = nvme_pmap_try_issue(ns, pf, ioucmd, issue_flags);

	if (unlikely(ret == -EBUSY))
		ret = nvme_pmap_issue_known(ns, pf, ioucmd, issue_flags);
	return ret;
}

/* Return: the errno of a command on a file that has no state. */
static noinline int nvme_pmap_no_file(struct nvme_ns *ns)
{
	struct nvme_pmap_ctrl *pc = nvme_pmap_ctrl_get(ns->ctrl);

	if (!pc)
		return nvme_state_terminal(ns->ctrl) ? -ENODEV : -ENOTTY;
	nvme_pmap_ctrl_put(pc);
	return -ENOENT;
}

/* A command that is not just one more of its batch; @q may be NULL. */
static noinline int nvme_pmap_cmd_alone(struct io_uring_cmd *ioucmd,
					unsigned int issue_flags,
					struct nvme_pmap_file *pf,
					struct nvme_pmap_queue *q)
{
	struct nvme_ns *ns = container_of(file_inode(ioucmd->file)->i_cdev,
					  struct nvme_ns, cdev);
	int ret = nvme_pmap_check_ring(issue_flags);

	if (unlikely(ret))
		return ret;
	if (unlikely(ioucmd->flags & IORING_URING_CMD_FIXED))
		return -EOPNOTSUPP;
	if (unlikely(!pf))
		return nvme_pmap_no_file(ns);

	if (q) {
		ret = nvme_pmap_enqueue(ns, pf, q, ioucmd, issue_flags);
		if (likely(ret <= 0))
			return ret;
		nvme_pmap_count_fallback(pf, ret);
	} else if (unlikely(READ_ONCE(pf->queue[PMAP_QUEUE_IRQ]) ||
			    READ_ONCE(pf->queue[PMAP_QUEUE_POLLED]))) {
		nvme_pmap_count_fallback(pf, PMAP_FALLBACK_MODE);
	}
	return nvme_pmap_issue(ns, pf, ioucmd, issue_flags);
}

/* The passthrough queue for a command, or NULL. */
static __always_inline struct nvme_pmap_queue *
nvme_pmap_cmd_queue(const struct nvme_pmap_file *pf, unsigned int issue_flags)
{
	return READ_ONCE(pf->queue[nvme_pmap_queue_kind(issue_flags &
							IO_URING_F_IOPOLL)]);
}

/*
 * A command that is not the next of a batch; it may begin one.  File and queue are looked
 * up again, because the caller needs its registers for the next of a batch.
 */
static noinline int nvme_pmap_cmd_first(struct io_uring_cmd *ioucmd,
					unsigned int issue_flags)
{
	struct nvme_ns *ns = container_of(file_inode(ioucmd->file)->i_cdev,
					  struct nvme_ns, cdev);
	struct nvme_pmap_file *pf = nvme_pmap_cmd_file(ioucmd);
	struct nvme_pmap_queue *q = nvme_pmap_cmd_queue(pf, issue_flags);

	/* as nvme_pmap_check_ring(), and not from an io-wq thread */
	if (likely(q &&
		   (issue_flags & (PMAP_BIG_RING | IO_URING_F_UNLOCKED)) ==
			   PMAP_BIG_RING &&
		   nvme_pmap_enqueue_first(ns, pf, q, ioucmd)))
		return -EIOCBQUEUED;
	return nvme_pmap_cmd_alone(ioucmd, issue_flags, pf, q);
}

/* One more of a batch, on another buffer. */
static noinline int nvme_pmap_enqueue_elsewhere(struct io_uring_cmd *ioucmd,
						unsigned int issue_flags)
{
	const struct nvme_pmap_cmd *cmd = io_uring_sqe_cmd(ioucmd->sqe);
	struct nvme_pmap_file *pf = nvme_pmap_cmd_file(ioucmd);
	struct nvme_pmap_queue *q = nvme_pmap_cmd_queue(pf, issue_flags);
	u64 index = pmap_load_pair(&cmd->index);
	struct nvme_pmap *pmap;

	if (unlikely(!q || index > U32_MAX))
		goto alone;
	pmap = nvme_pmap_lookup(pf, index);
	if (unlikely(!pmap))
		goto alone;
	if (likely(nvme_pmap_enqueue_next(pf, q, ioucmd, pmap) ==
		   PMAP_NEXT_QUEUED))
		return -EIOCBQUEUED;
	percpu_ref_put(&pmap->ref);
alone:
	return nvme_pmap_cmd_alone(ioucmd, issue_flags, pf, q);
}
