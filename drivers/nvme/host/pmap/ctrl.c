// SPDX-License-Identifier: GPL-2.0
/*
 * The registry of controllers that buffers can be mapped for.
 *
 * It is a side table, not a member of struct nvme_ctrl: every transport's module embeds
 * that struct, and those modules stay the distribution's.  Only pci.c registers: only
 * its requests carry a ready data pointer to the device without a bio.
 */
#include <linux/dma-mapping.h>
#include <linux/dmapool.h>
#include <linux/rculist.h>
#include <linux/slab.h>

#include "nvme.h"
#include "counts.h"
#include "ctrl.h"
#include "layout.h"
#include "queue.h"

static LIST_HEAD(nvme_pmap_ctrls);
static DEFINE_MUTEX(nvme_pmap_ctrls_lock);

struct workqueue_struct *nvme_pmap_wq;

/* Allocate the workqueue, for the first controller. */
static bool nvme_pmap_make_wq(void)
{
	mutex_lock(&nvme_pmap_ctrls_lock);
	if (!nvme_pmap_wq)
		WRITE_ONCE(nvme_pmap_wq,
			   alloc_workqueue("nvme-pmap", WQ_FREEZABLE, 0));
	mutex_unlock(&nvme_pmap_ctrls_lock);
	return nvme_pmap_wq;
}

/**
 * nvme_pmap_ctrl_exit - free the workqueue: the module goes, no controller is left
 */
void nvme_pmap_ctrl_exit(void)
{
	if (nvme_pmap_wq)
		destroy_workqueue(nvme_pmap_wq);
}

/**
 * nvme_pmap_ctrl_alloc - the state of a new controller
 * @ctrl: the controller
 * @dev: the device that does its DMA
 * @queues: its passthrough queues, or NULL; freed with the state
 *
 * Return: the state, not published yet; or NULL.
 */
struct nvme_pmap_ctrl *nvme_pmap_ctrl_alloc(struct nvme_ctrl *ctrl,
					    struct device *dev,
					    struct nvme_pmap_queues *queues)
{
	struct nvme_pmap_ctrl *pc = kzalloc(sizeof(*pc), GFP_KERNEL);

	if (pc)
		pc->fallbacks = alloc_percpu(struct nvme_pmap_fallbacks);
	if (!pc || !pc->fallbacks || !nvme_pmap_make_wq()) {
		if (pc)
			free_percpu(pc->fallbacks);
		kfree(pc);
		return NULL;
	}
	kref_init(&pc->ref);
	pc->ctrl = ctrl;
	pc->dev = dev;
	pc->queues = queues;
	mutex_init(&pc->lock);
	INIT_LIST_HEAD(&pc->pmaps);
	INIT_LIST_HEAD(&pc->maps);
	hash_init(pc->shared);
	mutex_init(&pc->sharing);
	return pc;
}

/**
 * nvme_pmap_ctrl_publish - let look-ups find the state of a controller
 * @pc: the state
 */
void nvme_pmap_ctrl_publish(struct nvme_pmap_ctrl *pc)
{
	mutex_lock(&nvme_pmap_ctrls_lock);
	list_add_tail_rcu(&pc->node, &nvme_pmap_ctrls);
	mutex_unlock(&nvme_pmap_ctrls_lock);
}

static struct nvme_pmap_ctrl *nvme_pmap_ctrl_find(struct nvme_ctrl *ctrl)
{
	struct nvme_pmap_ctrl *pc;

	list_for_each_entry_rcu(pc, &nvme_pmap_ctrls, node,
				lockdep_is_held(&nvme_pmap_ctrls_lock)) {
		if (pc->ctrl == ctrl)
			return pc;
	}
	return NULL;
}

/**
 * nvme_pmap_ctrl_unpublish - stop look-ups from finding the state of a controller
 * @ctrl: the controller
 *
 * Return: the state, with the registry's reference; or NULL.
 */
struct nvme_pmap_ctrl *nvme_pmap_ctrl_unpublish(struct nvme_ctrl *ctrl)
{
	struct nvme_pmap_ctrl *pc;

	mutex_lock(&nvme_pmap_ctrls_lock);
	pc = nvme_pmap_ctrl_find(ctrl);
	if (pc)
		list_del_rcu(&pc->node);
	mutex_unlock(&nvme_pmap_ctrls_lock);
	return pc;
}

/**
 * nvme_pmap_ctrl_has_prp - does any buffer of the controller have the PRP form?
 * @ctrl: the controller
 */
bool nvme_pmap_ctrl_has_prp(struct nvme_ctrl *ctrl)
{
	struct nvme_pmap_ctrl *pc;
	bool has;

	rcu_read_lock();
	pc = nvme_pmap_ctrl_find(ctrl);
	has = pc && atomic_read(&pc->prp);
	rcu_read_unlock();
	return has;
}

/**
 * nvme_pmap_ctrl_get - find a controller's state and take a reference
 * @ctrl: the controller, held by the caller
 *
 * Return: the state; or NULL if the controller never offered itself, or its removal is
 * complete.
 */
struct nvme_pmap_ctrl *nvme_pmap_ctrl_get(struct nvme_ctrl *ctrl)
{
	struct nvme_pmap_ctrl *pc;

	mutex_lock(&nvme_pmap_ctrls_lock);
	pc = nvme_pmap_ctrl_find(ctrl);
	if (pc)
		kref_get(&pc->ref);
	mutex_unlock(&nvme_pmap_ctrls_lock);
	return pc;
}

static void nvme_pmap_ctrl_free(struct kref *ref)
{
	struct nvme_pmap_ctrl *pc;

	pc = container_of(ref, struct nvme_pmap_ctrl, ref);
	kvfree(pc->queues);
	free_percpu(pc->fallbacks);
	kfree_rcu(pc, rcu);
}

void nvme_pmap_ctrl_put(struct nvme_pmap_ctrl *pc)
{
	kref_put(&pc->ref, nvme_pmap_ctrl_free);
}

/**
 * nvme_pmap_ctrl_find_rcu - find a controller's state without a lock
 * @ctrl: the controller, held by the caller
 *
 * Context: RCU read-side critical section, for as long as the caller uses the state.
 *
 * Return: the state, perhaps of a controller that is being removed; or NULL.
 */
struct nvme_pmap_ctrl *nvme_pmap_ctrl_find_rcu(struct nvme_ctrl *ctrl)
{
	return nvme_pmap_ctrl_find(ctrl);
}

/**
 * nvme_pmap_ctrl_unprepare - free what nvme_pmap_ctrl_prepare() allocated
 * @pc: the controller, whose device is still bound
 *
 * Context: pc->lock held.
 */
void nvme_pmap_ctrl_unprepare(struct nvme_pmap_ctrl *pc)
{
	lockdep_assert_held(&pc->lock);

	if (pc->guard)
		dma_free_coherent(pc->dev, PAGE_SIZE, pc->guard, pc->guard_dma);
	pc->guard = NULL;
	dma_pool_destroy(pc->sgl_pool);
	pc->sgl_pool = NULL;
	dma_pool_destroy(pc->page_pool);
	pc->page_pool = NULL;
	kvfree(pc->scratch);
	pc->scratch = NULL;
}

/*
 * Read MDTS, which the stock driver does not keep.  It lowers max_hw_sectors to the
 * size that one dma_map_sg() does fast; mappings made beforehand have no such limit.
 */
static int nvme_pmap_identify(struct nvme_pmap_ctrl *pc)
{
	struct nvme_command c = {
		.identify.opcode = nvme_admin_identify,
		.identify.cns = NVME_ID_CNS_CTRL,
	};
	u32 shift = NVME_CAP_MPSMIN(pc->ctrl->cap) + 12,
	    max = PMAP_MAX_TRANSFER;
	struct nvme_id_ctrl *id;
	int ret;

	id = kmalloc(sizeof(*id), GFP_KERNEL);
	if (!id)
		return -ENOMEM;
	ret = nvme_submit_sync_cmd(pc->ctrl->admin_q, &c, id, sizeof(*id));
	if (!ret && id->mdts && shift + id->mdts < ilog2(max))
		max = 1u << (shift + id->mdts);
	kfree(id);
	if (ret)
		return ret < 0 ? ret : -EIO;
	WRITE_ONCE(pc->max_transfer, max);
	return 0;
}

/**
 * nvme_pmap_ctrl_reset - read MDTS again: newly activated firmware may have changed it
 * @ctrl: the controller, in a reset: it answers, and has no I/O queue yet
 */
void nvme_pmap_ctrl_reset(struct nvme_ctrl *ctrl)
{
	struct nvme_pmap_ctrl *pc = nvme_pmap_ctrl_get(ctrl);

	if (!pc)
		return;
	/* if this fails, so does the reset, and says why */
	if (READ_ONCE(pc->max_transfer))
		nvme_pmap_identify(pc);
	nvme_pmap_ctrl_put(pc);
}
EXPORT_SYMBOL_GPL(nvme_pmap_ctrl_reset);

static int nvme_pmap_ctrl_fill(struct nvme_pmap_ctrl *pc)
{
	size_t sgl_size;

	pc->scratch = kvmalloc_array(PMAP_CHUNK_PAGES, sizeof(*pc->scratch),
				     GFP_KERNEL | __GFP_NOWARN);
	if (!pc->scratch)
		return -ENOMEM;
	pc->page_pool = dma_pool_create("nvme pmap page", pc->dev,
					PMAP_SLOT_SIZE, PMAP_SLOT_SIZE, 0);
	if (!pc->page_pool)
		return -ENOMEM;
	/* a descriptor per page, and one more if the ends are inside pages */
	sgl_size = (PMAP_MAX_TRANSFER / PMAP_SLOT_SIZE + 1) *
		   sizeof(struct nvme_sgl_desc);
	pc->sgl_pool = dma_pool_create("nvme pmap sgl", pc->dev,
				       ALIGN(sgl_size, PMAP_SLOT_SIZE),
				       PMAP_SLOT_SIZE, 0);
	if (!pc->sgl_pool)
		return -ENOMEM;
	pc->guard = dma_alloc_coherent(pc->dev, PAGE_SIZE, &pc->guard_dma,
				       GFP_KERNEL);
	return pc->guard ? 0 : -ENOMEM;
}

/**
 * nvme_pmap_ctrl_prepare - allocate the resources for mappings, at the first use
 * @pc: the controller
 *
 * A controller that nobody uses through the overlay costs nothing but @pc.
 *
 * Return: 0; -ENODEV if it is being removed; -ENOMEM; or the error of an Identify
 * command.
 */
int nvme_pmap_ctrl_prepare(struct nvme_pmap_ctrl *pc)
{
	int ret = 0;

	/* without the lock: an admin command can take as long as a reset */
	if (!READ_ONCE(pc->max_transfer))
		ret = nvme_pmap_identify(pc);
	if (ret)
		return READ_ONCE(pc->dead) ? -ENODEV : ret;

	mutex_lock(&pc->lock);
	if (pc->dead)
		ret = -ENODEV;
	else if (!pc->guard)
		ret = nvme_pmap_ctrl_fill(pc);
	if (ret && !pc->dead)
		nvme_pmap_ctrl_unprepare(pc);
	mutex_unlock(&pc->lock);
	return ret;
}
