// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Append the lines of stdin, a logical block each, to a log at block SLBA, which
 * is OVERWRITTEN, in groups: write, flush, read back, compare, print.  Build:
 *
 *	cc -I../uapi -I.. pmap-log.c -o pmap-log -luring
 *	dmesg | tail | ./pmap-log /dev/ng0n1 SLBA
 */
#include <err.h>
#include <fcntl.h>
#include <linux/nvme_ioctl.h>
#include <stdio.h>
#include <stdlib.h>

#include <nvme_pmap.h>

#define GROUP 16u /* records that one Write and one Flush make durable */

struct record {
	uint32_t nr, len; /* nr: from 0 on; len: bytes of text */
	char text[];	  /* the rest of the logical block is zero */
};

static struct io_uring ring;
static uint32_t arena, lba; /* lba: bytes of a logical block */
static int fd, nsid;

/* End the program unless ret is 0; it is -errno, or > 0: an NVMe status. */
static void check(int ret, const char *what)
{
	if (ret > 0)
		errx(1, "%s: NVMe status 0x%x", what, ret);
	if (ret < 0)
		errx(1, "%s: %s", what, strerror(-ret));
}

/* Run a command: n blocks from slba on, n * lba bytes of the arena at from. */
static void run(const char *what, uint8_t opcode, uint64_t from, uint64_t slba,
		uint32_t n)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
	struct io_uring_cqe *cqe;
	int ret;

	check(sqe ? 0 : -EBUSY, "io_uring_get_sqe");
	nvme_pmap_prep_rw(sqe, fd, opcode, nsid, arena, from, n * lba, slba, n);
	ret = io_uring_submit(&ring);
	check(ret == 1 ? 0 : ret < 0 ? ret : -EAGAIN, "io_uring_submit");
	check(io_uring_wait_cqe(&ring, &cqe), "io_uring_wait_cqe");
	check(cqe->res, what);
	io_uring_cqe_seen(&ring, cqe);
}

int main(int argc, char **argv)
{
	char *mem, *end = "";
	uint64_t first = argc > 2 ? strtoull(argv[2], &end, 0) : 0, nr = 0;
	uint32_t i, n, half; /* half the arena: as written, as read */
	struct nvme_pmap_query query;
	struct record *r;

	if (argc != 3 || !*argv[2] || *end)
		errx(2, "usage: pmap-log /dev/ngXnY SLBA");
	fd = open(argv[1], O_RDWR);
	check(fd < 0 ? -errno : 0, argv[1]);
	nsid = ioctl(fd, NVME_IOCTL_ID);
	check(nsid < 0 ? -errno : 0, "NVME_IOCTL_ID");
	check(nvme_pmap_query_file(fd, &query), "the driver offers no pmap");
	lba = query.lba_bytes;
	check(lba && !query.ns ? 0 : -EMEDIUMTYPE, "zones or metadata");
	half = GROUP * lba;
	mem = aligned_alloc(4096, 2 * half);
	check(mem ? 0 : -ENOMEM, "memory");
	check(nvme_pmap_register_buf(fd, mem, 2 * half, 0, &arena), "register");
	check(io_uring_queue_init(1, &ring, NVME_PMAP_RING_FLAGS), "ring");
	do {
		memset(mem, 0, half); /* nothing old goes to the disk */
		for (n = 0; n < GROUP; n++) {
			r = (struct record *)(mem + n * lba);
			if (!fgets(r->text, lba - sizeof(*r), stdin))
				break;
			r->nr = nr + n;
			r->len = strlen(r->text);
		}
		if (!n)
			break;
		run("write", NVME_PMAP_OP_WRITE, 0, first + nr, n);
		/* Flush covers only completed Writes; cdw10 to cdw12 are 0 */
		run("flush", NVME_PMAP_OP_FLUSH, 0, 0, 1);
		run("read", NVME_PMAP_OP_READ, half, first + nr, n);
		check(memcmp(mem, mem + half, n * lba) ? -EIO : 0, "compare");
		for (i = 0; i < n; i++)
			fputs(mem + half + i * lba + sizeof(*r), stdout);
		nr += n;
	} while (n == GROUP);
	check(ferror(stdin) ? -EIO : 0, "stdin");
	check(fflush(stdout) || ferror(stdout) ? -EIO : 0, "stdout");
	return 0;
}
