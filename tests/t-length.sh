#!/usr/bin/env bash
DESCRIPTION="refuse commands that transfer more than data_len (CVE-2023-6238), in every LBA format"
TIMEOUT=100
. "$(dirname "$0")/lib.sh"

requires() { have "$client"; }

# shellcheck disable=SC2016 # for the guest's shell
test() {
	local args=(--qemu "-device nvme,serial=formats,id=formats")
	formats
	guest_results length --with "$client" --nvme mdts=9 "${args[@]}" \
		-- sh -c 'status=0
			for q in "" -q; do
				"$0" length $q -d serial=pmap || status=1
				"$0" formats $q -d serial=formats || status=1
			done
			exit $status' "$client"
}

run_test
