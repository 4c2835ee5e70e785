/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * User-space helper for nvme-pmap, on top of liburing.  Header only, C11 and C++.
 * Every function returns 0 or -errno; linux/nvme_pmap.h lists the errors.
 *
 *	struct io_uring ring;
 *	io_uring_queue_init(64, &ring, NVME_PMAP_RING_FLAGS);
 *	int fd = open("/dev/ng0n1", O_RDWR), nsid = ioctl(fd, NVME_IOCTL_ID);
 *	uint32_t buf;
 *	nvme_pmap_register_buf(fd, mem, len, 0, &buf);
 *	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
 *	if (sqe)
 *		nvme_pmap_prep_read(sqe, fd, nsid, buf, 0, 4096, slba, nblocks);
 *
 * As with liburing, the caller sets user_data, before or after.
 */
#ifndef NVME_PMAP_HELPER_H
#define NVME_PMAP_HELPER_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>

#include <liburing.h>
#include <linux/nvme_pmap.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Flags that a ring needs for NVMe passthrough; add IORING_SETUP_IOPOLL etc. */
#define NVME_PMAP_RING_FLAGS (IORING_SETUP_SQE128 | IORING_SETUP_CQE32)

/** NVMe I/O command set opcodes that the prep functions use. */
enum {
	NVME_PMAP_OP_FLUSH = 0x00,
	NVME_PMAP_OP_WRITE = 0x01,
	NVME_PMAP_OP_READ = 0x02,
};

static inline int nvme_pmap_ioctl(int fd, unsigned long request, void *arg)
{
	return ioctl(fd, request, arg) < 0 ? -errno : 0;
}

/**
 * nvme_pmap_query_file - query the driver's features and limits on an open /dev/ngXnY
 * @fd: the file
 * @query: filled in; see struct nvme_pmap_query for units
 *
 * Return: 0, or -ENOTTY from a driver or a controller without pmap.
 */
static inline int nvme_pmap_query_file(int fd, struct nvme_pmap_query *query)
{
	memset(query, 0, sizeof(*query));
	query->size = sizeof(*query);
	return nvme_pmap_ioctl(fd, NVME_PMAP_IOC_QUERY, query);
}

/**
 * nvme_pmap_stats_file - read the counters of an open file
 * @fd: the file
 * @stats: filled in; commands and completions since the file was opened
 */
static inline int nvme_pmap_stats_file(int fd, struct nvme_pmap_stats *stats)
{
	memset(stats, 0, sizeof(*stats));
	stats->size = sizeof(*stats);
	return nvme_pmap_ioctl(fd, NVME_PMAP_IOC_STATS, stats);
}

/**
 * nvme_pmap_register_buf - pin and map a buffer at the lowest free index
 * @fd: the file
 * @addr: start of the buffer, a multiple of 4 bytes
 * @len: bytes, a multiple of 4
 * @flags: enum nvme_pmap_register_flags
 * @index: (out) the buffer's index for commands; on failure no valid index
 */
static inline int nvme_pmap_register_buf(int fd, const void *addr, size_t len,
					 uint32_t flags, uint32_t *index)
{
	struct nvme_pmap_register reg;
	int ret;

	memset(&reg, 0, sizeof(reg));
	reg.size = sizeof(reg);
	reg.flags = flags;
	reg.addr = (uintptr_t)addr;
	reg.len = len;
	reg.index = NVME_PMAP_INDEX_ANY;
	ret = nvme_pmap_ioctl(fd, NVME_PMAP_IOC_REGISTER, &reg);
	*index = reg.index;
	return ret;
}

/**
 * nvme_pmap_unregister_buf - end a registration; waits for commands in flight
 * @fd: the file
 * @index: index of the buffer
 *
 * Return: 0, or -EINTR if a signal came first: call it again.
 */
static inline int nvme_pmap_unregister_buf(int fd, uint32_t index)
{
	struct nvme_pmap_unregister unreg;

	memset(&unreg, 0, sizeof(unreg));
	unreg.size = sizeof(unreg);
	unreg.index = index;
	return nvme_pmap_ioctl(fd, NVME_PMAP_IOC_UNREGISTER, &unreg);
}

/* Common part of the next three functions. */
static inline int nvme_pmap_attach_to(int fd, int owner, uint32_t flags,
				      uint32_t cpu)
{
	struct nvme_pmap_attach att;

	memset(&att, 0, sizeof(att));
	att.size = sizeof(att);
	att.flags = flags;
	att.fd = owner;
	att.cpu = cpu;
	return nvme_pmap_ioctl(fd, NVME_PMAP_IOC_ATTACH, &att);
}

/**
 * nvme_pmap_attach_queue - give a file a passthrough queue
 * @fd: the file
 * @flags: enum nvme_pmap_queue_flags, without NVME_PMAP_QUEUE_SHARE
 *
 * Return: 0, or -EUSERS if no queue is left: commands then go over blk-mq.
 */
static inline int nvme_pmap_attach_queue(int fd, uint32_t flags)
{
	return nvme_pmap_attach_to(fd, 0, flags, 0);
}

/**
 * nvme_pmap_attach_queue_on - attach a queue whose interrupt is on a given CPU
 * @fd: the file
 * @cpu: number of the CPU; nvme_pmap_attach_queue() takes the caller's
 *
 * Return: 0, -EUSERS, or -EINVAL: there is no such CPU.
 */
static inline int nvme_pmap_attach_queue_on(int fd, uint32_t cpu)
{
	return nvme_pmap_attach_to(fd, 0, NVME_PMAP_QUEUE_CPU, cpu);
}

/**
 * nvme_pmap_share_queue - let a file use the passthrough queue of another
 * @fd: the file
 * @owner: a file of the same controller that has such a queue
 * @flags: as for nvme_pmap_attach_queue()
 */
static inline int nvme_pmap_share_queue(int fd, int owner, uint32_t flags)
{
	return nvme_pmap_attach_to(fd, owner, flags | NVME_PMAP_QUEUE_SHARE, 0);
}

/**
 * nvme_pmap_detach_queue - give a passthrough queue back
 * @fd: the file
 * @flags: zero or NVME_PMAP_QUEUE_POLLED
 *
 * Return: 0, or -EINTR if a signal came first: the queue is still attached.
 */
static inline int nvme_pmap_detach_queue(int fd, uint32_t flags)
{
	struct nvme_pmap_detach det;

	memset(&det, 0, sizeof(det));
	det.size = sizeof(det);
	det.flags = flags;
	return nvme_pmap_ioctl(fd, NVME_PMAP_IOC_DETACH, &det);
}

/**
 * nvme_pmap_prep - prepare an SQE for any command
 * @sqe: a 128-byte SQE; its user_data stays
 * @fd: the file (or its index with IOSQE_FIXED_FILE set afterwards)
 * @opcode: NVMe opcode
 * @nsid: NSID of the namespace
 * @index: index of the registered buffer
 * @offset: bytes into the buffer, a multiple of 4
 * @data_len: bytes of the buffer that the command may touch, a multiple of 4
 *
 * Return: the command area with these fields set and all others zero.  The caller sets
 * cdw2, cdw3, cdw10 to cdw15 and timeout_ms in it.
 */
static inline struct nvme_pmap_cmd *
nvme_pmap_prep(struct io_uring_sqe *sqe, int fd, uint8_t opcode, uint32_t nsid,
	       uint32_t index, uint64_t offset, uint32_t data_len)
{
	struct nvme_pmap_cmd *cmd = (struct nvme_pmap_cmd *)(void *)sqe->cmd;
	uint64_t user_data = sqe->user_data;

	memset(sqe, 0, 2 * sizeof(*sqe));
	sqe->user_data = user_data;
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = fd;
	sqe->cmd_op = NVME_URING_CMD_PMAP;
	cmd->opcode = opcode;
	cmd->nsid = nsid;
	cmd->index = index;
	cmd->offset = offset;
	cmd->data_len = data_len;
	return cmd;
}

/* The fields that Read and Write have in common. */
static inline void nvme_pmap_prep_rw(struct io_uring_sqe *sqe, int fd,
				     uint8_t opcode, uint32_t nsid,
				     uint32_t index, uint64_t offset,
				     uint32_t data_len, uint64_t slba,
				     uint32_t nblocks)
{
	struct nvme_pmap_cmd *cmd = nvme_pmap_prep(sqe, fd, opcode, nsid, index,
						   offset, data_len);

	cmd->cdw10 = (uint32_t)slba;
	cmd->cdw11 = (uint32_t)(slba >> 32);
	cmd->cdw12 = nblocks - 1;
}

/**
 * nvme_pmap_prep_read - prepare a Read into a registered buffer
 * @sqe: a 128-byte SQE
 * @fd: the file
 * @nsid: NSID of the namespace
 * @index: index of the registered buffer
 * @offset: bytes into the buffer
 * @data_len: bytes: nblocks times nvme_pmap_query.lba_bytes, unless that is zero
 * @slba: first logical block
 * @nblocks: logical blocks, 1 to 65536
 */
static inline void nvme_pmap_prep_read(struct io_uring_sqe *sqe, int fd,
				       uint32_t nsid, uint32_t index,
				       uint64_t offset, uint32_t data_len,
				       uint64_t slba, uint32_t nblocks)
{
	nvme_pmap_prep_rw(sqe, fd, NVME_PMAP_OP_READ, nsid, index, offset,
			  data_len, slba, nblocks);
}

/**
 * nvme_pmap_prep_write - prepare a Write from a registered buffer
 * @sqe: a 128-byte SQE
 * @fd: the file
 * @nsid: NSID of the namespace
 * @index: index of the registered buffer
 * @offset: bytes into the buffer
 * @data_len: bytes: nblocks times nvme_pmap_query.lba_bytes, unless that is zero
 * @slba: first logical block
 * @nblocks: logical blocks, 1 to 65536
 */
static inline void nvme_pmap_prep_write(struct io_uring_sqe *sqe, int fd,
					uint32_t nsid, uint32_t index,
					uint64_t offset, uint32_t data_len,
					uint64_t slba, uint32_t nblocks)
{
	nvme_pmap_prep_rw(sqe, fd, NVME_PMAP_OP_WRITE, nsid, index, offset,
			  data_len, slba, nblocks);
}

/**
 * nvme_pmap_prep_flush - prepare a Flush of the namespace
 * @sqe: a 128-byte SQE
 * @fd: the file
 * @nsid: NSID of the namespace
 * @index: index of any registered buffer: a command names one, also without data
 *
 * It makes Writes durable that have completed before it is submitted.
 */
static inline void nvme_pmap_prep_flush(struct io_uring_sqe *sqe, int fd,
					uint32_t nsid, uint32_t index)
{
	nvme_pmap_prep(sqe, fd, NVME_PMAP_OP_FLUSH, nsid, index, 0,
		       NVME_PMAP_ALIGN);
}

/**
 * nvme_pmap_ring_sqe - an SQE of a ring whose SQEs are prepared once
 * @ring: the ring, with IORING_SETUP_SQE128
 * @i: how many SQEs are before it that nvme_pmap_ring_advance() has yet to hand over
 *
 * A program all of whose commands on a ring have file, buffer, opcode and length in
 * common need not prepare each anew:
 *
 *	for (i = 0; i < ring.sq.ring_entries; i++)
 *		nvme_pmap_prep_read(nvme_pmap_ring_sqe(&ring, i), ...);
 *	...
 *	for (i = 0; i < n; i++)
 *		nvme_pmap_prep_again(nvme_pmap_ring_sqe(&ring, i), offset[i], slba[i]);
 *	nvme_pmap_ring_advance(&ring, n);
 *	io_uring_submit(&ring);
 *
 * It sees to it that no more commands are in the SQ than it has entries, and does not
 * call io_uring_get_sqe() on this ring, which may clear fields.  Flags of an SQE and
 * its user_data also stay.
 */
static inline struct io_uring_sqe *nvme_pmap_ring_sqe(struct io_uring *ring,
						      unsigned int i)
{
	return &ring->sq.sqes[2 * ((ring->sq.sqe_tail + i) &
				   (ring->sq.ring_entries - 1))];
}

/**
 * nvme_pmap_prep_again - another place for the Read or Write of a prepared SQE
 * @sqe: see nvme_pmap_ring_sqe()
 * @offset: bytes into the buffer
 * @slba: first logical block
 */
static inline void nvme_pmap_prep_again(struct io_uring_sqe *sqe,
					uint64_t offset, uint64_t slba)
{
	struct nvme_pmap_cmd *cmd = (struct nvme_pmap_cmd *)(void *)sqe->cmd;

	cmd->offset = offset;
	cmd->cdw10 = (uint32_t)slba;
	cmd->cdw11 = (uint32_t)(slba >> 32);
}

/**
 * nvme_pmap_ring_advance - hand prepared SQEs over to the next io_uring_submit()
 * @ring: see nvme_pmap_ring_sqe()
 * @n: how many of them
 */
static inline void nvme_pmap_ring_advance(struct io_uring *ring, unsigned int n)
{
	ring->sq.sqe_tail += n;
}

#ifdef __cplusplus
}
#endif

#endif /* NVME_PMAP_HELPER_H */
