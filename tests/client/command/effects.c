// SPDX-License-Identifier: GPL-2.0
/*
 * Permissions of commands, with any contents of the effects log, alone and in a batch:
 * the same as for NVME_URING_CMD_IO.  tests/effects changes the log between runs.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/util.h"

#define NOBODY 65534
#define BATCH  8u

struct caller {
	struct dev dev;
	const char *who;
	int flags;
};

static int batch(struct io_uring *ring, const struct dev *dev, uint8_t opcode, uint32_t index,
		 unsigned int nr)
{
	struct completion done;
	int res = 1 << 20;
	unsigned int i;

	for (i = 0; i < nr; i++) {
		struct nvme_pmap_cmd cmd = cmd_rw(dev, opcode, index, 0, PAGE, 0);

		prep_cmd(ring, dev->fd, &cmd, i);
	}
	if (!CHECK_RET(ring_push(ring), 0, "submit"))
		return -EIO;
	for (i = 0; i < nr; i++) {
		if (!CHECK_RET(ring_reap(ring, &done, 20000), 0, "completion"))
			return -EIO;
		CHECK(res == 1 << 20 || res == done.res, "%s, then %s in a batch", err_name(res),
		      err_name(done.res));
		res = done.res;
	}
	return res;
}

static void compare(void *arg)
{
	static const uint8_t opcodes[] = { OP_READ, OP_WRITE, OP_COMPARE, OP_VENDOR };
	struct caller *c = arg;
	struct nvme_pmap_stats before = { 0 }, after = { 0 };
	struct io_uring ring;
	struct mem mem;
	uint32_t index;
	unsigned int i;
	int stock, pmap;

	if (!ring_open(&ring, MODE_IRQ, 16) || !CHECK(mem_alloc(&mem, MEM_4K, PAGE), "memory") ||
	    !must_register(&c->dev, mem.map, PAGE, 0, &index))
		return;
	for (i = 0; i < ARRAY_SIZE(opcodes); i++) {
		stock = run_stock(&ring, &c->dev, opcodes[i], mem.map, PAGE, 0);
		nvme_pmap_stats_file(c->dev.fd, &before);
		pmap = batch(&ring, &c->dev, opcodes[i], index, BATCH);
		CHECK((stock == -EACCES) == (pmap == -EACCES),
		      "%s, %s: opcode %#x is %s by stock, %s by pmap", c->who,
		      c->flags == O_RDWR ? "rw" : "ro", opcodes[i], err_name(stock),
		      err_name(pmap));
		nvme_pmap_stats_file(c->dev.fd, &after);
		if (i < 2)
			note("%s, %s, opcode %#x: %s, %llu of %u by the queue", c->who,
			     c->flags == O_RDWR ? "rw" : "ro", opcodes[i], err_name(pmap),
			     (unsigned long long)(after.queue - before.queue), BATCH);
		if (i < 2 && !pmap && opt.queues)
			CHECK_RET((long)(after.queue - before.queue), BATCH, "by the queue");
	}
	io_uring_queue_exit(&ring);
	mem_free(&mem);
}

static void as_stock(void)
{
	static const int flags[] = { O_RDWR, O_RDONLY };
	static const uid_t uids[] = { 0, NOBODY };
	unsigned int i;

	for (i = 0; i < 4; i++) {
		struct caller c = { .who = i & 1 ? "nobody" : "root", .flags = flags[i >> 1] };

		if (dev_open(&c.dev, NULL, c.flags))
			in_child(compare, &c, uids[i & 1]);
		dev_close(&c.dev);
	}
}

/* One batch, in which every other command is sent with root's credentials. */
static void mixed(void *arg)
{
	struct setup *s = arg;
	int id = io_uring_register_personality(&s->ring), plain;
	struct completion done;
	unsigned int i, round;

	if (!CHECK(id > 0, "personality: %s", err_name(id)) ||
	    !CHECK(!setresuid(NOBODY, NOBODY, NOBODY), "setresuid"))
		return;
	plain = run_stock(&s->ring, &s->dev, OP_READ, s->mem.map, PAGE, 0);
	for (round = 0; round < 4 * BATCH; round++) {
		struct nvme_pmap_cmd cmd = cmd_rw(&s->dev, OP_READ, s->index, 0, PAGE, 0);

		i = round % BATCH;
		/* root comes first, and alone: its permission must not be used for another user */
		prep_cmd(&s->ring, s->dev.fd, &cmd, i)->personality = i % 2 && round >= BATCH ?
									      0 :
									      (uint16_t)id;
		if (i < BATCH - 1)
			continue;
		if (!CHECK_RET(ring_push(&s->ring), 0, "submit"))
			return;
		for (i = 0; i < BATCH; i++) {
			if (!CHECK_RET(ring_reap(&s->ring, &done, 20000), 0, "completion"))
				return;
			CHECK_RET(done.res, done.user_data % 2 && round >= BATCH ? plain : 0,
				  "command %u of round %u", (unsigned int)done.user_data,
				  round / BATCH);
		}
	}
}

static void personality(void)
{
	struct setup s;

	if (setup_make(&s, NULL, MODE_IRQ, MEM_4K, PAGE))
		in_child(mixed, &s, 0);
	setup_close(&s);
}

/* ---- stock serves commands of unknown length, for root as well ---- */

#define PRACT (1u << 29)

/* Metadata without protection information: the transfer with PRACT is not defined. */
static void pract(void)
{
	struct dev dev;
	struct io_uring ring;
	struct mem mem = { .fd = -1 };
	struct iovec iov;
	int first = 0, res;
	unsigned int i;

	if (!dev_open(&dev, opt.dev2, O_RDWR) || !ring_open(&ring, MODE_IRQ, 16) ||
	    !CHECK(mem_alloc(&mem, MEM_4K, 16 * PAGE), "memory"))
		return;
	iov = (struct iovec){ mem.map, mem.len };
	CHECK_RET(io_uring_register_buffers(&ring, &iov, 1), 0, "buffers");
	CHECK(dev.ms, "%s has no metadata", dev.path);
	for (i = 0; i < 32; i++) {
		struct io_uring_sqe *sqe = prep_stock(&ring, &dev, OP_READ, mem.map, 8 * dev.block,
						      0, 0);
		struct nvme_uring_cmd *cmd = (void *)sqe->cmd;
		struct completion done;

		sqe_fixed(sqe, 0);
		if (i & 1) {
			/* as if the metadata were stripped, which this device does not do */
			cmd->data_len = 8 * dev.lba;
			cmd->cdw12 |= PRACT;
		}
		res = ring_push(&ring) ?: ring_reap(&ring, &done, 20000) ?: done.res;
		/* the first ones are stock's in any case */
		if (i == 1)
			first = res;
		CHECK_RET(res, i & 1 ? first : 0, "read %u", i);
		sleep_ms(2);
	}
	io_uring_queue_exit(&ring);
	mem_free(&mem);
	dev_close(&dev);
}

static const struct test_case effects_cases[] = {
	{ "as-stock", as_stock },
	{ "personality", personality },
	{ "pract", pract },
};

SUBJECT(effects);
