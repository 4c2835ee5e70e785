/* SPDX-License-Identifier: GPL-2.0 */
/* The passthrough queues as pci.c sees them: a member of its struct nvme_dev. */
#ifndef _NVME_PMAP_PCI_H
#define _NVME_PMAP_PCI_H

#include <linux/notifier.h>

#include "ctrl.h"
#include "main.h"
#include "queue.h"

/* For the deletion of all queues; stock then waits a minute for its own queues. */
#define PMAP_DELETE_TIMEOUT (5 * HZ)

struct nvme_command;
struct nvme_dev;
struct nvme_pmap_stand_in;

/**
 * struct nvme_pmap_pci - the passthrough queues of a struct nvme_dev
 * @base: identifier of the first queue after blk-mq's
 * @granted: queues that the controller granted beyond blk-mq's
 * @queues: the queue objects, from the end of probe to the end of remove; or NULL
 * @stopped: @queues as nvme_pmap_disable_begin() saw it, for nvme_pmap_disable_end()
 * @pm: tells @queues that the system goes to sleep or wakes up
 * @stand_in: shown to nvme_timeout() in place of a request; lives as long as @queues
 */
struct nvme_pmap_pci {
	u16 base;
	u16 granted;
	struct nvme_pmap_queues *queues;
	struct nvme_pmap_queues *stopped;
	struct notifier_block pm;
	struct nvme_pmap_stand_in *stand_in;
};

/* The hooks; see pci-count.c, pci-admin.c and pci-main.c. */
static unsigned int nvme_pmap_queues_wanted(void);
static int nvme_pmap_set_queue_count(struct nvme_dev *dev, unsigned int *nr);
static void nvme_pmap_disable_begin(struct nvme_dev *dev);
static void nvme_pmap_disable_end(struct nvme_dev *dev);
static void nvme_pmap_sync(struct nvme_dev *dev);
static int nvme_pmap_queue_cmd(struct nvme_dev *dev, u16 qid,
			       struct nvme_command *c);
static void nvme_pmap_pci_add(struct nvme_dev *dev);
static void nvme_pmap_pci_del(struct nvme_dev *dev);

#endif /* _NVME_PMAP_PCI_H */
