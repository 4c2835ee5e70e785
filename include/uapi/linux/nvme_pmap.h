/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * nvme-pmap: persistent mappings for NVMe passthrough.
 *
 * A program that has /dev/ngXnY open registers a buffer once: the kernel pins
 * it, DMA-maps it against that controller and keeps the NVMe data pointer that
 * describes it.  An io_uring command then names the buffer by index, with an
 * offset and a length, and costs the same at every size.
 *
 * Control is by ioctl on /dev/ngXnY, data by IORING_OP_URING_CMD on the same
 * file.  Everything is in host byte order.
 *
 * Growth.  Every ioctl structure begins with its own size.  A driver accepts any
 * size from the minimum (NVME_PMAP_MIN_*) up to a page, today and for ever: what a
 * smaller structure does not have is taken as zero; what a larger one has beyond
 * what the driver knows must be zero.  It writes no more than the smaller of the
 * two.  Fields that are there keep place and meaning; new ones take the place of
 * reserved ones, or follow, and where zero, ask for what was done before; new
 * answers are zero from a driver that does not know them.  So an old program works
 * with a newer driver, and a new program with an older one, unless it asks for what
 * that one does not have.
 *
 * Errors.  Each has one meaning here; ioctls return them in errno, commands in
 * cqe->res.  (A positive cqe->res is the NVMe status of a command the
 * controller failed, as with NVME_URING_CMD_IO.)
 *
 *   E2BIG            size is larger than this kernel's structure and the rest
 *                    is not zero, or it is larger than a page
 *   EINVAL           size below the minimum; a reserved field is not zero; the NVMe
 *                    command flags (FUSE, PSDT) are not zero; the NSID is not
 *                    this namespace's
 *   EOPNOTSUPP       a flag this kernel does not know; a data pointer form that
 *                    the controller does not offer; IORING_URING_CMD_FIXED on a
 *                    pmap command; a ring without SQE128 and CQE32; memory that its
 *                    file system does not let be pinned for long (DAX)
 *   EFAULT           memory that cannot be read, written or pinned.  (Where the kernel
 *                    has another reason not to pin it, that is the error)
 *   EDOM             address, offset or length not a multiple of 4 bytes
 *   ERANGE           offset and length do not lie inside the buffer, or a
 *                    length of zero
 *   EFBIG            more than NVME_PMAP_MAX_LEN in one registration
 *   EMSGSIZE         more than the controller's MDTS in one command
 *   EOVERFLOW        the command would transfer more than data_len
 *   EPROTONOSUPPORT  the command would transfer metadata through a separate
 *                    buffer; use NVME_URING_CMD_IO for it
 *   ENOENT           no buffer is registered at this index
 *   EEXIST           a buffer is registered at this index already
 *   EACCES           the file or the caller may not send this command, by the
 *                    same rules as NVME_URING_CMD_IO
 *   EPERM            the driver does not know exactly how much this command
 *                    transfers: such a command needs CAP_SYS_ADMIN on a buffer
 *                    in an SGL form, and is not sent with a PRP list; or
 *                    NVME_PMAP_REG_PRP on a controller that supports SGLs,
 *                    without CAP_SYS_ADMIN
 *   EBUSY            after an admin command that may have changed the namespace's
 *                    format the driver has tried in vain to read it (buffers in
 *                    the PRP form)
 *   ENOSPC           no index is free, or the one asked for is not below
 *                    NVME_PMAP_MAX_INDEX
 *   EDQUOT           RLIMIT_MEMLOCK
 *   ENOMEM           the kernel is out of memory
 *   ENXIO            the device cannot reach this memory directly (it would
 *                    need a bounce buffer or cache maintenance)
 *   EUSERS           no passthrough queue is left, or the controller has none to
 *                    spare; commands still go by blk-mq
 *   EALREADY         the file has a passthrough queue of this kind already, or
 *                    another thread is detaching it
 *   ENOTCONN         the file has no passthrough queue of this kind
 *   EBADF            not an open file of the same controller with a queue of
 *                    this kind
 *   EIO              the controller failed the Identify command that asks for
 *                    MDTS, or refused to create a queue; a command whose
 *                    queue of blk-mq was taken down
 *   EXDEV            an NVMe multipath node: it has no single controller to map
 *                    against (load nvme_core with multipath=N)
 *   ENOTTY           not a PCIe controller, or not this driver
 *   ENODEV           the controller or the namespace is gone
 *   EINTR            a signal ended the wait (NVME_PMAP_IOC_UNREGISTER and
 *                    _DETACH; call it again), or the driver cancelled the
 *                    command
 */
#ifndef _UAPI_LINUX_NVME_PMAP_H
#define _UAPI_LINUX_NVME_PMAP_H

#include <linux/ioctl.h>
#include <linux/types.h>

/** The ABI described here; nvme_pmap_query.version. */
#define NVME_PMAP_VERSION 1

/** Buffers that one open file can hold, and one more than the largest index. */
#define NVME_PMAP_MAX_INDEX 65536u
/** Let the kernel choose the lowest free index. */
#define NVME_PMAP_INDEX_ANY 0xffffffffu
/** Bytes in one registration. */
#define NVME_PMAP_MAX_LEN   (1ull << 39)
/** Addresses, offsets and lengths are multiples of this many bytes. */
#define NVME_PMAP_ALIGN	    4u

#define NVME_PMAP_IOC_QUERY	 _IO('N', 0xb0)
#define NVME_PMAP_IOC_REGISTER	 _IO('N', 0xb1)
#define NVME_PMAP_IOC_UNREGISTER _IO('N', 0xb2)
#define NVME_PMAP_IOC_STATS	 _IO('N', 0xb3)
#define NVME_PMAP_IOC_ATTACH	 _IO('N', 0xb4)
#define NVME_PMAP_IOC_DETACH	 _IO('N', 0xb5)
#define NVME_URING_CMD_PMAP	 _IOWR('N', 0xb8, struct nvme_pmap_cmd)

/*
 * The sizes from which on a driver accepts the structures: those of version 1
 * without reserved fields at the end.  They never grow.
 */
#define NVME_PMAP_MIN_QUERY	 104
#define NVME_PMAP_MIN_REGISTER	 40
#define NVME_PMAP_MIN_UNREGISTER 12
#define NVME_PMAP_MIN_STATS	 176
#define NVME_PMAP_MIN_ATTACH	 12
#define NVME_PMAP_MIN_DETACH	 8

/**
 * enum nvme_pmap_form - how the NVMe data pointer of a buffer is kept
 * @NVME_PMAP_FORM_PRP: PRP lists that the controller reads in place
 * @NVME_PMAP_FORM_SGL_LIST: page-granular SGL descriptors, read in place
 * @NVME_PMAP_FORM_SGL_RUN: the whole buffer is one DMA-contiguous run; each
 *	command carries a single SGL data block descriptor
 */
enum nvme_pmap_form {
	NVME_PMAP_FORM_PRP = 0,
	NVME_PMAP_FORM_SGL_LIST = 1,
	NVME_PMAP_FORM_SGL_RUN = 2,
};

/**
 * enum nvme_pmap_feature - bits of nvme_pmap_query.features
 * @NVME_PMAP_FEATURE_CMD: NVME_URING_CMD_PMAP through blk-mq
 * @NVME_PMAP_FEATURE_QUEUE: and through a passthrough queue, NVME_PMAP_IOC_ATTACH
 */
enum nvme_pmap_feature {
	NVME_PMAP_FEATURE_CMD = 1 << 0,
	NVME_PMAP_FEATURE_QUEUE = 1 << 1,
};

/**
 * enum nvme_pmap_ns_flags - bits of nvme_pmap_query.ns: what of the namespace makes which
 * pmap commands fail, in any form unless it says so
 * @NVME_PMAP_NS_UNKNOWN: the driver does not know its format: Read, Write, Compare and
 *	Zone Append fail with EPERM; nor perhaps its command set: all commands do.  Not
 *	those of CAP_SYS_ADMIN on a buffer in an SGL form
 * @NVME_PMAP_NS_INLINE: metadata is part of the blocks, and of lba_bytes
 * @NVME_PMAP_NS_SEPARATE: metadata has a buffer of its own: Read, Write, Compare and
 *	Zone Append fail with EPROTONOSUPPORT
 * @NVME_PMAP_NS_PRACT: with PRACT, Read, Write and Zone Append transfer blocks without
 *	metadata (lba_bytes less md_bytes where that is inline), and do not fail for it
 * @NVME_PMAP_NS_PRACT_UNKNOWN: with PRACT, these fail as commands whose length is not
 *	known (EPERM)
 * @NVME_PMAP_NS_ZONED: Zone Append, Zone Management Send without data and Zone
 *	Management Receive are known; Set Zone Descriptor Extension fails with EPERM
 *
 * Compare with PRACT, where metadata is inline, is one whose length is not known.
 */
enum nvme_pmap_ns_flags {
	NVME_PMAP_NS_UNKNOWN = 1 << 0,
	NVME_PMAP_NS_INLINE = 1 << 1,
	NVME_PMAP_NS_SEPARATE = 1 << 2,
	NVME_PMAP_NS_PRACT = 1 << 3,
	NVME_PMAP_NS_PRACT_UNKNOWN = 1 << 4,
	NVME_PMAP_NS_ZONED = 1 << 5,
};

/**
 * enum nvme_pmap_auto_mode - what the controller does with buffers that are registered
 * with io_uring, for NVME_URING_CMD_IO; the operator's choice
 * @NVME_PMAP_AUTO_OFF: nothing: such commands go the stock way
 * @NVME_PMAP_AUTO_ON: maps them, and sends commands over blk-mq
 * @NVME_PMAP_AUTO_QUEUE: and by passthrough queues, which it attaches
 */
enum nvme_pmap_auto_mode {
	NVME_PMAP_AUTO_OFF = 0,
	NVME_PMAP_AUTO_ON = 1,
	NVME_PMAP_AUTO_QUEUE = 2,
};

/**
 * struct nvme_pmap_query - NVME_PMAP_IOC_QUERY: what the driver offers here
 * @size: (in) sizeof(struct nvme_pmap_query)
 * @flags: (in) zero
 * @version: (out) NVME_PMAP_VERSION of the driver
 * @features: (out) bits of enum nvme_pmap_feature
 * @forms: (out) bit (1 << enum nvme_pmap_form) for each form the controller
 *	supports; whether a buffer can be an SGL run depends on its memory
 * @align: (out) NVME_PMAP_ALIGN, bytes
 * @max_index: (out) NVME_PMAP_MAX_INDEX
 * @nr_pmaps: (out) buffers registered on this file
 * @max_len: (out) NVME_PMAP_MAX_LEN, bytes
 * @max_transfer: (out) bytes one pmap command may transfer: the controller's MDTS,
 *	8 MiB at most; a reset may change it
 * @pinned: (out) bytes of memory that this file's buffers keep pinned
 * @list_bytes: (out) bytes of kernel memory spent on describing them
 * @lba_bytes: (out) bytes of one logical block as transferred in the data
 *	buffer, extended metadata included; zero if the format is not known
 * @queues_free: (out) passthrough queues left; zero where there are none
 * @queue_depth: (out) commands that one of them takes at a time
 * @queue_polled: (out) queue identifier of this file's passthrough queue for
 *	rings with IORING_SETUP_IOPOLL; zero if it has none, or while it is down
 * @queue_irq: (out) and of that for all other rings
 * @ns: (out) bits of enum nvme_pmap_ns_flags
 * @md_bytes: (out) bytes of metadata of one logical block
 * @auto_mode: (out) enum nvme_pmap_auto_mode
 * @max_prebuilt: (out) bytes up to which a command on a buffer in the PRP form needs
 *	no list built for it, which only blk-mq does, wherever it begins; in the SGL
 *	forms there is no such limit
 * @auto_max_transfer: (out) bytes that one NVME_URING_CMD_IO may transfer, by the auto
 *	door or by stock
 * @reserved: (out) zero
 *
 * Errors: E2BIG, EINVAL, EOPNOTSUPP, EFAULT, ENOMEM, EIO, EXDEV, ENOTTY, ENODEV.
 */
struct nvme_pmap_query {
	__u32 size;
	__u32 flags;
	__u32 version;
	__u32 features;
	__u32 forms;
	__u32 align;
	__u32 max_index;
	__u32 nr_pmaps;
	__u64 max_len;
	__u64 max_transfer;
	__u64 pinned;
	__u64 list_bytes;
	__u32 lba_bytes;
	__u32 queues_free;
	__u32 queue_depth;
	__u16 queue_polled;
	__u16 queue_irq;
	__u32 ns;
	__u32 md_bytes;
	__u32 auto_mode;
	__u32 max_prebuilt;
	__u64 auto_max_transfer;
	__u64 reserved[3];
};

/**
 * enum nvme_pmap_register_flags - bits of nvme_pmap_register.flags
 * @NVME_PMAP_REG_PRP: keep PRP lists even where the controller supports SGLs;
 *	needs CAP_SYS_ADMIN there
 * @NVME_PMAP_REG_SGL_LIST: keep an SGL list even where one run would do
 *
 * The two exclude each other (EINVAL).  Without them the driver chooses.
 */
enum nvme_pmap_register_flags {
	NVME_PMAP_REG_PRP = 1 << 0,
	NVME_PMAP_REG_SGL_LIST = 1 << 1,
};

/**
 * struct nvme_pmap_register - NVME_PMAP_IOC_REGISTER: pin and map a buffer
 * @size: (in) sizeof(struct nvme_pmap_register)
 * @flags: (in) bits of enum nvme_pmap_register_flags
 * @addr: (in) user address of the buffer; a multiple of NVME_PMAP_ALIGN
 * @len: (in) bytes; a multiple of NVME_PMAP_ALIGN, not zero
 * @index: (in) the index to use, or NVME_PMAP_INDEX_ANY; (out) the index
 * @form: (out) enum nvme_pmap_form
 * @list_bytes: (out) bytes of kernel memory spent on describing the buffer
 * @reserved: (in) zero
 *
 * The memory must be writable: anonymous memory, huge pages, memfd or shmem.
 * The pages are charged to the caller's RLIMIT_MEMLOCK unless it has
 * CAP_IPC_LOCK, and shown as VmPin.  So are the lists that describe them where these
 * exceed a percent of the buffer: a page, for one of less than 100 pages that is no
 * SGL run; all of them are charged to the memory cgroup.  The buffer stays registered until
 * NVME_PMAP_IOC_UNREGISTER, the close of the file or the removal of the
 * controller; unmapping it from the program's address space does not end it.
 * After fork() it belongs to whoever holds the file, and describes the pages
 * of the process that registered it.
 *
 * Errors: E2BIG, EINVAL, EOPNOTSUPP, EFAULT, EDOM, ERANGE, EFBIG, EPERM, EEXIST,
 * ENOSPC, EDQUOT, ENOMEM, ENXIO, EIO, EXDEV, ENOTTY, ENODEV.  To a dying task, EINTR.
 */
struct nvme_pmap_register {
	__u32 size;
	__u32 flags;
	__u64 addr;
	__u64 len;
	__u32 index;
	__u32 form;
	__u64 list_bytes;
	__u64 reserved[2];
};

/**
 * struct nvme_pmap_unregister - NVME_PMAP_IOC_UNREGISTER: end a registration
 * @size: (in) sizeof(struct nvme_pmap_unregister)
 * @flags: (in) zero
 * @index: (in) the buffer
 * @reserved: (in) zero
 *
 * From the start of the call new commands fail with ENOENT, but for those of a batch
 * that is being submitted to a passthrough queue.  It returns when
 * the commands in flight have ended and the memory is unpinned.  A signal whose
 * handler was installed without SA_RESTART ends the wait with EINTR; the index
 * then stays taken until the call is repeated or the file is closed.
 *
 * Errors: E2BIG, EINVAL, EOPNOTSUPP, EFAULT, ENOENT, EXDEV, ENOTTY, ENODEV,
 * EINTR.
 */
struct nvme_pmap_unregister {
	__u32 size;
	__u32 flags;
	__u32 index;
	__u32 reserved;
};

/**
 * struct nvme_pmap_stats - NVME_PMAP_IOC_STATS: commands of this open file
 * @size: (in) sizeof(struct nvme_pmap_stats)
 * @flags: (in) zero
 * @prp: (out) commands submitted with a kept PRP list (or with PRP1 and PRP2)
 * @sgl_list: (out) commands submitted with a kept SGL list
 * @sgl_run: (out) commands submitted with one SGL data block descriptor
 * @built: (out) commands whose list was built for them, because the kept form
 *	could not express the slice (PRP: more than 1 MiB; SGL: ends inside pages)
 * @direct: (out) completions posted by the ring that polled them
 * @deferred: (out) completions found by another than the ring's own poll, and
 *            handed over: by task work, or marked for the ring's next poll
 * @queue: (out) commands, of any form, that went by a passthrough queue
 * @fallback_full: (out) commands that went by blk-mq although the file has a
 *	passthrough queue: it had as many in flight as it takes
 * @fallback_down: (out) the queue was not there: a reset, or a CPU went offline, or
 *	the auto door has not attached one (yet)
 * @fallback_frozen: (out) the namespace was being formatted, detached, suspended
 * @fallback_list: (out) a list had to be built, see @built
 * @fallback_mode: (out) the ring polls and the queue does not, or the reverse
 * @fallback_logged: (out) errors of passthrough commands are to be logged
 * @fallback_worker: (out) issued by an io-wq thread: IOSQE_ASYNC, or tried again
 * @fallback_busy: (out) another ring was submitting a batch to the same queue
 * @auto_mq: (out) commands of NVME_URING_CMD_IO with a buffer that io_uring has
 *	registered (IORING_URING_CMD_FIXED) that went by a mapping of it, over
 *	blk-mq; they are counted by form above as well
 * @auto_queue: (out) and by a passthrough queue
 * @stock_setup: (out) such commands that went the stock way, counted again where
 *	one is sent again because there was no tag: the first ones
 * @stock_unsupported: (out) not a Read or Write of plain blocks, or its slice is not in
 *	the buffer, or not aligned
 * @stock_unmapped: (out) the buffer is over a limit, or cannot be mapped
 * @stock_other: (out) whatever else the fast way did not take
 * @reserved: (out) zero
 *
 * The same counters stand in /proc/PID/fdinfo/FD as pmap-NAME.
 *
 * Errors: E2BIG, EINVAL, EOPNOTSUPP, EFAULT, ENOMEM, EIO, EXDEV, ENOTTY, ENODEV.
 */
struct nvme_pmap_stats {
	__u32 size;
	__u32 flags;
	__u64 prp;
	__u64 sgl_list;
	__u64 sgl_run;
	__u64 built;
	__u64 direct;
	__u64 deferred;
	__u64 queue;
	__u64 fallback_full;
	__u64 fallback_down;
	__u64 fallback_frozen;
	__u64 fallback_list;
	__u64 fallback_mode;
	__u64 fallback_logged;
	__u64 fallback_worker;
	__u64 fallback_busy;
	__u64 auto_mq;
	__u64 auto_queue;
	__u64 stock_setup;
	__u64 stock_unsupported;
	__u64 stock_unmapped;
	__u64 stock_other;
	__u64 reserved[10];
};

/**
 * enum nvme_pmap_queue_flags - bits of nvme_pmap_attach.flags
 * @NVME_PMAP_QUEUE_POLLED: for rings with IORING_SETUP_IOPOLL, without
 *	interrupts; else for all other rings
 * @NVME_PMAP_QUEUE_SHARE: the queue that another file has attached
 * @NVME_PMAP_QUEUE_CPU: a queue with interrupts, for the CPU that @cpu names
 */
enum nvme_pmap_queue_flags {
	NVME_PMAP_QUEUE_POLLED = 1 << 0,
	NVME_PMAP_QUEUE_SHARE = 1 << 1,
	NVME_PMAP_QUEUE_CPU = 1 << 2,
};

/**
 * struct nvme_pmap_attach - NVME_PMAP_IOC_ATTACH: a passthrough queue for a file
 * @size: (in) sizeof(struct nvme_pmap_attach)
 * @flags: (in) bits of enum nvme_pmap_queue_flags
 * @fd: (in) with NVME_PMAP_QUEUE_SHARE an open file of the same controller, of any
 *	of its namespaces, whose queue this file is to use as well; else zero
 * @cpu: (in) with NVME_PMAP_QUEUE_CPU the number of a CPU, online or not; else zero
 *
 * From then on the pmap commands of the file go to an NVMe queue pair of its
 * own, past blk-mq; those that the queue cannot take go by blk-mq as before, and
 * are counted by reason (nvme_pmap_stats).  A file can have one queue of each
 * kind.  Any number of rings may use it.  The interrupt of a queue for rings that
 * do not poll is shared with that of the block device's queue on the CPU that
 * attaches, or that NVME_PMAP_QUEUE_CPU names (EINVAL where there is no such CPU, or
 * with one of the other two flags); while that is offline, on another.  The queue
 * stays attached until NVME_PMAP_IOC_DETACH or the close of the file, over resets of
 * the controller, too.  During a reset the call succeeds, and the queue comes up after
 * it (nvme_pmap_query.queue_irq, queue_polled).
 *
 * Errors: E2BIG, EINVAL, EOPNOTSUPP, EFAULT, EUSERS, EALREADY, EBADF, ENOMEM, EIO,
 * EXDEV, ENOTTY, ENODEV, EINTR.
 */
struct nvme_pmap_attach {
	__u32 size;
	__u32 flags;
	__s32 fd;
	__u32 cpu;
};

/**
 * struct nvme_pmap_detach - NVME_PMAP_IOC_DETACH: give a queue back
 * @size: (in) sizeof(struct nvme_pmap_detach)
 * @flags: (in) zero, or NVME_PMAP_QUEUE_POLLED: which of the two
 *
 * The last file that uses it waits for the commands in flight; those of a file that
 * others share it with stay in flight there.  A signal whose
 * handler was installed without SA_RESTART ends the wait with EINTR; the queue
 * then stays attached.
 *
 * Errors: E2BIG, EINVAL, EOPNOTSUPP, EFAULT, ENOTCONN, EALREADY, EXDEV, ENOTTY,
 * ENODEV, EINTR.
 */
struct nvme_pmap_detach {
	__u32 size;
	__u32 flags;
};

/**
 * struct nvme_pmap_cmd - NVME_URING_CMD_PMAP: the command area of the SQE
 * @opcode: NVMe I/O command set opcode
 * @flags: NVMe command flags (FUSE, PSDT); zero
 * @rsvd1: zero
 * @nsid: NSID of the namespace that the file is open on
 * @cdw2: command dword 2
 * @cdw3: command dword 3
 * @index: the registered buffer
 * @rsvd2: zero
 * @offset: bytes from the start of the buffer; a multiple of NVME_PMAP_ALIGN
 * @rsvd3: zero
 * @data_len: bytes of the buffer that the command may touch; a multiple of
 *	NVME_PMAP_ALIGN, not zero, at most nvme_pmap_query.max_transfer, and at
 *	least what the command transfers
 * @cdw10: command dword 10
 * @cdw11: command dword 11
 * @cdw12: command dword 12
 * @cdw13: command dword 13
 * @cdw14: command dword 14
 * @cdw15: command dword 15
 * @timeout_ms: milliseconds until the command is aborted, a second late at most; if
 *	that does not help, the controller is reset after as long as the
 *	namespace's io_timeout; zero for the default
 * @rsvd4: zero
 *
 * Field for field where struct nvme_uring_cmd has them, with the buffer's
 * index in place of the metadata pointer and the offset in place of the
 * address.  The ring must have IORING_SETUP_SQE128 and IORING_SETUP_CQE32;
 * cqe->res is the NVMe status or -errno, cqe->big_cqe[0] dword 0 and 1 of the
 * completion queue entry.  A command without data names a buffer as well, with a
 * data_len that is not zero, and leaves it alone.
 *
 * Errors: EINVAL, EOPNOTSUPP, EDOM, ERANGE, EMSGSIZE, EOVERFLOW,
 * EPROTONOSUPPORT, ENOENT, EACCES, EPERM, EBUSY, ENOMEM, EIO, EXDEV, ENOTTY,
 * ENODEV, EINTR.
 */
struct nvme_pmap_cmd {
	__u8 opcode;
	__u8 flags;
	__u16 rsvd1;
	__u32 nsid;
	__u32 cdw2;
	__u32 cdw3;
	__u32 index;
	__u32 rsvd2;
	__u64 offset;
	__u32 rsvd3;
	__u32 data_len;
	__u32 cdw10;
	__u32 cdw11;
	__u32 cdw12;
	__u32 cdw13;
	__u32 cdw14;
	__u32 cdw15;
	__u32 timeout_ms;
	__u32 rsvd4;
};

#if (defined(__cplusplus) && __cplusplus >= 201103L) || \
	(defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L)
#if !defined(__cplusplus) && !defined(static_assert)
#define NVME_PMAP_ASSERT(cond) _Static_assert(cond, #cond)
#else
#define NVME_PMAP_ASSERT(cond) static_assert(cond, #cond)
#endif
NVME_PMAP_ASSERT(sizeof(struct nvme_pmap_query) == 128);
NVME_PMAP_ASSERT(sizeof(struct nvme_pmap_register) == 56);
NVME_PMAP_ASSERT(sizeof(struct nvme_pmap_unregister) == 16);
NVME_PMAP_ASSERT(sizeof(struct nvme_pmap_stats) == 256);
NVME_PMAP_ASSERT(sizeof(struct nvme_pmap_attach) == 16);
NVME_PMAP_ASSERT(sizeof(struct nvme_pmap_detach) == 8);
NVME_PMAP_ASSERT(sizeof(struct nvme_pmap_cmd) == 72);
NVME_PMAP_ASSERT(__builtin_offsetof(struct nvme_pmap_cmd, offset) == 24);
NVME_PMAP_ASSERT(__builtin_offsetof(struct nvme_pmap_cmd, data_len) == 36);
NVME_PMAP_ASSERT(__builtin_offsetof(struct nvme_pmap_cmd, timeout_ms) == 64);
#undef NVME_PMAP_ASSERT
#endif

#endif /* _UAPI_LINUX_NVME_PMAP_H */
