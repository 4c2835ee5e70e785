/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The fuzzer of the user API: declarations that its parts share.
 *
 *   fuzz.c   workers, files, rings, and the checks at the end
 *   gen.c    random values, generators of arguments and commands
 *   call.c   ioctls, and commands from SQE to CQE
 *   tally.c  the answers that each kind of call may give, and their counts
 *   buf.c    buffers of io_uring's, and stock commands with them
 *   mem.c    registered memory between guards, memory that vanishes
 */
#ifndef PMAP_TEST_FUZZ_H
#define PMAP_TEST_FUZZ_H

#include <pthread.h>
#include <sys/uio.h>

#include "lib/util.h"

enum kind {
	K_QUERY,
	K_REGISTER,
	K_UNREGISTER,
	K_STATS,
	K_ATTACH,
	K_DETACH,
	K_NEAR, /* ioctl numbers beside ours */
	K_STOCK_IOCTL,
	K_PMAP,
	K_STOCK,
	K_STOCK_VEC,
	K_NEAR_CMD, /* cmd_op beside ours */
	K_FIXED,    /* NVME_URING_CMD_IO with buffers of the ring */
	K_FIXED_VEC,
	K_BUFFERS, /* io_uring_register() */
	NR_KINDS
};

/* Commands that passthrough queues took, for each set of queues a file can have. */
enum { QUEUED_IRQ, QUEUED_POLLED, QUEUED_EITHER, NR_QUEUED };

/* Commands with buffers of the ring, by how the auto door had them go. */
enum { PATH_BLK_MQ, PATH_QUEUE, PATH_SETUP, PATH_UNSUPPORTED, PATH_UNMAPPED, PATH_OTHER, NR_PATHS };

/* Results: 0, an errno, and one for every positive NVMe status. */
#define RESULT_STATUS 255
#define NR_RESULTS    256

/* In shared memory: forked children count here too. */
struct tally {
	uint64_t calls[NR_KINDS];
	uint64_t results[NR_KINDS][NR_RESULTS];
	uint64_t wrong;
	uint64_t by_queue[NR_QUEUED];
	uint64_t by_path[NR_PATHS];
};

#define NR_WORKERS 8u
#define NR_SLOTS   6u
#define NR_SHARED  4u
#define DEPTH	   64u
#define NR_BUFFERS 8u /* of a ring */

/*
 * Two files hold buffers in the PRP form that root registered, and stay open;
 * the others are closed and opened again all the time.
 */
enum { FILE_RW, FILE_RO, FILE_RW_CHURN, FILE_RO_CHURN, FILE_RW_CHURN2, NR_FILES };
#define NR_KEPT 2u

/* Indexes: eight of each worker, and from PRP_INDEX on indexes of root. */
#define PRP_INDEX  200u
#define NR_GUESSED 256u

/* Registered memory, with poison before, behind and around it. */
struct arena {
	unsigned char *map;
	size_t len;
	struct {
		unsigned char *at;
		uint32_t len;
	} slot[NR_SLOTS];
};

struct flight {
	bool busy;
	bool linked;
	uint8_t kind;
	uint32_t generation;
};

struct fuzz_ring {
	struct io_uring ring;
	pthread_mutex_t lock;
	enum mode mode;
	unsigned int table; /* its registered buffers, as far as known */
	struct iovec buffer[NR_BUFFERS];
	unsigned int busy;
	bool chained; /* linked SQEs are with the kernel: they must stay */
	uint64_t sqes, cqes;
	struct flight flight[DEPTH];
};

struct worker {
	unsigned int id;
	pthread_t thread;
	uint64_t state; /* of its random numbers */
	uint64_t quota, done;
	struct tally *tally;
	struct arena arena;
	struct fuzz_ring own;
	unsigned char *args; /* two pages, and one that is not there */
	unsigned char *readonly;
	unsigned char *stock; /* STOCK_LEN; never registered as a pmap */
	unsigned char *junk;  /* JUNK_LEN, replaced after a registration */
};

#define ARGS_LEN     (2 * PAGE)
#define STOCK_LEN    (32 * PAGE)
#define JUNK_LEN     (16 * PAGE)
#define VOLATILE_LEN (64 * PAGE)
/*
 * Vanishing memory, junk, and nothing else: a wrong address is one in it, or none
 * that memory can have, so that no good memory is registered by mistake.
 */
#define HOLE_LEN     (1ull << 34)
#define LOWEST_ADDR  65536u
#define HIGHEST_ADDR (1ull << 47)

struct fuzz {
	struct dev dev; /* root's; its path and format */
	int fd[NR_FILES];
	/* Length registered at an index, as far as known: a hint. */
	uint32_t guess[NR_FILES][NR_GUESSED];
	struct arena prp;
	struct tally *tallies;
	struct fuzz_ring shared[NR_SHARED];
	struct worker worker[NR_WORKERS];
	unsigned char *hole;	 /* HOLE_LEN */
	unsigned char *unstable; /* VOLATILE_LEN of it, remapped by a thread */
	pid_t pid;		 /* of the process with the threads */
	bool stop;
	bool over; /* in the parent */
};
extern struct fuzz fuzz;

static inline bool file_writable(unsigned int file)
{
	return file != FILE_RO && file != FILE_RO_CHURN;
}

/* Two files have but one kind of queue, so that it is known which took a command. */
static inline unsigned int file_queues(unsigned int file)
{
	return file == FILE_RO_CHURN  ? QUEUED_IRQ :
	       file == FILE_RW_CHURN2 ? QUEUED_POLLED :
					QUEUED_EITHER;
}

/*
 * The blocks that workers with write access may write: the rest of the disk is compared
 * with its image afterwards.  Half of it is slack for 65536 blocks.
 */
#define SCRATCH_FIRST 65536u
#define SCRATCH_END   196608u

/* ---- gen.c ---- */

uint64_t draw(struct worker *w);
uint64_t draw_below(struct worker *w, uint64_t limit);
static inline bool chance(struct worker *w, unsigned int permille)
{
	return draw_below(w, 1000) < permille;
}
uint64_t odd_value(struct worker *w, uint64_t base);
unsigned int draw_file(struct worker *w);

struct nvme_pmap_cmd gen_pmap(struct worker *w, unsigned int file);
struct nvme_uring_cmd gen_stock(struct worker *w, unsigned int file, bool vec);
unsigned long gen_near_ioctl(struct worker *w);
struct nvme_pmap_attach gen_attach(struct worker *w, unsigned int file);
uint32_t gen_near_op(struct worker *w);
void mutate_arg(struct worker *w, unsigned int nr, void *arg);

/* ---- call.c ---- */

void fuzz_ioctl(struct worker *w);
/* For a file that has just been opened: queues, as often as not. */
void fuzz_attach(struct worker *w, unsigned int file);
void fuzz_batch(struct worker *w, struct fuzz_ring *r);
bool fuzz_ring_open(struct fuzz_ring *r, enum mode mode);
/* Every command has its completion; false, with a failed CHECK, if not. */
bool fuzz_ring_drain(struct worker *w, struct fuzz_ring *r);
void fuzz_ring_close(struct fuzz_ring *r);

/* ---- buf.c ---- */

/* One call that registers, changes or ends the ring's buffers. */
void fuzz_buffers(struct worker *w, struct fuzz_ring *r);
/* @index: of the buffer. */
struct nvme_uring_cmd gen_fixed(struct worker *w, const struct fuzz_ring *r, unsigned int file,
				uint16_t *index);

/* ---- tally.c ---- */

const char *kind_name(unsigned int kind);
/* An answer that @w was given; one that this kind of call must not give fails the case. */
void tally_count(struct worker *w, unsigned int kind, int res, const char *what);
/* @complete: enough calls that every answer must have been met. */
void tally_report(const struct tally *tallies, unsigned int nr, bool complete);

/* ---- mem.c ---- */

void *map_pages(size_t len, int flags);
void arena_make(struct arena *a, const uint16_t pages[NR_SLOTS], int flags, struct worker *w,
		bool mixed);
void arena_check(const struct arena *a, const char *whose);
bool hole_make(void);
void worker_memory(struct worker *w);
void replace_junk(struct worker *w);
void *mangler(void *arg);

#endif /* PMAP_TEST_FUZZ_H */
