// SPDX-License-Identifier: GPL-2.0
/*
 * Every combination of boundary values, against a model of which errors may
 * come.  Which of several comes first is tested by command/command.c and ioctl.c, and
 * the other contents of an answer by output.c.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>

#include "abi/bounds.h"

/* ---- the model: a set of errors; an empty one is success ---- */

struct answers {
	unsigned int nr;
	int err[12];
};

static void may(struct answers *a, bool broken, int err)
{
	if (broken)
		a->err[a->nr++] = err;
}

static bool among(const struct answers *a, long ret)
{
	unsigned int i;

	for (i = 0; i < a->nr; i++)
		if (ret == -a->err[i])
			return true;
	return !a->nr && !ret;
}

static void explain(const struct answers *a, char *text, size_t size)
{
	unsigned int i;
	int n = snprintf(text, size, a->nr ? "want" : "want success");

	for (i = 0; i < a->nr && n < (int)size; i++)
		n += snprintf(text + n, size - (size_t)n, " %s", err_name(-a->err[i]));
}

/* ---- commands ---- */

#define BATCH 32u
#define ARENA MIB(2)

struct bounds {
	struct dev dev;
	struct mem mem;
	struct io_uring ring;
	uint32_t index; /* registered: len bytes at mem + PAGE + 64 */
	uint64_t len;
	unsigned int nr;
	struct nvme_pmap_cmd sent[BATCH];
	uint64_t commands, good;
};

static bool bounds_open(struct bounds *s)
{
	memset(s, 0, sizeof(*s));
	s->mem.fd = -1;
	return dev_open(&s->dev, NULL, O_RDWR) && ring_open(&s->ring, MODE_IRQ, BATCH) &&
	       CHECK(mem_alloc(&s->mem, MEM_4K, ARENA), "no memory");
}

static void bounds_close(struct bounds *s)
{
	if (s->ring.ring_fd > 0)
		io_uring_queue_exit(&s->ring);
	mem_free(&s->mem);
	dev_close(&s->dev);
}

static struct answers model_cmd(const struct bounds *s, const struct nvme_pmap_cmd *c)
{
	unsigned __int128 end = (unsigned __int128)c->offset + c->data_len;
	uint64_t bytes = ((c->cdw12 & 0xffff) + 1ull) * s->dev.block;
	struct answers a = { 0 };

	may(&a, c->index != s->index, ENOENT);
	may(&a, c->offset % 4 || c->data_len % 4, EDOM);
	may(&a, !c->data_len || end > s->len, ERANGE);
	may(&a, c->data_len > s->dev.mdts, EMSGSIZE);
	may(&a, bytes > c->data_len, EOVERFLOW);
	return a;
}

static void check_cmd(struct bounds *s, const struct completion *done)
{
	const struct nvme_pmap_cmd *c = &s->sent[done->user_data % BATCH];
	struct answers a = model_cmd(s, c);
	char want[120];

	s->good += !done->res;
	if (among(&a, done->res) && !done->result)
		return;
	explain(&a, want, sizeof(want));
	CHECK(false, "buffer of %#" PRIx64 ", index %#x offset %#llx length %#x count %u: %s, %s",
	      s->len, c->index, c->offset, c->data_len, c->cdw12 + 1, err_name(done->res), want);
}

static void flush_cmds(struct bounds *s)
{
	struct completion done;

	if (s->nr && CHECK_RET(io_uring_submit(&s->ring), (int)s->nr, "submit"))
		for (; s->nr; s->nr--) {
			if (!CHECK_RET(ring_reap(&s->ring, &done, 20000), 0, "completion"))
				return;
			check_cmd(s, &done);
		}
}

static void send_cmd(struct bounds *s, const struct nvme_pmap_cmd *c)
{
	s->sent[s->nr] = *c;
	prep_cmd(&s->ring, s->dev.fd, c, s->nr);
	s->commands++;
	if (++s->nr == BATCH)
		flush_cmds(s);
}

static void cross_counts(struct bounds *s, struct nvme_pmap_cmd *c)
{
	uint32_t fit = c->data_len / s->dev.block, i;
	const uint32_t counts[] = { 0, fit - 1, fit, 7, 0xffff };

	for (i = 0; i < ARRAY_SIZE(counts); i++) {
		c->cdw12 = counts[i] & 0xffff;
		send_cmd(s, c);
	}
}

static void cross_lengths(struct bounds *s, struct nvme_pmap_cmd *c)
{
	const uint64_t lengths[] = {
		0,
		1,
		4,
		511,
		512,
		4092,
		4095,
		4096,
		4100,
		s->len - 4,
		s->len,
		s->len + 4,
		s->len - c->offset,
		s->dev.mdts,
		s->dev.mdts + 4,
		0x7ffffffc,
		0x80000000,
		0x80000004,
		0xfffffffc,
		0xffffffff,
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(lengths); i++) {
		c->data_len = (uint32_t)lengths[i];
		cross_counts(s, c);
	}
}

static void cross_commands(struct bounds *s, uint32_t index)
{
	const uint64_t offsets[] = {
		0,
		1,
		4,
		511,
		512,
		4092,
		4095,
		4096,
		s->len - 512,
		s->len - 4,
		s->len,
		s->len + 4,
		0x7ffffffc,
		0x80000000,
		0xfffffffc,
		1ull << 32,
		(1ull << 32) + 4,
		1ull << 39,
		1ull << 63,
		(1ull << 63) + 4,
		-4096ull,
		-512ull,
		-4ull,
		-1ull,
	};
	struct nvme_pmap_cmd c = cmd_rw(&s->dev, OP_READ, index, 0, PAGE, 0);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(offsets); i++) {
		c.offset = offsets[i];
		cross_lengths(s, &c);
	}
	flush_cmds(s);
}

/* One buffer, with poison on either side that no command may reach. */
static void one_buffer(struct bounds *s, uint64_t len, uint32_t flags)
{
	unsigned char *at = s->mem.map + PAGE + 64;
	const uint32_t index = 3, indexes[] = {
		index,
		0,
		index + 1,
		15,
		16,
		NVME_PMAP_MAX_INDEX - 1,
		NVME_PMAP_MAX_INDEX,
		1u << 31,
		NVME_PMAP_INDEX_ANY,
	};
	struct nvme_pmap_register reg = {
		.size = sizeof(reg),
		.flags = flags,
		.addr = (uintptr_t)at,
		.len = len,
		.index = index,
	};
	size_t before = PAGE + 64, after = ARENA - before - len;
	unsigned int i;

	s->index = index;
	s->len = len;
	poison(s->mem.map, ARENA);
	if (!CHECK_RET(nvme_pmap_ioctl(s->dev.fd, NVME_PMAP_IOC_REGISTER, &reg), 0, "register"))
		return;
	for (i = 0; i < ARRAY_SIZE(indexes); i++)
		cross_commands(s, indexes[i]);
	must_unregister(&s->dev, index);
	CHECK(poisoned(s->mem.map, before) == before && poisoned(at + len, after) == after,
	      "buffer of %#" PRIx64 ", flags %u: memory beside it changed", len, flags);
}

static void commands(void)
{
	static const uint32_t forms[] = { 0, NVME_PMAP_REG_PRP, NVME_PMAP_REG_SGL_LIST };
	struct bounds s;
	unsigned int i, j;

	if (!bounds_open(&s))
		goto out;
	for (i = 0; i < ARRAY_SIZE(forms); i++) {
		const uint64_t lengths[] = { 4, 512, 4096, 4096 + 516, s.dev.mdts + 2 * PAGE };

		for (j = 0; j < ARRAY_SIZE(lengths); j++)
			if (CHECK(lengths[j] < ARENA - 2 * PAGE, "MDTS is too large"))
				one_buffer(&s, lengths[j], forms[i]);
	}
	note("%" PRIu64 " commands, %" PRIu64 " of them right", s.commands, s.good);
	CHECK(s.good > 100, "hardly anything was right");
out:
	bounds_close(&s);
}

/* ---- registrations ---- */

bool reg_open(struct reg_bounds *s)
{
	uint32_t index;

	memset(s, 0, sizeof(*s));
	s->buf = mmap(NULL, REG_LEN + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	s->buf += PAGE;
	mprotect(s->buf, REG_LEN, PROT_READ | PROT_WRITE);
	return dev_open(&s->dev, NULL, O_RDWR) && must_register(&s->dev, s->buf, 4, 0, &index) &&
	       CHECK(!index, "the first index is %u", index);
}

void reg_close(struct reg_bounds *s)
{
	dev_close(&s->dev);
	munmap(s->buf - PAGE, REG_LEN + 2 * PAGE);
}

static struct answers model_register(const struct reg_bounds *s, const struct nvme_pmap_register *r)
{
	uint64_t buf = (uintptr_t)s->buf, end = r->addr + r->len;
	bool wraps = end < r->addr, any = r->index == NVME_PMAP_INDEX_ANY;
	bool there = !wraps && r->addr >= buf && end <= buf + REG_LEN;
	struct answers a = { 0 };

	may(&a, r->flags & ~3u, EOPNOTSUPP);
	may(&a, r->flags == 3, EINVAL);
	may(&a, (r->addr | r->len) & 3, EDOM);
	may(&a, !r->len || wraps, ERANGE);
	may(&a, r->len > NVME_PMAP_MAX_LEN, EFBIG);
	may(&a, !any && r->index >= NVME_PMAP_MAX_INDEX, ENOSPC);
	may(&a, r->index == 0, EEXIST);
	may(&a, r->len && !there, EFAULT);
	/* the description of so much does not fit either */
	may(&a, r->len > MIB(64), ENOMEM);
	return a;
}

static void one_register(struct reg_bounds *s, const struct nvme_pmap_register *want)
{
	struct nvme_pmap_register r = *want;
	struct answers a = model_register(s, want);
	int ret = nvme_pmap_ioctl(s->dev.fd, NVME_PMAP_IOC_REGISTER, &r);
	char text[120];

	s->calls++;
	s->good += !ret;
	explain(&a, text, sizeof(text));
	CHECK(among(&a, ret), "address %#llx length %#llx index %#x flags %u: %s, %s", want->addr,
	      want->len, want->index, want->flags, err_name(ret), text);
	if (!ret)
		must_unregister(&s->dev, r.index);
	else
		CHECK(!memcmp(&r, want, sizeof(r)), "a failed call changed its argument");
}

static void cross_registers(struct reg_bounds *s, uint64_t addr, uint64_t len)
{
	static const uint32_t indexes[] = {
		0, 1, NVME_PMAP_MAX_INDEX - 1, NVME_PMAP_MAX_INDEX, 1u << 31, NVME_PMAP_INDEX_ANY - 1,
		NVME_PMAP_INDEX_ANY,
	}, flags[] = { 0, 1, 2, 3, 4, 1u << 31 };
	struct nvme_pmap_register r = { .size = sizeof(r), .addr = addr, .len = len };
	unsigned int i, j;

	for (i = 0; i < ARRAY_SIZE(indexes); i++)
		for (j = 0; j < ARRAY_SIZE(flags); j++) {
			/* It takes a while to find out that so much is not there. */
			if (len > MIB(64) && i % 3 && j % 3)
				continue;
			r.index = indexes[i];
			r.flags = flags[j];
			one_register(s, &r);
		}
}

static void registers(void)
{
	static const uint64_t lengths[] = {
		0,
		1,
		3,
		4,
		512,
		4092,
		4095,
		4096,
		4100,
		REG_LEN - 4,
		REG_LEN,
		REG_LEN + 4,
		0x7ffffffc,
		0x80000000,
		0xfffffffc,
		1ull << 32,
		(1ull << 32) + 4,
		NVME_PMAP_MAX_LEN,
		NVME_PMAP_MAX_LEN + 4,
		1ull << 63,
		-4096ull,
		-4ull,
		-1ull,
	};
	struct reg_bounds s;
	unsigned int i, j;

	if (!reg_open(&s))
		goto out;
	for (i = 0; i < ARRAY_SIZE(lengths); i++) {
		const uint64_t buf = (uintptr_t)s.buf, addrs[] = {
			buf,
			buf + 1,
			buf + 4,
			buf + 4092,
			buf + REG_LEN - 4,
			buf + REG_LEN,
			buf - 4,
			0,
			0x80000000,
			1ull << 32,
			(1ull << 47) - PAGE,
			1ull << 47,
			1ull << 63,
			-4096ull,
			-4ull,
			-1ull,
		};

		for (j = 0; j < ARRAY_SIZE(addrs); j++)
			cross_registers(&s, addrs[j], lengths[i]);
	}
	note("%" PRIu64 " registrations, %" PRIu64 " of them right", s.calls, s.good);
out:
	reg_close(&s);
}

static void one_unregister(struct reg_bounds *s, uint32_t index, uint32_t flags, uint32_t reserved)
{
	struct nvme_pmap_unregister u = {
		.size = sizeof(u),
		.flags = flags,
		.index = index,
		.reserved = reserved,
	};
	struct answers a = { 0 };
	int ret = nvme_pmap_ioctl(s->dev.fd, NVME_PMAP_IOC_UNREGISTER, &u);
	uint32_t again;

	may(&a, flags, EOPNOTSUPP);
	may(&a, reserved, EINVAL);
	may(&a, index, ENOENT);
	CHECK(among(&a, ret), "index %#x flags %#x reserved %#x: %s", index, flags, reserved,
	      err_name(ret));
	if (!ret)
		must_register(&s->dev, s->buf, 4, 0, &again);
}

static void unregisters(void)
{
	static const uint32_t values[] = {
		0,	    1,		15,	    16,		17,	    511,
		512,	    4095,	4096,	    65535,	65536,	    65537,
		0x7fffffff, 0x80000000, 0x80000001, 0xfffffffe, 0xffffffff,
	};
	struct reg_bounds s;
	unsigned int i, j, k;

	if (reg_open(&s))
		for (i = 0; i < ARRAY_SIZE(values); i++)
			for (j = 0; j < ARRAY_SIZE(values); j++)
				for (k = 0; k < ARRAY_SIZE(values); k++)
					one_unregister(&s, values[i], values[j], values[k]);
	reg_close(&s);
}

/* Query and Stats: size and flags, with a rest that is zero or not. */
static void one_ask(struct reg_bounds *s, unsigned long request, uint32_t min, uint32_t known,
		    uint32_t size, uint32_t flags, uint32_t tail)
{
	unsigned char arg[2 * PAGE] = { 0 };
	struct answers a = { 0 };
	bool more = size > known && size <= PAGE && tail;
	int ret;

	memcpy(arg, &size, 4);
	memcpy(arg + 4, &flags, 4);
	if (more)
		arg[size - 1] = (unsigned char)tail;
	ret = nvme_pmap_ioctl(s->dev.fd, request, arg);
	may(&a, size < min, EINVAL);
	may(&a, size > PAGE || more, E2BIG);
	may(&a, flags, EOPNOTSUPP);
	CHECK(among(&a, ret), "request %#lx size %#x flags %#x: %s", request, size, flags,
	      err_name(ret));
}

static void asks(void)
{
	static const struct {
		unsigned long request;
		uint32_t min, size;
	} call[] = {
		{ NVME_PMAP_IOC_QUERY, 104, sizeof(struct nvme_pmap_query) },
		{ NVME_PMAP_IOC_STATS, 176, sizeof(struct nvme_pmap_stats) },
	};
	static const uint32_t flags[] = { 0, 1, 0x80000000, 0xffffffff };
	struct reg_bounds s;
	unsigned int c, i, j;

	if (reg_open(&s))
		for (c = 0; c < 2; c++)
			for (j = 0; j < ARRAY_SIZE(flags); j++) {
				const uint32_t n = call[c].size, min = call[c].min,
					       far[] = {
						       4096,	   4097,       65536,
						       0x7fffffff, 0x80000000, 0xffffffff,
					       };

				for (i = 0; i <= n + 64; i++) {
					one_ask(&s, call[c].request, min, n, i, flags[j], 0);
					one_ask(&s, call[c].request, min, n, i, flags[j], 1);
				}
				for (i = 0; i < ARRAY_SIZE(far); i++)
					one_ask(&s, call[c].request, min, n, far[i], flags[j], 0);
			}
	reg_close(&s);
}

/* ---- attach and detach ---- */

/* Of a file that has no queue, so that there is none to share either. */
static void one_attach(struct reg_bounds *s, const uint32_t v[4])
{
	struct nvme_pmap_attach att = {
		.size = v[0], .flags = v[1], .fd = (int32_t)v[2], .cpu = v[3]
	};
	unsigned char arg[2 * PAGE] = { 0 };
	struct answers a = { 0 };
	bool on_cpu = att.flags & NVME_PMAP_QUEUE_CPU;
	uint32_t cpu = 0;
	int ret;

	memcpy(arg, &att, sizeof(att));
	/* the part of it within the size */
	if (att.size > 12)
		memcpy(&cpu, arg + 12, att.size < 16 ? att.size - 12 : 4);
	ret = nvme_pmap_ioctl(s->dev.fd, NVME_PMAP_IOC_ATTACH, arg);
	may(&a, att.size < 12, EINVAL);
	may(&a, att.size > PAGE, E2BIG);
	may(&a, att.flags > 7, EOPNOTSUPP);
	may(&a, (cpu && !on_cpu) || (on_cpu && att.flags & 3), EINVAL);
	may(&a, cpu >= (uint32_t)sysconf(_SC_NPROCESSORS_CONF), EINVAL);
	may(&a, att.fd && !(att.flags & NVME_PMAP_QUEUE_SHARE), EINVAL);
	may(&a, att.flags & NVME_PMAP_QUEUE_SHARE, EBADF);
	s->calls++;
	s->good += !ret;
	CHECK(among(&a, ret), "attach, size %#x flags %#x fd %#x cpu %#x: %s", v[0], v[1], v[2],
	      v[3], err_name(ret));
	if (!ret)
		CHECK_RET(nvme_pmap_detach_queue(s->dev.fd, v[1] & NVME_PMAP_QUEUE_POLLED), 0,
			  "detach");
}

static void one_detach(struct reg_bounds *s, uint32_t size, uint32_t flags)
{
	unsigned char arg[2 * PAGE] = { 0 };
	struct answers a = { 0 };
	int ret;

	memcpy(arg, &size, 4);
	memcpy(arg + 4, &flags, 4);
	ret = nvme_pmap_ioctl(s->dev.fd, NVME_PMAP_IOC_DETACH, arg);
	may(&a, size < 8, EINVAL);
	may(&a, size > PAGE, E2BIG);
	may(&a, flags > 1, EOPNOTSUPP);
	may(&a, true, ENOTCONN);
	CHECK(among(&a, ret) && (ret != -ENOTCONN || a.nr == 1), "detach, size %#x flags %#x: %s",
	      size, flags, err_name(ret));
}

static void queues(void)
{
	static const uint32_t values[] = {
		0,  1,	2,    3,    4,	  7,	 8,	     9,		 15,
		16, 17, 4095, 4096, 4097, 65536, 0x7fffffff, 0x80000000, 0xffffffff,
	};
	const unsigned int nr = ARRAY_SIZE(values);
	struct reg_bounds s;
	unsigned int i;

	if (reg_open(&s)) {
		for (i = 0; i < nr * nr * nr * nr; i++)
			one_attach(&s, (uint32_t[]){ values[i % nr], values[i / nr % nr],
						     values[i / nr / nr % nr],
						     values[i / nr / nr / nr] });
		for (i = 0; i < nr * nr; i++)
			one_detach(&s, values[i % nr], values[i / nr]);
		note("%" PRIu64 " attachments, %" PRIu64 " of them right", s.calls, s.good);
	}
	reg_close(&s);
}

static const struct test_case bounds_cases[] = {
	{ "commands", commands }, { "registers", registers }, { "unregisters", unregisters },
	{ "asks", asks },	  { "queues", queues },
};

SUBJECT(bounds);
