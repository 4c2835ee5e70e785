#!/usr/bin/env bash
DESCRIPTION="time out commands in passthrough queues and recover, and delete idle queues"
TIMEOUT=300
. "$(dirname "$0")/lib.sh"

requires() { have "$client"; }

# No shadow doorbells: a program writes to the doorbells in the registers.
# shellcheck disable=SC2016 # for the guest's shell
stuck() {
	cp "$(test_module doorbells)" "$client" "$dir/"
	guest_results recovery --share "$dir" --append iomem=relaxed --timeout 280 \
		--modparam 'nvme pmap_queue_depth=16' --qemu "-device nvme,serial=twice,id=twice,aerl=63" \
		--qemu "$(null slow 4000000000)" --qemu "-device nvme-ns,drive=slow,bus=twice,nsid=1" \
		--qemu "$(null quick 0)" --qemu "-device nvme-ns,drive=quick,bus=twice,nsid=2" -- sh -c 'status=0
			insmod ./doorbells.ko || exit
			./pmap-test recovery -d serial=pmap -D serial=twice || status=1
			rmmod doorbells
			exit $status'
}

idle() {
	guest_results idle --with "$client" --timeout 120 --append suspend.pm_test_delay=4 \
		--modparam 'nvme_core multipath=N' -- "$client" idle -d serial=pmap
}

# The auto door maps memory that stock has mapped for an earlier command.
idle_auto() {
	local args=()
	overlapping
	guest_results idle-auto --with "$client" --timeout 120 "${args[@]}" \
		-- "$client" idle_auto -q -a -d serial=pmap
}

test() {
	stuck
	idle
	idle_auto
}

run_test
