// SPDX-License-Identifier: GPL-2.0
/* Cases, their outcome and their children. */
#include <fnmatch.h>
#include <grp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/util.h"

struct options opt = { .dev = "/dev/ng0n1", .limit = 60 };

/*
 * The present case.  Threads may fail it; only the first reason is printed in
 * the result line, the others are printed above it as notes.
 */
static char case_name[128];
static char reason[512];
static char skipped[256];
static int failures;

void note(const char *fmt, ...)
{
	char line[480];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	printf("# %s\n", line);
}

static void fail_at(const char *file, int line, const char *what)
{
	const char *client = strstr(file, "client/");
	int before = __atomic_fetch_add(&failures, 1, __ATOMIC_RELAXED);

	/* A loop that fails a thousand times would drown the reason. */
	if (before < 20)
		note("%s:%d: %s", client ? client + strlen("client/") : file, line, what);
	if (before == 0)
		snprintf(reason, sizeof(reason), "%s", what);
}

void check_failed(const char *file, int line, const char *fmt, ...)
{
	char what[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	fail_at(file, line, what);
}

bool case_failed(void) { return __atomic_load_n(&failures, __ATOMIC_RELAXED); }

const char *err_name(long ret)
{
	static __thread char text[2][32];
	static __thread unsigned int turn;
	char *out = text[turn++ % 2];
	const char *name = ret < 0 ? strerrorname_np((int)-ret) : NULL;

	if (name)
		snprintf(out, sizeof(text[0]), "-%s", name);
	else
		snprintf(out, sizeof(text[0]), ret < 0 ? "%ld" : "%#lx", ret);
	return out;
}

void check_ret_failed(const char *file, int line, long got, long want, const char *fmt, ...)
{
	char what[300], full[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	snprintf(full, sizeof(full), "%s: got %s, want %s", what, err_name(got), err_name(want));
	fail_at(file, line, full);
}

void skip_case(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(skipped, sizeof(skipped), fmt, ap);
	va_end(ap);
}

uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

void sleep_ms(unsigned int ms)
{
	struct timespec ts = { ms / 1000, (long)(ms % 1000) * 1000000 };

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

pid_t child_start(void (*fn)(void *), void *arg, uid_t uid)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid) {
		CHECK(pid > 0, "fork: %s", strerror(errno));
		return pid;
	}
	failures = 0;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(opt.limit);
	if (uid && (setgroups(0, NULL) || setresgid(uid, uid, uid) || setresuid(uid, uid, uid))) {
		note("cannot become uid %u: %s", uid, strerror(errno));
		_exit(2);
	}
	fn(arg);
	fflush(stdout);
	_exit(failures ? 1 : 0);
}

bool child_wait(pid_t pid)
{
	uint64_t end = now_ms() + opt.limit * 1000ull;
	int status;
	pid_t got;

	do {
		got = waitpid(pid, &status, WNOHANG);
		if (got == 0)
			sleep_ms(5);
	} while ((got == 0 || (got < 0 && errno == EINTR)) && now_ms() < end);
	if (got != pid) {
		kill(pid, SIGKILL);
		return CHECK(false, "the child hangs");
	}
	return CHECK(WIFEXITED(status) && !WEXITSTATUS(status),
		     "the child failed (wait status %#x)", status);
}

bool in_child(void (*fn)(void *), void *arg, uid_t uid)
{
	pid_t pid = child_start(fn, arg, uid);

	return pid > 0 && child_wait(pid);
}

static void on_signal(int sig) { (void)sig; }

static void *interrupts(void *target)
{
	sleep_ms(30);
	pthread_kill((pthread_t)target, SIGUSR1);
	return NULL;
}

pthread_t interrupt_soon(void)
{
	struct sigaction sa = { .sa_handler = on_signal }; /* without SA_RESTART */
	pthread_t thread;

	sigaction(SIGUSR1, &sa, NULL);
	pthread_create(&thread, NULL, interrupts, (void *)pthread_self());
	return thread;
}

/* Async-signal-safe: the case may hold the lock of stdout. */
static void dies(int sig)
{
	static const char head[] = "\nnot ok - ", late[] = ": timed out\n",
			  crash[] = ": the test crashed\n";
	const char *tail = sig == SIGALRM ? late : crash;

	if (write(1, head, sizeof(head) - 1) < 0 || write(1, case_name, strlen(case_name)) < 0 ||
	    write(1, tail, strlen(tail)) < 0)
		_exit(2);
	_exit(1);
}

/* Each case has its own numbers, whichever others run before it. */
static uint64_t name_hash(const char *name)
{
	uint64_t hash = 14695981039346656037ull;

	while (*name)
		hash = (hash ^ (unsigned char)*name++) * 1099511628211ull;
	return hash;
}

static void full_name(char *name, size_t size, const struct subject *subject,
		      const struct test_case *tc)
{
	static const char *const by[2][2] = { { "", " (queue)" }, { " (auto)", " (auto queue)" } };

	snprintf(name, size, "%s/%s%s", subject->name, tc->name, by[opt.door][opt.queues]);
}

bool case_matches(const struct subject *subject, const struct test_case *tc, const char *pattern)
{
	char full[128], path[128];

	full_name(full, sizeof(full), subject, tc);
	snprintf(path, sizeof(path), "%s/%s", subject->name, tc->name);
	return !fnmatch(pattern, tc->name, 0) || !fnmatch(pattern, path, 0) ||
	       !fnmatch(pattern, full, 0);
}

/* True when the case passed or was skipped. */
static bool run_case(const struct subject *subject, const struct test_case *tc)
{
	uint64_t start = now_ms();

	full_name(case_name, sizeof(case_name), subject, tc);
	failures = 0;
	skipped[0] = 0;
	rnd_seed(opt.seed ^ name_hash(case_name));
	alarm(opt.limit);
	tc->run();
	if (!subject->keeps_pins)
		CHECK(pins_gone(getpid(), 3000), "VmPin is %ld KiB after the case",
		      status_kib(getpid(), "VmPin"));
	alarm(0);
	if (failures)
		printf("not ok - %s: %s (%d in all)\n", case_name, reason, failures);
	else if (skipped[0])
		printf("skip - %s: %s\n", case_name, skipped);
	else
		printf("ok - %s\n", case_name);
	note("%s took %llu ms", case_name, (unsigned long long)(now_ms() - start));
	return !failures;
}

static bool wanted(const char *name, int nr_names, char **names)
{
	int i;

	for (i = 0; i < nr_names; i++)
		if (!fnmatch(names[i], name, 0))
			return true;
	return !nr_names;
}

/* TEST_CASES: the patterns of `make test CASE=`, with commas; see tests/cases.sh. */
static bool asked_for(const struct subject *subject, const struct test_case *tc)
{
	const char *from = getenv("TEST_CASES");
	char pattern[128];
	size_t len;

	if (!from || !*from)
		return true;
	for (; *from; from += len + (from[len] == ',')) {
		len = strcspn(from, ",");
		snprintf(pattern, sizeof(pattern), "%.*s", (int)len, from);
		if (case_matches(subject, tc, pattern))
			return true;
	}
	return false;
}

/* Kernels that check themselves take several times as long. */
bool slow_kernel(void)
{
	return !access("/sys/kernel/debug/kmemleak", F_OK) ||
	       !access("/sys/kernel/debug/kcsan", F_OK);
}

int run_subject(const struct subject *subject, int nr_names, char **names)
{
	unsigned int found = 0, bad = 0;
	size_t i;

	if (slow_kernel())
		opt.limit *= 5;

	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGALRM, dies);
	signal(SIGSEGV, dies);
	signal(SIGBUS, dies);
	signal(SIGPIPE, SIG_IGN);
	note("%s: device %s, seed %llu", subject->name, opt.dev, (unsigned long long)opt.seed);
	for (i = 0; i < subject->nr; i++) {
		if (!wanted(subject->cases[i].name, nr_names, names))
			continue;
		found++;
		if (asked_for(subject, &subject->cases[i]))
			bad += !run_case(subject, &subject->cases[i]);
	}
	if (!found) {
		printf("not ok - %s: no such case\n", subject->name);
		return 1;
	}
	return bad ? 1 : 0;
}
