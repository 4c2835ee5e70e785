// SPDX-License-Identifier: GPL-2.0
/*
 * The auto door without memory, at its limits, in races, with a controller that has
 * just come or goes: a program sees the results of the stock driver, and nothing stays
 * behind.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "auto/auto.h"
#include "faults/faults.h"
#include "queue/queue.h"

/* Pages that are not contiguous: a transfer across two of them needs a list. */
#define APART 512

/* Buffer 0, to the disk and back. */
static bool data_right(struct prog *p, uint64_t gen)
{
	pattern_fill(p->mem.map, p->dev.block, 0, LEN / p->dev.block, gen);
	if (!move(p, OP_WRITE, 0, p->mem.map, 0, "write"))
		return false;
	poison(p->mem.map, LEN);
	return move(p, OP_READ, 0, p->mem.map, 0, "read") &&
	       shows(p, p->mem.map, LEN, 0, gen, "data");
}

/* The door holds nothing for it any more. */
static bool close_clean(struct prog *p)
{
	struct dev dev = p->dev;

	prog_close(p);
	return pinned_becomes(&dev, 0, 5000);
}

/* A program that finds nothing wrong any more. */
static bool served_again(const char *what)
{
	struct paths before;
	uint64_t sent;
	struct prog p;
	bool good = prog_open(&p, MODE_IRQ, MEM_4K, LEN) && prog_warm(&p);

	before = paths_of(&p.dev);
	sent = p.sent;
	good = good && data_right(&p, 7) && paths_served(&p, &before, p.sent - sent, what);
	return close_clean(&p) && good;
}

/* ---- no memory ---- */

/* As many as a buffer of LEN is used before it is mapped, with time for the workers. */
static bool first_reads(struct prog *p, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < 8; i++) {
		if (!CHECK_RET(run_fixed(p, OP_READ, 0, p->mem.map + APART, 2 * PAGE, 0), 0,
			       "read %u, failure %u", i, n))
			return false;
		sleep_ms(2);
	}
	return true;
}

/* A request of a file's, or a buffer's, first commands fails: they do not. */
static bool hungry_attempt(bool first, unsigned int n, bool *more)
{
	struct prog p;
	bool good = prog_open(&p, MODE_IRQ, MEM_4K, LEN) &&
		    (first || CHECK_RET(run_fixed(&p, OP_READ, 0, p.mem.map, PAGE, 0), 0, "first"));

	*more = false;
	/* the file has all its memory: the next failures are about the buffer */
	if (good && !first)
		sleep_ms(100);
	if (good && inject_nth(n)) {
		good = first_reads(&p, n);
		*more = inject_end();
		good = good && data_right(&p, n);
	}
	return close_clean(&p) && good;
}

static bool hungry(const char *function, bool first, bool pages)
{
	unsigned int n, misses = 0;
	bool more;

	if (!inject_below(function) || !inject_pages(pages))
		return false;
	/* caches make one need a little more than another */
	for (n = 1; misses < 2 && n < 200; n++) {
		if (!hungry_attempt(first, n, &more))
			return false;
		misses = more ? 0 : misses + 1;
	}
	note("%s, %s: %u attempts", function, pages ? "a page each" : "one after another", n - 1);
	return CHECK(pages || n > 3, "%s: no failure", function);
}

/* A worker that serves a new program, and how long it does not try again after a failure. */
struct worker {
	const char *function;
	unsigned int tries, pause;
};

/* Every few of its allocations fail. */
static bool hungry_worker(const struct worker *w, bool pages)
{
	unsigned int n, hits = 0;

	if (!inject_below(w->function) || !inject_pages(pages))
		return false;
	for (n = 1; n <= w->tries; n++) {
		struct prog p;
		bool good;

		sleep_ms(w->pause);
		good = prog_open(&p, MODE_IRQ, MEM_4K, LEN) && inject_every(1 + n / 2) &&
		       first_reads(&p, n);

		hits += inject_hits();
		good &= inject_every(0);
		good = good && data_right(&p, n);
		if (!close_clean(&p) || !good)
			return false;
	}
	note("%s, %s: %u failures", w->function, pages ? "pages" : "objects", hits);
	return CHECK(pages || hits > 3, "%s: %u failures", w->function, hits);
}

void auto_hungry(void)
{
	static const struct worker workers[] = { { "nvme_pmap_auto_file_begin_work", 6, 1200 },
						 { "nvme_pmap_auto_file_work", 23, 0 } };
	unsigned int i;

	if (inject_init() && hungry("nvme_pmap_auto_not_ready", true, false) &&
	    hungry("nvme_pmap_auto_not_ready", true, true) &&
	    hungry("nvme_pmap_auto_alone", false, false) &&
	    hungry("nvme_pmap_auto_alone", false, true))
		for (i = 0; i < ARRAY_SIZE(workers); i++)
			if (!hungry_worker(&workers[i], false) || !hungry_worker(&workers[i], true))
				break;
	inject_every(0);
	served_again("after all that");
	inject_report();
}

/* More at a time than there are tags: commands without a tag wait in a worker. */
void auto_no_tags(void)
{
	struct paths before;
	struct prog p;
	unsigned int i;

	if (prog_open(&p, MODE_IRQ, MEM_4K, LEN) && prog_warm(&p)) {
		before = paths_of(&p.dev);
		pattern_fill(p.mem.map, p.dev.block, 0, LEN / p.dev.block, 5);
		move(&p, OP_WRITE, 0, p.mem.map, 0, "write");
		poison(p.mem.map, LEN);
		for (i = 0; i < 4 * LEN / PAGE; i++)
			prep_fixed(&p, OP_READ, 0, p.mem.map + i % (LEN / PAGE) * PAGE, PAGE,
				   i % (LEN / PAGE) * (PAGE / p.dev.block));
		if (run_batch(&p, i, "more than there are tags") &&
		    shows(&p, p.mem.map, LEN, 0, 5, "read"))
			paths_served(&p, &before, LEN / SLICE + i, "more than there are tags");
	}
	close_clean(&p);
}

/* ---- limits ---- */

#define ENTRIES 16384u

/* A ring with as many buffers as it can have, all of one page. */
static bool fill_table(struct prog *p)
{
	struct iovec *iov = calloc(ENTRIES, sizeof(*iov));
	unsigned int i;
	bool good;

	if (!CHECK(iov, "no memory"))
		return false;
	for (i = 0; i < ENTRIES; i++)
		iov[i] = (struct iovec){ p->mem.map, PAGE };
	io_uring_unregister_buffers(&p->ring);
	good = CHECK_RET(io_uring_register_buffers(&p->ring, iov, ENTRIES), 0, "all buffers");
	free(iov);
	return good;
}

/* Each of them used: served so many. */
static uint64_t use_all(struct prog *p)
{
	struct paths before = paths_of(&p->dev);
	unsigned int i, n;

	for (i = 0; i < ENTRIES; i += n) {
		for (n = 0; n < 32; n++)
			prep_fixed(p, OP_READ, i + n, p->mem.map, PAGE, 0);
		if (!run_batch(p, n, "each of them"))
			break;
	}
	return paths_since(&p->dev, &before).served;
}

/* They are mapped in the background, after some uses. */
static bool all_served(struct prog *p)
{
	uint64_t fast = 0;
	unsigned int i;

	/* less one: the entry of the buffer that was there before */
	for (i = 0; i < 8 && fast < ENTRIES - 1; i++) {
		fast = use_all(p);
		sleep_ms(100);
	}
	return CHECK(fast >= ENTRIES - 1, "%" PRIu64 " of %u served", fast, ENTRIES);
}

/* Stock serves the buffers beyond the entries of a file. */
void auto_full(void)
{
	struct prog p, other = { .mem.fd = -1 };
	struct paths before, w;

	/* none may become idle before the last is used */
	set_param("pmap_auto_idle_s", 600);
	if (!prog_open(&p, MODE_IRQ, MEM_4K, LEN) || !prog_warm(&p))
		goto out;
	if (!fill_table(&p) || !all_served(&p))
		goto out;
	before = paths_of(&p.dev);
	other.dev = p.dev;
	if (prog_start(&other, MODE_DEFER, MEM_4K, LEN) && data_right(&other, 9)) {
		w = paths_since(&p.dev, &before);
		CHECK(w.unmapped >= 2 * LEN / SLICE, "%" PRIu64 " refused of one more", w.unmapped);
	}
	if (other.ring.ring_fd > 0)
		io_uring_queue_exit(&other.ring);
	mem_free(&other.mem);
out:
	/* it takes long where the kernel is slow: not after the case */
	io_uring_unregister_buffers(&p.ring);
	close_clean(&p);
	reset_params();
}

/* Refused, and stock serves it. */
static void bounces(struct prog *p)
{
	struct paths before, w;

	if (!CHECK(buffer_settle(p, 0, p->mem.map) == REFUSED, "not refused"))
		return;
	before = paths_of(&p->dev);
	data_right(p, 3);
	w = paths_since(&p->dev, &before);
	/* one that finds no tag is counted again; after five seconds it is tried again */
	CHECK(w.unmapped + w.setup >= 2 * LEN / SLICE && w.unmapped && !w.served,
	      "%" PRIu64 " unmapped, %" PRIu64 " in setup, %" PRIu64 " served", w.unmapped, w.setup,
	      w.served);
}

/* The device cannot reach this memory: nothing is mapped, twice not even tried. */
void auto_bounced(void)
{
	struct prog p, other;

	if (!prog_open(&p, MODE_IRQ, MEM_4K, LEN))
		return;
	bounces(&p);
	if (prog_open(&other, MODE_IRQ, MEM_4K, LEN))
		bounces(&other);
	close_clean(&other);
	close_clean(&p);
}

/* ---- races ---- */

struct racing {
	struct prog *p;
	struct io_uring *ring;
	unsigned int index;
	void *at;
	pthread_barrier_t *start;
};

/* One command on a ring of its own, with the program's file. */
static void *races(void *arg)
{
	struct racing *r = arg;
	struct prog mine = { .dev = r->p->dev, .ring = *r->ring };

	pthread_barrier_wait(r->start);
	CHECK_RET(run_fixed(&mine, OP_READ, r->index, r->at, PAGE, 0), 0, "in a race");
	*r->ring = mine.ring;
	return NULL;
}

static void race(struct racing r[2])
{
	pthread_barrier_t start;
	pthread_t thread[2];
	unsigned int i;

	pthread_barrier_init(&start, NULL, 2);
	for (i = 0; i < 2; i++) {
		r[i].start = &start;
		pthread_create(&thread[i], NULL, races, &r[i]);
	}
	for (i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	pthread_barrier_destroy(&start);
}

/* The first commands of a file, by two threads at once. */
void auto_first_race(void)
{
	struct prog p, other = { .mem.fd = -1 };
	unsigned int round;

	if (!prog_open(&p, MODE_IRQ, MEM_4K, LEN))
		return;
	other.dev = p.dev;
	if (!prog_start(&other, MODE_IRQ, MEM_4K, LEN))
		goto out;
	for (round = 0; round < 100 && !case_failed(); round++) {
		struct racing r[] = { { &p, &p.ring, 0, p.mem.map, NULL },
				      { &p, &other.ring, 0, other.mem.map, NULL } };

		close(p.dev.fd);
		p.dev.fd = open(p.dev.path, O_RDWR | O_CLOEXEC);
		race(r);
	}
	data_right(&p, 2);
	io_uring_queue_exit(&other.ring);
out:
	mem_free(&other.mem);
	close_clean(&p);
}

/* The first commands on a buffer that two rings have. */
void auto_clone_race(void)
{
	unsigned char *at;
	struct prog p;
	unsigned int round;

	at = place(&p);
	for (round = 0; at && round < 100 && !case_failed(); round++) {
		struct io_uring ring;
		struct racing r[] = { { &p, &p.ring, 1, at, NULL }, { &p, &ring, 1, at, NULL } };
		int ret;

		if (!buffer_set(&p, 1, at, LEN) || !ring_open(&ring, MODE_IRQ, 64))
			break;
		ret = clone_buffers(ring.ring_fd, p.ring.ring_fd);
		if (!ret)
			race(r);
		else if (ret == -EINVAL)
			skip_case("io_uring does not clone buffers");
		else
			CHECK_RET(ret, 0, "clone");
		io_uring_queue_exit(&ring);
		if (ret)
			break;
	}
	if (at)
		munmap(at, LEN);
	close_clean(&p);
}

/* ---- the controller ---- */

/* Commands of any file that a mapping served. */
static long served_all(const struct dev *dev)
{
	return sysfs_number(dev, "auto_mq") + sysfs_number(dev, "auto_queue");
}

/* An unmodified program makes no ioctl of ours: the controller is not prepared. */
static bool open_unknowing(struct prog *p)
{
	return prog_device(p, NULL, O_RDWR) && set_door(&p->dev, door_mode()) &&
	       prog_start(p, MODE_IRQ, MEM_4K, LEN);
}

/* Soon after its probe the door serves. */
void auto_unprepared(void)
{
	uint64_t end;
	struct prog p;

	if (!rebind() || !open_unknowing(&p))
		return;
	end = now_ms() + 20000;
	while (data_right(&p, 6) && !served_all(&p.dev)) {
		if (!CHECK(now_ms() < end, "never served"))
			break;
		sleep_ms(50);
	}
	close_clean(&p);
}

/* Takes its buffer away from under a program, whose commands must all end. */
void auto_removed(void)
{
	unsigned int round, i, gone = 0;
	struct prog p;

	for (round = 0; round < 12 && !case_failed(); round++) {
		/* every other time before the controller is prepared */
		if (!learn_pci() || !open_unknowing(&p) || (round % 2 && !prog_warm(&p)))
			break;
		for (i = 0; i < 32; i++)
			prep_fixed(&p, OP_READ, 0, p.mem.map + i % 16 * PAGE, PAGE, i);
		io_uring_submit(&p.ring);
		bind_to("unbind");
		for (i = 0; i < 32; i++) {
			struct completion done;

			if (!CHECK_RET(ring_reap(&p.ring, &done, 20000), 0, "completion %u", i))
				break;
			gone += done.res != 0;
		}
		CHECK(run_fixed(&p, OP_READ, 0, p.mem.map, PAGE, 0), "no device, and it is read");
		bind_to("bind");
		prog_close(&p);
	}
	note("injected removal %u", round);
	note("%u commands were too late", gone);
	served_again("after the removals");
}

/* ---- actions of an operator ---- */

static bool shows_all(const struct dev *dev)
{
	static const char *const names[] = { "auto_mq",		  "auto_queue",	    "stock_setup",
					     "stock_unsupported", "stock_unmapped", "stock_other" };
	char path[160], text[64];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(names); i++)
		if (!CHECK(sysfs_number(dev, names[i]) >= 0, "%s", names[i]))
			return false;
	return CHECK(dev_sysfs(dev, "pmap/auto_mode", path, sizeof(path)) &&
			     read_file(path, text, sizeof(text)) &&
			     !strncmp(text, door_mode(), strlen(door_mode())),
		     "the door is %s", text) &&
	       CHECK(!write_file(path, "ajar") && errno == EINVAL, "the door is ajar: %s",
		     strerror(errno));
}

/* A mapping idle for the operator's time ends, and is made again. */
static bool idled(struct prog *p)
{
	bool good = CHECK(auto_pinned(&p->dev) == LEN, "%ld are pinned", auto_pinned(&p->dev)) &&
		    set_param("pmap_auto_idle_s", 1) && pinned_becomes(&p->dev, 0, 10000);

	reset_params();
	return good && prog_warm(p);
}

/* The program gives back the queue that the door got for it: that is its right. */
static bool detached(struct prog *p)
{
	return !opt.queues || (must_detach(p->dev.fd, 0) && data_right(p, 8));
}

void auto_operated(void)
{
	struct prog p;

	if (prog_open(&p, MODE_IRQ, MEM_4K, LEN) && prog_warm(&p) && shows_all(&p.dev) &&
	    idled(&p) && detached(&p))
		data_right(&p, 1);
	close_clean(&p);
}

/* The door of one controller is open, the door of another is shut. */
void auto_two(void)
{
	struct paths before;
	struct dev second;
	struct prog p;

	if (!dev_open(&second, opt.dev2, O_RDWR) || !set_door(&second, door_mode()) ||
	    !prog_open(&p, MODE_IRQ, MEM_4K, LEN))
		return;
	if (prog_warm(&p) && set_door(&p.dev, "off") && pinned_becomes(&p.dev, 0, 5000)) {
		before = paths_of(&p.dev);
		data_right(&p, 2);
		CHECK(paths_of(&p.dev).served == before.served &&
			      paths_of(&p.dev).stock == before.stock,
		      "served by a door that is shut");
		set_door(&p.dev, door_mode());
		prog_warm(&p);
	}
	close_clean(&p);
	set_door(&second, "off");
	dev_close(&second);
}

/* The file is closed after its mapping has ended, before the driver has noticed. */
void auto_ending(void)
{
	unsigned int round;
	struct dev slow;
	struct prog p;

	for (round = 0; round < 4; round++) {
		if (!prog_device(&p, opt.dev2, O_RDWR) || !set_door(&p.dev, "on") ||
		    !prog_start(&p, MODE_IRQ, MEM_4K, LEN) || !prog_warm(&p))
			break;
		prep_fixed(&p, OP_READ, 0, p.mem.map, PAGE, 0);
		io_uring_submit(&p.ring);
		set_door(&p.dev, "off");
		slow = p.dev;
		run_batch(&p, 1, "the last");
		prog_close(&p);
		pinned_becomes(&slow, 0, 5000);
	}
}

/* A command that cannot join a batch, in the middle of one. */
void auto_mixed(void)
{
	struct prog p;
	unsigned int i;

	if (prog_open(&p, MODE_IRQ, MEM_4K, LEN) && prog_warm(&p) && disk_fill(&p, 0, LEN, 0, 4)) {
		poison(p.mem.map, LEN);
		for (i = 0; i < 3; i++)
			prep_fixed(&p, OP_READ, 0, p.mem.map + 4 * i * PAGE + (i == 1 ? APART : 0),
				   2 * PAGE, i * (2 * PAGE / p.dev.block));
		if (run_batch(&p, 3, "mixed"))
			for (i = 0; i < 3; i++)
				shows(&p, p.mem.map + 4 * i * PAGE + (i == 1 ? APART : 0), 2 * PAGE,
				      i * (2 * PAGE / p.dev.block), 4, "mixed");
	}
	close_clean(&p);
}
