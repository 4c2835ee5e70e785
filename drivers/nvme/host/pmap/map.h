/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A mapping: pinned pages, their DMA addresses and their lists, for one controller.
 * Files that use the same io_uring buffer share it.
 *
 * Each buffer holds a reference, and its commands may use the mapping.  The last put
 * unmaps and unpins, unless the removal of the controller has done so already.
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
 * struct nvme_pmap_map - pinned pages, mapped for one controller
 * @ref: one reference per nvme_pmap
 * @l: layout for submissions; each nvme_pmap has a copy
 * @pc: the controller's state
 * @node: on @pc->maps while mapped (@pc->lock)
 * @shared: in @pc->shared while mapped, if @adopted (@pc->lock)
 * @made: completed when the mapping is ready or has failed
 * @error: errno of the failure, or 0; valid after @made
 * @prp: the mapping is counted in @pc->prp
 * @pages: the pinned pages; NULL once unpinned
 * @nr_pages: number of @pages
 * @nr_mapped: pages that have been DMA-mapped
 * @nr_unmapped: pages that have been unmapped again
 * @chunks_unmapped: chunks that have been unmapped again
 * @nr_chunks: chunks that have been DMA-mapped
 * @chunk_dma: with a translating IOMMU, the DMA address of each chunk; else NULL: DMA
 *	addresses follow from the pages
 * @list_size: bytes of a list; the last SGL list may be shorter
 * @nr_lists: number of lists
 * @lists_mapped: lists that have been DMA-mapped; used while the mapping is made
 * @list_bytes: bytes of kernel memory that describe the buffer
 * @next_dma: DMA address at which the current run would go on; used while the mapping
 *	is made
 * @user: user whose RLIMIT_MEMLOCK is charged; NULL with CAP_IPC_LOCK
 * @charged: pages charged to @user
 * @mm: process whose VmPin is charged
 * @adopted: io_uring's buffer, which io_uring has pinned and charged; NULL: the mapping
 *	has its own pins, charged to @user and @mm
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
