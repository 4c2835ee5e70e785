// SPDX-License-Identifier: GPL-2.0
/*
 * pmap_bvec_pages() against a model of io_uring's registered buffers: every row of up
 * to four pages out of some folios, and of the rows of up to six pages every one in which
 * a page is followed by its neighbour or by the first of a folio; registered as io_uring
 * does (with or without coalescing folios), with every beginning and end inside a page.
 * A byte of a slice must be where io_uring's import of that slice finds it, and a slice
 * must be inside if and only if io_uring imports it.  `--quick` takes a sample.
 *
 * The model is of io_uring/rsrc.c, in our words: of 6.12, and of the way that newer
 * kernels find the first segment of a slice.
 */
#include <stdio.h>
#include <string.h>

#include "shim.h"
#include "layout.h"

#define PAGE_SHIFT	  12
#define PAGE_SIZE	  4096u
#define offset_in_page(p) ((unsigned long)(p) & (PAGE_SIZE - 1))

/* A page is a place in an array; a folio is a row of them. */
struct page {
	int number;
};

struct bio_vec {
	struct page *bv_page;
	unsigned int bv_len;
	unsigned int bv_offset;
};

#define nth_page(page, n) ((page) + (n))

#include "bvec.h"

/* Two folios of four pages, three of two, one of one. */
#define PAGES 15
#define MOST  6

static struct page memory[PAGES];
static const int folio_first[PAGES] = { 0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 10, 10, 12, 12, 14 };
static const int folio_pages[PAGES] = { 4, 4, 4, 4, 4, 4, 4, 4, 2, 2, 2, 2, 2, 2, 1 };

static bool quick;
static unsigned long long buffers, slices, together;
static int failed;

/* ---- the model of a buffer registered with io_uring ---- */

struct model {
	int row[MOST]; /* its pages, by number */
	int nr;
	u64 addr;
	u32 len;
	struct bio_vec bv[MOST];
	int nr_bv;
	u32 shift; /* log2 of all segments but the first and the last */
};

/* In each folio neighbours; the first ends its folio, the others begin theirs. */
static bool goes_together(const struct model *m, int size)
{
	if (m->nr < 2 || size < 2)
		return false;
	for (int i = 1; i < m->nr; i++) {
		int page = m->row[i], before = m->row[i - 1];

		if (folio_first[page] == folio_first[before] && page == before + 1)
			continue;
		if (before != folio_first[before] + folio_pages[before] - 1 ||
		    page != folio_first[page] || folio_pages[page] != size)
			return false;
	}
	return true;
}

static void register_apart(struct model *m)
{
	m->shift = PAGE_SHIFT;
	m->nr_bv = m->nr;
	for (int i = 0; i < m->nr; i++)
		m->bv[i].bv_page = &memory[m->row[i]];
}

/* One segment a folio: its first page, wherever in it the buffer begins. */
static void register_together(struct model *m, int size)
{
	int last = -1;

	m->shift = PAGE_SHIFT + (u32)__builtin_ctz((unsigned int)size);
	m->nr_bv = 0;
	for (int i = 0; i < m->nr; i++) {
		int first = folio_first[m->row[i]];

		if (first == last && m->row[i] == m->row[i - 1] + 1)
			continue;
		m->bv[m->nr_bv++].bv_page = &memory[first];
		last = first;
	}
	together++;
}

static void register_buffer(struct model *m)
{
	int size = folio_pages[m->row[0]];
	u32 left = m->len, off = (u32)offset_in_page(m->addr);

	if (goes_together(m, size)) {
		register_together(m, size);
		off += (u32)(m->row[0] - folio_first[m->row[0]]) * PAGE_SIZE;
	} else {
		register_apart(m);
	}
	for (int i = 0; i < m->nr_bv; i++, off = 0) {
		u32 room = (1u << m->shift) - off, len = left < room ? left : room;

		m->bv[i].bv_len = len;
		m->bv[i].bv_offset = off;
		left -= len;
	}
}

/* ---- the model of the import of a slice ---- */

struct import {
	const struct bio_vec *bv;
	u32 skip;
};

static bool import_inside(const struct model *m, u64 addr, u32 len)
{
	u64 end = addr + len;

	return end >= addr && addr >= m->addr && end <= m->addr + m->len;
}

/* The first segment of a slice, by arithmetic. */
static struct import import_612(const struct model *m, u64 addr)
{
	u64 offset = addr - m->addr;
	struct import im = { m->bv, (u32)offset };

	if (offset >= m->bv[0].bv_len) {
		offset -= m->bv[0].bv_len;
		im.bv = m->bv + 1 + (offset >> m->shift);
		im.skip = (u32)(offset & ((1u << m->shift) - 1));
	}
	return im;
}

/* Newer: from the beginning of the first segment's folio. */
static struct import import_newer(const struct model *m, u64 addr)
{
	u64 offset = addr - m->addr;
	struct import im = { m->bv, (u32)offset };
	u64 at;

	if (offset >= m->bv[0].bv_len) {
		at = offset + (m->bv[0].bv_offset & ((1u << m->shift) - 1));
		im.bv = m->bv + (at >> m->shift);
		im.skip = (u32)(at & ((1u << m->shift) - 1));
	}
	return im;
}

/* ---- comparison ---- */

static int fail(const struct model *m, const char *why, u64 addr, u32 len)
{
	printf("not ok - pages of io_uring's buffers: pages");
	for (int i = 0; i < m->nr; i++)
		printf(" %d", m->row[i]);
	printf(", %u bytes from byte %lu, slice of %u at %lld: %s\n", m->len,
	       offset_in_page(m->addr), len, (long long)(addr - m->addr), why);
	failed = 1;
	return 1;
}

/* Every byte that begins a page or a segment, and the last, are where we look for them. */
static int compare(const struct model *m, struct page *const *page, struct import im, u64 addr,
		   u32 len)
{
	u64 start = addr - (m->addr - offset_in_page(m->addr)), done = 0;

	while (done < len) {
		u64 at = im.bv->bv_offset + im.skip, ours = start + done;
		u64 piece = im.bv->bv_len - im.skip, in_page = PAGE_SIZE - at % PAGE_SIZE;

		if (&im.bv->bv_page[at / PAGE_SIZE] != page[ours / PAGE_SIZE] ||
		    at % PAGE_SIZE != ours % PAGE_SIZE)
			return fail(m, "a byte is in another place", addr, len);
		piece = piece < in_page ? piece : in_page;
		im.skip += (u32)piece;
		done += piece;
		if (im.skip == im.bv->bv_len) {
			im.bv++;
			im.skip = 0;
		}
	}
	return 0;
}

static int check_slice(const struct model *m, struct page *const *page, u64 addr, u32 len)
{
	const struct pmap_layout l = { .len = m->len };
	u64 offset = addr - m->addr;
	bool inside = pmap_inside(&l, &offset, len);

	slices++;
	if (inside != import_inside(m, addr, len))
		return fail(m, inside ? "not in the buffer" : "in the buffer", addr, len);
	return inside && (compare(m, page, import_612(m, addr), addr, len) ||
			  compare(m, page, import_newer(m, addr), addr, len));
}

/* Edges of pages, and the bytes beside them, inside and outside. */
static int check_slices(const struct model *m, struct page *const *page)
{
	static const int beside[] = { -4, 0, 4, 512 };
	u64 first = m->addr - offset_in_page(m->addr);

	for (int from = 0; from <= m->nr * 4; from++)
		for (int to = from / 4; to <= m->nr * 4; to++) {
			u64 addr = first + (u64)(from / 4) * PAGE_SIZE + (u64)beside[from % 4];
			u64 end = first + (u64)(to / 4) * PAGE_SIZE + (u64)beside[to % 4];

			if (end > addr && check_slice(m, page, addr, (u32)(end - addr)))
				return 1;
		}
	/* about zero, where sums wrap */
	return check_slice(m, page, m->addr, ~0u) || check_slice(m, page, ~0ull - 3, 4) ||
	       check_slice(m, page, 0, 4) || check_slice(m, page, ~0ull, 1);
}

/* Segments that io_uring would not make are refused. */
static int check_refused(const struct model *m, struct page **page)
{
	struct bio_vec bv[MOST];
	int last = m->nr_bv - 1;

	memcpy(bv, m->bv, sizeof(bv));
	bv[last].bv_len += PAGE_SIZE;
	if (pmap_bvec_pages(bv, (u32)m->nr_bv, page, (u32)m->nr))
		return fail(m, "a page too many is taken", m->addr, 0);
	if (pmap_bvec_pages(m->bv, (u32)m->nr_bv, page, (u32)m->nr + 1))
		return fail(m, "a page too few is taken", m->addr, 0);
	bv[last].bv_len = 0;
	if (pmap_bvec_pages(bv, (u32)m->nr_bv, page, (u32)m->nr))
		return fail(m, "an empty segment is taken", m->addr, 0);
	if (!last)
		return 0;
	bv[last] = m->bv[last];
	bv[0].bv_len -= 4;
	if (bv[0].bv_len && pmap_bvec_pages(bv, (u32)m->nr_bv, page, (u32)m->nr))
		return fail(m, "a gap is taken", m->addr, 0);
	return 0;
}

static int check_buffer(struct model *m)
{
	struct page *page[MOST + 1] = { NULL };

	buffers++;
	register_buffer(m);
	if (!pmap_bvec_pages(m->bv, (u32)m->nr_bv, page, (u32)m->nr))
		return fail(m, "refused", m->addr, m->len);
	for (int i = 0; i < m->nr; i++)
		if (page[i] != &memory[m->row[i]])
			return fail(m, "another page", m->addr + (u64)i * PAGE_SIZE, 0);
	return check_slices(m, page) || check_refused(m, page);
}

static int check_row(struct model *m)
{
	static const u32 ends[] = { 0, 4, 2048, PAGE_SIZE - 4 };

	for (unsigned int i = 0; i < 4; i++)
		for (unsigned int j = 0; j < 4; j++) {
			u32 len = (u32)m->nr * PAGE_SIZE;

			if (len <= ends[i] + ends[j])
				continue;
			m->addr = 0x7f0000000000ull + ends[i];
			m->len = len - ends[i] - ends[j];
			if (check_buffer(m))
				return 1;
		}
	return 0;
}

static int check_rows(struct model *m, int nr)
{
	if (m->nr == nr)
		return check_row(m);
	for (int i = 0; i < PAGES; i++) {
		if (nr > 4 && m->nr && i != m->row[m->nr - 1] + 1 && i != folio_first[i])
			continue;
		m->row[m->nr++] = i;
		if (check_rows(m, nr))
			return 1;
		m->nr--;
	}
	return 0;
}

int main(int argc, char **argv)
{
	quick = argc > 1 && !strcmp(argv[1], "--quick");
	for (int nr = 1; nr <= (quick ? 3 : MOST) && !failed; nr++) {
		struct model m = { .nr = 0 };

		check_rows(&m, nr);
	}
	if (!failed && !together) {
		printf("not ok - pages of io_uring's buffers: none was put together\n");
		failed = 1;
	}
	if (!failed)
		printf("# %llu buffers, %llu of them put together, %llu slices\n"
		       "ok - pages of io_uring's buffers\n",
		       buffers, together, slices);
	return failed;
}
