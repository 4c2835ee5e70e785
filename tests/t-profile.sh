#!/usr/bin/env bash
DESCRIPTION="make profile: count instructions and attribute them to functions"
TIMEOUT=200
KERNELS="plain"
. "$(dirname "$0")/lib.sh"

requires() { have perl; }

# figure NAME: the first one of that name, a function's instructions above all, of the
# last column of the tables
figure() { awk -v name="$1 " 'index($0, name) == 1 { print $NF; exit }' "$dir/table"; }

within() { awk -v a="$1" -v low="$2" -v high="$3" 'BEGIN { exit !(a >= low && a <= high) }'; }

# between CASE NAME LOW HIGH
between() {
	local is
	is=$(figure "$2")
	if within "${is:-0}" "$3" "$4"; then ok "$1"; else not_ok "$1" "$2: '$is', not $3 to $4"; fi
}

test() {
	local profile=$BUILD/profile

	check "a profile of one path" "$TOP/scripts/profile" fork:pmap-queue >"$dir/table" || return
	# Half of a command is io_uring's; it is the same for every driver.
	between "io_uring's own function" io_issue_sqe 100 130
	between "our function" nvme_pmap_chr_uring_cmd 100 200
	between "all of it" all 600 800
	# Of 32 commands: for each a slot, an entry of the SQ, and io_uring's request.
	between "lines that are read" "lines read" 6 15
	between "lines that are written" "lines written" 5 10
	between "all of them" "lines touched" 9 16
	between "atomics are a batch's" atomics 0.1 0.5
	# the tail, and the head
	between "a batch's doorbells" "MMIO writes" 0.06 0.07
	between "no register is read" "MMIO reads" 0 0
	check "atomics have their function" grep -q '^_raw_spin_lock ' \
		<(sed -n '/^Atomics/,$p' "$dir/table")
	check "callers are known" grep -q 'submit;.*io_uring_cmd;nvme_pmap_chr_uring_cmd ' \
		"$profile/fork-pmap-queue.folded"
	check "a flame graph" grep -q nvme_pmap_poll_cq "$profile/fork-pmap-queue.svg"
	check "a profile by interrupt" "$TOP/scripts/profile" fork:pmap-queue:1:irq >"$dir/table" || return
	between "the interrupt's handler" nvme_pmap_process_cq_irq 10 60
	between "the scheduler" __schedule 300 800
	between "sleep and wake-up" all 8000 10500
	between "a sleep has atomics" atomics 15 60
	between "doorbells, and the end of the interrupt" "MMIO writes" 3 4
	# shellcheck disable=SC2016 # for sh
	check "no such path is refused" sh -c '! "$0" stock:pmap:x' "$TOP/scripts/profile"
}

run_test
