// SPDX-License-Identifier: GPL-2.0
/*
 * The auto door itself disturbed, under storms of programs that know nothing of it
 * (-a): it is switched, mappings end while they are in use, buffers are registered anew.
 */
#include <inttypes.h>

#include "lib/storm.h"

static unsigned int rounds(unsigned int usual) { return opt.rounds ? opt.rounds : usual; }

/* ---- switched ---- */

static const char *const modes[] = { "off", "on", "queue" };

/* Neither memory nor queues for a door that is shut, with the storm going on. */
static void shut(struct storm *s)
{
	unsigned int i;

	set_door(&s->stream[0].dev, "off");
	for (i = 0; i < STREAMS; i++)
		all_returned(&s->stream[i].dev);
	storm_moves(s, 3);
}

/* The first file is served as it was before. */
static bool opens(struct storm *s)
{
	const struct dev *dev = &s->stream[0].dev;
	uint64_t end = now_ms() + (slow_kernel() ? 50000 : 10000);
	struct paths before = door_paths(dev), now;

	do {
		if (!storm_moves(s, 3))
			return false;
		now = door_paths(dev);
		if (opt.queues ? now.queue > before.queue : now.blk_mq > before.blk_mq)
			return true;
	} while (now_ms() < end);
	return CHECK(false, "nothing is served by the door that is open again");
}

/* Each way is taken in the end. */
static void switched_end(struct storm *s, long pins)
{
	const struct dev *dev = &s->stream[0].dev;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(modes) && !case_failed(); i++) {
		set_door(dev, modes[i]);
		storm_moves(s, 8);
	}
	shut(s);
	door_open(dev);
	opens(s);
	storm_end(s);
	pinned_becomes(dev, 0, 10000);
	pins_back(pins, 5000);
}

static void switched(void)
{
	struct storm s = { .tolerated = NULL, .shut = true };
	unsigned int i, nr = rounds(200);
	long pins = pins_held();

	if (storm_start(&s))
		for (i = 0; i < nr && !case_failed(); i++) {
			set_door(&s.stream[0].dev, modes[rnd_below(3)]);
			sleep_ms((unsigned int)rnd_below(30));
		}
	switched_end(&s, pins);
}

static void switched_reset(void)
{
	struct storm s = { .tolerated = by_reset, .shut = true };
	struct beside door = { .dev.fd = -1 };
	unsigned int i, nr = rounds(12);
	long pins = pins_held();

	if (storm_start(&s) && beside_start(&door, 0, beside_switches))
		for (i = 0; i < nr && ctrl_reset(&s.stream[0].dev); i++)
			if (i % 3 && !storm_moves(&s, 3))
				break;
	beside_stop(&door, "door switched");
	switched_end(&s, pins);
}

/* ---- buffers anew ---- */

/* Mappings idle for half a second end: of unregistered buffers, and none in use. */
static void renewed(void)
{
	struct storm s = { .tolerated = NULL };
	unsigned int i, nr = rounds(200);
	long pins = pins_held();

	if (set_param("pmap_auto_idle_s", 1) && storm_start(&s)) {
		for (i = 0; i < nr && !case_failed(); i++) {
			s.renew++;
			if (i % 8 == 7)
				storm_moves(&s, 1);
			sleep_ms((unsigned int)rnd_below(20));
		}
		storm_moves(&s, 3);
		for (i = 0; i < STREAMS; i++)
			CHECK(s.stream[i].load.renewed > nr / 4, "%s: %u times of %u",
			      s.stream[i].load.name, s.stream[i].load.renewed, nr);
	}
	storm_end(&s);
	pinned_becomes(&s.stream[0].dev, 0, 10000);
	pins_back(pins, 5000);
	reset_params();
}

static const struct test_case chaos_auto_cases[] = {
	{ "switched", switched },
	{ "switched-reset", switched_reset },
	{ "renewed", renewed },
};

SUBJECT(chaos_auto);
