#!/usr/bin/env bash
# shellcheck disable=SC2034,SC2317 # read by lib.sh and the runner
DESCRIPTION="check PRP and SGL lists, transfer lengths and page arrays against models, in user space"
TIMEOUT=300
KERNELS="plain"
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"

layout=$TESTS/layout
headers=$TOP/drivers/nvme/host/pmap
flags=(-std=gnu11 -g -Wall -Wextra -Werror "-I$layout" "-I$TOP/include/uapi")
checked=("-fsanitize=address,undefined" -fno-sanitize-recover=all)
buffer=("$layout"/{make,check,device}.c)

requires() { have gcc; }

# A failure is told once, by the program's own line or by its exit status.
cases() {
	local name=$1 status=0 out=$dir/cases
	shift
	timeout 200 "$@" >"$out" 2>"$out.err" || status=$?
	only_chosen <"$out" | tee "$out.chosen"
	tail -n 20 "$out.err"
	if grep -q '^not ok - ' "$out.chosen"; then
		test_failed=1
	elif [ $status -ne 0 ] && ! grep -q '^not ok - ' "$out"; then
		broken "$name" "exits with $status"
	fi
}

# The driver's limit is a limit here too.
built_max() {
	sed -n 's/^#define[[:space:]]*PMAP_BUILT_MAX[[:space:]]*\([0-9]*\)$/-DPMAP_BUILT_MAX=\1/p' \
		"$headers"/*.[ch]
}

test_all() {
	gcc "${flags[@]}" "${checked[@]}" -O2 "-I$headers" "$layout"/{exhaustive,far}.c "${buffer[@]}" \
		-o "$dir/exhaustive"
	gcc "${flags[@]}" "${checked[@]}" -O2 "-I$headers" "$layout/xfer.c" -o "$dir/xfer"
	gcc "${flags[@]}" "${checked[@]}" -O2 "-I$headers" "$layout/bvec.c" -o "$dir/bvec"
	cases "pages of io_uring's buffers" "$dir/bvec"
	cases "lengths" "$dir/xfer"
	cases "slices" "$dir/exhaustive"
}

# Always the same inputs: the seed and the number of runs decide.
test_fuzz() {
	local name="slices of buffers made at random" why=$dir/fuzz.why
	if ! type -P clang >/dev/null; then
		skip "$name" "no clang"
		return
	fi
	if ! echo 'int LLVMFuzzerTestOneInput(void); int LLVMFuzzerTestOneInput(void) { return 0; }' |
		clang -fsanitize=fuzzer -x c - -o "$dir/fuzz" 2>"$why"; then
		skip "$name" "clang has no libFuzzer (libclang-rt-dev)"
		return
	fi
	clang "${flags[@]}" "${checked[@]}" -fsanitize=fuzzer -O1 "-I$headers" "$layout/fuzz.c" \
		"${buffer[@]}" -o "$dir/fuzz"
	if (cd "$dir" && ASAN_OPTIONS=quarantine_size_mb=16 timeout 100 ./fuzz -seed=1 -runs=12000 \
		-max_total_time=30 -max_len=480 -len_control=0 -print_final_stats=0) >"$why" 2>&1; then
		ok "$name"
		grep -E '^(Done [0-9]+ runs|[0-9]+ slices)' "$why"
	else
		not_ok "$name" "$(grep -m 1 -E '^want|runtime error|ERROR' "$why" || echo "see the log")"
		tail -n 40 "$why"
	fi
}

# mutant MISTAKE HEADER SED: a header with this mistake in it must fail its test.
mutant() {
	local name="a mistake is found: $1" mutant=$dir/mutant sources
	rm -rf "$mutant" && mkdir "$mutant"
	cp "$headers"/{layout,xfer,bvec}.h "$mutant"
	sed -i "$3" "$mutant/$2.h"
	if cmp -s "$headers/$2.h" "$mutant/$2.h"; then
		not_ok "$name" "the header has changed and this sed with it: $3"
		return
	fi
	sources=("$layout"/{exhaustive,far,make,check}.c "$dir/device.o")
	[ "$2" = layout ] || sources=("$layout/$2.c")
	if ! gcc "${flags[@]}" -Wno-error -O1 "-I$mutant" "${sources[@]}" -o "$mutant/test" 2>"$mutant/err"; then
		not_ok "$name" "it does not compile: $(grep -m 1 error: "$mutant/err")"
		return
	fi
	timeout 30 "$mutant/test" --quick >"$mutant/out" 2>&1 || true
	if grep -q '^not ok - ' "$mutant/out"; then
		ok "$name"
	else
		not_ok "$name" "the test passes, or dies without a word"
	fi
}

test_layout_mutants() {
	gcc "${flags[@]}" -O1 -c "$layout/device.c" -o "$dir/device.o"
	mutant "entry 511 is used" layout 's/i + more > l->prp_end/i + more > l->prp_end + 1u/'
	mutant "a list in the first slot's window" layout 's/list\[next >> PMAP_PRP_SHIFT\]/list[first >> PMAP_PRP_SHIFT]/'
	mutant "a list one entry late" layout 's/ i \* sizeof(__le64)/ (i + 1) * sizeof(__le64)/'
	mutant "a list in the middle of a page" layout 's/> l->prp_end/> PMAP_PRP_LAST/'
	mutant "the first window is a half" layout 's/if (h)$/if (h > 1)/'
	mutant "half the guard" layout 's/nr > 1 ? nr - 2 : 0/nr - 1/'
	mutant "one list page too many" layout 's|(entries - 2) / PMAP_PRP_LAST|(entries - 1) / PMAP_PRP_LAST|'
	mutant "a page for the last entry" layout 's/ && slot + 1 < end)/)/'
	mutant "two pages are one" layout 's/if (!more)/if (more <= 1)/'
	mutant "a chain at entry 512" layout 's/i == PMAP_PRP_LAST && /i == PMAP_PRP_ENTRIES \&\& /'
	mutant "run_phase is forgotten" layout 's/(first + l->run_phase)/first/'
	mutant "runs are too long by half" layout 's/at & ~above/at \& ~above >> 1/'
	mutant "a segment across blocks" layout 's/i + more >= l->list_slots/0/'
	mutant "whole pages, by the start alone" layout 's/(in_page | ~last) &/in_page \&/'
	mutant "an offset of 32 bits" layout 's/u64 start = /u32 start = /'
	mutant "a built segment one short" layout 's/s->nr \* sizeof(\*list->sgl)/(s->nr - 1) * sizeof(*list->sgl)/'
	mutant "a built segment one long" layout 's/s->nr \* sizeof(\*list->sgl)/(s->nr + 1) * sizeof(*list->sgl)/'
	mutant "descriptors one late" layout 's/&list->sgl\[i\], pmap_slot_sgl/\&list->sgl[i + 1], pmap_slot_sgl/'
	mutant "the first page again and again" layout 's/s->first + i) + at/s->first) + at/'
	mutant "a built list is a Segment" layout '/pmap_fill_sgl(/,/^}/s/NVME_SGL_FMT_LAST_SEG_DESC/NVME_SGL_FMT_SEG_DESC/'
	mutant "a segment is a data block" layout '/pmap_fill_sgl(/,/^}/s/NVME_SGL_FMT_LAST_SEG_DESC/NVME_SGL_FMT_DATA_DESC/'
	mutant "an offset in every page" layout 's/i++, at = 0/i++/'
	mutant "the last page is whole" layout 's/if (len > left)/if (0)/'
	mutant "SGL forms fall back on PRPs" layout 's/return PMAP_KIND_BUILT;/return more == 1 ? PMAP_KIND_PRP : PMAP_KIND_BUILT;/'
}

test_xfer_mutants() {
	mutant "NUMD wraps" xfer 's/(u64)le32_to_cpu(cdw\[0\])/le32_to_cpu(cdw[0])/'
	mutant "NLB of 15 bits" xfer 's/0xffff) + 1/0x7fff) + 1/'
	mutant "Compare with PRACT" xfer 's/ && opcode != nvme_cmd_compare;/;/'
	mutant "PRACT without PI" xfer 's/sure = f->pi_size && /sure = /'
	mutant "PRACT strips all metadata" xfer 's/ && f->ms == f->pi_size;/;/'
	mutant "separate metadata for the asking" xfer 's/f->ms && !f->ext && !stripped/f->ms \&\& !f->ext \&\& !pract/'
	mutant "blocks of 256 bytes" xfer 's/f->lba_shift < 9/f->lba_shift < 8/'
	mutant "blocks of unknown size" xfer 's/f->lba_shift < 9/0/'
	mutant "zone actions that are not defined" xfer 's/action <= PMAP_ZSA_OFFLINE/action < 0x10/'
	mutant "zone action 0" xfer 's/action >= PMAP_ZSA_CLOSE && //'
	mutant "every length is exact" xfer 's/return false;/return true;/'
	mutant "any command set" xfer 's/unlikely(f->csi != NVME_CSI_NVM/unlikely(0/'
	mutant "vendor specific commands" xfer 's/opcode < nvme_cmd_vendor_start && //'
}

test_bvec_mutants() {
	mutant "a folio's first page for all of it" bvec 's/for (at >>= PAGE_SHIFT; at << PAGE_SHIFT < end; at++)/for (at = 0; at << PAGE_SHIFT < end - bv->bv_offset; at++)/'
	mutant "a page a segment" bvec 's/page\[done++\] = nth_page(bv->bv_page, at)/page[done++] = bv->bv_page/'
	mutant "offsets of 12 bits" bvec 's/u64 at = bv->bv_offset,/u64 at = offset_in_page(bv->bv_offset),/'
	mutant "a segment that begins inside a page" bvec 's/(i \&\& offset_in_page(at))/0/; s/(i + 1 < nr_bv \&\& offset_in_page(end))/0/'
	mutant "pages are missing" bvec 's/return done == nr_pages;/return done <= nr_pages;/'
	mutant "pages are too many" bvec 's/if (done == nr_pages)/if (0)/; s/return done == nr_pages;/return true;/'
	mutant "empty segments" bvec 's/!bv->bv_len || //'
}

test() {
	local max
	max=$(built_max)
	equal "PMAP_BUILT_MAX is defined once" "$(wc -w <<<"$max")" 1
	flags+=("$max")
	test_all
	test_fuzz
	test_layout_mutants
	test_xfer_mutants
	test_bvec_mutants
}

run_test
