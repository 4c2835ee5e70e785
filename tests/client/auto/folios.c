// SPDX-License-Identifier: GPL-2.0
/*
 * The auto door and buffers of mixed folios: pieces of huge pages (heads, middles,
 * tails), small pages, files.  One after the other they are registered in the same
 * slot, so that io_uring allocates an object at the address of an earlier one.  Data must
 * go to the buffer, and to no other byte of this process or of another.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "auto/auto.h"

#define HUGE	  MIB(2)
#define ARENA	  (4 * HUGE)
#define MAX_PAGES 40u

struct folios {
	struct prog p;
	struct mem mem;			     /* all of the memory, in order */
	unsigned char *window;		     /* the addresses of buffers */
	unsigned int page[MAX_PAGES], pages; /* the numbers of the pages there */
	uint64_t served, sent;
};

/* ---- buffers made of pages in any order: of shared memory in huge pages ---- */

#define SHMEM_THP "/sys/kernel/mm/transparent_hugepage/shmem_enabled"

static uint64_t from_rnd(void *none, uint64_t limit)
{
	(void)none;
	return rnd_below(limit);
}

/* Other pages, or some like the pages of the previous buffer. */
static bool fill_window(struct folios *f, unsigned int pages)
{
	bool like = f->pages && rnd_below(4);

	if (!like)
		f->pages = pages;
	pages_choose(f->page, f->pages, ARENA / PAGE, like, from_rnd, NULL);
	return pages_map(f->window, f->mem.fd, f->page, f->pages);
}

/* ---- buffers that are a piece of the memory ---- */

/* Across the border of two huge pages, or anywhere. */
static unsigned char *some_piece(const struct folios *f, unsigned int pages)
{
	size_t border = HUGE * (1 + rnd_below(ARENA / HUGE - 1));
	size_t at = border - PAGE * rnd_below(pages + 1);

	if (rnd_below(3) == 0)
		at = PAGE * rnd_below(ARENA / PAGE - pages);
	return f->mem.map + (at + pages * PAGE > ARENA ? ARENA - pages * PAGE : at);
}

/* ---- commands ---- */

/* A part of the buffer, of whole blocks; a small one or all of it. */
static uint32_t some_part(const struct folios *f, size_t len, size_t *from)
{
	uint32_t block = f->p.dev.block, part = (uint32_t)(len / block) * block;

	if (rnd_below(2))
		part = block * (1 + (uint32_t)rnd_below(len / block));
	if (part > f->p.dev.mdts)
		part = (uint32_t)f->p.dev.mdts;
	*from = (len - part) / NVME_PMAP_ALIGN;
	*from = NVME_PMAP_ALIGN * rnd_below(*from + 1);
	return part;
}

/* Read from the disk into a part, verify it, and wipe it. */
static bool read_part(struct folios *f, unsigned char *at, size_t len)
{
	size_t from;
	uint32_t part = some_part(f, len, &from);
	uint64_t lba = rnd_below(4096);

	f->sent++;
	if (!CHECK_RET(run_fixed(&f->p, OP_READ, 1, at + from, part, lba), 0, "read of %u", part) ||
	    !shows(&f->p, at + from, part, lba, 1, "a part of a buffer of folios"))
		return false;
	poison(at + from, part);
	return true;
}

/* Write a part, read the blocks into other memory, and verify them. */
static bool write_part(struct folios *f, unsigned char *at, size_t len, uint64_t gen)
{
	size_t from;
	uint32_t part = some_part(f, len, &from), blocks = part / f->p.dev.block;

	f->sent++;
	pattern_fill(at + from, f->p.dev.block, 9, blocks, gen);
	if (!CHECK_RET(run_fixed(&f->p, OP_WRITE, 1, at + from, part, 16384), 0, "write of %u",
		       part))
		return false;
	poison(at + from, part);
	return disk_shows(&f->p, 16384, part, 9, gen, "from a buffer of folios");
}

/* One buffer: registered, used until the door serves it and beyond, and given up. */
static bool one_buffer(struct folios *f, uint64_t gen)
{
	unsigned int most = rnd_below(3) ? 4 : MAX_PAGES, i;
	unsigned int pages = 1 + (unsigned int)rnd_below(most);
	size_t skip = rnd_below(2) ? 0 : NVME_PMAP_ALIGN * rnd_below(256), len;
	unsigned char *at = f->window;
	struct paths before = paths_of(&f->p.dev), w;
	bool good = true;

	if (at) {
		good = fill_window(f, pages);
		pages = f->pages;
	} else {
		at = some_piece(f, pages);
	}
	len = pages * PAGE - skip;
	/* where the old buffer is unregistered first, the new one may take its memory */
	good = good && (rnd_below(2) || buffer_set(&f->p, 1, NULL, 0)) &&
	       buffer_set(&f->p, 1, at + skip, len);
	for (i = 0; good && i < 6; i++) {
		good = read_part(f, at + skip, len);
		if (i == 2)
			sleep_ms(2);
	}
	good = good && write_part(f, at + skip, len, gen);
	w = paths_since(&f->p.dev, &before);
	f->served += w.served;
	return CHECK(good, "buffer %" PRIu64 ", of %u pages, from byte %zu of the first on", gen,
		     pages, skip);
}

static void folios_rounds(struct folios *f, const char *what)
{
	unsigned int i, rounds = opt.rounds ?: 400;

	poison(f->mem.map, ARENA);
	for (i = 0; i < rounds && one_buffer(f, 2 + i); i++)
		;
	CHECK(poisoned(f->mem.map, ARENA) == ARENA, "%s: byte %zu outside of the buffers changed",
	      what, poisoned(f->mem.map, ARENA));
	note("%s: %u buffers, %" PRIu64 " commands, %" PRIu64 " of them served", what, i, f->sent,
	     f->served);
	CHECK(f->served >= f->sent / 4, "%s: of %" PRIu64 " commands the door served %" PRIu64,
	      what, f->sent, f->served);
	buffer_set(&f->p, 1, NULL, 0);
}

static void folios_of(enum mem_kind kind, bool shuffled)
{
	struct folios f = { .mem.fd = -1 };

	if (!prog_open(&f.p, MODE_IRQ, MEM_4K, LEN) || !prog_warm(&f.p) ||
	    !disk_fill(&f.p, 0, 4608 * f.p.dev.block, 0, 1))
		goto out;
	if (!mem_alloc(&f.mem, kind, ARENA)) {
		skip_case("no %s memory", mem_names[kind]);
		goto out;
	}
	if (shuffled) {
		f.window = mmap(NULL, MAX_PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
				0);
		if (!CHECK(f.window != MAP_FAILED, "mmap"))
			goto out;
	}
	folios_rounds(&f, shuffled ? "shuffled" : mem_names[kind]);
out:
	if (f.window)
		munmap(f.window, MAX_PAGES * PAGE);
	mem_free(&f.mem);
	prog_close(&f.p);
}

void auto_folios(void)
{
	static const enum mem_kind kinds[] = { MEM_THP, MEM_HUGE, MEM_MEMFD_HUGE, MEM_MEMFD };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(kinds) && !case_failed(); i++)
		folios_of(kinds[i], false);
}

/* Pages of huge ones in any order: heads beside tails beside pieces. */
void auto_folios_shuffled(void)
{
	char before[64] = "";

	if (!read_file(SHMEM_THP, before, sizeof(before)) || !write_file(SHMEM_THP, "force")) {
		skip_case("no huge pages of shared memory");
		return;
	}
	folios_of(MEM_MEMFD, true);
	write_file(SHMEM_THP, "never");
}
