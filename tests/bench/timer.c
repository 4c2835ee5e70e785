// SPDX-License-Identifier: GPL-2.0
/*
 * Three sources.  A PMU gives cycles and instructions.  Under QEMU's
 * "-icount shift=0" the guest's TSC advances by one for each instruction; that
 * is checked, not believed.  Otherwise there is only time: a TSC tick is never
 * called a cycle.
 */
#include <errno.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <x86intrin.h>

#include "bench.h"

struct counter {
	int fd;
	const volatile struct perf_event_mmap_page *page;
};

static struct counter pmu[2]; /* cycles, instructions */
static enum { BY_CLOCK, BY_TSC, BY_PMU } source;
static struct mark overhead;

static bool counter_open(struct counter *counter, uint64_t config)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_HARDWARE,
		.size = sizeof(attr),
		.config = config,
		.exclude_hv = 1,
		.pinned = 1,
	};
	void *page;

	counter->fd = (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1,
				   PERF_FLAG_FD_CLOEXEC);
	if (counter->fd < 0)
		return false;
	page = mmap(NULL, (size_t)sysconf(_SC_PAGESIZE), PROT_READ, MAP_SHARED,
		    counter->fd, 0);
	counter->page = page == MAP_FAILED ? NULL : page;
	return true;
}

/* The kernel's page says how to read the counter without a system call. */
static bool counter_rdpmc(const struct counter *counter, uint64_t *value)
{
	const volatile struct perf_event_mmap_page *page = counter->page;
	uint32_t seq, index, width;

	if (!page)
		return false;
	do {
		seq = page->lock;
		__sync_synchronize();
		index = page->index;
		if (!index || !page->cap_user_rdpmc)
			return false;
		width = page->pmc_width;
		*value = (uint64_t)page->offset +
			 (uint64_t)((int64_t)((uint64_t)__rdpmc((int)index - 1)
					      << (64 - width)) >>
				    (64 - width));
		__sync_synchronize();
	} while (page->lock != seq);
	return true;
}

static uint64_t counter_read(const struct counter *counter)
{
	uint64_t value;

	if (counter_rdpmc(counter, &value))
		return value;
	/* A pinned counter that lost its place reads as end of file. */
	if (read(counter->fd, &value, sizeof(value)) != sizeof(value))
		die("the performance counter was taken away");
	return value;
}

static bool pmu_open(void)
{
	uint64_t before;

	if (!counter_open(&pmu[0], PERF_COUNT_HW_CPU_CYCLES))
		return false;
	if (!counter_open(&pmu[1], PERF_COUNT_HW_INSTRUCTIONS))
		return false;
	/* Some virtual PMUs open and never count. */
	before = counter_read(&pmu[1]);
	for (volatile int i = 0; i < 1000; i++)
		;
	return counter_read(&pmu[1]) - before > 1000;
}

/* 200000 instructions; the tick may add some, so the smallest of a few. */
static void tsc_check(void)
{
	uint64_t best = UINT64_MAX, start, count;

	for (int i = 0; i < 5; i++) {
		count = 100000;
		start = __rdtsc();
		__asm__ volatile("1: dec %0; jnz 1b" : "+r"(count));
		count = __rdtsc() - start;
		if (count < best)
			best = count;
	}
	if (best < 199000 || best > 201000)
		die("--tsc-is-instructions: a loop of 200000 instructions took "
		    "%llu ticks; this is no -icount shift=0 guest",
		    (unsigned long long)best);
}

void timer_mark(struct mark *mark)
{
	mark->v[1] = 0;
	switch (source) {
	case BY_TSC:
		mark->v[0] = __rdtsc();
		break;
	case BY_PMU:
		mark->v[0] = counter_read(&pmu[0]);
		mark->v[1] = counter_read(&pmu[1]);
		break;
	case BY_CLOCK:
		mark->v[0] = now_ns();
		break;
	}
}

struct mark timer_cost(const struct mark *from, const struct mark *to)
{
	struct mark cost;

	for (int i = 0; i < 2; i++) {
		cost.v[i] = to->v[i] - from->v[i];
		cost.v[i] -= cost.v[i] < overhead.v[i] ? cost.v[i] :
							 overhead.v[i];
	}
	return cost;
}

static void overhead_measure(void)
{
	struct mark from, to, cost, best = { { UINT64_MAX, UINT64_MAX } };

	for (int i = 0; i < 100; i++) {
		timer_mark(&from);
		timer_mark(&to);
		cost = timer_cost(&from, &to);
		for (int j = 0; j < 2; j++)
			if (cost.v[j] < best.v[j])
				best.v[j] = cost.v[j];
	}
	overhead = best;
}

void timer_open(enum timer_source wanted)
{
	if (wanted == TIMER_TSC_INSTRUCTIONS) {
		tsc_check();
		source = BY_TSC;
	} else if (wanted == TIMER_AUTO && pmu_open()) {
		source = BY_PMU;
	} else {
		source = BY_CLOCK;
	}
	overhead_measure();
}

const char *timer_unit(void)
{
	static const char *const names[] = {
		[BY_CLOCK] = "ns",
		[BY_TSC] = "instructions",
		[BY_PMU] = "cycles",
	};

	return names[source];
}

bool timer_has_pmu(void)
{
	return source == BY_PMU;
}
