#!/usr/bin/env bash
DESCRIPTION="registrations end when they must, and survive all else: signals, forks, resets, removal"
TIMEOUT=240
KERNELS="plain kasan kcsan"
. "$(dirname "$0")/lib.sh"

requires() { have "$client" python3; }

null() { printf -- '-blockdev null-co,node-name=%s,latency-ns=%s,read-zeroes=on,size=67108864' "$1" "$2"; }

# Take the device away when the guest's program asks for it.
unplug() {
	wait_for grep -qs '^# unplug' "$dir/out" || wait_for grep -qs '^# unplug' "$dir/out" || return 0
	python3 - "$dir/qmp" <<-'END'
		import json, socket, sys
		qmp = socket.socket(socket.AF_UNIX)
		qmp.settimeout(10)
		qmp.connect(sys.argv[1])
		answers = qmp.makefile()
		answers.readline()
		for command in ({"execute": "qmp_capabilities"},
		                {"execute": "device_del", "arguments": {"id": "plugged"}}):
		    qmp.sendall(json.dumps(command).encode() + b"\n")
		    print("# qmp:", answers.readline().strip())
	END
}

# shellcheck disable=SC2016 # for the guest's shell
test() {
	: >"$dir/out"
	unplug &
	# The slow device holds commands for 200 ms; the plugged one is on a port
	# that the host can take it from.
	guest_results lifetime --with "$client" --qmp "$dir/qmp" --timeout 200 \
		--qemu "$(null slow 200000000)" --qemu "-device nvme,serial=slow,drive=slow" \
		--qemu "$(null plugged 1000000)" \
		--qemu "-device pcie-root-port,id=slot7,chassis=7,slot=7" \
		--qemu "-device nvme,serial=plugged,id=plugged,drive=plugged,bus=slot7" \
		-- sh -c 'status=0
			"$0" removal -d serial=slow -D serial=plugged by-host idle unused "in-*" \
				during-unregister || status=1
			"$0" lifetime -d serial=slow || status=1
			"$0" survival -d serial=pmap || status=1
			"$0" removal -d serial=pmap idle under-load || status=1
			"$0" unload -d serial=pmap || status=1
			exit $status' "$client" | tee "$dir/out"
	if grep -q '^not ok - ' "$dir/out"; then test_failed=1; fi
	wait
}

run_test
