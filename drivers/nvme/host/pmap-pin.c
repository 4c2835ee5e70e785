// SPDX-License-Identifier: GPL-2.0
/*
 * Pinning of user memory, and its charge.
 *
 * The charge goes where io_uring's registered buffers put theirs, so that one
 * RLIMIT_MEMLOCK bounds both: the user's locked_vm, and VmPin of the process.
 *
 * The auto door only holds pages, the very ones that io_uring has pinned and charged
 * already.  A charge beside that would leave the program less than it has on stock, so
 * what is held is counted apart: for each user up to RLIMIT_MEMLOCK once more.
 */
#include <linux/cred.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/user.h>
#include <linux/slab.h>

#include "nvme.h"
#include "pmap.h"

/* Pages asked for at a time: a fatal signal is noticed in between. */
#define PMAP_PIN_BATCH 512u

/* Pages whose pointers fill a page. */
#define PMAP_PAGES_PER_PAGE (PAGE_SIZE / sizeof(struct page *))

/* Pages that are held for a user. */
struct nvme_pmap_held {
	struct list_head node;
	struct user_struct *user;
	unsigned long pages;
};

static LIST_HEAD(nvme_pmap_held);
static DEFINE_MUTEX(nvme_pmap_held_lock);

static struct nvme_pmap_held *nvme_pmap_held_find(struct user_struct *user)
{
	struct nvme_pmap_held *held;

	lockdep_assert_held(&nvme_pmap_held_lock);
	list_for_each_entry(held, &nvme_pmap_held, node)
		if (held->user == user)
			return held;
	return NULL;
}

static struct nvme_pmap_held *nvme_pmap_held_get(struct user_struct *user)
{
	struct nvme_pmap_held *held = nvme_pmap_held_find(user);

	if (held)
		return held;
	held = kzalloc(sizeof(*held), GFP_KERNEL);
	if (held) {
		held->user = get_uid(user);
		list_add(&held->node, &nvme_pmap_held);
	}
	return held;
}

static void nvme_pmap_held_put(struct nvme_pmap_held *held)
{
	if (held->pages)
		return;
	list_del(&held->node);
	free_uid(held->user);
	kfree(held);
}

static int nvme_pmap_charge_held(struct nvme_pmap *pmap)
{
	unsigned long limit = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
	bool unlimited = capable(CAP_IPC_LOCK);
	struct nvme_pmap_held *held;
	int ret = -ENOMEM;

	mutex_lock(&nvme_pmap_held_lock);
	held = nvme_pmap_held_get(current_user());
	if (held) {
		ret = -EDQUOT;
		if (unlimited || held->pages + pmap->nr_pages <= limit) {
			held->pages += pmap->nr_pages;
			pmap->user = get_uid(held->user);
			ret = 0;
		}
		nvme_pmap_held_put(held);
	}
	mutex_unlock(&nvme_pmap_held_lock);
	return ret;
}

static void nvme_pmap_uncharge_held(struct nvme_pmap *pmap)
{
	struct nvme_pmap_held *held;

	mutex_lock(&nvme_pmap_held_lock);
	held = nvme_pmap_held_find(pmap->user);
	held->pages -= pmap->nr_pages;
	nvme_pmap_held_put(held);
	mutex_unlock(&nvme_pmap_held_lock);
	free_uid(pmap->user);
	pmap->user = NULL;
}

/* What is pinned for a program that has registered it. */
static int nvme_pmap_charge(struct nvme_pmap *pmap)
{
	unsigned long limit = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
	struct user_struct *user = get_uid(current_user());
	bool unlimited = capable(CAP_IPC_LOCK);
	unsigned long old = atomic_long_read(&user->locked_vm);

	do {
		if (!unlimited && old + pmap->nr_pages > limit) {
			free_uid(user);
			return -EDQUOT;
		}
	} while (!atomic_long_try_cmpxchg(&user->locked_vm, &old,
					  old + pmap->nr_pages));

	pmap->user = user;
	mmgrab(current->mm);
	pmap->mm = current->mm;
	atomic64_add(pmap->nr_pages, &pmap->mm->pinned_vm);
	return 0;
}

static void nvme_pmap_uncharge(struct nvme_pmap *pmap)
{
	if (pmap->held) {
		nvme_pmap_uncharge_held(pmap);
		return;
	}
	atomic64_sub(pmap->nr_pages, &pmap->mm->pinned_vm);
	mmdrop(pmap->mm);
	pmap->mm = NULL;
	atomic_long_sub(pmap->nr_pages, &pmap->user->locked_vm);
	free_uid(pmap->user);
	pmap->user = NULL;
}

/* Pages that are held are io_uring's to mark dirty: it has them pinned meanwhile. */
static void nvme_pmap_release_pages(const struct nvme_pmap *pmap, u32 from,
				    u32 nr)
{
	u32 i;

	if (!pmap->held) {
		/* the device may have written to any of them */
		unpin_user_pages_dirty_lock(pmap->pages + from, nr, true);
		return;
	}
	for (i = from; i < from + nr; i++)
		put_page(pmap->pages[i]);
}

static void nvme_pmap_unpin_pages(struct nvme_pmap *pmap, u32 nr)
{
	u32 done, n;

	for (done = 0; done < nr; done += n) {
		n = min(nr - done, PMAP_PIN_BATCH);
		nvme_pmap_release_pages(pmap, done, n);
		cond_resched();
	}
}

static int nvme_pmap_pin_pages(struct nvme_pmap *pmap, u64 addr)
{
	u32 done = 0;
	long n;

	while (done < pmap->nr_pages) {
		if (fatal_signal_pending(current)) {
			n = -EINTR;
			goto unpin;
		}
		n = pin_user_pages_fast(addr + ((u64)done << PAGE_SHIFT),
					min(pmap->nr_pages - done,
					    PMAP_PIN_BATCH),
					FOLL_WRITE | FOLL_LONGTERM,
					pmap->pages + done);
		if (n <= 0)
			goto unpin;
		done += n;
		cond_resched();
	}
	return 0;

unpin:
	nvme_pmap_unpin_pages(pmap, done);
	/* io_uring and the rest of mm know no other reason but these */
	return n == -ENOMEM || n == -EINTR ? n : -EFAULT;
}

/* The pages of one segment.  Return: how many pages there are now. */
static u32 nvme_pmap_hold_some(struct nvme_pmap *pmap, u32 done,
			       const struct bio_vec *bv)
{
	struct page *page = nth_page(bv->bv_page, bv->bv_offset >> PAGE_SHIFT);
	u32 bytes = offset_in_page(bv->bv_offset) + bv->bv_len;
	u32 end = done + min((u32)DIV_ROUND_UP(bytes, PAGE_SIZE),
			     pmap->nr_pages - done);

	for (; done < end; done++, page = nth_page(page, 1)) {
		pmap->pages[done] = page;
		get_page(page);
	}
	return done;
}

/*
 * What io_uring has pinned, whatever stands at its address by now, and without
 * waiting for anybody, because who submits a command must not.  References are
 * enough: a command goes by io_uring's pin as well, and a page that is held is
 * nobody else's.
 */
static int nvme_pmap_hold_pages(struct nvme_pmap *pmap,
				const struct iov_iter *iter)
{
	unsigned long seg;
	u32 done = 0;

	for (seg = 0; seg < iter->nr_segs && done < pmap->nr_pages; seg++) {
		done = nvme_pmap_hold_some(pmap, done, &iter->bvec[seg]);
		cond_resched();
	}
	if (done == pmap->nr_pages)
		return 0;
	nvme_pmap_unpin_pages(pmap, done);
	return -EFAULT;
}

/**
 * nvme_pmap_pin - pin the pages of a buffer and charge for them
 * @pmap: the buffer; nr_pages is set
 * @addr: user address, at the start of a page
 * @iter: for the auto door, all that io_uring has for the buffer; else NULL
 *
 * Return: 0, -EDQUOT, -ENOMEM, -EFAULT (not writable, or memory that must not
 * be pinned for long, such as a file's page cache), or -EINTR to a dying task.
 */
int nvme_pmap_pin(struct nvme_pmap *pmap, u64 addr, const struct iov_iter *iter)
{
	gfp_t gfp = GFP_KERNEL_ACCOUNT | __GFP_NOWARN;
	int ret;

	ret = pmap->held ? nvme_pmap_charge_held(pmap) : nvme_pmap_charge(pmap);
	if (ret)
		return ret;

	ret = -ENOMEM;
	/* the list of its pages alone would have others killed for room */
	if (pmap->nr_pages / PMAP_PAGES_PER_PAGE > totalram_pages() / 4)
		goto uncharge;
	/* for vmalloc(), which is to fail rather than have others killed */
	if (pmap->held ||
	    pmap->nr_pages > KMALLOC_MAX_SIZE / sizeof(*pmap->pages))
		gfp |= __GFP_RETRY_MAYFAIL;
	pmap->pages = kvmalloc_array(pmap->nr_pages, sizeof(*pmap->pages), gfp);
	if (!pmap->pages)
		goto uncharge;

	if (iter)
		ret = nvme_pmap_hold_pages(pmap, iter);
	else
		ret = nvme_pmap_pin_pages(pmap, addr);
	if (ret)
		goto free;
	return 0;

free:
	kvfree(pmap->pages);
	pmap->pages = NULL;
uncharge:
	nvme_pmap_uncharge(pmap);
	return ret;
}

/**
 * nvme_pmap_unpin - give back what nvme_pmap_pin() took; idempotent
 * @pmap: the buffer, no longer mapped
 */
void nvme_pmap_unpin(struct nvme_pmap *pmap)
{
	if (!pmap->pages)
		return;
	nvme_pmap_unpin_pages(pmap, pmap->nr_pages);
	kvfree(pmap->pages);
	pmap->pages = NULL;
	nvme_pmap_uncharge(pmap);
}
