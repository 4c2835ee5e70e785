// SPDX-License-Identifier: GPL-2.0
/*
 * A namespace is formatted, by ioctl or io_uring, while programs use it with the format
 * that they last read, and its controller is reset; see hostile.h.  Only with pmap and
 * mapped commands: stock lets a device without SGLs overrun a buffer that is too short.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/storm.h"
#include "hostile/hostile.h"

#define TENANTS 4u
#define PIECES	8u	    /* of a tenant's buffer */
#define STRIDE	(12 * PAGE) /* with poison behind the longest */
#define SECTOR	512u	    /* of the patterns, in either format */

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

struct tenant {
	struct formatted *f;
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

/* How a tenant's command may end, beside by_disturbance() and detached(). */
static bool format_answer(int res)
{
	static const int ends[] = {
		-EOVERFLOW, /* longer in the format that is there than its buffer */
		-EPERM,	    /* the format is not known: a length cannot be */
		0x84,	    /* the device is formatting */
		0x4084,
		SC_LBA_RANGE, /* beyond the end, in the other format */
		0x4000 | SC_LBA_RANGE,
		SC_SGL_LEN_INVALID, /* the device's word for EOVERFLOW */
		0x4000 | SC_SGL_LEN_INVALID,
	};
	unsigned int i = 0;

	while (i < ARRAY_SIZE(ends) && ends[i] != res)
		i++;
	return i < ARRAY_SIZE(ends) || by_disturbance(res) || by_detach(res);
}

/* May a sector have these contents: zeroes since its format, or the data written to it? */
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
	if (!dev_path(t->f->name, t->dev.path, sizeof(t->dev.path)))
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
	struct formatted *f = t->f;
	unsigned int seq = f->seq, i;
	uint32_t block = one_in(&t->draw, 4) ? formats[draw_of(&t->draw, 2)].block : f->block;
	uint64_t sector[PIECES];
	uint32_t len[PIECES];
	bool write[PIECES], known;
	int res[PIECES];

	for (i = 0; i < PIECES; i++) {
		/* no other process's, with either size of blocks */
		sector[i] = 8192 + (t->nr * PIECES + i) * 512 + 8 * draw_of(&t->draw, 55);
		len[i] = lens[draw_of(&t->draw, ARRAY_SIZE(lens))];
		/* with a wrong belief it would go elsewhere, rightly */
		write[i] = one_in(&t->draw, 2) && !(seq & 1) && block == f->block;
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
	known = !(seq & 1) && f->seq == seq;
	for (i = 0; i < PIECES; i++) {
		unsigned char *at = t->mem.map + i * STRIDE;

		t->refused += res[i] != 0;
		t->read += !res[i] && !write[i];
		t->written += !res[i] && write[i];
		t->there &= res[i] != -ENODEV;
		if (known && !res[i] && !write[i] && block == f->block &&
		    !sectors_right(at, sector[i], len[i] / SECTOR))
			return false;
		poison(at, len[i]);
	}
	return CHECK(poisoned(t->mem.map, t->mem.len) == t->mem.len,
		     "%s, flags %u: byte %#zx was written over, to %#zx (blocks of %u, of %u believed)",
		     mode_names[t->mode], t->flags, poisoned(t->mem.map, t->mem.len),
		     poison_resumes(t->mem.map, t->mem.len), f->block, block);
}

static void *tenant(void *arg)
{
	struct tenant *t = arg;

	while (!t->f->stop && !case_failed()) {
		/* a registration lives long: a list that was written over stays so */
		if (tenant_enter(t))
			while (t->there && !t->f->stop && tenant_turn(t))
				sleep_ms(t->f->pause);
		tenant_leave(t);
	}
	return NULL;
}

static bool tenant_start(struct tenant *t, struct formatted *f, unsigned int i)
{
	static const uint32_t flags[TENANTS] = { NVME_PMAP_REG_PRP, NVME_PMAP_REG_PRP, 0,
						 NVME_PMAP_REG_SGL_LIST };
	static const enum mode modes[TENANTS] = { MODE_IRQ, MODE_POLL, MODE_DEFER, MODE_IRQ };

	*t = (struct tenant){ .f = f,
			      .draw = draw_from(99, i, 0),
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

static void tenant_end(struct tenant *t)
{
	pthread_join(t->thread, NULL);
	note("%s, flags %u: %" PRIu64 " reads, %" PRIu64 " writes, %" PRIu64 " refused, %" PRIu64
	     " lives",
	     mode_names[t->mode], t->flags, t->read, t->written, t->refused, t->lives);
	CHECK(case_failed() || (t->read && t->written), "a tenant did nothing");
	mem_free(&t->mem);
}

bool formatted_begin(struct formatted *f)
{
	char path[64];

	*f = (struct formatted){ .seq = 1, .block = 512 };
	snprintf(f->name, sizeof(f->name), "%s:2", opt.dev);
	return !strncmp(opt.dev, "serial=", 7) && dev_path(f->name, path, sizeof(path));
}

/* All of them, until @f says so. */
void tenants(void *arg)
{
	static struct tenant t[TENANTS];
	struct formatted *f = arg;
	unsigned int i, started = 0;

	while (started < TENANTS && tenant_start(&t[started], f, started))
		started++;
	while (started == TENANTS && !f->stop && !case_failed())
		sleep_ms(20);
	f->stop = true;
	for (i = 0; i < started; i++)
		tenant_end(&t[i]);
}

/* ---- formats ---- */

/* Until the controller has done it, in spite of disturbances. */
bool format_once(struct formatted *f, struct draw *d)
{
	unsigned int which = draw_of(d, ARRAY_SIZE(formats));
	uint64_t end = now_ms() + (slow_kernel() ? 300000 : 60000);
	bool uring = one_in(d, 2);

	f->seq |= 1;
	while (now_ms() < end && !case_failed()) {
		int fd = ctrl_open(f->name), ret = -ENODEV;

		if (fd >= 0) {
			ret = ns_format(fd, 2, formats[which].lbaf, uring);
			close(fd);
		}
		f->tries++;
		if (!ret) {
			f->formats++;
			f->block = formats[which].block;
			f->seq++;
			return true;
		}
		/* 0x84: a reset ended the earlier format for the driver, not for the device */
		if (!CHECK(ret == 0x84 || ret == 0x4084 || by_disturbance(ret) || by_detach(ret),
			   "format by %s: %s", uring ? "io_uring" : "ioctl", err_name(ret)))
			return false;
		/* the driver may be wrong about the format now */
		sleep_ms(20 + draw_of(d, 150));
	}
	return CHECK(case_failed(), "a format does not succeed");
}

static void *formatter(void *arg)
{
	struct draw draw = draw_from(97, 0, 0);
	struct formatted *f = arg;

	while (!f->stop && format_once(f, &draw))
		sleep_ms(20 + draw_of(&draw, 150));
	return NULL;
}

static void resets(const struct formatted *f, uint64_t end)
{
	struct draw draw = draw_from(98, 0, 0);
	struct dev dev = { .fd = -1 };
	unsigned int times = 0;

	while (now_ms() < end && !case_failed() && !f->stop) {
		unsigned int seq = f->seq;

		/* at some moment of a format */
		while (f->seq == seq && now_ms() < end && !case_failed())
			sleep_ms(1);
		sleep_ms(draw_of(&draw, 80));
		if (!CHECK(dev_path(f->name, dev.path, sizeof(dev.path)), "no %s", f->name) ||
		    !ctrl_reset(&dev))
			break;
		times++;
	}
	note("%u resets", times);
}

void hostile_format(void)
{
	struct formatted *f = mmap(NULL, sizeof(*f), PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned int ms = 500 * (opt.rounds ? opt.rounds : 30);
	long pins = pins_held();
	pthread_t thread;
	pid_t pid;

	if (!CHECK(f != MAP_FAILED, "no memory"))
		return;
	if (!formatted_begin(f)) {
		skip_case("-d names no controller with a second namespace");
		return;
	}
	pid = child_start(tenants, f, 0);
	if (pid > 0 && CHECK(!pthread_create(&thread, NULL, formatter, f), "pthread_create")) {
		resets(f, now_ms() + (ms < 120000 ? ms : 120000));
		f->stop = true;
		pthread_join(thread, NULL);
	}
	f->stop = true;
	if (pid > 0)
		child_wait(pid);
	note("%" PRIu64 " formats, of %" PRIu64 " tries", f->formats, f->tries);
	CHECK(case_failed() || f->formats, "no format succeeded");
	pins_back(pins, slow_kernel() ? 50000 : 10000);
	munmap(f, sizeof(*f));
}
