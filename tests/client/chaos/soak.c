// SPDX-License-Identifier: GPL-2.0
/*
 * Everything at once for -n seconds: loads of every ring mode and form, half of them
 * with passthrough queues, stock passthrough and block IO beside them, registrations
 * that come and go, and disturbances in an order that the seed decides.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/storm.h"

#define PROGRESS_MS	 30000
/* Storms begin anew, with other forms and other memory, after so many. */
#define DISTURBANCES	 6
/* A free list here, a slab there. */
#define MEMORY_SLACK_KIB (48u << 10)

/* Errors that resets explain, and a list that could not be built under pressure. */
static const int tolerated[] = {
	-EINTR, -EIO, -EAGAIN, -ENOMEM, 0x4, 0x7, 0x370, 0x371, 0x4370, 0x4371, 0,
};

struct soak {
	struct storm storm;
	struct beside reg, block;
	struct owner *owner;
	struct load stock;
	struct mem stock_mem;
	struct dev stock_dev;
	volatile bool stock_stop;
	pthread_t stock_thread;
	uint64_t started, reported;
	uint64_t pairs, bytes, failed, queued; /* of storms that are over */
	uint64_t stock_pairs;
};

/* ---- disturbances ---- */

static bool do_reset(struct soak *k) { return ctrl_reset(&k->storm.stream[0].dev); }

static bool do_rescan(struct soak *k)
{
	char path[160];

	dev_sysfs(&k->storm.stream[0].dev, "rescan_controller", path, sizeof(path));
	return CHECK(write_file(path, "1"), "%s: %s", path, strerror(errno));
}

static bool do_hotplug(struct soak *k)
{
	return sysconf(_SC_NPROCESSORS_CONF) < 2 ||
	       (cpu_online(1, "0") && storm_moves(&k->storm, 1) && cpu_online(1, "1"));
}

/* Half of them, by files. */
static unsigned int some_streams(void) { return rnd_below(2) ? 0x3 : 0xc; }

/* Where the last one wrote something may still be on its way. */
static bool do_kill(struct soak *k)
{
	static unsigned int turn;
	bool good;

	k->owner->storm.queues = some_streams();
	good = owner_kill(k->owner, 16384 + turn++ % 4 * STORM_BLOCKS, NULL) &&
	       storm_check(&k->owner->storm);

	storm_forget(&k->owner->storm);
	return good;
}

static bool do_pressure(struct soak *k)
{
	(void)k;
	return CHECK(write_file("/proc/sys/vm/compact_memory", "1"), "compact_memory") &&
	       CHECK(write_file("/proc/sys/vm/drop_caches", "3"), "drop_caches");
}

static struct {
	const char *name;
	bool (*fn)(struct soak *k);
	unsigned int times;
} kinds[] = {
	{ "resets", do_reset, 0 },	   { "rescans", do_rescan, 0 },
	{ "CPU hotplugs", do_hotplug, 0 }, { "killed owners", do_kill, 0 },
	{ "reclaims", do_pressure, 0 },
};

/* ---- stock commands beside, each from memory that no pmap maps ---- */

static void *stock(void *arg)
{
	struct soak *k = arg;

	do {
		/* As many commands as the queue has entries; see load_run(). */
		k->stock = (struct load){ .name = "stock",
					  .mode = MODE_IRQ,
					  .dev = &k->stock_dev,
					  .base = k->stock_mem.map,
					  .lba = 9216,
					  .len = 4 * PAGE,
					  .depth = 4,
					  .count = 2000,
					  .stock = 1,
					  .tolerated = tolerated,
					  .stop = &k->stock_stop,
					  .first_gen = k->stock_pairs };
		if (!load_run(&k->stock))
			break;
		k->stock_pairs += k->stock.verified;
	} while (!k->stock_stop);
	return NULL;
}

static bool stock_start(struct soak *k)
{
	return dev_open(&k->stock_dev, NULL, 2) &&
	       CHECK(mem_alloc(&k->stock_mem, MEM_4K, LOAD_BYTES(4, 4 * PAGE)), "no memory") &&
	       CHECK(!pthread_create(&k->stock_thread, NULL, stock, k), "pthread_create");
}

static void stock_stop(struct soak *k)
{
	k->stock_stop = true;
	if (k->stock_thread)
		pthread_join(k->stock_thread, NULL);
	CHECK(k->stock_pairs, "no stock command worked");
	mem_free(&k->stock_mem);
	dev_close(&k->stock_dev);
}

/* ---- progress ---- */

static void add_up(const struct storm *s, uint64_t *pairs, uint64_t *bytes, uint64_t *failed)
{
	unsigned int i;

	for (i = 0; i < STREAMS; i++) {
		const volatile struct load *l = &s->stream[i].load;

		*pairs += l->verified;
		*bytes += l->verified * l->len;
		*failed += l->failed;
	}
}

/* @storm: the one that runs, if any, counts too. */
static void progress(const struct soak *k, const struct storm *storm, const char *what)
{
	uint64_t pairs = k->pairs, bytes = k->bytes, failed = k->failed;
	char text[256] = "";
	size_t i, at = 0;

	if (storm)
		add_up(storm, &pairs, &bytes, &failed);
	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, ", %u %s", kinds[i].times,
				       kinds[i].name);
	note("%s %" PRIu64 " s: %" PRIu64 " pmap commands (%" PRIu64 " failed, %" PRIu64
	     " by queue), %.2f GiB verified, "
	     "%" PRIu64 " stock, %" PRIu64 " block, %" PRIu64 " registrations%s",
	     what, (now_ms() - k->started) / 1000, 2 * pairs + failed, failed, k->queued,
	     (double)bytes / MIB(1024), 2 * k->stock_pairs, 2 * k->block.done,
	     k->reg.done + k->reg.failed, text);
}

/* ---- the soak ---- */

static bool over(const struct soak *k)
{
	return case_failed() || now_ms() - k->started >= 1000ull * (opt.rounds ? opt.rounds : 10);
}

static bool disturb(struct soak *k)
{
	size_t which = rnd_below(ARRAY_SIZE(kinds));

	kinds[which].times++;
	if (!kinds[which].fn(k) || !storm_moves(&k->storm, 1 + (unsigned int)rnd_below(4)))
		return false;
	if (now_ms() - k->reported >= PROGRESS_MS) {
		k->reported = now_ms();
		progress(k, &k->storm, "after");
	}
	return true;
}

static bool one_storm(struct soak *k)
{
	bool good;
	unsigned int i;

	k->storm = (struct storm){ .tolerated = tolerated, .queues = some_streams() };
	good = storm_start(&k->storm);
	for (i = 0; good && i < DISTURBANCES && !over(k); i++)
		good = disturb(k);
	good &= storm_stop(&k->storm);
	add_up(&k->storm, &k->pairs, &k->bytes, &k->failed);
	k->queued += k->storm.queued;
	good &= storm_drop(&k->storm);
	good = good && storm_check(&k->storm);
	storm_forget(&k->storm);
	return good;
}

static unsigned long memory_free(void)
{
	write_file("/proc/sys/vm/drop_caches", "3");
	return meminfo_kib("MemFree:");
}

static void no_leak(long pins, unsigned long before)
{
	uint64_t end = now_ms() + 10000;

	pins_back(pins, 10000);
	while (memory_free() + MEMORY_SLACK_KIB < before && now_ms() < end)
		sleep_ms(500);
	CHECK(memory_free() + MEMORY_SLACK_KIB >= before, "%lu KiB are free, %lu were",
	      memory_free(), before);
}

static void mix(void)
{
	static struct soak k;
	unsigned long memory = memory_free();
	long pins = pins_held();

	k.started = k.reported = now_ms();
	k.owner = owner_alloc();
	k.reg.dev.fd = k.block.dev.fd = k.stock_dev.fd = -1;
	if (k.owner && beside_start(&k.reg, 8192, beside_registers) &&
	    (opt.queues || dev_attach(&k.reg.dev)) && beside_start(&k.block, 8704, beside_block) &&
	    stock_start(&k))
		while (!over(&k) && one_storm(&k))
			;
	beside_stop(&k.reg, "registrations");
	beside_stop(&k.block, "block device");
	stock_stop(&k);
	if (k.owner)
		owner_free(k.owner);
	CHECK(k.queued, "no command went by a queue");
	no_leak(pins, memory);
	progress(&k, NULL, "in all");
}

static const struct test_case soak_cases[] = { { "mix", mix } };

SUBJECT(soak);
