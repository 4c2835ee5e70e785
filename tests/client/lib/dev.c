// SPDX-License-Identifier: GPL-2.0
/* The device behind a /dev/ngXnY: identify data, sysfs, and the pmap calls. */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/util.h"

#define GENERIC "/sys/class/nvme-generic"

bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	int err = errno;

	if (fd >= 0)
		close(fd);
	errno = err;
	return good;
}

bool read_file(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, size - 1);

	if (fd >= 0)
		close(fd);
	if (n < 0)
		return false;
	buf[n] = 0;
	return true;
}

static uint32_t nsid_of(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int nsid = fd < 0 ? -1 : ioctl(fd, NVME_IOCTL_ID);

	if (fd >= 0)
		close(fd);
	return nsid < 0 ? 0 : (uint32_t)nsid;
}

bool dir_find(const char *dir, bool (*is)(const char *entry, const void *arg), const void *arg,
	      char *name, size_t size)
{
	DIR *open = opendir(dir);
	struct dirent *entry;
	bool found = false;

	while (open && !found && (entry = readdir(open))) {
		found = entry->d_name[0] != '.' && is(entry->d_name, arg);
		if (found)
			snprintf(name, size, "%.30s", entry->d_name);
	}
	if (open)
		closedir(open);
	return found;
}

bool serial_is(const char *path, const char *serial)
{
	char text[64];

	if (!read_file(path, text, sizeof(text)))
		return false;
	text[strcspn(text, " \n")] = 0;
	return !strcmp(text, serial);
}

struct ns_wanted {
	const char *serial;
	uint32_t nsid;
};

static bool is_wanted(const char *node, const void *arg)
{
	const struct ns_wanted *wanted = arg;
	char path[320];

	snprintf(path, sizeof(path), GENERIC "/%s/device/serial", node);
	if (!serial_is(path, wanted->serial))
		return false;
	snprintf(path, sizeof(path), "/dev/%s", node);
	return nsid_of(path) == wanted->nsid;
}

static bool find_serial(const char *serial, uint32_t nsid, char *path, size_t size)
{
	const struct ns_wanted wanted = { serial, nsid };
	char node[32];
	bool found = dir_find(GENERIC, is_wanted, &wanted, node, sizeof(node));

	if (found)
		snprintf(path, size, "/dev/%s", node);
	return found;
}

/*
 * Controllers are probed asynchronously, so neither the order of their numbers
 * nor the moment at which they appear is known: names are by serial number,
 * and a device may take a while.
 */
bool dev_path(const char *name, char *path, size_t size)
{
	uint64_t end = now_ms() + 10000;
	char serial[32] = "";
	uint32_t nsid = 1;

	if (!name)
		name = opt.dev;
	if (strncmp(name, "serial=", 7)) {
		snprintf(path, size, "%s", name);
		return true;
	}
	sscanf(name + 7, "%31[^:]:%u", serial, &nsid);
	while (!find_serial(serial, nsid, path, size)) {
		if (now_ms() > end)
			return false;
		sleep_ms(50);
	}
	return true;
}

int admin_identify(int fd, unsigned int cns, uint32_t nsid, void *buf)
{
	struct nvme_passthru_cmd cmd = {
		.opcode = 0x06,
		.nsid = nsid,
		.addr = (uintptr_t)buf,
		.data_len = 4096,
		.cdw10 = cns,
	};
	int ret = ioctl(fd, NVME_IOCTL_ADMIN_CMD, &cmd);

	return ret < 0 ? -errno : ret;
}

static void parse_namespace(struct dev *dev, const unsigned char *id)
{
	unsigned int format = (id[26] & 0xf) | (id[26] >> 1 & 0x30);
	uint32_t lbaf;

	memcpy(&dev->blocks, id, 8);
	memcpy(&lbaf, id + 128 + 4 * format, 4);
	dev->ms = lbaf & 0xffff;
	dev->lba = 1u << (lbaf >> 16 & 0xff);
	dev->block = dev->lba + (id[26] & 0x10 ? dev->ms : 0);
}

static bool identify(struct dev *dev)
{
	unsigned char *id = aligned_alloc(PAGE, PAGE);
	int ret = admin_identify(dev->fd, 1, 0, id);

	/* Byte 77 is MDTS in units of CAP.MPSMIN, which is 4 KiB in QEMU. */
	if (!ret) {
		dev->mdts = id[77] && id[77] < 11 ? (uint64_t)PAGE << id[77] : MIB(8);
		ret = admin_identify(dev->fd, 0, dev->nsid, id);
	}
	if (!ret)
		parse_namespace(dev, id);
	free(id);
	return CHECK_RET(ret, 0, "identify %s", dev->path);
}

/* Both kinds, where any are left; a case goes on without one. */
bool dev_attach(const struct dev *dev)
{
	static const uint32_t kinds[] = { 0, NVME_PMAP_QUEUE_POLLED };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		int ret = nvme_pmap_attach_queue(dev->fd, kinds[i]);

		if (ret != -EUSERS && ret != -ENOTTY && ret != -EXDEV &&
		    !CHECK_RET(ret, 0, "attach queue %u of %s", i, dev->path))
			return false;
	}
	return true;
}

/* A queue that is there, and takes nothing, is none. */
static void check_queues_used(const struct dev *dev)
{
	struct nvme_pmap_stats st;

	if (nvme_pmap_stats_file(dev->fd, &st) || stats_total(&st) < 64)
		return;
	note("%" PRIu64
	     " commands, %llu by queue, full %llu down %llu frozen %llu list %llu mode %llu "
	     "worker %llu busy %llu",
	     stats_total(&st), (unsigned long long)st.queue, (unsigned long long)st.fallback_full,
	     (unsigned long long)st.fallback_down, (unsigned long long)st.fallback_frozen,
	     (unsigned long long)st.fallback_list, (unsigned long long)st.fallback_mode,
	     (unsigned long long)st.fallback_worker, (unsigned long long)st.fallback_busy);
	CHECK(st.queue || st.fallback_down || st.fallback_worker || st.fallback_list,
	      "of %" PRIu64 " commands on %s none went by a queue", stats_total(&st), dev->path);
}

bool dev_open(struct dev *dev, const char *name, int flags)
{
	int nsid;

	memset(dev, 0, sizeof(*dev));
	dev->fd = -1;
	if (!CHECK(dev_path(name, dev->path, sizeof(dev->path)), "no device %s",
		   name ? name : opt.dev))
		return false;
	dev->fd = open(dev->path, flags | O_CLOEXEC);
	if (!CHECK(dev->fd >= 0, "open %s: %s", dev->path, strerror(errno)))
		return false;
	nsid = ioctl(dev->fd, NVME_IOCTL_ID);
	if (!CHECK(nsid > 0, "NVME_IOCTL_ID of %s: %s", dev->path, strerror(errno)))
		return false;
	dev->nsid = (uint32_t)nsid;
	return identify(dev) && (!opt.queues || opt.door || dev_attach(dev));
}

void dev_close(struct dev *dev)
{
	if (dev->fd >= 0 && opt.queues && !opt.door)
		check_queues_used(dev);
	if (dev->fd >= 0)
		close(dev->fd);
	dev->fd = -1;
}

int dev_open_block(const struct dev *dev, int flags)
{
	char path[80];

	snprintf(path, sizeof(path), "/dev/nvme%s", dev->path + strlen("/dev/ng"));
	return open(path, flags | O_DIRECT | O_CLOEXEC);
}

bool dev_sysfs(const struct dev *dev, const char *attr, char *path, size_t size)
{
	snprintf(path, size, GENERIC "/%s/device/%s", dev->path + strlen("/dev/"), attr);
	return !access(path, F_OK);
}

bool dev_pci(const struct dev *dev, char *name, size_t size)
{
	char path[160], target[256];
	ssize_t n;

	dev_sysfs(dev, "device", path, sizeof(path));
	n = readlink(path, target, sizeof(target) - 1);
	if (!CHECK(n > 0, "%s: %s", path, strerror(errno)))
		return false;
	target[n] = 0;
	snprintf(name, size, "%s", strrchr(target, '/') + 1);
	return true;
}

bool node_timeout(const char *node, const char *ms)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/block/nvme%s/queue/io_timeout",
		 node + strlen("/dev/ng"));
	return write_file(path, ms);
}

bool reset_ctrl(const struct dev *dev)
{
	char path[160];

	return CHECK(dev_sysfs(dev, "reset_controller", path, sizeof(path)), "no reset") &&
	       CHECK(write_file(path, "1"), "%s: %s", path, strerror(errno));
}

bool cpu_online(unsigned int cpu, const char *on)
{
	uint64_t end = now_ms() + 20000;
	char path[80];

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/online", cpu);
	/* the kernel holds CPUs while it probes a PCI device, which may be bound at the moment */
	while (!write_file(path, on) && errno == EBUSY && now_ms() < end)
		sleep_ms(10);
	return CHECK(write_file(path, on), "%s to %s: %s", path, on, strerror(errno));
}

bool run_on(unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return CHECK(!sched_setaffinity(0, sizeof(set), &set), "CPU %u: %s", cpu, strerror(errno));
}

const struct reg_form reg_forms[NR_REG_FORMS] = {
	[REG_PRP] = { "prp", NVME_PMAP_REG_PRP },
	[REG_SGL_LIST] = { "sgl-list", NVME_PMAP_REG_SGL_LIST },
	[REG_ANY] = { "any", 0 },
};

bool must_register(const struct dev *dev, const void *addr, uint64_t len, uint32_t flags,
		   uint32_t *index)
{
	int ret = nvme_pmap_register_buf(dev->fd, addr, len, flags, index);

	return CHECK_RET(ret, 0, "register %p + %#" PRIx64 " flags %u", addr, len, flags);
}

/* No signal is sent, so that EINTR is a failure, too. */
bool must_unregister(const struct dev *dev, uint32_t index)
{
	return CHECK_RET(nvme_pmap_unregister_buf(dev->fd, index), 0, "unregister %u", index);
}

bool must_attach(int fd, uint32_t flags)
{
	return CHECK_RET(nvme_pmap_attach_queue(fd, flags), 0, "attach, flags %u", flags);
}

bool must_detach(int fd, uint32_t flags)
{
	return CHECK_RET(nvme_pmap_detach_queue(fd, flags), 0, "detach, flags %u", flags);
}

struct nvme_pmap_query queue_query(int fd)
{
	struct nvme_pmap_query q = { 0 };

	CHECK_RET(nvme_pmap_query_file(fd, &q), 0, "query");
	return q;
}

uint64_t stats_total(const struct nvme_pmap_stats *stats)
{
	return stats->prp + stats->sgl_list + stats->sgl_run + stats->built;
}

bool fdinfo_counter(int fd, const char *name, uint64_t *value)
{
	char path[64], text[4096], key[64], *at;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	if (!read_file(path, text, sizeof(text)))
		return false;
	snprintf(key, sizeof(key), "\npmap-%s:", name);
	at = strstr(text, key);
	return at && sscanf(at + strlen(key), "%" SCNu64, value) == 1;
}

int send_fd(int sock, int fd)
{
	union {
		struct cmsghdr hdr;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	char c = 0;
	struct iovec iov = { &c, 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };

	control.hdr = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)),
					.cmsg_level = SOL_SOCKET,
					.cmsg_type = SCM_RIGHTS };
	memcpy(CMSG_DATA(&control.hdr), &fd, sizeof(fd));
	return sendmsg(sock, &msg, 0) == 1 ? 0 : -errno;
}

int receive_fd(int sock)
{
	union {
		struct cmsghdr hdr;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	char c;
	struct iovec iov = { &c, 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	int fd = -1;

	if (recvmsg(sock, &msg, 0) == 1 && msg.msg_controllen >= CMSG_LEN(sizeof(int)))
		memcpy(&fd, CMSG_DATA(&control.hdr), sizeof(fd));
	return fd;
}
