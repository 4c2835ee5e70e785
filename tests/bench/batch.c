// SPDX-License-Identifier: GPL-2.0
/* A batch of commands: prepared, submitted, and reaped. */
#include <string.h>

#include "bench.h"
#include <nvme_pmap.h>

/* As newer versions of liburing do: entry i of the array always names SQE i. */
void batch_begin(struct session *session)
{
	struct io_uring_sq *sq = &session->ring.sq;

	for (unsigned int i = 0; i < sq->ring_entries; i++)
		sq->array[i] = i;
}

/* liburing keeps this to itself: make the prepared SQEs visible. */
unsigned int batch_publish(struct session *session)
{
	struct io_uring_sq *sq = &session->ring.sq;
	unsigned int n = sq->sqe_tail - sq->sqe_head;

	sq->sqe_head = sq->sqe_tail;
	io_uring_smp_store_release(sq->ktail, sq->sqe_tail);
	return n;
}

void batch_choose(const struct session *session, struct place *places,
		  unsigned int n, uint64_t *seed)
{
	uint64_t blocks = session->target->bytes / session->bs;
	size_t slices = session->arena->len / session->bs;

	for (unsigned int i = 0; i < n; i++) {
		places[i].offset = next_random(seed) % slices * session->bs;
		places[i].pos = next_random(seed) % blocks * session->bs;
	}
}

void batch_prepare_all(struct session *session)
{
	for (unsigned int i = 0; i < session->ring.sq.ring_entries; i++) {
		struct io_uring_sqe *sqe = nvme_pmap_ring_sqe(&session->ring,
							      i);

		session->path->prep(session, sqe, 0, 0);
		sqe->flags |= IOSQE_FIXED_FILE;
		sqe->user_data = i;
	}
}

static void prepare_again(struct session *session, const struct place *places,
			  unsigned int n)
{
	unsigned int shift =
		(unsigned int)__builtin_ctz(session->target->lba_bytes);
	/* a copy, which no store into an SQE can change for the compiler */
	struct io_uring ring = session->ring;

	for (unsigned int i = 0; i < n; i++)
		nvme_pmap_prep_again(nvme_pmap_ring_sqe(&ring, i),
				     places[i].offset, places[i].pos >> shift);
	nvme_pmap_ring_advance(&session->ring, n);
}

void batch_prepare(struct session *session, const struct place *places,
		   unsigned int n)
{
	if (session->path->again) {
		prepare_again(session, places, n);
		return;
	}
	for (unsigned int i = 0; i < n; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&session->ring);

		if (!sqe)
			die("the submission queue is full");
		session->path->prep(session, sqe, places[i].offset,
				    places[i].pos);
		sqe->flags |= IOSQE_FIXED_FILE;
		sqe->user_data = i;
	}
}

unsigned int batch_collect(struct session *session, int *err)
{
	unsigned int n;
	int want = session->path->passthru ? 0 : (int)session->bs;
	unsigned int shift = session->path->passthru; /* CQEs of two entries */
	const struct io_uring_cq *cq = &session->ring.cq;
	unsigned int tail = io_uring_smp_load_acquire(cq->ktail), head, mask;
	const struct io_uring_cqe *cqes = cq->cqes;

	mask = cq->ring_entries - 1;
	for (head = *cq->khead; head != tail; head++) {
		int res = cqes[(head & mask) << shift].res;

		if (res == want)
			continue;
		if (res >= 0)
			die("%s: a read of %zu bytes ended with %s %#x",
			    session->path->name, session->bs,
			    want ? "length" : "NVMe status", (unsigned int)res);
		*err = -res;
	}
	n = tail - *cq->khead;
	io_uring_cq_advance(&session->ring, n);
	return n;
}
