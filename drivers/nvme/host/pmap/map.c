// SPDX-License-Identifier: GPL-2.0
/*
 * The life of a mapping.  The files that use one io_uring buffer on one controller
 * share it; the last of them ends it.
 */
#include <linux/slab.h>

#include "nvme.h"
#include "adopt.h"
#include "auto.h"
#include "ctrl.h"
#include "map.h"

/* Let the removal of the controller find the mapping. */
static int nvme_pmap_enlist_map(struct nvme_pmap_map *map)
{
	struct nvme_pmap_ctrl *pc = map->pc;
	int ret = -ENODEV;

	mutex_lock(&pc->lock);
	if (!pc->dead) {
		list_add_tail(&map->node, &pc->maps);
		if (map->adopted)
			hash_add(pc->shared, &map->shared,
				 (unsigned long)map->adopted);
		ret = 0;
	}
	mutex_unlock(&pc->lock);
	return ret;
}

/* The last step after all is unmapped; idempotent. */
static void nvme_pmap_delist_map(struct nvme_pmap_map *map)
{
	lockdep_assert_held(&map->pc->lock);

	list_del_init(&map->node);
	hash_del(&map->shared);
	nvme_pmap_unmap_rest(map);
}

/* Unmap and unpin a mapping that no command uses; idempotent. */
static void nvme_pmap_map_strip(struct nvme_pmap_map *map)
{
	while (!nvme_pmap_unmap_some(map))
		cond_resched();
	nvme_pmap_delist_map(map);
	nvme_pmap_unpin(map);
}

/* End a mapping that has no references. */
static void nvme_pmap_map_free(struct nvme_pmap_map *map)
{
	bool done;

	/* let others take the lock between steps, as in a registration */
	do {
		mutex_lock(&map->pc->lock);
		done = nvme_pmap_unmap_some(map);
		if (done)
			nvme_pmap_delist_map(map);
		mutex_unlock(&map->pc->lock);
		cond_resched();
	} while (!done);
	/* no lock: removal has unpinned the mapping, or no longer finds it */
	nvme_pmap_unpin(map);
	if (map->adopted)
		nvme_pmap_auto_uncharge(map->pc, map->nr_pages);
	kfree(map);
}

static void nvme_pmap_map_release(struct kref *ref)
{
	nvme_pmap_map_free(container_of(ref, struct nvme_pmap_map, ref));
}

/**
 * nvme_pmap_map_put - put a reference on a mapping; the last one ends it
 * @map: the mapping
 */
void nvme_pmap_map_put(struct nvme_pmap_map *map)
{
	kref_put(&map->ref, nvme_pmap_map_release);
}

static struct nvme_pmap_map *
nvme_pmap_map_alloc(struct nvme_pmap_ctrl *pc, u64 addr, u64 len,
		    struct nvme_pmap_adopted *adopted)
{
	struct nvme_pmap_map *map = kzalloc(sizeof(*map),
					    nvme_pmap_gfp(adopted));

	if (!map)
		return NULL;
	kref_init(&map->ref);
	init_completion(&map->made);
	INIT_LIST_HEAD(&map->node);
	map->pc = pc;
	map->adopted = adopted;
	nvme_pmap_init_layout(map, addr, len);
	return map;
}

/*
 * Pin a mapping and let others find it.  Takes over the caller's @adopted, if any, also
 * on failure.
 */
static struct nvme_pmap_map *
nvme_pmap_map_begin(struct nvme_pmap_ctrl *pc, u64 addr, u64 len,
		    struct nvme_pmap_adopted *adopted)
{
	struct nvme_pmap_map *map = nvme_pmap_map_alloc(pc, addr, len, adopted);
	int ret = -ENOMEM;

	if (!map)
		goto disown;
	ret = adopted ? nvme_pmap_auto_charge(pc, map->nr_pages) : 0;
	if (ret)
		goto free;
	ret = nvme_pmap_pin(map, addr & PAGE_MASK);
	if (ret)
		goto uncharge;
	ret = nvme_pmap_enlist_map(map);
	if (!ret)
		return map;
	nvme_pmap_map_free(map);
	return ERR_PTR(ret);

uncharge:
	if (adopted)
		nvme_pmap_auto_uncharge(pc, map->nr_pages);
free:
	kfree(map);
disown:
	if (adopted)
		nvme_pmap_disown(adopted);
	return ERR_PTR(ret);
}

/*
 * Wait until a mapping that this or another task has begun is complete.  Return: the
 * mapping, or an ERR_PTR.
 */
static struct nvme_pmap_map *nvme_pmap_map_await(struct nvme_pmap_map *map)
{
	int error;

	wait_for_completion(&map->made);
	error = map->error;
	if (!error)
		return map;
	nvme_pmap_map_put(map);
	return ERR_PTR(error);
}

/* Map the pages and write the lists of a mapping that has begun. */
static struct nvme_pmap_map *nvme_pmap_map_finish(struct nvme_pmap_map *map,
						  u32 flags)
{
	map->error = nvme_pmap_dma_map(map, flags);
	map->list_bytes = nvme_pmap_count_list_bytes(map);
	complete_all(&map->made);
	return nvme_pmap_map_await(map);
}

/**
 * nvme_pmap_map_create - pin and map a buffer and write its lists
 * @pc: the controller, prepared
 * @reg: the request, validated
 *
 * Return: the mapping, for nvme_pmap_map_put(), or an ERR_PTR.
 */
struct nvme_pmap_map *nvme_pmap_map_create(struct nvme_pmap_ctrl *pc,
					   const struct nvme_pmap_register *reg)
{
	struct nvme_pmap_map *map = nvme_pmap_map_begin(pc, reg->addr, reg->len,
							NULL);

	return IS_ERR(map) ? map : nvme_pmap_map_finish(map, reg->flags);
}

/* Find the mapping of an io_uring buffer and take a reference; it may be incomplete. */
static struct nvme_pmap_map *
nvme_pmap_map_find(struct nvme_pmap_ctrl *pc,
		   const struct nvme_pmap_adopted *adopted)
{
	struct nvme_pmap_map *map;

	lockdep_assert_held(&pc->sharing);

	mutex_lock(&pc->lock);
	hash_for_each_possible(pc->shared, map, shared, (unsigned long)adopted)
		if (map->adopted == adopted && kref_get_unless_zero(&map->ref))
			break;
	mutex_unlock(&pc->lock);
	return map;
}

/**
 * nvme_pmap_map_share - find the mapping of an io_uring buffer, or make it
 * @pc: the controller, prepared
 * @adopted: io_uring's buffer; taken over, also on failure
 *
 * If another task is making the mapping, this waits for it.
 *
 * Return: the mapping, for nvme_pmap_map_put(), or an ERR_PTR.
 */
struct nvme_pmap_map *nvme_pmap_map_share(struct nvme_pmap_ctrl *pc,
					  struct nvme_pmap_adopted *adopted)
{
	const struct io_mapped_ubuf *imu = adopted->imu;
	struct nvme_pmap_map *map;

	mutex_lock(&pc->sharing);
	map = nvme_pmap_map_find(pc, adopted);
	if (map) {
		mutex_unlock(&pc->sharing);
		nvme_pmap_disown(adopted);
		return nvme_pmap_map_await(map);
	}
	map = nvme_pmap_map_begin(pc, imu->ubuf, imu->len, adopted);
	mutex_unlock(&pc->sharing);
	return IS_ERR(map) ? map : nvme_pmap_map_finish(map, 0);
}

/**
 * nvme_pmap_end_mappings - end all mappings of a controller that is being removed
 * @pc: the controller; no command uses a mapping
 *
 * Context: pc->lock held.
 */
void nvme_pmap_end_mappings(struct nvme_pmap_ctrl *pc)
{
	lockdep_assert_held(&pc->lock);
	while (!list_empty(&pc->maps))
		nvme_pmap_map_strip(list_first_entry(&pc->maps,
						     struct nvme_pmap_map,
						     node));
}
