// SPDX-License-Identifier: GPL-2.0
/*
 * When a pmap ends, and events that it outlives.  The device of these cases answers
 * after 200 ms (-d serial=slow): long enough to do something in between.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/load.h"

#define LEN	  (8u * PAGE)
#define NOBODY	  65534
/* The device is meant to take 200 ms; less than this was no waiting. */
#define WAITED_MS 100
/* Milliseconds that the slow device takes for a command. */
#define TAKES_MS  200

static bool setup_open(struct setup *s, enum mode mode)
{
	return setup_make(s, NULL, mode, MEM_4K, LEN);
}

/* A read into page @i, left in flight. */
static bool start_read(struct setup *s, unsigned int i)
{
	struct nvme_pmap_cmd cmd = cmd_rw(&s->dev, OP_READ, s->index, i * PAGE, PAGE, 0);

	prep_cmd(&s->ring, s->dev.fd, &cmd, i);
	s->started = now_ms();
	return CHECK_RET(ring_push(&s->ring), 0, "submit");
}

static bool ended(struct setup *s, int want)
{
	struct completion done;

	return CHECK_RET(ring_reap(&s->ring, &done, 10000), 0, "completion") &&
	       CHECK_RET(done.res, want, "command");
}

/*
 * The submitter itself waits in unregister, where it runs no task work and
 * polls nothing: the end of the command must not need either.
 */
static void unregister_waits(enum mode mode)
{
	uint64_t took;
	struct setup s;

	if (setup_open(&s, mode) && start_read(&s, 0)) {
		must_unregister(&s.dev, s.index);
		took = now_ms() - s.started;
		CHECK(took >= WAITED_MS, "unregister came back after %" PRIu64 " ms", took);
		CHECK(took < 3000, "unregister took %" PRIu64 " ms", took);
		CHECK(status_kib(getpid(), "VmPin") == 0, "VmPin after unregister");
		ended(&s, 0);
		CHECK_RET(run_rw(&s.ring, &s.dev, OP_READ, s.index, 0, PAGE, 0), -ENOENT,
			  "afterwards");
	}
	setup_close(&s);
}

static void unregister_irq(void) { unregister_waits(MODE_IRQ); }
static void unregister_defer(void) { unregister_waits(MODE_DEFER); }
static void unregister_poll(void) { unregister_waits(MODE_POLL); }

/*
 * An unregister that a signal ends while it waits for a read; tried again where a slow
 * machine lets the read end before.
 */
static bool interrupt(struct setup *s)
{
	pthread_t thread;
	uint64_t waited;
	unsigned int i;
	int ret;

	for (i = 0; i < SLOW_TRIES; i++) {
		if (i)
			setup_close(s);
		if (!setup_open(s, MODE_IRQ) || !start_read(s, 0))
			return false;
		thread = interrupt_soon();
		ret = nvme_pmap_unregister_buf(s->dev.fd, s->index);
		waited = now_ms() - s->started;
		pthread_join(thread, NULL);
		if (waited < TAKES_MS)
			return CHECK_RET(ret, -EINTR, "unregister, interrupted");
		note("late: %" PRIu64 " ms", waited);
	}
	return CHECK(false, "it took %" PRIu64 " ms to be interrupted", waited);
}

/* EINTR leaves the index taken and dead; the call can be repeated. */
static void interrupted(void)
{
	struct nvme_pmap_register reg = { .size = sizeof(reg), .len = PAGE };
	struct setup s;

	if (!interrupt(&s))
		goto out;
	reg.addr = (uintptr_t)s.mem.map;
	reg.index = s.index;
	CHECK_RET(nvme_pmap_ioctl(s.dev.fd, NVME_PMAP_IOC_REGISTER, &reg), -EEXIST,
		  "the same index");
	CHECK_RET(run_rw(&s.ring, &s.dev, OP_READ, s.index, 0, PAGE, 0), -ENOENT, "a new command");
	must_unregister(&s.dev, s.index);
	CHECK(now_ms() - s.started >= WAITED_MS, "unregister did not wait");
	CHECK_RET(nvme_pmap_unregister_buf(s.dev.fd, s.index), -ENOENT, "a third time");
	CHECK_RET(nvme_pmap_ioctl(s.dev.fd, NVME_PMAP_IOC_REGISTER, &reg), 0, "the index is free");
	ended(&s, 0);
out:
	setup_close(&s);
}

/* Interrupted and never repeated: the close of the file ends it. */
static void interrupted_close(void)
{
	struct setup s;

	interrupt(&s);
	setup_close(&s); /* run_case() looks at VmPin */
}

/* A second command on the ring of @s refused while the first is waited for. */
static void *refused_meanwhile(void *arg)
{
	struct setup *s = arg;
	struct io_uring ring;
	bool meanwhile = false;

	sleep_ms(50);
	if (ring_open(&ring, MODE_IRQ, 4)) {
		CHECK_RET(run_rw(&ring, &s->dev, OP_READ, s->index, 0, PAGE, 0), -ENOENT,
			  "a command during unregister");
		meanwhile = now_ms() - s->started < 180;
		io_uring_queue_exit(&ring);
	}
	return (void *)(uintptr_t)meanwhile;
}

/* Return: whether it was refused in time. */
static bool refuses_meanwhile(void)
{
	void *meanwhile = NULL;
	struct setup s;
	pthread_t thread;

	if (setup_open(&s, MODE_IRQ) && start_read(&s, 0)) {
		pthread_create(&thread, NULL, refused_meanwhile, &s);
		must_unregister(&s.dev, s.index);
		pthread_join(thread, &meanwhile);
		ended(&s, 0);
	}
	setup_close(&s);
	return meanwhile;
}

static void unregister_refuses(void)
{
	unsigned int i;

	for (i = 0; i < SLOW_TRIES && !case_failed(); i++) {
		if (refuses_meanwhile())
			return;
		note("late");
	}
	CHECK(false, "the test was too slow to tell");
}

static void *unregisters(void *arg)
{
	struct setup *s = arg;

	return (void *)(intptr_t)nvme_pmap_unregister_buf(s->dev.fd, s->index);
}

/* Two calls for the same buffer: one of them ends the registration. */
static void unregister_twice(void)
{
	struct setup s;
	pthread_t thread;
	intptr_t other = 0;
	void *ret;
	int own;

	if (setup_open(&s, MODE_IRQ) && start_read(&s, 0)) {
		pthread_create(&thread, NULL, unregisters, &s);
		own = nvme_pmap_unregister_buf(s.dev.fd, s.index);
		pthread_join(thread, &ret);
		other = (intptr_t)ret;
		CHECK((own == 0 && other == -ENOENT) || (own == -ENOENT && other == 0),
		      "one call returns %s, the other %s", err_name(own), err_name(other));
		CHECK(now_ms() - s.started >= WAITED_MS, "nobody waited");
		ended(&s, 0);
	}
	setup_close(&s);
}

/*
 * A command that runs out of time is aborted, then ended by a reset; the buffer
 * outlives both.
 */
static void timed_out(void)
{
	struct nvme_pmap_cmd cmd;
	struct setup s;
	int ret;

	if (setup_open(&s, MODE_IRQ)) {
		cmd = cmd_rw(&s.dev, OP_READ, s.index, 0, PAGE, 0);
		cmd.timeout_ms = 40;
		ret = run_cmd(&s.ring, s.dev.fd, &cmd);
		CHECK(ret >= 0 || ret == -EINTR, "timeout_ms of 40: %s", err_name(ret));
		CHECK_RET(run_rw(&s.ring, &s.dev, OP_READ, s.index, 0, LEN, 0), 0, "the next one");
		must_unregister(&s.dev, s.index);
	}
	setup_close(&s);
}

/* The commands of a closed file still end well, and then all is given back. */
static void close_in_flight(void)
{
	struct setup s;

	if (!setup_open(&s, MODE_IRQ))
		goto out;
	/* Before: the device writes first, and takes its time afterwards. */
	poison(s.mem.map, LEN);
	if (start_read(&s, 0) && start_read(&s, 1)) {
		dev_close(&s.dev);
		CHECK(status_kib(getpid(), "VmPin") > 0, "unpinned under the device");
		ended(&s, 0);
		ended(&s, 0);
		CHECK(poisoned(s.mem.map, LEN) == 0, "nothing was read");
		CHECK(pins_gone(getpid(), 1000), "VmPin stays after the last command");
	}
out:
	setup_close(&s);
}

/* The ring goes first, with commands in flight on it. */
static void exit_in_flight(enum mode mode)
{
	struct io_uring ring;
	struct setup s;

	if (setup_open(&s, mode) && start_read(&s, 0) && start_read(&s, 1)) {
		io_uring_queue_exit(&s.ring);
		s.ring.ring_fd = -1;
		/* The file still works, on another ring. */
		if (ring_open(&ring, MODE_IRQ, 4)) {
			CHECK_RET(run_rw(&ring, &s.dev, OP_READ, s.index, 0, PAGE, 0), 0,
				  "another ring");
			io_uring_queue_exit(&ring);
		}
		must_unregister(&s.dev, s.index);
	}
	setup_close(&s);
}

static void exit_irq(void) { exit_in_flight(MODE_IRQ); }
static void exit_poll(void) { exit_in_flight(MODE_POLL); }

/* ---- charges of processes that are gone ---- */

#define LIMIT (16u * PAGE)

static bool fill_limit(const struct dev *dev, struct mem *mem)
{
	uint32_t index;

	/* a page less, which its list takes */
	return CHECK(mem_alloc(mem, MEM_4K, LIMIT), "no memory") &&
	       must_register(dev, mem->map, LIMIT - PAGE, NVME_PMAP_REG_SGL_LIST, &index);
}

struct doom {
	int pipe[2];
	struct dev dev;
};

/* As nobody, with all of the limit registered and commands in flight: wait. */
static void doomed(void *arg)
{
	struct doom *d = arg;
	struct setup s;
	unsigned int i;

	memset(&s, 0, sizeof(s));
	s.dev = d->dev;
	if (!fill_limit(&s.dev, &s.mem) || !ring_open(&s.ring, MODE_IRQ, 32))
		return;
	for (i = 0; i < 8; i++)
		start_read(&s, i % 8);
	if (write(d->pipe[1], "x", 1) == 1)
		pause();
}

static void limit_only(void *arg)
{
	struct mem mem;

	fill_limit(arg, &mem);
}

static void set_limit(rlim_t bytes)
{
	struct rlimit limit = { bytes, bytes };

	CHECK(!setrlimit(RLIMIT_MEMLOCK, &limit), "setrlimit");
}

/* Another file for the same user can register up to the limit once more. */
static void limit_free_again(void)
{
	struct dev dev;

	if (dev_open(&dev, NULL, O_RDWR))
		in_child(limit_only, &dev, NOBODY);
	dev_close(&dev);
}

static void sigkill(void)
{
	struct doom d;
	pid_t pid;
	char c;
	int round;

	set_limit(LIMIT);
	for (round = 0; round < 3; round++) {
		if (pipe(d.pipe) || !dev_open(&d.dev, NULL, O_RDWR))
			break;
		pid = child_start(doomed, &d, NOBODY);
		dev_close(&d.dev);
		close(d.pipe[1]);
		if (pid > 0) {
			CHECK(read(d.pipe[0], &c, 1) == 1, "the child was not ready");
			kill(pid, SIGKILL);
			waitpid(pid, NULL, 0);
		}
		close(d.pipe[0]);
		/* The commands take 200 ms, and the charge goes with the last. */
		sleep_ms(600);
		limit_free_again();
	}
	set_limit(RLIM_INFINITY);
}

/* ---- files in other hands ---- */

struct shared {
	struct setup *s;
	int pipe[2];
};

/* In the child of a parent that has exited: the parent's memory, on its file. */
static bool orphan(struct shared *sh)
{
	struct setup *s = sh->s;
	struct io_uring ring;

	poison(s->mem.map, LEN);
	/* The ring goes with the process. */
	return ring_open(&ring, MODE_IRQ, 4) &&
	       CHECK_RET(run_rw(&ring, &s->dev, OP_READ, s->index, 0, LEN, 0), 0,
			 "read by the child") &&
	       CHECK(poisoned(s->mem.map, LEN) == 0, "the shared memory was not read into") &&
	       must_unregister(&s->dev, s->index);
}

static void registers_and_leaves(void *arg)
{
	struct shared *sh = arg;
	struct setup *s = sh->s;
	pid_t parent;

	if (!must_register(&s->dev, s->mem.map, LEN, 0, &s->index))
		return;
	parent = getpid();
	if (fork())
		return;
	alarm(20);
	while (getppid() == parent)
		sleep_ms(5);
	if (!orphan(sh) || write(sh->pipe[1], "x", 1) != 1)
		_exit(1);
	_exit(0);
}

/* fork(): the child goes on with the file of a parent that has gone. */
static void fork_orphan(void)
{
	struct shared sh;
	struct setup s;
	char c = 0;

	memset(&s, 0, sizeof(s));
	sh.s = &s;
	if (pipe(sh.pipe) || !dev_open(&s.dev, NULL, O_RDWR) ||
	    !CHECK(mem_alloc(&s.mem, MEM_SHMEM, LEN), "no memory"))
		goto out;
	in_child(registers_and_leaves, &sh, 0);
	close(sh.pipe[1]);
	CHECK(read(sh.pipe[0], &c, 1) == 1 && c == 'x', "the grandchild did not finish");
	close(sh.pipe[0]);
	/* The parent sees the data of the child's command: it used the registered pages. */
	CHECK(poisoned(s.mem.map, LEN) == 0, "nothing was read");
out:
	setup_close(&s);
}

static void reads_parents_pages(void *arg)
{
	struct setup *s = arg;
	struct io_uring ring;

	poison(s->mem.map, LEN);
	if (!ring_open(&ring, MODE_IRQ, 4))
		return;
	CHECK_RET(run_rw(&ring, &s->dev, OP_READ, s->index, 0, LEN, 0), 0, "read by the child");
	CHECK(poisoned(s->mem.map, LEN) == LEN, "the data arrived in the child's copy");
	CHECK(status_kib(getpid(), "VmPin") == 0, "the child is charged: %ld KiB",
	      status_kib(getpid(), "VmPin"));
	io_uring_queue_exit(&ring);
}

/* Private memory: the registration has the pages of the process that registered. */
static void fork_private(void)
{
	struct setup s;

	if (setup_open(&s, MODE_IRQ)) {
		poison(s.mem.map, LEN);
		in_child(reads_parents_pages, &s, 0);
		CHECK(poisoned(s.mem.map, LEN) == 0, "the data did not arrive in the parent");
		must_unregister(&s.dev, s.index);
	}
	setup_close(&s);
}

struct passing {
	int sock[2];
	struct mem mem;
};

/* Opens, registers, sends the file to the parent and exits. */
static void sender(void *arg)
{
	struct passing *p = arg;
	struct dev dev;
	uint32_t index;

	if (dev_open(&dev, NULL, O_RDWR) && must_register(&dev, p->mem.map, LEN, 0, &index) &&
	    CHECK(index == 0, "index"))
		CHECK_RET(send_fd(p->sock[1], dev.fd), 0, "sendmsg");
}

static void scm_rights(void)
{
	struct passing p;
	struct setup s;

	if (!setup_open(&s, MODE_IRQ))
		goto out;
	must_unregister(&s.dev, s.index);
	if (!CHECK(mem_alloc(&p.mem, MEM_SHMEM, LEN), "no memory") ||
	    !CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, p.sock), "socketpair"))
		goto out;
	poison(p.mem.map, LEN);
	if (in_child(sender, &p, 0)) {
		close(s.dev.fd);
		s.dev.fd = receive_fd(p.sock[0]);
		CHECK(s.dev.fd >= 0, "no file received");
		CHECK_RET(run_rw(&s.ring, &s.dev, OP_READ, 0, 0, LEN, 0), 0,
			  "read by the receiver");
		CHECK(poisoned(p.mem.map, LEN) == 0, "nothing was read");
		must_unregister(&s.dev, 0);
	}
	close(p.sock[0]);
	close(p.sock[1]);
	mem_free(&p.mem);
out:
	setup_close(&s);
}

/* Sent into a socket without a reader, and then lost with the socket. */
static void scm_lost(void)
{
	struct setup s;
	int sock[2];

	if (setup_open(&s, MODE_IRQ) &&
	    CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, sock), "socketpair")) {
		CHECK_RET(send_fd(sock[1], s.dev.fd), 0, "sendmsg");
		start_read(&s, 0);
		dev_close(&s.dev);
		CHECK(status_kib(getpid(), "VmPin") > 0, "unpinned while the file is on its way");
		close(sock[0]);
		close(sock[1]);
		ended(&s, 0);
	}
	setup_close(&s);
}

static const struct test_case lifetime_cases[] = {
	{ "unregister-irq", unregister_irq },
	{ "unregister-defer", unregister_defer },
	{ "unregister-poll", unregister_poll },
	{ "unregister-refuses", unregister_refuses },
	{ "unregister-twice", unregister_twice },
	{ "timed-out", timed_out },
	{ "interrupted", interrupted },
	{ "interrupted-close", interrupted_close },
	{ "close-in-flight", close_in_flight },
	{ "exit-irq", exit_irq },
	{ "exit-poll", exit_poll },
	{ "sigkill", sigkill },
	{ "fork-orphan", fork_orphan },
	{ "fork-private", fork_private },
	{ "scm-rights", scm_rights },
	{ "scm-lost", scm_lost },
};

SUBJECT(lifetime);
