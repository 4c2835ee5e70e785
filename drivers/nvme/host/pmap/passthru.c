// SPDX-License-Identifier: GPL-2.0
/*
 * The path of a command, in one translation unit, so that the compiler sees all of it.
 * A file calls only files that are included above it.
 */
#include "complete.c"
#include "cq.c"
#include "validate.c"
#include "command.c"
#include "batch.c"
#include "sq.c"
#include "blk-mq.c"
#include "auto-cmd.c"
#include "uring-cmd.c"
