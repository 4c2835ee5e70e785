// The control door on /dev/ngXnY, and a plain refusal on the multipath head,
// which has no single controller to map against.
//
// proof: nvme_ns_chr_ioctl: if (nvme_pmap_is_ioctl(cmd)) return nvme_pmap_ioctl(file, cmd, arg);
// proof: nvme_ns_head_chr_ioctl: if (nvme_pmap_is_ioctl(cmd)) return -EXDEV;
// proof: nvme_ns_head_chr_uring_cmd: ioucmd->cmd_op == NVME_URING_CMD_PMAP ? -EXDEV : nvme_ns_uring_cmd(ns, ioucmd, issue_flags)
// proof: nvme_submit_user_cmd: ret = nvme_pmap_execute_rq(req);
// proof: nvme_uring_cmd_io: nvme_pmap_execute_rq_nowait(&c, req);
// proof: nvme_uring_cmd_io: return pmap_keep_sqe(ioucmd, PTR_ERR(req));
// proof: nvme_uring_cmd_io: pmap_note_queue(ioucmd, req);
// proof: nvme_uring_cmd_io: pmap_user_ptr(ioucmd, d.metadata)
// proof: nvme_map_user_request: ioucmd ? pmap_user_ptr(ioucmd, ubuffer) : nvme_to_user_ptr(ubuffer)
// proof: -: #include "pmap/pmap.h"
// proof: -: #include "pmap/compat.h"
// under: nvme_ns_head_chr_ioctl: #ifdef CONFIG_NVME_MULTIPATH
// under: nvme_ns_head_chr_uring_cmd: #ifdef CONFIG_NVME_MULTIPATH
//
// Before stock looks at the command; and these are the only ones to be called:
// order: nvme_ns_chr_ioctl: { ... if (nvme_pmap_is_ioctl(cmd)) return nvme_pmap_ioctl(file, cmd, arg); if (is_ctrl_ioctl(cmd))
// order: nvme_ns_head_chr_ioctl: { ... if (nvme_pmap_is_ioctl(cmd)) return -EXDEV; srcu_idx = srcu_read_lock(&head->srcu);
// users: nvme_ns_chr_ioctl: nvme_ns_chr_fops
//
// A command that may change formats is ours to send, between stock's freeze and its
// scan, and none goes another way (nvmet's does, in a module of its own):
// order: nvme_submit_user_cmd: effects = nvme_passthru_start(ctrl, ns, cmd->common.opcode); ret = nvme_pmap_execute_rq(req); ... if (effects) nvme_passthru_end(ctrl, ns, effects, cmd, ret); return ret; }
// users: nvme_passthru_start: nvme_submit_user_cmd, nvmet_passthru_execute_cmd_work
// users: nvme_passthru_end: nvme_submit_user_cmd, nvmet_passthru_execute_cmd_work
// users: nvme_submit_user_cmd: nvme_submit_io, nvme_user_cmd, nvme_user_cmd64
//
// With the SQE as it was issued; before another may end the command:
// order: nvme_uring_cmd_io: req = nvme_alloc_user_request(q, &c, rq_flags, blk_flags); if (IS_ERR(req)) return pmap_keep_sqe(ioucmd, PTR_ERR(req));
// order: nvme_uring_cmd_io: pdu->req = req; pmap_note_queue(ioucmd, req); ... nvme_pmap_execute_rq_nowait(&c, req); ... return -EIOCBQUEUED; }
// users: nvme_alloc_user_request: nvme_submit_user_cmd, nvme_uring_cmd_io
// users: nvme_map_user_request: nvme_submit_user_cmd, nvme_uring_cmd_io

@@ @@
 #include "nvme.h"
+#include "pmap/pmap.h"
+#include "pmap/compat.h"

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

// Stock passthrough needs the mend as well: see pmap_keep_sqe().
@@
identifier ioucmd, req;
@@
 static int nvme_uring_cmd_io(..., struct io_uring_cmd *ioucmd, ...)
 {
 ... when any
 req = nvme_alloc_user_request(...);
 if (IS_ERR(req))
-return PTR_ERR(req);
+return pmap_keep_sqe(ioucmd, PTR_ERR(req));
 ... when any
 }

// An io-wq thread may look as if it were in a system call of a 32-bit program.
@@
identifier ioucmd, d;
@@
 static int nvme_uring_cmd_io(..., struct io_uring_cmd *ioucmd, ...)
 {
 <...
-nvme_to_user_ptr(d.metadata)
+pmap_user_ptr(ioucmd, d.metadata)
 ...>
 }

@@
identifier ioucmd, ubuffer;
@@
 static int nvme_map_user_request(..., u64 ubuffer, ..., struct io_uring_cmd *ioucmd, ...)
 {
 <...
-nvme_to_user_ptr(ubuffer)
+ioucmd ? pmap_user_ptr(ioucmd, ubuffer) : nvme_to_user_ptr(ubuffer)
 ...>
 }

// Stock polls through pdu->req; pmap/blk-mq.c polls by number instead.
@@
identifier pdu, req, ioucmd;
@@
 static int nvme_uring_cmd_io(..., struct io_uring_cmd *ioucmd, ...)
 {
 ... when any
 pdu->req = req;
+pmap_note_queue(ioucmd, req);
 ... when any
 }

// Admin commands that may change formats, by either way.
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
