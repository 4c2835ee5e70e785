// SPDX-License-Identifier: GPL-2.0
/* Fuzzing: memory between guards, and memory that vanishes under a call. */
#include <signal.h>
#include <sys/mman.h>

#include "fuzz/fuzz.h"

void *map_pages(size_t len, int flags)
{
	void *map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | flags, -1, 0);

	if (!CHECK(map != MAP_FAILED, "no memory: %s", strerror(errno)))
		return NULL;
	madvise(map, len, MADV_NOHUGEPAGE);
	return map;
}

/*
 * Pages of huge ones (where the kernel has such shared memory) in any order: heads and
 * tails of folios beside pieces of others.  The file has more pages than are mapped.
 */
static void map_mixed(unsigned char *map, size_t len, struct worker *w)
{
	static const size_t all = MIB(4) / PAGE;
	bool used[MIB(4) / PAGE] = { false };
	int fd = memfd_create("pmap-fuzz", MFD_CLOEXEC);
	size_t page = 0, at;

	if (!CHECK(fd >= 0 && !ftruncate(fd, MIB(4)), "memfd: %s", strerror(errno)))
		return;
	for (at = 0; at < len; at += PAGE) {
		/* neighbours as well, which io_uring takes for one piece */
		page = chance(w, 500) ? page + 1 : draw_below(w, 4) * all / 4 - chance(w, 300);
		while (used[page %= all])
			page++;
		used[page] = true;
		if (!CHECK(mmap(map + at, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
				(off_t)(page * PAGE)) != MAP_FAILED,
			   "mmap: %s", strerror(errno)))
			break;
	}
	close(fd);
}

/*
 * Slots with a page of poison on either side.  A buffer begins and ends inside
 * its first and last page, so that the poison goes on in memory that is pinned
 * and mapped, but not registered.
 */
void arena_make(struct arena *a, const uint16_t pages[NR_SLOTS], int flags, struct worker *w,
		bool mixed)
{
	unsigned char *at;
	unsigned int i;

	for (a->len = 0, i = 0; i < NR_SLOTS; i++)
		a->len += (pages[i] + 2u) * PAGE;
	a->map = at = map_pages(a->len, flags);
	if (!at)
		return;
	if (mixed)
		map_mixed(a->map, a->len, w);
	poison(a->map, a->len);
	for (i = 0; i < NR_SLOTS; i++, at += (pages[i - 1] + 2u) * PAGE) {
		uint32_t head = (uint32_t)draw_below(w, 256) * 4;

		a->slot[i].at = at + PAGE + head;
		a->slot[i].len = pages[i] * PAGE - head - (uint32_t)draw_below(w, 256) * 4;
	}
}

static void guard_check(const struct arena *a, const unsigned char *from, const unsigned char *to,
			const char *whose)
{
	size_t len = (size_t)(to - from), same = poisoned(from, len), at = (size_t)(from - a->map);

	CHECK(same == len, "%s memory: changed from %#zx to %#zx, outside every buffer", whose,
	      at + same, at + poison_resumes(from, len));
}

void arena_check(const struct arena *a, const char *whose)
{
	const unsigned char *from = a->map;
	unsigned int i;

	for (i = 0; i < NR_SLOTS; i++) {
		guard_check(a, from, a->slot[i].at, whose);
		from = a->slot[i].at + a->slot[i].len;
	}
	guard_check(a, from, a->map + a->len, whose);
}

void worker_memory(struct worker *w)
{
	static const uint16_t pages[NR_SLOTS] = { 1, 1, 2, 3, 9, 40 };

	arena_make(&w->arena, pages, MAP_PRIVATE, w, w->id % 2);
	w->args = map_pages(ARGS_LEN + PAGE, MAP_PRIVATE);
	mprotect(w->args + ARGS_LEN, PAGE, PROT_NONE);
	w->readonly = map_pages(PAGE, MAP_PRIVATE);
	mprotect(w->readonly, PAGE, PROT_READ);
	w->stock = map_pages(STOCK_LEN, MAP_PRIVATE);
	replace_junk(w);
}

/* New pages at the same place: no page is registered often at a time. */
void replace_junk(struct worker *w)
{
	mmap(w->junk, JUNK_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
	     0);
}

bool hole_make(void)
{
	fuzz.hole = mmap(NULL, HOLE_LEN, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			 0);
	if (!CHECK(fuzz.hole != MAP_FAILED, "no room for the hole: %s", strerror(errno)))
		return false;
	fuzz.unstable = fuzz.hole + HOLE_LEN / 4;
	return CHECK(mmap(fuzz.unstable, VOLATILE_LEN, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == fuzz.unstable,
		     "no memory for the hole: %s", strerror(errno));
}

/* One change of the memory that calls are using at this moment. */
static void mangle(struct worker *w)
{
	size_t len = (1 + draw_below(w, 4)) * PAGE;
	unsigned char *at = fuzz.unstable + draw_below(w, (VOLATILE_LEN - len) / PAGE + 1) * PAGE;

	switch (draw_below(w, 5)) {
	case 0:
		mprotect(at, len, PROT_READ);
		break;
	case 1:
		mprotect(at, len, PROT_NONE);
		break;
	case 2:
		madvise(at, len, MADV_DONTNEED);
		break;
	case 3:
		/* not munmap(): another thread's mmap() could take the place */
		mmap(at, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		break;
	default:
		mmap(at, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		     0);
	}
}

/* Changes the unstable memory, and sends workers signals, until told to stop. */
void *mangler(void *arg)
{
	struct worker *w = arg;

	while (!__atomic_load_n(&fuzz.stop, __ATOMIC_RELAXED)) {
		unsigned int i, n = 1 + (unsigned int)draw_below(w, 8);

		for (i = 0; i < n; i++)
			mangle(w);
		if (chance(w, 100))
			pthread_kill(fuzz.worker[draw_below(w, NR_WORKERS)].thread, SIGUSR1);
		/* It shares two CPUs with the workers. */
		sleep_ms(1);
	}
	return NULL;
}
