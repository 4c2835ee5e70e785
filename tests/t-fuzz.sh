#!/usr/bin/env bash
DESCRIPTION="fuzz ioctls and commands as an unprivileged user"
TIMEOUT=820
KERNELS="plain kasan kcsan"
. "$(dirname "$0")/lib.sh"

requires() { have "$client"; }

# Megabytes of the disk, and the range in its middle where the program may write.
all=128 from=32 to=96

# shellcheck disable=SC2317 # called by check
untouched() {
	cmp -n $((from << 20)) "$dir/disk" "$dir/copy" &&
		cmp -i $((to << 20)) "$dir/disk" "$dir/copy"
}

# one NAME OPTION CALLS VM-ARGUMENT... : with -a the auto door is open, and switched
# now and then.  FUZZ_CALLS in the environment is a limit.
one() {
	local name=$1 option=$2 calls=$3
	shift 3
	if [ -n "${FUZZ_CALLS-}" ] && [ "$FUZZ_CALLS" -lt "$calls" ]; then calls=$FUZZ_CALLS; fi
	cp "$dir/copy" "$dir/disk"
	# shellcheck disable=SC2016 # for the guest's shell
	guest_results "$name" --with "$client" --disk "$dir/disk" --timeout 400 "$@" -- \
		sh -c 'dmesg -c >/dev/null
			"$0" fuzz $2 -d serial=pmap -t 380 -n "$1" || exit 1
			# no message may contain the address of a kernel object
			if dmesg | grep "\<ffff[0-9a-f]\{12\}\>"; then
				echo "not ok - messages: a kernel address"
			else
				echo "ok - messages"
			fi' "$client" "$calls" "$option" |
		sed "s/^\(ok\|not ok\|skip\) - /&$name: /" | tee "$dir/out"
	if grep -q '^not ok - ' "$dir/out"; then test_failed=1; fi
	check "$name: the disk outside the scratch" untouched
}

# Fewer queues than the files can have, and in one guest short ones.
test() {
	local args=()
	head -c ${all}M /dev/urandom >"$dir/copy"
	case $TEST_KERNEL in
	plain)
		one plain "" 1000000 --modparam 'nvme pmap_queues=20 pmap_queue_depth=16' \
			--modparam 'nvme_core pmap_auto_mode=off'
		one strict -a 300000 --iommu strict --modparam 'nvme pmap_queues=20'
		;;
	# As deep, but not as long.  The fuzzer maps the same memory many times.
	*)
		overlapping
		one "$TEST_KERNEL" -a 100000 "${args[@]}" \
			--modparam 'nvme pmap_queues=20 pmap_queue_depth=16'
		;;
	esac
}

run_test
