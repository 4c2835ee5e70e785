// SPDX-License-Identifier: GPL-2.0
/* Rings in the modes that programs use, and single commands on them. */
#include <sched.h>
#include <stdio.h>

#include "lib/util.h"

const char *const mode_names[NR_MODES] = {
	[MODE_IRQ] = "irq",	  [MODE_POLL] = "poll",
	[MODE_DEFER] = "defer",	  [MODE_POLL_DEFER] = "poll-defer",
	[MODE_SQPOLL] = "sqpoll", [MODE_POLL_SQPOLL] = "poll-sqpoll",
};

#define DEFER (IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN)

static const unsigned int mode_flags[NR_MODES] = {
	[MODE_IRQ] = 0,
	[MODE_POLL] = IORING_SETUP_IOPOLL,
	[MODE_DEFER] = DEFER,
	[MODE_POLL_DEFER] = IORING_SETUP_IOPOLL | DEFER,
	[MODE_SQPOLL] = IORING_SETUP_SQPOLL,
	[MODE_POLL_SQPOLL] = IORING_SETUP_IOPOLL | IORING_SETUP_SQPOLL,
};

/* How long a command may take before a case calls it lost. */
#define COMMAND_MS 20000

bool ring_open(struct io_uring *ring, enum mode mode, unsigned int entries)
{
	return ring_open_cq(ring, mode, entries, 2 * entries);
}

bool ring_open_cq(struct io_uring *ring, enum mode mode, unsigned int entries,
		  unsigned int cq_entries)
{
	struct io_uring_params params = {
		.flags = mode_flags[mode] | NVME_PMAP_RING_FLAGS | IORING_SETUP_CQSIZE,
		.sq_thread_idle = 200,
		.cq_entries = cq_entries,
	};
	int ret = io_uring_queue_init_params(entries, ring, &params);

	return CHECK_RET(ret, 0, "io_uring_queue_init (%s)", mode_names[mode]);
}

/* One turn of the kernel's completion side, blocking for 50 ms at most. */
static void nudge(struct io_uring *ring)
{
	struct __kernel_timespec ts = { .tv_nsec = 50000000 };
	struct io_uring_cqe *cqe;

	/*
	 * An IOPOLL ring must be asked for at least nothing: asked for one, the
	 * kernel would spin until it comes, past the deadline.
	 */
	if (!(ring->flags & IORING_SETUP_IOPOLL))
		io_uring_wait_cqe_timeout(ring, &cqe, &ts);
	else if (io_uring_enter((unsigned int)ring->ring_fd, 0, 0, IORING_ENTER_GETEVENTS, NULL) ==
		 0)
		sched_yield();
}

int ring_reap(struct io_uring *ring, struct completion *done, unsigned int ms)
{
	uint64_t end = now_ms() + ms;
	struct io_uring_cqe *cqe = NULL;

	while (io_uring_peek_cqe(ring, &cqe) || !cqe) {
		if (now_ms() >= end)
			return -ETIME;
		nudge(ring);
	}
	done->user_data = cqe->user_data;
	done->res = cqe->res;
	done->result = cqe->big_cqe[0];
	io_uring_cqe_seen(ring, cqe);
	return 0;
}

/*
 * io_uring_submit() of liburing 2.3 adds GETEVENTS on IOPOLL rings, and would
 * reap commands that a case wants left in flight.
 */
int ring_push(struct io_uring *ring)
{
	struct io_uring_sq *sq = &ring->sq;
	unsigned int n = io_uring_sq_ready(ring);
	int ret;

	if ((ring->flags & (IORING_SETUP_SQPOLL | IORING_SETUP_IOPOLL)) != IORING_SETUP_IOPOLL) {
		ret = io_uring_submit(ring);
		return ret < 0 ? ret : 0;
	}
	for (; sq->sqe_head != sq->sqe_tail; sq->sqe_head++)
		sq->array[sq->sqe_head & sq->ring_mask] = sq->sqe_head & sq->ring_mask;
	io_uring_smp_store_release(sq->ktail, sq->sqe_tail);
	ret = io_uring_enter((unsigned int)ring->ring_fd, n, 0, 0, NULL);
	return ret < 0 ? ret : 0;
}

struct nvme_pmap_cmd cmd_rw(const struct dev *dev, uint8_t opcode, uint32_t index, uint64_t offset,
			    uint32_t len, uint64_t slba)
{
	return (struct nvme_pmap_cmd){
		.opcode = opcode,
		.nsid = dev->nsid,
		.index = index,
		.offset = offset,
		.data_len = len,
		.cdw10 = (uint32_t)slba,
		.cdw11 = (uint32_t)(slba >> 32),
		.cdw12 = len / dev->block - 1,
	};
}

struct io_uring_sqe *prep_cmd(struct io_uring *ring, int fd, const struct nvme_pmap_cmd *cmd,
			      uint64_t user_data)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	if (!sqe)
		return NULL;
	*nvme_pmap_prep(sqe, fd, 0, 0, 0, 0, 0) = *cmd;
	sqe->user_data = user_data;
	return sqe;
}

struct io_uring_sqe *prep_stock(struct io_uring *ring, const struct dev *dev, uint8_t opcode,
				void *buf, uint32_t len, uint64_t slba, uint64_t user_data)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	if (!sqe)
		return NULL;
	memset(sqe, 0, 2 * sizeof(*sqe));
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = dev->fd;
	sqe->cmd_op = NVME_URING_CMD_IO;
	sqe->user_data = user_data;
	*(struct nvme_uring_cmd *)(void *)sqe->cmd = (struct nvme_uring_cmd){
		.opcode = opcode,
		.nsid = dev->nsid,
		.addr = (uintptr_t)buf,
		.data_len = len,
		.cdw10 = (uint32_t)slba,
		.cdw11 = (uint32_t)(slba >> 32),
		.cdw12 = len ? len / dev->block - 1 : 0,
	};
	return sqe;
}

static int finish_one(struct io_uring *ring)
{
	struct completion done;
	int ret = io_uring_submit(ring);

	if (ret < 0)
		return ret;
	ret = ring_reap(ring, &done, COMMAND_MS);
	return ret ? ret : done.res;
}

int run_cmd(struct io_uring *ring, int fd, const struct nvme_pmap_cmd *cmd)
{
	return prep_cmd(ring, fd, cmd, 0) ? finish_one(ring) : -EBUSY;
}

int run_rw(struct io_uring *ring, const struct dev *dev, uint8_t opcode, uint32_t index,
	   uint64_t offset, uint32_t len, uint64_t slba)
{
	struct nvme_pmap_cmd cmd = cmd_rw(dev, opcode, index, offset, len, slba);

	return run_cmd(ring, dev->fd, &cmd);
}

int run_stock(struct io_uring *ring, const struct dev *dev, uint8_t opcode, void *buf, uint32_t len,
	      uint64_t slba)
{
	return prep_stock(ring, dev, opcode, buf, len, slba, 0) ? finish_one(ring) : -EBUSY;
}
