// SPDX-License-Identifier: GPL-2.0
/*
 * The auto door of a controller: the operator's settings and counters.  A change of a
 * setting tells the files which mappings must end.
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
		 "auto door (io_uring fixed buffers): off, on, or queue");

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
		 "auto door: most MiB per controller (0: 1/8 of memory)");

static unsigned int pmap_auto_idle_s = 10;
module_param_cb(pmap_auto_idle_s, &nvme_pmap_auto_ops, &pmap_auto_idle_s, 0644);
MODULE_PARM_DESC(pmap_auto_idle_s,
		 "auto door: seconds until an unused buffer is unmapped");

const char *const nvme_pmap_auto_modes[PMAP_AUTO_MODES] = {
	[NVME_PMAP_AUTO_OFF] = "off",
	[NVME_PMAP_AUTO_ON] = "on",
	[NVME_PMAP_AUTO_QUEUE] = "queue",
};

/*
 * False: stock commands do not pay for the door.  Not a static key: QEMU's TCG does not
 * survive code that is patched for long.  The count is of controllers with an open
 * door; the mutex guards both, and the controllers' modes.
 */
bool nvme_pmap_auto_open __read_mostly;
static unsigned int nvme_pmap_auto_opened;
static DEFINE_MUTEX(nvme_pmap_auto_switching);

/* The auto doors of all files, to notify them. */
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

/* Most pages that the auto door may hold for one controller. */
static unsigned long nvme_pmap_auto_limit(void)
{
	unsigned long mib = READ_ONCE(pmap_auto_max_mib);

	return mib ? mib << (20 - PAGE_SHIFT) : totalram_pages() / 8;
}

/**
 * nvme_pmap_auto_uncharge - undo nvme_pmap_auto_charge()
 * @pc: the controller
 * @pages: number of pages
 */
void nvme_pmap_auto_uncharge(struct nvme_pmap_ctrl *pc, unsigned long pages)
{
	atomic_long_sub(pages, &pc->auto_pages);
}

/**
 * nvme_pmap_auto_charge - charge pages that the auto door is about to map
 * @pc: the controller's state
 * @pages: number of pages
 *
 * Return: 0, or -EDQUOT: over the limit.
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
 * nvme_pmap_auto_interval - jiffies from one round, in which mappings age, to the next
 */
unsigned long nvme_pmap_auto_interval(void)
{
	unsigned long idle = clamp(READ_ONCE(pmap_auto_idle_s), 1u, 86400u);

	return idle * HZ / PMAP_AUTO_ROUNDS;
}

/* Commands of a file that took this path. */
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
 * nvme_pmap_auto_file_enlist - put a file's auto door on the list of all
 * @af: the file's auto door
 */
void nvme_pmap_auto_file_enlist(struct nvme_pmap_auto_file *af)
{
	spin_lock(&nvme_pmap_auto_files_lock);
	list_add_tail(&af->node, &nvme_pmap_auto_files);
	spin_unlock(&nvme_pmap_auto_files_lock);
}

/**
 * nvme_pmap_auto_file_delist - take a file's auto door off the list; its counts stay
 * @af: the file's auto door; the file is being released
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

/* Set a flag of the files of a controller (NULL: of all files), and run their works. */
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

/* A new setting applies to existing mappings as well. */
static int nvme_pmap_auto_set(const char *value,
			      const struct kernel_param *param)
{
	int ret = param_set_uint(value, param);

	if (!ret)
		nvme_pmap_auto_notify_files(NULL, PMAP_AUTO_RETRY);
	return ret;
}

/**
 * nvme_pmap_auto_switch - set the mode of a controller's auto door
 * @pc: the controller's state
 * @mode: enum nvme_pmap_auto_mode
 */
void nvme_pmap_auto_switch(struct nvme_pmap_ctrl *pc, u8 mode)
{
	u8 old;

	mutex_lock(&nvme_pmap_auto_switching);
	old = xchg(&pc->mode, mode);
	/* try again, after memory that the device could not reach */
	WRITE_ONCE(pc->unreachable, false);
	nvme_pmap_auto_opened += mode != NVME_PMAP_AUTO_OFF;
	nvme_pmap_auto_opened -= old != NVME_PMAP_AUTO_OFF;
	WRITE_ONCE(nvme_pmap_auto_open, nvme_pmap_auto_opened);
	mutex_unlock(&nvme_pmap_auto_switching);
	/* the files' works read the new mode, and give back the rest */
	nvme_pmap_auto_notify_files(pc, PMAP_AUTO_RETRY);
}

/**
 * nvme_pmap_auto_count - commands that took a path, also of files that are closed
 * @pc: the controller's state
 * @path: the path
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
