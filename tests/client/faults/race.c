// SPDX-License-Identifier: GPL-2.0
/*
 * Failures that are races: a second thread is first, a signal or the removal of
 * the controller overtakes a registration.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "faults/faults.h"

/* ---- the first registrations of a file, at once ---- */

struct racer {
	const struct dev *dev;
	void *map;
	pthread_barrier_t *start;
};

static void *races(void *arg)
{
	struct racer *r = arg;
	uint32_t index;

	pthread_barrier_wait(r->start);
	must_register(r->dev, r->map, PAGE, 0, &index);
	return NULL;
}

void first_race(void)
{
	pthread_barrier_t start;
	struct racer r[2];
	pthread_t thread[2];
	unsigned int round, i;
	struct mem mem;
	struct dev dev;

	if (!dev_open(&dev, NULL, O_RDWR) || !mem_alloc(&mem, MEM_4K, 2 * PAGE))
		return;
	for (round = 0; round < 60; round++) {
		close(dev.fd);
		dev.fd = open(dev.path, O_RDWR | O_CLOEXEC);
		pthread_barrier_init(&start, NULL, 2);
		for (i = 0; i < 2; i++) {
			r[i] = (struct racer){ &dev, mem.map + i * PAGE, &start };
			pthread_create(&thread[i], NULL, races, &r[i]);
		}
		for (i = 0; i < 2; i++)
			pthread_join(thread[i], NULL);
		pthread_barrier_destroy(&start);
		if (!must_unregister(&dev, 0) || !must_unregister(&dev, 1) || !nothing_left(dev.fd))
			break;
	}
	mem_free(&mem);
	dev_close(&dev);
	works("after the races", 2);
}

/* ---- SIGKILL while a large buffer is pinned and mapped ---- */

#define KILL_PAGES (2 * 8192 + 64)
#define KILLS	   60

struct victim {
	const struct dev *dev;
	struct nvme_pmap_register reg;
	volatile bool started, ended;
};

/* A process of its own in the memory of this one: only it is killed. */
static int registers(void *arg)
{
	struct victim *v = arg;

	v->started = true;
	nvme_pmap_ioctl(v->dev->fd, NVME_PMAP_IOC_REGISTER, &v->reg);
	v->ended = true;
	return 0;
}

/* How many ms it took, killed after @ms of them if that is not negative. */
static unsigned int kill_after(struct victim *v, unsigned char *stack, size_t size, int ms)
{
	uint64_t began;
	int status;
	pid_t pid;

	v->started = v->ended = false;
	pid = clone(registers, stack + size, CLONE_VM | SIGCHLD, v);
	if (!CHECK(pid > 0, "clone: %s", strerror(errno)))
		return 0;
	while (!v->started)
		sched_yield();
	began = now_ms();
	if (ms >= 0) {
		sleep_ms((unsigned int)ms);
		kill(pid, SIGKILL);
	}
	waitpid(pid, &status, 0);
	return (unsigned int)(now_ms() - began);
}

void killed(void)
{
	static unsigned char stack[65536] __attribute__((aligned(16)));
	unsigned int i, all, early = 0;
	struct victim v = { 0 };
	struct mem mem;
	struct dev dev;

	if (!dev_open(&dev, NULL, O_RDWR) ||
	    !CHECK(mem_alloc(&mem, MEM_4K, (size_t)KILL_PAGES * PAGE), "memory"))
		return;
	v.dev = &dev;
	v.reg = (struct nvme_pmap_register){ .size = sizeof(v.reg),
					     .len = mem.len,
					     .addr = (uintptr_t)mem.map,
					     .flags = NVME_PMAP_REG_SGL_LIST };
	all = kill_after(&v, stack, sizeof(stack), -1);
	CHECK(v.ended, "not registered");
	must_unregister(&dev, 0);
	for (i = 0; i < KILLS; i++) {
		kill_after(&v, stack, sizeof(stack), (int)(all * i / KILLS));
		early += !v.ended;
		/* 0 where the kill came after the buffer was published */
		nvme_pmap_unregister_buf(dev.fd, 0);
		if (!nothing_left(dev.fd))
			break;
	}
	note("a registration takes %u ms; %u of %u killed before its end", all, early, KILLS);
	note("injected kill %u", early);
	CHECK(early, "no kill in time");
	mem_free(&mem);
	dev_close(&dev);
	works("after the kills", 64);
}

/* ---- the controller goes while others register, query and send ---- */

struct hammer {
	const struct dev *dev;
	unsigned char *map; /* NULL: only query */
	size_t len;
	unsigned int calls;
};

/* Until the controller is gone, which every call says from then on. */
static void *hammers(void *arg)
{
	struct hammer *h = arg;
	struct nvme_pmap_query q;
	uint64_t end = now_ms() + 60000;
	uint32_t index = 0;
	int ret = 0;

	while (ret != -ENODEV && now_ms() < end) {
		if (!h->map) {
			ret = nvme_pmap_query_file(h->dev->fd, &q);
		} else {
			ret = nvme_pmap_register_buf(h->dev->fd, h->map, h->len,
						     NVME_PMAP_REG_SGL_LIST, &index);
			if (!ret)
				ret = nvme_pmap_unregister_buf(h->dev->fd, index);
		}
		h->calls++;
	}
	CHECK_RET(ret, -ENODEV, "the controller is gone");
	return NULL;
}

static void fail_identify(const struct dev *dev)
{
	static const char *const attrs[][2] = {
		{ "verbose", "0" }, { "status", "0x6" }, { "times", "-1" }, { "probability", "100" }
	};
	char path[128];
	unsigned int i, ctrl;

	if (sscanf(dev->path, "/dev/ng%un", &ctrl) != 1)
		return;
	for (i = 0; i < ARRAY_SIZE(attrs); i++) {
		snprintf(path, sizeof(path), "/sys/kernel/debug/nvme%u/fault_inject/%s", ctrl,
			 attrs[i][0]);
		CHECK(write_file(path, attrs[i][1]), "%s: %s", path, strerror(errno));
	}
}

#define HAMMERS	   12
/* More than one chunk each. */
#define HAMMER_LEN MIB(33)

/* A fresh controller and threads on one file of it, until it is taken away. */
static bool removal_race(struct mem *mem, unsigned int registering, bool failing)
{
	struct hammer h[HAMMERS];
	pthread_t thread[HAMMERS];
	unsigned int i, calls = 0;
	struct dev dev;

	/* Identify is for the first use only */
	if ((failing && !rebind()) || !dev_open(&dev, NULL, O_RDWR) || !learn_pci())
		return false;
	if (failing)
		fail_identify(&dev);
	for (i = 0; i < HAMMERS; i++) {
		h[i] = (struct hammer){ .dev = &dev };
		if (i < registering) {
			h[i].len = HAMMER_LEN;
			h[i].map = mem->map + i * h[i].len;
		}
		pthread_create(&thread[i], NULL, hammers, &h[i]);
	}
	sleep_ms(failing ? 50 : 300);
	bind_to("unbind");
	for (i = 0; i < HAMMERS; i++) {
		pthread_join(thread[i], NULL);
		calls += h[i].calls;
	}
	CHECK(pins_gone(getpid(), 3000), "VmPin is %ld KiB", status_kib(getpid(), "VmPin"));
	dev_close(&dev);
	bind_to("bind");
	note("injected removal 1 (%u calls)", calls);
	return works("after a removal", 64);
}

void removal_races(void)
{
	unsigned int round, rounds = opt.rounds ? opt.rounds : 4;
	struct mem mem;

	if (!CHECK(mem_alloc(&mem, MEM_4K, 5 * HAMMER_LEN), "no memory"))
		return;
	for (round = 0; round < rounds; round++)
		if (!removal_race(&mem, 5, false) || !removal_race(&mem, 0, true))
			break;
	mem_free(&mem);
}
