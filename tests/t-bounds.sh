#!/usr/bin/env bash
DESCRIPTION="check errors of ioctls and commands against a model, for every combination of boundary values"
TIMEOUT=150
. "$(dirname "$0")/lib.sh"

requires() { have "$client"; }

# The zoned namespace is slow: a reset comes while it works.
# shellcheck disable=SC2016 # for the guest's shell
test() {
	guest_results bounds --with "$client" --timeout 140 \
		--qemu "$(null zones 500000000 33554432)" \
		--qemu "-device nvme,serial=zones,id=zones" \
		--qemu "-device nvme-ns,drive=zones,bus=zones,nsid=1,zoned=on,zoned.zone_size=1M,zoned.zone_capacity=1M" \
		-- sh -c 'status=0
			"$0" bounds -d serial=pmap -t 100 || status=1
			"$0" bounds -q -d serial=pmap commands || status=1
			for q in "" -q; do
				"$0" output $q -d serial=pmap -D serial=zones -t 100 || status=1
			done
			exit $status' "$client"
}

run_test
