// SPDX-License-Identifier: GPL-2.0
/*
 * A user who is always at RLIMIT_MEMLOCK, to whom the auto door must not be noticeable;
 * and a disk that answers late.  See hostile.h.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "stall.h"
#include "storm.h"
#include "hostile.h"

#define LIMIT MIB(1)
#define HALF  (LIMIT / 2)

/* ---- at the limit ---- */

struct user {
	struct hostile *h;
	struct dev dev;
	struct draw draw;
	struct io_uring ring;
	struct mem mem;
};

static bool limit_set(void)
{
	struct rlimit limit = { LIMIT, LIMIT };

	return CHECK(!setrlimit(RLIMIT_MEMLOCK, &limit), "setrlimit: %s", strerror(errno));
}

static int all_of_it(struct user *u)
{
	struct iovec iov[2] = { { u->mem.map, HALF }, { u->mem.map + HALF, HALF } };

	return io_uring_register_buffers(&u->ring, iov, 2);
}

/* A ring that was closed gives back in a worker what it had: on stock as well. */
static bool all_at_first(struct user *u, const char *what)
{
	uint64_t end = now_ms() + (slow_kernel() ? 60000 : 20000);
	int ret;

	while ((ret = all_of_it(u)) == -ENOMEM && now_ms() < end)
		sleep_ms(5);
	return CHECK_RET(ret, 0, "%s: all of the limit", what);
}

/* Commands enough for the door to take the buffers; false: the device is gone. */
static bool use(struct user *u)
{
	unsigned int nr = 1 + draw_of(&u->draw, 12), i;
	struct completion done;

	for (i = 0; i < nr; i++) {
		unsigned char *at = u->mem.map + draw_of(&u->draw, LIMIT / PAGE) * PAGE;
		struct io_uring_sqe *sqe = prep_stock(&u->ring, &u->dev, OP_READ, at, PAGE, 8 * i,
						      i);

		sqe_fixed(sqe, at >= u->mem.map + HALF);
		if (!CHECK_RET(ring_push(&u->ring), 0, "submit") ||
		    !CHECK_RET(ring_reap(&u->ring, &done, 200000), 0, "a limited user's command") ||
		    !CHECK(!done.res || by_disturbance(done.res), "a limited user's command: %s",
			   err_name(done.res)) ||
		    done.res == -ENODEV)
			return false;
		if (one_in(&u->draw, 8))
			sleep_ms(2);
	}
	return true;
}

static bool set_half(struct user *u, unsigned int i, bool none)
{
	struct iovec iov = { none ? NULL : u->mem.map + i * HALF, none ? 0 : HALF };
	__u64 tag = 0;

	return CHECK_RET(io_uring_register_buffers_update_tag(&u->ring, i, &iov, &tag, 1), 1,
			 "half %u of the limit, %s", i, none ? "given back" : "again");
}

/* The errno of too little memory is that of the limit: a machine short of it is not tried. */
static bool again(struct user *u)
{
	unsigned int i = draw_of(&u->draw, 2);

	COUNT(u->h, limits, 1);
	if (one_in(&u->draw, 2))
		return set_half(u, i, true) && set_half(u, i, false);
	return CHECK_RET(io_uring_unregister_buffers(&u->ring), 0, "unregister") &&
	       CHECK_RET(all_of_it(u), 0, "all of the limit again");
}

/* As LIMITED_UID, with a file that was opened by another, until that is gone. */
void limited(void *arg)
{
	static const enum mode modes[] = { MODE_IRQ, MODE_DEFER, MODE_POLL };
	struct user u = { .h = arg, .mem.fd = -1 };
	unsigned int i, turns;

	u.dev = u.h->dev;
	u.dev.fd = u.h->limited_fd;
	u.draw = draw_from(79, u.h->tally.lives, 0);
	if (!limit_set() || !CHECK(mem_alloc(&u.mem, MEM_4K, LIMIT), "no memory"))
		return;
	while (!u.h->stop && !u.h->failed && !case_failed()) {
		bool there = true;

		if (!ring_open(&u.ring, modes[draw_of(&u.draw, ARRAY_SIZE(modes))], 16))
			break;
		turns = 1 + draw_of(&u.draw, 30);
		if (all_at_first(&u, "a new ring"))
			for (i = 0; i < turns && there && !u.h->stop; i++)
				there = use(&u) && again(&u);
		io_uring_queue_exit(&u.ring);
		if (!there)
			break;
	}
	if (case_failed())
		u.h->failed = true;
}

static void fresh(void *arg)
{
	struct user u = { .mem.fd = -1 };

	(void)arg;
	if (limit_set() && ring_open(&u.ring, MODE_IRQ, 4) &&
	    CHECK(mem_alloc(&u.mem, MEM_4K, LIMIT), "no memory") &&
	    all_at_first(&u, "a fresh process"))
		CHECK_RET(io_uring_unregister_buffers(&u.ring), 0, "unregister");
}

bool limit_is_back(void) { return in_child(fresh, NULL, LIMITED_UID); }

/* ---- a disk that answers late ---- */

#define LATE_NR	   6u
#define LATE_MODES 4u
#define LATE_MS	   100000u

struct late {
	struct setup s;
	unsigned int door[LATE_NR];
};

/* Several files and rings of it, each with commands by every door. */
static bool late_start(struct late *l, enum mode mode)
{
	struct iovec iov;
	unsigned int i;

	if (!setup_make(&l->s, opt.dev2, mode, MEM_4K, LATE_NR * 2 * PAGE))
		return false;
	iov = (struct iovec){ l->s.mem.map, l->s.mem.len };
	if ((mode % 2 && !dev_attach(&l->s.dev)) ||
	    !CHECK_RET(io_uring_register_buffers(&l->s.ring, &iov, 1), 0, "buffer"))
		return false;
	poison(l->s.mem.map, l->s.mem.len);
	for (i = 0; i < LATE_NR; i++) {
		l->door[i] = (unsigned int)rnd_below(DOOR_BAD);
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

static bool late_end(struct late *l)
{
	struct completion done;
	uint64_t seen = 0;
	unsigned int i;

	for (i = 0; i < LATE_NR; i++) {
		if (!CHECK_RET(ring_reap(&l->s.ring, &done, LATE_MS), 0,
			       "a late disk: completion %u", i) ||
		    !CHECK(done.user_data < LATE_NR && !(seen >> done.user_data & 1),
			   "a second CQE"))
			return false;
		seen |= 1ull << done.user_data;
		CHECK(!done.res || by_disturbance(done.res), "a late disk: %s by %s",
		      err_name(done.res), door_names[l->door[done.user_data]]);
	}
	/* nothing comes any more */
	poison(l->s.mem.map, l->s.mem.len);
	sleep_ms(50);
	return CHECK(poisoned(l->s.mem.map, l->s.mem.len) == l->s.mem.len,
		     "written to after the end");
}

static bool late_round(void)
{
	static struct late l[LATE_MODES];
	bool good = true;
	unsigned int i;

	memset(l, 0, sizeof(l));
	for (i = 0; i < LATE_MODES; i++)
		l[i].s.dev.fd = l[i].s.mem.fd = -1;
	for (i = 0; good && i < LATE_MODES; i++)
		good = late_start(&l[i], i);
	for (i = 0; good && i < LATE_MODES; i++)
		good = late_end(&l[i]);
	for (i = 0; i < LATE_MODES; i++)
		setup_close(&l[i].s);
	return good;
}

/* Of what stock sends; ours takes it from there. */
static bool late_timeout(void)
{
	char path[128], node[64];

	if (!CHECK(dev_path(opt.dev2, node, sizeof(node)), "no device %s", opt.dev2))
		return false;
	snprintf(path, sizeof(path), "/sys/block/nvme%s/queue/io_timeout",
		 node + strlen("/dev/ng"));
	return CHECK(write_file(path, "2000"), "%s: %s", path, strerror(errno));
}

/* Its namespace takes longer than a command may; recovery has to end them. */
void hostile_silent(void)
{
	unsigned int i, nr = opt.rounds ? opt.rounds / 40 + 1 : 2;
	struct storm s = { .tolerated = NULL };
	uint64_t log = log_mark();
	long pins = pins_held();

	if (!opt.dev2) {
		skip_case("-D names no disk that answers late");
		return;
	}
	/* of another controller, to which nothing must happen */
	if (late_timeout() && storm_start(&s))
		for (i = 0; i < nr && late_round(); i++)
			storm_moves(&s, 1);
	CHECK(log_count(log, "timeout, aborting") + log_count(log, "timeout, reset"),
	      "nothing ran out of time");
	storm_end(&s);
	/* QEMU 7.2 never unmaps what such commands had, but the guest does */
	pins_back(pins, 10000);
}
