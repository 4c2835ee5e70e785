#!/usr/bin/env bash
DESCRIPTION="read and write behind a strict, lazy and passthrough IOMMU, and refuse bounce buffers"
TIMEOUT=300
. "$(dirname "$0")/lib.sh"

requires() { have "$client"; }

# One guest for each mode; the names of the cases say which.
one() {
	local name=$1
	shift
	guest_results "$name" --nvme mdts=9 --mem 768 --append hugepages=8 --with "$client" "$@" |
		sed "s/^\(ok\|not ok\|skip\) - /&$name: /" | sed '/^manifest/d' | tee "$dir/out"
	if grep -q '^not ok - ' "$dir/out"; then test_failed=1; fi
}

# A table for the firmware, in AML: Scope (\_SB.PCI0.S50) { Name (_DSD, Package {
# ToUUID ("efcc06cc-73ac-4bc3-bff0-76143807c389"), Package { Package {
# "ExternalFacingPort", 1 } } }) }.  A device in the root port in slot 10 is then not
# trusted.
external_port() {
	printf '\x10\x48\x04\\\x2f\x03_SB_PCI0S50_\x08_DSD\x12\x31\x02'
	printf '\x11\x13\x0a\x10\xcc\x06\xcc\xef\xac\x73\xc3\x4b\xbf\xf0\x76\x14\x38\x07\xc3\x89'
	printf '\x12\x1a\x01\x12\x17\x02\x0dExternalFacingPort\0\x01'
}

# The kernel maps for such a device page by page and bounces the parts of pages.  In a guest without memory above 4 GiB it needs iommu=soft for that.
untrusted() {
	external_port >"$dir/external-port"
	truncate -s 64M "$dir/outside"
	# shellcheck disable=SC2016 # for the guest's shell
	one untrusted --iommu strict --append iommu=soft \
		--qemu "-acpitable sig=SSDT,rev=2,data=$dir/external-port" \
		--qemu "-device pcie-root-port,id=external,chassis=10,slot=10,addr=0xa" \
		--qemu "-drive file=$dir/outside,if=none,id=outside,format=raw,cache=unsafe" \
		--qemu "-device nvme,serial=outside,drive=outside,bus=external" -- sh -c '
			status=0
			"$0" bounce -d serial=outside || status=1
			if dmesg | grep -q "pmap-test: the device cannot reach this memory"; then
				echo "ok - log"
			else
				echo "not ok - log: no line says why"
				status=1
			fi
			"$0" modes -d serial=pmap irq && exit $status' "$client"
}

test() {
	local mode
	for mode in strict lazy pt; do
		# shellcheck disable=SC2016 # for the guest's shell
		one "$mode" --iommu "$mode" -- sh -c '
			dmesg | grep -i "iommu.*\(translated\|passthrough\)" | sed "s/^/# /"
			"$0" integrity -n 6 "random-*" sgl-run prp-kept; a=$?
			"$0" modes irq poll && exit $a' "$client"
	done
	untrusted
	one swiotlb --iommu off --append swiotlb=force -- "$client" bounce
}

run_test
