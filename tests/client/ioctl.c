// SPDX-License-Identifier: GPL-2.0
/* The four ioctls: values, sizes, pointers, boundaries; as root. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util.h"

/* The ioctls with an argument that succeeds, and what undoes it. */
enum { QUERY, REGISTER, UNREGISTER, STATS, NR_CALLS };

static const struct {
	const char *name;
	unsigned long request;
	uint32_t size;
} calls[NR_CALLS] = {
	{ "query", NVME_PMAP_IOC_QUERY, sizeof(struct nvme_pmap_query) },
	{ "register", NVME_PMAP_IOC_REGISTER, sizeof(struct nvme_pmap_register) },
	{ "unregister", NVME_PMAP_IOC_UNREGISTER, sizeof(struct nvme_pmap_unregister) },
	{ "stats", NVME_PMAP_IOC_STATS, sizeof(struct nvme_pmap_stats) },
};

struct call_setup {
	struct dev dev;
	unsigned char *buf; /* 16 pages to register */
	unsigned char *arg; /* two pages, and one that nobody may touch */
};

#define BUF_LEN (16 * PAGE)
#define ARG_LEN (2 * PAGE)

static bool call_open(struct call_setup *s)
{
	memset(s, 0, sizeof(*s));
	s->buf = mmap(NULL, BUF_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	s->arg = mmap(NULL, ARG_LEN + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		      0);
	mprotect(s->arg + ARG_LEN, PAGE, PROT_NONE);
	return dev_open(&s->dev, NULL, O_RDWR);
}

static void call_close(struct call_setup *s)
{
	dev_close(&s->dev);
	munmap(s->buf, BUF_LEN);
	munmap(s->arg, ARG_LEN + PAGE);
}

/* Put a valid argument of call @nr at @arg; index 0 is kept for unregister. */
static void valid_arg(const struct call_setup *s, unsigned int nr, void *arg)
{
	struct nvme_pmap_register reg = {
		.addr = (uintptr_t)s->buf,
		.len = PAGE,
		.index = 1,
	};

	memset(arg, 0, calls[nr].size);
	if (nr == REGISTER)
		memcpy(arg, &reg, sizeof(reg));
	memcpy(arg, &calls[nr].size, 4);
}

static int call(const struct call_setup *s, unsigned int nr, void *arg)
{
	return nvme_pmap_ioctl(s->dev.fd, calls[nr].request, arg);
}

static bool before_call(const struct call_setup *s, unsigned int nr)
{
	struct nvme_pmap_register reg = {
		.size = sizeof(reg),
		.addr = (uintptr_t)s->buf,
		.len = PAGE,
		.index = 0,
	};

	return nr != UNREGISTER ||
	       CHECK_RET(nvme_pmap_ioctl(s->dev.fd, NVME_PMAP_IOC_REGISTER, &reg), 0,
			 "register index 0");
}

/* Both indexes are free again, whether the call succeeded or not. */
static void after_call(const struct call_setup *s)
{
	nvme_pmap_unregister_buf(s->dev.fd, 0);
	nvme_pmap_unregister_buf(s->dev.fd, 1);
}

static bool query_is(const struct dev *dev, struct nvme_pmap_query *q)
{
	return CHECK_RET(nvme_pmap_query_file(dev->fd, q), 0, "query");
}

static void query_values(void)
{
	struct nvme_pmap_query q;
	struct call_setup s;

	if (!call_open(&s) || !query_is(&s.dev, &q))
		goto out;
	CHECK(q.size == sizeof(q), "size %u", q.size);
	CHECK(q.version == NVME_PMAP_VERSION, "version %u", q.version);
	CHECK(q.doors & NVME_PMAP_DOOR_PMAP, "doors %#x", q.doors);
	CHECK(q.forms & 1 << NVME_PMAP_FORM_PRP, "forms %#x without PRP", q.forms);
	/* QEMU's controller supports SGLs. */
	CHECK(q.forms == 7, "forms %#x", q.forms);
	CHECK(q.align == NVME_PMAP_ALIGN, "align %u", q.align);
	CHECK(q.max_index == NVME_PMAP_MAX_INDEX, "max_index %u", q.max_index);
	CHECK(q.max_len == NVME_PMAP_MAX_LEN, "max_len %#llx", q.max_len);
	CHECK(q.max_transfer == s.dev.mdts, "max_transfer %llu, the controller's MDTS is %" PRIu64,
	      q.max_transfer, s.dev.mdts);
	CHECK(q.lba_bytes == s.dev.block, "lba_bytes %u, not %u", q.lba_bytes, s.dev.block);
	CHECK(!q.nr_pmaps && !q.pinned && !q.kept, "not empty: %u buffers, %llu pinned, %llu kept",
	      q.nr_pmaps, q.pinned, q.kept);
out:
	call_close(&s);
}

/* Numbers move with registrations and come back. */
static void query_accounting(void)
{
	struct nvme_pmap_register reg = { .size = sizeof(reg), .index = 77 };
	struct nvme_pmap_query q;
	struct call_setup s;

	if (!call_open(&s))
		goto out;
	reg.addr = (uintptr_t)s.buf + 8;
	reg.len = 2 * PAGE;
	if (!CHECK_RET(nvme_pmap_ioctl(s.dev.fd, NVME_PMAP_IOC_REGISTER, &reg), 0, "register"))
		goto out;
	CHECK(reg.index == 77 && reg.form <= NVME_PMAP_FORM_SGL_RUN && reg.kept,
	      "index %u form %u kept %llu", reg.index, reg.form, reg.kept);
	if (query_is(&s.dev, &q))
		CHECK(q.nr_pmaps == 1 && q.pinned == 3 * PAGE && q.kept >= reg.kept,
		      "%u buffers, %llu pinned, %llu kept", q.nr_pmaps, q.pinned, q.kept);
	CHECK(status_kib(getpid(), "VmPin") == 3 * PAGE / 1024, "VmPin is %ld KiB",
	      status_kib(getpid(), "VmPin"));
	must_unregister(&s.dev, 77);
	CHECK(status_kib(getpid(), "VmPin") == 0, "VmPin after unregister");
	if (query_is(&s.dev, &q))
		CHECK(!q.nr_pmaps && !q.pinned && !q.kept,
		      "%u buffers, %llu pinned, %llu kept left", q.nr_pmaps, q.pinned, q.kept);
out:
	call_close(&s);
}

static void one_size(struct call_setup *s, unsigned int nr, uint32_t size, unsigned char tail,
		     int want)
{
	int ret;

	if (!before_call(s, nr))
		return;
	memset(s->arg, 0, ARG_LEN);
	valid_arg(s, nr, s->arg);
	memcpy(s->arg, &size, 4);
	if (tail)
		s->arg[size - 1] = tail;
	ret = call(s, nr, s->arg);
	CHECK_RET(ret, want, "%s with size %u (tail %u)", calls[nr].name, size, tail);
	after_call(s);
}

static void sizes(void)
{
	struct call_setup s;
	unsigned int nr;
	int ret;

	if (!call_open(&s))
		goto out;
	for (nr = 0; nr < NR_CALLS; nr++) {
		uint32_t n = calls[nr].size, huge = 1u << 31;

		one_size(&s, nr, 0, 0, -EINVAL);
		one_size(&s, nr, 1, 0, -EINVAL);
		one_size(&s, nr, 3, 0, -EINVAL);
		one_size(&s, nr, 4, 0, -EINVAL);
		one_size(&s, nr, n - 1, 0, -EINVAL);
		one_size(&s, nr, n, 0, 0);
		one_size(&s, nr, n + 1, 0, 0);
		one_size(&s, nr, n + 8, 0, 0);
		one_size(&s, nr, PAGE, 0, 0);
		one_size(&s, nr, n + 1, 1, -E2BIG);
		one_size(&s, nr, n + 8, 0x80, -E2BIG);
		one_size(&s, nr, PAGE, 1, -E2BIG);
		/* More than there is: unreadable, or refused without a look. */
		memset(s.arg, 0, ARG_LEN);
		valid_arg(&s, nr, s.arg);
		memcpy(s.arg, &huge, 4);
		ret = call(&s, nr, s.arg);
		CHECK(ret == -E2BIG || ret == -EFAULT, "%s with size 2^31: %s", calls[nr].name,
		      err_name(ret));
		after_call(&s);
	}
out:
	call_close(&s);
}

static void pointers(void)
{
	struct call_setup s;
	unsigned int nr;

	if (!call_open(&s))
		goto out;
	for (nr = 0; nr < NR_CALLS; nr++) {
		unsigned char *end = s.arg + ARG_LEN;
		uint32_t n = calls[nr].size;

		if (!before_call(&s, nr))
			break;
		valid_arg(&s, nr, s.arg);
		CHECK_RET(call(&s, nr, NULL), -EFAULT, "%s NULL", calls[nr].name);
		CHECK_RET(call(&s, nr, end), -EFAULT, "%s inaccessible", calls[nr].name);
		CHECK_RET(call(&s, nr, (void *)(1ull << 63)), -EFAULT, "%s in the kernel",
			  calls[nr].name);
		CHECK_RET(call(&s, nr, (void *)-8ll), -EFAULT, "%s at the top", calls[nr].name);
		/* The last four bytes are out of reach. */
		memcpy(end - n + 4, s.arg, n - 4);
		CHECK_RET(call(&s, nr, end - n + 4), -EFAULT, "%s cut off", calls[nr].name);
		/* Odd addresses are fine, and so is the very end of a page. */
		memmove(end - n, s.arg, n);
		CHECK_RET(call(&s, nr, end - n), 0, "%s at the end of a page", calls[nr].name);
		after_call(&s);
		if (before_call(&s, nr)) {
			valid_arg(&s, nr, s.arg + 1);
			CHECK_RET(call(&s, nr, s.arg + 1), 0, "%s at an odd address",
				  calls[nr].name);
		}
		after_call(&s);
	}
out:
	call_close(&s);
}

/* Where the answer cannot be written, nothing has happened. */
static void readonly_argument(void)
{
	struct nvme_pmap_query q;
	struct call_setup s;
	unsigned int nr;

	if (!call_open(&s))
		goto out;
	for (nr = 0; nr < NR_CALLS; nr++) {
		if (nr == UNREGISTER) /* answers nothing */
			continue;
		valid_arg(&s, nr, s.arg);
		mprotect(s.arg, PAGE, PROT_READ);
		CHECK_RET(call(&s, nr, s.arg), -EFAULT, "%s, read-only argument", calls[nr].name);
		mprotect(s.arg, PAGE, PROT_READ | PROT_WRITE);
	}
	if (query_is(&s.dev, &q))
		CHECK(!q.nr_pmaps && !q.pinned, "%u buffers are left", q.nr_pmaps);
	CHECK(status_kib(getpid(), "VmPin") == 0, "VmPin is left");
	valid_arg(&s, REGISTER, s.arg);
	CHECK_RET(call(&s, REGISTER, s.arg), 0, "the same index afterwards");
out:
	call_close(&s);
}

struct reg_row {
	uint64_t addr, len; /* addr below one page: relative to the buffer */
	int want, also;
};

static int try_register(const struct call_setup *s, uint64_t addr, uint64_t len, uint32_t index,
			uint32_t flags)
{
	struct nvme_pmap_register reg = {
		.size = sizeof(reg),
		.addr = addr,
		.len = len,
		.index = index,
		.flags = flags,
	};
	int ret = nvme_pmap_ioctl(s->dev.fd, NVME_PMAP_IOC_REGISTER, &reg);

	if (!ret)
		nvme_pmap_unregister_buf(s->dev.fd, reg.index);
	return ret;
}

/* Where the sum wraps around, the header leaves open EFAULT or ERANGE. */
static void expect_no_address(const struct call_setup *s, uint64_t addr, uint64_t len)
{
	int ret = try_register(s, addr, len, 0, 0);

	if (ret != -ERANGE || addr + len >= addr)
		CHECK_RET(ret, -EFAULT, "address %#" PRIx64 ", %" PRIu64 " bytes", addr, len);
}

static void register_address(void)
{
	static const struct reg_row rows[] = {
		{ 1, PAGE, -EDOM, 0 }, { 2, PAGE, -EDOM, 0 },	 { 3, PAGE, -EDOM, 0 },
		{ 4, PAGE, 0, 0 },     { PAGE - 4, PAGE, 0, 0 }, { PAGE - 1, PAGE, -EDOM, 0 },
		{ PAGE - 4, 4, 0, 0 }, { 0, BUF_LEN, 0, 0 },	 { 4, BUF_LEN - 4, 0, 0 },
	};
	static const uint64_t bad[] = {
		0,	    PAGE,	1ull << 31,	     (1ull << 32) - 4,
		1ull << 32, 1ull << 46, (1ull << 47) - PAGE, 1ull << 47,
		1ull << 56, 1ull << 63, ~0ull << 47,	     -(uint64_t)PAGE,
		-4ull,
	};
	struct call_setup s;
	size_t i;

	if (!call_open(&s))
		goto out;
	for (i = 0; i < ARRAY_SIZE(rows); i++)
		CHECK_RET(try_register(&s, (uintptr_t)s.buf + rows[i].addr, rows[i].len, 0, 0),
			  rows[i].want, "buffer + %" PRIu64 ", %" PRIu64 " bytes", rows[i].addr,
			  rows[i].len);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		expect_no_address(&s, bad[i], PAGE);
		expect_no_address(&s, bad[i], 8);
	}
	/* The end of the buffer, and the address space wrapping around. */
	CHECK_RET(try_register(&s, (uintptr_t)s.arg + PAGE, 2 * PAGE, 0, 0), -EFAULT,
		  "half of it inaccessible");
	expect_no_address(&s, -4096ull, 2 * PAGE);
out:
	call_close(&s);
}

static void register_length(void)
{
	static const struct reg_row rows[] = {
		{ 0, 0, -ERANGE, 0 },
		{ 0, 1, -EDOM, 0 },
		{ 0, 2, -EDOM, 0 },
		{ 0, 3, -EDOM, 0 },
		{ 0, 4, 0, 0 },
		{ 0, PAGE - 4, 0, 0 },
		{ 0, PAGE - 1, -EDOM, 0 },
		{ 0, PAGE + 4, 0, 0 },
		{ 0, PAGE + 1, -EDOM, 0 },
		/* So large that the bookkeeping may be refused before the memory. */
		{ 0, 1ull << 31, -EFAULT, -ENOMEM },
		{ 0, (1ull << 32) - 4, -EFAULT, -ENOMEM },
		{ 0, 1ull << 32, -EFAULT, -ENOMEM },
		{ 0, (1ull << 32) + 4, -EFAULT, -ENOMEM },
		{ 0, NVME_PMAP_MAX_LEN, -EFAULT, -ENOMEM },
		{ 0, NVME_PMAP_MAX_LEN + 4, -EFBIG, 0 },
		{ 0, 1ull << 63, -EFBIG, 0 },
		/* Also wrapping around; the header leaves open which comes first. */
		{ 0, -4096ull, -EFBIG, -ERANGE },
		{ 0, -4ull, -EFBIG, -ERANGE },
	};
	struct call_setup s;
	size_t i;
	int ret;

	if (!call_open(&s))
		goto out;
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		ret = try_register(&s, (uintptr_t)s.buf, rows[i].len, 0, 0);
		if (!rows[i].also || ret != rows[i].also)
			CHECK_RET(ret, rows[i].want, "length %#" PRIx64, rows[i].len);
		CHECK(status_kib(getpid(), "VmPin") == 0,
		      "length %#" PRIx64 " leaves memory pinned", rows[i].len);
	}
out:
	call_close(&s);
}

static void register_index(void)
{
	struct call_setup s;
	uint32_t index;
	unsigned int i;

	if (!call_open(&s))
		goto out;
	CHECK_RET(try_register(&s, (uintptr_t)s.buf, PAGE, NVME_PMAP_MAX_INDEX - 1, 0), 0,
		  "last index");
	for (i = 0; i < 3; i++) {
		static const uint32_t bad[] = { NVME_PMAP_MAX_INDEX, 1u << 31, 0xfffffffe };
		int ret = try_register(&s, (uintptr_t)s.buf, PAGE, bad[i], 0);

		/* The header leaves open which. */
		CHECK(ret == -ENOSPC || ret == -EINVAL || ret == -ERANGE, "index %#x: %s", bad[i],
		      err_name(ret));
	}
	/* The lowest free one. */
	for (i = 0; i < 3; i++)
		if (must_register(&s.dev, s.buf, PAGE, 0, &index))
			CHECK(index == i, "index %u, not %u", index, i);
	CHECK_RET(try_register(&s, (uintptr_t)s.buf, PAGE, 1, 0), -EEXIST, "index taken");
	must_unregister(&s.dev, 1);
	if (must_register(&s.dev, s.buf, PAGE, 0, &index))
		CHECK(index == 1, "index %u, not 1", index);
	CHECK_RET(try_register(&s, (uintptr_t)s.buf, PAGE, 1, 0), -EEXIST, "index taken again");
out:
	call_close(&s);
}

static void register_flags(void)
{
	const uint32_t both = NVME_PMAP_REG_PRP | NVME_PMAP_REG_SGL_LIST;
	struct call_setup s;
	unsigned int bit;

	if (!call_open(&s))
		goto out;
	CHECK_RET(try_register(&s, (uintptr_t)s.buf, PAGE, 0, both), -EINVAL, "both forms");
	for (bit = 2; bit < 32; bit++)
		CHECK_RET(try_register(&s, (uintptr_t)s.buf, PAGE, 0, 1u << bit), -EOPNOTSUPP,
			  "flag bit %u", bit);
	CHECK_RET(try_register(&s, (uintptr_t)s.buf, PAGE, 0, NVME_PMAP_REG_PRP), 0, "PRP");
	CHECK_RET(try_register(&s, (uintptr_t)s.buf, PAGE, 0, NVME_PMAP_REG_SGL_LIST), 0,
		  "SGL list");
out:
	call_close(&s);
}

static void other_flags(void)
{
	struct call_setup s;
	unsigned int nr, bit;

	if (!call_open(&s))
		goto out;
	for (nr = 0; nr < NR_CALLS; nr++) {
		if (nr == REGISTER || !before_call(&s, nr))
			continue;
		for (bit = 0; bit < 32; bit++) {
			uint32_t flags = 1u << bit;

			valid_arg(&s, nr, s.arg);
			memcpy(s.arg + 4, &flags, 4);
			CHECK_RET(call(&s, nr, s.arg), -EOPNOTSUPP, "%s flag bit %u",
				  calls[nr].name, bit);
		}
		after_call(&s);
	}
out:
	call_close(&s);
}

static void unregister(void)
{
	static const uint32_t none[] = { 0,
					 1,
					 3,
					 4,
					 4095,
					 NVME_PMAP_MAX_INDEX - 1,
					 NVME_PMAP_MAX_INDEX,
					 1u << 31,
					 0xfffffffc,
					 NVME_PMAP_INDEX_ANY };
	struct nvme_pmap_unregister u = { .size = sizeof(u), .index = 5, .reserved = 1 };
	struct call_setup s;
	size_t i;

	if (!call_open(&s))
		goto out;
	for (i = 0; i < ARRAY_SIZE(none); i++)
		CHECK_RET(nvme_pmap_unregister_buf(s.dev.fd, none[i]), -ENOENT,
			  "index %#x of an empty table", none[i]);
	valid_arg(&s, REGISTER, s.arg);
	((struct nvme_pmap_register *)(void *)s.arg)->index = 5;
	if (!CHECK_RET(call(&s, REGISTER, s.arg), 0, "register 5"))
		goto out;
	for (i = 0; i < ARRAY_SIZE(none); i++)
		CHECK_RET(nvme_pmap_unregister_buf(s.dev.fd, none[i]), -ENOENT,
			  "index %#x beside 5", none[i]);
	CHECK_RET(nvme_pmap_ioctl(s.dev.fd, NVME_PMAP_IOC_UNREGISTER, &u), -EINVAL, "reserved");
	must_unregister(&s.dev, 5);
	CHECK_RET(nvme_pmap_unregister_buf(s.dev.fd, 5), -ENOENT, "a second time");
out:
	call_close(&s);
}

static void unknown(void)
{
	char path[128];
	struct call_setup s;
	int fd, nr;

	if (!call_open(&s))
		goto out;
	for (nr = 0xb6; nr < 0xc0; nr++)
		CHECK_RET(nvme_pmap_ioctl(s.dev.fd, (unsigned long)_IO('N', nr), s.arg), -ENOTTY,
			  "ioctl %#x", (unsigned int)nr);
	valid_arg(&s, QUERY, s.arg);
	fd = dev_open_block(&s.dev, O_RDONLY);
	if (CHECK(fd >= 0, "block device"))
		CHECK_RET(nvme_pmap_ioctl(fd, NVME_PMAP_IOC_QUERY, s.arg), -ENOTTY,
			  "on the block device");
	close(fd);
	snprintf(path, sizeof(path), "/dev/nvme%u", (unsigned int)(s.dev.path[7] - '0'));
	fd = open(path, O_RDWR);
	if (CHECK(fd >= 0, "%s", path))
		CHECK_RET(nvme_pmap_ioctl(fd, NVME_PMAP_IOC_QUERY, s.arg), -ENOTTY, "on %s", path);
	close(fd);
out:
	call_close(&s);
}

/* The layout is the same for 32-bit programs; so must be the entry. */
static void compat(void)
{
	struct call_setup s;
	unsigned char *low;
	unsigned int nr;
	long ret;

	if (!call_open(&s))
		goto out;
	low = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1,
		   0);
	if (!CHECK(low != MAP_FAILED, "no low memory"))
		goto out;
	for (nr = 0; nr < NR_CALLS; nr++) {
		if (!before_call(&s, nr))
			break;
		valid_arg(&s, nr, low);
		/* As such a program would have it: below 4 GiB. */
		if (nr == REGISTER)
			((struct nvme_pmap_register *)(void *)low)->addr = (uintptr_t)low;
		__asm__ volatile("int $0x80"
				 : "=a"(ret)
				 : "a"(54L), "b"((long)s.dev.fd), "c"((long)calls[nr].request),
				   "d"(low)
				 : "memory", "r8", "r9", "r10", "r11");
		CHECK_RET((int)ret, 0, "%s from a 32-bit program", calls[nr].name);
		after_call(&s);
	}
	munmap(low, PAGE);
out:
	call_close(&s);
}

static const struct test_case ioctl_cases[] = {
	{ "query-values", query_values },
	{ "query-accounting", query_accounting },
	{ "sizes", sizes },
	{ "pointers", pointers },
	{ "readonly-argument", readonly_argument },
	{ "register-address", register_address },
	{ "register-length", register_length },
	{ "register-index", register_index },
	{ "register-flags", register_flags },
	{ "other-flags", other_flags },
	{ "unregister", unregister },
	{ "unknown", unknown },
	{ "compat", compat },
};

SUBJECT(ioctl);
