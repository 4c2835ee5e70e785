// SPDX-License-Identifier: GPL-2.0
/*
 * The state of an open /dev/ngXnY.
 */
#include <linux/blk-mq.h>
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/percpu.h>
#include <linux/sched/task.h>
#include <linux/slab.h>

#include "nvme.h"
#include "counts.h"
#include "ctrl.h"
#include "file.h"
#include "format.h"

/* Entries of the first table. */
#define PMAP_TABLE_MIN 16u

/**
 * nvme_pmap_alloc_table - a table of buffers
 * @nr: entries
 * @gfp: how to allocate it
 *
 * Return: the table, empty; or NULL.
 */
struct nvme_pmap_table *nvme_pmap_alloc_table(u32 nr, gfp_t gfp)
{
	struct nvme_pmap_table *table;

	table = kvzalloc(struct_size(table, pmap, nr), gfp | __GFP_NOWARN);
	if (table)
		table->nr = nr;
	return table;
}

/**
 * nvme_pmap_file_free - free the state of a file that is closed, or failed to get one
 * @pf: the state
 */
void nvme_pmap_file_free(struct nvme_pmap_file *pf)
{
	kvfree(rcu_dereference_protected(pf->table, true));
	free_percpu(pf->counts);
	if (pf->format)
		nvme_pmap_ns_put(pf->format);
	kfree(pf);
}

/* Credentials without any capability, for asking stock; made with the first file. */
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
	/* another file was first */
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

/* Find the file's state, or make it at the first call that needs it. */
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
