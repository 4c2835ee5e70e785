# SPDX-License-Identifier: GPL-2.0
# Our objects of nvme-core; the Makefile of drivers/nvme/host includes this.
nvme-core-y += pmap/ctrl.o pmap/file.o pmap/format.o pmap/ioctl.o pmap/map.o pmap/pin.o
nvme-core-y += pmap/buffer.o pmap/auto.o pmap/auto-ctrl.o pmap/adopt.o pmap/attach.o
nvme-core-y += pmap/passthru.o pmap/sysfs.o
ccflags-y += -I$(src) -I$(src)/../../../include
