// SPDX-License-Identifier: GPL-2.0
/*
 * The auto door of a controller: what the operator sets and sees, and who tells the
 * files that mappings are to end.
 */
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/percpu.h>

#include "nvme.h"
#include "auto.h"
#include "counts.h"
#include "ctrl.h"
#include "file.h"

static char *pmap_auto_mode = "on";
module_param(pmap_auto_mode, charp, 0444);
MODULE_PARM_DESC(pmap_auto_mode,
		 "fixed buffers of unmodified programs: off, on, or queue");

static int nvme_pmap_auto_set(const char *value,
			      const struct kernel_param *param);
static const struct kernel_param_ops nvme_pmap_auto_ops = {
	.set = nvme_pmap_auto_set,
	.get = param_get_uint,
};

static unsigned int pmap_auto_max_mib;
module_param_cb(pmap_auto_max_mib, &nvme_pmap_auto_ops, &pmap_auto_max_mib,
		0644);
MODULE_PARM_DESC(pmap_auto_max_mib,
		 "MiB of them that a controller keeps (0: an eighth of memory)");

static unsigned int pmap_auto_idle_s = 10;
module_param_cb(pmap_auto_idle_s, &nvme_pmap_auto_ops, &pmap_auto_idle_s, 0644);
MODULE_PARM_DESC(pmap_auto_idle_s,
		 "seconds after which one that is not used is given back");

const char *const nvme_pmap_auto_modes[PMAP_AUTO_MODES] = {
	[NVME_PMAP_AUTO_OFF] = "off",
	[NVME_PMAP_AUTO_ON] = "on",
	[NVME_PMAP_AUTO_QUEUE] = "queue",
};

/*
 * Where it is shut for all, stock commands do not pay for it.  Not a static key:
 * QEMU's TCG does not survive code that is changed under it for long.  So many
 * controllers have opened it; the mutex guards both, and their modes.
 */
bool nvme_pmap_auto_open __read_mostly;
static unsigned int nvme_pmap_auto_opened;
static DEFINE_MUTEX(nvme_pmap_auto_switching);

/* The auto doors of all files: for those who end mappings of many. */
static LIST_HEAD(nvme_pmap_auto_files);
static DEFINE_SPINLOCK(nvme_pmap_auto_files_lock);

/**
 * nvme_pmap_auto_default - enum nvme_pmap_auto_mode of new controllers
 */
u8 nvme_pmap_auto_default(void)
{
	int mode = match_string(nvme_pmap_auto_modes, PMAP_AUTO_MODES,
				pmap_auto_mode);

	if (mode >= 0)
		return mode;
	pr_warn_once("pmap_auto_mode=%s: neither off, on, nor queue; it is off\n",
		     pmap_auto_mode);
	return NVME_PMAP_AUTO_OFF;
}

/* Pages that the auto door may hold for one controller. */
static unsigned long nvme_pmap_auto_limit(void)
{
	unsigned long mib = READ_ONCE(pmap_auto_max_mib);

	return mib ? mib << (20 - PAGE_SHIFT) : totalram_pages() / 8;
}

/**
 * nvme_pmap_auto_uncharge - give back what nvme_pmap_auto_charge() took
 * @pc: the controller
 * @pages: their number
 */
void nvme_pmap_auto_uncharge(struct nvme_pmap_ctrl *pc, unsigned long pages)
{
	atomic_long_sub(pages, &pc->auto_pages);
}

/**
 * nvme_pmap_auto_charge - the auto door is to hold more pages for a controller
 * @pc: the controller
 * @pages: their number
 *
 * Return: 0, or -EDQUOT: not so many.
 */
int nvme_pmap_auto_charge(struct nvme_pmap_ctrl *pc, unsigned long pages)
{
	if (atomic_long_add_return(pages, &pc->auto_pages) <=
	    nvme_pmap_auto_limit())
		return 0;
	nvme_pmap_auto_uncharge(pc, pages);
	return -EDQUOT;
}

/**
 * nvme_pmap_auto_interval - jiffies between rounds, in which mappings age
 */
unsigned long nvme_pmap_auto_interval(void)
{
	unsigned long idle = clamp(READ_ONCE(pmap_auto_idle_s), 1u, 86400u);

	return idle * HZ / PMAP_AUTO_ROUNDS;
}

/* Which way the commands of a file went, of those that went this one. */
static u64 nvme_pmap_file_path_count(const struct nvme_pmap_file *pf,
				     enum nvme_pmap_path path)
{
	u64 sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(per_cpu_ptr(pf->counts, cpu)->path[path]);
	return sum;
}

/**
 * nvme_pmap_auto_file_enlist - from now on a file's auto door is told what to do
 * @af: the file's auto door
 */
void nvme_pmap_auto_file_enlist(struct nvme_pmap_auto_file *af)
{
	spin_lock(&nvme_pmap_auto_files_lock);
	list_add_tail(&af->node, &nvme_pmap_auto_files);
	spin_unlock(&nvme_pmap_auto_files_lock);
}

/**
 * nvme_pmap_auto_file_delist - the file is being released; its counts stay
 * @af: the file's auto door
 */
void nvme_pmap_auto_file_delist(struct nvme_pmap_auto_file *af)
{
	struct nvme_pmap_file *pf = af->pf;
	unsigned int i;

	spin_lock(&nvme_pmap_auto_files_lock);
	list_del(&af->node);
	for (i = 0; i < PMAP_PATHS; i++)
		pf->pc->path[i] += nvme_pmap_file_path_count(pf, i);
	spin_unlock(&nvme_pmap_auto_files_lock);
}

/* The files of a controller, or all, are to look what is to end or to be retried. */
static void nvme_pmap_auto_notify_files(const struct nvme_pmap_ctrl *pc,
					int flag)
{
	struct nvme_pmap_auto_file *af;

	spin_lock(&nvme_pmap_auto_files_lock);
	list_for_each_entry(af, &nvme_pmap_auto_files, node) {
		if (pc && af->pf->pc != pc)
			continue;
		set_bit(flag, &af->flags);
		nvme_pmap_auto_file_kick(af, 0);
	}
	spin_unlock(&nvme_pmap_auto_files_lock);
}

/* From now on, for what is mapped already as well. */
static int nvme_pmap_auto_set(const char *value,
			      const struct kernel_param *param)
{
	int ret = param_set_uint(value, param);

	if (!ret)
		nvme_pmap_auto_notify_files(NULL, PMAP_AUTO_RETRY);
	return ret;
}

/**
 * nvme_pmap_auto_switch - the operator's choice for a controller
 * @pc: the controller
 * @mode: enum nvme_pmap_auto_mode
 */
void nvme_pmap_auto_switch(struct nvme_pmap_ctrl *pc, u8 mode)
{
	u8 old;

	mutex_lock(&nvme_pmap_auto_switching);
	old = xchg(&pc->mode, mode);
	/* another chance, after memory that could not be reached */
	WRITE_ONCE(pc->unreachable, false);
	nvme_pmap_auto_opened += mode != NVME_PMAP_AUTO_OFF;
	nvme_pmap_auto_opened -= old != NVME_PMAP_AUTO_OFF;
	WRITE_ONCE(nvme_pmap_auto_open, nvme_pmap_auto_opened);
	mutex_unlock(&nvme_pmap_auto_switching);
	/* what the mode does not allow is given back; they read it when they look */
	nvme_pmap_auto_notify_files(pc, PMAP_AUTO_RETRY);
}

/**
 * nvme_pmap_auto_count - commands of all files of a controller, closed ones too
 * @pc: the controller
 * @path: which way they went
 */
u64 nvme_pmap_auto_count(const struct nvme_pmap_ctrl *pc,
			 enum nvme_pmap_path path)
{
	struct nvme_pmap_auto_file *af;
	u64 sum;

	spin_lock(&nvme_pmap_auto_files_lock);
	sum = pc->path[path];
	list_for_each_entry(af, &nvme_pmap_auto_files, node)
		if (af->pf->pc == pc)
			sum += nvme_pmap_file_path_count(af->pf, path);
	spin_unlock(&nvme_pmap_auto_files_lock);
	return sum;
}
