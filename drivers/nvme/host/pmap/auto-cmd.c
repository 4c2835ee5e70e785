// SPDX-License-Identifier: GPL-2.0
/*
 * The auto door: a command of NVME_URING_CMD_IO on a buffer that io_uring has registered,
 * sent with the mapping of that buffer.  Stock gets each command that the door does not
 * serve, and each command that is wrong.  In the order of their costs:
 *
 *   nvme_pmap_auto_next()      one more of a batch
 *   nvme_pmap_auto_by_queue()  by the passthrough queue, first of a batch or by itself
 *   nvme_pmap_auto_by_blk_mq() over blk-mq
 *   nvme_ns_chr_uring_cmd()    stock
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
#include "queue.h"

/* Fields that both structures have, and that are used for both, are at one offset. */
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

/* io_uring's object for the buffer of a command, which holds a reference on it. */
static __always_inline const struct io_mapped_ubuf *
nvme_pmap_auto_ubuf(struct io_uring_cmd *ioucmd)
{
	return cmd_to_io_kiocb(ioucmd)->imu;
}

/*
 * Find the mapping of a buffer.  While the caller has the reference, the mapping has its
 * own on io_uring's object: an equal address is the same object.
 *
 * Return: the mapping, referenced; or NULL.
 */
static struct nvme_pmap *nvme_pmap_auto_find(struct nvme_pmap_auto_file *af,
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

/* A buffer without a mapping.  Return: the reason why stock gets the command. */
static noinline enum nvme_pmap_path
nvme_pmap_auto_unmapped(struct nvme_pmap_file *pf, struct io_uring_cmd *ioucmd,
			const struct nvme_pmap_io *io)
{
	const struct io_mapped_ubuf *imu = nvme_pmap_auto_ubuf(ioucmd);
	struct iov_iter iter;

	/* io_uring answers first; there may be no buffer at all */
	if (io_uring_cmd_import_fixed(io->offset, io->data_len, ITER_DEST,
				      &iter, ioucmd))
		return PMAP_PATH_STOCK_UNSUPPORTED;
	if ((imu->ubuf | imu->len) & (NVME_PMAP_ALIGN - 1))
		return PMAP_PATH_STOCK_UNMAPPED;
	return nvme_pmap_auto_count_down(pf, cmd_to_io_kiocb(ioucmd),
					 io->data_len);
}

/* Bytes that one command may transfer, through the auto door as through stock. */
static u32 nvme_pmap_auto_max(const struct nvme_pmap_file *pf)
{
	const struct request_queue *q =
		container_of(pf->usage, struct request_queue, q_usage_counter);

	return min_t(u64, nvme_pmap_max(pf),
		     (u64)READ_ONCE(q->limits.max_hw_sectors) << SECTOR_SHIFT);
}

/* Open a batch on a referenced buffer. */
static __always_inline bool
nvme_pmap_auto_batch_open(struct nvme_pmap_queue *q, struct nvme_ns *ns,
			  struct nvme_pmap_file *pf,
			  struct io_uring_cmd *ioucmd, struct nvme_pmap *pmap)
{
	if (!nvme_pmap_batch_may_open(q, pf) || nvme_pmap_get_usage(pf))
		return false;
	pmap_ref_get_many(&pmap->ref, 1);
	q->batch.table_pf = NULL;
	q->batch.ubuf = nvme_pmap_auto_ubuf(ioucmd);
	q->batch.addr = pmap->addr;
	q->batch.max = nvme_pmap_auto_max(pf);
	return nvme_pmap_batch_setup(q, ns, pf, ioucmd, pmap);
}

/*
 * One more of a batch, on another buffer than the batch's own, which is referenced.
 *
 * Return: whether it has been sent.
 */
static noinline bool nvme_pmap_auto_elsewhere(struct nvme_pmap_file *pf,
					      struct nvme_pmap_queue *q,
					      struct io_uring_cmd *ioucmd,
					      struct nvme_pmap *pmap)
{
	bool sent = false;

	/* pairs with synchronize_rcu() in nvme_pmap_queue_revoke_batch() */
	preempt_disable();
	if (nvme_pmap_owns_batch(q) && q->batch.pf == pf &&
	    q->batch.limit != q->sent)
		sent = nvme_pmap_enqueue_owned_auto(q, ioucmd, pmap);
	preempt_enable();
	return sent;
}

/* Begin a batch with this command.  Return: whether it has been sent. */
static noinline bool nvme_pmap_auto_first(struct nvme_ns *ns,
					  struct nvme_pmap_file *pf,
					  struct nvme_pmap_queue *q,
					  struct io_uring_cmd *ioucmd,
					  struct nvme_pmap *pmap)
{
	bool sent = false;

	spin_lock(&q->sq_lock);
	if (nvme_pmap_auto_batch_open(q, ns, pf, ioucmd, pmap)) {
		sent = nvme_pmap_enqueue_owned_auto(q, ioucmd, NULL);
		nvme_pmap_batch_first_done(q, sent);
	}
	spin_unlock(&q->sq_lock);
	return sent;
}

/*
 * Send the command by the file's queue, if it has one that accepts it.
 *
 * Return: whether the queue has it, and with it the caller's reference on the buffer.
 */
static bool
nvme_pmap_auto_by_queue(struct nvme_ns *ns, struct nvme_pmap_file *pf,
			struct io_uring_cmd *ioucmd, unsigned int issue_flags,
			struct nvme_pmap *pmap, struct nvme_pmap_io *io)
{
	struct nvme_pmap_queue *q = nvme_pmap_cmd_queue(pf, issue_flags);
	int ret = PMAP_FALLBACK_WORKER;

	if (!q) {
		nvme_pmap_count_fallback(pf, PMAP_FALLBACK_DOWN);
		nvme_pmap_auto_request_queue(pf, ioucmd->file,
					     issue_flags & IO_URING_F_IOPOLL);
		return false;
	}
	if (!(issue_flags & IO_URING_F_UNLOCKED)) {
		/* a task continues only a batch of its own */
		if (nvme_pmap_owns_batch(q) &&
		    nvme_pmap_auto_elsewhere(pf, q, ioucmd, pmap))
			return true;
		if (nvme_pmap_auto_first(ns, pf, q, ioucmd, pmap)) {
			/* the batch has references of its own */
			percpu_ref_put(&pmap->ref);
			return true;
		}
		ret = nvme_pmap_enqueue_io(ns, pf, q, ioucmd, io, pmap);
	}
	if (ret > 0)
		nvme_pmap_count_fallback(pf, ret);
	return ret == -EIOCBQUEUED;
}

/*
 * Send the command over blk-mq.  The caller's reference on the buffer is used up.
 *
 * Return: -EIOCBQUEUED; -EAGAIN, as stock; or the reason why stock gets the command.
 */
static int
nvme_pmap_auto_by_blk_mq(struct nvme_ns *ns, struct nvme_pmap_file *pf,
			 struct io_uring_cmd *ioucmd, unsigned int issue_flags,
			 struct nvme_pmap *pmap, const struct nvme_pmap_io *io)
{
	const struct nvme_pmap_cmd *cmd = io_uring_sqe_cmd(ioucmd->sqe);
	struct nvme_pmap_pdu *pdu = nvme_pmap_pdu(ioucmd);
	int ret;

	pdu->built = NULL;
	pdu->pmap = pmap;
	/* before it is sent: the program may read the counter as soon as it is */
	this_cpu_inc(pf->counts->path[PMAP_PATH_BLK_MQ]);
	ret = nvme_pmap_send(ns, pf, ioucmd, cmd, io, issue_flags);
	if (likely(ret == -EIOCBQUEUED))
		return ret;
	this_cpu_dec(pf->counts->path[PMAP_PATH_BLK_MQ]);
	percpu_ref_put(&pmap->ref);
	return ret == -EAGAIN ? ret : PMAP_PATH_STOCK_OTHER;
}

/* Return: -EIOCBQUEUED; -EAGAIN; or the reason why stock gets the command. */
static __always_inline int nvme_pmap_auto_try(struct io_uring_cmd *ioucmd,
					      unsigned int issue_flags,
					      struct nvme_pmap_file *pf)
{
	const struct nvme_pmap_cmd *cmd = io_uring_sqe_cmd(ioucmd->sqe);
	struct nvme_ns *ns = container_of(file_inode(ioucmd->file)->i_cdev,
					  struct nvme_ns, cdev);
	struct nvme_pmap *pmap;
	struct nvme_pmap_io io __uninitialized;
	int ret;

	if (unlikely(nvme_pmap_check_ring(issue_flags) ||
		     READ_ONCE(cmd->index) ||
		     nvme_pmap_parse(ns, ioucmd, cmd, &io)))
		return PMAP_PATH_STOCK_UNSUPPORTED;
	if (unlikely((io.opcode != nvme_cmd_read &&
		      io.opcode != nvme_cmd_write) ||
		     !nvme_pmap_len_ok(io.data_len, nvme_pmap_auto_max(pf))))
		return PMAP_PATH_STOCK_UNSUPPORTED;
	pmap = nvme_pmap_auto_find(pf->auto_file, nvme_pmap_auto_ubuf(ioucmd));
	if (unlikely(!pmap))
		return nvme_pmap_auto_unmapped(pf, ioucmd, &io);
	io.offset -= pmap->addr;
	ret = nvme_pmap_check_slice(pf, pmap, &io.offset, io.data_len);
	if (unlikely(ret)) {
		percpu_ref_put(&pmap->ref);
		return PMAP_PATH_STOCK_UNSUPPORTED;
	}
	if (READ_ONCE(pf->pc->mode) == NVME_PMAP_AUTO_QUEUE &&
	    nvme_pmap_auto_by_queue(ns, pf, ioucmd, issue_flags, pmap, &io))
		return -EIOCBQUEUED;
	return nvme_pmap_auto_by_blk_mq(ns, pf, ioucmd, issue_flags, pmap, &io);
}

/* A command that is not just one more of a batch, through an open door. */
static noinline int nvme_pmap_auto_alone(struct io_uring_cmd *ioucmd,
					 unsigned int issue_flags,
					 struct nvme_pmap_file *pf)
{
	int ret;

	/* the poll takes it for a pmap command; it may complete before this returns */
	ioucmd->cmd_op = NVME_URING_CMD_PMAP;
	ret = nvme_pmap_auto_try(ioucmd, issue_flags, pf);
	if (likely(ret == -EIOCBQUEUED))
		return ret;
	ioucmd->cmd_op = NVME_URING_CMD_IO;
	if (ret == -EAGAIN)
		return ret;
	this_cpu_inc(pf->counts->path[ret]);
	return nvme_ns_chr_uring_cmd(ioucmd, issue_flags);
}

/* The first commands of a file: a work makes the state that it needs. */
static noinline int nvme_pmap_auto_not_ready(struct io_uring_cmd *ioucmd,
					     unsigned int issue_flags,
					     struct nvme_pmap_file *pf)
{
	struct nvme_ns *ns = container_of(file_inode(ioucmd->file)->i_cdev,
					  struct nvme_ns, cdev);

	if (pf)
		this_cpu_inc(pf->counts->path[PMAP_PATH_STOCK_SETUP]);
	nvme_pmap_auto_file_begin(ns->ctrl, ioucmd->file);
	return nvme_ns_chr_uring_cmd(ioucmd, issue_flags);
}

static __always_inline int nvme_pmap_auto_if_open(struct io_uring_cmd *ioucmd,
						  unsigned int issue_flags,
						  struct nvme_pmap_file *pf)
{
	/* pairs with the release in nvme_pmap_auto_file_make() */
	if (unlikely(!smp_load_acquire(&pf->auto_file)))
		return nvme_pmap_auto_not_ready(ioucmd, issue_flags, pf);
	if (unlikely(READ_ONCE(pf->pc->mode) == NVME_PMAP_AUTO_OFF))
		return nvme_ns_chr_uring_cmd(ioucmd, issue_flags);
	return nvme_pmap_auto_alone(ioucmd, issue_flags, pf);
}

/*
 * One more of the batch, if it is on the same buffer.  The batch has checked that the door
 * is open, and how the ring is set up; while it has references left, no other object of
 * io_uring's has the buffer's address.
 *
 * Return: whether it has been sent.
 */
static __always_inline bool nvme_pmap_auto_next(struct nvme_pmap_file *pf,
						struct nvme_pmap_queue *q,
						struct io_uring_cmd *ioucmd)
{
	const struct nvme_pmap_batch *b = &q->batch;

	if (b->pf != pf || b->limit == q->sent ||
	    b->ubuf != nvme_pmap_auto_ubuf(ioucmd))
		return false;
	if (likely(nvme_pmap_enqueue_owned_auto(q, ioucmd, NULL)))
		return true;
	ioucmd->cmd_op = NVME_URING_CMD_IO;
	return false;
}

/* A command of a file that has a queue. */
static noinline int nvme_pmap_auto_queued(struct io_uring_cmd *ioucmd,
					  unsigned int issue_flags,
					  struct nvme_pmap_file *pf,
					  struct nvme_pmap_queue *q)
{
	bool sent = false;

	/* pairs with synchronize_rcu() in nvme_pmap_queue_revoke_batch() */
	preempt_disable();
	if (nvme_pmap_owns_batch(q))
		sent = nvme_pmap_auto_next(pf, q, ioucmd);
	preempt_enable();
	if (likely(sent))
		return -EIOCBQUEUED;
	return nvme_pmap_auto_if_open(ioucmd, issue_flags, pf);
}

/* These are jumps: a file without a queue does not pay for those with one. */
static int nvme_pmap_door_auto(struct io_uring_cmd *ioucmd,
			       unsigned int issue_flags)
{
	struct nvme_pmap_file *pf = nvme_pmap_cmd_file(ioucmd);
	struct nvme_pmap_queue *q;

	if (unlikely(!pf))
		return nvme_pmap_auto_not_ready(ioucmd, issue_flags, NULL);
	q = nvme_pmap_cmd_queue(pf, issue_flags);
	if (q)
		return nvme_pmap_auto_queued(ioucmd, issue_flags, pf, q);
	return nvme_pmap_auto_if_open(ioucmd, issue_flags, pf);
}
