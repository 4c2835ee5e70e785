// SPDX-License-Identifier: GPL-2.0
/* A controller's own node, which stays when namespaces go, and admin commands to it. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/util.h"

#define CTRLS "/sys/class/nvme"

static bool ctrl_has_serial(const char *ctrl, const void *serial)
{
	char path[320];

	snprintf(path, sizeof(path), CTRLS "/%s/serial", ctrl);
	return serial_is(path, serial);
}

bool ctrl_name(const char *name, char *node, size_t size)
{
	char serial[32] = "";
	unsigned int nr;

	if (sscanf(name, "serial=%31[^:]", serial) == 1)
		/* false: it is not there at the moment */
		return dir_find(CTRLS, ctrl_has_serial, serial, node, size);
	if (sscanf(name, "/dev/ng%un", &nr) != 1)
		return false;
	snprintf(node, size, "nvme%u", nr);
	return true;
}

int ctrl_open(const char *name)
{
	char node[32], path[48];

	if (!ctrl_name(name, node, sizeof(node)))
		return -1;
	snprintf(path, sizeof(path), "/dev/%s", node);
	return open(path, O_RDWR | O_CLOEXEC);
}

int admin_ioctl(int fd, const struct nvme_passthru_cmd *cmd)
{
	struct nvme_passthru_cmd copy = *cmd;
	int ret = ioctl(fd, NVME_IOCTL_ADMIN_CMD, &copy);

	return ret < 0 ? -errno : ret;
}

int admin_uring(int fd, const struct nvme_passthru_cmd *cmd)
{
	struct io_uring ring;
	struct io_uring_sqe *sqe;
	struct completion done = { 0 };
	int ret;

	if (!ring_open(&ring, MODE_IRQ, 4))
		return -ENODEV;
	sqe = io_uring_get_sqe(&ring);
	if (!sqe)
		return -EBUSY;
	memset(sqe, 0, 2 * sizeof(*sqe));
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = fd;
	sqe->cmd_op = NVME_URING_CMD_ADMIN;
	*(struct nvme_uring_cmd *)(void *)sqe->cmd = (struct nvme_uring_cmd){
		.opcode = cmd->opcode,
		.nsid = cmd->nsid,
		.addr = cmd->addr,
		.data_len = cmd->data_len,
		.cdw10 = cmd->cdw10,
		.timeout_ms = cmd->timeout_ms,
	};
	ret = ring_push(&ring);
	if (!ret)
		ret = ring_reap(&ring, &done, cmd->timeout_ms + (slow_kernel() ? 120000 : 30000));
	io_uring_queue_exit(&ring);
	return ret ? ret : done.res;
}

int ns_format(int fd, uint32_t nsid, unsigned int lbaf, bool uring)
{
	const struct nvme_passthru_cmd cmd = {
		.opcode = ADMIN_FORMAT, .nsid = nsid, .cdw10 = lbaf, .timeout_ms = 60000
	};

	return uring ? admin_uring(fd, &cmd) : admin_ioctl(fd, &cmd);
}

/* Of this controller, whose number Identify tells; no other one is told. */
int ns_attach(int fd, uint32_t nsid, bool on)
{
	uint16_t *list = aligned_alloc(PAGE, PAGE);
	struct nvme_passthru_cmd cmd = {
		.opcode = ADMIN_ATTACH,
		.nsid = nsid,
		.cdw10 = !on,
		.addr = (uintptr_t)list,
		.data_len = PAGE,
	};
	int ret = list ? admin_identify(fd, 1, 0, list) : -ENOMEM;

	if (!ret) {
		uint16_t id = list[78 / 2];

		memset(list, 0, PAGE);
		list[0] = 1;
		list[1] = id;
		ret = admin_ioctl(fd, &cmd);
	}
	free(list);
	return ret;
}
