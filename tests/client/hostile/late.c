// SPDX-License-Identifier: GPL-2.0
/*
 * A disk that answers later than commands may take, and one that never answers: recovery,
 * or a removal, has to end them.  See hostile.h, and lib/stall.h for how a disk falls silent.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "queue/queue.h"
#include "lib/stall.h"
#include "lib/storm.h"
#include "hostile/hostile.h"

#define LATE_NR	   6u
#define LATE_MODES 4u
#define LATE_MS	   100000u

bool lockdep_watches(void)
{
	char text[8192] = "", *at;

	if (!read_file("/proc/lockdep_stats", text, sizeof(text)))
		return false;
	at = strstr(text, "debug_locks:");
	return at && strtoul(at + strlen("debug_locks:"), NULL, 10);
}

/* One of several files and rings, each with commands by every door. */
struct late {
	struct setup s;
	enum mode mode;
	unsigned int door[LATE_NR];
	unsigned int came; /* completions that late_end() need not wait for */
};

/* Attackers whose files have passthrough queues, of either kind. */
static bool has_queues(enum mode mode) { return mode == MODE_POLL || mode == MODE_DEFER; }

static bool late_open(struct late *l, enum mode mode)
{
	struct iovec iov;

	l->mode = mode;
	if (!setup_make(&l->s, opt.dev2, mode, MEM_4K, LATE_NR * 2 * PAGE))
		return false;
	iov = (struct iovec){ l->s.mem.map, l->s.mem.len };
	poison(l->s.mem.map, l->s.mem.len);
	return (!has_queues(mode) || dev_attach(&l->s.dev)) &&
	       CHECK_RET(io_uring_register_buffers(&l->s.ring, &iov, 1), 0, "buffer");
}

static bool late_send(struct late *l, bool only_pmap)
{
	unsigned int i;

	for (i = 0; i < LATE_NR; i++) {
		l->door[i] = only_pmap ? DOOR_PMAP : (unsigned int)rnd_below(DOOR_BAD);
		if (l->door[i] == DOOR_PMAP) {
			struct nvme_pmap_cmd cmd = cmd_rw(&l->s.dev, OP_READ, l->s.index,
							  i * 2 * PAGE, PAGE, 8 * i);

			prep_cmd(&l->s.ring, l->s.dev.fd, &cmd, i);
		} else {
			struct io_uring_sqe *sqe = prep_stock(&l->s.ring, &l->s.dev, OP_READ,
							      l->s.mem.map + i * 2 * PAGE, PAGE,
							      8 * i, i);

			if (l->door[i] == DOOR_FIXED)
				sqe_fixed(sqe, 0);
		}
	}
	return CHECK_RET(ring_push(&l->s.ring), 0, "submit");
}

/* With little polling, which would take the CPU from others. */
static int reap_by(struct io_uring *ring, struct completion *done, uint64_t end)
{
	int ret;

	while ((ret = ring_reap(ring, done, 1)) == -ETIME && now_ms() < end)
		sleep_ms(10);
	return ret;
}

/* @answered: some may have had an answer, as their disk is only late. */
static bool late_end(struct late *l, bool answered, uint64_t end)
{
	struct completion done;
	uint64_t seen = 0;
	unsigned int i;

	for (i = l->came; i < LATE_NR; i++) {
		if (!CHECK_RET(reap_by(&l->s.ring, &done, end), 0,
			       "%s: completion %u of %u does not come", mode_names[l->mode], i,
			       LATE_NR) ||
		    !CHECK(done.user_data < LATE_NR && !(seen >> done.user_data & 1),
			   "a second CQE"))
			return false;
		seen |= 1ull << done.user_data;
		CHECK(done.res ? by_disturbance(done.res) : answered, "a command by %s, %s: %s",
		      door_names[l->door[done.user_data]], mode_names[l->mode], err_name(done.res));
	}
	/* nothing comes any more */
	poison(l->s.mem.map, l->s.mem.len);
	sleep_ms(50);
	return CHECK(poisoned(l->s.mem.map, l->s.mem.len) == l->s.mem.len,
		     "written to after the end");
}

/* The time-out of stock's commands; the fork uses the same. */
static bool set_timeout(const char *ms)
{
	char node[64];

	return CHECK(dev_path(opt.dev2, node, sizeof(node)), "no device %s", opt.dev2) &&
	       CHECK(node_timeout(node, ms), "time-out of %s: %s", node, strerror(errno));
}

static bool wait_live(void)
{
	uint64_t end = now_ms() + LATE_MS;
	struct dev dev = { .fd = -1 };

	while (!(dev_path(opt.dev2, dev.path, sizeof(dev.path)) && ctrl_is_live(&dev)) &&
	       now_ms() < end)
		sleep_ms(5);
	return CHECK(ctrl_is_live(&dev), "%s is not live", opt.dev2);
}

/* ---- late ---- */

static bool late_round(void)
{
	static struct late l[LATE_MODES];
	bool good = wait_live();
	unsigned int i;

	memset(l, 0, sizeof(l));
	for (i = 0; i < LATE_MODES; i++)
		l[i].s.dev.fd = l[i].s.mem.fd = -1;
	for (i = 0; good && i < LATE_MODES; i++)
		good = late_open(&l[i], i);
	/* once the first are out of time the controller takes no admin commands for a while */
	for (i = 0; good && i < LATE_MODES; i++)
		good = late_send(&l[i], false);
	for (i = 0; good && i < LATE_MODES; i++)
		good = late_end(&l[i], true, now_ms() + LATE_MS);
	for (i = 0; i < LATE_MODES; i++)
		setup_close(&l[i].s);
	return good;
}

/* Its namespace takes longer than a command may; recovery has to end them. */
void hostile_late(void)
{
	unsigned int i, nr = opt.rounds ? opt.rounds / 40 + 1 : 2;
	struct storm s = { .tolerated = NULL };
	uint64_t log = log_mark();
	long pins = pins_held();

	if (!opt.dev2 || lockdep_watches()) {
		skip_case(opt.dev2 ? "lockdep complains of stock's recovery" :
				     "-D names no disk that answers late");
		return;
	}
	/* a suspend may have reset it; the storm is of another, to which nothing must happen */
	if (set_timeout("2000") && storm_start(&s))
		for (i = 0; i < nr && i < 4 && late_round(); i++)
			storm_moves(&s, 1);
	CHECK(log_count(log, "timeout, aborting") + log_count(log, "timeout, reset"),
	      "nothing ran out of time");
	storm_end(&s);
	/* QEMU 7.2 never unmaps the buffers of such commands, but the guest does */
	pins_back(pins, 10000);
}

/* ---- never ---- */

/* tests/module/doorbells.c: a reset meanwhile leaves a controller its registers alone. */
#define REFUSE	 "/sys/module/doorbells/parameters/refuse"
/* From a disturbance, or else from the first time-out, until all is over. */
#define NEVER_MS 30000u

enum way { RECOVERED, RESET, UNBOUND, REMOVED, KILLED, NR_WAYS };

struct silence {
	struct late l[LATE_MODES];
	struct doorbells db;
	enum way way;
	bool only_queues; /* no command on blk-mq, whose time-out would end the others */
	uint64_t sent;	  /* ms, when the first of the commands was */
	char pci[32];
	volatile bool
		over; /* the disturbance has returned, or the process to be killed has sent all */
};

static bool silence_open(struct silence *s)
{
	unsigned int i;

	for (i = 0; i < LATE_MODES; i++)
		s->l[i].s.dev.fd = s->l[i].s.mem.fd = -1;
	for (i = 0; i < LATE_MODES; i++)
		if (!late_open(&s->l[i], i))
			return false;
	return dev_pci(&s->l[0].s.dev, s->pci, sizeof(s->pci));
}

static void silence_close(struct silence *s)
{
	unsigned int i;

	doorbells_close(&s->db);
	for (i = 0; i < LATE_MODES; i++)
		setup_close(&s->l[i].s);
}

/* The queues of a file are there again after the reset. */
static bool queues_stall(struct silence *s, const struct dev *dev)
{
	uint64_t end = now_ms() + LATE_MS;
	struct nvme_pmap_query q;

	do {
		q = queue_query(dev->fd);
		sleep_ms(2);
	} while ((!q.queue_irq || !q.queue_polled) && now_ms() < end && !case_failed());
	if (!CHECK(q.queue_irq && q.queue_polled, "queues %u and %u", q.queue_irq, q.queue_polled))
		return false;
	queue_stall(&s->db, q.queue_irq, q.queue_depth + 1, 0);
	queue_stall(&s->db, q.queue_polled, q.queue_depth + 1, 0);
	return true;
}

/* After a reset no queue has had a completion: neither blk-mq's nor our files' queues. */
static bool silence_falls(struct silence *s)
{
	const struct dev *dev = &s->l[0].s.dev;
	unsigned int i, queues;
	char path[160], text[32];
	bool good;

	if (!CHECK(write_file(REFUSE, "1"), "%s: %s", REFUSE, strerror(errno)))
		return false;
	good = doorbells_open(&s->db, dev);
	write_file(REFUSE, "0");
	/* a scan after the reset may still freeze the namespace */
	sleep_ms(200);
	dev_sysfs(dev, "queue_count", path, sizeof(path));
	if (!good || !CHECK(read_file(path, text, sizeof(text)), "%s", path))
		return false;
	queues = (unsigned int)atoi(text);
	for (i = 1; i < queues; i++)
		queue_stall(&s->db, (uint16_t)i, 16, 0);
	for (i = 0; i < LATE_MODES; i++)
		if (has_queues(i) && !queues_stall(s, &s->l[i].s.dev))
			return false;
	good = set_timeout("2000");
	s->sent = now_ms();
	for (i = 0; good && i < LATE_MODES; i++) {
		/* such a ring may be closed with these in flight, see only_pmap() */
		bool mortal = s->way == KILLED && i == MODE_POLL_DEFER;

		if (s->only_queues && !has_queues(i))
			s->l[i].came = LATE_NR;
		else
			good = late_send(&s->l[i], s->only_queues || mortal);
	}
	return good;
}

/* On a machine that stalls for long the first time-out may have come before. */
static bool nothing_comes(struct silence *s)
{
	struct completion done = { 0 };
	unsigned int i;

	for (i = 0; i < LATE_MODES; i++) {
		int ret = ring_reap(&s->l[i].s.ring, &done, 50);

		if (now_ms() - s->sent < 1500 &&
		    !CHECK_RET(ret, -ETIME, "%s: an answer, %s", mode_names[i], err_name(done.res)))
			return false;
		s->l[i].came += !ret;
	}
	return true;
}

/* Returns when the kernel has done it: a removal waits for the commands. */
static void *disturbs(void *arg)
{
	struct silence *s = arg;
	char path[160];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", s->pci,
		 s->way == UNBOUND ? "driver/unbind" : "remove");
	if (s->way == RESET)
		dev_sysfs(&s->l[0].s.dev, "reset_controller", path, sizeof(path));
	/* EBUSY: on a machine that stalls for long recovery has come before */
	if (s->way != RECOVERED)
		CHECK(write_file(path, s->way == UNBOUND ? s->pci : "1") ||
			      (s->way == RESET && errno == EBUSY),
		      "%s: %s", path, strerror(errno));
	s->over = true;
	return NULL;
}

/* No suspend from here on until solid(). */
static void fragile(struct hostile *h)
{
	for (;;) {
		__atomic_store_n(&h->fragile, true, __ATOMIC_SEQ_CST);
		if (!__atomic_load_n(&h->sleeping, __ATOMIC_SEQ_CST))
			return;
		__atomic_store_n(&h->fragile, false, __ATOMIC_SEQ_CST);
		sleep_ms(5);
	}
}

static void solid(struct hostile *h) { __atomic_store_n(&h->fragile, false, __ATOMIC_SEQ_CST); }

void never_rests(struct hostile *h)
{
	uint64_t end = now_ms() + 2 * LATE_MS;

	while (__atomic_load_n(&h->fragile, __ATOMIC_SEQ_CST) && now_ms() < end && !h->failed)
		sleep_ms(5);
}

static bool silence_ends(struct hostile *h, struct silence *s)
{
	uint64_t start = now_ms(), end = start + (slow_kernel() ? 4 : 1) * NEVER_MS, *slowest;
	bool gone = s->way == UNBOUND || s->way == REMOVED, good;
	pthread_t thread;
	unsigned int i;

	if (!CHECK(!pthread_create(&thread, NULL, disturbs, s), "pthread_create"))
		return false;
	if (s->way == RECOVERED)
		solid(h);
	for (i = 0, good = true; good && i < LATE_MODES; i++)
		good = late_end(&s->l[i], false, end);
	while (!s->over && now_ms() < end)
		sleep_ms(5);
	if (s->way == RECOVERED)
		fragile(h);
	if (!CHECK(s->over, "it hangs (%u)", s->way))
		return false;
	pthread_join(thread, NULL);
	slowest = &h->tally.slowest[gone];
	if (now_ms() - start > *slowest)
		*slowest = now_ms() - start;
	return good;
}

static void comes_back(const struct silence *s)
{
	uint64_t end = now_ms() + LATE_MS;
	char path[64];

	if (s->way == UNBOUND)
		CHECK(write_file("/sys/bus/pci/drivers/nvme/bind", s->pci), "bind: %s",
		      strerror(errno));
	else if (s->way == REMOVED)
		CHECK(write_file("/sys/bus/pci/rescan", "1"), "rescan: %s", strerror(errno));
	while (!dev_path(opt.dev2, path, sizeof(path)) && now_ms() < end)
		;
	CHECK(dev_path(opt.dev2, path, sizeof(path)), "%s does not come back", opt.dev2);
}

/* Whose files, rings and memory go with it. */
static void waits_for_kill(void *arg)
{
	struct silence *s = arg;

	if (silence_open(s) && silence_falls(s) && nothing_comes(s)) {
		s->over = true;
		pause();
	}
}

static bool silence_killed(struct silence *s)
{
	uint64_t end = now_ms() + LATE_MS;
	int status = 0;
	pid_t pid = child_start(waits_for_kill, s, 0), got = 0;

	while (pid > 0 && !s->over && now_ms() < end && !(got = waitpid(pid, &status, WNOHANG)))
		sleep_ms(5);
	if (!CHECK(s->over && !got, "nothing to be killed (%#x)", status))
		return false;
	kill(pid, SIGKILL);
	end = now_ms() + (slow_kernel() ? 4 : 1) * NEVER_MS;
	while (!(got = waitpid(pid, &status, WNOHANG)) && now_ms() < end)
		sleep_ms(5);
	return CHECK(got == pid, "who was killed does not end");
}

static bool silence_round(struct hostile *h, struct silence *s, enum way way, bool only_queues)
{
	bool good;

	memset(s, 0, sizeof(*s));
	s->way = way;
	s->only_queues = only_queues;
	COUNT(h, silences, 1);
	COUNT(h, unanswered, (only_queues ? 2 : LATE_MODES) * LATE_NR);
	COUNT(h, removals, way == UNBOUND || way == REMOVED);
	if (way == KILLED) {
		good = silence_killed(s);
	} else {
		good = silence_open(s) && silence_falls(s) && nothing_comes(s) &&
		       silence_ends(h, s);
		silence_close(s);
		comes_back(s);
	}
	/* its next steps, e.g. the scan for partitions, may take long */
	return set_timeout("30000") && good;
}

/* Each way once, then any; time-outs of our queues first. */
void never_answers(void *arg)
{
	struct silence *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct draw d = draw_from(75, 0, 0);
	struct hostile *h = arg;
	unsigned int i;

	CHECK(s != MAP_FAILED, "no memory");
	for (i = 0; !h->stop && !h->failed && !case_failed(); i++) {
		fragile(h);
		if (wait_live())
			silence_round(h, s, i < NR_WAYS ? i : draw_of(&d, NR_WAYS),
				      !i || one_in(&d, 2));
		solid(h);
		sleep_ms(20);
	}
	if (case_failed())
		h->failed = true;
}
