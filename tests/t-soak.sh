#!/usr/bin/env bash
DESCRIPTION="mix loads and disturbances in one guest with scripts/soak, for SOAK_MINUTES on KASAN"
TIMEOUT=600
. "$(dirname "$0")/lib.sh"

requires() { have "$client"; }

test() {
	local out=$TEST_LOGS/$TEST_NAME.out seconds=${SOAK_SECONDS:-8}
	[ "$TEST_KERNEL" != kasan ] || seconds=$((${SOAK_MINUTES:-0} * 60 + seconds))
	check soak env SOAK_SECONDS="$seconds" "$TOP/scripts/soak" >"$out"
	only_chosen <"$out"
	equal "soak: both results" "$(grep -c '^ok - soak/' "$out")" 2
	check "soak: a summary" grep -q '^# in all [0-9]* s: [1-9][0-9]* pmap commands' "$out"
}

run_test
