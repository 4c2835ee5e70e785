#!/usr/bin/env bash
# shellcheck disable=SC2034 # read by lib.sh and the runner
DESCRIPTION="a build stops where the stock source has become what our files do not fit"
TIMEOUT=300
KERNELS="plain"
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"

host=drivers/nvme/host
pins=$TOP/$host/hooks/pins
stock=

# What the build has unpacked; each case has a copy of the files that it changes.
stock_source() {
	"$TOP/scripts/overlay" --tree "$dir/tree" || return
	stock=$BUILD/$(kernel_release 6.12)/stock
	cp -r "$stock" "$dir/stock"
}

# edit FILE SED-SCRIPT: in the copy; it has to change something.
edit() {
	cp "$stock/$1" "$dir/stock/$1"
	sed -i -E "$2" "$dir/stock/$1"
	! cmp -s "$stock/$1" "$dir/stock/$1"
}

restore() { cp "$stock/$1" "$dir/stock/$1"; }

# of FUNCTION SED-COMMANDS: in its definition only
of() { printf '/^[a-z].*\\b%s\\(/,/^\\}/{%s}' "$1" "$2"; }

# says NAME STATUS PATTERN...: of $dir/out, all of them, and the status is not 0.
says() {
	local name=$1 status=$2 pattern
	shift 2
	[ "$status" -ne 0 ] || { not_ok "$name" "accepted"; return; }
	for pattern; do
		grep -qE -- "$pattern" "$dir/out" && continue
		not_ok "$name" "does not say $pattern"
		sed 's/^/# /' "$dir/out"
		return
	done
	ok "$name"
}

# pinned NAME FILE SED-SCRIPT PATTERN...: prove-pins refuses that, and says so.
pinned() {
	local name="pins: $1" file=$2 status=0
	edit "$file" "$3" || { not_ok "$name" "the edit changes nothing"; return; }
	shift 3
	"$TOP/scripts/prove-pins" "$pins" 6.12 "$dir/stock" >"$dir/out" 2>&1 || status=$?
	says "$name" $status "$@"
	restore "$file"
}

# unpinned NAME FILE SED-SCRIPT: what the formatter may change is no change.
unpinned() {
	local name="pins: $1"
	edit "$2" "$3" || { not_ok "$name" "the edit changes nothing"; return; }
	check "$name" "$TOP/scripts/prove-pins" "$pins" 6.12 "$dir/stock"
	restore "$2"
}

test_pins() {
	local table=$dir/pins status
	check "pins: the source of the package" "$TOP/scripts/prove-pins" "$pins" 6.12 "$stock"
	pinned "one more condition" $host/ioctl.c "$(of nvme_ns_cmd_allowed 's/return true/return !ns/')" \
		"$host/ioctl.c: nvme_ns_cmd_allowed has changed: the hash is [0-9a-f]{16}, not " \
		'why that matters: pmap-check.c' "read lines [0-9]+-[0-9]+ of .*/$host/ioctl.c" \
		"accept it for 6.12 in .*/hooks/pins"
	pinned "a string" $host/pci.c "$(of abort_endio 's/Abort status/abort status/')" 'abort_endio has changed'
	pinned "a function that is gone" io_uring/rsrc.c 's/\bheadpage_already_acct\b/headpage_acct/' \
		'io_uring/rsrc.c: headpage_already_acct is not there any more' 'io_buffer_account_pin has changed'
	pinned "a second definition of it" $host/pci.c \
		'1i static bool nvme_should_reset(struct nvme_dev *dev, u32 csts)\n{\n\treturn csts;\n}' \
		'nvme_should_reset has changed'
	pinned "a line for another configuration" io_uring/uring_cmd.c \
		"$(of io_uring_cmd_done 's/^.*smp_store_release.*$/#ifdef X\n&\n#endif/')" 'io_uring_cmd_done has changed'
	pinned "a member of a struct" io_uring/rsrc.h 's/(unsigned long\s+)acct_pages;/&\n\1more;/' \
		'struct:io_mapped_ubuf has changed'
	unpinned "comments and white space" $host/core.c "$(of nvme_passthru_start 's/^\t/\t \t/; s/return effects;/return\n\t\teffects; \/* those } *\//')"

	sed 's/ 6\.12 / 6.11,6.13 /' "$pins" >"$table"
	"$TOP/scripts/prove-pins" "$table" 6.12 "$stock" >"$dir/out" 2>&1 && status=0 || status=1
	says "pins: a kernel that nobody has looked at" $status 'nvme_timeout is not known for this kernel; its hash is [0-9a-f]{16}$'
	sed 's/ 6\.12 / 6.11,6.12 /' "$pins" >"$table"
	sed 's/ 6\.12 / 7.2 /; s/ [0-9a-f]\{16\} / 0123456789abcdef /' "$pins" >>"$table"
	check "pins: kernels with different text" "$TOP/scripts/prove-pins" "$table" 6.12 "$stock"
	echo 'a line' >>"$table"
	"$TOP/scripts/prove-pins" "$table" 6.12 "$stock" >"$dir/out" 2>&1 && status=0 || status=1
	says "pins: a line that is none" $status 'not five fields'
}

# stopped NAME PATTERN...: by scripts/overlay on the copy of the source.
stopped() {
	local name="overlay: $1" status=0
	shift
	"$TOP/scripts/overlay" --stock "$dir/stock" --tree "$dir/tree" >"$dir/out" 2>&1 || status=$?
	says "$name" $status "$@"
}

# A dpkg-query that knows another version of the headers.
other_headers() {
	cat <<-END
	#!/bin/sh
	case \$3 in linux-headers-*+*) echo 6.12.1-1 ;; *) exec $(type -P dpkg-query) "\$@" ;; esac
	END
}

test_overlay() {
	local header=$dir/tree/$host/pmap-ubuf.h
	check "overlay: io_uring's struct in a header" grep -q '^struct io_mapped_ubuf {$' "$header"
	check "overlay: which is not committed" [ ! -e "$TOP/$host/pmap-ubuf.h" ]
	edit $host/pci.c "$(of nvme_timeout 's/return BLK_EH_DONE/return BLK_EH_RESET_TIMER/')"
	stopped "a change of what is pinned" 'nvme_timeout has changed' 'stock code is not what'
	restore $host/pci.c
	mkdir -p "$dir/bin"
	other_headers >"$dir/bin/dpkg-query"
	chmod +x "$dir/bin/dpkg-query"
	PATH=$dir/bin:$PATH stopped "headers of another version" \
		'linux-source-6.12 is .*, linux-headers-.* is 6.12.1-1: install the same'
}

test_struct() {
	local file=$dir/rsrc.h status
	printf '#ifdef X\nstruct a {\n\tint b;\n};\n#else\nstruct a {\n\tint c;\n};\n#endif\nstruct d;\n' >"$file"
	"$TOP/scripts/stock-struct" "$file" a >"$dir/out" 2>&1 && status=0 || status=1
	says "overlay: a struct with two definitions" $status 'struct a is defined 2 times, not once'
	"$TOP/scripts/stock-struct" "$file" d >"$dir/out" 2>&1 && status=0 || status=1
	says "overlay: and with none" $status 'struct d is defined 0 times, not once'
}

test() {
	stock_source
	test_pins
	test_overlay
	test_struct
}

run_test
