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
 * size from the minimum (NVME_PMAP_MIN_*) up to a page, today and for ever.  It takes
 * the fields that a smaller structure lacks as zero; in a larger structure, the bytes
 * that it does not know must be zero.  It writes no more than the smaller of the two
 * sizes.  Existing fields keep their place and meaning.  New fields replace reserved
 * ones, or follow at the end; zero in a new field asks for the old behaviour, and an
 * older driver answers zero in it.  So an old program works with a newer driver, and
 * a new program with an older one, unless it asks for something that the older driver
 * does not have.
 *
 * Errors.  Each has one meaning here; ioctls return them in errno, commands in
 * cqe->res.  (A positive cqe->res is the NVMe status of a command the
 * controller failed, as with NVME_URING_CMD_IO.)
 * The first ioctl on a controller, of any kind, asks it for MDTS and allocates memory: it
 * may fail with ENOMEM, EIO or EINTR as well.
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
 *   EFAULT           memory that cannot be read, written or pinned.  (If the kernel
 *                    has another reason not to pin it, the error is that one)
 *   EDOM             address, offset or length not a multiple of 4 bytes
 *   ERANGE           offset and length do not lie inside the buffer, or the
 *                    length is zero
 *   EFBIG            one registration of more than NVME_PMAP_MAX_LEN
 *   EMSGSIZE         one command of more than the controller's MDTS
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
 *                    format the driver could not read the new one (buffers in
 *                    the PRP form)
 *   ENOSPC           no index is free, or the one asked for is not below
 *                    NVME_PMAP_MAX_INDEX
 *   EDQUOT           RLIMIT_MEMLOCK
 *   ENOMEM           the kernel is out of memory
 *   ENXIO            the device cannot reach this memory directly (it would
 *                    need a bounce buffer or cache maintenance)
 *   EUSERS           no passthrough queue is left, or the controller has none to
 *                    spare; commands still go over blk-mq
 *   EALREADY         the file has a passthrough queue of this kind already, or
 *                    another thread is detaching it
 *   ENOTCONN         the file has no passthrough queue of this kind
 *   EBADF            not an open file of the same controller with a queue of
 *                    this kind
 *   EIO              the controller failed the Identify command that asks for
 *                    MDTS, or refused to create a queue; or blk-mq took down
 *                    the command's hardware queue
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
 * The smallest size of each structure that a driver accepts: that of version 1 without
 * the reserved fields at its end.  These never grow.
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
 * @NVME_PMAP_FEATURE_CMD: NVME_URING_CMD_PMAP works, through blk-mq
 * @NVME_PMAP_FEATURE_QUEUE: passthrough queues work, see NVME_PMAP_IOC_ATTACH
 */
enum nvme_pmap_feature {
	NVME_PMAP_FEATURE_CMD = 1 << 0,
	NVME_PMAP_FEATURE_QUEUE = 1 << 1,
};

/**
 * enum nvme_pmap_ns_flags - bits of nvme_pmap_query.ns: properties of the namespace
 *	that make pmap commands fail, in any form unless the text says otherwise
 * @NVME_PMAP_NS_UNKNOWN: the driver does not know the format: Read, Write, Compare and
 *	Zone Append fail with EPERM.  If it does not know the command set either, all
 *	commands do.  Exception: with CAP_SYS_ADMIN, on a buffer in an SGL form, they
 *	are sent.
 * @NVME_PMAP_NS_INLINE: metadata is part of the blocks, and of lba_bytes
 * @NVME_PMAP_NS_SEPARATE: metadata has a buffer of its own: Read, Write, Compare and
 *	Zone Append fail with EPROTONOSUPPORT
 * @NVME_PMAP_NS_PRACT: with PRACT, Read, Write and Zone Append transfer blocks without
 *	metadata (lba_bytes less md_bytes if the metadata is inline), and do not fail
 *	for it
 * @NVME_PMAP_NS_PRACT_UNKNOWN: with PRACT, these commands fail with EPERM, since their
 *	length is not known
 * @NVME_PMAP_NS_ZONED: Zone Append, Zone Management Send without data and Zone
 *	Management Receive are known; Set Zone Descriptor Extension fails with EPERM
 *
 * If metadata is inline, the length of a Compare with PRACT is not known (EPERM).
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
 * enum nvme_pmap_auto_mode - the operator's choice for NVME_URING_CMD_IO commands with
 *	buffers that a program has registered with io_uring
 * @NVME_PMAP_AUTO_OFF: such commands take the stock path
 * @NVME_PMAP_AUTO_ON: the driver maps the buffers, and sends the commands over blk-mq
 * @NVME_PMAP_AUTO_QUEUE: the driver also attaches passthrough queues, and sends the
 *	commands over these
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
 * @forms: (out) bit (1 << enum nvme_pmap_form) for each form the controller supports;
 *	whether a buffer can be an SGL run depends on its memory
 * @align: (out) NVME_PMAP_ALIGN, bytes
 * @max_index: (out) NVME_PMAP_MAX_INDEX
 * @nr_pmaps: (out) number of buffers registered on this file
 * @max_len: (out) NVME_PMAP_MAX_LEN, bytes
 * @max_transfer: (out) bytes that one pmap command may transfer: the controller's MDTS,
 *	8 MiB at most; a reset may change it
 * @pinned: (out) bytes of memory that this file's buffers keep pinned
 * @list_bytes: (out) bytes of kernel memory that describe this file's buffers
 * @lba_bytes: (out) bytes of one logical block as transferred in the data buffer,
 *	extended metadata included; zero if the format is not known
 * @queues_free: (out) number of passthrough queues left; zero if the controller has
 *	none
 * @queue_depth: (out) commands that a passthrough queue can have in flight; zero if the
 *	controller has no such queue
 * @queue_polled: (out) queue identifier of this file's passthrough queue for rings with
 *	IORING_SETUP_IOPOLL; zero if it has none, or while it is down
 * @queue_irq: (out) queue identifier of this file's passthrough queue for all other
 *	rings; zero likewise
 * @ns: (out) bits of enum nvme_pmap_ns_flags
 * @md_bytes: (out) bytes of metadata of one logical block
 * @auto_mode: (out) enum nvme_pmap_auto_mode of the controller
 * @max_prebuilt: (out) bytes up to which no command on a buffer in the PRP form needs a
 *	list built for it, at any offset.  Only blk-mq builds lists.  The SGL forms have
 *	no such limit.
 * @auto_max_transfer: (out) bytes that one NVME_URING_CMD_IO may transfer, by the auto
 *	door or by the stock path
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
 * @NVME_PMAP_REG_PRP: keep PRP lists even if the controller supports SGLs; then needs
 *	CAP_SYS_ADMIN
 * @NVME_PMAP_REG_SGL_LIST: keep an SGL list even if the buffer is one run
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
 * @list_bytes: (out) bytes of kernel memory that describe the buffer
 * @reserved: (in) zero
 *
 * The memory must be writable: anonymous memory, huge pages, memfd or shmem.  The pages
 * are charged to the caller's RLIMIT_MEMLOCK unless it has CAP_IPC_LOCK, and shown as
 * VmPin.  The lists that describe them are charged to RLIMIT_MEMLOCK too if they exceed
 * a percent of the buffer (a page, for a buffer of less than 100 pages that is not an
 * SGL run).  All lists are charged to the memory cgroup.  The buffer stays
 * registered until NVME_PMAP_IOC_UNREGISTER, the close of the file or the removal of
 * the controller; unmapping it from the program's address space does not end it.  After
 * fork() each process that holds the file can use the buffer, which still describes the
 * pages of the process that registered it.
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
 * @index: (in) index of the buffer
 * @reserved: (in) zero
 *
 * From the start of the call new commands fail with ENOENT, except those of a batch
 * that is being submitted to a passthrough queue.  The call returns when the commands
 * in flight have ended and the memory is unpinned.  A signal whose handler was
 * installed without SA_RESTART ends the wait with EINTR; the index then stays taken
 * until the call is repeated or the file is closed.
 *
 * Errors: E2BIG, EINVAL, EOPNOTSUPP, EFAULT, ENOENT, EXDEV, ENOTTY, ENODEV, EINTR.
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
 * @built: (out) commands whose list was built for them, because the kept form could not
 *	express the slice (PRP: more than 1 MiB; SGL: ends inside pages)
 * @direct: (out) completions posted by the ring that polled them
 * @deferred: (out) completions found outside the ring's own poll, and handed over: by
 *	task work, or marked for the ring's next poll
 * @queue: (out) commands, of any form, sent over a passthrough queue
 * @fallback_full: (out) commands sent over blk-mq although the file has a passthrough
 *	queue, since the queue had no room
 * @fallback_down: (out) likewise, since the queue was down (a reset, a CPU that went
 *	offline), or not attached (yet) by the auto door
 * @fallback_frozen: (out) likewise, since the namespace was being formatted, detached
 *	or suspended
 * @fallback_list: (out) likewise, since a list had to be built, see @built
 * @fallback_mode: (out) likewise, since the ring polls and the queue does not, or the
 *	reverse
 * @fallback_logged: (out) likewise, since errors of passthrough commands must be logged
 * @fallback_worker: (out) likewise, since an io-wq thread issued the command:
 *	IOSQE_ASYNC, or a retry
 * @fallback_busy: (out) likewise, since another ring was submitting a batch to the
 *	queue
 * @auto_mq: (out) NVME_URING_CMD_IO commands with a buffer registered with io_uring
 *	(IORING_URING_CMD_FIXED) that were sent over blk-mq by a mapping of the buffer;
 *	the counters by form include them
 * @auto_queue: (out) such commands sent over a passthrough queue by a mapping of the
 *	buffer; the counters by form include them
 * @stock_setup: (out) such commands sent by the stock path, while the auto door was
 *	being set up for the file or the buffer (retries for a tag are counted again;
 *	commands that a file sends before it has counters are not counted)
 * @stock_unsupported: (out) such commands sent by the stock path: not a Read or Write
 *	of plain blocks, or the slice is not in the buffer, or not aligned
 * @stock_unmapped: (out) such commands sent by the stock path: the buffer is over a
 *	limit, or cannot be mapped
 * @stock_other: (out) such commands sent by the stock path, for any other reason
 * @reserved: (out) zero
 *
 * /proc/PID/fdinfo/FD shows the same counters as pmap-NAME.
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
 * @NVME_PMAP_QUEUE_POLLED: a queue without interrupts, for rings with
 *	IORING_SETUP_IOPOLL; without this flag, a queue for all other rings
 * @NVME_PMAP_QUEUE_SHARE: the queue that another file has attached
 * @NVME_PMAP_QUEUE_CPU: a queue with interrupts on the CPU @cpu
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
 * @fd: (in) with NVME_PMAP_QUEUE_SHARE, an open file of the same controller, of any of
 *	its namespaces, whose queue this file will use as well; else zero
 * @cpu: (in) with NVME_PMAP_QUEUE_CPU, the number of a CPU, online or not; else zero
 *
 * From then on the pmap commands of the file go to an NVMe queue pair of its own, past
 * blk-mq.  Commands that the queue cannot take go over blk-mq as before, and are
 * counted by reason (nvme_pmap_stats).  A file can have one queue of each kind.  Any
 * number of rings may use it.  The queue stays attached until NVME_PMAP_IOC_DETACH or
 * the close of the file, also over resets of the controller.  During a reset the call
 * succeeds, and the queue comes up afterwards (nvme_pmap_query.queue_irq,
 * queue_polled).
 *
 * A queue with interrupts shares the interrupt of the block device's queue on one CPU:
 * the one that NVME_PMAP_QUEUE_CPU names (EINVAL if there is no such CPU, or with one
 * of the other two flags), or else the CPU that makes the call.  While that CPU is
 * offline, the queue uses the interrupt of another.
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
 * @flags: (in) zero, or NVME_PMAP_QUEUE_POLLED for the polled queue
 *
 * If no other file shares the queue, the call waits for the commands in flight.
 * Otherwise the commands of this file stay in flight on the shared queue.  A signal
 * whose handler was installed without SA_RESTART ends the wait with EINTR; the queue
 * then stays attached.
 *
 * Errors: E2BIG, EINVAL, EOPNOTSUPP, EFAULT, ENOTCONN, EALREADY, EXDEV, ENOTTY, ENODEV,
 * EINTR.
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
 * @index: index of the registered buffer
 * @rsvd2: zero
 * @offset: bytes from the start of the buffer; a multiple of NVME_PMAP_ALIGN
 * @rsvd3: zero
 * @data_len: bytes of the buffer that the command may touch; a multiple of
 *	NVME_PMAP_ALIGN, not zero, at most nvme_pmap_query.max_transfer, and at least
 *	as many as the command transfers
 * @cdw10: command dword 10
 * @cdw11: command dword 11
 * @cdw12: command dword 12
 * @cdw13: command dword 13
 * @cdw14: command dword 14
 * @cdw15: command dword 15
 * @timeout_ms: milliseconds until the command is aborted, a second late at most; zero
 *	for the default.  If the abort does not help, the controller is reset after the
 *	namespace's io_timeout.
 * @rsvd4: zero
 *
 * The fields are at the same offsets as in struct nvme_uring_cmd, with the buffer's
 * index in place of the metadata pointer and the offset in place of the address.  The
 * ring must have IORING_SETUP_SQE128 and IORING_SETUP_CQE32; cqe->res is the NVMe
 * status or -errno, cqe->big_cqe[0] has dword 0 and 1 of the completion queue entry.  A
 * command without data names a buffer as well, with a data_len that is not zero, and
 * does not touch it.
 *
 * Errors: EINVAL, EOPNOTSUPP, EDOM, ERANGE, EMSGSIZE, EOVERFLOW, EPROTONOSUPPORT,
 * ENOENT, EACCES, EPERM, EBUSY, ENOMEM, EIO, EXDEV, ENOTTY, ENODEV, EINTR.
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
