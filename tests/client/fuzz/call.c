// SPDX-License-Identifier: GPL-2.0
/* Fuzzing: ioctls, and commands from SQE to CQE. */
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "fuzz/fuzz.h"

/* ---- ioctls ---- */

static int fuzz_fd(struct worker *w, unsigned int *file)
{
	*file = draw_file(w);
	return fuzz.fd[*file];
}

/*
 * The memory of the argument: mostly good memory, else cut off by the end of
 * a page, read-only, not there, or (unless the answer must be @known) gone at
 * any moment.
 */
static void *place(struct worker *w, const void *arg, size_t size, bool known)
{
	unsigned char *end = w->args + ARGS_LEN, *at;

	switch (draw_below(w, 24)) {
	case 0:
		at = end - size + 4 * (1 + draw_below(w, size / 4 - 1));
		memcpy(at, arg, (size_t)(end - at));
		return at;
	case 1:
		return w->readonly;
	case 2:
		return draw_below(w, 2) ? end : (void *)(uintptr_t)odd_value(w, 0);
	case 3:
		if (known)
			break;
		return fuzz.unstable + draw_below(w, VOLATILE_LEN - size);
	case 4:
		at = w->args + 1 + draw_below(w, 3);
		memcpy(at, arg, size);
		return at;
	}
	memcpy(end - size, arg, size);
	return end - size;
}

static void stock_ioctl(struct worker *w)
{
	unsigned int file;
	int fd = fuzz_fd(w, &file), ret;
	struct nvme_uring_cmd c = gen_stock(w, file, false);
	struct nvme_passthru_cmd old = {
		.opcode = c.opcode,
		.flags = c.flags,
		.nsid = c.nsid,
		.addr = c.addr,
		.data_len = c.data_len,
		.metadata = c.metadata,
		.metadata_len = c.metadata_len,
		.cdw10 = c.cdw10,
		.cdw12 = c.cdw12,
	};
	struct nvme_passthru_cmd64 wide;
	struct nvme_user_io io = {
		.opcode = c.opcode,
		.flags = c.flags,
		.nblocks = (uint16_t)c.cdw12,
		.addr = c.addr,
		.slba = c.cdw10,
	};

	memset(&wide, 0, sizeof(wide));
	memcpy(&wide, &old, offsetof(struct nvme_passthru_cmd, result));
	switch (draw_below(w, 4)) {
	case 0:
		ret = ioctl(fd, NVME_IOCTL_ID);
		/* The NSID, not a status. */
		ret = ret > 0 ? 0 : ret;
		break;
	case 1:
		ret = ioctl(fd, NVME_IOCTL_IO_CMD, &old);
		break;
	case 2:
		ret = ioctl(fd, NVME_IOCTL_IO64_CMD, &wide);
		break;
	default:
		ret = ioctl(fd, NVME_IOCTL_SUBMIT_IO, &io);
	}
	tally_count(w, K_STOCK_IOCTL, ret < 0 ? -errno : ret, "");
}

static void near_ioctl(struct worker *w)
{
	unsigned long request = gen_near_ioctl(w);
	unsigned int file;
	char what[32];
	int ret = ioctl(fuzz_fd(w, &file), request, w->args);

	snprintf(what, sizeof(what), "%#lx", request);
	tally_count(w, K_NEAR, ret < 0 ? -errno : ret, what);
}

/* A registration that should succeed, or a change of it in memory of no value. */
static struct nvme_pmap_register gen_register(struct worker *w, bool spoil)
{
	unsigned int slot = (unsigned int)draw_below(w, NR_SLOTS);
	struct nvme_pmap_register reg = {
		.size = sizeof(reg),
		.flags = chance(w, 330) ? NVME_PMAP_REG_SGL_LIST : 0,
		.addr = (uintptr_t)w->arena.slot[slot].at,
		.len = w->arena.slot[slot].len,
		.index = w->id * 8 + slot,
	};

	if (chance(w, 20))
		reg.flags = NVME_PMAP_REG_PRP;
	if (spoil || chance(w, 250)) {
		reg.addr = (uintptr_t)w->junk + draw_below(w, JUNK_LEN / 8) * 4;
		reg.len = 4 + draw_below(w, JUNK_LEN / 8) * 4;
		reg.index = chance(w, 500) ? NVME_PMAP_INDEX_ANY : reg.index;
	}
	if (w->id < 2 && chance(w, 100))
		reg.addr = (uintptr_t)fuzz.unstable + draw_below(w, VOLATILE_LEN - reg.len);
	return reg;
}

static void unregister_now(struct worker *w, int fd, uint32_t index)
{
	struct nvme_pmap_unregister u = { .size = sizeof(u), .index = index };
	int ret = nvme_pmap_ioctl(fd, NVME_PMAP_IOC_UNREGISTER, &u);

	w->done++;
	w->tally->calls[K_UNREGISTER]++;
	tally_count(w, K_UNREGISTER, ret, "at once");
}

static void registered(struct worker *w, unsigned int file, int fd,
		       const struct nvme_pmap_register *reg)
{
	bool junk = reg->addr < (uintptr_t)w->arena.map ||
		    reg->addr >= (uintptr_t)w->arena.map + w->arena.len;

	if (junk)
		replace_junk(w);
	/* No other thread ends it on a file that stays open. */
	if (junk && file < NR_KEPT)
		unregister_now(w, fd, reg->index);
	else if (reg->index < NR_GUESSED)
		__atomic_store_n(&fuzz.guess[file][reg->index], (uint32_t)reg->len,
				 __ATOMIC_RELAXED);
}

static void do_register(struct worker *w)
{
	bool spoil = chance(w, 700);
	struct nvme_pmap_register reg = gen_register(w, spoil), *at;
	unsigned char page[PAGE + 8] = { 0 }, *end = w->args + ARGS_LEN;
	unsigned int file;
	int fd = fuzz_fd(w, &file), ret;
	size_t there;

	memcpy(page, &reg, sizeof(reg));
	if (spoil)
		mutate_arg(w, K_REGISTER, page);
	at = place(w, page, spoil && chance(w, 200) ? PAGE : sizeof(reg), file < NR_KEPT);
	ret = nvme_pmap_ioctl(fd, NVME_PMAP_IOC_REGISTER, at);
	tally_count(w, K_REGISTER, ret, "");
	/* Only if it still is where it was put; a smaller structure may end with the page. */
	if (ret || (unsigned char *)at < w->args || (unsigned char *)at >= end)
		return;
	there = (size_t)(end - (unsigned char *)at);
	memcpy(&reg, at, there < sizeof(reg) ? there : sizeof(reg));
	registered(w, file, fd, &reg);
}

/* Ending a registration takes an RCU grace period: most have no such index. */
static void do_unregister(struct worker *w)
{
	struct nvme_pmap_unregister u = {
		.size = sizeof(u),
		.index = 64 + (uint32_t)draw_below(w, 1 << 17),
	};
	unsigned char page[PAGE + 8] = { 0 };
	unsigned int file;
	int fd = fuzz_fd(w, &file);

	/* The buffers of root stay. */
	if (file < NR_KEPT && u.index >= PRP_INDEX && u.index < PRP_INDEX + NR_SLOTS)
		u.index = NVME_PMAP_INDEX_ANY;
	if (chance(w, 30))
		u.index = (uint32_t)(draw_below(w, NR_WORKERS) * 8 + draw_below(w, NR_SLOTS));
	memcpy(page, &u, sizeof(u));
	if (chance(w, 500))
		mutate_arg(w, K_UNREGISTER, page);
	tally_count(w, K_UNREGISTER,
		    nvme_pmap_ioctl(fd, NVME_PMAP_IOC_UNREGISTER, place(w, page, sizeof(u), false)),
		    "");
}

static void do_ask(struct worker *w, unsigned int kind)
{
	static const struct {
		uint32_t request, size;
	} ask[] = {
		[K_QUERY] = { NVME_PMAP_IOC_QUERY, sizeof(struct nvme_pmap_query) },
		[K_STATS] = { NVME_PMAP_IOC_STATS, sizeof(struct nvme_pmap_stats) },
	};
	unsigned char page[PAGE + 8] = { 0 };
	unsigned int file;
	int fd = fuzz_fd(w, &file);

	memcpy(page, &ask[kind].size, 4);
	if (chance(w, 500))
		mutate_arg(w, kind, page);
	tally_count(w, kind,
		    nvme_pmap_ioctl(fd, ask[kind].request,
				    place(w, page, chance(w, 100) ? PAGE : ask[kind].size, false)),
		    "");
}

/* The generated arguments, or a change of them that keeps to the file's kind of queue. */
static int call_queue(struct worker *w, unsigned int file, unsigned int kind, const void *arg,
		      size_t size)
{
	unsigned int request = kind == K_ATTACH ? NVME_PMAP_IOC_ATTACH : NVME_PMAP_IOC_DETACH;
	unsigned char page[PAGE + 8] = { 0 };
	struct nvme_pmap_detach *det = (void *)page;

	memcpy(page, arg, size);
	if (chance(w, 400))
		mutate_arg(w, kind, page);
	if (file_queues(file) == QUEUED_IRQ)
		det->flags &= ~NVME_PMAP_QUEUE_POLLED;
	if (file_queues(file) == QUEUED_POLLED)
		det->flags |= NVME_PMAP_QUEUE_POLLED;
	return nvme_pmap_ioctl(fuzz.fd[file], request, place(w, page, size, false));
}

static void do_attach(struct worker *w)
{
	unsigned int file = draw_file(w);
	struct nvme_pmap_attach att = gen_attach(w, file);

	tally_count(w, K_ATTACH, call_queue(w, file, K_ATTACH, &att, sizeof(att)), "");
}

/* Seldom right: a queue that is gone takes no commands. */
static void do_detach(struct worker *w)
{
	struct nvme_pmap_detach det = {
		.size = sizeof(det),
		.flags = draw(w) % 2 ? NVME_PMAP_QUEUE_POLLED : 0,
	};
	unsigned int file = draw_file(w);

	if (!chance(w, 60))
		det.flags |= 2u << draw_below(w, 31);
	tally_count(w, K_DETACH, call_queue(w, file, K_DETACH, &det, sizeof(det)), "");
}

void fuzz_attach(struct worker *w, unsigned int file)
{
	unsigned int i;

	for (i = 0; i < 4; i++) {
		struct nvme_pmap_attach att = gen_attach(w, file);

		w->done++;
		w->tally->calls[K_ATTACH]++;
		tally_count(w, K_ATTACH, nvme_pmap_ioctl(fuzz.fd[file], NVME_PMAP_IOC_ATTACH, &att),
			    "at once");
	}
}

void fuzz_ioctl(struct worker *w)
{
	static const uint8_t mix[] = {
		K_QUERY,      K_QUERY, K_STATS,	      K_STATS,	K_REGISTER,
		K_UNREGISTER, K_NEAR,  K_STOCK_IOCTL, K_ATTACH, K_DETACH,
	};
	unsigned int kind = mix[draw_below(w, ARRAY_SIZE(mix))];

	w->done++;
	w->tally->calls[kind]++;
	switch (kind) {
	case K_REGISTER:
		do_register(w);
		break;
	case K_UNREGISTER:
		do_unregister(w);
		break;
	case K_ATTACH:
		do_attach(w);
		break;
	case K_DETACH:
		do_detach(w);
		break;
	case K_NEAR:
		near_ioctl(w);
		break;
	case K_STOCK_IOCTL:
		stock_ioctl(w);
		break;
	default:
		do_ask(w, kind);
	}
}

/* ---- commands ---- */

bool fuzz_ring_open(struct fuzz_ring *r, enum mode mode)
{
	static const unsigned int flags[NR_MODES] = {
		[MODE_POLL] = IORING_SETUP_IOPOLL,
		[MODE_DEFER] = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
		[MODE_POLL_DEFER] = IORING_SETUP_IOPOLL | IORING_SETUP_SINGLE_ISSUER |
				    IORING_SETUP_DEFER_TASKRUN,
		[MODE_SQPOLL] = IORING_SETUP_SQPOLL,
		[MODE_POLL_SQPOLL] = IORING_SETUP_IOPOLL | IORING_SETUP_SQPOLL,
	};
	struct io_uring_params p = {
		.flags = flags[mode] | NVME_PMAP_RING_FLAGS | IORING_SETUP_SUBMIT_ALL,
		.sq_thread_idle = 1,
	};
	unsigned int i;

	memset(r, 0, sizeof(*r));
	pthread_mutex_init(&r->lock, NULL);
	r->mode = mode;
	if (!CHECK_RET(io_uring_queue_init_params(DEPTH, &r->ring, &p), 0, "ring (%s)",
		       mode_names[mode]))
		return false;
	r->table = NR_BUFFERS;
	if (!CHECK_RET(io_uring_register_buffers_sparse(&r->ring, NR_BUFFERS), 0, "table") ||
	    !CHECK_RET(io_uring_register_files_sparse(&r->ring, NR_FILES), 0, "ring files"))
		return false;
	/* One may be closed at this moment. */
	for (i = 0; i < NR_FILES; i++)
		io_uring_register_files_update(&r->ring, i, &fuzz.fd[i], 1);
	return true;
}

void fuzz_ring_close(struct fuzz_ring *r)
{
	io_uring_queue_exit(&r->ring);
	pthread_mutex_destroy(&r->lock);
}

/* Of a command with 0 or an errno as its outcome the result is zero, here. */
static void take_cqe(struct worker *w, struct fuzz_ring *r, const struct io_uring_cqe *cqe)
{
	unsigned int slot = cqe->user_data % DEPTH;
	struct flight *f = &r->flight[slot];

	if (!CHECK(f->busy && f->generation == cqe->user_data / DEPTH,
		   "%s: a completion that nothing asked for, %#llx: %s", mode_names[r->mode],
		   (unsigned long long)cqe->user_data, err_name(cqe->res)))
		return;
	f->busy = false;
	r->busy--;
	r->cqes++;
	CHECK(!cqe->big_cqe[0] && !cqe->big_cqe[1], "%s, %s: result %#llx %#llx",
	      kind_name(f->kind), err_name(cqe->res), cqe->big_cqe[0], cqe->big_cqe[1]);
	/* io_uring's word for a chain whose submitter has exited meanwhile */
	tally_count(w, f->kind, f->linked && cqe->res == -EFAULT ? -ECANCELED : cqe->res,
		    mode_names[r->mode]);
}

static void reap(struct worker *w, struct fuzz_ring *r)
{
	struct io_uring_cqe *cqe;
	unsigned int head, nr = 0;

	io_uring_for_each_cqe(&r->ring, head, cqe) {
		take_cqe(w, r, cqe);
		nr++;
	}
	io_uring_cq_advance(&r->ring, nr);
}

/* Submit the prepared SQEs, and run the kernel's side of completions. */
static void turn(struct worker *w, struct fuzz_ring *r)
{
	if (io_uring_sq_ready(&r->ring))
		io_uring_submit(&r->ring);
	io_uring_enter((unsigned int)r->ring.ring_fd, 0, 0, IORING_ENTER_GETEVENTS, NULL);
	reap(w, r);
}

static bool wait_below(struct worker *w, struct fuzz_ring *r, unsigned int limit)
{
	uint64_t end = now_ms() + 60000;

	while (r->busy > limit) {
		turn(w, r);
		if (r->busy <= limit)
			break;
		if (!CHECK(now_ms() < end, "%s: %u commands have no completion",
			   mode_names[r->mode], r->busy))
			return false;
		sched_yield();
	}
	return true;
}

bool fuzz_ring_drain(struct worker *w, struct fuzz_ring *r)
{
	return wait_below(w, r, 0) &&
	       CHECK(r->sqes == r->cqes, "%s: %" PRIu64 " SQEs, %" PRIu64 " CQEs",
		     mode_names[r->mode], r->sqes, r->cqes);
}

/* SQE flags and fields of io_uring's own: it must be refused, or harmless. */
static void spoil_sqe(struct worker *w, struct fuzz_ring *r, struct io_uring_sqe *sqe,
		      unsigned int file, unsigned int kind)
{
	if (chance(w, 500)) {
		sqe->flags |= IOSQE_FIXED_FILE;
		sqe->fd = (int)file;
	}
	if (chance(w, 15)) {
		sqe->flags |= IOSQE_IO_LINK;
		r->chained = true;
	}
	if (chance(w, 10))
		sqe->flags |= IOSQE_ASYNC;
	if (chance(w, 10))
		sqe->fd = chance(w, 500) ? -1 : 1000 + (int)draw_below(w, 1 << 30);
	/*
	 * A registered buffer of the ring, which a pmap command must not have; where a
	 * thread of the kernel's looks at it, there may be no table by then.
	 */
	if (kind == K_PMAP && r->table && r->mode != MODE_SQPOLL && r->mode != MODE_POLL_SQPOLL &&
	    chance(w, 20))
		sqe->rw_flags = IORING_URING_CMD_FIXED;
}

/* Eight pages of the worker's own, for as long as the command may look. */
static void vectored(struct worker *w, struct nvme_uring_cmd *c, struct iovec iov[8])
{
	unsigned int i, nr = 1 + (unsigned int)draw_below(w, 8);
	bool bad = c->addr < (uintptr_t)w->stock || c->addr >= (uintptr_t)w->stock + STOCK_LEN;

	for (i = 0; i < 8; i++)
		iov[i] = (struct iovec){ w->stock + i * PAGE, PAGE };
	if (!bad)
		c->addr = (uintptr_t)iov;
	c->data_len = nr;
	c->cdw12 = nr * (PAGE / 512) - 1;
	if (c->opcode == OP_WRITE)
		c->cdw10 = SCRATCH_END - nr * (PAGE / 512);
}

/*
 * Not stock commands on rings with IOPOLL and DEFER_TASKRUN: stock ends them by
 * task work, which the worker that closes such a ring does not run while it polls
 * for them; it spins for ever (6.12).
 */
static unsigned int draw_kind(struct worker *w, const struct fuzz_ring *r)
{
	unsigned int n = (unsigned int)draw_below(w, 100);

	if (n >= 85 && n < 96 && r->mode == MODE_POLL_DEFER)
		n = 0;
	return n < 72 ? K_PMAP :
	       n < 84 ? K_FIXED :
	       n < 85 ? K_FIXED_VEC :
	       n < 92 ? K_STOCK :
	       n < 96 ? K_STOCK_VEC :
			K_NEAR_CMD;
}

static void fill_sqe(struct worker *w, struct fuzz_ring *r, struct io_uring_sqe *sqe,
		     unsigned int kind)
{
	static struct iovec iovs[NR_WORKERS][8];
	struct nvme_uring_cmd stock;
	struct nvme_pmap_cmd cmd;
	unsigned int file;
	int fd = fuzz_fd(w, &file);

	memset(sqe, 0, 2 * sizeof(*sqe));
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = fd;
	sqe->cmd_op = kind == K_STOCK || kind == K_FIXED	 ? NVME_URING_CMD_IO :
		      kind == K_STOCK_VEC || kind == K_FIXED_VEC ? NVME_URING_CMD_IO_VEC :
								   NVME_URING_CMD_PMAP;
	if (kind == K_STOCK || kind == K_STOCK_VEC) {
		stock = gen_stock(w, file, kind == K_STOCK_VEC);
		if (kind == K_STOCK_VEC)
			vectored(w, &stock, iovs[w->id % NR_WORKERS]);
		memcpy(sqe->cmd, &stock, sizeof(stock));
	} else if (kind == K_FIXED || kind == K_FIXED_VEC) {
		uint16_t index;

		stock = gen_fixed(w, r, file, &index);
		memcpy(sqe->cmd, &stock, sizeof(stock));
		sqe_fixed(sqe, index);
	} else {
		cmd = gen_pmap(w, file);
		memcpy(sqe->cmd, &cmd, sizeof(cmd));
		if (kind == K_NEAR_CMD)
			sqe->cmd_op = gen_near_op(w);
	}
	spoil_sqe(w, r, sqe, file, kind);
}

static bool prepare(struct worker *w, struct fuzz_ring *r)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&r->ring);
	unsigned int slot = 0, kind = draw_kind(w, r);

	if (!sqe)
		return false;
	while (r->flight[slot].busy)
		slot++;
	fill_sqe(w, r, sqe, kind);
	r->flight[slot].busy = true;
	r->flight[slot].kind = (uint8_t)kind;
	r->flight[slot].linked = r->chained;
	sqe->user_data = (uint64_t)++r->flight[slot].generation * DEPTH + slot;
	r->busy++;
	r->sqes++;
	w->done++;
	w->tally->calls[kind]++;
	return true;
}

void fuzz_batch(struct worker *w, struct fuzz_ring *r)
{
	unsigned int n = 1 + (unsigned int)draw_below(w, DEPTH / 2);

	pthread_mutex_lock(&r->lock);
	/* Kernels before 6.14 read the SQEs of a chain when their turn comes. */
	if (wait_below(w, r, r->chained ? 0 : DEPTH - n)) {
		r->chained = false;
		while (n-- && prepare(w, r))
			;
	}
	if (r->mode == MODE_SQPOLL || r->mode == MODE_POLL_SQPOLL || chance(w, 100)) {
		io_uring_submit(&r->ring); /* reaped another time */
		reap(w, r);
	} else {
		turn(w, r);
	}
	pthread_mutex_unlock(&r->lock);
}
