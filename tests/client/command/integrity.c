// SPDX-License-Identifier: GPL-2.0
/*
 * Data through pmaps is the data of the stock block device: random slices of
 * every kind of memory and every form, and everything around a slice stays as
 * it was.  At the end a manifest lists the expected contents of the image, for
 * check-image outside of the guest.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/util.h"

#define WINDOW MIB(48)

/* One device with its expected contents, and a buffer for the stock path. */
struct bench {
	struct dev dev;
	struct io_uring ring;
	struct shadow shadow;
	int block_fd;
	unsigned char *stock;
	uint64_t sent; /* pmap commands on dev.fd */
};

/* Lives from the first case to the manifest. */
static struct shadow disk;

/* A registered buffer, unaligned in its memory, and its index. */
struct target {
	struct mem mem;
	unsigned char *base;
	size_t len;
	uint32_t flags;
	uint32_t index;
	char name[64];
};

static bool stock_write(struct bench *b, uint64_t lba, uint64_t blocks)
{
	size_t len = blocks * b->dev.block;

	shadow_write(&b->shadow, lba, blocks, b->stock);
	return CHECK(pwrite(b->block_fd, b->stock, len, (off_t)(lba * b->dev.block)) ==
			     (ssize_t)len,
		     "write to the block device: %s", strerror(errno));
}

static bool stock_verify(struct bench *b, uint64_t lba, uint64_t blocks, const char *what)
{
	size_t len = blocks * b->dev.block;

	return CHECK(pread(b->block_fd, b->stock, len, (off_t)(lba * b->dev.block)) == (ssize_t)len,
		     "read of the block device: %s", strerror(errno)) &&
	       CHECK(shadow_verify(&b->shadow, lba, blocks, b->stock, what), "%s: not on the disk",
		     what);
}

/* All of the window has known contents before the first case reads it. */
static bool fill_disk(struct bench *b)
{
	uint64_t step = b->dev.mdts / b->dev.block, lba;

	for (lba = 0; lba < b->shadow.blocks; lba += step)
		if (!stock_write(b, lba, step))
			return false;
	return true;
}

static bool bench_open(struct bench *b)
{
	memset(b, 0, sizeof(*b));
	b->block_fd = -1;
	if (!dev_open(&b->dev, NULL, O_RDWR))
		return false;
	if (!CHECK(b->dev.mdts <= MIB(4), "the window is for an mdts up to 4 MiB"))
		return false;
	b->block_fd = dev_open_block(&b->dev, O_RDWR);
	b->stock = aligned_alloc(PAGE, b->dev.mdts);
	if (!CHECK(b->block_fd >= 0 && b->stock, "block device of %s", b->dev.path) ||
	    !ring_open(&b->ring, MODE_POLL, 8))
		return false;
	if (disk.gen) {
		b->shadow = disk;
		return true;
	}
	return shadow_init(&b->shadow, &b->dev, 0, WINDOW / b->dev.block) && fill_disk(b);
}

static void bench_close(struct bench *b)
{
	disk = b->shadow;
	free(b->stock);
	if (b->ring.ring_fd > 0)
		io_uring_queue_exit(&b->ring);
	if (b->block_fd >= 0)
		close(b->block_fd);
	dev_close(&b->dev);
}

/* A slice with room for a block, all of it inside the buffer. */
struct slice {
	uint64_t lba, blocks, offset;
	uint32_t len;
};

static uint64_t random_blocks(const struct bench *b)
{
	uint64_t max = b->dev.mdts / b->dev.block, blocks;

	/* Short, long, whole pages and the limit itself. */
	switch (rnd_below(8)) {
	case 0:
		return 1;
	case 1:
		return max;
	case 2:
		blocks = max - rnd_below(max / 2);
		break;
	case 3:
		blocks = (1 + rnd_below(16)) * (PAGE / b->dev.block ?: 1);
		break;
	default:
		blocks = 1 + rnd_below(1 + rnd_below(max));
		break;
	}
	return blocks > max ? max : blocks;
}

static struct slice random_slice(const struct bench *b, const struct target *t)
{
	struct slice s = { .blocks = random_blocks(b) };

	while (s.blocks * b->dev.block > t->len)
		s.blocks /= 2;
	s.len = (uint32_t)(s.blocks * b->dev.block);
	s.lba = rnd_below(b->shadow.blocks - s.blocks + 1);
	s.offset = rnd_below((t->len - s.len) / 4 + 1) * 4;
	/* SGL lists are for page-aligned slices. */
	if (rnd_below(2))
		s.offset = (s.offset + PAGE - 1) / PAGE * PAGE - ((uintptr_t)t->base & (PAGE - 1));
	if ((int64_t)s.offset < 0 || s.offset + s.len > t->len)
		s.offset = 0;
	return s;
}

/* Everything but the slice is untouched.  @near: only look this far. */
static bool guards_intact(const struct target *t, const struct slice *s, size_t near)
{
	const unsigned char *from = t->mem.map, *end = t->mem.map + t->mem.len;
	const unsigned char *slice = t->base + s->offset, *after = slice + s->len;
	size_t before, behind;

	if ((size_t)(slice - from) > near)
		from = slice - near;
	if ((size_t)(end - after) > near)
		end = after + near;
	before = poisoned(from, (size_t)(slice - from));
	behind = poisoned(after, (size_t)(end - after));
	return CHECK(before == (size_t)(slice - from),
		     "%s: the device wrote %zu bytes before the slice (+%#" PRIx64 ", %u bytes)",
		     t->name, (size_t)(slice - from) - before, s->offset, s->len) &&
	       CHECK(behind == (size_t)(end - after),
		     "%s: the device wrote %zu bytes behind the slice (+%#" PRIx64 ", %u bytes)",
		     t->name, behind, s->offset, s->len);
}

static bool read_slice(struct bench *b, struct target *t, const struct slice *s, size_t near)
{
	unsigned char *at = t->base + s->offset;
	int ret = run_rw(&b->ring, &b->dev, OP_READ, t->index, s->offset, s->len, s->lba);
	bool good;

	b->sent++;
	good = CHECK_RET(ret, 0, "%s: read of %u bytes at +%#" PRIx64 ", lba %" PRIu64, t->name,
			 s->len, s->offset, s->lba) &&
	       CHECK(shadow_verify(&b->shadow, s->lba, s->blocks, at, t->name),
		     "%s: read of %u bytes at +%#" PRIx64 ", lba %" PRIu64 ": wrong data", t->name,
		     s->len, s->offset, s->lba) &&
	       guards_intact(t, s, near);
	poison(at, s->len);
	return good;
}

static bool write_slice(struct bench *b, struct target *t, const struct slice *s)
{
	unsigned char *at = t->base + s->offset;
	int ret;

	shadow_write(&b->shadow, s->lba, s->blocks, at);
	ret = run_rw(&b->ring, &b->dev, OP_WRITE, t->index, s->offset, s->len, s->lba);
	b->sent++;
	poison(at, s->len);
	return CHECK_RET(ret, 0, "%s: write of %u bytes at +%#" PRIx64 ", lba %" PRIu64, t->name,
			 s->len, s->offset, s->lba) &&
	       stock_verify(b, s->lba, s->blocks, t->name);
}

static bool target_open(struct bench *b, struct target *t, enum mem_kind kind, size_t len,
			const struct reg_form *form, unsigned int shift)
{
	memset(t, 0, sizeof(*t));
	if (!mem_alloc(&t->mem, kind, len))
		return false;
	poison(t->mem.map, t->mem.len);
	/* The last page stays outside of the registration, as a guard. */
	t->base = t->mem.map + shift;
	t->len = t->mem.len - PAGE - shift;
	t->flags = form->flags;
	snprintf(t->name, sizeof(t->name), "%s/%s/+%u", mem_names[kind], form->name, shift);
	return must_register(&b->dev, t->base, t->len, t->flags, &t->index);
}

static void target_close(struct bench *b, struct target *t)
{
	struct slice none = { .offset = 0 };

	if (t->base) {
		/* A stray write that hit far from its slice is found here. */
		guards_intact(t, &none, SIZE_MAX / 2);
		must_unregister(&b->dev, t->index);
	}
	mem_free(&t->mem);
}

static bool random_round(struct bench *b, struct target *t, size_t near)
{
	struct slice s = random_slice(b, t);

	switch (rnd_below(3)) {
	case 0:
		return write_slice(b, t, &s);
	case 1: /* a pmap reads the data that the block device wrote */
		if (!stock_write(b, s.lba, s.blocks))
			return false;
		/* fall through */
	default:
		return read_slice(b, t, &s, near);
	}
}

/* Every pmap command had a kept or a built list, and was counted. */
static void check_counters(struct bench *b)
{
	struct nvme_pmap_stats stats;
	uint64_t value = 0;

	if (!CHECK_RET(nvme_pmap_stats_file(b->dev.fd, &stats), 0, "stats"))
		return;
	CHECK(stats_total(&stats) == b->sent, "%" PRIu64 " commands sent, %" PRIu64 " counted",
	      b->sent, stats_total(&stats));
	CHECK(fdinfo_counter(b->dev.fd, "prp", &value) && value == stats.prp,
	      "fdinfo says pmap-prp: %" PRIu64 ", the ioctl %llu", value,
	      (unsigned long long)stats.prp);
	note("prp %llu sgl-list %llu sgl-run %llu built %llu direct %llu deferred %llu",
	     (unsigned long long)stats.prp, (unsigned long long)stats.sgl_list,
	     (unsigned long long)stats.sgl_run, (unsigned long long)stats.built,
	     (unsigned long long)stats.direct, (unsigned long long)stats.deferred);
}

static void random_kind(enum mem_kind kind)
{
	unsigned int rounds = opt.rounds ?: 12, i;
	const struct reg_form *form;
	struct target t;
	struct bench b;

	if (!bench_open(&b))
		goto out;
	for (form = reg_forms; form < reg_forms + NR_REG_FORMS; form++) {
		bool good = target_open(&b, &t, kind, MIB(6), form,
					(unsigned int)rnd_below(PAGE / 4) * 4);

		if (!good && !t.mem.map)
			skip_case("no %s memory in this guest", mem_names[kind]);
		for (i = 0; good && i < rounds; i++)
			good = random_round(&b, &t, MIB(8));
		target_close(&b, &t);
	}
	check_counters(&b);
out:
	bench_close(&b);
}

static void random_4k(void) { random_kind(MEM_4K); }
static void random_thp(void) { random_kind(MEM_THP); }
static void random_huge(void) { random_kind(MEM_HUGE); }
static void random_memfd(void) { random_kind(MEM_MEMFD); }
static void random_memfd_huge(void) { random_kind(MEM_MEMFD_HUGE); }
static void random_shmem(void) { random_kind(MEM_SHMEM); }

/*
 * Start slots around every multiple of a list page and of half a list page,
 * with lengths around one and two entries, half a list page and a whole one:
 * where a list that is read in place goes wrong if it can.
 */
static void sweep_form(struct bench *b, const struct reg_form *form)
{
	static const unsigned int lengths[] = { 1, 2, 3, 255, 256, 257, 511, 512 };
	unsigned int max_pages = (unsigned int)(b->dev.mdts / PAGE), slot, i;
	struct target t;
	bool good = target_open(b, &t, MEM_4K, MIB(6), form, 0);

	for (slot = 0; good && slot < 1030; slot++) {
		unsigned int edge = slot % 256;

		if (edge > 3 && edge < 253)
			continue;
		for (i = 0; good && i < ARRAY_SIZE(lengths); i++) {
			struct slice s = { .offset = slot * PAGE, .len = lengths[i] * PAGE };

			if (lengths[i] > max_pages || s.offset + s.len > t.len)
				continue;
			/* Every other slice begins in the middle of its first page. */
			if ((slot + i) % 2)
				s.offset += 512;
			if (s.offset + s.len > t.len)
				continue;
			s.blocks = s.len / b->dev.block;
			s.lba = rnd_below(b->shadow.blocks - s.blocks + 1);
			good = read_slice(b, &t, &s, KIB(64));
		}
	}
	target_close(b, &t);
}

static void sweep(void)
{
	struct bench b;
	const struct reg_form *form;

	if (bench_open(&b)) {
		for (form = reg_forms; form < reg_forms + NR_REG_FORMS; form++)
			sweep_form(&b, form);
		check_counters(&b);
	}
	bench_close(&b);
}

/* Slices across the 1, 2, 16, 32 and 64 MiB marks of a large buffer. */
static void large_form(struct bench *b, enum mem_kind kind, const struct reg_form *form)
{
	static const unsigned int marks[] = { 1, 2, 4, 16, 32, 64 };
	struct target t;
	bool good = target_open(b, &t, kind, MIB(68), form, 4 * (unsigned int)rnd_below(1024));
	unsigned int i, n;

	for (i = 0; good && i < 3 * ARRAY_SIZE(marks); i++) {
		uint64_t mark = MIB(marks[i % ARRAY_SIZE(marks)]);
		struct slice s;

		do {
			s.blocks = random_blocks(b);
		} while (s.blocks < 2);
		s.len = (uint32_t)(s.blocks * b->dev.block);
		s.lba = rnd_below(b->shadow.blocks - s.blocks + 1);
		n = s.len < mark ? s.len : (uint32_t)mark;
		s.offset = mark - 4 * (1 + rnd_below(n / 4 - 1));
		good = i % 3 ? read_slice(b, &t, &s, MIB(1)) : write_slice(b, &t, &s);
	}
	target_close(b, &t);
}

static void large(void)
{
	struct bench b;

	if (bench_open(&b)) {
		large_form(&b, MEM_4K, &reg_forms[REG_PRP]);
		large_form(&b, MEM_THP, &reg_forms[REG_ANY]);
		large_form(&b, MEM_THP, &reg_forms[REG_SGL_LIST]);
		check_counters(&b);
	}
	bench_close(&b);
}

/*
 * Up to 1 MiB a PRP pmap needs no list built for any slice: the
 * promise of the design, and the reason for keeping two copies.
 */
static void prp_kept(void)
{
	struct nvme_pmap_stats stats;
	struct target t = { 0 };
	struct bench b;
	unsigned int i;

	if (!bench_open(&b) || !target_open(&b, &t, MEM_4K, MIB(4), &reg_forms[REG_PRP], 8))
		goto out;
	for (i = 0; i < 64; i++) {
		struct slice s = random_slice(&b, &t);

		if (s.len > MIB(1)) {
			s.len = MIB(1);
			s.blocks = s.len / b.dev.block;
		}
		if (!read_slice(&b, &t, &s, KIB(64)))
			break;
	}
	if (CHECK_RET(nvme_pmap_stats_file(b.dev.fd, &stats), 0, "stats"))
		CHECK(stats.prp == b.sent && !stats.built,
		      "%" PRIu64 " commands, %llu with the kept list, %llu built", b.sent,
		      (unsigned long long)stats.prp, (unsigned long long)stats.built);
out:
	target_close(&b, &t);
	bench_close(&b);
}

/* The driver finds the single run of a huge page, and uses it. */
static void sgl_run(void)
{
	struct nvme_pmap_register reg = { .size = sizeof(reg), .index = NVME_PMAP_INDEX_ANY };
	struct nvme_pmap_stats stats;
	struct mem mem = { .fd = -1 };
	struct bench b;

	if (!bench_open(&b) || !mem_alloc(&mem, MEM_HUGE, MIB(2))) {
		skip_case("no huge page");
		goto out;
	}
	reg.addr = (uintptr_t)mem.map;
	reg.len = MIB(2);
	if (!CHECK_RET(nvme_pmap_ioctl(b.dev.fd, NVME_PMAP_IOC_REGISTER, &reg), 0, "register"))
		goto out;
	CHECK(reg.form == NVME_PMAP_FORM_SGL_RUN, "a huge page has form %u", reg.form);
	CHECK_RET(run_rw(&b.ring, &b.dev, OP_READ, reg.index, 512, (uint32_t)KIB(64), 0), 0,
		  "read");
	if (CHECK_RET(nvme_pmap_stats_file(b.dev.fd, &stats), 0, "stats"))
		CHECK(stats.sgl_run == 1, "sgl_run is %llu", (unsigned long long)stats.sgl_run);
	must_unregister(&b.dev, reg.index);
out:
	mem_free(&mem);
	bench_close(&b);
}

/* For check-image; the last case, so that it speaks of all writes. */
static void manifest(void)
{
	if (CHECK(disk.gen, "nothing was written"))
		shadow_manifest(&disk);
	shadow_free(&disk);
}

static const struct test_case integrity_cases[] = {
	{ "random-4k", random_4k },
	{ "random-thp", random_thp },
	{ "random-hugetlb", random_huge },
	{ "random-memfd", random_memfd },
	{ "random-memfd-hugetlb", random_memfd_huge },
	{ "random-shmem", random_shmem },
	{ "sweep", sweep },
	{ "large", large },
	{ "prp-kept", prp_kept },
	{ "sgl-run", sgl_run },
	{ "manifest", manifest },
};

SUBJECT(integrity);
