// Mends of stock bugs in ioctl.c; pmap/mends.h explains each.
//
// proof: nvme_uring_cmd_io: return pmap_copy_sqe(ioucmd, PTR_ERR(req));
// proof: nvme_uring_cmd_io: pmap_note_hctx(ioucmd, req);
// proof: nvme_uring_cmd_io: pmap_user_ptr(ioucmd, d.metadata)
// proof: nvme_map_user_request: ioucmd ? pmap_user_ptr(ioucmd, ubuffer) : nvme_to_user_ptr(ubuffer)
// proof: -: #include "pmap/mends.h"
//
// pmap_copy_sqe() gets the SQE as it was issued; pmap_note_hctx() comes before another
// task may end the command:
// order: nvme_uring_cmd_io: req = nvme_alloc_user_request(q, &c, rq_flags, blk_flags); if (IS_ERR(req)) return pmap_copy_sqe(ioucmd, PTR_ERR(req));
// order: nvme_uring_cmd_io: pdu->req = req; pmap_note_hctx(ioucmd, req); ... nvme_pmap_execute_rq_nowait(&c, req); ... return -EIOCBQUEUED; }
// users: nvme_alloc_user_request: nvme_submit_user_cmd, nvme_uring_cmd_io
// users: nvme_map_user_request: nvme_submit_user_cmd, nvme_uring_cmd_io

@@ @@
 #include "nvme.h"
+#include "pmap/mends.h"

// Stock passthrough needs the mend as well: see pmap_copy_sqe().
@@
identifier ioucmd, req;
@@
 static int nvme_uring_cmd_io(..., struct io_uring_cmd *ioucmd, ...)
 {
 ... when any
 req = nvme_alloc_user_request(...);
 if (IS_ERR(req))
-return PTR_ERR(req);
+return pmap_copy_sqe(ioucmd, PTR_ERR(req));
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
+pmap_note_hctx(ioucmd, req);
 ... when any
 }
