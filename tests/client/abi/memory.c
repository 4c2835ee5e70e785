// SPDX-License-Identifier: GPL-2.0
/* Which memory can be registered, and how much. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/util.h"

#define LEN (4 * PAGE)

static void expect_memory(void *map, size_t len, int want, const char *what)
{
	struct io_uring ring;
	uint32_t index;
	struct dev dev;
	int ret;

	if (!dev_open(&dev, NULL, O_RDWR))
		return;
	ret = nvme_pmap_register_buf(dev.fd, map, len, 0, &index);
	CHECK_RET(ret, want, "%s", what);
	CHECK(ret || status_kib(getpid(), "VmPin") > 0, "%s: VmPin is zero", what);
	CHECK(!ret || status_kib(getpid(), "VmPin") == 0, "%s: refused, but pinned", what);
	/* Registered memory is memory that data arrives in. */
	if (!ret && ring_open(&ring, MODE_IRQ, 4)) {
		pattern_fill(map, dev.block, 21, PAGE / dev.block, 6);
		CHECK_RET(run_rw(&ring, &dev, OP_WRITE, index, 0, PAGE, 21), 0, "%s: write", what);
		poison(map, PAGE);
		CHECK_RET(run_rw(&ring, &dev, OP_READ, index, 0, PAGE, 21), 0, "%s: read", what);
		CHECK(pattern_verify(map, dev.block, 21, PAGE / dev.block, 6, what), "%s: data",
		      what);
		io_uring_queue_exit(&ring);
	}
	dev_close(&dev);
}

static unsigned char *anon(int prot)
{
	void *map = mmap(NULL, LEN, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(map != MAP_FAILED, "mmap: %s", strerror(errno));
	if (map == MAP_FAILED)
		exit(1);
	return map;
}

static void protection(void)
{
	unsigned char *map = anon(PROT_READ);

	expect_memory(map, LEN, -EFAULT, "read-only, never touched");
	munmap(map, LEN);
	map = anon(PROT_READ | PROT_WRITE);
	memset(map, 1, LEN);
	mprotect(map, LEN, PROT_READ);
	expect_memory(map, LEN, -EFAULT, "read-only, with contents");
	mprotect(map, LEN, PROT_NONE);
	expect_memory(map, LEN, -EFAULT, "inaccessible");
	mprotect(map, LEN, PROT_READ | PROT_WRITE);
	mprotect(map + LEN - PAGE, PAGE, PROT_READ);
	expect_memory(map, LEN, -EFAULT, "last page read-only");
	expect_memory(map, LEN - PAGE, 0, "all but that page");
	munmap(map + PAGE, PAGE);
	expect_memory(map, LEN - PAGE, -EFAULT, "a hole in it");
	munmap(map, LEN);
	expect_memory(map, LEN, -EFAULT, "unmapped");
	map = anon(PROT_READ | PROT_WRITE);
	expect_memory(map, LEN, 0, "never touched");
	munmap(map, LEN);
	expect_memory((void *)(uintptr_t)expect_memory, 64, -EFAULT, "the program's own code");
}

static void kinds(void)
{
	static unsigned char data[LEN] __attribute__((aligned(64)));
	unsigned char stack[LEN] __attribute__((aligned(64)));
	unsigned char *heap = malloc(LEN);
	struct mem mem;
	int kind;

	expect_memory(data, LEN, 0, "static data");
	expect_memory(stack, LEN, 0, "the stack");
	expect_memory(heap, LEN, 0, "the heap");
	free(heap);
	for (kind = 0; kind < NR_MEM_KINDS; kind++) {
		if (!mem_alloc(&mem, (enum mem_kind)kind, MIB(2)))
			continue;
		expect_memory(mem.map, mem.len, 0, mem_names[kind]);
		mem_free(&mem);
	}
}

static int file_in(const char *dir)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/pmap-test-file", dir);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd >= 0) {
		unlink(path);
		if (ftruncate(fd, LEN))
			note("ftruncate in %s: %s", dir, strerror(errno));
	}
	return fd;
}

static void file_mapping(int fd, int flags, int want, const char *what)
{
	void *map = mmap(NULL, LEN, PROT_READ | PROT_WRITE, flags, fd, 0);

	if (!CHECK(map != MAP_FAILED, "%s: mmap: %s", what, strerror(errno)))
		return;
	expect_memory(map, LEN, want, what);
	munmap(map, LEN);
}

/*
 * A file system that tracks dirty pages cannot have them written behind its
 * back; a private mapping of the same file is anonymous memory once written.
 */
static void files(void)
{
	const char *ext4 = getenv("PMAP_TEST_EXT4");
	int fd = file_in("/dev/shm");

	if (CHECK(fd >= 0, "no file in /dev/shm")) {
		file_mapping(fd, MAP_SHARED, 0, "shared mapping of tmpfs");
		file_mapping(fd, MAP_PRIVATE, 0, "private mapping of tmpfs");
		close(fd);
	}
	if (!ext4) {
		skip_case("PMAP_TEST_EXT4 names no ext4 (tmpfs is fine)");
		return;
	}
	fd = file_in(ext4);
	if (CHECK(fd >= 0, "no file in %s", ext4)) {
		file_mapping(fd, MAP_SHARED, -EFAULT, "shared mapping of ext4");
		file_mapping(fd, MAP_PRIVATE, 0, "private mapping of ext4");
		close(fd);
	}
}

/* Registers of a device are no memory. */
static void device_memory(void)
{
	char path[192];
	struct dev dev;
	void *map;
	int fd;

	if (!dev_open(&dev, NULL, O_RDWR))
		return;
	dev_sysfs(&dev, "device/resource0", path, sizeof(path));
	dev_close(&dev);
	fd = open(path, O_RDWR | O_CLOEXEC);
	map = fd < 0 ? MAP_FAILED : mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED) {
		skip_case("this kernel does not let map %s", path);
	} else {
		expect_memory(map, PAGE, -EFAULT, "a BAR");
		munmap(map, PAGE);
	}
	if (fd >= 0)
		close(fd);
}

static bool fill_table(const struct dev *dev, unsigned char *page)
{
	uint32_t i, index = 0;
	int ret;

	for (i = 0; i < NVME_PMAP_MAX_INDEX; i++) {
		ret = nvme_pmap_register_buf(dev->fd, page + 4 * (i % 1000), 4, NVME_PMAP_REG_PRP,
					     &index);
		if (!CHECK_RET(ret, 0, "registration %u", i) ||
		    !CHECK(index == i, "index %u, not %u", index, i))
			return false;
	}
	return true;
}

static void table_full(void)
{
	struct nvme_pmap_register reg = {
		.size = sizeof(reg), .len = 4, .index = 0, .flags = NVME_PMAP_REG_PRP
	};
	struct nvme_pmap_query q;
	struct mem mem;
	struct dev dev;
	uint32_t index;
	long free_kib;

	if (!dev_open(&dev, NULL, O_RDWR) || !mem_alloc(&mem, MEM_4K, PAGE))
		return;
	free_kib = sysconf(_SC_AVPHYS_PAGES) * 4;
	reg.addr = (uintptr_t)mem.map;
	if (!CHECK_RET(nvme_pmap_ioctl(dev.fd, NVME_PMAP_IOC_REGISTER, &reg), 0, "register"))
		goto out;
	must_unregister(&dev, 0);
	if ((long)(reg.list_bytes * NVME_PMAP_MAX_INDEX / 1024) > free_kib / 2) {
		skip_case("%llu bytes for each of %u buffers do not fit %ld KiB", reg.list_bytes,
			  NVME_PMAP_MAX_INDEX, free_kib);
		goto out;
	}
	if (!fill_table(&dev, mem.map))
		goto out;
	CHECK_RET(nvme_pmap_register_buf(dev.fd, mem.map, 4, 0, &index), -ENOSPC, "one more");
	if (CHECK_RET(nvme_pmap_query_file(dev.fd, &q), 0, "query"))
		CHECK(q.nr_pmaps == NVME_PMAP_MAX_INDEX, "nr_pmaps %u", q.nr_pmaps);
	must_unregister(&dev, 40000);
	if (must_register(&dev, mem.map, 4, 0, &index))
		CHECK(index == 40000, "index %u for the free 40000", index);
out:
	mem_free(&mem);
	dev_close(&dev);
}

/* More than any list page, table or batch of pins holds. */
static void large(void)
{
	struct nvme_pmap_query q;
	struct mem mem = { .fd = -1 };
	struct dev dev;
	uint32_t index;

	if (!dev_open(&dev, NULL, O_RDWR) || !mem_alloc(&mem, MEM_THP, MIB(128)))
		goto out;
	if (must_register(&dev, mem.map, mem.len, 0, &index)) {
		if (CHECK_RET(nvme_pmap_query_file(dev.fd, &q), 0, "query"))
			CHECK(q.pinned == mem.len, "%llu bytes pinned", q.pinned);
		CHECK(status_kib(getpid(), "VmPin") == (long)(mem.len / 1024), "VmPin is %ld KiB",
		      status_kib(getpid(), "VmPin"));
		must_unregister(&dev, index);
	}
out:
	mem_free(&mem);
	dev_close(&dev);
}

/* ---- kernel memory for buffers is charged to the memory cgroup ---- */

#define CGROUP	   "/sys/fs/cgroup/pmap-lists"
#define CG_BUFFERS 1024u

static unsigned long cgroup_bytes(void)
{
	char text[32];

	return CHECK(read_file(CGROUP "/memory.current", text, sizeof(text)), "memory.current") ?
		       strtoul(text, NULL, 10) :
		       0;
}

/* One page, registered over and over: the memory is lists, and their descriptors. */
static void register_in_cgroup(void *arg)
{
	unsigned char *map = anon(PROT_READ | PROT_WRITE);
	unsigned long before;
	uint32_t index, i;
	struct dev dev;

	(void)arg;
	memset(map, 1, PAGE);
	if (!CHECK(write_file(CGROUP "/cgroup.procs", "0"), "cgroup.procs") ||
	    !dev_open(&dev, NULL, O_RDWR) || !must_register(&dev, map, PAGE, 0, &index))
		return;
	before = cgroup_bytes();
	for (i = 0; i < CG_BUFFERS; i++)
		if (!must_register(&dev, map, PAGE, NVME_PMAP_REG_PRP, &index))
			break;
	CHECK(cgroup_bytes() - before >= CG_BUFFERS * PAGE, "%lu bytes are charged for %u lists",
	      cgroup_bytes() - before, CG_BUFFERS);
	dev_close(&dev);
}

static void lists_charged(void)
{
	mount("cgroup", "/sys/fs/cgroup", "cgroup2", 0, NULL);
	write_file("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	if (CHECK(!mkdir(CGROUP, 0755), "%s: %s", CGROUP, strerror(errno)))
		in_child(register_in_cgroup, NULL, 0);
	CHECK(!rmdir(CGROUP), "rmdir: %s", strerror(errno));
}

static const struct test_case memory_cases[] = {
	{ "lists-charged", lists_charged },
	{ "protection", protection },
	{ "kinds", kinds },
	{ "files", files },
	{ "device-memory", device_memory },
	{ "large", large },
	{ "table-full", table_full },
};

SUBJECT(memory);
