// SPDX-License-Identifier: GPL-2.0
/*
 * The auto door: a command of NVME_URING_CMD_IO with a buffer that io_uring has
 * registered, by the mapping of that buffer.  What it does not serve, for whatever
 * reason, is stock's to do or to refuse.
 */
#include <linux/uio.h>
#include <uapi/linux/nvme_ioctl.h>

#include "nvme.h"
#include "auto.h"
#include "batch.h"
#include "buffer.h"
#include "compat.h"
#include "counts.h"
#include "ctrl.h"
#include "file.h"
#include "map.h"
#include "queue.h"

/* The fields of both commands that are used for both are in the same places. */
static_assert(offsetof(struct nvme_uring_cmd, metadata) ==
	      offsetof(struct nvme_pmap_cmd, index));
static_assert(offsetof(struct nvme_uring_cmd, addr) ==
	      offsetof(struct nvme_pmap_cmd, offset));
static_assert(offsetof(struct nvme_uring_cmd, metadata_len) ==
	      offsetof(struct nvme_pmap_cmd, rsvd3));
static_assert(offsetof(struct nvme_uring_cmd, data_len) ==
	      offsetof(struct nvme_pmap_cmd, data_len));
static_assert(offsetof(struct nvme_uring_cmd, cdw10) ==
	      offsetof(struct nvme_pmap_cmd, cdw10));
static_assert(offsetof(struct nvme_uring_cmd, timeout_ms) ==
	      offsetof(struct nvme_pmap_cmd, timeout_ms));
static_assert(sizeof(struct nvme_uring_cmd) == sizeof(struct nvme_pmap_cmd));

/* io_uring's object for the buffer of a command; the command keeps it. */
static __always_inline const struct io_mapped_ubuf *
nvme_pmap_fixed_ubuf(struct io_uring_cmd *ioucmd)
{
	return cmd_to_io_kiocb(ioucmd)->imu;
}

/*
 * The mapping of the buffer, referenced, or NULL.  With the reference, the mapping's
 * own on io_uring's object is held: it is the command's.
 */
static struct nvme_pmap *nvme_pmap_fixed_find(struct nvme_pmap_auto_file *af,
					      const struct io_mapped_ubuf *imu)
{
	struct nvme_pmap *pmap = NULL;
	struct nvme_pmap_auto_entry *a;

	pmap_rcu_begin();
	a = rhashtable_lookup(&af->table, &imu, nvme_pmap_auto_params);
	if (likely(a)) {
		pmap = rcu_dereference(a->pmap);
		if (pmap && !percpu_ref_tryget_live_rcu(&pmap->ref))
			pmap = NULL;
		if (pmap && unlikely(!READ_ONCE(a->used)))
			WRITE_ONCE(a->used, true);
	}
	pmap_rcu_end();
	return pmap;
}

/* A buffer without a mapping.  Return: why stock is to have the command. */
static noinline enum nvme_pmap_path
nvme_pmap_fixed_unmapped(struct nvme_pmap_file *pf, struct io_uring_cmd *ioucmd,
			 const struct nvme_pmap_io *io)
{
	const struct io_mapped_ubuf *imu = nvme_pmap_fixed_ubuf(ioucmd);
	struct iov_iter iter;

	/* io_uring's answer; there may be no buffer at all */
	if (io_uring_cmd_import_fixed(io->offset, io->data_len, ITER_DEST,
				      &iter, ioucmd))
		return PMAP_PATH_STOCK_UNSUPPORTED;
	if ((imu->ubuf | imu->len) & (NVME_PMAP_ALIGN - 1))
		return PMAP_PATH_STOCK_UNMAPPED;
	return nvme_pmap_auto_count_down(pf, cmd_to_io_kiocb(ioucmd),
					 io->data_len);
}

/* What one command may transfer, by the auto door and by stock. */
static u32 nvme_pmap_fixed_max(const struct nvme_pmap_file *pf)
{
	const struct request_queue *q =
		container_of(pf->usage, struct request_queue, q_usage_counter);

	return min_t(u64, READ_ONCE(pf->pc->max_transfer),
		     (u64)READ_ONCE(q->limits.max_hw_sectors) << SECTOR_SHIFT);
}

/* On a buffer of the auto door's, which is referenced. */
static __always_inline bool nvme_pmap_begin_fixed(struct nvme_pmap_queue *q,
						  struct nvme_ns *ns,
						  struct nvme_pmap_file *pf,
						  struct io_uring_cmd *ioucmd,
						  struct nvme_pmap *pmap)
{
	bool live;

	if (!nvme_pmap_may_begin(q, pf))
		return false;
	pmap_rcu_acquire();
	live = percpu_ref_tryget_live_rcu(pf->usage);
	pmap_rcu_release();
	if (!live)
		return false;
	pmap_ref_get_many(&pmap->ref, 1);
	q->batch.table = NULL;
	q->batch.ubuf = nvme_pmap_fixed_ubuf(ioucmd);
	q->batch.addr = pmap->addr;
	q->batch.max = nvme_pmap_fixed_max(pf);
	return nvme_pmap_open_batch(q, ns, pf, ioucmd, pmap);
}

/* Open a batch on the buffer, with this command as its first. */
static noinline bool
nvme_pmap_fixed_first(struct nvme_ns *ns, struct nvme_pmap_file *pf,
		      struct nvme_pmap_queue *q, struct io_uring_cmd *ioucmd,
		      struct nvme_pmap *pmap, const struct nvme_pmap_fixed *fx)
{
	bool sent;

	spin_lock(&q->sq_lock);
	sent = nvme_pmap_begin_fixed(q, ns, pf, ioucmd, pmap) &&
	       nvme_pmap_first_of_batch(pf, q, ioucmd, fx);
	spin_unlock(&q->sq_lock);
	return sent;
}

/*
 * By the queue, with the buffer at hand and referenced.
 *
 * Return: -EIOCBQUEUED, an errno, or enum nvme_pmap_fallback.
 */
static int nvme_pmap_fixed_queue(struct nvme_ns *ns, struct nvme_pmap_file *pf,
				 struct nvme_pmap_queue *q,
				 struct io_uring_cmd *ioucmd,
				 unsigned int issue_flags,
				 struct nvme_pmap *pmap,
				 struct nvme_pmap_io *io)
{
	const struct nvme_pmap_fixed fx = { .offset = io->offset,
					    .len = io->data_len };

	if (unlikely(issue_flags & IO_URING_F_UNLOCKED))
		return PMAP_FALLBACK_WORKER;
	/* the batch has a reference for commands on its own buffer only */
	if (nvme_pmap_enqueue_next(pf, q, ioucmd, pmap, &fx) ==
	    PMAP_NEXT_QUEUED)
		return -EIOCBQUEUED;
	if (nvme_pmap_fixed_first(ns, pf, q, ioucmd, pmap, &fx)) {
		percpu_ref_put(&pmap->ref);
		return -EIOCBQUEUED;
	}
	return nvme_pmap_enqueue_io(ns, pf, q, ioucmd, io, pmap);
}

/* The file's first commands by this door: what it needs is being made. */
static noinline int nvme_pmap_fixed_start(struct io_uring_cmd *ioucmd,
					  unsigned int issue_flags,
					  struct nvme_pmap_file *pf)
{
	struct nvme_ns *ns = container_of(file_inode(ioucmd->file)->i_cdev,
					  struct nvme_ns, cdev);

	if (pf)
		this_cpu_inc(pf->counts->path[PMAP_PATH_STOCK_SETUP]);
	nvme_pmap_auto_begin(ns->ctrl, ioucmd->file);
	return nvme_ns_chr_uring_cmd(ioucmd, issue_flags);
}

/*
 * By the file's queue, if it has one that takes it.  Return: -EIOCBQUEUED, or 0: by
 * blk-mq.
 */
static int
nvme_pmap_fixed_by_queue(struct nvme_ns *ns, struct nvme_pmap_file *pf,
			 struct io_uring_cmd *ioucmd, unsigned int issue_flags,
			 struct nvme_pmap *pmap, struct nvme_pmap_io *io)
{
	struct nvme_pmap_queue *q = nvme_pmap_cmd_queue(pf, issue_flags);
	int ret;

	if (!q) {
		nvme_pmap_count_fallback(pf, PMAP_FALLBACK_DOWN);
		nvme_pmap_auto_request_queue(pf, ioucmd->file,
					     issue_flags & IO_URING_F_IOPOLL);
		return 0;
	}
	ret = nvme_pmap_fixed_queue(ns, pf, q, ioucmd, issue_flags, pmap, io);
	if (ret > 0)
		nvme_pmap_count_fallback(pf, ret);
	return ret == -EIOCBQUEUED ? ret : 0;
}

/*
 * With the buffer at hand and referenced.
 *
 * Return: -EIOCBQUEUED; -EAGAIN, as stock; or why stock is to have it.
 */
static int nvme_pmap_fixed_send(struct nvme_ns *ns, struct nvme_pmap_file *pf,
				struct io_uring_cmd *ioucmd,
				unsigned int issue_flags,
				struct nvme_pmap *pmap, struct nvme_pmap_io *io)
{
	const struct nvme_pmap_cmd *cmd = io_uring_sqe_cmd(ioucmd->sqe);
	struct nvme_pmap_pdu *pdu = nvme_pmap_pdu(ioucmd);
	int ret;

	if (READ_ONCE(pf->pc->mode) == NVME_PMAP_AUTO_QUEUE &&
	    nvme_pmap_fixed_by_queue(ns, pf, ioucmd, issue_flags, pmap, io))
		return -EIOCBQUEUED;
	pdu->built = NULL;
	pdu->pmap = pmap;
	/* where a worker sends it, the program may look before that goes on */
	this_cpu_inc(pf->counts->path[PMAP_PATH_BLK_MQ]);
	ret = nvme_pmap_send(ns, pf, ioucmd, cmd, io, issue_flags);
	if (likely(ret == -EIOCBQUEUED))
		return ret;
	this_cpu_dec(pf->counts->path[PMAP_PATH_BLK_MQ]);
	percpu_ref_put(&pmap->ref);
	return ret == -EAGAIN ? ret : PMAP_PATH_STOCK_OTHER;
}

/* Return: -EIOCBQUEUED; -EAGAIN; or why stock is to have it. */
static __always_inline int nvme_pmap_fixed_try(struct io_uring_cmd *ioucmd,
					       unsigned int issue_flags,
					       struct nvme_pmap_file *pf)
{
	const struct nvme_pmap_cmd *cmd = io_uring_sqe_cmd(ioucmd->sqe);
	struct nvme_ns *ns = container_of(file_inode(ioucmd->file)->i_cdev,
					  struct nvme_ns, cdev);
	struct nvme_pmap *pmap;
	struct nvme_pmap_io io __uninitialized;

	if (unlikely(nvme_pmap_check_ring(issue_flags) ||
		     READ_ONCE(cmd->index) ||
		     nvme_pmap_parse(ns, ioucmd, cmd, &io)))
		return PMAP_PATH_STOCK_UNSUPPORTED;
	if (unlikely((io.opcode != nvme_cmd_read &&
		      io.opcode != nvme_cmd_write) ||
		     io.data_len - 1 >= nvme_pmap_fixed_max(pf)))
		return PMAP_PATH_STOCK_UNSUPPORTED;
	pmap = nvme_pmap_fixed_find(pf->auto_file,
				    nvme_pmap_fixed_ubuf(ioucmd));
	if (unlikely(!pmap))
		return nvme_pmap_fixed_unmapped(pf, ioucmd, &io);
	io.offset -= pmap->addr;
	if (unlikely(nvme_pmap_check_slice(pf, pmap, io.offset, io.data_len))) {
		percpu_ref_put(&pmap->ref);
		return PMAP_PATH_STOCK_UNSUPPORTED;
	}
	return nvme_pmap_fixed_send(ns, pf, ioucmd, issue_flags, pmap, &io);
}

/*
 * A command of NVME_URING_CMD_IO with a fixed buffer, that is not just one more of
 * a batch.
 */
static noinline int nvme_pmap_fixed_alone(struct io_uring_cmd *ioucmd,
					  unsigned int issue_flags,
					  struct nvme_pmap_file *pf)
{
	int ret;

	/* polled as ours; and it may end before this returns */
	ioucmd->cmd_op = NVME_URING_CMD_PMAP;
	ret = nvme_pmap_fixed_try(ioucmd, issue_flags, pf);
	if (likely(ret == -EIOCBQUEUED))
		return ret;
	ioucmd->cmd_op = NVME_URING_CMD_IO;
	if (ret == -EAGAIN)
		return ret;
	this_cpu_inc(pf->counts->path[ret]);
	return nvme_ns_chr_uring_cmd(ioucmd, issue_flags);
}

/* The same, if the door is open. */
static __always_inline int nvme_pmap_fixed_single(struct io_uring_cmd *ioucmd,
						  unsigned int issue_flags,
						  struct nvme_pmap_file *pf)
{
	/* pairs with the release in nvme_pmap_auto_file_make() */
	if (unlikely(!smp_load_acquire(&pf->auto_file)))
		return nvme_pmap_fixed_start(ioucmd, issue_flags, pf);
	if (unlikely(READ_ONCE(pf->pc->mode) == NVME_PMAP_AUTO_OFF))
		return nvme_ns_chr_uring_cmd(ioucmd, issue_flags);
	return nvme_pmap_fixed_alone(ioucmd, issue_flags, pf);
}

/*
 * One more of the batch, if that is on the same buffer.  That the door is open, and
 * how the ring is set up, was found out for the batch; while it has references left,
 * the address of io_uring's object is no other's.  Return: whether.
 */
static __always_inline bool nvme_pmap_fixed_next(struct nvme_pmap_file *pf,
						 struct nvme_pmap_queue *q,
						 struct io_uring_cmd *ioucmd)
{
	const struct nvme_pmap_cmd *cmd = io_uring_sqe_cmd(ioucmd->sqe);
	struct nvme_pmap_batch *b = &q->batch;
	u64 addr = READ_ONCE(cmd->offset);
	struct nvme_pmap_fixed fx __uninitialized;

	fx.len = READ_ONCE(cmd->data_len);
	if (b->pf != pf || b->limit == q->sent ||
	    b->ubuf != nvme_pmap_fixed_ubuf(ioucmd) ||
	    unlikely(fx.len - 1 >= b->max))
		return false;
	fx.offset = addr - b->addr;
	/* polled as ours; and it may end before this returns */
	ioucmd->cmd_op = NVME_URING_CMD_PMAP;
	if (likely(nvme_pmap_enqueue_owned(pf, q, ioucmd, NULL, &fx) ==
		   PMAP_NEXT_QUEUED))
		return true;
	ioucmd->cmd_op = NVME_URING_CMD_IO;
	return false;
}

static noinline int nvme_pmap_fixed_batched(struct io_uring_cmd *ioucmd,
					    unsigned int issue_flags,
					    struct nvme_pmap_file *pf,
					    struct nvme_pmap_queue *q)
{
	bool queued = false;

	preempt_disable();
	if (READ_ONCE(q->batch.plug) == current->plug)
		queued = nvme_pmap_fixed_next(pf, q, ioucmd);
	preempt_enable();
	if (likely(queued))
		return -EIOCBQUEUED;
	return nvme_pmap_fixed_single(ioucmd, issue_flags, pf);
}

/*
 * A command of NVME_URING_CMD_IO with a fixed buffer; stock's, if need be.  Jumps
 * again: who has no queue pays nothing for it.
 */
static int nvme_pmap_uring_cmd_fixed(struct io_uring_cmd *ioucmd,
				     unsigned int issue_flags)
{
	struct nvme_pmap_file *pf = nvme_pmap_cmd_file(ioucmd);
	struct nvme_pmap_queue *q;

	if (unlikely(!pf))
		return nvme_pmap_fixed_start(ioucmd, issue_flags, NULL);
	q = nvme_pmap_cmd_queue(pf, issue_flags);
	if (q)
		return nvme_pmap_fixed_batched(ioucmd, issue_flags, pf, q);
	return nvme_pmap_fixed_single(ioucmd, issue_flags, pf);
}
