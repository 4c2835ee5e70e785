/* SPDX-License-Identifier: GPL-2.0 */
/* Between the files of the subject faults. */
#ifndef PMAP_TEST_FAULTS_H
#define PMAP_TEST_FAULTS_H

#include "faults/inject.h"

/* Give up CAP_IPC_LOCK, and may lock @pages; for good, so in a child. */
bool limit_memlock(uint32_t pages);
/* VmPin and fdinfo are at zero. */
bool nothing_left(int fd);
/* @pages are registered and used with exactly them allowed; see limit_memlock(). */
bool works(const char *name, uint32_t pages);

/* device.c: the controller comes, goes, and fails commands */
bool learn_pci(void);
bool bind_to(const char *what); /* "bind" or "unbind" it */
bool rebind(void);
const char *bound_pci(void); /* its PCI address, once known */
void copies(void);
void first_use(void);
void probe(void);
void identify_fails(void);
void removed(void);
void bounced(void);
/* command.c */
void refused_registers(void);
void refused_commands(void);
void built_lists(void);
void statuses(void);
void lost(void);
void no_tags(void);
void formatting(void);
/* auto.c: fixed buffers of a program that knows nothing of pmaps */
void auto_hungry(void);
void auto_no_tags(void);
void auto_full(void);
void auto_bounced(void);
void auto_first_race(void);
void auto_clone_race(void);
void auto_unprepared(void);
void auto_removed(void);
void auto_operated(void);
void auto_mixed(void);
void auto_two(void);	/* needs -D */
void auto_ending(void); /* likewise; a slow one */
/* race.c */
void first_race(void);
void killed(void);
void removal_races(void);
/* queue.c: queues that cannot be had */
#define POLLED NVME_PMAP_QUEUE_POLLED

unsigned int by_queue(int fd); /* commands of the file */
/* The controller has it, perhaps only after a reset that is under way. */
bool queue_up(int fd, uint32_t flags);
/* A command of @dev's file goes by it: soon, where the namespace may be frozen. */
bool read_by_queue(struct dev *dev, uint32_t flags);
/* @all queues are free; @dev's file gets one, uses it, and gives it back. */
bool queue_works(struct dev *dev, uint32_t flags, unsigned int all);
bool all_queues(void); /* the same with a file of its own */
void attach_fails(void);
void refused_pairs(void);
void failed_once(void);
void probe_queues(void);
/* flight.c; the last three need -D */
bool push_reads(struct setup *s, unsigned int nr);
void unpolled(void);
void format_batches(void);
void mixed_batch(void);
void draining(void);
void full_batch(void);
void aborts(void);
/* attach.c */
void attach_resets(void);
void attach_removals(void);
void attach_killed(void);
void shared_resets(void);

/* A thread: sends commands that the driver takes for a format, until @stop. */
struct formatter {
	int fd;
	volatile bool stop;
};

void *faults_format(void *formatter);

#endif
