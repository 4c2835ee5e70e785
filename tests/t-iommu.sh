#!/usr/bin/env bash
DESCRIPTION="pmaps behind an IOMMU in each of its modes; refused where DMA would bounce"
TIMEOUT=240
. "$(dirname "$0")/lib.sh"

client=$BUILD/tests/pmap-test
requires() { [ -x "$client" ] || { echo "no $client"; return 1; }; }

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# One guest for each mode; the names of the cases say which.
one() {
	local name=$1
	shift
	guest_results "$name" --nvme mdts=9 --mem 768 --append hugepages=8 --with "$client" "$@" |
		sed "s/^\(ok\|not ok\|skip\) - /&$name: /" | sed '/^manifest/d' | tee "$dir/out"
	if grep -q '^not ok - ' "$dir/out"; then test_failed=1; fi
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
	one swiotlb --append swiotlb=force -- "$client" bounce
}

run_test
