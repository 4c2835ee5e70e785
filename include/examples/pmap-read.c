// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Read the first blocks of a namespace with one command, through a persistent
 * mapping, and write them to stdout.  In this directory:
 *
 *	cc -I../uapi -I.. pmap-read.c -o pmap-read -luring
 *	./pmap-read /dev/ng0n1 [BYTES] | hexdump -C
 *
 * BYTES (4096) is rounded up to whole logical blocks.
 */
#include <err.h>
#include <fcntl.h>
#include <linux/nvme_ioctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <nvme_pmap.h>

/* End the program unless ret is 0; it is -errno, or > 0: an NVMe status. */
static void check(int ret, const char *what)
{
	if (ret > 0)
		errx(1, "%s: NVMe status 0x%x", what, ret);
	if (ret < 0)
		errx(1, "%s: %s", what, strerror(-ret));
}

int main(int argc, char **argv)
{
	char *mem, *end = "";
	uint64_t len = argc > 2 ? strtoul(argv[2], &end, 0) : 4096;
	struct nvme_pmap_query query;
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	int fd, nsid, ret;
	uint32_t buf = 0;

	if (argc < 2 || argc > 3 || *end || !len)
		errx(2, "usage: pmap-read /dev/ngXnY [BYTES]");
	fd = open(argv[1], O_RDONLY);
	check(fd < 0 ? -errno : 0, argv[1]);
	nsid = ioctl(fd, NVME_IOCTL_ID);
	check(nsid < 0 ? -errno : 0, "NVME_IOCTL_ID");
	check(nvme_pmap_query_file(fd, &query),
	      "the driver offers no pmap here");

	/* of a zoned namespace that Linux cannot use, for one */
	check(query.lba_bytes ? 0 : -EMEDIUMTYPE,
	      "the driver does not know the format");
	/* whole blocks, and no more than one command may transfer */
	check(len > query.max_transfer ? -EMSGSIZE : 0, "BYTES");
	len = (len + query.lba_bytes - 1) / query.lba_bytes * query.lba_bytes;
	check(len > query.max_transfer ? -EMSGSIZE : 0, "BYTES");

	mem = mmap(NULL, len, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check(mem == MAP_FAILED ? -errno : 0, "mmap");
	/* pinned and mapped for the device once, for any number of commands */
	check(nvme_pmap_register_buf(fd, mem, len, 0, &buf), "register");
	ret = io_uring_queue_init(8, &ring, NVME_PMAP_RING_FLAGS);
	check(ret, "io_uring_queue_init");

	sqe = io_uring_get_sqe(&ring);
	check(sqe ? 0 : -EBUSY, "io_uring_get_sqe");
	nvme_pmap_prep_read(sqe, fd, nsid, buf, 0, len, 0,
			    len / query.lba_bytes);
	ret = io_uring_submit(&ring);
	check(ret == 1 ? 0 : ret < 0 ? ret : -EAGAIN, "io_uring_submit");
	check(io_uring_wait_cqe(&ring, &cqe), "io_uring_wait_cqe");
	check(cqe->res, "read");
	io_uring_cqe_seen(&ring, cqe);

	check(fwrite(mem, len, 1, stdout) == 1 && !fflush(stdout) ? 0 : -EIO,
	      "stdout");

	/* the end of the program would do all of this as well */
	io_uring_queue_exit(&ring);
	check(nvme_pmap_unregister_buf(fd, buf), "unregister");
	close(fd);
	return 0;
}
