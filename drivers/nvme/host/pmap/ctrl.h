/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the overlay keeps for a controller: one per PCIe controller, from the end of probe
 * to the end of remove; files hold a reference, so that it outlives remove.
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

/* Bytes in one command, whatever the controller says; the stock driver's limit. */
#define PMAP_MAX_TRANSFER SZ_8M

/* Pages that are mapped in one go; the size of the scratch scatterlist. */
#define PMAP_CHUNK_PAGES 8192u

/* Mappings that files may share are looked for when one is to be made, by no command. */
#define PMAP_SHARED_BITS 8

#define PMAP_AUTO_MODES (NVME_PMAP_AUTO_QUEUE + 1)

/**
 * struct nvme_pmap_ctrl - what the overlay keeps for a controller
 * @ref: the registry's, and one per nvme_pmap_file
 * @node: in the registry
 * @ctrl: the controller; only to be compared, or used by those who hold it
 * @dev: what DMA is mapped against; valid until @dead
 * @lock: guards the rest, and every mapping and unmapping
 * @dead: the controller is being removed; nothing may be mapped any more
 * @pmaps: the buffers of its files
 * @maps: the mappings
 * @shared: those of them that the auto door has made, by the buffer
 * @sharing: who looks there holds it until what is missing has been added; before @lock
 * @prp: those of them in the PRP form
 * @scratch: PMAP_CHUNK_PAGES entries, to map and unmap chunk by chunk
 * @page_pool: list pages for commands whose list is built for them
 * @sgl_pool: for SGLs of more than a page
 * @guard: a page for unused list entries to point at
 * @guard_dma: its DMA address
 * @max_transfer: MDTS in bytes; zero until it has been asked for; a reset may
 *	change it
 * @queues: the passthrough queues, or NULL
 * @fallbacks: commands that a queue did not take, by reason
 * @mode: enum nvme_pmap_auto_mode; written by the operator
 * @auto_pages: pages of buffers that the auto door has mapped
 * @path: commands of the auto door of files that are closed (auto-ctrl.c's lock)
 * @unreachable: memory was found that the device cannot reach: no more tries by
 *	the auto door
 * @begin: makes what a file needs for the auto door, whose commands must not wait
 * @begin_file: the open file, held; or NULL: nothing is being made
 * @begin_memcg: whose memory that takes, held as long
 * @begin_at: when it may be tried again, in jiffies
 * @rcu: those who look one up may still read it when it is freed
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

/* For works that speak to a controller: frozen while the system sleeps. */
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
