/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A controller's DMA engine, from the specification alone: it takes a command's
 * data pointer apart and tells which bytes of memory the transfer touches.  It
 * shares nothing with the driver's headers, so that it can disagree with them.
 */
#ifndef PMAP_TEST_DEVICE_H
#define PMAP_TEST_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

/* The largest transfer is 8 MiB: 2049 pages if it begins inside one. */
#define DEVICE_MAX_EXTENTS 2304

struct device_extent {
	uint64_t dma;
	uint32_t len;
};

/**
 * struct device - the controller's view of memory, and the extents of a transfer
 * @read: the list memory at a DMA address: where the CPU sees it, and in @bytes
 *	how many bytes may be read from there on; NULL where there is none
 * @ctx: handed to @read
 * @nr: extents of the last transfer
 * @extent: they, in the order of the bytes of the transfer
 */
struct device {
	const void *(*read)(void *ctx, uint64_t dma, uint32_t *bytes);
	void *ctx;
	uint32_t nr;
	struct device_extent extent[DEVICE_MAX_EXTENTS];
};

/**
 * device_transfer - walk the data pointer of a command
 * @dev: the device
 * @dptr: the 16 bytes of the submission queue entry
 * @sgl: PSDT says that they are an SGL descriptor, rather than PRP entries
 * @len: bytes that the command transfers; not zero
 *
 * Return: NULL, with @dev->extent filled in, or the mistake.
 */
const char *device_transfer(struct device *dev, const void *dptr, bool sgl, uint64_t len);

#endif
