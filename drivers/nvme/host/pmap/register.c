// SPDX-License-Identifier: GPL-2.0
/* NVME_PMAP_IOC_REGISTER and _UNREGISTER: the buffers in the table of a file. */
#include <linux/fs.h>
#include <linux/nospec.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "nvme.h"
#include "buffer.h"
#include "ctrl.h"
#include "drain.h"
#include "file.h"
#include "layout.h"
#include "map.h"

static struct nvme_pmap_table *nvme_pmap_table_locked(struct nvme_pmap_file *pf)
{
	return rcu_dereference_protected(pf->table, lockdep_is_held(&pf->lock));
}

static struct nvme_pmap *nvme_pmap_entry(struct nvme_pmap_file *pf, u32 index)
{
	struct nvme_pmap_table *table = nvme_pmap_table_locked(pf);

	if (index >= table->nr)
		return NULL;
	index = array_index_nospec(index, table->nr);
	return rcu_dereference_protected(table->pmap[index],
					 lockdep_is_held(&pf->lock));
}

/* Make room for @index: publish a larger copy of the table. */
static int nvme_pmap_grow(struct nvme_pmap_file *pf, u32 index)
{
	struct nvme_pmap_table *old = nvme_pmap_table_locked(pf), *new;
	u32 i;

	if (index < old->nr)
		return 0;
	new = nvme_pmap_alloc_table(roundup_pow_of_two(index + 1),
				    GFP_KERNEL_ACCOUNT);
	if (!new)
		return -ENOMEM;
	for (i = 0; i < old->nr; i++)
		RCU_INIT_POINTER(new->pmap[i], nvme_pmap_entry(pf, i));
	rcu_assign_pointer(pf->table, new);
	kvfree_rcu(old, rcu);
	return 0;
}

/* Find the index that a registration asks for, or the lowest free one. */
static int nvme_pmap_pick_index(struct nvme_pmap_file *pf, u32 *index)
{
	if (*index != NVME_PMAP_INDEX_ANY)
		return nvme_pmap_entry(pf, *index) ? -EEXIST : 0;

	while (nvme_pmap_entry(pf, pf->first_free))
		pf->first_free++;
	if (pf->first_free >= NVME_PMAP_MAX_INDEX)
		return -ENOSPC;
	*index = pf->first_free;
	return 0;
}

static void nvme_pmap_account_buffer(struct nvme_pmap_file *pf,
				     const struct nvme_pmap *pmap, int sign)
{
	s64 bytes = (s64)pmap->l.nr_slots << PMAP_SLOT_SHIFT;

	/* fdinfo reads these without the lock */
	WRITE_ONCE(pf->nr, pf->nr + sign);
	WRITE_ONCE(pf->pinned, pf->pinned + sign * bytes);
	WRITE_ONCE(pf->list_bytes,
		   pf->list_bytes + sign * (s64)pmap->map->list_bytes);
}

/*
 * Publish a finished buffer.  User space gets its index first: once the buffer is in
 * the table, another thread may use it, and end it.
 *
 * Return: 0, an errno, or -EAGAIN: writing the answer needs a page fault, which must
 * not be taken under the lock.
 */
static int nvme_pmap_try_insert(struct nvme_pmap_file *pf,
				struct nvme_pmap *pmap,
				struct nvme_pmap_register *reg,
				void __user *uarg, size_t size)
{
	int ret;

	mutex_lock(&pf->lock);
	ret = nvme_pmap_pick_index(pf, &reg->index);
	if (!ret)
		ret = nvme_pmap_grow(pf, reg->index);
	if (!ret && copy_to_user_nofault(uarg, reg, size))
		ret = -EAGAIN;
	if (!ret) {
		rcu_assign_pointer(nvme_pmap_table_locked(pf)->pmap[reg->index],
				   pmap);
		nvme_pmap_account_buffer(pf, pmap, 1);
	}
	mutex_unlock(&pf->lock);
	return ret;
}

/*
 * Repeat until the answer is in memory; a program that keeps evicting the page delays
 * only itself.
 */
static int nvme_pmap_insert(struct nvme_pmap_file *pf, struct nvme_pmap *pmap,
			    struct nvme_pmap_register *reg, void __user *uarg)
{
	size_t size = min_t(size_t, reg->size, sizeof(*reg));
	u32 index = reg->index;
	int ret;

	reg->form = pmap->l.form;
	reg->list_bytes = pmap->map->list_bytes;
	for (;;) {
		reg->index = index;
		ret = nvme_pmap_try_insert(pf, pmap, reg, uarg, size);
		if (ret != -EAGAIN)
			return ret;
		if (fatal_signal_pending(current))
			return -EINTR;
		if (fault_in_safe_writeable(uarg, size))
			return -EFAULT;
		cond_resched();
	}
}

static int nvme_pmap_check_register(struct nvme_pmap_ctrl *pc,
				    const struct nvme_pmap_register *reg)
{
	bool sgl = nvme_ctrl_sgl_supported(pc->ctrl);

	if (reg->flags & ~(NVME_PMAP_REG_PRP | NVME_PMAP_REG_SGL_LIST))
		return -EOPNOTSUPP;
	if (reg->flags == (NVME_PMAP_REG_PRP | NVME_PMAP_REG_SGL_LIST))
		return -EINVAL;
	if (reg->flags & NVME_PMAP_REG_SGL_LIST && !sgl)
		return -EOPNOTSUPP;
	/* with PRPs the controller does not check the length: not for everybody */
	if (reg->flags & NVME_PMAP_REG_PRP && sgl && !capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (reg->reserved[0] | reg->reserved[1])
		return -EINVAL;
	if ((reg->addr | reg->len) & (NVME_PMAP_ALIGN - 1))
		return -EDOM;
	if (!reg->len || reg->addr + reg->len < reg->addr)
		return -ERANGE;
	if (reg->len > NVME_PMAP_MAX_LEN)
		return -EFBIG;
	if (reg->index != NVME_PMAP_INDEX_ANY &&
	    reg->index >= NVME_PMAP_MAX_INDEX)
		return -ENOSPC;
	return 0;
}

/**
 * nvme_pmap_do_register - NVME_PMAP_IOC_REGISTER
 * @file: the open /dev/ngXnY
 * @ns: its namespace
 * @pc: the controller
 * @reg: the argument
 * @uarg: where it came from, and is written back to
 *
 * Return: 0, or an errno that linux/nvme_pmap.h lists.
 */
long nvme_pmap_do_register(struct file *file, struct nvme_ns *ns,
			   struct nvme_pmap_ctrl *pc,
			   struct nvme_pmap_register *reg, void __user *uarg)
{
	struct nvme_pmap_file *pf;
	struct nvme_pmap_map *map;
	struct nvme_pmap *pmap;
	int ret;

	ret = nvme_pmap_check_register(pc, reg);
	if (ret)
		return ret;
	pf = nvme_pmap_file_get(file, ns, pc, GFP_KERNEL_ACCOUNT);
	if (!pf)
		return -ENOMEM;
	map = nvme_pmap_map_create(pc, reg);
	if (IS_ERR(map))
		return PTR_ERR(map);
	pmap = nvme_pmap_buffer_create(pf, reg->addr, map);
	if (IS_ERR(pmap))
		return PTR_ERR(pmap);
	ret = nvme_pmap_insert(pf, pmap, reg, uarg);
	if (ret)
		nvme_pmap_buffer_destroy(pmap);
	return ret;
}

/* Return: 0 when no command uses the buffer any more, or -ERESTARTSYS. */
static int nvme_pmap_wait_idle(struct nvme_pmap *pmap, struct request_queue *q)
{
	long ret;

	do {
		nvme_pmap_poll_file(pmap->pf, q);
		ret = wait_for_completion_interruptible_timeout(&pmap->idle, 1);
	} while (!ret);
	return ret < 0 ? ret : 0;
}

/*
 * Take a buffer off the table once it is idle.  While a call waits, the entry stays,
 * dead: its index must not be reused before the memory is free.
 */
static int nvme_pmap_unregister_one(struct nvme_ns *ns,
				    struct nvme_pmap_file *pf, u32 index)
{
	struct nvme_pmap *pmap;
	int ret;

	mutex_lock(&pf->lock);
	pmap = nvme_pmap_entry(pf, index);
	if (!pmap || pmap->waiting) {
		mutex_unlock(&pf->lock);
		return -ENOENT;
	}
	pmap->waiting = true;
	nvme_pmap_buffer_kill(pmap);
	mutex_unlock(&pf->lock);

	/* the kernel restarts the call if only task work interrupted it */
	ret = nvme_pmap_wait_idle(pmap, ns->queue);

	mutex_lock(&pf->lock);
	pmap->waiting = false;
	if (!ret) {
		RCU_INIT_POINTER(nvme_pmap_table_locked(pf)->pmap[index], NULL);
		pf->first_free = min(pf->first_free, index);
		nvme_pmap_account_buffer(pf, pmap, -1);
	}
	mutex_unlock(&pf->lock);
	if (!ret)
		nvme_pmap_buffer_destroy(pmap);
	return ret;
}

/**
 * nvme_pmap_do_unregister - NVME_PMAP_IOC_UNREGISTER
 * @ns: the namespace of the file
 * @pf: the file's state, or NULL
 * @unreg: the argument
 *
 * Return: 0, or an errno that linux/nvme_pmap.h lists.
 */
long nvme_pmap_do_unregister(struct nvme_ns *ns, struct nvme_pmap_file *pf,
			     const struct nvme_pmap_unregister *unreg)
{
	if (unreg->flags)
		return -EOPNOTSUPP;
	if (unreg->reserved)
		return -EINVAL;
	return pf ? nvme_pmap_unregister_one(ns, pf, unreg->index) : -ENOENT;
}

/**
 * nvme_pmap_unregister_all - end the buffers in the table of a file that is closed
 * @pf: the file's state; none of its commands is in flight
 */
void nvme_pmap_unregister_all(struct nvme_pmap_file *pf)
{
	struct nvme_pmap_table *table;
	u32 i;

	table = rcu_dereference_protected(pf->table, true);
	for (i = 0; i < table->nr; i++) {
		struct nvme_pmap *pmap;

		pmap = rcu_dereference_protected(table->pmap[i], true);
		if (pmap)
			nvme_pmap_buffer_destroy(pmap);
		cond_resched();
	}
}
