/* SPDX-License-Identifier: GPL-2.0 */
/* Between the files of the subject faults. */
#ifndef PMAP_TEST_FAULTS_H
#define PMAP_TEST_FAULTS_H

#include "inject.h"

/* Give up CAP_IPC_LOCK, and may lock @pages; for good, so in a child. */
bool limit_memlock(uint32_t pages);
/* VmPin and fdinfo are at zero. */
bool nothing_left(int fd);
/* @pages are registered and used with exactly them allowed; see limit_memlock(). */
bool works(const char *name, uint32_t pages);

/* faults-device.c: the controller comes, goes, and fails commands */
bool learn_pci(void);
bool bind_to(const char *what); /* "bind" or "unbind" it */
bool rebind(void);
void copies(void);
void first_use(void);
void probe(void);
void identify_fails(void);
void removed(void);
void bounced(void);
/* faults-command.c */
void refused_registers(void);
void refused_commands(void);
void built_lists(void);
void statuses(void);
void lost(void);
void no_tags(void);
void formatting(void);
/* faults-race.c */
void first_race(void);
void killed(void);
void removal_races(void);

#endif
