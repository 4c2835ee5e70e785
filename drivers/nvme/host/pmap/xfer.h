/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The number of bytes that a command makes the controller transfer.
 *
 * A PRP list carries no length: the controller takes the length from the command.  A
 * command that asks for more than the list describes makes the controller run on into
 * the memory that follows (CVE-2023-6238).  A command must not ask for less either: see
 * layout.h.  So the length is computed here from the fields of the command, for each
 * opcode whose definition gives one, and a command that exceeds its data_len is
 * refused.  If the namespace's format leaves a doubt, the answer is -EPERM.  Arithmetic
 * only, no kernel services: tests/layout compiles it in user space.
 *
 * Sources: NVMe base specification 2.0 (reservations, I/O management, data transfer
 * bits of the opcode), NVM command set 1.0 (read, write, compare, dataset management,
 * copy), ZNS command set 1.1 (zone management, append).
 */
#ifndef _NVME_PMAP_XFER_H
#define _NVME_PMAP_XFER_H

/* Opcodes that some kernels' linux/nvme.h does not name. */
enum {
	PMAP_OP_IO_MGMT_RECV = 0x12,
	PMAP_OP_COPY = 0x19,
};

/*
 * Zone Send Actions without data.  Set Zone Descriptor Extension (10h) has data, of a
 * size that the driver does not keep; the others are not defined.
 */
enum {
	PMAP_ZSA_CLOSE = 0x01,
	PMAP_ZSA_OFFLINE = 0x05,
	PMAP_ZSA_ZRWA_FLUSH = 0x11,
};

/**
 * struct pmap_format - the part of a namespace's format that decides lengths
 * @csi: command set identifier
 * @lba_shift: log2 of the bytes of a logical block; less than 9 if not known
 * @ms: metadata bytes of a logical block
 * @pi_size: bytes of protection information in the metadata; zero if it is off, or
 *	hidden from the driver (disable_pi_offsets, storage tags)
 * @ext: metadata is transferred as part of an extended logical block
 */
struct pmap_format {
	u8 csi;
	u8 lba_shift;
	u16 ms;
	u16 pi_size;
	bool ext;
};

/* Read and Write of blocks without metadata; of @cdw12 the low 16 bits count. */
static __always_inline u64 pmap_xfer_plain(u64 cdw12, u8 lba_shift)
{
	return ((u16)cdw12 + 1ull) << lba_shift;
}

/* Read, Write, Compare, Zone Append: blocks, and metadata where it is inline. */
static inline s64 pmap_xfer_blocks(const struct pmap_format *f, u8 opcode,
				   u32 cdw12)
{
	u32 blocks = (cdw12 & 0xffff) + 1;
	u64 bytes = pmap_xfer_plain(cdw12, f->lba_shift);
	bool pract = cdw12 & ((u32)NVME_RW_PRINFO_PRACT << 16);
	/* the driver sees the PI, and PRACT is defined for the opcode */
	bool sure = f->pi_size && opcode != nvme_cmd_compare;
	/* the controller inserts and strips metadata that is all PI */
	bool stripped = pract && sure && f->ms == f->pi_size;

	/* refused for all: the metadata pointer is zero, which is an address */
	if (f->ms && !f->ext && !stripped)
		return -EPROTONOSUPPORT;
	if (f->lba_shift < 9 || (f->ms && pract && !sure))
		return -EPERM;
	return f->ms && !stripped ? bytes + (u64)blocks * f->ms : bytes;
}

static inline s64 pmap_xfer_zns(u8 opcode, const __le32 cdw[6])
{
	u8 action = le32_to_cpu(cdw[3]);

	switch (opcode) {
	case nvme_cmd_zone_mgmt_send:
		if ((action >= PMAP_ZSA_CLOSE && action <= PMAP_ZSA_OFFLINE) ||
		    action == PMAP_ZSA_ZRWA_FLUSH)
			return 0;
		return -EPERM;
	case nvme_cmd_zone_mgmt_recv:
		return ((u64)le32_to_cpu(cdw[2]) + 1) * 4;
	default:
		return -EPERM;
	}
}

/* Copy: source ranges, whose size depends on the descriptor format. */
static inline s64 pmap_xfer_copy(u32 cdw12)
{
	u32 ranges = (cdw12 & 0xff) + 1;

	switch ((cdw12 >> 8) & 0xf) {
	case 0:
	case 2:
		return ranges * 32;
	case 1:
	case 3:
		return ranges * 40;
	default:
		return -EPERM;
	}
}

/* All opcodes that do not move blocks; out of line, off the hot path. */
static noinline s64 pmap_xfer_other(u8 csi, u8 opcode, const __le32 cdw[6])
{
	/* data transfer bits 00b: no data, in every standard opcode */
	if (opcode < nvme_cmd_vendor_start && !(opcode & 3))
		return 0;

	switch (opcode) {
	case nvme_cmd_dsm:
		return ((le32_to_cpu(cdw[0]) & 0xff) + 1) * 16;
	case nvme_cmd_resv_register:
	case nvme_cmd_resv_acquire:
		return 16;
	case nvme_cmd_resv_release:
		return 8;
	case nvme_cmd_resv_report:
		return ((u64)le32_to_cpu(cdw[0]) + 1) * 4;
	case PMAP_OP_IO_MGMT_RECV:
		return ((u64)le32_to_cpu(cdw[1]) + 1) * 4;
	case PMAP_OP_COPY:
		return pmap_xfer_copy(le32_to_cpu(cdw[2]));
	}
	return csi == NVME_CSI_ZNS ? pmap_xfer_zns(opcode, cdw) : -EPERM;
}

/* Does the command transfer exactly the length of its fields, or at most that? */
static inline bool pmap_xfer_exact(u8 opcode)
{
	switch (opcode) {
	case nvme_cmd_read:
	case nvme_cmd_write:
	case nvme_cmd_compare:
	case nvme_cmd_zone_append:
		return true;
	default:
		return false;
	}
}

/**
 * pmap_xfer - bytes that a command transfers through its data pointer
 * @f: the namespace's format
 * @opcode: I/O command set opcode
 * @cdw: command dwords 10 to 15
 *
 * Return: bytes; -EPERM if the command is unknown, or its definition gives no length;
 * -EPROTONOSUPPORT if it would also transfer metadata through a separate buffer.
 */
static inline s64 pmap_xfer(const struct pmap_format *f, u8 opcode,
			    const __le32 cdw[6])
{
	if (unlikely(f->csi != NVME_CSI_NVM && f->csi != NVME_CSI_ZNS))
		return -EPERM;
	if (likely(opcode == nvme_cmd_read || opcode == nvme_cmd_write))
		return pmap_xfer_blocks(f, opcode, le32_to_cpu(cdw[2]));

	switch (opcode) {
	case nvme_cmd_zone_append:
		if (f->csi != NVME_CSI_ZNS)
			return -EPERM;
		fallthrough;
	case nvme_cmd_compare:
		return pmap_xfer_blocks(f, opcode, le32_to_cpu(cdw[2]));
	default:
		return pmap_xfer_other(f->csi, opcode, cdw);
	}
}

#endif /* _NVME_PMAP_XFER_H */
