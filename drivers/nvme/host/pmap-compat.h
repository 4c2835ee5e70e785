/* SPDX-License-Identifier: GPL-2.0 */
/* What differs between the kernels the overlay builds on, by feature. */
#ifndef _NVME_PMAP_COMPAT_H
#define _NVME_PMAP_COMPAT_H

#include <linux/blkdev.h>
#include <linux/blk-mq.h>

/* The requests that a poll has collected. */
#define pmap_for_each_batched(iob, req) rq_list_for_each(&(iob)->req_list, req)

#endif /* _NVME_PMAP_COMPAT_H */
