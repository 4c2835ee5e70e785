// SPDX-License-Identifier: GPL-2.0
/*
 * Where the device goes (CVE-2023-6238): every opcode that moves data, in every
 * form, longer and shorter than data_len.  Each command that the driver accepts is
 * printed with the physical addresses of its bytes ("# dma ..."), for the host
 * to compare with QEMU's trace of mapped addresses; behind an IOMMU a wrong access
 * is a fault in the log.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lib/util.h"

#define PAGES  640u	   /* registered: all but the guards */
#define GUARD  4u	   /* pages before and behind */
#define AROUND (8u * PAGE) /* checked after each command */

struct gun {
	struct dev dev;
	struct mem mem;
	struct io_uring ring;
	unsigned char *buf;
	const struct reg_form *form;
	uint32_t index;
	int pagemap;
	bool separate;
	unsigned int sent, refused;
};

struct shot {
	uint8_t opcode;
	uint32_t cdw10, cdw12, cdw13;
	uint64_t offset;
	uint32_t len;
};

static bool gun_open(struct gun *g, const char *name)
{
	memset(g, 0, sizeof(*g));
	g->mem.fd = -1;
	g->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (!dev_open(&g->dev, name, O_RDWR) || !ring_open(&g->ring, MODE_IRQ, 8) ||
	    !CHECK(mem_alloc(&g->mem, MEM_4K, (PAGES + 2 * GUARD) * PAGE), "no memory"))
		return false;
	g->separate = g->dev.ms && g->dev.block == g->dev.lba;
	g->buf = g->mem.map + GUARD * PAGE;
	return true;
}

static void gun_close(struct gun *g)
{
	if (g->ring.ring_fd > 0)
		io_uring_queue_exit(&g->ring);
	close(g->pagemap);
	mem_free(&g->mem);
	dev_close(&g->dev);
}

static uint64_t phys(struct gun *g, const unsigned char *at)
{
	uint64_t entry = 0;

	if (pread(g->pagemap, &entry, 8, (off_t)((uintptr_t)at / PAGE * 8)) != 8)
		return 0;
	return (entry & ((1ull << 55) - 1)) * PAGE + (uintptr_t)at % PAGE;
}

/* @all: the device must have mapped every byte, not just no others. */
static void print_dma(struct gun *g, const struct shot *s, uint64_t bytes, bool all)
{
	const unsigned char *at = g->buf + s->offset;
	uint64_t left = bytes;

	printf("# dma %#x %s", s->opcode, all ? "all" : "some");
	while (left) {
		uint64_t n = PAGE - (uintptr_t)at % PAGE;

		n = n < left ? n : left;
		printf(" %" PRIx64 ":%" PRIx64, phys(g, at), n);
		at += n;
		left -= n;
	}
	printf("\n");
}

/* ---- the length of a transfer, computed independently of the driver ---- */

static bool moves_blocks(uint8_t opcode)
{
	return opcode == OP_READ || opcode == OP_WRITE || opcode == OP_COMPARE ||
	       opcode == OP_ZONE_APPEND;
}

/* Bytes; -EPERM where only root may, with a list that has lengths. */
static int64_t transfer(const struct gun *g, const struct shot *s)
{
	if (moves_blocks(s->opcode))
		return g->separate ? -EPROTONOSUPPORT :
				     (int64_t)((s->cdw12 & 0xffff) + 1ull) * g->dev.block;
	switch (s->opcode) {
	case OP_FLUSH:
	case OP_WRITE_UNCOR:
	case OP_WRITE_ZEROES:
	case OP_VERIFY:
		return 0;
	case OP_DSM:
		return ((s->cdw10 & 0xff) + 1) * 16;
	case OP_COPY:
		return ((s->cdw12 & 0xff) + 1) * 32;
	case OP_RESV_REGISTER:
	case OP_RESV_ACQUIRE:
		return 16;
	case OP_RESV_RELEASE:
		return 8;
	case OP_RESV_REPORT:
		return (s->cdw10 + 1ll) * 4;
	case OP_ZONE_SEND:
		return 0;
	case OP_ZONE_RECV:
		return (s->cdw12 + 1ll) * 4;
	}
	return g->form->flags & NVME_PMAP_REG_PRP ? -EPERM : (int64_t)s->len;
}

static int64_t allowed(const struct gun *g, const struct shot *s)
{
	int64_t bytes = transfer(g, s);
	uintptr_t first = ((uintptr_t)g->buf + s->offset) / PAGE;

	if (bytes < 0)
		return bytes;
	if (bytes > s->len)
		return -EOVERFLOW;
	/* a command that may transfer less than it says must not have a PRP list */
	if (g->form->flags & NVME_PMAP_REG_PRP && bytes && !moves_blocks(s->opcode) &&
	    ((uintptr_t)g->buf + s->offset + (uint64_t)bytes - 1) / PAGE - first > 1)
		return -EPERM;
	return bytes;
}

/* ---- firing ---- */

static void check_around(struct gun *g, const struct shot *s, uint64_t bytes)
{
	const unsigned char *at = g->buf + s->offset, *from = at - AROUND, *end = at + bytes,
			    *to = end + AROUND, *last = g->mem.map + g->mem.len;

	from = from < g->mem.map ? g->mem.map : from;
	to = to > last ? last : to;
	CHECK(poisoned(from, (size_t)(at - from)) == (size_t)(at - from),
	      "%s, opcode %#x, %u bytes at %#" PRIx64 ": memory before the slice changed",
	      g->form->name, s->opcode, s->len, s->offset);
	CHECK(poisoned(end, (size_t)(to - end)) == (size_t)(to - end),
	      "%s, opcode %#x, %u bytes at %#" PRIx64 ": memory behind the transfer changed",
	      g->form->name, s->opcode, s->len, s->offset);
}

/*
 * On a queue it is not the first of its batch: other code checks the first one.
 * io_uring makes a batch of three SQEs.
 */
static int fire_in_batch(struct gun *g, const struct nvme_pmap_cmd *c)
{
	struct nvme_pmap_cmd first = cmd_rw(&g->dev, OP_FLUSH, g->index, 0, 4, 0);
	struct io_uring_sqe *nop = io_uring_get_sqe(&g->ring);
	struct completion done;
	int res[3] = { -ETIME, -ETIME, -ETIME };
	unsigned int i;

	io_uring_prep_nop(nop);
	nop->user_data = 0;
	prep_cmd(&g->ring, g->dev.fd, &first, 1);
	prep_cmd(&g->ring, g->dev.fd, c, 2);
	CHECK(io_uring_submit(&g->ring) == 3, "submit");
	for (i = 0; i < 3 && !ring_reap(&g->ring, &done, 20000); i++)
		res[done.user_data % 3] = done.res;
	if (CHECK_RET(res[1], 0, "flush"))
		printf("# dma %#x some\n", OP_FLUSH);
	return res[2];
}

static void fire(struct gun *g, const struct shot *s)
{
	struct nvme_pmap_cmd c = cmd_rw(&g->dev, s->opcode, g->index, s->offset, s->len, 0);
	int64_t want = allowed(g, s);
	int ret;

	c.cdw10 = s->cdw10;
	c.cdw12 = s->cdw12;
	c.cdw13 = s->cdw13;
	if (s->opcode == OP_DSM || s->opcode == OP_COPY) /* ranges: none */
		memset(g->buf + s->offset, 0, s->len);
	if (s->opcode == OP_DSM)
		c.cdw11 = 4; /* deallocate: else QEMU does not look at them */
	ret = opt.queues ? fire_in_batch(g, &c) : run_cmd(&g->ring, g->dev.fd, &c);
	if (want < 0) {
		CHECK_RET(ret, want, "%s, opcode %#x, %u bytes at %#" PRIx64, g->form->name,
			  s->opcode, s->len, s->offset);
		want = 0;
		g->refused++;
	} else if (CHECK(ret >= 0, "%s, opcode %#x, %u bytes at %#" PRIx64 ": %s", g->form->name,
			 s->opcode, s->len, s->offset, err_name(ret))) {
		CHECK(!ret || s->opcode != OP_READ,
		      "%s, a read of %" PRId64 " of %u bytes at %#" PRIx64 ": %s", g->form->name,
		      want, s->len, s->offset, err_name(ret));
		print_dma(g, s, (uint64_t)want, !ret && want);
		g->sent++;
	}
	if (s->opcode == OP_DSM || s->opcode == OP_COPY)
		poison(g->buf + s->offset, s->len);
	check_around(g, s, (uint64_t)want);
	poison(g->buf + s->offset, (size_t)want);
}

/* Block counts around the number that fits in data_len. */
static void fire_blocks(struct gun *g, uint8_t opcode, uint64_t offset, uint32_t len)
{
	uint32_t fit = len / g->dev.block, page = PAGE / g->dev.lba;
	const uint32_t counts[] = {
		fit,	 fit - 1,    fit / 2,	     1,		  fit > page ? fit - page : 1,
		fit + 1, fit + page, fit + 2 * page, 2 * fit + 1, 65536,
	};
	struct shot s = { .opcode = opcode, .offset = offset, .len = len };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(counts); i++)
		if (counts[i] && counts[i] <= 65536) {
			s.cdw12 = counts[i] - 1;
			fire(g, &s);
		}
}

static void fire_all_blocks(struct gun *g, const uint8_t *ops, unsigned int nr)
{
	static const uint32_t pages[] = { 1, 2, 3, 9, 130, 300 }, offsets[] = {
		0,
		4,
		512,
		2052,
		4092,
		250 * PAGE,
		250 * PAGE + 4,
		/* from here a kept PRP list begins on a page, like a page of data */
		255 * PAGE,
		255 * PAGE + 512,
	};
	unsigned int i, j, op;

	for (op = 0; op < nr; op++)
		for (i = 0; i < ARRAY_SIZE(pages); i++)
			for (j = 0; j < ARRAY_SIZE(offsets); j++)
				fire_blocks(g, ops[op], offsets[j], pages[i] * PAGE);
}

/* Commands with a length field: less, exact, more, and wrapping. */
static void fire_counted(struct gun *g, uint8_t opcode, uint32_t unit, bool in_cdw12, uint32_t max)
{
	static const uint32_t lengths[] = { 32, 4096, 2 * PAGE },
			      offsets[] = { 0, 4, 4092, 5 * PAGE };
	unsigned int i, j, k;

	for (i = 0; i < ARRAY_SIZE(lengths); i++)
		for (j = 0; j < ARRAY_SIZE(offsets); j++) {
			uint32_t fit = lengths[i] / unit;
			const uint32_t counts[] = { 1, fit, fit + 1, 2 * fit, max };

			for (k = 0; k < ARRAY_SIZE(counts); k++) {
				struct shot s = { .opcode = opcode,
						  .offset = offsets[j],
						  .len = lengths[i] };

				if (counts[k] - 1 > max - 1)
					continue;
				*(in_cdw12 ? &s.cdw12 : &s.cdw10) = counts[k] - 1;
				fire(g, &s);
			}
		}
}

/* No data, or of fixed size, with any values in the fields. */
static void fire_fixed(struct gun *g)
{
	static const uint8_t ops[] = {
		OP_FLUSH,	  OP_WRITE_ZEROES, OP_VERIFY,
		OP_RESV_REGISTER, OP_RESV_ACQUIRE, OP_RESV_RELEASE,
	};
	static const uint32_t lengths[] = { 4, 8, 12, 16, PAGE, 2 * PAGE, 3 * PAGE };
	unsigned int i, j;

	for (i = 0; i < ARRAY_SIZE(ops); i++)
		for (j = 0; j < ARRAY_SIZE(lengths); j++) {
			struct shot s = {
				.opcode = ops[i], .cdw12 = 63, .offset = 4, .len = lengths[j]
			};

			fire(g, &s);
		}
}

static void fire_vendor(struct gun *g)
{
	struct shot s = { .offset = 4, .len = 3 * PAGE };
	unsigned int op;

	for (op = 0x80; op < 0x100; op += 5) {
		s.opcode = (uint8_t)op;
		fire(g, &s);
	}
}

/* The host looks at the trace between two commands of an opcode that QEMU lacks. */
static void mark(const struct dev *dev)
{
	struct nvme_passthru_cmd c = { .opcode = OP_WRITE_UNCOR, .nsid = dev->nsid };

	CHECK(ioctl(dev->fd, NVME_IOCTL_IO_CMD, &c) > 0, "the mark");
}

static void each_form(const char *name, void (*fire_some)(struct gun *))
{
	struct gun g;

	if (!gun_open(&g, name))
		goto out;
	mark(&g.dev);
	printf("# mark\n");
	for (g.form = reg_forms; g.form < reg_forms + NR_REG_FORMS; g.form++) {
		poison(g.mem.map, g.mem.len);
		if (!must_register(&g.dev, g.buf, PAGES * PAGE, g.form->flags, &g.index))
			break;
		fire_some(&g);
		CHECK(poisoned(g.mem.map, g.mem.len) == g.mem.len, "%s: memory changed at %#zx",
		      g.form->name, poisoned(g.mem.map, g.mem.len));
		must_unregister(&g.dev, g.index);
	}
	mark(&g.dev);
	printf("# mark\n");
	note("%u commands sent, %u refused", g.sent, g.refused);
out:
	gun_close(&g);
}

static void fire_reads(struct gun *g)
{
	static const uint8_t ops[] = { OP_READ, OP_WRITE };

	fire_all_blocks(g, ops, ARRAY_SIZE(ops));
}

static void fire_others(struct gun *g)
{
	static const uint8_t compare[] = { OP_COMPARE };

	fire_all_blocks(g, compare, 1);
	fire_counted(g, OP_DSM, 16, false, 256);
	fire_counted(g, OP_COPY, 32, true, 128);
	fire_counted(g, OP_RESV_REPORT, 4, false, ~0u);
	fire_fixed(g);
	fire_vendor(g);
}

static void reads_writes(void) { each_form(NULL, fire_reads); }
static void others(void) { each_form(NULL, fire_others); }

/* ---- -D names the controller of the formats: see tests/lib.sh ---- */

static void with_format(unsigned int nsid, void (*fire_some)(struct gun *))
{
	char name[64];

	if (!opt.dev2) {
		skip_case("no controller with formats");
		return;
	}
	snprintf(name, sizeof(name), "%s:%u", opt.dev2, nsid);
	each_form(name, fire_some);
}

static void fire_format(struct gun *g)
{
	static const uint8_t ops[] = { OP_READ, OP_WRITE };
	static const uint32_t pages[] = { 1, 2, 3, 14 };
	unsigned int i;

	/* QEMU 7.2 loses metadata of more than 512 bytes: 64 blocks */
	for (i = 0; i < ARRAY_SIZE(pages); i++) {
		uint32_t len = pages[i] * PAGE;

		if (g->dev.ms && len > 60 * g->dev.lba)
			len = 60 * g->dev.lba;
		fire_blocks(g, ops[i % 2], 4 * i, len);
		fire_blocks(g, ops[(i + 1) % 2], 4092, len);
	}
}

static void fire_zones(struct gun *g)
{
	static const uint32_t pages[] = { 1, 2, 3, 20 };
	struct shot reset = { .opcode = OP_ZONE_SEND, .cdw13 = 4, .len = 4 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(pages); i++) {
		fire(g, &reset);
		fire_blocks(g, OP_ZONE_APPEND, 4 * i, pages[i] * PAGE);
	}
	fire_counted(g, OP_ZONE_RECV, 4, true, ~0u);
	fire_format(g);
}

static void lba_4k(void) { with_format(1, fire_format); }
static void extended(void) { with_format(2, fire_format); }
static void separate(void) { with_format(3, fire_format); }
static void zoned(void) { with_format(4, fire_zones); }

static const struct test_case overrun_cases[] = {
	{ "reads-writes", reads_writes }, { "others", others },	    { "lba-4k", lba_4k },
	{ "extended", extended },	  { "separate", separate }, { "zoned", zoned },
};

SUBJECT(overrun);

/* ---- control: behind a strict IOMMU only, with the console switched off ---- */

#define WILD 0x5ad0bad000ull /* mapped for no device */

/*
 * The hole itself, with stock passthrough: two neighbouring pages, for which stock
 * takes PRPs, and a command for three.  The device takes the second page for a
 * list, and accesses the address in it.
 */
static void stock_overrun(void)
{
	struct mem mem = { .fd = -1 };
	struct io_uring_sqe *sqe;
	struct completion done;
	struct io_uring ring;
	uint64_t list[] = { WILD, WILD + PAGE };
	struct dev dev;

	if (!dev_open(&dev, NULL, O_RDWR) || !ring_open(&ring, MODE_IRQ, 4) ||
	    !CHECK(mem_alloc(&mem, MEM_THP, MIB(2)), "no huge page"))
		return;
	memcpy(mem.map + PAGE, list, sizeof(list));
	/* The device would only read there, which does no harm without an IOMMU either. */
	sqe = prep_stock(&ring, &dev, OP_WRITE, mem.map, 2 * PAGE, 0, 0);
	((struct nvme_uring_cmd *)(void *)sqe->cmd)->cdw12 = 3 * PAGE / dev.block - 1;
	CHECK_RET(io_uring_submit(&ring), 1, "submit");
	CHECK_RET(ring_reap(&ring, &done, 20000), 0, "completion");
	note("the stock door answers %s", err_name(done.res));
	io_uring_queue_exit(&ring);
	mem_free(&mem);
	dev_close(&dev);
}

static const struct test_case stock_overrun_cases[] = { { "stock-overrun", stock_overrun } };

SUBJECT(stock_overrun);
