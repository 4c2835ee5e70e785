// SPDX-License-Identifier: GPL-2.0
/*
 * The clauses are from the NVMe base specification 2.0, "Physical Region
 * Page Entry and List" and "Scatter Gather List (SGL)", in our words.  The
 * memory page size (CC.MPS) is 4 KiB.
 */
#include <string.h>

#include "device.h"

#define PAGE  4096u
#define ENTRY 8u  /* a PRP entry */
#define DESC  16u /* an SGL descriptor */

#define DATA_BLOCK   0x00 /* descriptor type 0h, sub type 0h */
#define SEGMENT	     0x20 /* descriptor type 2h, sub type 0h */
#define LAST_SEGMENT 0x30 /* descriptor type 3h, sub type 0h */

/* Segments of a command; more are taken for a chain without an end. */
#define MAX_SEGMENTS 64

/* All that a controller reads is little-endian. */
static uint64_t load(const uint8_t *from, unsigned int bytes)
{
	uint64_t value = 0;

	if (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__) {
		memcpy(&value, from, bytes);
		return value;
	}
	while (bytes--)
		value = value << 8 | from[bytes];
	return value;
}

static const char *touch(struct device *dev, uint64_t dma, uint64_t len)
{
	/* either pointer may carry an offset, but of whole dwords */
	if (dma % 4)
		return "a data address that is no multiple of 4";
	if (dev->nr == DEVICE_MAX_EXTENTS)
		return "more pieces than any transfer has";
	dev->extent[dev->nr].dma = dma;
	dev->extent[dev->nr++].len = (uint32_t)len;
	return NULL;
}

/* Only the first entry of a command may have an offset into its page. */
static const char *touch_page(struct device *dev, uint64_t entry, uint64_t *len)
{
	uint64_t take = *len < PAGE ? *len : PAGE;

	if (entry % PAGE)
		return "a PRP entry after the first has an offset";
	*len -= take;
	return touch(dev, entry, take);
}

/*
 * The entries of one list page from @at on.  With more pages to go than it has
 * entries, its last one is the address of the next list page, which @at is then
 * set to; with exactly as many, the last one is data like the others.
 */
static const char *walk_list_page(struct device *dev, uint64_t *at, uint64_t *len)
{
	uint32_t room = (PAGE - *at % PAGE) / ENTRY, bytes = 0, i;
	const uint8_t *mem = dev->read(dev->ctx, *at, &bytes);
	const char *fault = NULL;

	for (i = 0; *len && !fault; i++) {
		uint64_t entry;

		if (!mem || (i + 1) * ENTRY > bytes)
			return "reads a PRP entry where there is none";
		entry = load(mem + i * ENTRY, ENTRY);
		if (i == room - 1 && *len > PAGE) {
			*at = entry;
			/* only the first list of a command may be inside one */
			return entry % PAGE ? "a chained list has an offset" : NULL;
		}
		fault = touch_page(dev, entry, len);
	}
	return fault;
}

static const char *walk_list(struct device *dev, uint64_t at, uint64_t len)
{
	const char *fault = NULL;

	/* a list begins anywhere in a page, but at a whole entry */
	if (at % ENTRY)
		return "a list pointer that is no multiple of 8";
	while (len && !fault)
		fault = walk_list_page(dev, &at, &len);
	return fault;
}

static const char *walk_prp(struct device *dev, const uint8_t *dptr, uint64_t len)
{
	uint64_t prp1 = load(dptr, ENTRY), prp2 = load(dptr + ENTRY, ENTRY);
	uint64_t take = PAGE - prp1 % PAGE;
	const char *fault;

	if (take > len)
		take = len;
	fault = touch(dev, prp1, take);
	len -= take;
	if (fault)
		return fault;
	/* PRP2 is reserved, a page or a list, depending on the remaining length */
	if (!len)
		return prp2 ? "PRP2 is reserved and not zero" : NULL;
	if (len <= PAGE)
		return touch_page(dev, prp2, &len);
	return walk_list(dev, prp2, len);
}

static const char *take_block(struct device *dev, const uint8_t *desc, uint64_t *len)
{
	uint64_t block = load(desc + 8, 4);

	if (desc[15] != DATA_BLOCK)
		return "not a data block descriptor";
	if (load(desc + 12, 3))
		return "reserved bytes of a descriptor are not zero";
	if (block > *len)
		return "the SGL is longer than the transfer";
	*len -= block;
	return touch(dev, load(desc, 8), block);
}

static bool is_segment(const uint8_t *desc)
{
	return desc[15] == SEGMENT || desc[15] == LAST_SEGMENT;
}

/* The descriptors of the segment that @desc is for, as the controller reads them. */
static const char *read_segment(const struct device *dev, const uint8_t *desc, const uint8_t **mem,
				uint32_t *size)
{
	uint64_t at = load(desc, 8);
	uint32_t bytes = 0;

	*size = (uint32_t)load(desc + 8, 4);
	*mem = dev->read(dev->ctx, at, &bytes);
	if (load(desc + 12, 3))
		return "reserved bytes of a descriptor are not zero";
	/* a segment is a Qword aligned array of descriptors, one or more */
	if (!*size || *size % DESC)
		return "a segment that is no number of descriptors";
	if (at % 8)
		return "a segment that is not Qword aligned";
	if (!*mem || *size > bytes)
		return "a segment reaches where there are no descriptors";
	return NULL;
}

/*
 * The segment that *@desc is for.  The last descriptor of a segment that is not
 * the last is for the next one, which *@desc is then set to; a segment's other
 * descriptors, and all of the last segment's, are for data.
 */
static const char *walk_segment(struct device *dev, const uint8_t **desc, uint64_t *len)
{
	bool last = (*desc)[15] == LAST_SEGMENT;
	const char *fault;
	const uint8_t *mem;
	uint32_t size, i;

	fault = read_segment(dev, *desc, &mem, &size);
	if (fault)
		return fault;
	*desc = last ? NULL : mem + size - DESC;
	if (!last && !is_segment(*desc))
		return "a segment that is not the last has no next";
	for (i = 0; i < (last ? size : size - DESC) && !fault; i += DESC)
		fault = is_segment(mem + i) ? "a segment descriptor where only data may be" :
					      take_block(dev, mem + i, len);
	return fault;
}

static const char *walk_sgl(struct device *dev, const uint8_t *desc, uint64_t len)
{
	const char *fault = NULL;
	unsigned int segments = 0;

	if (!is_segment(desc)) {
		fault = take_block(dev, desc, &len);
		desc = NULL;
	}
	while (desc && !fault)
		fault = segments++ < MAX_SEGMENTS ? walk_segment(dev, &desc, &len) :
						    "a chain of segments without an end";
	if (!fault && len)
		fault = "the SGL is shorter than the transfer";
	return fault;
}

const char *device_transfer(struct device *dev, const void *dptr, bool sgl, uint64_t len)
{
	dev->nr = 0;
	return sgl ? walk_sgl(dev, dptr, len) : walk_prp(dev, dptr, len);
}
