// SPDX-License-Identifier: GPL-2.0
/*
 * From the next reset on, controllers refuse shadow doorbells: only their registers
 * are left, and a program that writes these decides which commands a controller fetches
 * and completes.  For queue/recovery.c and hostile/late.c in tests/client.
 */
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/nvme.h>

/* Whether they do; a controller stays as its last reset found it. */
static bool refuse = true;
module_param(refuse, bool, 0644);

/* An admin command that no controller has. */
#define NO_SUCH_COMMAND 0x7f

/* nvme_submit_sync_cmd(q, cmd, buffer, bufflen) */
static int submits(struct kprobe *probe, struct pt_regs *regs)
{
	struct nvme_command *cmd = (void *)regs_get_kernel_argument(regs, 1);

	if (refuse && cmd->common.opcode == nvme_admin_dbbuf)
		cmd->common.opcode = NO_SUCH_COMMAND;
	return 0;
}

static struct kprobe probe = {
	.symbol_name = "nvme_submit_sync_cmd",
	.pre_handler = submits,
};

static int __init doorbells_init(void)
{
	return register_kprobe(&probe);
}
module_init(doorbells_init);

static void __exit doorbells_exit(void)
{
	unregister_kprobe(&probe);
}
module_exit(doorbells_exit);

MODULE_DESCRIPTION("test: controllers without shadow doorbells");
MODULE_LICENSE("GPL");
