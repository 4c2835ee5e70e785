/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The pages of a buffer that a program has registered with io_uring.  Arithmetic only,
 * no kernel services: tests/layout compiles it in user space, against a model of how
 * io_uring registers and imports buffers.
 */
#ifndef _NVME_PMAP_BVEC_H
#define _NVME_PMAP_BVEC_H

/**
 * pmap_bvec_pages - list the pages of a buffer, in the order of its bytes
 * @bv: io_uring's segments.  Each is a page, or several pieces of a folio that io_uring
 *	has merged: then bv_page is the first page of the folio, and bv_offset, which
 *	may be many pages, is the offset in it at which the buffer begins.
 * @nr_bv: number of segments
 * @page: room for @nr_pages
 * @nr_pages: pages that the buffer touches
 *
 * Only the first segment may begin inside a page, and only the last may end there.
 *
 * Return: whether the segments are exactly @nr_pages pages.
 */
static inline bool pmap_bvec_pages(const struct bio_vec *bv, u32 nr_bv,
				   struct page **page, u32 nr_pages)
{
	u32 done = 0, i;

	for (i = 0; i < nr_bv; i++, bv++) {
		u64 at = bv->bv_offset, end = at + bv->bv_len;

		if (!bv->bv_len || (i && offset_in_page(at)) ||
		    (i + 1 < nr_bv && offset_in_page(end)))
			return false;
		for (at >>= PAGE_SHIFT; at << PAGE_SHIFT < end; at++) {
			if (done == nr_pages)
				return false;
			page[done++] = nth_page(bv->bv_page, at);
		}
	}
	return done == nr_pages;
}

#endif /* _NVME_PMAP_BVEC_H */
