// SPDX-License-Identifier: GPL-2.0
/* The ioctls: values, sizes, pointers, boundaries; as root. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "auto/auto.h"
#include "abi/ioctl.h"

/*
 * The sizes of version 1, as numbers: a structure that has grown since is
 * still to be accepted by these, and so is one that never had the reserved fields.
 */
const struct call calls[NR_CALLS] = {
	{ "query", NVME_PMAP_IOC_QUERY, 104, 128, sizeof(struct nvme_pmap_query), 0 },
	{ "register", NVME_PMAP_IOC_REGISTER, 40, 56, sizeof(struct nvme_pmap_register), 3 },
	{ "unregister", NVME_PMAP_IOC_UNREGISTER, 12, 16, sizeof(struct nvme_pmap_unregister), 0 },
	{ "stats", NVME_PMAP_IOC_STATS, 176, 256, sizeof(struct nvme_pmap_stats), 0 },
	{ "attach", NVME_PMAP_IOC_ATTACH, 12, 16, sizeof(struct nvme_pmap_attach), 7 },
	{ "detach", NVME_PMAP_IOC_DETACH, 8, 8, sizeof(struct nvme_pmap_detach), 1 },
};

bool call_open(struct call_setup *s)
{
	memset(s, 0, sizeof(*s));
	s->buf = mmap(NULL, BUF_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	s->arg = mmap(NULL, ARG_LEN + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		      0);
	mprotect(s->arg + ARG_LEN, PAGE, PROT_NONE);
	return dev_open(&s->dev, NULL, O_RDWR);
}

void call_close(struct call_setup *s)
{
	dev_close(&s->dev);
	munmap(s->buf, BUF_LEN);
	munmap(s->arg, ARG_LEN + PAGE);
}

/* Put a valid argument of call @nr at @arg; index 0 is kept for unregister. */
void valid_arg(const struct call_setup *s, unsigned int nr, void *arg)
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

int call(const struct call_setup *s, unsigned int nr, void *arg)
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

	if (nr == DETACH)
		return CHECK_RET(nvme_pmap_attach_queue(s->dev.fd, 0), 0, "attach");
	return nr != UNREGISTER ||
	       CHECK_RET(nvme_pmap_ioctl(s->dev.fd, NVME_PMAP_IOC_REGISTER, &reg), 0,
			 "register index 0");
}

/* Both indexes are free again, and no queue is attached, whether the call succeeded or not. */
static void after_call(const struct call_setup *s)
{
	nvme_pmap_detach_queue(s->dev.fd, 0);
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
	CHECK(q.features & NVME_PMAP_FEATURE_CMD, "doors %#x", q.features);
	CHECK(q.forms & 1 << NVME_PMAP_FORM_PRP, "forms %#x without PRP", q.forms);
	/* QEMU's controller supports SGLs. */
	CHECK(q.forms == 7, "forms %#x", q.forms);
	CHECK(q.align == NVME_PMAP_ALIGN, "align %u", q.align);
	CHECK(q.max_index == NVME_PMAP_MAX_INDEX, "max_index %u", q.max_index);
	CHECK(q.max_len == NVME_PMAP_MAX_LEN, "max_len %#llx", q.max_len);
	CHECK(q.max_transfer == s.dev.mdts, "max_transfer %llu, the controller's MDTS is %" PRIu64,
	      q.max_transfer, s.dev.mdts);
	CHECK(q.max_prebuilt == (q.max_transfer < 1 << 20 ? q.max_transfer : 1 << 20),
	      "max_prebuilt %u", q.max_prebuilt);
	CHECK(q.auto_max_transfer && q.auto_max_transfer <= q.max_transfer,
	      "auto_max_transfer %llu", q.auto_max_transfer);
	CHECK(!q.ns && !q.md_bytes, "ns %#x with %u bytes of metadata", q.ns, q.md_bytes);
	CHECK(q.lba_bytes == s.dev.block, "lba_bytes %u, not %u", q.lba_bytes, s.dev.block);
	CHECK(!q.nr_pmaps && !q.pinned && !q.list_bytes,
	      "not empty: %u buffers, %llu pinned, %llu kept", q.nr_pmaps, q.pinned, q.list_bytes);
out:
	call_close(&s);
}

/* The query shows the mode that the operator has written. */
static void query_auto_door(void)
{
	static const char *const modes[] = { "off", "on", "queue" };
	struct nvme_pmap_query q;
	struct call_setup s;
	unsigned int i;

	if (!call_open(&s))
		goto out;
	for (i = 0; i < ARRAY_SIZE(modes); i++)
		if (set_door(&s.dev, modes[i]) && query_is(&s.dev, &q))
			CHECK(q.auto_mode == i, "%s: auto_mode %u", modes[i], q.auto_mode);
	set_door(&s.dev, "on");
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
	CHECK(reg.index == 77 && reg.form <= NVME_PMAP_FORM_SGL_RUN && reg.list_bytes,
	      "index %u form %u kept %llu", reg.index, reg.form, reg.list_bytes);
	if (query_is(&s.dev, &q))
		CHECK(q.nr_pmaps == 1 && q.pinned == 3 * PAGE && q.list_bytes >= reg.list_bytes,
		      "%u buffers, %llu pinned, %llu kept", q.nr_pmaps, q.pinned, q.list_bytes);
	CHECK(status_kib(getpid(), "VmPin") == 3 * PAGE / 1024, "VmPin is %ld KiB",
	      status_kib(getpid(), "VmPin"));
	must_unregister(&s.dev, 77);
	CHECK(status_kib(getpid(), "VmPin") == 0, "VmPin after unregister");
	if (query_is(&s.dev, &q))
		CHECK(!q.nr_pmaps && !q.pinned && !q.list_bytes,
		      "%u buffers, %llu pinned, %llu kept left", q.nr_pmaps, q.pinned,
		      q.list_bytes);
out:
	call_close(&s);
}

/* An argument of @size bytes, the last of them @tail; the bytes behind it do not change. */
static void one_size(struct call_setup *s, unsigned int nr, uint32_t size, unsigned char tail,
		     int want)
{
	const uint32_t end = size < 4 ? 4 : size;
	int ret;

	if (!before_call(s, nr))
		return;
	memset(s->arg, 0, ARG_LEN);
	valid_arg(s, nr, s->arg);
	memcpy(s->arg, &size, 4);
	if (tail)
		s->arg[size - 1] = tail;
	poison(s->arg + end, ARG_LEN - end);
	ret = call(s, nr, s->arg);
	CHECK_RET(ret, want, "%s with size %u (tail %u)", calls[nr].name, size, tail);
	CHECK(poisoned(s->arg + end, ARG_LEN - end) == ARG_LEN - end,
	      "%s with size %u writes behind it", calls[nr].name, size);
	CHECK(!memcmp(s->arg, &size, 4), "%s changes the size", calls[nr].name);
	after_call(s);
}

/* A program that was built when the structures were smaller, or will be when they are larger. */
static void sizes(void)
{
	struct call_setup s;
	unsigned int nr;
	int ret;

	if (!call_open(&s))
		goto out;
	for (nr = 0; nr < NR_CALLS; nr++) {
		uint32_t n = calls[nr].size, min = calls[nr].min, huge = 1u << 31, size;

		CHECK(n >= calls[nr].v1, "%s had %u bytes, and has %u", calls[nr].name,
		      calls[nr].v1, n);
		for (size = 0; size < min; size += size < 4 ? 1 : 4)
			one_size(&s, nr, size, 0, -EINVAL);
		one_size(&s, nr, min - 1, 0, -EINVAL);
		for (size = min; size <= n + 8; size++)
			one_size(&s, nr, size, 0, 0);
		one_size(&s, nr, PAGE, 0, 0);
		one_size(&s, nr, n + 1, 1, -E2BIG);
		one_size(&s, nr, n + 8, 0x80, -E2BIG);
		one_size(&s, nr, PAGE, 1, -E2BIG);
		one_size(&s, nr, PAGE + 1, 0, -E2BIG);
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

/* A smaller structure has the same answers, as far as it goes. */
static void smaller_answers(void)
{
	static const unsigned int asks[] = { QUERY, STATS };
	unsigned char all[PAGE];
	struct call_setup s;
	uint32_t size;
	size_t i;

	if (!call_open(&s))
		goto out;
	for (i = 0; i < ARRAY_SIZE(asks); i++) {
		unsigned int nr = asks[i];

		valid_arg(&s, nr, all);
		if (!CHECK_RET(call(&s, nr, all), 0, "%s", calls[nr].name))
			break;
		for (size = calls[nr].min; size <= calls[nr].size; size++) {
			valid_arg(&s, nr, s.arg);
			memcpy(s.arg, &size, 4);
			CHECK_RET(call(&s, nr, s.arg), 0, "%s of %u", calls[nr].name, size);
			CHECK(!memcmp(s.arg + 4, all + 4, size - 4), "%s of %u answers otherwise",
			      calls[nr].name, size);
		}
	}
	/* And the registration that it describes is the one that it asked for. */
	valid_arg(&s, REGISTER, s.arg);
	memcpy(s.arg, &calls[REGISTER].min, 4);
	if (CHECK_RET(call(&s, REGISTER, s.arg), 0, "register")) {
		struct nvme_pmap_register *reg = (void *)s.arg;

		CHECK(reg->index == 1 && reg->list_bytes, "index %u, kept %llu", reg->index,
		      reg->list_bytes);
		must_unregister(&s.dev, 1);
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
		if (nr != QUERY && nr != REGISTER && nr != STATS) /* answers nothing */
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

			if (flags & calls[nr].flags)
				continue;
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
	{ "query-auto-door", query_auto_door },
	{ "sizes", sizes },
	{ "smaller-answers", smaller_answers },
	{ "pointers", pointers },
	{ "readonly-argument", readonly_argument },
	{ "other-flags", other_flags },
	{ "unknown", unknown },
	{ "compat", compat },
};

SUBJECT(ioctl);
