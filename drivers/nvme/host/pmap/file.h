/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The state of an open /dev/ngXnY that has registered a buffer, attached a queue or
 * used the auto door.  It is allocated once and kept in file->private_data.  It has the
 * table of buffers and a reference on the controller's state.
 *
 * The submission path takes no lock; it reads the table under RCU.  docs/architecture.md
 * has the order of all locks.
 */
#ifndef _NVME_PMAP_FILE_H
#define _NVME_PMAP_FILE_H

#include <linux/bitmap.h>
#include <linux/fs.h>
#include <linux/mutex.h>
#include <linux/percpu-refcount.h>
#include <linux/types.h>

struct cred;
struct nvme_ns;
struct nvme_pmap;
struct nvme_pmap_auto_file;
struct nvme_pmap_counts;
struct nvme_pmap_ctrl;
struct nvme_pmap_ns;
struct nvme_pmap_queue;
struct nvme_pmap_register;
struct nvme_pmap_unregister;

/**
 * struct nvme_pmap_table - the pmaps of a file, by index
 * @rcu: frees the table a grace period after a larger copy has replaced it
 * @nr: number of entries
 * @pmap: the entries; NULL, or a buffer that is ready for use
 */
struct nvme_pmap_table {
	struct rcu_head rcu;
	u32 nr;
	struct nvme_pmap __rcu *pmap[] __counted_by(nr);
};

/* A file can have one of each kind: a ring either polls or does not. */
enum nvme_pmap_queue_kind {
	PMAP_QUEUE_IRQ,	   /* with an interrupt */
	PMAP_QUEUE_POLLED, /* without; for IORING_SETUP_IOPOLL rings */
	PMAP_QUEUE_KINDS
};

static inline enum nvme_pmap_queue_kind nvme_pmap_queue_kind(bool polled)
{
	return polled ? PMAP_QUEUE_POLLED : PMAP_QUEUE_IRQ;
}

/**
 * struct nvme_pmap_file - the state of an open /dev/ngXnY
 * @queue: attached passthrough queues, by enum nvme_pmap_queue_kind
 *	(nvme_pmap_queues.lock to write)
 * @table: the registered buffers (@lock to replace, RCU to read)
 * @counts: commands and completions, per CPU
 * @format: the known format of the namespace, with a reference
 * @for_all: opcodes that need no capability, of the opcodes in @asked
 * @asked: opcodes that the stock driver has been asked about
 * @usage: q_usage_counter of the namespace's request queue
 * @had_queue: a queue has been attached at some time (nvme_pmap_queues.lock)
 * @by_door: the auto door, not the program, attached this @queue (nvme_pmap_queues.lock
 *	to write)
 * @auto_file: the auto door's state, or NULL before its first command; allocated once
 * @pc: the controller's state, with a reference
 * @lock: guards @table and the fields below
 * @nr: number of buffers in @table
 * @first_free: no index below this one is free
 * @pinned: bytes that the buffers pin
 * @list_bytes: bytes of kernel memory that describe the buffers
 */
struct nvme_pmap_file {
	struct nvme_pmap_queue *queue[PMAP_QUEUE_KINDS];
	struct nvme_pmap_table __rcu *table;
	struct nvme_pmap_counts __percpu *counts;
	struct nvme_pmap_ns *format;
	DECLARE_BITMAP(for_all, U8_MAX + 1);
	DECLARE_BITMAP(asked, U8_MAX + 1);
	struct percpu_ref *usage;
	bool had_queue;
	bool by_door[PMAP_QUEUE_KINDS];
	struct nvme_pmap_auto_file *auto_file;
	struct nvme_pmap_ctrl *pc;
	struct mutex lock;
	u32 nr;
	u32 first_free;
	u64 pinned;
	u64 list_bytes;
};

/*
 * The state of the file; NULL before its first registration, attachment or auto
 * command.
 */
static inline struct nvme_pmap_file *nvme_pmap_file(struct file *file)
{
	/* pairs with the cmpxchg() in nvme_pmap_file_get() */
	return smp_load_acquire(&file->private_data);
}

/* file.c */
extern const struct cred *nvme_pmap_nobody;
struct nvme_pmap_table *nvme_pmap_alloc_table(u32 nr, gfp_t gfp);
struct nvme_pmap_file *nvme_pmap_file_get(struct file *file, struct nvme_ns *ns,
					  struct nvme_pmap_ctrl *pc, gfp_t gfp);
void nvme_pmap_file_free(struct nvme_pmap_file *pf);
void nvme_pmap_file_exit(void);

/* register.c */
long nvme_pmap_do_register(struct file *file, struct nvme_ns *ns,
			   struct nvme_pmap_ctrl *pc,
			   struct nvme_pmap_register *reg, void __user *uarg);
long nvme_pmap_do_unregister(struct nvme_ns *ns, struct nvme_pmap_file *pf,
			     const struct nvme_pmap_unregister *unreg);
void nvme_pmap_unregister_all(struct nvme_pmap_file *pf);

#endif /* _NVME_PMAP_FILE_H */
