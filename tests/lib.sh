# shellcheck shell=bash
# Functions for test files.  A test file, tests/t-SUBJECT.sh, reads
#
#	#!/usr/bin/env bash
#	DESCRIPTION="read in every ring mode"
#	TIMEOUT=60
#	. "$(dirname "$0")/lib.sh"
#	requires() { have "$client" fio; }
#	test() { guest_results "reads" --driver fork --share "$dir" -- "$client" reads; }
#	run_test
#
# $client is the program of tests/client, $dir a directory that goes with the test.
#
# It exits 0 for a pass, 1 for a failure, 77 for a skip with the reason on its
# last line.  TIMEOUT (seconds, a plain number, 300 unless given) is the
# runner's; requires() may be left out.  KERNELS="plain kasan" is where tests/run
# runs it unless it says otherwise: the distribution's kernel, and that with KASAN
# and the rest behind a strict IOMMU; kcsan is for tests with races.  TEST_KERNEL
# tells a test which it is.  Cases within are told by lines
# "ok - NAME", "not ok - NAME: WHY" and "skip - NAME: WHY", from the functions
# below or from a program in a guest.  Where the runner is asked for some cases
# (TEST_CASES), the client runs no others and the functions below report no others;
# commands of a test's own shell code run all the same, as later ones may need them.
set -euo pipefail

TESTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
. "$TESTS/../scripts/lib.sh"
# shellcheck source=tests/cases.sh
. "$TESTS/cases.sh"

: "${DESCRIPTION:?a test says what it is about}" "${TIMEOUT:=300}" "${KERNELS:=plain kasan}"

TEST_KERNEL=${TEST_KERNEL:-plain}
# not for the programs that a test starts, among which there may be another runner
TEST_CASES=${TEST_CASES-}
export -n TEST_CASES
TEST_NAME=$(basename "$0" .sh)
TEST_LOGS=${TEST_LOGS:-$BUILD/tests}
mkdir -p "$TEST_LOGS"
test_failed=0
test_vms=0
# shellcheck disable=SC2034 # for the tests
client=$BUILD/tests/pmap-test
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

ok() { if chosen "$1"; then printf 'ok - %s\n' "$1"; else not_chosen "$1"; fi; }
skip() { if chosen "$1"; then printf 'skip - %s: %s\n' "$1" "$2"; else not_chosen "$1"; fi; }
not_ok() { if chosen "$1"; then broken "$@"; else not_chosen "$1"; fi; }

# For the list of all cases, where one is not found.
not_chosen() { printf '# not chosen - %s\n' "$1"; }

# broken NAME [WHY]: fails the test, whether or not NAME is a case that is asked for.
broken() {
	printf 'not ok - %s%s\n' "$1" "${2:+: $2}"
	test_failed=1
}

# only_chosen: filters the result lines of a program by the cases asked for.
only_chosen() {
	local line name
	if [ -z "$TEST_CASES" ]; then cat; return; fi
	while IFS= read -r line || [ -n "$line" ]; do
		name=${line#* - }
		case $line in
		'ok - '*) ok "$name" ;;
		'not ok - '* | 'skip - '*)
			if chosen "${name%%: *}" || chosen "$name"; then
				printf '%s\n' "$line"
			else
				not_chosen "${name%%: *}"
			fi
			;;
		*) printf '%s\n' "$line" ;;
		esac
	done
}

# check NAME CMD... : a case that passes when CMD succeeds.
check() {
	local name=$1 status=0
	shift
	"$@" || status=$?
	if [ $status -eq 0 ]; then ok "$name"; else not_ok "$name" "$* exits with $status"; fi
}

# equal NAME IS WANTED
equal() {
	if [ "$2" = "$3" ]; then ok "$1"; else not_ok "$1" "is '$2', not '$3'"; fi
}

# wait_for CMD... : until it succeeds, 20 s at most.
wait_for() {
	local tries=0
	until "$@"; do
		tries=$((tries + 1))
		[ "$tries" -lt 200 ] || return 1
		sleep 0.1
	done
}

# have PROGRAM... : by name or path; for requires().
have() {
	local program
	for program; do
		PATH=$PATH:/usr/sbin:/sbin type -P "$program" >/dev/null || { echo "no $program"; return 1; }
	done
}

# scripts/vm with the console log beside the test's log.  VM_OPTIONS in the
# environment come first: VM_OPTIONS='--debug --timeout 500' tests/t-length.sh
vm() {
	local console status=0
	test_vms=$((test_vms + 1))
	console=$TEST_LOGS/$TEST_NAME.console-$BASHPID-$test_vms.log
	# shellcheck disable=SC2086 # words
	"$TOP/scripts/vm" --console "$console" ${VM_OPTIONS-} "$@" || status=$?
	[ $status -eq 0 ] || info "vm: exits with $status; console log: $console"
	return $status
}

# namespace CONTROLLER NSID PROPERTIES [SIZE]: adds one to the array args.
namespace() {
	truncate -s "${4:-32M}" "$dir/$1-$2"
	args+=(--qemu "-drive file=$dir/$1-$2,if=none,id=$1-$2,format=raw,cache=unsafe"
		--qemu "-device nvme-ns,drive=$1-$2,bus=$1,nsid=$2,$3")
}

# null NODE NANOSECONDS [BYTES]: a backing that takes so long for each command.
null() { printf -- '-blockdev null-co,node-name=%s,latency-ns=%s,read-zeroes=on,size=%s' "$1" "$2" "${3:-67108864}"; }

# formats: adds to the array args the namespaces of a controller of that name, one for
# each layout of blocks.
formats() {
	namespace formats 1 logical_block_size=4096,physical_block_size=4096
	namespace formats 2 ms=8,mset=1
	namespace formats 3 ms=8,mset=0
	namespace formats 4 zoned=on,zoned.zone_size=1M,zoned.zone_capacity=1M
}

# kernel_tree: the build directory for modules of the kernel that the test runs on.
kernel_tree() {
	if [ "$TEST_KERNEL" = plain ]; then
		printf '/lib/modules/%s/build\n' "$(kernel_release 6.12)"
	else
		printf '%s/%s\n' "$(kernel_source 6.12)" "$TEST_KERNEL"
	fi
}

# test_module NAME: builds tests/module/NAME.c for that kernel, and prints where it is.
test_module() {
	local out=$dir/module-$1
	mkdir -p "$out"
	cp "$TESTS/module/$1.c" "$out/"
	echo "obj-m := $1.o" >"$out/Kbuild"
	make -C "$(kernel_tree)" M="$out" modules >"$out/log" 2>&1 || { cat "$out/log" >&2; return 1; }
	printf '%s\n' "$out/$1.ko"
}

# effects_module: likewise tests/effects, which knows the driver's structures.
effects_module() {
	local out=$dir/effects
	mkdir -p "$out"
	cp "$TESTS"/effects/* "$out/"
	make -C "$(kernel_tree)" M="$out" \
		HOST="$(modules_dir "$(kernel_release 6.12)")/src/drivers/nvme/host" modules \
		>"$out/log" 2>&1 || { cat "$out/log" >&2; return 1; }
	printf '%s\n' "$out/effects.ko"
}

# overlapping: adds to the array args an option for guests whose cases map the same
# memory many times: DMA_API_DEBUG takes that for an error.  Only such cases get it.
overlapping() { [ "$TEST_KERNEL" = plain ] || args+=(--append dma_debug=off); }

# reaches COMMAND: whether a guest's command, as text, can run a case that is asked
# for: it has the name of a client's subject with such a case, or, where the client has
# none, it prints results of its own.
reaches() {
	local pattern patterns subject subjects
	[ -n "$TEST_CASES" ] && [[ $1 == *"$client"* ]] || return 0
	IFS=, read -ra patterns <<<"$TEST_CASES"
	for pattern in "${patterns[@]}"; do
		subjects=$("$client" cases "$pattern" | cut -d/ -f1 | sort -u)
		[ -n "$subjects" ] || [[ $1 != *'ok - '* ]] || return 0
		for subject in $subjects; do
			if grep -qw -- "$subject" <<<"$1"; then return 0; fi
		done
	done
	return 1
}

# guest_results NAME VM-ARGUMENTS... : the cases that a guest's program prints
# pass through; NAME is a failed case if it ends badly, or says nothing.
guest_results() {
	local name=$1 status=0 out
	shift
	reaches "$*" || { printf '# %s: no guest, no case of it is asked for\n' "$name"; return 0; }
	out=$(mktemp)
	[ -z "$TEST_CASES" ] || set -- --append "TEST_CASES=\"$TEST_CASES\"" "$@"
	vm "$@" | tee "$out" | only_chosen || status=$?
	if grep -q '^not ok - ' "$out"; then
		[ -n "$TEST_CASES" ] && ! only_chosen <"$out" | grep -q '^not ok - ' || test_failed=1
	elif [ $status -ne 0 ]; then
		broken "$name" "the guest's command exits with $status"
	elif [ -z "$TEST_CASES" ] && ! grep -qE '^(ok|skip) - ' "$out"; then
		broken "$name" "no case reported"
	fi
	rm -f "$out"
}

# guest_results ... | host_serves SOCKET: the cases pass through, and a guest's
# line "# host COMMAND KEY=VALUE..." is done by tests/qmp.  1 if a case failed.
host_serves() {
	local line words status=0
	while IFS= read -r line; do
		printf '%s\n' "$line"
		read -ra words <<<"$line"
		case $line in
		'not ok - '*) status=1 ;;
		'# host '*) "$TESTS/qmp" "$1" "${words[@]:2}" || status=1 ;;
		esac
	done
	return $status
}

run_test() {
	local why
	if declare -F requires >/dev/null && ! why=$(requires); then
		printf '%s\n' "${why:-a requirement is not met}"
		exit 77
	fi
	# Not in a condition, which would switch off errexit within.
	test
	exit $test_failed
}
