// SPDX-License-Identifier: GPL-2.0
/* Buffers of io_uring's that the driver holds; see pmap-adopt.h. */
#include <linux/hashtable.h>
#include <linux/io_uring_types.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/user.h>
#include <linux/slab.h>

#include "nvme.h"
#include "pmap-adopt.h"

/* Folios that are unpinned without a pause. */
#define PMAP_UNPIN_BATCH 512u

/* A task that submits must not wait for memory, nor be killed for it. */
#define PMAP_ADOPT_GFP (GFP_NOWAIT | __GFP_ACCOUNT | __GFP_NOWARN)

/**
 * struct nvme_pmap_account - what of a user's charge is the driver's
 * @node: on the list of accounts
 * @user: whose
 * @pages: pages that io_uring had charged
 * @users: adopted buffers
 */
struct nvme_pmap_account {
	struct list_head node;
	struct user_struct *user;
	unsigned long pages;
	unsigned int users;
};

static DEFINE_HASHTABLE(nvme_pmap_adopted_table, 10);
static LIST_HEAD(nvme_pmap_accounts);
/* Guards both, and what is in them. */
static DEFINE_SPINLOCK(nvme_pmap_adopt_lock);

static struct nvme_pmap_account *nvme_pmap_account_get(struct user_struct *user)
{
	struct nvme_pmap_account *acct;

	lockdep_assert_held(&nvme_pmap_adopt_lock);
	list_for_each_entry(acct, &nvme_pmap_accounts, node)
		if (acct->user == user)
			goto found;
	acct = kzalloc(sizeof(*acct), PMAP_ADOPT_GFP);
	if (!acct)
		return NULL;
	acct->user = get_uid(user);
	list_add(&acct->node, &nvme_pmap_accounts);
found:
	acct->users++;
	return acct;
}

static void nvme_pmap_account_put(struct nvme_pmap_account *acct)
{
	lockdep_assert_held(&nvme_pmap_adopt_lock);
	if (--acct->users)
		return;
	list_del(&acct->node);
	free_uid(acct->user);
	kfree(acct);
}

/* Move the charge to the driver's account, if that has room. */
static int nvme_pmap_take_charge(struct nvme_pmap_adopted *a)
{
	unsigned long limit = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
	unsigned long pages = a->imu->acct_pages;

	if (!a->user)
		return 0;
	a->account = nvme_pmap_account_get(a->user);
	if (!a->account)
		return -ENOMEM;
	if (a->account->pages + pages > limit) {
		nvme_pmap_account_put(a->account);
		return -EDQUOT;
	}
	a->account->pages += pages;
	atomic_long_sub(pages, &a->user->locked_vm);
	return 0;
}

/*
 * Give the reference back, and the charge.  Return: whether the reference was the last.
 *
 * The charge goes back to the user, and with the last reference it ends.  It must not
 * be seen there after io_uring has let go, or a registration that has room on stock
 * fails: with no reference left but ours it does not go back at all, and else nothing
 * comes between the steps.
 */
static bool nvme_pmap_return_charge(struct nvme_pmap_adopted *a)
{
	unsigned long pages = a->imu->acct_pages;
	bool last;

	lockdep_assert_held(&nvme_pmap_adopt_lock);
	if (a->account) {
		a->account->pages -= pages;
		nvme_pmap_account_put(a->account);
	}
	if (nvme_pmap_given_up(a)) {
		/* pairs with the release of io_uring's refcount_dec_and_test() */
		smp_acquire__after_ctrl_dep();
		return true;
	}
	if (a->user)
		atomic_long_add(pages, &a->user->locked_vm);
	last = refcount_dec_and_test(&a->imu->refs);
	if (last && a->user)
		atomic_long_sub(pages, &a->user->locked_vm);
	return last;
}

static struct nvme_pmap_adopted *
nvme_pmap_adopted_find(const struct io_mapped_ubuf *imu)
{
	struct nvme_pmap_adopted *a;

	lockdep_assert_held(&nvme_pmap_adopt_lock);
	hash_for_each_possible(nvme_pmap_adopted_table, a, node,
			       (unsigned long)imu)
		if (a->imu == imu)
			return a;
	return NULL;
}

/* The buffer's first user; the command keeps io_uring's own reference meanwhile. */
static struct nvme_pmap_adopted *nvme_pmap_adopt_new(const struct io_kiocb *req)
{
	struct nvme_pmap_adopted *a = kzalloc(sizeof(*a), PMAP_ADOPT_GFP);
	int ret;

	lockdep_assert_held(&nvme_pmap_adopt_lock);
	if (!a)
		return ERR_PTR(-ENOMEM);
	a->imu = req->imu;
	a->user = req->ctx->user;
	ret = nvme_pmap_take_charge(a);
	if (ret) {
		kfree(a);
		return ERR_PTR(ret);
	}
	refcount_inc(&a->imu->refs);
	if (a->user)
		get_uid(a->user);
	a->mm = req->ctx->mm_account;
	if (a->mm)
		mmgrab(a->mm);
	hash_add(nvme_pmap_adopted_table, &a->node, (unsigned long)a->imu);
	return a;
}

/**
 * nvme_pmap_adopt - hold the buffer of a command that is being submitted
 * @req: the command; its buffer is one that io_uring imports for it
 *
 * One that is held already, for another file or another controller, is shared.
 *
 * Context: never waits.
 *
 * Return: the buffer, for nvme_pmap_disown(); -EDQUOT: the driver's account of the user
 * has no room; -ENOMEM.
 */
struct nvme_pmap_adopted *nvme_pmap_adopt(const struct io_kiocb *req)
{
	struct nvme_pmap_adopted *a;

	spin_lock(&nvme_pmap_adopt_lock);
	a = nvme_pmap_adopted_find(req->imu) ?: nvme_pmap_adopt_new(req);
	if (!IS_ERR(a))
		a->users++;
	spin_unlock(&nvme_pmap_adopt_lock);
	return a;
}

/* The last reference was ours: what io_buffer_unmap() does then. */
static void nvme_pmap_free_ubuf(const struct nvme_pmap_adopted *a)
{
	struct io_mapped_ubuf *imu = a->imu;
	unsigned int i;

	for (i = 0; i < imu->nr_bvecs; i++) {
		unpin_user_folio(page_folio(imu->bvec[i].bv_page), 1);
		if (i % PMAP_UNPIN_BATCH == PMAP_UNPIN_BATCH - 1)
			cond_resched();
	}
	if (a->mm)
		atomic64_sub(imu->acct_pages, &a->mm->pinned_vm);
	kvfree(imu);
}

/**
 * nvme_pmap_disown - a mapping of the buffer has ended
 * @a: the buffer
 *
 * Context: process; may take a while where io_uring has let go of a large one.
 */
void nvme_pmap_disown(struct nvme_pmap_adopted *a)
{
	bool last;

	spin_lock(&nvme_pmap_adopt_lock);
	if (--a->users) {
		spin_unlock(&nvme_pmap_adopt_lock);
		return;
	}
	hash_del(&a->node);
	last = nvme_pmap_return_charge(a);
	spin_unlock(&nvme_pmap_adopt_lock);

	if (last)
		nvme_pmap_free_ubuf(a);
	if (a->user)
		free_uid(a->user);
	if (a->mm)
		mmdrop(a->mm);
	kfree(a);
}

/**
 * nvme_pmap_adopted_memcg - whose memory describes the buffer
 * @a: the buffer
 *
 * Return: the memory cgroup of the process that registered it, with a reference; or
 * NULL.
 */
struct mem_cgroup *nvme_pmap_adopted_memcg(const struct nvme_pmap_adopted *a)
{
	return a->mm ? get_mem_cgroup_from_mm(a->mm) : NULL;
}
