// SPDX-License-Identifier: GPL-2.0
/*
 * A registered buffer of a file.  Commands hold references on it; other files may share
 * its mapping.
 */
#include <linux/slab.h>

#include "nvme.h"
#include "adopt.h"
#include "buffer.h"
#include "ctrl.h"
#include "file.h"
#include "map.h"

static void nvme_pmap_buffer_idle(struct percpu_ref *ref)
{
	complete_all(&container_of(ref, struct nvme_pmap, ref)->idle);
}

/* Let the removal of the controller find the buffer. */
static int nvme_pmap_enlist_buffer(struct nvme_pmap *pmap)
{
	struct nvme_pmap_ctrl *pc = pmap->map->pc;
	int ret = -ENODEV;

	mutex_lock(&pc->lock);
	if (!pc->dead) {
		list_add_tail(&pmap->node, &pc->pmaps);
		ret = 0;
	}
	mutex_unlock(&pc->lock);
	return ret;
}

/**
 * nvme_pmap_buffer_create - make a buffer for the commands of a file
 * @pf: the file
 * @addr: user address of its first byte
 * @map: its mapping, complete; taken over, also on failure
 *
 * Return: the buffer, ready to be published, or an ERR_PTR.
 */
struct nvme_pmap *nvme_pmap_buffer_create(struct nvme_pmap_file *pf, u64 addr,
					  struct nvme_pmap_map *map)
{
	gfp_t gfp = nvme_pmap_gfp(map->adopted);
	struct nvme_pmap *pmap = kzalloc(sizeof(*pmap), gfp);
	int ret = -ENOMEM;

	if (!pmap)
		goto put;
	pmap->pf = pf;
	pmap->addr = addr;
	pmap->map = map;
	pmap->l = map->l;
	if (map->l.form != NVME_PMAP_FORM_PRP)
		pmap->psdt = NVME_CMD_SGL_METABUF << 8;
	init_completion(&pmap->idle);
	ret = percpu_ref_init(&pmap->ref, nvme_pmap_buffer_idle, 0, gfp);
	if (ret)
		goto free;
	ret = nvme_pmap_enlist_buffer(pmap);
	if (ret)
		goto exit_ref;
	return pmap;

exit_ref:
	percpu_ref_exit(&pmap->ref);
free:
	kfree(pmap);
put:
	nvme_pmap_map_put(map);
	return ERR_PTR(ret);
}

/**
 * nvme_pmap_buffer_kill - let no new command use a buffer
 * @pmap: the buffer; @pmap->idle completes after its last command.  Killing it twice is
 *	harmless.
 */
void nvme_pmap_buffer_kill(struct nvme_pmap *pmap)
{
	if (!test_and_set_bit(PMAP_KILLED, &pmap->flags))
		percpu_ref_kill(&pmap->ref);
}

/**
 * nvme_pmap_buffer_destroy - free a buffer that no command uses
 * @pmap: the buffer; idle if it was killed, and no longer in the table
 */
void nvme_pmap_buffer_destroy(struct nvme_pmap *pmap)
{
	struct nvme_pmap_ctrl *pc = pmap->map->pc;

	/* until here the removal of the controller finds the buffer, and may kill it */
	mutex_lock(&pc->lock);
	list_del_init(&pmap->node);
	mutex_unlock(&pc->lock);
	if (test_bit(PMAP_KILLED, &pmap->flags))
		wait_for_completion(&pmap->idle);
	percpu_ref_exit(&pmap->ref);
	nvme_pmap_map_put(pmap->map);
	/* a look-up may still read it, and see that it is dead */
	kfree_rcu(pmap, rcu);
}

/**
 * nvme_pmap_end_buffers - wait until no command uses a buffer of a controller
 * @pc: the controller, which is being removed; its commands have been cancelled
 *
 * Context: pc->lock held.
 */
void nvme_pmap_end_buffers(struct nvme_pmap_ctrl *pc)
{
	struct nvme_pmap *pmap;

	lockdep_assert_held(&pc->lock);
	/* one RCU grace period for all of them */
	list_for_each_entry(pmap, &pc->pmaps, node)
		nvme_pmap_buffer_kill(pmap);
	while (!list_empty(&pc->pmaps)) {
		pmap = list_first_entry(&pc->pmaps, struct nvme_pmap, node);
		wait_for_completion(&pmap->idle);
		list_del_init(&pmap->node);
	}
}
