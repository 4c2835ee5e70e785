/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The layout of a persistent data pointer: the words of a command that describe a slice
 * of a registered buffer, and the lists that they point into.  Arithmetic only, no
 * kernel services: tests/layout compiles it in user space.
 *
 * A buffer is a row of slots, one per 4 KiB controller page.  Its bytes begin @head
 * bytes into slot 0.
 *
 * PRP.  List page h ("window" h) holds the addresses of slots 256h to 256h+511, so each
 * address is in two windows.  A list that begins at slot s is read from entry s % 256
 * of window s / 256.  It has at least 256 entries before entry 511, which a controller
 * may take for the pointer to another list (NVMe base specification, "Physical Region
 * Page Entry and List").  Entry 511 is never part of a transfer here.
 *
 * A PRP list is safe only if the controller transfers exactly the length that it was
 * built for.  With more, the controller runs past the end of the list, or takes a data
 * page for a list; with less, it may take the list for the second data page.
 *
 * SGL.  Blocks of 16-byte data block descriptors, one per slot.  A segment must be
 * contiguous, so a slice that crosses blocks needs a list built for it.  So does a
 * slice whose ends are not on page boundaries.  If aligned groups of 2^n slots are
 * DMA-contiguous (run_above), a slice inside a group is a single descriptor in the
 * command itself.  These forms never fall back to PRPs: the controller checks the
 * length against the descriptors.
 */
#ifndef _NVME_PMAP_LAYOUT_H
#define _NVME_PMAP_LAYOUT_H

#ifdef __KERNEL__
#include <linux/nospec.h>
#include <linux/nvme.h>
#include <linux/types.h>
#include <uapi/linux/nvme_pmap.h>
#endif

#define PMAP_SLOT_SHIFT 12
#define PMAP_SLOT_SIZE	(1u << PMAP_SLOT_SHIFT)
#define PMAP_SLOT_MASK	(PMAP_SLOT_SIZE - 1)

#define PMAP_PRP_ENTRIES (PMAP_SLOT_SIZE / sizeof(__le64)) /* 512 */
#define PMAP_PRP_LAST	 (PMAP_PRP_ENTRIES - 1)
#define PMAP_PRP_SHIFT	 8 /* a window every 256 slots */

/* A run_above for one group that holds every slot number: the buffer is one run. */
#define PMAP_RUN_ALL (1u << 31)

/* A run_above for groups of one slot. */
#define PMAP_RUN_NONE (~0u)

/**
 * struct pmap_list - one list page (PRP) or block of descriptors (SGL)
 * @prp: PRP entries, CPU address
 * @sgl: SGL descriptors, CPU address
 * @dma: DMA address at which the device reads it
 */
struct pmap_list {
	union {
		__le64 *prp;
		struct nvme_sgl_desc *sgl;
	};
	u64 dma;
};

/**
 * struct pmap_layout - the part of a mapping that submissions read; constant
 * @len: bytes of the buffer
 * @head: bytes from the start of slot 0 to the start of the buffer
 * @nr_slots: slots that the buffer touches
 * @run_phase: added to a slot number before @run_above is applied
 * @run_above: mask of all bits from n on, if each group of 2^n slots is known to be one
 *	DMA-contiguous run
 * @list_mask: 2^list_shift - 1
 * @list_slots: 2^list_shift; kept as well, which saves a register
 * @prp_end: a PRP list that would end beyond this entry is built for the command:
 *	PMAP_PRP_LAST, or 0 where the controller wants lists that begin on a page
 *	boundary
 * @list_shift: log2 of the slots from one list to the next
 * @form: enum nvme_pmap_form
 * @base: DMA address of slot 0, if the buffer is one run
 * @list: the lists, slots / 2^list_shift rounded up; NULL if the buffer is one run
 */
struct pmap_layout {
	u64 len;
	u32 head;
	u32 nr_slots;
	u32 run_phase;
	u32 run_above;
	u32 list_mask;
	u32 list_slots;
	u32 prp_end;
	u8 list_shift;
	u8 form;
	u64 base;
	struct pmap_list *list;
};

/* How a command's data pointer is made; indexes the counters. */
enum pmap_kind {
	PMAP_KIND_PRP,
	PMAP_KIND_SGL_LIST,
	PMAP_KIND_SGL_RUN,
	PMAP_KIND_BUILT, /* the caller must build a list */
	PMAP_KINDS
};

/* A slice in slots: the first, their number, the byte at which it begins. */
struct pmap_slice {
	u32 first;
	u32 nr;
	u32 in_page;
	u32 len;
};

/*
 * Does the slice lie in the buffer?  @offset may be any number; it is masked, so that a
 * wrong guess of this check does not index the lists.
 */
static __always_inline bool pmap_inside(const struct pmap_layout *l,
					u64 *offset, u32 len)
{
	if (unlikely(*offset >= l->len))
		return false;
	*offset = array_index_nospec(*offset, l->len);
	return likely(len <= l->len - *offset);
}

/* @offset + @len must lie inside the buffer; @len must not be zero. */
static inline struct pmap_slice pmap_slice(const struct pmap_layout *l,
					   u64 offset, u32 len)
{
	u64 start = l->head + offset;
	struct pmap_slice s = {
		.first = start >> PMAP_SLOT_SHIFT,
		.in_page = start & PMAP_SLOT_MASK,
		.len = len,
	};

	s.nr = (s.in_page + len + PMAP_SLOT_MASK) >> PMAP_SLOT_SHIFT;
	return s;
}

/* Number of windows or blocks for @nr_slots slots at @list_shift. */
static inline u32 pmap_nr_lists(u32 nr_slots, u8 list_shift)
{
	return (nr_slots + (1u << list_shift) - 1) >> list_shift;
}

static inline u64 pmap_slot_prp(const struct pmap_layout *l, u32 slot)
{
	const struct pmap_list *list = &l->list[slot >> PMAP_PRP_SHIFT];

	return le64_to_cpu(list->prp[slot & ((1u << PMAP_PRP_SHIFT) - 1)]);
}

static inline u64 pmap_slot_sgl(const struct pmap_layout *l, u32 slot)
{
	const struct pmap_list *list = &l->list[slot >> l->list_shift];

	return le64_to_cpu(list->sgl[slot & l->list_mask].addr);
}

/* The DMA address of a slot, in any form. */
static inline u64 pmap_slot_dma(const struct pmap_layout *l, u32 slot)
{
	switch (l->form) {
	case NVME_PMAP_FORM_PRP:
		return pmap_slot_prp(l, slot);
	case NVME_PMAP_FORM_SGL_LIST:
		return pmap_slot_sgl(l, slot);
	default:
		return l->base + ((u64)slot << PMAP_SLOT_SHIFT);
	}
}

/* A descriptor without its length. */
static inline void pmap_set_sgl_at(struct nvme_sgl_desc *sgl, u64 addr, u8 type)
{
	sgl->addr = cpu_to_le64(addr);
	sgl->rsvd[0] = 0;
	sgl->rsvd[1] = 0;
	sgl->rsvd[2] = 0;
	sgl->type = type << 4;
}

static inline void pmap_set_sgl(struct nvme_sgl_desc *sgl, u64 addr, u32 len,
				u8 type)
{
	pmap_set_sgl_at(sgl, addr, type);
	sgl->length = cpu_to_le32(len);
}

/* The data pointer of a slice that begins @in_page bytes into slot @first. */
static __always_inline enum pmap_kind pmap_dptr_prp(const struct pmap_layout *l,
						    u32 first, u32 in_page,
						    u32 len,
						    union nvme_data_ptr *dptr)
{
	u32 next = first + 1, i = next & ((1u << PMAP_PRP_SHIFT) - 1);
	/* slots after the first */
	u32 more = (in_page + len - 1) >> PMAP_SLOT_SHIFT;

	dptr->prp1 = cpu_to_le64(pmap_slot_prp(l, first) + in_page);
	if (!more) {
		dptr->prp2 = 0;
		return PMAP_KIND_PRP;
	}
	if (more == 1) {
		dptr->prp2 = cpu_to_le64(pmap_slot_prp(l, next));
		return PMAP_KIND_PRP;
	}
	/* entries from i on, none of them the last of the page */
	if (unlikely(i + more > l->prp_end))
		return PMAP_KIND_BUILT;
	dptr->prp2 = cpu_to_le64(l->list[next >> PMAP_PRP_SHIFT].dma +
				 i * sizeof(__le64));
	return PMAP_KIND_PRP;
}

/* Are @more slots after @first in the same run?  @more must not be zero. */
static __always_inline bool pmap_in_run(const struct pmap_layout *l, u32 first,
					u32 more)
{
	/* minus the number of slots to the end of the group */
	u32 end = (first + l->run_phase) | l->run_above;

	return end + more >= more;
}

static __always_inline enum pmap_kind pmap_dptr_sgl(const struct pmap_layout *l,
						    u32 first, u32 in_page,
						    u32 len,
						    union nvme_data_ptr *dptr)
{
	const struct pmap_list *list = &l->list[first >> l->list_shift];
	u32 i = first & l->list_mask, last = in_page + len - 1;
	u32 more = last >> PMAP_SLOT_SHIFT; /* slots after the first */

	/* first, so that it needs no register later */
	dptr->sgl.length = cpu_to_le32(len);
	if (more && !pmap_in_run(l, first, more)) {
		if (unlikely((in_page | ~last) & PMAP_SLOT_MASK ||
			     i + more >= l->list_slots))
			return PMAP_KIND_BUILT;
		pmap_set_sgl(&dptr->sgl,
			     list->dma + i * sizeof(struct nvme_sgl_desc),
			     (more + 1) * sizeof(struct nvme_sgl_desc),
			     NVME_SGL_FMT_LAST_SEG_DESC);
		return PMAP_KIND_SGL_LIST;
	}
	pmap_set_sgl_at(&dptr->sgl, le64_to_cpu(list->sgl[i].addr) + in_page,
			NVME_SGL_FMT_DATA_DESC);
	return PMAP_KIND_SGL_RUN;
}

/**
 * pmap_dptr - the data pointer of a slice
 * @l: the buffer
 * @offset: bytes from its start
 * @len: bytes; not zero, and @offset + @len inside the buffer
 * @dptr: filled in.  For PMAP_KIND_BUILT the caller fills it with pmap_fill_prp() or
 *	pmap_fill_sgl(), according to the buffer's form
 *
 * Return: the kind.  Every form but PRP needs NVME_CMD_SGL_METABUF in the command.
 */
static __always_inline enum pmap_kind pmap_dptr(const struct pmap_layout *l,
						u64 offset, u32 len,
						union nvme_data_ptr *dptr)
{
	u64 start = l->head + offset;
	u32 first = start >> PMAP_SLOT_SHIFT, in_page = start & PMAP_SLOT_MASK;

	if (l->form == NVME_PMAP_FORM_SGL_LIST)
		return pmap_dptr_sgl(l, first, in_page, len, dptr);
	if (l->form == NVME_PMAP_FORM_PRP)
		return pmap_dptr_prp(l, first, in_page, len, dptr);
	pmap_set_sgl(&dptr->sgl, l->base + start, len, NVME_SGL_FMT_DATA_DESC);
	return PMAP_KIND_SGL_RUN;
}

/* Number of list pages for a PRP list that is built for @nr slots. */
static inline u32 pmap_built_pages(u32 nr)
{
	u32 entries = nr - 1; /* the command itself has the first */

	/* every page but the last uses its last entry for the chain */
	if (entries <= PMAP_PRP_ENTRIES)
		return 1;
	return (entries - 2) / PMAP_PRP_LAST + 1;
}

/**
 * pmap_fill_prp - write the PRP list of a slice into fresh list pages
 * @l: the buffer
 * @s: the slice, of three slots or more
 * @page: pmap_built_pages() pages of PMAP_PRP_ENTRIES entries
 * @dptr: filled in
 */
static inline void pmap_fill_prp(const struct pmap_layout *l,
				 const struct pmap_slice *s,
				 const struct pmap_list *page,
				 union nvme_data_ptr *dptr)
{
	u32 slot = s->first + 1, end = s->first + s->nr, i = 0;

	dptr->prp1 = cpu_to_le64(pmap_slot_prp(l, s->first) + s->in_page);
	dptr->prp2 = cpu_to_le64(page->dma);
	for (; slot < end; slot++) {
		if (i == PMAP_PRP_LAST && slot + 1 < end) {
			page->prp[i] = cpu_to_le64(page[1].dma);
			page++;
			i = 0;
		}
		page->prp[i++] = cpu_to_le64(pmap_slot_prp(l, slot));
	}
}

/**
 * pmap_fill_sgl - write the SGL segment of a slice
 * @l: the buffer
 * @s: the slice
 * @list: room for s->nr descriptors, contiguous for the device
 * @dptr: filled in
 */
static inline void pmap_fill_sgl(const struct pmap_layout *l,
				 const struct pmap_slice *s,
				 const struct pmap_list *list,
				 union nvme_data_ptr *dptr)
{
	u32 left = s->len, at = s->in_page, i;

	pmap_set_sgl(&dptr->sgl, list->dma, s->nr * sizeof(*list->sgl),
		     NVME_SGL_FMT_LAST_SEG_DESC);
	for (i = 0; i < s->nr; i++, at = 0) {
		u32 len = PMAP_SLOT_SIZE - at;

		if (len > left)
			len = left;
		pmap_set_sgl(&list->sgl[i], pmap_slot_sgl(l, s->first + i) + at,
			     len, NVME_SGL_FMT_DATA_DESC);
		left -= len;
	}
}

/**
 * pmap_fill_lists - write DMA-contiguous slots into the kept lists
 * @l: the buffer, in a form that has lists
 * @slot: the first
 * @dma: its DMA address
 * @nr: slots
 */
static inline void pmap_fill_lists(const struct pmap_layout *l, u32 slot,
				   u64 dma, u32 nr)
{
	for (; nr; nr--, slot++, dma += PMAP_SLOT_SIZE) {
		u32 h = slot >> l->list_shift, i = slot & l->list_mask;

		if (l->form == NVME_PMAP_FORM_SGL_LIST) {
			pmap_set_sgl(&l->list[h].sgl[i], dma, PMAP_SLOT_SIZE,
				     NVME_SGL_FMT_DATA_DESC);
			continue;
		}
		l->list[h].prp[i] = cpu_to_le64(dma);
		/* the second half of the previous window */
		if (h)
			l->list[h - 1].prp[i + (1u << PMAP_PRP_SHIFT)] =
				cpu_to_le64(dma);
	}
}

/**
 * pmap_put_guard - point the entries of PRP windows past the end at a page
 * @l: the buffer, in the PRP form
 * @guard: DMA address of the page
 */
static inline void pmap_put_guard(const struct pmap_layout *l, u64 guard)
{
	u32 nr = pmap_nr_lists(l->nr_slots, PMAP_PRP_SHIFT), h, i;

	/* the last window, and the second half of the previous one */
	for (h = nr > 1 ? nr - 2 : 0; h < nr; h++)
		for (i = l->nr_slots - (h << PMAP_PRP_SHIFT);
		     i < PMAP_PRP_ENTRIES; i++)
			l->list[h].prp[i] = cpu_to_le64(guard);
}

/**
 * pmap_break_run - the new run_above when a run ends
 * @above: run_above so far
 * @at: slot that does not continue the run, plus run_phase: groups are aligned to huge
 *	pages rather than to the start of the buffer
 *
 * Return: run_above of the largest groups, no larger than before, such that one begins
 * at @at.
 */
static inline u32 pmap_break_run(u32 above, u32 at)
{
	while (at & ~above)
		above |= above >> 1;
	return above;
}

#endif /* _NVME_PMAP_LAYOUT_H */
