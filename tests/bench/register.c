// SPDX-License-Identifier: GPL-2.0
/* What registering and unregistering a buffer costs, in time and memory. */
#include <stdio.h>
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

/*
 * What the first command on a buffer that io_uring has registered costs more than the
 * next, because the auto door maps the buffer.
 */
static void first_uses(const struct target *target, const struct arena *arena,
		       struct mark *costs, unsigned int samples)
{
	struct session session = { .path = path_find("auto"),
				   .target = target,
				   .arena = arena,
				   .bs = target->lba_bytes };

	session_open(&session, 1);
	for (unsigned int i = 0; i < samples; i++) {
		struct mark next;

		target_shut_door(target);
		target_door(target, session.path->door);
		costs[i] = read_cost(&session);
		next = read_cost(&session);
		/* a tick in the second can make it the dearer one */
		costs[i].v[0] = costs[i].v[0] > next.v[0] ?
					costs[i].v[0] - next.v[0] :
					0;
	}
	session_close(&session);
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
	struct mark first[BENCH_MAX_BATCH];
	struct nvme_pmap_register reg;

	if (!target->fork)
		die("no pmap here: the loaded driver has no persistent mappings");
	if (!samples || samples > BENCH_MAX_BATCH)
		die("samples: 1 to %u", BENCH_MAX_BATCH);
	for (unsigned int i = 0; i < samples; i++) {
		in[i] = register_once(target->generic_fd, arena, &reg);
		out[i] = unregister_once(target->generic_fd, reg.index);
	}
	first_uses(target, arena, first, samples);
	printf("{\"kind\": \"register\", \"driver\": \"fork\", \"len\": %zu, "
	       "\"pages\": \"%s\", \"unit\": \"%s\", \"form\": %u, "
	       "\"kept\": %llu",
	       arena->len, pages, timer_unit(), reg.form,
	       (unsigned long long)reg.kept);
	print_costs("register", in, samples);
	print_costs("unregister", out, samples);
	print_costs("first_use", first, samples);
	printf("}\n");
	fflush(stdout);
}
