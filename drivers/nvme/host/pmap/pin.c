// SPDX-License-Identifier: GPL-2.0
/*
 * Pins user memory, and charges for it.
 *
 * The charge goes to the same counters as for io_uring's registered buffers, so that
 * one RLIMIT_MEMLOCK bounds both: the user's locked_vm, and VmPin of the process.
 *
 * A buffer registered with io_uring is pinned and charged already: the auto door holds
 * io_uring's object (adopt.h), and only lists its pages.
 */
#include <linux/cred.h>
#include <linux/mm.h>
#include <linux/pfn.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/user.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "nvme.h"
#include "adopt.h"
#include "bvec.h"
#include "ctrl.h"
#include "map.h"

/* Pages pinned at a time; between batches a fatal signal is noticed. */
#define PMAP_PIN_BATCH 512u

/* Page pointers that fit in a page. */
#define PMAP_PAGES_PER_PAGE (PAGE_SIZE / sizeof(struct page *))

/* Charge locked_vm as io_uring's __io_account_mem() does. */
static int nvme_pmap_charge_user(struct nvme_pmap_map *map, unsigned long pages)
{
	unsigned long limit = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
	unsigned long old = atomic_long_read(&map->user->locked_vm);

	do {
		if (old + pages > limit)
			return -EDQUOT;
	} while (!atomic_long_try_cmpxchg(&map->user->locked_vm, &old,
					  old + pages));
	map->charged += pages;
	return 0;
}

static void nvme_pmap_uncharge_user(struct nvme_pmap_map *map)
{
	if (!map->user)
		return;
	atomic_long_sub(map->charged, &map->user->locked_vm);
	free_uid(map->user);
	map->user = NULL;
}

/*
 * As in io_uring, CAP_IPC_LOCK skips the user's charge, which would leave less for the
 * user's other processes.
 */
static int nvme_pmap_charge(struct nvme_pmap_map *map)
{
	int ret;

	if (!capable(CAP_IPC_LOCK)) {
		map->user = get_uid(current_user());
		ret = nvme_pmap_charge_user(map, map->nr_pages);
		if (ret) {
			nvme_pmap_uncharge_user(map);
			return ret;
		}
	}
	mmgrab(current->mm);
	map->mm = current->mm;
	atomic64_add(map->nr_pages, &map->mm->pinned_vm);
	return 0;
}

static void nvme_pmap_uncharge(struct nvme_pmap_map *map)
{
	atomic64_sub(map->nr_pages, &map->mm->pinned_vm);
	mmdrop(map->mm);
	map->mm = NULL;
	nvme_pmap_uncharge_user(map);
}

/**
 * nvme_pmap_charge_lists - charge for the lists of a buffer, if they are large
 * @map: the mapping, pinned and mapped
 * @bytes: size of the lists
 *
 * With buffers of one page each, the lists would take as much memory as the buffers.
 * Lists of up to a percent of the buffer are free; all are charged to the memory
 * cgroup.
 *
 * Context: pc->lock held: the removal of the controller may uncharge the mapping.
 * Return: 0 or -EDQUOT; nvme_pmap_unpin() uncharges.
 */
int nvme_pmap_charge_lists(struct nvme_pmap_map *map, u64 bytes)
{
	lockdep_assert_held(&map->pc->lock);

	if (map->adopted || !map->user ||
	    bytes <= ((u64)map->nr_pages << PAGE_SHIFT) / 100)
		return 0;
	return nvme_pmap_charge_user(map, PFN_UP(bytes));
}

static void nvme_pmap_unpin_pages(struct nvme_pmap_map *map, u32 nr)
{
	u32 done, n;

	for (done = 0; done < nr; done += n) {
		n = min(nr - done, PMAP_PIN_BATCH);
		/* the device may have written to any of them */
		unpin_user_pages_dirty_lock(map->pages + done, n, true);
		cond_resched();
	}
}

static int nvme_pmap_pin_pages(struct nvme_pmap_map *map, u64 addr)
{
	u32 done = 0;
	long n;

	/* for a range that wraps around, mm has another errno */
	if (!access_ok(u64_to_user_ptr(addr), (u64)map->nr_pages << PAGE_SHIFT))
		return -EFAULT;
	while (done < map->nr_pages) {
		if (fatal_signal_pending(current)) {
			n = -EINTR;
			goto unpin;
		}
		n = pin_user_pages_fast(addr + ((u64)done << PAGE_SHIFT),
					min(map->nr_pages - done,
					    PMAP_PIN_BATCH),
					FOLL_WRITE | FOLL_LONGTERM,
					map->pages + done);
		if (n <= 0)
			goto unpin;
		done += n;
		cond_resched();
	}
	return 0;

unpin:
	nvme_pmap_unpin_pages(map, done);
	return n ?: -EFAULT;
}

/* Allocate the array of page pointers. */
static int nvme_pmap_alloc_pages(struct nvme_pmap_map *map)
{
	gfp_t gfp = GFP_KERNEL_ACCOUNT | __GFP_NOWARN;

	/* an array of over a quarter of memory would make the OOM killer run */
	if (map->nr_pages / PMAP_PAGES_PER_PAGE > totalram_pages() / 4)
		return -ENOMEM;
	/* fail rather than run the OOM killer, in vmalloc() or for the auto door */
	if (map->adopted)
		gfp |= __GFP_NORETRY;
	else if (map->nr_pages > KMALLOC_MAX_SIZE / sizeof(*map->pages))
		gfp |= __GFP_RETRY_MAYFAIL;
	map->pages = kvmalloc_array(map->nr_pages, sizeof(*map->pages), gfp);
	return map->pages ? 0 : -ENOMEM;
}

/* List the pages that io_uring has pinned for the buffer. */
static int nvme_pmap_list_adopted(struct nvme_pmap_map *map)
{
	const struct io_mapped_ubuf *imu = map->adopted->imu;
	int ret = nvme_pmap_alloc_pages(map);

	if (ret)
		return ret;
	if (pmap_bvec_pages(imu->bvec, imu->nr_bvecs, map->pages,
			    map->nr_pages))
		return 0;
	/* io_uring's layout of buffers is not the one that this driver knows */
	WARN_ON_ONCE(1);
	kvfree(map->pages);
	map->pages = NULL;
	return -EFAULT;
}

/**
 * nvme_pmap_pin - pin the pages of a mapping and charge for them
 * @map: the mapping; nr_pages is set
 * @addr: user address, at the start of a page
 *
 * Pages adopted from io_uring are pinned and charged already.
 *
 * Return: 0, -EDQUOT, -ENOMEM, -EINTR to a dying task, or mm's errno for memory that it
 * does not pin, mostly -EFAULT.
 */
int nvme_pmap_pin(struct nvme_pmap_map *map, u64 addr)
{
	int ret;

	if (map->adopted)
		return nvme_pmap_list_adopted(map);
	ret = nvme_pmap_charge(map);
	if (ret)
		return ret;
	ret = nvme_pmap_alloc_pages(map);
	if (ret)
		goto uncharge;
	ret = nvme_pmap_pin_pages(map, addr);
	if (ret)
		goto free;
	return 0;

free:
	kvfree(map->pages);
	map->pages = NULL;
uncharge:
	nvme_pmap_uncharge(map);
	return ret;
}

/**
 * nvme_pmap_unpin - undo nvme_pmap_pin(); idempotent
 * @map: the mapping, no longer DMA-mapped
 */
void nvme_pmap_unpin(struct nvme_pmap_map *map)
{
	if (!map->pages)
		return;
	if (!map->adopted)
		nvme_pmap_unpin_pages(map, map->nr_pages);
	kvfree(map->pages);
	map->pages = NULL;
	if (map->adopted)
		nvme_pmap_disown(map->adopted);
	else
		nvme_pmap_uncharge(map);
}
