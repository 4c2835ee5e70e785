#!/usr/bin/env bash
DESCRIPTION="find cache lines that CPUs write in common, each with its own ring, file and queue"
TIMEOUT=300
KERNELS="plain"
. "$(dirname "$0")/lib.sh"

sharing=$TOP/scripts/sharing

requires() { have qemu-system-x86_64 "$BUILD/tests/nvme-bench"; }

# part SHAPE: the report about it
part() { awk -v name="$1:" '/^[^ ]/ { on = $1 == name } on' "$dir/said"; }

# judged SHAPE...: each CPU has its own of everything
judged() {
	local shape
	for shape; do
		if part "$shape" | grep -q ': shares nothing$'; then
			ok "$shape shares nothing"
		else
			not_ok "$shape shares nothing" "$(part "$shape" | sed -n 4p); see $TEST_LOGS/$TEST_NAME.lines"
		fi
	done
}

# common SHAPE FUNCTION...: shared lines of these functions are reported
common() {
	local shape=$1 function
	shift
	check "$shape: lines are seen" \
		grep -q 'written by ours on several CPUs: [1-9]' <(part "$shape")
	for function; do
		check "$shape: $function is seen" \
			grep -qE "^ +([^ ]*<)?$function \(ours\) on CPU " <(part "$shape")
	done
}

test() {
	local status=0 path
	"$sharing" --module "$(test_module doorbells)" >"$dir/said" || status=$?
	cp "$dir/said" "$TEST_LOGS/$TEST_NAME.lines"
	for path in pmap-queue auto-queue pmap auto pmap-misfit auto-no-queue; do
		judged "$path:poll" "$path:irq"
	done
	equal "exit status" "$status" 0
	common pmap-queue:poll:file nvme_pmap_chr_uring_cmd nvme_pmap_poll_cq
	common pmap-queue:poll:queue nvme_pmap_chr_uring_cmd nvme_pmap_poll_cq
	common pmap-queue:irq:file nvme_pmap_chr_uring_cmd nvme_pmap_unplug
	# Of a queue whose interrupts are elsewhere, the SQ's part is the submitter's alone.
	equal "another's interrupts: the end of a batch is not shared" \
		"$(part pmap-queue:irq:irq | grep -c nvme_pmap_unplug || true)" 0
	check "another's interrupts: slots are" grep -q nvme_pmap_process_cq_locked <(part pmap-queue:irq:irq)
	# The shadow doorbells of several queues are in one line: a fault that is seen.
	common pmap-queue:poll:shadow nvme_pmap_unplug nvme_pmap_poll_cq
	check "what is shared is told" grep -q '^pmap-queue:poll:shadow: shares lines$' "$dir/said"
}

run_test
