// SPDX-License-Identifier: GPL-2.0
/* The cost of registering and unregistering a buffer, in time and memory. */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include <nvme_pmap.h>

static struct mark register_once(int fd, const struct arena *arena,
				 struct nvme_pmap_register *reg)
{
	struct mark from, to;
	int ret;

	*reg = (struct nvme_pmap_register){
		.size = sizeof(*reg),
		.addr = (uintptr_t)arena->mem,
		.len = arena->len,
		.index = NVME_PMAP_INDEX_ANY,
	};
	timer_mark(&from);
	ret = nvme_pmap_ioctl(fd, NVME_PMAP_IOC_REGISTER, reg);
	timer_mark(&to);
	if (ret)
		die("NVME_PMAP_IOC_REGISTER: %s", strerror(-ret));
	return timer_cost(&from, &to);
}

static struct mark unregister_once(int fd, uint32_t index)
{
	struct mark from, to;
	int ret;

	timer_mark(&from);
	ret = nvme_pmap_unregister_buf(fd, index);
	timer_mark(&to);
	if (ret)
		die("NVME_PMAP_IOC_UNREGISTER: %s", strerror(-ret));
	return timer_cost(&from, &to);
}

static struct mark read_cost(struct session *session)
{
	struct mark from, to;

	timer_mark(&from);
	session_read(session);
	timer_mark(&to);
	return timer_cost(&from, &to);
}

static int by_cost(const void *a, const void *b)
{
	const unsigned long long *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* The driver maps in the background: this cost is not the measured task's. */
static void run_alone(bool alone)
{
	const struct sched_param param = { .sched_priority = alone ? 1 : 0 };

	if (sched_setscheduler(0, alone ? SCHED_FIFO : SCHED_OTHER, &param))
		die("sched_setscheduler");
}

/* Commands on a buffer of any size up to 64 MiB before the auto door maps it, and more. */
#define FIRST_USES 1100u

/*
 * The extra cost of the first commands on a buffer that io_uring has registered, to
 * their submitter: of the dearest one, in the cheapest of all rounds, since a timer's
 * tick can make any of them dear in one round.
 */
static unsigned long long first_uses(const struct target *target,
				     const struct arena *arena,
				     unsigned int rounds)
{
	struct session session = { .path = path_find("auto"),
				   .target = target,
				   .arena = arena,
				   .bs = target->lba_bytes };
	static unsigned long long each[FIRST_USES];
	unsigned long long dearest;

	session_open(&session, 1);
	for (unsigned int i = 0; i < rounds; i++) {
		target_shut_door(target);
		/* periodic work of stock must not always hit the same commands */
		for (unsigned int n = 0; n < 37 * i; n++)
			read_cost(&session);
		target_door(target, session.path->door);
		run_alone(true);
		for (unsigned int n = 0; n < FIRST_USES; n++) {
			unsigned long long cost = read_cost(&session).v[0];

			each[n] = i && each[n] < cost ? each[n] : cost;
		}
		run_alone(false);
		/* the driver's turn: its mappings end when the door is shut */
		sleep_ns(50000000);
	}
	session_close(&session);
	qsort(each, FIRST_USES, sizeof(*each), by_cost);
	dearest = each[FIRST_USES - 1];
	return dearest - each[FIRST_USES / 2];
}

static void print_costs(const char *name, const struct mark *marks,
			unsigned int n)
{
	printf(", \"%s\": [", name);
	for (unsigned int i = 0; i < n; i++)
		printf("%s%llu", i ? ", " : "",
		       (unsigned long long)marks[i].v[0]);
	printf("]");
}

void register_cost(const struct target *target, const struct arena *arena,
		   const char *pages, unsigned int samples)
{
	struct mark in[BENCH_MAX_BATCH], out[BENCH_MAX_BATCH];
	struct mark first;
	struct nvme_pmap_register reg;

	if (!target->fork)
		die("no pmap here: the loaded driver has no persistent mappings");
	if (!samples || samples > BENCH_MAX_BATCH)
		die("samples: 1 to %u", BENCH_MAX_BATCH);
	for (unsigned int i = 0; i < samples; i++) {
		in[i] = register_once(target->generic_fd, arena, &reg);
		out[i] = unregister_once(target->generic_fd, reg.index);
	}
	first.v[0] = first_uses(target, arena, samples);
	printf("{\"kind\": \"register\", \"driver\": \"fork\", \"len\": %zu, "
	       "\"pages\": \"%s\", \"unit\": \"%s\", \"form\": %u, "
	       "\"kept\": %llu",
	       arena->len, pages, timer_unit(), reg.form,
	       (unsigned long long)reg.list_bytes);
	print_costs("register", in, samples);
	print_costs("unregister", out, samples);
	print_costs("first_use", &first, 1);
	printf("}\n");
	fflush(stdout);
}
