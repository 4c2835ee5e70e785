/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The overlay's state of a PCIe controller: published at the end of probe, withdrawn in
 * remove.  Open files hold references, so it can outlive remove.
 */
#ifndef _NVME_PMAP_CTRL_H
#define _NVME_PMAP_CTRL_H

#include <linux/hashtable.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/sizes.h>
#include <linux/types.h>
#include <linux/workqueue.h>

#include <uapi/linux/nvme_pmap.h>

#include "counts.h"

struct dma_pool;
struct file;
struct mem_cgroup;
struct nvme_ctrl;
struct nvme_pmap_queues;
struct scatterlist;

/*
 * Bytes in one command, even if the controller allows more; the stock driver's limit.
 */
#define PMAP_MAX_TRANSFER SZ_8M

/* Pages mapped by one call of the DMA API; the size of the scratch scatterlist. */
#define PMAP_CHUNK_PAGES 8192u

/* log2 of the buckets of nvme_pmap_ctrl.shared.  No command searches it. */
#define PMAP_SHARED_BITS 8

#define PMAP_AUTO_MODES (NVME_PMAP_AUTO_QUEUE + 1)

/**
 * struct nvme_pmap_ctrl - the overlay's state of a controller
 * @ref: one reference of the registry, and one per nvme_pmap_file
 * @node: entry in the registry
 * @ctrl: the controller; without a reference on it, only for comparison
 * @dev: device that does the DMA; valid until @dead
 * @lock: guards @dead to @guard_dma, but not @prp, and every DMA mapping and unmapping
 * @dead: the controller is being removed: map nothing (@lock to write)
 * @pmaps: buffers of its files
 * @maps: mappings
 * @shared: mappings made by the auto door, by struct nvme_pmap_adopted
 * @sharing: held from a look-up in @shared until the missing mapping is in it; taken
 *	before @lock
 * @prp: number of mappings in the PRP form
 * @scratch: scatterlist of PMAP_CHUNK_PAGES entries, to map or unmap one chunk
 * @page_pool: lists of up to 4 KiB that are built for one command
 * @sgl_pool: larger SGLs that are built for one command
 * @guard: page that the unused entries of PRP lists point at
 * @guard_dma: DMA address of @guard
 * @max_transfer: MDTS in bytes, at most PMAP_MAX_TRANSFER; zero before the first
 *	Identify; a reset may change it (no lock)
 * @queues: passthrough queues, or NULL; freed with this
 * @fallbacks: commands that a queue did not take, by reason, per CPU
 * @mode: enum nvme_pmap_auto_mode, chosen by the operator (nvme_pmap_auto_switching)
 * @unreachable: the auto door met memory that the device cannot reach, and maps nothing
 *	until the operator writes @mode
 * @auto_pages: pages of buffers that the auto door has mapped
 * @path: commands of closed files with an auto door, by path
 *	(nvme_pmap_auto_files_lock)
 * @begin: work that prepares a file for the auto door, so that no command waits for it
 * @begin_file: file that @begin prepares, with a reference; NULL: @begin is free
 * @begin_memcg: memory cgroup that @begin charges, with a reference
 * @begin_at: jiffies before which @begin is not tried again
 * @rcu: frees this after a grace period, for nvme_pmap_ctrl_find_rcu()
 */
struct nvme_pmap_ctrl {
	struct kref ref;
	struct list_head node;
	struct nvme_ctrl *ctrl;
	struct device *dev;
	struct mutex lock;
	bool dead;
	struct list_head pmaps;
	struct list_head maps;
	DECLARE_HASHTABLE(shared, PMAP_SHARED_BITS);
	struct mutex sharing;
	atomic_t prp;
	struct scatterlist *scratch;
	struct dma_pool *page_pool;
	struct dma_pool *sgl_pool;
	void *guard;
	dma_addr_t guard_dma;
	u32 max_transfer;
	struct nvme_pmap_queues *queues;
	struct nvme_pmap_fallbacks __percpu *fallbacks;
	u8 mode;
	bool unreachable;
	atomic_long_t auto_pages;
	u64 path[PMAP_PATHS];
	struct work_struct begin;
	struct file *begin_file;
	struct mem_cgroup *begin_memcg;
	unsigned long begin_at;
	struct rcu_head rcu;
};

/* For works that send admin commands: frozen while the system sleeps. */
extern struct workqueue_struct *nvme_pmap_wq;

struct nvme_pmap_ctrl *nvme_pmap_ctrl_alloc(struct nvme_ctrl *ctrl,
					    struct device *dev,
					    struct nvme_pmap_queues *queues);
void nvme_pmap_ctrl_publish(struct nvme_pmap_ctrl *pc);
struct nvme_pmap_ctrl *nvme_pmap_ctrl_unpublish(struct nvme_ctrl *ctrl);
struct nvme_pmap_ctrl *nvme_pmap_ctrl_get(struct nvme_ctrl *ctrl);
struct nvme_pmap_ctrl *nvme_pmap_ctrl_find_rcu(struct nvme_ctrl *ctrl);
void nvme_pmap_ctrl_put(struct nvme_pmap_ctrl *pc);
bool nvme_pmap_ctrl_has_prp(struct nvme_ctrl *ctrl);
int nvme_pmap_ctrl_prepare(struct nvme_pmap_ctrl *pc);
void nvme_pmap_ctrl_unprepare(struct nvme_pmap_ctrl *pc);
void nvme_pmap_ctrl_reset(struct nvme_ctrl *ctrl);
void nvme_pmap_ctrl_exit(void);

#endif /* _NVME_PMAP_CTRL_H */
