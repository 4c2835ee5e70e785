// The control door on /dev/ngXnY.  The multipath head refuses its calls: it has no
// single controller to map against.
//
// proof: nvme_ns_chr_ioctl: if (nvme_pmap_is_ioctl(cmd)) return nvme_pmap_ioctl(file, cmd, arg);
// proof: nvme_ns_head_chr_ioctl: if (nvme_pmap_is_ioctl(cmd)) return -EXDEV;
// proof: nvme_ns_head_chr_uring_cmd: ioucmd->cmd_op == NVME_URING_CMD_PMAP ? -EXDEV : nvme_ns_uring_cmd(ns, ioucmd, issue_flags)
// proof: nvme_submit_user_cmd: ret = nvme_pmap_execute_rq(req);
// proof: nvme_uring_cmd_io: nvme_pmap_execute_rq_nowait(&c, req);
// proof: -: #include "pmap/hooks.h"
// under: nvme_ns_head_chr_ioctl: #ifdef CONFIG_NVME_MULTIPATH
// under: nvme_ns_head_chr_uring_cmd: #ifdef CONFIG_NVME_MULTIPATH
//
// The hooks come before stock looks at the command.  No other function gets it:
// order: nvme_ns_chr_ioctl: { ... if (nvme_pmap_is_ioctl(cmd)) return nvme_pmap_ioctl(file, cmd, arg); if (is_ctrl_ioctl(cmd))
// order: nvme_ns_head_chr_ioctl: { ... if (nvme_pmap_is_ioctl(cmd)) return -EXDEV; srcu_idx = srcu_read_lock(&head->srcu);
// users: nvme_ns_chr_ioctl: nvme_ns_chr_fops
//
// The overlay sends a command that may change formats, between stock's freeze and its
// scan.  No such command takes another path (nvmet's does, in a module of its own):
// order: nvme_submit_user_cmd: effects = nvme_passthru_start(ctrl, ns, cmd->common.opcode); ret = nvme_pmap_execute_rq(req); ... if (effects) nvme_passthru_end(ctrl, ns, effects, cmd, ret); return ret; }
// users: nvme_passthru_start: nvme_submit_user_cmd, nvmet_passthru_execute_cmd_work
// users: nvme_passthru_end: nvme_submit_user_cmd, nvmet_passthru_execute_cmd_work
// users: nvme_submit_user_cmd: nvme_submit_io, nvme_user_cmd, nvme_user_cmd64

@@ @@
 #include "nvme.h"
+#include "pmap/hooks.h"

@@
identifier file, cmd, arg;
statement S, S1;
@@
 long nvme_ns_chr_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
 {
 ... when != S
+if (nvme_pmap_is_ioctl(cmd)) return nvme_pmap_ioctl(file, cmd, arg);
 S1
 ... when any
 }

@@
identifier file, cmd, arg;
statement S, S1;
@@
 long nvme_ns_head_chr_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
 {
 ... when != S
+if (nvme_pmap_is_ioctl(cmd)) return -EXDEV;
 S1
 ... when any
 }

// Not in nvme_ns_uring_cmd(), where every stock command would pay for it.
@@
identifier ns, ioucmd, issue_flags;
@@
 int nvme_ns_head_chr_uring_cmd(struct io_uring_cmd *ioucmd, unsigned int issue_flags)
 {
 <...
-nvme_ns_uring_cmd(ns, ioucmd, issue_flags)
+ioucmd->cmd_op == NVME_URING_CMD_PMAP ? -EXDEV : nvme_ns_uring_cmd(ns, ioucmd, issue_flags)
 ...>
 }

// Admin commands that may change formats, by ioctl and by io_uring.
@@
identifier req, ret;
@@
 static int nvme_submit_user_cmd(...)
 {
 ... when any
-ret = nvme_execute_rq(req, false);
+ret = nvme_pmap_execute_rq(req);
 ... when any
 }

@@
identifier req;
@@
 static int nvme_uring_cmd_io(...)
 {
 ... when any
-blk_execute_rq_nowait(req, false);
+nvme_pmap_execute_rq_nowait(&c, req);
 ... when any
 }
