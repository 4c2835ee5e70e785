// SPDX-License-Identifier: GPL-2.0
/*
 * Commands in passthrough queues that the controller does not answer, in each state
 * that it can be in: they end, as on stock.  See lib/stall.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "queue/queue.h"
#include "lib/stall.h"

/* The time-out of commands, and the time within which recovery must end, in ms. */
#define TIMEOUT	 2000u
#define RECOVERY 8000u

struct stuck {
	struct stage s;
	struct io_uring ring;
	struct doorbells db;
	bool polled;
	uint16_t qid;
	uint32_t depth;
	unsigned int nr;
	uint64_t log;
	char pci[32];
};

/* The block device has the number of the subsystem, not of the controller. */
static bool io_timeout(const struct dev *dev, unsigned int ms)
{
	char path[160], text[16];
	bool good = false;
	glob_t found;

	dev_sysfs(dev, "nvme*n*/queue/io_timeout", path, sizeof(path));
	snprintf(text, sizeof(text), "%u", ms);
	if (!glob(path, 0, NULL, &found)) {
		good = found.gl_pathc == 1 && write_file(found.gl_pathv[0], text);
		globfree(&found);
	}
	return CHECK(good, "%s is not set to %u", path, ms);
}

/* It is there again after the reset of doorbells_open(). */
static bool queue_is_up(struct stuck *st)
{
	uint64_t end = now_ms() + 10000;
	struct nvme_pmap_query q;

	do {
		q = queue_query(st->s.dev.fd);
		st->qid = st->polled ? q.queue_polled : q.queue_irq;
		st->depth = q.queue_depth + 1;
		if (st->qid)
			return true;
		sleep_ms(5);
	} while (now_ms() < end);
	return CHECK(false, "no queue");
}

/* @nr reads are in flight that the controller does not answer. */
static bool stuck_open(struct stuck *st, enum mode mode, unsigned int nr)
{
	struct nvme_pmap_cmd cmd;
	struct completion done;
	unsigned int i;

	*st = (struct stuck){ .polled = mode == MODE_POLL, .nr = nr };
	if (!stage_open(&st->s, NULL, STAGE_PART) ||
	    !dev_pci(&st->s.dev, st->pci, sizeof(st->pci)) ||
	    !doorbells_open(&st->db, &st->s.dev) || !io_timeout(&st->s.dev, TIMEOUT) ||
	    !must_attach(st->s.dev.fd, st->polled ? POLLED : 0) || !queue_is_up(st) ||
	    !ring_open(&st->ring, mode, 64))
		return false;
	/* a scan after the reset may still freeze the namespace */
	sleep_ms(200);
	queue_stall(&st->db, st->qid, st->depth, 0);
	for (i = 0; i < nr; i++) {
		cmd = cmd_rw(&st->s.dev, OP_READ, st->s.index, 0, PAGE, i * 8);
		prep_cmd(&st->ring, st->s.dev.fd, &cmd, i);
	}
	st->log = log_mark();
	return CHECK_RET(ring_push(&st->ring), 0, "submit") &&
	       CHECK(queue_stats(&st->s.dev).queue == nr, "%llu commands by queue",
		     (unsigned long long)queue_stats(&st->s.dev).queue) &&
	       CHECK_RET(ring_reap(&st->ring, &done, 300), -ETIME, "an answer");
}

/* All of them have been cancelled, or this lets the controller answer them. */
static bool stuck_end(struct stuck *st, uint64_t within)
{
	uint64_t end = now_ms() + within;
	struct completion done;
	unsigned int i;

	for (i = 0; i < st->nr; i++) {
		uint64_t now = now_ms();

		if (!CHECK_RET(ring_reap(&st->ring, &done, now < end ? end - now : 0), 0,
			       "completion %u of %u", i, st->nr))
			break;
		CHECK_RET(done.res, -EINTR, "command %u", (unsigned int)done.user_data);
	}
	if (i < st->nr)
		queue_go_on(&st->db, st->qid, st->depth, 0);
	return i == st->nr;
}

static void stuck_close(struct stuck *st)
{
	doorbells_close(&st->db);
	io_uring_queue_exit(&st->ring);
	stage_close(&st->s);
}

/* Every such line is true; commands of dead controllers are cancelled in the end. */
static void aborts_are_sent(const struct stuck *st, bool any)
{
	unsigned int said = log_count(st->log, "aborting"),
		     sent = log_count(st->log, "Abort status");

	CHECK(said == sent, "%u lines of \"aborting\", %u Aborts", said, sent);
	CHECK(any == !!sent, "%u Aborts", sent);
}

/* ---- a live controller: Abort, then a reset ---- */

static void live_mode(enum mode mode, unsigned int nr)
{
	uint64_t start = now_ms();
	struct completion done;
	struct stuck st;

	if (stuck_open(&st, mode, nr) && stuck_end(&st, 2 * TIMEOUT + RECOVERY)) {
		CHECK(now_ms() - start >= 2 * TIMEOUT, "reset after %" PRIu64 " ms",
		      now_ms() - start);
		aborts_are_sent(&st, true);
		CHECK(log_count(st.log, "reset controller"), "no reset");
		CHECK_RET(ring_reap(&st.ring, &done, 0), -ETIME, "one more");
		if (queue_is_up(&st))
			CHECK_RET(run_rw(&st.ring, &st.s.dev, OP_READ, st.s.index, 0, PAGE, 0), 0,
				  "afterwards");
		io_timeout(&st.s.dev, 30000);
	}
	stuck_close(&st);
}

static void live(void) { live_mode(MODE_IRQ, 1); }
static void live_polled(void) { live_mode(MODE_POLL, 1); }
/* More than there are Aborts at a time: QEMU takes four. */
static void live_many(void) { live_mode(MODE_IRQ, 12); }

/* ---- the controller goes ---- */

struct going {
	const struct stuck *st;
	bool unbind;
	volatile bool over;
};

static void *goes(void *arg)
{
	struct going *g = arg;
	char path[160];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", g->st->pci,
		 g->unbind ? "driver/unbind" : "remove");
	CHECK(write_file(path, g->unbind ? g->st->pci : "1"), "%s: %s", path, strerror(errno));
	g->over = true;
	return NULL;
}

static void comes_back(const struct going *g)
{
	char path[64];

	if (g->unbind)
		CHECK(write_file("/sys/bus/pci/drivers/nvme/bind", g->st->pci), "bind: %s",
		      strerror(errno));
	else
		CHECK(write_file("/sys/bus/pci/rescan", "1"), "rescan: %s", strerror(errno));
	CHECK(dev_path(NULL, path, sizeof(path)), "%s does not come back", opt.dev);
}

/* In time, all of it: from when the commands time out. */
static void going(struct stuck *st, bool unbind)
{
	struct going g = { .st = st, .unbind = unbind };
	uint64_t start = now_ms();
	pthread_t thread;

	if (!CHECK(!pthread_create(&thread, NULL, goes, &g), "thread"))
		return;
	stuck_end(st, TIMEOUT + RECOVERY);
	while (!g.over && now_ms() - start < TIMEOUT + RECOVERY)
		sleep_ms(10);
	CHECK(g.over, "it hangs");
	note("%" PRIu64 " ms", now_ms() - start);
	pthread_join(thread, NULL);
	comes_back(&g);
}

/* Before the time is over; no Abort is sent then. */
static void goes_early(enum mode mode, unsigned int nr, bool unbind)
{
	struct stuck st;

	if (stuck_open(&st, mode, nr)) {
		going(&st, unbind);
		aborts_are_sent(&st, false);
	}
	stuck_close(&st);
}

static void removed(void) { goes_early(MODE_IRQ, 1, false); }
static void removed_polled(void) { goes_early(MODE_POLL, 1, false); }
static void removed_many(void) { goes_early(MODE_IRQ, 12, false); }
static void unbound(void) { goes_early(MODE_IRQ, 1, true); }

/* When an Abort has been answered, and did not help. */
static void removed_aborted(void)
{
	uint64_t end = now_ms() + 20000;
	struct stuck st;

	if (stuck_open(&st, MODE_IRQ, 1)) {
		while (!log_count(st.log, "Abort status") && now_ms() < end)
			sleep_ms(20);
		going(&st, false);
		aborts_are_sent(&st, true);
	}
	stuck_close(&st);
}

/* A controller whose registers are gone, and whose memory accesses go on. */
static void removed_dead(void)
{
	struct stuck st;

	if (stuck_open(&st, MODE_IRQ, 1) && hide_registers(&st.s.dev)) {
		going(&st, false);
		aborts_are_sent(&st, false);
	}
	stuck_close(&st);
}

/* And one that is not removed: it is reset, or given up. */
static void dead(void)
{
	struct stuck st;

	if (stuck_open(&st, MODE_IRQ, 1) && hide_registers(&st.s.dev)) {
		stuck_end(&st, 2 * TIMEOUT + RECOVERY);
		queue_is_up(&st);
	}
	stuck_close(&st);
}

/* ---- a controller that answers twice ---- */

struct twice {
	struct stage slow, quick;
	struct io_uring ring;
	struct doorbells db;
	uint16_t qid;
	uint32_t depth;
};

/* Namespaces 1 and 2 of -D: one that takes its time, and one that does not. */
static bool twice_open(struct twice *t)
{
	char quick[64];
	struct nvme_pmap_query q;

	memset(t, 0, sizeof(*t));
	snprintf(quick, sizeof(quick), "%s:2", opt.dev2);
	if (!stage_open(&t->slow, opt.dev2, STAGE_PART) ||
	    !stage_open(&t->quick, quick, STAGE_PART) || !doorbells_open(&t->db, &t->slow.dev) ||
	    !must_attach(t->slow.dev.fd, 0) ||
	    !CHECK_RET(nvme_pmap_share_queue(t->quick.dev.fd, t->slow.dev.fd, 0), 0, "share") ||
	    !ring_open(&t->ring, MODE_IRQ, 8))
		return false;
	/* a scan after the reset may still freeze the namespaces */
	sleep_ms(200);
	q = queue_query(t->slow.dev.fd);
	t->qid = q.queue_irq;
	t->depth = q.queue_depth + 1;
	return CHECK(t->qid && t->depth == 16, "queue %u of %u", t->qid, t->depth);
}

static bool send_slow(struct twice *t, unsigned int nr)
{
	struct nvme_pmap_cmd cmd = cmd_rw(&t->slow.dev, OP_READ, t->slow.index, nr * PAGE, PAGE, 0);

	prep_cmd(&t->ring, t->slow.dev.fd, &cmd, nr);
	return CHECK_RET(ring_push(&t->ring), 0, "submit");
}

static bool quick_reads(struct twice *t, unsigned int nr)
{
	while (nr--)
		if (!CHECK_RET(run_rw(&t->ring, &t->quick.dev, OP_READ, t->quick.index, 0, PAGE, 0),
			       0, "read"))
			return false;
	return true;
}

static bool slow_ends(struct twice *t, unsigned int nr)
{
	struct completion done;

	return CHECK_RET(ring_reap(&t->ring, &done, 10000), 0, "completion") &&
	       CHECK_RET(done.res, 0, "command") &&
	       CHECK(done.user_data == nr, "command %u ended, not %u", (unsigned int)done.user_data,
		     nr);
}

/*
 * The queue has 16 entries.  The first stays in flight until all others have been
 * used, so that the next command, in the same place, has the number 7, which entry 7
 * had before.  Then the controller fetches that once more; and at last the new
 * command as well.
 */
static void answered_twice(void)
{
	struct completion done;
	uint64_t log = log_mark();
	struct twice t;

	if (!twice_open(&t) || !send_slow(&t, 1) || !quick_reads(&t, 15) || !send_slow(&t, 2))
		goto out;
	queue_fetch(&t.db, t.qid, 8);
	CHECK_RET(ring_reap(&t.ring, &done, 500), -ETIME, "a command ended by another's answer");
	queue_fetch(&t.db, t.qid, 1);
	CHECK_RET(ring_reap(&t.ring, &done, 500), -ETIME, "a command ended by another's answer");
	if (!slow_ends(&t, 1) || !slow_ends(&t, 2))
		goto out;
	CHECK_RET(ring_reap(&t.ring, &done, 2000), -ETIME, "a command ended twice");
	CHECK(log_count(log, "invalid id"), "nothing was told of it");
	quick_reads(&t, 100);
	CHECK(queue_stats(&t.slow.dev).queue == 2 && queue_stats(&t.quick.dev).queue == 115,
	      "%llu and %llu commands by queue", (unsigned long long)queue_stats(&t.slow.dev).queue,
	      (unsigned long long)queue_stats(&t.quick.dev).queue);
	must_detach(t.slow.dev.fd, 0);
out:
	io_uring_queue_exit(&t.ring);
	doorbells_close(&t.db);
	stage_close(&t.quick);
	stage_close(&t.slow);
}

/* ---- all tags of the admin queue in use ---- */

/* As many as a PCIe controller has, but for the driver's own event. */
#define ADMIN_TAGS 31

/* -D: its Asynchronous Event Requests end with the next reset. */
static void *waits_for_event(void *arg)
{
	struct nvme_passthru_cmd cmd = { .opcode = 0x0c, .timeout_ms = 600000 };
	const struct dev *dev = arg;

	ioctl(dev->fd, NVME_IOCTL_ADMIN_CMD, &cmd);
	return NULL;
}

static void *attaches(void *arg)
{
	const struct dev *dev = arg;

	CHECK_RET(nvme_pmap_attach_queue(dev->fd, 0), 0, "attach");
	return NULL;
}

/* Work queued before the reset must not create a queue in the middle of it. */
static void attach_beside_reset(void)
{
	pthread_t event[ADMIN_TAGS], attach[4];
	struct dev files[ARRAY_SIZE(attach)] = {
		{ .fd = -1 }, { .fd = -1 }, { .fd = -1 }, { .fd = -1 }
	};
	uint64_t log = log_mark(), start;
	struct stuck st = { 0 };
	unsigned int i, nr = 0;

	if (!stage_open(&st.s, opt.dev2, STAGE_PART) || !ring_open(&st.ring, MODE_IRQ, 8))
		goto out;
	/* which asks the controller about itself */
	for (i = 0; i < ARRAY_SIZE(files); i++)
		if (!dev_open(&files[i], opt.dev2, O_RDWR) || !queue_query(files[i].fd).queues_free)
			goto out;
	for (i = 0; i < ADMIN_TAGS; i++)
		pthread_create(&event[i], NULL, waits_for_event, &st.s.dev);
	sleep_ms(500);
	start = now_ms();
	for (; nr < ARRAY_SIZE(attach); nr++)
		pthread_create(&attach[nr], NULL, attaches, &files[nr]);
	sleep_ms(500);
	reset_ctrl(&st.s.dev);
	note("reset after %" PRIu64 " ms", now_ms() - start);
	for (i = 0; i < ADMIN_TAGS; i++)
		pthread_join(event[i], NULL);
	for (i = 0; i < nr; i++)
		pthread_join(attach[i], NULL);
	CHECK(!log_count(log, "IO queues lost"), "the controller has lost its queues");
	CHECK_RET(run_rw(&st.ring, &st.s.dev, OP_READ, st.s.index, 0, PAGE, 0), 0, "read");
	for (i = 0; i < nr; i++) {
		struct stuck look = { .s.dev = files[i] };

		queue_is_up(&look);
	}
out:
	for (i = 0; i < ARRAY_SIZE(files); i++)
		dev_close(&files[i]);
	stuck_close(&st);
}

static const struct test_case recovery_cases[] = {
	{ "live", live },
	{ "live-polled", live_polled },
	{ "live-many", live_many },
	{ "dead", dead },
	{ "removed", removed },
	{ "removed-polled", removed_polled },
	{ "removed-many", removed_many },
	{ "removed-aborted", removed_aborted },
	{ "removed-dead", removed_dead },
	{ "unbound", unbound },
	{ "answered-twice", answered_twice },
	{ "attach-beside-reset", attach_beside_reset },
};

SUBJECT(recovery);
