#!/usr/bin/env bash
# shellcheck disable=SC2317 # functions are called through check
DESCRIPTION="tests/run against tiny tests that end in every way"
. "$(dirname "$0")/../lib.sh"

# The status and the output of the runner on its fixtures.
run() {
	status=0
	TEST_DIR=$TESTS/meta/fixtures TEST_LOGS=$dir "$TESTS/run" "$@" >"$dir/output" 2>&1 ||
		status=$?
	last=$(tail -n 1 "$dir/output")
}

says() { grep -qE -- "$1" "$dir/output"; }
lacks() { ! says "$1"; }

gone() { ! kill -0 "$(cat "$1")" 2>/dev/null; }

one() {
	local name=$1 want_status=$2 want_last=$3
	run "$name"
	equal "runner: $name: totals" "$last" "$want_last"
	equal "runner: $name: status" "$status" "$want_status"
}

# Which tests run on which kernels.
kernels() {
	local want kernel
	export MARK=$dir
	while read -r kernel want; do
		last=$(TEST_DIR=$TESTS/meta/kernels TEST_LOGS=$dir "$TESTS/run" -k "$kernel" | tail -n 1) ||
			true
		equal "runner: kernels: $kernel" "$last" "$want passed, 0 failed, 0 skipped"
	done <<-END
		plain 1
		kasan 1
		kcsan 3
		plain,kasan,kcsan 5
	END
	last=$(TEST_EXCEPT=kasan/usual TEST_DIR=$TESTS/meta/kernels TEST_LOGS=$dir "$TESTS/run" \
		-k plain,kasan | tail -n 1)
	equal "runner: one left out" "$last" "1 passed, 0 failed, 0 skipped"
	run -k vax
	equal "runner: an unknown kernel" "$status" 2
}

# Cases that are asked for: in shell code, and of the client in a guest.
cases() {
	run -c two pass
	equal "runner: cases: one of two" "$status: $last" "0: 1 passed, 0 failed, 0 skipped"
	run -c before,after fail
	equal "runner: cases: not the one that fails" "$status: $last" "0: 2 passed, 0 failed, 0 skipped"
	run -c 'bro*' fail
	equal "runner: cases: the one that fails" "$status: $last" "1: 0 passed, 1 failed, 0 skipped"
	run -c two,no-such pass
	equal "runner: cases: one is missing: status" "$status" 1
	check "runner: cases: which" says '^run: no case no-such; there are:$'
	check "runner: cases: and what there is" says '^    one$'
	run -c before pass fail
	equal "runner: cases: two tests, one with the case" "$status: $last" "0: 1 passed, 0 failed, 0 skipped"
	check "runner: cases: a test without it does not pass" says '^none  t-pass .* no case before$'
	run -c any quiet
	equal "runner: cases: none in a quiet test" "$status" 1
	run -c exits exit-3
	equal "runner: cases: a bad end still fails" "$status" 1
	[ -x "$client" ] || { skip "runner: cases: the client" "no client"; return; }
	run -c queue/arguments client
	equal "runner: cases: of another subject" "$status" 1
	check "runner: cases: no guest for it" says '^none '
	check "runner: cases: a list of the subject's" says '^    command/reserved$'
	equal "runner: cases: a variant" "$("$client" cases 'command/nsid (auto queue)')" command/nsid
	run -c reserved,command/nsid client
	equal "runner: cases: two in a guest" "$status: $last" "0: 2 passed, 0 failed, 0 skipped"
}

test() {
	cases
	kernels
	one pass 0 "2 passed, 0 failed, 0 skipped"
	one quiet 0 "1 passed, 0 failed, 0 skipped"
	one fail 1 "2 passed, 1 failed, 0 skipped"
	check "runner: a failure says why" says 'not ok - broken: on purpose'
	one reason 1 "2 passed, 1 failed, 0 skipped"
	check "runner: what a failed case noted" says '^ +# lib/a.c:2: of the case that failed$'
	check "runner: not what others noted" lacks 'lib/a.c:1:'
	one skip 0 "0 passed, 0 failed, 1 skipped"
	check "runner: a skip says why" says '^skip  t-skip .* no no-such-program$'
	one skip-case 0 "1 passed, 0 failed, 1 skipped"
	check "runner: a skipped case says why" says 'skip - two: not here'
	one hang 1 "0 passed, 1 failed, 0 skipped"
	check "runner: a hang is told" says '^FAIL  t-hang .* no end within 1 s$'
	check "runner: a hang leaves no process" wait_for gone "$dir/hang.child"
	one exit-3 1 "0 passed, 1 failed, 0 skipped"
	check "runner: a bare status is told" says '^FAIL  t-exit-3 .* exits with 3$'
	one errexit 1 "1 passed, 1 failed, 0 skipped"
	one liar 1 "0 passed, 1 failed, 0 skipped"
	one oops 1 "1 passed, 1 failed, 0 skipped"
	check "runner: the console log is named" says 'console log: .*/t-oops.console'
	one mute 1 "0 passed, 1 failed, 0 skipped"
	one no-such-test 2 "run: no test $TESTS/meta/fixtures/t-no-such-test.sh"

	run -j 3 pass fail skip quiet exit-3 liar
	equal "runner: many files" "$last" "5 passed, 3 failed, 1 skipped"
	mkdir "$dir/none"
	status=0
	last=$(TEST_DIR=$dir/none TEST_LOGS=$dir "$TESTS/run") || status=$?
	equal "runner: nothing to run" "$status: $last" "1: 0 passed, 0 failed, 0 skipped"
}

run_test
