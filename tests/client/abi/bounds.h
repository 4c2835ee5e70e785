/* SPDX-License-Identifier: GPL-2.0 */
/* Where bounds.c and output.c make their ioctls. */
#ifndef PMAP_TEST_BOUNDS_H
#define PMAP_TEST_BOUNDS_H

#include "lib/util.h"

#define REG_LEN (4 * PAGE)

struct reg_bounds {
	struct dev dev;
	unsigned char *buf; /* REG_LEN, and a page on either side that is not there */
	uint64_t calls, good;
};

/* The first four bytes are registered, as index 0; to be closed even if it fails. */
bool reg_open(struct reg_bounds *s);
void reg_close(struct reg_bounds *s);

#endif /* PMAP_TEST_BOUNDS_H */
