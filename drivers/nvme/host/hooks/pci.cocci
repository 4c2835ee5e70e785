// A controller offers itself when it is live, and takes itself back when it is
// disabled and nothing is in flight.
//
// proof: nvme_probe: nvme_pmap_ctrl_add(&dev->ctrl, dev->dev);
// proof: nvme_remove: nvme_pmap_ctrl_del(&dev->ctrl);
// proof: -: #include "pmap.h"

@@ @@
 #include "nvme.h"
+#include "pmap.h"

@@
identifier pdev, id, dev;
@@
 static int nvme_probe(struct pci_dev *pdev, const struct pci_device_id *id)
 {
 ... when any
 pci_set_drvdata(pdev, dev);
+nvme_pmap_ctrl_add(&dev->ctrl, dev->dev);
 ... when any
 }

@@
identifier pdev, dev;
@@
 static void nvme_remove(struct pci_dev *pdev)
 {
 ... when any
 nvme_dev_disable(dev, true);
+nvme_pmap_ctrl_del(&dev->ctrl);
 nvme_free_host_mem(dev);
 ... when any
 }
