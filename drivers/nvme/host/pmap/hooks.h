/* SPDX-License-Identifier: GPL-2.0 */
/* The functions that the hooks in core.c and ioctl.c call. */
#ifndef _NVME_PMAP_HOOKS_H
#define _NVME_PMAP_HOOKS_H

#include <linux/blk-mq.h>
#include <linux/nvme.h>
#include <linux/types.h>

#include <uapi/linux/nvme_pmap.h>

struct file;
struct io_comp_batch;
struct io_uring_cmd;
struct nvme_ns;
struct seq_file;

/* main.c */
void nvme_pmap_exit(void);
void nvme_pmap_release(struct file *file);

/* ioctl.c */
long nvme_pmap_ioctl(struct file *file, unsigned int cmd, unsigned long arg);
void nvme_pmap_show_fdinfo(struct seq_file *m, struct file *file);

static inline bool nvme_pmap_is_ioctl(unsigned int cmd)
{
	return cmd >= NVME_PMAP_IOC_QUERY && cmd <= NVME_PMAP_IOC_DETACH;
}

/* uring-cmd.c */
int nvme_pmap_chr_uring_cmd(struct io_uring_cmd *ioucmd,
			    unsigned int issue_flags);
int nvme_pmap_chr_uring_cmd_iopoll(struct io_uring_cmd *ioucmd,
				   struct io_comp_batch *iob,
				   unsigned int poll_flags);

/* mends.c */
int nvme_pmap_cdev_added(struct nvme_ns *ns, int ret);

/* format.c */
void nvme_pmap_ns_ask(struct nvme_ns *ns);
void nvme_pmap_ns_write(void);
void nvme_pmap_ns_read(struct nvme_ns *ns);
void nvme_pmap_ns_free(struct nvme_ns *ns);

int nvme_pmap_execute_rq(struct request *req);
void nvme_pmap_execute_other_nowait(struct request *req);

/*
 * Send a user's I/O or admin command @cmd, for which @req was allocated.  The common
 * I/O commands take two instructions: the admin commands with the opcodes of Flush,
 * Write and Read delete or create a queue, or read a log, and change no format.
 */
static __always_inline void
nvme_pmap_execute_rq_nowait(const struct nvme_command *cmd, struct request *req)
{
	BUILD_BUG_ON((int)nvme_admin_get_log_page != (int)nvme_cmd_read);
	if (likely(cmd->common.opcode <= nvme_cmd_read))
		blk_execute_rq_nowait(req, false);
	else
		nvme_pmap_execute_other_nowait(req);
}

#endif /* _NVME_PMAP_HOOKS_H */
