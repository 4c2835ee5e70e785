// SPDX-License-Identifier: GPL-2.0
/*
 * The auto door and the program's memory: a program may change its mappings and its
 * tables of buffers in any way, and data goes where io_uring would have sent it.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "auto/auto.h"

/* ---- memory that can be looked at past the mapping that the program uses ---- */

struct shown {
	int fd;
	unsigned char *look;
};

static bool shown_make(struct shown *s)
{
	s->fd = memfd_create("pmap-test", MFD_CLOEXEC);
	if (!CHECK(s->fd >= 0 && !ftruncate(s->fd, LEN), "memfd: %s", strerror(errno)))
		return false;
	s->look = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd, 0);
	if (!CHECK(s->look != MAP_FAILED, "mmap: %s", strerror(errno)))
		return false;
	poison(s->look, LEN);
	return true;
}

/* Pages of it at @at; @page is the first. */
static bool shown_at(const struct shown *s, unsigned char *at, unsigned int page,
		     unsigned int pages)
{
	volatile unsigned char *touch = at;
	unsigned int i;

	if (!CHECK(mmap(at, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, s->fd,
			page * PAGE) == at,
		   "mmap: %s", strerror(errno)))
		return false;
	/* the door maps only present pages */
	for (i = 0; i < pages; i++)
		touch[i * PAGE] = touch[i * PAGE];
	return true;
}

static void shown_drop(struct shown *s)
{
	if (s->look && s->look != MAP_FAILED)
		munmap(s->look, LEN);
	if (s->fd > 0)
		close(s->fd);
	*s = (struct shown){ 0 };
}

static bool untouched(const struct shown *s, const char *what)
{
	return CHECK(poisoned(s->look, LEN) == LEN, "%s: byte %zu changed", what,
		     poisoned(s->look, LEN));
}

/* ---- reregistered ---- */

/* The table as a whole is replaced, or one entry of it. */
static bool reregister(struct prog *p, unsigned char *at, bool whole)
{
	struct iovec iov[2] = { { p->mem.map, p->mem.len }, { at, LEN } };

	if (!whole)
		return buffer_set(p, 1, NULL, 0) && buffer_set(p, 1, at, LEN);
	return CHECK_RET(io_uring_unregister_buffers(&p->ring), 0, "unregister") &&
	       CHECK_RET(io_uring_register_buffers(&p->ring, iov, 2), 0, "register");
}

/* Other memory at the same address; the one before is this program's to look at. */
static bool reregistered_round(struct prog *p, unsigned char *at, struct shown *now,
			       const struct shown *before, unsigned int round)
{
	struct paths ways;

	if (!shown_make(now) || !shown_at(now, at, 0, LEN / PAGE) ||
	    !reregister(p, at, round % 3 == 0))
		return false;
	/* stock may serve these, or, were it not exact, the mapping of the memory before */
	if (!move(p, OP_READ, 1, at, 0, "first read") ||
	    !shows(p, now->look, LEN, 0, 1, "the new memory at first") ||
	    (before->look && !untouched(before, "the memory before")) || !buffer_warm(p, 1, at))
		return false;
	ways = paths_of(&p->dev);
	if (!move(p, OP_READ, 1, at, 0, "read") ||
	    !shows(p, now->look, LEN, 0, 1, "the new memory") ||
	    (before->look && !untouched(before, "the memory before")))
		return false;
	pattern_fill(now->look, p->dev.block, 7, LEN / p->dev.block, 2 + round);
	return move(p, OP_WRITE, 1, at, 4096, "write") &&
	       disk_shows(p, 4096, LEN, 7, 2 + round, "from the new memory") &&
	       paths_served(p, &ways, 2 * LEN / SLICE, "the new memory");
}

void auto_reregistered(void)
{
	struct shown s[2] = { { 0 }, { 0 } };
	struct prog p;
	unsigned char *at = place(&p);
	unsigned int round;

	for (round = 0; at && round < 12; round++) {
		struct shown *now = &s[round % 2], *before = &s[!(round % 2)];

		if (!disk_fill(&p, 0, LEN, 0, 1))
			break;
		shown_drop(now);
		if (before->look)
			poison(before->look, LEN);
		if (!reregistered_round(&p, at, now, before, round))
			break;
	}
	shown_drop(&s[0]);
	shown_drop(&s[1]);
	if (at)
		munmap(at, LEN);
	prog_close(&p);
}

/* ---- other memory under a buffer that stays registered ---- */

/* Has io_uring's memory the data, the other none, and is the mapping of the first? */
static void remapped_check(struct prog *p, unsigned char *at, const struct shown *old,
			   const struct shown *other)
{
	struct paths before;
	uint64_t sent;

	if (!buffer_warm(p, 1, at))
		return;
	before = paths_of(&p->dev);
	sent = p->sent;
	if (!move(p, OP_READ, 1, at, 0, "read") ||
	    !shows(p, old->look, LEN, 0, 1, "the registered memory") ||
	    !untouched(other, "the memory mapped since"))
		return;
	pattern_fill(old->look, p->dev.block, 7, LEN / p->dev.block, 2);
	if (move(p, OP_WRITE, 1, at, 4096, "write") &&
	    disk_shows(p, 4096, LEN, 7, 2, "from the registered memory"))
		paths_served(p, &before, p->sent - sent, "the registered memory");
}

/*
 * @change the mapping between registration and first use.  The buffer's address then
 * has other pages than the ones io_uring has pinned.
 */
static void remapped(bool (*change)(unsigned char *at, const struct shown *old,
				    const struct shown *other))
{
	struct shown old = { 0 }, other = { 0 };
	struct prog p;
	unsigned char *at = place(&p);

	if (at && disk_fill(&p, 0, LEN, 0, 1) && shown_make(&old) && shown_make(&other) &&
	    shown_at(&old, at, 0, LEN / PAGE) && buffer_set(&p, 1, at, LEN) &&
	    change(at, &old, &other))
		remapped_check(&p, at, &old, &other);
	shown_drop(&old);
	shown_drop(&other);
	if (at)
		munmap(at, LEN);
	prog_close(&p);
}

static bool change_all(unsigned char *at, const struct shown *old, const struct shown *other)
{
	(void)old;
	return shown_at(other, at, 0, LEN / PAGE);
}

/* In the middle of a slice. */
static bool change_page(unsigned char *at, const struct shown *old, const struct shown *other)
{
	(void)old;
	return shown_at(other, at + 7 * PAGE, 7, 1);
}

/* The same pages, in another order. */
static bool change_order(unsigned char *at, const struct shown *old, const struct shown *other)
{
	(void)other;
	return shown_at(old, at + 7 * PAGE, 8, 1) && shown_at(old, at + 8 * PAGE, 7, 1);
}

void auto_remapped(void) { remapped(change_all); }
void auto_remapped_page(void) { remapped(change_page); }
void auto_remapped_swapped(void) { remapped(change_order); }

/* After the first use the mapping has the pages that io_uring has, and continues to serve. */
void auto_remapped_used(void)
{
	struct shown old = { 0 }, other = { 0 };
	struct prog p;
	unsigned char *at = place(&p);
	struct paths before;

	if (!at || !disk_fill(&p, 0, LEN, 0, 1) || !shown_make(&old) || !shown_make(&other) ||
	    !shown_at(&old, at, 0, LEN / PAGE) || !buffer_set(&p, 1, at, LEN) ||
	    !move(&p, OP_READ, 1, at, 0, "read") || !shows(&p, at, LEN, 0, 1, "first use") ||
	    !buffer_warm(&p, 1, at))
		goto out;
	before = paths_of(&p.dev);
	shown_at(&other, at, 0, LEN / PAGE);
	poison(old.look, LEN);
	if (move(&p, OP_READ, 1, at, 0, "read") &&
	    shows(&p, old.look, LEN, 0, 1, "the registered memory") &&
	    untouched(&other, "the memory mapped since"))
		paths_served(&p, &before, LEN / SLICE, "the registered memory");
out:
	shown_drop(&old);
	shown_drop(&other);
	if (at)
		munmap(at, LEN);
	prog_close(&p);
}

/* ---- a hole in a huge page ---- */

#define HUGE MIB(2)
#define HOLE (77u * PAGE)

static bool huge_move(struct prog *p, uint8_t opcode, unsigned char *map, uint64_t slba)
{
	uint32_t part = 32 * PAGE, at;

	for (at = 0; at < HUGE; at += part)
		prep_fixed(p, opcode, 1, map + at, part, slba + at / p->dev.block);
	return run_batch(p, HUGE / part, "huge page");
}

/*
 * io_uring has registered a huge page, which it keeps as one piece; a page of it is
 * then replaced.  Only the device can still reach the old page.
 */
static void huge_hole(struct prog *p, unsigned char *map)
{
	struct paths before = paths_of(&p->dev);
	uint64_t sent = p->sent;

	CHECK(!madvise(map + HOLE, PAGE, MADV_DONTNEED), "madvise: %s", strerror(errno));
	poison(map, HUGE);
	if (!huge_move(p, OP_READ, map, 0) || !shows(p, map, HOLE, 0, 1, "before the hole"))
		return;
	CHECK(poisoned(map + HOLE, PAGE) == PAGE, "the new page changed");
	shows(p, map + HOLE + PAGE, HUGE - HOLE - PAGE, (HOLE + PAGE) / p->dev.block, 1,
	      "behind the hole");
	if (huge_move(p, OP_WRITE, map, 65536))
		disk_shows(p, 65536, HUGE, 0, 1, "from the registered memory");
	paths_served(p, &before, p->sent - sent, "a huge page with a hole");
}

void auto_remapped_huge(void)
{
	struct mem huge = { .fd = -1 };
	struct prog p;

	if (prog_open(&p, MODE_IRQ, MEM_4K, LEN) && prog_warm(&p) &&
	    CHECK(mem_alloc(&huge, MEM_THP, HUGE), "no memory") && disk_fill(&p, 0, HUGE, 0, 1) &&
	    buffer_set(&p, 1, huge.map, HUGE) && buffer_warm(&p, 1, huge.map))
		huge_hole(&p, huge.map);
	mem_free(&huge);
	prog_close(&p);
}

/* Huge pages where no address has their alignment. */
void auto_shifted(void)
{
	struct mem mem = { .fd = -1 };
	unsigned char *at = mmap(NULL, 4 * HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct paths before;
	struct prog p;

	if (!prog_open(&p, MODE_IRQ, MEM_4K, LEN) || !prog_warm(&p) ||
	    !CHECK(at != MAP_FAILED && mem_alloc(&mem, MEM_THP, 2 * HUGE), "no memory"))
		goto out;
	at += HUGE - (uintptr_t)at % HUGE + PAGE;
	if (!CHECK(mremap(mem.map, 2 * HUGE, 2 * HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, at) == at,
		   "mremap: %s", strerror(errno)) ||
	    !buffer_set(&p, 1, at, 2 * HUGE) || !buffer_warm(&p, 1, at))
		goto out;
	before = paths_of(&p.dev);
	pattern_fill(at, p.dev.block, 0, 2 * HUGE / p.dev.block, 3);
	if (huge_move(&p, OP_WRITE, at, 0) &&
	    huge_move(&p, OP_WRITE, at + HUGE, HUGE / p.dev.block)) {
		poison(at, 2 * HUGE);
		if (huge_move(&p, OP_READ, at, 0) &&
		    huge_move(&p, OP_READ, at + HUGE, HUGE / p.dev.block) &&
		    shows(&p, at, 2 * HUGE, 0, 3, "shifted"))
			paths_served(&p, &before, 4 * HUGE / (32 * PAGE), "shifted");
	}
out:
	mem_free(&mem);
	prog_close(&p);
}

/* ---- shrunk ---- */

/* io_uring needs no mapping of pages that it has pinned. */
void auto_shrunk(void)
{
	struct shown old = { 0 };
	struct paths before;
	struct prog p;
	unsigned char *at = place(&p);

	if (!at || !disk_fill(&p, 0, LEN, 0, 1) || !shown_make(&old) ||
	    !shown_at(&old, at, 0, LEN / PAGE) || !buffer_set(&p, 1, at, LEN))
		goto out;
	munmap(at + LEN / 2, LEN / 2);
	if (!buffer_warm(&p, 1, at))
		goto out;
	before = paths_of(&p.dev);
	if (move(&p, OP_READ, 1, at, 0, "read"))
		shows(&p, old.look, LEN, 0, 1, "half unmapped");
	pattern_fill(old.look, p.dev.block, 7, LEN / p.dev.block, 2);
	if (move(&p, OP_WRITE, 1, at, 4096, "write"))
		disk_shows(&p, 4096, LEN, 7, 2, "half unmapped");
	paths_served(&p, &before, 2 * LEN / SLICE, "half unmapped");
out:
	shown_drop(&old);
	if (at)
		munmap(at, LEN);
	prog_close(&p);
}
