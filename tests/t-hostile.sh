#!/usr/bin/env bash
DESCRIPTION="attack every interface at random during resets, removal, suspend and formats"
TIMEOUT=400
KERNELS="plain kasan"
. "$(dirname "$0")/lib.sh"

requires() { have "$client"; }

# HOSTILE_MINUTES=n in the environment is for long runs (scripts/hostile), HOSTILE_SEED
# for the draws of another run, HOSTILE_HALF=1 or 2 for one half alone of a run with
# lockdep: it has all of the time then.
seconds=${HOSTILE_SECONDS:-$((${HOSTILE_MINUTES:-0} * 60))}
cpus=4
[ "$TEST_KERNEL" = plain ] || cpus=2
# in two halves, with lockdep
[ "$seconds" -gt 0 ] || seconds=$((cpus == 4 ? 30 : 60))

# The disk has two namespaces, the second of which is formatted.  Two others are a late
# one, and one that falls silent: with its registers, see tests/client/lib/stall.h.  The IOMMU
# is strict; its faults are complaints for scripts/vm, and asked for here, to have a case
# that says so.  Lockdep complains of stock's recovery and suspend: where there is lockdep,
# it watches the first half, without these, and the second half is with them.
# shellcheck disable=SC2016 # for the guest's shell
test() {
	local args=() doorbells effects lockdep_off=''
	doorbells=$(test_module doorbells)
	effects=$(effects_module)
	[ "$TEST_KERNEL" != kasan ] || lockdep_off=$(test_module lockdep_off)
	namespace disk 1 logical_block_size=512 128M
	namespace disk 2 logical_block_size=512 32M
	overlapping
	guest_results hostile --with "$client,$doorbells,$effects${lockdep_off:+,$lockdep_off}" --iommu strict --mem 1024 --smp "$cpus" \
		--no-nvme --append hugepages=24 --append suspend.pm_test_delay=1 \
		--append iomem=relaxed --append log_buf_len=16M --timeout $((seconds * 3 + 200)) \
		--modparam 'nvme_core multipath=N' \
		--qemu "-device nvme-subsys,id=sub,nqn=pmap-hostile" \
		--qemu "-device nvme,serial=disk,id=disk,subsys=sub" \
		--qemu "$(null late 6000000000)" --qemu "-device nvme,serial=late,id=late,drive=late" \
		--qemu "$(null never 0)" --qemu "-device nvme,serial=never,id=never,drive=never" \
		"${args[@]}" -- sh -c '
			status=0 client=$0 seconds=$1 seed=$2 doorbells=$3 lockdep_off=$5 half=$6
			export HOSTILE_EFFECTS=$4
			# run SECONDS DISK CASE...
			run() {
				n=$1 disk=$2
				shift 2
				"$client" hostile -d serial=disk ${disk:+-D serial=$disk} \
					${seed:+-s $seed} -n $n -t $((n * 3 + 150)) "$@" || status=1
			}
			insmod "$doorbells" refuse=0 || exit
			if [ "$lockdep_off" ]; then
				[ "$half" ] || seconds=$((seconds / 2))
				echo "# lockdep watches"
				[ "$half" = 2 ] || run $seconds "" mix format
				insmod "$lockdep_off" || exit
				echo "# lockdep is off"
				[ "$half" = 1 ] || run $seconds never mix
			else
				run $seconds never mix format
			fi
			run $seconds late late
			rmmod doorbells
			tries=0
			until nvme-driver none >&2; do
				tries=$((tries + 1))
				[ $tries -lt 100 ] || { echo "not ok - unload: still in use"; exit 1; }
				usleep 200000
			done
			echo "ok - unload"
			if dmesg | grep -iE "DMAR:.*fault|IO_PAGE_FAULT"; then
				echo "not ok - iommu: the device reached for what is not mapped"
				exit 1
			fi
			echo "ok - iommu"
			exit $status' "$client" "$seconds" "${HOSTILE_SEED-}" "$doorbells" "$effects" "$lockdep_off" "${HOSTILE_HALF-}"
}

run_test
