// SPDX-License-Identifier: GPL-2.0
/*
 * Reads from several CPUs at once.  Nothing is measured here: a TCG plugin sees which
 * lines of memory the kernel writes on which CPU (scripts/sharing), between the markers.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include <nvme_pmap.h>

#define MAX_CPUS   16u
#define MAX_QUEUES 256u
#define NAP_NS	   100000l
#define MAX_POLLS  100000u
#define WARM_UP	   4u

struct worker {
	const struct cpus_row *row;
	struct session session;
	struct target target;
	struct proof proof;
	pthread_t thread;
	unsigned int cpu;
	uint64_t seed;
	sem_t opened;
	sem_t close;
};

static pthread_barrier_t start, done;

static int open_again(const struct target *target)
{
	int mode = (target->write ? O_RDWR : O_RDONLY) | O_CLOEXEC, fd;
	char path[128];

	snprintf(path, sizeof(path), "/dev/ng%s",
		 target->name + strlen("nvme"));
	fd = open(path, mode);
	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	return fd;
}

/* Poll for the submitted commands; each poll is in the window. */
static unsigned int reap(struct worker *worker, unsigned int n, int *err)
{
	struct session *session = &worker->session;
	unsigned int got = 0;

	for (unsigned int i = 0; i < MAX_POLLS && got < n; i++) {
		int ret;

		sleep_ns(NAP_NS);
		PROFILE_WINDOW(2);
		ret = session_enter(session, 0, 1, IORING_ENTER_GETEVENTS);
		PROFILE_WINDOW(0);
		if (ret < 0 && ret != -EINTR)
			die("io_uring_enter: %s", strerror(-ret));
		got += batch_collect(session, err);
	}
	return got;
}

static void one_batch(struct worker *worker, bool marked)
{
	struct session *session = &worker->session;
	struct place places[BENCH_MAX_BATCH];
	unsigned int n, got;
	int ret, err = 0;

	batch_choose(session, places, worker->row->batch, &worker->seed);
	batch_prepare(session, places, worker->row->batch);
	n = batch_publish(session);
	if (!marked) {
		ret = session_enter(session, n, n, IORING_ENTER_GETEVENTS);
	} else if (session->irq) {
		PROFILE_WINDOW(3);
		ret = session_enter(session, n, n, IORING_ENTER_GETEVENTS);
		PROFILE_WINDOW(0);
	} else {
		PROFILE_WINDOW(1);
		ret = session_enter(session, n, 0, 0);
		PROFILE_WINDOW(0);
	}
	if (ret != (int)n)
		die("io_uring_enter submitted %d of %u", ret, n);
	got = batch_collect(session, &err);
	if (got < n)
		got += reap(worker, n - got, &err);
	if (got != n || err)
		die("CPU %u: %u of %u commands completed: %s", worker->cpu, got,
		    n, strerror(err));
}

static void *work(void *arg)
{
	struct worker *worker = arg;

	pin_to(worker->cpu);
	session_open(&worker->session, worker->row->batch);
	sem_post(&worker->opened);
	pthread_barrier_wait(&start);
	for (unsigned int i = 0; i < WARM_UP; i++)
		one_batch(worker, false);
	for (unsigned int i = 0; i < worker->row->samples; i++)
		one_batch(worker, true);
	pthread_barrier_wait(&done);
	sem_wait(&worker->close);
	session_close(&worker->session);
	return NULL;
}

/* An odd CPU may have something in common with the one before it. */
static void prepare_worker(struct worker *workers, unsigned int cpu,
			   const struct cpus_row *row,
			   const struct session *like)
{
	struct worker *worker = &workers[cpu];
	bool shares = row->share == SHARE_FILE || row->share == SHARE_QUEUE;
	struct worker *before = shares && cpu % 2 ? worker - 1 : NULL;

	worker->row = row;
	worker->cpu = cpu;
	worker->seed = 0x2545f4914f6cdd1du + cpu;
	worker->session = *like;
	worker->session.elsewhere = row->share == SHARE_IRQ;
	worker->session.interrupted = cpu ^ 1;
	if (before)
		worker->session.beside = &before->session;
	if (before && row->share == SHARE_FILE) {
		worker->session.target = before->session.target;
	} else {
		worker->target = *like->target;
		worker->target.generic_fd = open_again(like->target);
		worker->session.target = &worker->target;
	}
	sem_init(&worker->opened, 0, 0);
	sem_init(&worker->close, 0, 0);
}

static bool has_file(const struct worker *worker)
{
	return worker->session.target == &worker->target;
}

/* Attach all remaining queues to files; return how many. */
static unsigned int take_queues(const struct target *target, int *files)
{
	for (unsigned int i = 0; i < MAX_QUEUES; i++) {
		int ret;

		files[i] = open_again(target);
		ret = nvme_pmap_attach_queue(files[i], NVME_PMAP_QUEUE_POLLED);
		if (!ret)
			continue;
		close(files[i]);
		if (ret != -EUSERS)
			die("cannot attach a queue: %s", strerror(-ret));
		return i;
	}
	die("there are more than %u queues", MAX_QUEUES);
}

static void prove(const struct cpus_row *row, const struct worker *workers)
{
	uint64_t commands = (uint64_t)row->batch * (row->samples + WARM_UP);
	const char *comma = "";

	if (row->share == SHARE_FILE)
		commands *= 2;
	for (unsigned int i = 0; i < row->nr; i++) {
		if (!has_file(&workers[i]))
			continue;
		printf("%s{\"cpu\": %u", comma, i);
		proof_end(&workers[i].proof, &workers[i].target, row->claim,
			  commands);
		printf("}");
		comma = ", ";
	}
}

static void run_workers(const struct cpus_row *row, struct worker *workers)
{
	for (unsigned int i = 0; i < row->nr; i++) {
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
			die("pthread_create failed");
		sem_wait(&workers[i].opened);
	}
	for (unsigned int i = 0; i < row->nr; i++)
		if (has_file(&workers[i]))
			proof_begin(&workers[i].proof, &workers[i].target);
	pthread_barrier_wait(&start);
	pthread_barrier_wait(&done);
	prove(row, workers);
	/* sessions that share another's resources close first */
	for (unsigned int i = row->nr; i--;) {
		sem_post(&workers[i].close);
		pthread_join(workers[i].thread, NULL);
	}
	for (unsigned int i = 0; i < row->nr; i++)
		if (has_file(&workers[i]))
			close(workers[i].target.generic_fd);
}

void cpus_run(const struct cpus_row *row, const struct session *like)
{
	static struct worker workers[MAX_CPUS];
	int files[MAX_QUEUES];
	unsigned int taken = 0;

	if (row->nr > MAX_CPUS || (row->share && row->nr % 2))
		die("cpus: up to %u, and an even number where they share",
		    MAX_CPUS);
	memset(workers, 0, sizeof(workers));
	pthread_barrier_init(&start, NULL, row->nr + 1);
	pthread_barrier_init(&done, NULL, row->nr + 1);
	if (row->used_up)
		taken = take_queues(like->target, files);
	for (unsigned int i = 0; i < row->nr; i++)
		prepare_worker(workers, i, row, like);
	printf("{\"kind\": \"cpus\", \"path\": \"%s\", \"mode\": \"%s\", "
	       "\"cpus\": %u, \"commands\": %u, \"files\": [",
	       row->path->name, like->irq ? "irq" : "poll", row->nr,
	       row->batch * row->samples);
	run_workers(row, workers);
	printf("]}\n");
	fflush(stdout);
	while (taken)
		close(files[--taken]);
	PROFILE_WINDOW(4);
}
