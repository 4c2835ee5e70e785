// SPDX-License-Identifier: GPL-2.0
/*
 * nvme-bench: the cost of submitting and reaping one NVMe read, for the CPU.
 *
 * Rows come on stdin, one a line; each gives one line of JSON on stdout:
 *
 *	row path=pmap bs=4K pages=4k batch=32 samples=60 mode=poll
 *	register len=16M pages=4k samples=7
 *
 * A batch goes in by one io_uring_enter, which is one measured window; then
 * the program sleeps until the device has surely finished; then one
 * io_uring_enter reaps the batch, the other window.  SQEs are prepared and CQEs
 * checked outside of both: in a third window, which is the user's side.
 * io_uring_enter is called directly, as liburing's
 * io_uring_submit() polls every pending request on an IOPOLL ring.  Rings and files
 * are registered, as in fio's t/io_uring, so that neither is looked up.
 *
 * scripts/bench drives this; scripts/bench-report takes the medians.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "bench.h"

#define SEED	     0x2545f4914f6cdd1du
#define NAP_NS	     100000l
#define MAX_NAPS     5120u
#define WARM_UP	     4u
#define SUSTAINED_NS 1000000000u
#define MAX_SAMPLES  4096u

static const char *const pages_names[PAGES_KINDS] = {
	[PAGES_4K] = "4k",
	[PAGES_4K_ADJACENT] = "4k-adjacent",
	[PAGES_2M] = "2m",
};

struct row {
	const struct path *path;
	const struct path *
		claim; /* the path that the counters must show; tests claim another one */
	size_t bs;
	enum pages pages;
	unsigned int batch;
	unsigned int samples;
	bool irq;	      /* see irq.c */
	int may_fail;	      /* an errno that is a result, not a failure */
	unsigned int buffers; /* that the arena is registered as; 0: one */
	unsigned int cpus;    /* see cpus.c; 0: one, as all is measured */
	enum share share;
	bool used_up;
};

struct results {
	struct mark *submit;
	struct mark *reap;
	struct mark *user; /* SQEs prepared, CQEs checked */
	unsigned int taken;
	unsigned int incomplete; /* dropped: the device had not finished */
	unsigned int early;	 /* dropped: completed before being reaped */
	uint64_t commands;
	uint64_t per_second;
};

static struct target target;
static size_t arena_len = 16u << 20;
/* Naps before reaping; shared by all rows, doubled when they were too few. */
static unsigned int naps = 20;

static void drain(struct session *session, unsigned int left, int *err)
{
	uint64_t deadline = now_ns() + 10u * SUSTAINED_NS;

	while (left) {
		int ret = session_enter(session, 0, 1, IORING_ENTER_GETEVENTS);

		if (ret < 0 && ret != -EINTR)
			die("io_uring_enter: %s", strerror(-ret));
		left -= batch_collect(session, err);
		if (left && now_ns() > deadline)
			die("%u commands do not complete", left);
	}
}

static void wait_for_device(void)
{
	for (unsigned int i = 0; i < naps; i++)
		sleep_ns(NAP_NS);
}

static struct mark mark_sum(struct mark a, struct mark b)
{
	return (struct mark){ { a.v[0] + b.v[0], a.v[1] + b.v[1] } };
}

/*
 * min_complete is 1: a single poll finds all commands that the device has finished, so
 * fewer completions than commands show that it had not.
 */
static void run_batch(struct session *session, const struct row *row,
		      struct results *results, uint64_t *seed, int *err)
{
	struct place places[BENCH_MAX_BATCH];
	struct mark mark[4], user[4];
	unsigned int n, early, got;
	int ret;

	batch_choose(session, places, row->batch, seed);
	timer_mark(&user[0]);
	batch_prepare(session, places, row->batch);
	n = batch_publish(session);
	timer_mark(&user[1]);
	PROFILE_WINDOW(1);
	timer_mark(&mark[0]);
	ret = session_enter(session, n, 0, 0);
	timer_mark(&mark[1]);
	PROFILE_WINDOW(0);
	if (ret != (int)n)
		die("%s: io_uring_enter submitted %d of %u", row->path->name,
		    ret, n);
	wait_for_device();
	early = batch_collect(session, err);
	PROFILE_WINDOW(2);
	timer_mark(&mark[2]);
	if (early < n)
		ret = session_enter(session, 0, 1, IORING_ENTER_GETEVENTS);
	timer_mark(&mark[3]);
	PROFILE_WINDOW(0);
	if (ret < 0)
		die("%s: io_uring_enter: %s", row->path->name, strerror(-ret));
	timer_mark(&user[2]);
	got = early + batch_collect(session, err);
	timer_mark(&user[3]);
	drain(session, n - got, err);
	results->commands += n;
	if (early) {
		results->early++;
	} else if (got < n) {
		results->incomplete++;
	} else if (results->taken < row->samples) {
		results->submit[results->taken] = timer_cost(&mark[0],
							     &mark[1]);
		results->user[results->taken] =
			mark_sum(timer_cost(&user[0], &user[1]),
				 timer_cost(&user[2], &user[3]));
		results->reap[results->taken++] = timer_cost(&mark[2],
							     &mark[3]);
	}
}

static void wait_longer(void)
{
	if (naps < MAX_NAPS)
		naps *= 2;
}

static void run_samples(struct session *session, const struct row *row,
			struct results *results, int *err)
{
	unsigned int tries = 2 * row->samples + 16, incomplete = 0;
	uint64_t seed = SEED;

	for (unsigned int i = 0; i < tries && !*err; i++) {
		run_batch(session, row, results, &seed, err);
		if (i + 1 == WARM_UP)
			results->taken = 0;
		if (results->incomplete > incomplete)
			wait_longer();
		incomplete = results->incomplete;
		if (i >= WARM_UP && results->taken == row->samples)
			return;
	}
	if (!*err)
		die("%s: only %u of %u batches usable: %u incomplete, %u early",
		    row->path->name, results->taken, row->samples,
		    results->incomplete, results->early);
}

/* Queue depth = batch, without pauses, on this one CPU. */
static void run_sustained(struct session *session, const struct row *row,
			  struct results *results, int *err)
{
	uint64_t seed = SEED, start = now_ns(), done = 0, spent = 0;
	struct place places[BENCH_MAX_BATCH];

	while (spent < SUSTAINED_NS && !*err) {
		unsigned int n, left;
		int ret;

		batch_choose(session, places, row->batch, &seed);
		batch_prepare(session, places, row->batch);
		n = left = batch_publish(session);
		ret = session_enter(session, n, n, IORING_ENTER_GETEVENTS);
		if (ret != (int)n)
			die("%s: io_uring_enter submitted %d of %u",
			    row->path->name, ret, n);
		left -= batch_collect(session, err);
		drain(session, left, err);
		done += n;
		spent = now_ns() - start;
	}
	results->commands += done;
	results->per_second = done * SUSTAINED_NS / spent;
}

/* The cost is the plugin's to say, window by window, in this order. */
static void run_irq(struct session *session, const struct row *row)
{
	struct place places[BENCH_MAX_BATCH];
	struct irq_window window;
	uint64_t seed = SEED;
	struct proof proof;
	int err = 0;

	proof_begin(&proof, &target);
	printf("{\"kind\": \"row\", \"driver\": \"%s\", \"path\": \"%s\", "
	       "\"bs\": %zu, \"mode\": \"irq\", \"pages\": \"%s\", "
	       "\"batch\": %u, \"unit\": \"instructions\", \"plain\": [",
	       target.fork ? "fork" : "stock", row->path->name, row->bs,
	       pages_names[row->pages], row->batch);
	irq_begin();
	for (unsigned int i = 0; i < row->samples; i++) {
		batch_choose(session, places, row->batch, &seed);
		batch_prepare(session, places, row->batch);
		if (!irq_batch(session, batch_publish(session), &window))
			die("%s: io_uring_enter", row->path->name);
		if (batch_collect(session, &err) != row->batch || err)
			die("%s: commands failed or are missing",
			    row->path->name);
		printf("%s%d", i ? ", " : "", window.plain);
	}
	irq_end();
	printf("]");
	proof_end(&proof, &target, row->claim,
		  (uint64_t)row->samples * row->batch);
	printf("}\n");
	fflush(stdout);
}

static void print_marks(const char *name, const struct mark *marks,
			unsigned int n, int which)
{
	printf(", \"%s\": [", name);
	for (unsigned int i = 0; i < n; i++)
		printf("%s%llu", i ? ", " : "",
		       (unsigned long long)marks[i].v[which]);
	printf("]");
}

static void print_row(const struct row *row, const struct results *results,
		      int err)
{
	printf("{\"kind\": \"row\", \"driver\": \"%s\", \"path\": \"%s\", "
	       "\"bs\": %zu, \"mode\": \"poll\", \"pages\": \"%s\", "
	       "\"batch\": %u, \"unit\": \"%s\"",
	       target.fork ? "fork" : "stock", row->path->name, row->bs,
	       pages_names[row->pages], row->batch, timer_unit());
	if (err) {
		printf(", \"error\": \"%s\"", errno_name(err));
		return;
	}
	print_marks("submit", results->submit, results->taken, 0);
	print_marks("reap", results->reap, results->taken, 0);
	print_marks("user", results->user, results->taken, 0);
	if (timer_has_pmu()) {
		print_marks("submit_instructions", results->submit,
			    results->taken, 1);
		print_marks("reap_instructions", results->reap, results->taken,
			    1);
	}
	if (results->per_second)
		printf(", \"iops_per_core\": %llu",
		       (unsigned long long)results->per_second);
	printf(", \"dropped\": %u, \"early\": %u, \"naps\": %u",
	       results->incomplete + results->early, results->early, naps);
}

static void measure(const struct row *row, struct session *session,
		    struct results *results, bool sustained)
{
	struct proof proof;
	int err = 0;

	proof_begin(&proof, &target);
	run_samples(session, row, results, &err);
	if (sustained && !err)
		run_sustained(session, row, results, &err);
	if (err && err != row->may_fail)
		die("%s: a read of %zu bytes failed: %s", row->path->name,
		    row->bs, strerror(err));
	print_row(row, results, err);
	if (!err)
		proof_end(&proof, &target, row->claim, results->commands);
	printf("}\n");
	fflush(stdout);
}

static void check_row(const struct row *row)
{
	if (!row->batch || row->batch > BENCH_MAX_BATCH)
		die("batch: 1 to %u", BENCH_MAX_BATCH);
	if (!row->samples || row->samples > MAX_SAMPLES)
		die("samples: 1 to %u", MAX_SAMPLES);
	if (row->buffers &&
	    (arena_len % (row->buffers * row->bs) || row->buffers > 16384))
		die("buffers: up to 16384, of the same number of blocks each");
	if (!row->bs || row->bs % target.lba_bytes || row->bs > arena_len ||
	    row->bs > target.bytes || row->bs / target.lba_bytes > 65536)
		die("bs: a multiple of %u, no more than the arena's %zu",
		    target.lba_bytes, arena_len);
}

static void run_cpus(const struct row *row, const struct session *session)
{
	const struct cpus_row cpus = {
		.path = row->path,
		.claim = row->claim,
		.nr = row->cpus,
		.batch = row->batch,
		.samples = row->samples,
		.share = row->share,
		.used_up = row->used_up,
	};

	cpus_run(&cpus, session);
}

static void run_row(const struct row *row, bool sustained)
{
	struct session session = { .path = row->path,
				   .target = &target,
				   .bs = row->bs,
				   .irq = row->irq,
				   .buffers = row->buffers };
	struct results results = { 0 };

	check_row(row);
	session.arena = arena_get(row->pages, arena_len);
	if (row->cpus) {
		run_cpus(row, &session);
		return;
	}
	results.submit = calloc(row->samples, sizeof(*results.submit));
	results.reap = calloc(row->samples, sizeof(*results.reap));
	results.user = calloc(row->samples, sizeof(*results.user));
	if (!results.submit || !results.reap || !results.user)
		die("out of memory");
	session_open(&session, row->batch);
	if (row->irq)
		run_irq(&session, row);
	else
		measure(row, &session, &results, sustained);
	session_close(&session);
	free(results.submit);
	free(results.reap);
	free(results.user);
}

static int parse_errno(const char *name)
{
	for (int err = 1; err < 134; err++)
		if (!strcmp(errno_name(err), name))
			return err;
	die("no such errno: %s", name);
}

static enum pages parse_pages(const char *text)
{
	for (int pages = 0; pages < PAGES_KINDS; pages++)
		if (!strcmp(pages_names[pages], text))
			return pages;
	die("pages: 4k, 4k-adjacent or 2m");
}

static enum share parse_share(const char *text)
{
	static const char *const names[] = {
		[SHARE_NOTHING] = "nothing",
		[SHARE_FILE] = "file",
		[SHARE_QUEUE] = "queue",
		[SHARE_IRQ] = "irq",
	};

	for (int share = 0; share <= SHARE_IRQ; share++)
		if (!strcmp(names[share], text))
			return share;
	die("share: nothing, file, queue or irq");
}

static void parse_key(struct row *row, const char *key, const char *value)
{
	if (!strcmp(key, "path"))
		row->path = path_find(value);
	else if (!strcmp(key, "claim"))
		row->claim = path_find(value);
	else if (!strcmp(key, "bs") || !strcmp(key, "len"))
		row->bs = parse_size(value);
	else if (!strcmp(key, "batch"))
		row->batch = (unsigned int)parse_size(value);
	else if (!strcmp(key, "samples"))
		row->samples = (unsigned int)parse_size(value);
	else if (!strcmp(key, "pages"))
		row->pages = parse_pages(value);
	else if (!strcmp(key, "buffers"))
		row->buffers = (unsigned int)parse_size(value);
	else if (!strcmp(key, "cpus"))
		row->cpus = (unsigned int)parse_size(value);
	else if (!strcmp(key, "share"))
		row->share = parse_share(value);
	else if (!strcmp(key, "queues") && !strcmp(value, "used-up"))
		row->used_up = true;
	else if (!strcmp(key, "may-fail"))
		row->may_fail = parse_errno(value);
	else if (!strcmp(key, "mode") && !strcmp(value, "irq"))
		row->irq = true;
	else if (strcmp(key, "mode") || strcmp(value, "poll"))
		die("unknown: %s=%s", key, value);
}

static void run_line(char *line, bool sustained)
{
	struct row row = { .bs = 4096, .batch = 32, .samples = 20 };
	char *word = strtok(line, " \t\n"), *key, *value;
	bool is_register;

	if (!word || *word == '#')
		return;
	is_register = !strcmp(word, "register");
	if (!is_register && strcmp(word, "row"))
		die("neither row nor register: %s", word);
	while ((key = strtok(NULL, " \t\n"))) {
		value = strchr(key, '=');
		if (!value)
			die("not key=value: %s", key);
		*value++ = '\0';
		parse_key(&row, key, value);
	}
	if (!row.claim)
		row.claim = row.path;
	if (is_register)
		register_cost(&target, arena_get(row.pages, row.bs),
			      pages_names[row.pages], row.samples);
	else if (!row.path)
		die("a row needs a path");
	else
		run_row(&row, sustained);
}

static void print_env(void)
{
	struct utsname uts;
	char version[64] = "";

	uname(&uts);
	read_line(version, sizeof(version), "/sys/module/nvme/srcversion");
	printf("{\"kind\": \"env\", \"driver\": \"%s\", \"kernel\": \"%s\", "
	       "\"device\": \"%s\", \"unit\": \"%s\", \"srcversion\": \"%s\", "
	       "\"ring\": \"IOPOLL SINGLE_ISSUER DEFER_TASKRUN\", "
	       "\"arena\": %zu}\n",
	       target.fork ? "fork" : "stock", uts.release, target.name,
	       timer_unit(), version, arena_len);
	fflush(stdout);
}

static void usage(FILE *file)
{
	fputs("usage: nvme-bench --device /dev/ngXnY [options] <ROWS\n"
	      "  --tsc-is-instructions  in a guest under -icount shift=0\n"
	      "  --clock                time only, no counters\n"
	      "  --sustained            also IOPS of one core (1 s a row)\n"
	      "  --arena SIZE           memory to read into (16M)\n"
	      "  --cpu N                the CPU to run on (0)\n"
	      "  --write                write instead: DESTROYS the data\n"
	      "rows: row path=PATH [bs=4K] [pages=4k|4k-adjacent|2m] [batch=32]\n"
	      "          [samples=20] [mode=poll|irq] [may-fail=EINVAL]\n"
	      "          [cpus=4 [share=file|queue|irq] [queues=used-up]]\n"
	      "      register [len=16M] [pages=4k] [samples=7]\n"
	      "paths: block block-fixed passthru passthru-fixed auto auto-queue\n"
	      "       pmap pmap-prp pmap-queue pmap-queue-prp pmap-misfit auto-no-queue\n",
	      file);
}

struct options {
	const char *device;
	enum timer_source source;
	int cpu;
	int sustained;
	int write;
};

static void parse_options(int argc, char **argv, struct options *options)
{
	const struct option table[] = {
		{ "device", required_argument, NULL, 'd' },
		{ "tsc-is-instructions", no_argument, NULL, 't' },
		{ "clock", no_argument, NULL, 'c' },
		{ "arena", required_argument, NULL, 'a' },
		{ "cpu", required_argument, NULL, 'p' },
		{ "help", no_argument, NULL, 'h' },
		{ "sustained", no_argument, &options->sustained, 1 },
		{ "write", no_argument, &options->write, 1 },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", table, NULL)) != -1) {
		if (c == 'd')
			options->device = optarg;
		else if (c == 't')
			options->source = TIMER_TSC_INSTRUCTIONS;
		else if (c == 'c')
			options->source = TIMER_CLOCK;
		else if (c == 'a')
			arena_len = parse_size(optarg);
		else if (c == 'p')
			options->cpu = atoi(optarg);
		else if (c)
			usage(c == 'h' ? stdout : stderr), exit(c != 'h');
	}
	if (!options->device || optind < argc)
		usage(stderr), exit(1);
}

int main(int argc, char **argv)
{
	struct options options = { .source = TIMER_AUTO };
	char line[512];

	parse_options(argc, argv, &options);
	PROFILE_WINDOW(0);
	if (!arena_len || arena_len % (2u << 20))
		die("--arena: a multiple of 2M");
	pin_to((unsigned int)options.cpu);
	target_open(&target, options.device, options.write);
	if (!target_polls(&target))
		die("%s: no poll queues; load nvme with poll_queues=1",
		    target.name);
	timer_open(options.source);
	print_env();
	while (fgets(line, sizeof(line), stdin))
		run_line(line, options.sustained);
	return 0;
}
