/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Mends of faults of stock that programs would meet on the fork: hooks/mends has where
 * they stand.
 */
#ifndef _NVME_PMAP_MENDS_H
#define _NVME_PMAP_MENDS_H

#include <linux/compat.h>
#include <linux/blk-mq.h>
#include <linux/io_uring/cmd.h>
#include <linux/version.h>

/*
 * pmap_copy_sqe - before a uring_cmd fails: keep what a retry needs
 *
 * A command that answers -EAGAIN is issued again by an io-wq thread, when user
 * space may have put another SQE in its place.  From 6.10 to 6.13 io_uring
 * copies the SQE aside then, but leaves the command pointing at the original:
 * the thread sends whatever stands there, to whatever blocks.  Point it at the
 * copy.  (Later kernels copy every SQE first; earlier ones move the pointer.)
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
	/* both halves: nothing but SQE128 comes as far as -EAGAIN */
	memcpy(copy, ioucmd->sqe, 2 * sizeof(*copy));
	ioucmd->sqe = copy;
#endif
	return err;
}

/*
 * A pointer of stock passthrough by io_uring.  Stock asks whether the system call
 * is that of a 32-bit program.  An io-wq thread is in no call: it has a copy of the
 * registers of the task that created it, and if that was in an interrupt (which
 * task work is run at the end of), they look like a call of the x32 ABI, and every
 * pointer loses its upper half.  The ring knows what its program is.
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
 * The hardware queue of a stock passthrough command, by number, in the last
 * bytes of io_uring's private area, which the stock driver leaves free.  A ring
 * that polls must not look at the request: another's poll may have freed it.
 */
static inline u16 *pmap_stock_queue(struct io_uring_cmd *ioucmd)
{
	return (u16 *)(ioucmd->pdu + sizeof(ioucmd->pdu)) - 1;
}

static inline void pmap_note_queue(struct io_uring_cmd *ioucmd,
				   const struct request *req)
{
	*pmap_stock_queue(ioucmd) = req->mq_hctx->queue_num;
}

#endif /* _NVME_PMAP_MENDS_H */
