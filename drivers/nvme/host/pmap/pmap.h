/* SPDX-License-Identifier: GPL-2.0 */
/*
 * nvme-pmap inside nvme-core: the objects, who holds whom, and the calls that
 * the hooks in the stock files make.
 *
 *   nvme_pmap_ctrl   one per PCIe controller, from the end of probe to the end
 *		      of remove; files hold a reference, so it outlives remove
 *   nvme_pmap_file   one per open /dev/ngXnY that registered something, in
 *		      file->private_data; holds the table
 *   nvme_pmap	      a registered buffer of one file: what commands hold; in the file's
 *		      table, or known to its auto door
 *   nvme_pmap_map    the mapping under it: pages, DMA addresses and lists; shared by
 *		      the files that use one buffer of io_uring's
 *
 * Lifetimes.  A command holds a reference on its pmap (nvme_pmap.ref) from the
 * look-up to the end of the request, which is after the last DMA.  Whoever ends
 * a pmap kills that reference, waits until it is idle, and only then gives the
 * mapping back, which is unmapped and unpinned with the last: unregister, the close
 * of the file (no command can be in flight then, each holds the file), and the
 * removal of the controller (after the device is disabled and every request
 * cancelled), which unmaps them all itself.
 *
 * Locks, outermost first: nvme_pmap_file.lock, nvme_pmap_ctrl.sharing,
 * nvme_pmap_ctrl.lock.  The submission path takes none; it reads the table under RCU.
 * Nobody who holds one waits for a page of user memory.
 */
#ifndef _NVME_PMAP_H
#define _NVME_PMAP_H

#include <linux/bitmap.h>
#include <linux/completion.h>
#include <linux/hashtable.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/nvme.h>
#include <linux/percpu-refcount.h>
#include <linux/scatterlist.h>
#include <linux/sizes.h>
#include <linux/types.h>
#include <linux/workqueue.h>

#include <uapi/linux/nvme_pmap.h>

#include "format.h"
#include "layout.h"
#include "queue.h"

struct dma_pool;
struct io_comp_batch;
struct io_uring_cmd;
struct mem_cgroup;
struct nvme_ctrl;
struct nvme_ns;
struct nvme_pmap_adopted;
struct nvme_pmap_autos;
struct seq_file;

/* Bytes in one command, whatever the controller says; the stock driver's limit. */
#define PMAP_MAX_TRANSFER SZ_8M

/* Pages that are mapped in one go; the size of the scratch scatterlist. */
#define PMAP_CHUNK_PAGES    8192u
#define PMAP_SLOTS_PER_PAGE (PAGE_SIZE >> PMAP_SLOT_SHIFT)

/* Mappings that files may share are looked for when one is to be made, by no command. */
#define PMAP_SHARED_BITS 8

/* What the auto door does for a controller; the operator's choice. */
enum nvme_pmap_auto_mode {
	PMAP_AUTO_OFF,
	PMAP_AUTO_ON,	 /* over blk-mq */
	PMAP_AUTO_QUEUE, /* by a passthrough queue, which it attaches */
	PMAP_AUTO_MODES
};

/* Which way a command with a fixed buffer went; indexes the counters. */
enum nvme_pmap_way {
	PMAP_WAY_MQ,	   /* by its mapping, over blk-mq */
	PMAP_WAY_QUEUE,	   /* by its mapping and a passthrough queue */
	PMAP_WAY_STARTING, /* stock: the first ones of a file, or on a buffer */
	PMAP_WAY_COMMAND, /* stock: not a plain Read or Write, or an odd slice */
	PMAP_WAY_REFUSED, /* stock: over a limit, or memory that cannot be mapped */
	PMAP_WAY_FAILED, /* stock: whatever else the fast way did not take */
	PMAP_WAYS
};

/* Per CPU: with all queues used up there is one for every command. */
struct nvme_pmap_fallbacks {
	u64 n[PMAP_FALLBACKS];
};

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
 * @way: commands of the auto door of files that are closed (auto-ctrl.c's lock)
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
	u64 way[PMAP_WAYS];
	struct work_struct begin;
	struct file *begin_file;
	struct mem_cgroup *begin_memcg;
	unsigned long begin_at;
	struct rcu_head rcu;
};

/**
 * struct nvme_pmap_map - a mapping of pinned pages against a controller
 * @ref: one per buffer on it
 * @l: what a submission reads; buffers have a copy
 * @pc: the controller
 * @node: on @pc->maps, while it is mapped
 * @shared: in @pc->shared likewise
 * @made: completed when it is complete, or cannot be
 * @error: why it cannot be; or 0
 * @prp: it is counted in @pc->prp
 * @pages: the pinned pages; NULL: not any more
 * @nr_pages: their number
 * @nr_mapped: how many of them have been mapped
 * @nr_unmapped: how many of those are not any more
 * @chunks_unmapped: in so many steps
 * @nr_chunks: chunks of pages that are mapped so far
 * @chunk_dma: with an IOMMU, where each of them begins; else NULL: where its pages are
 * @list_bytes: bytes of each list but perhaps the last
 * @nr_lists: lists allocated
 * @lists_mapped: how many of them the device can read; while it is being made
 * @kept: bytes of kernel memory that describe the buffer
 * @next_dma: while mapping, where the run of slots so far would go on
 * @user: whose RLIMIT_MEMLOCK is charged; NULL where CAP_IPC_LOCK spares it
 * @charged: pages charged to @user
 * @mm: whose VmPin is charged
 * @adopted: the buffer as io_uring has it, which has pinned and charged it; NULL:
 *	@user and @mm are charged
 */
struct nvme_pmap_map {
	struct kref ref;
	struct pmap_layout l;
	struct nvme_pmap_ctrl *pc;
	struct list_head node;
	struct hlist_node shared;
	struct completion made;
	int error;
	bool prp;
	struct page **pages;
	u32 nr_pages;
	u32 nr_mapped;
	u32 nr_unmapped;
	u32 chunks_unmapped;
	u32 nr_chunks;
	u64 *chunk_dma;
	u32 list_bytes;
	u32 nr_lists;
	u32 lists_mapped;
	u64 kept;
	u64 next_dma;
	struct user_struct *user;
	unsigned long charged;
	struct mm_struct *mm;
	struct nvme_pmap_adopted *adopted;
};

enum nvme_pmap_flags {
	PMAP_KILLED, /* percpu_ref_kill() has been called */
};

/**
 * struct nvme_pmap - one registered buffer of a file
 * @ref: one per command in flight; killed to end the buffer
 * @l: what a submission reads
 * @pf: the file it is registered on
 * @addr: user address of its first byte
 * @cmd_flags: what commands on it need in their flags: PSDT
 * @map: its mapping
 * @node: on the list of the controller's
 * @idle: completed when @ref has drained
 * @rcu: readers of the table may still hold the pointer when it ends
 * @flags: enum nvme_pmap_flags
 * @waiting: an unregister call is waiting for @idle (file lock)
 */
struct nvme_pmap {
	struct percpu_ref ref;
	struct pmap_layout l;
	struct nvme_pmap_file *pf;
	u64 addr;
	u8 cmd_flags;

	struct nvme_pmap_map *map;
	struct list_head node;
	struct completion idle;
	struct rcu_head rcu;
	unsigned long flags;
	bool waiting;
};

/**
 * struct nvme_pmap_table - the pmaps of a file by index
 * @rcu: a larger copy replaces the table; readers may be in the old one
 * @nr: entries
 * @pmap: the entries; each points at a buffer that is ready for use
 */
struct nvme_pmap_table {
	struct rcu_head rcu;
	u32 nr;
	struct nvme_pmap __rcu *pmap[] __counted_by(nr);
};

/* Per CPU, so that a submission touches no shared cache line. */
struct nvme_pmap_counts {
	u64 kind[PMAP_KINDS];
	u64 queued[PMAP_KINDS]; /* those that went by a passthrough queue */
	u64 direct;
	u64 deferred;
	u64 fallback[PMAP_FALLBACKS];
	u64 way[PMAP_WAYS];
};

/**
 * struct nvme_pmap_file - the state of an open /dev/ngXnY
 * @queue: passthrough queues: for rings that do not poll, and that do; changed
 *	under the lock of the controller's queues
 * @table: the buffers; replaced under @lock, read under RCU
 * @counts: commands and completions
 * @format: what is known of the namespace's format
 * @for_all: opcodes that anybody may send who has it open, of those in @asked
 * @asked: opcodes that stock has been asked about
 * @usage: of the namespace's request queue
 * @had_queue: there was one, at any time
 * @by_door: those in @queue that the auto door has attached; changed as they are
 * @autos: the auto door's buffers, or NULL before its first command; made once
 * @pc: the controller
 * @lock: guards the table
 * @nr: buffers in it
 * @first_free: no index below this is free
 * @pinned: bytes that the buffers pin
 * @kept: bytes that describe them
 */
struct nvme_pmap_file {
	struct nvme_pmap_queue *queue[2];
	struct nvme_pmap_table __rcu *table;
	struct nvme_pmap_counts __percpu *counts;
	struct nvme_pmap_ns *format;
	DECLARE_BITMAP(for_all, U8_MAX + 1);
	DECLARE_BITMAP(asked, U8_MAX + 1);
	struct percpu_ref *usage;
	bool had_queue;
	bool by_door[2];
	struct nvme_pmap_autos *autos;
	struct nvme_pmap_ctrl *pc;
	struct mutex lock;
	u32 nr;
	u32 first_free;
	u64 pinned;
	u64 kept;
};

/* ctrl.c */
/* For works that speak to a controller: frozen while the system sleeps. */
extern struct workqueue_struct *nvme_pmap_wq;
void nvme_pmap_exit(void);
int nvme_pmap_ctrl_add(struct nvme_ctrl *ctrl, struct device *dev,
		       struct nvme_pmap_queues *queues);
void nvme_pmap_take_batches(struct nvme_ctrl *ctrl);
bool nvme_pmap_ctrl_has_prp(struct nvme_ctrl *ctrl);
void nvme_pmap_ctrl_del(struct nvme_ctrl *ctrl);
void nvme_pmap_ctrl_reset(struct nvme_ctrl *ctrl);
struct nvme_pmap_ctrl *nvme_pmap_ctrl_get(struct nvme_ctrl *ctrl);
void nvme_pmap_ctrl_put(struct nvme_pmap_ctrl *pc);
int nvme_pmap_ctrl_prepare(struct nvme_pmap_ctrl *pc);
struct nvme_pmap_ctrl *nvme_pmap_ctrl_find_rcu(struct nvme_ctrl *ctrl);

/* Of the auto door: nobody is to be killed for what only makes things faster. */
#define PMAP_AUTO_GFP (GFP_KERNEL_ACCOUNT | __GFP_NORETRY | __GFP_NOWARN)

static inline gfp_t nvme_pmap_gfp(const struct nvme_pmap_adopted *adopted)
{
	return adopted ? PMAP_AUTO_GFP : GFP_KERNEL_ACCOUNT;
}

/* map.c */
void nvme_pmap_init_layout(struct nvme_pmap_map *map, u64 addr, u64 len);
int nvme_pmap_map(struct nvme_pmap_map *map, u32 flags);
bool nvme_pmap_unmap_some(struct nvme_pmap_map *map);
void nvme_pmap_unmap_rest(struct nvme_pmap_map *map);
u64 nvme_pmap_count_kept(const struct nvme_pmap_map *map);

/* buffer.c */
struct nvme_pmap_map *
nvme_pmap_map_create(struct nvme_pmap_ctrl *pc,
		     const struct nvme_pmap_register *reg);
struct nvme_pmap_map *nvme_pmap_map_share(struct nvme_pmap_ctrl *pc,
					  struct nvme_pmap_adopted *adopted);
void nvme_pmap_map_put(struct nvme_pmap_map *map);
void nvme_pmap_map_strip(struct nvme_pmap_map *map);
struct nvme_pmap *nvme_pmap_create(struct nvme_pmap_file *pf, u64 addr,
				   struct nvme_pmap_map *map);
void nvme_pmap_kill(struct nvme_pmap *pmap);
void nvme_pmap_destroy(struct nvme_pmap *pmap);

/* pin.c */
int nvme_pmap_pin(struct nvme_pmap_map *map, u64 addr);
int nvme_pmap_charge_lists(struct nvme_pmap_map *map, u64 bytes);
void nvme_pmap_unpin(struct nvme_pmap_map *map);

/* file.c */
struct nvme_pmap_file *nvme_pmap_file(struct file *file);
struct nvme_pmap_file *nvme_pmap_file_get(struct file *file, struct nvme_ns *ns,
					  struct nvme_pmap_ctrl *pc, gfp_t gfp);
extern const struct cred *nvme_pmap_nobody;
void nvme_pmap_file_exit(void);
long nvme_pmap_do_register(struct file *file, struct nvme_ns *ns,
			   struct nvme_pmap_ctrl *pc,
			   struct nvme_pmap_register *reg, void __user *uarg);
long nvme_pmap_do_unregister(struct nvme_ns *ns, struct nvme_pmap_file *pf,
			     const struct nvme_pmap_unregister *unreg);
void nvme_pmap_poll_all(struct nvme_ns *ns);
void nvme_pmap_release(struct file *file);
int nvme_pmap_cdev_added(struct nvme_ns *ns, int ret);

/* auto.c and auto-ctrl.c; more in auto.h */
extern const char *const nvme_pmap_auto_modes[PMAP_AUTO_MODES];
void nvme_pmap_auto_start(struct nvme_pmap_ctrl *pc);
void nvme_pmap_auto_stop(struct nvme_pmap_ctrl *pc);
u64 nvme_pmap_auto_count(const struct nvme_pmap_ctrl *pc,
			 enum nvme_pmap_way way);
void nvme_pmap_autos_free(struct nvme_pmap_file *pf);
void nvme_pmap_auto_switch(struct nvme_pmap_ctrl *pc, u8 mode);
int nvme_pmap_auto_charge(struct nvme_pmap_ctrl *pc, unsigned long pages);
void nvme_pmap_auto_uncharge(struct nvme_pmap_ctrl *pc, unsigned long pages);

/* attach.c; more in queue.h */
int nvme_pmap_queues_free(struct nvme_pmap_queues *set,
			  const struct nvme_pmap_file *pf, u16 *irq,
			  u16 *polled);
int nvme_pmap_attach(struct file *file, struct nvme_pmap_file *pf,
		     const struct nvme_pmap_attach *att, bool by_door);
int nvme_pmap_detach(struct nvme_pmap_file *pf, bool polled, bool by_door);
void nvme_pmap_detach_all(struct nvme_pmap_file *pf);

/* ioctl.c */
long nvme_pmap_ioctl(struct file *file, unsigned int cmd, unsigned long arg);
void nvme_pmap_show_fdinfo(struct seq_file *m, struct file *file);

/* sysfs.c */
void nvme_pmap_sysfs_add(struct nvme_pmap_ctrl *pc);
void nvme_pmap_sysfs_del(struct nvme_pmap_ctrl *pc);

static inline bool nvme_pmap_is_ioctl(unsigned int cmd)
{
	return cmd >= NVME_PMAP_IOC_QUERY && cmd <= NVME_PMAP_IOC_DETACH;
}

/* guest-ioctl.c */
bool nvme_pmap_stock_allows(struct nvme_ns *ns, u8 opcode, fmode_t mode);
int nvme_pmap_stock_checks(unsigned int issue_flags);

/* uring-cmd.c */
int nvme_pmap_chr_uring_cmd(struct io_uring_cmd *ioucmd,
			    unsigned int issue_flags);
int nvme_pmap_chr_uring_cmd_iopoll(struct io_uring_cmd *ioucmd,
				   struct io_comp_batch *iob,
				   unsigned int poll_flags);

#endif /* _NVME_PMAP_H */
