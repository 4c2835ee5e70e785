// SPDX-License-Identifier: GPL-2.0
/* pmap-test SUBJECT [options] [CASE...]: cases run in the guest; see usage(). */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "util.h"

extern const struct subject subject_integrity, subject_modes, subject_namespaces, subject_ioctl,
	subject_command, subject_unprivileged, subject_memory, subject_length, subject_formats,
	subject_lifetime, subject_survival, subject_removal, subject_unload, subject_multipath,
	subject_foreign, subject_bounce, subject_formatting, subject_hidden, subject_chaos,
	subject_chaos_slow, subject_chaos_plug, subject_chaos_end, subject_chaos_ns, subject_soak,
	subject_fuzz, subject_bounds, subject_overrun, subject_control, subject_faults,
	subject_parallel, subject_answers, subject_queue, subject_queue_slow, subject_queue_few,
	subject_queue_big, subject_queue_ends, subject_auto, subject_chaos_door, subject_recovery,
	subject_idle, subject_idle_auto;

static const struct subject *const subjects[] = {
	&subject_integrity,  &subject_modes,	    &subject_namespaces, &subject_ioctl,
	&subject_command,    &subject_unprivileged, &subject_memory,	 &subject_length,
	&subject_formats,    &subject_lifetime,	    &subject_survival,	 &subject_removal,
	&subject_unload,     &subject_multipath,    &subject_foreign,	 &subject_bounce,
	&subject_formatting, &subject_hidden,	    &subject_chaos,	 &subject_chaos_slow,
	&subject_chaos_plug, &subject_chaos_end,    &subject_chaos_ns,	 &subject_soak,
	&subject_fuzz,	     &subject_bounds,	    &subject_overrun,	 &subject_control,
	&subject_faults,     &subject_parallel,	    &subject_answers,	 &subject_queue,
	&subject_queue_slow, &subject_queue_few,    &subject_queue_big,	 &subject_queue_ends,
	&subject_auto,	     &subject_chaos_door,   &subject_recovery,	 &subject_idle,
	&subject_idle_auto,
};

static int usage(void)
{
	size_t i, j;

	fprintf(stderr,
		"usage: pmap-test SUBJECT [-d DEV] [-D DEV2] [-s SEED] [-n ROUNDS] [-t SECONDS] [-a] [-q] [CASE...]\n"
		"       pmap-test check-image IMAGE MANIFEST\n"
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

int main(int argc, char **argv)
{
	size_t i;

	if (argc < 2)
		return usage();
	if (!strcmp(argv[1], "check-image"))
		return check_image(argc - 2, argv + 2);
	/* Another seed every day finds more than a fixed one; it is printed. */
	opt.seed = now_ms() ^ (uint64_t)time(NULL) << 20;
	if (!parse(argc - 1, argv + 1))
		return usage();
	for (i = 0; i < ARRAY_SIZE(subjects); i++)
		if (!strcmp(argv[1], subjects[i]->name))
			return run_subject(subjects[i], argc - 1 - optind, argv + 1 + optind);
	return usage();
}
