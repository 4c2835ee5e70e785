# shellcheck shell=bash
# Which cases are to run: for tests/run and tests/lib.sh.  TEST_CASES has the patterns,
# with commas between them; empty means every case.

# matches NAME PATTERN: PATTERN is the name as the result line has it, or a part of it:
# of "strict: queue/detach (auto queue)" these are queue/detach and detach.
matches() {
	local bare=${1% (*)} pattern=$2
	local last=${bare##*: }
	# shellcheck disable=SC2053 # a pattern
	[[ $1 == $pattern || $bare == $pattern || $last == $pattern || ${last##*/} == $pattern ]]
}

# chosen NAME: no cases were asked for, or this one was.
chosen() {
	local pattern patterns
	[ -n "${TEST_CASES-}" ] || return 0
	IFS=, read -ra patterns <<<"$TEST_CASES"
	for pattern in "${patterns[@]}"; do
		if matches "$1" "$pattern"; then return 0; fi
	done
	return 1
}
