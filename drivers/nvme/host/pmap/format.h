/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which formats of namespaces the driver knows.
 *
 * A PRP carries no length.  The length check that replaces it needs the namespace's
 * present format on the device.  Stock's copy in struct nvme_ns_head comes from the
 * last scan by any path, and a reader may see it half written.  So each path (struct
 * nvme_ns) has a format word here:
 *   - A scan writes it when it writes stock's copy, with the path frozen:
 *     nvme_pmap_ns_ask(), _write() and _read(), hooks in core.c.
 *   - An admin command that may change formats makes the word stale before it is sent,
 *     on all paths of the subsystem.  It is sent after the commands that were checked
 *     with the old format have ended: nvme_pmap_execute_rq() and _nowait(), hooks in
 *     ioctl.c.
 *   - A scan that may have read the format before the end of such a command leaves the
 *     word stale.
 *
 * After a change the driver asks for a scan if files are open.  A PRP command that
 * finds the word stale asks too, and waits in an io-wq thread, as if the queue were
 * frozen.
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

/* struct pmap_format in one word: bits 0 to 7 are lba_shift, the others begin at */
#define PMAP_FORMAT_CSI	  8
#define PMAP_FORMAT_MS	  16
#define PMAP_FORMAT_PI	  32
#define PMAP_FORMAT_EXT	  BIT_ULL(48)
#define PMAP_FORMAT_STALE BIT_ULL(49) /* the device may have a new format */

/**
 * struct nvme_pmap_ns - a path to a namespace
 * @word: its format (nvme_pmap_ns_lock to write, no lock to read)
 * @node: entry in nvme_pmap_ns_table
 * @ns: the path
 * @subsys: its subsystem; only for comparison
 * @files: open files with a struct nvme_pmap_file
 * @missed: the present scan may have read the format before a change
 * @drained: number of the last change whose earlier commands have all ended
 * @asked: jiffies at which a scan was last asked for
 * @rescans: scans since the last change that no command asked for
 * @waiting: commands that wait for the format, or are being sent after the wait
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

/* Only logical blocks of a known size, without metadata? */
static __always_inline bool pmap_format_plain(u64 word)
{
	return word - SECTOR_SHIFT <= U8_MAX - SECTOR_SHIFT;
}

/* Must commands with PRPs wait? */
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
