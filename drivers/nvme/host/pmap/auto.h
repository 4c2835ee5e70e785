/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The auto door: unmodified programs that send NVME_URING_CMD_IO with a buffer that
 * they have registered with io_uring (IORING_URING_CMD_FIXED).
 *
 *	adopt.c      references on io_uring's buffer objects, and their charge
 *	auto.c       the entries of a file: which mapping belongs to which of
 *		     io_uring's buffers.  The file's work makes a mapping when the
 *		     buffer has been used enough, and ends it when the buffer is
 *		     idle or unregistered.
 *	auto-begin.c gives a file its auto door
 *	auto-ctrl.c  per controller: limits, the operator's switch, counters
 *	auto-cmd.c   one command
 *	map.c        the mapping, which the files of a controller share
 *
 * Identity.  An entry with a mapping holds a reference on io_uring's object.  So a
 * command whose buffer has the address in the entry is on the mapped buffer.  An entry
 * without a mapping holds no reference: another buffer may get its address, and is
 * then only mapped sooner.
 *
 * Ownership.  Commands add entries and count them down.  The command with the last
 * count takes a reference on io_uring's object and hands the entry to the file's work.
 * Only that work maps, ages and removes entries.  Commands and the work never wait for
 * each other.
 *
 * Lifetimes.  An entry is found under RCU; a command holds a reference on the pmap, not
 * on the entry.  An evicted entry leaves the table at once and its pmap is killed.  The
 * file's work, or the file's release, frees both when the last command has ended.
 */
#ifndef _NVME_PMAP_AUTO_H
#define _NVME_PMAP_AUTO_H

#include <linux/llist.h>
#include <linux/rhashtable.h>
#include <linux/workqueue.h>

#include "adopt.h"
#include "counts.h"
#include "ctrl.h"

/* A mapping that is not used for this many rounds is ended. */
#define PMAP_AUTO_ROUNDS 2

/* Most entries of a file: the number of buffers that a ring can register. */
#define PMAP_AUTO_MAX 16384

/**
 * struct nvme_pmap_auto_entry - an io_uring registered buffer, as one open file uses it
 * @hash: entry in nvme_pmap_auto_file.table
 * @imu: io_uring's object; without @pmap or @adopted, only for comparison
 * @pmap: the buffer with its mapping; NULL before it is made, or if @refused
 * @wait: count left until the buffer is mapped; zero or less: handed to the work,
 *	or evicted
 * @refused: the work could not map the buffer
 * @used: a command has used the entry since the last round
 * @age: rounds in a row without use
 * @since: jiffies at which the buffer was refused
 * @adopted: reference on @imu, from the command to the work
 * @fresh: on nvme_pmap_auto_file.fresh until the work has collected the entry
 * @want: on nvme_pmap_auto_file.want until the work maps the buffer
 * @node: on nvme_pmap_auto_file.all, or on .ending after eviction
 * @rcu: frees the entry after a grace period, for look-ups
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
 * @table: the entries, by io_uring's object (RCU to read)
 * @fresh: entries that commands have added
 * @want: entries that commands have handed over, to be mapped
 * @all: entries in @table (only the work)
 * @ending: evicted entries whose pmap may still be in use (only the work)
 * @pf: the file's state
 * @node: entry in the list of all auto doors (nvme_pmap_auto_files_lock)
 * @work: the file's work: maps buffers, ages and ends entries
 * @attach: work that attaches a queue
 * @attach_file: the open file, with a reference, while @attach is pending
 * @attach_polled: the kind of queue that @attach attaches
 * @nr: number of entries in @table
 * @emptied: jiffies at which the last entry left @table (only the work)
 * @aged: jiffies of the last round (only the work)
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
	PMAP_AUTO_TRIED_QUEUE, /* an attach was tried; + 1: a polled one */
	PMAP_AUTO_TRIED_QUEUE_POLLED,
	PMAP_AUTO_ATTACHING,
	PMAP_AUTO_RETRY, /* try refused buffers again */
};

/* Objects of one kind have the same alignment: the low bits say nothing. */
static inline u32 nvme_pmap_auto_hash(const void *key, u32 len, u32 seed)
{
	return hash_ptr(*(void *const *)key, 32) ^ seed;
}

static const __maybe_unused struct rhashtable_params nvme_pmap_auto_params = {
	.key_len = sizeof(struct io_mapped_ubuf *),
	.key_offset = offsetof(struct nvme_pmap_auto_entry, imu),
	.head_offset = offsetof(struct nvme_pmap_auto_entry, hash),
	.hashfn = nvme_pmap_auto_hash,
	/* most files have one or two buffers; the table grows */
	.nelem_hint = 2,
	.automatic_shrinking = true,
};

/* The auto door of some controller is open. */
extern bool nvme_pmap_auto_open;

/* Run the file's work after @delay jiffies. */
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
void nvme_pmap_auto_ctrl_start(struct nvme_pmap_ctrl *pc);
void nvme_pmap_auto_ctrl_stop(struct nvme_pmap_ctrl *pc);
void nvme_pmap_auto_file_begin(struct nvme_ctrl *ctrl, struct file *file);

#endif /* _NVME_PMAP_AUTO_H */
