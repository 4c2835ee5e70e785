// SPDX-License-Identifier: GPL-2.0
/*
 * A program sees the same results with the door shut and with it open: commands of
 * every kind.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "auto/auto.h"

#define NOBODY	  65534
/* Of the disk: the blocks read, and the blocks written. */
#define READ_LBA  0u
#define WRITE_LBA 4096u

/* Does the open door serve it, where the user may send it at all? */
enum serves { NO, YES };

/*
 * A plain command has zeroes; @at counts from the start of the buffer, or with @from_end
 * from its end.  No command transfers more than fits in its page.
 */
struct row {
	const char *what;
	uint8_t opcode, flags, sqe_flags, from_end;
	int nsid; /* beside the right one */
	uint64_t metadata;
	uint32_t metadata_len;
	int at;
	uint32_t len, blocks; /* the length in blocks, unless it follows from @len */
	uint32_t lba, timeout_ms, cdw2, cdw14, index, uring_flags;
	enum serves serves;
};

#define R(_what, _len, ...)                                \
	{                                                  \
		_what, OP_READ, .len = _len, ##__VA_ARGS__ \
	}
#define W(_what, _len, _lba, ...)                                        \
	{                                                                \
		_what, OP_WRITE, .len = _len, .lba = _lba, ##__VA_ARGS__ \
	}
#define MDTS UINT32_MAX	 /* replaced by the device's maximum */
#define LAST 0xfffffff0u /* a block that is not there */

static const struct row rows[] = {
	R("read", PAGE, .serves = YES),
	W("write", PAGE, WRITE_LBA, .serves = YES),
	R("one block", 512, .serves = YES),
	R("inside a page", 1024, .at = 1536, .serves = YES),
	R("across pages", PAGE, .at = PAGE - 512, .serves = YES),
	R("the end", PAGE, .at = -(int)PAGE, .from_end = 1, .serves = YES),
	R("as much as goes", MDTS, .serves = YES),
	R("by a worker", PAGE, .sqe_flags = IOSQE_ASYNC, .serves = YES),
	R("with a time-out", PAGE, .timeout_ms = 20000, .serves = YES),
	R("dword 2", PAGE, .cdw2 = 1, .serves = YES),
	R("a block that is not there", PAGE, .lba = LAST, .serves = YES),
	W("write of a block that is not there", PAGE, LAST, .serves = YES),
	R("more than goes", MDTS, .blocks = 1, .at = 4),
	R("next namespace", PAGE, .nsid = 1),
	R("namespace 0", PAGE, .nsid = -1),
	R("fused", PAGE, .flags = 1),
	R("PSDT", PAGE, .flags = 0x40),
	R("metadata", PAGE, .metadata = 0x10000, .metadata_len = 8),
	R("metadata without a length", PAGE, .metadata = 0x10000),
	R("metadata at a multiple of 4 GiB", PAGE, .metadata = 1ull << 32, .metadata_len = 8),
	R("metadata's length alone", PAGE, .metadata_len = 8),
	R("address not even", PAGE, .at = 1),
	R("address of two bytes", PAGE, .at = 2),
	R("length not of four bytes", 514, .blocks = 1),
	R("length shorter than the blocks", 512, .blocks = 2),
	R("length longer than the blocks", 1024, .blocks = 1, .serves = YES),
	R("out of the buffer by a byte", PAGE, .at = 1 - (int)PAGE, .from_end = 1),
	R("out of the buffer by four bytes", PAGE, .at = 4 - (int)PAGE, .from_end = 1),
	R("behind the buffer", PAGE, .from_end = 1),
	R("before the buffer", PAGE, .at = -4),
	R("no buffer", PAGE, .index = 9),
	R("no such buffer", PAGE, .index = TABLE),
	R("another flag of io_uring's", PAGE, .uring_flags = 2),
	{ "flush", .opcode = OP_FLUSH },
	{ "write zeroes", OP_WRITE_ZEROES, .lba = WRITE_LBA + 64, .blocks = 1 },
	{ "write zeroes with data", OP_WRITE_ZEROES, .lba = WRITE_LBA + 64, .len = 512 },
	{ "compare, equal", OP_COMPARE, .lba = WRITE_LBA, .len = PAGE },
	{ "compare, not equal", OP_COMPARE, .lba = READ_LBA, .len = PAGE },
	{ "verify", OP_VERIFY, .blocks = 1 },
	{ "unknown opcode", 0x3d, .len = PAGE },
	{ "vendor opcode", OP_VENDOR, .len = PAGE },
};

/* One run of the table: results, and contents of the memory. */
struct outcome {
	int res[ARRAY_SIZE(rows)];
	uint64_t fast[ARRAY_SIZE(rows)];
	unsigned char *buf[ARRAY_SIZE(rows)];
};

static struct nvme_uring_cmd row_cmd(const struct prog *p, const struct row *r)
{
	uint32_t len = r->len == MDTS ? (uint32_t)p->dev.mdts : r->len;
	unsigned char *at = p->mem.map + (r->from_end ? p->mem.len : 0) + r->at;
	uint32_t blocks = r->blocks ?: len / p->dev.block ?: 1;

	/* a row with both is for a transfer that is too long */
	if (r->len == MDTS && r->blocks)
		len += p->dev.block;
	return (struct nvme_uring_cmd){
		.opcode = r->opcode,
		.flags = r->flags,
		.nsid = p->dev.nsid + (uint32_t)r->nsid,
		.cdw2 = r->cdw2,
		.metadata = r->metadata,
		.metadata_len = r->metadata_len,
		.addr = len ? (uintptr_t)at : 0,
		.data_len = len,
		.cdw10 = r->lba,
		.cdw12 = blocks - 1,
		.cdw14 = r->cdw14,
		.timeout_ms = r->timeout_ms,
	};
}

static int run_row(struct prog *p, const struct row *r)
{
	struct io_uring_sqe *sqe = prep_fixed(p, r->opcode, r->index, NULL, 0, 0);
	struct completion done;
	int ret;

	*(struct nvme_uring_cmd *)(void *)sqe->cmd = row_cmd(p, r);
	sqe->flags |= r->sqe_flags;
	sqe->rw_flags |= (int)r->uring_flags;
	ret = io_uring_submit(&p->ring);
	if (ret < 0)
		return ret;
	ret = ring_reap(&p->ring, &done, 20000);
	return ret ? ret : done.res;
}

/* Poison is written, and poison must be overwritten by reads. */
static bool run_table(struct prog *p, struct outcome *o)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		struct paths before = paths_of(&p->dev);

		poison(p->mem.map, p->mem.len);
		o->res[i] = run_row(p, &rows[i]);
		o->fast[i] = paths_since(&p->dev, &before).served;
		o->buf[i] = malloc(p->mem.len);
		CHECK(o->buf[i], "no memory");
		if (!o->buf[i])
			return false;
		memcpy(o->buf[i], p->mem.map, p->mem.len);
	}
	return true;
}

static void compare_row(const struct prog *p, const struct outcome *shut,
			const struct outcome *open, size_t i)
{
	const struct row *r = &rows[i];
	int res = shut->res[i];

	CHECK(open->res[i] == res, "%s: %s with the door shut, %s with it open", r->what,
	      err_name(res), err_name(open->res[i]));
	CHECK(!memcmp(shut->buf[i], open->buf[i], p->mem.len), "%s: other data", r->what);
	CHECK(!shut->fast[i], "%s: served by a door that is shut", r->what);
	/* every refusal is the stock driver's */
	CHECK(open->fast[i] == (r->serves == YES && res != -EACCES), "%s: %" PRIu64 " served (%s)",
	      r->what, open->fast[i], err_name(res));
}

/* The table must have produced both successes and errors. */
static void compare(const struct prog *p, const struct outcome *shut, const struct outcome *open)
{
	unsigned int good = 0, refused = 0;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		note("%-36s %s", rows[i].what, err_name(open->res[i]));
		compare_row(p, shut, open, i);
		good += !shut->res[i];
		refused += shut->res[i] < 0;
	}
	CHECK(good > 8 && refused > 8, "%u good, %u refused", good, refused);
}

/* As every user that may send the commands; root has opened the door. */
struct job {
	struct prog p;
	int door;
};

static bool turn(const struct job *j, const char *mode)
{
	return CHECK(pwrite(j->door, mode, strlen(mode), 0) == (ssize_t)strlen(mode),
		     "%s to auto_mode: %s", mode, strerror(errno));
}

static void as_stock_child(void *arg)
{
	struct outcome *o = calloc(2, sizeof(*o));
	struct job *j = arg;
	struct prog *p = &j->p;
	size_t i;

	if (prog_start(p, MODE_IRQ, MEM_4K, MIB(1)) && turn(j, "off") && run_table(p, &o[0]) &&
	    turn(j, door_mode()) && prog_warm(p) && run_table(p, &o[1]))
		compare(p, &o[0], &o[1]);
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		free(o[0].buf[i]);
		free(o[1].buf[i]);
	}
	free(o);
}

static void as_stock(int flags, uid_t uid)
{
	struct job j = { .door = -1 };
	struct prog owner;
	char path[160];

	if (prog_open_flags(&owner, flags, MODE_IRQ, MEM_4K, PAGE) &&
	    disk_fill(&owner, READ_LBA, MIB(1), READ_LBA, 1) &&
	    disk_fill(&owner, WRITE_LBA, MIB(1), WRITE_LBA, 1) &&
	    dev_sysfs(&owner.dev, "pmap/auto_mode", path, sizeof(path))) {
		j.p.dev = owner.dev;
		j.door = open(path, O_WRONLY | O_CLOEXEC);
		in_child(as_stock_child, &j, uid);
		close(j.door);
	}
	prog_close(&owner);
}

void auto_as_stock(void) { as_stock(O_RDWR, 0); }
void auto_as_stock_rdwr(void) { as_stock(O_RDWR, NOBODY); }
void auto_as_stock_rdonly(void) { as_stock(O_RDONLY, NOBODY); }

/* ---- admin commands ---- */

/* Within so long after a change that the driver is told nothing about. */
#define SOON_MS 2000

/* A batch, all of it as it should go; while the scan is on, it need not. */
static bool served_soon(struct prog *p, const char *after)
{
	uint64_t end = now_ms() + SOON_MS * (slow_kernel() ? 5 : 1);
	struct paths before, w;

	do {
		before = paths_of(&p->dev);
		if (!move(p, OP_READ, 0, p->mem.map, 0, "reads"))
			return false;
		w = paths_since(&p->dev, &before);
		if (w.served == LEN / SLICE && !w.stock &&
		    (opt.queues ? w.queue : w.blk_mq) == w.served)
			return true;
		sleep_ms(10);
	} while (now_ms() < end);
	return CHECK(false,
		     "%s, after %d ms: %" PRIu64 " by blk-mq, %" PRIu64 " by queue, %" PRIu64
		     " by stock",
		     after, SOON_MS, w.blk_mq, w.queue, w.stock);
}

/* A vendor command as a monitoring tool sends it; it might have formatted something. */
void auto_after_vendor(void)
{
	const struct nvme_passthru_cmd cmd = { .opcode = 0xc1 };
	int fd = ctrl_open(opt.dev);
	unsigned int i;
	struct prog p;

	if (CHECK(fd >= 0, "no node of %s", opt.dev) && prog_open(&p, MODE_IRQ, MEM_4K, LEN) &&
	    prog_warm(&p))
		for (i = 0; i < 3; i++) {
			admin_ioctl(fd, &cmd);
			if (!served_soon(&p, "after a vendor command by ioctl"))
				break;
			admin_uring(fd, &cmd);
			if (!served_soon(&p, "after one by io_uring"))
				break;
		}
	prog_close(&p);
	close(fd);
}
