// SPDX-License-Identifier: GPL-2.0
/*
 * The end of a buffer of NVME_PMAP_MAX_LEN, where a byte offset cut to 32 bits
 * would show.  Only the last lists exist; the data pointers are compared with
 * values computed by hand.
 */
#include <stdio.h>
#include <stdlib.h>

#include "far.h"
#include "buffer.h"

#define BASE	 0x0123000000000000ull
#define LIST_AT	 0x0456000000000000ull
#define NR_SLOTS ((u32)(NVME_PMAP_MAX_LEN / PMAP_SLOT_SIZE))

/* Slot addresses that differ from the addresses of a run in every slot. */
static u64 slot_at(u32 slot)
{
	return BASE + (u64)(NR_SLOTS - slot) * PMAP_SLOT_SIZE * 2;
}

static struct pmap_layout layout(u8 form, u8 list_shift, u32 list_bytes)
{
	struct pmap_layout l = {
		.len = NVME_PMAP_MAX_LEN,
		.nr_slots = NR_SLOTS,
		.form = form,
		.list_shift = list_shift,
		.list_mask = (1u << list_shift) - 1,
		.list_slots = 1u << list_shift,
		.prp_end = 511,
		.run_above = PMAP_RUN_NONE,
		.base = BASE,
	};
	u32 nr = pmap_nr_lists(NR_SLOTS, list_shift);

	l.list = calloc(nr, sizeof(*l.list));
	if (!l.list)
		exit(2);
	l.list->prp = calloc(3, list_bytes);
	if (!l.list->prp)
		exit(2);
	/* the last two, and zeroes for a wrong index */
	for (u32 i = 0; i < nr; i++) {
		l.list[i].dma = LIST_AT + (u64)i * list_bytes;
		l.list[i].prp = l.list->prp;
	}
	l.list[nr - 2].prp += list_bytes / 8;
	l.list[nr - 1].prp += list_bytes / 8 * 2;
	/* less than a list, so that none but these is written */
	for (u32 slot = NR_SLOTS - 200; slot < NR_SLOTS; slot++)
		pmap_fill_lists(&l, slot, slot_at(slot), 1);
	return l;
}

static void free_layout(struct pmap_layout *l)
{
	free(l->list[0].prp);
	free(l->list);
}

static int result(const char *name, bool good)
{
	printf("%s - the end of 512 GiB: %s%s\n", good ? "ok" : "not ok", name,
	       good ? "" : ": a wrong address");
	return !good;
}

static int far_run(void)
{
	struct pmap_layout l = {
		.len = NVME_PMAP_MAX_LEN - 8,
		.head = 8,
		.nr_slots = NR_SLOTS,
		.form = NVME_PMAP_FORM_SGL_RUN,
		.run_above = PMAP_RUN_ALL,
		.base = BASE,
	};
	union nvme_data_ptr dptr;
	u64 end = BASE + NVME_PMAP_MAX_LEN;

	return result("one run", pmap_dptr(&l, l.len - 12, 12, &dptr) == PMAP_KIND_SGL_RUN &&
					 le64toh(dptr.sgl.addr) == end - 12 &&
					 le32toh(dptr.sgl.length) == 12 &&
					 pmap_slot_dma(&l, NR_SLOTS - 1) == end - PMAP_SLOT_SIZE);
}

static int far_prp(void)
{
	struct pmap_layout l = layout(NVME_PMAP_FORM_PRP, PMAP_PRP_SHIFT, 4096);
	u32 first = NR_SLOTS - 150, last_window = NR_SLOTS / 256 - 1;
	u64 offset = (u64)first * PMAP_SLOT_SIZE + 20;
	union nvme_data_ptr dptr;
	bool good = pmap_dptr(&l, offset, 100 * PMAP_SLOT_SIZE, &dptr) == PMAP_KIND_PRP &&
		    le64toh(dptr.prp1) == slot_at(first) + 20 &&
		    le64toh(dptr.prp2) == LIST_AT + last_window * 4096ull + (256 - 149) * 8;

	free_layout(&l);
	return result("PRP list", good);
}

static int far_sgl(void)
{
	struct pmap_layout l = layout(NVME_PMAP_FORM_SGL_LIST, 13, 131072);
	u32 first = NR_SLOTS - 150, last_block = NR_SLOTS / 8192 - 1;
	union nvme_data_ptr dptr;
	bool good = pmap_dptr(&l, (u64)first * PMAP_SLOT_SIZE, 100 * PMAP_SLOT_SIZE, &dptr) ==
			    PMAP_KIND_SGL_LIST &&
		    le64toh(dptr.sgl.addr) ==
			    LIST_AT + last_block * 131072ull + (8192 - 150) * 16 &&
		    le32toh(dptr.sgl.length) == 1600 &&
		    le64toh(l.list[last_block].sgl[8191].addr) == slot_at(NR_SLOTS - 1);

	free_layout(&l);
	return result("SGL list", good);
}

/* Two pages less a bit at both ends: a segment of two descriptors. */
static int far_built(void)
{
	struct pmap_layout l = layout(NVME_PMAP_FORM_SGL_LIST, 13, 131072);
	u64 offset = (u64)(NR_SLOTS - 2) * PMAP_SLOT_SIZE + 20;
	u32 len = 2 * PMAP_SLOT_SIZE - 40;
	struct nvme_sgl_desc desc[256] = { 0 };
	struct pmap_list page = { .sgl = desc, .dma = 0x0789000000000000ull };
	union nvme_data_ptr dptr;
	struct pmap_slice s = pmap_slice(&l, offset, len);
	bool good = pmap_dptr(&l, offset, len, &dptr) == PMAP_KIND_BUILT;

	pmap_fill_sgl(&l, &s, &page, &dptr);
	good = good && le64toh(dptr.sgl.addr) == page.dma && le32toh(dptr.sgl.length) == 32 &&
	       dptr.sgl.type == 0x30 && le64toh(desc[0].addr) == slot_at(NR_SLOTS - 2) + 20 &&
	       le32toh(desc[0].length) == PMAP_SLOT_SIZE - 20 &&
	       le64toh(desc[1].addr) == slot_at(NR_SLOTS - 1) &&
	       le32toh(desc[1].length) == PMAP_SLOT_SIZE - 20;
	free_layout(&l);
	return result("built SGL", good);
}

int far_slices(void)
{
	return far_run() | far_prp() | far_sgl() | far_built();
}
