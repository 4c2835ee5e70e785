// Mends of stock bugs in core.c; pmap/mends.c explains each.
//
// proof: nvme_add_ns_cdev: return nvme_pmap_cdev_added(ns, nvme_cdev_add(
//
// nvme_pmap_cdev_added() runs once per namespace, with stock's return value:
// order: nvme_add_ns_cdev: { .... return nvme_pmap_cdev_added(ns, nvme_cdev_add(&ns->cdev, &ns->cdev_device,
// users: nvme_add_ns_cdev: nvme_alloc_ns
// users: nvme_cdev_add: nvme_add_ns_cdev, nvme_add_ns_head_cdev

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
