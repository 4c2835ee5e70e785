// The file operations of /dev/ngXnY: the doors, the end of an open file, and its
// fdinfo.  Also the places where a scan learns the format of a namespace.
//
// proof: nvme_ns_chr_release: nvme_pmap_release(file);
// proof: nvme_ns_chr_fops: .show_fdinfo = nvme_pmap_show_fdinfo,
// proof: nvme_ns_chr_fops: .uring_cmd = nvme_pmap_chr_uring_cmd,
// proof: nvme_ns_chr_fops: .uring_cmd_iopoll = nvme_pmap_chr_uring_cmd_iopoll,
// proof: nvme_update_ns_info_block: nvme_pmap_ns_ask(ns); ret = nvme_identify_ns(ns->ctrl, info->nsid, &id);
// proof: nvme_update_ns_info_block: blk_mq_freeze_queue(ns->disk->queue); nvme_pmap_ns_write(); ns->head->lba_shift =
// proof: nvme_update_ns_info_block: nvme_configure_metadata(ns->ctrl, ns->head, id, nvm, info); nvme_pmap_ns_read(ns);
// proof: nvme_free_ns: nvme_put_ctrl(ns->ctrl); nvme_pmap_ns_free(ns); kfree(ns);
// proof: nvme_alloc_ns: out_free_ns: nvme_pmap_ns_free(ns); kfree(ns);
// proof: nvme_core_exit: nvme_pmap_exit();
// proof: -: #include "pmap/hooks.h"
//
// nvme_pmap_exit() comes before the end of anything that it uses:
// order: nvme_core_exit: { nvme_pmap_exit(); nvme_exit_auth();
//
// nvme_pmap_release() runs while the file still holds its namespace.  The file
// operations that can be called are all listed here:
// order: nvme_ns_chr_release: { ... nvme_pmap_release(file); nvme_ns_release(
// proof: nvme_ns_chr_fops: .release = nvme_ns_chr_release, .unlocked_ioctl = nvme_ns_chr_ioctl, .compat_ioctl = compat_ptr_ioctl,
// users: nvme_ns_chr_fops: nvme_add_ns_cdev
// users: nvme_ns_chr_release: nvme_ns_chr_fops
//
// nvme_pmap_ns_ask() comes before stock's Identify.  Stock writes the format with the
// queue frozen, between nvme_pmap_ns_write(), which takes a lock, and
// nvme_pmap_ns_read(), which releases it:
// order: nvme_update_ns_info_block: { .... nvme_pmap_ns_ask(ns); ret = nvme_identify_ns(ns->ctrl, info->nsid, &id); .... blk_mq_freeze_queue(ns->disk->queue); nvme_pmap_ns_write(); ns->head->lba_shift = id->lbaf[lbaf].ds; ... nvme_configure_metadata(ns->ctrl, ns->head, id, nvm, info); nvme_pmap_ns_read(ns);
// users: nvme_update_ns_info_block: nvme_update_ns_info
// users: nvme_configure_metadata: nvme_update_ns_info_block

@@ @@
 #include "nvme.h"
+#include "pmap/hooks.h"

@@
identifier inode, file;
@@
 static int nvme_ns_chr_release(struct inode *inode, struct file *file)
 {
+nvme_pmap_release(file);
 ...
 }

@@ @@
 static const struct file_operations nvme_ns_chr_fops = {
+	.show_fdinfo = nvme_pmap_show_fdinfo,
 	...,
 };

@@ @@
 static const struct file_operations nvme_ns_chr_fops = {
-	.uring_cmd = nvme_ns_chr_uring_cmd,
+	.uring_cmd = nvme_pmap_chr_uring_cmd,
 };

@@ @@
 static const struct file_operations nvme_ns_chr_fops = {
-	.uring_cmd_iopoll = nvme_ns_chr_uring_cmd_iopoll,
+	.uring_cmd_iopoll = nvme_pmap_chr_uring_cmd_iopoll,
 };

@@
identifier ns, info;
expression list ES;
@@
 static int nvme_update_ns_info_block(struct nvme_ns *ns, struct nvme_ns_info *info)
 {
 ... when any
+nvme_pmap_ns_ask(ns);
 ret = nvme_identify_ns(ES);
 ... when any
 }

@@
identifier ns, info;
expression E;
@@
 static int nvme_update_ns_info_block(struct nvme_ns *ns, struct nvme_ns_info *info)
 {
 ... when any
+nvme_pmap_ns_write();
 ns->head->lba_shift = E;
 ... when any
 }

@@
identifier ns, info;
expression list ES;
@@
 static int nvme_update_ns_info_block(struct nvme_ns *ns, struct nvme_ns_info *info)
 {
 ... when any
 nvme_configure_metadata(ES);
+nvme_pmap_ns_read(ns);
 ... when any
 }

@@
identifier kref, ns;
@@
 static void nvme_free_ns(struct kref *kref)
 {
 ... when any
+nvme_pmap_ns_free(ns);
 kfree(ns);
 }

@@
identifier ns, ctrl, info;
@@
 static void nvme_alloc_ns(struct nvme_ctrl *ctrl, struct nvme_ns_info *info)
 {
 <...
+nvme_pmap_ns_free(ns);
 kfree(ns);
 ...>
 }

@@ @@
 static void __exit nvme_core_exit(void)
 {
+nvme_pmap_exit();
 ...
 }
