#!/usr/bin/env bash
DESCRIPTION="change the effects log and compare permissions with stock passthrough"
TIMEOUT=300
KERNELS="plain"
. "$(dirname "$0")/lib.sh"

release=$(kernel_release 6.12)
requires() {
	have "$client"
	[ -d "/lib/modules/$release/build" ] || { echo "no headers"; return 1; }
}

# As it is; with bits that stock ignores (UUID selection, the scope); with others;
# and of commands that the log does not know.
# shellcheck disable=SC2016 # for the guest's shell
answers() {
	guest_results effects --with "$client,$module" --timeout 180 -- sh -c 'status=0
		effects() {
			insmod "$1" disk=/dev/nvme0n1 opcode=1 $2 2>/dev/null
			insmod "$1" disk=/dev/nvme0n1 opcode=2 $2 2>/dev/null
		}
		for how in set=0 set=0xfff80000 "set=0x10000 clear=0xfff80000" "set=0x4 clear=0x10000" \
			"clear=0x5" "set=0x80001"; do
			effects "$1" "$how"
			for q in "" -q; do
				"$0" effects $q as-stock personality | sed "s/^\(ok\|not ok\) - [a-z-]*/&, $how/" >/tmp/out
				cat /tmp/out
				! grep -q "^not ok" /tmp/out || status=1
			done
		done
		exit $status' "$client" "$module"
}

# Unmodified programs: on the queue, with any contents of the log; and commands of
# unknown length.
# shellcheck disable=SC2016 # for the guest's shell
doors() {
	local args=(--qemu "-device nvme,serial=meta,id=meta")
	namespace meta 1 ms=8,mset=1
	guest_results doors --nvme mdts=5 --mem 1536 --append hugepages=16 --timeout 180 "${args[@]}" \
		--modparam 'nvme poll_queues=1' --with "$client,$module" -- sh -c 'status=0
		for how in set=0xfff80000 clear=1; do
			for opcode in 1 2; do
				for ctrl in /sys/class/nvme/nvme*; do
					grep -q "^pmap" "$ctrl/serial" && disk=/dev/${ctrl##*/}n1
				done
				insmod "$1" disk=$disk opcode=$opcode $how 2>/dev/null
			done
			"$0" auto -q -d serial=pmap served | sed "s/^\(ok\|not ok\) - [a-z/]*/&, $how/" >/tmp/out
			cat /tmp/out
			! grep -q "^not ok" /tmp/out || status=1
		done
		"$0" effects -D serial=meta pract || status=1
		for how in sgls=1 sgls=0; do
			insmod "$1" disk=$disk $how 2>/dev/null
			for q in "" -q; do
				"$0" auto $q -d serial=pmap after-vendor served | sed "s/^\(ok\|not ok\) - [a-z/-]*/&, $how/" >/tmp/out
				cat /tmp/out
				! grep -q "^not ok" /tmp/out || status=1
			done
		done
		exit $status' "$client" "$module"
}

test() {
	local module
	module=$(effects_module)
	answers
	doors
}

run_test
