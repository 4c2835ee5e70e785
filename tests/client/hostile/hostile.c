// SPDX-License-Identifier: GPL-2.0
/*
 * Hostile programs, the activity beside them, and the end; see hostile.h.  -n is the number
 * of seconds.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "queue/queue.h"
#include "lib/storm.h"
#include "hostile/hostile.h"

#define SHMEM_THP "/sys/kernel/mm/transparent_hugepage/shmem_enabled"

#define MTHP "/sys/kernel/mm/transparent_hugepage/hugepages-64kB"

/* The parent's own. */
static struct {
	long mthp;
	pid_t pid[PROGRAMS], limited, taker, switches, tenants, never;
	unsigned int life[PROGRAMS];
	struct draw draw;
} run;

static long mthp_folios(void)
{
	char text[32];

	return read_file(MTHP "/stats/anon_fault_alloc", text, sizeof(text)) ? atol(text) : 0;
}

/* ---- the programs ---- */

static struct program starting;

static void program_child(void *arg)
{
	(void)arg;
	/* of its children none is waited for */
	signal(SIGCHLD, SIG_IGN);
	rnd_seed(draw_next(&(struct draw){ opt.seed ^ starting.life << 8 ^ starting.nr }));
	program_run(&starting);
}

/* The first of them is never killed. */
static bool program_start(struct hostile *h, unsigned int i)
{
	struct dev dev;

	starting = (struct program){
		.h = h, .nr = i, .life = run.life[i]++, .mortal = i, .dev.fd = -1, .inherited = -1
	};
	/* a file opened before the fork, and open in no other process afterwards */
	if (file_open(h, &dev))
		starting.inherited = dev.fd;
	COUNT(h, lives, 1);
	run.pid[i] = child_start(program_child, NULL, 0);
	if (starting.inherited >= 0)
		close(starting.inherited);
	return run.pid[i] > 0;
}

static bool limited_start(struct hostile *h)
{
	struct dev dev;

	run.limited = 0;
	if (!file_open(h, &dev))
		return true;
	h->limited_fd = dev.fd;
	run.limited = child_start(limited, h, LIMITED_UID);
	close(dev.fd);
	return run.limited > 0;
}

/* Has it ended?  Well, as far as it can tell. */
static bool ended(pid_t pid, const char *what, bool *good)
{
	int status = 0;

	if (pid <= 0)
		return true;
	if (waitpid(pid, &status, WNOHANG) != pid)
		return false;
	*good &= CHECK(WIFEXITED(status) && !WEXITSTATUS(status), "%s failed (wait status %#x)",
		       what, status);
	return true;
}

/* Attackers whose device was gone begin another life. */
static bool revive(struct hostile *h)
{
	bool good = true;
	unsigned int i;

	for (i = 0; good && i < PROGRAMS; i++)
		if (ended(run.pid[i], "a program", &good) && good)
			good = program_start(h, i);
	if (good && ended(run.limited, "a limited user", &good) && good)
		good = limited_start(h);
	return good;
}

static bool kill_one(struct hostile *h)
{
	unsigned int i = 1 + draw_of(&run.draw, PROGRAMS - 1);

	COUNT(h, killed, 1);
	kill(run.pid[i], SIGKILL);
	waitpid(run.pid[i], NULL, 0);
	return program_start(h, i);
}

/* ---- the end ---- */

static void ends_told(const struct ends *e)
{
	unsigned int i;

	for (i = 0; i < NR_ENDS && e->res[i]; i++)
		note("%" PRIu64 " commands ended with %s", e->times[i], err_name(e->res[i]));
}

static void told(const struct hostile *h)
{
	const struct tally *t = &h->tally;
	unsigned int i;

	note("%" PRIu64 " lives (%" PRIu64 " killed, %" PRIu64 " lost the device), %" PRIu64
	     " rounds, %" PRIu64 " batches, %" PRIu64 " commands verified, %" PRIu64 " MiB read",
	     t->lives, t->killed, t->gone, t->rounds, t->batches, t->verified, t->bytes >> 20);
	for (i = 0; i < NR_DOORS; i++)
		note("by %s: %" PRIu64 " commands, %" PRIu64 " failed", door_names[i], t->sent[i],
		     t->failed[i]);
	note("by the files' own word: auto %" PRIu64 ", auto by queue %" PRIu64
	     ", all by queue %" PRIu64,
	     t->auto_mq, t->auto_queue, t->queued);
	note("%" PRIu64 " buffers of io_uring's, %" PRIu64 " of ours, %" PRIu64
	     " cloned tables, %" PRIu64 " registrations refused",
	     t->registered, t->pmaps, t->clones, t->refused);
	note("%" PRIu64 " changes with commands in flight, %" PRIu64 " forks, %" PRIu64
	     " rings closed early, %" PRIu64 " files received, %" PRIu64 " queues attached",
	     t->midway, t->snapshots, t->closed, t->received, t->attached);
	note("%" PRIu64 " arenas of another process, %" PRIu64 " times at the limit (%" PRIu64
	     " failed at first), %" PRIu64 " switches",
	     t->taken, t->limits, t->held, t->switched);
	note("%" PRIu64 " tables of many buffers, up to %" PRIu64 "; %" PRIu64
	     " guard pages looked at in between; %ld folios of 64 KiB",
	     t->many, t->most, t->sampled, mthp_folios() - run.mthp);
	note("%" PRIu64 " formats, of %" PRIu64 " tries", h->second.formats, h->second.tries);
	note("a disk fell silent %" PRIu64 " times (%" PRIu64 " commands), %" PRIu64
	     " of them removed; all was over after %" PRIu64 " ms at most, a removal %" PRIu64,
	     t->silences, t->unanswered, t->removals, t->slowest[0], t->slowest[1]);
	ends_told(&t->ends);
	events_told(h);
}

static bool enough(const struct hostile *h)
{
	const struct tally *t = &h->tally;
	uint64_t sent = t->sent[DOOR_PLAIN] + t->sent[DOOR_FIXED] + t->sent[DOOR_PMAP];

	/* of a few commands, a few events may have caught most */
	return CHECK(t->verified >= 20 && (sent < 400 || t->verified >= sent / 2),
		     "of %" PRIu64 " commands %" PRIu64 " could be verified", sent, t->verified) &&
	       CHECK(t->taken && t->limits && t->sampled && h->second.formats &&
			     (!run.never || t->silences),
		     "not all has been going on beside them") &&
	       CHECK(t->held <= 2 + t->limits / 20,
		     "of %" PRIu64 " registrations at the limit %" PRIu64 " failed at first",
		     t->limits, t->held) &&
	       /* a machine that is too busy for these does not come to all of it */
	       CHECK(t->verified < 1000 || (t->auto_mq && t->auto_queue && t->queued && t->midway &&
					    t->snapshots && t->clones),
		     "not all has been tried");
}

/* All is as it was before. */
static void given_back(struct hostile *h, uint32_t queues, long pins)
{
	uint64_t end = now_ms() + (slow_kernel() ? 100000 : 20000);
	struct dev dev;

	pins_back(pins, slow_kernel() ? 100000 : 20000);
	limit_is_back();
	if (!CHECK(file_open(h, &dev), "no disk at the end"))
		return;
	pinned_becomes(&dev, 0, 20000);
	while (queue_query(dev.fd).queues_free != queues && now_ms() < end)
		sleep_ms(20);
	CHECK_RET(queue_query(dev.fd).queues_free, queues, "queues that are free");
	close(dev.fd);
}

static void all_end(struct hostile *h)
{
	const pid_t beside[] = { run.limited, run.taker, run.switches, run.tenants, run.never };
	unsigned int i;

	h->stop = h->second.stop = true;

	for (i = 0; i < PROGRAMS; i++)
		if (run.pid[i] > 0)
			child_wait(run.pid[i]);
	for (i = 0; i < ARRAY_SIZE(beside); i++)
		if (beside[i] > 0)
			child_wait(beside[i]);
}

/* ---- the beginning ---- */

static bool begin(struct hostile *h)
{
	unsigned int i;
	bool good;

	h->sock[0] = h->sock[1] = -1;
	if (!CHECK(!socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, h->sock),
		   "socketpair") ||
	    !set_door(&h->dev, "queue") || !event_begin(h))
		return false;
	run.taker = child_start(taker, h, 0);
	run.switches = child_start(switches, h, 0);
	run.tenants = child_start(tenants, &h->second, 0);
	run.never = opt.dev2 && !lockdep_watches() ? child_start(never_answers, h, 0) : 0;
	if (!run.never)
		note("no disk that never answers: %s", opt.dev2 ? "lockdep watches" : "no -D");
	good = run.taker > 0 && run.switches > 0 && run.tenants > 0 && limited_start(h);
	for (i = 0; good && i < PROGRAMS; i++)
		good = program_start(h, i);
	return good;
}

/* On a machine that is too busy, longer than asked for: until some commands have succeeded. */
static void go_on(struct hostile *h)
{
	uint64_t asked = 1000ull * (opt.rounds ? opt.rounds : 40), start = now_ms(), shown = start;
	const struct tally *t = &h->tally;

	while ((now_ms() < start + asked || (t->verified < 100 && now_ms() < start + 3 * asked)) &&
	       !h->failed && !case_failed() && revive(h)) {
		sleep_ms(20 + draw_of(&run.draw, one_in(&run.draw, 4) ? 1500 : 300));
		event_some(h, &run.draw, kill_one);
		if (now_ms() - shown > 60000) {
			shown = now_ms();
			note("%" PRIu64 " s: %" PRIu64 " rounds, %" PRIu64 " commands verified",
			     (shown - start) / 1000, t->rounds, t->verified);
			events_told(h);
		}
	}
}

/* The regions have not been written in this run; an earlier run may have written them. */
static bool disk_is_new(void)
{
	int fd = ctrl_open(opt.dev), ret = fd < 0 ? -ENODEV : ns_format(fd, 1, 0, false);

	if (fd >= 0)
		close(fd);
	return CHECK_RET(ret, 0, "format of %s", opt.dev);
}

static void mix(void)
{
	struct hostile *h = mmap(NULL, sizeof(*h), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	long pins = pins_held();
	uint32_t queues;

	memset(&run, 0, sizeof(run));
	run.draw = draw_from(0, 0, 0);
	if (!CHECK(h != MAP_FAILED, "no memory") || !disk_is_new() ||
	    !dev_open(&h->dev, NULL, O_RDWR))
		return;
	queues = queue_query(h->dev.fd).queues_free;
	close(h->dev.fd);
	h->dev.fd = -1;
	/* where the kernel has no such memory, pages are small */
	write_file(SHMEM_THP, "force");
	write_file(MTHP "/enabled", "madvise");
	run.mthp = mthp_folios();
	if (CHECK(h->dev.blocks >= PROGRAMS * ATTACKERS * LIVES * REGION && h->dev.block == 512,
		  "the disk is too small") &&
	    begin(h))
		go_on(h);
	all_end(h);
	CHECK(!h->failed, "a process failed");
	close(h->sock[0]);
	close(h->sock[1]);
	write_file(SHMEM_THP, "never");
	write_file(MTHP "/enabled", "never");
	if (!case_failed() && enough(h))
		given_back(h, queues, pins);
	told(h);
	munmap(h, sizeof(*h));
}

static const struct test_case hostile_cases[] = {
	{ "mix", mix },
	{ "late", hostile_late },
	{ "format", hostile_format },
};

SUBJECT(hostile);
