// SPDX-License-Identifier: GPL-2.0
/* Loads in every ring mode and form at once; see storm.h. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/storm.h"

/*
 * Two lengths that need no list beyond the kept one, and two slices that begin
 * inside a page: an SGL list is then built for the command.
 */
static const struct {
	enum mode mode;
	uint32_t len, skew;
} kinds[STREAMS] = {
	{ MODE_IRQ, 4 * PAGE, 0 },
	{ MODE_POLL, 5 * PAGE, 512 },
	{ MODE_DEFER, 3 * PAGE, 512 },
	{ MODE_POLL_DEFER, 2 * PAGE, 0 },
};

const int by_reset[] = {
	-EINTR, -EIO,  -EAGAIN, 0x4,	0x7, /* aborted with the queue, by request */
	0x370,	0x371, 0x4370,	0x4371,	     /* host path error, aborted by host */
	0,
};

/* No two loads of a run write the same generations. */
static uint64_t next_gen(void)
{
	static uint64_t gen;

	return (gen += 1ull << 32);
}

static uint32_t any_form(bool unprivileged)
{
	static const uint32_t forms[] = { 0, NVME_PMAP_REG_SGL_LIST, NVME_PMAP_REG_PRP };

	return forms[rnd_below(unprivileged ? 2 : 3)];
}

/* The second stream uses the file of the first. */
static bool stream_open(struct storm *s, unsigned int i)
{
	struct stream *st = &s->stream[i];
	struct load *l = &st->load;

	*l = (struct load){ .name = mode_names[kinds[i].mode],
			    .mode = kinds[i].mode,
			    .dev = &st->dev,
			    .len = kinds[i].len,
			    .depth = STREAM_DEPTH,
			    .offset = kinds[i].skew,
			    .count = UINT32_MAX,
			    .entries = 32,
			    .tolerated = s->tolerated,
			    .stop = &s->stop,
			    .stock = opt.door,
			    .fixed_buf = opt.door,
			    .renew = opt.door ? &s->renew : NULL,
			    .lead = opt.door ? PAGE : 0,
			    .first_gen = next_gen() };
	st->flags = any_form(s->unprivileged);
	if (i == 1) {
		st->dev = s->stream[0].dev;
		st->dev.fd = dup(st->dev.fd);
	} else if (!dev_open(&st->dev, s->name, O_RDWR) ||
		   (!opt.queues && s->queues >> i & 1 && !dev_attach(&st->dev))) {
		return false;
	}
	l->lba = s->lba + i * MIB(1) / 2 / st->dev.block;
	return load_keep(l);
}

/*
 * Until a controller is prepared, stock serves all commands, and nothing counts them.
 * The call is on another file, so that the storm's own files are still unknown to the
 * driver.
 */
static bool prepare(const struct storm *s)
{
	int fd = open(s->stream[0].dev.path, O_RDONLY | O_CLOEXEC);
	struct nvme_pmap_stats stats;
	bool good = CHECK_RET(nvme_pmap_stats_file(fd, &stats), 0, "stats of another file");

	if (fd >= 0)
		close(fd);
	return good;
}

bool storm_open(struct storm *s)
{
	unsigned int i;

	s->stop = false;
	s->renew = 0;
	for (i = 0; i < STREAMS; i++) {
		s->stream[i] = (struct stream){ .dev = { .fd = -1 }, .mem = { .fd = -1 } };
		s->stream[i].load.kept = false;
	}
	for (i = 0; i < STREAMS; i++)
		if (!stream_open(s, i))
			return false;
	return !opt.door || (door_open(&s->stream[0].dev) && (s->shut || prepare(s)));
}

static bool stream_run(struct stream *st)
{
	struct load *l = &st->load;
	size_t len = LOAD_BYTES(l->depth, l->len) + PAGE + l->lead;

	if (!CHECK(mem_alloc(&st->mem, MEM_4K, len), "no memory"))
		return false;
	l->base = st->mem.map + l->lead + l->offset;
	return (opt.door || must_register(&st->dev, st->mem.map, len, st->flags, &l->index)) &&
	       load_start(l);
}

bool storm_run(struct storm *s)
{
	unsigned int i;

	for (i = 0; i < STREAMS; i++)
		if (!stream_run(&s->stream[i]))
			return false;
	return true;
}

bool storm_start(struct storm *s)
{
	return storm_open(s) && storm_run(s) && storm_moves(s, STREAM_DEPTH) &&
	       /* under load, where not all need be counted: new commands are from then on */
	       (!opt.door || !s->shut || (prepare(s) && storm_moves(s, STREAM_DEPTH + 1)));
}

uint64_t storm_progress(const struct storm *s)
{
	uint64_t least = UINT64_MAX, verified;
	unsigned int i;

	for (i = 0; i < STREAMS; i++) {
		verified = __atomic_load_n(&s->stream[i].load.verified, __ATOMIC_RELAXED);
		least = verified < least ? verified : least;
	}
	return least;
}

bool storm_moves(struct storm *s, unsigned int pairs)
{
	uint64_t end = now_ms() + 30000, from[STREAMS];
	unsigned int i;

	for (i = 0; i < STREAMS; i++)
		from[i] = __atomic_load_n(&s->stream[i].load.verified, __ATOMIC_RELAXED);
	for (i = 0; i < STREAMS; i++) {
		const volatile uint64_t *now = &s->stream[i].load.verified;

		while (*now < from[i] + pairs && now_ms() < end)
			sleep_ms(2);
		if (!CHECK(*now >= from[i] + pairs, "%s: no progress in 30 s",
			   s->stream[i].load.name))
			return false;
	}
	return true;
}

/*
 * The counters of a file: as many commands began as ended, and the ioctl and fdinfo
 * agree.
 */
static bool counters_agree(const struct stream *st)
{
	static const char *const names[] = { "prp",   "sgl_list", "sgl_run",
					     "built", "direct",	  "deferred" };
	uint64_t value[ARRAY_SIZE(names)], begun, ended;
	struct nvme_pmap_stats stats;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(names); i++)
		if (!CHECK(fdinfo_counter(st->dev.fd, names[i], &value[i]), "no pmap-%s in fdinfo",
			   names[i]))
			return false;
	begun = value[0] + value[1] + value[2] + value[3];
	ended = value[4] + value[5];
	if (nvme_pmap_stats_file(st->dev.fd, &stats) == 0 &&
	    !CHECK(stats_total(&stats) == begun && stats.direct + stats.deferred == ended,
		   "%s: fdinfo and the ioctl do not agree", st->load.name))
		return false;
	return CHECK(begun == ended, "%s: %" PRIu64 " commands begun, %" PRIu64 " ended",
		     st->load.name, begun, ended);
}

/* Commands that went by queues; two streams are one file. */
static uint64_t count_queued(const struct storm *s)
{
	struct nvme_pmap_stats stats;
	uint64_t sum = 0;
	unsigned int i;

	for (i = 0; i < STREAMS; i++)
		if (i != 1 && !nvme_pmap_stats_file(s->stream[i].dev.fd, &stats))
			sum += stats.queue;
	return sum;
}

bool storm_stop(struct storm *s)
{
	bool good = true;
	unsigned int i;

	s->stop = true;
	s->verified = s->failed = 0;
	for (i = 0; i < STREAMS; i++) {
		struct load *l = &s->stream[i].load;

		if (!l->thread)
			continue;
		load_join(l);
		l->thread = 0;
		s->verified += l->verified;
		s->failed += l->failed;
		good &= CHECK(l->verified >= l->depth && !l->busy,
			      "%s: %" PRIu64 " pairs verified, %u commands without a CQE", l->name,
			      l->verified, l->busy);
	}
	s->queued = count_queued(s);
	good &= !opt.door || storm_served(s);
	for (i = 0; good && i < STREAMS; i++)
		good = counters_agree(&s->stream[i]);
	return good;
}

static bool empty(const struct stream *st)
{
	uint64_t pinned = 1, kept = 1;

	fdinfo_counter(st->dev.fd, "pinned", &pinned);
	fdinfo_counter(st->dev.fd, "list_bytes", &kept);
	return CHECK(!pinned && !kept, "%s: fdinfo says %" PRIu64 " pinned, %" PRIu64 " kept",
		     st->load.name, pinned, kept);
}

void storm_close(struct storm *s)
{
	unsigned int i;

	for (i = 0; i < STREAMS; i++) {
		mem_free(&s->stream[i].mem);
		dev_close(&s->stream[i].dev);
	}
}

bool storm_drop(struct storm *s)
{
	bool good = true;
	unsigned int i;

	for (i = 0; !opt.door && i < STREAMS; i++)
		good &= must_unregister(&s->stream[i].dev, s->stream[i].load.index);
	for (i = 0; good && i < STREAMS; i++)
		good = empty(&s->stream[i]);
	storm_close(s);
	return good;
}

bool storm_check(struct storm *s)
{
	struct io_uring ring;
	struct dev dev;
	bool good = dev_open(&dev, s->name, O_RDONLY) && ring_open(&ring, MODE_IRQ, 8);
	unsigned int i;

	for (i = 0; good && i < STREAMS; i++)
		good = load_check(&s->stream[i].load, &dev, &ring);
	if (dev.fd >= 0) {
		io_uring_queue_exit(&ring);
		dev_close(&dev);
	}
	return good;
}

void storm_forget(struct storm *s)
{
	unsigned int i;

	for (i = 0; i < STREAMS; i++)
		load_forget(&s->stream[i].load);
}

bool storm_end(struct storm *s)
{
	bool good = storm_stop(s);

	good &= storm_drop(s);
	good &= storm_check(s);
	storm_forget(s);
	note("%s: %" PRIu64 " pairs verified, %" PRIu64 " commands failed", s->name ?: opt.dev,
	     s->verified, s->failed);
	return good;
}

/* ---- the auto door ---- */

bool door_open(const struct dev *dev)
{
	const char *mode = door_mode();
	char path[160], is[16];

	/* switching ends the mappings of others */
	return (dev_sysfs(dev, "pmap/auto_mode", path, sizeof(path)) &&
		read_file(path, is, sizeof(is)) && !strncmp(is, mode, strlen(mode))) ||
	       set_door(dev, mode);
}

struct paths door_paths(const struct dev *dev)
{
	struct paths w = { 0 };
	const struct {
		const char *name;
		uint64_t *value;
	} told[] = {
		{ "auto_mq", &w.blk_mq },	   { "auto_queue", &w.queue },
		{ "stock_setup", &w.setup },	   { "stock_unsupported", &w.unsupported },
		{ "stock_unmapped", &w.unmapped }, { "stock_other", &w.other },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(told); i++)
		CHECK(fdinfo_counter(dev->fd, told[i].name, told[i].value), "no pmap-%s in fdinfo",
		      told[i].name);
	w.served = w.blk_mq + w.queue;
	w.stock = w.setup + w.unsupported + w.unmapped + w.other;
	return w;
}

bool door_served(const struct paths *w, uint64_t pairs, const char *what)
{
	uint64_t other = w->unsupported + w->unmapped + w->other;

	/* the first on each buffer are stock's, and a file's very first are not counted */
	return pairs < DOOR_FEW ||
	       CHECK(w->served && 64 * w->served >= w->setup &&
			     other <= pairs / 4 + 4 * STREAM_DEPTH,
		     "%s: of %" PRIu64 " pairs %" PRIu64 " commands by blk-mq and %" PRIu64
		     " by queue; stock had setup %" PRIu64 " unsupported %" PRIu64
		     " unmapped %" PRIu64 " other %" PRIu64,
		     what, pairs, w->blk_mq, w->queue, w->setup, w->unsupported, w->unmapped,
		     w->other);
}

bool storm_served(const struct storm *s)
{
	uint64_t mq = 0, queue = 0, all = 0, pairs;
	bool good = true;
	unsigned int i;

	for (i = 0; i < STREAMS; i++) {
		const struct stream *st = &s->stream[i];
		struct paths w;

		/* first: it may go on */
		pairs = st->load.verified;
		/* which are one file */
		if (!i)
			pairs += s->stream[++i].load.verified;
		w = door_paths(&st->dev);
		good &= s->shut || door_served(&w, pairs, st->load.name);
		mq += w.blk_mq;
		queue += w.queue;
		all += pairs;
	}
	note("%" PRIu64 " pairs: %" PRIu64 " commands by blk-mq, %" PRIu64 " by queue", all, mq,
	     queue);
	/* half of the streams need no list, which is not for queues */
	return good &&
	       CHECK(mq + queue || all < STREAMS * DOOR_FEW, "the door has served nothing") &&
	       CHECK(!opt.queues || s->shut || all < 1000 || queue > mq / 64,
		     "of %" PRIu64 " commands %" PRIu64 " by queue", mq + queue, queue);
}

/* Commands of a file that the door has served; none before it has its door. */
static uint64_t door_fast(const struct dev *dev)
{
	uint64_t mq = 0, queue = 0;

	fdinfo_counter(dev->fd, "auto_mq", &mq);
	fdinfo_counter(dev->fd, "auto_queue", &queue);
	return mq + queue;
}

bool storm_serves(struct storm *s)
{
	uint64_t end = now_ms() + (slow_kernel() ? 60000 : 20000);
	unsigned int i;

	for (i = 0; opt.door && i < STREAMS; i++)
		while (!door_fast(&s->stream[i].dev)) {
			if (!CHECK(now_ms() < end, "%s: not served", s->stream[i].load.name) ||
			    !storm_moves(s, 1))
				return false;
			sleep_ms(10);
		}
	return true;
}

/* ---- pins ---- */

static long vmstat(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	return at ? atol(at + strlen(key)) : 0;
}

long pins_held(void)
{
	char text[16384];

	/* Folds the counts of the CPUs. */
	write_file("/proc/sys/vm/stat_refresh", "1");
	if (!CHECK(read_file("/proc/vmstat", text, sizeof(text)), "/proc/vmstat"))
		return 0;
	return vmstat(text, "\nnr_foll_pin_acquired ") - vmstat(text, "\nnr_foll_pin_released ");
}

bool pins_back(long before, unsigned int ms)
{
	uint64_t end = now_ms() + ms;
	long now;

	while ((now = pins_held()) != before && now_ms() < end)
		sleep_ms(20);
	return CHECK(now == before, "%ld pages are pinned, %ld were", now, before);
}

/* ---- the controller ---- */

bool ctrl_is_live(const struct dev *dev)
{
	char path[160], state[32] = "";

	dev_sysfs(dev, "state", path, sizeof(path));
	return read_file(path, state, sizeof(state)) && !strncmp(state, "live", 4);
}

bool ctrl_reset(const struct dev *dev)
{
	uint64_t end = now_ms() + 20000;

	if (!reset_ctrl(dev))
		return false;
	while (!ctrl_is_live(dev) && now_ms() < end)
		sleep_ms(10);
	return CHECK(ctrl_is_live(dev), "the controller is not live after the reset");
}
