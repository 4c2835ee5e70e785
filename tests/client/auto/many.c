// SPDX-License-Identifier: GPL-2.0
/* The auto door with many buffers, and with a large one. */
#include <inttypes.h>
#include <stdlib.h>
#include <sys/sysinfo.h>

#include "auto/auto.h"

#define MANY	 300u
#define MANY_LEN (4u * PAGE)

/* A program with many buffers, each of which has blocks of its own. */
struct many {
	struct prog p;
	struct mem mem;
	uint64_t gen[MANY];	  /* in these blocks */
	unsigned int place[MANY]; /* which part of the memory */
};

static unsigned char *many_at(const struct many *m, unsigned int i)
{
	return m->mem.map + (size_t)m->place[i] * MANY_LEN;
}

static uint64_t many_lba(const struct many *m, unsigned int i)
{
	return (uint64_t)i * (MANY_LEN / m->p.dev.block);
}

/* A batch for sixteen of them; one is in it once, as it has one content. */
static bool many_batch(struct many *m, bool write, uint64_t gen)
{
	unsigned int first = (unsigned int)rnd_below(MANY), n, i;
	uint32_t blocks = MANY_LEN / m->p.dev.block;

	for (n = 0; n < 16; n++) {
		i = (first + n * 7) % MANY;
		if (write)
			pattern_fill(many_at(m, i), m->p.dev.block, many_lba(m, i), blocks,
				     m->gen[i] = gen);
		else
			poison(many_at(m, i), MANY_LEN);
		prep_fixed(&m->p, write ? OP_WRITE : OP_READ, 1 + i, many_at(m, i), MANY_LEN,
			   many_lba(m, i));
	}
	if (!run_batch(&m->p, 16, "batch"))
		return false;
	for (n = 0; n < 16; n++) {
		i = (first + n * 7) % MANY;
		if (m->gen[i] && !shows(&m->p, many_at(m, i), MANY_LEN, many_lba(m, i), m->gen[i],
					"one of many"))
			return false;
	}
	return true;
}

/* Two of them change places, and their data is lost. */
static bool many_swap(struct many *m, unsigned int i, unsigned int j)
{
	unsigned int place = m->place[i];

	m->place[i] = m->place[j];
	m->place[j] = place;
	return buffer_set(&m->p, 1 + i, many_at(m, i), MANY_LEN) &&
	       buffer_set(&m->p, 1 + j, many_at(m, j), MANY_LEN);
}

void auto_many(void)
{
	struct many *m = calloc(1, sizeof(*m));
	unsigned int i, round;
	struct paths before, w;
	bool good = true;
	uint64_t sent;

	if (!prog_open(&m->p, MODE_IRQ, MEM_4K, PAGE) || !prog_warm(&m->p) ||
	    !CHECK(mem_alloc(&m->mem, MEM_4K, MANY * MANY_LEN), "no memory"))
		goto out;
	for (i = 0; i < MANY; i++) {
		m->place[i] = i;
		buffer_set(&m->p, 1 + i, many_at(m, i), MANY_LEN);
	}
	for (i = 0; good && i < MANY; i++)
		good = buffer_warm(&m->p, 1 + i, many_at(m, i));
	before = paths_of(&m->p.dev);
	sent = m->p.sent;
	for (round = 0; good && round < 50; round++)
		good = many_batch(m, rnd_below(2), 1 + round);
	paths_served(&m->p, &before, m->p.sent - sent, "many");
	for (; good && round < 150; round++) {
		for (i = 0; good && i < 4; i++)
			good = many_swap(m, (unsigned int)rnd_below(MANY),
					 (unsigned int)rnd_below(MANY));
		good = good && many_batch(m, rnd_below(2), 1 + round);
	}
	w = paths_since(&m->p.dev, &before);
	CHECK(w.stock == w.setup && w.setup < w.served,
	      "with swaps %" PRIu64 " served, %" PRIu64 " in setup, %" PRIu64 " by stock", w.served,
	      w.setup, w.stock);
out:
	prog_close(&m->p);
	mem_free(&m->mem);
	free(m);
}

/* ---- arena ---- */

/* As many as io_uring takes, or half as many where memory is short. */
static size_t arena_size(void)
{
	struct sysinfo info;
	uint64_t free_bytes;

	sysinfo(&info);
	free_bytes = (uint64_t)info.freeram * info.mem_unit;
	if (free_bytes >= MIB(1536))
		return MIB(1024);
	if (free_bytes >= MIB(1024))
		return MIB(512);
	skip_case("%" PRIu64 " MiB are free, an arena needs 1024", free_bytes >> 20);
	return 0;
}

void auto_arena(void)
{
	size_t size = arena_size();
	unsigned int i;
	struct prog p;

	if (!size)
		return;
	set_param("pmap_auto_max_mib", (unsigned int)(size >> 20));
	if (prog_open(&p, MODE_IRQ, MEM_4K, size) && prog_warm(&p)) {
		struct paths before = paths_of(&p.dev);
		uint64_t sent = p.sent;

		for (i = 0; i < 150 && one_pair(&p, 1 + i); i++)
			;
		paths_served(&p, &before, p.sent - sent, "arena");
		CHECK(auto_pinned(&p.dev) == (long)size, "auto_pinned is %ld", auto_pinned(&p.dev));
		note("%zu MiB", size >> 20);
		/* it takes long where the kernel is slow: not after the case */
		io_uring_unregister_buffers(&p.ring);
	}
	prog_close(&p);
	reset_params();
}
