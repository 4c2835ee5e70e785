// The file operations of /dev/ngXnY: the doors, the end of an open file, and
// what /proc shows of it.
//
// proof: nvme_ns_chr_release: nvme_pmap_release(file);
// proof: nvme_ns_chr_fops: .show_fdinfo = nvme_pmap_show_fdinfo,
// proof: nvme_ns_chr_fops: .uring_cmd = nvme_pmap_chr_uring_cmd,
// proof: nvme_ns_chr_fops: .uring_cmd_iopoll = nvme_pmap_chr_uring_cmd_iopoll,
// proof: nvme_add_ns_cdev: return nvme_pmap_cdev_added(ns, nvme_cdev_add(
// proof: -: #include "pmap.h"
//
// While the file still holds its namespace; and every call of a file is one of these:
// order: nvme_ns_chr_release: { ... nvme_pmap_release(file); nvme_ns_release(
// proof: nvme_ns_chr_fops: .release = nvme_ns_chr_release, .unlocked_ioctl = nvme_ns_chr_ioctl, .compat_ioctl = compat_ptr_ioctl,
// users: nvme_ns_chr_fops: nvme_add_ns_cdev
// users: nvme_ns_chr_release: nvme_ns_chr_fops
//
// Once for each namespace, with what stock made of it:
// order: nvme_add_ns_cdev: { .... return nvme_pmap_cdev_added(ns, nvme_cdev_add(&ns->cdev, &ns->cdev_device,
// users: nvme_add_ns_cdev: nvme_alloc_ns
// users: nvme_cdev_add: nvme_add_ns_cdev, nvme_add_ns_head_cdev

@@ @@
 #include "nvme.h"
+#include "pmap.h"

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
identifier ns;
expression list ES;
@@
 static int nvme_add_ns_cdev(struct nvme_ns *ns)
 {
 ...
-return nvme_cdev_add(ES);
+return nvme_pmap_cdev_added(ns, nvme_cdev_add(ES));
 }
