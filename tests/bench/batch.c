// SPDX-License-Identifier: GPL-2.0
/* A batch of commands: prepared, submitted, and reaped. */
#include <string.h>

#include "bench.h"

/* liburing keeps this to itself: make the prepared SQEs visible. */
unsigned int batch_publish(struct session *session)
{
	struct io_uring_sq *sq = &session->ring.sq;
	unsigned int mask = *sq->kring_mask, tail = *sq->ktail, n = 0;

	for (; sq->sqe_head != sq->sqe_tail; sq->sqe_head++, n++)
		sq->array[tail++ & mask] = sq->sqe_head & mask;
	io_uring_smp_store_release(sq->ktail, tail);
	return n;
}

void batch_prepare(struct session *session, unsigned int n, uint64_t *seed)
{
	uint64_t places = session->target->bytes / session->bs;
	size_t slices = session->arena->len / session->bs;

	for (unsigned int i = 0; i < n; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&session->ring);
		size_t offset = next_random(seed) % slices * session->bs;
		uint64_t pos = next_random(seed) % places * session->bs;

		if (!sqe)
			die("the submission queue is full");
		session->path->prep(session, sqe, offset, pos);
		sqe->flags |= IOSQE_FIXED_FILE;
		sqe->user_data = i;
	}
}

unsigned int batch_collect(struct session *session, int *err)
{
	int want = session->path->passthru ? 0 : (int)session->bs;
	struct io_uring_cqe *cqe;
	unsigned int head, n = 0;

	io_uring_for_each_cqe(&session->ring, head, cqe) {
		n++;
		if (cqe->res == want)
			continue;
		if (cqe->res >= 0)
			die("%s: a read of %zu bytes ended with %s %#x",
			    session->path->name, session->bs,
			    want ? "length" : "NVMe status",
			    (unsigned int)cqe->res);
		*err = -cqe->res;
	}
	io_uring_cq_advance(&session->ring, n);
	return n;
}
