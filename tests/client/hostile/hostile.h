/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A hostile user, by a seed: programs whose attackers use every door at once on buffers
 * of mixed folios, which change all the time, while the controller and the machine are
 * disturbed.  The requirements: data are right, no byte changes that no command in flight
 * may change, every command ends, and in the end all memory and queues are given back.
 *
 *	hostile.c  the programs, the activity beside them, and the end
 *	attack.c   an attacker: files, rings, registrations
 *	command.c  its commands, and the check of their results
 *	mem.c      its memory, the guards, and the threads that check them
 *	event.c    disturbances of the controller and the machine, alone or two at once
 *	ns.c       disturbances of the namespaces
 *	limit.c    a user at RLIMIT_MEMLOCK
 *	late.c     a disk that answers late, and one that never answers
 *	format.c   a namespace that is formatted while it is used
 */
#ifndef PMAP_TEST_HOSTILE_H
#define PMAP_TEST_HOSTILE_H

#include "auto/auto.h"

#define PROGRAMS  2u
#define ATTACKERS 3u
/*
 * Regions of the disk that the lives of a program use in turn: where the last one was
 * killed, a write may still be on its way.
 */
#define LIVES	  4u
#define PARTS	  6u   /* of a region: commands in flight, at most */
#define PART	  256u /* blocks of a part */
#define REGION	  (PARTS * PART)
#define MAX_PAGES 40u
/* Behind an IOMMU stock takes no more. */
#define MAX_BYTES (PART * 512u)

/* ---- random numbers: each thread has its own, so that a seed repeats a run ---- */

struct draw {
	uint64_t state;
};

uint64_t draw_next(struct draw *d);
static inline uint32_t draw_of(struct draw *d, uint64_t limit)
{
	return (uint32_t)(draw_next(d) % limit);
}
static inline bool one_in(struct draw *d, uint32_t n) { return !draw_of(d, n); }
struct draw draw_from(uint64_t a, uint64_t b, uint64_t c);

/* ---- memory that all processes share ---- */

/*
 * The generations that a region of the disk may contain: from the last one whose write
 * was acknowledged to the last one sent; zero is a block never written to.
 */
struct region {
	uint64_t next;
	uint64_t acked[REGION], newest[REGION];
};

enum { DOOR_PLAIN, DOOR_FIXED, DOOR_PMAP, DOOR_BAD, NR_DOORS };
extern const char *const door_names[NR_DOORS];

enum event {
	EVENT_RESET,
	EVENT_UNBIND,
	EVENT_REMOVE,
	EVENT_KILL,
	EVENT_HOTPLUG,
	EVENT_PRESSURE,
	EVENT_SUSPEND,
	EVENT_DETACH,
	EVENT_FORMAT,
	EVENT_EFFECTS,
	NR_EVENTS,
};

/* How commands have ended that failed: so often with that. */
#define NR_ENDS 32u
struct ends {
	int res[NR_ENDS];
	uint64_t times[NR_ENDS];
};

/* Counted by all, with atomics. */
struct tally {
	uint64_t rounds, batches, sent[NR_DOORS], failed[NR_DOORS], verified, bytes;
	uint64_t registered, pmaps, clones, midway, snapshots, closed, received, attached;
	uint64_t auto_mq, auto_queue, queued, lives, killed, gone, taken, limits, switched;
	uint64_t refused; /* registrations: no memory, or in a reset */
	uint64_t held;	  /* at the limit, registrations that had to be tried again */
	uint64_t many;	  /* tables of more than a few buffers */
	uint64_t most;	  /* buffers in one */
	uint64_t sampled; /* guard pages, beside all that are looked at after a round */
	uint64_t events[NR_EVENTS], together;	 /* two of them at once */
	uint64_t spent[NR_EVENTS];		 /* ms */
	uint64_t silences, unanswered, removals; /* of a disk that never answers */
	uint64_t slowest[2];			 /* ms, until all had ended: there, removed */
	struct ends ends;
};

#define COUNT(h, what, n) __atomic_fetch_add(&(h)->tally.what, (n), __ATOMIC_RELAXED)

/* A namespace that is formatted; all processes share this state of it. */
struct formatted {
	char name[64];
	volatile bool stop;
	unsigned int pause;	   /* ms, between the turns of a tenant */
	volatile unsigned int seq; /* odd: being formatted, or unknown */
	volatile uint32_t block;   /* of it, else */
	uint64_t formats, tries;
};

struct hostile {
	volatile bool stop;
	volatile bool failed; /* somewhere: all end */
	struct dev dev;	      /* its geometry; the file is not open */
	int limited_fd;	      /* of the limited user */
	int sock[2];	      /* files, with the giver and the taker */
	/*
	 * A suspend resets all controllers: it must not come while the disk that falls
	 * silent is being prepared or removed.  A thread sets one of these, then reads the other.
	 */
	bool sleeping, fragile;
	volatile bool effects; /* the disk's effects log may say anything */
	struct formatted second;
	struct tally tally;
	struct region region[PROGRAMS][ATTACKERS][LIVES];
};

/* ---- mem.c ---- */

/* The last one is of small pages. */
#define ARENAS	  4u
#define ARENA_MAX MIB(4)

/* Memory of an attacker, all poison except the parts that commands in flight use. */
struct arena {
	struct mem mem;
	bool private;
	bool busy[ARENA_MAX / PAGE];
};

/* Pages in any order, at neighbouring addresses; or at the addresses of the arena itself. */
struct buffer {
	unsigned char *at; /* for the kernel; NULL: none */
	size_t len, skip;  /* skip: of the first page */
	struct arena *arena;
	unsigned int pages, page[MAX_PAGES];
	bool windowed;	       /* else a piece of the arena */
	unsigned char *window; /* the addresses of the pages, once there is one */
};

bool arena_open(struct arena *a, unsigned int kind, struct draw *d);
void arena_close(struct arena *a);
bool arena_clean(const struct arena *a, const char *whose);
/* The same of one page, if no command may use it. */
bool arena_sample(const struct arena *a, struct draw *d, const char *whose);

bool buffer_choose(struct buffer *b, struct arena *a, struct draw *d);
/* Other pages at the same addresses; @b still says which the old ones are. */
bool buffer_cover(const struct buffer *b, struct draw *d);
/* The pages of a part, if no other command uses them; else false. */
bool buffer_take(const struct buffer *b, size_t from, size_t len);
void buffer_give(const struct buffer *b, size_t from, size_t len);
void buffer_write(const struct buffer *b, size_t from, const void *data, size_t len);
void buffer_read(const struct buffer *b, size_t from, void *data, size_t len);

/* A child with a copy of the private memory, at which it looks for a while. */
void snapshot(struct hostile *h, const struct arena *a, unsigned int nr, struct draw *d);
/* A process that takes memory that others have given back. */
void taker(void *arg);

/* ---- attack.c ---- */

#define SLOTS 3u
/* io_uring takes 16384. */
#define MANY  10000u
#define PMAPS 3u

struct program {
	struct hostile *h;
	unsigned int nr, life, lost; /* lost: so often the device was gone */
	bool mortal;		     /* it may be killed */
	volatile bool over;	     /* the device is gone, or it is time */
	struct dev dev;		     /* a file that all its attackers may use */
	int inherited;		     /* and one of the parent's, or -1 */
};

struct flight {
	bool sent;
	unsigned int door;
	uint8_t opcode;
	struct buffer buf; /* as it was then */
	size_t from;
	uint32_t len;
	uint32_t block; /* of the region */
	uint64_t gen;
};

struct attacker {
	struct program *prog;
	struct hostile *h;
	struct draw draw;
	struct region *region;
	uint64_t lba; /* of the region */
	char name[48];
	pthread_t thread;
	struct arena arena[ARENAS];
	/* of a round */
	struct dev dev;
	enum mode mode, twin_mode;
	struct io_uring ring, twin; /* twin: has the cloned buffers */
	bool open, twin_open, own_file;
	unsigned int slots, cloned_slots, hot; /* hot: from there on some are used more */
	struct buffer slot[MANY], cloned[MANY];
	struct buffer pmap[PMAPS];
	uint32_t index[PMAPS];
	/* of a batch */
	struct flight flight[PARTS];
	struct io_uring *by;
	unsigned int nr;
	uint64_t batches;
	unsigned char data[MAX_BYTES];
};

/* Opens a file of the disk with this serial number; false: it is not there. */
bool file_open(const struct hostile *h, struct dev *dev);
void give_up(struct attacker *a);
/* A number below @of; some numbers come more often. */
unsigned int some_slot(struct attacker *a, unsigned int of);
void program_run(struct program *p);

/* ---- command.c ---- */

/* May a command end so when a controller is disturbed; or its namespace detached? */
bool by_disturbance(int res);
bool by_detach(int res);
void end_counted(struct hostile *h, int res);
/*
 * Prepare command @i, if there is something for it.  @last: the ring is closed, and the
 * memory given back, while it is in flight.
 */
bool command_prep(struct attacker *a, unsigned int i, bool last);
/* Until all have ended, which is looked at. */
bool commands_reap(struct attacker *a);

/* ---- event.c ---- */

bool event_begin(struct hostile *h);
/* One of them, or two at once; @kill ends a program. */
void event_some(struct hostile *h, struct draw *d, bool (*kill)(struct hostile *h));
void events_told(const struct hostile *h);
bool event_is_alone(void);
/* The controller is live, with both namespaces; false, and a failure, if that takes too long. */
bool is_back(const struct hostile *h);
/* A process: the door, its limits, namespaces looked for again. */
void switches(void *arg);

/* ---- ns.c ---- */

bool do_detach(struct hostile *h, struct draw *d);
bool do_effects(struct hostile *h, struct draw *d);
bool effects_possible(void);

/* ---- limit.c ---- */

#define LIMITED_UID 4711

void limited(void *arg);
bool limit_is_back(void);

/* ---- late.c ---- */

/* Does lockdep watch?  Stock's recovery and suspend freeze in one worker and thaw in another. */
bool lockdep_watches(void);
void hostile_late(void);
/* A process, beside the mix: the disk -D. */
void never_answers(void *arg);
/* Until that is over in which no suspend may come, or far too long. */
void never_rests(struct hostile *h);

/* ---- format.c ---- */

/* Of opt.dev the second; false: there is none. */
bool formatted_begin(struct formatted *f);
/* A process that uses it, until f->stop. */
void tenants(void *arg);
/* With ioctl or io_uring; tried until it succeeds. */
bool format_once(struct formatted *f, struct draw *d);
void hostile_format(void);

#endif
