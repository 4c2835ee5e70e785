// SPDX-License-Identifier: GPL-2.0
/* io_uring's buffers that the driver holds; see adopt.h. */
#include <linux/hashtable.h>
#include <linux/io_uring_types.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/user.h>
#include <linux/slab.h>
#include <linux/tracepoint.h>
#include <trace/events/io_uring.h>

#include "nvme.h"
#include "adopt.h"

/* Buffers that one io_uring_register() call checks. */
#define PMAP_ACCOUNT_SCAN 512u

/* Folios that are unpinned without a pause. */
#define PMAP_UNPIN_BATCH 512u

/* A submission must neither wait for memory nor run the OOM killer. */
#define PMAP_ADOPT_GFP (GFP_NOWAIT | __GFP_ACCOUNT | __GFP_NOWARN)

/**
 * struct nvme_pmap_account - the buffers that the driver holds for one user
 * @node: entry in nvme_pmap_accounts
 * @user: the user, with a reference
 * @pages: pages of the buffers, as io_uring charged them
 * @users: number of buffers
 * @charged: buffers not yet seen to be given up by io_uring
 */
struct nvme_pmap_account {
	struct list_head node;
	struct user_struct *user;
	unsigned long pages;
	unsigned int users;
	struct list_head charged;
};

static DEFINE_HASHTABLE(nvme_pmap_adopted_table, 10);
static LIST_HEAD(nvme_pmap_accounts);
/* Guards the table, the list and all objects in them. */
static DEFINE_SPINLOCK(nvme_pmap_adopt_lock);

static struct nvme_pmap_account *
nvme_pmap_account_find(const struct user_struct *user)
{
	struct nvme_pmap_account *acct;

	lockdep_assert_held(&nvme_pmap_adopt_lock);
	list_for_each_entry(acct, &nvme_pmap_accounts, node)
		if (acct->user == user)
			return acct;
	return NULL;
}

static struct nvme_pmap_account *
nvme_pmap_account_make(struct user_struct *user)
{
	struct nvme_pmap_account *acct = kzalloc(sizeof(*acct), PMAP_ADOPT_GFP);

	lockdep_assert_held(&nvme_pmap_adopt_lock);
	if (!acct)
		return NULL;
	acct->user = get_uid(user);
	INIT_LIST_HEAD(&acct->charged);
	list_add(&acct->node, &nvme_pmap_accounts);
	return acct;
}

static void nvme_pmap_account_drop(struct nvme_pmap_account *acct)
{
	lockdep_assert_held(&nvme_pmap_adopt_lock);
	if (acct->users)
		return;
	list_del(&acct->node);
	free_uid(acct->user);
	kfree(acct);
}

/* Enter the buffer in the account of its user, if that has room. */
static int nvme_pmap_account_add(struct nvme_pmap_adopted *a)
{
	unsigned long limit = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
	unsigned long pages = a->imu->acct_pages;

	if (!a->user)
		return 0;
	a->account = nvme_pmap_account_find(a->user) ?:
			     nvme_pmap_account_make(a->user);
	if (!a->account)
		return -ENOMEM;
	if (a->account->pages + pages > limit) {
		nvme_pmap_account_drop(a->account);
		return -EDQUOT;
	}
	a->account->pages += pages;
	a->account->users++;
	list_add(&a->of_user, &a->account->charged);
	return 0;
}

static void nvme_pmap_account_remove(struct nvme_pmap_adopted *a)
{
	if (!a->user)
		return;
	a->account->pages -= a->imu->acct_pages;
	a->account->users--;
	list_del(&a->of_user);
	nvme_pmap_account_drop(a->account);
}

/* Uncharge the user, as io_uring does with the last reference; only once. */
static void nvme_pmap_uncharge_given_up(struct nvme_pmap_adopted *a)
{
	lockdep_assert_held(&nvme_pmap_adopt_lock);
	if (!a->user || a->uncharged)
		return;
	a->uncharged = true;
	list_del_init(&a->of_user);
	atomic_long_sub(a->imu->acct_pages, &a->user->locked_vm);
}

/* Put the reference on io_uring's object.  Return: whether it was the last. */
static bool nvme_pmap_put_imu(struct nvme_pmap_adopted *a)
{
	bool last = true;

	lockdep_assert_held(&nvme_pmap_adopt_lock);
	if (nvme_pmap_given_up(a))
		/* pairs with the release of io_uring's refcount_dec_and_test() */
		smp_acquire__after_ctrl_dep();
	else
		last = refcount_dec_and_test(&a->imu->refs);
	if (last)
		nvme_pmap_uncharge_given_up(a);
	nvme_pmap_account_remove(a);
	return last;
}

/**
 * nvme_pmap_note_given_up - uncharge a buffer that io_uring has let go of
 * @a: the buffer, whose mapping is about to end
 */
void nvme_pmap_note_given_up(struct nvme_pmap_adopted *a)
{
	spin_lock(&nvme_pmap_adopt_lock);
	nvme_pmap_uncharge_given_up(a);
	spin_unlock(&nvme_pmap_adopt_lock);
}

/* Check the next PMAP_ACCOUNT_SCAN buffers; later calls check the others. */
static void nvme_pmap_scan_account(struct nvme_pmap_account *acct)
{
	unsigned int left = min(acct->users, PMAP_ACCOUNT_SCAN);
	struct nvme_pmap_adopted *a, *next;

	list_for_each_entry_safe(a, next, &acct->charged, of_user) {
		if (!left--)
			return;
		if (nvme_pmap_given_up(a))
			nvme_pmap_uncharge_given_up(a);
		else
			list_move_tail(&a->of_user, &acct->charged);
	}
}

/*
 * Can uncharging help after this call?  Yes if io_uring may have let go of buffers, or
 * if a registration failed for lack of room, which buffers let go of earlier may still
 * take up: then the program's next try succeeds.
 */
static bool nvme_pmap_may_release(unsigned int opcode, long ret)
{
	switch (opcode) {
	case IORING_UNREGISTER_BUFFERS:
	case IORING_UNREGISTER_FILES:
		return ret >= 0;
	case IORING_REGISTER_BUFFERS:
	case IORING_REGISTER_BUFFERS2:
		return ret == -ENOMEM;
	case IORING_REGISTER_BUFFERS_UPDATE:
	case IORING_REGISTER_CLONE_BUFFERS:
		return ret >= 0 || ret == -ENOMEM;
	default:
		return false;
	}
}

/*
 * A program has unregistered or replaced buffers: uncharge those that io_uring has let
 * go of, before the call returns.
 */
static void nvme_pmap_trace_register(void *data, void *ring,
				     unsigned int opcode, unsigned int nr_files,
				     unsigned int nr_bufs, long ret)
{
	const struct io_ring_ctx *ctx = ring;
	struct nvme_pmap_account *acct;

	if (!nvme_pmap_may_release(opcode, ret) || !ctx->user)
		return;
	spin_lock(&nvme_pmap_adopt_lock);
	acct = nvme_pmap_account_find(ctx->user);
	if (acct)
		nvme_pmap_scan_account(acct);
	spin_unlock(&nvme_pmap_adopt_lock);
}

/* io_uring's tracepoint, with our probe; NULL: not registered. */
static struct tracepoint *nvme_pmap_watched;
static DEFINE_MUTEX(nvme_pmap_watching);

static void nvme_pmap_match_tracepoint(struct tracepoint *tp, void *data)
{
	struct tracepoint **found = data;

	if (!strcmp(tp->name, "io_uring_register"))
		*found = tp;
}

/**
 * nvme_pmap_watch - probe the tracepoint of io_uring_register()
 *
 * Done once for the module, since it patches code.  Without the tracepoint, mapped
 * buffers are uncharged up to a second late.
 */
void nvme_pmap_watch(void)
{
	struct tracepoint *tp = NULL;

	check_trace_callback_type_io_uring_register(nvme_pmap_trace_register);
	mutex_lock(&nvme_pmap_watching);
	if (!nvme_pmap_watched)
		for_each_kernel_tracepoint(nvme_pmap_match_tracepoint, &tp);
	if (tp &&
	    !tracepoint_probe_register(tp, nvme_pmap_trace_register, NULL))
		nvme_pmap_watched = tp;
	if (!nvme_pmap_watched)
		pr_warn_once("pmap: no tracepoint: buffers uncharged late\n");
	mutex_unlock(&nvme_pmap_watching);
}

/**
 * nvme_pmap_unwatch - remove the probe: the module goes
 */
void nvme_pmap_unwatch(void)
{
	if (!nvme_pmap_watched)
		return;
	tracepoint_probe_unregister(nvme_pmap_watched, nvme_pmap_trace_register,
				    NULL);
	tracepoint_synchronize_unregister();
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

/* The driver's first reference on a buffer; the command holds io_uring's meanwhile. */
static struct nvme_pmap_adopted *nvme_pmap_adopt_new(const struct io_kiocb *req)
{
	struct nvme_pmap_adopted *a = kzalloc(sizeof(*a), PMAP_ADOPT_GFP);
	int ret;

	lockdep_assert_held(&nvme_pmap_adopt_lock);
	if (!a)
		return ERR_PTR(-ENOMEM);
	a->imu = req->imu;
	a->user = req->ctx->user;
	ret = nvme_pmap_account_add(a);
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
 * nvme_pmap_adopt - take a reference on the buffer of a command being submitted
 * @req: the command; io_uring imports its buffer for it
 *
 * If the driver holds the buffer already, for another file or controller, it is shared.
 *
 * Context: never waits.
 *
 * Return: the buffer, for nvme_pmap_disown(); -EDQUOT: the user's account has no room;
 * -ENOMEM.
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

/* The driver put the last reference: do what io_buffer_unmap() does. */
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
 * nvme_pmap_disown - put a reference of nvme_pmap_adopt()
 * @a: the buffer
 *
 * Context: process; freeing a large buffer that io_uring has let go of takes a while.
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
	last = nvme_pmap_put_imu(a);
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
 * nvme_pmap_adopted_memcg - the memory cgroup to charge for a buffer's mapping
 * @a: the buffer
 *
 * Return: the memory cgroup of the process that registered it, with a reference; or
 * NULL.
 */
struct mem_cgroup *nvme_pmap_adopted_memcg(const struct nvme_pmap_adopted *a)
{
	return a->mm ? get_mem_cgroup_from_mm(a->mm) : NULL;
}
