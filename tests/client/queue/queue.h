/* SPDX-License-Identifier: GPL-2.0 */
/* Helpers that the subjects about passthrough queues share. */
#ifndef PMAP_TEST_QUEUE_H
#define PMAP_TEST_QUEUE_H

#include "lib/stage.h"

#define POLLED NVME_PMAP_QUEUE_POLLED
#define SHARE  NVME_PMAP_QUEUE_SHARE
#define ON_CPU NVME_PMAP_QUEUE_CPU

struct nvme_pmap_stats queue_stats(const struct dev *dev);
/* A number of the controller, in its directory pmap/. */
long sysfs_number(const struct dev *dev, const char *name);
/* A stage whose file has the queues that are asked for. */
bool queue_open(struct stage *s, const char *name, unsigned int parts, bool irq, bool polled);
/* The controller does not answer any more: its registers are gone, for the host. */
bool hide_registers(const struct dev *dev);

#endif
