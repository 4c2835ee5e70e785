// SPDX-License-Identifier: GPL-2.0
/*
 * The namespace to read from, found from either of its device files, and the
 * guards: passthrough goes past the page cache, so a namespace in use is
 * refused even for reading.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/nvme_ioctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "bench.h"

#define DOOR "/sys/block/%s/device/pmap/auto_mode"
#include <nvme_pmap.h>

/* /dev/ng0n1 or /dev/nvme0n1 -> nvme0n1; partitions are no namespaces. */
static void find_name(struct target *target, const char *device)
{
	struct stat st;
	char link[512], dir[128];
	const char *base;
	ssize_t len;

	if (stat(device, &st))
		die("%s: %s", device, strerror(errno));
	if (!S_ISBLK(st.st_mode) && !S_ISCHR(st.st_mode))
		die("%s is no device", device);
	snprintf(dir, sizeof(dir), "/sys/dev/%s/%u:%u",
		 S_ISBLK(st.st_mode) ? "block" : "char", major(st.st_rdev),
		 minor(st.st_rdev));
	len = readlink(dir, link, sizeof(link) - 1);
	if (len < 0)
		die("%s: not found in /sys", device);
	link[len] = '\0';
	base = strrchr(link, '/') + 1;
	if (S_ISCHR(st.st_mode) && !strncmp(base, "ng", 2))
		snprintf(target->name, sizeof(target->name), "nvme%.50s",
			 base + 2);
	else
		snprintf(target->name, sizeof(target->name), "%.60s", base);
	snprintf(dir, sizeof(dir), "/sys/block/%s", target->name);
	if (strncmp(target->name, "nvme", 4) || access(dir, F_OK))
		die("%s is not an NVMe namespace (%s)", device, base);
}

static bool is_part_of(const char *name, const char *disk)
{
	size_t len = strlen(disk);

	return !strncmp(name, disk, len) && (!name[len] || name[len] == 'p');
}

/* True for the namespace and its partitions, by number. */
static bool is_ours(const struct target *target, unsigned int maj,
		    unsigned int min)
{
	char path[64], link[512];
	ssize_t len;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", maj, min);
	len = readlink(path, link, sizeof(link) - 1);
	if (len < 0)
		return false;
	link[len] = '\0';
	return is_part_of(strrchr(link, '/') + 1, target->name);
}

static bool node_is_ours(const struct target *target, const char *path)
{
	struct stat st;

	return !stat(path, &st) && S_ISBLK(st.st_mode) &&
	       is_ours(target, major(st.st_rdev), minor(st.st_rdev));
}

static void refuse_mounted(const struct target *target)
{
	char line[4096], where[1024], source[1024];
	unsigned int maj, min;
	const char *tail;
	FILE *file = fopen("/proc/self/mountinfo", "re");

	if (!file)
		die("/proc/self/mountinfo: %s", strerror(errno));
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%*d %*d %u:%u %*s %1023s", &maj, &min,
			   where) != 3)
			continue;
		/* btrfs shows a number of its own; the source names the device */
		tail = strstr(line, " - ");
		if (!tail || sscanf(tail, " - %*s %1023s", source) != 1)
			source[0] = '\0';
		if (is_ours(target, maj, min) || node_is_ours(target, source))
			die("refused: %s is mounted on %s", target->name,
			    where);
	}
	fclose(file);
}

static void refuse_swap(const struct target *target)
{
	char line[1024], path[1024];
	FILE *file = fopen("/proc/swaps", "re");

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "%1023s", path) == 1 &&
		    node_is_ours(target, path))
			die("refused: %s holds swap", target->name);
	if (file)
		fclose(file);
}

static void refuse_holders_in(const struct target *target, const char *dir)
{
	const struct dirent *entry;
	DIR *handle = opendir(dir);

	while (handle && (entry = readdir(handle)))
		if (entry->d_name[0] != '.')
			die("refused: %s is held by %s", target->name,
			    entry->d_name);
	if (handle)
		closedir(handle);
}

/* device mapper, md and the like, on the namespace or a partition */
static void refuse_held(const struct target *target)
{
	const struct dirent *entry;
	char dir[512];
	DIR *handle;

	snprintf(dir, sizeof(dir), "/sys/block/%s/holders", target->name);
	refuse_holders_in(target, dir);
	snprintf(dir, sizeof(dir), "/sys/block/%s", target->name);
	handle = opendir(dir);
	while (handle && (entry = readdir(handle))) {
		if (!is_part_of(entry->d_name, target->name))
			continue;
		snprintf(dir, sizeof(dir), "/sys/block/%s/%s/holders",
			 target->name, entry->d_name);
		refuse_holders_in(target, dir);
	}
	if (handle)
		closedir(handle);
}

/*
 * O_EXCL is the final guard, and keeps others out while we run.  A program that
 * ended just now may hold the device for a moment: its ring is torn down later.
 */
static int open_exclusive(const char *path, int mode)
{
	int fd;

	for (int tries = 0; tries < 20; tries++) {
		fd = open(path, mode | O_DIRECT | O_EXCL);
		if (fd >= 0 || errno != EBUSY)
			break;
		sleep_ns(50000000);
	}
	return fd;
}

static void open_files(struct target *target)
{
	int mode = (target->write ? O_RDWR : O_RDONLY) | O_CLOEXEC;
	char path[128];

	snprintf(path, sizeof(path), "/dev/%s", target->name);
	target->block_fd = open_exclusive(path, mode);
	if (target->block_fd < 0)
		die("%s%s: %s", errno == EBUSY ? "refused: in use: " : "", path,
		    strerror(errno));
	snprintf(path, sizeof(path), "/dev/ng%s",
		 target->name + strlen("nvme"));
	target->generic_fd = open(path, mode);
	if (target->generic_fd < 0)
		die("%s: %s", path, strerror(errno));
}

static void read_geometry(struct target *target)
{
	int lba, nsid = ioctl(target->generic_fd, NVME_IOCTL_ID);

	if (ioctl(target->block_fd, BLKGETSIZE64, &target->bytes) ||
	    ioctl(target->block_fd, BLKSSZGET, &lba))
		die("%s: %s", target->name, strerror(errno));
	if (nsid <= 0 || ioctl(target->block_fd, NVME_IOCTL_ID) != nsid)
		die("%s: its two device files are not one namespace",
		    target->name);
	target->nsid = (uint32_t)nsid;
	target->lba_bytes = (uint32_t)lba;
	if (target->query.lba_bytes && target->query.lba_bytes != (uint32_t)lba)
		die("%s: formatted with metadata; not supported here",
		    target->name);
}

void target_open(struct target *target, const char *device, bool write)
{
	int ret;

	target->write = write;
	find_name(target, device);
	refuse_mounted(target);
	refuse_swap(target);
	refuse_held(target);
	open_files(target);
	ret = nvme_pmap_query_file(target->generic_fd, &target->query);
	if (ret && ret != -ENOTTY)
		die("%s: NVME_PMAP_IOC_QUERY: %s", target->name,
		    strerror(-ret));
	target->fork = !ret;
	if (ret)
		memset(&target->query, 0, sizeof(target->query));
	else if (!read_line(target->door, sizeof(target->door), DOOR,
			    target->name))
		die("%s: no auto_mode", target->name);
	read_geometry(target);
}

bool target_polls(const struct target *target)
{
	char line[32];

	return read_line(line, sizeof(line), "/sys/block/%s/queue/io_poll",
			 target->name) &&
	       !strcmp(line, "1");
}

uint64_t target_block_ios(const struct target *target)
{
	unsigned long long reads, writes;
	char line[512];

	if (!read_line(line, sizeof(line), "/sys/block/%s/stat",
		       target->name) ||
	    sscanf(line, "%llu %*u %*u %*u %llu", &reads, &writes) != 2)
		die("cannot read /sys/block/%s/stat", target->name);
	return reads + writes;
}

void target_door(const struct target *target, const char *door)
{
	char path[160];
	FILE *file;

	if (!target->fork)
		return;
	snprintf(path, sizeof(path), DOOR, target->name);
	file = fopen(path, "we");
	if (!file || fputs(door, file) < 0 || fclose(file))
		die("%s: %s", path, strerror(errno));
}

void target_shut_door(const struct target *target)
{
	char pinned[32];

	target_door(target, "off");
	for (int tries = 0; target->fork; tries++) {
		if (!read_line(pinned, sizeof(pinned),
			       "/sys/block/%s/device/pmap/auto_pinned",
			       target->name))
			die("%s: no auto_pinned", target->name);
		if (!strcmp(pinned, "0"))
			return;
		if (tries == 1000)
			die("%s: its auto door keeps memory", target->name);
		sleep_ns(1000000);
	}
}

bool target_has_queue(const struct target *target)
{
	struct nvme_pmap_query query;
	int ret = nvme_pmap_query_file(target->generic_fd, &query);

	if (ret)
		die("NVME_PMAP_IOC_QUERY: %s", strerror(-ret));
	return query.queue_polled || query.queue_irq;
}

void target_stats(const struct target *target, struct nvme_pmap_stats *stats)
{
	int ret = 0;

	memset(stats, 0, sizeof(*stats));
	if (target->fork)
		ret = nvme_pmap_stats_file(target->generic_fd, stats);
	if (ret)
		die("NVME_PMAP_IOC_STATS: %s", strerror(-ret));
}
