// SPDX-License-Identifier: GPL-2.0
/*
 * The guest of pci.c, included at its end: the pairs of passthrough queues.  All of it
 * needs struct nvme_dev, which is private to pci.c.  Each file uses only the files
 * before it.
 */
#include "pci-count.c"
#include "pci-admin.c"
#include "pci-timeout.c"
#include "pci-pair.c"
#include "pci-work.c"
#include "pci-main.c"
