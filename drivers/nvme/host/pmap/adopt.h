/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Buffers that io_uring has registered, and that the driver holds a reference on.
 *
 * Identity.  io_uring has one object for a registered buffer, struct io_mapped_ubuf.
 * While a reference on it is held its address is that of no other object: a command
 * that names the same address names the same buffer, and its bounds and pages are
 * those of the object.  The struct comes from io_uring/rsrc.h of the kernel's source
 * package (scripts/overlay writes ubuf.h).
 *
 * Charges.  io_uring gives back what it has charged with the last reference, which may
 * be the driver's, some time after the program has unregistered the buffer.  A program
 * that unregisters and registers again must find the room that it has on stock.  So the
 * driver watches io_uring's tracepoint at the end of io_uring_register(), and uncharges
 * there what only it holds.  All that it holds of a user, uncharged or not, is bounded by
 * RLIMIT_MEMLOCK once more.  VmPin of the process stays until the buffer is freed.
 */
#ifndef _NVME_PMAP_ADOPT_H
#define _NVME_PMAP_ADOPT_H

#include <linux/gfp.h>
#include <linux/types.h>

#include "ubuf.h"

struct io_kiocb;
struct mem_cgroup;
struct mm_struct;
struct nvme_pmap_account;
struct user_struct;

/**
 * struct nvme_pmap_adopted - a registered buffer of io_uring's that the driver holds
 * @node: in the table of all
 * @imu: io_uring's object, with one reference, however many users there are
 * @user: io_uring has charged its locked_vm; NULL: no user was charged
 * @mm: the process whose VmPin is charged; or NULL
 * @account: what the driver holds of @user; NULL: no user was charged
 * @of_user: on the list there, until @uncharged
 * @uncharged: io_uring has let go of it, and @user is not charged any more
 * @users: mappings of it, of all files and controllers
 */
struct nvme_pmap_adopted {
	struct hlist_node node;
	struct io_mapped_ubuf *imu;
	struct user_struct *user;
	struct mm_struct *mm;
	struct nvme_pmap_account *account;
	struct list_head of_user;
	bool uncharged;
	unsigned int users;
};

/* Has io_uring let go of it?  Nobody takes another reference then. */
static inline bool nvme_pmap_given_up(const struct nvme_pmap_adopted *a)
{
	return refcount_read(&a->imu->refs) == 1;
}

/* Of the auto door: nobody is to be killed for what only makes things faster. */
#define PMAP_AUTO_GFP (GFP_KERNEL_ACCOUNT | __GFP_NORETRY | __GFP_NOWARN)

static inline gfp_t nvme_pmap_gfp(const struct nvme_pmap_adopted *adopted)
{
	return adopted ? PMAP_AUTO_GFP : GFP_KERNEL_ACCOUNT;
}

struct nvme_pmap_adopted *nvme_pmap_adopt(const struct io_kiocb *req);
void nvme_pmap_disown(struct nvme_pmap_adopted *a);
void nvme_pmap_note_given_up(struct nvme_pmap_adopted *a);
void nvme_pmap_watch(void);
void nvme_pmap_unwatch(void);
struct mem_cgroup *nvme_pmap_adopted_memcg(const struct nvme_pmap_adopted *a);

#endif /* _NVME_PMAP_ADOPT_H */
