// SPDX-License-Identifier: GPL-2.0
/*
 * Fuzzing: the answers that each kind of call may give, and their counts.  The
 * device is there all the time, is no multipath node and takes no time-out, so that
 * some documented errors must not come.
 */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "fuzz/fuzz.h"

static const struct {
	const char *name;
	/* Answers that a long run must meet, and answers that it may meet. */
	int must[16], may[8];
} kinds[NR_KINDS] = {
	[K_QUERY] = { "query", { 0, E2BIG, EINVAL, EOPNOTSUPP, EFAULT, EBADF }, { ENOMEM } },
	[K_REGISTER] = { "register",
			 { 0, E2BIG, EINVAL, EOPNOTSUPP, EFAULT, EDOM, ERANGE, EFBIG, EPERM, EEXIST,
			   ENOSPC, EDQUOT, EBADF },
			 { ENOMEM } },
	[K_UNREGISTER] = { "unregister",
			   { 0, E2BIG, EINVAL, EOPNOTSUPP, EFAULT, ENOENT, EBADF },
			   { EINTR } },
	[K_STATS] = { "stats", { 0, E2BIG, EINVAL, EOPNOTSUPP, EFAULT, EBADF }, { ENOMEM } },
	[K_ATTACH] = { "attach",
		       { 0, E2BIG, EINVAL, EOPNOTSUPP, EFAULT, EUSERS, EALREADY, EBADF },
		       { ENOMEM } },
	[K_DETACH] = { "detach",
		       { 0, E2BIG, EINVAL, EOPNOTSUPP, EFAULT, ENOTCONN, EBADF },
		       { EALREADY, EINTR } },
	[K_NEAR] = { "ioctls beside ours", { ENOTTY, EBADF }, { 0 } },
	[K_STOCK_IOCTL] = { "stock ioctls",
			    { 0, EINVAL, EFAULT, EACCES, EBADF },
			    { RESULT_STATUS, ENOMEM } },
	[K_PMAP] = { "pmap commands",
		     { 0, RESULT_STATUS, EINVAL, EOPNOTSUPP, EDOM, ERANGE, EMSGSIZE, EOVERFLOW,
		       ENOENT, EACCES, EPERM, EBADF, ECANCELED },
		     { ENOMEM } },
	[K_STOCK] = { "stock commands",
		      { 0, EINVAL, EFAULT, EACCES, EBADF },
		      { RESULT_STATUS, ENOMEM, ECANCELED } },
	[K_STOCK_VEC] = { "stock vectored",
			  { 0, EINVAL, EFAULT, EACCES },
			  { RESULT_STATUS, ENOMEM, ECANCELED, EBADF } },
	[K_NEAR_CMD] = { "cmd_ops beside ours", { ENOTTY }, { EBADF, ECANCELED } },
	[K_FIXED] = { "fixed commands",
		      { 0, RESULT_STATUS, EINVAL, EFAULT, EACCES, EBADF },
		      { ENOMEM, ECANCELED } },
	[K_FIXED_VEC] = { "fixed vectored",
			  { EINVAL, EFAULT, EACCES },
			  { EBADF, ECANCELED, ENOMEM } },
	[K_BUFFERS] = { "io_uring's buffers",
			{ 0, EINVAL, EFAULT, EBUSY, ENXIO, ENOMEM },
			{ EINTR, EBADF, EOVERFLOW, EOPNOTSUPP } },
};

/* The lists end with a zero, which as an answer can only be the first. */
static bool listed(const int *list, size_t nr, int result)
{
	size_t i;

	for (i = 0; i < nr && (list[i] || !i); i++)
		if (list[i] == result)
			return true;
	return false;
}

const char *kind_name(unsigned int kind) { return kinds[kind].name; }

void tally_count(struct worker *w, unsigned int kind, int res, const char *what)
{
	int result = res > 0 ? RESULT_STATUS : -res;

	if (result >= 0 && result < NR_RESULTS)
		w->tally->results[kind][result]++;
	if (listed(kinds[kind].must, 16, result) || (result && listed(kinds[kind].may, 8, result)))
		return;
	w->tally->wrong++;
	/* a forked child must not print: a thread of its parent had the lock */
	if (getpid() == fuzz.pid)
		CHECK(false, "%s %s: %s", kinds[kind].name, what, err_name(res));
}

static void report_kind(unsigned int kind, const struct tally *sum)
{
	char line[400];
	int n = snprintf(line, sizeof(line), "%-20s %8" PRIu64 ":", kinds[kind].name,
			 sum->calls[kind]);
	unsigned int i;

	for (i = 0; i < NR_RESULTS; i++)
		if (sum->results[kind][i] && n < (int)sizeof(line) - 32)
			n += snprintf(line + n, sizeof(line) - (size_t)n, " %s %" PRIu64,
				      !i		 ? "done" :
				      i == RESULT_STATUS ? "status" :
							   strerrorname_np((int)i),
				      sum->results[kind][i]);
	note("%s", line);
}

static void check_reached(unsigned int kind, const struct tally *sum)
{
	const int *must = kinds[kind].must;
	size_t i;

	for (i = 0; i < 16 && (must[i] || !i); i++)
		CHECK(sum->results[kind][must[i]], "no %s was ever answered with %s",
		      kinds[kind].name,
		      must[i] == RESULT_STATUS ? "a status" :
		      must[i]		       ? strerrorname_np(must[i]) :
						 "success");
}

static void report_queued(const struct tally *sum, bool complete)
{
	const uint64_t *n = sum->by_queue;

	note("by queue %" PRIu64 " interrupts, %" PRIu64 " polled, %" PRIu64 " either",
	     n[QUEUED_IRQ], n[QUEUED_POLLED], n[QUEUED_EITHER]);
	if (complete)
		CHECK(n[QUEUED_IRQ] && n[QUEUED_POLLED] && n[QUEUED_EITHER],
		      "no command went by a queue of one of the kinds");
}

static void report_paths(const struct tally *sum, bool complete)
{
	const uint64_t *n = sum->by_path;

	note("auto door: blk-mq %" PRIu64 ", by queue %" PRIu64 ", setup %" PRIu64
	     ", unsupported %" PRIu64 ", unmapped %" PRIu64 ", other %" PRIu64,
	     n[PATH_BLK_MQ], n[PATH_QUEUE], n[PATH_SETUP], n[PATH_UNSUPPORTED], n[PATH_UNMAPPED],
	     n[PATH_OTHER]);
	if (complete && opt.door)
		CHECK(n[PATH_BLK_MQ] && n[PATH_QUEUE] && n[PATH_SETUP] && n[PATH_UNSUPPORTED],
		      "the auto door has not used one of the paths");
	CHECK(opt.door || (!n[PATH_BLK_MQ] && !n[PATH_QUEUE]), "a door that is shut has served");
}

void tally_report(const struct tally *tallies, unsigned int nr, bool complete)
{
	struct tally sum = { 0 };
	unsigned int kind, i, j;
	uint64_t all = 0;

	for (i = 0; i < nr; i++)
		CHECK(!tallies[i].wrong, "%" PRIu64 " wrong answers, those of children too",
		      tallies[i].wrong);
	for (kind = 0; kind < NR_KINDS; kind++) {
		for (i = 0; i < nr; i++) {
			sum.calls[kind] += tallies[i].calls[kind];
			for (j = 0; j < NR_RESULTS; j++)
				sum.results[kind][j] += tallies[i].results[kind][j];
		}
		all += sum.calls[kind];
		report_kind(kind, &sum);
		if (complete)
			check_reached(kind, &sum);
	}
	for (i = 0; i < nr; i++)
		for (j = 0; j < NR_QUEUED; j++)
			sum.by_queue[j] += tallies[i].by_queue[j];
	for (i = 0; i < nr; i++)
		for (j = 0; j < NR_PATHS; j++)
			sum.by_path[j] += tallies[i].by_path[j];
	report_queued(&sum, complete);
	report_paths(&sum, complete);
	note("%" PRIu64 " calls in all", all);
}
