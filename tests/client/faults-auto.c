// SPDX-License-Identifier: GPL-2.0
/*
 * The auto door without memory, at its limits, in races, with a controller that has
 * just come or goes: a program sees what the stock driver would show it, and nothing
 * stays behind.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "auto.h"
#include "faults.h"
#include "queue.h"

/* Pages that do not follow each other: what is in two of them needs a list. */
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
	struct ways before;
	uint64_t sent;
	struct prog p;
	bool good = prog_open(&p, MODE_IRQ, MEM_4K, LEN) && prog_warm(&p);

	before = ways_of(&p.dev);
	sent = p.sent;
	good = good && data_right(&p, 7) && all_fast(&p, &before, p.sent - sent, what);
	return close_clean(&p) && good;
}

/* ---- no memory ---- */

/* A request of a new file's first commands fails: they do not. */
static bool hungry_attempt(bool first, unsigned int n, bool *more)
{
	struct prog p;
	bool good = prog_open(&p, MODE_IRQ, MEM_4K, LEN) &&
		    (first || CHECK_RET(run_fixed(&p, OP_READ, 0, p.mem.map, PAGE, 0), 0, "first"));
	int ret;

	*more = false;
	if (good && inject_nth(n)) {
		ret = run_fixed(&p, OP_READ, 0, p.mem.map + APART, 2 * PAGE, 0);
		*more = inject_end();
		good = CHECK_RET(ret, 0, "failure %u", n) && data_right(&p, n);
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

void auto_hungry(void)
{
	if (inject_init() && hungry("nvme_pmap_fixed_start", true, false) &&
	    hungry("nvme_pmap_fixed_start", true, true) &&
	    hungry("nvme_pmap_fixed_alone", false, false))
		hungry("nvme_pmap_fixed_alone", false, true);
	served_again("after all that");
	inject_report();
}

/* More at a time than there are tags: those that find none wait in a worker. */
void auto_no_tags(void)
{
	struct ways before;
	struct prog p;
	unsigned int i;

	if (prog_open(&p, MODE_IRQ, MEM_4K, LEN) && prog_warm(&p)) {
		before = ways_of(&p.dev);
		pattern_fill(p.mem.map, p.dev.block, 0, LEN / p.dev.block, 5);
		move(&p, OP_WRITE, 0, p.mem.map, 0, "write");
		poison(p.mem.map, LEN);
		for (i = 0; i < 4 * LEN / PAGE; i++)
			prep_fixed(&p, OP_READ, 0, p.mem.map + i % (LEN / PAGE) * PAGE, PAGE,
				   i % (LEN / PAGE) * (PAGE / p.dev.block));
		if (run_batch(&p, i, "more than there are tags") &&
		    shows(&p, p.mem.map, LEN, 0, 5, "read"))
			all_fast(&p, &before, LEN / SLICE + i, "more than there are tags");
	}
	close_clean(&p);
}

/* ---- limits ---- */

#define ENTRIES 16384u

/* A ring with as many buffers as it can have, all of one page, and each of them used. */
static bool use_all(struct prog *p, unsigned char *page)
{
	struct iovec *iov = calloc(ENTRIES, sizeof(*iov));
	unsigned int i, n;
	bool good;

	if (!iov)
		return CHECK(false, "no memory");
	for (i = 0; i < ENTRIES; i++)
		iov[i] = (struct iovec){ page, PAGE };
	io_uring_unregister_buffers(&p->ring);
	good = CHECK_RET(io_uring_register_buffers(&p->ring, iov, ENTRIES), 0, "all buffers");
	for (i = 0; good && i < ENTRIES; i += n) {
		for (n = 0; n < 32; n++)
			prep_fixed(p, OP_READ, i + n, page, PAGE, 0);
		good = run_batch(p, n, "each of them");
	}
	free(iov);
	return good;
}

/* What a file has no more entries for goes the stock way. */
void auto_full(void)
{
	struct prog p, other = { .mem.fd = -1 };
	struct ways before, w;

	/* none is to be idle before the last is used */
	set_param("pmap_auto_idle", 600);
	if (!prog_open(&p, MODE_IRQ, MEM_4K, LEN) || !prog_warm(&p))
		goto out;
	before = ways_of(&p.dev);
	if (!use_all(&p, p.mem.map))
		goto out;
	w = ways_since(&p.dev, &before);
	/* the entry of the buffer that was there before */
	CHECK(w.fast >= ENTRIES - 1, "%" PRIu64 " of %u served", w.fast, ENTRIES);
	other.dev = p.dev;
	if (prog_start(&other, MODE_DEFER, MEM_4K, LEN) && data_right(&other, 9)) {
		w = ways_of(&p.dev);
		CHECK(w.refused >= 2 * LEN / SLICE, "%" PRIu64 " refused of one more", w.refused);
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

/* The device cannot reach this memory: nothing is mapped, twice not even tried. */
void auto_bounced(void)
{
	struct prog p, other;
	struct ways w;

	if (!prog_open(&p, MODE_IRQ, MEM_4K, LEN))
		return;
	data_right(&p, 3);
	w = ways_of(&p.dev);
	if (w.fast)
		skip_case("DMA does not bounce in this guest");
	else
		/* one that finds no tag is counted again when it is sent by a worker */
		CHECK(w.refused >= 2 * LEN / SLICE - 1 && w.starting == 1,
		      "%" PRIu64 " refused, %" PRIu64 " starting", w.refused, w.starting);
	if (prog_open(&other, MODE_IRQ, MEM_4K, LEN))
		data_right(&other, 4);
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

/* One command by a ring of its own, on the program's file. */
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

/* Served by the door, of any file. */
static long served_all(const struct dev *dev)
{
	return sysfs_number(dev, "auto_mq") + sysfs_number(dev, "auto_queue");
}

/* As a program does that makes no call of ours: nobody has prepared the controller. */
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

/* ---- what an operator does ---- */

static bool shows_all(const struct dev *dev)
{
	static const char *const names[] = { "auto_mq",	      "auto_queue",    "stock_starting",
					     "stock_command", "stock_refused", "stock_failed" };
	char path[160], text[64];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(names); i++)
		if (!CHECK(sysfs_number(dev, names[i]) >= 0, "%s", names[i]))
			return false;
	return CHECK(dev_sysfs(dev, "pmap/auto_door", path, sizeof(path)) &&
			     read_file(path, text, sizeof(text)) &&
			     !strncmp(text, door_mode(), strlen(door_mode())),
		     "the door is %s", text) &&
	       CHECK(!write_file(path, "ajar") && errno == EINVAL, "the door is ajar: %s",
		     strerror(errno));
}

/* Memory is asked for: what has not been used since it was last asked for goes. */
static bool pressed(struct prog *p)
{
	uint64_t end = now_ms() + 20000;

	if (!CHECK(auto_pinned(&p->dev) == LEN, "%ld are pinned", auto_pinned(&p->dev)))
		return false;
	while (auto_pinned(&p->dev)) {
		if (!CHECK(now_ms() < end, "still pinned") ||
		    !CHECK(write_file("/proc/sys/vm/drop_caches", "2"), "drop_caches"))
			return false;
		sleep_ms(50);
	}
	return prog_warm(p);
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
	    pressed(&p) && detached(&p))
		data_right(&p, 1);
	close_clean(&p);
}

/* The door of one controller is open, and that of another is not. */
void auto_two(void)
{
	struct ways before;
	struct dev second;
	struct prog p;

	if (!dev_open(&second, opt.dev2, O_RDWR) || !set_door(&second, door_mode()) ||
	    !prog_open(&p, MODE_IRQ, MEM_4K, LEN))
		return;
	if (prog_warm(&p) && set_door(&p.dev, "off") && pinned_becomes(&p.dev, 0, 5000)) {
		before = ways_of(&p.dev);
		data_right(&p, 2);
		CHECK(ways_of(&p.dev).fast == before.fast && ways_of(&p.dev).stock == before.stock,
		      "served by a door that is shut");
		set_door(&p.dev, door_mode());
		prog_warm(&p);
	}
	close_clean(&p);
	set_door(&second, "off");
	dev_close(&second);
}

/* The file is closed when its mapping has ended, and nobody has seen that yet. */
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

/* What has to go alone, in the middle of a batch. */
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
