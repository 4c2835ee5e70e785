/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The names that pmap/layout.h and pmap/xfer.h take from the kernel, for user space.  The
 * numbers are the NVMe specification's (base 2.0, NVM and ZNS command sets),
 * typed in again here, so that a wrong one in a header does not agree with
 * itself.
 */
#ifndef PMAP_TEST_SHIM_H
#define PMAP_TEST_SHIM_H

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/types.h>
#include <linux/nvme_pmap.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t s64;

#define cpu_to_le16(x) htole16(x)
#define cpu_to_le32(x) htole32(x)
#define cpu_to_le64(x) htole64(x)
#define le16_to_cpu(x) le16toh(x)
#define le32_to_cpu(x) le32toh(x)
#define le64_to_cpu(x) le64toh(x)

#define likely(x)   __builtin_expect(!!(x), 1)
#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* Without a wrong guess there is nothing to mask. */
#define array_index_nospec(index, size) (index)
#define noinline			__attribute__((__noinline__))
#define fallthrough			__attribute__((__fallthrough__))
#define READ_ONCE(x)			(*(const volatile __typeof__(x) *)&(x))

/* An SGL descriptor: 16 bytes, the type in the upper half of the last. */
struct nvme_sgl_desc {
	__le64 addr;
	__le32 length;
	__u8 rsvd[3];
	__u8 type;
};

enum {
	NVME_SGL_FMT_DATA_DESC = 0x0,
	NVME_SGL_FMT_SEG_DESC = 0x2,
	NVME_SGL_FMT_LAST_SEG_DESC = 0x3,
};

/* Bytes 24 to 39 of a submission queue entry, "Data Pointer (DPTR)". */
union nvme_data_ptr {
	struct {
		__le64 prp1;
		__le64 prp2;
	};
	struct nvme_sgl_desc sgl;
};

/* I/O command opcodes. */
enum {
	nvme_cmd_flush = 0x00,
	nvme_cmd_write = 0x01,
	nvme_cmd_read = 0x02,
	nvme_cmd_write_uncor = 0x04,
	nvme_cmd_compare = 0x05,
	nvme_cmd_write_zeroes = 0x08,
	nvme_cmd_dsm = 0x09,
	nvme_cmd_verify = 0x0c,
	nvme_cmd_resv_register = 0x0d,
	nvme_cmd_resv_report = 0x0e,
	nvme_cmd_resv_acquire = 0x11,
	nvme_cmd_resv_release = 0x15,
	nvme_cmd_zone_mgmt_send = 0x79,
	nvme_cmd_zone_mgmt_recv = 0x7a,
	nvme_cmd_zone_append = 0x7d,
	nvme_cmd_vendor_start = 0x80,
};

/* PRACT is bit 29 of dword 12; the kernel's name is for the upper half of it. */
enum { NVME_RW_PRINFO_PRACT = 1 << 13 };

/* Command set identifiers. */
enum {
	NVME_CSI_NVM = 0,
	NVME_CSI_ZNS = 2,
};

#endif
