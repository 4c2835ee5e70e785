// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Read the first MiB of a namespace by io_uring passthrough with a registered
 * buffer, and write them to stdout.  In this directory:
 *
 *	cc uring-read.c -o uring-read -luring
 *	./uring-read /dev/ng0n1 [MIB] | hexdump -C
 *
 * It knows nothing of pmaps, and runs on any driver.  The auto door of the fork
 * maps the buffer: see auto_* in /sys/class/nvme/nvme0/pmap/.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/nvme_ioctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define LEN   16384u /* bytes of the buffer, and of one command */
#define FLAGS (IORING_SETUP_SQE128 | IORING_SETUP_CQE32)

static unsigned char mem[LEN] __attribute__((aligned(4096)));

/* End the program unless ret is 0; it is -errno, or > 0: an NVMe status. */
static void check(int ret, const char *what)
{
	if (ret > 0)
		errx(1, "%s: NVMe status 0x%x", what, ret);
	if (ret < 0)
		errx(1, "%s: %s", what, strerror(-ret));
}

/* The log2 of a logical block's bytes, by an Identify Namespace command. */
static unsigned int lba_shift(int fd, int nsid)
{
	static unsigned char ns[4096], *lbaf;
	struct nvme_admin_cmd cmd = { .opcode = 0x06,
				      .nsid = nsid,
				      .addr = (uintptr_t)ns,
				      .data_len = sizeof(ns) };
	int ret = ioctl(fd, NVME_IOCTL_ADMIN_CMD, &cmd);

	check(ret < 0 ? -errno : ret, "Identify");
	/* FLBAS selects one of the formats; LEN has no room for metadata */
	lbaf = &ns[128 + 4 * ((ns[26] & 0xf) | (ns[26] >> 1 & 0x30))];
	check(lbaf[0] || lbaf[1] || lbaf[2] > 14 ? -EMEDIUMTYPE : 0, "format");
	return lbaf[2];
}

int main(int argc, char **argv)
{
	char *end = "";
	uint64_t at, mib = argc > 2 ? strtoul(argv[2], &end, 0) : 1;
	struct iovec iov = { .iov_base = mem, .iov_len = LEN };
	struct nvme_uring_cmd *cmd;
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	int fd, nsid, shift, ret;

	if (argc < 2 || argc > 3 || *end || !mib || mib > 1024)
		errx(2, "usage: uring-read /dev/ngXnY [MIB]");
	fd = open(argv[1], O_RDONLY);
	check(fd < 0 ? -errno : 0, argv[1]);
	nsid = ioctl(fd, NVME_IOCTL_ID);
	check(nsid < 0 ? -errno : 0, "NVME_IOCTL_ID");
	shift = lba_shift(fd, nsid);
	check(io_uring_queue_init(1, &ring, FLAGS), "ring");
	check(io_uring_register_buffers(&ring, &iov, 1), "register");

	for (at = 0; at < mib << 20; at += LEN) {
		sqe = io_uring_get_sqe(&ring);
		check(sqe ? 0 : -EBUSY, "io_uring_get_sqe");
		memset(sqe, 0, 2 * sizeof(*sqe)); /* for IORING_SETUP_SQE128 */
		sqe->opcode = IORING_OP_URING_CMD;
		sqe->fd = fd;
		sqe->cmd_op = NVME_URING_CMD_IO;
		sqe->uring_cmd_flags = IORING_URING_CMD_FIXED; /* buf_index 0 */
		cmd = (struct nvme_uring_cmd *)sqe->cmd;
		cmd->opcode = 0x02;
		cmd->nsid = nsid;
		cmd->addr = (uintptr_t)mem;
		cmd->data_len = LEN;
		cmd->cdw10 = at >> shift;
		cmd->cdw11 = at >> shift >> 32;
		cmd->cdw12 = (LEN >> shift) - 1;
		ret = io_uring_submit(&ring);
		check(ret == 1 ? 0 : ret < 0 ? ret : -EAGAIN, "submit");
		check(io_uring_wait_cqe(&ring, &cqe), "io_uring_wait_cqe");
		check(cqe->res, "read");
		io_uring_cqe_seen(&ring, cqe);
		fwrite(mem, 1, LEN, stdout);
	}
	check(fflush(stdout) || ferror(stdout) ? -EIO : 0, "stdout");
	return 0;
}
