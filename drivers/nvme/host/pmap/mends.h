/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Mends: repairs of stock bugs that programs would meet on the fork.  hooks/mends has
 * the places.
 */
#ifndef _NVME_PMAP_MENDS_H
#define _NVME_PMAP_MENDS_H

#include <linux/compat.h>
#include <linux/blk-mq.h>
#include <linux/io_uring/cmd.h>
#include <linux/version.h>

/*
 * pmap_copy_sqe - before a uring_cmd fails: keep the SQE for a retry
 *
 * After -EAGAIN an io-wq thread issues the command again, when user space may have
 * overwritten the SQE in the ring.  From 6.10 to 6.13 io_uring then copies the SQE, but
 * leaves the command pointing at the original, so that the thread sends whatever is in
 * the ring.  Point the command at the copy.  (Later kernels copy every SQE first;
 * earlier ones move the pointer.)
 *
 * Return: @err.
 */
static inline int pmap_copy_sqe(struct io_uring_cmd *ioucmd, int err)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 10, 0) && \
	LINUX_VERSION_CODE < KERNEL_VERSION(6, 14, 0)
	struct io_uring_sqe *copy = cmd_to_io_kiocb(ioucmd)->async_data;

	if (err != -EAGAIN || !copy || ioucmd->sqe == copy)
		return err;
	/* both halves: only SQE128 commands come as far as -EAGAIN */
	memcpy(copy, ioucmd->sqe, 2 * sizeof(*copy));
	ioucmd->sqe = copy;
#endif
	return err;
}

/*
 * A user pointer of stock passthrough by io_uring.  Stock asks whether the present
 * system call is a 32-bit program's.  An io-wq thread is in no system call: it has a
 * copy of the registers of the task that created it.  If that task was in an interrupt
 * (task work runs at the end of one), the registers look like an x32 call, and every
 * pointer loses its upper half.  So ask the ring, which knows its program.
 */
static inline void __user *pmap_user_ptr(struct io_uring_cmd *ioucmd, u64 ptr)
{
#ifdef CONFIG_COMPAT
	if (cmd_to_io_kiocb(ioucmd)->ctx->compat)
		return compat_ptr(ptr);
#endif
	return u64_to_user_ptr(ptr);
}

/*
 * The number of the hardware queue of a stock passthrough command.  It is in the last
 * bytes of io_uring's private area, which the stock driver leaves free.  A ring that
 * polls must not look at the request: another ring's poll may have freed it.
 */
static inline u16 *pmap_stock_hctx(struct io_uring_cmd *ioucmd)
{
	return (u16 *)(ioucmd->pdu + sizeof(ioucmd->pdu)) - 1;
}

static inline void pmap_note_hctx(struct io_uring_cmd *ioucmd,
				  const struct request *req)
{
	*pmap_stock_hctx(ioucmd) = req->mq_hctx->queue_num;
}

#endif /* _NVME_PMAP_MENDS_H */
