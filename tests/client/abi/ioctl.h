/* SPDX-License-Identifier: GPL-2.0 */
#ifndef PMAP_TEST_IOCTL_H
#define PMAP_TEST_IOCTL_H

#include "lib/util.h"

/* The ioctls with an argument that succeeds, and a call that undoes it. */
enum { QUERY, REGISTER, UNREGISTER, STATS, ATTACH, DETACH, NR_CALLS };

struct call {
	const char *name;
	unsigned long request;
	uint32_t min, v1;
	uint32_t size;
	uint32_t flags; /* known ones */
};
extern const struct call calls[NR_CALLS];

struct call_setup {
	struct dev dev;
	unsigned char *buf; /* 16 pages to register */
	unsigned char *arg; /* two pages, and one without permissions */
};

#define BUF_LEN (16 * PAGE)
#define ARG_LEN (2 * PAGE)

bool call_open(struct call_setup *s);
void call_close(struct call_setup *s);
/* Put a valid argument of call @nr at @arg; index 0 is kept for unregister. */
void valid_arg(const struct call_setup *s, unsigned int nr, void *arg);
int call(const struct call_setup *s, unsigned int nr, void *arg);

#endif /* PMAP_TEST_IOCTL_H */
