// SPDX-License-Identifier: GPL-2.0
/*
 * Passthrough queues: attaching and sharing them, commands that they do not take, and
 * the counts of these.  lifetime.c tests how they end.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "queue/queue.h"

struct nvme_pmap_stats queue_stats(const struct dev *dev)
{
	struct nvme_pmap_stats st = { 0 };

	CHECK_RET(nvme_pmap_stats_file(dev->fd, &st), 0, "stats");
	return st;
}

/* A number of the controller, in its directory pmap/. */
long sysfs_number(const struct dev *dev, const char *name)
{
	char attr[64], path[160], text[32];

	snprintf(attr, sizeof(attr), "pmap/%s", name);
	if (!CHECK(dev_sysfs(dev, attr, path, sizeof(path)), "no %s", attr) ||
	    !CHECK(read_file(path, text, sizeof(text)), "%s: %s", path, strerror(errno)))
		return -1;
	return atol(text);
}

/* A stage whose file has the queues that @flags ask for. */
bool queue_open(struct stage *s, const char *name, unsigned int parts, bool irq, bool polled)
{
	return stage_open(s, name, parts * STAGE_PART) && (!irq || must_attach(s->dev.fd, 0)) &&
	       (!polled || must_attach(s->dev.fd, POLLED));
}

static int call(const struct dev *dev, unsigned int request, uint32_t flags, int32_t fd,
		uint32_t cpu)
{
	struct nvme_pmap_attach att = {
		.size = request == NVME_PMAP_IOC_ATTACH ? sizeof(att) :
							  sizeof(struct nvme_pmap_detach),
		.flags = flags,
		.fd = fd,
		.cpu = cpu,
	};

	return nvme_pmap_ioctl(dev->fd, request, &att);
}

static void arguments(void)
{
	struct dev other = { .fd = -1 };
	struct stage s;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (!stage_open(&s, NULL, STAGE_PART) || !dev_open(&other, NULL, O_RDONLY))
		goto out;
	CHECK_RET(call(&s.dev, NVME_PMAP_IOC_ATTACH, 8, 0, 0), -EOPNOTSUPP, "unknown flag");
	CHECK_RET(call(&s.dev, NVME_PMAP_IOC_ATTACH, 1u << 31, 0, 0), -EOPNOTSUPP, "last flag");
	CHECK_RET(call(&s.dev, NVME_PMAP_IOC_ATTACH, 0, 0, 1), -EINVAL, "a CPU not asked for");
	CHECK_RET(call(&s.dev, NVME_PMAP_IOC_ATTACH, ON_CPU | POLLED, 0, 0), -EINVAL,
		  "CPU, polled");
	CHECK_RET(call(&s.dev, NVME_PMAP_IOC_ATTACH, ON_CPU | SHARE, other.fd, 0), -EINVAL,
		  "CPU, shared");
	CHECK_RET(nvme_pmap_attach_queue_on(s.dev.fd, 4096), -EINVAL, "no such CPU");
	CHECK_RET(nvme_pmap_attach_queue_on(s.dev.fd, UINT32_MAX), -EINVAL, "never such a CPU");
	CHECK_RET(call(&s.dev, NVME_PMAP_IOC_ATTACH, 0, other.fd, 0), -EINVAL,
		  "a file not asked for");
	CHECK_RET(nvme_pmap_share_queue(s.dev.fd, -1, 0), -EBADF, "no file");
	CHECK_RET(nvme_pmap_share_queue(s.dev.fd, null, 0), -EBADF, "another kind of file");
	CHECK_RET(nvme_pmap_share_queue(s.dev.fd, other.fd, 0), -EBADF, "a file without queue");
	CHECK_RET(nvme_pmap_share_queue(s.dev.fd, s.dev.fd, 0), -EBADF, "its own");
	CHECK_RET(call(&s.dev, NVME_PMAP_IOC_DETACH, 2, 0, 0), -EOPNOTSUPP, "detach, unknown flag");
	CHECK_RET(nvme_pmap_detach_queue(s.dev.fd, 0), -ENOTCONN, "nothing to detach");
	CHECK_RET(nvme_pmap_detach_queue(other.fd, POLLED), -ENOTCONN, "nothing at all");
	if (!must_attach(other.fd, POLLED) || !must_attach(s.dev.fd, 0))
		goto out;
	CHECK_RET(nvme_pmap_attach_queue(s.dev.fd, 0), -EALREADY, "a second one");
	CHECK_RET(nvme_pmap_share_queue(s.dev.fd, other.fd, 0), -EALREADY, "a second, shared");
	CHECK_RET(nvme_pmap_share_queue(other.fd, s.dev.fd, POLLED), -EALREADY, "shared, polled");
	CHECK_RET(nvme_pmap_detach_queue(s.dev.fd, POLLED), -ENOTCONN, "the other kind");
	must_detach(s.dev.fd, 0);
	CHECK_RET(nvme_pmap_detach_queue(s.dev.fd, 0), -ENOTCONN, "a second time");
	if (opt.dev2) {
		struct dev foreign;

		if (dev_open(&foreign, opt.dev2, O_RDWR) && must_attach(foreign.fd, 0))
			CHECK_RET(nvme_pmap_share_queue(s.dev.fd, foreign.fd, 0), -EBADF,
				  "of another controller");
		dev_close(&foreign);
	}
out:
	close(null);
	dev_close(&other);
	stage_close(&s);
}

/* The CPUs that the interrupt of the queue @qid goes to, as a list; "" if there is none. */
static void irq_cpus(const struct dev *dev, uint16_t qid, char *cpus, size_t size)
{
	char line[1024], name[32], path[160], *real = NULL, *at;
	FILE *file = fopen("/proc/interrupts", "re");
	unsigned int irq, nvme = 0;

	*cpus = '\0';
	if (dev_sysfs(dev, "pmap", path, sizeof(path)))
		real = realpath(path, NULL);
	at = real ? strstr(real, "/nvme/nvme") : NULL;
	if (!CHECK(at && sscanf(at, "/nvme/nvme%u/", &nvme) == 1, "which controller is it?"))
		goto out;
	snprintf(name, sizeof(name), "nvme%up%u", nvme, qid);
	while (file && fgets(line, sizeof(line), file)) {
		at = strstr(line, name);
		if (!at || (at[strlen(name)] >= '0' && at[strlen(name)] <= '9') ||
		    sscanf(line, " %u:", &irq) != 1)
			continue;
		snprintf(path, sizeof(path), "/proc/irq/%u/effective_affinity_list", irq);
		CHECK(read_file(path, cpus, size), "%s", path);
		cpus[strcspn(cpus, "\n")] = '\0';
	}
out:
	free(real);
	if (file)
		fclose(file);
}

/* Attach a queue for each CPU, from each CPU. */
static void on_each_cpu(const struct dev *dev, const char *when)
{
	char cpus[64], want[16];
	unsigned int cpu, here;

	for (here = 0; here < 2; here++)
		for (cpu = 0; cpu < 2 && run_on(here); cpu++) {
			if (!CHECK_RET(nvme_pmap_attach_queue_on(dev->fd, cpu), 0, "CPU %u, %s",
				       cpu, when))
				return;
			irq_cpus(dev, (uint16_t)queue_query(dev->fd).queue_irq, cpus, sizeof(cpus));
			snprintf(want, sizeof(want), "%u", cpu);
			CHECK(!strcmp(cpus, want), "%s, for CPU %u, from %u, it goes to '%s'", when,
			      cpu, here, cpus);
			must_detach(dev->fd, 0);
		}
}

/* With a choice of queues, and with one that is left, and was another CPU's. */
static void on_a_cpu(void)
{
	struct dev *devs;
	struct stage s;
	unsigned int i, all;

	if (!stage_open(&s, NULL, STAGE_PART))
		return;
	on_each_cpu(&s.dev, "of all queues");
	all = queue_query(s.dev.fd).queues_free;
	devs = calloc(all, sizeof(*devs));
	for (i = 0; devs && i + 1 < all; i++)
		if (!dev_open(&devs[i], NULL, O_RDWR) || !must_attach(devs[i].fd, 0))
			break;
	if (CHECK(queue_query(s.dev.fd).queues_free == 1, "%u queues free",
		  queue_query(s.dev.fd).queues_free))
		on_each_cpu(&s.dev, "of one");
	while (devs && i--)
		dev_close(&devs[i]);
	free(devs);
	stage_close(&s);
}

/* All that there are; then commands go on without, and one given back is had again. */
static void all_taken(void)
{
	struct dev *devs;
	struct stage s;
	unsigned int i, nr = 0, all;
	struct io_uring ring;

	if (!stage_open(&s, NULL, STAGE_PART) || !ring_open(&ring, MODE_POLL, 8))
		return;
	all = queue_query(s.dev.fd).queues_free;
	CHECK(all && all == (unsigned int)sysfs_number(&s.dev, "queues_granted"), "%u queues free",
	      all);
	devs = calloc(all + 1, sizeof(*devs));
	for (i = 0; devs && i < all; i++, nr++)
		if (!dev_open(&devs[i], NULL, O_RDWR) || !must_attach(devs[i].fd, i & POLLED))
			break;
	CHECK(!queue_query(s.dev.fd).queues_free, "%u queues free of none",
	      queue_query(s.dev.fd).queues_free);
	CHECK(!sysfs_number(&s.dev, "queues_free"), "sysfs: queues free of none");
	CHECK_RET(nvme_pmap_attach_queue(s.dev.fd, 0), -EUSERS, "one too many");
	CHECK_RET(nvme_pmap_attach_queue(s.dev.fd, POLLED), -EUSERS, "one too many, polled");
	CHECK_RET(run_rw(&ring, &s.dev, OP_READ, s.index, 0, PAGE, 0), 0, "without a queue");
	if (nr) {
		dev_close(&devs[0]);
		must_attach(s.dev.fd, POLLED);
		CHECK_RET(run_rw(&ring, &s.dev, OP_READ, s.index, 0, PAGE, 0), 0, "with one");
		CHECK(queue_stats(&s.dev).queue == 1, "%llu commands by queue",
		      (unsigned long long)queue_stats(&s.dev).queue);
	}
	io_uring_queue_exit(&ring);
	while (nr)
		dev_close(&devs[--nr]);
	free(devs);
	stage_close(&s);
}

static void identifiers(void)
{
	struct nvme_pmap_query q;
	struct stage s;

	if (queue_open(&s, NULL, 1, true, true)) {
		q = queue_query(s.dev.fd);
		CHECK(q.queue_irq && q.queue_polled && q.queue_irq != q.queue_polled,
		      "queues %u and %u", q.queue_irq, q.queue_polled);
		CHECK(q.features == (NVME_PMAP_FEATURE_CMD | NVME_PMAP_FEATURE_QUEUE), "doors %#x",
		      q.features);
		must_detach(s.dev.fd, 0);
		q = queue_query(s.dev.fd);
		CHECK(!q.queue_irq && q.queue_polled, "queues %u and %u", q.queue_irq,
		      q.queue_polled);
	}
	stage_close(&s);
}

static uint64_t counter_at(const struct nvme_pmap_stats *st, size_t offset)
{
	uint64_t value;

	memcpy(&value, (const char *)st + offset, sizeof(value));
	return value;
}

/* Every fallback that a case can provoke: its counter goes up, and the command succeeds. */
static void expect_fallback(const struct dev *dev, struct io_uring *ring,
			    const struct nvme_pmap_cmd *cmd, unsigned int sqe_flags, size_t what,
			    const char *name)
{
	struct nvme_pmap_stats before = queue_stats(dev), after;
	struct completion done = { .res = -ETIME };
	char counter[32];
	long sysfs;

	snprintf(counter, sizeof(counter), "fallback_%s", name);
	sysfs = sysfs_number(dev, counter);
	prep_cmd(ring, dev->fd, cmd, 0)->flags |= (uint8_t)sqe_flags;
	CHECK_RET(ring_push(ring), 0, "submit");
	if (CHECK_RET(ring_reap(ring, &done, 10000), 0, "%s: completion", name))
		CHECK_RET(done.res, 0, "%s", name);
	after = queue_stats(dev);
	CHECK(after.queue == before.queue, "%s: it went by the queue", name);
	CHECK(counter_at(&after, what) == counter_at(&before, what) + 1, "%s is not counted", name);
	CHECK(sysfs_number(dev, counter) == sysfs + 1, "%s is not counted in sysfs", counter);
}

#define FALLBACK(name) offsetof(struct nvme_pmap_stats, fallback_##name), #name

static void log_errors(const struct dev *dev, const char *on)
{
	char path[160];

	snprintf(path, sizeof(path), "/sys/block/nvme%s/passthru_err_log_enabled",
		 dev->path + strlen("/dev/ng"));
	CHECK(write_file(path, on), "%s: %s", path, strerror(errno));
}

static void fallbacks(void)
{
	struct io_uring irq, polled;
	struct nvme_pmap_cmd cmd;
	struct stage s;

	if (!queue_open(&s, NULL, 8, true, false) || !ring_open(&irq, MODE_IRQ, 8) ||
	    !ring_open(&polled, MODE_POLL, 8))
		goto out;
	cmd = cmd_rw(&s.dev, OP_READ, s.index, 0, PAGE, 0);
	expect_fallback(&s.dev, &polled, &cmd, 0, FALLBACK(mode));
	expect_fallback(&s.dev, &irq, &cmd, IOSQE_ASYNC, FALLBACK(worker));
	log_errors(&s.dev, "on");
	expect_fallback(&s.dev, &irq, &cmd, 0, FALLBACK(logged));
	log_errors(&s.dev, "off");
	/* an SGL whose ends are inside pages */
	must_unregister(&s.dev, s.index);
	if (must_register(&s.dev, s.mem.map, 8 * STAGE_PART, NVME_PMAP_REG_SGL_LIST, &s.index)) {
		cmd = cmd_rw(&s.dev, OP_READ, s.index, 512, 4 * PAGE, 0);
		expect_fallback(&s.dev, &irq, &cmd, 0, FALLBACK(list));
	}
	cmd = cmd_rw(&s.dev, OP_READ, s.index, 0, PAGE, 0);
	CHECK_RET(run_cmd(&irq, s.dev.fd, &cmd), 0, "and by the queue");
	CHECK(queue_stats(&s.dev).queue == 1, "%llu commands by queue",
	      (unsigned long long)queue_stats(&s.dev).queue);
	io_uring_queue_exit(&polled);
	io_uring_queue_exit(&irq);
out:
	stage_close(&s);
}

/* Files that share one queue, each with rings of its own in threads. */
static void shared(void)
{
	static const enum mode modes[] = { MODE_POLL, MODE_POLL_DEFER, MODE_IRQ, MODE_DEFER };
	struct stage s[2];
	struct load loads[4];
	unsigned int i;
	bool good = queue_open(&s[0], NULL, 2, true, true);

	good = stage_open(&s[1], opt.dev2, 2 * STAGE_PART) && good;
	good = good && CHECK_RET(nvme_pmap_share_queue(s[1].dev.fd, s[0].dev.fd, 0), 0, "share") &&
	       CHECK_RET(nvme_pmap_share_queue(s[1].dev.fd, s[0].dev.fd, POLLED), 0,
			 "share, polled");
	if (good) {
		CHECK(queue_query(s[0].dev.fd).queue_polled ==
			      queue_query(s[1].dev.fd).queue_polled,
		      "two queues where one is shared");
		for (i = 0; i < 4; i++) {
			loads[i] = stage_load(&s[i & 1], modes[i], i / 2);
			loads[i].lba = i * (STAGE_PART / s[0].dev.block);
		}
		stage_run(loads, 4);
		/* the owner goes; the other keeps it */
		must_detach(s[0].dev.fd, 0);
		must_detach(s[0].dev.fd, POLLED);
		loads[1] = stage_load(&s[1], MODE_POLL, 0);
		loads[3] = stage_load(&s[1], MODE_IRQ, 1);
		stage_run(&loads[1], 1);
		stage_run(&loads[3], 1);
		for (i = 0; i < 2; i++)
			CHECK(queue_stats(&s[i].dev).queue, "nothing of file %u went by the queue",
			      i);
		CHECK(!queue_stats(&s[1].dev).fallback_down,
		      "the queue went down with its first file");
	}
	stage_close(&s[1]);
	stage_close(&s[0]);
}

/*
 * Two files on one queue, one step at a time: the poll of B's ring finds completions
 * of A's commands, and must not drop them.
 */
static void shared_foreign(void)
{
	struct dev other = { .fd = -1 };
	struct completion done;
	struct io_uring a, b;
	struct nvme_pmap_cmd cmd, cmd_b;
	unsigned int i;
	uint32_t index;
	struct stage s;

	if (!queue_open(&s, NULL, 2, false, true) || !dev_open(&other, NULL, O_RDWR) ||
	    !CHECK_RET(nvme_pmap_share_queue(other.fd, s.dev.fd, POLLED), 0, "share") ||
	    !must_register(&other, s.mem.map + STAGE_PART, PAGE, 0, &index) ||
	    !ring_open(&a, MODE_POLL, 8) || !ring_open(&b, MODE_POLL, 8))
		goto out;
	cmd = cmd_rw(&s.dev, OP_READ, s.index, 0, PAGE, 0);
	cmd_b = cmd_rw(&other, OP_READ, index, 0, PAGE, 8);
	for (i = 0; i < 50; i++) {
		prep_cmd(&a, s.dev.fd, &cmd, 1);
		if (!CHECK_RET(ring_push(&a), 0, "submit on A") ||
		    !CHECK_RET(run_cmd(&b, other.fd, &cmd_b), 0, "command on B") ||
		    !CHECK_RET(ring_reap(&a, &done, 5000), 0, "completion of A, round %u", i) ||
		    !CHECK_RET(done.res, 0, "command on A"))
			break;
	}
	CHECK(queue_stats(&s.dev).queue == i && queue_stats(&other).queue == i,
	      "%u rounds, %llu and %llu commands", i, (unsigned long long)queue_stats(&s.dev).queue,
	      (unsigned long long)queue_stats(&other).queue);
	io_uring_queue_exit(&b);
	io_uring_queue_exit(&a);
out:
	dev_close(&other);
	stage_close(&s);
}

/* One ring polls the queues of two files, in one batch. */
static void ring_two_queues(void)
{
	struct completion done;
	struct io_uring ring;
	struct stage s[2];
	unsigned int i, j, reaped;
	bool good = queue_open(&s[0], NULL, 1, false, true);

	good = queue_open(&s[1], NULL, 1, false, true) && good && ring_open(&ring, MODE_POLL, 32);
	for (i = 0; good && i < 40; i++) {
		for (j = 0; j < 16; j++) {
			struct nvme_pmap_cmd cmd = cmd_rw(&s[j & 1].dev, OP_READ, s[j & 1].index,
							  j * PAGE, PAGE, j * 8);

			prep_cmd(&ring, s[j & 1].dev.fd, &cmd, j);
		}
		good = CHECK_RET(ring_push(&ring), 0, "submit");
		for (reaped = 0; good && reaped < 16; reaped++)
			good = CHECK_RET(ring_reap(&ring, &done, 5000), 0, "completion") &&
			       CHECK_RET(done.res, 0, "command");
	}
	if (good) {
		for (j = 0; j < 2; j++)
			CHECK(queue_stats(&s[j].dev).queue == 320, "%llu commands by queue",
			      (unsigned long long)queue_stats(&s[j].dev).queue);
		io_uring_queue_exit(&ring);
	}
	stage_close(&s[1]);
	stage_close(&s[0]);
}

/* A file that floods its queue leaves the block device its share. */
static void fairness(void)
{
	struct load flood;
	struct stage s;
	volatile bool stop = false;
	unsigned int i;
	uint64_t start;
	void *page = aligned_alloc(PAGE, PAGE);
	int fd;

	if (!page || !queue_open(&s, NULL, 1, false, true))
		return;
	fd = dev_open_block(&s.dev, O_RDONLY);
	flood = stage_load(&s, MODE_POLL, 0);
	flood.count = 1u << 30;
	flood.stop = &stop;
	if (CHECK(fd >= 0, "block device") && CHECK(load_start(&flood), "thread")) {
		start = now_ms();
		for (i = 0; i < 200 && now_ms() < start + 20000; i++)
			if (!CHECK(pread(fd, page, PAGE, i * PAGE) == PAGE, "pread: %s",
				   strerror(errno)))
				break;
		CHECK(i == 200, "%u reads of the block device in 20 s", i);
		note("200 reads in %" PRIu64 " ms beside the flood", now_ms() - start);
		stop = true;
		load_join(&flood);
		note("%" PRIu64 " pairs by the queue meanwhile", flood.verified);
	}
	close(fd);
	free(page);
	stage_close(&s);
}

static const struct test_case queue_cases[] = {
	{ "arguments", arguments },
	{ "on-a-cpu", on_a_cpu },
	{ "all-taken", all_taken },
	{ "identifiers", identifiers },
	{ "fallbacks", fallbacks },
	{ "shared", shared },
	{ "shared-foreign", shared_foreign },
	{ "ring-two-queues", ring_two_queues },
	{ "fairness", fairness },
};

SUBJECT(queue);

/* Blocks so large that their number times their size has more than 32 bits. */
static void big_blocks(void)
{
	struct completion done;
	struct io_uring ring;
	struct stage s;
	unsigned int i;

	if (!queue_open(&s, opt.dev2, 4, true, false) || !ring_open(&ring, MODE_IRQ, 16))
		goto out;
	CHECK(s.dev.lba >= 65536, "blocks of %u bytes", s.dev.lba);
	for (i = 0; i < 8; i++) {
		struct nvme_pmap_cmd cmd = cmd_rw(&s.dev, OP_READ, s.index, 0, 65536, 0);

		/* the first is fine, the others follow in its batch */
		cmd.data_len = i ? 0 : 65536;
		cmd.cdw12 = i ? 0xffff : 0;
		prep_cmd(&ring, s.dev.fd, &cmd, i);
	}
	CHECK_RET(ring_push(&ring), 0, "submit");
	for (i = 0; i < 8; i++)
		if (CHECK_RET(ring_reap(&ring, &done, 10000), 0, "completion"))
			CHECK_RET(done.res, done.user_data ? -ERANGE : 0, "command %u",
				  (unsigned int)done.user_data);
	CHECK(queue_stats(&s.dev).queue == 1, "%llu commands by queue",
	      (unsigned long long)queue_stats(&s.dev).queue);
	io_uring_queue_exit(&ring);
out:
	stage_close(&s);
}

static const struct test_case queue_64k_cases[] = { { "big-blocks", big_blocks } };

SUBJECT(queue_64k);
