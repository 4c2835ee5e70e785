// SPDX-License-Identifier: GPL-2.0
/*
 * An ioctl writes its answer to a page that userfaultfd has write-protected, and
 * waits until another thread provides the page.  It must not block other callers.
 */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/util.h"

struct missing {
	struct dev dev;
	unsigned char *buf;
	struct nvme_pmap_register *reg; /* where no answer can be written */
	int uffd, ret;
};

static bool protect(const struct missing *m, uint64_t mode)
{
	struct uffdio_writeprotect wp = {
		.range = { .start = (uintptr_t)m->reg, .len = PAGE },
		.mode = mode,
	};

	return CHECK(!ioctl(m->uffd, UFFDIO_WRITEPROTECT, &wp), "UFFDIO_WRITEPROTECT: %s",
		     strerror(errno));
}

/* Userfaultfd is of the process that opens it. */
static bool missing_page(struct missing *m)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_WP };

	m->uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	m->reg = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	*m->reg = (struct nvme_pmap_register){
		.size = sizeof(*m->reg),
		.addr = (uintptr_t)m->buf,
		.len = PAGE,
		.index = NVME_PMAP_INDEX_ANY,
	};
	range.range.start = (uintptr_t)m->reg;
	range.range.len = PAGE;
	return CHECK(m->uffd >= 0, "userfaultfd: %s", strerror(errno)) &&
	       CHECK(!ioctl(m->uffd, UFFDIO_API, &api), "UFFDIO_API: %s", strerror(errno)) &&
	       CHECK(!ioctl(m->uffd, UFFDIO_REGISTER, &range), "UFFDIO_REGISTER: %s",
		     strerror(errno)) &&
	       protect(m, UFFDIO_WRITEPROTECT_MODE_WP);
}

static bool missing_open(struct missing *m)
{
	memset(m, 0, sizeof(*m));
	m->buf = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (access("/proc/sys/vm/unprivileged_userfaultfd", F_OK)) {
		skip_case("the kernel has no userfaultfd");
		return false;
	}
	return dev_open(&m->dev, NULL, O_RDWR);
}

static void missing_close(struct missing *m)
{
	dev_close(&m->dev);
	munmap(m->buf, PAGE);
}

static void *register_missing(void *arg)
{
	struct missing *m = arg;

	m->ret = nvme_pmap_ioctl(m->dev.fd, NVME_PMAP_IOC_REGISTER, m->reg);
	return NULL;
}

/* A thread waits for the page. */
static bool waits(const struct missing *m)
{
	struct pollfd p = { .fd = m->uffd, .events = POLLIN };

	return CHECK(poll(&p, 1, 10000) == 1, "nobody waits for the page");
}

/* Another process makes every other call on the file. */
static void others(void *arg)
{
	const struct missing *m = arg;
	struct nvme_pmap_query q;
	uint32_t index;

	if (!must_register(&m->dev, m->buf, PAGE, 0, &index))
		return;
	CHECK(index == 0, "index %u, not 0", index);
	CHECK_RET(nvme_pmap_query_file(m->dev.fd, &q), 0, "query");
	CHECK(q.nr_pmaps == 1, "%u buffers", q.nr_pmaps);
	must_unregister(&m->dev, index);
}

/* It ends within ten seconds: without help, or with @killed when it is killed. */
static bool ends(pid_t pid, bool killed, const char *what)
{
	uint64_t limit = now_ms() + 10000;
	pid_t ended = 0;
	int status = 0;

	if (killed)
		kill(pid, SIGKILL);
	while (!ended && now_ms() < limit) {
		ended = waitpid(pid, &status, WNOHANG);
		sleep_ms(10);
	}
	return CHECK(ended == pid, "%s does not end", what) &&
	       CHECK(killed ? WIFSIGNALED(status) : !status, "%s ends with %#x", what, status);
}

/* The file is used meanwhile; and with the page, it has succeeded. */
static void provided(void)
{
	struct missing m;
	pthread_t thread;
	pid_t pid;

	if (!missing_open(&m) || !missing_page(&m))
		goto out;
	pthread_create(&thread, NULL, register_missing, &m);
	if (waits(&m)) {
		pid = fork();
		if (!pid) {
			others(&m);
			_exit(case_failed());
		}
		if (!ends(pid, false, "who uses the file"))
			ends(pid, true, "who uses the file, killed,");
	}
	protect(&m, 0);
	pthread_join(thread, NULL);
	if (CHECK_RET(m.ret, 0, "register") &&
	    CHECK(!m.reg->index && m.reg->list_bytes, "index %u", m.reg->index))
		must_unregister(&m.dev, 0);
out:
	missing_close(&m);
}

/* The waiting process can be killed, and leaves nothing behind. */
static void killed(void)
{
	struct nvme_pmap_query q;
	struct missing m;
	int told[2];
	pid_t pid;
	char c;

	if (!missing_open(&m) || !CHECK(!pipe(told), "pipe"))
		goto out;
	pid = fork();
	if (!pid) {
		pthread_t thread;

		if (missing_page(&m)) {
			pthread_create(&thread, NULL, register_missing, &m);
			if (waits(&m) && write(told[1], "", 1) == 1)
				pause();
		}
		_exit(1);
	}
	close(told[1]);
	CHECK(read(told[0], &c, 1) == 1, "the child does not wait");
	if (ends(pid, true, "who waits")) {
		CHECK_RET(nvme_pmap_query_file(m.dev.fd, &q), 0, "query");
		CHECK(!q.nr_pmaps && !q.pinned, "%u buffers are left", q.nr_pmaps);
		others(&m);
	}
	close(told[0]);
out:
	missing_close(&m);
}

static const struct test_case userfault_cases[] = {
	{ "provided", provided },
	{ "killed", killed },
};

SUBJECT(userfault);
