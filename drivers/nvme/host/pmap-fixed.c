// SPDX-License-Identifier: GPL-2.0
/*
 * The auto door: a command of NVME_URING_CMD_IO with a buffer that io_uring has
 * registered, by the mapping of that buffer.  What it does not serve, for whatever
 * reason, is stock's to do or to refuse.  Compiled at the end of ioctl.c, after
 * pmap-cmd.c.
 */
#include <linux/bvec.h>
#include <linux/uio.h>

#include "pmap.h"
#include "pmap-auto.h"

/* The fields of both commands that are used for both are in the same places. */
static_assert(offsetof(struct nvme_uring_cmd, metadata) ==
	      offsetof(struct nvme_pmap_cmd, index));
static_assert(offsetof(struct nvme_uring_cmd, addr) ==
	      offsetof(struct nvme_pmap_cmd, offset));
static_assert(offsetof(struct nvme_uring_cmd, metadata_len) ==
	      offsetof(struct nvme_pmap_cmd, rsvd3));
static_assert(offsetof(struct nvme_uring_cmd, data_len) ==
	      offsetof(struct nvme_pmap_cmd, data_len));
static_assert(offsetof(struct nvme_uring_cmd, cdw10) ==
	      offsetof(struct nvme_pmap_cmd, cdw10));
static_assert(offsetof(struct nvme_uring_cmd, timeout_ms) ==
	      offsetof(struct nvme_pmap_cmd, timeout_ms));
static_assert(sizeof(struct nvme_uring_cmd) == sizeof(struct nvme_pmap_cmd));

/* Are @more pages after page @at of the mapping those that follow it in memory? */
static bool nvme_pmap_one_piece(const struct nvme_pmap *pmap, u32 at, u32 more)
{
	u32 end = (at + pmap->page_phase) | pmap->page_above, i;

	if (!more || end + more >= more)
		return true;
	/* across groups, or they are smaller than they could be */
	for (i = 1; i <= more; i++)
		if (pmap->pages[at + i] != nth_page(pmap->pages[at], i))
			return false;
	return true;
}

/*
 * Segments of several pages.  A short one can only be the first or the last: that
 * is how io_uring finds its way in them.
 */
static noinline bool nvme_pmap_same_folios(const struct nvme_pmap *pmap,
					   const struct iov_iter *iter,
					   u64 offset, u32 left)
{
	const struct bio_vec *bv = iter->bvec;
	u32 skip = iter->iov_offset;

	for (;; bv++, skip = 0) {
		u32 at = bv->bv_offset + skip;
		u32 len = min(bv->bv_len - skip, left);
		u32 page = offset >> PAGE_SHIFT;

		if (offset_in_page(at ^ (u32)offset) ||
		    nth_page(bv->bv_page, at >> PAGE_SHIFT) !=
			    pmap->pages[page] ||
		    !nvme_pmap_one_piece(pmap, page,
					 (offset_in_page(at) + len - 1) >>
						 PAGE_SHIFT))
			return false;
		left -= len;
		if (!left)
			return true;
		offset += len;
	}
}

/* Not zero if they do: without a branch for each. */
static __always_inline unsigned long pmap_differ(const struct page *a,
						 const struct page *b)
{
	return (unsigned long)a ^ (unsigned long)b;
}

static __always_inline unsigned long pmap_differ4(const struct bio_vec *bv,
						  struct page *const *page)
{
	return pmap_differ(bv[0].bv_page, page[0]) |
	       pmap_differ(bv[1].bv_page, page[1]) |
	       pmap_differ(bv[2].bv_page, page[2]) |
	       pmap_differ(bv[3].bv_page, page[3]);
}

/*
 * Are the @len bytes that io_uring has imported those of the mapping from @at_offset
 * on?  @len is not zero, and no more than PMAP_MAX_TRANSFER.  The offset is masked,
 * for a wrong guess of its bounds.
 */
static __always_inline bool nvme_pmap_same_pages(const struct nvme_pmap *pmap,
						 const struct iov_iter *iter,
						 u64 *at_offset, u32 len)
{
	u64 offset = *at_offset;
	const struct bio_vec *bv = iter->bvec;
	u32 at = bv->bv_offset + iter->iov_offset, more, left;
	struct page *const *page;
	unsigned long differ;

	if (unlikely(offset >= pmap->l.len || len > pmap->l.len - offset))
		return false;
	offset = array_index_nospec(offset, pmap->l.len);
	*at_offset = offset;
	more = (offset_in_page(at) + len - 1) >> PAGE_SHIFT;
	/* of a page each, or not? */
	if (more && (bv->bv_len > PAGE_SIZE || iter->nr_segs == 1 ||
		     bv[1].bv_len > PAGE_SIZE))
		return nvme_pmap_same_folios(pmap, iter, offset, len);
	page = &pmap->pages[offset >> PAGE_SHIFT];
	differ = offset_in_page(at ^ (u32)offset);
	if (!more)
		return !(differ |
			 pmap_differ(nth_page(bv->bv_page, at >> PAGE_SHIFT),
				     *page));
	/* most transfers are of a multiple of four pages, the long ones of eight */
	for (left = more + 1; left >= 8; left -= 8, bv += 8, page += 8)
		differ |= pmap_differ4(bv, page) |
			  pmap_differ4(bv + 4, page + 4);
	for (; left >= 4; left -= 4, bv += 4, page += 4)
		differ |= pmap_differ4(bv, page);
	for (; left; left--)
		differ |= pmap_differ((bv++)->bv_page, *page++);
	return !differ;
}

/*
 * The mapping that belongs to the hint, referenced; NULL if there is none, with
 * fx->known where that is to be so.
 */
static struct nvme_pmap *nvme_pmap_fixed_find(struct nvme_pmap_autos *autos,
					      struct nvme_pmap_fixed *fx)
{
	struct nvme_pmap *pmap = NULL;
	struct nvme_pmap_auto *a;

	fx->known = false;
	pmap_rcu_begin();
	hlist_for_each_entry_rcu(a, nvme_pmap_auto_bucket(autos, fx->hint),
				 node) {
		if (a->hint != fx->hint)
			continue;
		fx->known = true;
		fx->base = a->base;
		fx->offset = fx->addr - a->base;
		pmap = rcu_dereference(a->pmap);
		if (pmap && !percpu_ref_tryget_live_rcu(&pmap->ref))
			pmap = NULL;
		if (pmap && unlikely(!READ_ONCE(a->used)))
			WRITE_ONCE(a->used, true);
		break;
	}
	pmap_rcu_end();
	return pmap;
}

/* Is the byte in io_uring's buffer? */
static bool nvme_pmap_fixed_has(struct io_uring_cmd *ioucmd, u64 addr)
{
	struct iov_iter iter __uninitialized;

	return !io_uring_cmd_import_fixed(addr, 1, ITER_DEST, &iter, ioucmd);
}

/*
 * Bytes that io_uring's buffer goes on for: from @from on, the first that may be, up
 * or down.  In ever larger steps, and then in ever smaller ones: io_uring tells of
 * any place whether it is in the buffer, and not where that ends.
 */
static u64 nvme_pmap_fixed_goes_on(struct io_uring_cmd *ioucmd, u64 from,
				   bool down)
{
	u64 bytes = 0, step = 1, at;

	for (;; step <<= 1) {
		at = bytes + step - 1;
		if (!nvme_pmap_fixed_has(ioucmd, down ? from - at : from + at))
			break;
		bytes += step;
	}
	while (step >>= 1) {
		at = bytes + step - 1;
		if (nvme_pmap_fixed_has(ioucmd, down ? from - at : from + at))
			bytes += step;
	}
	return bytes;
}

/* What has been sent so far must not wait for what may take long. */
static void nvme_pmap_fixed_flush(struct nvme_pmap_queue *q)
{
	if (!q)
		return;
	spin_lock(&q->sq_lock);
	if (q->batch.plug == current->plug)
		nvme_pmap_end_batch_locked(q);
	spin_unlock(&q->sq_lock);
}

/* Map all of the buffer that the command is in. */
static noinline void nvme_pmap_fixed_make(struct nvme_pmap_file *pf,
					  struct io_uring_cmd *ioucmd,
					  const struct nvme_pmap_fixed *fx)
{
	u64 from = fx->addr, to = fx->addr + fx->len, base;
	struct iov_iter iter;

	nvme_pmap_fixed_flush(READ_ONCE(pf->queue[0]));
	nvme_pmap_fixed_flush(READ_ONCE(pf->queue[1]));
	from -= nvme_pmap_fixed_goes_on(ioucmd, from - 1, true);
	to += nvme_pmap_fixed_goes_on(ioucmd, to, false);
	base = PAGE_ALIGN_DOWN(from);
	if (!io_uring_cmd_import_fixed(from, to - from, ITER_DEST, &iter,
				       ioucmd))
		nvme_pmap_auto_make(pf, fx->hint, base, PAGE_ALIGN(to) - base,
				    &iter);
}

/* The mapping of the memory that the command is for, referenced, or NULL. */
static struct nvme_pmap *nvme_pmap_fixed_map(struct nvme_pmap_file *pf,
					     struct io_uring_cmd *ioucmd,
					     struct nvme_pmap_fixed *fx)
{
	struct nvme_pmap *pmap;
	bool made = false;

	for (;;) {
		pmap = nvme_pmap_fixed_find(pf->autos, fx);
		if (likely(pmap && nvme_pmap_same_pages(pmap, &fx->iter,
							&fx->offset, fx->len)))
			return pmap;
		if (pmap) {
			/* another buffer has the hint by now */
			nvme_pmap_auto_drop(pf, fx->hint, pmap);
			percpu_ref_put(&pmap->ref);
			fx->known = false;
		}
		if (made || fx->known ||
		    READ_ONCE(pf->autos->nr) >= PMAP_AUTO_MAX)
			return NULL;
		nvme_pmap_fixed_make(pf, ioucmd, fx);
		made = true;
	}
}

/* What one command may transfer, by the auto door and by stock. */
static u32 nvme_pmap_fixed_max(const struct nvme_pmap_file *pf)
{
	const struct request_queue *q =
		container_of(pf->usage, struct request_queue, q_usage_counter);

	return min_t(u64, pf->max_transfer,
		     (u64)READ_ONCE(q->limits.max_hw_sectors) << SECTOR_SHIFT);
}

/* On a buffer of the auto door's, which is referenced. */
static __always_inline bool
nvme_pmap_begin_fixed(struct nvme_pmap_queue *q, struct nvme_ns *ns,
		      struct nvme_pmap_file *pf, struct io_uring_cmd *ioucmd,
		      struct nvme_pmap *pmap, const struct nvme_pmap_fixed *fx)
{
	bool live;

	if (!nvme_pmap_may_begin(q, pf))
		return false;
	pmap_rcu_acquire();
	live = percpu_ref_tryget_live_rcu(pf->usage);
	pmap_rcu_release();
	if (!live)
		return false;
	pmap_ref_get_many(&pmap->ref, 1);
	q->batch.table = NULL;
	q->batch.hint = fx->hint;
	q->batch.base = fx->base;
	q->batch.max = nvme_pmap_fixed_max(pf);
	return nvme_pmap_open_batch(q, ns, pf, ioucmd, pmap);
}

/* Open a batch on the buffer, with this command as its first. */
static noinline bool
nvme_pmap_fixed_first(struct nvme_ns *ns, struct nvme_pmap_file *pf,
		      struct nvme_pmap_queue *q, struct io_uring_cmd *ioucmd,
		      struct nvme_pmap *pmap, const struct nvme_pmap_fixed *fx)
{
	bool sent;

	spin_lock(&q->sq_lock);
	sent = nvme_pmap_begin_fixed(q, ns, pf, ioucmd, pmap, fx) &&
	       nvme_pmap_first_of_batch(pf, q, ioucmd, fx);
	spin_unlock(&q->sq_lock);
	return sent;
}

/* Why a queue that has been tried did not take a command; a guess, afterwards. */
static enum nvme_pmap_fallback nvme_pmap_fixed_why(struct nvme_pmap_queue *q,
						   unsigned int issue_flags)
{
	if (issue_flags & IO_URING_F_UNLOCKED)
		return PMAP_FALLBACK_WORKER;
	/* a guess: the locks are not held */
	if (!data_race(q->live))
		return PMAP_FALLBACK_DOWN;
	if (!nvme_pmap_sq_free(q))
		return PMAP_FALLBACK_BUSY;
	/* likewise */
	if (data_race(nvme_pmap_room(q)))
		return PMAP_FALLBACK_LIST;
	return PMAP_FALLBACK_FULL;
}

/* By the queue, with the buffer at hand and referenced. */
static bool nvme_pmap_fixed_queue(struct nvme_ns *ns, struct nvme_pmap_file *pf,
				  struct nvme_pmap_queue *q,
				  struct io_uring_cmd *ioucmd,
				  unsigned int issue_flags,
				  struct nvme_pmap *pmap,
				  struct nvme_pmap_fixed *fx)
{
	if (likely(!(issue_flags & IO_URING_F_UNLOCKED))) {
		/* the batch has a reference for commands on its own buffer only */
		if (nvme_pmap_enqueue_next(pf, q, ioucmd, pmap, fx) ==
		    PMAP_NEXT_QUEUED)
			return true;
		if (nvme_pmap_fixed_first(ns, pf, q, ioucmd, pmap, fx)) {
			percpu_ref_put(&pmap->ref);
			return true;
		}
	}
	nvme_pmap_count_fallback(pf, nvme_pmap_fixed_why(q, issue_flags));
	return false;
}

/* The file's first command by this door; the next one finds what it makes. */
static noinline int nvme_pmap_fixed_start(struct io_uring_cmd *ioucmd,
					  unsigned int issue_flags)
{
	struct nvme_ns *ns = container_of(file_inode(ioucmd->file)->i_cdev,
					  struct nvme_ns, cdev);
	struct nvme_pmap_ctrl *pc = nvme_pmap_ctrl_get_prepared(ns->ctrl);
	struct nvme_pmap_file *pf;

	if (!pc)
		return nvme_ns_chr_uring_cmd(ioucmd, issue_flags);
	pf = nvme_pmap_file_get(ioucmd->file, ns, pc);
	if (pf && nvme_pmap_autos_get(pf))
		this_cpu_inc(pf->counts->way[PMAP_WAY_STARTING]);
	nvme_pmap_ctrl_put(pc);
	return nvme_ns_chr_uring_cmd(ioucmd, issue_flags);
}

/*
 * By the file's queue, or by blk-mq, with the buffer at hand and referenced.
 *
 * Return: -EIOCBQUEUED; -EAGAIN, as stock; or why stock is to have it.
 */
static int nvme_pmap_fixed_send(struct nvme_ns *ns, struct nvme_pmap_file *pf,
				struct io_uring_cmd *ioucmd,
				unsigned int issue_flags,
				struct nvme_pmap *pmap,
				struct nvme_pmap_fixed *fx,
				struct nvme_pmap_io *io)
{
	const struct nvme_pmap_cmd *cmd = io_uring_sqe_cmd(ioucmd->sqe);
	struct nvme_pmap_pdu *pdu = nvme_pmap_pdu(ioucmd);
	struct nvme_pmap_queue *q;
	int ret;

	if (READ_ONCE(pf->pc->mode) == PMAP_AUTO_QUEUE) {
		q = nvme_pmap_pick_queue(pf, issue_flags);
		if (q && nvme_pmap_fixed_queue(ns, pf, q, ioucmd, issue_flags,
					       pmap, fx))
			return -EIOCBQUEUED;
		if (!q) {
			nvme_pmap_count_fallback(pf, PMAP_FALLBACK_DOWN);
			nvme_pmap_auto_attach(pf, ioucmd->file,
					      issue_flags & IO_URING_F_IOPOLL);
		}
	}
	/* what was compared, not what stands in the SQE by now */
	io->offset = fx->offset;
	io->data_len = fx->len;
	pdu->built = NULL;
	pdu->pmap = pmap;
	/* where a worker sends it, the program may look before that goes on */
	this_cpu_inc(pf->counts->way[PMAP_WAY_MQ]);
	ret = nvme_pmap_send(ns, pf, ioucmd, cmd, io, issue_flags);
	if (likely(ret == -EIOCBQUEUED))
		return ret;
	this_cpu_dec(pf->counts->way[PMAP_WAY_MQ]);
	percpu_ref_put(&pmap->ref);
	return ret == -EAGAIN ? ret : PMAP_WAY_FAILED;
}

/* Return: -EIOCBQUEUED; -EAGAIN; or why stock is to have it. */
static __always_inline int nvme_pmap_fixed_try(struct io_uring_cmd *ioucmd,
					       unsigned int issue_flags,
					       struct nvme_pmap_file *pf)
{
	const struct nvme_pmap_cmd *cmd = io_uring_sqe_cmd(ioucmd->sqe);
	struct nvme_ns *ns = container_of(file_inode(ioucmd->file)->i_cdev,
					  struct nvme_ns, cdev);
	struct nvme_pmap_fixed fx __uninitialized;
	struct nvme_pmap *pmap;
	struct nvme_pmap_io io __uninitialized;

	if (unlikely(nvme_uring_cmd_checks(issue_flags) ||
		     READ_ONCE(cmd->index) ||
		     nvme_pmap_parse(ns, ioucmd, cmd, &io)))
		return PMAP_WAY_COMMAND;
	fx.addr = io.offset;
	fx.len = io.data_len;
	fx.hint = pmap_buffer_hint(ioucmd);
	if (unlikely((io.opcode != nvme_cmd_read &&
		      io.opcode != nvme_cmd_write) ||
		     fx.len - 1 >= nvme_pmap_fixed_max(pf) ||
		     io_uring_cmd_import_fixed(fx.addr, fx.len, ITER_DEST,
					       &fx.iter, ioucmd)))
		return PMAP_WAY_COMMAND;
	pmap = nvme_pmap_fixed_map(pf, ioucmd, &fx);
	if (unlikely(!pmap))
		return PMAP_WAY_REFUSED;
	return nvme_pmap_fixed_send(ns, pf, ioucmd, issue_flags, pmap, &fx,
				    &io);
}

/*
 * A command of NVME_URING_CMD_IO with a fixed buffer, that is not just one more of
 * a batch.
 */
static noinline int nvme_pmap_fixed_alone(struct io_uring_cmd *ioucmd,
					  unsigned int issue_flags,
					  struct nvme_pmap_file *pf)
{
	int ret;

	/* polled as ours; and it may end before this returns */
	ioucmd->cmd_op = NVME_URING_CMD_PMAP;
	ret = nvme_pmap_fixed_try(ioucmd, issue_flags, pf);
	if (likely(ret == -EIOCBQUEUED))
		return ret;
	ioucmd->cmd_op = NVME_URING_CMD_IO;
	if (ret == -EAGAIN)
		return ret;
	this_cpu_inc(pf->counts->way[ret]);
	return nvme_ns_chr_uring_cmd(ioucmd, issue_flags);
}

/* The same, if the door is open. */
static __always_inline int nvme_pmap_fixed_single(struct io_uring_cmd *ioucmd,
						  unsigned int issue_flags,
						  struct nvme_pmap_file *pf)
{
	/* pairs with the cmpxchg() in nvme_pmap_autos_get() */
	if (unlikely(!smp_load_acquire(&pf->autos)))
		return nvme_pmap_fixed_start(ioucmd, issue_flags);
	if (unlikely(READ_ONCE(pf->pc->mode) == PMAP_AUTO_OFF))
		return nvme_ns_chr_uring_cmd(ioucmd, issue_flags);
	return nvme_pmap_fixed_alone(ioucmd, issue_flags, pf);
}

/* One more of the batch, if that is on the same buffer.  Return: whether. */
static __always_inline bool nvme_pmap_fixed_next(struct nvme_pmap_file *pf,
						 struct nvme_pmap_queue *q,
						 struct io_uring_cmd *ioucmd)
{
	const struct nvme_pmap_cmd *cmd = io_uring_sqe_cmd(ioucmd->sqe);
	struct nvme_pmap_batch *b = &q->batch;
	u32 len = READ_ONCE(cmd->data_len);
	u64 addr = READ_ONCE(cmd->offset);
	struct nvme_pmap_fixed fx __uninitialized;

	/*
	 * That the door is open, and how the ring is set up, was found out for the
	 * batch.  Into memory of the batch, which is ours: no stack frame.
	 */
	if (b->pf != pf || b->limit == q->sent ||
	    b->hint != pmap_buffer_hint(ioucmd) ||
	    unlikely(len - 1 >= b->max ||
		     io_uring_cmd_import_fixed(addr, len, ITER_DEST, &b->iter,
					       ioucmd)))
		return false;
	fx.offset = addr - b->base;
	fx.len = len;
	if (unlikely(!nvme_pmap_same_pages(b->pmap, &b->iter, &fx.offset, len)))
		return false;
	/* polled as ours; and it may end before this returns */
	ioucmd->cmd_op = NVME_URING_CMD_PMAP;
	if (likely(nvme_pmap_enqueue_owned(pf, q, ioucmd, NULL, &fx) ==
		   PMAP_NEXT_QUEUED))
		return true;
	ioucmd->cmd_op = NVME_URING_CMD_IO;
	return false;
}

static noinline int nvme_pmap_fixed_batched(struct io_uring_cmd *ioucmd,
					    unsigned int issue_flags,
					    struct nvme_pmap_file *pf,
					    struct nvme_pmap_queue *q)
{
	bool queued = false;

	preempt_disable();
	if (READ_ONCE(q->batch.plug) == current->plug)
		queued = nvme_pmap_fixed_next(pf, q, ioucmd);
	preempt_enable();
	if (likely(queued))
		return -EIOCBQUEUED;
	return nvme_pmap_fixed_single(ioucmd, issue_flags, pf);
}

/*
 * A command of NVME_URING_CMD_IO with a fixed buffer; stock's, if need be.  Jumps
 * again: who has no queue pays nothing for it.
 */
static int nvme_pmap_fixed(struct io_uring_cmd *ioucmd,
			   unsigned int issue_flags)
{
	struct nvme_pmap_file *pf = nvme_pmap_cmd_file(ioucmd);
	struct nvme_pmap_queue *q;

	if (unlikely(!pf))
		return nvme_pmap_fixed_start(ioucmd, issue_flags);
	q = nvme_pmap_pick_queue(pf, issue_flags);
	if (q)
		return nvme_pmap_fixed_batched(ioucmd, issue_flags, pf, q);
	return nvme_pmap_fixed_single(ioucmd, issue_flags, pf);
}
