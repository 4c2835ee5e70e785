// SPDX-License-Identifier: GPL-2.0
/*
 * Commands that fail: without memory or tags, with a status, with a timeout, for
 * their contents.  Each is answered once, and gives its buffer back.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "faults/faults.h"

/* Bytes that the guest's controller takes in one command at least. */
#define LEN MIB(4)

static unsigned int provoked;

static bool open_buffer(struct setup *s, enum mode mode, uint32_t flags)
{
	memset(s, 0, sizeof(*s));
	s->mem.fd = -1;
	return dev_open(&s->dev, NULL, O_RDWR) && ring_open(&s->ring, mode, 32) &&
	       CHECK(mem_alloc(&s->mem, MEM_4K, LEN + 2 * PAGE), "no memory") &&
	       must_register(&s->dev, s->mem.map, s->mem.len, flags, &s->index);
}

/* Nothing more comes, the buffer is idle, and another will do. */
static void end_buffer(struct setup *s)
{
	struct completion done;

	CHECK_RET(ring_reap(&s->ring, &done, 20), -ETIME, "one completion too many");
	if (must_unregister(&s->dev, s->index))
		nothing_left(s->dev.fd);
}

static void expect(struct setup *s, const struct nvme_pmap_cmd *cmd, int want, const char *what)
{
	CHECK_RET(run_cmd(&s->ring, s->dev.fd, cmd), want, "%s", what);
	provoked += want != 0;
}

static void report(void)
{
	note("injected provoked %u", provoked);
	provoked = 0;
}

/* ---- commands that are refused for their contents ---- */

static void expect_register(const struct dev *dev, struct nvme_pmap_register reg, int want,
			    const char *what)
{
	reg.size = sizeof(reg);
	CHECK_RET(nvme_pmap_ioctl(dev->fd, NVME_PMAP_IOC_REGISTER, &reg), want, "%s", what);
	provoked += want != 0;
}

/* As nobody, on a file that root opened. */
static void without_rights(void *arg)
{
	struct setup *s = arg;
	struct nvme_pmap_register reg = { .addr = (uintptr_t)s->mem.map, .len = PAGE, .index = 9 };

	reg.flags = NVME_PMAP_REG_PRP;
	expect_register(&s->dev, reg, -EPERM, "PRP without CAP_SYS_ADMIN");
	expect_register(&s->dev,
			(struct nvme_pmap_register){ .addr = reg.addr, .len = PAGE, .index = 9 }, 0,
			"no flags");
}

static void with_one_page(void *arg)
{
	struct setup *s = arg;
	struct nvme_pmap_register reg = { .addr = (uintptr_t)s->mem.map,
					  .len = 2 * PAGE,
					  .index = 9 };

	limit_memlock(1);
	expect_register(&s->dev, reg, -EDQUOT, "more than RLIMIT_MEMLOCK");
	reg.len = PAGE;
	reg.flags = NVME_PMAP_REG_PRP;
	expect_register(&s->dev, reg, -EDQUOT, "no page left for its list");
}

static void refused_sizes(const struct dev *dev)
{
	struct {
		uint32_t size, rest[1023], more;
	} odd = { .size = sizeof(uint32_t) };

	CHECK_RET(nvme_pmap_ioctl(dev->fd, NVME_PMAP_IOC_REGISTER, NULL), -EFAULT, "no structure");
	CHECK_RET(nvme_pmap_ioctl(dev->fd, NVME_PMAP_IOC_REGISTER, &odd), -EINVAL, "a small one");
	odd.size = sizeof(struct nvme_pmap_register) + 8;
	odd.rest[sizeof(struct nvme_pmap_register) / 4] = 1;
	CHECK_RET(nvme_pmap_ioctl(dev->fd, NVME_PMAP_IOC_REGISTER, &odd), -E2BIG, "a newer one");
	odd.size = sizeof(odd);
	CHECK_RET(nvme_pmap_ioctl(dev->fd, NVME_PMAP_IOC_REGISTER, &odd), -E2BIG, "a large one");
	provoked += 4;
}

/* An answer that cannot be written. */
static void refused_answer(const struct dev *dev)
{
	struct nvme_pmap_query *q = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
					 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (!CHECK(q != MAP_FAILED, "mmap: %s", strerror(errno)))
		return;
	q->size = sizeof(*q);
	mprotect(q, PAGE, PROT_READ);
	CHECK_RET(nvme_pmap_ioctl(dev->fd, NVME_PMAP_IOC_QUERY, q), -EFAULT, "a read-only query");
	munmap(q, PAGE);
	provoked++;
}

void refused_registers(void)
{
	struct nvme_pmap_register good;
	struct nvme_pmap_stats stats;
	struct setup s;

	if (!open_buffer(&s, MODE_IRQ, 0))
		goto out;
	good = (struct nvme_pmap_register){ .addr = (uintptr_t)s.mem.map, .len = PAGE, .index = 5 };
#define BUT(what, want, ...)                              \
	do {                                              \
		struct nvme_pmap_register reg = good;     \
		__VA_ARGS__;                              \
		expect_register(&s.dev, reg, want, what); \
	} while (0)
	BUT("an unknown flag", -EOPNOTSUPP, reg.flags = 1u << 31);
	BUT("both flags", -EINVAL, reg.flags = NVME_PMAP_REG_PRP | NVME_PMAP_REG_SGL_LIST);
	BUT("an odd address", -EDOM, reg.addr++);
	BUT("no length", -ERANGE, reg.len = 0);
	BUT("past the end", -ERANGE, reg.addr = ~(uint64_t)PAGE + 1; reg.len = 2 * PAGE);
	BUT("too long", -EFBIG, reg.len = NVME_PMAP_MAX_LEN + 4);
	BUT("too large an index", -ENOSPC, reg.index = NVME_PMAP_MAX_INDEX);
	BUT("a taken index", -EEXIST, reg.index = s.index);
	BUT("unmapped memory", -EFAULT, reg.addr = PAGE);
	BUT("much of it", -EFAULT, reg.addr = PAGE; reg.len = 16ull << 30);
	BUT("a list of pages larger than memory", -ENOMEM, reg.len = NVME_PMAP_MAX_LEN);
#undef BUT
	refused_sizes(&s.dev);
	refused_answer(&s.dev);
	in_child(without_rights, &s, 1000);
	in_child(with_one_page, &s, 0);
	provoked += 2;
	CHECK_RET(nvme_pmap_stats_file(s.dev.fd, &stats), 0, "stats");
	CHECK_RET(nvme_pmap_unregister_buf(s.dev.fd, 9), 0, "the child's buffer");
	end_buffer(&s);
out:
	setup_close(&s);
	report();
}

static void read_only(void *arg)
{
	struct setup *s = arg;
	struct nvme_pmap_cmd cmd = cmd_rw(&s->dev, OP_WRITE, s->index, 0, PAGE, 0);
	struct io_uring ring;

	if (!ring_open(&ring, MODE_IRQ, 8))
		return;
	CHECK_RET(run_cmd(&ring, s->dev.fd, &cmd), -EACCES,
		  "a write by nobody to a read-only file");
	io_uring_queue_exit(&ring);
}

static void refused_read_only(void)
{
	struct setup s;

	memset(&s, 0, sizeof(s));
	s.mem.fd = -1;
	if (dev_open(&s.dev, NULL, O_RDONLY) && mem_alloc(&s.mem, MEM_4K, PAGE) &&
	    must_register(&s.dev, s.mem.map, PAGE, 0, &s.index)) {
		in_child(read_only, &s, 1000);
		must_unregister(&s.dev, s.index);
	}
	setup_close(&s);
	provoked++;
}

/* The first two before anything was registered on the file. */
static void refused_rings(struct setup *s)
{
	struct nvme_pmap_cmd cmd = cmd_rw(&s->dev, OP_READ, 0, 0, PAGE, 0);
	struct io_uring_sqe *sqe;
	struct completion done;
	struct io_uring narrow;
	struct io_uring_cqe *cqe;
	struct iovec iov = { s->mem.map, PAGE };

	expect(s, &cmd, -ENOENT, "no buffer yet");
	/* io_uring itself looks for the buffer of the ring */
	CHECK_RET(io_uring_register_buffers(&s->ring, &iov, 1), 0, "io_uring_register_buffers");
	sqe = prep_cmd(&s->ring, s->dev.fd, &cmd, 0);
	sqe->rw_flags = IORING_URING_CMD_FIXED;
	io_uring_submit(&s->ring);
	if (CHECK_RET(ring_reap(&s->ring, &done, 20000), 0, "FIXED"))
		CHECK_RET(done.res, -EOPNOTSUPP, "FIXED");
	if (!CHECK_RET(io_uring_queue_init(8, &narrow, 0), 0, "a ring without flags"))
		return;
	sqe = io_uring_get_sqe(&narrow);
	if (!sqe)
		return;
	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, s->dev.fd, NULL, 0, 0);
	sqe->cmd_op = NVME_URING_CMD_PMAP;
	io_uring_submit(&narrow);
	if (CHECK_RET(io_uring_wait_cqe(&narrow, &cqe), 0, "completion"))
		CHECK_RET(cqe->res, -EOPNOTSUPP, "a ring without SQE128 and CQE32");
	io_uring_queue_exit(&narrow);
	provoked += 2;
}

static void refused_fields(struct setup *s)
{
	const struct nvme_pmap_cmd good = cmd_rw(&s->dev, OP_READ, s->index, 0, PAGE, 0);

#define BUT(what, want, ...)                     \
	do {                                     \
		struct nvme_pmap_cmd cmd = good; \
		__VA_ARGS__;                     \
		expect(s, &cmd, want, what);     \
	} while (0)
	BUT("nothing", 0, (void)0);
	BUT("a flag", -EINVAL, cmd.flags = 1);
	BUT("another NSID", -EINVAL, cmd.nsid++);
	BUT("an odd offset", -EDOM, cmd.offset = 2);
	BUT("an offset behind the end", -ERANGE, cmd.offset = s->mem.len);
	BUT("a length across the end", -ERANGE, cmd.offset = s->mem.len - 4);
	BUT("no length", -ERANGE, cmd.data_len = 0);
	BUT("more than MDTS", -EMSGSIZE, cmd.data_len = (uint32_t)LEN + PAGE);
	BUT("more blocks than the length", -EOVERFLOW, cmd.cdw12++);
	BUT("no such index", -ENOENT, cmd.index = 12);
	BUT("an index past the table", -ENOENT, cmd.index = 5000);
#undef BUT
}

void refused_commands(void)
{
	struct setup s;

	memset(&s, 0, sizeof(s));
	s.mem.fd = -1;
	if (dev_open(&s.dev, NULL, O_RDWR) && ring_open(&s.ring, MODE_IRQ, 8) &&
	    mem_alloc(&s.mem, MEM_4K, PAGE))
		refused_rings(&s);
	setup_close(&s);
	if (open_buffer(&s, MODE_IRQ, 0)) {
		refused_fields(&s);
		end_buffer(&s);
	}
	setup_close(&s);
	refused_read_only();
	report();
}

/* ---- no memory for a list of a command's own ---- */

static bool one_built(uint32_t flags, uint64_t offset, uint32_t len, unsigned int n,
		      unsigned int *hits, unsigned int *refused)
{
	struct nvme_pmap_stats stats;
	struct nvme_pmap_cmd cmd;
	bool good = false;
	struct setup s;
	int ret;

	/* the pools of a controller keep their pages */
	if (!rebind() || !open_buffer(&s, MODE_IRQ, flags))
		goto out;
	cmd = cmd_rw(&s.dev, OP_READ, s.index, offset, len, 0);
	inject_nth(n);
	ret = run_cmd(&s.ring, s.dev.fd, &cmd);
	*hits = inject_end();
	*refused += ret == -ENOMEM;
	good = CHECK(!ret || (*hits && ret == -ENOMEM), "failure %u: %s after %u hits", n,
		     err_name(ret), *hits) &&
	       CHECK_RET(run_cmd(&s.ring, s.dev.fd, &cmd), 0, "after failure %u", n) &&
	       CHECK_RET(nvme_pmap_stats_file(s.dev.fd, &stats), 0, "stats") &&
	       CHECK(stats.built == (ret ? 1 : 2) && stats_total(&stats) == stats.built,
		     "%llu built", stats.built);
	end_buffer(&s);
out:
	setup_close(&s);
	return good;
}

static void sweep_built(uint32_t flags, uint64_t offset, uint32_t len, const char *what)
{
	unsigned int n, hits = 1, refused = 0;

	for (n = 1; hits && n < 100; n++)
		if (!one_built(flags, offset, len, n, &hits, &refused))
			break;
	note("%s: %u attempts, %u refused", what, n - 1, refused);
	CHECK(refused > 1, "%s: %u failures came back", what, refused);
}

/* A list of several pages, and one larger than a page: from pools that are empty. */
void built_lists(void)
{
	if (inject_init() && inject_below("nvme_pmap_cmd_alone")) {
		sweep_built(NVME_PMAP_REG_PRP, 0, (uint32_t)LEN, "built PRP list");
		sweep_built(NVME_PMAP_REG_SGL_LIST, 8, MIB(2), "built SGL list");
	}
	inject_report();
}

/* ---- NVMe status, timeout ---- */

static bool set_fault(const char *dir, const char *attr, const char *value)
{
	char path[160];

	snprintf(path, sizeof(path), "/sys/kernel/debug/%s/%s", dir, attr);
	return CHECK(write_file(path, value), "%s to %s: %s", value, path, strerror(errno));
}

static bool arm_fault(const char *dir, const char *times)
{
	return set_fault(dir, "verbose", "0") && set_fault(dir, "times", times) &&
	       set_fault(dir, "probability", "100");
}

/* The namespace's directory of nvme's own injection. */
static void ns_faults(const struct dev *dev, char *dir, size_t size)
{
	snprintf(dir, size, "nvme%s/fault_inject", dev->path + strlen("/dev/ng"));
}

static void one_status(enum mode mode)
{
	struct completion done;
	struct setup s;
	char dir[64];
	unsigned int i, failed = 0;

	if (!open_buffer(&s, mode, 0))
		goto out;
	ns_faults(&s.dev, dir, sizeof(dir));
	if (!set_fault(dir, "status", "0x281") || !arm_fault(dir, "3"))
		goto out;
	for (i = 0; i < 8; i++) {
		struct nvme_pmap_cmd cmd = cmd_rw(&s.dev, OP_READ, s.index, i * PAGE, PAGE, 0);

		prep_cmd(&s.ring, s.dev.fd, &cmd, i);
	}
	CHECK_RET(ring_push(&s.ring), 0, "submit");
	for (i = 0; i < 8; i++) {
		if (!CHECK_RET(ring_reap(&s.ring, &done, 20000), 0, "completion %u", i))
			break;
		failed += done.res != 0;
		CHECK(!done.res || NVME_STATUS(done.res) == 0x281, "status: %s",
		      err_name(done.res));
	}
	CHECK(failed == 3, "%u of 8 commands failed, not 3", failed);
	set_fault(dir, "probability", "0");
	note("injected status %u", failed);
	end_buffer(&s);
out:
	setup_close(&s);
}

void statuses(void)
{
	one_status(MODE_IRQ);
	one_status(MODE_POLL);
	works("after the statuses", 8);
}

/*
 * The completion is lost, and a reset cancels the command.  Not left to its
 * timeout: stock freezes the queues in there and thaws them elsewhere, and lockdep
 * takes offence ("workqueue leaked lock"), with or without the fork.
 */
static void one_loss(enum mode mode)
{
	struct completion done;
	struct nvme_pmap_cmd cmd;
	char path[400], ctrl[160];
	struct setup s;

	if (!open_buffer(&s, mode, 0))
		goto out;
	snprintf(path, sizeof(path), "/sys/block/nvme%s/io-timeout-fail",
		 s.dev.path + strlen("/dev/ng"));
	dev_sysfs(&s.dev, "reset_controller", ctrl, sizeof(ctrl));
	if (!CHECK(write_file(path, "1"), "%s: %s", path, strerror(errno)) ||
	    !arm_fault("fail_io_timeout", "1"))
		goto out;
	cmd = cmd_rw(&s.dev, OP_READ, s.index, 0, PAGE, 0);
	prep_cmd(&s.ring, s.dev.fd, &cmd, 0);
	CHECK_RET(ring_push(&s.ring), 0, "submit");
	CHECK_RET(ring_reap(&s.ring, &done, 2000), -ETIME, "a completion that should be lost");
	set_fault("fail_io_timeout", "probability", "0");
	write_file(path, "0");
	CHECK(write_file(ctrl, "1"), "reset: %s", strerror(errno));
	if (CHECK_RET(ring_reap(&s.ring, &done, 20000), 0, "after the reset"))
		CHECK_RET(done.res, -EINTR, "%s: a lost command", mode_names[mode]);
	note("injected loss 1");
	CHECK_RET(run_cmd(&s.ring, s.dev.fd, &cmd), 0, "%s: after the reset", mode_names[mode]);
	end_buffer(&s);
out:
	setup_close(&s);
}

void lost(void)
{
	one_loss(MODE_IRQ);
	one_loss(MODE_POLL);
	works("after the resets", 8);
}

/* ---- more commands than tags; a format under way ---- */

void no_tags(void)
{
	struct completion done;
	unsigned int round, i;
	struct setup s;

	if (!open_buffer(&s, MODE_IRQ, 0))
		goto out;
	for (round = 0; round < 10; round++) {
		for (i = 0; i < 32; i++) {
			struct nvme_pmap_cmd cmd = cmd_rw(&s.dev, OP_READ, s.index, i * PAGE, PAGE,
							  i);

			prep_cmd(&s.ring, s.dev.fd, &cmd, i);
		}
		CHECK_RET(ring_push(&s.ring), 0, "submit");
		for (i = 0; i < 32; i++)
			if (!CHECK_RET(ring_reap(&s.ring, &done, 20000), 0, "completion %u", i) ||
			    !CHECK_RET(done.res, 0, "command %u", i))
				goto end;
	}
end:
	end_buffer(&s);
out:
	setup_close(&s);
}

void *faults_format(void *arg)
{
	/* vendor specific: for all that the driver knows it formats */
	struct nvme_passthru_cmd cmd = { .opcode = 0xc1 };
	struct formatter *f = arg;

	while (!f->stop)
		ioctl(f->fd, NVME_IOCTL_ADMIN_CMD, &cmd);
	return NULL;
}

void formatting(void)
{
	struct formatter f = { 0 };
	struct nvme_pmap_cmd cmd;
	pthread_t thread;
	struct setup s;
	unsigned int i;

	if (!open_buffer(&s, MODE_IRQ, NVME_PMAP_REG_PRP))
		goto out;
	f.fd = s.dev.fd;
	pthread_create(&thread, NULL, faults_format, &f);
	for (i = 0; i < 100; i++) {
		int ret = run_rw(&s.ring, &s.dev, OP_READ, s.index, 0, PAGE, 0);

		if (!CHECK_RET(ret, 0, "a read meanwhile"))
			break;
	}
	provoked += i;
	f.stop = true;
	pthread_join(thread, NULL);
	/* with a time-out of its own, so that on a queue it is checked by itself */
	cmd = cmd_rw(&s.dev, OP_READ, s.index, 0, PAGE, 0);
	cmd.timeout_ms = 20000;
	CHECK_RET(run_cmd(&s.ring, s.dev.fd, &cmd), 0, "a read afterwards");
	end_buffer(&s);
out:
	setup_close(&s);
	report();
}
