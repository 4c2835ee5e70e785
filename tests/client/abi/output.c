// SPDX-License-Identifier: GPL-2.0
/*
 * Output of ioctls and commands: they write the documented fields and nothing
 * else, and move data to the memory registered now, in spite of changes of the
 * file and the device meanwhile.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include "abi/bounds.h"

/* ---- ioctls ---- */

struct span {
	size_t from, to;
};

/*
 * @arg, of @size bytes in a page of poison: after the call no byte has changed
 * except the fields of @out, and if @fails, none at all.
 */
static void only_out(int fd, unsigned long request, const void *arg, size_t size, struct span out,
		     int want)
{
	unsigned char page[PAGE], before[PAGE];
	size_t i;

	poison(page, PAGE);
	memcpy(page + 512, arg, size);
	memcpy(before, page, PAGE);
	CHECK_RET(nvme_pmap_ioctl(fd, request, page + 512), want, "request %#lx", request);
	for (i = 0; i < PAGE; i++) {
		bool changed = page[i] != before[i];
		bool allowed = !want && i >= 512 + out.from && i < 512 + out.to;

		CHECK(!changed || allowed, "request %#lx (%s): byte %d of the argument changed",
		      request, err_name(want), (int)i - 512);
	}
}

#define OUT(type, first)                                          \
	{                                                         \
		offsetof(struct type, first), sizeof(struct type) \
	}

static void out_register(struct reg_bounds *s)
{
	const struct span none = { 0, 0 }, out = OUT(nvme_pmap_register, index);
	struct nvme_pmap_register r = {
		.size = sizeof(r), .addr = (uintptr_t)s->buf, .len = PAGE, .index = 9,
		.form = 0x5a5a5a5a, .list_bytes = 0x5a5a5a5a5a5a5a5a,
	}, bad = r;

	only_out(s->dev.fd, NVME_PMAP_IOC_REGISTER, &r, sizeof(r), out, 0);
	only_out(s->dev.fd, NVME_PMAP_IOC_REGISTER, &r, sizeof(r), none, -EEXIST);
	bad.len = 3;
	only_out(s->dev.fd, NVME_PMAP_IOC_REGISTER, &bad, sizeof(r), none, -EDOM);
	bad.len = 2 * REG_LEN;
	only_out(s->dev.fd, NVME_PMAP_IOC_REGISTER, &bad, sizeof(r), none, -EFAULT);
	bad.index = NVME_PMAP_MAX_INDEX;
	only_out(s->dev.fd, NVME_PMAP_IOC_REGISTER, &bad, sizeof(r), none, -ENOSPC);
}

static void out_unregister(struct reg_bounds *s)
{
	const struct span none = { 0, 0 };
	struct nvme_pmap_unregister u = { .size = sizeof(u), .index = 9 }, bad = u;
	unsigned char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
				   -1, 0);

	bad.reserved = 1;
	only_out(s->dev.fd, NVME_PMAP_IOC_UNREGISTER, &bad, sizeof(u), none, -EINVAL);
	only_out(s->dev.fd, NVME_PMAP_IOC_UNREGISTER, &u, sizeof(u), none, 0);
	only_out(s->dev.fd, NVME_PMAP_IOC_UNREGISTER, &u, sizeof(u), none, -ENOENT);
	/* It answers nothing, so that its argument need not be writable. */
	u.index = 0;
	memcpy(page, &u, sizeof(u));
	mprotect(page, PAGE, PROT_READ);
	CHECK_RET(nvme_pmap_ioctl(s->dev.fd, NVME_PMAP_IOC_UNREGISTER, page), 0,
		  "unregister, read-only argument");
	munmap(page, PAGE);
}

static void out_queue(struct reg_bounds *s)
{
	struct nvme_pmap_attach att = { .size = sizeof(att) };
	struct nvme_pmap_detach det = { .size = sizeof(det) };
	const struct span none = { 0, 0 };

	only_out(s->dev.fd, NVME_PMAP_IOC_ATTACH, &att, sizeof(att), none,
		 opt.queues ? -EALREADY : 0);
	only_out(s->dev.fd, NVME_PMAP_IOC_DETACH, &det, sizeof(det), none, 0);
	only_out(s->dev.fd, NVME_PMAP_IOC_DETACH, &det, sizeof(det), none, -ENOTCONN);
}

static void outputs(void)
{
	const struct span none = { 0, 0 }, query = OUT(nvme_pmap_query, version),
			  stats = OUT(nvme_pmap_stats, prp);
	struct nvme_pmap_query q;
	struct nvme_pmap_stats st;
	struct reg_bounds s;

	if (!reg_open(&s))
		goto out;
	memset(&q, 0x5a, sizeof(q));
	memset(&st, 0x5a, sizeof(st));
	q.size = sizeof(q);
	st.size = sizeof(st);
	only_out(s.dev.fd, NVME_PMAP_IOC_QUERY, &q, sizeof(q), none, -EOPNOTSUPP);
	only_out(s.dev.fd, NVME_PMAP_IOC_STATS, &st, sizeof(st), none, -EOPNOTSUPP);
	q.flags = st.flags = 0;
	only_out(s.dev.fd, NVME_PMAP_IOC_QUERY, &q, sizeof(q), query, 0);
	only_out(s.dev.fd, NVME_PMAP_IOC_STATS, &st, sizeof(st), stats, 0);
	CHECK_RET(nvme_pmap_ioctl(s.dev.fd, NVME_PMAP_IOC_QUERY, &q), 0, "query");
	CHECK(q.queues_free && q.queue_depth && !q.queue_irq != opt.queues &&
		      !q.queue_polled != opt.queues,
	      "%u queues free, of %u, %u and %u attached", q.queues_free, q.queue_depth,
	      q.queue_irq, q.queue_polled);
	q.size = 4;
	only_out(s.dev.fd, NVME_PMAP_IOC_QUERY, &q, sizeof(q), none, -EINVAL);
	out_register(&s);
	out_unregister(&s);
	out_queue(&s);
out:
	reg_close(&s);
}

/* ---- completions ---- */

/* Instead of an errno: any NVMe status. */
#define RES_STATUS INT_MAX

/* One command into a completion queue full of poison. */
static void one_cqe(struct setup *s, const struct nvme_pmap_cmd *c, int want, const char *what)
{
	const struct io_uring_cqe *cqe;
	struct io_uring_cq *cq = &s->ring.cq;
	uint64_t end = now_ms() + 20000;

	memset(cq->cqes, 0x5a, (cq->ring_mask + 1) * 2 * sizeof(*cqe));
	prep_cmd(&s->ring, s->dev.fd, c, 77);
	CHECK(io_uring_submit(&s->ring) > 0, "submit");
	while (!io_uring_cq_ready(&s->ring) && now_ms() < end)
		io_uring_enter((unsigned int)s->ring.ring_fd, 0, 0, IORING_ENTER_GETEVENTS, NULL);
	if (!CHECK(io_uring_cq_ready(&s->ring) == 1, "%s: no completion", what))
		return;
	cqe = &cq->cqes[(*cq->khead & cq->ring_mask) * 2];
	CHECK(cqe->user_data == 77 && (want == RES_STATUS ? cqe->res > 0 : cqe->res == want),
	      "%s: %s", what, err_name(cqe->res));
	CHECK(!cqe->flags && !cqe->big_cqe[0] && !cqe->big_cqe[1],
	      "%s: flags %#x, result %#llx %#llx", what, cqe->flags, cqe->big_cqe[0],
	      cqe->big_cqe[1]);
	io_uring_cq_advance(&s->ring, 1);
}

static void cqes_of(enum mode mode)
{
	struct nvme_pmap_cmd good, bad;
	struct setup s;
	int i;

	if (!setup_make(&s, NULL, mode, MEM_4K, 16 * PAGE))
		goto out;
	good = cmd_rw(&s.dev, OP_READ, s.index, 0, PAGE, 0);
	/* Again and again: io_uring uses its requests again. */
	for (i = 0; i < 20; i++) {
		one_cqe(&s, &good, 0, "a read");
		bad = good;
		bad.index++;
		one_cqe(&s, &bad, -ENOENT, "no buffer");
		bad = good;
		bad.offset = 1;
		one_cqe(&s, &bad, -EDOM, "misaligned");
		bad.offset = 16 * PAGE;
		one_cqe(&s, &bad, -ERANGE, "out of range");
		bad = good;
		bad.cdw12 = 0xffff;
		one_cqe(&s, &bad, -EOVERFLOW, "too long");
		bad = good;
		bad.cdw10 = (uint32_t)s.dev.blocks;
		one_cqe(&s, &bad, RES_STATUS, "past the end of the disk");
	}
out:
	setup_close(&s);
}

static void cqes(void)
{
	unsigned int mode;

	for (mode = 0; mode < NR_MODES; mode++)
		cqes_of(mode);
}

/* An index goes to another buffer: the old memory is out of reach. */
static void reused_index(void)
{
	struct nvme_pmap_register r = { .size = sizeof(r), .len = 8 * PAGE };
	struct setup s;
	int i;

	if (!setup_make(&s, NULL, MODE_IRQ, MEM_4K, 16 * PAGE))
		goto out;
	for (i = 0; i < 20; i++) {
		unsigned char *half = s.mem.map + (i % 2) * 8 * PAGE;
		unsigned char *other = s.mem.map + (1 - i % 2) * 8 * PAGE;

		must_unregister(&s.dev, s.index);
		r.addr = (uintptr_t)half;
		r.index = s.index;
		CHECK_RET(nvme_pmap_ioctl(s.dev.fd, NVME_PMAP_IOC_REGISTER, &r), 0, "register");
		poison(s.mem.map, 16 * PAGE);
		CHECK_RET(run_rw(&s.ring, &s.dev, OP_READ, s.index, 0, 8 * PAGE, 0), 0, "read");
		CHECK(poisoned(half, PAGE) < PAGE, "nothing arrived");
		CHECK(poisoned(other, 8 * PAGE) == 8 * PAGE, "the old memory changed");
	}
out:
	setup_close(&s);
}

/* Only the ring holds the file; then a command alone does.  -D is slow. */
static void fixed_file(void)
{
	struct nvme_pmap_cmd c;
	struct completion done;
	struct setup s;
	int minus = -1;

	if (!opt.dev2) {
		skip_case("no second device");
		return;
	}
	if (!setup_make(&s, opt.dev2, MODE_IRQ, MEM_4K, 16 * PAGE))
		goto out;
	c = cmd_rw(&s.dev, OP_READ, s.index, 0, 16 * PAGE, 0);
	CHECK_RET(io_uring_register_files(&s.ring, &s.dev.fd, 1), 0, "register the file");
	close(s.dev.fd);
	s.dev.fd = -1;
	prep_cmd(&s.ring, 0, &c, 1)->flags = IOSQE_FIXED_FILE;
	CHECK_RET(io_uring_submit(&s.ring), 1, "submit");
	/* 1 on success; the table's reference is gone while the command runs */
	CHECK_RET(io_uring_register_files_update(&s.ring, 0, &minus, 1), 1, "take it away");
	CHECK(status_kib(getpid(), "VmPin") == 64, "unpinned under the command");
	if (CHECK_RET(ring_reap(&s.ring, &done, 20000), 0, "completion"))
		CHECK_RET(done.res, 0, "the command");
	prep_cmd(&s.ring, 0, &c, 2)->flags = IOSQE_FIXED_FILE;
	CHECK_RET(io_uring_submit(&s.ring), 1, "submit");
	if (CHECK_RET(ring_reap(&s.ring, &done, 20000), 0, "completion"))
		CHECK_RET(done.res, -EBADF, "the file is gone");
	CHECK(pins_gone(getpid(), 5000), "VmPin stays after the last reference");
out:
	setup_close(&s);
}

/* The device no longer answers, as if it had been pulled out. */
static bool unplug(const struct dev *dev)
{
	char path[160];
	uint16_t command;
	bool good;
	int fd;

	if (!dev_sysfs(dev, "device/config", path, sizeof(path)))
		return CHECK(false, "no config space");
	fd = open(path, O_RDWR);
	good = pread(fd, &command, 2, 4) == 2;
	command &= (uint16_t)~2; /* memory space */
	good = good && pwrite(fd, &command, 2, 4) == 2;
	close(fd);
	return CHECK(good, "cannot write %s", path);
}

/*
 * -D names a slow zoned namespace, and is gone afterwards.  A command that the
 * driver cancels has no result; its request still has the result of the append before it.
 */
static void cancelled(void)
{
	struct nvme_pmap_cmd append, reset;
	struct completion done = { 0 };
	cpu_set_t cpu = { 0 };
	char path[160];
	struct setup s;

	if (!opt.dev2) {
		skip_case("no second device");
		return;
	}
	/* One CPU, one tag after the other: the same request. */
	CPU_SET(0, &cpu);
	sched_setaffinity(0, sizeof(cpu), &cpu);
	if (!setup_make(&s, opt.dev2, MODE_IRQ, MEM_4K, 16 * PAGE) ||
	    !CHECK(dev_sysfs(&s.dev, "reset_controller", path, sizeof(path)),
		   "no reset_controller"))
		goto out;
	reset = cmd_rw(&s.dev, OP_ZONE_SEND, s.index, 0, 4, 2048);
	reset.cdw12 = 0;
	reset.cdw13 = 4;
	CHECK_RET(run_cmd(&s.ring, s.dev.fd, &reset), 0, "zone reset");
	append = cmd_rw(&s.dev, OP_ZONE_APPEND, s.index, 0, PAGE, 2048);
	prep_cmd(&s.ring, s.dev.fd, &append, 1);
	CHECK_RET(io_uring_submit(&s.ring), 1, "submit");
	if (!CHECK_RET(ring_reap(&s.ring, &done, 20000), 0, "append") ||
	    !CHECK(!done.res && done.result, "append: %s, at %" PRIu64, err_name(done.res),
		   done.result))
		goto out;
	append.opcode = OP_READ;
	prep_cmd(&s.ring, s.dev.fd, &append, 2);
	CHECK_RET(io_uring_submit(&s.ring), 1, "submit");
	/* The reset finds out, and fails. */
	if (unplug(&s.dev))
		write_file(path, "1");
	if (CHECK_RET(ring_reap(&s.ring, &done, 20000), 0, "read")) {
		CHECK_RET(done.res, -EINTR, "the cancelled read");
		CHECK(!done.result, "its result is %#" PRIx64 ", of another command", done.result);
	}
out:
	setup_close(&s);
}

static const struct test_case output_cases[] = {
	{ "outputs", outputs },	      { "cqes", cqes },		  { "reused-index", reused_index },
	{ "fixed-file", fixed_file }, { "cancelled", cancelled },
};

SUBJECT(output);
