// SPDX-License-Identifier: GPL-2.0
/* Memory of attackers: mixed folios, guards, and threads that check them; see hostile.h. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hostile/hostile.h"

#define HUGE	 MIB(2)
#define PER_HUGE (HUGE / PAGE)

/* ---- draws ---- */

static uint64_t scramble(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

uint64_t draw_next(struct draw *d) { return scramble(d->state += 0x9e3779b97f4a7c15ull); }

struct draw draw_from(uint64_t a, uint64_t b, uint64_t c)
{
	return (struct draw){ scramble(opt.seed ^ scramble(a << 40 ^ b << 20 ^ c)) };
}

/* ---- arenas ---- */

/* Each kind of memory where the guest has it, else the other kind. */
static const struct {
	enum mem_kind kind, other;
	size_t len;
	bool private;
} kinds[] = {
	{ MEM_MEMFD, MEM_MEMFD, ARENA_MAX, false }, /* shared memory in huge pages */
	{ MEM_THP, MEM_4K, HUGE, true },
	{ MEM_MEMFD_HUGE, MEM_SHMEM, HUGE, false },
	/* a child cannot get copies of these when there are no more */
	{ MEM_HUGE, MEM_SHMEM, HUGE, false },
	/* folios of 64 KiB */
	{ MEM_MTHP, MEM_4K, 128 * PAGE, true },
	{ MEM_4K, MEM_4K, 128 * PAGE, true },
};

bool arena_open(struct arena *a, unsigned int kind, struct draw *d)
{
	if (kind == ARENAS - 1)
		kind = ARRAY_SIZE(kinds) - 1;
	else if (kind >= 2)
		kind = 2 + draw_of(d, ARRAY_SIZE(kinds) - 2);
	*a = (struct arena){ .mem.fd = -1, .private = kinds[kind].private };
	if (!mem_alloc(&a->mem, kinds[kind].kind, kinds[kind].len) &&
	    !mem_alloc(&a->mem, kinds[kind].other, kinds[kind].len))
		return false;
	poison(a->mem.map, a->mem.len);
	return true;
}

void arena_close(struct arena *a) { mem_free(&a->mem); }

/* With no command in flight. */
bool arena_clean(const struct arena *a, const char *whose)
{
	size_t same = a->mem.map ? poisoned(a->mem.map, a->mem.len) : a->mem.len;

	return CHECK(same == a->mem.len,
		     "%s: byte %#zx of %#zx changed, which no command was to reach; to %#zx", whose,
		     same, a->mem.len, poison_resumes(a->mem.map, a->mem.len));
}

bool arena_sample(const struct arena *a, struct draw *d, const char *whose)
{
	unsigned int page = draw_of(d, a->mem.len / PAGE);
	const unsigned char *at = a->mem.map + (size_t)page * PAGE;

	return a->busy[page] ||
	       CHECK(poisoned(at, PAGE) == PAGE,
		     "%s: byte %#zx of page %u changed, which no command was to reach", whose,
		     poisoned(at, PAGE), page);
}

/* ---- buffers ---- */

static uint64_t from_draw(void *d, uint64_t limit) { return draw_of(d, limit); }

static bool window_fill(const struct buffer *b, const unsigned int *page)
{
	return pages_map(b->window, b->arena->mem.fd, page, b->pages);
}

/* Any pages, or some like the previous ones. */
static bool choose_pages(struct buffer *b, struct draw *d)
{
	bool like = b->pages && draw_of(d, 4);

	if (!like)
		b->pages = 1 + draw_of(d, one_in(d, 3) ? MAX_PAGES : 5);
	pages_choose(b->page, b->pages, (unsigned int)(b->arena->mem.len / PAGE), like, from_draw,
		     d);
	return window_fill(b, b->page);
}

/* Across the border of two huge pages, or anywhere. */
static void choose_piece(struct buffer *b, struct draw *d)
{
	unsigned int all = (unsigned int)(b->arena->mem.len / PAGE), first, i;

	b->pages = 1 + draw_of(d, one_in(d, 3) ? MAX_PAGES : 5);
	first = draw_of(d, all - b->pages);
	if (all > PER_HUGE && one_in(d, 2))
		first = (unsigned int)PER_HUGE - draw_of(d, b->pages + 1);
	for (i = 0; i < b->pages; i++)
		b->page[i] = first + i;
	b->at = b->arena->mem.map + (size_t)first * PAGE;
}

/* @b is a new one, or one whose window is used again. */
bool buffer_choose(struct buffer *b, struct arena *a, struct draw *d)
{
	/* pages of hugetlb cannot be had one by one */
	bool pages = a->mem.fd >= 0 && a->mem.len > HUGE;

	if (b->arena != a)
		b->pages = 0;
	b->arena = a;
	b->windowed = pages;
	if (pages) {
		if (!b->window)
			b->window = mmap(NULL, MAX_PAGES * PAGE, PROT_NONE,
					 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (!CHECK(b->window != MAP_FAILED, "mmap") || !choose_pages(b, d))
			return false;
		b->at = b->window;
	} else {
		choose_piece(b, d);
	}
	b->skip = one_in(d, 2) ? 0 : NVME_PMAP_ALIGN * draw_of(d, PAGE / NVME_PMAP_ALIGN / 2);
	b->at += b->skip;
	b->len = b->pages * PAGE - b->skip;
	if (one_in(d, 3))
		b->len -= NVME_PMAP_ALIGN * draw_of(d, PAGE / NVME_PMAP_ALIGN / 4);
	return true;
}

bool buffer_cover(const struct buffer *b, struct draw *d)
{
	unsigned int all = (unsigned int)(b->arena->mem.len / PAGE), page[MAX_PAGES], i;

	if (!b->windowed)
		return true;
	for (i = 0; i < b->pages; i++)
		page[i] = one_in(d, 2) ? page_like(b->page[i], all, from_draw, d) : draw_of(d, all);
	return window_fill(b, page);
}

bool buffer_take(const struct buffer *b, size_t from, size_t len)
{
	size_t first = (b->skip + from) / PAGE, last = (b->skip + from + len - 1) / PAGE, i;

	for (i = first; i <= last; i++)
		if (b->arena->busy[b->page[i]])
			return false;
	for (i = first; i <= last; i++)
		b->arena->busy[b->page[i]] = true;
	return true;
}

void buffer_give(const struct buffer *b, size_t from, size_t len)
{
	size_t first = (b->skip + from) / PAGE, last = (b->skip + from + len - 1) / PAGE, i;

	for (i = first; i <= last; i++)
		b->arena->busy[b->page[i]] = false;
}

/* The rest of the page after @from, up to @len bytes: where it is. */
static unsigned char *piece(const struct buffer *b, size_t from, size_t len, size_t *bytes)
{
	size_t at = b->skip + from, in = at % PAGE;

	*bytes = PAGE - in < len ? PAGE - in : len;
	return b->arena->mem.map + (size_t)b->page[at / PAGE] * PAGE + in;
}

/* Checks the pages themselves, not the program's mapping; no data: poison. */
void buffer_write(const struct buffer *b, size_t from, const void *data, size_t len)
{
	const unsigned char *src = data;
	unsigned char *to;
	size_t bytes;

	for (; len; len -= bytes, from += bytes) {
		to = piece(b, from, len, &bytes);
		if (src) {
			memcpy(to, src, bytes);
			src += bytes;
		} else {
			poison(to, bytes);
		}
	}
}

void buffer_read(const struct buffer *b, size_t from, void *data, size_t len)
{
	unsigned char *dst = data, *at;
	size_t bytes;

	for (; len; len -= bytes, from += bytes, dst += bytes) {
		at = piece(b, from, len, &bytes);
		memcpy(dst, at, bytes);
	}
}

/* ---- threads and processes that check ---- */

static uint64_t checksum(const struct arena *a)
{
	const uint64_t *w = (const void *)a->mem.map, *end = w + a->mem.len / 8;
	uint64_t sum = 0;

	for (; w < end; w++)
		sum = (sum ^ *w) * 0x9e3779b97f4a7c15ull + (sum >> 7);
	return sum;
}

/*
 * Without a write, which would give the child pages of its own; after a while with one.
 * The files and rings of the program stay open for as long.
 */
static bool look(const struct arena *a, unsigned int nr, unsigned int ms)
{
	uint64_t before[ARENAS] = { 0 };
	unsigned int i;
	bool same = true;

	for (i = 0; i < nr; i++)
		before[i] = a[i].private ? checksum(&a[i]) : 0;
	sleep_ms(ms);
	for (i = 0; i < nr; i++)
		same &= !a[i].private || checksum(&a[i]) == before[i];
	for (i = 0; i < nr; i++)
		if (a[i].private)
			poison(a[i].mem.map, a[i].mem.len);
	sleep_ms(ms);
	for (i = 0; i < nr; i++)
		same &= !a[i].private || poisoned(a[i].mem.map, a[i].mem.len) == a[i].mem.len;
	return same;
}

void snapshot(struct hostile *h, const struct arena *a, unsigned int nr, struct draw *d)
{
	static const char bad[] = "\n# a child's copy of private memory changed\n";
	unsigned int ms = draw_of(d, 60);
	pid_t pid = fork();

	if (pid) {
		COUNT(h, snapshots, pid > 0);
		return;
	}
	/* no CHECK: another thread may have had the lock of stdout */
	alarm(opt.limit);
	if (!look(a, nr, ms) && write(1, bad, sizeof(bad) - 1))
		h->failed = true;
	_exit(0);
}

/* Sizes of a huge page and of small ones; soon this gets pages that others freed. */
void taker(void *arg)
{
	struct hostile *h = arg;
	struct draw d = draw_from(77, 0, 0);

	while (!h->stop && !h->failed && !case_failed()) {
		struct arena a[3];
		unsigned int i;

		for (i = 0; i < ARRAY_SIZE(a); i++)
			arena_open(&a[i], i % 2 ? 2 : 1, &d);
		sleep_ms((slow_kernel() ? 4 : 1) * (50 + draw_of(&d, 300)));
		for (i = 0; i < ARRAY_SIZE(a); i++) {
			arena_clean(&a[i], "memory of a process that has no part in this");
			arena_close(&a[i]);
		}
		COUNT(h, taken, i);
	}
	if (case_failed())
		h->failed = true;
}
