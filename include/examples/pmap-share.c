// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Read the first blocks of a namespace with threads that share a passthrough
 * queue, and write them to stdout.  In this directory:
 *
 *	cc -I../uapi -I.. pmap-share.c -o pmap-share -luring -lpthread
 *	./pmap-share /dev/ng0n1 [THREADS] | hexdump -C
 *
 * Each of THREADS (4, at most 32) reads 16 times 8 blocks, and needs no lock: it
 * has a file, a buffer and a ring of its own.
 */
#include <err.h>
#include <fcntl.h>
#include <linux/nvme_ioctl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <nvme_pmap.h>

#define BLOCKS 8u  /* logical blocks of one command */
#define READS  16u /* commands of a thread, all of them in flight at once */

static const char *path;
static int owner, attached; /* the file with the queue; 0, or -EUSERS: none */
static uint32_t len;	    /* bytes of one command */

/* End the program unless ret is 0; it is -errno, or > 0: an NVMe status. */
static void check(int ret, const char *what)
{
	if (ret > 0)
		errx(1, "%s: NVMe status 0x%x", what, ret);
	if (ret < 0)
		errx(1, "%s: %s", what, strerror(-ret));
}

/* Read part number arg of the namespace, and return it. */
static void *read_part(void *arg)
{
	uint64_t part = (uintptr_t)arg;
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	uint32_t buf = 0, i;
	int ret, fd, nsid;
	void *mem;

	fd = open(path, O_RDONLY);
	check(fd < 0 ? -errno : 0, path);
	nsid = ioctl(fd, NVME_IOCTL_ID);
	check(nsid < 0 ? -errno : 0, "NVME_IOCTL_ID");
	mem = aligned_alloc(4096, READS * len);
	check(mem ? 0 : -ENOMEM, "memory");
	check(nvme_pmap_register_buf(fd, mem, READS * len, 0, &buf), "memory");
	if (!attached) /* a queue may belong to several files */
		check(nvme_pmap_share_queue(fd, owner, 0), "share");
	check(io_uring_queue_init(READS, &ring, NVME_PMAP_RING_FLAGS), "ring");
	/* were there no SQE for one of them, the submission would be short */
	for (i = 0; i < READS && (sqe = io_uring_get_sqe(&ring)); i++)
		nvme_pmap_prep_read(sqe, fd, nsid, buf, i * len, len,
				    (part * READS + i) * BLOCKS, BLOCKS);
	ret = io_uring_submit(&ring);
	check(ret == READS ? 0 : ret < 0 ? ret : -EAGAIN, "io_uring_submit");
	for (i = 0; i < READS; i++) {
		check(io_uring_wait_cqe(&ring, &cqe), "io_uring_wait_cqe");
		check(cqe->res, "read");
		io_uring_cqe_seen(&ring, cqe);
	}
	return mem; /* the end of the program closes ring and file */
}

int main(int argc, char **argv)
{
	char *end = "";
	unsigned long i, nr = argc > 2 ? strtoul(argv[2], &end, 0) : 4;
	struct nvme_pmap_query query;
	pthread_t t[32];
	void *mem;

	if (argc < 2 || argc > 3 || *end || !nr || nr > 32)
		errx(2, "usage: pmap-share /dev/ngXnY [THREADS]");
	path = argv[1];
	owner = open(path, O_RDONLY);
	check(owner < 0 ? -errno : 0, path);
	check(nvme_pmap_query_file(owner, &query), "the driver offers no pmap");
	check(query.lba_bytes ? 0 : -EMEDIUMTYPE, "the format is not known");
	len = BLOCKS * query.lba_bytes;
	attached = nvme_pmap_attach_queue(owner, 0);
	check(attached == -EUSERS ? 0 : attached, "attach");
	for (i = 0; i < nr; i++)
		check(-pthread_create(&t[i], NULL, read_part, (void *)i),
		      "thread");
	for (i = 0; i < nr; i++) {
		check(-pthread_join(t[i], &mem), "pthread_join");
		fwrite(mem, len, READS, stdout);
	}
	check(fflush(stdout) || ferror(stdout) ? -EIO : 0, "stdout");
	return 0;
}
