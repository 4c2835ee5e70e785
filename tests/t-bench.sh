#!/usr/bin/env bash
# shellcheck disable=SC2034,SC2317 # read by lib.sh and the runner
DESCRIPTION="make bench: refuse devices in use, verify the measured path, report results"
TIMEOUT=200
KERNELS="plain"
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"

bench=$BUILD/tests/nvme-bench

requires() {
	have qemu-system-x86_64 || return 1
	[ -x "$bench" ] || { echo "no $bench (make $bench)"; return 1; }
	/usr/bin/python3 -c 'import matplotlib' 2>/dev/null || { echo "no matplotlib"; return 1; }
}

# row DRIVER PATH BS IOMMU FIGURES
row() {
	printf '{"driver": "%s", "path": "%s", "bs": %s, "mode": "poll", "iommu": "%s", ' "${@:1:4}"
	printf '"pages": "4k", "batch": 32, "unit": "instructions", %s}' "$5"
}

figures() { printf '"submit": 0, "reap": %s, "total": %s, "spread": %s, "samples": 40' "$1" "$1" "$2"; }

fixture() {
	printf '{"env": {"date": "2026-11-22"}, "rows": [\n'
	row stock passthru-fixed 4096 off "$(figures 3000 2)"; echo ,
	row fork passthru-fixed 4096 off "$(figures 3016 2)"; echo ,
	row fork pmap 4096 off "$(figures 1500 2)"; echo ,
	row fork pmap-queue-again 4096 off "$(figures 690 2), \"user\": 31"; echo ,
	row stock passthru-fixed 131072 off "$(figures 1510 20)"; echo ,
	row fork pmap 131072 off "$(figures 1500 2)"; echo ,
	row stock passthru-fixed 524288 strict '"error": "EINVAL"'; echo ,
	row fork pmap 524288 strict "$(figures 1501 2)"
	printf '], "register": [{"iommu": "off", "unit": "instructions", "pages": "4k", "len": 16777216,\n'
	printf '"register": 1600000, "kept": 98520}]}\n'
}

shows() { grep -qE -- "$2" "$1"; }
pictures() { [ -s "$1/bench.png" ] && [ -s "$1/bench.svg" ]; }
lacks() { ! grep -qE -- "$2" "$1"; }
fails() { ! "$@" 2>/dev/null; }

test_report() {
	local dir=$1 text=$1/text report=$TOP/scripts/bench-report
	fixture >"$dir/results.json"
	check "the report reads a results.json" "$report" "$dir/results.json" >"$text"
	cat "$text"
	check "a ratio is shown" shows "$text" 'passthru-fixed / pmap +2x'
	check "a difference within the spread is not" shows "$text" 'passthru-fixed / pmap .*none shown'
	check "an error stands in the table" shows "$text" 'stock passthru-fixed +EINVAL'
	check "it is not counted" shows "$text" 'largest spread .*1501.*0 of 40 batches'
	check "goals that are reached" shows "$text" 'reached .*pmap 4K: 1500 '
	check "goals that are missed" shows "$text" 'MISSED .*less stock.s, at worst: \+16 '
	check "the user's side is told apart" shows "$text" 'fork pmap-queue-again +690 +31 +721$'
	check "and has a goal" shows "$text" 'MISSED .*pmap-queue 4K with the user.s side.*: 721 '
	check "registration" shows "$text" 'MISSED .*registering 16 MiB.*1\.60 M'
	check "no goal for what was not measured" lacks "$text" 'strict, pmap 4K'
	check "a picture in both forms" pictures "$dir"
	rm "$dir"/bench.*
	"$report" --no-picture "$dir/results.json" >/dev/null
	equal "no picture, no files" "$(cd "$dir" && echo *)" "results.json text"
	check "the documents take no run that lacks a row" fails "$TOP/scripts/bench-readme" "$dir/results.json"
	printf '{"rows": [{"driver": "stock"}]}' >"$dir/results.json"
	check "a file of another form is refused" fails "$report" "$dir/results.json"
}

# In the guest.  A case: the message to expect, the device and the row.
guest_script() {
	printf 'bench=%s\n' "$bench"
	cat <<'EOS'
refuses() {
	name=$1 want=$2 device=$3 rows=$4
	if echo "$rows" | $bench --clock --device $device >/tmp/out 2>&1; then
		echo "not ok - $name: it ran"
	elif grep -q "$want" /tmp/out; then
		echo "ok - $name"
	else
		echo "not ok - $name: $(tail -n 1 /tmp/out)"
	fi
}
runs() {
	if echo "$2" | $bench --clock --device /dev/ng0n1 >/tmp/out 2>&1; then
		echo "ok - $1"
	else
		echo "not ok - $1: $(tail -n 1 /tmp/out)"
	fi
}
on="row samples=2 path" wrong="path not proven"
for path in block block-fixed passthru passthru-fixed pmap pmap-prp pmap-queue pmap-queue-again; do
	runs "$path is proven" "$on=$path"
done
refuses "pmap is not taken for a queue" "$wrong" /dev/ng0n1 "$on=pmap claim=pmap-queue-again"
runs "registration" "register len=2M samples=2"
refuses "passthrough is not taken for block" "$wrong" /dev/ng0n1 "$on=passthru claim=block"
refuses "block is not taken for passthrough" "$wrong" /dev/ng0n1 "$on=block claim=passthru"
refuses "passthrough is not taken for pmap" "$wrong" /dev/ng0n1 "$on=passthru-fixed claim=pmap"
refuses "pmap is not taken for passthrough" "$wrong" /dev/ng0n1 "$on=pmap claim=passthru-fixed"
refuses "an unknown path" "no such path" /dev/ng0n1 "$on=warp"
refuses "a size that is no multiple of a block" "bs: " /dev/ng0n1 "$on=block bs=1000"
refuses "a TSC that does not count instructions" "no -icount" "/dev/ng0n1 --tsc-is-instructions" ""
mkswap /dev/nvme0n1 >/dev/null && swapon /dev/nvme0n1
refuses "a namespace with swap" "holds swap" /dev/ng0n1 "$on=block"
swapoff /dev/nvme0n1
mke2fs /dev/nvme0n1 >/dev/null 2>&1 && mount -t ext4 /dev/nvme0n1 /tmp/mnt
refuses "a mounted namespace" "is mounted on /tmp/mnt" /dev/nvme0n1 "$on=block"
refuses "a mounted namespace by its other name" "is mounted on" /dev/ng0n1 "$on=passthru"
umount /tmp/mnt
printf 'n\np\n1\n\n\nw\n' | fdisk /dev/nvme0n1 >/dev/null 2>&1
sleep 1
mke2fs /dev/nvme0n1p1 >/dev/null 2>&1 && mount -t ext4 /dev/nvme0n1p1 /tmp/mnt
refuses "a namespace with a mounted partition" "is mounted on" /dev/ng0n1 "$on=passthru"
refuses "a partition" "not an NVMe namespace" /dev/nvme0n1p1 "$on=block"
umount /tmp/mnt
refuses "what is no device" "is no device" /etc/passwd "$on=block"
nvme-driver stock >&2
refuses "pmap on the stock driver" "no pmap here" /dev/ng0n1 "$on=pmap"
runs "stock passthrough" "$on=passthru-fixed"
nvme-driver stock poll_queues=0 >&2
refuses "a driver without poll queues" "no poll queues" /dev/ng0n1 "$on=block"
EOS
}

test_guards() {
	{ echo 'mkdir -p /tmp/mnt; modprobe -a crc32c_generic ext4'; guest_script; } >"$1/guards"
	guest_results "the guest's cases" --driver fork --module ext4,crc32c_generic --with "$bench" \
		--share "$1" --timeout 150 -- sh /mnt/share/guards
}

test() {
	mkdir "$dir/report" "$dir/guest"
	test_report "$dir/report"
	test_guards "$dir/guest"
}

run_test
