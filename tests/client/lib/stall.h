/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The doorbells of a controller, written behind the driver's back: it then answers
 * nothing on a queue, or fetches old commands again.  QEMU's takes shadow doorbells
 * for these unless tests/module/doorbells.c is loaded; the guest wants iomem=relaxed.
 */
#ifndef PMAP_TEST_STALL_H
#define PMAP_TEST_STALL_H

#include "lib/util.h"

struct doorbells {
	volatile uint32_t *regs;
};

/* Resets the controller once, after which it has no shadow doorbells. */
bool doorbells_open(struct doorbells *db, const struct dev *dev);
void doorbells_close(struct doorbells *db);
/*
 * The CQ of a queue of @depth is full, for the controller, which has put @done entries
 * into it, all of them seen by the driver; and so it is no more.
 */
void queue_stall(struct doorbells *db, uint16_t qid, uint32_t depth, uint32_t done);
void queue_go_on(struct doorbells *db, uint16_t qid, uint32_t depth, uint32_t done);
/* The controller fetches from where it is up to before entry @tail. */
void queue_fetch(struct doorbells *db, uint16_t qid, uint32_t tail);

/* The number of the next line of the kernel's log. */
uint64_t log_mark(void);
/* So many lines from @mark on contain @text. */
unsigned int log_count(uint64_t mark, const char *text);

#endif
