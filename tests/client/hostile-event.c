// SPDX-License-Identifier: GPL-2.0
/* What disturbs the controller and the machine; see hostile.h. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "storm.h"
#include "hostile.h"

static char pci[32];
static bool may_sleep;

/* The PCI function, which it has again whenever it comes back. */
bool event_begin(const struct hostile *h)
{
	char path[160], target[256];
	ssize_t n;

	dev_sysfs(&h->dev, "device", path, sizeof(path));
	n = readlink(path, target, sizeof(target) - 1);
	if (!CHECK(n > 0, "%s: %s", path, strerror(errno)))
		return false;
	target[n] = 0;
	snprintf(pci, sizeof(pci), "%s", strrchr(target, '/') + 1);
	/* stock thaws in another worker than it freezes in, which lockdep reports */
	may_sleep = !slow_kernel() && !access("/sys/power/pm_test", W_OK);
	return true;
}

static bool pci_write(const char *where, const char *text)
{
	char path[96];

	snprintf(path, sizeof(path), "/sys/bus/pci/%s", where);
	return CHECK(write_file(path, text), "%s to %s: %s", text, path, strerror(errno));
}

/* Live again, with a namespace. */
static bool is_back(const struct hostile *h)
{
	uint64_t end = now_ms() + (slow_kernel() ? 120000 : 30000);
	struct dev dev = h->dev;

	while (now_ms() < end) {
		if (dev_path(NULL, dev.path, sizeof(dev.path)) && ctrl_is_live(&dev))
			return true;
		sleep_ms(5);
	}
	return CHECK(false, "the controller does not come back");
}

static bool do_reset(struct hostile *h, struct draw *d)
{
	unsigned int times = 1 + draw_of(d, 3);
	struct dev dev = h->dev;

	while (times--) {
		if (!dev_path(NULL, dev.path, sizeof(dev.path)) || !ctrl_reset(&dev))
			return false;
		sleep_ms(draw_of(d, 20));
	}
	return true;
}

static bool do_rebind(struct hostile *h, struct draw *d)
{
	unsigned int ms = one_in(d, 2) ? draw_of(d, 50) : 0;

	if (!pci_write("drivers/nvme/unbind", pci))
		return false;
	sleep_ms(ms);
	return pci_write("drivers/nvme/bind", pci) && is_back(h);
}

static bool do_remove(struct hostile *h, struct draw *d)
{
	unsigned int ms = draw_of(d, 50);
	char path[64];

	snprintf(path, sizeof(path), "devices/%s/remove", pci);
	if (!pci_write(path, "1"))
		return false;
	sleep_ms(ms);
	return pci_write("rescan", "1") && is_back(h);
}

static bool do_hotplug(struct hostile *h, struct draw *d)
{
	(void)h;
	if (sysconf(_SC_NPROCESSORS_CONF) < 2)
		return true;
	if (!cpu_online(1, "0"))
		return false;
	sleep_ms(draw_of(d, 100));
	return cpu_online(1, "1");
}

static void hog(void *arg)
{
	size_t len = (size_t)meminfo_kib("MemAvailable:") << 10, keep = *(const size_t *)arg;
	void *map;

	if (len <= keep)
		return;
	map = mmap(NULL, len - keep, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	CHECK(map != MAP_FAILED, "mmap of %zu bytes: %s", len - keep, strerror(errno));
}

static bool do_pressure(struct hostile *h, struct draw *d)
{
	size_t keep = MIB(160);

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

/* Before it sleeps the driver waits as long as io_timeout for what programs are to poll. */
static bool do_suspend(struct hostile *h, struct draw *d)
{
	static const char timeout[] = "/sys/module/nvme_core/parameters/io_timeout";
	const char *state = one_in(d, 2) ? "mem" : "freeze";
	bool good;

	if (!may_sleep)
		return true;
	good = CHECK(write_file(timeout, "1"), "%s: %s", timeout, strerror(errno)) &&
	       CHECK(write_file("/sys/power/pm_test", "devices"), "pm_test: %s", strerror(errno)) &&
	       CHECK(write_file("/sys/power/state", state), "state %s: %s", state, strerror(errno));
	write_file("/sys/power/pm_test", "none");
	write_file(timeout, "30");
	return good && is_back(h);
}

static struct {
	const char *name;
	unsigned int weight;
	bool (*fn)(struct hostile *h, struct draw *d);
	unsigned int times;
} kinds[] = {
	{ "resets", 8, do_reset, 0 },	      { "unbinds", 2, do_rebind, 0 },
	{ "removals", 2, do_remove, 0 },      { "kills", 4, NULL, 0 },
	{ "CPU hotplugs", 2, do_hotplug, 0 }, { "pressures", 3, do_pressure, 0 },
	{ "suspends", 1, do_suspend, 0 },
};

bool event_some(struct hostile *h, struct draw *d, bool (*kill)(struct hostile *h))
{
	unsigned int all = 0, i, at;

	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		all += kinds[i].weight;
	at = draw_of(d, all);
	for (i = 0; at >= kinds[i].weight; i++)
		at -= kinds[i].weight;
	kinds[i].times += kinds[i].fn != do_suspend || may_sleep;
	return kinds[i].fn ? kinds[i].fn(h, d) : kill(h);
}

void events_told(void)
{
	char text[256] = "";
	size_t i, at = 0;

	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%u %s", i ? ", " : "",
				       kinds[i].times, kinds[i].name);
	note("events: %s", text);
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
			set_param("pmap_auto_idle", one_in(&d, 2) ? 1 : 60);
			break;
		case 1:
			set_param("pmap_auto_mib", one_in(&d, 3) ? 1 + draw_of(&d, 3) : 0);
			break;
		case 2:
			ctrl_write(h, "rescan_controller", "1");
			break;
		default:
			ctrl_write(h, "pmap/auto_door", modes[draw_of(&d, ARRAY_SIZE(modes))]);
		}
		COUNT(h, switched, 1);
		sleep_ms(20 + draw_of(&d, 300));
	}
	reset_params();
	if (case_failed())
		h->failed = true;
}
