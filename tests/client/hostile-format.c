// SPDX-License-Identifier: GPL-2.0
/*
 * A namespace that is formatted, by ioctl, while programs use it by what they believe of
 * its format, and its controller is reset; see hostile.h.  Only by our doors: stock lets
 * a device without SGLs run over a buffer that is too short.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "storm.h"
#include "hostile.h"

enum { ADMIN_FORMAT = 0x80 };

#define TENANTS 4u
#define PIECES	8u	    /* of a tenant's buffer */
#define STRIDE	(12 * PAGE) /* with poison behind the longest */
#define SECTOR	512u	    /* of the patterns, in whatever format */

/*
 * Of a command.  Where the device takes it for longer, it takes the second page for a
 * list, or goes on where the list does; for shorter, the list for its second page.
 */
static const uint32_t lens[] = { 2 * PAGE, 3 * PAGE, 9 * PAGE };

/* QEMU's formats without metadata. */
static const struct {
	unsigned int lbaf;
	uint32_t block;
} formats[] = { { 0, 512 }, { 4, 4096 } };

static struct {
	struct draw draw;
	char name[64]; /* of the namespace */
	volatile bool stop;
	volatile unsigned int seq; /* odd: being formatted, or nobody knows */
	volatile uint32_t block;   /* of it, else */
	uint64_t formats, tries;
} now;

struct tenant {
	struct draw draw;
	struct dev dev;
	struct io_uring ring;
	struct mem mem;
	unsigned int nr;
	enum mode mode;
	uint32_t flags, index;
	bool queues, there;
	uint64_t gen, read, written, refused, lives;
	pthread_t thread;
};

/* ---- tenants ---- */

static bool format_answer(int res)
{
	static const int ends[] = { -EOVERFLOW,
				    -EPERM,
				    0x84,
				    0x4084,
				    0x80,
				    0x4080,
				    0xb,
				    0x400b,
				    0x2,
				    0x4002,
				    SC_SGL_LEN_INVALID,
				    0x4000 | SC_SGL_LEN_INVALID };
	unsigned int i = 0;

	while (i < ARRAY_SIZE(ends) && ends[i] != res)
		i++;
	return i < ARRAY_SIZE(ends) || by_disturbance(res);
}

/* What a sector may be: nothing since it was formatted, or what was written to it. */
static bool sectors_right(const unsigned char *at, uint64_t sector, unsigned int nr)
{
	static const unsigned char zero[SECTOR];
	uint64_t gen;

	for (; nr; nr--, sector++, at += SECTOR) {
		memcpy(&gen, at + 8, 8);
		if (memcmp(at, zero, SECTOR) &&
		    !CHECK(pattern_verify(at, SECTOR, sector, 1, gen, "formatted"),
			   "sector %" PRIu64 " holds what nobody wrote", sector))
			return false;
	}
	return true;
}

static bool tenant_enter(struct tenant *t)
{
	t->dev = (struct dev){ .fd = -1 };
	if (!dev_path(now.name, t->dev.path, sizeof(t->dev.path)))
		return false;
	t->dev.fd = open(t->dev.path, O_RDWR | O_CLOEXEC);
	t->dev.nsid = 2;
	t->dev.block = SECTOR;
	t->there = t->dev.fd >= 0 && ring_open(&t->ring, t->mode, 2 * PIECES) &&
		   !nvme_pmap_register_buf(t->dev.fd, t->mem.map, t->mem.len, t->flags, &t->index);
	if (t->there && t->queues) {
		nvme_pmap_attach_queue(t->dev.fd, 0);
		nvme_pmap_attach_queue(t->dev.fd, NVME_PMAP_QUEUE_POLLED);
	}
	t->lives++;
	return t->there;
}

static void tenant_leave(struct tenant *t)
{
	if (t->ring.ring_fd > 0)
		io_uring_queue_exit(&t->ring);
	t->ring.ring_fd = 0;
	if (t->dev.fd >= 0)
		close(t->dev.fd);
	t->dev.fd = -1;
	t->there = false;
}

/* A command for each piece, of blocks that are believed to have @block bytes. */
static void tenant_prep(struct tenant *t, unsigned int i, uint32_t block, bool write,
			uint64_t sector, uint32_t len)
{
	struct nvme_pmap_cmd cmd = cmd_rw(&t->dev, write ? OP_WRITE : OP_READ, t->index, i * STRIDE,
					  len, sector * SECTOR / block);

	cmd.cdw12 = len / block - 1;
	if (write)
		pattern_fill(t->mem.map + i * STRIDE, SECTOR, sector, len / SECTOR, ++t->gen);
	prep_cmd(&t->ring, t->dev.fd, &cmd, i);
}

static bool tenant_turn(struct tenant *t)
{
	unsigned int seq = now.seq, i;
	uint32_t block = one_in(&t->draw, 4) ? formats[draw_of(&t->draw, 2)].block : now.block;
	uint64_t sector[PIECES];
	uint32_t len[PIECES];
	bool write[PIECES], known;
	int res[PIECES];

	for (i = 0; i < PIECES; i++) {
		/* nobody else's, whatever the blocks */
		sector[i] = 8192 + (t->nr * PIECES + i) * 512 + 8 * draw_of(&t->draw, 55);
		len[i] = lens[draw_of(&t->draw, ARRAY_SIZE(lens))];
		/* with a wrong belief it would go elsewhere, rightly */
		write[i] = one_in(&t->draw, 2) && !(seq & 1) && block == now.block;
		tenant_prep(t, i, block, write[i], sector[i], len[i]);
	}
	if (!CHECK_RET(ring_push(&t->ring), 0, "submit"))
		return false;
	for (i = 0; i < PIECES; i++) {
		struct completion done;

		if (!CHECK_RET(ring_reap(&t->ring, &done, 200000), 0, "%s: a command of a tenant",
			       mode_names[t->mode]) ||
		    !CHECK(!done.res || format_answer(done.res), "of a tenant: %s",
			   err_name(done.res)))
			return false;
		res[done.user_data % PIECES] = done.res;
	}
	known = !(seq & 1) && now.seq == seq;
	for (i = 0; i < PIECES; i++) {
		unsigned char *at = t->mem.map + i * STRIDE;

		t->refused += res[i] != 0;
		t->read += !res[i] && !write[i];
		t->written += !res[i] && write[i];
		t->there &= res[i] != -ENODEV;
		if (known && !res[i] && !write[i] && block == now.block &&
		    !sectors_right(at, sector[i], len[i] / SECTOR))
			return false;
		poison(at, len[i]);
	}
	return CHECK(poisoned(t->mem.map, t->mem.len) == t->mem.len,
		     "%s, flags %u: byte %#zx was written over, to %#zx (blocks of %u, of %u believed)",
		     mode_names[t->mode], t->flags, poisoned(t->mem.map, t->mem.len),
		     poison_resumes(t->mem.map, t->mem.len), now.block, block);
}

static void *tenant(void *arg)
{
	struct tenant *t = arg;

	while (!now.stop && !case_failed()) {
		/* a registration lives long: a list that was written over stays so */
		if (tenant_enter(t))
			while (t->there && !now.stop && tenant_turn(t))
				;
		tenant_leave(t);
	}
	return NULL;
}

/* ---- formats ---- */

static int ctrl_open(void)
{
	unsigned int nr = 0;
	char path[64];

	if (!dev_path(now.name, path, sizeof(path)) || sscanf(path, "/dev/ng%u", &nr) != 1)
		return -1;
	snprintf(path, sizeof(path), "/dev/nvme%u", nr);
	return open(path, O_RDWR | O_CLOEXEC);
}

/* Until the controller has done it, whatever it is disturbed by. */
static void *formatter(void *arg)
{
	(void)arg;
	while (!now.stop && !case_failed()) {
		unsigned int which = draw_of(&now.draw, 2);
		struct nvme_passthru_cmd cmd = { .opcode = ADMIN_FORMAT,
						 .nsid = 2,
						 .cdw10 = formats[which].lbaf,
						 .timeout_ms = 60000 };
		int fd = ctrl_open();

		now.tries++;
		now.seq |= 1;
		if (fd >= 0 && !ioctl(fd, NVME_IOCTL_ADMIN_CMD, &cmd)) {
			now.formats++;
			now.block = formats[which].block;
			now.seq++;
		}
		if (fd >= 0)
			close(fd);
		/* after a failure as well, when the driver may be wrong about the format */
		sleep_ms(20 + draw_of(&now.draw, 150));
	}
	return NULL;
}

static bool tenant_start(struct tenant *t, unsigned int i)
{
	static const uint32_t flags[TENANTS] = { NVME_PMAP_REG_PRP, NVME_PMAP_REG_PRP, 0,
						 NVME_PMAP_REG_SGL_LIST };
	static const enum mode modes[TENANTS] = { MODE_IRQ, MODE_POLL, MODE_DEFER, MODE_IRQ };

	*t = (struct tenant){ .draw = draw_from(99, i, 0),
			      .nr = i,
			      .mode = modes[i],
			      .flags = flags[i],
			      .queues = i != 1,
			      .dev.fd = -1 };
	if (!CHECK(mem_alloc(&t->mem, MEM_4K, PIECES * STRIDE), "no memory"))
		return false;
	poison(t->mem.map, t->mem.len);
	return CHECK(!pthread_create(&t->thread, NULL, tenant, t), "pthread_create");
}

static void resets(uint64_t end)
{
	struct draw draw = draw_from(98, 0, 0);
	struct dev dev = { .fd = -1 };
	unsigned int times = 0;

	while (now_ms() < end && !case_failed()) {
		unsigned int seq = now.seq;

		/* at some moment of a format */
		while (now.seq == seq && now_ms() < end && !case_failed())
			sleep_ms(1);
		sleep_ms(draw_of(&draw, 80));
		if (!dev_path(now.name, dev.path, sizeof(dev.path)) || !ctrl_reset(&dev))
			break;
		times++;
	}
	note("%u resets", times);
}

void hostile_format(void)
{
	static struct tenant t[TENANTS];
	unsigned int i, started = 0;
	pthread_t thread;
	long pins = pins_held();
	char path[64];

	snprintf(now.name, sizeof(now.name), "%s:2", opt.dev);
	if (strncmp(opt.dev, "serial=", 7) || !dev_path(now.name, path, sizeof(path))) {
		skip_case("-d names no controller with a second namespace");
		return;
	}
	now.draw = draw_from(97, 0, 0);
	now.stop = false;
	now.seq = 1;
	now.block = 512;
	while (started < TENANTS && tenant_start(&t[started], started))
		started++;
	if (started == TENANTS &&
	    CHECK(!pthread_create(&thread, NULL, formatter, NULL), "pthread_create")) {
		resets(now_ms() + 1000ull * (opt.rounds ? opt.rounds : 30) / 2);
		now.stop = true;
		pthread_join(thread, NULL);
	}
	now.stop = true;
	for (i = 0; i < started; i++) {
		pthread_join(t[i].thread, NULL);
		note("%s, flags %u: %" PRIu64 " reads, %" PRIu64 " writes, %" PRIu64
		     " refused, %" PRIu64 " lives",
		     mode_names[t[i].mode], t[i].flags, t[i].read, t[i].written, t[i].refused,
		     t[i].lives);
		CHECK(case_failed() || (t[i].read && t[i].written), "a tenant did nothing");
		mem_free(&t[i].mem);
	}
	note("%" PRIu64 " formats, of %" PRIu64 " tries", now.formats, now.tries);
	pins_back(pins, slow_kernel() ? 50000 : 10000);
}
