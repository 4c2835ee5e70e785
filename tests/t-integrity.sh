#!/usr/bin/env bash
DESCRIPTION="compare data of pmap commands with the block device, for all kinds of memory and lists"
TIMEOUT=120
KERNELS="plain kasan kcsan"
. "$(dirname "$0")/lib.sh"

requires() { have "$client"; }

# The guest has compared pmaps with its block device.  The image says whether
# both went to the right place; a copy with one wrong byte, whether this sees it.
outside() {
	local lba
	check image "$client" check-image "$dir/disk" "$dir/out"
	lba=$(awk '$1 == "manifest" && $2 == 512 { print $3; exit }' "$dir/out")
	printf 'x' | dd of="$dir/disk" bs=1 seek=$((lba * 512 + 300)) conv=notrunc status=none
	if "$client" check-image "$dir/disk" "$dir/out" >/dev/null; then
		not_ok checker "a wrong byte was not found"
	else
		ok checker
	fi
}

test() {
	truncate -s 256M "$dir/disk"
	guest_results integrity --disk "$dir/disk" --nvme mdts=9 --mem 768 --append hugepages=8 \
		-- "$client" integrity |
		tee "$dir/out" | sed '/^manifest/d'
	if grep -q '^not ok - ' "$dir/out"; then test_failed=1; fi
	outside
}

run_test
