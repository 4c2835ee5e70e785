// SPDX-License-Identifier: GPL-2.0
/*
 * The NVMe command that an SQE becomes.  Every door writes it with these steps, into the
 * SQ or into a request, and checks it where it was written: user space may change the SQE
 * at any time.
 */
#include "nvme.h"
#include "buffer.h"
#include "file.h"
#include "format.h"
#include "layout.h"
#include "xfer.h"

/*
 * Load two dwords of the SQE at once, the first one in the low half; user space may be
 * writing them.  (The very first dword is four bytes, in memory order.)
 */
static __always_inline u64 pmap_load_pair(const void *from)
{
#ifdef __LITTLE_ENDIAN
	return READ_ONCE(*(const u64 *)from);
#else
	return ror64(READ_ONCE(*(const u64 *)from), 32);
#endif
}

/* Store two dwords of an NVMe command. */
static __always_inline void pmap_store_pair(void *to, u64 pair)
{
	*(__le64 *)to = cpu_to_le64(pair);
}

/*
 * Opcode, flags, CID and NSID.  @first has the opcode and the NSID, @psdt the flags, both
 * where the first quadword of the command has them.
 */
static __always_inline void nvme_pmap_write_head(struct nvme_command *c,
						 u64 first, u16 cid, u64 psdt)
{
	pmap_store_pair(&c->common.opcode, first | (u64)cid << 16 | psdt);
}

/*
 * Dwords 12 and 13: of Read and Write, the number of blocks.
 *
 * Return: them as they were written, for the length rule.
 */
static __always_inline u64
nvme_pmap_write_cdw12(struct nvme_command *c, const struct nvme_pmap_cmd *cmd)
{
	u64 cdw12 = pmap_load_pair(&cmd->cdw12);

	pmap_store_pair(&c->common.cdw12, cdw12);
	return cdw12;
}

/* The other dwords that the program has set; a pmap command has no metadata. */
static __always_inline void
nvme_pmap_write_dwords(struct nvme_command *c, const struct nvme_pmap_cmd *cmd)
{
	pmap_store_pair(&c->common.cdw10, pmap_load_pair(&cmd->cdw10));
	pmap_store_pair(&c->common.cdw14, pmap_load_pair(&cmd->cdw14));
	pmap_store_pair(c->common.cdw2, pmap_load_pair(&cmd->cdw2));
	c->common.metadata = 0;
}

static struct pmap_format nvme_pmap_unpack_format(u64 word)
{
	return (struct pmap_format){
		.csi = word >> PMAP_FORMAT_CSI,
		.lba_shift = word,
		.ms = word >> PMAP_FORMAT_MS,
		.pi_size = word >> PMAP_FORMAT_PI,
		.ext = word & PMAP_FORMAT_EXT,
	};
}

/*
 * The length of any command in any format.  A command of unknown length never uses a PRP
 * list (two PRPs are data pages whatever the length), and needs CAP_SYS_ADMIN; the auto
 * door leaves it to stock.
 */
static noinline s64 nvme_pmap_any_xfer(u64 format, const struct nvme_command *c,
				       const struct pmap_layout *l,
				       const struct nvme_pmap_io *io)
{
	struct pmap_format f = nvme_pmap_unpack_format(format);
	bool prp = l->form == NVME_PMAP_FORM_PRP;
	s64 len = pmap_xfer(&f, c->common.opcode,
			    (const __le32 *)&c->common.cdws);

	/* the controller holds a command with an SGL to its length */
	if (prp && pmap_format_stale(format))
		return -EBUSY;
	if (len == -EPERM && !prp && !io->by_auto && capable(CAP_SYS_ADMIN))
		return io->data_len;
	if (prp && len > 0 && len <= io->data_len &&
	    !pmap_xfer_exact(c->common.opcode) &&
	    pmap_slice(l, io->offset, len).nr > 2)
		return -EPERM;
	return len;
}

/*
 * The bytes that the command will transfer, or an errno; -EBUSY while the format is not
 * known.  The caller has entered the namespace's queue: nvme_pmap_ns_freeze_wait() waits for this
 * command, or has marked the format stale before the READ_ONCE() below.
 */
static __always_inline s64 nvme_pmap_check_xfer(const struct nvme_pmap_file *pf,
						struct nvme_command *c,
						const struct pmap_layout *l,
						const struct nvme_pmap_io *io)
{
	/* pairs with the freeze in nvme_pmap_ns_freeze_wait() */
	u64 format = READ_ONCE(pf->format->word);
	s64 len;

	/* Read and Write of plain blocks: the answer of pmap_xfer(), faster */
	if (likely((c->rw.opcode == nvme_cmd_read ||
		    c->rw.opcode == nvme_cmd_write) &&
		   pmap_format_plain(format))) {
		len = pmap_xfer_plain(le16_to_cpu(c->rw.length), format);
	} else {
		len = nvme_pmap_any_xfer(format, c, l, io);
		/* PSDT says how data are described */
		if (!len)
			c->common.flags = 0;
	}
	return unlikely(len > io->data_len) ? -EOVERFLOW : len;
}

/*
 * Write a command that nvme_pmap_parse() and nvme_pmap_check_slice() have accepted, and
 * check its length.
 *
 * Return: bytes that it transfers, for nvme_pmap_point(); or an errno.
 */
static __always_inline s64 nvme_pmap_write_cmd(const struct nvme_pmap_file *pf,
					       struct nvme_command *c, u16 cid,
					       u32 nsid,
					       const struct nvme_pmap *pmap,
					       const struct nvme_pmap_cmd *cmd,
					       const struct nvme_pmap_io *io)
{
	nvme_pmap_write_head(c, (u64)nsid << 32 | (u8)io->opcode, cid,
			     pmap->psdt);
	c->common.dptr.prp1 = 0;
	c->common.dptr.prp2 = 0;
	nvme_pmap_write_cdw12(c, cmd);
	nvme_pmap_write_dwords(c, cmd);
	return nvme_pmap_check_xfer(pf, c, &pmap->l, io);
}

/*
 * Point the command at the slice.
 *
 * Return: the kind; with PMAP_KIND_BUILT the caller has to build a list.
 */
static __always_inline enum pmap_kind
nvme_pmap_point(const struct nvme_pmap *pmap, struct nvme_command *c,
		u64 offset, u32 len)
{
	return pmap_dptr(&pmap->l, offset, len, &c->common.dptr);
}
