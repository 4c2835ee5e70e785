/* SPDX-License-Identifier: GPL-2.0 */
/* nvme-bench: declarations that its files share.  nvme-bench.c describes the measurement. */
#ifndef NVME_BENCH_H
#define NVME_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <liburing.h>
#include <linux/nvme_pmap.h>

#define BENCH_MAX_BATCH 256u

/* util.c */
_Noreturn void die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* One line of a file in /sys or /proc, without its newline; false if none. */
bool read_line(char *buf, size_t size, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
uint64_t parse_size(const char *text);
const char *errno_name(int err);
/* Same seed, same sequence on every path: all read the same places. */
uint64_t next_random(uint64_t *state);
uint64_t now_ns(void);
void sleep_ns(long ns);
/* The calling thread, to a CPU. */
void pin_to(unsigned int cpu);

/*
 * timer.c: the cost of a window of code.  v[0] is in timer_unit(); with a PMU
 * v[1] is instructions, else zero.
 */
struct mark {
	uint64_t v[2];
};

enum timer_source { TIMER_AUTO, TIMER_TSC_INSTRUCTIONS, TIMER_CLOCK };

void timer_open(enum timer_source source);
void timer_mark(struct mark *mark);
/* The cost between two marks, less the cost of taking a mark. */
struct mark timer_cost(const struct mark *from, const struct mark *to);
const char *timer_unit(void);
bool timer_has_pmu(void);

/*
 * A no-op that a TCG plugin knows (tests/profile/windows.c): the code from here on
 * belongs to window 1, submission, 2, reaping, or 3, both in one call that sleeps,
 * or 0: to none.  4 belongs to none either, and ends a row.  From the first on the
 * plugin counts: the first marker comes before the first window.
 */
#define PROFILE_WINDOW(n) \
	__asm__ volatile("nopl %c0(%%rax)" : : "i"(0x706d6100 + (n)) : "memory")

/* arena.c: the memory that is read into. */
enum pages { PAGES_4K, PAGES_4K_ADJACENT, PAGES_2M, PAGES_KINDS };

struct arena {
	char *mem;
	size_t len;
	size_t adjacent; /* neighbouring 4 KiB pages that are so in memory too */
};

const struct arena *arena_get(enum pages pages, size_t len);

/* target.c: the namespace, and the guards that keep it out of use. */
struct target {
	char name[64]; /* nvme0n1 */
	int block_fd;
	int generic_fd;
	bool write;
	bool fork;
	uint32_t nsid;
	uint32_t lba_bytes;
	uint64_t bytes;
	struct nvme_pmap_query query; /* zero on a driver without pmap */
	char door[16];		      /* its auto door, as it was found */
};

void target_open(struct target *target, const char *device, bool write);
bool target_polls(const struct target *target);
/* Requests that the block layer has counted for this namespace. */
uint64_t target_block_ios(const struct target *target);
void target_stats(const struct target *target, struct nvme_pmap_stats *stats);
/* Set the auto door of the controller; on stock there is none. */
void target_door(const struct target *target, const char *door);
/* Shut it until nothing that it has mapped is left. */
void target_shut_door(const struct target *target);
/* Has this file a passthrough queue? */
bool target_has_queue(const struct target *target);

/* paths.c: the ways of sending one read. */
struct session {
	const struct path *path;
	const struct target *target;
	const struct arena *arena;
	struct io_uring ring;
	size_t bs;
	uint32_t pmap_index;
	bool irq;	      /* the ring does not poll */
	unsigned int buffers; /* that the arena is registered as; 0: one */
	/* the session whose queue this one's file uses; of the same file, or another */
	const struct session *beside;
	bool elsewhere; /* its queue interrupts another CPU than its own: */
	unsigned int interrupted;
};

struct path {
	const char *name;
	bool passthru; /* on /dev/ngXnY: needs a ring with SQE128 and CQE32 */
	bool fixed;    /* the arena is registered with the ring */
	bool pmap;     /* the arena is registered with the driver */
	bool queue;    /* the file has a passthrough queue */
	bool misfit;   /* it has one for rings of the other kind */
	bool fallback; /* each command is counted as one that no queue took */
	bool again;    /* each SQE is prepared once, when the session begins */
	const char *door;   /* the mode of the auto door: off, on, queue */
	uint32_t reg_flags; /* in the form that these ask for */
	void (*prep)(const struct session *session, struct io_uring_sqe *sqe,
		     size_t offset, uint64_t pos);
};

const struct path *path_find(const char *name);
void session_open(struct session *session, unsigned int entries);
/* io_uring_enter with the registered ring.  Returns submitted, or -errno. */
int session_enter(const struct session *session, unsigned int submit,
		  unsigned int complete, unsigned int flags);
/* One block, to whose end it sleeps or polls. */
void session_read(struct session *session);
void session_close(struct session *session);

/* batch.c */
/* Which blocks, and to where: the program's business, which is not measured. */
struct place {
	size_t offset; /* bytes into the arena */
	uint64_t pos;  /* bytes into the namespace */
};

void batch_choose(const struct session *session, struct place *places,
		  unsigned int n, uint64_t *seed);
void batch_prepare(struct session *session, const struct place *places,
		   unsigned int n);
/* All SQEs of the ring, of which batch_prepare() then changes the places only. */
void batch_prepare_all(struct session *session);
/* When the ring is new. */
void batch_begin(struct session *session);
/* Make the prepared SQEs visible to the kernel; return how many. */
unsigned int batch_publish(struct session *session);
/* Take the CQEs; set *err to the errno of a command that failed. */
unsigned int batch_collect(struct session *session, int *err);

/* proof.c: evidence that a row's commands took the row's path. */
struct proof {
	uint64_t block_ios;
	struct nvme_pmap_stats stats;
};

void proof_begin(struct proof *proof, const struct target *target);
/* Stops the program unless all @commands took @claim; else prints JSON. */
void proof_end(const struct proof *proof, const struct target *target,
	       const struct path *claim, uint64_t commands);

/* irq.c: batches that one call submits and sleeps for. */
struct irq_window {
	bool plain; /* one interrupt, and one sleep, in it */
};

void irq_begin(void);
/* One batch of @n prepared commands; false when the call does not return @n. */
bool irq_batch(struct session *session, unsigned int n,
	       struct irq_window *window);
void irq_end(void);

/* cpus.c: several CPUs at once, each with a thread and a ring of its own. */
enum share {
	SHARE_NOTHING, /* each has a file, a buffer and a queue of its own */
	SHARE_FILE,    /* two have one file, with its buffer and its queue */
	SHARE_QUEUE,   /* two have files of their own, with one queue */
	SHARE_IRQ,     /* nothing; but each takes the interrupts of another */
};

struct cpus_row {
	const struct path *path;
	const struct path *claim;
	unsigned int nr;
	unsigned int batch;
	unsigned int samples;
	enum share share;
	bool used_up; /* no passthrough queue is left */
};

/* @like: the options that the sessions of all CPUs have in common */
void cpus_run(const struct cpus_row *row, const struct session *like);

/* register.c */
void register_cost(const struct target *target, const struct arena *arena,
		   const char *pages, unsigned int samples);

#endif
