// SPDX-License-Identifier: GPL-2.0
/* How much the auto door may pin, and when it unpins: limits, idleness, the switch. */
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "auto/auto.h"
#include "queue/queue.h"

#define NOBODY 65534

/* ---- limits ---- */

/* Buffer @index of @len bytes: eight commands, right data, and how they went. */
static struct paths use(struct prog *p, unsigned int index, unsigned char *at, size_t len)
{
	struct paths before = paths_of(&p->dev);
	unsigned char *end = at + len - LEN;

	pattern_fill(at, p->dev.block, 0, LEN / p->dev.block, len);
	if (move(p, OP_WRITE, index, at, 0, "write")) {
		poison(end, LEN);
		if (move(p, OP_READ, index, end, 0, "read"))
			shows(p, end, LEN, 0, len, "limited");
	}
	return paths_since(&p->dev, &before);
}

#define USED (2 * LEN / SLICE)

static void expect_refused(struct paths w, const char *what)
{
	/*
	 * More than USED: with no tag left, a worker sends it once more.  And now and then
	 * it is tried again.
	 */
	CHECK(w.unmapped + w.setup >= USED && w.unmapped && !w.served,
	      "%s: of %u commands %" PRIu64 " refused, %" PRIu64 " served", what, USED, w.unmapped,
	      w.served);
}

static void expect_served(struct paths w, const char *what)
{
	CHECK(w.served == USED && !w.stock,
	      "%s: of %u commands %" PRIu64 " served, %" PRIu64 " by stock, %" PRIu64 " refused",
	      what, USED, w.served, w.stock, w.unmapped);
}

/* @second: its length; registered at once, with any limit for the door. */
struct locked {
	struct prog p;
	size_t len, second;
	rlim_t limit;
	enum settled want;
};

/*
 * A buffer is replaced by another: io_uring must be able to register it while the door
 * still holds the first.
 */
static void locked_child(void *arg)
{
	struct locked *l = arg;
	struct rlimit limit = { l->limit, l->limit };
	struct prog *p = &l->p;
	enum settled settled;
	struct mem second;
	struct iovec iov;

	if (!CHECK(!setrlimit(RLIMIT_MEMLOCK, &limit), "setrlimit") ||
	    !prog_start(p, MODE_IRQ, MEM_4K, l->len) ||
	    !CHECK(mem_alloc(&second, MEM_4K, l->second), "memory") || !prog_warm(p))
		return;
	expect_served(use(p, 0, p->mem.map, l->len), "the first");
	CHECK_RET(io_uring_unregister_buffers(&p->ring), 0, "unregister");
	iov = (struct iovec){ second.map, l->second };
	if (!CHECK_RET(io_uring_register_buffers(&p->ring, &iov, 1), 0,
		       "register %zu at once, after %zu of %zu", l->second, l->len,
		       (size_t)l->limit))
		return;
	settled = buffer_settle(p, 0, second.map);
	CHECK(settled == l->want, "a second buffer of %zu after %zu of %zu is %s", l->second,
	      l->len, (size_t)l->limit, settled == SERVED ? "served" : "refused");
	/* at once, and not some time after the end of this process */
	CHECK_RET(io_uring_unregister_buffers(&p->ring), 0, "unregister");
	mem_free(&second);
}

/* The child has a file of its own, whose charge ends with the child. */
static void locked(size_t len, size_t second, rlim_t limit, enum settled want)
{
	struct locked l = { .len = len, .second = second, .limit = limit, .want = want };
	struct prog owner;
	pid_t pid;

	if (!prog_open(&owner, MODE_IRQ, MEM_4K, PAGE) || !pinned_becomes(&owner.dev, 0, 5000))
		goto out;
	l.p.dev = owner.dev;
	pid = child_start(locked_child, &l, NOBODY);
	child_wait(pid);
out:
	prog_close(&owner);
}

/*
 * The door's pins are counted apart from io_uring's: although the door still holds the
 * first buffer, the second can be registered as with the stock driver.
 */
void auto_memlock(void)
{
	unsigned int i;

	for (i = 0; i < 3; i++) {
		locked(MIB(1), MIB(1), 2 * MIB(1) - PAGE, REFUSED);
		locked(MIB(1), MIB(1), 2 * MIB(1), SERVED);
		locked(MIB(1), MIB(1), MIB(1), REFUSED);
		locked(MIB(1) / 2, MIB(1), MIB(1), REFUSED);
		locked(MIB(1) - PAGE, PAGE, MIB(1), SERVED);
	}
}

/* A refused buffer is served within so many ms. */
static void served_again(struct prog *p, unsigned int index, unsigned char *at, unsigned int ms)
{
	uint64_t end = now_ms() + (slow_kernel() ? 5 : 1) * (uint64_t)ms;
	enum settled settled;

	do
		settled = buffer_settle(p, index, at);
	while (settled == REFUSED && now_ms() < end);
	CHECK(settled == SERVED, "buffer %u is still refused after %u ms", index, ms);
}

/* Two buffers of which one fits, and one that does not by itself. */
void auto_mib(void)
{
	const size_t part = MIB(1) / 2;
	struct mem mem = { .fd = -1 };
	struct prog p;

	set_param("pmap_auto_idle_s", 1);
	if (!prog_open(&p, MODE_IRQ, MEM_4K, PAGE) || !prog_warm(&p) ||
	    !CHECK(mem_alloc(&mem, MEM_4K, MIB(4)), "no memory"))
		goto out;
	buffer_set(&p, 1, mem.map, part);
	buffer_set(&p, 2, mem.map + MIB(1), part);
	buffer_set(&p, 3, mem.map + MIB(2), MIB(2));
	set_param("pmap_auto_max_mib", 1);
	buffer_settle(&p, 3, mem.map + MIB(2));
	expect_refused(use(&p, 3, mem.map + MIB(2), MIB(2)), "2 MiB of 1");
	buffer_warm(&p, 1, mem.map);
	expect_served(use(&p, 1, mem.map, part), "half a MiB");
	buffer_settle(&p, 2, mem.map + MIB(1));
	expect_refused(use(&p, 2, mem.map + MIB(1), part), "a page and a whole MiB");
	CHECK(auto_pinned(&p.dev) <= (long)MIB(1), "auto_pinned is %ld", auto_pinned(&p.dev));
	set_param("pmap_auto_max_mib", 0);
	served_again(&p, 3, mem.map + MIB(2), 3000);
	served_again(&p, 2, mem.map + MIB(1), 3000);
out:
	prog_close(&p);
	mem_free(&mem);
	reset_params();
}

/*
 * A refused buffer stays refused for some seconds, used or not; the driver tries again
 * at once when the operator writes the limit or the mode.
 */
void auto_refused(void)
{
	struct mem mem = { .fd = -1 };
	struct prog p;

	set_param("pmap_auto_idle_s", 600);
	set_param("pmap_auto_max_mib", 1);
	if (!prog_open(&p, MODE_IRQ, MEM_4K, PAGE) || !prog_warm(&p) ||
	    !CHECK(mem_alloc(&mem, MEM_4K, MIB(2)), "no memory") ||
	    !buffer_set(&p, 1, mem.map, MIB(2)))
		goto out;
	CHECK(buffer_settle(&p, 1, mem.map) == REFUSED, "2 MiB of 1 are not refused");
	expect_refused(use(&p, 1, mem.map, MIB(2)), "2 MiB of 1");
	set_param("pmap_auto_max_mib", 0);
	served_again(&p, 1, mem.map, 1000);
	set_param("pmap_auto_max_mib", 1);
	buffer_set(&p, 1, NULL, 0);
	pinned_becomes(&p.dev, PAGE, 3000);
	buffer_set(&p, 1, mem.map, MIB(2));
	CHECK(buffer_settle(&p, 1, mem.map) == REFUSED, "2 MiB of 1 are not refused");
	set_door(&p.dev, door_mode());
	CHECK(buffer_settle(&p, 1, mem.map) == REFUSED, "the door makes room");
out:
	prog_close(&p);
	mem_free(&mem);
	reset_params();
}

/* A limit grows without a notice: the driver tries again after some seconds, in use or not. */
void auto_refused_ages(void)
{
	struct mem mem = { .fd = -1 };
	struct prog p;

	set_param("pmap_auto_idle_s", 600);
	set_param("pmap_auto_max_mib", 3);
	if (!prog_open(&p, MODE_IRQ, MEM_4K, PAGE) || !prog_warm(&p) ||
	    !CHECK(mem_alloc(&mem, MEM_4K, MIB(4)), "no memory") ||
	    !buffer_set(&p, 1, mem.map, MIB(2)) || !buffer_set(&p, 2, mem.map + MIB(2), MIB(2)))
		goto out;
	buffer_warm(&p, 1, mem.map);
	CHECK(buffer_settle(&p, 2, mem.map + MIB(2)) == REFUSED, "4 MiB of 3 are not refused");
	/* the first makes room */
	buffer_set(&p, 1, NULL, 0);
	served_again(&p, 2, mem.map + MIB(2), 9000);
out:
	prog_close(&p);
	mem_free(&mem);
	reset_params();
}

/*
 * One that has no room asks for it again and again: those in use do not make it, nor
 * are they made anew.
 */
void auto_crowded(void)
{
	struct mem mem = { .fd = -1 };
	uint64_t end = now_ms() + 4000;
	struct prog p;
	unsigned int i;

	set_param("pmap_auto_max_mib", 3);
	set_param("pmap_auto_idle_s", 1);
	if (!prog_open(&p, MODE_IRQ, MEM_4K, PAGE) || !prog_warm(&p) ||
	    !CHECK(mem_alloc(&mem, MEM_4K, 3 * MIB(1)), "no memory"))
		goto out;
	for (i = 0; i < 3; i++) {
		buffer_set(&p, 1 + i, mem.map + i * MIB(1), MIB(1));
		CHECK(buffer_settle(&p, 1 + i, mem.map + i * MIB(1)) == (i < 2 ? SERVED : REFUSED),
		      "buffer %u of three", 1 + i);
	}
	do {
		CHECK_RET(run_fixed(&p, OP_READ, 0, p.mem.map, PAGE, 0), 0, "a page");
		expect_served(use(&p, 1, mem.map, MIB(1)), "the first");
		expect_served(use(&p, 2, mem.map + MIB(1), MIB(1)), "the second");
		expect_refused(use(&p, 3, mem.map + 2 * MIB(1), MIB(1)), "the third");
	} while (now_ms() < end && !case_failed());
out:
	prog_close(&p);
	mem_free(&mem);
	reset_params();
}

/* ---- given up, and idle ---- */

/* io_uring does not say that it has let go, and the driver sees it all the same. */
void auto_given_up(void)
{
	static const enum mem_kind kinds[] = { MEM_4K, MEM_THP, MEM_HUGE, MEM_MEMFD };
	struct mem mem;
	struct prog p;
	unsigned int i;

	set_param("pmap_auto_idle_s", 600);
	if (!prog_open(&p, MODE_IRQ, MEM_4K, PAGE) || !prog_warm(&p))
		goto out;
	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (!CHECK(mem_alloc(&mem, kinds[i], MIB(2)), "no memory"))
			break;
		buffer_set(&p, 1, mem.map, MIB(2));
		buffer_warm(&p, 1, mem.map);
		expect_served(use(&p, 1, mem.map, MIB(2)), mem_names[kinds[i]]);
		/* io_uring keeps its own pin */
		sleep_ms(1500);
		CHECK(auto_pinned(&p.dev) == (long)(MIB(2) + PAGE), "%s: auto_pinned is %ld",
		      mem_names[kinds[i]], auto_pinned(&p.dev));
		buffer_set(&p, 1, NULL, 0);
		pinned_becomes(&p.dev, PAGE, 3000);
		mem_free(&mem);
	}
out:
	prog_close(&p);
	reset_params();
}

/* A buffer that is used now and then stays mapped: the driver looks once a second. */
static void not_idle(struct prog *p)
{
	unsigned int i;

	for (i = 0; i < 15; i++) {
		sleep_ms(200);
		CHECK(auto_pinned(&p->dev) == (long)MIB(1), "auto_pinned is %ld in use",
		      auto_pinned(&p->dev));
		use(p, 0, p->mem.map, MIB(1));
	}
}

void auto_idle(void)
{
	const long kib = MIB(1) / 1024;
	struct prog p;
	unsigned int i;

	set_param("pmap_auto_idle_s", 1);
	if (prog_open(&p, MODE_IRQ, MEM_4K, MIB(1)) && prog_warm(&p)) {
		not_idle(&p);
		for (i = 0; i < 3 && prog_warm(&p); i++) {
			expect_served(use(&p, 0, p.mem.map, MIB(1)), "after a while");
			CHECK(auto_pinned(&p.dev) == (long)MIB(1), "auto_pinned is %ld",
			      auto_pinned(&p.dev));
			pinned_becomes(&p.dev, 0, 5000);
			/* io_uring has pinned it, and nothing else */
			CHECK(status_kib(getpid(), "VmPin") == kib, "VmPin is %ld KiB",
			      status_kib(getpid(), "VmPin"));
		}
	}
	prog_close(&p);
	reset_params();
}

/* ---- switched ---- */

/* Neither memory nor a queue is kept for a buffer that is gone. */
bool all_returned(const struct dev *dev)
{
	uint64_t end = now_ms() + (slow_kernel() ? 50000 : 10000);
	struct nvme_pmap_query q;

	if (!pinned_becomes(dev, 0, 10000))
		return false;
	do {
		q = queue_query(dev->fd);
		if (!q.queue_irq && !q.queue_polled)
			return true;
		sleep_ms(10);
	} while (now_ms() < end);
	return CHECK(false, "the file still has queues %u and %u", q.queue_irq, q.queue_polled);
}

static void switch_about(const struct dev *dev)
{
	static const char *const modes[] = { "off", "on", "queue" };
	unsigned int i;

	for (i = 0; i < (opt.rounds ?: 150); i++) {
		set_door(dev, modes[rnd_below(3)]);
		sleep_ms((unsigned int)rnd_below(30));
	}
	/* each way has been taken, however short the rounds were */
	for (i = 0; i < 3; i++) {
		set_door(dev, modes[i]);
		sleep_ms(300);
	}
}

/* The door is closed under load: the stock driver serves these commands. */
static void shut(const struct dev *dev, const struct load *loads)
{
	uint64_t verified;
	struct paths before, w;

	set_door(dev, "off");
	all_returned(dev);
	before = paths_of(dev);
	verified = loads[0].verified + loads[1].verified;
	sleep_ms(300);
	w = paths_since(dev, &before);
	CHECK(!w.served && !w.stock, "shut, it served %" PRIu64 " and counted %" PRIu64, w.served,
	      w.stock);
	CHECK(loads[0].verified + loads[1].verified > verified, "nothing goes on");
}

/* Two loads on one file, of which one polls. */
void auto_switched(void)
{
	static const enum mode modes[] = { MODE_IRQ, MODE_POLL };
	volatile bool stop = false;
	struct load loads[2];
	struct mem mem[2] = { { .fd = -1 }, { .fd = -1 } };
	struct prog p;
	struct paths w;
	unsigned int i;

	if (!prog_open(&p, MODE_IRQ, MEM_4K, LEN) || !prog_warm(&p))
		goto out;
	for (i = 0; i < 2; i++) {
		CHECK(mem_alloc(&mem[i], MEM_4K, LOAD_BYTES(8, LEN)), "no memory");
		loads[i] = (struct load){ .name = mode_names[modes[i]],
					  .mode = modes[i],
					  .dev = &p.dev,
					  .base = mem[i].map,
					  .len = 4 * PAGE,
					  .lba = i * 4096,
					  .depth = 8,
					  .count = 10000000,
					  .stock = 1,
					  .fixed_buf = true,
					  .stop = &stop };
		load_start(&loads[i]);
	}
	switch_about(&p.dev);
	shut(&p.dev, loads);
	stop = true;
	for (i = 0; i < 2; i++) {
		load_join(&loads[i]);
		CHECK(loads[i].verified > 100 && !loads[i].failed,
		      "%s: %" PRIu64 " verified, %" PRIu64 " failed", loads[i].name,
		      loads[i].verified, loads[i].failed);
		mem_free(&mem[i]);
	}
	w = paths_of(&p.dev);
	note("%" PRIu64 " by blk-mq, %" PRIu64 " by queue, %" PRIu64 " by stock", w.blk_mq, w.queue,
	     w.stock);
	CHECK(w.blk_mq > 100 && w.queue > 100, "%" PRIu64 " by blk-mq, %" PRIu64 " by queue",
	      w.blk_mq, w.queue);
out:
	prog_close(&p);
}

/* Neither of the two ways is off: whichever it is when, mappings stay. */
void auto_switched_way(void)
{
	bool queue = !strcmp(door_mode(), "queue");
	unsigned int i, rounds = opt.rounds ?: 20;
	struct prog p;

	if (prog_open(&p, MODE_IRQ, MEM_4K, LEN) && prog_warm(&p)) {
		for (i = 0; i < rounds && !case_failed(); i++) {
			set_door(&p.dev, queue ? "on" : "queue");
			set_door(&p.dev, door_mode());
			/* however early or late a worker handles the two */
			sleep_ms((unsigned int)rnd_below(100));
			CHECK(auto_pinned(&p.dev) == (long)LEN, "%ld bytes are pinned",
			      auto_pinned(&p.dev));
			expect_served(use(&p, 0, p.mem.map, LEN), "switched");
		}
	}
	prog_close(&p);
}

/* Nothing else runs on this CPU, so that a worker bound to it has to wait. */
static bool hold_cpu(bool hold)
{
	struct sched_param param = { .sched_priority = hold ? 1 : 0 };

	return CHECK(!sched_setscheduler(0, hold ? SCHED_FIFO : SCHED_OTHER, &param),
		     "sched_setscheduler: %s", strerror(errno));
}

static void spin_ms(unsigned int ms)
{
	uint64_t end = now_ms() + ms;

	while (now_ms() < end)
		;
}

/*
 * The first command that is served asks for a queue, which is attached by a worker of
 * this CPU: before the door is shut, meanwhile, or with @hold not before all looks are
 * over.
 */
static bool shut_early(struct prog *p, unsigned int ms, bool hold)
{
	bool queues = opt.queues, good;
	struct paths before, w;

	opt.queues = false;
	good = set_door(&p->dev, "on") && prog_warm(p) && set_door(&p->dev, "queue");
	opt.queues = queues;
	good = good && (!hold || hold_cpu(true));
	before = paths_of(&p->dev);
	good = CHECK_RET(run_fixed(p, OP_READ, 0, p->mem.map, PAGE, 0), 0, "read") && good;
	w = paths_since(&p->dev, &before);
	good = CHECK(w.served == 1,
		     "a read was not served: %" PRIu64 " in setup, %" PRIu64 " by stock", w.setup,
		     w.stock) &&
	       good;
	if (ms && !hold)
		sleep_ms(ms - 1);
	good = set_door(&p->dev, "off") && good;
	if (hold) {
		spin_ms(600);
		hold_cpu(false);
		/* the worker's turn */
		sleep_ms(100);
	}
	return good && all_returned(&p->dev);
}

static void shuts_early(void *arg)
{
	unsigned int i, rounds = opt.rounds ?: 24;
	bool good = run_on(0);
	struct prog p;

	(void)arg;
	for (i = 0; good && i < rounds; i++) {
		good = prog_open(&p, i % 2 ? MODE_POLL : MODE_IRQ, MEM_4K, LEN) &&
		       shut_early(&p, (unsigned int)rnd_below(5), i % 8 == 1);
		prog_close(&p);
		if (!good)
			note("in round %u of %u", i, rounds);
	}
}

/* Shut while the file is about to get its mapping and its queue; a child's CPU. */
void auto_switched_early(void) { in_child(shuts_early, NULL, 0); }

#define LARGE MIB(128)

struct meanwhile {
	struct prog p;
	volatile bool shut;
};

/* As soon as a buffer beside the program's first is being mapped, which takes a while. */
static void *shuts_meanwhile(void *arg)
{
	struct meanwhile *m = arg;
	uint64_t end = now_ms() + (slow_kernel() ? 100000 : 20000);

	while (auto_pinned(&m->p.dev) <= (long)LEN && now_ms() < end)
		;
	CHECK(now_ms() < end, "a large buffer is not mapped");
	set_door(&m->p.dev, "off");
	m->shut = true;
	return NULL;
}

/* Close the door while a mapping is made; it must not stay for the life of the file. */
void auto_switched_making(void)
{
	struct mem mem = { .fd = -1 };
	struct meanwhile m;
	pthread_t thread;
	unsigned int i;

	set_param("pmap_auto_max_mib", 2 * LARGE >> 20);
	for (i = 0; i < 3 && !case_failed(); i++) {
		m.shut = false;
		if (prog_open(&m.p, MODE_IRQ, MEM_4K, LEN) && prog_warm(&m.p) &&
		    CHECK(mem_alloc(&mem, MEM_4K, LARGE), "no memory") &&
		    buffer_set(&m.p, 1, mem.map, LARGE) &&
		    CHECK(!pthread_create(&thread, NULL, shuts_meanwhile, &m), "thread")) {
			while (!m.shut && !case_failed())
				CHECK_RET(run_fixed(&m.p, OP_READ, 1, mem.map, PAGE, 0), 0, "read");
			pthread_join(thread, NULL);
			all_returned(&m.p.dev);
		}
		prog_close(&m.p);
		mem_free(&mem);
	}
	reset_params();
}
