// SPDX-License-Identifier: GPL-2.0
/*
 * A controller that has another MDTS after a reset, as with firmware that has been
 * activated: the host changes the data that it returns for Identify.
 */
#include <fcntl.h>
#include <stdio.h>

#include "lib/util.h"

#define ID_MDTS 77
#define LEN	(512 * 1024u)

/* The MDTS that the controller reports from now on, as a power of two of 4 KiB. */
static bool becomes(const struct dev *dev, unsigned int mdts)
{
	static unsigned char id[PAGE] __attribute__((aligned(PAGE)));
	uint64_t end = now_ms() + 20000;

	/* A line for tests/lib.sh. */
	printf("# host poke-identify serial=%s at=%d value=%u\n", opt.dev + strlen("serial="),
	       ID_MDTS, mdts);
	do {
		sleep_ms(20);
		if (!CHECK_RET(admin_identify(dev->fd, 1, 0, id), 0, "identify"))
			return false;
	} while (id[ID_MDTS] != mdts && now_ms() < end);
	return CHECK(id[ID_MDTS] == mdts, "the controller's MDTS is %u", id[ID_MDTS]);
}

static void transfers_up_to(struct setup *s, uint32_t max, const char *when)
{
	struct nvme_pmap_query q;

	if (CHECK_RET(nvme_pmap_query_file(s->dev.fd, &q), 0, "query"))
		CHECK(q.max_transfer == max, "%s: max_transfer %llu, not %u", when, q.max_transfer,
		      max);
	CHECK_RET(run_rw(&s->ring, &s->dev, OP_READ, s->index, 0, max, 0), 0, "%s: %u bytes", when,
		  max);
	CHECK_RET(run_rw(&s->ring, &s->dev, OP_READ, s->index, 0, max + PAGE, 0), -EMSGSIZE,
		  "%s: a page more", when);
}

/* A file that has been open all the time. */
static void reset(void)
{
	struct setup s;

	if (!setup_make(&s, NULL, MODE_IRQ, MEM_4K, 2 * LEN) ||
	    !must_register(&s.dev, s.mem.map, 2 * LEN, 0, &s.index))
		goto out;
	transfers_up_to(&s, LEN, "at first");
	if (becomes(&s.dev, 5)) {
		/* The driver must not guess: it asks the controller in a reset. */
		transfers_up_to(&s, LEN, "before the reset");
		reset_ctrl(&s.dev);
		transfers_up_to(&s, 32 * PAGE, "after it");
	}
	if (becomes(&s.dev, 7) && reset_ctrl(&s.dev))
		transfers_up_to(&s, LEN, "after another");
out:
	setup_close(&s);
}

static const struct test_case mdts_cases[] = {
	{ "reset", reset },
};

SUBJECT(mdts);
