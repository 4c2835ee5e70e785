/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The auto door: programs that send NVME_URING_CMD_IO with a buffer that io_uring
 * has registered (IORING_URING_CMD_FIXED), and know nothing of pmaps.
 *
 *   adopt.c  holding io_uring's object for a buffer, and its charge
 *   auto.c   which mapping belongs to which of io_uring's buffers: made by the
 *		   file's work when the buffer has been used enough, ended when idle or
 *		   given up
 *   auto-ctrl.c  limits, the switch, counts: what is a controller's
 *   buffer.c the mapping, which files of a controller share
 *   auto-cmd.c  a command
 *
 * Identity.  An entry with a mapping holds io_uring's object, so that a command whose
 * buffer has the entry's address is on the buffer that is mapped.  An entry without one
 * holds nothing: its key is a number, and only decides how soon a buffer is mapped.
 *
 * Who changes what.  Commands add entries, count them down, and with the last count
 * hand them to the file's work, holding the object from then on.  All else, removal
 * above all, is the work's alone.  They never wait for each other.
 *
 * Lifetimes.  An entry is found under RCU; a command holds the pmap, not the
 * entry.  An entry that is evicted leaves the table at once; its pmap is killed,
 * and taken down when its last command has ended, by the file's work or its
 * release.
 */
#ifndef _NVME_PMAP_AUTO_H
#define _NVME_PMAP_AUTO_H

#include <linux/llist.h>
#include <linux/rhashtable.h>
#include <linux/workqueue.h>

#include "adopt.h"
#include "counts.h"
#include "ctrl.h"

/* Rounds after which a mapping is not used before it ends. */
#define PMAP_AUTO_ROUNDS 2

/* Entries of a file: what a ring can have of buffers. */
#define PMAP_AUTO_MAX 16384

/**
 * struct nvme_pmap_auto_entry - a buffer of io_uring's
 * @hash: in the table
 * @imu: io_uring's object; only to be compared
 * @pmap: the mapping; NULL before it is made, and where it cannot be
 * @wait: what is left to be counted until it is mapped; zero or less: handed over
 * @refused: it was handed over, and cannot be mapped
 * @used: a command has used it since its age was last looked at
 * @age: how often it was found unused
 * @since: when it was refused, in jiffies
 * @adopted: @imu, held for the work
 * @fresh: on nvme_pmap_auto_file.fresh, until the work has seen it
 * @want: on nvme_pmap_auto_file.want, until the work maps it
 * @node: on nvme_pmap_auto_file.all, or on .ending when it has left the table
 * @rcu: those who look up may still see the entry when it is freed
 */
struct nvme_pmap_auto_entry {
	struct rhash_head hash;
	const struct io_mapped_ubuf *imu;
	struct nvme_pmap __rcu *pmap;
	atomic_t wait;
	bool refused;
	bool used;
	u8 age;
	unsigned long since;
	struct nvme_pmap_adopted *adopted;
	struct llist_node fresh;
	struct llist_node want;
	struct list_head node;
	struct rcu_head rcu;
};

/**
 * struct nvme_pmap_auto_file - the auto door of a file
 * @table: the entries, by io_uring's object; read under RCU
 * @fresh: entries that commands have added to it
 * @want: entries that commands have handed over, to be mapped
 * @all: entries in the table (the work's)
 * @ending: entries that have left it, until no command uses their pmap (the work's)
 * @pf: the file
 * @node: on the list of all files (its lock)
 * @work: see the top of this file
 * @attach: attaches a queue; @attach_file is the open file meanwhile
 * @attach_file: see there
 * @attach_polled: which kind
 * @nr: entries in the table
 * @emptied: when the last had left it, in jiffies (the work's)
 * @aged: when their ages were looked at, in jiffies (the work's)
 * @flags: enum nvme_pmap_auto_file_flags
 */
struct nvme_pmap_auto_file {
	struct rhashtable table;
	struct llist_head fresh;
	struct llist_head want;
	struct list_head all;
	struct list_head ending;
	struct nvme_pmap_file *pf;
	struct list_head node;
	struct delayed_work work;
	struct work_struct attach;
	struct file *attach_file;
	bool attach_polled;
	atomic_t nr;
	unsigned long emptied;
	unsigned long aged;
	unsigned long flags;
};

enum nvme_pmap_auto_file_flags {
	PMAP_AUTO_TRIED_QUEUE, /* to attach a queue for rings that do not poll; + 1: do */
	PMAP_AUTO_TRIED_QUEUE_POLLED,
	PMAP_AUTO_ATTACHING,
	PMAP_AUTO_RETRY, /* what was refused may be had by now */
};

/* Objects of a kind are aligned alike: the low bits say nothing. */
static inline u32 nvme_pmap_auto_hash(const void *key, u32 len, u32 seed)
{
	return hash_ptr(*(void *const *)key, 32) ^ seed;
}

static const __maybe_unused struct rhashtable_params nvme_pmap_auto_params = {
	.key_len = sizeof(struct io_mapped_ubuf *),
	.key_offset = offsetof(struct nvme_pmap_auto_entry, imu),
	.head_offset = offsetof(struct nvme_pmap_auto_entry, hash),
	.hashfn = nvme_pmap_auto_hash,
	/* of many files with a buffer or two each; it grows */
	.nelem_hint = 2,
	.automatic_shrinking = true,
};

/* Whether the door of any controller is open. */
extern bool nvme_pmap_auto_open;

/* At once, or so many jiffies from now. */
static inline void nvme_pmap_auto_file_kick(struct nvme_pmap_auto_file *af,
					    unsigned long delay)
{
	mod_delayed_work(nvme_wq, &af->work, delay);
}

/* auto-ctrl.c */
extern const char *const nvme_pmap_auto_modes[PMAP_AUTO_MODES];
u8 nvme_pmap_auto_default(void);
void nvme_pmap_auto_switch(struct nvme_pmap_ctrl *pc, u8 mode);
u64 nvme_pmap_auto_count(const struct nvme_pmap_ctrl *pc,
			 enum nvme_pmap_path path);
int nvme_pmap_auto_charge(struct nvme_pmap_ctrl *pc, unsigned long pages);
void nvme_pmap_auto_uncharge(struct nvme_pmap_ctrl *pc, unsigned long pages);
unsigned long nvme_pmap_auto_interval(void);
void nvme_pmap_auto_file_enlist(struct nvme_pmap_auto_file *af);
void nvme_pmap_auto_file_delist(struct nvme_pmap_auto_file *af);

/* auto.c */
int nvme_pmap_auto_file_make(struct nvme_pmap_file *pf);
void nvme_pmap_auto_file_free(struct nvme_pmap_file *pf);
enum nvme_pmap_path nvme_pmap_auto_count_down(struct nvme_pmap_file *pf,
					      const struct io_kiocb *req,
					      u32 len);
void nvme_pmap_auto_request_queue(struct nvme_pmap_file *pf, struct file *file,
				  bool polled);

/* auto-begin.c */
void nvme_pmap_auto_start(struct nvme_pmap_ctrl *pc);
void nvme_pmap_auto_stop(struct nvme_pmap_ctrl *pc);
void nvme_pmap_auto_begin(struct nvme_ctrl *ctrl, struct file *file);

#endif /* _NVME_PMAP_AUTO_H */
