#!/usr/bin/env bash
DESCRIPTION="what the runner tells a test of its kernel"
KERNELS="kcsan"
. "$(dirname "$0")/../../lib.sh"

test() {
	equal kernel "$TEST_KERNEL" kcsan
	local options
	read -ra options <<<"$VM_OPTIONS"
	equal options "${options[*]}" "--kcsan --iommu strict"
	check logs [ "$TEST_LOGS" -ef "$MARK/kcsan" ]
}
run_test
