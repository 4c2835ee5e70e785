/* SPDX-License-Identifier: GPL-2.0 */
/* Help for tasks that wait for other tasks' commands; see drain.c. */
#ifndef _NVME_PMAP_DRAIN_H
#define _NVME_PMAP_DRAIN_H

struct nvme_ctrl;
struct nvme_ns;
struct nvme_pmap_file;
struct request_queue;

void nvme_pmap_ctrl_revoke_batches(struct nvme_ctrl *ctrl);
void nvme_pmap_poll_file(struct nvme_pmap_file *pf, struct request_queue *q);
void nvme_pmap_poll_ns(struct nvme_ns *ns);

#endif /* _NVME_PMAP_DRAIN_H */
