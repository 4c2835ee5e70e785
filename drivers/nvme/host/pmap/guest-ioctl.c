// SPDX-License-Identifier: GPL-2.0
/* The guest of ioctl.c, at its end: the way of a command, in one translation unit. */
#include "complete.c"
#include "cq.c"
#include "validate.c"
#include "batch.c"
#include "sq.c"
#include "blk-mq.c"
#include "auto-cmd.c"
#include "uring-cmd.c"
