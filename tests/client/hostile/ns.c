// SPDX-License-Identifier: GPL-2.0
/* Disturbances of namespaces: they are detached, their effects log changes; see hostile.h. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hostile/hostile.h"

/* Statuses of Namespace Attachment, without the bit that says not to try again. */
enum {
	SC_ATTACHED = 0x118,
	SC_NOT_ATTACHED = 0x11a,
};

/* One way or the other; an answer that a reset has lost is seen at the next try. */
static bool attach_once(uint32_t nsid, bool on)
{
	uint64_t end = now_ms() + (slow_kernel() ? 240000 : 60000);

	while (now_ms() < end && !case_failed()) {
		int fd = ctrl_open(opt.dev), ret = -ENODEV;

		if (fd >= 0) {
			ret = ns_attach(fd, nsid, on);
			close(fd);
		}
		if (!ret || (ret > 0 && NVME_STATUS(ret) == (on ? SC_ATTACHED : SC_NOT_ATTACHED)))
			return true;
		/* the controller is reset or gone at that moment */
		if (!CHECK(by_disturbance(ret), "%s of %u: %s", on ? "attachment" : "detachment",
			   nsid, err_name(ret)))
			return false;
		sleep_ms(10);
	}
	return CHECK(case_failed(), "namespace %u cannot be %s", nsid,
		     on ? "attached" : "detached");
}

/* Either of them, or the one and then the other. */
bool do_detach(struct hostile *h, struct draw *d)
{
	unsigned int which = 1 + draw_of(d, 3), ms = draw_of(d, 60);
	uint32_t nsid;

	for (nsid = 1; nsid <= 2; nsid++)
		if (which & nsid && !attach_once(nsid, false))
			return false;
	sleep_ms(ms);
	for (nsid = 2; nsid; nsid--)
		if (which & nsid && !attach_once(nsid, true))
			return false;
	return is_back(h);
}

/* ---- the effects log ---- */

static const char *module(void) { return getenv("HOSTILE_EFFECTS"); }
bool effects_possible(void) { return module() && !access(module(), R_OK); }

/* Of a Read or a Write: one bit, all of them, none, or any. */
static uint32_t some_effects(struct draw *d)
{
	switch (draw_of(d, 4)) {
	case 0:
		return 1u << draw_of(d, 32);
	case 1:
		return one_in(d, 2) ? 0xffffffff : 0;
	case 2:
		return 1; /* the original value: supported */
	default:
		return (uint32_t)draw_next(d);
	}
}

/* tests/effects/effects.c, which changes the driver's copy of the log. */
static bool effects_set(const struct dev *dev, unsigned int opcode, uint32_t set)
{
	int fd = open(module(), O_RDONLY | O_CLOEXEC), ret;
	char params[128];

	if (!CHECK(fd >= 0, "%s: %s", module(), strerror(errno)))
		return false;
	snprintf(params, sizeof(params), "disk=/dev/nvme%s opcode=%u clear=0xffffffff set=%#x",
		 dev->path + strlen("/dev/ng"), opcode, set);
	ret = syscall(SYS_finit_module, fd, params, 0) ? errno : 0;
	close(fd);
	/* EAGAIN: done; the others: beside another event the disk is gone or going */
	return CHECK(ret == EAGAIN || (!event_is_alone() &&
				       (ret == ENOENT || ret == ENXIO || ret == ENODEV)),
		     "effects: %s", strerror(ret));
}

bool do_effects(struct hostile *h, struct draw *d)
{
	uint32_t write = some_effects(d), read = some_effects(d);
	struct dev dev = h->dev;

	h->effects = true;
	return !dev_path(NULL, dev.path, sizeof(dev.path)) ||
	       (effects_set(&dev, OP_WRITE, write) && effects_set(&dev, OP_READ, read));
}
