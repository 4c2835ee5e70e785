/* SPDX-License-Identifier: GPL-2.0 */
/* /sys/class/nvme/nvmeN/pmap/ */
#ifndef _NVME_PMAP_SYSFS_H
#define _NVME_PMAP_SYSFS_H

struct nvme_pmap_ctrl;

void nvme_pmap_sysfs_add(struct nvme_pmap_ctrl *pc);
void nvme_pmap_sysfs_del(struct nvme_pmap_ctrl *pc);

#endif /* _NVME_PMAP_SYSFS_H */
