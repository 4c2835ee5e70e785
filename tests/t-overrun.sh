#!/usr/bin/env bash
DESCRIPTION="trace where the device reads and writes (CVE-2023-6238) by IOMMU log, guards and QEMU"
TIMEOUT=400
KERNELS="plain"
. "$(dirname "$0")/lib.sh"

requires() { have "$client" python3; }

# run NAME OPTION ARGUMENT... : every case, in a guest; OPTION is -q or empty.
run() {
	local name=$1 option=$2
	shift 2
	guest_results "$name" --nvme mdts=9 --with "$client" --timeout 180 "${args[@]}" "$@" \
		-- "$client" overrun ${option:+"$option"} -d serial=pmap -D serial=formats -t 150 |
		sed "s/^\(ok\|not ok\|skip\) - /&$name: /" | tee "$dir/out" | grep -v '^# dma'
	if grep -q '^not ok - ' "$dir/out"; then test_failed=1; fi
}

# traced OUT TRACE: QEMU saw each command that the guest sent, in this order,
# and mapped for it the memory that the guest allows.
# shellcheck disable=SC2317 # called by check
traced() {
	python3 - "$@" <<-'END'
		import re, sys

		class Bad(Exception):
		    pass

		def windows(lines, is_mark):
		    inside, now = False, []
		    for line in lines:
		        if is_mark(line):
		            if inside:
		                yield now
		            inside, now = not inside, []
		        elif inside:
		            now.append(line)

		def merged(ranges):
		    out = []
		    for start, length in sorted(ranges):
		        if out and start <= out[-1][1]:
		            out[-1][1] = max(out[-1][1], start + length)
		        else:
		            out.append([start, start + length])
		    return out

		def within(ranges, allowed):
		    return all(any(a <= s and e <= b for a, b in allowed) for s, e in ranges)

		def seen(window):
		    commands, now = [], []
		    for line in window:
		        if "pci_nvme_admin_cmd" in line:
		            # of the kernel: Identify, at the first registration
		            now = []
		        elif m := re.search(r"pci_nvme_io_cmd .* opc 0x([0-9a-f]+)", line):
		            now = []
		            commands.append((int(m[1], 16), now))
		        elif m := re.search(r"pci_nvme_map_addr addr 0x([0-9a-f]+) len (\d+)", line):
		            now.append((int(m[1], 16), int(m[2])))
		    return commands

		def told(window):
		    for line in window:
		        if line.startswith("# dma "):
		            opcode, how, *ranges = line.split()[2:]
		            pairs = [tuple(int(x, 16) for x in r.split(":")) for r in ranges]
		            yield int(opcode, 16), how, pairs

		def moving(commands):
		    # A Flush is the first of a batch.  Commands past the queue overtake it,
		    # and may be mapped in part when the Flush has been seen.
		    out = []
		    for c in commands:
		        if c[0] or not out and c[-1]:
		            out.append(c)
		        elif out:
		            out[-1][-1].extend(c[-1])
		    return out

		def compare(saw, want):
		    (opcode, ranges), (wanted, how, allowed) = saw, want
		    if opcode != wanted:
		        raise Bad(f"QEMU saw opcode {opcode:#x}, not {wanted:#x}")
		    ranges, allowed = merged(ranges), merged(allowed)
		    if not within(ranges, allowed) or how == "all" and ranges != allowed:
		        raise Bad(f"opcode {opcode:#x} mapped {ranges}, may {allowed}")

		def check(out, trace):
		    number = nbytes = 0
		    qemu = list(windows(open(trace, errors="replace"),
		                        lambda l: "pci_nvme_io_cmd" in l and re.search(r"opc 0x0*4\b", l)))
		    guest = list(windows(open(out), lambda l: l == "# mark\n"))
		    if not guest or len(qemu) != len(guest):
		        raise Bad(f"{len(qemu)} windows in the trace, {len(guest)} in the guest")
		    for q, g in zip(qemu, guest):
		        saw, want = seen(q), list(told(g))
		        if len(saw) != len(want) or len(moving(saw)) != len(moving(want)):
		            raise Bad(f"QEMU saw {len(saw)} commands, the guest sent {len(want)}")
		        for s, w in zip(moving(saw), moving(want)):
		            compare(s, w)
		            number += 1
		            nbytes += sum(length for _, length in s[1])
		    print(f"# {number} commands, {nbytes} bytes mapped, all of them allowed")

		try:
		    check(*sys.argv[1:])
		except Bad as bad:
		    print("#", str(bad)[:300])
		    sys.exit(1)
	END
}

# The witness must notice: a page elsewhere, a byte more, a command more.
# shellcheck disable=SC2317 # called by check
not_traced() {
	sed "$1" "$dir/trace" >"$dir/trace.bad"
	! cmp -s "$dir/trace" "$dir/trace.bad" && ! traced "$dir/out" "$dir/trace.bad"
}

# witness NAME: of the run before.  With chosen cases there may be no trace.
witness() {
	local name=$1 failed=$test_failed last
	[ -z "$TEST_CASES" ] || return 0
	check "$name: QEMU's trace" traced "$dir/out" "$dir/trace"
	[ "$failed" = "$test_failed" ] || return 0
	last=$(grep -n 'pci_nvme_map_addr.* len 4096' "$dir/trace" | tail -n 1 | cut -d: -f1)
	check "$name: the witness notices a page elsewhere" \
		not_traced "${last}s/addr 0x[0-9a-f]*/addr 0x1000/"
	check "$name: the witness notices four bytes more" not_traced "${last}s/len 4096/len 4100/"
	check "$name: the witness notices a command more" \
		not_traced "${last}{p;s/.*/pci_nvme_io_cmd cid 1 nsid 0x1 sqid 1 opc 0x2/}"
}

# Does the IOMMU's log show an overrun?  By the stock door, which has no check;
# the console is switched off for the one fault that must come.
control() {
	# shellcheck disable=SC2016 # for the guest's shell
	guest_results control --iommu strict --with "$client" -- sh -c '
		echo 1 >/proc/sys/kernel/printk
		dmesg -c >/dev/null
		"$0" stock_overrun -d serial=pmap || exit 1
		dmesg | grep "DMAR.*fault" | sed "s/^/# /"
		if dmesg | grep -q "DMAR.*fault addr 0x5ad0ba"; then
			echo "ok - control: the fault of a stock command is seen"
		else
			echo "not ok - control: no fault of a stock command"
		fi' "$client"
}

test() {
	local args=(--qemu "-device nvme,serial=formats,id=formats,mdts=9")
	local trace="-trace pci_nvme_map_addr -trace pci_nvme_io_cmd -trace pci_nvme_admin_cmd -D $dir/trace"
	formats
	# the guest tells physical addresses, and so must QEMU: debug guests have an IOMMU
	run plain '' --iommu off --qemu "$trace"
	witness plain
	run queue -q --iommu off --qemu "$trace"
	witness queue
	run strict '' --iommu strict
	control
}

run_test
