// A controller offers itself when it is live, and withdraws when it is disabled and
// nothing is in flight.  The driver asks for passthrough queues together with
// blk-mq's; they go down when the controller is disabled.
//
// proof: nvme_probe: nvme_pmap_pci_add(dev);
// proof: nvme_remove: nvme_pmap_pci_del(dev);
// proof: nvme_dev: struct nvme_pmap_pci pmap;
// proof: nvme_pci_alloc_dev: dev->nr_allocated_queues = nvme_max_io_queues(dev) + 1 + nvme_pmap_queues_wanted();
// proof: nvme_setup_io_queues: nvme_pmap_set_queue_count(dev, &nr_io_queues);
// proof: nvme_dev_disable: nvme_pmap_disable_begin(dev);
// proof: nvme_dev_disable: nvme_pmap_disable_end(dev);
// proof: adapter_delete_queue: c.delete_queue.qid = cpu_to_le16(id); return nvme_pmap_queue_cmd(dev, id, &c);
// proof: adapter_alloc_cq: c.create_cq.irq_vector = cpu_to_le16(vector); return nvme_pmap_queue_cmd(dev, qid, &c);
// proof: adapter_alloc_sq: c.create_sq.cqid = cpu_to_le16(qid); return nvme_pmap_queue_cmd(dev, qid, &c);
// proof: nvme_reset_work: nvme_pmap_sync(dev);
// proof: -: #include "pmap/pci.h"
//
// nvme_pmap_pci_add() comes after the last call that can fail, and before the scan:
// order: nvme_probe: result = nvme_setup_io_queues(dev); .... if (!nvme_change_ctrl_state(&dev->ctrl, NVME_CTRL_LIVE)) .... pci_set_drvdata(pdev, dev); nvme_pmap_pci_add(dev); nvme_start_ctrl(&dev->ctrl); ... return 0;
// proof: nvme_driver: .probe = nvme_probe, .remove = nvme_remove,
//
// At nvme_pmap_pci_del(), on every path, the controller is disabled for good, and all
// resources of DMA still exist:
// order: nvme_remove: { ... nvme_stop_ctrl(&dev->ctrl); ... nvme_remove_namespaces(&dev->ctrl); ... nvme_dev_disable(dev, true); nvme_pmap_pci_del(dev); nvme_free_host_mem(dev); ... nvme_dev_remove_admin(dev); ... nvme_dbbuf_dma_free(dev); ... nvme_free_queues(dev, 0); ... nvme_dev_unmap(dev); ... nvme_uninit_ctrl(&dev->ctrl); }
//
// nr_allocated_queues is the room in the array, and is not changed later:
// order: nvme_pci_alloc_dev: dev->nr_allocated_queues = nvme_max_io_queues(dev) + 1 + nvme_pmap_queues_wanted(); dev->queues = kcalloc_node(dev->nr_allocated_queues,
// proof: nvme_pci_alloc_dev: dev->nr_allocated_queues =
//
// The number of queues is set before any queue is created, and nowhere else:
// order: nvme_setup_io_queues: result = nvme_pmap_set_queue_count(dev, &nr_io_queues); if (result < 0) return result; .... result = nvme_create_io_queues(dev);
// users here: nvme_set_queue_count: -
// users here: nvme_create_io_queues: nvme_setup_io_queues
//
// Under stock's shutdown_lock: the queues are stopped before the controller is, and
// pair_lock is taken.  It is released when the controller is disabled and does no
// DMA.  No other function disables the controller:
// order: nvme_dev_disable: { ... mutex_lock(&dev->shutdown_lock); ... nvme_quiesce_io_queues(&dev->ctrl); nvme_pmap_disable_begin(dev); ... if (!dead && dev->ctrl.queue_count > 0) { nvme_delete_io_queues(dev); nvme_disable_ctrl(&dev->ctrl, shutdown); ... nvme_suspend_io_queues(dev); ... pci_free_irq_vectors(pdev); ... if (pci_is_enabled(pdev)) pci_disable_device(pdev); ... nvme_reap_pending_cqes(dev); nvme_pmap_disable_end(dev); ... nvme_cancel_tagset(&dev->ctrl); ... mutex_unlock(&dev->shutdown_lock); }
// users here: nvme_disable_ctrl: nvme_pci_configure_admin_queue, nvme_dev_disable
// users here: pci_disable_device: nvme_pci_enable, nvme_dev_disable
// users here: nvme_quiesce_io_queues: nvme_dev_disable
// users here: nvme_cancel_tagset: nvme_dev_disable
// users here: pci_free_irq_vectors: nvme_pci_enable, nvme_setup_io_queues, nvme_dev_disable

@@ @@
 #include "nvme.h"
+#include "pmap/pci.h"

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

// No admin command about our queues is sent after the next disable.
@@
identifier dev, id, opcode, c;
@@
 static int adapter_delete_queue(struct nvme_dev *dev, u8 opcode, u16 id)
 {
 <...
-nvme_submit_sync_cmd(dev->ctrl.admin_q, &c, NULL, 0)
+nvme_pmap_queue_cmd(dev, id, &c)
 ...>
 }

@@
identifier f = { adapter_alloc_cq, adapter_alloc_sq };
identifier dev, qid, c;
@@
 static int f(struct nvme_dev *dev, u16 qid, ...)
 {
 <...
-nvme_submit_sync_cmd(dev->ctrl.admin_q, &c, NULL, 0)
+nvme_pmap_queue_cmd(dev, qid, &c)
 ...>
 }

// Earlier time-outs have been handled when the controller is connected again.
@@
identifier work;
expression dev;
@@
 static void nvme_reset_work(struct work_struct *work)
 {
 <...
 nvme_sync_queues(&dev->ctrl);
+nvme_pmap_sync(dev);
 mutex_lock(&dev->shutdown_lock);
 ...>
 }

// Room for the shadow doorbells of passthrough queues.
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
+nvme_pmap_disable_begin(dev);
 ... when any
 nvme_reap_pending_cqes(dev);
+nvme_pmap_disable_end(dev);
 ... when any
 }
