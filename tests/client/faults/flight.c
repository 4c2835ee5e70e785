// SPDX-License-Identifier: GPL-2.0
/* Commands in passthrough queues that are drained, full, late, or mixed up. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "faults/faults.h"

/* ---- -D: a device that takes seconds for a command ---- */

static bool io_timeout(const struct dev *dev, const char *ms)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/block/nvme%s/queue/io_timeout",
		 dev->path + strlen("/dev/ng"));
	return CHECK(write_file(path, ms), "%s: %s", path, strerror(errno));
}

/* With zero for @timeout_ms it has a minute. */
static bool start_slow(struct setup *s, uint32_t timeout_ms)
{
	struct nvme_pmap_cmd cmd;

	if (!setup_make(s, opt.dev2, MODE_IRQ, MEM_4K, PAGE) || !must_attach(s->dev.fd, 0) ||
	    !io_timeout(&s->dev, timeout_ms ? "1500" : "60000"))
		return false;
	cmd = cmd_rw(&s->dev, OP_READ, s->index, 0, PAGE, 0);
	cmd.timeout_ms = timeout_ms;
	prep_cmd(&s->ring, s->dev.fd, &cmd, 0);
	return CHECK_RET(ring_push(&s->ring), 0, "submit") &&
	       CHECK(by_queue(s->dev.fd) == 1, "it went past the queue");
}

struct detacher {
	int fd, ret;
	volatile pid_t tid;
};

static void *detaches(void *arg)
{
	struct detacher *d = arg;

	d->tid = (pid_t)syscall(SYS_gettid);
	d->ret = nvme_pmap_detach_queue(d->fd, 0);
	return NULL;
}

/* Nothing but its wait for the queue makes the thread sleep so. */
static bool waits(const struct detacher *d)
{
	uint64_t end = now_ms() + 10000;
	char path[64], text[256];
	const char *state;

	while (now_ms() < end) {
		snprintf(path, sizeof(path), "/proc/self/task/%d/stat", d->tid);
		if (d->tid && read_file(path, text, sizeof(text)) && (state = strrchr(text, ')')) &&
		    state[1] && state[2] == 'D')
			return true;
		sleep_ms(1);
	}
	return CHECK(false, "the detach does not wait");
}

/* While a queue is being detached, other calls can neither detach nor share it. */
void draining(void)
{
	struct detacher d = { 0 };
	struct completion done;
	struct dev other = { .fd = -1 };
	pthread_t thread;
	struct setup s;

	if (!dev_open(&other, opt.dev2, O_RDWR) || !start_slow(&s, 0))
		return;
	d.fd = s.dev.fd;
	pthread_create(&thread, NULL, detaches, &d);
	if (waits(&d)) {
		CHECK_RET(nvme_pmap_detach_queue(s.dev.fd, 0), -EALREADY, "a second detach");
		CHECK_RET(nvme_pmap_attach_queue(s.dev.fd, 0), -EALREADY, "attach meanwhile");
		CHECK_RET(nvme_pmap_share_queue(other.fd, s.dev.fd, 0), -EBADF, "share meanwhile");
	}
	pthread_join(thread, NULL);
	CHECK_RET(d.ret, 0, "detach");
	if (CHECK_RET(ring_reap(&s.ring, &done, 20000), 0, "completion"))
		CHECK_RET(done.res, 0, "command");
	CHECK_RET(nvme_pmap_detach_queue(s.dev.fd, 0), -ENOTCONN, "detach again");
	dev_close(&other);
	setup_close(&s);
}

/* ---- batches that the queue has no room for, or that meet a format ---- */

bool push_reads(struct setup *s, unsigned int nr)
{
	struct nvme_pmap_cmd cmd = cmd_rw(&s->dev, OP_READ, s->index, 0, PAGE, 0);
	unsigned int i;

	for (i = 0; i < nr; i++)
		prep_cmd(&s->ring, s->dev.fd, &cmd, i);
	return CHECK_RET(ring_push(&s->ring), 0, "submit");
}

static bool reads_end(struct setup *s, unsigned int nr)
{
	struct completion done;
	unsigned int i;

	for (i = 0; i < nr; i++)
		if (!CHECK_RET(ring_reap(&s->ring, &done, 60000), 0, "completion %u of %u", i,
			       nr) ||
		    !CHECK_RET(done.res, 0, "read"))
			return false;
	return true;
}

/* The first of the second batch takes the last place. */
void full_batch(void)
{
	struct nvme_pmap_stats st;
	unsigned int depth;
	struct setup s;

	if (!setup_make(&s, opt.dev2, MODE_IRQ, MEM_4K, PAGE) || !must_attach(s.dev.fd, 0))
		goto out;
	depth = queue_query(s.dev.fd).queue_depth;
	if (CHECK(depth > 4 && depth < 24, "a queue of %u", depth) && push_reads(&s, depth - 1) &&
	    push_reads(&s, 4) && CHECK_RET(nvme_pmap_stats_file(s.dev.fd, &st), 0, "stats"))
		CHECK(st.queue == depth && st.fallback_full >= 3,
		      "%llu by the queue of %u, %llu did not fit", st.queue, depth,
		      st.fallback_full);
	reads_end(&s, depth + 3);
out:
	setup_close(&s);
}

/* An SGL carries its length, so that nothing is refused meanwhile. */
void format_batches(void)
{
	struct formatter f = { 0 };
	pthread_t thread;
	struct setup s;
	unsigned int i;

	if (!setup_make(&s, NULL, MODE_IRQ, MEM_4K, PAGE) || !must_attach(s.dev.fd, 0))
		goto out;
	f.fd = s.dev.fd;
	pthread_create(&thread, NULL, faults_format, &f);
	for (i = 0; i < 200; i++)
		if (!push_reads(&s, 5) || !reads_end(&s, 5))
			break;
	f.stop = true;
	pthread_join(thread, NULL);
out:
	setup_close(&s);
}

/* Each command of a batch for itself: on two buffers, on none, past the end. */
void mixed_batch(void)
{
	static const struct {
		uint32_t index, offset;
		int want;
	} cmds[] = { { 0, 0, 0 },	   { 1, 0, 0 }, { 0, 0, 0 },	     { 9, 0, -ENOENT },
		     { 1, PAGE, -ERANGE }, { 1, 0, 0 }, { 0, PAGE, -ERANGE } };
	struct completion done;
	struct nvme_pmap_cmd cmd;
	struct setup s;
	unsigned int before, i;
	uint32_t index;

	if (!setup_make(&s, NULL, MODE_IRQ, MEM_4K, 2 * PAGE) ||
	    !must_unregister(&s.dev, s.index) || !must_attach(s.dev.fd, 0) ||
	    !read_by_queue(&s.dev, 0) || !must_register(&s.dev, s.mem.map, PAGE, 0, &index) ||
	    !must_register(&s.dev, s.mem.map + PAGE, PAGE, 0, &index))
		goto out;
	before = by_queue(s.dev.fd);
	for (i = 0; i < ARRAY_SIZE(cmds); i++) {
		cmd = cmd_rw(&s.dev, OP_READ, cmds[i].index, cmds[i].offset, PAGE, 0);
		prep_cmd(&s.ring, s.dev.fd, &cmd, i);
	}
	CHECK_RET(ring_push(&s.ring), 0, "submit");
	for (i = 0; i < ARRAY_SIZE(cmds); i++)
		if (CHECK_RET(ring_reap(&s.ring, &done, 20000), 0, "completion %u", i) &&
		    CHECK(done.user_data < ARRAY_SIZE(cmds), "user data"))
			CHECK_RET(done.res, cmds[done.user_data].want, "command %u",
				  (unsigned int)done.user_data);
	CHECK(by_queue(s.dev.fd) == before + 4, "%u commands by queue",
	      by_queue(s.dev.fd) - before);
	must_unregister(&s.dev, 0);
	must_unregister(&s.dev, 1);
	nothing_left(s.dev.fd);
out:
	setup_close(&s);
}

/* A command times out; QEMU does not abort it, so that a reset ends it. */
void aborts(void)
{
	struct completion done;
	struct setup s;

	if (!start_slow(&s, 100))
		goto out;
	if (CHECK_RET(ring_reap(&s.ring, &done, 60000), 0, "completion"))
		CHECK(done.res == -EINTR || !done.res, "a command that timed out: %s",
		      err_name(done.res));
	io_timeout(&s.dev, "60000");
	if (queue_up(s.dev.fd, 0))
		must_detach(s.dev.fd, 0);
out:
	setup_close(&s);
}

/*
 * A program that polls sleeps past the time of its command: a command that the device
 * completed in time has not timed out, although the driver looked late.
 */
void unpolled(void)
{
	struct completion done;
	struct nvme_pmap_cmd cmd;
	unsigned int i;
	struct setup s;

	if (!setup_make(&s, NULL, MODE_POLL, MEM_4K, PAGE) || !must_attach(s.dev.fd, POLLED))
		goto out;
	cmd = cmd_rw(&s.dev, OP_READ, s.index, 0, PAGE, 0);
	cmd.timeout_ms = 1;
	for (i = 0; i < 3; i++) {
		CHECK_RET(run_cmd(&s.ring, s.dev.fd, &cmd), 0, "a command that is polled for");
		prep_cmd(&s.ring, s.dev.fd, &cmd, 0);
		CHECK_RET(ring_push(&s.ring), 0, "submit");
		/* the queues' work looks every second */
		sleep_ms(1500);
		if (CHECK_RET(ring_reap(&s.ring, &done, 20000), 0, "completion"))
			CHECK_RET(done.res, 0, "one that is not");
	}
	CHECK(by_queue(s.dev.fd) == 2 * i, "%u commands by queue", by_queue(s.dev.fd));
	must_detach(s.dev.fd, POLLED);
out:
	setup_close(&s);
}
