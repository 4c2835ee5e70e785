// SPDX-License-Identifier: GPL-2.0
/* The ways of sending one read, and the ring that each needs. */
#include <errno.h>
#include <linux/nvme_ioctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"
#include <nvme_pmap.h>

static void prep_block(const struct session *session, struct io_uring_sqe *sqe,
		       size_t offset, uint64_t pos)
{
	bool write = session->target->write;

	io_uring_prep_rw(write ? IORING_OP_WRITE : IORING_OP_READ, sqe, 0,
			 session->arena->mem + offset,
			 (unsigned int)session->bs, pos);
}

static void prep_block_fixed(const struct session *session,
			     struct io_uring_sqe *sqe, size_t offset,
			     uint64_t pos)
{
	prep_block(session, sqe, offset, pos);
	sqe->opcode = session->target->write ? IORING_OP_WRITE_FIXED :
					       IORING_OP_READ_FIXED;
}

static void prep_passthru(const struct session *session,
			  struct io_uring_sqe *sqe, size_t offset, uint64_t pos)
{
	const struct target *target = session->target;
	struct nvme_uring_cmd *cmd = (void *)sqe->cmd;
	uint64_t slba = pos / target->lba_bytes;

	memset(sqe, 0, 2 * sizeof(*sqe));
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->cmd_op = NVME_URING_CMD_IO;
	cmd->opcode = target->write ? NVME_PMAP_OP_WRITE : NVME_PMAP_OP_READ;
	cmd->nsid = target->nsid;
	cmd->addr = (uintptr_t)(session->arena->mem + offset);
	cmd->data_len = (uint32_t)session->bs;
	cmd->cdw10 = (uint32_t)slba;
	cmd->cdw11 = (uint32_t)(slba >> 32);
	cmd->cdw12 = (uint32_t)(session->bs / target->lba_bytes) - 1;
}

/* Of each buffer that the arena is registered as. */
static size_t buffer_len(const struct session *session)
{
	unsigned int buffers = session->buffers ? session->buffers : 1;

	return session->arena->len / buffers & ~(size_t)4095;
}

static void prep_passthru_fixed(const struct session *session,
				struct io_uring_sqe *sqe, size_t offset,
				uint64_t pos)
{
	prep_passthru(session, sqe, offset, pos);
	/* sqe->uring_cmd_flags, which liburing 2.3's header lacks */
	sqe->rw_flags = IORING_URING_CMD_FIXED;
	sqe->buf_index = (uint16_t)(offset / buffer_len(session));
}

static void prep_pmap(const struct session *session, struct io_uring_sqe *sqe,
		      size_t offset, uint64_t pos)
{
	const struct target *target = session->target;

	nvme_pmap_prep_rw(sqe, 0,
			  target->write ? NVME_PMAP_OP_WRITE :
					  NVME_PMAP_OP_READ,
			  target->nsid, session->pmap_index, offset,
			  (uint32_t)session->bs, pos / target->lba_bytes,
			  (uint32_t)(session->bs / target->lba_bytes));
}

static const struct path paths[] = {
	{ .name = "block", .prep = prep_block },
	{ .name = "block-fixed", .fixed = true, .prep = prep_block_fixed },
	{ .name = "passthru", .passthru = true, .prep = prep_passthru },
	{ .name = "passthru-fixed",
	  .passthru = true,
	  .fixed = true,
	  .door = "off",
	  .prep = prep_passthru_fixed },
	/* the same commands, of which the driver finds the mapping */
	{ .name = "auto",
	  .passthru = true,
	  .fixed = true,
	  .pmap = true,
	  .door = "on",
	  .prep = prep_passthru_fixed },
	{ .name = "auto-queue",
	  .passthru = true,
	  .fixed = true,
	  .pmap = true,
	  .queue = true,
	  .door = "queue",
	  .prep = prep_passthru_fixed },
	/* with no queue to be had */
	{ .name = "auto-no-queue",
	  .passthru = true,
	  .fixed = true,
	  .pmap = true,
	  .fallback = true,
	  .door = "queue",
	  .prep = prep_passthru_fixed },
	{ .name = "pmap", .passthru = true, .pmap = true, .prep = prep_pmap },
	/* as most drives have it, which offer no SGLs */
	{ .name = "pmap-prp",
	  .passthru = true,
	  .pmap = true,
	  .reg_flags = NVME_PMAP_REG_PRP,
	  .prep = prep_pmap },
	{ .name = "pmap-queue",
	  .passthru = true,
	  .pmap = true,
	  .queue = true,
	  .prep = prep_pmap },
	{ .name = "pmap-queue-prp",
	  .passthru = true,
	  .pmap = true,
	  .queue = true,
	  .reg_flags = NVME_PMAP_REG_PRP,
	  .prep = prep_pmap },
	/* the same for the driver; the program prepares its SQEs once */
	{ .name = "pmap-queue-again",
	  .passthru = true,
	  .pmap = true,
	  .queue = true,
	  .again = true,
	  .prep = prep_pmap },
	/* over blk-mq, as the file's queue does not take them */
	{ .name = "pmap-misfit",
	  .passthru = true,
	  .pmap = true,
	  .misfit = true,
	  .fallback = true,
	  .prep = prep_pmap },
};

const struct path *path_find(const char *name)
{
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		if (!strcmp(paths[i].name, name))
			return &paths[i];
	die("no such path: %s", name);
}

/* The same for all, but for the entry sizes that passthrough cannot do without. */
static unsigned int ring_flags(const struct session *session)
{
	unsigned int flags = IORING_SETUP_SINGLE_ISSUER |
			     IORING_SETUP_DEFER_TASKRUN;

	if (!session->irq)
		flags |= IORING_SETUP_IOPOLL;
	return session->path->passthru ? flags | NVME_PMAP_RING_FLAGS : flags;
}

/* Has it the file of another session, with the registrations of that one? */
static bool same_file(const struct session *session)
{
	return session->beside && session->beside->target == session->target;
}

/* With the ring, or with the driver, as the path has it. */
static int register_buffers(struct session *session, const struct iovec *iov,
			    unsigned int nr)
{
	const struct arena *arena = session->arena;
	const struct path *path = session->path;

	if (path->fixed)
		return io_uring_register_buffers(&session->ring, iov, nr);
	if (!path->pmap)
		return 0;
	if (same_file(session)) {
		session->pmap_index = session->beside->pmap_index;
		return 0;
	}
	return nvme_pmap_register_buf(session->target->generic_fd, arena->mem,
				      arena->len, path->reg_flags,
				      &session->pmap_index);
}

static void register_arena(struct session *session)
{
	unsigned int buffers = session->buffers ? session->buffers : 1;
	struct iovec *iov = calloc(buffers, sizeof(*iov));
	int ret;

	for (unsigned int i = 0; iov && i < buffers; i++) {
		iov[i].iov_base = session->arena->mem + i * buffer_len(session);
		iov[i].iov_len = buffer_len(session);
	}
	ret = iov ? register_buffers(session, iov, buffers) : -ENOMEM;
	free(iov);
	if (ret)
		die("%s: cannot register the buffer: %s", session->path->name,
		    strerror(-ret));
}

/* Has it a queue that it has attached itself? */
static bool own_queue(const struct session *session)
{
	const struct path *path = session->path;

	return (path->queue || path->misfit) && !path->door &&
	       !same_file(session);
}

static uint32_t queue_flags(const struct session *session)
{
	return session->irq == session->path->misfit ? NVME_PMAP_QUEUE_POLLED :
						       0;
}

static void attach_queue(const struct session *session)
{
	int fd = session->target->generic_fd, ret;

	if (!own_queue(session))
		return;
	if (session->beside)
		ret = nvme_pmap_share_queue(fd,
					    session->beside->target->generic_fd,
					    queue_flags(session));
	else if (session->elsewhere)
		ret = nvme_pmap_attach_queue_on(fd, session->interrupted);
	else
		ret = nvme_pmap_attach_queue(fd, queue_flags(session));
	if (ret)
		die("%s: no passthrough queue: %s", session->path->name,
		    strerror(-ret));
}

int session_enter(const struct session *session, unsigned int submit,
		  unsigned int complete, unsigned int flags)
{
	long ret = syscall(SYS_io_uring_enter, session->ring.enter_ring_fd,
			   submit, complete,
			   flags | IORING_ENTER_REGISTERED_RING, NULL, 0);

	return ret < 0 ? -errno : (int)ret;
}

/* Commands at a time before measuring. */
#define WARM_BATCH 32u

static void prep_read(struct session *session, size_t offset)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&session->ring);
	size_t bs = session->bs;

	if (!sqe)
		die("the submission queue is full");
	/* of a size that stock takes as well */
	session->bs = session->target->lba_bytes;
	session->path->prep(session, sqe, offset, 0);
	session->bs = bs;
	sqe->flags |= IOSQE_FIXED_FILE;
}

static void read_batch(struct session *session, unsigned int n, size_t offset)
{
	struct io_uring_cqe *cqe;
	int ret;

	for (unsigned int i = 0; i < n; i++)
		prep_read(session, offset);
	ret = io_uring_submit_and_wait(&session->ring, n);
	if (ret != (int)n)
		die("%s: first reads failed", session->path->name);
	for (unsigned int i = 0; i < n; i++) {
		ret = io_uring_wait_cqe(&session->ring, &cqe);
		if (ret || cqe->res)
			die("%s: a first read failed", session->path->name);
		io_uring_cqe_seen(&session->ring, cqe);
	}
}

void session_read(struct session *session)
{
	read_batch(session, 1, 0);
}

/*
 * The auto door maps a buffer in the background, after commands in proportion to its
 * size, and attaches a queue.
 */
static void await_door(struct session *session, size_t offset)
{
	struct nvme_pmap_stats before, now;

	if (!session->path->pmap || !session->path->door)
		return;
	for (int tries = 0; tries < 5000; tries++) {
		target_stats(session->target, &before);
		read_batch(session, WARM_BATCH, offset);
		target_stats(session->target, &now);
		if (session->path->queue ? now.auto_queue > before.auto_queue :
					   now.auto_mq > before.auto_mq)
			return;
		/* as soon as it is mapped, or attached */
		sleep_ns(1000000);
	}
	die("%s: the driver does not serve it", session->path->name);
}

void session_open(struct session *session, unsigned int entries)
{
	const struct target *target = session->target;
	const struct path *path = session->path;
	int fd = path->passthru ? target->generic_fd : target->block_fd;
	int ret;

	if (path->pmap && !(target->query.features & NVME_PMAP_FEATURE_CMD))
		die("no pmap here: the loaded driver has no persistent mappings");
	/* a device that answers late is slow to have had the auto door's first commands */
	if (entries < WARM_BATCH)
		entries = WARM_BATCH;
	ret = io_uring_queue_init(entries, &session->ring, ring_flags(session));
	if (!ret)
		ret = io_uring_register_files(&session->ring, &fd, 1);
	if (!ret && io_uring_register_ring_fd(&session->ring) != 1)
		ret = -EINVAL;
	if (ret)
		die("io_uring: %s", strerror(-ret));
	batch_begin(session);
	if (path->door)
		target_door(target, path->door);
	register_arena(session);
	attach_queue(session);
	if (path->again)
		batch_prepare_all(session);
	for (unsigned int i = 0; i < session->buffers; i++)
		await_door(session, i * buffer_len(session));
	await_door(session, 0);
}

/* Closing the auto door ends its mappings soon; then the mode is restored. */
static void close_door(const struct session *session)
{
	target_shut_door(session->target);
	for (int tries = 0;
	     session->path->queue && target_has_queue(session->target);
	     tries++) {
		if (tries == 1000)
			die("%s: the queue stays", session->path->name);
		sleep_ns(1000000);
	}
	if (session->target->fork)
		target_door(session->target, session->target->door);
}

void session_close(struct session *session)
{
	int fd = session->target->generic_fd, ret = 0;

	/* The ring itself is torn down later, by a worker: let go of the device. */
	io_uring_unregister_files(&session->ring);
	if (session->path->fixed)
		io_uring_unregister_buffers(&session->ring);
	io_uring_queue_exit(&session->ring);
	if (session->path->door) {
		close_door(session);
		return;
	}
	if (own_queue(session))
		ret = nvme_pmap_detach_queue(fd, queue_flags(session));
	if (ret)
		die("cannot detach the queue: %s", strerror(-ret));
	if (session->path->pmap && !same_file(session))
		ret = nvme_pmap_unregister_buf(fd, session->pmap_index);
	if (ret)
		die("cannot unregister the buffer: %s", strerror(-ret));
}
