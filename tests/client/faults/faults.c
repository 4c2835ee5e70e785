// SPDX-License-Identifier: GPL-2.0
/*
 * Registration fails at every place where it can, one failure after another,
 * and leaves nothing behind: after each one nothing is pinned or counted, the
 * same registration succeeds with exactly its pages left of RLIMIT_MEMLOCK, and
 * data arrives.  Mappings and kernel memory are the kernel's own checks' to miss
 * at the end of the guest.  tests/error-paths checks that no place was left out.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "faults/faults.h"

/* More requests for memory than a registration makes. */
#define NTH_MAX 3000

/* The buffer that is registered, over and over. */
struct scene {
	const char *name;
	enum mem_kind kind;
	uint32_t pages;
	uint32_t flags;
	uint32_t index; /* NVME_PMAP_INDEX_ANY where zero */
	bool untouched; /* the memory is not there yet at each attempt */
	uint32_t from;	/* largest number of pages for inject_from() */
};

struct stage {
	const struct scene *scene;
	struct dev dev;
	struct mem mem;
	struct io_uring ring;
	unsigned int failed, survived;
};

/* Without CAP_IPC_LOCK, so that it is charged; all other capabilities stay. */
bool limit_memlock(uint32_t pages)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[2];
	struct rlimit limit = { (rlim_t)pages * PAGE, RLIM_INFINITY };

	if (!CHECK(!syscall(SYS_capget, &head, caps), "capget: %s", strerror(errno)))
		return false;
	caps[0].effective &= ~(1u << CAP_IPC_LOCK);
	return CHECK(!syscall(SYS_capset, &head, caps), "capset: %s", strerror(errno)) &&
	       CHECK(!setrlimit(RLIMIT_MEMLOCK, &limit), "setrlimit: %s", strerror(errno));
}

/*
 * Of a small buffer a list may be charged as well, a page.  Where it has none, a page
 * that stays charged is found at the second time.
 */
static uint32_t charge_of(const struct scene *scene) { return scene->pages + (scene->pages < 100); }

static int register_scene(const struct stage *st, int fd, uint32_t *index)
{
	struct nvme_pmap_register reg = {
		.size = sizeof(reg),
		.flags = st->scene->flags,
		.addr = (uintptr_t)st->mem.map,
		.len = (uint64_t)st->scene->pages * PAGE,
		.index = st->scene->index ? st->scene->index : NVME_PMAP_INDEX_ANY,
	};
	int ret = nvme_pmap_ioctl(fd, NVME_PMAP_IOC_REGISTER, &reg);

	*index = reg.index;
	return ret;
}

/* A few pages at @offset go to the disk and come back. */
static bool io_at(struct stage *st, int fd, uint32_t index, uint64_t offset, uint32_t len)
{
	static uint64_t gen = 1;
	unsigned char *at = st->mem.map + offset;
	struct dev dev = st->dev;
	uint32_t blocks = len / dev.block;

	dev.fd = fd;
	pattern_fill(at, dev.block, 64, blocks, ++gen);
	if (!CHECK_RET(run_rw(&st->ring, &dev, OP_WRITE, index, offset, len, 64), 0,
		       "write at %#" PRIx64, offset))
		return false;
	poison(at, len);
	return CHECK_RET(run_rw(&st->ring, &dev, OP_READ, index, offset, len, 64), 0,
			 "read at %#" PRIx64, offset) &&
	       CHECK(pattern_verify(at, dev.block, 64, blocks, gen, st->scene->name), "data");
}

/* Its first and its last pages, then its end. */
static bool use(struct stage *st, int fd, uint32_t index)
{
	uint64_t total = (uint64_t)st->scene->pages * PAGE;
	uint32_t len = total < 4 * PAGE ? (uint32_t)total : 4 * PAGE;
	struct dev dev = st->dev;

	dev.fd = fd;
	return io_at(st, fd, index, 0, len) && io_at(st, fd, index, total - len, len) &&
	       must_unregister(&dev, index);
}

static bool counter_zero(int fd, const char *name)
{
	uint64_t value = 0;

	/* No counters at all before the first registration. */
	return !fdinfo_counter(fd, name, &value) ||
	       CHECK(!value, "fdinfo: %s is %" PRIu64, name, value);
}

bool nothing_left(int fd)
{
	long pinned = status_kib(getpid(), "VmPin");

	return CHECK(!pinned, "VmPin is %ld KiB", pinned) && counter_zero(fd, "buffers") &&
	       counter_zero(fd, "pinned") && counter_zero(fd, "list_bytes");
}

/* The memory goes back to the state in which the scene wants it. */
static void forget(const struct stage *st)
{
	if (st->scene->untouched)
		madvise(st->mem.map, st->mem.len, MADV_DONTNEED);
}

/*
 * One attempt on a file of its own, with the failure armed by @arm.  True in
 * @more when a failure was injected, and the caller should try the next one.
 */
static bool attempt(struct stage *st, bool (*arm)(unsigned int), unsigned int n, bool *more)
{
	int fd = open(st->dev.path, O_RDWR | O_CLOEXEC), ret;
	unsigned int hits;
	uint32_t index;
	bool good;

	if (!CHECK(fd >= 0, "open: %s", strerror(errno)))
		return false;
	forget(st);
	if (!arm(n))
		return false;
	ret = register_scene(st, fd, &index);
	hits = inject_end();
	*more = hits;
	st->failed += ret != 0;
	st->survived += hits && !ret;
	good = CHECK(!ret || (hits && (ret == -ENOMEM || ret == -EFAULT)),
		     "%s, failure %u: %s after %u hits", st->scene->name, n, err_name(ret), hits);
	if (!ret)
		good = use(st, fd, index) && good;
	good = good && nothing_left(fd) &&
	       CHECK_RET(register_scene(st, fd, &index), 0, "%s, after failure %u", st->scene->name,
			 n) &&
	       use(st, fd, index) && nothing_left(fd);
	close(fd);
	return good;
}

static bool sweep(struct stage *st, const char *what, bool (*arm)(unsigned int), unsigned int first,
		  unsigned int last, unsigned int coarse)
{
	unsigned int n, tries = 0;
	bool more = true;

	st->failed = st->survived = 0;
	for (n = first; more && n <= last; n += 1 + n / coarse, tries++)
		if (!attempt(st, arm, n, &more))
			return false;
	note("%s, %s: %u attempts, %u refused, %u made without what failed", st->scene->name, what,
	     tries, st->failed, st->survived);
	return true;
}

static void play(void *arg)
{
	struct stage st = { .scene = arg };

	st.mem.fd = -1;
	if (dev_open(&st.dev, NULL, O_RDWR) && ring_open(&st.ring, MODE_IRQ, 8) &&
	    CHECK(mem_alloc(&st.mem, st.scene->kind, (size_t)st.scene->pages * PAGE), "memory") &&
	    limit_memlock(charge_of(st.scene)) && inject_pages(false) &&
	    sweep(&st, "one after another", inject_nth, 1, NTH_MAX, NTH_MAX + 1) &&
	    CHECK(st.failed, "%s: no failure came back", st.scene->name) && inject_pages(true) &&
	    sweep(&st, "a page each", inject_nth, 1, NTH_MAX, NTH_MAX + 1) && st.scene->from)
		sweep(&st, "all from one on", inject_from, 0, st.scene->from, 4);
	if (st.ring.ring_fd > 0)
		io_uring_queue_exit(&st.ring);
	mem_free(&st.mem);
	dev_close(&st.dev);
}

static void plain_use(void *arg)
{
	struct stage st = { .scene = arg, .mem.fd = -1 };
	uint32_t index;

	if (dev_open(&st.dev, NULL, O_RDWR) && ring_open(&st.ring, MODE_IRQ, 8) &&
	    CHECK(mem_alloc(&st.mem, MEM_4K, (size_t)st.scene->pages * PAGE), "memory") &&
	    limit_memlock(charge_of(st.scene)) &&
	    CHECK_RET(register_scene(&st, st.dev.fd, &index), 0, "%s: register", st.scene->name) &&
	    use(&st, st.dev.fd, index))
		nothing_left(st.dev.fd);
	if (st.ring.ring_fd > 0)
		io_uring_queue_exit(&st.ring);
	mem_free(&st.mem);
	dev_close(&st.dev);
}

bool works(const char *name, uint32_t pages)
{
	struct scene scene = { .name = name, .pages = pages };

	return in_child(plain_use, &scene, 0);
}

static void play_all(struct scene *scenes, size_t nr)
{
	size_t i;

	if (!inject_init() || !inject_below("nvme_pmap_ioctl"))
		return;
	for (i = 0; i < nr; i++)
		if (!in_child(play, &scenes[i], 0))
			note("scene %s failed", scenes[i].name);
	inject_report();
}

static void small(void)
{
	struct scene scenes[] = {
		{ .name = "run", .kind = MEM_THP, .pages = 16 },
		{ .name = "broken run", .kind = MEM_4K, .pages = 16, .from = 20 },
		{ .name = "list", .kind = MEM_4K, .pages = 16, .flags = NVME_PMAP_REG_SGL_LIST },
		{ .name = "prp", .kind = MEM_4K, .pages = 16, .flags = NVME_PMAP_REG_PRP },
		{ .name = "untouched", .kind = MEM_4K, .pages = 5, .untouched = true },
		{ .name = "memfd", .kind = MEM_MEMFD, .pages = 5 },
	};

	play_all(scenes, ARRAY_SIZE(scenes));
}

/* More pages than one batch pins; arrays and tables that kvmalloc() gets by vmalloc(). */
static void large(void)
{
	struct scene scenes[] = {
		{ .name = "large prp",
		  .kind = MEM_4K,
		  .pages = 1100,
		  .flags = NVME_PMAP_REG_PRP,
		  .from = 40 },
		{ .name = "large list",
		  .kind = MEM_4K,
		  .pages = 1100,
		  .flags = NVME_PMAP_REG_SGL_LIST,
		  .from = 40 },
		{ .name = "table", .kind = MEM_4K, .pages = 2, .index = 65535, .from = 200 },
	};

	play_all(scenes, ARRAY_SIZE(scenes));
}

/* More than one chunk: a failure unmaps the chunks mapped before. */
static void chunks(void)
{
	struct scene scenes[] = {
		{ .name = "chunks",
		  .kind = MEM_4K,
		  .pages = 8192 + 64,
		  .flags = NVME_PMAP_REG_SGL_LIST },
	};

	play_all(scenes, ARRAY_SIZE(scenes));
}

static const struct test_case faults_cases[] = {
	{ "small", small },
	{ "large", large },
	{ "chunks", chunks },
	{ "refused-registers", refused_registers },
	{ "refused-commands", refused_commands },
	{ "built-lists", built_lists },
	{ "statuses", statuses },
	{ "no-tags", no_tags },
	{ "formatting", formatting },
	{ "lost", lost },
	{ "copies", copies },
	{ "first-use", first_use },
	{ "probe", probe },
	{ "identify-fails", identify_fails },
	{ "removed", removed },
	{ "bounced", bounced },
	{ "auto-hungry", auto_hungry },
	{ "auto-no-tags", auto_no_tags },
	{ "auto-full", auto_full },
	{ "auto-bounced", auto_bounced },
	{ "auto-first-race", auto_first_race },
	{ "auto-clone-race", auto_clone_race },
	{ "auto-unprepared", auto_unprepared },
	{ "auto-removed", auto_removed },
	{ "auto-operated", auto_operated },
	{ "auto-mixed", auto_mixed },
	{ "auto-two", auto_two },
	{ "auto-ending", auto_ending },
	{ "first-race", first_race },
	{ "killed", killed },
	{ "removal-races", removal_races },
	{ "attach-fails", attach_fails },
	{ "refused-pairs", refused_pairs },
	{ "failed-once", failed_once },
	{ "unpolled", unpolled },
	{ "probe-queues", probe_queues },
	{ "attach-resets", attach_resets },
	{ "attach-removals", attach_removals },
	{ "attach-killed", attach_killed },
	{ "format-batches", format_batches },
	{ "mixed-batch", mixed_batch },
	{ "shared-resets", shared_resets },
	{ "draining", draining },
	{ "full-batch", full_batch },
	{ "aborts", aborts },
};

SUBJECT(faults);
