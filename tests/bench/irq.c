// SPDX-License-Identifier: GPL-2.0
/*
 * The cost of a batch to the kernel when its completion is an interrupt: from the
 * call that submits it and sleeps, to the return of that call.  No clock tells:
 * under icount time jumps while the CPU is idle, and instructions of a guest are
 * counted by a TCG plugin (tests/profile/windows.c), which knows the window by its
 * markers.  This makes windows comparable: each has one interrupt of the device and
 * one sleep.  A child of the lowest priority keeps the CPU from idling, which would
 * be counted otherwise.
 */
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

static pid_t spinner;

void irq_begin(void)
{
	const struct sched_param param = { 0 };

	spinner = fork();
	if (spinner < 0)
		die("fork failed");
	if (spinner)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (sched_setscheduler(0, SCHED_IDLE, &param))
		_exit(1);
	for (;;)
		__asm__ volatile("pause");
}

void irq_end(void)
{
	kill(spinner, SIGKILL);
	waitpid(spinner, NULL, 0);
}

/* Interrupts of NVMe devices so far, of all CPUs. */
static uint64_t interrupts(void)
{
	FILE *file = fopen("/proc/interrupts", "re");
	char line[1024];
	uint64_t sum = 0;

	while (file && fgets(line, sizeof(line), file)) {
		char *at = strchr(line, ':'), *end;

		if (!at || !strstr(line, "nvme"))
			continue;
		for (at++;; at = end) {
			unsigned long long n = strtoull(at, &end, 10);

			if (end == at)
				break;
			sum += n;
		}
	}
	if (!file)
		die("/proc/interrupts");
	fclose(file);
	return sum;
}

bool irq_batch(struct session *session, unsigned int n,
	       struct irq_window *window)
{
	struct rusage before, after;
	uint64_t irqs = interrupts();
	int ret;

	getrusage(RUSAGE_THREAD, &before);
	PROFILE_WINDOW(3);
	ret = session_enter(session, n, n, IORING_ENTER_GETEVENTS);
	PROFILE_WINDOW(0);
	getrusage(RUSAGE_THREAD, &after);
	window->plain = interrupts() - irqs == 1 &&
			after.ru_nvcsw - before.ru_nvcsw == 1 &&
			after.ru_nivcsw == before.ru_nivcsw;
	return ret == (int)n;
}
