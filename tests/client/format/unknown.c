// SPDX-License-Identifier: GPL-2.0
/*
 * Namespaces whose format the driver does not know, or was told not to look
 * at.  The device knows it, and transfers accordingly: a transfer that is counted
 * wrongly overwrites other memory.  -d names the controller.
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "lib/util.h"

#define NOBODY 65534
#define PAGES  64u
#define PRACT  (1u << 29)

enum { NS_ZONED = 1, NS_PI };

struct view {
	struct dev dev;
	struct mem mem;	      /* shared, so that children's reads are seen here */
	struct io_uring ring; /* root's */
	uint32_t prp, sgl;    /* all of the memory but the last page, registered by root */
};

static bool view_open(struct view *v, unsigned int nsid)
{
	char name[64];

	memset(v, 0, sizeof(*v));
	v->mem.fd = -1;
	snprintf(name, sizeof(name), "%s:%u", opt.dev, nsid);
	return dev_open(&v->dev, name, O_RDWR) && ring_open(&v->ring, MODE_IRQ, 8) &&
	       CHECK(mem_alloc(&v->mem, MEM_SHMEM, PAGES * PAGE), "no memory") &&
	       must_register(&v->dev, v->mem.map, (PAGES - 1) * PAGE, NVME_PMAP_REG_PRP, &v->prp) &&
	       must_register(&v->dev, v->mem.map, (PAGES - 1) * PAGE, NVME_PMAP_REG_SGL_LIST,
			     &v->sgl);
}

static void view_close(struct view *v)
{
	if (v->ring.ring_fd > 0)
		io_uring_queue_exit(&v->ring);
	mem_free(&v->mem);
	dev_close(&v->dev);
}

/* One command of @blocks, @root's or a user's. */
struct attempt {
	struct view *v;
	const char *what;
	uint8_t opcode;
	uint32_t index;
	uint64_t offset;
	uint32_t len, blocks, flags;
	int want;
};

static void attempt_as(void *arg)
{
	const struct attempt *a = arg;
	struct nvme_pmap_cmd cmd = cmd_rw(&a->v->dev, a->opcode, a->index, a->offset, a->len, 0);
	struct io_uring ring;

	cmd.cdw12 = (a->blocks - 1) | a->flags;
	if (!ring_open(&ring, MODE_IRQ, 8))
		return;
	CHECK_RET(run_cmd(&ring, a->v->dev.fd, &cmd), a->want,
		  "%s: opcode %#x, %u blocks, %u bytes", a->what, a->opcode, a->blocks, a->len);
	io_uring_queue_exit(&ring);
}

/* Refused, and nothing arrived anywhere. */
static void attempt_refused(struct view *v, struct attempt a, uid_t uid)
{
	size_t all = PAGES * PAGE, same;

	a.v = v;
	poison(v->mem.map, all);
	in_child(attempt_as, &a, uid);
	same = poisoned(v->mem.map, all);
	CHECK(same == all, "%s: opcode %#x, %u blocks: memory changed at %#zx", a.what, a.opcode,
	      a.blocks, same);
}

/* Refused with a PRP list for every user, with an SGL for all but root. */
static void all_refused(struct view *v, struct attempt a)
{
	a.index = v->prp;
	a.what = "PRP, root";
	attempt_refused(v, a, 0);
	a.what = "PRP, user";
	attempt_refused(v, a, NOBODY);
	a.index = v->sgl;
	a.what = "SGL, user";
	attempt_refused(v, a, NOBODY);
}

/* Pages @first to @last have been written, and no others. */
static void only_pages(const struct view *v, unsigned int first, unsigned int last,
		       const char *what)
{
	const unsigned char *map = v->mem.map;
	size_t behind = (PAGES - last - 1) * PAGE;

	CHECK(poisoned(map, PAGES * PAGE) == first * PAGE, "%s: memory before the slice changed",
	      what);
	CHECK(poisoned(map + (last + 1) * PAGE, behind) == behind,
	      "%s: memory behind the slice changed", what);
}

/* The driver reports the properties of the namespace that it knows. */
static void ns_is(const struct view *v, uint32_t ns, uint32_t lba_bytes)
{
	struct nvme_pmap_query q;

	if (CHECK_RET(nvme_pmap_query_file(v->dev.fd, &q), 0, "query"))
		CHECK(q.ns == ns && q.lba_bytes == lba_bytes, "ns %#x, lba_bytes %u", q.ns,
		      q.lba_bytes);
}

/* ---- a zoned namespace that Linux cannot use: its block size is unknown ---- */

static void zoned_root_sgl(struct view *v)
{
	struct nvme_pmap_cmd cmd = cmd_rw(&v->dev, OP_READ, v->sgl, 8 * PAGE, 2 * PAGE, 0);
	int ret;

	poison(v->mem.map, PAGES * PAGE);
	CHECK_RET(run_cmd(&v->ring, v->dev.fd, &cmd), 0, "SGL, root: two pages");
	only_pages(v, 8, 9, "SGL, root");
	/* The driver does not know the length, but the descriptor has one. */
	cmd.cdw12 = 255;
	poison(v->mem.map, PAGES * PAGE);
	ret = run_cmd(&v->ring, v->dev.fd, &cmd);
	CHECK(ret > 0, "SGL, root: 256 blocks into two pages: %s", err_name(ret));
	CHECK(poisoned(v->mem.map, 8 * PAGE) == 8 * PAGE &&
		      poisoned(v->mem.map + 10 * PAGE, 54 * PAGE) == 54 * PAGE,
	      "memory around it changed");
}

static void zoned(void)
{
	static const uint8_t ops[] = { OP_READ, OP_WRITE, OP_COMPARE, OP_ZONE_APPEND };
	struct nvme_pmap_cmd cmd;
	struct view v;
	size_t i;

	if (!view_open(&v, NS_ZONED))
		goto out;
	ns_is(&v, NVME_PMAP_NS_UNKNOWN | NVME_PMAP_NS_ZONED, 0);
	for (i = 0; i < ARRAY_SIZE(ops); i++) {
		all_refused(&v, (struct attempt){ .opcode = ops[i],
						  .offset = 0,
						  .len = PAGE,
						  .blocks = 8,
						  .want = -EPERM });
		/* As many bytes as blocks: enough, if a block has a byte. */
		all_refused(&v, (struct attempt){ .opcode = ops[i],
						  .offset = PAGE - 8,
						  .len = 32,
						  .blocks = 32,
						  .want = -EPERM });
	}
	zoned_root_sgl(&v);
	/* Its length does not depend on the block size. */
	cmd = cmd_rw(&v.dev, OP_ZONE_RECV, v.prp, 0, PAGE, 0);
	cmd.cdw12 = PAGE / 4 - 1;
	CHECK_RET(run_cmd(&v.ring, v.dev.fd, &cmd), 0, "zone report");
out:
	view_close(&v);
}

/* ---- protection information in the last bytes of extended blocks ---- */

static bool pi_fill(struct view *v, uint64_t gen)
{
	uint32_t len = 32 * v->dev.block;

	pattern_fill(v->mem.map, v->dev.block, 0, 32, gen);
	return CHECK(v->dev.block == 520, "block %u", v->dev.block) &&
	       CHECK_RET(run_rw(&v->ring, &v->dev, OP_WRITE, v->sgl, 0, len, 0), 0, "write");
}

/*
 * 24 blocks as they are, with the list that begins at page @page: it was not
 * written to, if they arrive and nothing else changes.
 */
static void pi_honest(struct view *v, unsigned int page)
{
	uint32_t len = 24 * v->dev.block;
	uint64_t offset = page * PAGE;

	poison(v->mem.map, PAGES * PAGE);
	CHECK_RET(run_rw(&v->ring, &v->dev, OP_READ, v->prp, offset, len, 0), 0, "honest read");
	CHECK(pattern_verify(v->mem.map + offset, v->dev.block, 0, 24, 1, "honest read"), "data");
	CHECK(poisoned(v->mem.map, PAGES * PAGE) == offset &&
		      poisoned(v->mem.map + offset + len, PAGES * PAGE - offset - len) ==
			      PAGES * PAGE - offset - len,
	      "honest read: memory around it changed");
}

/* The driver knows of it, and counts the data alone where PRACT is set. */
static void pi(void)
{
	struct nvme_pmap_cmd cmd;
	struct view v;

	if (!view_open(&v, NS_PI) || !pi_fill(&v, 1))
		goto out;
	ns_is(&v, NVME_PMAP_NS_INLINE | NVME_PMAP_NS_PRACT, 520);
	poison(v.mem.map, PAGES * PAGE);
	cmd = cmd_rw(&v.dev, OP_READ, v.prp, 8 * PAGE, 2 * PAGE, 0);
	cmd.cdw12 = 15 | PRACT;
	CHECK_RET(run_cmd(&v.ring, v.dev.fd, &cmd), 0, "PRACT, 16 blocks");
	only_pages(&v, 8, 9, "PRACT");
	cmd.data_len -= 4;
	CHECK_RET(run_cmd(&v.ring, v.dev.fd, &cmd), -EOVERFLOW, "PRACT, 4 bytes too few");
	cmd.data_len = 16 * 520 - 4;
	cmd.cdw12 = 15;
	CHECK_RET(run_cmd(&v.ring, v.dev.fd, &cmd), -EOVERFLOW, "4 bytes too few");
	pi_honest(&v, 8);
out:
	view_close(&v);
}

/*
 * nvme_core.disable_pi_offsets: the driver takes it for other metadata, which
 * PRACT would not strip; the device strips it.  16 blocks are two pages then,
 * or three and a list, which the device would take for the second page.
 */
static void pi_hidden(void)
{
	static const uint8_t ops[] = { OP_READ, OP_WRITE, OP_COMPARE };
	struct nvme_pmap_cmd cmd;
	struct view v;
	size_t i;

	if (!view_open(&v, NS_PI) || !pi_fill(&v, 1))
		goto out;
	ns_is(&v, NVME_PMAP_NS_INLINE | NVME_PMAP_NS_PRACT_UNKNOWN, 520);
	for (i = 0; i < ARRAY_SIZE(ops); i++) {
		all_refused(&v, (struct attempt){ .opcode = ops[i],
						  .offset = 8 * PAGE,
						  .len = 16 * 520,
						  .blocks = 16,
						  .flags = PRACT,
						  .want = -EPERM });
		all_refused(&v, (struct attempt){ .opcode = ops[i],
						  .offset = 8 * PAGE,
						  .len = 16 * 512,
						  .blocks = 16,
						  .flags = PRACT,
						  .want = -EPERM });
	}
	pi_honest(&v, 8);
	poison(v.mem.map, PAGES * PAGE);
	cmd = cmd_rw(&v.dev, OP_READ, v.sgl, 8 * PAGE, 2 * PAGE, 0);
	cmd.cdw12 = 15 | PRACT;
	CHECK_RET(run_cmd(&v.ring, v.dev.fd, &cmd), 0, "SGL, root: PRACT, 16 blocks");
	only_pages(&v, 8, 9, "SGL, root");
out:
	view_close(&v);
}

static const struct test_case unknown_format_cases[] = {
	{ "zoned", zoned },
	{ "pi", pi },
	{ "pi-hidden", pi_hidden },
};

SUBJECT(unknown_format);
