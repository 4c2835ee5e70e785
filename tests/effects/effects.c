// SPDX-License-Identifier: GPL-2.0
/*
 * For tests: change nvme-core's copy of a Commands Supported and Effects log.
 * QEMU's controllers report CSUPP and LBCC and nothing else.  This writes the log that
 * the driver has read, so that it shows how the driver uses it, not that it
 * reads one.  Loading does it, once, and fails with EAGAIN, so that nothing stays.
 *
 *   insmod effects.ko disk=/dev/nvme0n1 opcode=2 clear=0 set=0x100000
 */
#include <linux/blkdev.h>
#include <linux/module.h>

#include "nvme.h"

static char *disk = "/dev/nvme0n1";
module_param(disk, charp, 0);
static uint opcode;
module_param(opcode, uint, 0);
static uint clear;
module_param(clear, uint, 0);
static uint set;
module_param(set, uint, 0);
static int sgls = -1;
module_param(sgls, int, 0);

static int __init effects_init(void)
{
	struct file *file = bdev_file_open_by_path(disk, BLK_OPEN_READ, NULL,
						   NULL);
	struct nvme_ns *ns;
	__le32 *effects;

	if (IS_ERR(file))
		return PTR_ERR(file);
	ns = file_bdev(file)->bd_disk->private_data;
	effects = &ns->head->effects->iocs[opcode & 0xff];
	*effects &= ~cpu_to_le32(clear);
	*effects |= cpu_to_le32(set);
	if (sgls >= 0)
		ns->ctrl->sgls = sgls;
	pr_info("effects of %#x: %#x\n", opcode, le32_to_cpu(*effects));
	fput(file);
	return -EAGAIN;
}
module_init(effects_init);

MODULE_DESCRIPTION("Change the effects log that nvme-core has read");
MODULE_LICENSE("GPL");
