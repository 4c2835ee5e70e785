#!/usr/bin/env bash
DESCRIPTION="hostile programs on every door, while all is disturbed, change no byte but those of their commands"
TIMEOUT=300
KERNELS="plain kasan"
. "$(dirname "$0")/lib.sh"

requires() { have "$client"; }

# HOSTILE_MINUTES=n in the environment is for long runs (beyond TIMEOUT: of this file, not
# of tests/run), HOSTILE_SEED for the draws of another run, CASES for some of the cases.
seconds=${HOSTILE_SECONDS:-$((${HOSTILE_MINUTES:-0} * 60))}
[ "$seconds" -gt 0 ] || seconds=30

# The disk has two namespaces, the second of which is formatted.  The IOMMU is strict; its
# faults are complaints for scripts/vm, and asked for here, to have a case that says so.
# shellcheck disable=SC2016 # for the guest's shell
test() {
	local args=() late=serial=late
	namespace disk 1 logical_block_size=512 128M
	namespace disk 2 logical_block_size=512 32M
	overlapping
	# lockdep and stock's recovery, see t-chaos.sh
	[ "$TEST_KERNEL" != kasan ] || late=''
	guest_results hostile --with "$client" --iommu strict --mem 1280 --no-nvme \
		--append hugepages=24 --append suspend.pm_test_delay=1 --timeout $((seconds * 3 + 150)) \
		--modparam 'nvme_core multipath=N' \
		--qemu "-device nvme-subsys,id=sub,nqn=pmap-hostile" \
		--qemu "-device nvme,serial=disk,id=disk,subsys=sub" \
		--qemu "$(null late 6000000000)" --qemu "-device nvme,serial=late,id=late,drive=late" \
		"${args[@]}" -- sh -c '
			status=0 seconds=$1 late=$2 seed=$3 cases=$4
			for timeout in /sys/block/nvme*/queue/io_timeout; do echo 8000 >$timeout; done
			"$0" hostile -d serial=disk ${late:+-D $late} ${seed:+-s $seed} -n $seconds \
				-t $((seconds * 3 + 100)) $cases || status=1
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
			exit $status' "$client" "$seconds" "$late" "${HOSTILE_SEED-}" "${CASES-}"
}

run_test
