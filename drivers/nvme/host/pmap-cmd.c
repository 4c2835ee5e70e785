// SPDX-License-Identifier: GPL-2.0
/*
 * The pmap door: NVME_URING_CMD_PMAP.
 *
 * Compiled at the end of ioctl.c, because what stock refuses is decided by
 * functions that are static there.  A request is sent without a bio: pci.c then
 * leaves the command's data pointer as it is, which is all that a persistent
 * mapping needs from the transport.
 */
#include <linux/dmapool.h>
#include <linux/nospec.h>

#include "pmap.h"
#include "pmap-xfer.h"

/* List pages of the largest transfer, 8 MiB and a page: see pmap_built_pages(). */
#define PMAP_BUILT_MAX	5

/* A list that was built for one command. */
struct nvme_pmap_built {
	struct nvme_pmap_ctrl *pc;
	u32 nr;
	struct pmap_list page[PMAP_BUILT_MAX];
};

/*
 * Our part of struct io_uring_cmd.  @req stands where the stock door has it.
 * @built is read when the command ends, before @result is written.
 */
struct nvme_pmap_pdu {
	struct request *req;
	struct nvme_pmap *pmap;
	union {
		struct nvme_pmap_built *built;
		u64 result;
	};
	int status;
	bool worker;	/* issued by an io-wq thread, without the ring's lock */
};

static struct nvme_pmap_pdu *nvme_pmap_pdu(struct io_uring_cmd *ioucmd)
{
	return io_uring_cmd_to_pdu(ioucmd, struct nvme_pmap_pdu);
}

/* The state of the file that a command holds; made before any command. */
static struct nvme_pmap_file *nvme_pmap_cmd_file(struct io_uring_cmd *ioucmd)
{
	/* pairs with the cmpxchg() in nvme_pmap_file_get() */
	return smp_load_acquire(&ioucmd->file->private_data);
}

static void nvme_pmap_free_built(struct nvme_pmap_built *built)
{
	while (built->nr) {
		struct pmap_list *page = &built->page[--built->nr];

		dma_pool_free(built->pc->built_pool, page->prp, page->dma);
	}
	kfree(built);
}

/*
 * The kept lists cannot express this slice: make one that lives as long as the
 * command.  It is the exception, by far: see pmap_dptr().
 */
static noinline struct nvme_pmap_built *
nvme_pmap_build(const struct nvme_pmap *pmap, u64 offset, u32 len,
		union nvme_data_ptr *dptr)
{
	struct pmap_slice s = pmap_slice(&pmap->l, offset, len);
	u32 pages = pmap_built_pages(s.nr);
	struct nvme_pmap_built *built;
	dma_addr_t dma;

	if (WARN_ON_ONCE(pages > PMAP_BUILT_MAX))
		return NULL;
	built = kmalloc(sizeof(*built), GFP_KERNEL);
	if (!built)
		return NULL;
	built->pc = pmap->pc;
	for (built->nr = 0; built->nr < pages; built->nr++) {
		struct pmap_list *page = &built->page[built->nr];

		page->prp = dma_pool_alloc(pmap->pc->built_pool, GFP_KERNEL,
					   &dma);
		if (!page->prp) {
			nvme_pmap_free_built(built);
			return NULL;
		}
		page->dma = dma;
	}
	pmap_fill_list(&pmap->l, &s, built->page);
	dptr->prp2 = cpu_to_le64(built->page[0].dma);
	return built;
}

/* After the last DMA of a command: its outcome, and what it held. */
static void nvme_pmap_end(struct request *req, struct nvme_pmap_pdu *pdu,
			  blk_status_t err)
{
	int status = nvme_req(req)->status;

	if (unlikely(pdu->built))
		nvme_pmap_free_built(pdu->built);
	if (unlikely(nvme_req(req)->flags & NVME_REQ_CANCELLED))
		status = -EINTR;
	else if (unlikely(!status && err))
		status = blk_status_to_errno(err);
	pdu->result = le64_to_cpu(nvme_req(req)->result.u64);
	pdu->status = status;
	pdu->req = NULL;
	percpu_ref_put(&pdu->pmap->ref);
}

static void nvme_pmap_task_cb(struct io_uring_cmd *ioucmd,
			      unsigned int issue_flags)
{
	struct nvme_pmap_pdu *pdu = nvme_pmap_pdu(ioucmd);

	this_cpu_inc(nvme_pmap_cmd_file(ioucmd)->counts->deferred);
	io_uring_cmd_done(ioucmd, pdu->status, pdu->result, issue_flags);
}

/* Ended by an interrupt, or by a poll of another ring or a block device. */
static enum rq_end_io_ret nvme_pmap_end_io(struct request *req,
					   blk_status_t err)
{
	struct io_uring_cmd *ioucmd = req->end_io_data;

	nvme_pmap_end(req, nvme_pmap_pdu(ioucmd), err);
	io_uring_cmd_do_in_task_lazy(ioucmd, nvme_pmap_task_cb);
	return RQ_END_IO_FREE;
}

/*
 * One of ours, issued under the lock of @ring?  One with a built list still
 * needs its buffer (and the controller behind it) when its request ends.
 */
static bool nvme_pmap_ends_here(struct request *req, struct io_ring_ctx *ring)
{
	return req->end_io == nvme_pmap_end_io &&
	       cmd_to_io_kiocb(req->end_io_data)->ctx == ring &&
	       !nvme_pmap_pdu(req->end_io_data)->worker &&
	       likely(!nvme_pmap_pdu(req->end_io_data)->built);
}

/* The request has its status and its DMA is over: tell the ring at once. */
static void nvme_pmap_end_direct(struct request *req,
				 struct io_uring_cmd *ioucmd)
{
	int status = nvme_req(req)->status;

	if (unlikely(nvme_req(req)->flags & NVME_REQ_CANCELLED))
		status = -EINTR;
	/* blk-mq only has to free it */
	req->end_io = NULL;
	io_uring_cmd_iopoll_done(ioucmd, status,
				 le64_to_cpu(nvme_req(req)->result.u64));
}

/*
 * End the commands of @ring that a poll has found, and give back their
 * references on buffers, those of neighbours together.  The commands hold their
 * file, and with it the buffers, until the caller takes them off its list.
 */
static int nvme_pmap_end_batch(struct io_ring_ctx *ring,
			       struct io_comp_batch *iob)
{
	struct nvme_pmap *pmap = NULL, *next;
	int refs = 0, direct = 0;
	struct request *req;

	pmap_for_each_batched(iob, req) {
		if (!nvme_pmap_ends_here(req, ring))
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
		nvme_pmap_end_direct(req, req->end_io_data);
	}
	if (refs)
		percpu_ref_put_many(&pmap->ref, refs);
	return direct;
}

/*
 * What the poll finds may belong to any ring.  Commands of this ring end on the
 * spot: the caller holds the lock of the ring.  The others go by task work to
 * where they belong, when the caller completes @iob.
 */
static noinline int nvme_pmap_iopoll(struct io_uring_cmd *ioucmd,
				     struct io_comp_batch *iob,
				     unsigned int poll_flags)
{
	struct io_ring_ctx *ring = cmd_to_io_kiocb(ioucmd)->ctx;
	struct request *req = READ_ONCE(nvme_pmap_pdu(ioucmd)->req);
	int found;

	if (!req || !blk_rq_is_poll(req))
		return 0;
	found = blk_rq_poll(req, iob, poll_flags);
	if (!rq_list_empty(&iob->req_list))
		this_cpu_add(nvme_pmap_cmd_file(ioucmd)->counts->direct,
			     nvme_pmap_end_batch(ring, iob));
	return found;
}

/* Take a reference on the buffer at @index, for the time of a command. */
static struct nvme_pmap *nvme_pmap_lookup(struct nvme_pmap_file *pf, u32 index)
{
	struct nvme_pmap *pmap = NULL;
	struct nvme_pmap_table *table;

	rcu_read_lock();
	table = rcu_dereference(pf->table);
	if (likely(index < table->nr)) {
		index = array_index_nospec(index, table->nr);
		pmap = rcu_dereference(table->pmap[index]);
		if (pmap && !percpu_ref_tryget_live_rcu(&pmap->ref))
			pmap = NULL;
	}
	rcu_read_unlock();
	return pmap;
}

/* Does the slice lie in the buffer, and may one command carry it? */
static int nvme_pmap_check_slice(const struct nvme_pmap_file *pf,
				 const struct nvme_pmap *pmap, u64 offset,
				 u32 len)
{
	if (unlikely(offset >= pmap->l.len || len > pmap->l.len - offset))
		return -ERANGE;
	/* one comparison for a length of zero as well */
	if (unlikely(len - 1 >= pf->max_transfer))
		return len ? -EMSGSIZE : -ERANGE;
	return 0;
}

/* Any command, any format; needs CAP_SYS_ADMIN where the length is unknown. */
static noinline s64 nvme_pmap_any_xfer(const struct nvme_ns_head *head,
				       const struct nvme_command *c,
				       u32 data_len)
{
	struct pmap_format f = {
		.csi = head->ids.csi,
		.lba_shift = head->lba_shift,
		.ms = head->ms,
		/* stock sets it for any metadata; without PI, PRACT is ignored */
		.pi_size = head->pi_type ? head->pi_size : 0,
		.ext = head->features & NVME_NS_EXT_LBAS,
	};
	s64 len = pmap_xfer(&f, c->common.opcode,
			    (const __le32 *)&c->common.cdws);

	return len == -EPERM && capable(CAP_SYS_ADMIN) ? data_len : len;
}

/*
 * What the command will transfer, or why it must not.  The namespace's queue
 * is entered (the caller has a request), so its format does not change now.
 */
static s64 nvme_pmap_check_xfer(const struct nvme_ns_head *head,
				const struct nvme_command *c, u32 data_len)
{
	s64 len;

	/* Read and Write without metadata: what pmap_xfer() would say */
	if (likely((c->rw.opcode == nvme_cmd_read ||
		    c->rw.opcode == nvme_cmd_write) &&
		   head->ids.csi == NVME_CSI_NVM && !head->ms))
		len = (le16_to_cpu(c->rw.length) + 1ull) << head->lba_shift;
	else
		len = nvme_pmap_any_xfer(head, c, data_len);
	return unlikely(len > data_len) ? -EOVERFLOW : len;
}

/* Point the request's command at the slice. */
static int nvme_pmap_set_dptr(struct nvme_pmap_file *pf,
			      struct nvme_pmap_pdu *pdu, struct nvme_command *c,
			      u64 offset, u32 len)
{
	const struct nvme_pmap *pmap = pdu->pmap;
	enum pmap_kind kind;

	/* a wrong guess of the bounds check must not index the lists */
	offset = array_index_nospec(offset, pmap->l.len);
	kind = pmap_dptr(&pmap->l, offset, len, &c->common.dptr);
	if (unlikely(kind == PMAP_KIND_BUILT)) {
		pdu->built = nvme_pmap_build(pmap, offset, len,
					     &c->common.dptr);
		if (!pdu->built)
			return -ENOMEM;
	} else if (kind != PMAP_KIND_PRP) {
		c->common.flags = NVME_CMD_SGL_METABUF;
	}
	this_cpu_inc(pf->counts->kind[kind]);
	return 0;
}

/* Two dwords of the SQE as one load; user space may be writing to it. */
static void nvme_pmap_copy_pair(__le32 *to, const __u32 *from)
{
#ifdef __LITTLE_ENDIAN
	*(u64 *)to = READ_ONCE(*(const u64 *)from);
#else
	to[0] = cpu_to_le32(READ_ONCE(from[0]));
	to[1] = cpu_to_le32(READ_ONCE(from[1]));
#endif
}

/* All of the command but its data pointer, which pmap_dptr() writes. */
static void nvme_pmap_fill_cmd(struct nvme_command *c, u8 opcode, u32 nsid,
			       const struct nvme_pmap_cmd *cmd)
{
	c->common.opcode = opcode;
	c->common.flags = 0;
	c->common.command_id = 0;
	c->common.nsid = cpu_to_le32(nsid);
	nvme_pmap_copy_pair(c->common.cdw2, &cmd->cdw2);
	c->common.metadata = 0;
	c->common.dptr.prp1 = 0;
	c->common.dptr.prp2 = 0;
	nvme_pmap_copy_pair(&c->common.cdw10, &cmd->cdw10);
	nvme_pmap_copy_pair(&c->common.cdw12, &cmd->cdw12);
	nvme_pmap_copy_pair(&c->common.cdw14, &cmd->cdw14);
}

static struct request *nvme_pmap_alloc_request(struct nvme_ns *ns, u8 opcode,
					       unsigned int issue_flags)
{
	/* what nvme_req_op() says of a command that is not a fabrics one */
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
 * What nvme_init_request() does, less its copy of the command, which is in
 * place already, and less REQ_POLLED, which the allocation has set.
 */
static void nvme_pmap_init_request(struct nvme_ns *ns, struct request *req)
{
	struct nvme_request *nr = nvme_req(req);

	nr->status = 0;
	nr->retries = 0;
	nr->flags = NVME_REQ_USERCMD;
	req->cmd_flags |= REQ_FAILFAST_DRIVER;
	req->rq_flags |= RQF_DONTPREP;
	if (likely(!ns->head->passthru_err_log_enabled))
		req->rq_flags |= RQF_QUIET;
}

/* The command is written where it will be sent from, and checked there. */
static int nvme_pmap_prep_request(struct nvme_ns *ns, struct nvme_pmap_file *pf,
				  struct nvme_pmap_pdu *pdu,
				  struct request *req, u8 opcode,
				  const struct nvme_pmap_cmd *cmd, u64 offset,
				  u32 data_len)
{
	struct nvme_command *c = nvme_req(req)->cmd;
	u32 timeout_ms = READ_ONCE(cmd->timeout_ms);
	s64 len;

	nvme_pmap_fill_cmd(c, opcode, ns->head->ns_id, cmd);
	nvme_pmap_init_request(ns, req);
	req->timeout = unlikely(timeout_ms) ? msecs_to_jiffies(timeout_ms) : 0;

	len = nvme_pmap_check_xfer(ns->head, c, data_len);
	if (unlikely(len <= 0))
		return len;
	return nvme_pmap_set_dptr(pf, pdu, c, offset, len);
}

/* A command on a referenced buffer; from here the reference is the request's. */
static int nvme_pmap_send(struct nvme_ns *ns, struct nvme_pmap_file *pf,
			  struct io_uring_cmd *ioucmd, u8 opcode,
			  const struct nvme_pmap_cmd *cmd, u64 offset,
			  u32 data_len, unsigned int issue_flags)
{
	struct nvme_pmap_pdu *pdu = nvme_pmap_pdu(ioucmd);
	struct request *req;
	int ret;

	req = nvme_pmap_alloc_request(ns, opcode, issue_flags);
	/* no free tag, or the queue is frozen by a reset: -EAGAIN */
	if (IS_ERR(req))
		return pmap_keep_sqe(ioucmd, PTR_ERR(req));
	ret = nvme_pmap_prep_request(ns, pf, pdu, req, opcode, cmd, offset,
				     data_len);
	if (unlikely(ret)) {
		blk_mq_free_request(req);
		return ret;
	}
	pdu->worker = issue_flags & IO_URING_F_UNLOCKED;
	req->end_io = nvme_pmap_end_io;
	req->end_io_data = ioucmd;
	WRITE_ONCE(pdu->req, req);
	blk_execute_rq_nowait(req, false);
	return -EIOCBQUEUED;
}

/* Out of line: struct nvme_command on the stack costs the common case. */
static noinline bool nvme_pmap_ask_stock(struct nvme_ns *ns, u8 opcode,
					 fmode_t mode)
{
	struct nvme_command c = { .common.opcode = opcode };

	return nvme_cmd_allowed(ns->ctrl, ns, &c, 0, mode & FMODE_WRITE);
}

/*
 * nvme_cmd_allowed(), with its commonest answer worked out first: a standard
 * command that the effects log knows as harmless, on a file open for it.
 */
static bool nvme_pmap_allowed(struct nvme_ns *ns, u32 opcode, fmode_t mode)
{
	u32 effects = le32_to_cpu(ns->head->effects->iocs[opcode]);

	if (mode & FMODE_WRITE)
		effects &= ~NVME_CMD_EFFECTS_LBCC;
	else if (opcode & 1)
		effects = 0;
	if (likely(effects == NVME_CMD_EFFECTS_CSUPP &&
		   opcode < nvme_fabrics_command))
		return true;
	return nvme_pmap_ask_stock(ns, opcode, mode);
}

/*
 * Opcode, flags and the first reserved field as one load.  With everything that
 * must be zero at zero, what is left is the opcode.
 */
static u32 nvme_pmap_opcode(const struct nvme_pmap_cmd *cmd)
{
	u32 head = le32_to_cpu(READ_ONCE(*(const __le32 *)&cmd->opcode));

	if (READ_ONCE(cmd->rsvd2) | READ_ONCE(cmd->rsvd3) | READ_ONCE(cmd->rsvd4))
		return U32_MAX;
	return head;
}

/* Check a command on a referenced buffer, and send it. */
static int nvme_pmap_issue(struct nvme_ns *ns, struct nvme_pmap_file *pf,
			   struct io_uring_cmd *ioucmd,
			   unsigned int issue_flags)
{
	const struct nvme_pmap_cmd *cmd = io_uring_sqe_cmd(ioucmd->sqe);
	u32 data_len = READ_ONCE(cmd->data_len);
	u64 offset = READ_ONCE(cmd->offset);
	u32 opcode = nvme_pmap_opcode(cmd);
	int ret;

	if (unlikely(opcode > U8_MAX || READ_ONCE(cmd->nsid) != ns->head->ns_id))
		return -EINVAL;
	if (unlikely(!nvme_pmap_allowed(ns, opcode, ioucmd->file->f_mode)))
		return -EACCES;
	if (unlikely(((u32)offset | data_len) & (NVME_PMAP_ALIGN - 1)))
		return -EDOM;
	ret = nvme_pmap_check_slice(pf, nvme_pmap_pdu(ioucmd)->pmap, offset,
				    data_len);
	if (unlikely(ret))
		return ret;
	return nvme_pmap_send(ns, pf, ioucmd, opcode, cmd, offset, data_len,
			      issue_flags);
}

/* Nothing was ever registered on the file: why not? */
static noinline int nvme_pmap_no_file(struct nvme_ns *ns)
{
	struct nvme_pmap_ctrl *pc = nvme_pmap_ctrl_get(ns->ctrl);

	if (!pc)
		return nvme_state_terminal(ns->ctrl) ? -ENODEV : -ENOTTY;
	nvme_pmap_ctrl_put(pc);
	return -ENOENT;
}

/* Not inlined: its frame would be set up for stock commands too. */
static noinline int nvme_pmap_uring_cmd(struct io_uring_cmd *ioucmd,
					unsigned int issue_flags)
{
	const struct nvme_pmap_cmd *cmd = io_uring_sqe_cmd(ioucmd->sqe);
	struct nvme_ns *ns = container_of(file_inode(ioucmd->file)->i_cdev,
					  struct nvme_ns, cdev);
	struct nvme_pmap_file *pf = nvme_pmap_cmd_file(ioucmd);
	struct nvme_pmap_pdu *pdu = nvme_pmap_pdu(ioucmd);
	int ret = nvme_uring_cmd_checks(issue_flags);

	if (unlikely(ret))
		return ret;
	if (unlikely(ioucmd->flags & IORING_URING_CMD_FIXED))
		return -EOPNOTSUPP;
	if (unlikely(!pf))
		return nvme_pmap_no_file(ns);

	pdu->built = NULL;
	pdu->pmap = nvme_pmap_lookup(pf, READ_ONCE(cmd->index));
	if (unlikely(!pdu->pmap))
		return READ_ONCE(pf->pc->dead) ? -ENODEV : -ENOENT;
	ret = nvme_pmap_issue(ns, pf, ioucmd, issue_flags);
	if (unlikely(ret != -EIOCBQUEUED))
		percpu_ref_put(&pdu->pmap->ref);
	return ret;
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
	if (ioucmd->cmd_op == NVME_URING_CMD_PMAP)
		return nvme_pmap_uring_cmd(ioucmd, issue_flags);
	return nvme_ns_chr_uring_cmd(ioucmd, issue_flags);
}

/**
 * nvme_pmap_chr_uring_cmd_iopoll - uring_cmd_iopoll of /dev/ngXnY
 * @ioucmd: the command at the head of the ring's list
 * @iob: collects the completions
 * @poll_flags: BLK_POLL_*
 *
 * Return: the number of completions found.
 */
int nvme_pmap_chr_uring_cmd_iopoll(struct io_uring_cmd *ioucmd,
				   struct io_comp_batch *iob,
				   unsigned int poll_flags)
{
	if (ioucmd->cmd_op == NVME_URING_CMD_PMAP)
		return nvme_pmap_iopoll(ioucmd, iob, poll_flags);
	return nvme_ns_chr_uring_cmd_iopoll(ioucmd, iob, poll_flags);
}
