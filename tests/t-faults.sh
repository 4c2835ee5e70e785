#!/usr/bin/env bash
DESCRIPTION="inject failures into registration, attach, probe and commands, and check for leaks"
TIMEOUT=900
KERNELS="kasan"
. "$(dirname "$0")/lib.sh"

notes=$BUILD/debug/6.12-kasan/src/drivers/nvme/host
requires() {
	[ "$TEST_KERNEL" = kasan ] || { echo "failures on demand are in the kasan kernel"; return 1; }
	have "$client" gcov python3
}

# one NAME VM-OPTION... -- 'SUBJECT ARGUMENT...'...: a guest, in which the client does
# that, and how often it ran each line.
# shellcheck disable=SC2016 # for the guest's shell
one() {
	local name=$1 options=()
	shift
	while [ "$1" != -- ]; do options+=("$1"); shift; done
	shift
	mkdir -p "$dir/$name"
	guest_results "$name" --with "$client" --share "$dir/$name" \
		--nvme mdts=10 --modparam 'nvme io_queue_depth=8' "${options[@]}" \
		-- sh -c 'client=$0 status=0
			set -f
			for words; do "$client" $words || status=1; done
			counts=$(find /sys/kernel/debug/gcov -name pci.gcda)
			set +f
			mkdir -p pmap
			cd "${counts%/*}"
			for file in *.gcda pmap/*.gcda; do
				cat "$file" >"$OLDPWD/$file" || status=1
			done
			exit $status' "$client" "$@" |
		sed "s/^\(ok\|not ok\|skip\) - /&$name: /" | tee -a "$dir/out"
}

# slow NAME NANOSECONDS [PROPERTY]: a device that takes so long for each command.
slow() { echo "$(null "$1" "$2") -device nvme,serial=$1,drive=$1${3-}"; }

# Passthrough queues: paths that their own tests reach, and failures to be provoked.
queues() {
	local args=(--qemu "-device nvme,serial=meta,id=meta")
	namespace meta 1 ms=8,mset=1
	# each detach is to delete its queue
	one queues --timeout 240 --modparam 'nvme_core pmap_queue_linger_ms=0' --qemu "$(slow stuck 8000000000)" "${args[@]}" -- \
		'faults -d serial=pmap attach-fails refused-pairs failed-once unpolled
			format-batches mixed-batch probe-queues' \
		'faults -d serial=meta format-batches' \
		'faults -D serial=stuck draining full-batch aborts' \
		'faults -q -d serial=pmap refused-commands formatting'
	one used --timeout 240 --modparam 'nvme pmap_queue_depth=16 io_queue_depth=64' \
		--qemu "$(slow slow 500000000)" --qemu "$(slow few 0 ,max_ioqpairs=5)" -- \
		'queue -d serial=pmap' 'queue_slow -D serial=slow' 'queue_few -D serial=few' \
		'modes -q -d serial=pmap'
}

# Fixed buffers of unmodified programs: likewise.  Stock maps the same memory as the
# driver does for them.
auto() {
	local args=(--qemu "$(slow second 0)" --qemu "$(slow lagging 250000000)")
	overlapping
	one auto --timeout 400 --iommu off --nvme mdts=7 --mem 2048 --append hugepages=16 "${args[@]}" -- \
		'auto -d serial=pmap memlock mib switched switched-early switched-making remapped
			remapped-huge shifted remapped-used as-stock as-stock-rdonly reregistered idle' \
		'auto -q -d serial=pmap switched served' \
		'faults -d serial=pmap -D serial=second auto-hungry auto-no-tags auto-first-race
			auto-clone-race auto-unprepared auto-removed auto-operated auto-mixed
			auto-two auto-full' \
		'faults -D serial=lagging auto-ending' \
		'faults -q -d serial=pmap auto-hungry auto-first-race auto-operated auto-mixed
			auto-removed'
}

# A race may need more than one try, and so may a first use, which asks for more memory
# at one time than at another.  A few chosen cases do not reach every place.
error_paths() {
	[ -z "$TEST_CASES" ] || return 0
	"$TESTS/error-paths" "$notes" "$dir"/{strict,queues,used,auto,off*,bounce,race*} >"$dir/errors"
}

test() {
	local try again=() args=()
	touch "$dir"/{out,errors}
	overlapping
	queues
	auto
	one strict --timeout 240 -- 'faults -d serial=pmap small large chunks refused-registers
		refused-commands statuses no-tags formatting lost copies first-use probe identify-fails removed'
	one off --iommu off --modparam 'nvme pmap_queues=0' -- 'faults -d serial=pmap small built-lists'
	# and a door that the operator has misspelt
	one bounce --iommu off --nvme max_ioqpairs=2 --append swiotlb=force \
		--modparam 'nvme_core pmap_auto_mode=ajar' "${args[@]}" -- 'faults -d serial=pmap bounced auto-bounced'
	for try in 1 2 3; do
		# where a break of a run finds no memory is luck, and needs no IOMMU
		[ "$try" = 1 ] || one "off$try" --iommu off -- 'faults -d serial=pmap small'
		one "race$try" --timeout 240 --modparam 'nvme_core pmap_queue_linger_ms=0' -- "faults -d serial=pmap ${again[*]} first-race killed
			removal-races attach-resets attach-removals attach-killed shared-resets"
		if error_paths; then break; fi
		again=(small first-use)
	done
	cat "$dir/errors"
	awk '/^# injected/ { n[$3] += $4; sum += $4 }
		END {
			for (kind in n) print "# " n[kind] " failures by " kind
			print "# " sum " in all"
		}' "$dir/out"
	if grep -q '^not ok - ' "$dir/out" "$dir/errors"; then test_failed=1; fi
}

run_test
