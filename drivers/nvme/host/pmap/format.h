/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the driver knows of the formats of namespaces, and when it does not.
 *
 * A PRP carries no length: the check that stands in for it needs the format that the
 * namespace has on the device now.  What stock has in struct nvme_ns_head is that of
 * the last scan by any path, and may be read half written.  So each path, a struct
 * nvme_ns, has a word of its own here:
 *   - the scan writes it, where stock writes its own, and the path is frozen:
 *     nvme_pmap_ns_ask(), _write() and _read(), hooks in core.c;
 *   - an admin command that may change formats makes it stale before it is sent, for
 *     all paths of the subsystem, and is sent when the commands that were checked
 *     by it have ended: nvme_pmap_execute_rq() and _nowait(), hooks in ioctl.c;
 *   - a scan that may have asked before the end of such a command leaves it stale.
 * After a change a scan is asked for, where files are open.  A command with PRPs that
 * finds the word stale asks as well, and waits in a worker of io_uring, as if the queue
 * were frozen.
 */
#ifndef _NVME_PMAP_FORMAT_H
#define _NVME_PMAP_FORMAT_H

#include <linux/blk-mq.h>
#include <linux/list.h>
#include <linux/nvme.h>
#include <linux/types.h>

struct nvme_ctrl;
struct nvme_ns;
struct nvme_subsystem;

/* Of a struct pmap_format in one word, from bit: */
#define PMAP_FORMAT_CSI	  8
#define PMAP_FORMAT_MS	  16
#define PMAP_FORMAT_PI	  32
#define PMAP_FORMAT_EXT	  BIT_ULL(48)
#define PMAP_FORMAT_STALE BIT_ULL(49) /* the device may have another by now */

/**
 * struct nvme_pmap_ns - a path to a namespace
 * @word: its format; written under nvme_pmap_ns_lock, read without
 * @node: in the table of them
 * @ns: the path
 * @subsys: its subsystem; only to be compared
 * @files: open files with a struct nvme_pmap_file
 * @missed: the scan under way may have asked before a change
 * @drained: the last change that all commands sent before it have ended for
 * @asked: when a scan was last asked for, in jiffies
 * @rescans: how often since the last change, for no command
 * @waiting: commands that wait for it to be known, until they are sent
 */
struct nvme_pmap_ns {
	u64 word;
	struct hlist_node node;
	struct nvme_ns *ns;
	struct nvme_subsystem *subsys;
	unsigned int files;
	bool missed;
	u64 drained;
	unsigned long asked;
	unsigned int rescans;
	atomic_t waiting;
};

/* Logical blocks of a known size without metadata, and nothing else. */
static __always_inline bool pmap_format_plain(u64 word)
{
	return word - SECTOR_SHIFT <= U8_MAX - SECTOR_SHIFT;
}

/* Where commands are not sent with PRPs. */
static inline bool pmap_format_stale(u64 word)
{
	return word & PMAP_FORMAT_STALE;
}

/* For open files. */
struct nvme_pmap_ns *nvme_pmap_ns_get(struct nvme_ns *ns);
void nvme_pmap_ns_put(struct nvme_pmap_ns *pn);
void nvme_pmap_ns_scan(struct nvme_pmap_ns *pn);
int nvme_pmap_ns_await(struct nvme_pmap_ns *pn);

#endif /* _NVME_PMAP_FORMAT_H */
