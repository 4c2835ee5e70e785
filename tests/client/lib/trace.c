// SPDX-License-Identifier: GPL-2.0
/* The kernel's trace, which tells what was sent to a device. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <unistd.h>

#include "lib/trace.h"

bool trace_file(const char *name, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), TRACING "%s", name);
	return CHECK(write_file(path, text), "%s > %s: %s", text, path, strerror(errno));
}

/* Forget what was traced. */
static bool trace_empty(void)
{
	int fd;

	if (access(TRACING "trace", F_OK))
		mount("tracefs", TRACING, "tracefs", 0, NULL);
	fd = open(TRACING "trace", O_WRONLY | O_TRUNC | O_CLOEXEC);
	if (!CHECK(fd >= 0, TRACING "trace: %s", strerror(errno)))
		return false;
	close(fd);
	return true;
}

bool trace_commands(const char *filter)
{
	return trace_empty() && trace_file("events/nvme/nvme_setup_cmd/filter", filter) &&
	       trace_file("events/nvme/nvme_setup_cmd/enable", "1") &&
	       trace_file("tracing_on", "1");
}

FILE *trace_read(void)
{
	FILE *file = fopen(TRACING "trace", "re");

	CHECK(file, TRACING "trace: %s", strerror(errno));
	return file;
}
