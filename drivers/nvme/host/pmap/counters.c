// SPDX-License-Identifier: GPL-2.0
/*
 * The counters: the table of all, and their sums of an open file and of a controller.
 */
#include <linux/percpu.h>
#include <linux/sysfs.h>

#include "nvme.h"
#include "auto.h"
#include "counts.h"
#include "ctrl.h"
#include "file.h"

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
static u64 nvme_pmap_sum_form(const struct nvme_pmap_counts *sum,
			      unsigned int kind)
{
	return sum->kind[kind] + sum->queued[kind];
}

static u64 nvme_pmap_sum_direct(const struct nvme_pmap_counts *sum,
				unsigned int unused)
{
	/* another ring's command is subtracted before it is counted */
	return max_t(s64, sum->direct, 0);
}

static u64 nvme_pmap_sum_deferred(const struct nvme_pmap_counts *sum,
				  unsigned int unused)
{
	return sum->deferred;
}

static u64 nvme_pmap_sum_queued(const struct nvme_pmap_counts *sum,
				unsigned int unused)
{
	u64 queued = 0;
	int i;

	for (i = 0; i < PMAP_KINDS; i++)
		queued += sum->queued[i];
	return queued;
}

static u64 nvme_pmap_sum_fallback(const struct nvme_pmap_counts *sum,
				  unsigned int why)
{
	return sum->fallback[why];
}

static u64 nvme_pmap_sum_path(const struct nvme_pmap_counts *sum,
			      unsigned int path)
{
	return sum->path[path];
}

/* Commands that used blk-mq although their file has a queue, for one reason. */
static s64 nvme_pmap_ctrl_fallback(struct nvme_pmap_ctrl *pc, unsigned int why)
{
	u64 sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(per_cpu_ptr(pc->fallbacks, cpu)->n[why]);
	return sum;
}

/* Commands with fixed buffers, by path. */
static s64 nvme_pmap_ctrl_path(struct nvme_pmap_ctrl *pc, unsigned int path)
{
	return nvme_pmap_auto_count(pc, path);
}

/**
 * nvme_pmap_attr_show - read a file of sysfs that shows a number
 * @dev: device of the controller
 * @attr: member of a struct nvme_pmap_attr
 * @buf: where the text goes
 *
 * Return: length of the text, or an errno.
 */
ssize_t nvme_pmap_attr_show(struct device *dev, struct device_attribute *attr,
			    char *buf)
{
	struct nvme_pmap_attr *pa = container_of(attr, struct nvme_pmap_attr,
						 attr);
	struct nvme_pmap_ctrl *pc = nvme_pmap_ctrl_get(dev_get_drvdata(dev));
	s64 value;

	if (!pc)
		return -ENODEV;
	value = pa->value(pc, pa->which);
	nvme_pmap_ctrl_put(pc);
	return value < 0 ? value : sysfs_emit(buf, "%lld\n", value);
}

#define PMAP_COUNTER(_name, _sum, _ctrl, _which)                              \
	{                                                                     \
		.sysfs.attr = __ATTR(_name, 0444, nvme_pmap_attr_show, NULL), \
		.sysfs.value = _ctrl, .sysfs.which = _which,                  \
		.offset = offsetof(struct nvme_pmap_stats, _name),            \
		.sum = _sum,                                                  \
	}
#define PMAP_FALLBACK(name, why) \
	PMAP_COUNTER(name, nvme_pmap_sum_fallback, nvme_pmap_ctrl_fallback, why)
#define PMAP_PATH(name, path) \
	PMAP_COUNTER(name, nvme_pmap_sum_path, nvme_pmap_ctrl_path, path)

struct nvme_pmap_counter nvme_pmap_counters[] = {
	PMAP_COUNTER(prp, nvme_pmap_sum_form, NULL, PMAP_KIND_PRP),
	PMAP_COUNTER(sgl_list, nvme_pmap_sum_form, NULL, PMAP_KIND_SGL_LIST),
	PMAP_COUNTER(sgl_run, nvme_pmap_sum_form, NULL, PMAP_KIND_SGL_RUN),
	PMAP_COUNTER(built, nvme_pmap_sum_form, NULL, PMAP_KIND_BUILT),
	PMAP_COUNTER(direct, nvme_pmap_sum_direct, NULL, 0),
	PMAP_COUNTER(deferred, nvme_pmap_sum_deferred, NULL, 0),
	PMAP_COUNTER(queue, nvme_pmap_sum_queued, NULL, 0),
	PMAP_FALLBACK(fallback_full, PMAP_FALLBACK_FULL),
	PMAP_FALLBACK(fallback_down, PMAP_FALLBACK_DOWN),
	PMAP_FALLBACK(fallback_frozen, PMAP_FALLBACK_FROZEN),
	PMAP_FALLBACK(fallback_list, PMAP_FALLBACK_LIST),
	PMAP_FALLBACK(fallback_mode, PMAP_FALLBACK_MODE),
	PMAP_FALLBACK(fallback_logged, PMAP_FALLBACK_LOGGED),
	PMAP_FALLBACK(fallback_worker, PMAP_FALLBACK_WORKER),
	PMAP_FALLBACK(fallback_busy, PMAP_FALLBACK_BUSY),
	PMAP_PATH(auto_mq, PMAP_PATH_BLK_MQ),
	PMAP_PATH(auto_queue, PMAP_PATH_QUEUE),
	PMAP_PATH(stock_setup, PMAP_PATH_STOCK_SETUP),
	PMAP_PATH(stock_unsupported, PMAP_PATH_STOCK_UNSUPPORTED),
	PMAP_PATH(stock_unmapped, PMAP_PATH_STOCK_UNMAPPED),
	PMAP_PATH(stock_other, PMAP_PATH_STOCK_OTHER),
};

const unsigned int nvme_pmap_nr_counters = ARRAY_SIZE(nvme_pmap_counters);

/* The table has every member of struct nvme_pmap_stats between head and reserve. */
static_assert(ARRAY_SIZE(nvme_pmap_counters) * sizeof(u64) ==
	      offsetof(struct nvme_pmap_stats, reserved) -
		      offsetof(struct nvme_pmap_stats, prp));

/**
 * nvme_pmap_counter_value - a counter of an open file
 * @stats: the counters of the file
 * @counter: entry of nvme_pmap_counters
 */
u64 nvme_pmap_counter_value(const struct nvme_pmap_stats *stats,
			    const struct nvme_pmap_counter *counter)
{
	return *(const u64 *)((const void *)stats + counter->offset);
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
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(nvme_pmap_counters); i++) {
		const struct nvme_pmap_counter *c = &nvme_pmap_counters[i];

		*(u64 *)((void *)stats + c->offset) = c->sum(&counts,
							     c->sysfs.which);
	}
}
