// SPDX-License-Identifier: GPL-2.0
/*
 * The rules for a command that every door shares: its fields, the caller's permission, and
 * its slice of the buffer.
 */
#include <linux/cred.h>
#include <linux/nospec.h>

#include "nvme.h"
#include "batch.h"
#include "buffer.h"
#include "compat.h"
#include "ctrl.h"
#include "file.h"
#include "format.h"
#include "layout.h"
#include "map.h"
#include "passthru.h"
#include "xfer.h"

/* Take a command's reference on the buffer at @index; under RCU. */
static __always_inline struct nvme_pmap *
nvme_pmap_lookup_rcu(struct nvme_pmap_file *pf, u32 index)
{
	struct nvme_pmap_table *table = rcu_dereference(pf->table);
	struct nvme_pmap *pmap;

	if (unlikely(index >= table->nr))
		return NULL;
	index = array_index_nospec(index, table->nr);
	pmap = rcu_dereference(table->pmap[index]);
	/*
	 * nvme_pmap_buffer_kill() may run at the same time.  The buffer is freed a
	 * grace period later, so that the tryget reads valid memory, and fails.
	 */
	if (likely(pmap) && data_race(percpu_ref_tryget_live_rcu(&pmap->ref)))
		return pmap;
	return NULL;
}

static struct nvme_pmap *nvme_pmap_lookup(struct nvme_pmap_file *pf, u32 index)
{
	struct nvme_pmap *pmap;

	pmap_rcu_begin();
	pmap = nvme_pmap_lookup_rcu(pf, index);
	pmap_rcu_end();
	return pmap;
}

/* Bytes that one pmap command may transfer; a reset may change it. */
static __always_inline u32 nvme_pmap_max(const struct nvme_pmap_file *pf)
{
	return READ_ONCE(pf->pc->max_transfer);
}

/* May one command transfer @len bytes?  One comparison for a length of zero as well. */
static __always_inline bool nvme_pmap_len_ok(u32 len, u32 max)
{
	return len - 1 < max;
}

/* May a slice begin at @offset and have @len bytes? */
static __always_inline bool nvme_pmap_aligned(u64 offset, u32 len)
{
	return (offset | len) % NVME_PMAP_ALIGN == 0;
}

/* Does the slice lie in the buffer, and may one command carry it?  Masks @offset. */
static __always_inline int
nvme_pmap_check_slice(const struct nvme_pmap_file *pf,
		      const struct nvme_pmap *pmap, u64 *offset, u32 len)
{
	if (unlikely(!pmap_inside(&pmap->l, offset, len)))
		return -ERANGE;
	if (unlikely(!nvme_pmap_len_ok(len, nvme_pmap_max(pf))))
		return len ? -EMSGSIZE : -ERANGE;
	return 0;
}

/*
 * The fields of a command that the checks need, read once, since user space may change
 * them; @by_auto: it came through the auto door, and stock gets it if its length is not known.
 */
struct nvme_pmap_io {
	u32 opcode;
	u32 data_len;
	u64 offset;
	bool by_auto;
};

/* Rings with large SQEs and CQEs, which stock accepts. */
#define PMAP_BIG_RING (IO_URING_F_SQE128 | IO_URING_F_CQE32)

/* Ask stock only about other rings. */
static __always_inline int nvme_pmap_check_ring(unsigned int issue_flags)
{
	if (likely((issue_flags & PMAP_BIG_RING) == PMAP_BIG_RING))
		return 0;
	return nvme_pmap_stock_checks(issue_flags);
}

/*
 * May any task that has the file open send the opcode?  Stock's answer for a task without
 * capabilities depends on the mode of the file, which is constant, and on the effects log,
 * which is read when the controller is found: ask once.
 */
static noinline bool nvme_pmap_ask_for_all(struct nvme_ns *ns,
					   struct nvme_pmap_file *pf, u8 opcode,
					   fmode_t mode)
{
	const struct cred *old;
	bool all;

	if (test_bit_acquire(opcode, pf->asked))
		return test_bit(opcode, pf->for_all);
	old = override_creds(nvme_pmap_nobody);
	all = nvme_pmap_stock_allows(ns, opcode, mode);
	revert_creds(old);
	if (all)
		set_bit(opcode, pf->for_all);
	/* pairs with test_bit_acquire() above, on another CPU */
	smp_mb__before_atomic();
	set_bit(opcode, pf->asked);
	return all;
}

static noinline bool nvme_pmap_ask(struct nvme_ns *ns,
				   struct nvme_pmap_file *pf, u8 opcode,
				   fmode_t mode)
{
	return nvme_pmap_ask_for_all(ns, pf, opcode, mode) ||
	       nvme_pmap_stock_allows(ns, opcode, mode);
}

static __always_inline bool nvme_pmap_allowed(struct nvme_ns *ns,
					      struct nvme_pmap_file *pf,
					      u8 opcode, fmode_t mode)
{
	return likely(test_bit(opcode, pf->for_all)) ||
	       nvme_pmap_ask(ns, pf, opcode, mode);
}

/*
 * Load opcode, flags and the first reserved field at once.
 *
 * Return: the opcode, or more than U8_MAX: a field that must be zero is not.
 */
static u32 nvme_pmap_opcode(const struct nvme_pmap_cmd *cmd)
{
	u32 head = le32_to_cpu(READ_ONCE(*(const __le32 *)&cmd->opcode));

	if (READ_ONCE(cmd->rsvd2) | READ_ONCE(cmd->rsvd3) |
	    READ_ONCE(cmd->rsvd4))
		return U32_MAX;
	return head;
}

/* The rules that do not depend on the buffer. */
static __always_inline int nvme_pmap_parse(struct nvme_ns *ns,
					   const struct io_uring_cmd *ioucmd,
					   const struct nvme_pmap_cmd *cmd,
					   struct nvme_pmap_io *io)
{
	io->opcode = nvme_pmap_opcode(cmd);
	io->data_len = READ_ONCE(cmd->data_len);
	io->offset = READ_ONCE(cmd->offset);
	io->by_auto = ioucmd->flags & IORING_URING_CMD_FIXED;
	if (unlikely(io->opcode > U8_MAX ||
		     READ_ONCE(cmd->nsid) != ns->head->ns_id))
		return -EINVAL;
	if (unlikely(!nvme_pmap_allowed(ns, nvme_pmap_cmd_file(ioucmd),
					io->opcode, ioucmd->file->f_mode)))
		return -EACCES;
	if (unlikely(!nvme_pmap_aligned(io->offset, io->data_len)))
		return -EDOM;
	return 0;
}

/* Return: the errno of a command whose index has no buffer. */
static int nvme_pmap_no_buffer(const struct nvme_pmap_file *pf)
{
	return READ_ONCE(pf->pc->dead) ? -ENODEV : -ENOENT;
}

/* The bits of Read and Write are their opcodes. */
#define PMAP_READ_WRITE ((u8)nvme_cmd_write | (u8)nvme_cmd_read)

/* Return: the bits of them that any task with the file open may send. */
static __always_inline u8
nvme_pmap_batch_for_all(const struct nvme_pmap_batch *b)
{
	BUILD_BUG_ON(nvme_cmd_write != 1 || nvme_cmd_read != 2);
	/* bits are only ever set, after stock has allowed the opcode */
	return data_race(b->pf->for_all[0]) >> 1 & PMAP_READ_WRITE;
}

/* The opcode needs a capability: keep stock's answer for this caller for a second. */
static u8 nvme_pmap_batch_ask_caller(struct nvme_pmap_batch *b,
				     struct nvme_ns *ns, u8 opcode,
				     fmode_t mode)
{
	if (!nvme_pmap_stock_allows(ns, opcode, mode))
		return 0;
	if (b->cred)
		put_cred(b->cred);
	WRITE_ONCE(b->cred, get_current_cred());
	b->asked_for = b->pf;
	b->asked_until = jiffies + HZ;
	b->asked_may = opcode;
	if (nvme_pmap_stock_allows(ns, opcode ^ PMAP_READ_WRITE, mode))
		b->asked_may = PMAP_READ_WRITE;
	return b->asked_may;
}

/*
 * Ask stock about @opcode.  An answer that depends on the caller holds for commands with
 * the same credentials.
 */
static noinline u8 nvme_pmap_batch_ask(struct nvme_pmap_batch *b,
				       struct nvme_ns *ns, u8 opcode,
				       fmode_t mode)
{
	u8 may;

	if (b->cred == current_cred() && b->asked_for == b->pf &&
	    time_before(jiffies, b->asked_until) && b->asked_may & opcode) {
		may = b->asked_may;
	} else {
		if (opcode != nvme_cmd_read && opcode != nvme_cmd_write)
			return 0;
		if (nvme_pmap_ask_for_all(ns, b->pf, opcode, mode))
			return nvme_pmap_batch_for_all(b);
		may = nvme_pmap_batch_ask_caller(b, ns, opcode, mode);
	}
	b->by_caller = may;
	b->task = current;
	return may;
}

/*
 * Set the first quadwords that a Read or Write of the batch may have: opcode, zeros, NSID.
 *
 * Return: whether there are any.
 */
static bool nvme_pmap_batch_opcodes(struct nvme_pmap_batch *b,
				    struct nvme_ns *ns, u8 opcode, fmode_t mode)
{
	u8 may = nvme_pmap_batch_for_all(b);

	if (unlikely(!(may & opcode)))
		may = nvme_pmap_batch_ask(b, ns, opcode, mode);
	b->first = (u64)ns->head->ns_id << 32 |
		   (may & nvme_cmd_write ? nvme_cmd_write : nvme_cmd_read);
	b->others = may == PMAP_READ_WRITE;
	return may;
}
