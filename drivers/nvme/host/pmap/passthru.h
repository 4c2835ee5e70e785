/* SPDX-License-Identifier: GPL-2.0 */
/* What the path of a command asks of ioctl.c; guest-ioctl.c defines it. */
#ifndef _NVME_PMAP_PASSTHRU_H
#define _NVME_PMAP_PASSTHRU_H

#include <linux/fs.h>
#include <linux/types.h>

struct nvme_ns;

bool nvme_pmap_stock_allows(struct nvme_ns *ns, u8 opcode, fmode_t mode);
int nvme_pmap_stock_checks(unsigned int issue_flags);

#endif /* _NVME_PMAP_PASSTHRU_H */
