// SPDX-License-Identifier: GPL-2.0
/*
 * The control side of an open /dev/ngXnY: the table of its buffers, the ioctls,
 * and what /proc/PID/fdinfo shows.
 */
#include <linux/blk-mq.h>
#include <linux/fs.h>
#include <linux/nospec.h>
#include <linux/percpu.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "nvme.h"
#include "pmap.h"

/* Entries of the first table; it doubles when they are used up. */
#define PMAP_TABLE_MIN 16u

/* State of the file, or NULL before the first registration. */
static struct nvme_pmap_file *nvme_pmap_file(struct file *file)
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

static struct nvme_pmap_table *nvme_pmap_alloc_table(u32 nr)
{
	struct nvme_pmap_table *table;

	table = kvzalloc(struct_size(table, pmap, nr),
			 GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
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
	new = nvme_pmap_alloc_table(roundup_pow_of_two(index + 1));
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
	WRITE_ONCE(pf->kept, pf->kept + sign * (s64)pmap->kept);
}

/*
 * Publish a finished buffer, after telling user space of it: once it is in the
 * table, another thread may use it, and end it.
 */
static int nvme_pmap_insert(struct nvme_pmap_file *pf, struct nvme_pmap *pmap,
			    struct nvme_pmap_register *reg, void __user *uarg)
{
	int ret;

	reg->form = pmap->l.form;
	reg->kept = pmap->kept;
	mutex_lock(&pf->lock);
	ret = nvme_pmap_pick_index(pf, &reg->index);
	if (!ret)
		ret = nvme_pmap_grow(pf, reg->index);
	if (!ret && copy_to_user(uarg, reg, sizeof(*reg)))
		ret = -EFAULT;
	if (!ret) {
		rcu_assign_pointer(nvme_pmap_table(pf)->pmap[reg->index], pmap);
		nvme_pmap_account(pf, pmap, 1);
	}
	mutex_unlock(&pf->lock);
	return ret;
}

static void nvme_pmap_file_free(struct nvme_pmap_file *pf)
{
	kvfree(rcu_dereference_protected(pf->table, true));
	free_percpu(pf->counts);
	kfree(pf);
}

static struct nvme_pmap_file *nvme_pmap_file_alloc(struct nvme_pmap_ctrl *pc)
{
	struct nvme_pmap_file *pf = kzalloc(sizeof(*pf), GFP_KERNEL_ACCOUNT);
	struct nvme_pmap_table *table;

	if (!pf)
		return NULL;
	mutex_init(&pf->lock);
	pf->pc = pc;
	pf->max_transfer = pc->max_transfer;
	pf->counts = alloc_percpu_gfp(struct nvme_pmap_counts,
				      GFP_KERNEL_ACCOUNT);
	table = nvme_pmap_alloc_table(PMAP_TABLE_MIN);
	RCU_INIT_POINTER(pf->table, table);
	if (pf->counts && table)
		return pf;
	nvme_pmap_file_free(pf);
	return NULL;
}

/* The file's state; made at the first registration. */
static struct nvme_pmap_file *nvme_pmap_file_get(struct file *file,
						 struct nvme_pmap_ctrl *pc)
{
	struct nvme_pmap_file *pf = nvme_pmap_file(file), *old;

	if (pf)
		return pf;
	pf = nvme_pmap_file_alloc(pc);
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

static int nvme_pmap_do_register(struct file *file, struct nvme_pmap_ctrl *pc,
				 struct nvme_pmap_register *reg,
				 void __user *uarg)
{
	struct nvme_pmap_file *pf;
	struct nvme_pmap *pmap;
	int ret;

	ret = nvme_pmap_check_register(pc, reg);
	if (ret)
		return ret;
	pf = nvme_pmap_file_get(file, pc);
	if (!pf)
		return -ENOMEM;
	pmap = nvme_pmap_create(pc, reg);
	if (IS_ERR(pmap))
		return PTR_ERR(pmap);
	ret = nvme_pmap_insert(pf, pmap, reg, uarg);
	if (ret)
		nvme_pmap_destroy(pmap);
	return ret;
}

/*
 * Commands of IOPOLL rings end only when somebody polls, and the caller who
 * waits here may be the only one who would.
 */
static void nvme_pmap_poll(struct request_queue *q)
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

/* Return: 0 when no command uses the buffer any more, or -ERESTARTSYS. */
static int nvme_pmap_wait_idle(struct nvme_pmap *pmap, struct request_queue *q)
{
	long ret;

	do {
		nvme_pmap_poll(q);
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

	/* whoever holds it may wait for a page of user memory */
	if (mutex_lock_killable(&pf->lock))
		return -EINTR;
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

static long nvme_pmap_do_unregister(struct nvme_ns *ns,
				    struct nvme_pmap_file *pf,
				    const struct nvme_pmap_unregister *unreg)
{
	if (unreg->flags)
		return -EOPNOTSUPP;
	if (unreg->reserved)
		return -EINVAL;
	return pf ? nvme_pmap_remove(ns, pf, unreg->index) : -ENOENT;
}

static long nvme_pmap_do_query(struct nvme_ns *ns, struct nvme_pmap_ctrl *pc,
			       struct nvme_pmap_file *pf,
			       struct nvme_pmap_query *q)
{
	if (q->flags)
		return -EOPNOTSUPP;
	*q = (struct nvme_pmap_query){
		.version = NVME_PMAP_VERSION,
		.doors = NVME_PMAP_DOOR_PMAP,
		.forms = BIT(NVME_PMAP_FORM_PRP),
		.align = NVME_PMAP_ALIGN,
		.max_index = NVME_PMAP_MAX_INDEX,
		.max_len = NVME_PMAP_MAX_LEN,
		.max_transfer = pc->max_transfer,
	};
	/* a zoned namespace that stock cannot use has no known format */
	if (ns->head->lba_shift >= SECTOR_SHIFT)
		q->lba_bytes = 1u << ns->head->lba_shift;
	if (nvme_ctrl_sgl_supported(pc->ctrl))
		q->forms |= BIT(NVME_PMAP_FORM_SGL_LIST) |
			    BIT(NVME_PMAP_FORM_SGL_RUN);
	if (q->lba_bytes && ns->head->features & NVME_NS_EXT_LBAS)
		q->lba_bytes += ns->head->ms;
	if (!pf)
		return 0;
	if (mutex_lock_killable(&pf->lock))
		return -EINTR;
	q->nr_pmaps = pf->nr;
	q->pinned = pf->pinned;
	q->kept = pf->kept;
	mutex_unlock(&pf->lock);
	return 0;
}

static struct nvme_pmap_counts nvme_pmap_sum(struct nvme_pmap_file *pf)
{
	struct nvme_pmap_counts sum = {};
	int cpu, i;

	for_each_possible_cpu(cpu) {
		struct nvme_pmap_counts *c = per_cpu_ptr(pf->counts, cpu);

		for (i = 0; i < PMAP_KINDS; i++)
			sum.kind[i] += READ_ONCE(c->kind[i]);
		sum.direct += READ_ONCE(c->direct);
		sum.deferred += READ_ONCE(c->deferred);
	}
	return sum;
}

static long nvme_pmap_do_stats(struct nvme_pmap_file *pf,
			       struct nvme_pmap_stats *stats)
{
	struct nvme_pmap_counts sum = {};

	if (stats->flags)
		return -EOPNOTSUPP;
	if (pf)
		sum = nvme_pmap_sum(pf);
	stats->prp = sum.kind[PMAP_KIND_PRP];
	stats->sgl_list = sum.kind[PMAP_KIND_SGL_LIST];
	stats->sgl_run = sum.kind[PMAP_KIND_SGL_RUN];
	stats->built = sum.kind[PMAP_KIND_BUILT];
	stats->direct = sum.direct;
	stats->deferred = sum.deferred;
	return 0;
}

/**
 * nvme_pmap_show_fdinfo - the file's part of /proc/PID/fdinfo/FD
 * @m: where it goes
 * @file: the open /dev/ngXnY
 */
void nvme_pmap_show_fdinfo(struct seq_file *m, struct file *file)
{
	struct nvme_pmap_file *pf = nvme_pmap_file(file);
	struct nvme_pmap_counts sum;
	bool dead;

	if (!pf)
		return;
	/* after removal the buffers are shells that pin and map nothing */
	dead = READ_ONCE(pf->pc->dead);
	/*
	 * Without the lock, under which a registration writes to user memory: a
	 * page that never comes must not stop those who look.
	 */
	seq_printf(m,
		   "pmap-buffers:\t%u\npmap-pinned:\t%llu\npmap-kept:\t%llu\n",
		   READ_ONCE(pf->nr), dead ? 0 : READ_ONCE(pf->pinned),
		   dead ? 0 : READ_ONCE(pf->kept));

	sum = nvme_pmap_sum(pf);
	seq_printf(m,
		   "pmap-prp:\t%llu\npmap-sgl_list:\t%llu\npmap-sgl_run:\t%llu\npmap-built:\t%llu\npmap-direct:\t%llu\npmap-deferred:\t%llu\n",
		   sum.kind[PMAP_KIND_PRP], sum.kind[PMAP_KIND_SGL_LIST],
		   sum.kind[PMAP_KIND_SGL_RUN], sum.kind[PMAP_KIND_BUILT],
		   sum.direct, sum.deferred);
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

/* Each ioctl's structure; all begin with their size. */
union nvme_pmap_arg {
	u32 size;
	struct nvme_pmap_query query;
	struct nvme_pmap_register reg;
	struct nvme_pmap_unregister unreg;
	struct nvme_pmap_stats stats;
};

static const size_t nvme_pmap_arg_size[] = {
	[_IOC_NR(NVME_PMAP_IOC_QUERY) - 0xb0] = sizeof(struct nvme_pmap_query),
	[_IOC_NR(NVME_PMAP_IOC_REGISTER) - 0xb0] =
		sizeof(struct nvme_pmap_register),
	[_IOC_NR(NVME_PMAP_IOC_UNREGISTER) - 0xb0] =
		sizeof(struct nvme_pmap_unregister),
	[_IOC_NR(NVME_PMAP_IOC_STATS) - 0xb0] = sizeof(struct nvme_pmap_stats),
};

static long nvme_pmap_dispatch(struct nvme_ns *ns, struct file *file,
			       unsigned int cmd, struct nvme_pmap_ctrl *pc,
			       union nvme_pmap_arg *arg, void __user *uarg)
{
	struct nvme_pmap_file *pf = nvme_pmap_file(file);

	switch (cmd) {
	case NVME_PMAP_IOC_QUERY:
		return nvme_pmap_do_query(ns, pc, pf, &arg->query);
	case NVME_PMAP_IOC_REGISTER:
		return nvme_pmap_do_register(file, pc, &arg->reg, uarg);
	case NVME_PMAP_IOC_UNREGISTER:
		return nvme_pmap_do_unregister(ns, pf, &arg->unreg);
	default:
		return nvme_pmap_do_stats(pf, &arg->stats);
	}
}

/* Find the controller, see that it is alive, and make the call. */
static long nvme_pmap_call(struct nvme_ns *ns, struct file *file,
			   unsigned int cmd, union nvme_pmap_arg *arg,
			   void __user *uarg)
{
	struct nvme_pmap_ctrl *pc = nvme_pmap_ctrl_get(ns->ctrl);
	long ret;

	if (!pc) {
		/* removed, or never offered: another transport */
		if (nvme_pmap_file(file) || nvme_state_terminal(ns->ctrl))
			return -ENODEV;
		return -ENOTTY;
	}
	ret = nvme_pmap_ctrl_prepare(pc);
	if (!ret)
		ret = nvme_pmap_dispatch(ns, file, cmd, pc, arg, uarg);
	nvme_pmap_ctrl_put(pc);
	return ret;
}

/**
 * nvme_pmap_ioctl - the pmap ioctls of /dev/ngXnY
 * @file: the open file
 * @cmd: one for which nvme_pmap_is_ioctl() is true
 * @arg: user pointer to the structure that belongs to @cmd
 *
 * Return: 0 or an errno that linux/nvme_pmap.h lists.
 */
long nvme_pmap_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct nvme_ns *ns = container_of(file_inode(file)->i_cdev,
					  struct nvme_ns, cdev);
	u32 nr = array_index_nospec(cmd - NVME_PMAP_IOC_QUERY,
				    ARRAY_SIZE(nvme_pmap_arg_size));
	size_t known = nvme_pmap_arg_size[nr];
	void __user *uarg = (void __user *)arg;
	union nvme_pmap_arg karg = {};
	u32 usize;
	long ret;

	if (get_user(usize, (u32 __user *)uarg))
		return -EFAULT;
	if (usize < known)
		return -EINVAL;
	if (usize > PAGE_SIZE)
		return -E2BIG;
	ret = copy_struct_from_user(&karg, known, uarg, usize);
	if (ret)
		return ret;
	ret = nvme_pmap_call(ns, file, cmd, &karg, uarg);
	/*
	 * Size stays the caller's; a registration is copied when it is published,
	 * and the end of one answers nothing that could fail to be written.
	 */
	if (!ret &&
	    (cmd == NVME_PMAP_IOC_QUERY || cmd == NVME_PMAP_IOC_STATS) &&
	    copy_to_user(uarg + sizeof(usize), (char *)&karg + sizeof(usize),
			 known - sizeof(usize)))
		ret = -EFAULT;
	return ret;
}
