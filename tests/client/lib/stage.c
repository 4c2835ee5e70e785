// SPDX-License-Identifier: GPL-2.0
/* The stage that the loads of a case share, and how they run; see stage.h. */
#include <fcntl.h>
#include <inttypes.h>

#include "lib/stage.h"

bool stage_open(struct stage *s, const char *name, size_t len)
{
	memset(s, 0, sizeof(*s));
	s->mem.fd = -1;
	return dev_open(&s->dev, name, O_RDWR) &&
	       CHECK(mem_alloc(&s->mem, MEM_4K, len), "no memory") &&
	       must_register(&s->dev, s->mem.map, len, 0, &s->index);
}

void stage_close(struct stage *s)
{
	mem_free(&s->mem);
	dev_close(&s->dev);
}

struct load stage_load(const struct stage *s, enum mode mode, unsigned int nr)
{
	struct load l = {
		.name = mode_names[mode],
		.mode = mode,
		.dev = &s->dev,
		.index = s->index,
		.len = STAGE_LEN,
		.depth = STAGE_DEPTH,
		.count = opt.rounds ?: 128,
	};

	l.offset = nr * STAGE_PART;
	l.base = s->mem.map + l.offset;
	l.lba = nr * (STAGE_PART / s->dev.block);
	return l;
}

void stage_run(struct load *loads, unsigned int nr)
{
	unsigned int i, started = 0;

	for (i = 0; i < nr && load_start(&loads[i]); i++)
		started++;
	for (i = 0; i < started; i++) {
		load_join(&loads[i]);
		CHECK(loads[i].verified == loads[i].count,
		      "load %u (%s): %" PRIu64 " of %u verified", i, loads[i].name,
		      loads[i].verified, loads[i].count);
	}
}

void stage_check_stats(const struct stage *s, uint64_t sent, bool polled)
{
	struct nvme_pmap_stats st;

	if (!CHECK_RET(nvme_pmap_stats_file(s->dev.fd, &st), 0, "stats"))
		return;
	CHECK(stats_total(&st) == sent, "%" PRIu64 " commands sent, %" PRIu64 " counted", sent,
	      stats_total(&st));
	CHECK(st.direct + st.deferred == sent, "%" PRIu64 " commands, %llu direct, %llu deferred",
	      sent, (unsigned long long)st.direct, (unsigned long long)st.deferred);
	if (polled)
		CHECK(st.direct, "no completion was posted by the ring that polled it");
	else
		CHECK(!st.direct, "%llu direct completions without polling",
		      (unsigned long long)st.direct);
}
