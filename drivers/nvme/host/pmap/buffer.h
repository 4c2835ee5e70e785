/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A registered buffer of a file: what commands hold, in the table of the file or known to
 * its auto door.
 *
 * A command holds a reference (nvme_pmap.ref) from the look-up to the end of the request,
 * which is after the last DMA.  Whoever ends a buffer kills that reference, waits until it
 * is idle, and only then gives the mapping back: unregister, the close of the file (no
 * command can be in flight then, each holds the file), and the removal of the controller
 * (after the device is disabled and every request cancelled), which unmaps it itself.
 */
#ifndef _NVME_PMAP_BUFFER_H
#define _NVME_PMAP_BUFFER_H

#include <linux/completion.h>
#include <linux/list.h>
#include <linux/percpu-refcount.h>
#include <linux/types.h>

#include <uapi/linux/nvme_pmap.h>

#include "layout.h"

struct nvme_pmap_ctrl;
struct nvme_pmap_file;
struct nvme_pmap_map;

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

struct nvme_pmap *nvme_pmap_buffer_create(struct nvme_pmap_file *pf, u64 addr,
					  struct nvme_pmap_map *map);
void nvme_pmap_buffer_kill(struct nvme_pmap *pmap);
void nvme_pmap_buffer_destroy(struct nvme_pmap *pmap);
void nvme_pmap_end_buffers(struct nvme_pmap_ctrl *pc);

#endif /* _NVME_PMAP_BUFFER_H */
