// SPDX-License-Identifier: GPL-2.0
/*
 * The guest of pci.c, at its end: the pairs of passthrough queues.  All of it needs
 * struct nvme_dev, which pci.c keeps to itself.
 */
#include "pci-count.c"
#include "pci-admin.c"
#include "pci-pair.c"
#include "pci-timeout.c"
