// SPDX-License-Identifier: GPL-2.0
/*
 * Unmodified programs: helpers that tell whether the driver's mapping or the stock
 * driver served their commands, and the cases without an error.  See auto.h.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "auto/auto.h"
#include "queue/queue.h"

/* ---- the door ---- */

const char *door_mode(void) { return opt.queues ? "queue" : "on"; }

bool set_door(const struct dev *dev, const char *mode)
{
	char path[160];

	return CHECK(dev_sysfs(dev, "pmap/auto_mode", path, sizeof(path)), "no auto_mode") &&
	       CHECK(write_file(path, mode), "%s to %s: %s", mode, path, strerror(errno));
}

bool set_param(const char *name, unsigned int value)
{
	char path[80], text[16];

	snprintf(path, sizeof(path), "/sys/module/nvme_core/parameters/%s", name);
	snprintf(text, sizeof(text), "%u", value);
	return CHECK(write_file(path, text), "%s to %s: %s", text, path, strerror(errno));
}

/* The value that the module was loaded with. */
void reset_params(void)
{
	set_param("pmap_auto_max_mib", 0);
	set_param("pmap_auto_idle_s", 60);
}

long auto_pinned(const struct dev *dev) { return sysfs_number(dev, "auto_pinned"); }

bool pinned_becomes(const struct dev *dev, long bytes, unsigned int ms)
{
	uint64_t end = now_ms() + (slow_kernel() ? 5 : 1) * (uint64_t)ms;

	while (auto_pinned(dev) != bytes) {
		if (now_ms() >= end)
			return CHECK(false, "auto_pinned is %ld, not %ld, after %u ms",
				     auto_pinned(dev), bytes, ms);
		sleep_ms(10);
	}
	return true;
}

/* ---- counters ---- */

struct paths paths_since(const struct dev *dev, const struct paths *before)
{
	struct nvme_pmap_stats st = queue_stats(dev);
	struct paths w = {
		.blk_mq = st.auto_mq - before->blk_mq,
		.queue = st.auto_queue - before->queue,
		.setup = st.stock_setup - before->setup,
		.unsupported = st.stock_unsupported - before->unsupported,
		.unmapped = st.stock_unmapped - before->unmapped,
		.other = st.stock_other - before->other,
	};

	w.fallback = st.fallback_full + st.fallback_down + st.fallback_frozen + st.fallback_list +
		     st.fallback_logged + st.fallback_worker + st.fallback_busy - before->fallback;
	w.served = w.blk_mq + w.queue;
	w.stock = w.setup + w.unsupported + w.unmapped + w.other;
	return w;
}

struct paths paths_of(const struct dev *dev)
{
	struct paths none = { 0 };

	return paths_since(dev, &none);
}

/* An attached queue takes every command it can; a fallback counter explains each other. */
static bool paths_served_but(const struct prog *p, const struct paths *before, uint64_t sent,
			     uint64_t starting, const char *what)
{
	struct paths w = paths_since(&p->dev, before);

	return CHECK(w.served + w.setup == sent && w.stock == w.setup && w.setup <= starting,
		     "%s: of %" PRIu64 " commands %" PRIu64 " were served; stock had %" PRIu64
		     ": setup %" PRIu64 " unsupported %" PRIu64 " unmapped %" PRIu64
		     " other %" PRIu64,
		     what, sent, w.served, w.stock, w.setup, w.unsupported, w.unmapped, w.other) &&
	       CHECK(opt.queues ? w.queue && w.blk_mq == w.fallback : !w.queue,
		     "%s: of %" PRIu64 " commands %" PRIu64 " went by a queue, %" PRIu64
		     " past it for a reason",
		     what, sent, w.queue, w.fallback);
}

bool paths_served(const struct prog *p, const struct paths *before, uint64_t sent, const char *what)
{
	return paths_served_but(p, before, sent, 0, what);
}

/* ---- a program ---- */

bool buffer_set(struct prog *p, unsigned int index, void *at, size_t len)
{
	struct iovec iov = { at, at ? len : 0 };
	__u64 tag = 0;

	return CHECK_RET(io_uring_register_buffers_update_tag(&p->ring, index, &iov, &tag, 1), 1,
			 "buffer %u", index);
}

bool prog_start(struct prog *p, enum mode mode, enum mem_kind kind, size_t len)
{
	p->mem.fd = -1;
	return ring_open(&p->ring, mode, 64) && CHECK(mem_alloc(&p->mem, kind, len), "no memory") &&
	       CHECK_RET(io_uring_register_buffers_sparse(&p->ring, TABLE), 0, "table") &&
	       buffer_set(p, 0, p->mem.map, p->mem.len);
}

/* dev_open() would attach queues, of which this program is to know nothing. */
bool prog_device(struct prog *p, const char *path, int flags)
{
	bool queues = opt.queues, good;

	memset(p, 0, sizeof(*p));
	p->mem.fd = -1;
	opt.queues = false;
	good = dev_open(&p->dev, path, flags);
	opt.queues = queues;
	return good;
}

bool prog_open_flags(struct prog *p, int flags, enum mode mode, enum mem_kind kind, size_t len)
{
	bool good = prog_device(p, NULL, flags);

	/*
	 * A program makes no such call.  It prepares the controller.  Without it, the
	 * driver does so in the background while stock serves the first commands, which
	 * are not counted.
	 */
	if (good)
		paths_of(&p->dev);
	return good && set_door(&p->dev, door_mode()) && prog_start(p, mode, kind, len);
}

bool prog_open(struct prog *p, enum mode mode, enum mem_kind kind, size_t len)
{
	return prog_open_flags(p, O_RDWR, mode, kind, len);
}

void prog_close(struct prog *p)
{
	if (p->ring.ring_fd > 0)
		io_uring_queue_exit(&p->ring);
	mem_free(&p->mem);
	dev_close(&p->dev);
}

struct io_uring_sqe *prep_fixed(struct prog *p, uint8_t opcode, unsigned int index, void *at,
				uint32_t len, uint64_t slba)
{
	struct io_uring_sqe *sqe = prep_stock(&p->ring, &p->dev, opcode, at, len, slba, 0);

	if (!CHECK(sqe, "the submission queue is full"))
		abort();
	sqe_fixed(sqe, index);
	p->sent++;
	return sqe;
}

bool run_batch(struct prog *p, unsigned int nr, const char *what)
{
	int ret = io_uring_submit(&p->ring);
	struct completion done;
	bool good = CHECK(ret >= 0, "%s: submit: %s", what, err_name(ret));
	unsigned int i;

	for (i = 0; good && i < nr; i++)
		good = CHECK_RET(ring_reap(&p->ring, &done, 20000), 0, "%s: completion %u", what,
				 i) &&
		       CHECK_RET(done.res, 0, "%s: command %u", what, i);
	return good;
}

int run_fixed(struct prog *p, uint8_t opcode, unsigned int index, void *at, uint32_t len,
	      uint64_t slba)
{
	struct completion done;
	int ret;

	prep_fixed(p, opcode, index, at, len, slba);
	ret = io_uring_submit(&p->ring);
	if (ret < 0)
		return ret;
	ret = ring_reap(&p->ring, &done, 20000);
	return ret ? ret : done.res;
}

bool move(struct prog *p, uint8_t opcode, unsigned int index, void *at, uint64_t slba,
	  const char *what)
{
	unsigned int i;

	for (i = 0; i < LEN / SLICE; i++)
		prep_fixed(p, opcode, index, (unsigned char *)at + i * SLICE, SLICE,
			   slba + i * (SLICE / p->dev.block));
	return run_batch(p, LEN / SLICE, what);
}

bool shows(const struct prog *p, const void *at, size_t len, uint64_t lba, uint64_t gen,
	   const char *what)
{
	return CHECK(pattern_verify(at, p->dev.block, lba, len / p->dev.block, gen, what),
		     "%s: wrong data", what);
}

/* With memory of its own, so that the stock driver serves it in every mode. */
static bool disk_part(struct prog *p, uint8_t opcode, uint64_t slba, uint32_t len, uint64_t lba,
		      uint64_t gen, const char *what)
{
	uint32_t blocks = len / p->dev.block;
	unsigned char *buf = aligned_alloc(PAGE, PAGE_ROUND(len));
	bool good = CHECK(buf, "no memory");

	if (good && opcode == OP_WRITE)
		pattern_fill(buf, p->dev.block, lba, blocks, gen);
	good = good &&
	       CHECK_RET(run_stock(&p->ring, &p->dev, opcode, buf, len, slba), 0,
			 "%s: stock command", what) &&
	       shows(p, buf, len, lba, gen, what);
	free(buf);
	return good;
}

static bool disk_all(struct prog *p, uint8_t opcode, uint64_t slba, size_t len, uint64_t lba,
		     uint64_t gen, const char *what)
{
	const uint32_t part = 8 * PAGE;
	size_t done;

	for (done = 0; done < len; done += part) {
		uint64_t off = done / p->dev.block;

		if (!disk_part(p, opcode, slba + off, len - done < part ? len - done : part,
			       lba + off, gen, what))
			return false;
	}
	return true;
}

bool disk_fill(struct prog *p, uint64_t slba, size_t len, uint64_t lba, uint64_t gen)
{
	return disk_all(p, OP_WRITE, slba, len, lba, gen, "fill");
}

bool disk_shows(struct prog *p, uint64_t slba, size_t len, uint64_t lba, uint64_t gen,
		const char *what)
{
	return disk_all(p, OP_READ, slba, len, lba, gen, what);
}

/* The first is always stock's; a queue is attached after the second, in the background. */
static enum settled settle(struct prog *p, unsigned int index, void *at, bool any)
{
	uint64_t end = now_ms() + (slow_kernel() ? 60000 : 20000);
	unsigned int tries = 0;
	struct paths before, w;

	do {
		before = paths_of(&p->dev);
		if (!CHECK_RET(run_fixed(p, OP_READ, index, at, p->dev.block, 0), 0, "first reads"))
			break;
		w = paths_since(&p->dev, &before);
		if (any ? w.served : opt.queues ? w.queue : w.blk_mq)
			return SERVED;
		if (w.unmapped)
			return REFUSED;
		/* a worker's turn: the driver maps it, and attaches a queue */
		if (tries++ % 8 == 3)
			sleep_ms(1);
	} while (now_ms() < end);
	CHECK(case_failed(), "neither served nor refused after %u commands", tries);
	return UNSETTLED;
}

enum settled buffer_settle(struct prog *p, unsigned int index, void *at)
{
	return settle(p, index, at, false);
}

bool prog_warm_any(struct prog *p)
{
	return CHECK(settle(p, 0, p->mem.map, true) == SERVED, "not served");
}

bool buffer_warm(struct prog *p, unsigned int index, void *at)
{
	enum settled settled = buffer_settle(p, index, at);

	return CHECK(settled == SERVED, "buffer %u is %s", index,
		     settled == REFUSED ? "refused" : "not served");
}

bool prog_warm(struct prog *p) { return buffer_warm(p, 0, p->mem.map); }

unsigned char *place(struct prog *p)
{
	void *at = MAP_FAILED;

	if (prog_open(p, MODE_IRQ, MEM_4K, LEN) && prog_warm(p))
		at = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(at != MAP_FAILED, "no place");
	return at == MAP_FAILED ? NULL : at;
}

/* ---- served ---- */

/* Somewhere at a multiple of @step with room for @len behind it. */
static unsigned char *somewhere(const struct prog *p, uint32_t len, uint32_t step)
{
	return p->mem.map + rnd_below((p->mem.len - len) / step + 1) * step;
}

static uint32_t some_len(const struct prog *p)
{
	uint32_t len = p->dev.block << rnd_below(11), blocks;

	if (len > p->dev.mdts || rnd_below(8) == 0)
		len = (uint32_t)p->dev.mdts;
	blocks = len / p->dev.block;
	return rnd_below(2) ? len : p->dev.block * (1 + (uint32_t)rnd_below(blocks));
}

/* Write from one place and read to another; no byte beside that place changes. */
bool one_pair(struct prog *p, uint64_t gen)
{
	uint32_t len = some_len(p), step = rnd_below(2) ? PAGE : NVME_PMAP_ALIGN;
	uint64_t lba = rnd_below(p->dev.blocks - len / p->dev.block);
	unsigned char *from = somewhere(p, len, step), *to = somewhere(p, len + 2 * PAGE, step);

	pattern_fill(from, p->dev.block, lba, len / p->dev.block, gen);
	if (!CHECK_RET(run_fixed(p, OP_WRITE, 0, from, len, lba), 0, "write of %u", len))
		return false;
	poison(to, len + 2 * PAGE);
	to += PAGE;
	return CHECK_RET(run_fixed(p, OP_READ, 0, to, len, lba), 0, "read of %u", len) &&
	       shows(p, to, len, lba, gen, "read") &&
	       CHECK(poisoned(to - PAGE, PAGE) == PAGE && poisoned(to + len, PAGE) == PAGE,
		     "memory beside the %u bytes at %#tx changed", len, to - p->mem.map);
}

static void served_by(enum mode mode, enum mem_kind kind)
{
	unsigned int i, rounds = opt.rounds ?: 24;
	struct paths before, w;
	struct prog p;
	uint64_t sent;

	if (prog_open(&p, mode, kind, MIB(4)) && prog_warm(&p)) {
		before = paths_of(&p.dev);
		sent = p.sent;
		for (i = 0; i < rounds && one_pair(&p, 1 + i); i++)
			;
		paths_served(&p, &before, p.sent - sent, mode_names[mode]);
		w = paths_of(&p.dev);
		/* a file's very first are not counted */
		CHECK(w.setup && w.stock == w.setup && w.served + w.stock <= p.sent,
		      "%s, %s: of %" PRIu64 " commands %" PRIu64 " served, %" PRIu64
		      " in setup, %" PRIu64 " by stock in all",
		      mode_names[mode], mem_names[kind], p.sent, w.served, w.setup, w.stock);
		note("%s, %s: %" PRIu64 " by blk-mq, %" PRIu64 " by queue, %" PRIu64 " past it",
		     mode_names[mode], mem_names[kind], w.blk_mq, w.queue, w.fallback);
	}
	prog_close(&p);
}

static void served(void)
{
	static const enum mem_kind kinds[] = { MEM_4K, MEM_THP, MEM_HUGE };
	unsigned int mode, i;

	for (mode = 0; mode < NR_MODES; mode++)
		for (i = 0; i < ARRAY_SIZE(kinds); i++)
			served_by((enum mode)mode, kinds[i]);
}

/* Many at a time, on a ring of its own and the same file. */
static void loaded_by(enum mode mode)
{
	struct load l = { .name = mode_names[mode],
			  .mode = mode,
			  .len = 4 * PAGE,
			  .depth = 16,
			  .count = opt.rounds ?: 200,
			  .stock = 1,
			  .fixed_buf = true };
	struct load fresh;
	struct paths before, w;
	struct mem mem = { .fd = -1 };
	unsigned int tries = 0;
	struct prog p;

	if (prog_open(&p, mode, MEM_4K, LEN) && prog_warm(&p) &&
	    CHECK(mem_alloc(&mem, MEM_4K, LOAD_BYTES(l.depth, l.len)), "no memory")) {
		l.dev = &p.dev;
		l.base = mem.map;
		fresh = l;
		do {
			l = fresh;
			before = paths_of(&p.dev);
			if (!load_run(&l))
				break;
			CHECK(l.verified == l.count, "%s: %" PRIu64 " of %u verified", l.name,
			      l.verified, l.count);
			w = paths_since(&p.dev, &before);
			/* on a busy host all may be sent before the work gets a CPU */
		} while (!w.served && w.setup == l.sent && ++tries < 5);
		/* as many as are sent before its buffer is mapped */
		paths_served_but(&p, &before, l.sent, l.sent * 3 / 4, l.name);
	}
	mem_free(&mem);
	prog_close(&p);
}

static void loaded(void)
{
	unsigned int mode;

	for (mode = 0; mode < NR_MODES; mode++)
		loaded_by((enum mode)mode);
}

static const struct test_case auto_cases[] = {
	{ "served", served },
	{ "loaded", loaded },
	{ "many", auto_many },
	{ "arena", auto_arena },
	{ "reregistered", auto_reregistered },
	{ "remapped", auto_remapped },
	{ "remapped-page", auto_remapped_page },
	{ "remapped-swapped", auto_remapped_swapped },
	{ "remapped-huge", auto_remapped_huge },
	{ "shifted", auto_shifted },
	{ "remapped-used", auto_remapped_used },
	{ "shrunk", auto_shrunk },
	{ "folios", auto_folios },
	{ "folios-shuffled", auto_folios_shuffled },
	{ "cloned", auto_cloned },
	{ "reused", auto_reused },
	{ "forked", auto_forked },
	{ "as-stock", auto_as_stock },
	{ "as-stock-rdwr", auto_as_stock_rdwr },
	{ "as-stock-rdonly", auto_as_stock_rdonly },
	{ "after-vendor", auto_after_vendor },
	{ "memlock", auto_memlock },
	{ "memlock-others", auto_memlock_others },
	{ "mib", auto_mib },
	{ "refused", auto_refused },
	{ "refused-ages", auto_refused_ages },
	{ "crowded", auto_crowded },
	{ "given-up", auto_given_up },
	{ "idle", auto_idle },
	{ "switched", auto_switched },
	{ "switched-way", auto_switched_way },
	{ "switched-early", auto_switched_early },
	{ "switched-making", auto_switched_making },
	{ "own-queue", auto_own_queue },
	{ "queue-stays", auto_queue_stays },
	{ "shared", auto_shared },
	{ "shared-limit", auto_shared_limit },
	{ "shared-churn", auto_shared_churn },
	{ "shared-removed", auto_shared_removed },
};

SUBJECT(auto);
