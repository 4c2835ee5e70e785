// SPDX-License-Identifier: GPL-2.0
/* pmap-test SUBJECT [options] [CASE...]: cases run in the guest; see usage(). */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/util.h"

/* One a line. */
#define SUBJECTS(S)       \
	S(integrity)      \
	S(modes)          \
	S(namespaces)     \
	S(ioctl)          \
	S(registering)    \
	S(userfault)      \
	S(mdts)           \
	S(command)        \
	S(unprivileged)   \
	S(memory)         \
	S(length)         \
	S(formats)        \
	S(lifetime)       \
	S(persistence)    \
	S(removal)        \
	S(unload)         \
	S(multipath)      \
	S(unsupported)    \
	S(bounce)         \
	S(formatting)     \
	S(unknown_format) \
	S(chaos)          \
	S(chaos_timeout)  \
	S(chaos_hotplug)  \
	S(chaos_end)      \
	S(chaos_ns)       \
	S(hostile)        \
	S(soak)           \
	S(fuzz)           \
	S(bounds)         \
	S(racing)         \
	S(overrun)        \
	S(stock_overrun)  \
	S(faults)         \
	S(parallel)       \
	S(output)         \
	S(queue)          \
	S(queue_slow)     \
	S(queue_few)      \
	S(queue_64k)      \
	S(queue_lifetime) \
	S(auto)           \
	S(chaos_auto)     \
	S(recovery)       \
	S(idle)           \
	S(idle_auto)      \
	S(format_unseen)  \
	S(effects)

#define DECLARE(name) extern const struct subject subject_##name;
#define ADDRESS(name) &subject_##name,

SUBJECTS(DECLARE)

static const struct subject *const subjects[] = { SUBJECTS(ADDRESS) };

static int usage(void)
{
	size_t i, j;

	fprintf(stderr,
		"usage: pmap-test SUBJECT [-d DEV] [-D DEV2] [-s SEED] [-n ROUNDS] [-t SECONDS] [-a] [-q] [CASE...]\n"
		"       pmap-test check-image IMAGE MANIFEST\n"
		"       pmap-test cases [PATTERN]\n"
		"DEV is a path, or serial=S or serial=S:NSID.  -q: with passthrough queues.\n"
		"-a: by the auto door, which with -q is open for queues.\n");
	for (i = 0; i < ARRAY_SIZE(subjects); i++) {
		fprintf(stderr, "%s:", subjects[i]->name);
		for (j = 0; j < subjects[i]->nr; j++)
			fprintf(stderr, " %s", subjects[i]->cases[j].name);
		fprintf(stderr, "\n");
	}
	return 2;
}

static bool parse(int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "d:D:s:n:t:aq")) != -1) {
		switch (c) {
		case 'd':
			opt.dev = optarg;
			break;
		case 'D':
			opt.dev2 = optarg;
			break;
		case 's':
			opt.seed = strtoull(optarg, NULL, 0);
			break;
		case 'n':
			opt.rounds = (unsigned int)atoi(optarg);
			break;
		case 't':
			opt.limit = (unsigned int)atoi(optarg);
			break;
		case 'a':
			opt.door = true;
			break;
		case 'q':
			opt.queues = true;
			break;
		default:
			return false;
		}
	}
	return true;
}

/* Also where @pattern names a variant, as in "queue/arguments (auto queue)". */
static bool matches_somehow(const struct subject *subject, const struct test_case *tc,
			    const char *pattern)
{
	unsigned int variant;
	bool matches = false;

	for (variant = 0; variant < 4; variant++) {
		opt.queues = variant & 1;
		opt.door = variant & 2;
		matches |= case_matches(subject, tc, pattern);
	}
	return matches;
}

/* A line SUBJECT/CASE for each case that matches. */
static int list_cases(const char *pattern)
{
	size_t i, j;

	for (i = 0; i < ARRAY_SIZE(subjects); i++)
		for (j = 0; j < subjects[i]->nr; j++)
			if (matches_somehow(subjects[i], &subjects[i]->cases[j], pattern))
				printf("%s/%s\n", subjects[i]->name, subjects[i]->cases[j].name);
	return 0;
}

int main(int argc, char **argv)
{
	size_t i;

	if (argc < 2)
		return usage();
	if (!strcmp(argv[1], "check-image"))
		return check_image(argc - 2, argv + 2);
	if (!strcmp(argv[1], "cases"))
		return list_cases(argc > 2 ? argv[2] : "*");
	/* Another seed every day finds more than a fixed one; it is printed. */
	opt.seed = now_ms() ^ (uint64_t)time(NULL) << 20;
	if (!parse(argc - 1, argv + 1))
		return usage();
	for (i = 0; i < ARRAY_SIZE(subjects); i++)
		if (!strcmp(argv[1], subjects[i]->name))
			return run_subject(subjects[i], argc - 1 - optind, argv + 1 + optind);
	return usage();
}
