#!/usr/bin/env bash
DESCRIPTION="every failure of a registration, a first use, a probe, a command leaves nothing behind"
TIMEOUT=600
KERNELS="kasan"
. "$(dirname "$0")/lib.sh"

notes=$BUILD/debug/6.12-kasan/src/drivers/nvme/host
requires() {
	[ "$TEST_KERNEL" = kasan ] || { echo "failures on demand are in the kasan kernel"; return 1; }
	have "$client" gcov python3
}

# one NAME VM-OPTION... -- CASE...: a guest, and how often it ran each line.
# shellcheck disable=SC2016 # for the guest's shell
one() {
	local name=$1 options=()
	shift
	while [ "$1" != -- ]; do options+=("$1"); shift; done
	shift
	mkdir -p "$dir/$name"
	guest_results "$name" --with "$client" --share "$dir/$name" \
		--nvme mdts=10 --modparam 'nvme io_queue_depth=8' "${options[@]}" \
		-- sh -c 'client=$0
			"$client" faults -d serial=pmap "$@"; status=$?
			counts=$(find /sys/kernel/debug/gcov -name pmap-pin.gcda)
			for file in ioctl pmap-ctrl pmap-file pmap-map pmap-pin; do
				cat "${counts%/*}/$file.gcda" >"$file.gcda" || status=1
			done
			exit $status' "$client" "$@" |
		sed "s/^\(ok\|not ok\|skip\) - /&$name: /" | tee -a "$dir/out"
}

# What is a race may need more than one try, and so may a first use, which asks
# for more memory at one time than at another.
rungs() {
	"$TESTS/rungs" "$notes" "$dir"/{strict,off,bounce,race*} >"$dir/rungs"
}

test() {
	local try again=()
	one strict --timeout 240 -- small large chunks 'refused-*' statuses no-tags formatting \
		lost copies first-use probe identify-fails removed
	one off --iommu off -- small built-lists
	one bounce --iommu off --append swiotlb=force -- bounced
	for try in 1 2 3; do
		one "race$try" --timeout 150 -- "${again[@]}" first-race killed removal-races
		if rungs; then break; fi
		again=(small first-use)
	done
	cat "$dir/rungs"
	awk '/^# injected/ { n[$3] += $4; sum += $4 }
		END {
			for (kind in n) print "# " n[kind] " failures by " kind
			print "# " sum " in all"
		}' "$dir/out"
	if grep -q '^not ok - ' "$dir/out" "$dir/rungs"; then test_failed=1; fi
}

run_test
