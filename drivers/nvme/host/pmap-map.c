// SPDX-License-Identifier: GPL-2.0
/*
 * Making and ending a persistent mapping.
 *
 * Pages are DMA-mapped in chunks that are aligned in the user's address space,
 * so that with an IOMMU every chunk is one run of I/O virtual addresses.  The
 * scatterlist that the DMA API wants for unmapping is not kept (it would double
 * the memory per page): it is written again into the controller's scratch from
 * the pages and from the addresses that the lists hold anyway.
 */
#include <linux/dma-mapping.h>
#include <linux/pfn.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "nvme.h"
#include "pmap.h"

/* A block of SGL descriptors: 128 KiB, 8192 slots, 32 MiB of buffer. */
#define PMAP_SGL_MAX_SHIFT	13

/* The chunk that begins at page @first: up to the next aligned address. */
static u32 nvme_pmap_chunk_pages(const struct nvme_pmap *pmap, u32 first)
{
	u32 phase = pmap->l.run_phase / PMAP_SLOTS_PER_PAGE + first;
	u32 room = PMAP_CHUNK_PAGES - phase % PMAP_CHUNK_PAGES;

	return min(room, pmap->nr_pages - first);
}

/*
 * Describe the pages of a chunk, neighbours as one entry.  The same pages give
 * the same entries each time, which is what unmapping relies on.
 */
static u32 nvme_pmap_fill_sg(struct nvme_pmap *pmap, u32 first, u32 nr)
{
	unsigned long boundary = dma_get_seg_boundary(pmap->pc->dev) >> PAGE_SHIFT;
	struct scatterlist *sg = pmap->pc->scratch;
	struct page **page = pmap->pages + first;
	unsigned long pfn, next = 0;
	u32 i, nents = 0;

	sg_init_table(sg, nr);
	for (i = 0; i < nr; i++, next = pfn + 1) {
		pfn = page_to_pfn(page[i]);
		if (i && pfn == next && (pfn & boundary))
			sg[nents - 1].length += PAGE_SIZE;
		else
			sg_set_page(&sg[nents++], page[i], PAGE_SIZE, 0);
	}
	sg_mark_end(&sg[nents - 1]);
	return nents;
}

/* Note the DMA address of every slot of a chunk; all must be usable as is. */
static int nvme_pmap_note_dma(struct nvme_pmap *pmap, u32 first,
			      struct sg_table *sgt)
{
	u64 *dma = pmap->slot_dma + first * PMAP_SLOTS_PER_PAGE;
	struct scatterlist *sg;
	u32 i, off;

	for_each_sgtable_dma_sg(sgt, sg, i) {
		dma_addr_t addr = sg_dma_address(sg);

		/* one bounced segment is enough to corrupt data silently */
		if (dma_need_sync(pmap->pc->dev, addr))
			return -ENXIO;
		for (off = 0; off < sg_dma_len(sg); off += PMAP_SLOT_SIZE)
			*dma++ = addr + off;
	}
	return 0;
}

static int nvme_pmap_map_chunk(struct nvme_pmap *pmap, u32 first, u32 nr)
{
	struct device *dev = pmap->pc->dev;
	struct sg_table sgt = { .sgl = pmap->pc->scratch };
	int ret;

	lockdep_assert_held(&pmap->pc->lock);

	sgt.orig_nents = nvme_pmap_fill_sg(pmap, first, nr);
	ret = dma_map_sgtable(dev, &sgt, DMA_BIDIRECTIONAL, DMA_ATTR_NO_WARN);
	if (ret)
		return ret == -ENOMEM ? ret : -ENXIO;

	ret = nvme_pmap_note_dma(pmap, first, &sgt);
	/* all merged, or none: anything between could not be written again */
	if (!ret && sgt.nents != 1) {
		if (sgt.nents == sgt.orig_nents)
			set_bit(PMAP_CHUNK_SPLIT, &pmap->flags);
		else
			ret = -ENXIO;
	}
	if (ret) {
		dma_unmap_sgtable(dev, &sgt, DMA_BIDIRECTIONAL, 0);
		return ret;
	}
	pmap->nr_mapped += nr;
	return 0;
}

static u64 nvme_pmap_page_dma(const struct nvme_pmap *pmap, u32 page)
{
	u32 slot = page * PMAP_SLOTS_PER_PAGE;

	return pmap->slot_dma ? pmap->slot_dma[slot] :
				pmap_slot_dma(&pmap->l, slot);
}

static void nvme_pmap_unmap_chunk(struct nvme_pmap *pmap, u32 first, u32 nr)
{
	struct sg_table sgt = { .sgl = pmap->pc->scratch };
	bool split = test_bit(PMAP_CHUNK_SPLIT, &pmap->flags);
	struct scatterlist *sg;
	u32 i, page = first;

	sgt.orig_nents = nvme_pmap_fill_sg(pmap, first, nr);
	sgt.nents = split ? sgt.orig_nents : 1;
	for_each_sgtable_dma_sg(&sgt, sg, i) {
		sg_dma_address(sg) = nvme_pmap_page_dma(pmap, page);
		sg_dma_len(sg) = split ? sg->length : nr << PAGE_SHIFT;
		page += sg->length >> PAGE_SHIFT;
	}
	dma_unmap_sgtable(pmap->pc->dev, &sgt, DMA_BIDIRECTIONAL, 0);
}

static void nvme_pmap_unmap(struct nvme_pmap *pmap)
{
	u32 first = 0, nr;

	/* in the same steps as it was mapped */
	for (; pmap->nr_mapped; pmap->nr_mapped -= nr, first += nr) {
		nr = min(nvme_pmap_chunk_pages(pmap, first), pmap->nr_mapped);
		nvme_pmap_unmap_chunk(pmap, first, nr);
	}
}

/* Map every page; the controller may be removed between two chunks. */
static int nvme_pmap_map(struct nvme_pmap *pmap)
{
	struct nvme_pmap_ctrl *pc = pmap->pc;
	int ret = 0;
	u32 nr;

	while (!ret && pmap->nr_mapped < pmap->nr_pages) {
		mutex_lock(&pc->lock);
		nr = nvme_pmap_chunk_pages(pmap, pmap->nr_mapped);
		if (pc->dead)
			ret = -ENODEV;
		else if (fatal_signal_pending(current))
			ret = -EINTR;
		else
			ret = nvme_pmap_map_chunk(pmap, pmap->nr_mapped, nr);
		mutex_unlock(&pc->lock);
		cond_resched();
	}
	if (ret == -ENXIO)
		dev_warn_ratelimited(pc->dev,
			"pmap: %s: the device cannot reach this memory without bouncing or cache maintenance, not registered\n",
			current->comm);
	return ret;
}

/* Bytes of list @i: all are alike but the last block of SGL descriptors. */
static size_t nvme_pmap_list_size(const struct nvme_pmap *pmap, u32 i)
{
	u32 slots = pmap->l.nr_slots - (i << pmap->l.list_shift);
	size_t bytes = slots * sizeof(struct nvme_sgl_desc);

	if (pmap->l.form == NVME_PMAP_FORM_PRP)
		return pmap->list_bytes;
	return min_t(size_t, PAGE_ALIGN(bytes), pmap->list_bytes);
}

static void nvme_pmap_free_lists(struct nvme_pmap *pmap)
{
	while (pmap->nr_lists) {
		struct pmap_list *list = &pmap->l.list[--pmap->nr_lists];

		dma_free_coherent(pmap->pc->dev,
				  nvme_pmap_list_size(pmap, pmap->nr_lists),
				  list->prp, list->dma);
	}
	kvfree(pmap->l.list);
	pmap->l.list = NULL;
}

static int nvme_pmap_alloc_lists(struct nvme_pmap *pmap)
{
	u32 nr = pmap_nr_lists(pmap->l.nr_slots, pmap->l.list_shift);
	gfp_t gfp = GFP_KERNEL | __GFP_NOWARN;
	dma_addr_t dma;

	/* a smaller block will do: don't press memory for a large one */
	if (pmap->list_bytes > PAGE_SIZE)
		gfp |= __GFP_NORETRY;

	pmap->l.list_mask = (1u << pmap->l.list_shift) - 1;
	pmap->l.list = kvcalloc(nr, sizeof(*pmap->l.list), GFP_KERNEL_ACCOUNT);
	if (!pmap->l.list)
		return -ENOMEM;
	for (; pmap->nr_lists < nr; pmap->nr_lists++) {
		struct pmap_list *list = &pmap->l.list[pmap->nr_lists];

		list->prp = dma_alloc_coherent(pmap->pc->dev,
				nvme_pmap_list_size(pmap, pmap->nr_lists),
				&dma, gfp);
		if (!list->prp) {
			nvme_pmap_free_lists(pmap);
			return -ENOMEM;
		}
		list->dma = dma;
	}
	return 0;
}

static int nvme_pmap_alloc_prp(struct nvme_pmap *pmap)
{
	pmap->l.list_shift = PMAP_PRP_SHIFT;
	pmap->list_bytes = PMAP_SLOT_SIZE;
	return nvme_pmap_alloc_lists(pmap);
}

/* Blocks as large as memory allows: slices across two blocks are slow. */
static int nvme_pmap_alloc_sgl(struct nvme_pmap *pmap)
{
	u8 shift = PMAP_SGL_MAX_SHIFT;
	int ret;

	do {
		pmap->l.list_shift = shift;
		pmap->list_bytes = sizeof(struct nvme_sgl_desc) << shift;
		ret = nvme_pmap_alloc_lists(pmap);
	} while (ret && pmap->list_bytes > PAGE_SIZE && shift--);
	return ret;
}

/* Design, section 4: one run, SGL list, PRP list, in this order. */
static u8 nvme_pmap_choose_form(struct nvme_pmap *pmap, u32 flags)
{
	if (flags & NVME_PMAP_REG_PRP ||
	    !nvme_ctrl_sgl_supported(pmap->pc->ctrl))
		return NVME_PMAP_FORM_PRP;
	if (flags & NVME_PMAP_REG_SGL_LIST) {
		pmap->l.run_shift = 0;
		return NVME_PMAP_FORM_SGL_LIST;
	}
	return pmap->l.run_shift == PMAP_RUN_ALL ? NVME_PMAP_FORM_SGL_RUN :
						   NVME_PMAP_FORM_SGL_LIST;
}

static int nvme_pmap_write_lists(struct nvme_pmap *pmap, u32 flags)
{
	struct pmap_layout *l = &pmap->l;
	u64 *dma = pmap->slot_dma;
	int ret = 0;

	lockdep_assert_held(&pmap->pc->lock);

	l->run_shift = pmap_find_runs(dma, l->nr_slots, l->run_phase);
	l->form = nvme_pmap_choose_form(pmap, flags);
	if (l->form == NVME_PMAP_FORM_PRP)
		ret = nvme_pmap_alloc_prp(pmap);
	else if (l->form == NVME_PMAP_FORM_SGL_LIST)
		ret = nvme_pmap_alloc_sgl(pmap);
	if (ret)
		return ret;

	l->base = dma[0];
	if (l->list)
		pmap_write_lists(l, dma, pmap->pc->guard_dma);
	/* from here on the lists are the record of the mapping */
	pmap->slot_dma = NULL;
	return 0;
}

static int nvme_pmap_map_and_list(struct nvme_pmap *pmap, u32 flags)
{
	struct nvme_pmap_ctrl *pc = pmap->pc;
	u64 *dma;
	int ret;

	dma = kvmalloc_array(pmap->l.nr_slots, sizeof(*dma), GFP_KERNEL_ACCOUNT);
	if (!dma)
		return -ENOMEM;
	pmap->slot_dma = dma;
	ret = nvme_pmap_map(pmap);

	mutex_lock(&pc->lock);
	if (!ret)
		ret = pc->dead ? -ENODEV : nvme_pmap_write_lists(pmap, flags);
	if (ret)
		nvme_pmap_unmap(pmap);
	pmap->slot_dma = NULL;
	mutex_unlock(&pc->lock);
	kvfree(dma);
	return ret;
}

/* From now on the removal of the controller ends the mapping. */
static int nvme_pmap_enlist(struct nvme_pmap *pmap)
{
	struct nvme_pmap_ctrl *pc = pmap->pc;
	int ret = -ENODEV;

	mutex_lock(&pc->lock);
	if (!pc->dead) {
		list_add_tail(&pmap->node, &pc->pmaps);
		ret = 0;
	}
	mutex_unlock(&pc->lock);
	return ret;
}

static void nvme_pmap_idle(struct percpu_ref *ref)
{
	complete_all(&container_of(ref, struct nvme_pmap, ref)->idle);
}

static void nvme_pmap_init_layout(struct nvme_pmap *pmap, u64 addr, u64 len)
{
	u64 first = addr >> PAGE_SHIFT, last = (addr + len - 1) >> PAGE_SHIFT;

	pmap->nr_pages = last - first + 1;
	pmap->l.len = len;
	pmap->l.head = addr & ~PAGE_MASK;
	pmap->l.nr_slots = pmap->nr_pages * PMAP_SLOTS_PER_PAGE;
	pmap->l.run_phase = first % PMAP_CHUNK_PAGES * PMAP_SLOTS_PER_PAGE;
	pmap->l.whole_lists =
		pmap->pc->ctrl->quirks & NVME_QUIRK_DMAPOOL_ALIGN_512;
}

/* Bytes of kernel memory that describe the buffer. */
static u64 nvme_pmap_count_kept(const struct nvme_pmap *pmap)
{
	u64 bytes = sizeof(*pmap) + pmap->nr_pages * sizeof(*pmap->pages);
	u32 i;

	for (i = 0; i < pmap->nr_lists; i++)
		bytes += sizeof(*pmap->l.list) + nvme_pmap_list_size(pmap, i);
	return bytes;
}

/**
 * nvme_pmap_create - pin and map a buffer and write its lists
 * @pc: the controller, prepared
 * @reg: the request, validated
 *
 * Return: the buffer, ready to be published, or an ERR_PTR.
 */
struct nvme_pmap *nvme_pmap_create(struct nvme_pmap_ctrl *pc,
				   const struct nvme_pmap_register *reg)
{
	struct nvme_pmap *pmap = kzalloc(sizeof(*pmap), GFP_KERNEL_ACCOUNT);
	int ret;

	if (!pmap)
		return ERR_PTR(-ENOMEM);
	pmap->pc = pc;
	INIT_LIST_HEAD(&pmap->node);
	init_completion(&pmap->idle);
	nvme_pmap_init_layout(pmap, reg->addr, reg->len);

	ret = percpu_ref_init(&pmap->ref, nvme_pmap_idle, 0, GFP_KERNEL_ACCOUNT);
	if (ret)
		goto free;
	ret = nvme_pmap_pin(pmap, reg->addr & PAGE_MASK);
	if (ret)
		goto exit_ref;
	ret = nvme_pmap_enlist(pmap);
	if (ret)
		goto unpin;
	ret = nvme_pmap_map_and_list(pmap, reg->flags);
	if (ret) {
		nvme_pmap_destroy(pmap);
		return ERR_PTR(ret);
	}
	pmap->kept = nvme_pmap_count_kept(pmap);
	return pmap;

unpin:
	nvme_pmap_unpin(pmap);
exit_ref:
	percpu_ref_exit(&pmap->ref);
free:
	kfree(pmap);
	return ERR_PTR(ret);
}

/**
 * nvme_pmap_kill - no new commands; @pmap->idle completes when the last ended
 * @pmap: the buffer; killing it twice is harmless
 */
void nvme_pmap_kill(struct nvme_pmap *pmap)
{
	if (!test_and_set_bit(PMAP_KILLED, &pmap->flags))
		percpu_ref_kill(&pmap->ref);
}

/**
 * nvme_pmap_strip - unmap and unpin a buffer that no command uses; idempotent
 * @pmap: the buffer
 *
 * Context: pc->lock held, so that the device stays.
 */
void nvme_pmap_strip(struct nvme_pmap *pmap)
{
	lockdep_assert_held(&pmap->pc->lock);

	list_del_init(&pmap->node);
	nvme_pmap_unmap(pmap);
	nvme_pmap_free_lists(pmap);
	nvme_pmap_unpin(pmap);
}

/**
 * nvme_pmap_destroy - the end of a buffer that no command uses
 * @pmap: the buffer; idle if it was killed, and no longer in the table
 */
void nvme_pmap_destroy(struct nvme_pmap *pmap)
{
	/* the removal of the controller may have killed it a moment ago */
	if (test_bit(PMAP_KILLED, &pmap->flags))
		wait_for_completion(&pmap->idle);
	mutex_lock(&pmap->pc->lock);
	nvme_pmap_strip(pmap);
	mutex_unlock(&pmap->pc->lock);
	percpu_ref_exit(&pmap->ref);
	/* a look-up may still be reading it to see that it is dead */
	kfree_rcu(pmap, rcu);
}
