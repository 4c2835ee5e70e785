#!/usr/bin/env bash
DESCRIPTION="send pmap commands from every ring mode, from threads, files and namespaces"
TIMEOUT=150
KERNELS="plain kasan kcsan"
. "$(dirname "$0")/lib.sh"

requires() { have "$client"; }

# Few tags, so that commands wait for one; a second controller with two
# namespaces.
# shellcheck disable=SC2016 # for the guest's shell
modes() {
	guest_results modes --modparam 'nvme io_queue_depth=64' --nvme mdts=9 --with "$client" \
		"${args[@]}" \
		-- sh -c 'status=0
			"$0" modes -d serial=pmap || status=1
			"$0" parallel -d serial=pmap || status=1
			"$0" namespaces -d serial=multi:1 -D serial=multi:2 || status=1
			exit $status' "$client"
}

# Behind an IOMMU, whose faults are complaints for scripts/vm: a command that goes too far
# need not meet memory that is watched.  Stock maps the same memory as the auto door.
# shellcheck disable=SC2016 # for the guest's shell
racing() {
	overlapping
	guest_results racing --iommu strict --no-nvme --with "$client" "${args[@]}" \
		-- sh -c 'status=0
			"$0" racing -d serial=multi:1 -D serial=multi:2 || status=1
			"$0" racing -q -d serial=multi:1 -D serial=multi:2 || status=1
			exit $status' "$client"
}

test() {
	local args=(--qemu "-device nvme,serial=multi,id=multi")
	namespace multi 1 "" 64M
	namespace multi 2 "" 64M
	modes
	racing
}

run_test
