// SPDX-License-Identifier: GPL-2.0
/*
 * pmap_xfer() against lengths worked out by hand from the specifications: NVMe
 * base 2.0 (reservations, I/O management), NVM command set 1.0 (blocks, PRACT,
 * ranges), ZNS command set 1.1.
 */
#include <stdio.h>

#include "shim.h"
#include "xfer.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define CSI_KV	1 /* key value */
#define CSI_SLM 3 /* subsystem local memory */

#define PRACT	   (1u << 29)
/* In dword 12 beside NLB: LR, FUA, the three checks of PRINFO, STC, DTYPE. */
#define NOT_LENGTH 0xddff0000u

enum format {
	F512,
	F4K,
	F64K,
	FZNS,
	EXT8_PI,    /* 512 + 8, all of the 8 being PI */
	EXT8_NO_PI, /* 512 + 8 on a namespace without PI */
	EXT16_PI8,  /* 4096 + 16, with 8 of PI */
	EXT16_PI16, /* 4096 + 16, 64-bit guard */
	SEP8_PI,
	SEP16_PI8,
	SEP64,
	ZNS_EXT8,
	FKV,
	FSLM,
	UNKNOWN, /* a size of blocks that the driver has not read yet */
	F256,
	EXT8_256,
	ZNS256, /* or one that there is not */
	FORMATS
};

static const struct pmap_format formats[FORMATS] = {
	[F512] = { .csi = NVME_CSI_NVM, .lba_shift = 9 },
	[F4K] = { .csi = NVME_CSI_NVM, .lba_shift = 12 },
	[F64K] = { .csi = NVME_CSI_NVM, .lba_shift = 16 },
	[FZNS] = { .csi = NVME_CSI_ZNS, .lba_shift = 12 },
	[EXT8_PI] = { .lba_shift = 9, .ms = 8, .pi_size = 8, .ext = true },
	[EXT8_NO_PI] = { .lba_shift = 9, .ms = 8, .ext = true },
	[EXT16_PI8] = { .lba_shift = 12, .ms = 16, .pi_size = 8, .ext = true },
	[EXT16_PI16] = { .lba_shift = 12, .ms = 16, .pi_size = 16, .ext = true },
	[SEP8_PI] = { .lba_shift = 9, .ms = 8, .pi_size = 8 },
	[SEP16_PI8] = { .lba_shift = 12, .ms = 16, .pi_size = 8 },
	[SEP64] = { .lba_shift = 12, .ms = 64 },
	[ZNS_EXT8] = { .csi = NVME_CSI_ZNS, .lba_shift = 12, .ms = 8, .pi_size = 8, .ext = true },
	[FKV] = { .csi = CSI_KV, .lba_shift = 9 },
	[FSLM] = { .csi = CSI_SLM, .lba_shift = 9 },
	[UNKNOWN] = { .csi = NVME_CSI_NVM },
	[F256] = { .csi = NVME_CSI_NVM, .lba_shift = 8 },
	[EXT8_256] = { .lba_shift = 8, .ms = 8, .pi_size = 8, .ext = true },
	[ZNS256] = { .csi = NVME_CSI_ZNS, .lba_shift = 8 },
};

struct row {
	const char *name;
	enum format format;
	u8 opcode;
	u32 cdw[6]; /* dwords 10 to 15 */
	s64 want;
};

#define CDW10(x)          \
	{                 \
		[0] = (x) \
	}
#define CDW11(x)          \
	{                 \
		[1] = (x) \
	}
#define CDW12(x)          \
	{                 \
		[2] = (x) \
	}
#define CDW13(x)          \
	{                 \
		[3] = (x) \
	}

static const struct row rows[] = {
	/* NLB is bits 15:0 of dword 12, one less than the number of blocks */
	{ "read, one block", F512, 0x02, CDW12(0), 512 },
	{ "write, 8 blocks", F4K, 0x01, CDW12(7), 32768 },
	{ "read, 65536 blocks of 4096", F4K, 0x02, CDW12(0xffff), 268435456 },
	{ "read, 65536 blocks of 65536", F64K, 0x02, CDW12(0xffff), 1ll << 32 },
	{ "compare, 3 blocks", F512, 0x05, CDW12(2), 1536 },
	{ "the other bits of dword 12", F512, 0x02, CDW12(NOT_LENGTH | 1), 1024 },
	{ "the other dwords", F512, 0x01, { ~0u, ~0u, 3, ~0u, ~0u, ~0u }, 2048 },
	{ "read, zoned", FZNS, 0x02, CDW12(1), 8192 },
	{ "write, zoned", FZNS, 0x01, CDW12(0), 4096 },
	{ "PRACT without metadata", F512, 0x02, CDW12(PRACT | 1), 1024 },
	{ "compare, PRACT without metadata", F512, 0x05, CDW12(PRACT | 1), 1024 },

	/* no block is smaller than 512 bytes */
	{ "read, unknown blocks", UNKNOWN, 0x02, CDW12(0), -EPERM },
	{ "read, blocks of 256", F256, 0x02, CDW12(0), -EPERM },
	{ "write, blocks of 256", F256, 0x01, CDW12(7), -EPERM },
	{ "compare, blocks of 256", F256, 0x05, CDW12(0), -EPERM },
	{ "read, extended blocks of 256", EXT8_256, 0x02, CDW12(0), -EPERM },
	{ "read, extended blocks of 256, PRACT", EXT8_256, 0x02, CDW12(PRACT), -EPERM },
	{ "zone append, blocks of 256", ZNS256, 0x7d, CDW12(0), -EPERM },
	{ "dataset management, unknown blocks", UNKNOWN, 0x09, CDW10(0), 16 },
	{ "flush, unknown blocks", UNKNOWN, 0x00, CDW10(0), 0 },

	/* extended blocks: metadata with each, unless it is all PI and PRACT */
	{ "read, extended", EXT8_PI, 0x02, CDW12(7), 8 * 520 },
	{ "write, extended", EXT16_PI8, 0x01, CDW12(1), 2 * 4112 },
	{ "read, extended, 65536 blocks", EXT16_PI8, 0x02, CDW12(0xffff), 65536ll * 4112 },
	{ "read, extended, PRACT", EXT8_PI, 0x02, CDW12(PRACT | 7), 8 * 512 },
	{ "write, extended, PRACT", EXT8_PI, 0x01, CDW12(PRACT | 7), 8 * 512 },
	{ "write, extended, PRACT, 64-bit guard", EXT16_PI16, 0x01, CDW12(PRACT | 1), 2 * 4096 },
	{ "PRACT with metadata beyond PI", EXT16_PI8, 0x02, CDW12(PRACT | 1), 2 * 4112 },
	/* PI that is off, or that the driver does not see: unknown */
	{ "read, PRACT without PI", EXT8_NO_PI, 0x02, CDW12(PRACT | 7), -EPERM },
	{ "write, PRACT without PI", EXT8_NO_PI, 0x01, CDW12(PRACT), -EPERM },
	{ "read, extended, no PI", EXT8_NO_PI, 0x02, CDW12(NOT_LENGTH | 7), 8 * 520 },
	{ "the checks of PRINFO are not PRACT", EXT8_PI, 0x02, CDW12(NOT_LENGTH | 7), 8 * 520 },
	{ "bit 13 of NLB is not PRACT", EXT8_PI, 0x02, CDW12(0x2000), 0x2001 * 520 },
	/* Compare with PRACT: not defined */
	{ "compare, extended", EXT8_PI, 0x05, CDW12(0), 520 },
	{ "compare, extended, PRACT", EXT8_PI, 0x05, CDW12(PRACT), -EPERM },
	{ "compare, extended, PRACT, metadata beyond PI", EXT16_PI8, 0x05, CDW12(PRACT), -EPERM },

	/* separate metadata has a pointer of its own, which pmap has not */
	{ "read, separate", SEP64, 0x02, CDW12(0), -EPROTONOSUPPORT },
	{ "write, separate, PRACT without PI", SEP64, 0x01, CDW12(PRACT), -EPROTONOSUPPORT },
	{ "read, separate, PRACT, metadata beyond PI", SEP16_PI8, 0x02, CDW12(PRACT),
	  -EPROTONOSUPPORT },
	{ "compare, separate", SEP8_PI, 0x05, CDW12(0), -EPROTONOSUPPORT },
	{ "read, separate PI", SEP8_PI, 0x02, CDW12(3), -EPROTONOSUPPORT },
	{ "read, separate PI, PRACT", SEP8_PI, 0x02, CDW12(PRACT | 3), 2048 },
	{ "compare, separate PI, PRACT", SEP8_PI, 0x05, CDW12(PRACT), -EPROTONOSUPPORT },
	{ "dataset management, separate", SEP64, 0x09, CDW10(0), 16 },

	/* NR is bits 7:0, one less than the number of 16-byte ranges */
	{ "dataset management, a range", F512, 0x09, CDW10(0), 16 },
	{ "dataset management, 256 ranges", F512, 0x09, CDW10(0xff), 4096 },
	{ "dataset management, reserved bits", F512, 0x09, CDW10(0x1ff01), 32 },
	{ "dataset management, attributes", F512, 0x09, { 1, ~0u, ~0u, 0, 0, 0 }, 32 },
	{ "dataset management, zoned", FZNS, 0x09, CDW10(2), 48 },

	{ "reservation register: two keys", F512, 0x0d, CDW10(~0u), 16 },
	{ "reservation acquire: two keys", F512, 0x11, CDW10(~0u), 16 },
	{ "reservation release: a key", F512, 0x15, CDW10(~0u), 8 },
	/* NUMD, one less than the number of dwords: 32 bits of it */
	{ "reservation report, a dword", F512, 0x0e, CDW10(0), 4 },
	{ "reservation report, 4 KiB", F512, 0x0e, { 1023, ~0u, 0, 0, 0, 0 }, 4096 },
	{ "reservation report, 16 GiB", F512, 0x0e, CDW10(~0u), 1ll << 34 },
	{ "reservation report, zoned", FZNS, 0x0e, CDW10(1), 8 },
	{ "I/O management receive", F512, 0x12, { 1, 63, ~0u, 0, 0, 0 }, 256 },
	{ "I/O management receive, 16 GiB", F512, 0x12, CDW11(~0u), 1ll << 34 },
	/* the data sent depends on the management operation */
	{ "I/O management send", F512, 0x1d, CDW10(1), -EPERM },

	/* NR is bits 7:0 and the descriptor format bits 11:8 of dword 12 */
	{ "copy, format 0", F512, 0x19, CDW12(0x000), 32 },
	{ "copy, format 0, 256 ranges", F512, 0x19, CDW12(0x0ff), 8192 },
	{ "copy, format 1", F512, 0x19, CDW12(0x103), 160 },
	{ "copy, format 2", F512, 0x19, CDW12(0x201), 64 },
	{ "copy, format 3, 256 ranges", F512, 0x19, CDW12(0x3ff), 10240 },
	{ "copy, format 4", F512, 0x19, CDW12(0x400), -EPERM },
	{ "copy, format 15", F512, 0x19, CDW12(0xf00), -EPERM },
	{ "copy, PRINFO and directive", F512, 0x19, CDW12(0xfffff101), 80 },
	{ "copy, starting LBA", F512, 0x19, { ~0u, ~0u, 0, ~0u, 0, 0 }, 32 },

	{ "flush", F512, 0x00, CDW12(~0u), 0 },
	{ "write uncorrectable", F512, 0x04, CDW12(~0u), 0 },
	{ "write zeroes", F512, 0x08, CDW12(~0u), 0 },
	{ "verify", F512, 0x0c, CDW12(~0u), 0 },
	{ "cancel", F512, 0x18, CDW10(~0u), 0 },
	{ "verify, separate metadata", SEP64, 0x0c, CDW12(7), 0 },

	/* Zone Send Action is bits 7:0 of dword 13; see actions() for the rest */
	{ "zone open", FZNS, 0x79, CDW13(0x03), 0 },
	{ "zone reset, all", FZNS, 0x79, CDW13(0x104), 0 },
	{ "zone descriptor extension", FZNS, 0x79, CDW13(0x10), -EPERM },
	{ "zone descriptor extension, other bits", FZNS, 0x79, CDW13(0xffffff10), -EPERM },
	{ "zone management receive, 4 KiB", FZNS, 0x7a, { ~0u, ~0u, 1023, ~0u, ~0u, ~0u }, 4096 },
	{ "zone management receive, 16 GiB", FZNS, 0x7a, CDW12(~0u), 1ll << 34 },
	{ "zone append", FZNS, 0x7d, CDW12(NOT_LENGTH | 3), 16384 },
	{ "zone append, extended", ZNS_EXT8, 0x7d, CDW12(3), 4 * 4104 },
	{ "zone append, extended, PRACT", ZNS_EXT8, 0x7d, CDW12(PRACT | 3), 16384 },

	{ "zone send, not zoned", F512, 0x79, CDW13(0x03), -EPERM },
	{ "zone receive, not zoned", F512, 0x7a, CDW12(0), -EPERM },
	{ "zone append, not zoned", F512, 0x7d, CDW12(0), -EPERM },
	{ "retrieve, key value", FKV, 0x02, CDW12(0), -EPERM },
	{ "delete, key value", FKV, 0x10, CDW12(0), -EPERM },
	{ "reservation register, local memory", FSLM, 0x0d, CDW10(0), -EPERM },
	{ "fabrics", F512, 0x7f, CDW10(0), -EPERM },
	{ "vendor specific", F512, 0x80, CDW10(0), -EPERM },
	{ "vendor specific, zoned", FZNS, 0xc1, CDW10(0), -EPERM },
};

static s64 xfer(enum format format, u8 opcode, const u32 cdw[6])
{
	__le32 le[6];

	for (int i = 0; i < 6; i++)
		le[i] = cpu_to_le32(cdw[i]);
	return pmap_xfer(&formats[format], opcode, le);
}

static int table(void)
{
	int failed = 0;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct row *r = &rows[i];
		s64 is = xfer(r->format, r->opcode, r->cdw);

		if (is == r->want) {
			printf("ok - length: %s\n", r->name);
			continue;
		}
		printf("not ok - length: %s: %lld, not %lld\n", r->name, (long long)is,
		       (long long)r->want);
		failed = 1;
	}
	return failed;
}

/* Close to Offline and Flush Explicit ZRWA have no data; 10h has, or unknown. */
static int actions(void)
{
	for (u32 action = 0; action < 256; action++)
		for (u32 other = 0; other < 2; other++) {
			bool none = (action >= 1 && action <= 5) || action == 0x11;
			u32 cdw[6] = CDW13(action | (other ? 0xffffff00 : 0));
			s64 is = xfer(FZNS, 0x79, cdw);

			if (is == (none ? 0 : -EPERM))
				continue;
			printf("not ok - every zone send action: %#x: %lld\n", cdw[3],
			       (long long)is);
			return 1;
		}
	printf("ok - every zone send action\n");
	return 0;
}

/* Blocks: as many as NLB says.  All else may end early, or is not known. */
static int exact(void)
{
	for (unsigned int op = 0; op < 256; op++) {
		bool blocks = op == 0x01 || op == 0x02 || op == 0x05 || op == 0x7d;

		if (pmap_xfer_exact(op) == blocks)
			continue;
		printf("not ok - which lengths are exact: opcode %#x\n", op);
		return 1;
	}
	printf("ok - which lengths are exact\n");
	return 0;
}

/* The opcodes of a command set whose length the commands themselves tell. */
static bool known(u8 csi, unsigned int opcode)
{
	static const u8 both[] = {
		0x00, 0x01, 0x02, 0x04, 0x05, 0x08, 0x09, 0x0c,
		0x0d, 0x0e, 0x11, 0x12, 0x15, 0x18, 0x19,
	};
	static const u8 zoned[] = { 0x79, 0x7a, 0x7d };

	for (size_t i = 0; i < ARRAY_SIZE(both); i++)
		if (opcode == both[i])
			return csi == NVME_CSI_NVM || csi == NVME_CSI_ZNS;
	for (size_t i = 0; i < ARRAY_SIZE(zoned); i++)
		if (opcode == zoned[i])
			return csi == NVME_CSI_ZNS;
	return false;
}

/*
 * Any opcode is refused, or its transfer is within the bound of its transfer
 * direction bits.  An opcode that we do not know may only have no length at all
 * (-EPERM) or no data (bits 1:0 are 00b, below the vendor specific ones).
 */
static const char *wrong_length(u8 csi, unsigned int opcode, s64 len)
{
	bool command_set = csi == NVME_CSI_NVM || csi == NVME_CSI_ZNS;
	bool no_data = command_set && opcode < 0x80 && !(opcode & 3);

	if (no_data)
		return len ? "data on a command without" : NULL;
	if (!known(csi, opcode))
		return len == -EPERM ? NULL : "a length of an unknown command";
	if (len == -EPERM || len == -EPROTONOSUPPORT)
		return NULL;
	if (len < 0)
		return "an errno that is not documented";
	if (!len)
		return opcode == 0x79 ? NULL : "no data on a command with";
	return len <= 1ll << 34 ? NULL : "more than any field can ask for";
}

static const u32 patterns[][6] = {
	{ 0 },
	{ 1, 1, 1, 1, 1, 1 },
	{ 0x10, 0x10, 0x10, 0x10, 0x10, 0x10 },
	{ ~0u, ~0u, ~0u, ~0u, ~0u, ~0u },
	{ 0x7fffffff, 0x7fffffff, 0x7fffffff, 0x7fffffff, 0x7fffffff, 0x7fffffff },
	{ 0xffff, 0xffff, 0x2000ffff, 0xff, 0, 0 },
};

/* Every opcode, command set identifier and format of metadata. */
static int sweep(void)
{
	unsigned long calls = 0;

	for (unsigned int n = 0; n < 256 * 256; n++)
		for (unsigned int f = 0; f < FORMATS * ARRAY_SIZE(patterns); f++) {
			struct pmap_format format = formats[f % FORMATS];
			const u32 *cdw = patterns[f / FORMATS];
			__le32 le[6];
			const char *wrong;

			format.csi = n >> 8;
			for (int i = 0; i < 6; i++)
				le[i] = cpu_to_le32(cdw[i]);
			calls++;
			wrong = wrong_length(format.csi, n & 255, pmap_xfer(&format, n & 255, le));
			if (!wrong)
				continue;
			printf("not ok - every opcode of every command set: %#x of %u, cdw12 %#x: %s\n",
			       n & 255, n >> 8, cdw[2], wrong);
			return 1;
		}
	printf("ok - every opcode of every command set\n%lu lengths\n", calls);
	return 0;
}

int main(void)
{
	return table() | actions() | exact() | sweep();
}
