// SPDX-License-Identifier: GPL-2.0
/*
 * The guest of ioctl.c, included at its end: lets the path of a command call static
 * functions of ioctl.c.
 */
#include "passthru.h"

/**
 * nvme_pmap_stock_allows - may the caller send an I/O command?
 * @ns: the namespace
 * @opcode: the opcode of the command
 * @mode: of the open file
 */
bool nvme_pmap_stock_allows(struct nvme_ns *ns, u8 opcode, fmode_t mode)
{
	struct nvme_command c = { .common.opcode = opcode };

	return nvme_cmd_allowed(ns->ctrl, ns, &c, 0, mode & FMODE_WRITE);
}

/**
 * nvme_pmap_stock_checks - the checks that stock makes first, of the ring
 * @issue_flags: IO_URING_F_*
 *
 * Return: 0 or an errno.
 */
int nvme_pmap_stock_checks(unsigned int issue_flags)
{
	return nvme_uring_cmd_checks(issue_flags);
}

/* pmap_stock_hctx() uses the bytes behind it. */
static_assert(offsetofend(struct nvme_uring_cmd_pdu, status) <=
	      sizeof_field(struct io_uring_cmd, pdu) - sizeof(u16));
