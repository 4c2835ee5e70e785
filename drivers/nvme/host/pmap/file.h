/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The state of an open /dev/ngXnY that registered something, or uses the auto door: in
 * file->private_data, made once.  It holds the table of buffers and the controller.
 *
 * Locks, outermost first: nvme_pmap_file.lock, nvme_pmap_ctrl.sharing, nvme_pmap_ctrl.lock.
 * The submission path takes none; it reads the table under RCU.  Nobody who holds one waits
 * for a page of user memory.
 */
#ifndef _NVME_PMAP_FILE_H
#define _NVME_PMAP_FILE_H

#include <linux/bitmap.h>
#include <linux/fs.h>
#include <linux/mutex.h>
#include <linux/percpu-refcount.h>
#include <linux/types.h>

struct cred;
struct nvme_ctrl;
struct nvme_ns;
struct nvme_pmap;
struct nvme_pmap_auto_file;
struct nvme_pmap_counts;
struct nvme_pmap_ctrl;
struct nvme_pmap_ns;
struct nvme_pmap_queue;
struct nvme_pmap_register;
struct nvme_pmap_unregister;
struct request_queue;

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

/* A file can have one of each; a ring polls or does not. */
enum nvme_pmap_queue_kind {
	PMAP_QUEUE_IRQ,	   /* its pair interrupts */
	PMAP_QUEUE_POLLED, /* for rings with IORING_SETUP_IOPOLL */
	PMAP_QUEUE_KINDS
};

/**
 * struct nvme_pmap_file - the state of an open /dev/ngXnY
 * @queue: passthrough queues, by enum nvme_pmap_queue_kind; changed under the lock of
 *	the controller's queues
 * @table: the buffers; replaced under @lock, read under RCU
 * @counts: commands and completions
 * @format: what is known of the namespace's format
 * @for_all: opcodes that anybody may send who has it open, of those in @asked
 * @asked: opcodes that stock has been asked about
 * @usage: of the namespace's request queue
 * @had_queue: there was one, at any time
 * @by_door: those in @queue that the auto door has attached; changed as they are
 * @auto_file: the auto door's buffers, or NULL before its first command; made once
 * @pc: the controller
 * @lock: guards the table
 * @nr: buffers in it
 * @first_free: no index below this is free
 * @pinned: bytes that the buffers pin
 * @list_bytes: bytes that describe them
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

/* The state of the file, or NULL before its first registration, attachment or command. */
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

/* drain.c */
void nvme_pmap_revoke_batches(struct nvme_ctrl *ctrl);
void nvme_pmap_drain_file(struct nvme_pmap_file *pf, struct request_queue *q);
void nvme_pmap_drain_ns(struct nvme_ns *ns);

#endif /* _NVME_PMAP_FILE_H */
