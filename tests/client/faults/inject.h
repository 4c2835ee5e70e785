/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Failures on demand, with the kernel's fault injection: of slab and page
 * allocations and of copies from and to user space, in this thread and below one
 * function of the driver, the nth alone or all from the nth page on.
 */
#ifndef PMAP_TEST_INJECT_H
#define PMAP_TEST_INJECT_H

#include "lib/util.h"

/* False, with the case skipped, where the kernel has no such thing. */
bool inject_init(void);
/* Only allocations and copies made below @function fail. */
bool inject_below(const char *function);
/*
 * Count and fail requests for pages, or all others: how many pages there are, and
 * when the kernel needs a new one for its slabs, differs from call to call, and a
 * sweep that counts both may step over a place.
 */
bool inject_pages(bool pages);
/* The @n'th request of any kind fails, counted from one. */
bool inject_nth(unsigned int n);
/* With @pages of memory given out, there is no more. */
bool inject_from(unsigned int pages);
/* No slab objects at all, to any thread. */
bool inject_slab_all(bool on);
/*
 * Every @interval'th request of any kind fails, in any thread, workers included.
 * Zero ends it.
 */
bool inject_every(unsigned int interval);
/* How many failures there have been so far. */
unsigned int inject_hits(void);
/* Undo any of them; returns how many failures there were. */
unsigned int inject_end(void);
/* Notes "injected KIND N" for all failures since the last call. */
void inject_report(void);

#endif
