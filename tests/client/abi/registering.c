// SPDX-License-Identifier: GPL-2.0
/* Register and Unregister: addresses, lengths, indexes, flags; as root. */
#include <inttypes.h>
#include <unistd.h>

#include "abi/ioctl.h"

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

/* Reserved fields have to be zero, or they could not be given a meaning later. */
static void register_reserved(void)
{
	struct nvme_pmap_register reg = { .size = sizeof(reg), .len = PAGE };
	struct call_setup s;
	unsigned int i;

	if (!call_open(&s))
		goto out;
	reg.addr = (uintptr_t)s.buf;
	for (i = 0; i < ARRAY_SIZE(reg.reserved); i++) {
		reg.reserved[i] = 1ull << 63;
		CHECK_RET(nvme_pmap_ioctl(s.dev.fd, NVME_PMAP_IOC_REGISTER, &reg), -EINVAL,
			  "reserved[%u]", i);
		reg.reserved[i] = 0;
	}
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

static const struct test_case registering_cases[] = {
	{ "register-address", register_address }, { "register-reserved", register_reserved },
	{ "register-length", register_length },	  { "register-index", register_index },
	{ "register-flags", register_flags },	  { "unregister", unregister },
};

SUBJECT(registering);
