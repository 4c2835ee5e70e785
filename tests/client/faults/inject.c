// SPDX-License-Identifier: GPL-2.0
/* The kernel's fault injection; see inject.h. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "faults/inject.h"

#define DEBUGFS "/sys/kernel/debug"
/* The kernel counts down from this number, one for each failure. */
#define TIMES	1000000000

static const char *const kinds[] = { "failslab", "fail_page_alloc", "fail_usercopy" };
static unsigned int reported[ARRAY_SIZE(kinds)];

static bool set(const char *kind, const char *attr, const char *value)
{
	char path[128];

	snprintf(path, sizeof(path), DEBUGFS "/%s/%s", kind, attr);
	return CHECK(write_file(path, value), "%s to %s: %s", value, path, strerror(errno));
}

static bool set_number(const char *kind, const char *attr, uint64_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	return set(kind, attr, text);
}

static bool set_range(const char *kind, const char *what, uint64_t start, uint64_t end)
{
	char attr[32], text[32];

	snprintf(attr, sizeof(attr), "%s-start", what);
	snprintf(text, sizeof(text), "%#" PRIx64, start);
	if (!set(kind, attr, text))
		return false;
	snprintf(attr, sizeof(attr), "%s-end", what);
	snprintf(text, sizeof(text), "%#" PRIx64, end);
	return set(kind, attr, text);
}

static unsigned int used(const char *kind)
{
	char path[128], text[32];

	snprintf(path, sizeof(path), DEBUGFS "/%s/times", kind);
	if (!read_file(path, text, sizeof(text)))
		return 0;
	return TIMES - (unsigned int)atoi(text);
}

static unsigned int used_all(void)
{
	unsigned int sum = 0;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		sum += used(kinds[i]);
	return sum;
}

/* Symbols are not sorted: the function ends where the next one begins. */
static bool symbol(const char *name, uint64_t *start, uint64_t *end)
{
	FILE *file = fopen("/proc/kallsyms", "r");
	char line[256], text[128];
	uint64_t at;
	int pass;

	*start = 0;
	*end = UINT64_MAX;
	for (pass = 0; file && pass < 2; pass++) {
		rewind(file);
		while (fgets(line, sizeof(line), file)) {
			if (sscanf(line, "%" SCNx64 " %*c %127s", &at, text) != 2)
				continue;
			if (!pass && !strcmp(text, name))
				*start = at;
			else if (pass && at > *start && at < *end)
				*end = at;
		}
	}
	if (file)
		fclose(file);
	return CHECK(*start && *end != UINT64_MAX, "no symbol %s", name);
}

/*
 * Allocations of DMA_API_DEBUG for itself must not fail: it would switch
 * itself off, and find nothing any more.  It is one object file of the kernel.
 */
static bool spare_dma_debug(void)
{
	uint64_t start, end, none;
	size_t i;

	if (!symbol("dma_entry_alloc", &start, &none) ||
	    !symbol("debug_dma_free_pages", &none, &end))
		return false;
	for (i = 0; i < 2; i++)
		if (!set_range(kinds[i], "reject", start, end))
			return false;
	return true;
}

bool inject_init(void)
{
	static bool done;
	size_t i;

	if (access(DEBUGFS "/failslab/require-start", F_OK) ||
	    access("/proc/self/fail-nth", F_OK)) {
		skip_case("this kernel has no fault injection");
		return false;
	}
	if (done)
		return true;
	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		if (!set(kinds[i], "verbose", "0") || !set(kinds[i], "probability", "0") ||
		    !set(kinds[i], "task-filter", "Y") || !set_number(kinds[i], "times", TIMES))
			return false;
	done = set("failslab", "ignore-gfp-wait", "N") &&
	       set("fail_page_alloc", "ignore-gfp-wait", "N") &&
	       set("fail_page_alloc", "ignore-gfp-highmem", "N") &&
	       set("fail_page_alloc", "min-order", "0") && spare_dma_debug();
	return done;
}

static uint64_t below_start, below_end;

bool inject_pages(bool pages)
{
	size_t i;

	/* nothing runs at the addresses 1 and 2 */
	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		if (pages == !strcmp(kinds[i], "fail_page_alloc") ?
			    !set_range(kinds[i], "require", below_start, below_end) :
			    !set_range(kinds[i], "require", 1, 2))
			return false;
	return true;
}

bool inject_below(const char *function)
{
	return symbol(function, &below_start, &below_end) && inject_pages(false);
}

static unsigned int before;

static bool set_nth(unsigned int n)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", n);
	return write_file("/proc/thread-self/fail-nth", text);
}

bool inject_nth(unsigned int n)
{
	before = used_all();
	return CHECK(set_nth(n), "fail-nth: %s", strerror(errno));
}

bool inject_from(unsigned int pages)
{
	before = used_all();
	return set_number("fail_page_alloc", "space", pages) &&
	       CHECK(write_file("/proc/thread-self/make-it-fail", "1"), "make-it-fail: %s",
		     strerror(errno)) &&
	       set("fail_page_alloc", "probability", "100");
}

bool inject_slab_all(bool on)
{
	if (on)
		before = used_all();
	return set("failslab", "task-filter", on ? "N" : "Y") &&
	       set("failslab", "probability", on ? "100" : "0");
}

bool inject_every(unsigned int interval)
{
	size_t i;

	if (interval)
		before = used_all();
	for (i = 0; i < 2; i++)
		if (!set(kinds[i], "task-filter", interval ? "N" : "Y") ||
		    !set_number(kinds[i], "interval", interval ?: 1) ||
		    !set(kinds[i], "probability", interval ? "100" : "0"))
			return false;
	return true;
}

unsigned int inject_hits(void) { return used_all() - before; }

unsigned int inject_end(void)
{
	set_nth(0);
	write_file("/proc/thread-self/make-it-fail", "0");
	set("fail_page_alloc", "probability", "0");
	return inject_hits();
}

void inject_report(void)
{
	unsigned int now;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		now = used(kinds[i]);
		if (now != reported[i])
			note("injected %s %u", kinds[i], now - reported[i]);
		reported[i] = now;
	}
}
