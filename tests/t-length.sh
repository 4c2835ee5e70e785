#!/usr/bin/env bash
DESCRIPTION="no command transfers more than its data_len (CVE-2023-6238), in any LBA format"
TIMEOUT=100
. "$(dirname "$0")/lib.sh"

requires() { have "$client"; }

# shellcheck disable=SC2016 # for the guest's shell
test() {
	local args=(--qemu "-device nvme,serial=formats,id=formats")
	namespace formats 1 logical_block_size=4096,physical_block_size=4096
	namespace formats 2 ms=8,mset=1
	namespace formats 3 ms=8,mset=0
	namespace formats 4 zoned=on,zoned.zone_size=1M,zoned.zone_capacity=1M
	guest_results length --with "$client" --nvme mdts=9 "${args[@]}" \
		-- sh -c '"$0" length -d serial=pmap; a=$?
			"$0" formats -d serial=formats && exit $a' "$client"
}

run_test
