// SPDX-License-Identifier: GPL-2.0
/*
 * An attacker: a thread with files, rings and buffers of its own, all of which it changes
 * all the time, between its commands and while they are in flight; see hostile.h.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hostile/hostile.h"

/* Of many slots these are used so much that the door comes to serve them. */
#define HOT 16u

bool file_open(const struct hostile *h, struct dev *dev)
{
	*dev = h->dev;
	dev->fd = -1;
	if (!dev_path(NULL, dev->path, sizeof(dev->path)))
		return false;
	dev->fd = open(dev->path, O_RDWR | O_CLOEXEC);
	return dev->fd >= 0;
}

void give_up(struct attacker *a)
{
	if (!a->prog->over)
		COUNT(a->h, gone, 1);
	a->prog->over = true;
}

/* A call that must succeed, unless the device is gone or there is no memory. */
static bool called(struct attacker *a, int ret, const char *what)
{
	if (ret >= 0)
		return true;
	if (ret == -ENODEV)
		give_up(a);
	else if (ret == -ENOMEM || ret == -EIO)
		COUNT(a->h, refused, 1);
	else
		CHECK_RET(ret, 0, "%s: %s", a->name, what);
	return false;
}

/* ---- files ---- */

/* One of its own, its program's, one from another program, one from before the fork. */
static bool take_file(struct attacker *a)
{
	int fd = -1;

	a->dev = a->h->dev;
	a->own_file = true;
	switch (draw_of(&a->draw, 6)) {
	case 0:
		fd = dup(a->prog->dev.fd);
		break;
	case 1:
		fd = a->prog->inherited < 0 ? -1 : dup(a->prog->inherited);
		break;
	case 2:
		fd = receive_fd(a->h->sock[0]);
		COUNT(a->h, received, fd >= 0);
		break;
	}
	if (fd >= 0 && ioctl(fd, NVME_IOCTL_ID) > 0) {
		a->dev.fd = fd;
		a->own_file = false;
		return true;
	}
	if (fd >= 0)
		close(fd);
	if (file_open(a->h, &a->dev))
		return true;
	give_up(a);
	return false;
}

static bool queue_answer(int ret)
{
	return !ret || ret == -EALREADY || ret == -EUSERS || ret == -ENOTCONN || ret == -ENODEV ||
	       ret == -EIO || ret == -EINTR || ret == -EBUSY || ret == -ENOMEM || ret == -EBADF;
}

/* Of whichever kind; others may be using it. */
static void change_queue(struct attacker *a)
{
	uint32_t polled = one_in(&a->draw, 2) ? NVME_PMAP_QUEUE_POLLED : 0;
	bool attach = draw_of(&a->draw, 3);
	int ret = attach ? nvme_pmap_attach_queue(a->dev.fd, polled) :
			   nvme_pmap_detach_queue(a->dev.fd, polled);

	COUNT(a->h, attached, !ret && attach);
	CHECK(queue_answer(ret), "%s: queue: %s", a->name, err_name(ret));
}

static void drop_file(struct attacker *a)
{
	struct nvme_pmap_stats st;

	if (a->dev.fd < 0)
		return;
	if (a->own_file && !nvme_pmap_stats_file(a->dev.fd, &st)) {
		COUNT(a->h, auto_mq, st.auto_mq);
		COUNT(a->h, auto_queue, st.auto_queue);
		COUNT(a->h, queued, st.queue);
	}
	/* full, or without a reader: no matter */
	if (one_in(&a->draw, 3))
		send_fd(a->h->sock[1], a->dev.fd);
	close(a->dev.fd);
	a->dev.fd = -1;
}

/* ---- registrations ---- */

/*
 * A buffer of any of the arenas; where it had a window, that is used again.  Of many,
 * most are of small pages: a window is a mapping for each page, and stock compares the
 * huge pages of a buffer with all other buffers.
 */
static bool choose(struct attacker *a, struct buffer *b)
{
	unsigned int arena = draw_of(&a->draw, ARENAS);

	if (a->slots > SLOTS && draw_of(&a->draw, 8))
		arena = ARENAS - 1;
	return buffer_choose(b, &a->arena[arena], &a->draw);
}

unsigned int some_slot(struct attacker *a, unsigned int of)
{
	if (of > HOT && draw_of(&a->draw, 4))
		return (a->hot + draw_of(&a->draw, HOT)) % of;
	return draw_of(&a->draw, of);
}

static struct iovec as_iovec(const struct buffer *b)
{
	return (struct iovec){ b->at, b->at ? b->len : 0 };
}

static bool update(struct attacker *a, unsigned int i)
{
	struct iovec iov = as_iovec(&a->slot[i]);
	__u64 tag = 0;
	int ret = io_uring_register_buffers_update_tag(&a->ring, i, &iov, &tag, 1);

	if (called(a, ret, "buffer"))
		return true;
	/* the one before has stayed, or gone: none is known */
	a->slot[i].at = NULL;
	iov = as_iovec(&a->slot[i]);
	return called(a, io_uring_register_buffers_update_tag(&a->ring, i, &iov, &tag, 1), "none");
}

/* Other pages in a slot, with or without a moment in which it has none. */
static bool change_slot(struct attacker *a, unsigned int i)
{
	COUNT(a->h, registered, 1);
	if (one_in(&a->draw, 2)) {
		a->slot[i].at = NULL;
		if (!update(a, i))
			return false;
	}
	return choose(a, &a->slot[i]) && update(a, i);
}

/* All of them, in place of the buffers that the ring has. */
static bool change_all(struct attacker *a, bool first)
{
	struct iovec *iov = calloc(a->slots, sizeof(*iov));
	unsigned int i;
	int ret = first ? 0 : io_uring_unregister_buffers(&a->ring);
	bool good = CHECK(iov, "no memory") && called(a, ret, "unregister");

	for (i = 0; good && i < a->slots; i++) {
		good = choose(a, &a->slot[i]);
		if (i && one_in(&a->draw, 6))
			a->slot[i].at = NULL;
		iov[i] = as_iovec(&a->slot[i]);
	}
	COUNT(a->h, registered, i);
	good = good && called(a, io_uring_register_buffers(&a->ring, iov, i), "register");
	free(iov);
	return good;
}

/* Another ring with the same objects, which stay when the first changes. */
static bool change_twin(struct attacker *a)
{
	unsigned int i;
	int ret;

	if (a->twin_open)
		io_uring_queue_exit(&a->twin);
	a->twin_mode = draw_of(&a->draw, MODE_SQPOLL);
	a->twin_open = ring_open(&a->twin, a->twin_mode, 32);
	if (!a->twin_open)
		return false;
	ret = clone_buffers(a->twin.ring_fd, a->ring.ring_fd);
	if (!called(a, ret, "clone")) {
		io_uring_queue_exit(&a->twin);
		return a->twin_open = false;
	}
	COUNT(a->h, clones, 1);
	a->cloned_slots = a->slots;
	for (i = 0; i < a->slots; i++) {
		a->cloned[i] = a->slot[i];
		/* which is the slot's */
		a->cloned[i].window = NULL;
	}
	return true;
}

static void change_pmap(struct attacker *a, unsigned int i)
{
	static const uint32_t forms[] = { 0, NVME_PMAP_REG_SGL_LIST, NVME_PMAP_REG_PRP };
	struct buffer *b = &a->pmap[i];
	bool had = b->at;
	int ret;

	b->at = NULL;
	if (had && !called(a, nvme_pmap_unregister_buf(a->dev.fd, a->index[i]), "pmap unregister"))
		return;
	if (!choose(a, b))
		return;
	COUNT(a->h, pmaps, 1);
	ret = nvme_pmap_register_buf(a->dev.fd, b->at, b->len, forms[draw_of(&a->draw, 3)],
				     &a->index[i]);
	if (!called(a, ret, "pmap register"))
		b->at = NULL;
}

/* ---- while commands are in flight ---- */

/* SQPOLL's thread may not have seen them yet. */
static bool midway(struct attacker *a)
{
	unsigned int i = some_slot(a, a->slots);

	if (a->mode >= MODE_SQPOLL || a->by == &a->twin)
		return true;
	COUNT(a->h, midway, 1);
	switch (draw_of(&a->draw, 6)) {
	case 0:
		return change_slot(a, i) || a->prog->over;
	case 1:
		return !a->slot[i].at || buffer_cover(&a->slot[i], &a->draw);
	case 2:
		a->slot[i].at = NULL;
		return update(a, i) || a->prog->over;
	case 3:
		return change_twin(a) || a->prog->over;
	case 4:
		snapshot(a->h, a->arena, ARENAS, &a->draw);
		return true;
	default:
		change_queue(a);
		return true;
	}
}

/* Sent, and not reaped; @disturb: something changes meanwhile; @last: see command_prep(). */
static bool batch(struct attacker *a, bool disturb, bool last)
{
	unsigned int i, nr = 1 + draw_of(&a->draw, PARTS);

	COUNT(a->h, batches, 1);
	a->batches++;
	a->by = a->twin_open && one_in(&a->draw, 4) ? &a->twin : &a->ring;
	for (i = 0; i < nr; i++)
		if (!command_prep(a, i, last))
			return false;
	if (!CHECK_RET(ring_push(a->by), 0, "%s: submit", a->name))
		return false;
	return !disturb || midway(a);
}

/* ---- rounds ---- */

static void close_rings(struct attacker *a)
{
	if (a->twin_open)
		io_uring_queue_exit(&a->twin);
	if (a->open)
		io_uring_queue_exit(&a->ring);
	a->open = a->twin_open = false;
}

static void forget_buffers(struct attacker *a)
{
	unsigned int i;

	for (i = 0; i < PMAPS; i++) {
		if (a->pmap[i].at && a->dev.fd >= 0)
			called(a, nvme_pmap_unregister_buf(a->dev.fd, a->index[i]), "unregister");
		a->pmap[i].at = NULL;
	}
	for (i = 0; i < a->slots; i++)
		a->slot[i].at = NULL;
}

static void drop_window(struct buffer *b)
{
	if (b->window)
		munmap(b->window, MAX_PAGES * PAGE);
	*b = (struct buffer){ 0 };
}

static void drop_windows(struct attacker *a)
{
	unsigned int i;

	for (i = 0; i < MANY; i++)
		drop_window(&a->slot[i]);
	for (i = 0; i < PMAPS; i++)
		drop_window(&a->pmap[i]);
}

/* The ring is closed with reads in flight, and the memory given back at once. */
static bool close_early(struct attacker *a)
{
	unsigned int i;

	if (!batch(a, false, true))
		return false;
	COUNT(a->h, closed, 1);
	close_rings(a);
	drop_file(a);
	a->nr = 0;
	drop_windows(a);
	for (i = 0; i < ARENAS; i++) {
		arena_close(&a->arena[i]);
		if (!arena_open(&a->arena[i], i, &a->draw))
			a->prog->over = true;
	}
	return true;
}

/* The threads of SQPOLL take a CPU each: some of the rings have one. */
static enum mode some_mode(struct attacker *a)
{
	return one_in(&a->draw, 8) ? MODE_SQPOLL + draw_of(&a->draw, 2) :
				     draw_of(&a->draw, MODE_SQPOLL);
}

/* A few buffers, now and then many. */
static void some_slots(struct attacker *a)
{
	/* a slow kernel registers them for half a minute */
	unsigned int limit = slow_kernel() && opt.rounds < 300 ? MANY / 8 : MANY;
	uint64_t most = a->h->tally.most;

	a->slots = one_in(&a->draw, 8) ? 16u << draw_of(&a->draw, 11) : SLOTS;
	if (a->slots > limit)
		a->slots = limit;
	a->hot = draw_of(&a->draw, a->slots);
	COUNT(a->h, many, a->slots > SLOTS);
	while (most < a->slots &&
	       !__atomic_compare_exchange_n(&a->h->tally.most, &most, a->slots, false,
					    __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

static bool round_open(struct attacker *a)
{
	unsigned int i;

	some_slots(a);
	a->mode = some_mode(a);
	a->dev.fd = -1;
	if (!take_file(a))
		return false;
	a->open = ring_open(&a->ring, a->mode, 32);
	if (!a->open)
		return false;
	if (one_in(&a->draw, 2))
		change_queue(a);
	for (i = 0; i < PMAPS; i++)
		change_pmap(a, i);
	return change_all(a, true);
}

static bool step(struct attacker *a)
{
	switch (draw_of(&a->draw, 32)) {
	case 0:
		if (!change_all(a, false))
			return false;
		break;
	case 1:
	case 2:
	case 3:
	case 4:
		if (!change_slot(a, some_slot(a, a->slots)))
			return false;
		break;
	case 5:
	case 6:
	case 7:
		change_pmap(a, draw_of(&a->draw, PMAPS));
		break;
	case 8:
		if (!change_twin(a))
			return false;
		break;
	case 9:
		change_queue(a);
		break;
	}
	if (!batch(a, one_in(&a->draw, 4), false) || !commands_reap(a))
		return false;
	COUNT(a->h, sampled, 1);
	return arena_sample(&a->arena[draw_of(&a->draw, ARENAS)], &a->draw, a->name);
}

static void round_run(struct attacker *a)
{
	unsigned int i, steps = 4 + draw_of(&a->draw, 100);
	bool good = round_open(a), early;

	if (a->slots > SLOTS)
		steps *= 3;
	for (i = 0; good && i < steps && !a->prog->over && !a->h->failed && !a->h->stop; i++)
		good = step(a);
	early = good && one_in(&a->draw, 4) && !a->prog->over;
	if (early)
		close_early(a);
	else if (a->nr && !good)
		commands_reap(a);
	for (i = 0; !a->nr && i < ARENAS; i++)
		arena_clean(&a->arena[i], a->name);
	forget_buffers(a);
	close_rings(a);
	drop_file(a);
	COUNT(a->h, rounds, 1);
}

static void *attack(void *arg)
{
	struct attacker *a = arg;

	while (!a->prog->over && !a->h->stop && !a->h->failed && !case_failed())
		round_run(a);
	if (case_failed())
		a->h->failed = true;
	return NULL;
}

/* ---- a program ---- */

static bool attacker_make(struct attacker *a, struct program *p, unsigned int nr)
{
	unsigned int i, life = p->life % LIVES;

	a->prog = p;
	a->h = p->h;
	a->dev.fd = -1;
	for (i = 0; i < ARENAS; i++)
		a->arena[i].mem.fd = -1;
	a->draw = draw_from(p->nr + 1, nr + 1, 4 * p->life + p->lost + 1);
	a->region = &p->h->region[p->nr][nr][life];
	a->lba = (((uint64_t)p->nr * ATTACKERS + nr) * LIVES + life) * REGION;
	snprintf(a->name, sizeof(a->name), "program %u life %u attacker %u", p->nr, p->life, nr);
	for (i = 0; i < ARENAS; i++)
		if (!arena_open(&a->arena[i], i, &a->draw))
			return false;
	return true;
}

static void attacker_end(struct attacker *a)
{
	unsigned int i;

	drop_windows(a);
	for (i = 0; i < ARENAS; i++)
		arena_close(&a->arena[i]);
}

/* Until the device is gone, or all is over. */
static void program_life(struct program *p)
{
	struct attacker *a = calloc(ATTACKERS, sizeof(*a));
	unsigned int i, made = 0, started = 0;
	bool good = a && file_open(p->h, &p->dev);

	p->over = false;
	for (; good && made < ATTACKERS; made++)
		good = attacker_make(&a[made], p, made);
	for (i = 0; good && i < ATTACKERS; i++, started++)
		good = CHECK(!pthread_create(&a[i].thread, NULL, attack, &a[i]), "pthread_create");
	for (i = 0; i < started; i++)
		pthread_join(a[i].thread, NULL);
	for (i = 0; i < made; i++)
		attacker_end(&a[i]);
	if (p->dev.fd >= 0)
		close(p->dev.fd);
	free(a);
}

/* In a process of its own, until it is killed, or has lost the device some times. */
void program_run(struct program *p)
{
	for (p->lost = 0; p->lost < 4 && !p->h->stop && !p->h->failed && !case_failed(); p->lost++)
		program_life(p);
	if (case_failed())
		p->h->failed = true;
}
