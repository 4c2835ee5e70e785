#!/usr/bin/env bash
DESCRIPTION="provoke every documented errno of ioctls and commands"
TIMEOUT=150
. "$(dirname "$0")/lib.sh"

requires() { have "$client" mkfs.ext4; }

# The head node of NVMe multipath belongs to a controller in a subsystem.
# shellcheck disable=SC2016 # for the guest's shell
test() {
	local args=()
	truncate -s 64M "$dir/ext4" "$dir/shared"
	PATH=$PATH:/usr/sbin:/sbin mkfs.ext4 -qF "$dir/ext4"
	guest_results errno --nvme mdts=9 --append iomem=relaxed --module ext4,crc32c_generic,virtio_blk --with "$client" \
		--qemu "-drive file=$dir/ext4,if=virtio,format=raw,cache=unsafe" \
		--qemu "-device nvme-subsys,id=subsys" \
		--qemu "-device nvme,serial=shared,subsys=subsys" \
		--qemu "-drive file=$dir/shared,if=none,id=shared,format=raw,cache=unsafe" \
		--qemu "-device nvme-ns,drive=shared,nsid=1,shared=on" \
		-- sh -c 'for module in crc32c_generic ext4 virtio_blk; do modprobe $module; done
			tries=0
			until [ -b /dev/vda ] || [ $tries -ge 100 ]; do
				tries=$((tries + 1)); usleep 20000
			done
			mkdir /run/ext4 && mount -t ext4 /dev/vda /run/ext4 &&
				export PMAP_TEST_EXT4=/run/ext4
			status=0
			for subject in ioctl registering userfault command unprivileged; do
				"$0" $subject -d serial=pmap || status=1
			done
			"$0" memory -d serial=pmap protection kinds files device-memory large || status=1
			"$0" multipath -d serial=shared || status=1
			exit $status' "$client"
	# 65536 registrations of one page.  Without an IOMMU: it would take back their
	# addresses for a minute after, and kmemleak, which scans its tree of them
	# meanwhile, can miss one.
	overlapping
	guest_results table-full "${args[@]}" --iommu off --with "$client" -- \
		"$client" memory -d serial=pmap table-full lists-charged
}

run_test
