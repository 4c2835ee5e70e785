// SPDX-License-Identifier: GPL-2.0
/* One file in three processes, of which one dies, and a controller reset meanwhile. */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/storm.h"

#define SHARERS 3

struct sharing {
	struct dev dev;
	struct mem mem[SHARERS];
	struct load load[SHARERS];
	volatile bool stop, leave;
	bool good[SHARERS];
	int sock[2];
};

static void sharing_load(struct sharing *sh, unsigned int i, enum mode mode)
{
	sh->load[i] = (struct load){ .name = mode_names[mode],
				     .mode = mode,
				     .dev = &sh->dev,
				     .len = 2 * PAGE,
				     .depth = 6,
				     .count = UINT32_MAX,
				     .entries = 16,
				     .base = sh->mem[i].map,
				     .lba = 49152 + 256 * i,
				     .tolerated = by_reset,
				     .stop = &sh->stop,
				     .stock = opt.door,
				     .fixed_buf = opt.door };
}

static struct sharing *sharing_alloc(void)
{
	static const enum mode modes[SHARERS] = { MODE_IRQ, MODE_POLL, MODE_POLL_DEFER };
	struct sharing *sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned int i;

	if (!CHECK(sh != MAP_FAILED && !socketpair(AF_UNIX, SOCK_STREAM, 0, sh->sock), "no memory"))
		return NULL;
	for (i = 0; i < SHARERS; i++) {
		if (!CHECK(mem_alloc(&sh->mem[i], MEM_SHMEM, LOAD_BYTES(6, 2 * PAGE)), "no memory"))
			return NULL;
		sharing_load(sh, i, modes[i]);
		if (!load_keep(&sh->load[i]))
			return NULL;
	}
	return sh;
}

static void sharing_free(struct sharing *sh)
{
	unsigned int i;

	for (i = 0; i < SHARERS; i++) {
		load_forget(&sh->load[i]);
		mem_free(&sh->mem[i]);
	}
	munmap(sh, sizeof(*sh));
}

/* Has the file from fork(); will be killed. */
static void inherits(void *arg)
{
	struct sharing *sh = arg;

	load_run(&sh->load[1]);
}

/* Of the pairs that all three know of, nearly all. */
static bool sharing_served(const struct sharing *sh)
{
	uint64_t pairs = 0;
	struct paths w;
	unsigned int i;

	for (i = 0; i < SHARERS; i++)
		pairs += sh->load[i].verified;
	w = door_paths(&sh->dev);
	return door_served(&w, pairs, "the shared file");
}

/* Has the file from a socket, and everything of it in the end. */
static void receives(void *arg)
{
	struct sharing *sh = arg;
	struct nvme_pmap_query q;
	unsigned int i;
	int fd = receive_fd(sh->sock[0]);

	if (!CHECK(fd >= 0, "recvmsg: %s", strerror(errno)))
		return;
	/* All three use the same number, so that the state that they share is right. */
	if (fd != sh->dev.fd && !CHECK(dup2(fd, sh->dev.fd) >= 0 && !close(fd), "dup2"))
		return;
	sh->good[2] = load_run(&sh->load[2]);
	while (!sh->leave)
		sleep_ms(2);
	if (opt.door)
		sharing_served(sh);
	for (i = 0; !opt.door && i < SHARERS; i++)
		must_unregister(&sh->dev, sh->load[i].index);
	if (CHECK_RET(nvme_pmap_query_file(sh->dev.fd, &q), 0, "query"))
		CHECK(!q.nr_pmaps && !q.pinned, "%u buffers left", q.nr_pmaps);
}

static bool load_moves(const struct load *l, unsigned int pairs)
{
	uint64_t end = now_ms() + 30000, from = *(const volatile uint64_t *)&l->verified;

	while (*(const volatile uint64_t *)&l->verified < from + pairs && now_ms() < end)
		sleep_ms(2);
	return CHECK(*(const volatile uint64_t *)&l->verified >= from + pairs,
		     "%s: no progress in 30 s", l->name);
}

/* The forked one dies in the middle; the other two go on, through a reset. */
static bool share(struct sharing *sh)
{
	bool good;
	pid_t pid = child_start(inherits, sh, 0);

	good = pid > 0 && load_start(&sh->load[0]) && load_moves(&sh->load[1], 12) &&
	       load_moves(&sh->load[2], 12) && load_moves(&sh->load[0], 12);
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	good = good && ctrl_reset(&sh->dev) && load_moves(&sh->load[0], 12) &&
	       load_moves(&sh->load[2], 12);
	sh->stop = true;
	if (sh->load[0].thread)
		load_join(&sh->load[0]);
	return good;
}

static bool share_out(struct sharing *sh)
{
	unsigned int i;

	for (i = 0; !opt.door && i < SHARERS; i++)
		if (!must_register(&sh->dev, sh->mem[i].map, sh->mem[i].len,
				   i ? 0 : NVME_PMAP_REG_PRP, &sh->load[i].index))
			return false;
	return CHECK_RET(send_fd(sh->sock[1], sh->dev.fd), 0, "sendmsg") && share(sh);
}

void chaos_shared_file(void)
{
	struct sharing *sh = sharing_alloc();
	long pins = pins_held();
	struct setup s;
	unsigned int i;
	pid_t pid;

	if (!sh)
		return;
	/* Before the file is open, so that the socket is its only way. */
	pid = child_start(receives, sh, 0);
	if (pid > 0 && dev_open(&sh->dev, NULL, O_RDWR) && (!opt.door || door_open(&sh->dev))) {
		share_out(sh);
		/* The number stays written there, for the receiver. */
		close(sh->dev.fd);
	}
	sh->stop = sh->leave = true;
	child_wait(pid);
	CHECK(sh->good[2], "the receiver's load failed");
	CHECK(pins_gone(getpid(), 5000), "the first process stays charged");
	if (setup_make(&s, NULL, MODE_IRQ, MEM_4K, PAGE))
		for (i = 0; i < SHARERS; i++)
			load_check(&sh->load[i], &s.dev, &s.ring);
	setup_close(&s);
	close(sh->sock[0]);
	close(sh->sock[1]);
	sharing_free(sh);
	pins_back(pins, 5000);
}
