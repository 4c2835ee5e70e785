#!/usr/bin/env bash
# shellcheck disable=SC2034 # read by lib.sh and the runner
DESCRIPTION="plant a defect for each step of scripts/check and expect a finding"
TIMEOUT=900
KERNELS="plain"
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"

work=
driver=drivers/nvme/host/pmap/pin.c
program=include/examples/pmap-read.c

# The project's files, and the parts of build/ that are unpacked or prepared only once.
copy_tree() {
	local stock
	mkdir -p "$work/tree" "$work/build" "$BUILD/debug"
	tar -C "$TOP" --exclude=./.git --exclude=./build -c . | tar -C "$work/tree" -x
	ln -s "$(realpath "$BUILD/debug")" "$work/build/debug"
	for stock in "$BUILD"/*/stock; do
		[ -d "$stock" ] || continue
		mkdir -p "$work/build/$(basename "${stock%/stock}")"
		ln -s "$(realpath "$stock")" "$work/build/$(basename "${stock%/stock}")/stock"
	done
}

# planted DEFECT STEP FILE SAYS [OPTION...] <TEXT: with TEXT at its end FILE fails
# the step, which SAYS why.  A FILE that does not exist is made of TEXT.
planted() {
	local name="check: $2: $1" step=$2 file=$work/tree/$3 says=$4 status=0
	shift 4
	rm -f "$work/kept"
	[ ! -e "$file" ] || cp "$file" "$work/kept"
	cat >>"$file"
	BUILD=$work/build timeout 400 "$work/tree/scripts/check" "$@" "$step" >"$work/out" 2>&1 ||
		status=$?
	if [ -e "$work/kept" ]; then cp "$work/kept" "$file"; else rm "$file"; fi
	if [ $status -eq 1 ] && grep -q "^check: $step: FAILED" "$work/out" &&
		grep -qE -- "$says" "$work/out"; then
		ok "$name"
	else
		not_ok "$name" "exits with $status, does not say $says"
		tail -n 20 "$work/out"
	fi
}

in_driver() { planted "$1" "$2" "$driver" "$3" --only "$driver"; }
in_program() { planted "$1" user "$program" "$2" --only "$program"; }

test_kernel() {
	in_driver "W=1" gcc 'planted.*unused-const-variable' <<<'static const int planted = 1;'
	in_driver "sparse" gcc "'planted' was not declared" <<<'int planted;'
	in_driver "gcc -fanalyzer" analyzer 'analyzer-null-dereference' <<<'
		int planted(int n);
		int planted(int n) { int *p = NULL; if (n) p = &n; return *p; }'
	in_driver "W=1" clang 'planted.*unused-const-variable' <<<'static const int planted = 1;'
	in_driver "the static analyzer" clang 'core\.NullDereference' <<<'
		int planted(int n);
		int planted(int n) { int *p = NULL; if (n) p = &n; return *p; }'
	in_driver "a rule" cocci 'pmap/pin.c:.*NULL check before' <<<'
		void planted(void *p) { if (p) kfree(p); }'
	in_driver "what spatch cannot parse" cocci 'pmap/pin.c: spatch does not understand' <<<'
		void planted(void) { if }'
}

test_programs() {
	planted "C that is not C++" headers include/nvme_pmap.h 'invalid conversion' <<<'
		static inline char *planted(void *p) { return p; }'
	in_program "gcc -fanalyzer" 'analyzer-file-leak' <<<'
		void planted(void) { FILE *f = fopen("/", "r"); if (f) puts("open"); }'
	in_program "clang -Wall" 'parentheses-equality' <<<'
		int planted(int a); int planted(int a) { if ((a == 1)) return 2; return 3; }'
	in_program "the static analyzer" 'core\.DivideZero' <<<'
		int planted(int a); int planted(int a) { if (a) return 1; return 7 / a; }'
}

test_text() {
	planted "two blanks" format "$program" 'clang-format-violations' <<<'int  planted;'
	planted "a typedef" checkpatch "$driver" 'NEW_TYPEDEFS' <<<'typedef struct file planted;'
	planted "a slip" spelling README.md 'te''h ==> the' <<<'te''h'
	planted "a guest's script" shell scripts/guest/init 'SC2050' <<<'[ planted = 1 ]'
	planted "a test" shell tests/lib.sh 'SC2050' <<<'[ planted = 1 ]'
	planted "an unused import" python scripts/bench 'imported but unused' <<<'import sndhdr'
	planted "an unknown macro" man docs/man/nvme_pmap.7 'unknown macro' <<<'.Planted'
}

test_english() {
	planted "hidden subjects" english scripts/lib.sh 'scripts +who/those .* more than 2$' \
		<<<"# $(printf 'those who %.0s' {1..20})"
	planted "hidden objects" english scripts/csource.py 'scripts +what .* more than 2$' <<<"
def planted():
    \"\"\"$(printf 'what %.0s' {1..20})\"\"\""
}

# This file is one of ours, and its words exist: what is planted is split here.
# shellcheck disable=SC2016 # the backticks of a document
test_names() {
	planted "a function" names "$driver" 'pin.c:.* no function nvme_pmap_plan''ted' \
		<<<'/* see nvme_pmap_plan''ted() */'
	planted "a constant" names scripts/lib.sh 'lib.sh:.* no name PMAP_PLAN''TED' \
		<<<'# see PMAP_PLAN''TED'
	planted "a function of stock" names "$driver" 'no function nvme_plan''ted' \
		<<<'/* see nvme_plan''ted() */'
	planted "a struct" names "$driver" 'no struct nvme_plan''ted' <<<'/* struct nvme_plan''ted */'
	planted "a script" names tests/lib.sh 'no file scripts/plan''ted' <<<'# see scripts/plan''ted'
	planted "a C file" names tests/client/main.c 'no file plan''ted.c' <<<'/* see plan''ted.c */'
	planted "a test" names Makefile 'no test t-plan''ted' <<<'# as in t-plan''ted'
	planted "a make target" names README.md 'no make target planted' <<<'`make planted`'
	planted "a command" names README.md 'no option of scripts/vm --plan''ted' <<<'

    scripts/vm --plan''ted -- true'
	planted "a parameter" names README.md 'no module parameter planted' <<<'`nvme_core.planted=1`'
	planted "an attribute" names README.md 'no sysfs attribute planted' \
		<<<'`/sys/class/nvme/nvme0/pmap/planted`'
	planted "a link" names README.md 'no file plan''ted.md' <<<'[here](plan''ted.md)'
	planted "a manual" names docs/planted.md 'no manual page nvme_plan''ted.4' \
		<<<'`nvme_plan''ted(4)`'
}

test_calls() {
	local pmap=drivers/nvme/host/pmap
	planted "a call of a higher layer" calls $pmap/pin.c \
		'planted in pin.c uses nvme_pmap_file_exit of file.c' <<<'
		static void planted(void) { nvme_pmap_file_exit(); }'
	planted "a circle" calls $pmap/complete.c 'a circle: complete.c, cq.c' <<<'
		static void planted(void) { nvme_pmap_process_cq(NULL); }'
	planted "a file in no layer" calls $pmap/planted.c 'lists planted.c 0 times' <<<'
		static void planted(void) { }'
	planted "two functions of one name" calls $pmap/sq.c \
		'nvme_pmap_file_exit\(\) is defined in file.c and sq.c' <<<'
		static void nvme_pmap_file_exit(void) { }'
}

test() {
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	copy_tree
	test_kernel
	test_programs
	test_text
	test_english
	test_names
	test_calls
}

run_test
