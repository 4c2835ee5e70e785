// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Read the first blocks of a namespace through a persistent mapping and print
 * them: cc -I../uapi -I.. pmap-read.c -luring
 *
 *	pmap-read /dev/ng0n1 [bytes] | hexdump -C
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <linux/nvme_ioctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <nvme_pmap.h>

static void check(int ret, const char *what)
{
	if (ret >= 0)
		return;
	fprintf(stderr, "pmap-read: %s: %s\n", what, strerror(-ret));
	exit(1);
}

static void *buffer(size_t len)
{
	void *mem = mmap(NULL, len, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	check(mem == MAP_FAILED ? -errno : 0, "mmap");
	return mem;
}

static struct io_uring_sqe *get_sqe(struct io_uring *ring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	check(sqe ? 0 : -EBUSY, "io_uring_get_sqe");
	return sqe;
}

/* Submit what is prepared, wait for it, and return the NVMe status. */
static int run(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	int ret;

	check(io_uring_submit_and_wait(ring, 1), "submit");
	check(io_uring_peek_cqe(ring, &cqe), "completion");
	ret = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return ret;
}

int main(int argc, char **argv)
{
	struct nvme_pmap_query query;
	struct io_uring ring;
	uint32_t len, index = 0;
	int fd, nsid, status;
	void *mem;

	if (argc < 2) {
		fprintf(stderr, "usage: pmap-read /dev/ngXnY [bytes]\n");
		return 2;
	}
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
	len = argc > 2 ? strtoul(argv[2], NULL, 0) : 4096;
	len = (len + query.lba_bytes - 1) / query.lba_bytes * query.lba_bytes;
	if (!len || len > query.max_transfer)
		check(-EMSGSIZE, "bytes");

	mem = buffer(len);
	check(nvme_pmap_register_buf(fd, mem, len, 0, &index), "register");
	check(io_uring_queue_init(8, &ring, NVME_PMAP_RING_FLAGS), "ring");

	nvme_pmap_prep_read(get_sqe(&ring), fd, nsid, index, 0, len, 0,
			    len / query.lba_bytes);
	status = run(&ring);
	check(status, "read");
	if (status > 0)
		fprintf(stderr, "pmap-read: NVMe status 0x%x\n", status);
	else
		fwrite(mem, 1, len, stdout);

	io_uring_queue_exit(&ring);
	check(nvme_pmap_unregister_buf(fd, index), "unregister");
	close(fd);
	return status > 0;
}
