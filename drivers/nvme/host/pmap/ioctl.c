// SPDX-License-Identifier: GPL-2.0
/* The control door of /dev/ngXnY: the ioctls, and an open file's fdinfo. */
#include <linux/blkdev.h>
#include <linux/fs.h>
#include <linux/nospec.h>
#include <linux/percpu.h>
#include <linux/seq_file.h>
#include <linux/uaccess.h>

#include "nvme.h"
#include "counts.h"
#include "ctrl.h"
#include "file.h"
#include "hooks.h"
#include "layout.h"
#include "queue.h"

/* Describe the controller's queues, and the file's own. */
static int nvme_pmap_query_queues(struct nvme_pmap_queues *set,
				  struct nvme_pmap_file *pf,
				  struct nvme_pmap_query *q)
{
	int free = nvme_pmap_queues_available(set, pf, &q->queue_irq,
					      &q->queue_polled);

	if (free < 0)
		return free;
	q->queues_free = free;
	/* a queue is full with one entry empty */
	q->queue_depth = set && set->granted ? set->depth - 1 : 0;
	if (q->queue_depth)
		q->features |= NVME_PMAP_FEATURE_QUEUE;
	return 0;
}

/* The flags that predict pmap_xfer()'s answers for this format. */
static u32 nvme_pmap_query_ns(const struct nvme_ns_head *head)
{
	bool pi = head->pi_type && head->pi_size;
	u32 ns = 0;

	/* a zoned namespace that stock cannot use has no known format */
	if (head->lba_shift < SECTOR_SHIFT ||
	    (head->ids.csi != NVME_CSI_NVM && head->ids.csi != NVME_CSI_ZNS))
		ns |= NVME_PMAP_NS_UNKNOWN;
	if (head->ids.csi == NVME_CSI_ZNS)
		ns |= NVME_PMAP_NS_ZONED;
	if (!head->ms)
		return ns;
	if (!(head->features & NVME_NS_EXT_LBAS))
		ns |= NVME_PMAP_NS_SEPARATE;
	else
		ns |= NVME_PMAP_NS_INLINE |
		      (pi ? 0 : NVME_PMAP_NS_PRACT_UNKNOWN);
	if (pi && head->ms == head->pi_size)
		ns |= NVME_PMAP_NS_PRACT;
	return ns;
}

/* Describe the namespace's format as stock knows it now. */
static void nvme_pmap_query_format(const struct nvme_ns_head *head,
				   struct nvme_pmap_query *q)
{
	q->ns = nvme_pmap_query_ns(head);
	q->md_bytes = head->ms;
	if (head->lba_shift >= SECTOR_SHIFT)
		q->lba_bytes = 1u << head->lba_shift;
	if (q->lba_bytes && q->ns & NVME_PMAP_NS_INLINE)
		q->lba_bytes += head->ms;
}

/* A PRP list may begin anywhere in a list page, unless a quirk wants it aligned. */
static u32 nvme_pmap_max_prebuilt(const struct nvme_pmap_ctrl *pc)
{
	bool aligned = pc->ctrl->quirks & NVME_QUIRK_DMAPOOL_ALIGN_512;

	return min(READ_ONCE(pc->max_transfer),
		   aligned ? PMAP_SLOT_SIZE : SZ_1M);
}

static long nvme_pmap_do_query(struct nvme_ns *ns, struct nvme_pmap_ctrl *pc,
			       struct nvme_pmap_file *pf,
			       struct nvme_pmap_query *q)
{
	int ret;

	if (q->flags)
		return -EOPNOTSUPP;
	*q = (struct nvme_pmap_query){
		.version = NVME_PMAP_VERSION,
		.features = NVME_PMAP_FEATURE_CMD,
		.forms = BIT(NVME_PMAP_FORM_PRP),
		.align = NVME_PMAP_ALIGN,
		.max_index = NVME_PMAP_MAX_INDEX,
		.max_len = NVME_PMAP_MAX_LEN,
		.max_transfer = READ_ONCE(pc->max_transfer),
		.max_prebuilt = nvme_pmap_max_prebuilt(pc),
		.auto_mode = READ_ONCE(pc->mode),
		.auto_max_transfer = min_t(u64, READ_ONCE(pc->max_transfer),
					   (u64)queue_max_hw_sectors(ns->queue)
						   << SECTOR_SHIFT),
	};
	nvme_pmap_query_format(ns->head, q);
	if (nvme_ctrl_sgl_supported(pc->ctrl))
		q->forms |= BIT(NVME_PMAP_FORM_SGL_LIST) |
			    BIT(NVME_PMAP_FORM_SGL_RUN);
	ret = nvme_pmap_query_queues(pc->queues, pf, q);
	if (ret || !pf)
		return ret;
	mutex_lock(&pf->lock);
	q->nr_pmaps = pf->nr;
	q->pinned = pf->pinned;
	q->list_bytes = pf->list_bytes;
	mutex_unlock(&pf->lock);
	return 0;
}

static long nvme_pmap_do_stats(struct nvme_pmap_file *pf,
			       struct nvme_pmap_stats *stats)
{
	if (stats->flags)
		return -EOPNOTSUPP;
	*stats = (struct nvme_pmap_stats){};
	if (pf)
		nvme_pmap_file_counters(pf, stats);
	return 0;
}

static void nvme_pmap_show(struct seq_file *m, const char *name, u64 value)
{
	seq_printf(m, "pmap-%s:\t%llu\n", name, value);
}

/**
 * nvme_pmap_show_fdinfo - the file's part of /proc/PID/fdinfo/FD
 * @m: where it goes
 * @file: the open /dev/ngXnY
 */
void nvme_pmap_show_fdinfo(struct seq_file *m, struct file *file)
{
	struct nvme_pmap_file *pf = nvme_pmap_file(file);
	struct nvme_pmap_stats stats = {};
	unsigned int i;
	bool dead;

	if (!pf)
		return;
	/* after removal the buffers are empty: nothing is pinned or mapped */
	dead = READ_ONCE(pf->pc->dead);
	/* no lock: a reader must not wait for a task that grows the table */
	nvme_pmap_show(m, "buffers", READ_ONCE(pf->nr));
	nvme_pmap_show(m, "pinned", dead ? 0 : READ_ONCE(pf->pinned));
	nvme_pmap_show(m, "list_bytes", dead ? 0 : READ_ONCE(pf->list_bytes));
	nvme_pmap_show(m, "queues_attached",
		       !!pf->queue[PMAP_QUEUE_IRQ] +
			       !!pf->queue[PMAP_QUEUE_POLLED]);

	nvme_pmap_file_counters(pf, &stats);
	for (i = 0; i < nvme_pmap_nr_counters; i++) {
		const struct nvme_pmap_counter *c = &nvme_pmap_counters[i];

		nvme_pmap_show(m, c->sysfs.attr.attr.name,
			       nvme_pmap_counter_value(&stats, c));
	}
}

static long nvme_pmap_do_attach(struct file *file, struct nvme_ns *ns,
				struct nvme_pmap_ctrl *pc,
				const struct nvme_pmap_attach *att)
{
	const u32 kinds = NVME_PMAP_QUEUE_POLLED | NVME_PMAP_QUEUE_SHARE;
	bool cpu = att->flags & NVME_PMAP_QUEUE_CPU;
	struct nvme_pmap_file *pf;

	if (att->flags & ~(kinds | NVME_PMAP_QUEUE_CPU))
		return -EOPNOTSUPP;
	if ((att->fd && !(att->flags & NVME_PMAP_QUEUE_SHARE)) ||
	    (att->cpu && !cpu) || (cpu && att->flags & kinds) ||
	    att->cpu >= nr_cpu_ids || !cpu_possible(att->cpu))
		return -EINVAL;
	pf = nvme_pmap_file_get(file, ns, pc, GFP_KERNEL_ACCOUNT);
	return pf ? nvme_pmap_attach(file, pf, att, false) : -ENOMEM;
}

static long nvme_pmap_do_detach(struct nvme_pmap_file *pf,
				const struct nvme_pmap_detach *det)
{
	if (det->flags & ~NVME_PMAP_QUEUE_POLLED)
		return -EOPNOTSUPP;
	return nvme_pmap_detach(pf,
				nvme_pmap_queue_kind(det->flags &
						     NVME_PMAP_QUEUE_POLLED),
				false);
}

/* The argument of each ioctl; each begins with its size. */
union nvme_pmap_arg {
	u32 size;
	struct nvme_pmap_query query;
	struct nvme_pmap_register reg;
	struct nvme_pmap_unregister unreg;
	struct nvme_pmap_stats stats;
	struct nvme_pmap_attach attach;
	struct nvme_pmap_detach detach;
};

/*
 * By the number of the ioctl: the smallest size of its argument, and the size that the
 * driver knows.
 */
static const struct {
	u16 min;
	u16 known;
} nvme_pmap_arg_size[] = {
	[0] = { NVME_PMAP_MIN_QUERY, sizeof(struct nvme_pmap_query) },
	[1] = { NVME_PMAP_MIN_REGISTER, sizeof(struct nvme_pmap_register) },
	[2] = { NVME_PMAP_MIN_UNREGISTER, sizeof(struct nvme_pmap_unregister) },
	[3] = { NVME_PMAP_MIN_STATS, sizeof(struct nvme_pmap_stats) },
	[4] = { NVME_PMAP_MIN_ATTACH, sizeof(struct nvme_pmap_attach) },
	[5] = { NVME_PMAP_MIN_DETACH, sizeof(struct nvme_pmap_detach) },
};

static_assert(NVME_PMAP_IOC_DETACH - NVME_PMAP_IOC_QUERY ==
	      ARRAY_SIZE(nvme_pmap_arg_size) - 1);

static long nvme_pmap_dispatch(struct nvme_ns *ns, struct file *file,
			       unsigned int cmd, struct nvme_pmap_ctrl *pc,
			       union nvme_pmap_arg *arg, void __user *uarg)
{
	struct nvme_pmap_file *pf = nvme_pmap_file(file);

	switch (cmd) {
	case NVME_PMAP_IOC_QUERY:
		return nvme_pmap_do_query(ns, pc, pf, &arg->query);
	case NVME_PMAP_IOC_REGISTER:
		return nvme_pmap_do_register(file, ns, pc, &arg->reg, uarg);
	case NVME_PMAP_IOC_UNREGISTER:
		return nvme_pmap_do_unregister(ns, pf, &arg->unreg);
	case NVME_PMAP_IOC_ATTACH:
		return nvme_pmap_do_attach(file, ns, pc, &arg->attach);
	case NVME_PMAP_IOC_DETACH:
		return nvme_pmap_do_detach(pf, &arg->detach);
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
		/* removed; or another transport, which never offered itself */
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
 * @arg: user pointer to the argument of @cmd
 *
 * Return: 0 or an errno that linux/nvme_pmap.h lists.
 */
long nvme_pmap_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct nvme_ns *ns = container_of(file_inode(file)->i_cdev,
					  struct nvme_ns, cdev);
	u32 nr = array_index_nospec(cmd - NVME_PMAP_IOC_QUERY,
				    ARRAY_SIZE(nvme_pmap_arg_size));
	size_t known = nvme_pmap_arg_size[nr].known;
	void __user *uarg = (void __user *)arg;
	union nvme_pmap_arg karg = {};
	u32 usize;
	long ret;

	if (get_user(usize, (u32 __user *)uarg))
		return -EFAULT;
	if (usize < nvme_pmap_arg_size[nr].min)
		return -EINVAL;
	if (usize > PAGE_SIZE)
		return -E2BIG;
	ret = copy_struct_from_user(&karg, known, uarg, usize);
	if (ret)
		return ret;
	/* the size that was checked: user space may have changed it since */
	karg.size = usize;
	ret = nvme_pmap_call(ns, file, cmd, &karg, uarg);
	/*
	 * A registration copies its answer when it publishes the buffer; the other
	 * calls have no answer.
	 */
	if (!ret &&
	    (cmd == NVME_PMAP_IOC_QUERY || cmd == NVME_PMAP_IOC_STATS) &&
	    copy_to_user(uarg + sizeof(usize), (char *)&karg + sizeof(usize),
			 min_t(size_t, usize, known) - sizeof(usize)))
		ret = -EFAULT;
	return ret;
}
