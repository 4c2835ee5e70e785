// SPDX-License-Identifier: GPL-2.0
/*
 * An open /dev/ngXnY: its state, the table of its buffers, and how they come and
 * go.
 */
#include <linux/blk-mq.h>
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/nospec.h>
#include <linux/pagemap.h>
#include <linux/percpu.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "nvme.h"
#include "pmap.h"

/* Entries of the first table; it doubles when they are used up. */
#define PMAP_TABLE_MIN 16u

/* State of the file, or NULL before the first registration or attachment. */
struct nvme_pmap_file *nvme_pmap_file(struct file *file)
{
	/* pairs with the cmpxchg() that publishes it */
	return smp_load_acquire(&file->private_data);
}

static struct nvme_pmap_table *nvme_pmap_table(struct nvme_pmap_file *pf)
{
	return rcu_dereference_protected(pf->table, lockdep_is_held(&pf->lock));
}

static struct nvme_pmap *nvme_pmap_entry(struct nvme_pmap_file *pf, u32 index)
{
	struct nvme_pmap_table *table = nvme_pmap_table(pf);

	if (index >= table->nr)
		return NULL;
	index = array_index_nospec(index, table->nr);
	return rcu_dereference_protected(table->pmap[index],
					 lockdep_is_held(&pf->lock));
}

static struct nvme_pmap_table *nvme_pmap_alloc_table(u32 nr, gfp_t gfp)
{
	struct nvme_pmap_table *table;

	table = kvzalloc(struct_size(table, pmap, nr), gfp | __GFP_NOWARN);
	if (table)
		table->nr = nr;
	return table;
}

/* Make room for @index: a larger copy, published whole. */
static int nvme_pmap_grow(struct nvme_pmap_file *pf, u32 index)
{
	struct nvme_pmap_table *old = nvme_pmap_table(pf), *new;
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

static void nvme_pmap_account(struct nvme_pmap_file *pf,
			      const struct nvme_pmap *pmap, int sign)
{
	s64 bytes = (s64)pmap->l.nr_slots << PMAP_SLOT_SHIFT;

	/* fdinfo reads them without the lock */
	WRITE_ONCE(pf->nr, pf->nr + sign);
	WRITE_ONCE(pf->pinned, pf->pinned + sign * bytes);
	WRITE_ONCE(pf->kept, pf->kept + sign * (s64)pmap->map->kept);
}

/*
 * Publish a finished buffer, after telling user space of it: once it is in the
 * table, another thread may use it, and end it.
 *
 * Return: 0, an errno, or -EAGAIN: user space could not be told without waiting for
 * a page of its memory, which is not to be done under the lock.
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
		rcu_assign_pointer(nvme_pmap_table(pf)->pmap[reg->index], pmap);
		nvme_pmap_account(pf, pmap, 1);
	}
	mutex_unlock(&pf->lock);
	return ret;
}

/* Until the answer is in memory: whoever takes that away again only holds up itself. */
static int nvme_pmap_insert(struct nvme_pmap_file *pf, struct nvme_pmap *pmap,
			    struct nvme_pmap_register *reg, void __user *uarg)
{
	size_t size = min_t(size_t, reg->size, sizeof(*reg));
	u32 index = reg->index;
	int ret;

	reg->form = pmap->l.form;
	reg->kept = pmap->map->kept;
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

static void nvme_pmap_file_free(struct nvme_pmap_file *pf)
{
	kvfree(rcu_dereference_protected(pf->table, true));
	free_percpu(pf->counts);
	if (pf->format)
		nvme_pmap_ns_put(pf->format);
	kfree(pf);
}

/* Somebody without any capability, to ask with; made with the first file. */
const struct cred *nvme_pmap_nobody;

static bool nvme_pmap_make_nobody(void)
{
	struct cred *cred;

	if (READ_ONCE(nvme_pmap_nobody))
		return true;
	cred = prepare_kernel_cred(&init_task);
	if (!cred)
		return false;
	cap_clear(cred->cap_effective);
	/* another file may be first */
	if (cmpxchg(&nvme_pmap_nobody, NULL, cred))
		put_cred(cred);
	return true;
}

/**
 * nvme_pmap_file_exit - the module goes, no file is open
 */
void nvme_pmap_file_exit(void)
{
	if (nvme_pmap_nobody)
		put_cred(nvme_pmap_nobody);
}

static struct nvme_pmap_file *
nvme_pmap_file_alloc(struct nvme_ns *ns, struct nvme_pmap_ctrl *pc, gfp_t gfp)
{
	struct nvme_pmap_file *pf = kzalloc(sizeof(*pf), gfp);
	struct nvme_pmap_table *table;

	if (!pf)
		return NULL;
	mutex_init(&pf->lock);
	pf->pc = pc;
	pf->usage = &ns->queue->q_usage_counter;
	pf->format = nvme_pmap_ns_get(ns);
	pf->counts = alloc_percpu_gfp(struct nvme_pmap_counts, gfp);
	table = nvme_pmap_alloc_table(PMAP_TABLE_MIN, gfp);
	RCU_INIT_POINTER(pf->table, table);
	if (pf->counts && pf->format && table && nvme_pmap_make_nobody())
		return pf;
	nvme_pmap_file_free(pf);
	return NULL;
}

/* The file's state; made at the first call that needs it. */
struct nvme_pmap_file *nvme_pmap_file_get(struct file *file, struct nvme_ns *ns,
					  struct nvme_pmap_ctrl *pc, gfp_t gfp)
{
	struct nvme_pmap_file *pf = nvme_pmap_file(file), *old;

	if (pf)
		return pf;
	pf = nvme_pmap_file_alloc(ns, pc, gfp);
	if (!pf)
		return NULL;
	/* another thread may be first; pairs with nvme_pmap_file() */
	old = cmpxchg((struct nvme_pmap_file **)&file->private_data, NULL, pf);
	if (old) {
		nvme_pmap_file_free(pf);
		return old;
	}
	kref_get(&pc->ref);
	return pf;
}

/**
 * nvme_pmap_release - the last reference on an open file is gone
 * @file: the file
 *
 * No command is in flight: each holds the file.
 */
void nvme_pmap_release(struct file *file)
{
	struct nvme_pmap_file *pf = nvme_pmap_file(file);
	struct nvme_pmap_table *table;
	u32 i;

	if (!pf)
		return;
	nvme_pmap_detach_all(pf);
	nvme_pmap_autos_free(pf);
	table = rcu_dereference_protected(pf->table, true);
	for (i = 0; i < table->nr; i++) {
		struct nvme_pmap *pmap;

		pmap = rcu_dereference_protected(table->pmap[i], true);
		if (pmap)
			nvme_pmap_destroy(pmap);
		cond_resched();
	}
	nvme_pmap_ctrl_put(pf->pc);
	nvme_pmap_file_free(pf);
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
	/* not to be chosen by those whom the controller should hold in check */
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
	pmap = nvme_pmap_create(pf, reg->addr, map);
	if (IS_ERR(pmap))
		return PTR_ERR(pmap);
	ret = nvme_pmap_insert(pf, pmap, reg, uarg);
	if (ret)
		nvme_pmap_destroy(pmap);
	return ret;
}

static void nvme_pmap_poll_blk(struct request_queue *q)
{
	struct blk_mq_hw_ctx *hctx;
	unsigned long i;

	/* not while a reset changes the queues */
	if (!percpu_ref_tryget(&q->q_usage_counter))
		return;
	queue_for_each_hw_ctx(q, hctx, i)
		if (hctx->type == HCTX_TYPE_POLL)
			q->mq_ops->poll(hctx, NULL);
	percpu_ref_put(&q->q_usage_counter);
}

/*
 * Commands of IOPOLL rings end only when somebody polls, and the caller who
 * waits here may be the only one who would.
 */
static void nvme_pmap_poll(struct nvme_pmap_file *pf, struct request_queue *q)
{
	struct nvme_pmap_queue *ptq = READ_ONCE(pf->queue[true]);

	if (ptq)
		nvme_pmap_queue_reap(ptq);
	nvme_pmap_poll_blk(q);
}

/**
 * nvme_pmap_poll_all - the same for the commands of all files
 * @ns: their namespace
 */
void nvme_pmap_poll_all(struct nvme_ns *ns)
{
	struct nvme_pmap_ctrl *pc = nvme_pmap_ctrl_get(ns->ctrl);
	unsigned int i;

	nvme_pmap_poll_blk(ns->queue);
	if (!pc)
		return;
	for (i = 0; pc->queues && i < pc->queues->nr; i++)
		nvme_pmap_queue_reap(&pc->queues->queue[i]);
	nvme_pmap_ctrl_put(pc);
}

/* Return: 0 when no command uses the buffer any more, or -ERESTARTSYS. */
static int nvme_pmap_wait_idle(struct nvme_pmap *pmap, struct request_queue *q)
{
	long ret;

	do {
		nvme_pmap_poll(pmap->pf, q);
		ret = wait_for_completion_interruptible_timeout(&pmap->idle, 1);
	} while (!ret);
	return ret < 0 ? ret : 0;
}

/*
 * Take a buffer off the table once it is idle.  The entry stays, dead, while a
 * call waits: the index must not be given away before the memory is free.
 */
static int nvme_pmap_remove(struct nvme_ns *ns, struct nvme_pmap_file *pf,
			    u32 index)
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
	nvme_pmap_kill(pmap);
	mutex_unlock(&pf->lock);

	/* restarted by the kernel where only task work came in between */
	ret = nvme_pmap_wait_idle(pmap, ns->queue);

	mutex_lock(&pf->lock);
	pmap->waiting = false;
	if (!ret) {
		RCU_INIT_POINTER(nvme_pmap_table(pf)->pmap[index], NULL);
		pf->first_free = min(pf->first_free, index);
		nvme_pmap_account(pf, pmap, -1);
	}
	mutex_unlock(&pf->lock);
	if (!ret)
		nvme_pmap_destroy(pmap);
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
	return pf ? nvme_pmap_remove(ns, pf, unreg->index) : -ENOENT;
}

/* What stock releases a namespace's cdev_device with; the same for all. */
static void (*nvme_pmap_stock_cdev_rel)(struct device *dev);

static void nvme_pmap_cdev_rel(struct device *dev)
{
	struct nvme_ns *ns = container_of(dev, struct nvme_ns, cdev_device);

	nvme_pmap_stock_cdev_rel(dev);
	nvme_put_ns(ns);
}

/**
 * nvme_pmap_cdev_added - let the character device hold its namespace
 * @ns: the namespace
 * @ret: what nvme_cdev_add() returned
 *
 * Stock frees a removed namespace, with the cdev in it, in the release of the
 * last open file; only then does the VFS put the cdev, and writes to freed
 * memory.  The device under the cdev lives until that put.
 *
 * Return: @ret.
 */
int nvme_pmap_cdev_added(struct nvme_ns *ns, int ret)
{
	if (!ret && nvme_get_ns(ns)) {
		nvme_pmap_stock_cdev_rel = ns->cdev_device.release;
		ns->cdev_device.release = nvme_pmap_cdev_rel;
	}
	return ret;
}
