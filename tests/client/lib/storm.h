/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A storm: loads in every ring mode and form at once on one device, to have
 * something going on while a case disturbs it.
 *
 *	storm_start()	open, register, begin
 *	storm_stop()	every command has had its CQE; counters agree
 *	storm_drop()	unregister all, see that nothing is held, close
 *	storm_check()	acknowledged writes are on the disk (by any file)
 *	storm_forget()
 *
 * storm_end() is the last four.
 *
 * With opt.door (-a) nothing is registered with the driver: the loads are stock
 * commands with buffers of io_uring's, and storm_stop() sees that the auto door has
 * served them.
 */
#ifndef PMAP_TEST_STORM_H
#define PMAP_TEST_STORM_H

#include "auto/auto.h"

#define STREAMS	     4
#define STREAM_DEPTH 6
/* Blocks of the disk that a storm of 512-byte blocks may use. */
#define STORM_BLOCKS (STREAMS * 1024)

struct stream {
	struct dev dev;
	struct mem mem;
	struct load load;
	uint32_t flags; /* of its registration */
};

struct storm {
	const char *name;	     /* device, as for dev_open() */
	uint64_t lba;		     /* first of its blocks */
	const int *tolerated;	     /* ends with zero; NULL: no error at all */
	bool unprivileged;	     /* no PRP form, which needs CAP_SYS_ADMIN */
	unsigned int queues;	     /* streams whose files have passthrough queues, as bits */
	bool shut;		     /* the auto door is not open all the time */
	volatile unsigned int renew; /* buffers of io_uring's are registered anew */
	/* private */
	volatile bool stop;
	uint64_t verified, failed, queued;
	struct stream stream[STREAMS];
};

/* In two steps where a child runs it: the files and slots are the parent's. */
bool storm_open(struct storm *s);
bool storm_run(struct storm *s);
bool storm_start(struct storm *s);
bool storm_stop(struct storm *s);
bool storm_drop(struct storm *s);
bool storm_check(struct storm *s);
void storm_forget(struct storm *s);
bool storm_end(struct storm *s);
/* Files and memory, with registrations in any state. */
void storm_close(struct storm *s);

/* The auto door has served every stream, see door_served(), or with s->shut any of them. */
bool storm_served(const struct storm *s);

/*
 * With opt.door, wait until the door serves every stream: its workers may have to wait
 * for the CPU while the streams go on.
 */
bool storm_serves(struct storm *s);

uint64_t storm_progress(const struct storm *s);
/* Wait until each stream has verified @pairs more; false when it does not. */
bool storm_moves(struct storm *s, unsigned int pairs);

/* ---- the auto door: as the run asks; unless it is so already ---- */

bool door_open(const struct dev *dev);
/* By fdinfo: the device may be gone, the program has made no call of ours. */
struct paths door_paths(const struct dev *dev);
/* Pairs of a file, below which a mapping may have come too late to serve any of them. */
#define DOOR_FEW 32
/*
 * Of so many pairs of a file the door has served some, and stock the ones before a
 * mapping and few for another reason; fewer pairs than DOOR_FEW prove nothing.
 */
bool door_served(const struct paths *w, uint64_t pairs, const char *what);

/* ---- activity beside a storm ---- */

struct beside {
	struct dev dev;
	volatile bool stop;
	uint64_t done, failed; /* turns; failed: cut short by a reset */
	uint64_t lba;
	pthread_t thread;
};

bool beside_start(struct beside *b, uint64_t lba, void *(*fn)(void *));
void beside_stop(struct beside *b, const char *what);
/* Threads: a buffer that is registered and used, turn by turn; O_DIRECT. */
void *beside_registers(void *arg);
void *beside_block(void *arg);
/* The auto door switched; where the controller is gone, it is looked for. */
void *beside_switches(void *arg);

/* A process with a storm, which is killed; in memory shared with it. */
struct owner {
	struct storm storm;
	volatile bool running;
	char cgroup[64];
};

struct owner *owner_alloc(void);
void owner_free(struct owner *o);
/* Start, kill, and meanwhile reset the controller of @reset, if given. */
bool owner_kill(struct owner *o, uint64_t lba, const struct dev *reset);

unsigned long meminfo_kib(const char *key);

/*
 * Pages that the whole machine has pinned (FOLL_PIN), and whether they come
 * back to that in time.  Pins of processes that are gone count as well.
 */
long pins_held(void);
bool pins_back(long before, unsigned int ms);

/* Commands that a controller reset finds in flight: cancelled or failed. */
extern const int by_reset[];

/* chaos/share.c */
void chaos_shared_file(void);

bool ctrl_is_live(const struct dev *dev);
bool ctrl_reset(const struct dev *dev);

#endif
