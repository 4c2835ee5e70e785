// SPDX-License-Identifier: GPL-2.0
/*
 * Passthrough queues that come and go while the controller is reset, goes away,
 * or their program is killed.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "faults/faults.h"

struct racer {
	struct dev dev;
	uint32_t flags;
	const char *attr; /* in place of it all: a file of the controller to read */
	volatile bool *stop;
	bool removal; /* the controller goes away meanwhile */
	unsigned int calls;
};

static void expect_race(const struct racer *r, int ret, const char *what)
{
	CHECK(!ret || (r->removal && ret == -ENODEV), "%s: %s", what, err_name(ret));
}

static void *attaches(void *arg)
{
	struct racer *r = arg;
	int ret;

	while (!*r->stop) {
		ret = nvme_pmap_attach_queue(r->dev.fd, r->flags);
		expect_race(r, ret, "attach");
		if (ret)
			continue;
		ret = nvme_pmap_detach_queue(r->dev.fd, r->flags);
		expect_race(r, ret, "detach");
		/* a file whose controller is gone may keep its queue, which is none */
		if (ret)
			break;
		r->calls++;
	}
	return NULL;
}

static bool racers_open(struct racer *r, unsigned int nr, volatile bool *stop, bool removal)
{
	unsigned int i;

	for (i = 0; i < nr; i++) {
		r[i] = (struct racer){ .flags = i & POLLED, .stop = stop, .removal = removal };
		if (!dev_open(&r[i].dev, NULL, O_RDWR))
			return false;
	}
	return true;
}

static void racers_join(struct racer *r, pthread_t *thread, unsigned int nr, const char *what)
{
	unsigned int i, calls = 0;

	for (i = 0; i < nr; i++) {
		pthread_join(thread[i], NULL);
		dev_close(&r[i].dev);
		calls += r[i].calls;
	}
	note("injected %s 1 (%u calls)", what, calls);
}

#define RACERS 4

/* Attaches and detaches while the caller does other things; @dev is its own file. */
struct race {
	struct dev dev;
	struct racer r[RACERS];
	pthread_t thread[RACERS];
	volatile bool stop;
	unsigned int all; /* queues that are free before */
};

static bool race_start(struct race *race)
{
	unsigned int i;

	race->stop = false;
	if (!dev_open(&race->dev, NULL, O_RDWR) ||
	    !racers_open(race->r, RACERS, &race->stop, false))
		return false;
	race->all = queue_query(race->dev.fd).queues_free;
	for (i = 0; i < RACERS; i++)
		pthread_create(&race->thread[i], NULL, attaches, &race->r[i]);
	return true;
}

/* Afterwards there are as many queues as before, and they work. */
static void race_end(struct race *race, const char *what)
{
	race->stop = true;
	racers_join(race->r, race->thread, RACERS, what);
	if (queue_works(&race->dev, 0, race->all))
		queue_works(&race->dev, POLLED, race->all);
	dev_close(&race->dev);
}

void attach_resets(void)
{
	unsigned int i, rounds = opt.rounds ? opt.rounds : 12;
	struct race race;

	if (!race_start(&race))
		return;
	for (i = 0; i < rounds && reset_ctrl(&race.dev); i++)
		sleep_ms(20);
	race_end(&race, "resets");
}

/* ---- rings share the queues of a file, which go and come, by resets at last ---- */

#define SHARERS	     4
#define SHARED_BATCH 6

struct sharer {
	struct setup *s;
	enum mode mode;
	volatile bool *stop, *reset;
	unsigned int batches;
};

static void *shares(void *arg)
{
	struct sharer *sh = arg;
	struct setup s = *sh->s;
	struct completion done;
	unsigned int i;

	if (!ring_open(&s.ring, sh->mode, 32))
		return NULL;
	for (; !*sh->stop && push_reads(&s, SHARED_BATCH); sh->batches++)
		for (i = 0; i < SHARED_BATCH; i++)
			if (!CHECK_RET(ring_reap(&s.ring, &done, 60000), 0, "completion") ||
			    !CHECK(!done.res || *sh->reset, "read: %s", err_name(done.res)))
				break;
	io_uring_queue_exit(&s.ring);
	return NULL;
}

void shared_resets(void)
{
	volatile bool stop = false, resetting = false;
	struct sharer sh[SHARERS];
	pthread_t thread[SHARERS];
	unsigned int i, batches = 0;
	struct setup s;

	if (!setup_make(&s, NULL, MODE_IRQ, MEM_4K, PAGE) || !must_attach(s.dev.fd, 0) ||
	    !must_attach(s.dev.fd, POLLED))
		goto out;
	for (i = 0; i < SHARERS; i++) {
		sh[i] = (struct sharer){ &s, i & 1 ? MODE_POLL : MODE_IRQ, &stop, &resetting, 0 };
		pthread_create(&thread[i], NULL, shares, &sh[i]);
	}
	sleep_ms(3000);
	for (i = 0; i < 100 && must_detach(s.dev.fd, i & POLLED); i++)
		if (!must_attach(s.dev.fd, i & POLLED))
			break;
	resetting = true;
	for (i = 0; i < 6 && reset_ctrl(&s.dev); i++)
		sleep_ms(300);
	stop = true;
	for (i = 0; i < SHARERS; i++) {
		pthread_join(thread[i], NULL);
		batches += sh[i].batches;
	}
	note("%u batches", batches);
	if (queue_up(s.dev.fd, 0) && queue_up(s.dev.fd, POLLED) && read_by_queue(&s.dev, 0))
		read_by_queue(&s.dev, POLLED);
out:
	setup_close(&s);
}

static void *reads(void *arg)
{
	struct racer *r = arg;
	char path[160], text[32];

	dev_sysfs(&r->dev, r->attr, path, sizeof(path));
	while (!*r->stop) {
		read_file(path, text, sizeof(text));
		r->calls++;
	}
	return NULL;
}

static bool attach_removal(void)
{
	static const char *const attrs[] = { "pmap/queues_granted", "pmap/queues_free",
					     "pmap/fallback_busy" };
	pthread_t thread[RACERS], reader[ARRAY_SIZE(attrs)];
	struct racer r[RACERS], a[ARRAY_SIZE(attrs)];
	volatile bool stop = false;
	unsigned int i;

	if (!racers_open(r, RACERS, &stop, true) || !learn_pci())
		return false;
	for (i = 0; i < RACERS; i++)
		pthread_create(&thread[i], NULL, attaches, &r[i]);
	for (i = 0; i < ARRAY_SIZE(attrs); i++) {
		a[i] = (struct racer){ .dev = r[0].dev, .attr = attrs[i], .stop = &stop };
		pthread_create(&reader[i], NULL, reads, &a[i]);
	}
	sleep_ms(100);
	bind_to("unbind");
	stop = true;
	for (i = 0; i < ARRAY_SIZE(attrs); i++)
		pthread_join(reader[i], NULL);
	racers_join(r, thread, RACERS, "removal");
	return bind_to("bind") && all_queues();
}

void attach_removals(void)
{
	unsigned int round, rounds = opt.rounds ? opt.rounds : 6;

	for (round = 0; round < rounds; round++)
		if (!attach_removal())
			break;
}

/* A process of its own in the memory of this one: only it is killed. */
static int victim(void *arg)
{
	struct racer *r = arg;
	struct nvme_pmap_query q;

	r->calls++;
	for (;;) {
		if (r->attr) {
			nvme_pmap_query_file(r->dev.fd, &q);
		} else {
			nvme_pmap_attach_queue(r->dev.fd, r->flags);
			nvme_pmap_detach_queue(r->dev.fd, r->flags);
		}
	}
	return 0;
}

static bool kill_one(unsigned int round)
{
	static unsigned char stack[65536] __attribute__((aligned(16)));
	struct racer v = { .attr = round % 3 ? NULL : "query" };
	volatile unsigned int *calls = &v.calls;
	int status;
	pid_t pid;

	if (!dev_open(&v.dev, NULL, O_RDWR))
		return false;
	pid = clone(victim, stack + sizeof(stack), CLONE_VM | SIGCHLD, &v);
	if (!CHECK(pid > 0, "clone: %s", strerror(errno)))
		return false;
	while (!*calls)
		sched_yield();
	sleep_ms(5 + round % 10);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	dev_close(&v.dev);
	return true;
}

/* Others have the lock most of the time. */
void attach_killed(void)
{
	unsigned int i, rounds = opt.rounds ? opt.rounds : 150;
	struct race race;

	if (!race_start(&race))
		return;
	for (i = 0; i < rounds && kill_one(i); i++)
		;
	race_end(&race, "kills");
}
