/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A stage: a device, a buffer and its registration, which the loads of a case
 * share; each has its own part of the buffer and of the disk.
 */
#ifndef PMAP_TEST_STAGE_H
#define PMAP_TEST_STAGE_H

#include "lib/load.h"

struct stage {
	struct dev dev;
	struct mem mem;
	uint32_t index;
};

/* Of a load as stage_load() makes it: transfers of so many bytes, so many slots. */
#define STAGE_LEN   16384u
#define STAGE_DEPTH 16u
/* The bytes of the buffer that it needs. */
#define STAGE_PART  LOAD_BYTES(STAGE_DEPTH, STAGE_LEN)

/* @name as for dev_open(); to be closed even if it fails. */
bool stage_open(struct stage *s, const char *name, size_t len);
void stage_close(struct stage *s);
/* The @nr-th load, with the @nr-th part. */
struct load stage_load(const struct stage *s, enum mode mode, unsigned int nr);
/* Each in a thread of its own, until all are done; every pair must be verified. */
void stage_run(struct load *loads, unsigned int nr);
/*
 * The file's counters after @sent commands: every command is counted once with its
 * form and once with the path of its completion; only a ring that polls can find a
 * completion itself.
 */
void stage_check_stats(const struct stage *s, uint64_t sent, bool polled);

#endif /* PMAP_TEST_STAGE_H */
