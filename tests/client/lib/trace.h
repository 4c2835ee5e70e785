/* SPDX-License-Identifier: GPL-2.0 */
/* The kernel's trace, which tells what was sent to a device; see trace.c. */
#ifndef PMAP_TEST_TRACE_H
#define PMAP_TEST_TRACE_H

#include <stdio.h>

#include "lib/util.h"

#define TRACING "/sys/kernel/tracing/"

/* Write to a file below tracefs. */
bool trace_file(const char *name, const char *text);
/*
 * From now on, and of nothing before, commands of blk-mq queues for which the @filter holds; "qid == 0" are admin
 * commands.  No tracepoint sees a command in a passthrough queue.
 */
bool trace_commands(const char *filter);
/* What was traced, to be closed; NULL, and a failure, if there is no trace. */
FILE *trace_read(void);

#endif
