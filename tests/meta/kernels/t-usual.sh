#!/usr/bin/env bash
DESCRIPTION="plain and kasan, since it names no kernels"
. "$(dirname "$0")/../../lib.sh"

test() { ok "$TEST_KERNEL"; }
run_test
