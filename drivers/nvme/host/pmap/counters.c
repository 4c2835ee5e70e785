// SPDX-License-Identifier: GPL-2.0
/*
 * The counters: their sums of one open file, and of a controller.  counts.h has the list.
 */
#include <linux/percpu.h>

#include "nvme.h"
#include "auto.h"
#include "counts.h"
#include "ctrl.h"
#include "file.h"

#define PMAP_NUMBER(name, sum, which) PMAP_COUNTER_##name,
enum { PMAP_COUNTERS(PMAP_NUMBER, PMAP_NUMBER) PMAP_NR_COUNTERS };
#undef PMAP_NUMBER

/* The list has every member of struct nvme_pmap_stats between its head and its reserve. */
static_assert(PMAP_NR_COUNTERS * sizeof(u64) ==
	      offsetof(struct nvme_pmap_stats, reserved) -
		      offsetof(struct nvme_pmap_stats, prp));

static struct nvme_pmap_counts
nvme_pmap_sum_cpus(const struct nvme_pmap_file *pf)
{
	struct nvme_pmap_counts sum = {};
	int cpu, i;

	for_each_possible_cpu(cpu) {
		struct nvme_pmap_counts *c = per_cpu_ptr(pf->counts, cpu);

		for (i = 0; i < PMAP_KINDS; i++) {
			sum.kind[i] += READ_ONCE(c->kind[i]);
			sum.queued[i] += READ_ONCE(c->queued[i]);
		}
		for (i = 0; i < PMAP_FALLBACKS; i++)
			sum.fallback[i] += READ_ONCE(c->fallback[i]);
		for (i = 0; i < PMAP_PATHS; i++)
			sum.path[i] += READ_ONCE(c->path[i]);
		sum.direct += READ_ONCE(c->direct);
		sum.deferred += READ_ONCE(c->deferred);
	}
	return sum;
}

/* Commands of a form, over blk-mq and over queues. */
static u64 nvme_pmap_sum_form(const struct nvme_pmap_counts *sum, u32 kind)
{
	return sum->kind[kind] + sum->queued[kind];
}

static u64 nvme_pmap_sum_direct(const struct nvme_pmap_counts *sum, u32 unused)
{
	/* another ring's command is subtracted before it is counted */
	return max_t(s64, sum->direct, 0);
}

static u64 nvme_pmap_sum_deferred(const struct nvme_pmap_counts *sum,
				  u32 unused)
{
	return sum->deferred;
}

static u64 nvme_pmap_sum_queued(const struct nvme_pmap_counts *sum, u32 unused)
{
	u64 queued = 0;
	int i;

	for (i = 0; i < PMAP_KINDS; i++)
		queued += sum->queued[i];
	return queued;
}

static u64 nvme_pmap_sum_fallback(const struct nvme_pmap_counts *sum, u32 why)
{
	return sum->fallback[why];
}

static u64 nvme_pmap_sum_path(const struct nvme_pmap_counts *sum, u32 path)
{
	return sum->path[path];
}

/**
 * nvme_pmap_file_counters - the counters of an open file
 * @pf: its state
 * @stats: (out) all members that are counters; the others stay
 */
void nvme_pmap_file_counters(const struct nvme_pmap_file *pf,
			     struct nvme_pmap_stats *stats)
{
	struct nvme_pmap_counts counts = nvme_pmap_sum_cpus(pf);

#define PMAP_SUM(name, sum, which) \
	stats->name = nvme_pmap_sum_##sum(&counts, which);
	PMAP_COUNTERS(PMAP_SUM, PMAP_SUM)
#undef PMAP_SUM
}

/**
 * nvme_pmap_ctrl_fallback - commands that used blk-mq although their file has a queue
 * @pc: the controller
 * @why: the reason, enum nvme_pmap_fallback
 */
s64 nvme_pmap_ctrl_fallback(struct nvme_pmap_ctrl *pc, u32 why)
{
	u64 sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(per_cpu_ptr(pc->fallbacks, cpu)->n[why]);
	return sum;
}

/**
 * nvme_pmap_ctrl_path - commands with fixed buffers, by path
 * @pc: the controller
 * @path: enum nvme_pmap_path
 */
s64 nvme_pmap_ctrl_path(struct nvme_pmap_ctrl *pc, u32 path)
{
	return nvme_pmap_auto_count(pc, path);
}
