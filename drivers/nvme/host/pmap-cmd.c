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

/*
 * Admin commands under way that may change the format of a namespace, of any
 * controller.  Counted from before the queues are frozen until the driver has
 * looked at the namespaces again; stock unfreezes them in between.
 */
static atomic_t nvme_pmap_formatting;

/* Memory for a list: pages to be chained (PRP), or one piece (SGL). */
static struct nvme_pmap_built *nvme_pmap_alloc_built(struct dma_pool *pool,
						     u32 nr)
{
	struct nvme_pmap_built *built;
	dma_addr_t dma;

	if (WARN_ON_ONCE(nr > PMAP_BUILT_MAX))
		return NULL;
	/* holds a request: reclaim must not wait for one of this device */
	built = kmalloc(sizeof(*built), GFP_NOIO);
	if (!built)
		return NULL;
	built->pool = pool;
	for (built->nr = 0; built->nr < nr; built->nr++) {
		struct pmap_list *page = &built->page[built->nr];

		page->prp = dma_pool_alloc(pool, GFP_NOIO, &dma);
		if (!page->prp) {
			nvme_pmap_free_built(built);
			return NULL;
		}
		page->dma = dma;
	}
	return built;
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
	struct nvme_pmap_built *built;
	struct dma_pool *pool;

	if (pmap->l.form == NVME_PMAP_FORM_PRP) {
		built = nvme_pmap_alloc_built(pmap->pc->page_pool,
					      pmap_built_pages(s.nr));
		if (built)
			pmap_fill_prp(&pmap->l, &s, built->page, dptr);
		return built;
	}
	pool = s.nr * sizeof(struct nvme_sgl_desc) <= PMAP_SLOT_SIZE ?
		       pmap->pc->page_pool :
		       pmap->pc->sgl_pool;
	built = nvme_pmap_alloc_built(pool, 1);
	if (built)
		pmap_fill_sgl(&pmap->l, &s, built->page, dptr);
	return built;
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
		/*
		 * The end of the buffer may overtake this look at it, and says
		 * that it is dead, as it has been for a grace period.
		 */
		if (pmap && !data_race(percpu_ref_tryget_live_rcu(&pmap->ref)))
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

/*
 * Any command, any format.  What is not exactly known must not go by a PRP list
 * (two PRPs are data pages whatever the length), nor from just anybody.
 */
static noinline s64 nvme_pmap_any_xfer(const struct nvme_ns_head *head,
				       const struct nvme_command *c,
				       const struct pmap_layout *l, u64 offset,
				       u32 data_len)
{
	struct pmap_format f = {
		.csi = head->ids.csi,
		.lba_shift = head->lba_shift,
		.ms = head->ms,
		/* stock sets it for any metadata, with or without PI */
		.pi_size = head->pi_type ? head->pi_size : 0,
		.ext = head->features & NVME_NS_EXT_LBAS,
	};
	bool prp = l->form == NVME_PMAP_FORM_PRP;
	s64 len = pmap_xfer(&f, c->common.opcode,
			    (const __le32 *)&c->common.cdws);

	if (len == -EPERM && !prp && capable(CAP_SYS_ADMIN))
		return data_len;
	if (prp && len > 0 && len <= data_len &&
	    !pmap_xfer_exact(c->common.opcode) &&
	    pmap_slice(l, offset, len).nr > 2)
		return -EPERM;
	return len;
}

/*
 * What the command will transfer, or why it must not.  The namespace's queue
 * is entered (the caller has a request): its format in the driver does not
 * change now.  That the device has changed it already is nvme_pmap_formatting's
 * to say.
 */
static s64 nvme_pmap_check_xfer(const struct nvme_ns_head *head,
				const struct nvme_command *c,
				const struct pmap_layout *l, u64 offset,
				u32 data_len)
{
	s64 len;

	/* Read and Write without metadata: what pmap_xfer() would say */
	if (likely((c->rw.opcode == nvme_cmd_read ||
		    c->rw.opcode == nvme_cmd_write) &&
		   head->ids.csi == NVME_CSI_NVM && !head->ms &&
		   head->lba_shift >= SECTOR_SHIFT))
		len = (le16_to_cpu(c->rw.length) + 1ull) << head->lba_shift;
	else
		len = nvme_pmap_any_xfer(head, c, l, offset, data_len);
	return unlikely(len > data_len) ? -EOVERFLOW : len;
}

/* Point the request's command at the slice. */
static int nvme_pmap_set_dptr(struct nvme_pmap_file *pf,
			      struct nvme_pmap_pdu *pdu, struct nvme_command *c,
			      u64 offset, u32 len)
{
	const struct nvme_pmap *pmap = pdu->pmap;
	enum pmap_kind kind;

	/* the device may be ahead of the driver, and PRPs carry no length */
	if (pmap->l.form == NVME_PMAP_FORM_PRP &&
	    unlikely(atomic_read(&nvme_pmap_formatting)))
		return -EBUSY;
	/* a wrong guess of the bounds check must not index the lists */
	offset = array_index_nospec(offset, pmap->l.len);
	kind = pmap_dptr(&pmap->l, offset, len, &c->common.dptr);
	if (unlikely(kind == PMAP_KIND_BUILT)) {
		pdu->built = nvme_pmap_build(pmap, offset, len,
					     &c->common.dptr);
		if (!pdu->built)
			return -ENOMEM;
	}
	if (pmap->l.form != NVME_PMAP_FORM_PRP)
		c->common.flags = NVME_CMD_SGL_METABUF;
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

	len = nvme_pmap_check_xfer(ns->head, c, &pdu->pmap->l, offset,
				   data_len);
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
	pdu->hw_queue = req->mq_hctx->queue_num;
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
static bool nvme_pmap_allowed(struct nvme_ns *ns, u8 opcode, fmode_t mode)
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

	if (READ_ONCE(cmd->rsvd2) | READ_ONCE(cmd->rsvd3) |
	    READ_ONCE(cmd->rsvd4))
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

	if (unlikely(opcode > U8_MAX ||
		     READ_ONCE(cmd->nsid) != ns->head->ns_id))
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

/* Commands after which a namespace may have another format. */
static bool nvme_pmap_may_format(const struct nvme_ns *ns, u8 opcode)
{
	if (ns)
		return false;
	switch (opcode) {
	case nvme_admin_format_nvm:
	case nvme_admin_ns_mgmt:
	case nvme_admin_ns_attach:
		return true;
	default:
		return opcode >= nvme_admin_vendor_start;
	}
}

/**
 * nvme_pmap_format_begin - an ioctl is about to send a passthrough command
 * @ns: the namespace, or NULL for an admin command
 * @opcode: its opcode
 */
void nvme_pmap_format_begin(const struct nvme_ns *ns, u8 opcode)
{
	/* ordered by the freeze: who gets a request after it sees the count */
	if (nvme_pmap_may_format(ns, opcode))
		atomic_inc(&nvme_pmap_formatting);
}

/**
 * nvme_pmap_format_end - it is over, and the namespaces are known again
 * @ns: as before
 * @opcode: as before
 */
void nvme_pmap_format_end(const struct nvme_ns *ns, u8 opcode)
{
	if (nvme_pmap_may_format(ns, opcode))
		atomic_dec(&nvme_pmap_formatting);
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
 * @poll_flags: BLK_POLL_*; one look is taken in any case
 *
 * Return: the number of completions found.
 */
int nvme_pmap_chr_uring_cmd_iopoll(struct io_uring_cmd *ioucmd,
				   struct io_comp_batch *iob,
				   unsigned int poll_flags)
{
	struct nvme_ns *ns = container_of(file_inode(ioucmd->file)->i_cdev,
					  struct nvme_ns, cdev);

	if (ioucmd->cmd_op == NVME_URING_CMD_PMAP)
		return nvme_pmap_iopoll(ioucmd, iob);
	/* as nvme_ns_chr_uring_cmd_iopoll(), but not through the request */
	BUILD_BUG_ON(offsetofend(struct nvme_uring_cmd_pdu, status) >
		     sizeof(ioucmd->pdu) - sizeof(u16));
	return nvme_pmap_poll_queue(ns->queue, *pmap_stock_queue(ioucmd), iob);
}
