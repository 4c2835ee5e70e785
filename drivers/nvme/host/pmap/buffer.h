/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A registered buffer of a file: in the file's table, or known to its auto door.
 *
 * A command holds a reference (nvme_pmap.ref) from the look-up to the end of its
 * request, which is after the last DMA.  To end a buffer, its killer kills that
 * reference, waits until it is idle, and only then puts the mapping.  The killers are:
 *   - unregister;
 *   - the close of the file: no command is in flight, since each holds the file;
 *   - the auto door's work;
 *   - the removal of the controller, after the device is disabled and every request is
 *     cancelled.  It unmaps the mapping itself.
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
 * @ref: one reference per command in flight; killed to end the buffer
 * @l: layout, copied from @map
 * @pf: the file's state
 * @addr: user address of the first byte
 * @psdt: PSDT of commands on the buffer, in bits 15:8 as in their first quadword
 * @map: the mapping, with a reference
 * @node: on nvme_pmap_ctrl.pmaps (nvme_pmap_ctrl.lock)
 * @idle: completed when @ref has drained
 * @rcu: frees the buffer after a grace period, for readers of the table
 * @flags: enum nvme_pmap_flags
 * @waiting: an unregister call waits for @idle (nvme_pmap_file.lock)
 */
struct nvme_pmap {
	struct percpu_ref ref;
	struct pmap_layout l;
	struct nvme_pmap_file *pf;
	u64 addr;
	u64 psdt;
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
