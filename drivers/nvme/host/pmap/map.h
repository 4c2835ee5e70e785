/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A mapping: pinned pages, their DMA addresses and lists, against one controller.  It is
 * shared by the files that use one buffer of io_uring's.
 *
 * Whoever has a reference may have commands on it; with the last one it is unmapped and
 * unpinned, unless the removal of the controller has done so.
 */
#ifndef _NVME_PMAP_MAP_H
#define _NVME_PMAP_MAP_H

#include <linux/completion.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/types.h>

#include <uapi/linux/nvme_pmap.h>

#include "layout.h"

struct mm_struct;
struct nvme_pmap_adopted;
struct nvme_pmap_ctrl;
struct page;
struct user_struct;

#define PMAP_SLOTS_PER_PAGE (PAGE_SIZE >> PMAP_SLOT_SHIFT)

/**
 * struct nvme_pmap_map - a mapping of pinned pages against a controller
 * @ref: one per buffer on it
 * @l: what a submission reads; buffers have a copy
 * @pc: the controller
 * @node: on @pc->maps, while it is mapped
 * @shared: in @pc->shared likewise
 * @made: completed when it is complete, or cannot be
 * @error: why it cannot be; or 0
 * @prp: it is counted in @pc->prp
 * @pages: the pinned pages; NULL: not any more
 * @nr_pages: their number
 * @nr_mapped: how many of them have been mapped
 * @nr_unmapped: how many of those are not any more
 * @chunks_unmapped: in so many steps
 * @nr_chunks: chunks of pages that are mapped so far
 * @chunk_dma: with an IOMMU, where each of them begins; else NULL: where its pages are
 * @list_size: bytes of each list but perhaps the last
 * @nr_lists: lists allocated
 * @lists_mapped: how many of them the device can read; while it is being made
 * @list_bytes: bytes of kernel memory that describe the buffer
 * @next_dma: while mapping, where the run of slots so far would go on
 * @user: whose RLIMIT_MEMLOCK is charged; NULL where CAP_IPC_LOCK spares it
 * @charged: pages charged to @user
 * @mm: whose VmPin is charged
 * @adopted: the buffer as io_uring has it, which has pinned and charged it; NULL:
 *	@user and @mm are charged
 */
struct nvme_pmap_map {
	struct kref ref;
	struct pmap_layout l;
	struct nvme_pmap_ctrl *pc;
	struct list_head node;
	struct hlist_node shared;
	struct completion made;
	int error;
	bool prp;
	struct page **pages;
	u32 nr_pages;
	u32 nr_mapped;
	u32 nr_unmapped;
	u32 chunks_unmapped;
	u32 nr_chunks;
	u64 *chunk_dma;
	u32 list_size;
	u32 nr_lists;
	u32 lists_mapped;
	u64 list_bytes;
	u64 next_dma;
	struct user_struct *user;
	unsigned long charged;
	struct mm_struct *mm;
	struct nvme_pmap_adopted *adopted;
};

/* map.c: its life */
struct nvme_pmap_map *
nvme_pmap_map_create(struct nvme_pmap_ctrl *pc,
		     const struct nvme_pmap_register *reg);
struct nvme_pmap_map *nvme_pmap_map_share(struct nvme_pmap_ctrl *pc,
					  struct nvme_pmap_adopted *adopted);
void nvme_pmap_map_put(struct nvme_pmap_map *map);
void nvme_pmap_end_mappings(struct nvme_pmap_ctrl *pc);

/* dma.c: addresses and lists */
void nvme_pmap_init_layout(struct nvme_pmap_map *map, u64 addr, u64 len);
int nvme_pmap_dma_map(struct nvme_pmap_map *map, u32 flags);
bool nvme_pmap_unmap_some(struct nvme_pmap_map *map);
void nvme_pmap_unmap_rest(struct nvme_pmap_map *map);
u64 nvme_pmap_count_list_bytes(const struct nvme_pmap_map *map);

/* pin.c: pages */
int nvme_pmap_pin(struct nvme_pmap_map *map, u64 addr);
int nvme_pmap_charge_lists(struct nvme_pmap_map *map, u64 bytes);
void nvme_pmap_unpin(struct nvme_pmap_map *map);

#endif /* _NVME_PMAP_MAP_H */
