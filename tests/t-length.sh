#!/usr/bin/env bash
DESCRIPTION="no command transfers more than its data_len (CVE-2023-6238), in any LBA format"
TIMEOUT=100
. "$(dirname "$0")/lib.sh"

requires() { have "$client"; }

# shellcheck disable=SC2016 # for the guest's shell
test() {
	local args=(--qemu "-device nvme,serial=formats,id=formats")
	formats
	guest_results length --with "$client" --nvme mdts=9 "${args[@]}" \
		-- sh -c '"$0" length -d serial=pmap; a=$?
			"$0" formats -d serial=formats && exit $a' "$client"
}

run_test
