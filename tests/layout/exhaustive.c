// SPDX-License-Identifier: GPL-2.0
/*
 * Every way to keep a buffer, every way to cut a slice out of it: small buffers
 * dword by dword, large ones page by page around the sizes where a list, a
 * window or a block ends.  `--quick` takes a sample that still has to find a
 * header with a mistake in it.
 */
#include <stdio.h>
#include <string.h>

#include "buffer.h"
#include "far.h"

#define PAGE PMAP_SLOT_SIZE

static struct buffer buf;
static bool quick;
static u64 slices, kinds[PMAP_KINDS], oversize[2];
static int failed;

/* Ways to keep a buffer and to place it; sizes are filled in. */
struct row {
	const char *name;
	struct buffer_spec spec;
};

static const struct row small_rows[] = {
	{ "PRP", { WANT_PRP, SHAPE_SCATTERED, .step = 1 } },
	{ "PRP, one run", { WANT_PRP, SHAPE_ONE_RUN, .step = 4 } },
	{ "PRP, whole lists", { WANT_PRP, SHAPE_RUNS, .run = 1, .whole_lists = true, .step = 2 } },
	{ "SGL, one run", { WANT_SGL, SHAPE_ONE_RUN, .step = 1, .phase = 3 } },
	{ "SGL, scattered, blocks of 4",
	  { WANT_SGL, SHAPE_SCATTERED, .list_shift = 2, .step = 1 } },
	{ "SGL, pairs, blocks of 2",
	  { WANT_SGL, SHAPE_RUNS, .run = 1, .list_shift = 1, .step = 2 } },
	{ "SGL, pairs out of phase, blocks of 256",
	  { WANT_SGL, SHAPE_RUNS, .run = 1, .list_shift = 8, .phase = 1, .step = 2 } },
	{ "SGL, groups of 4 out of phase, blocks of 2",
	  { WANT_SGL, SHAPE_RUNS, .run = 2, .list_shift = 1, .phase = 3, .step = 3 } },
	{ "SGL list asked for, one run, blocks of 1",
	  { WANT_SGL_LIST, SHAPE_ONE_RUN, .list_shift = 0, .step = 4 } },
	{ "SGL list asked for, pairs, blocks of 4",
	  { WANT_SGL_LIST, SHAPE_RUNS, .run = 1, .list_shift = 2, .step = 2 } },
};

static const struct row large_rows[] = {
	{ "PRP", { WANT_PRP, SHAPE_SCATTERED, .step = 1 } },
	{ "PRP, huge pages", { WANT_PRP, SHAPE_RUNS, .run = 9, .phase = 300, .step = 512 } },
	{ "PRP, whole lists",
	  { WANT_PRP, SHAPE_RANDOM, .run = 3, .whole_lists = true, .step = 64, .seed = 1 } },
	{ "SGL, one run", { WANT_SGL, SHAPE_ONE_RUN, .step = 700, .phase = 99 } },
	{ "SGL, scattered, blocks of 8192",
	  { WANT_SGL, SHAPE_SCATTERED, .list_shift = 13, .step = 1 } },
	{ "SGL, scattered, blocks of 256",
	  { WANT_SGL, SHAPE_SCATTERED, .list_shift = 8, .step = 1 } },
	{ "SGL, scattered, blocks of 8",
	  { WANT_SGL, SHAPE_SCATTERED, .list_shift = 3, .step = 1 } },
	{ "SGL, huge pages, blocks of 256",
	  { WANT_SGL, SHAPE_RUNS, .run = 9, .list_shift = 8, .step = 512 } },
	{ "SGL, huge pages out of phase, blocks of 512",
	  { WANT_SGL, SHAPE_RUNS, .run = 9, .list_shift = 9, .phase = 300, .step = 200 } },
	{ "SGL, groups of 16 out of phase, blocks of 64",
	  { WANT_SGL, SHAPE_RUNS, .run = 4, .list_shift = 6, .phase = 5, .step = 16 } },
	{ "SGL, runs at random, blocks of 256",
	  { WANT_SGL, SHAPE_RANDOM, .run = 7, .list_shift = 8, .phase = 77, .step = 9,
	    .seed = 2 } },
	{ "SGL list asked for, huge pages, blocks of 1024",
	  { WANT_SGL_LIST, SHAPE_RUNS, .run = 9, .list_shift = 10, .step = 512 } },
};

/* Around the end of a window's first half, of a list, of 2 lists, of 8 MiB. */
static const u32 large_slots[] = {
	17,  255, 256, 257, 258,  259,	260,  511,  512,  513,
	514, 515, 767, 769, 1023, 1024, 1025, 1026, 2049, 2050,
};
static const u32 quick_slots[] = { 257, 512, 514, 1026, 2050 };

/* Starts of buffers; the last two only where pages are larger than a slot. */
static const u32 heads[] = { 0, 4, 2048, 4092, 4096, 61444 };

static bool report(const char *name, const char *wrong, u64 start, u64 len)
{
	const struct buffer_spec *s = &buf.spec;

	if (!wrong)
		return true;
	printf("not ok - %s: %u slots, head %u: %llu bytes at slot %llu + %llu: %s\n", name,
	       s->slots, s->head, (unsigned long long)len, (unsigned long long)(start / PAGE),
	       (unsigned long long)(start % PAGE), wrong);
	failed = 1;
	return false;
}

static bool make(const struct row *row, const char *name, u32 slots, u32 head, u32 tail)
{
	struct buffer_spec spec = row->spec;

	spec.slots = slots;
	spec.head = head;
	spec.tail = tail;
	return report(name, buffer_make(&buf, &spec), 0, 0);
}

static void unmake(void)
{
	for (int i = 0; i < PMAP_KINDS; i++) {
		kinds[i] += buf.kinds[i];
		slices += buf.kinds[i];
	}
	oversize[0] += buf.large[0];
	oversize[1] += buf.large[1];
	buffer_free(&buf);
}

/* From byte @start of slot 0 to byte @end; slices outside of the buffer are skipped. */
static bool slice(const char *name, u64 start, u64 end)
{
	u64 last = buf.spec.head + buffer_len(&buf);

	if (start < buf.spec.head || end > last || start >= end || end - start > MAX_TRANSFER)
		return true;
	return report(name, buffer_check(&buf, start - buf.spec.head, (u32)(end - start)), start,
		      end - start);
}

/* The dwords of a page next to something: its ends, its middle, a sector. */
static const u32 edges[] = { 0, 4, 8, 508, 512, 2044, 2048, 2052, 4088, 4092 };
#define NR_EDGES (sizeof(edges) / sizeof(edges[0]))

/* All pairs of an edge and a dword, in either order; all pairs of dwords. */
static bool small_slices(const char *name, u32 slots)
{
	/* no divisor of a page, so that every residue comes up */
	u64 step = quick || slots > 2 || buf.spec.head ? 4 * (4 * slots + 3) : 4;
	u64 bytes = (u64)slots * PAGE;
	bool good = true;

	for (u32 e = 0; e < NR_EDGES * (slots + 1) && good; e++) {
		u64 edge = e / NR_EDGES * PAGE + edges[e % NR_EDGES];

		for (u64 at = 0; at <= bytes && good; at += quick ? 60 : 4)
			good = slice(name, edge, at) && slice(name, at, edge);
	}
	for (u64 start = 0; start < bytes && good; start += step)
		for (u64 end = start + 4; end <= bytes && good; end += step)
			good = slice(name, start, end);
	return good;
}

static void small(const struct row *row)
{
	char name[120];
	bool good = true;

	snprintf(name, sizeof(name), "small buffers: %s", row->name);
	for (u32 slots = 1; slots <= 6 && good; slots++)
		for (u32 h = 0; h < 4 && good; h++) {
			u32 tail = h == 3 ? 0 : heads[3 - h];

			if (heads[h] + tail >= slots * PAGE)
				continue;
			good = make(row, name, slots, heads[h], tail) && small_slices(name, slots);
			unmake();
		}
	if (good)
		printf("ok - %s\n", name);
}

/* A slot number or count at which something begins or ends. */
static bool near(u32 slot)
{
	return slot < 4 || (slot + 2) % 256 < 6;
}

/* Likewise; a built list page that is chained holds 511 addresses. */
static bool near_length(u32 nr)
{
	return near(nr) || nr % 511 < 5;
}

/* All firsts with some lengths, all lengths with some firsts, the rest thinly. */
static bool taken(u32 first, u32 nr)
{
	u32 hash = (first * 2654435761u) ^ (nr * 2246822519u);
	int nears = near(first) + near_length(nr) + near(first + nr);

	hash ^= hash >> 15;
	if (quick)
		return nears > 1 && hash % 8 == 0;
	return nears > 1 || (nears && hash % 48 == 0) || hash % 1024 == 0;
}

/* Bytes cut off at both ends of whole pages. */
static const struct {
	u32 front, back;
} cuts[] = {
	{ 0, 0 }, { 4, 0 }, { 0, 4 }, { 2048, 2048 }, { 4092, 4092 }, { 512, 3584 },
};
#define NR_CUTS (sizeof(cuts) / sizeof(cuts[0]))

static bool large_slices(const char *name, u32 slots)
{
	bool good = true;

	for (u32 first = 0; first < slots && good; first++)
		for (u32 nr = 1; nr <= slots - first && nr <= 2049 && good; nr++) {
			if (!taken(first, nr))
				continue;
			for (u32 c = 0; c < NR_CUTS && good; c++)
				good = slice(name, (u64)first * PAGE + cuts[c].front,
					     (u64)(first + nr) * PAGE - cuts[c].back);
		}
	return good;
}

static void large(const struct row *row)
{
	const u32 *sizes = quick ? quick_slots : large_slots;
	u32 nr = quick ? sizeof(quick_slots) / 4 : sizeof(large_slots) / 4;
	char name[120];
	bool good = true;

	snprintf(name, sizeof(name), "large buffers: %s", row->name);
	for (u32 i = 0; i < nr && good; i++) {
		u32 h = i % (sizeof(heads) / sizeof(heads[0]));

		good = make(row, name, sizes[i], heads[h], i % 2 * 8) &&
		       large_slices(name, sizes[i]);
		unmake();
	}
	if (good)
		printf("ok - %s\n", name);
}

/* The count of list pages against a count, for any slice there can be. */
static void built_pages(void)
{
	const char *name = "PRP list pages of up to 8 MiB";
	u32 pages = 1, room = 512;

	for (u32 nr = 3; nr <= MAX_TRANSFER / PAGE + 1; nr++) {
		if (nr - 1 > room) {
			room += 511;
			pages++;
		}
		if (pmap_built_pages(nr) != pages || pages > PMAP_BUILT_MAX) {
			printf("not ok - %s: %u slots take %u, not %u of %u\n", name, nr,
			       pmap_built_pages(nr), pages, PMAP_BUILT_MAX);
			failed = 1;
			return;
		}
	}
	printf("ok - %s\n", name);
}

/* A test in which a kind never comes up proves nothing about it. */
static void every_kind(void)
{
	const char *name = "every kind of data pointer";
	int i;

	for (i = 0; i < PMAP_KINDS && kinds[i]; i++)
		;
	if (i < PMAP_KINDS)
		printf("not ok - %s: none of kind %d\n", name, i);
	else if (!oversize[0] || !oversize[1])
		printf("not ok - %s: no built list larger than a page\n", name);
	else
		printf("ok - %s\n", name);
	failed |= i < PMAP_KINDS || !oversize[0] || !oversize[1];
}

int main(int argc, char **argv)
{
	quick = argc > 1 && !strcmp(argv[1], "--quick");

	built_pages();
	failed |= far_slices();
	for (size_t i = 0; i < sizeof(small_rows) / sizeof(small_rows[0]); i++)
		small(&small_rows[i]);
	for (size_t i = 0; i < sizeof(large_rows) / sizeof(large_rows[0]); i++)
		large(&large_rows[i]);
	if (!failed)
		every_kind();
	printf("%llu slices: %llu PRP, %llu SGL list, %llu SGL run, %llu built (larger than a page: %llu PRP, %llu SGL)\n",
	       (unsigned long long)slices, (unsigned long long)kinds[PMAP_KIND_PRP],
	       (unsigned long long)kinds[PMAP_KIND_SGL_LIST],
	       (unsigned long long)kinds[PMAP_KIND_SGL_RUN],
	       (unsigned long long)kinds[PMAP_KIND_BUILT], (unsigned long long)oversize[0],
	       (unsigned long long)oversize[1]);
	return failed;
}
