// SPDX-License-Identifier: GPL-2.0
/*
 * Prove which path commands took.  The driver counts pmap commands of each open file, and
 * those of a passthrough queue among them; the block layer counts its own requests and no
 * passthrough.  Together they tell the kinds of path apart.  Whether a buffer was a fixed
 * one is in the SQE, and nothing in the kernel falls back from it in silence.
 */
#include <stdio.h>

#include "bench.h"

typedef unsigned long long ull;

void proof_begin(struct proof *proof, const struct target *target)
{
	proof->block_ios = target_block_ios(target);
	target_stats(target, &proof->stats);
}

/* Say which other paths commands took, for a path that is not proven. */
static void explain(const struct nvme_pmap_stats *a,
		    const struct nvme_pmap_stats *b)
{
#define COUNTER(name)                    \
	{                                \
#name, a->name - b->name \
	}
	const struct {
		const char *name;
		ull n;
	} counter[] = {
		COUNTER(auto_mq),	  COUNTER(auto_queue),
		COUNTER(stock_setup),	  COUNTER(stock_unsupported),
		COUNTER(stock_unmapped),  COUNTER(stock_other),
		COUNTER(fallback_full),	  COUNTER(fallback_down),
		COUNTER(fallback_frozen), COUNTER(fallback_list),
		COUNTER(fallback_mode),	  COUNTER(fallback_logged),
		COUNTER(fallback_worker), COUNTER(fallback_busy),
	};
#undef COUNTER
	unsigned int i;

	for (i = 0; i < sizeof(counter) / sizeof(*counter); i++)
		if (counter[i].n)
			fprintf(stderr, "nvme-bench: %s: %llu\n",
				counter[i].name, counter[i].n);
}

static void subtract(struct nvme_pmap_stats *a, const struct nvme_pmap_stats *b)
{
	a->prp -= b->prp;
	a->sgl_list -= b->sgl_list;
	a->sgl_run -= b->sgl_run;
	a->built -= b->built;
	a->direct -= b->direct;
	a->deferred -= b->deferred;
	a->queue -= b->queue;
	a->fallback_down -= b->fallback_down;
	a->fallback_mode -= b->fallback_mode;
}

static void expect(const char *what, ull got, ull want,
		   const struct path *claim)
{
	if (got != want)
		die("path not proven: %s counts %llu commands where %s makes "
		    "it %llu",
		    what, got, claim->name, want);
}

/* A large block read may be split: a whole number of requests for each. */
static ull block_requests(ull ios, const struct path *claim, ull commands)
{
	if (claim->passthru) {
		expect("the block layer", ios, 0, claim);
		return 0;
	}
	if (!ios || ios % commands)
		expect("the block layer", ios, commands, claim);
	return ios / commands;
}

void proof_end(const struct proof *proof, const struct target *target,
	       const struct path *claim, uint64_t commands)
{
	struct nvme_pmap_stats now;
	ull ios = target_block_ios(target) - proof->block_ios, split;
	ull want = claim->pmap ? commands : 0;

	target_stats(target, &now);
	if (now.prp + now.sgl_list + now.sgl_run + now.built -
		    (proof->stats.prp + proof->stats.sgl_list +
		     proof->stats.sgl_run + proof->stats.built) !=
	    want)
		explain(&now, &proof->stats);
	subtract(&now, &proof->stats);
	split = block_requests(ios, claim, commands);
	expect("the driver", now.prp + now.sgl_list + now.sgl_run + now.built,
	       want, claim);
	if (claim->reg_flags & NVME_PMAP_REG_PRP)
		expect("the driver's PRP counter", now.prp + now.built, want,
		       claim);
	expect("the driver's completions", now.direct + now.deferred, want,
	       claim);
	expect("the driver's queues", now.queue, claim->queue ? want : 0,
	       claim);
	if (claim->fallback)
		expect("the driver's fallbacks",
		       now.fallback_down + now.fallback_mode, want, claim);
	printf(", \"proof\": {\"commands\": %llu, \"block_ios\": %llu, "
	       "\"requests_per_io\": %llu, \"prp\": %llu, \"sgl_list\": %llu, "
	       "\"sgl_run\": %llu, \"built\": %llu, \"direct\": %llu, "
	       "\"deferred\": %llu, \"queue\": %llu}",
	       (ull)commands, ios, split, (ull)now.prp, (ull)now.sgl_list,
	       (ull)now.sgl_run, (ull)now.built, (ull)now.direct,
	       (ull)now.deferred, (ull)now.queue);
}
