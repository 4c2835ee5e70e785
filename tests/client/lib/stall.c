// SPDX-License-Identifier: GPL-2.0
/* A controller that does not answer: see stall.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/stall.h"

/* Registers of 4 KiB, then two doorbells for each queue. */
#define REGS	 0x2000u
#define DOORBELL 0x1000u

bool doorbells_open(struct doorbells *db, const struct dev *dev)
{
	char path[160];
	void *map = MAP_FAILED;
	int fd;

	db->regs = NULL;
	if (!reset_ctrl(dev) ||
	    !CHECK(dev_sysfs(dev, "device/resource0", path, sizeof(path)), "no registers"))
		return false;
	fd = open(path, O_RDWR | O_SYNC | O_CLOEXEC);
	if (fd >= 0)
		map = mmap(NULL, REGS, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (!CHECK(map != MAP_FAILED, "%s: %s", path, strerror(errno))) {
		close(fd);
		return false;
	}
	close(fd);
	db->regs = map;
	return true;
}

void doorbells_close(struct doorbells *db)
{
	if (db->regs)
		munmap((void *)db->regs, REGS);
	db->regs = NULL;
}

static void ring(struct doorbells *db, unsigned int nr, uint32_t value)
{
	db->regs[DOORBELL / 4 + nr] = value;
}

void queue_stall(struct doorbells *db, uint16_t qid, uint32_t depth, uint32_t done)
{
	ring(db, 2u * qid + 1, (done + 1) % depth);
}

void queue_go_on(struct doorbells *db, uint16_t qid, uint32_t depth, uint32_t done)
{
	ring(db, 2u * qid + 1, done % depth);
}

void queue_fetch(struct doorbells *db, uint16_t qid, uint32_t tail) { ring(db, 2u * qid, tail); }

/* The records from @mark on: the number of the last, and how many contain @text. */
static uint64_t log_read(uint64_t mark, const char *text, unsigned int *found)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	unsigned long long nr = 0;
	char record[2048];
	ssize_t n;

	CHECK(fd >= 0, "/dev/kmsg: %s", strerror(errno));
	/* EPIPE: some have been overwritten meanwhile, and are passed over */
	while ((n = read(fd, record, sizeof(record) - 1)) > 0 || (n < 0 && errno == EPIPE)) {
		if (n < 0)
			continue;
		record[n] = 0;
		if (sscanf(record, "%*u,%llu,", &nr) == 1 && nr >= mark && text)
			*found += strstr(record, text) != NULL;
	}
	close(fd);
	return nr;
}

uint64_t log_mark(void) { return log_read(0, NULL, NULL) + 1; }

unsigned int log_count(uint64_t mark, const char *text)
{
	unsigned int found = 0;

	log_read(mark, text, &found);
	return found;
}
