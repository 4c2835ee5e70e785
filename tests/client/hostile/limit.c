// SPDX-License-Identifier: GPL-2.0
/*
 * A user is always at RLIMIT_MEMLOCK, and must not notice the auto door; see hostile.h.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/storm.h"
#include "hostile/hostile.h"

#define LIMIT MIB(1)
#define HALF  (LIMIT / 2)

/* ms: less than the second after which the driver looks by itself for buffers to uncharge. */
#define MOMENT 500

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

/* A closed ring uncharges its buffers in a worker: on stock as well. */
static bool all_at_first(struct user *u, const char *what)
{
	uint64_t end = now_ms() + (slow_kernel() ? 60000 : 20000);
	int ret;

	while ((ret = all_of_it(u)) == -ENOMEM && now_ms() < end)
		sleep_ms(5);
	return CHECK_RET(ret, 0, "%s: all of the limit", what);
}

/* Without root, commands with effects in the log are refused. */
static bool use_answer(const struct hostile *h, int res)
{
	return !res || by_disturbance(res) || by_detach(res) || (h->effects && res == -EACCES);
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
		    !CHECK(use_answer(u->h, done.res), "a limited user's command: %s",
			   err_name(done.res)) ||
		    done.res == -ENODEV)
			return false;
		if (one_in(&u->draw, 8))
			sleep_ms(2);
	}
	return true;
}

static int set_half(struct user *u, unsigned int i, bool none)
{
	struct iovec iov = { none ? NULL : u->mem.map + i * HALF, none ? 0 : HALF };
	__u64 tag = 0;

	return io_uring_register_buffers_update_tag(&u->ring, i, &iov, &tag, 1);
}

/* A half of the limit, or for @i above 1 both: what is registered has to go first. */
static int take(struct user *u, unsigned int i)
{
	return i > 1 ? all_of_it(u) : set_half(u, i, false);
}

/*
 * An io-wq thread has issued a command where the namespace was frozen.  It may hold the
 * command, and with it the buffer, for a moment after the CQE: on stock as well, in one of
 * 20,000 such rounds.  enough() sees to it that this is rare.
 */
static int take_soon(struct user *u, unsigned int i)
{
	uint64_t end = now_ms() + MOMENT;
	int ret = take(u, i);

	COUNT(u->h, held, ret == -ENOMEM);
	while (ret == -ENOMEM && now_ms() < end) {
		sleep_ms(5);
		ret = take(u, i);
	}
	return ret;
}

/* Too little memory has the same errno as the limit: do not test while memory is short. */
static bool again(struct user *u)
{
	unsigned int i = draw_of(&u->draw, 2);

	COUNT(u->h, limits, 1);
	if (one_in(&u->draw, 2))
		return CHECK_RET(set_half(u, i, true), 1, "half %u of the limit: give back", i) &&
		       CHECK_RET(take_soon(u, i), 1, "half %u of the limit again", i);
	return CHECK_RET(io_uring_unregister_buffers(&u->ring), 0, "unregister") &&
	       CHECK_RET(take_soon(u, 2), 0, "all of the limit again");
}

/* As LIMITED_UID, with a file that another process opened, until the device is gone. */
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
