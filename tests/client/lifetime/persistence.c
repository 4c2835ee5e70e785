// SPDX-License-Identifier: GPL-2.0
/*
 * A registration survives the end of its mapping, a second registration and
 * controller resets under load.  It must not survive its unregistration.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/storm.h"

#define LEN (16u * PAGE)

static bool setup_open(struct setup *s, enum mem_kind kind)
{
	return setup_make(s, NULL, MODE_IRQ, kind, LEN);
}

/* Blocks 0 to 127 hold generation @gen, by way of @buf. */
static bool put(struct setup *s, void *buf, uint64_t gen)
{
	pattern_fill(buf, s->dev.block, 0, LEN / s->dev.block, gen);
	return CHECK_RET(run_stock(&s->ring, &s->dev, OP_WRITE, buf, LEN, 0), 0, "stock write");
}

static bool get(struct setup *s, uint32_t index, void *buf, uint64_t gen, const char *what)
{
	return CHECK_RET(run_rw(&s->ring, &s->dev, OP_READ, index, 0, LEN, 0), 0, "%s: read",
			 what) &&
	       CHECK(pattern_verify(buf, s->dev.block, 0, LEN / s->dev.block, gen, what),
		     "%s: data", what);
}

/* The mapping goes, the pages stay, and a new mapping of them shows the data. */
static void unmapped(void)
{
	struct setup s;

	if (!setup_open(&s, MEM_MEMFD) || !put(&s, s.mem.map, 3))
		goto out;
	poison(s.mem.map, LEN);
	munmap(s.mem.map, LEN);
	s.mem.map = NULL;
	CHECK_RET(run_rw(&s.ring, &s.dev, OP_READ, s.index, 0, LEN, 0), 0,
		  "read without a mapping");
	s.mem.map = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, s.mem.fd, 0);
	CHECK(pattern_verify(s.mem.map, s.dev.block, 0, LEN / s.dev.block, 3, "memfd"), "data");
	CHECK(status_kib(getpid(), "VmPin") == LEN / 1024, "VmPin is %ld KiB",
	      status_kib(getpid(), "VmPin"));
out:
	setup_close(&s);
}

/* Only the registration still has the old pages; new ones stay as they are. */
static void replaced(void)
{
	struct setup s;

	if (!setup_open(&s, MEM_4K) || !put(&s, s.mem.map, 4))
		goto out;
	CHECK(!madvise(s.mem.map, LEN / 2, MADV_DONTNEED), "madvise");
	poison(s.mem.map, LEN);
	CHECK_RET(run_rw(&s.ring, &s.dev, OP_READ, s.index, 0, LEN, 0), 0, "read");
	CHECK(poisoned(s.mem.map, LEN) == LEN / 2,
	      "the device wrote to pages that are not registered");
	CHECK(pattern_verify(s.mem.map + LEN / 2, s.dev.block, LEN / 2 / s.dev.block,
			     LEN / 2 / s.dev.block, 4, "second half"),
	      "data");
	must_unregister(&s.dev, s.index);
	/* Now the new pages are registered. */
	if (must_register(&s.dev, s.mem.map, LEN, 0, &s.index))
		get(&s, s.index, s.mem.map, 4, "registered anew");
out:
	setup_close(&s);
}

/* Two registrations of the same memory are two pins; each works alone. */
static void twice(void)
{
	struct setup s;
	uint32_t second;

	if (!setup_open(&s, MEM_4K) ||
	    !must_register(&s.dev, s.mem.map, LEN, NVME_PMAP_REG_PRP, &second) ||
	    !put(&s, s.mem.map, 5))
		goto out;
	CHECK(second != s.index, "the same index");
	CHECK(status_kib(getpid(), "VmPin") == 2 * LEN / 1024, "VmPin is %ld KiB",
	      status_kib(getpid(), "VmPin"));
	poison(s.mem.map, LEN);
	get(&s, s.index, s.mem.map, 5, "the first");
	must_unregister(&s.dev, s.index);
	CHECK(status_kib(getpid(), "VmPin") == LEN / 1024, "VmPin is %ld KiB",
	      status_kib(getpid(), "VmPin"));
	poison(s.mem.map, LEN);
	get(&s, second, s.mem.map, 5, "the second, with the first gone");
	must_unregister(&s.dev, second);
out:
	setup_close(&s);
}

/* ---- registration, unregistration and commands against each other ---- */

struct churn {
	const struct dev *dev;
	volatile bool stop;
	volatile uint64_t good, refused;
};

/* Reads on index 0, whether it is registered at the moment or not. */
static void *reader(void *arg)
{
	struct churn *c = arg;
	struct nvme_pmap_cmd cmd = cmd_rw(c->dev, OP_READ, 0, 0, LEN, 0);
	struct completion done;
	struct io_uring ring;
	unsigned int i;
	bool ok = ring_open(&ring, MODE_IRQ, 16);

	while (ok && !c->stop) {
		for (i = 0; i < 8; i++)
			prep_cmd(&ring, c->dev->fd, &cmd, i);
		ok = CHECK(io_uring_submit(&ring) == 8, "submit");
		for (i = 0; ok && i < 8; i++) {
			ok = CHECK_RET(ring_reap(&ring, &done, 10000), 0, "completion");
			c->good += ok && done.res == 0;
			c->refused += ok && done.res == -ENOENT;
			ok = ok && (done.res == 0 || CHECK_RET(done.res, -ENOENT, "racing read"));
		}
	}
	io_uring_queue_exit(&ring);
	return NULL;
}

static bool register_at(const struct dev *dev, void *buf, uint32_t index)
{
	struct nvme_pmap_register reg = { .size = sizeof(reg),
					  .addr = (uintptr_t)buf,
					  .len = LEN,
					  .index = index,
					  .flags = rnd_below(3) };

	return CHECK_RET(nvme_pmap_ioctl(dev->fd, NVME_PMAP_IOC_REGISTER, &reg), 0, "register");
}

/* Have the readers met the buffer, and found it gone, in enough rounds? */
static bool churned(const struct churn *c, unsigned int rounds)
{
	return rounds > 10 && c->good && c->refused;
}

/* Every other round lasts until a read has ended well, or for a moment. */
static void let_read(const struct churn *c, unsigned int round)
{
	uint64_t before = c->good, end = now_ms() + 50;

	do
		sched_yield();
	while (round % 2 && c->good == before && now_ms() < end);
}

/*
 * Memory is the program's again when unregister returns: data written to it then
 * must stay, however many commands were racing.
 */
static void churn(void)
{
	struct churn c = { 0 };
	unsigned int round, i;
	pthread_t thread[2];
	uint64_t end = now_ms() + 3000;
	struct mem mem[2];
	struct setup s;

	if (!setup_open(&s, MEM_4K) || !put(&s, s.mem.map, 6))
		goto out;
	must_unregister(&s.dev, s.index);
	c.dev = &s.dev;
	for (i = 0; i < 2; i++) {
		CHECK(mem_alloc(&mem[i], MEM_4K, LEN), "no memory");
		pthread_create(&thread[i], NULL, reader, &c);
	}
	/* a slow machine takes longer for the rounds that prove something */
	for (round = 0; now_ms() < end || (!churned(&c, round) && now_ms() < end + 30000);
	     round++) {
		struct mem *now = &mem[round % 2], *before = &mem[!(round % 2)];

		if (!register_at(&s.dev, now->map, 0))
			break;
		let_read(&c, round);
		must_unregister(&s.dev, 0);
		poison(now->map, LEN);
		if (round && !CHECK(poisoned(before->map, LEN) == LEN,
				    "round %u: a read arrived after unregister", round))
			break;
	}
	c.stop = true;
	for (i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	for (i = 0; i < 2; i++) {
		CHECK(poisoned(mem[i].map, LEN) == LEN || round < 2, "a late read");
		mem_free(&mem[i]);
	}
	note("%u rounds, %" PRIu64 " reads, %" PRIu64 " refused", round, c.good, c.refused);
	CHECK(churned(&c, round), "no race: %u rounds, %" PRIu64 " reads, %" PRIu64 " refused",
	      round, c.good, c.refused);
out:
	setup_close(&s);
}

/* The first registrations of a file, in several threads at once. */
static void *registers_once(void *arg)
{
	struct setup *s = arg;
	uint32_t index;

	must_register(&s->dev, s->mem.map, PAGE, 0, &index);
	return NULL;
}

static void register_race(void)
{
	struct nvme_pmap_query q;
	pthread_t thread[4];
	struct setup s;
	unsigned int round, i;

	for (round = 0; round < 30; round++) {
		memset(&s, 0, sizeof(s));
		s.mem.fd = -1;
		if (!dev_open(&s.dev, NULL, O_RDWR) || !mem_alloc(&s.mem, MEM_4K, PAGE))
			break;
		for (i = 0; i < ARRAY_SIZE(thread); i++)
			pthread_create(&thread[i], NULL, registers_once, &s);
		for (i = 0; i < ARRAY_SIZE(thread); i++)
			pthread_join(thread[i], NULL);
		if (CHECK_RET(nvme_pmap_query_file(s.dev.fd, &q), 0, "query"))
			CHECK(q.nr_pmaps == ARRAY_SIZE(thread), "%u buffers", q.nr_pmaps);
		for (i = 0; i < ARRAY_SIZE(thread); i++)
			must_unregister(&s.dev, i);
		setup_close(&s);
	}
}

/* The table is replaced by larger ones under commands that look into it. */
static void table_grows(void)
{
	static const uint32_t indexes[] = { 15, 16, 63, 64, 1000, 8191, 8192, 65535 };
	volatile bool stop = false;
	struct load load;
	struct setup s;
	struct mem mem;
	size_t i;

	if (!setup_open(&s, MEM_4K) || !mem_alloc(&mem, MEM_4K, LOAD_BYTES(8, PAGE)) ||
	    !put(&s, s.mem.map, 9))
		goto out;
	must_unregister(&s.dev, s.index);
	if (!must_register(&s.dev, mem.map, mem.len, 0, &s.index))
		goto out;
	load = (struct load){ .name = "load",
			      .mode = MODE_IRQ,
			      .dev = &s.dev,
			      .index = s.index,
			      .base = mem.map,
			      .lba = 4096,
			      .len = PAGE,
			      .depth = 8,
			      .count = 1000000,
			      .entries = 32,
			      .stop = &stop };
	load_start(&load);
	for (i = 0; i < ARRAY_SIZE(indexes); i++) {
		register_at(&s.dev, s.mem.map, indexes[i]);
		sleep_ms(5);
	}
	for (i = 0; i < ARRAY_SIZE(indexes); i++) {
		poison(s.mem.map, LEN);
		get(&s, indexes[i], s.mem.map, 9, "an index of the larger table");
	}
	stop = true;
	load_join(&load);
	CHECK(load.verified > 8 && !load.failed, "%" PRIu64 " verified, %" PRIu64 " failed",
	      load.verified, load.failed);
	mem_free(&mem);
out:
	setup_close(&s);
}

/* ---- controller reset ---- */

static void reset_idle(void)
{
	static const enum mem_kind kinds[] = { MEM_4K, MEM_HUGE, MEM_MEMFD };
	struct setup s;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (setup_open(&s, kinds[i]) && put(&s, s.mem.map, 7 + i)) {
			poison(s.mem.map, LEN);
			ctrl_reset(&s.dev);
			get(&s, s.index, s.mem.map, 7 + i, "after the reset");
			must_unregister(&s.dev, s.index);
		}
		setup_close(&s);
	}
}

/*
 * With @entries in the submission queue, and stock commands in between where
 * that is large: see load_run().
 */
static void reset_load(enum mode mode, unsigned int entries)
{
	struct load loads[2];
	volatile bool stop = false;
	struct setup s;
	struct mem mem;
	unsigned int i;
	uint32_t index;

	if (!setup_open(&s, MEM_4K) || !mem_alloc(&mem, MEM_4K, 2 * LOAD_BYTES(8, LEN)) ||
	    !must_register(&s.dev, mem.map, mem.len, 0, &index))
		goto out;
	for (i = 0; i < 2; i++) {
		loads[i] = (struct load){ .name = mode_names[mode],
					  .mode = mode,
					  .dev = &s.dev,
					  .index = index,
					  .len = LEN,
					  .depth = 8,
					  .count = 1000000,
					  .tolerated = by_reset,
					  .stop = &stop,
					  .entries = entries,
					  .stock = i && !entries ? 3 : 0 };
		loads[i].offset = i * LOAD_BYTES(8, LEN);
		loads[i].base = mem.map + loads[i].offset;
		loads[i].lba = 4096 + i * (LOAD_BYTES(8, LEN) / s.dev.block);
		load_start(&loads[i]);
	}
	for (i = 0; i < 5; i++) {
		sleep_ms(50);
		if (!ctrl_reset(&s.dev))
			break;
	}
	sleep_ms(100);
	stop = true;
	for (i = 0; i < 2; i++) {
		load_join(&loads[i]);
		note("%s: %" PRIu64 " verified, %" PRIu64 " failed by the resets", loads[i].name,
		     loads[i].verified, loads[i].failed);
		CHECK(loads[i].verified > 8, "hardly anything was read");
	}
	if (put(&s, s.mem.map, 11)) {
		poison(s.mem.map, LEN);
		get(&s, s.index, s.mem.map, 11, "after the resets");
	}
	mem_free(&mem);
out:
	setup_close(&s);
}

static void reset_load_irq(void) { reset_load(MODE_IRQ, 16); }
static void reset_load_poll(void) { reset_load(MODE_POLL, 16); }
static void reset_load_mixed(void) { reset_load(MODE_IRQ, 0); }

/* Registrations come and go while the controller is reset. */
static void *registers(void *arg)
{
	struct churn *c = arg;
	struct mem mem;
	uint32_t index = 0;
	int ret;

	if (!mem_alloc(&mem, MEM_4K, LEN))
		return NULL;
	while (!c->stop) {
		ret = nvme_pmap_register_buf(c->dev->fd, mem.map, LEN, 0, &index);
		if (!CHECK_RET(ret, 0, "register during resets") || !must_unregister(c->dev, index))
			break;
		c->good++;
	}
	mem_free(&mem);
	return NULL;
}

static void reset_register(void)
{
	struct churn c = { 0 };
	pthread_t thread;
	struct setup s;
	unsigned int i;

	if (setup_open(&s, MEM_4K)) {
		c.dev = &s.dev;
		pthread_create(&thread, NULL, registers, &c);
		for (i = 0; i < 4; i++)
			ctrl_reset(&s.dev);
		c.stop = true;
		pthread_join(thread, NULL);
		CHECK(c.good > 4, "%" PRIu64 " registrations", c.good);
	}
	setup_close(&s);
}

static const struct test_case persistence_cases[] = {
	{ "unmapped", unmapped },
	{ "replaced", replaced },
	{ "twice", twice },
	{ "churn", churn },
	{ "register-race", register_race },
	{ "table-grows", table_grows },
	{ "reset-idle", reset_idle },
	{ "reset-load-irq", reset_load_irq },
	{ "reset-load-poll", reset_load_poll },
	{ "reset-load-mixed", reset_load_mixed },
	{ "reset-register", reset_register },
};

SUBJECT(persistence);
