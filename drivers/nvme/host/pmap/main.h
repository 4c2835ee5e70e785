/* SPDX-License-Identifier: GPL-2.0 */
/* Controllers come and go. */
#ifndef _NVME_PMAP_MAIN_H
#define _NVME_PMAP_MAIN_H

struct device;
struct nvme_ctrl;
struct nvme_pmap_queues;

int nvme_pmap_ctrl_add(struct nvme_ctrl *ctrl, struct device *dev,
		       struct nvme_pmap_queues *queues);
void nvme_pmap_ctrl_del(struct nvme_ctrl *ctrl);

#endif /* _NVME_PMAP_MAIN_H */
