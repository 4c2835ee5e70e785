// SPDX-License-Identifier: GPL-2.0
/* A device, a ring, memory, and the memory registered. */
#include <fcntl.h>

#include "lib/util.h"

bool setup_make(struct setup *s, const char *name, enum mode mode, enum mem_kind kind, size_t len)
{
	memset(s, 0, sizeof(*s));
	s->mem.fd = -1;
	return dev_open(&s->dev, name, O_RDWR) && ring_open(&s->ring, mode, 32) &&
	       CHECK(mem_alloc(&s->mem, kind, len), "no memory") &&
	       must_register(&s->dev, s->mem.map, len, 0, &s->index);
}

void setup_close(struct setup *s)
{
	if (s->ring.ring_fd > 0)
		io_uring_queue_exit(&s->ring);
	mem_free(&s->mem);
	dev_close(&s->dev);
}
