// SPDX-License-Identifier: GPL-2.0
/*
 * Permissions of a user without capabilities on a file that root opened: the
 * same commands as with NVME_URING_CMD_IO, within RLIMIT_MEMLOCK.
 */
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/util.h"

#define NOBODY 65534

static bool is_denied(int res) { return res == -EACCES; }

/* A pmap command is refused for exactly the opcodes that stock passthrough refuses. */
static void same_rules(void *arg)
{
	const struct dev *dev = arg;
	struct mem mem = { .fd = -1 };
	struct io_uring ring;
	unsigned int op, allowed = 0;
	uint32_t index;

	/* a page for each door: DMA_API_DEBUG reports one that is mapped twice */
	if (!ring_open(&ring, MODE_IRQ, 8) || !mem_alloc(&mem, MEM_4K, 2 * PAGE))
		return;
	memset(mem.map, 0, 2 * PAGE);
	if (!must_register(dev, mem.map, PAGE, 0, &index))
		return;
	for (op = 0; op < 256; op++) {
		struct nvme_pmap_cmd cmd = cmd_rw(dev, (uint8_t)op, index, 0, PAGE, 0);
		int stock, pmap;

		/* All data is zero: no range to discard, one block to copy to itself. */
		cmd.cdw12 = 0;
		stock = run_stock(&ring, dev, (uint8_t)op, mem.map + PAGE, PAGE, 0);
		memset(mem.map + PAGE, 0, PAGE);
		pmap = run_cmd(&ring, dev->fd, &cmd);
		memset(mem.map, 0, PAGE);
		allowed += !is_denied(stock);
		CHECK(is_denied(stock) == is_denied(pmap), "opcode %#x: stock %s, pmap %s", op,
		      err_name(stock), err_name(pmap));
	}
	/* Else this compared nothing: read at least, and writes where allowed. */
	CHECK(allowed >= 1 && allowed < 64, "the stock door allows %u opcodes", allowed);
	io_uring_queue_exit(&ring);
}

static void expect_op(struct io_uring *ring, const struct dev *dev, uint32_t index, uint8_t op,
		      int want)
{
	struct nvme_pmap_cmd cmd = cmd_rw(dev, op, index, 0, PAGE, 0);
	int ret;

	cmd.cdw12 = 0;
	ret = run_cmd(ring, dev->fd, &cmd);
	CHECK_RET(ret, want, "opcode %#x", op);
}

static void known_rules(const struct dev *dev, bool writable, bool root)
{
	struct mem mem = { .fd = -1 };
	int write = writable ? 0 : -EACCES, other = -EACCES;
	uint32_t index = NVME_PMAP_INDEX_ANY;
	struct io_uring ring;

	if (!ring_open(&ring, MODE_IRQ, 8) || !mem_alloc(&mem, MEM_4K, PAGE))
		return;
	memset(mem.map, 0, PAGE);
	/* A user without capabilities gets no PRPs: the controller has to check the length. */
	CHECK_RET(nvme_pmap_register_buf(dev->fd, mem.map, PAGE, NVME_PMAP_REG_PRP, &index),
		  root ? 0 : -EPERM, "PRP");
	/* Of unknown length, and no descriptor to bound it. */
	if (root)
		expect_op(&ring, dev, index, OP_VENDOR, -EPERM);
	if (!must_register(dev, mem.map, PAGE, 0, &index))
		return;
	expect_op(&ring, dev, index, OP_READ, 0);
	expect_op(&ring, dev, index, OP_WRITE, write);
	expect_op(&ring, dev, index, OP_COMPARE, write);
	expect_op(&ring, dev, index, OP_WRITE_ZEROES, write);
	expect_op(&ring, dev, index, OP_DSM, write);
	if (root) /* the controller says: no such opcode, and do not retry */
		other = 0x4000 | SC_INVALID_OPCODE;
	expect_op(&ring, dev, index, OP_VENDOR, other);
	expect_op(&ring, dev, index, 0x7f, other); /* fabrics */
	expect_op(&ring, dev, index, 0xff, other);
	io_uring_queue_exit(&ring);
}

static void rules_rdonly(void *arg) { known_rules(arg, false, false); }
static void rules_rdwr(void *arg) { known_rules(arg, true, false); }
static void rules_root(void *arg) { known_rules(arg, true, true); }

static void with_dev(int flags, void (*fn)(void *), uid_t uid)
{
	struct dev dev;

	if (dev_open(&dev, NULL, flags))
		in_child(fn, &dev, uid);
	dev_close(&dev);
}

static void rdonly(void) { with_dev(O_RDONLY, rules_rdonly, NOBODY); }
static void rdwr(void) { with_dev(O_RDWR, rules_rdwr, NOBODY); }
static void as_stock_rdonly(void) { with_dev(O_RDONLY, same_rules, NOBODY); }
static void as_stock_rdwr(void) { with_dev(O_RDWR, same_rules, NOBODY); }

/* CAP_SYS_ADMIN overrides the mode of the file, as in stock. */
static void root_rdonly(void) { with_dev(O_RDONLY, rules_root, 0); }

/* ---- EPERM: commands whose length the driver does not know, or not exactly ---- */

struct unknown {
	struct dev dev;
	struct mem mem;
	uint32_t prp, sgl;
	bool root;
};

/* The controller may still fail a command that the driver accepts. */
#define SENT 1

static void expect_unknown(struct io_uring *ring, const struct unknown *u, const char *what,
			   struct nvme_pmap_cmd cmd, int prp, int sgl)
{
	int ret;

	cmd.index = u->prp;
	ret = run_cmd(ring, u->dev.fd, &cmd);
	CHECK(prp == SENT ? ret >= 0 : ret == prp, "%s, PRP: %s", what, err_name(ret));
	cmd.index = u->sgl;
	ret = run_cmd(ring, u->dev.fd, &cmd);
	CHECK(sgl == SENT ? ret >= 0 : ret == sgl, "%s, SGL: %s", what, err_name(ret));
}

static struct nvme_pmap_cmd unknown_cmd(const struct unknown *u, uint8_t opcode, uint32_t len,
					uint32_t cdw10, uint32_t cdw12)
{
	struct nvme_pmap_cmd cmd = cmd_rw(&u->dev, opcode, 0, 4, len, 0);

	cmd.cdw10 = cdw10;
	cmd.cdw12 = cdw12;
	return cmd;
}

static void unknown_lengths(void *arg)
{
	const struct unknown *u = arg;
	/* commands that stock allows only to root: EACCES comes first */
	int vendor_prp = u->root ? -EPERM : -EACCES, vendor_sgl = u->root ? SENT : -EACCES;
	struct io_uring ring;
	unsigned int op;

	if (!ring_open(&ring, MODE_IRQ, 8))
		return;
	for (op = OP_VENDOR; op < 0x100; op += 13)
		expect_unknown(&ring, u, "vendor specific", unknown_cmd(u, (uint8_t)op, PAGE, 0, 0),
			       vendor_prp, vendor_sgl);
	/* a format of source ranges that is not defined */
	expect_unknown(&ring, u, "copy, format 5", unknown_cmd(u, OP_COPY, PAGE, 0, 5u << 8),
		       -EPERM, u->root ? SENT : -EPERM);
	/* known, but perhaps less: no list is used, since lists are for three slots and more */
	expect_unknown(&ring, u, "copy, two slots", unknown_cmd(u, OP_COPY, 3 * PAGE, 0, 126), SENT,
		       SENT);
	expect_unknown(&ring, u, "copy, three slots", unknown_cmd(u, OP_COPY, 3 * PAGE, 0, 255),
		       -EPERM, SENT);
	expect_unknown(&ring, u, "copy, too long", unknown_cmd(u, OP_COPY, PAGE, 0, 255),
		       -EOVERFLOW, -EOVERFLOW);
	io_uring_queue_exit(&ring);
}

static void unknown_length(void)
{
	struct unknown u = { .mem.fd = -1 };

	if (!dev_open(&u.dev, NULL, O_RDWR) || !mem_alloc(&u.mem, MEM_SHMEM, 4 * PAGE) ||
	    !must_register(&u.dev, u.mem.map, u.mem.len, NVME_PMAP_REG_PRP, &u.prp) ||
	    !must_register(&u.dev, u.mem.map, u.mem.len, 0, &u.sgl))
		goto out;
	memset(u.mem.map, 0, u.mem.len);
	u.root = true;
	in_child(unknown_lengths, &u, 0);
	u.root = false;
	in_child(unknown_lengths, &u, NOBODY);
out:
	mem_free(&u.mem);
	dev_close(&u.dev);
}

/* ---- RLIMIT_MEMLOCK ---- */

#define LIMIT_PAGES 16u

static bool set_limit(rlim_t bytes)
{
	struct rlimit limit = { bytes, bytes };

	return CHECK(!setrlimit(RLIMIT_MEMLOCK, &limit), "setrlimit: %s", strerror(errno));
}

/* A list is charged for where it is more than a percent of the buffer. */
static uint32_t charge_of(uint32_t form, uint32_t pages)
{
	return pages + (form != NVME_PMAP_FORM_SGL_RUN && pages < 100);
}

/* Pages of a buffer, and their charge. */
static int register_pages(const struct dev *dev, const void *at, uint32_t pages, uint32_t flags,
			  uint32_t *index, uint32_t *charge)
{
	struct nvme_pmap_register reg = {
		.size = sizeof(reg),
		.flags = flags,
		.addr = (uintptr_t)at,
		.len = pages * PAGE,
		.index = NVME_PMAP_INDEX_ANY,
	};
	int ret = nvme_pmap_ioctl(dev->fd, NVME_PMAP_IOC_REGISTER, &reg);

	*index = reg.index;
	if (!ret)
		*charge = charge_of(reg.form, pages);
	return ret;
}

/* Exactly the limit fits, in two parts; a page more does not. */
static void fill_limit(void *arg)
{
	const uint32_t half = LIMIT_PAGES / 2;
	const struct dev *dev = arg;
	struct mem mem = { .fd = -1 };
	uint32_t first, second, third, charge = 0, rest;

	if (!mem_alloc(&mem, MEM_4K, 4 * half * PAGE) ||
	    !CHECK_RET(register_pages(dev, mem.map, half, 0, &first, &charge), 0, "half of it"))
		return;
	rest = LIMIT_PAGES - charge - 1;
	CHECK_RET(register_pages(dev, mem.map + half * PAGE, rest + 1, NVME_PMAP_REG_SGL_LIST,
				 &second, &third),
		  -EDQUOT, "the pages, but not their list");
	if (!CHECK_RET(register_pages(dev, mem.map + half * PAGE, rest, NVME_PMAP_REG_SGL_LIST,
				      &second, &third),
		       0, "the rest of it"))
		return;
	CHECK_RET(nvme_pmap_register_buf(dev->fd, mem.map, 4, 0, &third), -EDQUOT,
		  "four bytes more, in a page that is pinned already");
	CHECK_RET(nvme_pmap_register_buf(dev->fd, mem.map, 4 * half * PAGE, 0, &third), -EDQUOT,
		  "much more");
	CHECK(status_kib(getpid(), "VmPin") == (long)((half + rest) * PAGE / 1024),
	      "VmPin is %ld KiB", status_kib(getpid(), "VmPin"));
	must_unregister(dev, first);
	CHECK_RET(nvme_pmap_register_buf(dev->fd, mem.map + PAGE - 4, half * PAGE, 0, &third),
		  -EDQUOT, "as many bytes, but in one page more");
	if (CHECK_RET(register_pages(dev, mem.map, half, 0, &third, &charge), 0, "as before"))
		must_unregister(dev, third);
	must_unregister(dev, second);
}

/* A failed registration is not charged. */
static void failed_free(void *arg)
{
	const uint64_t limit = (LIMIT_PAGES - 1) * PAGE;
	const struct dev *dev = arg;
	struct mem mem = { .fd = -1 };
	uint32_t index;
	int i;

	if (!mem_alloc(&mem, MEM_4K, limit + 2 * PAGE))
		return;
	for (i = 0; i < 50; i++) {
		mprotect(mem.map + limit / 2 / PAGE * PAGE, PAGE, PROT_NONE);
		CHECK_RET(nvme_pmap_register_buf(dev->fd, mem.map, limit, 0, &index), -EFAULT,
			  "half of it inaccessible");
		CHECK_RET(nvme_pmap_register_buf(dev->fd, mem.map, limit + 2 * PAGE, 0, &index),
			  -EDQUOT, "a page too much");
		mprotect(mem.map + limit / 2 / PAGE * PAGE, PAGE, PROT_READ | PROT_WRITE);
		CHECK_RET(nvme_pmap_register_buf(dev->fd, mem.map, limit + PAGE,
						 NVME_PMAP_REG_SGL_LIST, &index),
			  -EDQUOT, "a list too much");
	}
	must_register(dev, mem.map, limit, NVME_PMAP_REG_SGL_LIST, &index);
}

/* ---- CAP_IPC_LOCK: its registrations use up no user's limit ---- */

struct spared {
	struct dev dev;
	int ready[2], over[2];
};

/* As nobody, but with the capability: twice the limit, until told otherwise. */
static void spared_child(void *arg)
{
	const uint32_t pages = 2 * LIMIT_PAGES;
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[2] = { 0 };
	struct spared *s = arg;
	struct mem mem = { .fd = -1 };
	uint32_t index;
	char c;

	close(s->over[1]);
	caps[0].effective = caps[0].permitted = 1u << CAP_IPC_LOCK;
	if (!CHECK(!prctl(PR_SET_KEEPCAPS, 1) && !setresuid(NOBODY, NOBODY, NOBODY) &&
			   !syscall(SYS_capset, &head, caps),
		   "to be nobody with CAP_IPC_LOCK: %s", strerror(errno)) ||
	    !mem_alloc(&mem, MEM_4K, pages * PAGE) ||
	    !must_register(&s->dev, mem.map, pages * PAGE, 0, &index))
		return;
	CHECK(status_kib(getpid(), "VmPin") == (long)(pages * PAGE / 1024), "VmPin is %ld KiB",
	      status_kib(getpid(), "VmPin"));
	if (write(s->ready[1], "", 1) == 1)
		CHECK(!read(s->over[0], &c, 1), "the end");
}

/* Another program of the same user: with all of its limit for io_uring. */
static void beside_spared(void *arg)
{
	struct mem mem = { .fd = -1 };
	struct io_uring ring;
	struct iovec iov;

	if (!ring_open(&ring, MODE_IRQ, 8) || !mem_alloc(&mem, MEM_4K, LIMIT_PAGES * PAGE))
		return;
	iov = (struct iovec){ mem.map, LIMIT_PAGES * PAGE };
	CHECK_RET(io_uring_register_buffers(&ring, &iov, 1), 0, "all of the limit, by io_uring");
	io_uring_queue_exit(&ring);
	(void)arg;
}

static void memlock_spared(void)
{
	struct spared s;
	struct rlimit old;
	pid_t pid;
	char c;

	getrlimit(RLIMIT_MEMLOCK, &old);
	if (!dev_open(&s.dev, NULL, O_RDWR) ||
	    !CHECK(!pipe(s.ready) && !pipe(s.over), "pipe: %s", strerror(errno)))
		return;
	set_limit(LIMIT_PAGES * PAGE);
	pid = child_start(spared_child, &s, 0);
	close(s.ready[1]);
	close(s.over[0]);
	if (pid > 0) {
		if (CHECK(read(s.ready[0], &c, 1) == 1, "nothing is registered"))
			in_child(beside_spared, &s, NOBODY);
		close(s.over[1]);
		child_wait(pid);
	}
	setrlimit(RLIMIT_MEMLOCK, &old);
	dev_close(&s.dev);
}

static void limit_case(void (*fn)(void *))
{
	struct rlimit old;
	struct dev dev;
	int i;

	getrlimit(RLIMIT_MEMLOCK, &old);
	if (!dev_open(&dev, NULL, O_RDWR))
		return;
	/* Again and again: the charge of an exited process must not stay. */
	for (i = 0; i < 3; i++) {
		struct dev own;
		pid_t pid;

		/* A file of its own, whose last reference goes with the child. */
		if (!dev_open(&own, NULL, O_RDWR))
			break;
		set_limit(LIMIT_PAGES * PAGE);
		pid = child_start(fn, &own, NOBODY);
		close(own.fd);
		if (pid > 0)
			child_wait(pid);
		setrlimit(RLIMIT_MEMLOCK, &old);
	}
	dev_close(&dev);
}

static void memlock(void) { limit_case(fill_limit); }
static void memlock_failed(void) { limit_case(failed_free); }

static void no_limit_child(void *arg)
{
	const struct dev *dev = arg;
	struct mem mem = { .fd = -1 };
	uint32_t index;

	if (mem_alloc(&mem, MEM_4K, MIB(1)))
		must_register(dev, mem.map, MIB(1), 0, &index);
}

static void zero_limit_child(void *arg)
{
	const struct dev *dev = arg;
	struct mem mem = { .fd = -1 };
	uint32_t index;

	if (set_limit(0) && mem_alloc(&mem, MEM_4K, PAGE))
		CHECK_RET(nvme_pmap_register_buf(dev->fd, mem.map, 4, 0, &index), -EDQUOT,
			  "four bytes with a limit of zero");
}

static void root_over_limit(void *arg)
{
	if (set_limit(0))
		no_limit_child(arg);
}

static void memlock_extremes(void)
{
	struct rlimit old;

	getrlimit(RLIMIT_MEMLOCK, &old);
	with_dev(O_RDWR, zero_limit_child, NOBODY);
	with_dev(O_RDWR, root_over_limit, 0); /* CAP_IPC_LOCK */
	set_limit(RLIM_INFINITY);
	with_dev(O_RDWR, no_limit_child, NOBODY);
	setrlimit(RLIMIT_MEMLOCK, &old);
}

static const struct test_case unprivileged_cases[] = {
	{ "rdonly", rdonly },
	{ "rdwr", rdwr },
	{ "as-stock-rdonly", as_stock_rdonly },
	{ "as-stock-rdwr", as_stock_rdwr },
	{ "root-rdonly", root_rdonly },
	{ "unknown-length", unknown_length },
	{ "memlock", memlock },
	{ "memlock-failed", memlock_failed },
	{ "memlock-extremes", memlock_extremes },
	{ "memlock-spared", memlock_spared },
};

SUBJECT(unprivileged);
