// SPDX-License-Identifier: GPL-2.0
/* Kinds of memory that programs register, and the pages that the kernel has pinned. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/util.h"

const char *const mem_names[NR_MEM_KINDS] = {
	[MEM_4K] = "4k",
	[MEM_THP] = "thp",
	[MEM_HUGE] = "hugetlb",
	[MEM_MEMFD] = "memfd",
	[MEM_MEMFD_HUGE] = "memfd-hugetlb",
	[MEM_SHMEM] = "shmem",
	[MEM_MTHP] = "mthp",
};

#define HUGE MIB(2)

/* In shuffled order, so that neighbours in the buffer are not in memory. */
static void touch_shuffled(unsigned char *map, size_t len)
{
	size_t pages = len / PAGE, i, j;
	uint32_t *order = malloc(pages * sizeof(*order)), swap;

	if (!order)
		return;
	for (i = 0; i < pages; i++)
		order[i] = (uint32_t)i;
	for (i = pages - 1; i > 0; i--) {
		j = rnd_below(i + 1);
		swap = order[i];
		order[i] = order[j];
		order[j] = swap;
	}
	for (i = 0; i < pages; i++)
		map[(size_t)order[i] * PAGE] = 1;
	free(order);
}

static unsigned char *map_thp(size_t len)
{
	/* Aligned by hand: mmap() promises no more than a page. */
	unsigned char *map = mmap(NULL, len + HUGE, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
		      *base;

	if (map == MAP_FAILED)
		return map;
	base = (unsigned char *)(((uintptr_t)map + HUGE - 1) & ~(uintptr_t)(HUGE - 1));
	if (base > map)
		munmap(map, (size_t)(base - map));
	if (base + len < map + len + HUGE)
		munmap(base + len, (size_t)(map + len + HUGE - (base + len)));
	madvise(base, len, MADV_HUGEPAGE);
	return base;
}

static unsigned char *map_memfd(struct mem *mem, unsigned int flags)
{
	mem->fd = memfd_create("pmap-test", MFD_CLOEXEC | flags);
	if (mem->fd < 0 || ftruncate(mem->fd, (off_t)mem->len))
		return MAP_FAILED;
	return mmap(NULL, mem->len, PROT_READ | PROT_WRITE, MAP_SHARED, mem->fd, 0);
}

static unsigned char *map_kind(struct mem *mem, enum mem_kind kind)
{
	const int prot = PROT_READ | PROT_WRITE, anon = MAP_PRIVATE | MAP_ANONYMOUS;
	unsigned char *map;

	switch (kind) {
	case MEM_THP:
		return map_thp(mem->len);
	case MEM_HUGE:
		return mmap(NULL, mem->len, prot, anon | MAP_HUGETLB, -1, 0);
	case MEM_MEMFD:
		return map_memfd(mem, 0);
	case MEM_MEMFD_HUGE:
		return map_memfd(mem, MFD_HUGETLB);
	case MEM_SHMEM:
		return mmap(NULL, mem->len, prot, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	case MEM_MTHP:
		map = mmap(NULL, mem->len, prot, anon, -1, 0);
		if (map != MAP_FAILED)
			madvise(map, mem->len, MADV_HUGEPAGE);
		return map;
	default:
		map = mmap(NULL, mem->len, prot, anon, -1, 0);
		if (map != MAP_FAILED)
			madvise(map, mem->len, MADV_NOHUGEPAGE);
		return map;
	}
}

bool mem_alloc(struct mem *mem, enum mem_kind kind, size_t len)
{
	bool huge = kind == MEM_HUGE || kind == MEM_MEMFD_HUGE;

	*mem = (struct mem){ .len = len, .fd = -1 };
	if (huge || kind == MEM_THP)
		mem->len = (len + HUGE - 1) & ~(HUGE - 1);
	/* Reserved first: an unreserved huge page is a SIGBUS when touched. */
	if (huge && !reserve_huge_pages((unsigned int)(mem->len / HUGE))) {
		note("no %zu huge pages here", (size_t)(mem->len / HUGE));
		return false;
	}
	mem->map = map_kind(mem, kind);
	if (mem->map == MAP_FAILED) {
		note("no %s memory of %zu bytes: %s", mem_names[kind], len, strerror(errno));
		mem->map = NULL;
		mem_free(mem);
		return false;
	}
	touch_shuffled(mem->map, mem->len);
	return true;
}

void mem_free(struct mem *mem)
{
	if (mem->map)
		munmap(mem->map, mem->len);
	if (mem->fd >= 0)
		close(mem->fd);
	*mem = (struct mem){ .fd = -1 };
}

/* True when at least @pages huge pages are free. */
bool reserve_huge_pages(unsigned int pages)
{
	static const char dir[] = "/sys/kernel/mm/hugepages/hugepages-2048kB/";
	char path[128], text[32];

	snprintf(path, sizeof(path), "%snr_hugepages", dir);
	if (!read_file(path, text, sizeof(text)))
		return false;
	if ((unsigned int)atoi(text) < pages) {
		snprintf(text, sizeof(text), "%u", pages);
		write_file(path, text);
	}
	snprintf(path, sizeof(path), "%sfree_hugepages", dir);
	return read_file(path, text, sizeof(text)) && (unsigned int)atoi(text) >= pages;
}

long status_kib(pid_t pid, const char *field)
{
	char path[64], text[4096], key[32], *at;
	long value = -1;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	snprintf(key, sizeof(key), "\n%s:", field);
	if (!read_file(path, text, sizeof(text)))
		return -1;
	at = strstr(text, key);
	if (at)
		sscanf(at + strlen(key), "%ld", &value);
	return value;
}

/*
 * A closed file is torn down when its last reference goes, which may be in a
 * worker of io_uring: hence the wait.
 */
bool pins_gone(pid_t pid, unsigned int ms)
{
	uint64_t end = now_ms() + ms;

	while (status_kib(pid, "VmPin") > 0) {
		if (now_ms() >= end)
			return false;
		sleep_ms(5);
	}
	return true;
}

/* ---- pages of huge folios in any order ---- */

#define PER_HUGE (unsigned int)(HUGE / PAGE)

/* The one behind @last, or one where things can go wrong. */
static unsigned int some_page(unsigned int last, unsigned int all, draw_fn *draw, void *from)
{
	unsigned int page = (unsigned int)draw(from, all), folio = page - page % PER_HUGE;

	switch (draw(from, 8)) {
	case 0:
	case 1:
		return folio;
	case 2:
		return (folio + PER_HUGE - 1) % all;
	case 3:
		return page;
	default:
		return (last + 1) % all;
	}
}

unsigned int page_like(unsigned int page, unsigned int all, draw_fn *draw, void *from)
{
	unsigned int folio = page - page % PER_HUGE;

	switch (draw(from, 4)) {
	case 0:
		return folio;
	case 1:
		return (folio + PER_HUGE - 1) % all;
	case 2:
		return (folio + (page + 1) % PER_HUGE) % all;
	default:
		return page;
	}
}

static bool used_before(const unsigned int *page, unsigned int nr, unsigned int which)
{
	while (nr && page[nr - 1] != which)
		nr--;
	return nr;
}

void pages_choose(unsigned int *page, unsigned int nr, unsigned int all, bool like, draw_fn *draw,
		  void *from)
{
	unsigned int i, which = (unsigned int)draw(from, all);

	for (i = 0; i < nr; i++) {
		which = like ? page_like(page[i], all, draw, from) :
			       some_page(which, all, draw, from);
		while (used_before(page, i, which))
			which = (which + 1) % all;
		page[i] = which;
	}
}

/* Read, not written: a command may be on its way to them. */
bool pages_map(unsigned char *at, int fd, const unsigned int *page, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++) {
		volatile unsigned char *touch = at + i * PAGE;

		if (!CHECK(mmap(at + i * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
				fd, (off_t)page[i] * PAGE) != MAP_FAILED,
			   "mmap: %s", strerror(errno)))
			return false;
		(void)*touch;
	}
	return true;
}
