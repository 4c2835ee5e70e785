// A controller offers itself when it is live, and takes itself back when it is
// disabled and nothing is in flight; passthrough queues are asked for beside
// those of blk-mq, and go down when the controller is disabled.
//
// proof: nvme_probe: nvme_pmap_pci_add(dev);
// proof: nvme_remove: nvme_pmap_pci_del(dev);
// proof: nvme_dev: struct nvme_pmap_pci pmap;
// proof: nvme_pci_alloc_dev: dev->nr_allocated_queues = nvme_max_io_queues(dev) + 1 + nvme_pmap_queues_wanted();
// proof: nvme_setup_io_queues: nvme_pmap_set_queue_count(dev, &nr_io_queues);
// proof: nvme_dev_disable: nvme_pmap_queues_stop(dev);
// proof: nvme_dev_disable: nvme_pmap_queues_cancel(dev);
// proof: -: #include "pmap-pci.h"

@@ @@
 #include "nvme.h"
+#include "pmap-pci.h"

@@
identifier pdev, id, dev;
@@
 static int nvme_probe(struct pci_dev *pdev, const struct pci_device_id *id)
 {
 ... when any
 pci_set_drvdata(pdev, dev);
+nvme_pmap_pci_add(dev);
 ... when any
 }

@@
identifier pdev, dev;
@@
 static void nvme_remove(struct pci_dev *pdev)
 {
 ... when any
 nvme_dev_disable(dev, true);
+nvme_pmap_pci_del(dev);
 nvme_free_host_mem(dev);
 ... when any
 }

@@ @@
 struct nvme_dev {
 ...
 unsigned int nr_poll_queues;
+struct nvme_pmap_pci pmap;
 };

// Room for their shadow doorbells.
@@
identifier dev;
@@
-dev->nr_allocated_queues = nvme_max_io_queues(dev) + 1;
+dev->nr_allocated_queues = nvme_max_io_queues(dev) + 1 + nvme_pmap_queues_wanted();

@@
identifier dev, nr_io_queues;
@@
-nvme_set_queue_count(&dev->ctrl, &nr_io_queues)
+nvme_pmap_set_queue_count(dev, &nr_io_queues)

@@
identifier dev;
@@
 static void nvme_dev_disable(struct nvme_dev *dev, ...)
 {
 ... when any
 nvme_quiesce_io_queues(&dev->ctrl);
+nvme_pmap_queues_stop(dev);
 ... when any
 nvme_reap_pending_cqes(dev);
+nvme_pmap_queues_cancel(dev);
 ... when any
 }
