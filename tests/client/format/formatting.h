/* SPDX-License-Identifier: GPL-2.0 */
/* Format NVM under load: shared by the subjects formatting and format_unseen. */
#ifndef PMAP_TEST_FORMATTING_H
#define PMAP_TEST_FORMATTING_H

#include "lib/util.h"

/* Of a stand: a list of the last pages begins where a page of lists does. */
#define FORMAT_PAGES 288u

struct stand {
	struct setup s;
	uint32_t index; /* all of the memory, in the form under test */
	int lbaf[2];	/* 512 bytes, 4096 bytes */
};

/* The memory is shared: the parent sees the data that a child reads. */
bool stand_open(struct stand *st, const char *name, uint32_t flags);

/* How the format is asked for: 0, an NVMe status or -errno. */
typedef int format_fn(const struct dev *dev, unsigned int lbaf);
int format_ioctl(const struct dev *dev, unsigned int lbaf);

/*
 * An unprivileged child reads all the time with data_len right for one format or the
 * other, while @format changes that, @rounds times at least and an even number of
 * times; no read may touch other bytes than its own.  Then @last formats, twice.
 */
struct race_of {
	uint32_t flags; /* of the registration */
	format_fn *format, *last;
	bool resets; /* @format resets the controller, which may end reads */
	unsigned int rounds;
};
void format_race(const struct race_of *of);

/* Every command still reads into its own slice: the lists have not changed. */
void lists_intact(struct stand *st);

#endif /* PMAP_TEST_FORMATTING_H */
