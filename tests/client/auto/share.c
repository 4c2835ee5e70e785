// SPDX-License-Identifier: GPL-2.0
/* The auto door with one buffer that several files of a controller use. */
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "auto/auto.h"

#define FILES	 16u
#define SHARED	 MIB(4)
#define THREADS	 4u
#define TURN	 6u /* pairs that a file serves before it is closed */
#define PART(i)	 ((size_t)(i) * (SHARED / THREADS))
#define PART_LEN (SHARED / THREADS)

/* ---- at rest ---- */

/* One ring, by whichever file is its program's device at the moment. */
struct sharers {
	struct prog p;
	struct dev own;
	struct dev dev[FILES];
};

static struct prog *sharer(struct sharers *s, unsigned int i)
{
	s->p.dev = s->dev[i];
	return &s->p;
}

static bool sharer_open(struct sharers *s, unsigned int i)
{
	struct prog p;

	if (!prog_device(&p, NULL, O_RDWR))
		return false;
	s->dev[i] = p.dev;
	paths_of(&p.dev);
	return true;
}

/* Each open file is served by the mapping, and stock serves no command. */
static bool sharers_work(struct sharers *s, unsigned int from, uint64_t gen)
{
	unsigned int i;

	for (i = from; i < FILES; i++) {
		struct prog *p = sharer(s, i);
		struct paths w = paths_of(&p->dev);
		uint64_t sent = p->sent;

		if (!one_pair(p, gen + i))
			return false;
		w = paths_since(&p->dev, &w);
		if (!CHECK(w.served == p->sent - sent, "file %u served %" PRIu64 " of %" PRIu64, i,
			   w.served, p->sent - sent))
			return false;
	}
	return true;
}

static bool sharers_start(struct sharers *s)
{
	unsigned int i;

	memset(s, 0, sizeof(*s));
	for (i = 0; i < FILES; i++)
		s->dev[i].fd = -1;
	if (!prog_open(&s->p, MODE_IRQ, MEM_4K, SHARED))
		return false;
	s->own = s->p.dev;
	for (i = 0; i < FILES; i++)
		if (!sharer_open(s, i) || !prog_warm_any(sharer(s, i)))
			return false;
	return true;
}

static void sharer_close(struct sharers *s, unsigned int i)
{
	dev_close(&s->dev[i]);
	s->dev[i].fd = -1;
}

static void sharers_end(struct sharers *s)
{
	unsigned int i;

	for (i = 0; i < FILES; i++)
		sharer_close(s, i);
	if (s->own.path[0])
		s->p.dev = s->own;
	prog_close(&s->p);
}

static bool shared_once(const struct sharers *s, const char *when)
{
	long pinned = auto_pinned(&s->own);

	return CHECK(pinned == (long)SHARED, "%s, auto_pinned is %ld, not %ld", when, pinned,
		     (long)SHARED);
}

/* It is held once, for all files that mapped it, until the last one gives it back. */
void auto_shared(void)
{
	struct sharers s;
	unsigned int i;

	if (sharers_start(&s) && shared_once(&s, "with all files")) {
		/* the first, which has mapped it, is the first to go */
		for (i = 0; i < FILES; i++) {
			if (!sharers_work(&s, i, 1 + i * FILES) || !shared_once(&s, "in between"))
				break;
			sharer_close(&s, i);
		}
		pinned_becomes(&s.own, 0, 10000);
	}
	sharers_end(&s);
}

/* A limit that has room for it once; and each file lets go when io_uring has. */
void auto_shared_limit(void)
{
	struct sharers s;

	set_param("pmap_auto_max_mib", SHARED >> 20);
	if (sharers_start(&s) && sharers_work(&s, 0, 1) && shared_once(&s, "at the limit") &&
	    CHECK_RET(io_uring_unregister_buffers(&s.p.ring), 0, "unregister"))
		pinned_becomes(&s.own, 0, 10000);
	sharers_end(&s);
	reset_params();
}

/* ---- all at once ---- */

struct churn {
	struct prog *owner;
	pthread_barrier_t *start;
	pthread_t thread;
	unsigned int number;
	volatile bool *stop;
	bool gone; /* the controller may go at any time */
	uint64_t turns, pairs;
};

/* Within the part of the buffer, and of the disk, that are this thread's. */
static int churn_pair(struct churn *c, struct prog *p, uint64_t gen)
{
	unsigned char *from = p->mem.map + PART(c->number), *to = from + PART_LEN / 2;
	uint64_t lba = c->number * 4096ull;
	int ret;

	pattern_fill(from, p->dev.block, lba, LEN / p->dev.block, gen);
	poison(to, LEN);
	ret = run_fixed(p, OP_WRITE, 0, from, LEN, lba);
	ret = ret ?: run_fixed(p, OP_READ, 0, to, LEN, lba);
	if (!ret)
		shows(p, to, LEN, lba, gen, "churn");
	return ret;
}

/* The node may be missing only in a case that removes the controller. */
static bool churn_opens(struct churn *c, struct prog *p)
{
	p->dev = c->owner->dev;
	p->dev.fd = open(p->dev.path, O_RDWR | O_CLOEXEC);
	if (p->dev.fd < 0)
		return CHECK(c->gone, "%s: %s", p->dev.path, strerror(errno)) && false;
	p->mem = c->owner->mem;
	return ring_open(&p->ring, c->number % 2 ? MODE_DEFER : MODE_IRQ, 64) &&
	       CHECK_RET(clone_buffers(p->ring.ring_fd, c->owner->ring.ring_fd), 0, "clone");
}

/* A file, a ring with a clone of the buffer, some pairs; and both are closed. */
static int churn_turn(struct churn *c)
{
	struct prog p = { .dev.fd = -1, .mem.fd = -1 };
	unsigned int i;
	int ret = 0;

	if (!churn_opens(c, &p))
		ret = -ENODEV;
	for (i = 0; !ret && i < TURN; i++) {
		ret = churn_pair(c, &p, 1 + c->turns * TURN + i);
		c->pairs += !ret;
	}
	if (p.ring.ring_fd > 0)
		io_uring_queue_exit(&p.ring);
	dev_close(&p.dev);
	return ret;
}

static void *churn_run(void *arg)
{
	struct churn *c = arg;
	int ret;

	pthread_barrier_wait(c->start);
	do {
		ret = churn_turn(c);
		if (ret && !c->gone)
			CHECK_RET(ret, 0, "thread %u, turn %" PRIu64, c->number, c->turns);
		c->turns++;
	} while (!*c->stop && !ret && !case_failed());
	return NULL;
}

struct churns {
	struct prog owner;
	pthread_barrier_t start;
	volatile bool stop;
	struct churn c[THREADS];
};

static bool churns_start(struct churns *s, bool gone)
{
	unsigned int i;

	memset(s, 0, sizeof(*s));
	if (!prog_open(&s->owner, MODE_IRQ, MEM_4K, SHARED) || !prog_warm_any(&s->owner))
		return false;
	pthread_barrier_init(&s->start, NULL, THREADS);
	for (i = 0; i < THREADS; i++) {
		s->c[i] = (struct churn){ .owner = &s->owner,
					  .start = &s->start,
					  .number = i,
					  .stop = &s->stop,
					  .gone = gone };
		if (!CHECK(!pthread_create(&s->c[i].thread, NULL, churn_run, &s->c[i]), "thread"))
			abort();
	}
	return true;
}

static void churns_end(struct churns *s)
{
	uint64_t turns = 0, pairs = 0;
	unsigned int i;

	s->stop = true;
	for (i = 0; i < THREADS && s->c[i].thread; i++) {
		pthread_join(s->c[i].thread, NULL);
		turns += s->c[i].turns;
		pairs += s->c[i].pairs;
	}
	CHECK(pairs > turns, "%" PRIu64 " pairs in %" PRIu64 " turns", pairs, turns);
	note("%" PRIu64 " files opened and closed, %" PRIu64 " pairs", turns, pairs);
}

/* While one file keeps it, others take it and give it back, never a second time mapped. */
void auto_shared_churn(void)
{
	uint64_t end = now_ms() + (slow_kernel() ? 12000 : 4000);
	struct churns s;

	if (churns_start(&s, false)) {
		while (now_ms() < end && !case_failed()) {
			CHECK(auto_pinned(&s.owner.dev) == (long)SHARED, "auto_pinned is %ld",
			      auto_pinned(&s.owner.dev));
			sleep_ms(5);
		}
		churns_end(&s);
	}
	prog_close(&s.owner);
}

/* The controller goes while files take it and give it back; all ends, on a new one as well. */
void auto_shared_removed(void)
{
	unsigned int i, rounds = opt.rounds ?: slow_kernel() ? 4 : 8;
	char path[160];

	for (i = 0; i < rounds && !case_failed(); i++) {
		struct churns s;

		if (churns_start(&s, true)) {
			sleep_ms((unsigned int)rnd_below(slow_kernel() ? 600 : 200));
			if (CHECK(dev_sysfs(&s.owner.dev, "device/remove", path, sizeof(path)),
				  "no device"))
				CHECK(write_file(path, "1"), "%s: %s", path, strerror(errno));
			churns_end(&s);
		}
		prog_close(&s.owner);
		CHECK(write_file("/sys/bus/pci/rescan", "1"), "rescan: %s", strerror(errno));
	}
	CHECK(pins_gone(getpid(), 5000), "VmPin is %ld KiB", status_kib(getpid(), "VmPin"));
}
