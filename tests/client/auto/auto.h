/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The auto door as a program sees it that knows nothing of pmaps: NVME_URING_CMD_IO
 * with buffers of io_uring's.  Only the counters of the file tell how a command was served.
 *
 * The door is "on", or with -q "queue": it is then the driver that attaches queues.
 */
#ifndef PMAP_TEST_AUTO_H
#define PMAP_TEST_AUTO_H

#include "lib/load.h"

/* Slots of a program's table of buffers. */
#define TABLE 512u
/* Of the buffers of most cases; eight commands each, in one batch. */
#define LEN   (16u * PAGE)
#define SLICE (LEN / 8)

/* A program; buffer 0 of its ring is @mem. */
struct prog {
	struct dev dev;
	struct mem mem;
	struct io_uring ring;
	uint64_t sent; /* commands with a fixed buffer */
};

/* The device alone, or the usual one, without a queue; to be closed even if it fails. */
bool prog_device(struct prog *p, const char *path, int flags);
/* With the door open; to be closed even if it fails. */
bool prog_open(struct prog *p, enum mode mode, enum mem_kind kind, size_t len);
/* The same with a file that is open for reading only. */
bool prog_open_flags(struct prog *p, int flags, enum mode mode, enum mem_kind kind, size_t len);
/* The device is open already. */
bool prog_start(struct prog *p, enum mode mode, enum mem_kind kind, size_t len);
void prog_close(struct prog *p);
/*
 * Reads a block into the buffer until one has been served as it should be, or refused:
 * the driver maps a buffer in the background, when it has been used some times.
 */
enum settled { UNSETTLED, SERVED, REFUSED };
enum settled buffer_settle(struct prog *p, unsigned int index, void *at);
/* Served it must be; the second is for buffer 0. */
bool buffer_warm(struct prog *p, unsigned int index, void *at);
bool prog_warm(struct prog *p);
/* By whichever way: there may be no queue left. */
bool prog_warm_any(struct prog *p);
/* Both, and an address for LEN bytes; NULL if there is none. */
unsigned char *place(struct prog *p);
/* Have io_uring take this memory for a buffer; NULL for none. */
bool buffer_set(struct prog *p, unsigned int index, void *at, size_t len);

/* IORING_REGISTER_CLONE_BUFFERS: 0 or -errno. */
int clone_buffers(int to, int from);

struct io_uring_sqe *prep_fixed(struct prog *p, uint8_t opcode, unsigned int index, void *at,
				uint32_t len, uint64_t slba);
/* Submits and reaps the prepared commands; res of each must be zero. */
bool run_batch(struct prog *p, unsigned int nr, const char *what);
/* One command: cqe->res. */
int run_fixed(struct prog *p, uint8_t opcode, unsigned int index, void *at, uint32_t len,
	      uint64_t slba);
/* LEN bytes, in a batch. */
bool move(struct prog *p, uint8_t opcode, unsigned int index, void *at, uint64_t slba,
	  const char *what);
bool shows(const struct prog *p, const void *at, size_t len, uint64_t lba, uint64_t gen,
	   const char *what);
/* Writes the pattern of @lba from @slba on, or verifies it there, with other memory. */
bool disk_fill(struct prog *p, uint64_t slba, size_t len, uint64_t lba, uint64_t gen);
bool disk_shows(struct prog *p, uint64_t slba, size_t len, uint64_t lba, uint64_t gen,
		const char *what);

/* Something written from somewhere in buffer 0, and read to somewhere else in it. */
bool one_pair(struct prog *p, uint64_t gen);

/* Commands by path; served is blk_mq and queue, stock is the sum of the four reasons. */
struct paths {
	uint64_t blk_mq, queue, served;
	uint64_t setup, unsupported, unmapped, other, stock;
	uint64_t fallback;
};

struct paths paths_since(const struct dev *dev, const struct paths *before);
struct paths paths_of(const struct dev *dev);
/* Of @sent commands since, all were served, or all but some at the beginning. */
bool paths_served(const struct prog *p, const struct paths *before, uint64_t sent,
		  const char *what);

/* "on" or "queue", as the run asks. */
const char *door_mode(void);
bool set_door(const struct dev *dev, const char *mode);
bool set_param(const char *name, unsigned int value);
void reset_params(void);
long auto_pinned(const struct dev *dev);
/* Until it is so many bytes. */
bool pinned_becomes(const struct dev *dev, long bytes, unsigned int ms);
/* Neither memory of the controller nor a queue of the file, within 10 s. */
bool all_returned(const struct dev *dev);

/* many.c, memory.c, process.c, stock.c, limits.c, queue.c, share.c */
void auto_many(void);
void auto_arena(void);
void auto_reregistered(void);
void auto_remapped(void);
void auto_remapped_page(void);
void auto_remapped_swapped(void);
void auto_remapped_huge(void);
void auto_shifted(void);
void auto_remapped_used(void);
void auto_shrunk(void);
void auto_folios(void);
void auto_folios_shuffled(void);
void auto_cloned(void);
void auto_reused(void);
void auto_forked(void);
void auto_as_stock(void);
void auto_as_stock_rdwr(void);
void auto_as_stock_rdonly(void);
void auto_memlock(void);
void auto_mib(void);
void auto_refused(void);
void auto_refused_ages(void);
void auto_crowded(void);
void auto_given_up(void);
void auto_idle(void);
void auto_switched(void);
void auto_switched_way(void);
void auto_switched_early(void);
void auto_switched_making(void);
void auto_own_queue(void);
void auto_queue_stays(void);
void auto_after_vendor(void);
void auto_memlock_others(void);
void auto_shared(void);
void auto_shared_limit(void);
void auto_shared_churn(void);
void auto_shared_removed(void);

#endif /* PMAP_TEST_AUTO_H */
