/* SPDX-License-Identifier: GPL-2.0 */
/*
 * io_uring's registered buffers that the driver holds a reference on.
 *
 * Identity.  io_uring has one object per registered buffer, struct io_mapped_ubuf.
 * While a reference is held, no other object has its address: a command with the same
 * address names the same buffer, with the bounds and pages of that object.  The struct
 * comes from io_uring/rsrc.h of the kernel's source package (scripts/overlay writes
 * ubuf.h).
 *
 * Charges.  io_uring uncharges a buffer with its last reference.  If the driver holds
 * that one, this is some time after the program has unregistered the buffer, but a
 * program that unregisters and registers again must find the same room as on stock.  So
 * the driver watches io_uring's tracepoint at the end of io_uring_register(), and
 * uncharges each buffer that only the driver still holds.  RLIMIT_MEMLOCK is applied a
 * second time to all pages that the driver holds for a user, uncharged or not.  VmPin
 * of the process stays until the buffer is freed.
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
 * struct nvme_pmap_adopted - one of io_uring's registered buffers, held by the driver
 * @node: entry in nvme_pmap_adopted_table
 * @imu: io_uring's object, with one reference for all @users
 * @user: user whose locked_vm io_uring has charged; NULL: none
 * @mm: process whose VmPin is charged, or NULL
 * @account: what the driver holds for @user; NULL without @user
 * @of_user: on @account->charged until @uncharged
 * @uncharged: io_uring has let go of the buffer, and @user is no longer charged
 * @users: mappings of the buffer, of all files and controllers
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

/*
 * Has io_uring let go of the buffer?  The one reference left is the driver's; io_uring finds
 * the object no more, and so takes no new one.
 */
static inline bool nvme_pmap_given_up(const struct nvme_pmap_adopted *a)
{
	return refcount_read(&a->imu->refs) == 1;
}

/* For the auto door: a speed-up must not make the OOM killer run. */
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
