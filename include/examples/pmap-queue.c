// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * Read the first blocks of a namespace in batches, through a passthrough queue
 * that is polled, and write them to stdout.  In this directory:
 *
 *	cc -I../uapi -I.. pmap-queue.c -o pmap-queue -luring
 *	./pmap-queue /dev/ng0n1 [READS] | hexdump -C
 *
 * READS (32, at most 1024) commands read 8 logical blocks each.
 */
#include <err.h>
#include <fcntl.h>
#include <linux/nvme_ioctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <nvme_pmap.h>

#define BLOCKS 8u  /* logical blocks of one command */
#define BATCH  32u /* commands in flight; query.queue_depth would be the limit */

/* End the program unless ret is 0; it is -errno, or > 0: an NVMe status. */
static void check(int ret, const char *what)
{
	if (ret > 0)
		errx(1, "%s: NVMe status 0x%x", what, ret);
	if (ret < 0)
		errx(1, "%s: %s", what, strerror(-ret));
}

/* Submit the n commands that are prepared, and wait until all have completed. */
static void run(struct io_uring *ring, int n)
{
	int ret = io_uring_submit(ring);
	struct io_uring_cqe *cqe;

	/* the kernel may take fewer SQEs than it is given: give up then */
	check(ret == n ? 0 : ret < 0 ? ret : -EAGAIN, "io_uring_submit");
	while (n--) {
		/* with IOPOLL this looks for completions in the queue's CQ */
		check(io_uring_wait_cqe(ring, &cqe), "io_uring_wait_cqe");
		check(cqe->res, "read");
		io_uring_cqe_seen(ring, cqe);
	}
}

int main(int argc, char **argv)
{
	char *mem, *end = "";
	unsigned long reads = argc > 2 ? strtoul(argv[2], &end, 0) : 32;
	struct nvme_pmap_query query;
	struct nvme_pmap_stats stats;
	struct io_uring_sqe *sqe;
	struct io_uring ring;
	uint32_t buf = 0, i, len; /* len: bytes of one command */
	int fd, nsid, ret;

	if (argc < 2 || argc > 3 || *end || !reads || reads > 1024)
		errx(2, "usage: pmap-queue /dev/ngXnY [READS]");
	fd = open(argv[1], O_RDONLY);
	check(fd < 0 ? -errno : 0, argv[1]);
	nsid = ioctl(fd, NVME_IOCTL_ID);
	check(nsid < 0 ? -errno : 0, "NVME_IOCTL_ID");
	check(nvme_pmap_query_file(fd, &query), "the driver offers no pmap");
	check(query.lba_bytes ? 0 : -EMEDIUMTYPE, "the format is not known");
	len = BLOCKS * query.lba_bytes;

	/* one registration for all reads: each names its part by an offset */
	mem = mmap(NULL, reads * len, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check(mem == MAP_FAILED ? -errno : 0, "mmap");
	check(nvme_pmap_register_buf(fd, mem, reads * len, 0, &buf), "memory");

	/* without a queue the same commands go by blk-mq, and cost more */
	ret = nvme_pmap_attach_queue(fd, NVME_PMAP_QUEUE_POLLED);
	check(ret == -EUSERS ? 0 : ret, "attach");
	/* such a queue serves rings that poll, and only these */
	ret = io_uring_queue_init(BATCH, &ring,
				  NVME_PMAP_RING_FLAGS | IORING_SETUP_IOPOLL);
	check(ret, "io_uring_queue_init");

	for (i = 0; i < reads; i++) {
		sqe = io_uring_get_sqe(&ring);
		check(sqe ? 0 : -EBUSY, "io_uring_get_sqe");
		nvme_pmap_prep_read(sqe, fd, nsid, buf, i * len, len,
				    i * BLOCKS, BLOCKS);
		if (i % BATCH == BATCH - 1 || i == reads - 1)
			run(&ring, i % BATCH + 1);
	}
	check(nvme_pmap_stats_file(fd, &stats), "stats");
	warnx("%llu of %lu by queue", stats.queue, reads);
	ret = fwrite(mem, len, reads, stdout) == reads && !fflush(stdout);
	check(ret ? 0 : -EIO, "stdout");
	return 0; /* the exit closes fd, and so ends queue and registration */
}
