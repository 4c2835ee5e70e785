# SPDX-License-Identifier: GPL-2.0
# Our objects of nvme-core; the Makefile of drivers/nvme/host includes this.
nvme-core-y += pmap/ctrl.o pmap/adopt.o pmap/pin.o pmap/dma.o pmap/map.o pmap/buffer.o
nvme-core-y += pmap/drain.o pmap/format.o pmap/file.o pmap/attach.o pmap/register.o
nvme-core-y += pmap/auto-ctrl.o pmap/counters.o pmap/auto.o pmap/auto-begin.o pmap/passthru.o
nvme-core-y += pmap/ioctl.o pmap/sysfs.o pmap/mends.o pmap/main.o
ccflags-y += -I$(src) -I$(src)/../../../include
