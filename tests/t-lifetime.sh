#!/usr/bin/env bash
DESCRIPTION="keep registrations over signals, forks and resets, and end them on close and removal"
TIMEOUT=240
KERNELS="plain kasan kcsan"
. "$(dirname "$0")/lib.sh"

requires() { have "$client" python3; }

# shellcheck disable=SC2016 # for the guest's shell
test() {
	# The slow device holds commands for 200 ms; the plugged one is on a port
	# that the host can take it from.
	guest_results lifetime --with "$client" --qmp "$dir/qmp" --timeout 200 \
		--qemu "$(null slow 200000000)" --qemu "-device nvme,serial=slow,drive=slow" \
		--qemu "$(null plugged 1000000)" \
		--qemu "-device pcie-root-port,id=slot7,chassis=7,slot=7" \
		--qemu "-device nvme,serial=plugged,id=plugged,drive=plugged,bus=slot7" \
		--qemu "$(null mdts 0)" --qemu "-device nvme,serial=mdts,drive=mdts" \
		-- sh -c 'status=0
			"$0" mdts -d serial=mdts || status=1
			"$0" mdts -q -d serial=mdts || status=1
			"$0" removal -d serial=slow -D serial=plugged by-host idle unused "in-*" \
				during-unregister || status=1
			"$0" lifetime -d serial=slow || status=1
			"$0" persistence -d serial=pmap || status=1
			"$0" removal -d serial=pmap idle under-load || status=1
			"$0" unload -d serial=pmap || status=1
			exit $status' "$client" | host_serves "$dir/qmp" || test_failed=1
}

run_test
