#!/usr/bin/env bash
DESCRIPTION="what the effects log says of a command is stock's to judge, and costs a batch one question"
TIMEOUT=200
KERNELS="plain"
. "$(dirname "$0")/lib.sh"

release=$(kernel_release 6.12)
module=$BUILD/tests/effects/effects.ko
requires() {
	have "$client"
	[ -d "/lib/modules/$release/build" ] || { echo "no headers"; return 1; }
}

# shellcheck disable=SC2317 # called by check
build() {
	mkdir -p "${module%/*}"
	cp "$TESTS"/effects/* "${module%/*}/"
	make -s -C "/lib/modules/$release/build" M="${module%/*}" \
		HOST="$(modules_dir "$release")/src/drivers/nvme/host" modules
}

# As it is; with bits that stock ignores (UUID selection, the scope); with others;
# and of commands that the log does not know.
# shellcheck disable=SC2016 # for the guest's shell
test() {
	check build build || return
	guest_results effects --with "$client,$module" --timeout 180 -- sh -c 'status=0
		effects() {
			insmod "$1" disk=/dev/nvme0n1 opcode=1 $2 2>/dev/null
			insmod "$1" disk=/dev/nvme0n1 opcode=2 $2 2>/dev/null
		}
		for how in set=0 set=0xfff80000 "set=0x10000 clear=0xfff80000" "set=0x4 clear=0x10000" \
			"clear=0x5" "set=0x80001"; do
			effects "$1" "$how"
			for q in "" -q; do
				"$0" effects $q | sed "s/^\(ok\|not ok\) - [a-z-]*/&, $how/" >/tmp/out
				cat /tmp/out
				! grep -q "^not ok" /tmp/out || status=1
			done
		done
		exit $status' "$client" "$module"
}

run_test
