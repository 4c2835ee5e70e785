// SPDX-License-Identifier: GPL-2.0
/*
 * Memory of a known kind: 4 KiB pages scattered over physical memory, as a
 * program has them that has run for a while; 4 KiB pages side by side, as a
 * fresh program gets them (an IOMMU maps such a run at once: half of stock's
 * cost at 128 KiB); or 2 MiB pages.  Looked up in /proc, not assumed; a row on
 * the wrong kind of page would be worthless.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#define SMALL ((size_t)4096)
#define HUGE  ((size_t)2 << 20)

static void *map(size_t len, int flags)
{
	return mmap(NULL, len, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
}

static void touch_shuffled(char *mem, size_t pages)
{
	size_t *order = calloc(pages, sizeof(*order));
	uint64_t seed = 0x9e3779b97f4a7c15u;

	if (!order)
		die("out of memory");
	for (size_t i = 0; i < pages; i++) {
		size_t j = next_random(&seed) % (i + 1);

		order[i] = order[j];
		order[j] = i;
	}
	for (size_t i = 0; i < pages; i++)
		mem[order[i] * SMALL] = 1;
	free(order);
}

/* Frame numbers, which only root may see; false without. */
static bool read_frames(const char *mem, size_t pages, uint64_t *frames)
{
	off_t at = (off_t)((uintptr_t)mem / SMALL * sizeof(*frames));
	ssize_t want = (ssize_t)(pages * sizeof(*frames)), got;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	got = pread(fd, frames, (size_t)want, at);
	close(fd);
	for (size_t i = 0; got == want && i < pages; i++) {
		if (!(frames[i] >> 63))
			die("a page of the arena is not in memory");
		frames[i] &= (1ull << 55) - 1;
	}
	return got == want && frames[0];
}

static size_t count_adjacent(const char *mem, size_t len)
{
	size_t pages = len / SMALL, adjacent = 0;
	uint64_t *frames = calloc(pages, sizeof(*frames));

	if (!frames || !read_frames(mem, pages, frames))
		die("cannot read the arena's pages from /proc/self/pagemap "
		    "(needs root)");
	for (size_t i = 1; i < pages; i++)
		adjacent += frames[i] == frames[i - 1] + 1;
	free(frames);
	return adjacent;
}

static void map_4k(struct arena *arena, size_t len)
{
	void *mem = map(len, 0);

	if (mem == MAP_FAILED || madvise(mem, len, MADV_NOHUGEPAGE))
		die("%zu bytes of 4 KiB pages: %s", len, strerror(errno));
	*arena = (struct arena){ .mem = mem, .len = len };
}

/* A tenth is far more than chance makes it, nine tenths less than a fresh run. */
static void arena_fill_4k(struct arena *arena, size_t len)
{
	map_4k(arena, len);
	touch_shuffled(arena->mem, len / SMALL);
	arena->adjacent = count_adjacent(arena->mem, len);
	if (arena->adjacent > len / SMALL / 10)
		die("the 4 KiB pages are not scattered: %zu of %zu are adjacent",
		    arena->adjacent, len / SMALL - 1);
}

/*
 * Whether a run of page faults gets contiguous memory depends on earlier frees:
 * allocate far more than needed, and use a contiguous part of it.
 */
static void arena_fill_adjacent(struct arena *arena, size_t len)
{
	struct arena all;
	size_t at = 0;

	map_4k(&all, 16 * len);
	memset(all.mem, 1, all.len);
	for (; at < all.len; at += len) {
		arena->adjacent = count_adjacent(all.mem + at, len);
		if (arena->adjacent >= len / SMALL / 10 * 9)
			break;
	}
	if (at == all.len)
		die("found no 4 KiB pages that lie side by side");
	arena->mem = all.mem + at;
	arena->len = len;
	munmap(all.mem, at);
	munmap(arena->mem + len, all.len - at - len);
}

static void *map_thp(size_t len)
{
	char *mem = map(len + HUGE, 0);

	if (mem == MAP_FAILED)
		return mem;
	mem += -(uintptr_t)mem & (HUGE - 1);
	return madvise(mem, len, MADV_HUGEPAGE) ? MAP_FAILED : mem;
}

static void arena_fill_2m(struct arena *arena, size_t len)
{
	char *mem = map(len, MAP_HUGETLB | 21 << MAP_HUGE_SHIFT);

	if (mem == MAP_FAILED)
		mem = map_thp(len);
	if (mem == MAP_FAILED)
		die("%zu bytes of 2 MiB pages: %s", len, strerror(errno));
	memset(mem, 1, len);
	arena->mem = mem;
	arena->len = len;
	arena->adjacent = count_adjacent(mem, len);
	if (arena->adjacent < len / HUGE * (HUGE / SMALL - 1))
		die("no 2 MiB pages here: write %zu to "
		    "/proc/sys/vm/nr_hugepages",
		    len / HUGE);
}

const struct arena *arena_get(enum pages pages, size_t len)
{
	static void (*const fill[])(struct arena *, size_t) = {
		[PAGES_4K] = arena_fill_4k,
		[PAGES_4K_ADJACENT] = arena_fill_adjacent,
		[PAGES_2M] = arena_fill_2m,
	};
	static struct arena arenas[PAGES_KINDS];

	if (!arenas[pages].mem)
		fill[pages](&arenas[pages], len);
	if (arenas[pages].len != len)
		die("one length of arena a run: %zu, not %zu",
		    arenas[pages].len, len);
	return &arenas[pages];
}
