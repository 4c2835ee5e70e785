// SPDX-License-Identifier: GPL-2.0
/* Events that disturb the controller and the machine; see hostile.h. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/storm.h"
#include "hostile/hostile.h"

static char pci[32];
static bool may_sleep;
/* Another process has an event beside this one. */
static bool together;

/* The PCI function, which it has again whenever it comes back. */
bool event_begin(struct hostile *h)
{
	if (!dev_pci(&h->dev, pci, sizeof(pci)))
		return false;
	may_sleep = !lockdep_watches() && !access("/sys/power/pm_test", W_OK);
	if (!may_sleep)
		note("no suspends: lockdep complains of stock's, or there are none");
	if (!effects_possible())
		note("no changes of the effects log: HOSTILE_EFFECTS names no module");
	/* a mix before this one may have left it so */
	h->effects = effects_possible();
	if (!CHECK(formatted_begin(&h->second), "no second namespace"))
		return false;
	h->second.pause = 10;
	/* so that its format is known, and tenants may write */
	return is_back(h) && format_once(&h->second, &(struct draw){ opt.seed });
}

/*
 * An event writes to a file of sysfs.  During another event the file may be busy or
 * gone: @met lists the errors that are then tolerated, up to a zero.
 */
static void disturb(const char *path, const char *text, const int *met)
{
	int err;

	if (write_file(path, text))
		return;
	err = errno;
	while (together && *met && *met != err)
		met++;
	CHECK(together && *met, "%s to %s: %s", text, path, strerror(err));
}

static void pci_write(const char *where, const char *text, const int *met)
{
	char path[96];

	snprintf(path, sizeof(path), "/sys/bus/pci/%s", where);
	disturb(path, text, met);
}

/*
 * A command that a frozen program should poll keeps a reset waiting until it times out,
 * and QEMU loses an interrupt in a suspend now and then: time out soon.
 */
static bool soon_out_of_time(const char *node)
{
	/* it may have gone again, beside another event */
	return CHECK(node_timeout(node, "8000") || together, "time-out of %s: %s", node,
		     strerror(errno));
}

bool is_back(const struct hostile *h)
{
	uint64_t end = now_ms() + (slow_kernel() ? 240000 : 60000);
	struct dev dev = h->dev;
	char path[64];

	while (now_ms() < end && !case_failed()) {
		if (dev_path(NULL, dev.path, sizeof(dev.path)) && ctrl_is_live(&dev) &&
		    dev_path(h->second.name, path, sizeof(path)))
			return soon_out_of_time(dev.path) && soon_out_of_time(path);
		sleep_ms(5);
	}
	return CHECK(case_failed(), "the controller does not come back");
}

static bool do_reset(struct hostile *h, struct draw *d)
{
	static const int met[] = {
		EBUSY,	   /* it is being reset, or removed */
		ENETRESET, /* the same has come over this reset */
		ENOENT,	   /* it is gone */
		ENODEV,	   /* it is going */
		0,
	};
	unsigned int times = 1 + draw_of(d, 3);
	char node[32], path[96];

	while (times--) {
		if (!together && !is_back(h))
			return false;
		if (CHECK(ctrl_name(opt.dev, node, sizeof(node)) || together, "no controller")) {
			snprintf(path, sizeof(path), "/sys/class/nvme/%s/reset_controller", node);
			disturb(path, "1", met);
		}
		sleep_ms(draw_of(d, 20));
	}
	return is_back(h);
}

static bool do_rebind(struct hostile *h, struct draw *d)
{
	/* removed by the other event, or brought back by it and bound again */
	static const int met_unbind[] = { ENODEV, 0 }, met_bind[] = { ENODEV, EBUSY, 0 };
	unsigned int ms = one_in(d, 2) ? draw_of(d, 50) : 0;

	pci_write("drivers/nvme/unbind", pci, met_unbind);
	sleep_ms(ms);
	pci_write("drivers/nvme/bind", pci, met_bind);
	return is_back(h);
}

static bool do_remove(struct hostile *h, struct draw *d)
{
	static const int met[] = { 0 };
	unsigned int ms = draw_of(d, 50);
	char path[64];

	snprintf(path, sizeof(path), "devices/%s/remove", pci);
	pci_write(path, "1", met);
	sleep_ms(ms);
	pci_write("rescan", "1", met);
	return is_back(h);
}

/* Any but the first, which cannot go. */
static bool do_hotplug(struct hostile *h, struct draw *d)
{
	long cpus = sysconf(_SC_NPROCESSORS_CONF);
	unsigned int cpu;

	(void)h;
	if (cpus < 2)
		return true;
	cpu = 1 + draw_of(d, (uint64_t)cpus - 1);
	if (!cpu_online(cpu, "0"))
		return false;
	sleep_ms(draw_of(d, 100));
	return cpu_online(cpu, "1");
}

/* In huge pages as far as there are any: a slow kernel takes minutes for small ones. */
static void hog(void *arg)
{
	size_t len = (size_t)meminfo_kib("MemAvailable:") << 10, keep = *(const size_t *)arg;
	void *map;

	if (len <= keep)
		return;
	len -= keep;
	map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!CHECK(map != MAP_FAILED, "mmap of %zu bytes: %s", len, strerror(errno)))
		return;
	madvise(map, len, MADV_HUGEPAGE);
	CHECK(!madvise(map, len, MADV_POPULATE_WRITE), "%zu bytes: %s", len, strerror(errno));
}

static bool do_pressure(struct hostile *h, struct draw *d)
{
	size_t keep = MIB(256);

	(void)h;
	switch (draw_of(d, 10)) {
	case 0:
		return in_child(hog, &keep, 0);
	case 1:
	case 2:
	case 3:
		return CHECK(write_file("/proc/sys/vm/compact_memory", "1"), "compact_memory");
	default:
		return CHECK(write_file("/proc/sys/vm/drop_caches", "3"), "drop_caches");
	}
}

/* Before a suspend the driver waits up to io_timeout for commands that programs poll. */
static bool do_suspend(struct hostile *h, struct draw *d)
{
	static const char timeout[] = "/sys/module/nvme_core/parameters/io_timeout";
	/* a process waits for the other event, and cannot be frozen */
	static const int met[] = { EBUSY, 0 }, none[] = { 0 };
	const char *state = one_in(d, 2) ? "mem" : "freeze";

	__atomic_store_n(&h->sleeping, true, __ATOMIC_SEQ_CST);
	never_rests(h);
	disturb(timeout, "1", none);
	disturb("/sys/power/pm_test", "devices", none);
	disturb("/sys/power/state", state, met);
	disturb("/sys/power/pm_test", "none", none);
	disturb(timeout, "30", none);
	__atomic_store_n(&h->sleeping, false, __ATOMIC_SEQ_CST);
	return is_back(h);
}

static bool do_format(struct hostile *h, struct draw *d) { return format_once(&h->second, d); }

static const struct {
	const char *name;
	unsigned int weight;
	bool (*fn)(struct hostile *h, struct draw *d);
} kinds[NR_EVENTS] = {
	[EVENT_RESET] = { "resets", 8, do_reset },
	[EVENT_UNBIND] = { "unbinds", 2, do_rebind },
	[EVENT_REMOVE] = { "removals", 2, do_remove },
	[EVENT_KILL] = { "kills", 4, NULL },
	[EVENT_HOTPLUG] = { "CPU hotplugs", 2, do_hotplug },
	[EVENT_PRESSURE] = { "pressures", 3, do_pressure },
	[EVENT_SUSPEND] = { "suspends", 2, do_suspend },
	[EVENT_DETACH] = { "detaches", 3, do_detach },
	[EVENT_FORMAT] = { "formats", 6, do_format },
	[EVENT_EFFECTS] = { "effects logs", 2, do_effects },
};

static bool event_possible(enum event e)
{
	return e == EVENT_SUSPEND ? may_sleep : e != EVENT_EFFECTS || effects_possible();
}

static enum event event_choose(struct draw *d)
{
	unsigned int all = 0, i, at;

	for (i = 0; i < NR_EVENTS; i++)
		all += event_possible(i) ? kinds[i].weight : 0;
	at = draw_of(d, all);
	for (i = 0; !event_possible(i) || at >= kinds[i].weight; i++)
		at -= event_possible(i) ? kinds[i].weight : 0;
	return i;
}

static void event_run(struct hostile *h, enum event e, struct draw *d,
		      bool (*kill)(struct hostile *h))
{
	uint64_t start = now_ms();

	if (kinds[e].fn)
		kinds[e].fn(h, d);
	else if (kill)
		kill(h);
	COUNT(h, events[e], 1);
	COUNT(h, spent[e], now_ms() - start);
	if (now_ms() - start > 10000)
		note("%s took %" PRIu64 " ms", kinds[e].name, now_ms() - start);
}

struct other {
	struct hostile *h;
	struct draw draw;
	enum event event;
	unsigned int delay;
};

static void other_event(void *arg)
{
	struct other *o = arg;

	sleep_ms(o->delay);
	event_run(o->h, o->event, &o->draw, NULL);
}

/*
 * CPUs neither come nor go while the machine is going to sleep.  It does not go at all
 * (EBUSY, after 20 s) while a process waits, in the kernel, for commands that frozen
 * programs are to poll for: to remove a namespace, or to freeze it.  And a format beside
 * a removal is a bug of stock 6.12: nvme_remove_namespaces() splices the list to its stack
 * and waits with synchronize_rcu(), but nvme_wait_freeze() reads the list under SRCU, and
 * walks from the last namespace into that stack.
 */
static bool can_be_together(enum event a, enum event b)
{
	static const enum event apart[][2] = {
		{ EVENT_HOTPLUG, EVENT_SUSPEND }, { EVENT_SUSPEND, EVENT_UNBIND },
		{ EVENT_SUSPEND, EVENT_REMOVE },  { EVENT_SUSPEND, EVENT_DETACH },
		{ EVENT_SUSPEND, EVENT_FORMAT },  { EVENT_FORMAT, EVENT_UNBIND },
		{ EVENT_FORMAT, EVENT_REMOVE },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(apart); i++)
		if ((apart[i][0] == a && apart[i][1] == b) ||
		    (apart[i][0] == b && apart[i][1] == a))
			return false;
	return a != b && kinds[b].fn;
}

void event_some(struct hostile *h, struct draw *d, bool (*kill)(struct hostile *h))
{
	enum event event = event_choose(d);
	struct other o = { .h = h, .draw = draw_from(76, draw_next(d), 0) };
	pid_t pid = 0;

	o.event = event_choose(d);
	o.delay = one_in(d, 2) ? draw_of(d, 30) : 0;
	together = one_in(d, 3) && can_be_together(event, o.event);
	if (together) {
		COUNT(h, together, 1);
		pid = child_start(other_event, &o, 0);
	}
	event_run(h, event, d, kill);
	if (pid > 0 && !child_wait(pid))
		note("%s beside %s", kinds[o.event].name, kinds[event].name);
	if (together)
		is_back(h);
	together = false;
}

bool event_is_alone(void) { return !together; }

void events_told(const struct hostile *h)
{
	char text[400] = "";
	size_t i, at = 0;

	for (i = 0; i < NR_EVENTS; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at,
				       "%" PRIu64 " %s (%" PRIu64 " ms), ", h->tally.events[i],
				       kinds[i].name,
				       h->tally.events[i] ? h->tally.spent[i] / h->tally.events[i] :
							    0);
	note("events, and what one took: %s%" PRIu64 " times two at once", text, h->tally.together);
}

/* Where the controller is gone at that moment there is nothing to write to. */
static bool ctrl_write(const struct hostile *h, const char *attr, const char *text)
{
	struct dev dev = h->dev;
	char path[160];

	return dev_path(NULL, dev.path, sizeof(dev.path)) &&
	       dev_sysfs(&dev, attr, path, sizeof(path)) && write_file(path, text);
}

void switches(void *arg)
{
	static const char *const modes[] = { "on", "queue", "queue", "on", "off" };
	struct hostile *h = arg;
	struct draw d = draw_from(78, 0, 0);

	while (!h->stop && !h->failed && !case_failed()) {
		switch (draw_of(&d, 6)) {
		case 0:
			set_param("pmap_auto_idle_s", one_in(&d, 2) ? 1 : 60);
			break;
		case 1:
			set_param("pmap_auto_max_mib", one_in(&d, 3) ? 1 + draw_of(&d, 3) : 0);
			break;
		case 2:
			ctrl_write(h, "rescan_controller", "1");
			break;
		default:
			ctrl_write(h, "pmap/auto_mode", modes[draw_of(&d, ARRAY_SIZE(modes))]);
		}
		COUNT(h, switched, 1);
		sleep_ms(20 + draw_of(&d, 300));
	}
	reset_params();
	if (case_failed())
		h->failed = true;
}
