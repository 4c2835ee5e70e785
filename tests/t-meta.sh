#!/usr/bin/env bash
DESCRIPTION="test tests/run and scripts/vm with failures, hangs and dead guests"
TIMEOUT=400
KERNELS="plain"
. "$(dirname "$0")/lib.sh"

test() {
	local part
	for part in runner vm; do
		TEST_CASES=$TEST_CASES "$TESTS/meta/$part.sh" || test_failed=1
	done
}

run_test
