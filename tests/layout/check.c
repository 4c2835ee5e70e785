// SPDX-License-Identifier: GPL-2.0
/*
 * One command on a buffer: the driver's data pointer, the device's walk of it,
 * and the expected result.
 */
#include <string.h>

#include "buffer.h"

#define PAGE 4096u

/* A slice in whole pages, by division rather than by pmap_slice(). */
struct pages {
	u64 start;
	u32 len;
	u32 first;
	u32 last;
	u32 nr;
};

static struct pages pages_of(const struct buffer *b, u64 offset, u32 len)
{
	struct pages p = { .start = b->spec.head + offset, .len = len };

	p.first = (u32)(p.start / PAGE);
	p.last = (u32)((p.start + len - 1) / PAGE);
	p.nr = p.last - p.first + 1;
	return p;
}

/* Every byte of the slice, in order, and nothing else. */
static const char *compare(const struct buffer *b, const struct pages *p)
{
	u64 at = p->start, end = at + p->len;

	for (u32 i = 0; i < b->dev.nr; i++) {
		u64 dma = b->dev.extent[i].dma, stop = at + b->dev.extent[i].len;

		if (stop > end)
			return "the device goes on past the slice";
		if (at == stop)
			return "a piece of no bytes";
		while (at < stop) {
			u64 next = (at / PAGE + 1) * PAGE;

			if (dma != b->dma[at / PAGE] + at % PAGE)
				return "the device touches a wrong page";
			next = next < stop ? next : stop;
			dma += next - at;
			at = next;
		}
	}
	return at == end ? NULL : "the device stops before the end of the slice";
}

/* Can a kept window be read from the second page to the last, short of 511? */
static bool some_window_fits(const struct pages *p)
{
	for (u32 h = 0; 256 * h <= p->first + 1; h++)
		if (p->last - 256 * h <= 510)
			return true;
	return false;
}

static enum pmap_kind wanted_prp(const struct buffer *b, const struct pages *p)
{
	if (p->nr <= 2)
		return PMAP_KIND_PRP;
	if (b->spec.whole_lists)
		return PMAP_KIND_BUILT;
	return some_window_fits(p) ? PMAP_KIND_PRP : PMAP_KIND_BUILT;
}

static enum pmap_kind wanted_sgl(const struct buffer *b, const struct pages *p)
{
	u32 phase = b->spec.phase;

	if ((p->first + phase) >> b->run_shift == (p->last + phase) >> b->run_shift)
		return PMAP_KIND_SGL_RUN;
	if (p->start % PAGE == 0 && p->len % PAGE == 0 &&
	    p->first >> b->spec.list_shift == p->last >> b->spec.list_shift)
		return PMAP_KIND_SGL_LIST;
	return PMAP_KIND_BUILT;
}

/* Never built where a kept form would do. */
static const char *check_kind(const struct buffer *b, const struct pages *p, enum pmap_kind kind)
{
	bool prp = b->l.form == NVME_PMAP_FORM_PRP;

	if (kind == (prp ? wanted_prp(b, p) : wanted_sgl(b, p)))
		return NULL;
	if (prp && !b->spec.whole_lists && p->nr <= 257)
		return "1 MiB, and a list was built";
	return kind == PMAP_KIND_BUILT ? "a list was built needlessly" :
					 "not the kind of data pointer expected";
}

/* nvme_pmap_build() for PRPs, with one more page at hand than it asked for. */
static const char *build_prp(struct buffer *b, const struct pmap_slice *s,
			     union nvme_data_ptr *dptr)
{
	u32 pages = pmap_built_pages(s->nr);

	if (pages > PMAP_BUILT_MAX)
		return "more list pages than PMAP_BUILT_MAX";
	/* the contents of a fresh page must not matter */
	for (u32 i = 0; i <= pages; i++)
		memset(b->built[i].prp, 0xa5, PAGE);
	b->built_pages = pages;
	pmap_fill_prp(&b->l, s, b->built, dptr);
	if (b->built[pages].prp[0] != 0xa5a5a5a5a5a5a5a5)
		return "a list page was written that was not asked for";
	return NULL;
}

/* The same for SGLs: a page or, where that is too small, a large segment. */
static const char *build_sgl(struct buffer *b, const struct pmap_slice *s,
			     union nvme_data_ptr *dptr)
{
	u32 bytes = s->nr * 16;

	if (bytes > SEGMENT_BYTES)
		return "more descriptors than there is room for";
	b->segment_bytes = bytes <= PAGE ? PAGE : SEGMENT_BYTES;
	/* one more than is ever right, to see it used */
	memset(b->segment.sgl, 0xa5, bytes + 16);
	pmap_fill_sgl(&b->l, s, &b->segment, dptr);
	return b->segment.prp[bytes / 8] == 0xa5a5a5a5a5a5a5a5 ?
		       NULL :
		       "more descriptors were written than there are pages";
}

/* The fewest pages: each but the last gives its last entry to the chain. */
static const char *check_built(struct buffer *b, const struct pages *p)
{
	u32 pages = 1, room = 512;

	if (b->l.form != NVME_PMAP_FORM_PRP) {
		b->large[1] += p->nr > 256;
		return b->built_read ? NULL : "a built segment is not read";
	}
	for (; room < p->nr - 1; room += 511)
		pages++;
	b->large[0] += pages > 1;
	if (b->built_pages != pages)
		return "pmap_built_pages() is not the fewest that do";
	if (b->built_read != (1u << pages) - 1)
		return "a built list page is not read";
	return NULL;
}

static const char *send(struct buffer *b, const struct pages *p, u64 offset,
			union nvme_data_ptr *dptr)
{
	enum pmap_kind kind = pmap_dptr(&b->l, offset, p->len, dptr);
	const char *wrong = check_kind(b, p, kind);
	bool prp = b->l.form == NVME_PMAP_FORM_PRP;

	b->kinds[kind]++;
	if (!wrong && kind == PMAP_KIND_BUILT) {
		struct pmap_slice s = pmap_slice(&b->l, offset, p->len);

		wrong = prp ? build_prp(b, &s, dptr) : build_sgl(b, &s, dptr);
	}
	if (wrong)
		return wrong;
	/* PSDT depends on the buffer's form: see nvme_pmap_set_dptr() */
	return device_transfer(&b->dev, dptr, !prp, p->len);
}

const char *buffer_check(struct buffer *b, u64 offset, u32 len)
{
	struct pages p = pages_of(b, offset, len);
	union nvme_data_ptr dptr;
	const char *wrong;

	/* every field is the headers' to set */
	memset(&dptr, 0xff, sizeof(dptr));
	b->built_pages = b->built_read = b->segment_bytes = 0;
	wrong = send(b, &p, offset, &dptr);
	if (!wrong)
		wrong = compare(b, &p);
	if (!wrong && (b->built_pages || b->segment_bytes))
		wrong = check_built(b, &p);
	return wrong;
}
