#!/usr/bin/env bash
DESCRIPTION="make one mistake for each check of the debug kernels and expect the guest to fail"
KERNELS="kasan kcsan"
TIMEOUT=400
. "$(dirname "$0")/lib.sh"

# mistake NAME REPORT-ON-THE-CONSOLE
mistake() {
	local status=0
	vm --share "$dir" -- insmod faulty.ko "what=$1" >"$dir/out" 2>"$dir/err" || status=$?
	if [ $status -ne 125 ]; then
		not_ok "$1" "the guest ends with $status"
	elif ! grep -qE -- "$2" "$dir/err"; then
		not_ok "$1" "the report is another: $(grep -m 1 -A 2 complained "$dir/err" | tr '\n' ' ')"
	else
		ok "$1"
	fi
}

test() {
	local tree=$BUILD/debug/6.12-source/$TEST_KERNEL
	cp "$TESTS"/meta/faulty/{Makefile,faulty.c} "$dir"
	make -C "$tree" M="$dir" CC="ccache gcc" KCSAN_SANITIZE=y modules >"$dir/log" 2>&1 ||
		{ cat "$dir/log"; not_ok faulty "does not compile"; return; }
	check "no mistake" vm --share "$dir" -- insmod faulty.ko
	if [ "$TEST_KERNEL" = kcsan ]; then
		mistake data-race 'KCSAN: data-race in racer'
		return
	fi
	mistake after-free 'KASAN: slab-use-after-free in .*after_free'
	mistake leak 'kmemleak: *unreferenced object'
	mistake sleep-in-atomic 'BUG: scheduling while atomic|BUG: sleeping function'
	mistake lock-order 'possible circular locking|circular lock'
	mistake out-of-bounds 'UBSAN: array-index-out-of-bounds|KASAN: global-out-of-bounds'
	mistake dma-size 'DMA-API: .*different size'
}

run_test
