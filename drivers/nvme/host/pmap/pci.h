/* SPDX-License-Identifier: GPL-2.0 */
/* What pci.c keeps for passthrough queues: a member of its struct nvme_dev. */
#ifndef _NVME_PMAP_PCI_H
#define _NVME_PMAP_PCI_H

#include <linux/notifier.h>

#include "ctrl.h"
#include "main.h"
#include "queue.h"

/* For all queues together; stock waits a minute for its own after that. */
#define PMAP_DELETE_TIMEOUT (5 * HZ)

struct nvme_command;
struct nvme_dev;
struct nvme_pmap_stand_in;

/**
 * struct nvme_pmap_pci - the passthrough queues of a struct nvme_dev
 * @base: identifier of the first queue that blk-mq leaves
 * @granted: how many the controller gave beyond those of blk-mq
 * @queues: from the end of probe to the end of remove
 * @stopped: what nvme_pmap_queues_stop() found there, for its counterpart
 * @pm: tells @queues when the system goes to sleep
 * @stand_in: for the commands of @queues that time out; as long as these are there
 */
struct nvme_pmap_pci {
	u16 base;
	u16 granted;
	struct nvme_pmap_queues *queues;
	struct nvme_pmap_queues *stopped;
	struct notifier_block pm;
	struct nvme_pmap_stand_in *stand_in;
};

/* The hooks; pci-pair.c. */
static unsigned int nvme_pmap_queues_wanted(void);
static int nvme_pmap_set_queue_count(struct nvme_dev *dev, unsigned int *nr);
static void nvme_pmap_queues_stop(struct nvme_dev *dev);
static void nvme_pmap_queues_cancel(struct nvme_dev *dev);
static void nvme_pmap_sync(struct nvme_dev *dev);
static int nvme_pmap_queue_cmd(struct nvme_dev *dev, u16 qid,
			       struct nvme_command *c);
static void nvme_pmap_pci_add(struct nvme_dev *dev);
static void nvme_pmap_pci_del(struct nvme_dev *dev);

#endif /* _NVME_PMAP_PCI_H */
