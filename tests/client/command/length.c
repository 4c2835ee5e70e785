// SPDX-License-Identifier: GPL-2.0
/*
 * A command that would transfer more than data_len is refused before the
 * device sees it (CVE-2023-6238): a PRP has no length, and the device would
 * run on into the memory behind the slice.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

#include "lib/util.h"

#define PAGES 32u

struct length_setup {
	struct dev dev;
	struct mem mem;
	struct io_uring ring;
	unsigned char *disk; /* the data read by the stock path */
};

static bool length_open(struct length_setup *s, const char *name)
{
	memset(s, 0, sizeof(*s));
	s->mem.fd = -1;
	if (!dev_open(&s->dev, name, O_RDWR) || !ring_open(&s->ring, MODE_IRQ, 8) ||
	    !CHECK(mem_alloc(&s->mem, MEM_4K, 2 * PAGES * PAGE), "no memory"))
		return false;
	s->disk = s->mem.map + PAGES * PAGE;
	return true;
}

static void length_close(struct length_setup *s)
{
	if (s->ring.ring_fd > 0)
		io_uring_queue_exit(&s->ring);
	mem_free(&s->mem);
	dev_close(&s->dev);
}

static bool disk_fill(struct length_setup *s, uint64_t gen)
{
	uint32_t len = 16 * PAGE;

	pattern_fill(s->disk, s->dev.block, 0, len / s->dev.block, gen);
	return CHECK_RET(run_stock(&s->ring, &s->dev, OP_WRITE, s->disk, len, 0), 0, "stock write");
}

static bool disk_is(struct length_setup *s, uint64_t gen, const char *what)
{
	uint32_t len = 16 * PAGE;

	poison(s->disk, len);
	return CHECK_RET(run_stock(&s->ring, &s->dev, OP_READ, s->disk, len, 0), 0, "stock read") &&
	       CHECK(pattern_verify(s->disk, s->dev.block, 0, len / s->dev.block, gen, what),
		     "%s: the disk has changed", what);
}

/* A read of @blocks with room for @len bytes must change nothing at all. */
static void long_read(struct length_setup *s, uint32_t index, uint64_t offset, uint32_t len,
		      uint32_t blocks, const char *what)
{
	struct nvme_pmap_cmd cmd = cmd_rw(&s->dev, OP_READ, index, offset, len, 0);
	size_t all = PAGES * PAGE, same;

	cmd.cdw12 = blocks - 1;
	poison(s->mem.map, all);
	CHECK_RET(run_cmd(&s->ring, s->dev.fd, &cmd), -EOVERFLOW, "%s: %u blocks into %u bytes",
		  what, blocks, len);
	same = poisoned(s->mem.map, all);
	CHECK(same == all, "%s: %u blocks into %u bytes: memory changed at %#zx", what, blocks, len,
	      same);
}

/* And a write must bring nothing to the disk, which holds generation 1. */
static void long_write(struct length_setup *s, uint32_t index, uint64_t offset, uint32_t len,
		       uint32_t blocks, const char *what)
{
	struct nvme_pmap_cmd cmd = cmd_rw(&s->dev, OP_WRITE, index, offset, len, 0);

	cmd.cdw12 = blocks - 1;
	poison(s->mem.map, PAGES * PAGE);
	CHECK_RET(run_cmd(&s->ring, s->dev.fd, &cmd), -EOVERFLOW, "%s: %u blocks from %u bytes",
		  what, blocks, len);
}

static void overlong(struct length_setup *s, uint32_t index, uint64_t offset, uint32_t len,
		     const char *what)
{
	uint32_t fit = len / s->dev.block, page = PAGE / s->dev.block;
	const uint32_t blocks[] = { fit + 1,	 fit + page, fit + 2 * page, 2 * fit,
				    3 * fit + 1, 4096,	     65535,	     65536 };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(blocks); i++) {
		long_read(s, index, offset, len, blocks[i], what);
		long_write(s, index, offset, len, blocks[i], what);
	}
	disk_is(s, 1, what);
}

/* A transfer that just fits works, and touches exactly its slice. */
static void exact(struct length_setup *s, uint32_t index, unsigned char *at, uint64_t offset,
		  uint32_t len, const char *what)
{
	size_t before = (size_t)(at - s->mem.map), all = PAGES * PAGE;

	poison(s->mem.map, all);
	CHECK_RET(run_rw(&s->ring, &s->dev, OP_READ, index, offset, len, 0), 0, "%s: %u bytes",
		  what, len);
	CHECK(pattern_verify(at, s->dev.block, 0, len / s->dev.block, 1, what), "%s: data", what);
	CHECK(poisoned(s->mem.map, all) == before, "%s: memory before the slice changed", what);
	CHECK(poisoned(at + len, all - before - len) == all - before - len,
	      "%s: memory behind the slice changed", what);
}

/*
 * In the middle of a larger buffer and at the end of one, where the pages
 * behind are not even pinned.
 */
static void one_form(struct length_setup *s, const struct reg_form *form)
{
	static const unsigned int lengths[] = { 1, 2, 3, 8 };
	uint32_t inside, whole;
	char what[64];
	size_t i;

	if (!must_register(&s->dev, s->mem.map, PAGES * PAGE, form->flags, &inside))
		return;
	for (i = 0; i < ARRAY_SIZE(lengths); i++) {
		uint32_t len = lengths[i] * PAGE;
		unsigned char *at = s->mem.map + 4 * PAGE;

		snprintf(what, sizeof(what), "%s, %u pages inside", form->name, lengths[i]);
		overlong(s, inside, 4 * PAGE, len, what);
		overlong(s, inside, 4 * PAGE + 516, len, what);
		exact(s, inside, at, 4 * PAGE, len, what);
		snprintf(what, sizeof(what), "%s, a buffer of %u pages", form->name, lengths[i]);
		if (!must_register(&s->dev, at, len, form->flags, &whole))
			return;
		overlong(s, whole, 0, len, what);
		overlong(s, whole, len - s->dev.block, s->dev.block, what);
		exact(s, whole, at, 0, len, what);
		must_unregister(&s->dev, whole);
	}
	must_unregister(&s->dev, inside);
}

static void read_write(void)
{
	struct length_setup s;
	const struct reg_form *form;

	if (length_open(&s, NULL) && disk_fill(&s, 1))
		for (form = reg_forms; form < reg_forms + NR_REG_FORMS; form++)
			one_form(&s, form);
	length_close(&s);
}

/* A transfer may be shorter than data_len. */
static void shorter(void)
{
	struct nvme_pmap_cmd cmd;
	struct length_setup s;
	uint32_t index;
	const struct reg_form *form;
	int ret;

	if (!length_open(&s, NULL) || !disk_fill(&s, 1))
		goto out;
	for (form = reg_forms; form < reg_forms + NR_REG_FORMS; form++) {
		if (!must_register(&s.dev, s.mem.map, PAGES * PAGE, form->flags, &index))
			break;
		cmd = cmd_rw(&s.dev, OP_READ, index, 0, 16 * PAGE, 0);
		cmd.cdw12 = 0;
		poison(s.mem.map, PAGES * PAGE);
		ret = run_cmd(&s.ring, s.dev.fd, &cmd);
		/* A controller need not take an SGL that is longer than the data. */
		if (!(form->flags & NVME_PMAP_REG_PRP) && NVME_STATUS(ret) == SC_SGL_LEN_INVALID)
			note("%s: the controller refuses excess length", form->name);
		else if (CHECK_RET(ret, 0, "%s: one block into 16 pages", form->name))
			CHECK(poisoned(s.mem.map + s.dev.block, PAGES * PAGE - s.dev.block) ==
				      PAGES * PAGE - s.dev.block,
			      "more than a block arrived");
		must_unregister(&s.dev, index);
	}
out:
	length_close(&s);
}

struct row {
	const char *what;
	uint8_t opcode;
	uint32_t cdw10, cdw12;
	uint64_t bytes;
};

static const struct row rows[] = {
	{ "compare 1", OP_COMPARE, 0, 0, 512 },
	{ "compare 9", OP_COMPARE, 0, 8, 512 * 9 },
	{ "compare 65536", OP_COMPARE, 0, 0xffff, 512 * 65536 },
	{ "write, FUA and more in the upper half", OP_WRITE, 0, 0x40000000 | 9, 512 * 10 },
	{ "dsm 1", OP_DSM, 0, 0, 16 },
	{ "dsm 2", OP_DSM, 1, 0, 32 },
	{ "dsm 256", OP_DSM, 255, 0, 4096 },
	{ "copy 1", OP_COPY, 0, 0, 32 },
	{ "copy 256", OP_COPY, 0, 255, 8192 },
	{ "reservation register", OP_RESV_REGISTER, 0, 0, 16 },
	{ "reservation acquire", OP_RESV_ACQUIRE, 0, 0, 16 },
	{ "reservation release", OP_RESV_RELEASE, 0, 0, 8 },
	{ "reservation report 8", OP_RESV_REPORT, 1, 0, 8 },
	{ "reservation report 4096", OP_RESV_REPORT, 1023, 0, 4096 },
	{ "reservation report, NUMD wrapping", OP_RESV_REPORT, 0xffffffff, 0, 1ull << 34 },
	{ "reservation report, 2^30 dwords", OP_RESV_REPORT, 0x3fffffff, 0, 1ull << 32 },
};

static void one_row(struct length_setup *s, uint32_t index, const struct row *row)
{
	struct nvme_pmap_cmd cmd = cmd_rw(&s->dev, row->opcode, index, 0, PAGE, 0);
	uint64_t limit = 16 * PAGE;
	int ret;

	cmd.cdw10 = row->cdw10;
	cmd.cdw12 = row->cdw12;
	cmd.data_len = (uint32_t)(row->bytes - 4 < limit ? row->bytes - 4 : limit);
	memset(s->mem.map, 0, PAGES * PAGE);
	CHECK_RET(run_cmd(&s->ring, s->dev.fd, &cmd), -EOVERFLOW, "%s, %u of %" PRIu64 " bytes",
		  row->what, cmd.data_len, row->bytes);
	cmd.data_len = 4;
	CHECK_RET(run_cmd(&s->ring, s->dev.fd, &cmd), -EOVERFLOW, "%s, 4 of %" PRIu64 " bytes",
		  row->what, row->bytes);
	if (row->bytes > limit)
		return;
	/* Enough: the driver accepts it; the controller may still refuse it. */
	cmd.data_len = (uint32_t)row->bytes;
	ret = run_cmd(&s->ring, s->dev.fd, &cmd);
	CHECK(ret >= 0, "%s with exactly %" PRIu64 " bytes: %s", row->what, row->bytes,
	      err_name(ret));
}

/* On a zoned namespace only: elsewhere these opcodes mean nothing. */
static const struct row zoned_rows[] = {
	{ "append 3", OP_ZONE_APPEND, 0, 2, 512 * 3 },
	{ "zone report 4096", OP_ZONE_RECV, 0, 1023, 4096 },
	{ "zone report, NUMD wrapping", OP_ZONE_RECV, 0, 0xffffffff, 1ull << 34 },
	{ "zone report, 2^30 dwords", OP_ZONE_RECV, 0, 0x3fffffff, 1ull << 32 },
	{ "zone report, 2^30 dwords and one", OP_ZONE_RECV, 0, 0x40000000, (1ull << 32) + 4 },
};

/*
 * Every opcode with data.  The device knows only some of them; the others are
 * told by EOVERFLOW, which comes first, from its "invalid opcode".
 */
static void opcodes(void)
{
	struct length_setup s;
	uint32_t index;
	const struct reg_form *form;
	size_t i;

	if (!length_open(&s, NULL))
		goto out;
	for (form = reg_forms; form < reg_forms + NR_REG_FORMS; form++) {
		if (!must_register(&s.dev, s.mem.map, PAGES * PAGE, form->flags, &index))
			break;
		for (i = 0; i < ARRAY_SIZE(rows); i++)
			one_row(&s, index, &rows[i]);
		must_unregister(&s.dev, index);
	}
out:
	length_close(&s);
}

/* Commands that transfer nothing: four bytes are enough for any block count. */
static void no_data(void)
{
	static const uint8_t ops[] = { OP_FLUSH, OP_WRITE_ZEROES, OP_VERIFY, OP_WRITE_UNCOR };
	struct length_setup s;
	uint32_t index;
	size_t i;

	if (!length_open(&s, NULL) ||
	    !must_register(&s.dev, s.mem.map, PAGE, NVME_PMAP_REG_PRP, &index))
		goto out;
	poison(s.mem.map, PAGES * PAGE);
	for (i = 0; i < ARRAY_SIZE(ops); i++) {
		struct nvme_pmap_cmd cmd = cmd_rw(&s.dev, ops[i], index, 0, 4, 0);
		int ret;

		cmd.cdw12 = 255;
		ret = run_cmd(&s.ring, s.dev.fd, &cmd);
		/* QEMU has no Write Uncorrectable. */
		CHECK(ret == 0 ||
			      (ops[i] == OP_WRITE_UNCOR && NVME_STATUS(ret) == SC_INVALID_OPCODE),
		      "opcode %#x: %s", ops[i], err_name(ret));
	}
	CHECK(poisoned(s.mem.map, PAGES * PAGE) == PAGES * PAGE, "memory changed");
out:
	length_close(&s);
}

/* The data really is compared: equal, and different in the last byte. */
static void compare(void)
{
	struct length_setup s;
	uint32_t index;
	int ret;

	if (!length_open(&s, NULL) || !disk_fill(&s, 1) ||
	    !must_register(&s.dev, s.mem.map, 4 * PAGE, NVME_PMAP_REG_PRP, &index))
		goto out;
	pattern_fill(s.mem.map + 4, s.dev.block, 0, 3 * PAGE / s.dev.block, 1);
	CHECK_RET(run_rw(&s.ring, &s.dev, OP_COMPARE, index, 4, 3 * PAGE, 0), 0, "equal");
	s.mem.map[4 + 3 * PAGE - 1] ^= 1;
	ret = run_rw(&s.ring, &s.dev, OP_COMPARE, index, 4, 3 * PAGE, 0);
	CHECK(ret > 0 && NVME_STATUS(ret) == SC_COMPARE_FAILED, "different: %s", err_name(ret));
out:
	length_close(&s);
}

static const struct test_case length_cases[] = {
	{ "read-write", read_write }, { "shorter", shorter }, { "opcodes", opcodes },
	{ "no-data", no_data },	      { "compare", compare },
};

SUBJECT(length);

/* ---- formats: -d names the controller, its namespaces are these ---- */

enum { NS_4K = 1, NS_EXTENDED, NS_SEPARATE, NS_ZONED };

/* Commands that fail, for each property of a format. */
static const uint32_t format_ns[] = {
	[NS_4K] = 0,
	[NS_EXTENDED] = NVME_PMAP_NS_INLINE | NVME_PMAP_NS_PRACT_UNKNOWN,
	[NS_SEPARATE] = NVME_PMAP_NS_SEPARATE,
	[NS_ZONED] = NVME_PMAP_NS_ZONED,
};

static bool format_open(struct length_setup *s, unsigned int nsid, uint32_t *index)
{
	struct nvme_pmap_query q;
	char name[64];

	snprintf(name, sizeof(name), "%s:%u", opt.dev, nsid);
	return length_open(s, name) &&
	       must_register(&s->dev, s->mem.map, PAGES * PAGE, NVME_PMAP_REG_PRP, index) &&
	       CHECK_RET(nvme_pmap_query_file(s->dev.fd, &q), 0, "query") &&
	       CHECK(q.lba_bytes == s->dev.block, "lba_bytes %u, not %u", q.lba_bytes,
		     s->dev.block) &&
	       CHECK(q.ns == format_ns[nsid] && q.md_bytes == s->dev.ms,
		     "ns %#x, not %#x, with %u bytes of metadata", q.ns, format_ns[nsid],
		     q.md_bytes);
}

/* Write with pmap, read with the stock path, and the other way round. */
static void round_trip(struct length_setup *s, uint32_t index, uint32_t blocks)
{
	uint32_t len = blocks * s->dev.block, offset = 1028;
	unsigned char *at = s->mem.map + offset;

	pattern_fill(at, s->dev.block, 5, blocks, 1);
	CHECK_RET(run_rw(&s->ring, &s->dev, OP_WRITE, index, offset, len, 5), 0, "pmap write");
	poison(s->disk, len);
	CHECK_RET(run_stock(&s->ring, &s->dev, OP_READ, s->disk, len, 5), 0, "stock read");
	CHECK(pattern_verify(s->disk, s->dev.block, 5, blocks, 1, "stock read"),
	      "pmap write, stock read");
	pattern_fill(s->disk, s->dev.block, 5, blocks, 2);
	CHECK_RET(run_stock(&s->ring, &s->dev, OP_WRITE, s->disk, len, 5), 0, "stock write");
	poison(s->mem.map, PAGES * PAGE);
	CHECK_RET(run_rw(&s->ring, &s->dev, OP_READ, index, offset, len, 5), 0, "pmap read");
	CHECK(pattern_verify(at, s->dev.block, 5, blocks, 2, "pmap read"),
	      "stock write, pmap read");
	CHECK(poisoned(s->mem.map, offset) == offset &&
		      poisoned(at + len, PAGES * PAGE - offset - len) ==
			      PAGES * PAGE - offset - len,
	      "memory around the slice changed");
}

static void too_long(struct length_setup *s, uint32_t index, uint32_t len, uint32_t blocks)
{
	long_read(s, index, 4 * PAGE, len, blocks, "too long");
	long_write(s, index, 4 * PAGE, len, blocks, "too long");
}

static void lba_4k(void)
{
	struct length_setup s;
	uint32_t index;

	if (format_open(&s, NS_4K, &index) && CHECK(s.dev.block == 4096, "block %u", s.dev.block)) {
		round_trip(&s, index, 1);
		round_trip(&s, index, 9);
		too_long(&s, index, PAGE, 2);
		too_long(&s, index, PAGE - 4, 1);
		too_long(&s, index, 512, 1);
		too_long(&s, index, 3 * PAGE, 65536);
	}
	length_close(&s);
}

#define PRACT (1u << 29)

static void extended(void)
{
	struct nvme_pmap_cmd cmd;
	struct length_setup s;
	uint32_t index;

	if (format_open(&s, NS_EXTENDED, &index) &&
	    CHECK(s.dev.block == 520, "block %u", s.dev.block)) {
		round_trip(&s, index, 1);
		round_trip(&s, index, 8);
		/* QEMU 7.2 loses metadata of more than 512 bytes, by any path. */
		round_trip(&s, index, 60);
		/* Enough for the data alone: a check that forgets the metadata accepts it. */
		too_long(&s, index, 512, 1);
		too_long(&s, index, 8 * 512, 8);
		too_long(&s, index, 8 * 520 - 4, 8);
		too_long(&s, index, 63 * 520, 64);
		/*
		 * The controller ignores PRACT where there is no PI, and strips PI that
		 * the driver was told not to see: the driver cannot know which.
		 */
		cmd = cmd_rw(&s.dev, OP_READ, index, 0, 8 * 512, 0);
		cmd.cdw12 = 7 | PRACT;
		CHECK_RET(run_cmd(&s.ring, s.dev.fd, &cmd), -EPERM, "PRACT without PI");
	}
	length_close(&s);
}

static void separate(void)
{
	static const uint8_t ops[] = { OP_READ, OP_WRITE, OP_COMPARE };
	struct nvme_pmap_cmd cmd;
	struct length_setup s;
	uint32_t index;
	size_t i;

	if (!format_open(&s, NS_SEPARATE, &index) ||
	    !CHECK(s.dev.block == 512 && s.dev.ms == 8, "block %u, metadata %u", s.dev.block,
		   s.dev.ms))
		goto out;
	for (i = 0; i < ARRAY_SIZE(ops); i++)
		CHECK_RET(run_rw(&s.ring, &s.dev, ops[i], index, 0, PAGE, 0), -EPROTONOSUPPORT,
			  "opcode %#x", ops[i]);
	cmd = cmd_rw(&s.dev, OP_READ, index, 0, PAGE, 0);
	cmd.cdw12 |= PRACT;
	CHECK_RET(run_cmd(&s.ring, s.dev.fd, &cmd), -EPROTONOSUPPORT, "PRACT without PI");
	/* No metadata in these. */
	memset(s.mem.map, 0, PAGE);
	cmd = cmd_rw(&s.dev, OP_DSM, index, 0, 16, 0);
	cmd.cdw12 = 0;
	CHECK_RET(run_cmd(&s.ring, s.dev.fd, &cmd), 0, "DSM");
	cmd = cmd_rw(&s.dev, OP_FLUSH, index, 0, 16, 0);
	CHECK_RET(run_cmd(&s.ring, s.dev.fd, &cmd), 0, "flush");
out:
	length_close(&s);
}

static void zone_append(struct length_setup *s, uint32_t index, uint64_t want)
{
	struct nvme_pmap_cmd cmd = cmd_rw(&s->dev, OP_ZONE_APPEND, index, 0, 2 * PAGE, 0);
	struct completion done;

	pattern_fill(s->mem.map, s->dev.block, want, 2 * PAGE / s->dev.block, 8);
	prep_cmd(&s->ring, s->dev.fd, &cmd, 0);
	CHECK_RET(io_uring_submit(&s->ring), 1, "submit");
	if (CHECK_RET(ring_reap(&s->ring, &done, 5000), 0, "completion") &&
	    CHECK_RET(done.res, 0, "append"))
		CHECK(done.result == want, "appended at %" PRIu64 ", not %" PRIu64, done.result,
		      want);
}

static void zoned(void)
{
	struct nvme_pmap_cmd cmd;
	struct length_setup s;
	uint32_t index, blocks;
	size_t i;

	if (!format_open(&s, NS_ZONED, &index))
		goto out;
	blocks = 2 * PAGE / s.dev.block;
	/* Reset the first zone: a management send without data. */
	cmd = cmd_rw(&s.dev, OP_ZONE_SEND, index, 0, 4, 0);
	cmd.cdw12 = 0;
	cmd.cdw13 = 4;
	CHECK_RET(run_cmd(&s.ring, s.dev.fd, &cmd), 0, "zone reset");
	/* The result says where the data went. */
	zone_append(&s, index, 0);
	zone_append(&s, index, blocks);
	poison(s.mem.map, PAGES * PAGE);
	CHECK_RET(run_rw(&s.ring, &s.dev, OP_READ, index, 0, 2 * PAGE, blocks), 0, "read");
	CHECK(pattern_verify(s.mem.map, s.dev.block, blocks, blocks, 8, "append"), "appended data");
	cmd = cmd_rw(&s.dev, OP_ZONE_APPEND, index, 0, PAGE, 0);
	cmd.cdw12 = PAGE / s.dev.block;
	CHECK_RET(run_cmd(&s.ring, s.dev.fd, &cmd), -EOVERFLOW, "append, a block too many");
	cmd = cmd_rw(&s.dev, OP_ZONE_RECV, index, 0, PAGE, 0);
	cmd.cdw12 = PAGE / 4 - 1;
	cmd.cdw13 = 0;
	CHECK_RET(run_cmd(&s.ring, s.dev.fd, &cmd), 0, "zone report");
	CHECK(s.mem.map[0] || s.mem.map[1], "the report names no zones");
	cmd.cdw12++;
	CHECK_RET(run_cmd(&s.ring, s.dev.fd, &cmd), -EOVERFLOW, "zone report, a dword too many");
	for (i = 0; i < ARRAY_SIZE(zoned_rows); i++)
		one_row(&s, index, &zoned_rows[i]);
out:
	length_close(&s);
}

static const struct test_case formats_cases[] = {
	{ "lba-4k", lba_4k },
	{ "extended", extended },
	{ "separate", separate },
	{ "zoned", zoned },
};

SUBJECT(formats);
