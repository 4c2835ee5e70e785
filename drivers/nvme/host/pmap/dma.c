// SPDX-License-Identifier: GPL-2.0
/*
 * Making and ending a persistent mapping.
 *
 * Pages are DMA-mapped in chunks that are aligned in the user's address space, so that
 * with an IOMMU every chunk is one run of I/O virtual addresses.  The DMA API wants the
 * scatterlist back for unmapping.  It is not kept, which would double the memory per
 * page, but rebuilt in the controller's scratch from the pages and the address of each
 * chunk.  The lists hold the addresses as well, but without an IOMMU the device could
 * have overwritten them.
 *
 * With an IOMMU the device can only read the lists: they are ordinary memory, and
 * mapped when they are complete.
 */
#include <linux/dma-direct.h>
#include <linux/dma-map-ops.h>
#include <linux/iommu.h>
#include <linux/pfn.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "nvme.h"
#include "adopt.h"
#include "buffer.h"
#include "ctrl.h"
#include "layout.h"
#include "map.h"

/*
 * A mapping that would need CPU syncs is refused.  When it is unmapped after the
 * refusal, a bounce buffer must not be copied over the user's memory either.
 */
#define PMAP_DMA_ATTRS (DMA_ATTR_SKIP_CPU_SYNC | DMA_ATTR_NO_WARN)

/*
 * Lists mapped or freed in one hold of the lock.  More lists than these are allocated
 * without the lock.
 */
#define PMAP_LISTS_TURN 64u

/* A block of SGL descriptors: 128 KiB, 8192 slots, 32 MiB of buffer. */
#define PMAP_SGL_MAX_SHIFT 13

/*
 * Pages of the chunk that begins at page @first: up to the next aligned address, or the
 * whole of a buffer that is no larger than a chunk.
 */
static u32 nvme_pmap_chunk_pages(const struct nvme_pmap_map *map, u32 first)
{
	u32 phase = map->l.run_phase / PMAP_SLOTS_PER_PAGE + first;
	u32 room = PMAP_CHUNK_PAGES - phase % PMAP_CHUNK_PAGES;

	if (map->nr_pages <= PMAP_CHUNK_PAGES)
		room = PMAP_CHUNK_PAGES;
	return min(room, map->nr_pages - first);
}

/* Bytes of list @i: the same for all, except the last block of SGL descriptors. */
static size_t nvme_pmap_list_size(const struct nvme_pmap_map *map, u32 i)
{
	u32 slots = map->l.nr_slots - (i << map->l.list_shift);
	size_t bytes = slots * sizeof(struct nvme_sgl_desc);

	if (map->l.form == NVME_PMAP_FORM_PRP)
		return map->list_size;
	return min_t(size_t, PAGE_ALIGN(bytes), map->list_size);
}

/*
 * Fill the scratch scatterlist with the pages of a chunk, neighbours as one entry.  The
 * same pages always give the same entries, which unmapping relies on.
 */
static u32 nvme_pmap_fill_sg(struct nvme_pmap_map *map, u32 first, u32 nr)
{
	unsigned long boundary = dma_get_seg_boundary(map->pc->dev) >>
				 PAGE_SHIFT;
	struct scatterlist *sg = map->pc->scratch;
	struct page **page = map->pages + first;
	unsigned long pfn, next = 0;
	u32 i, nents = 0;

	for (i = 0; i < nr; i++, next = pfn + 1) {
		pfn = page_to_pfn(page[i]);
		if (i && pfn == next && (pfn & boundary)) {
			sg[nents - 1].length += PAGE_SIZE;
			continue;
		}
		sg[nents] = (struct scatterlist){};
		sg_set_page(&sg[nents++], page[i], PAGE_SIZE, 0);
	}
	sg_mark_end(&sg[nents - 1]);
	return nents;
}

/*
 * Does the device access the page itself?  Not if the mapping bounces (swiotlb,
 * confidential guests) or caches need maintenance: then data would need a sync around
 * every command.
 */
static bool nvme_pmap_reaches(struct device *dev, struct iommu_domain *domain,
			      struct scatterlist *sg)
{
	if (!dev_is_dma_coherent(dev))
		return false;
	if (domain && domain->type & __IOMMU_DOMAIN_PAGING)
		return iommu_iova_to_phys(domain, sg_dma_address(sg)) ==
		       sg_phys(sg);
	return dma_to_phys(dev, sg_dma_address(sg)) == sg_phys(sg);
}

/* Free a turn of lists, the last first.  The pages have been unmapped. */
static void nvme_pmap_free_some_lists(struct nvme_pmap_map *map)
{
	u32 turn = PMAP_LISTS_TURN;

	while (map->nr_lists && turn--) {
		struct pmap_list *list = &map->l.list[--map->nr_lists];
		size_t size = nvme_pmap_list_size(map, map->nr_lists);

		if (list->dma != DMA_MAPPING_ERROR)
			dma_unmap_single(map->pc->dev, list->dma, size,
					 DMA_TO_DEVICE);
		free_pages_exact(list->prp, size);
	}
}

/* Map a turn of lists.  They do not change any more, so they need no sync. */
static int nvme_pmap_map_some_lists(struct nvme_pmap_map *map)
{
	struct device *dev = map->pc->dev;
	u32 turn = PMAP_LISTS_TURN;

	lockdep_assert_held(&map->pc->lock);

	while (map->lists_mapped < map->nr_lists && turn--) {
		u32 i = map->lists_mapped;
		struct pmap_list *list = &map->l.list[i];

		list->dma = dma_map_single_attrs(dev, list->prp,
						 nvme_pmap_list_size(map, i),
						 DMA_TO_DEVICE,
						 DMA_ATTR_NO_WARN);
		if (dma_mapping_error(dev, list->dma))
			return -ENOMEM;
		map->lists_mapped++;
	}
	return 0;
}

/* Free lists that the mapping does not own yet; the first @nr have memory. */
static void nvme_pmap_drop_lists(const struct nvme_pmap_map *map,
				 struct pmap_list *list, u32 nr)
{
	while (nr--) {
		free_pages_exact(list[nr].prp, nvme_pmap_list_size(map, nr));
		cond_resched();
	}
	kvfree(list);
}

static struct pmap_list *nvme_pmap_alloc_lists(struct nvme_pmap_map *map,
					       u8 shift, u32 list_size)
{
	u32 nr = pmap_nr_lists(map->l.nr_slots, shift), i;
	/* fail rather than run the OOM killer */
	gfp_t gfp = GFP_KERNEL_ACCOUNT | __GFP_ZERO | __GFP_NOWARN;
	struct pmap_list *list;

	map->l.list_shift = shift;
	map->l.list_slots = 1u << shift;
	map->l.list_mask = map->l.list_slots - 1;
	map->list_size = list_size;
	/* a smaller block will do: do not reclaim hard for a large one */
	gfp |= list_size > PAGE_SIZE ? __GFP_NORETRY : __GFP_RETRY_MAYFAIL;

	/*
	 * One more element, zeroed: after a mispredicted bounds check, a command may
	 * read the slot after the last one.
	 */
	list = kvcalloc(nr + 1, sizeof(*list),
			nvme_pmap_gfp(map->adopted) | __GFP_NOWARN);
	if (!list)
		return NULL;
	for (i = 0; i < nr && !fatal_signal_pending(current); i++) {
		list[i].prp = alloc_pages_exact(nvme_pmap_list_size(map, i),
						gfp);
		if (!list[i].prp)
			break;
		list[i].dma = DMA_MAPPING_ERROR;
		cond_resched();
	}
	if (i == nr)
		return list;
	nvme_pmap_drop_lists(map, list, i);
	return NULL;
}

/*
 * SGL blocks are as large as memory allows, since slices across two blocks are slow.
 * @smaller: if memory is short, try smaller blocks, of which more are needed.
 */
static struct pmap_list *nvme_pmap_alloc_form(struct nvme_pmap_map *map,
					      bool smaller)
{
	u8 shift = PMAP_SGL_MAX_SHIFT;
	struct pmap_list *list;
	u32 bytes;

	if (map->l.form == NVME_PMAP_FORM_PRP)
		return nvme_pmap_alloc_lists(map, PMAP_PRP_SHIFT,
					     PMAP_SLOT_SIZE);
	do {
		bytes = sizeof(struct nvme_sgl_desc) << shift;
		list = nvme_pmap_alloc_lists(map, shift, bytes);
	} while (!list && smaller && bytes > PAGE_SIZE && shift--);
	return list;
}

static void nvme_pmap_take_lists(struct nvme_pmap_map *map,
				 struct pmap_list *list)
{
	lockdep_assert_held(&map->pc->lock);

	map->l.list = list;
	map->nr_lists = pmap_nr_lists(map->l.nr_slots, map->l.list_shift);
}

/*
 * Make sure that there are lists.  Return: 0, -ENOMEM, or -EAGAIN: there are so many,
 * or memory is so short, that nvme_pmap_get_lists() must allocate them without the
 * lock.
 */
static int nvme_pmap_need_lists(struct nvme_pmap_map *map)
{
	bool prp = map->l.form == NVME_PMAP_FORM_PRP;
	struct pmap_list *list;

	if (map->l.list)
		return 0;
	if (pmap_nr_lists(map->l.nr_slots,
			  prp ? PMAP_PRP_SHIFT : PMAP_SGL_MAX_SHIFT) >
	    PMAP_LISTS_TURN)
		return -EAGAIN;
	list = nvme_pmap_alloc_form(map, false);
	if (!list)
		return prp ? -ENOMEM : -EAGAIN;
	nvme_pmap_take_lists(map, list);
	return 0;
}

/* Allocate lists without the lock, and free them if the mapping cannot own them. */
static int nvme_pmap_get_lists(struct nvme_pmap_map *map)
{
	struct pmap_list *list = nvme_pmap_alloc_form(map, true);
	int ret = 0;

	if (!list)
		return fatal_signal_pending(current) ? -EINTR : -ENOMEM;
	mutex_lock(&map->pc->lock);
	if (map->pc->dead)
		ret = -ENODEV;
	else
		nvme_pmap_take_lists(map, list);
	mutex_unlock(&map->pc->lock);
	if (ret)
		nvme_pmap_drop_lists(map, list,
				     pmap_nr_lists(map->l.nr_slots,
						   map->l.list_shift));
	return ret;
}

/* Go over from one run to a list, with @slots slots that were one run. */
static int nvme_pmap_start_sgl(struct nvme_pmap_map *map, u32 slots)
{
	int ret = nvme_pmap_need_lists(map);

	if (ret)
		return ret;
	map->l.form = NVME_PMAP_FORM_SGL_LIST;
	pmap_fill_lists(&map->l, 0, map->l.base, slots);
	return 0;
}

/*
 * Count a mapping in the PRP form, before a command can name the buffer.  Either a
 * task that calls nvme_pmap_change_formats() then reads this count and waits for
 * commands, or the commands on this mapping read the stale format.
 */
static void nvme_pmap_count_prp(struct nvme_pmap_map *map)
{
	if (map->prp)
		return;
	map->prp = true;
	atomic_inc(&map->pc->prp);
	/* pairs with the smp_mb() in nvme_pmap_change_formats() */
	smp_mb__after_atomic();
}

/*
 * The order of choice is one run, SGL list, PRP list.  An SGL
 * buffer begins as one run and goes over to a list at the first break.
 */
static int nvme_pmap_start_lists(struct nvme_pmap_map *map, u32 flags)
{
	lockdep_assert_held(&map->pc->lock);

	if (flags & NVME_PMAP_REG_PRP ||
	    !nvme_ctrl_sgl_supported(map->pc->ctrl)) {
		map->l.form = NVME_PMAP_FORM_PRP;
		nvme_pmap_count_prp(map);
		return nvme_pmap_need_lists(map);
	}
	map->l.form = NVME_PMAP_FORM_SGL_RUN;
	if (!(flags & NVME_PMAP_REG_SGL_LIST)) {
		map->l.run_above = PMAP_RUN_ALL;
		return 0;
	}
	return nvme_pmap_start_sgl(map, 0);
}

/* Record that @nr slots from @slot on are at @dma. */
static int nvme_pmap_record_run(struct nvme_pmap_map *map, u32 slot, u64 dma,
				u32 nr)
{
	struct pmap_layout *l = &map->l;
	int ret;

	if (!slot)
		l->base = dma;
	if (slot && dma != map->next_dma) {
		l->run_above = pmap_break_run(l->run_above,
					      slot + l->run_phase);
		if (l->form == NVME_PMAP_FORM_SGL_RUN) {
			ret = nvme_pmap_start_sgl(map, slot);
			if (ret)
				return ret;
		}
	}
	map->next_dma = dma + ((u64)nr << PMAP_SLOT_SHIFT);
	if (l->form != NVME_PMAP_FORM_SGL_RUN)
		pmap_fill_lists(l, slot, dma, nr);
	return 0;
}

static int nvme_pmap_note_chunk(struct nvme_pmap_map *map, u32 first,
				const struct sg_table *sgt)
{
	struct iommu_domain *domain = iommu_get_domain_for_dev(map->pc->dev);
	u32 slot = first * PMAP_SLOTS_PER_PAGE, i, nr;
	struct scatterlist *sg = sgt->sgl;
	int ret;

	/* an untrusted device: the IOMMU code maps it page by page, and marks that */
	if (sg_dma_is_swiotlb(sg))
		return -ENXIO;
	/* one run, or a segment per entry: unmapping can rebuild no other */
	if (sgt->nents != (map->chunk_dma ? 1 : sgt->orig_nents))
		return -ENXIO;

	for (i = 0; i < sgt->nents; i++, sg++, slot += nr) {
		nr = sg_dma_len(sg) >> PMAP_SLOT_SHIFT;
		/* one bounced segment is enough to corrupt data silently */
		if (!nvme_pmap_reaches(map->pc->dev, domain, sg))
			return -ENXIO;
		ret = nvme_pmap_record_run(map, slot, sg_dma_address(sg), nr);
		if (ret)
			return ret;
	}
	if (map->chunk_dma)
		map->chunk_dma[map->nr_chunks] = sg_dma_address(sgt->sgl);
	map->nr_chunks++;
	return 0;
}

static int nvme_pmap_map_chunk(struct nvme_pmap_map *map, u32 first, u32 nr)
{
	struct device *dev = map->pc->dev;
	struct sg_table sgt = { .sgl = map->pc->scratch };
	u64 next = map->next_dma;
	int ret;

	lockdep_assert_held(&map->pc->lock);

	sgt.orig_nents = nvme_pmap_fill_sg(map, first, nr);
	ret = dma_map_sgtable(dev, &sgt, DMA_BIDIRECTIONAL, PMAP_DMA_ATTRS);
	if (ret)
		return ret == -ENOMEM ? ret : -ENXIO;
	ret = nvme_pmap_note_chunk(map, first, &sgt);
	if (!ret) {
		map->nr_mapped += nr;
		return 0;
	}
	dma_unmap_sgtable(dev, &sgt, DMA_BIDIRECTIONAL, PMAP_DMA_ATTRS);
	/* the caller may map the chunk again, with lists */
	map->next_dma = next;
	return ret;
}

static void nvme_pmap_unmap_chunk(struct nvme_pmap_map *map, u32 chunk,
				  u32 first, u32 nr)
{
	struct sg_table sgt = { .sgl = map->pc->scratch };
	struct device *dev = map->pc->dev;
	struct scatterlist *sg = sgt.sgl;
	u32 i;

	sgt.orig_nents = nvme_pmap_fill_sg(map, first, nr);
	/* as nvme_pmap_note_chunk() found it; after a run, entries have no length */
	if (map->chunk_dma) {
		sg_dma_address(sg) = map->chunk_dma[chunk];
		sg_dma_len(sg) = nr << PAGE_SHIFT;
	}
	for (i = 0; i < sgt.orig_nents && !map->chunk_dma; i++, sg++) {
		sg_dma_address(sg) = phys_to_dma(dev, sg_phys(sg));
		sg_dma_len(sg) = sg->length;
	}
	dma_unmap_sgtable(dev, &sgt, DMA_BIDIRECTIONAL, PMAP_DMA_ATTRS);
}

/**
 * nvme_pmap_unmap_some - unmap one chunk of pages, or else free a turn of lists
 * @map: the mapping
 *
 * Context: pc->lock held, so that the device stays.
 *
 * Return: whether everything is unmapped and freed.
 */
bool nvme_pmap_unmap_some(struct nvme_pmap_map *map)
{
	u32 nr = min(nvme_pmap_chunk_pages(map, map->nr_unmapped),
		     map->nr_mapped - map->nr_unmapped);

	lockdep_assert_held(&map->pc->lock);

	if (nr) {
		nvme_pmap_unmap_chunk(map, map->chunks_unmapped++,
				      map->nr_unmapped, nr);
		map->nr_unmapped += nr;
	} else {
		nvme_pmap_free_some_lists(map);
	}
	return map->nr_unmapped == map->nr_mapped && !map->nr_lists;
}

/* With an IOMMU, unmapping takes each chunk's address from here, not from a list. */
static int nvme_pmap_alloc_chunks(struct nvme_pmap_map *map)
{
	struct iommu_domain *domain = iommu_get_domain_for_dev(map->pc->dev);

	if (map->chunk_dma || !domain ||
	    !(domain->type & __IOMMU_DOMAIN_PAGING))
		return 0;
	/* the first chunk and the last may both be partial */
	map->chunk_dma = kvcalloc(map->nr_pages / PMAP_CHUNK_PAGES + 2,
				  sizeof(*map->chunk_dma),
				  nvme_pmap_gfp(map->adopted) | __GFP_NOWARN);
	return map->chunk_dma ? 0 : -ENOMEM;
}

/* One step of making the mapping: the lists, or a chunk of pages. */
static int nvme_pmap_map_step(struct nvme_pmap_map *map, u32 flags)
{
	u32 done = map->nr_mapped;
	int ret;

	/* the controller may have been removed since the last step */
	if (map->pc->dead)
		return -ENODEV;
	if (fatal_signal_pending(current))
		return -EINTR;
	if (!done) {
		ret = nvme_pmap_alloc_chunks(map);
		if (!ret)
			ret = nvme_pmap_start_lists(map, flags);
		if (ret)
			return ret;
	}
	return nvme_pmap_map_chunk(map, done, nvme_pmap_chunk_pages(map, done));
}

/* Bytes of the lists, which the device reads. */
static u64 nvme_pmap_list_total(const struct nvme_pmap_map *map)
{
	u64 bytes = 0;
	u32 i;

	for (i = 0; i < map->nr_lists; i++)
		bytes += nvme_pmap_list_size(map, i);
	return bytes;
}

/* All pages are mapped: complete and charge the lists, then map a turn of them. */
static int nvme_pmap_finish_step(struct nvme_pmap_map *map)
{
	int ret = 0;

	if (map->pc->dead)
		return -ENODEV;
	if (!map->lists_mapped) {
		if (map->l.form == NVME_PMAP_FORM_PRP)
			pmap_put_guard(&map->l, map->pc->guard_dma);
		ret = nvme_pmap_charge_lists(map, nvme_pmap_list_total(map));
	}
	return ret ?: nvme_pmap_map_some_lists(map);
}

/**
 * nvme_pmap_dma_map - map the pages of a buffer, and write its lists
 * @map: the mapping, pinned
 * @flags: NVME_PMAP_REG_*
 *
 * Return: 0, or an errno: then nvme_pmap_unmap_some() ends the partial mapping.
 */
int nvme_pmap_dma_map(struct nvme_pmap_map *map, u32 flags)
{
	struct nvme_pmap_ctrl *pc = map->pc;
	int ret = 0;

	while (!ret && map->nr_mapped < map->nr_pages) {
		mutex_lock(&pc->lock);
		ret = nvme_pmap_map_step(map, flags);
		mutex_unlock(&pc->lock);
		if (ret == -EAGAIN)
			ret = nvme_pmap_get_lists(map);
		cond_resched();
	}
	while (!ret && map->lists_mapped < map->nr_lists) {
		mutex_lock(&pc->lock);
		ret = nvme_pmap_finish_step(map);
		mutex_unlock(&pc->lock);
		cond_resched();
	}
	if (ret == -ENXIO && !map->adopted)
		dev_warn_ratelimited(pc->dev,
				     "pmap: %s: the device cannot reach this memory without bouncing or cache maintenance, not registered\n",
				     current->comm);
	return ret;
}

/**
 * nvme_pmap_init_layout - set the fields that do not depend on the pages
 * @map: the mapping
 * @addr: user address of the buffer
 * @len: bytes of the buffer
 */
void nvme_pmap_init_layout(struct nvme_pmap_map *map, u64 addr, u64 len)
{
	u64 first = addr >> PAGE_SHIFT, last = (addr + len - 1) >> PAGE_SHIFT;

	map->nr_pages = last - first + 1;
	map->l.len = len;
	map->l.head = addr & ~PAGE_MASK;
	map->l.nr_slots = map->nr_pages * PMAP_SLOTS_PER_PAGE;
	map->l.run_above = PMAP_RUN_NONE;
	map->l.run_phase = first % PMAP_CHUNK_PAGES * PMAP_SLOTS_PER_PAGE;
	if (!(map->pc->ctrl->quirks & NVME_QUIRK_DMAPOOL_ALIGN_512))
		map->l.prp_end = PMAP_PRP_LAST;
}

/**
 * nvme_pmap_count_list_bytes - bytes of kernel memory that describe a buffer
 * @map: its mapping
 */
u64 nvme_pmap_count_list_bytes(const struct nvme_pmap_map *map)
{
	u64 bytes = sizeof(*map) + sizeof(struct nvme_pmap);

	bytes += nvme_pmap_list_total(map);
	bytes += map->nr_pages * sizeof(*map->pages);
	if (map->chunk_dma)
		bytes += map->nr_chunks * sizeof(*map->chunk_dma);
	if (map->nr_lists)
		bytes += (map->nr_lists + 1ull) * sizeof(*map->l.list);
	return bytes;
}

/**
 * nvme_pmap_unmap_rest - free the rest after pages and lists are gone; idempotent
 * @map: the mapping
 *
 * Context: pc->lock held, so that the device stays.
 */
void nvme_pmap_unmap_rest(struct nvme_pmap_map *map)
{
	lockdep_assert_held(&map->pc->lock);

	kvfree(map->chunk_dma);
	map->chunk_dma = NULL;
	kvfree(map->l.list);
	map->l.list = NULL;
	if (map->prp)
		atomic_dec(&map->pc->prp);
	map->prp = false;
}
