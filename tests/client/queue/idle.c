// SPDX-License-Identifier: GPL-2.0
/*
 * Idle queues: they are kept for a second and then deleted, and left alone while the
 * system sleeps.  The kernel's trace tells which admin commands were sent.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "auto/auto.h"
#include "lib/trace.h"
#include "queue/queue.h"

#define LINGER "/sys/module/nvme_core/parameters/pmap_queue_linger_ms"

/* Admin commands, and the steps of a suspend. */
static bool trace_begin(void)
{
	return trace_commands("qid == 0") && trace_file("events/power/suspend_resume/enable", "1");
}

/* How many lines contain @text: in all, or between the freeze and the thaw. */
static unsigned int traced(const char *text, bool asleep)
{
	FILE *file = trace_read();
	bool frozen = false;
	unsigned int found = 0;
	char line[1024];

	while (file && fgets(line, sizeof(line), file)) {
		if (strstr(line, "freeze_processes[0] end"))
			frozen = true;
		else if (strstr(line, "thaw_processes[0] begin"))
			frozen = false;
		else if (strstr(line, text) && (!asleep || frozen))
			found++;
	}
	if (file)
		fclose(file);
	return found;
}

static unsigned int created(void) { return traced("nvme_admin_create_cq", false); }
static unsigned int deleted(void) { return traced("nvme_admin_delete_cq", false); }

/* Until they are as many. */
static bool deletes(unsigned int nr)
{
	uint64_t end = now_ms() + 10000;

	while (deleted() < nr && now_ms() < end)
		sleep_ms(50);
	return CHECK(deleted() == nr, "%u queues deleted, not %u", deleted(), nr);
}

/* ---- attached and detached, over and over, with read permission only ---- */

static unsigned int churns(const struct dev *dev, unsigned int ms)
{
	uint64_t end = now_ms() + ms;
	unsigned int rounds = 0;

	for (; now_ms() < end && !case_failed(); rounds++) {
		uint32_t flags = rounds & 1 ? POLLED : 0;

		run_on(rounds >> 1 & 1);
		if (must_attach(dev->fd, flags))
			must_detach(dev->fd, flags);
	}
	return rounds;
}

static void kept(void)
{
	unsigned int free, rounds;
	struct dev dev;

	if (!dev_open(&dev, NULL, O_RDONLY))
		return;
	free = queue_query(dev.fd).queues_free;
	if (!trace_begin())
		goto out;
	rounds = churns(&dev, 3000);
	CHECK(rounds > 20, "%u rounds", rounds);
	/* two kinds, on two CPUs */
	CHECK(created() <= 4, "%u queues created in %u rounds", created(), rounds);
	CHECK(queue_query(dev.fd).queues_free == free, "%u queues free, not %u",
	      queue_query(dev.fd).queues_free, free);
	note("%u queues in %u rounds", created(), rounds);
	deletes(created());
out:
	dev_close(&dev);
}

/* Where nothing is kept, so many in a second: the others come later. */
static void bounded(void)
{
	unsigned int all, rounds;
	struct io_uring ring;
	struct stage s;

	if (!stage_open(&s, NULL, STAGE_PART) || !ring_open(&ring, MODE_IRQ, 8) ||
	    !write_file(LINGER, "0") || !trace_begin())
		goto out;
	all = queue_query(s.dev.fd).queues_free;
	rounds = churns(&s.dev, 3000);
	note("%u queues in %u rounds", created(), rounds);
	CHECK(created() <= 2 * all * 4, "%u queues created in 3 s", created());
	deletes(created());
	write_file(LINGER, "1000");
	if (must_attach(s.dev.fd, 0)) {
		uint64_t end = now_ms() + 5000;

		while (!queue_query(s.dev.fd).queue_irq && now_ms() < end)
			sleep_ms(10);
		CHECK_RET(run_rw(&ring, &s.dev, OP_READ, s.index, 0, PAGE, 0), 0, "read");
		CHECK(queue_stats(&s.dev).queue == 1, "not by the queue");
	}
	io_uring_queue_exit(&ring);
out:
	write_file(LINGER, "1000");
	stage_close(&s);
}

/* All that there are, of one kind, and at once all of the other. */
static void other_kind(void)
{
	unsigned int i, all, up = 0;
	uint64_t end;
	struct dev *devs;
	struct dev dev;

	if (!dev_open(&dev, NULL, O_RDONLY))
		return;
	all = queue_query(dev.fd).queues_free;
	devs = calloc(all, sizeof(*devs));
	for (i = 0; devs && i < all && !case_failed(); i++)
		if (dev_open(&devs[i], NULL, O_RDONLY))
			must_attach(devs[i].fd, POLLED);
	for (i = 0; devs && i < all && !case_failed(); i++)
		must_detach(devs[i].fd, POLLED);
	for (i = 0; devs && i < all && !case_failed(); i++)
		must_attach(devs[i].fd, 0);
	CHECK_RET(nvme_pmap_attach_queue(dev.fd, 0), -EUSERS, "one too many");
	end = now_ms() + 15000;
	do {
		for (up = i = 0; devs && i < all; i++)
			up += !!queue_query(devs[i].fd).queue_irq;
		sleep_ms(20);
	} while (up < all && now_ms() < end && !case_failed());
	CHECK(up == all, "%u of %u queues are up", up, all);
	for (i = 0; devs && i < all; i++)
		dev_close(&devs[i]);
	free(devs);
	dev_close(&dev);
}

/* ---- while the system sleeps ---- */

/* Five seconds, unless suspend.pm_test_delay says otherwise; nothing but programs stops. */
static bool sleeps(void)
{
	bool good = CHECK(write_file("/sys/power/pm_test", "freezer"), "pm_test: %s",
			  strerror(errno)) &&
		    CHECK(write_file("/sys/power/state", "freeze"), "state: %s", strerror(errno));

	write_file("/sys/power/pm_test", "none");
	return good && CHECK(traced("thaw_processes", false), "it did not sleep");
}

static void nothing_said(void)
{
	CHECK(!traced("qid=0", true), "%u admin commands to a controller that may be asleep",
	      traced("qid=0", true));
}

/* A queue whose time ends while programs are frozen. */
static void asleep(void)
{
	struct dev dev;

	/* queues left by other cases have been deleted by then */
	sleep_ms(3000);
	if (dev_open(&dev, NULL, O_RDONLY) && must_attach(dev.fd, 0) && trace_begin() &&
	    must_detach(dev.fd, 0) && sleeps()) {
		nothing_said();
		deletes(1);
	}
	dev_close(&dev);
}

/* One that the auto door gives back then, for its program has no buffers any more. */
static void asleep_auto(void)
{
	unsigned int before;
	struct prog p;

	if (prog_open(&p, MODE_IRQ, MEM_4K, LEN) && prog_warm(&p) && trace_begin()) {
		before = deleted();
		CHECK_RET(io_uring_unregister_buffers(&p.ring), 0, "unregister");
		if (sleeps()) {
			nothing_said();
			deletes(before + 1);
		}
	}
	prog_close(&p);
}

static const struct test_case idle_cases[] = {
	{ "kept", kept },
	{ "bounded", bounded },
	{ "other-kind", other_kind },
	{ "asleep", asleep },
};

SUBJECT(idle);

/* With -q. */
static const struct test_case idle_auto_cases[] = { { "asleep", asleep_auto } };

SUBJECT(idle_auto);
