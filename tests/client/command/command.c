// SPDX-License-Identifier: GPL-2.0
/*
 * Commands that are refused, one rule at a time, as root; length.c tests the
 * length of the transfer, abi/unprivileged.c permissions.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/trace.h"
#include "lib/util.h"

#define INDEX_PAGES 16u

static bool setup_open(struct setup *s, size_t len)
{
	return setup_make(s, NULL, MODE_IRQ, MEM_4K, len);
}

/* A read of one page that succeeds, for the cases to spoil. */
static struct nvme_pmap_cmd valid(const struct setup *s)
{
	return cmd_rw(&s->dev, OP_READ, s->index, 0, PAGE, 0);
}

static void expect(struct setup *s, const struct nvme_pmap_cmd *cmd, int want, const char *what)
{
	struct nvme_pmap_cmd good = valid(s);

	CHECK_RET(run_cmd(&s->ring, s->dev.fd, cmd), want, "%s", what);
	/* And it has left nothing behind that stops the next one. */
	CHECK_RET(run_cmd(&s->ring, s->dev.fd, &good), 0, "a good command after %s", what);
}

static void reserved(void)
{
	struct setup s;
	unsigned int bit;

	if (!setup_open(&s, INDEX_PAGES * PAGE))
		goto out;
	for (bit = 0; bit < 32; bit++) {
		struct nvme_pmap_cmd cmd = valid(&s);

		cmd.rsvd1 = (uint16_t)(1u << bit);
		if (cmd.rsvd1)
			expect(&s, &cmd, -EINVAL, "rsvd1");
		cmd = valid(&s);
		cmd.rsvd2 = 1u << bit;
		expect(&s, &cmd, -EINVAL, "rsvd2");
		cmd = valid(&s);
		cmd.rsvd3 = 1u << bit;
		expect(&s, &cmd, -EINVAL, "rsvd3");
		cmd = valid(&s);
		cmd.rsvd4 = 1u << bit;
		expect(&s, &cmd, -EINVAL, "rsvd4");
		cmd = valid(&s);
		cmd.flags = (uint8_t)(1u << bit);
		if (cmd.flags)
			expect(&s, &cmd, -EINVAL, "flags");
	}
out:
	setup_close(&s);
}

static void nsid(void)
{
	struct nvme_pmap_cmd cmd;
	struct setup s;
	size_t i;

	if (!setup_open(&s, INDEX_PAGES * PAGE))
		goto out;
	for (i = 0; i < 4; i++) {
		const uint32_t bad[] = { 0, s.dev.nsid + 1, 0xffffffff, s.dev.nsid | 1u << 31 };

		cmd = valid(&s);
		cmd.nsid = bad[i];
		expect(&s, &cmd, -EINVAL, "wrong NSID");
	}
out:
	setup_close(&s);
}

static void indexes(void)
{
	static const uint32_t none[] = { 1,
					 3,
					 4,
					 63,
					 64,
					 4095,
					 NVME_PMAP_MAX_INDEX - 1,
					 NVME_PMAP_MAX_INDEX,
					 1u << 31,
					 0xfffffffc,
					 NVME_PMAP_INDEX_ANY };
	struct nvme_pmap_cmd cmd;
	struct setup s;
	size_t i;

	if (!setup_open(&s, INDEX_PAGES * PAGE))
		goto out;
	for (i = 0; i < ARRAY_SIZE(none); i++) {
		cmd = valid(&s);
		cmd.index = none[i];
		expect(&s, &cmd, -ENOENT, "an index that is not registered");
	}
	must_unregister(&s.dev, s.index);
	cmd = valid(&s);
	CHECK_RET(run_cmd(&s.ring, s.dev.fd, &cmd), -ENOENT, "unregistered, table empty");
out:
	setup_close(&s);
}

/* A file that never registered anything has no table to look in. */
static void no_table(void)
{
	struct nvme_pmap_cmd cmd;
	struct io_uring ring;
	struct dev dev;

	if (!dev_open(&dev, NULL, O_RDWR) || !ring_open(&ring, MODE_IRQ, 8))
		return;
	cmd = cmd_rw(&dev, OP_READ, 0, 0, PAGE, 0);
	CHECK_RET(run_cmd(&ring, dev.fd, &cmd), -ENOENT, "nothing was ever registered");
	io_uring_queue_exit(&ring);
	dev_close(&dev);
}

struct range_row {
	uint64_t offset;
	uint32_t len;
	int want;
};

/* The buffer has 16 pages = 65536 bytes; the NVMe command itself reads one block. */
static void ranges(void)
{
	static const struct range_row rows[] = {
		{ 0, 65536, 0 },
		{ 65536 - 512, 512, 0 },
		{ 4, PAGE, 0 },
		{ 65536 - PAGE, PAGE, 0 },
		/* alignment */
		{ 1, PAGE, -EDOM },
		{ 2, PAGE, -EDOM },
		{ 3, PAGE, -EDOM },
		{ PAGE - 1, PAGE, -EDOM },
		{ (1ull << 32) + 1, PAGE, -EDOM },
		{ (1ull << 63) + 2, PAGE, -EDOM },
		{ ~0ull, PAGE, -EDOM },
		{ 0, 513, -EDOM },
		{ 0, 514, -EDOM },
		{ 0, 515, -EDOM },
		{ 0, PAGE - 1, -EDOM },
		{ 0, 1, -EDOM },
		{ 0, 2, -EDOM },
		{ 0, 3, -EDOM },
		{ 0, ~0u, -EDOM },
		/* zero, and past the end */
		{ 0, 0, -ERANGE },
		{ 65536, 0, -ERANGE },
		{ 65536, 512, -ERANGE },
		{ 65536 - 512 + 4, 512, -ERANGE },
		{ 0, 65536 + 4, -ERANGE },
		{ 4, 65536, -ERANGE },
		{ 65540, 512, -ERANGE },
		{ 1ull << 31, 512, -ERANGE },
		{ (1ull << 32) - 4, 512, -ERANGE },
		{ 1ull << 32, 512, -ERANGE },
		{ (1ull << 32) - 512, 512, -ERANGE },
		{ 1ull << 63, 512, -ERANGE },
		{ -512ull, 512, -ERANGE },
		{ -4ull, 512, -ERANGE },
		{ -4ull, 65536, -ERANGE },
		{ -512ull, 1024, -ERANGE },
		{ 0, 1u << 31, -ERANGE },
		{ 0, 0xfffffffcu, -ERANGE },
		{ 4, 0xfffffffcu, -ERANGE },
		{ 65532, 0xfffffffcu, -ERANGE },
	};
	char what[64];
	struct setup s;
	size_t i;

	if (!setup_open(&s, 65536))
		goto out;
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		struct nvme_pmap_cmd cmd = valid(&s);

		cmd.offset = rows[i].offset;
		cmd.data_len = rows[i].len;
		cmd.cdw12 = 0;
		/* Longer than the transfer is the business of length.c. */
		if (!rows[i].want && rows[i].len > s.dev.block)
			cmd.cdw12 = rows[i].len / s.dev.block - 1;
		snprintf(what, sizeof(what), "offset %#" PRIx64 " length %#x", rows[i].offset,
			 rows[i].len);
		expect(&s, &cmd, rows[i].want, what);
	}
out:
	setup_close(&s);
}

static void mdts(void)
{
	struct nvme_pmap_cmd cmd;
	struct setup s;
	uint32_t max;

	if (!setup_open(&s, MIB(8) + 2 * PAGE))
		goto out;
	max = (uint32_t)s.dev.mdts;
	cmd = cmd_rw(&s.dev, OP_READ, s.index, 4, max, 0);
	expect(&s, &cmd, 0, "MDTS");
	cmd.cdw12 = 0;
	cmd.data_len = max + 4;
	expect(&s, &cmd, -EMSGSIZE, "MDTS and 4 bytes, for a transfer of one block");
	cmd = cmd_rw(&s.dev, OP_READ, s.index, 0, max + s.dev.block, 0);
	expect(&s, &cmd, -EMSGSIZE, "MDTS and a block");
	cmd = cmd_rw(&s.dev, OP_READ, s.index, 0, (uint32_t)MIB(8), 0);
	if (max < MIB(8))
		expect(&s, &cmd, -EMSGSIZE, "8 MiB");
out:
	setup_close(&s);
}

static void fixed_flag(void)
{
	struct nvme_pmap_cmd cmd;
	struct completion done;
	struct iovec iov;
	struct setup s;

	if (!setup_open(&s, INDEX_PAGES * PAGE))
		goto out;
	cmd = valid(&s);
	/* A buffer of the ring, so that io_uring itself has no objection. */
	iov = (struct iovec){ s.mem.map, PAGE };
	CHECK_RET(io_uring_register_buffers(&s.ring, &iov, 1), 0, "register a ring buffer");
	prep_cmd(&s.ring, s.dev.fd, &cmd, 0)->rw_flags = IORING_URING_CMD_FIXED;
	CHECK_RET(io_uring_submit(&s.ring), 1, "submit");
	if (CHECK_RET(ring_reap(&s.ring, &done, 5000), 0, "completion"))
		CHECK_RET(done.res, -EOPNOTSUPP, "IORING_URING_CMD_FIXED");
	expect(&s, &cmd, 0, "the same without it");
out:
	setup_close(&s);
}

/* A ring with short SQEs or CQEs; only the first half of a command is written. */
static void short_ring(unsigned int flags, unsigned int extra)
{
	struct io_uring_params params = { .flags = flags | extra };
	struct nvme_pmap_cmd cmd;
	struct io_uring_sqe *sqe;
	struct completion done;
	struct io_uring ring;
	struct setup s;

	if (!setup_open(&s, INDEX_PAGES * PAGE))
		goto out;
	if (!CHECK_RET(io_uring_queue_init_params(8, &ring, &params), 0, "ring %#x", params.flags))
		goto out;
	cmd = valid(&s);
	sqe = io_uring_get_sqe(&ring);
	CHECK(sqe, "no SQE");
	if (!sqe)
		goto out;
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = s.dev.fd;
	sqe->cmd_op = NVME_URING_CMD_PMAP;
	memcpy(sqe->cmd, &cmd, flags & IORING_SETUP_SQE128 ? sizeof(cmd) : 16);
	CHECK_RET(io_uring_submit(&ring), 1, "submit");
	if (CHECK_RET(ring_reap(&ring, &done, 5000), 0, "completion"))
		CHECK_RET(done.res, -EOPNOTSUPP, "ring with flags %#x", params.flags);
	io_uring_queue_exit(&ring);
out:
	setup_close(&s);
}

static void ring_flags(void)
{
	static const unsigned int flags[] = { 0, IORING_SETUP_SQE128, IORING_SETUP_CQE32 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		short_ring(flags[i], 0);
		short_ring(flags[i], IORING_SETUP_IOPOLL);
	}
}

/* Command codes beside PMAP are not this driver's. */
static void unknown_op(void)
{
	struct nvme_pmap_cmd cmd;
	struct completion done;
	struct setup s;
	unsigned int nr;

	if (!setup_open(&s, INDEX_PAGES * PAGE))
		goto out;
	cmd = valid(&s);
	for (nr = 0xb0; nr < 0xc0; nr++) {
		if (nr == 0xb8)
			continue;
		prep_cmd(&s.ring, s.dev.fd, &cmd, 0)->cmd_op =
			(uint32_t)_IOWR('N', nr, struct nvme_pmap_cmd);
		CHECK_RET(io_uring_submit(&s.ring), 1, "submit");
		if (CHECK_RET(ring_reap(&s.ring, &done, 5000), 0, "completion"))
			CHECK_RET(done.res, -ENOTTY, "cmd_op %#x", nr);
	}
out:
	setup_close(&s);
}

/* With several faults the first of the documented order is reported. */
static void order(void)
{
	struct nvme_pmap_cmd cmd, all;
	struct setup s;

	if (!setup_open(&s, MIB(8)))
		goto out;
	/*
	 * Every rule is broken but the ring's, and the index's, whose place in
	 * the order is the driver's affair; then they are mended one by one.
	 */
	all = cmd_rw(&s.dev, OP_READ, s.index, MIB(9) + 1, (uint32_t)s.dev.mdts + 4, 0);
	all.rsvd2 = 1;
	all.nsid++;
	all.cdw12 = 0xffff;
	cmd = all;
	expect(&s, &cmd, -EINVAL, "reserved first");
	cmd.rsvd2 = 0;
	expect(&s, &cmd, -EINVAL, "then the NSID");
	cmd.nsid = s.dev.nsid;
	expect(&s, &cmd, -EDOM, "then alignment");
	cmd.offset = MIB(9);
	expect(&s, &cmd, -ERANGE, "then the range");
	cmd.offset = 0;
	if (s.dev.mdts < MIB(8)) {
		expect(&s, &cmd, -EMSGSIZE, "then MDTS");
		cmd.data_len = (uint32_t)s.dev.mdts;
	}
	expect(&s, &cmd, -EOVERFLOW, "then the transfer");
out:
	setup_close(&s);
}

/* A command that the controller fails returns its status, and dword 0 as result. */
static void nvme_status(void)
{
	struct nvme_pmap_cmd cmd;
	struct setup s;
	int ret;

	if (!setup_open(&s, INDEX_PAGES * PAGE))
		goto out;
	cmd = cmd_rw(&s.dev, OP_READ, s.index, 0, PAGE, s.dev.blocks);
	ret = run_cmd(&s.ring, s.dev.fd, &cmd);
	CHECK(ret > 0 && NVME_STATUS(ret) == 0x80, "LBA out of range: %s", err_name(ret));
	cmd = cmd_rw(&s.dev, OP_VENDOR, s.index, 0, PAGE, 0);
	ret = run_cmd(&s.ring, s.dev.fd, &cmd);
	CHECK(ret > 0 && NVME_STATUS(ret) == SC_INVALID_OPCODE, "vendor specific, as root: %s",
	      err_name(ret));
	cmd = valid(&s);
	expect(&s, &cmd, 0, "a failed command");
out:
	setup_close(&s);
}

/* cdw2, cdw3, cdw13 to cdw15 and the timeout are for the controller, not checked. */
static void other_dwords(void)
{
	struct nvme_pmap_cmd cmd;
	struct setup s;

	if (!setup_open(&s, INDEX_PAGES * PAGE))
		goto out;
	cmd = valid(&s);
	cmd.timeout_ms = 20000;
	expect(&s, &cmd, 0, "timeout_ms");
	cmd.timeout_ms = ~0u;
	expect(&s, &cmd, 0, "the largest timeout_ms");
	cmd = valid(&s);
	cmd.cdw13 = 0xff; /* dataset management hints */
	expect(&s, &cmd, 0, "cdw13");
	cmd = valid(&s);
	cmd.cdw12 |= 1u << 30; /* force unit access */
	expect(&s, &cmd, 0, "FUA");
out:
	setup_close(&s);
}

/* The counters are of commands that were sent. */
static void refused_counted(void)
{
	struct nvme_pmap_stats before, after;
	struct nvme_pmap_cmd cmd;
	struct setup s;

	if (!setup_open(&s, INDEX_PAGES * PAGE))
		goto out;
	nvme_pmap_stats_file(s.dev.fd, &before);
	cmd = valid(&s);
	cmd.offset = 1;
	CHECK_RET(run_cmd(&s.ring, s.dev.fd, &cmd), -EDOM, "misaligned");
	nvme_pmap_stats_file(s.dev.fd, &after);
	CHECK(stats_total(&before) == stats_total(&after) && after.direct == before.direct &&
		      after.deferred == before.deferred,
	      "a refused command was counted");
out:
	setup_close(&s);
}

/* The helper fills in a command, and leaves the program's fields alone. */
static void user_data(void)
{
	struct io_uring_sqe sqe[2];

	memset(sqe, 0x5a, sizeof(sqe));
	io_uring_sqe_set_data64(sqe, 77);
	nvme_pmap_prep_read(sqe, 3, 1, 2, 0, 4096, 8, 8);
	CHECK(sqe->user_data == 77, "user_data is %llu", sqe->user_data);
	CHECK(!sqe->flags && !sqe->buf_index && sqe->fd == 3, "something else is left");
}

/* Flags of the last command of this name, as they were sent; or -1. */
static int flags_sent(const char *name)
{
	FILE *file = trace_read();
	char line[1024], *at;
	int flags = -1;

	while (file && fgets(line, sizeof(line), file)) {
		at = strstr(line, name) ? strstr(line, " flags=0x") : NULL;
		if (at)
			flags = (int)strtol(at + strlen(" flags="), NULL, 16);
	}
	if (file)
		fclose(file);
	return flags;
}

/* PSDT, in bits 7:6, is of the form of the buffer; a command without data has none. */
static void psdt(void)
{
	static const struct {
		uint8_t opcode;
		const char *name;
		bool data;
	} sent[] = {
		{ OP_READ, "nvme_cmd_read", true },
		{ OP_FLUSH, "nvme_cmd_flush", false },
		{ OP_WRITE_ZEROES, "nvme_cmd_write_zeroes", false },
		{ OP_COMPARE, "nvme_cmd_compare", true },
		{ OP_VERIFY, "nvme_cmd_verify", false },
	};
	unsigned int form, i;
	struct setup s;

	if (opt.queues) {
		skip_case("no trace of commands in a passthrough queue");
		return;
	}
	if (!setup_open(&s, PAGE))
		goto out;
	for (form = 0; form < NR_REG_FORMS; form++) {
		int want = form == REG_PRP ? 0 : 0x40;

		if (!must_unregister(&s.dev, s.index) ||
		    !must_register(&s.dev, s.mem.map, PAGE, reg_forms[form].flags, &s.index) ||
		    !trace_commands("qid != 0"))
			break;
		for (i = 0; i < ARRAY_SIZE(sent); i++) {
			struct nvme_pmap_cmd cmd = cmd_rw(&s.dev, sent[i].opcode, s.index, 0, PAGE,
							  0);
			int res = run_cmd(&s.ring, s.dev.fd, &cmd);

			CHECK(res >= 0, "%s: %s", sent[i].name, err_name(res));
			CHECK_RET(flags_sent(sent[i].name), sent[i].data ? want : 0,
				  "%s, %s: flags", sent[i].name, reg_forms[form].name);
		}
	}
	trace_file("events/nvme/nvme_setup_cmd/enable", "0");
out:
	setup_close(&s);
}

static const struct test_case command_cases[] = {
	{ "user-data", user_data },
	{ "reserved", reserved },
	{ "nsid", nsid },
	{ "indexes", indexes },
	{ "no-table", no_table },
	{ "ranges", ranges },
	{ "mdts", mdts },
	{ "fixed-flag", fixed_flag },
	{ "ring-flags", ring_flags },
	{ "unknown-op", unknown_op },
	{ "order", order },
	{ "psdt", psdt },
	{ "nvme-status", nvme_status },
	{ "other-dwords", other_dwords },
	{ "refused-not-counted", refused_counted },
};

SUBJECT(command);

/* ---- -d a node of NVMe multipath ---- */

static void head_node(void)
{
	struct nvme_pmap_query q;
	struct nvme_pmap_stats st;
	struct nvme_pmap_cmd cmd;
	struct io_uring ring;
	struct mem mem = { .fd = -1 };
	struct dev dev;
	uint32_t index;

	if (!dev_open(&dev, NULL, O_RDWR) || !mem_alloc(&mem, MEM_4K, 4 * PAGE) ||
	    !ring_open(&ring, MODE_IRQ, 8))
		goto out;
	CHECK_RET(nvme_pmap_query_file(dev.fd, &q), -EXDEV, "query");
	CHECK_RET(nvme_pmap_stats_file(dev.fd, &st), -EXDEV, "stats");
	CHECK_RET(nvme_pmap_register_buf(dev.fd, mem.map, PAGE, 0, &index), -EXDEV, "register");
	CHECK_RET(nvme_pmap_unregister_buf(dev.fd, 0), -EXDEV, "unregister");
	cmd = cmd_rw(&dev, OP_READ, 0, 0, PAGE, 0);
	CHECK_RET(run_cmd(&ring, dev.fd, &cmd), -EXDEV, "pmap command");
	pattern_fill(mem.map, dev.block, 3, 8, 9);
	CHECK_RET(run_stock(&ring, &dev, OP_WRITE, mem.map, 8 * dev.block, 3), 0, "stock write");
	poison(mem.map, mem.len);
	CHECK_RET(run_stock(&ring, &dev, OP_READ, mem.map, 8 * dev.block, 3), 0, "stock read");
	CHECK(pattern_verify(mem.map, dev.block, 3, 8, 9, "stock"), "stock data");
	io_uring_queue_exit(&ring);
out:
	mem_free(&mem);
	dev_close(&dev);
}

static const struct test_case multipath_cases[] = { { "head-node", head_node } };

SUBJECT(multipath);
