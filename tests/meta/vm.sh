#!/usr/bin/env bash
# shellcheck disable=SC2317 # functions are called through check
DESCRIPTION="scripts/vm against guests that end in every way"
. "$(dirname "$0")/../lib.sh"

# try VM-ARGUMENTS... : its status, its two outputs in files.
try() {
	status=0
	vm --timeout 60 "$@" >"$dir/out" 2>"$dir/err" || status=$?
}

# Shows the output of a guest that ended otherwise than expected.
ends() {
	equal "vm: $1" "$status" "$2"
	[ "$status" = "$2" ] || sed 's/^/    /' "$dir/out" "$dir/err"
}

told() { grep -q -- "$1" "$dir/err"; }

statuses() {
	try --driver none -- true
	ends "status 0" 0
	try --driver none
	ends "no command is bad usage" 2
	try --driver other -- true
	ends "an unknown driver is bad usage" 2
	try --disk null:soon -- true
	ends "a latency that is no number is bad usage" 2
	try --driver none --qemu '-device no-such' -- true
	ends "what QEMU refuses did not start" 2
}

# One guest for all that a healthy one does.
healthy() {
	mkdir "$dir/share"
	echo from-host >"$dir/share/in"
	cat >"$dir/share/job" <<'END'
cat in
echo from-guest >out
echo complaint >&2
cat /proc/sys/kernel/panic_on_warn
ls /sys/class/iommu | wc -l
nvme-driver none
ls /dev/nvme* 2>/dev/null | wc -l
nvme-driver stock poll_queues=2
cat /sys/module/nvme/parameters/poll_queues
ls /dev/nvme0n1 /dev/ng0n1
printf '%s.' "$@"
exit 7
END
	try --driver stock --share "$dir/share" -- sh job "it's" 'a  b' ''
	ends "status 7" 7
	equal "vm: output" "$(tr '\n' ' ' <"$dir/out")" \
		"from-host 1 0 0 2 /dev/ng0n1 /dev/nvme0n1 it's.a  b.."
	equal "vm: the guest writes to the share" "$(cat "$dir/share/out")" from-guest
	check "vm: stderr is apart" told '^complaint$'
}

dead() {
	try --driver none -- sh -c 'echo c >/proc/sysrq-trigger; sleep 20'
	ends "an oops" 125
	check "vm: an oops is told with its trace" told 'sysrq_handle_crash'
	try --driver none -- poweroff -f
	ends "silent power-off" 125
	check "vm: silent power-off is told" told 'without a status'
	try --driver none -- sh -c 'echo "<4>WARNING: CPU: 0 PID: 1 at fs/x.c:1" >/dev/kmsg'
	ends "a warning on the console" 125
	try --driver none --timeout 8 -- sleep 100
	ends "a hang" 125
	check "vm: a hang is told" told 'no end within 8 s'
}

# As many traces as were announced, and nothing else, pass.
expected() {
	# shellcheck disable=SC2016 # for the guest's shell
	local say='for line in "$@"; do echo "<4>$line" >/dev/kmsg; done'
	try --driver none --expect 'it [a-z]+ oom' -- sh -c "$say" - 'it invoked oom' 'a: 1' 'Call Trace:'
	ends "an expected trace" 0
	try --driver none --expect 'it [a-z]+ oom' -- sh -c "$say" - 'it invoked oom' 'Call Trace:' 'Call Trace:'
	ends "a second trace after an expected one" 125
	try --driver none --expect 'it [a-z]+ oom' -- sh -c "$say" - 'it invoked oom' 'BUG: x' 'Call Trace:'
	ends "another complaint after an expected one" 125
}

iommu() {
	local mode want
	for mode in strict=DMA lazy=DMA-FQ pt=identity; do
		want=${mode#*=} mode=${mode%=*}
		try --driver stock --iommu "$mode" -- \
			cat /sys/class/nvme/nvme0/device/iommu_group/type
		ends "--iommu $mode" 0
		equal "vm: --iommu $mode: the disk's domain" "$(cat "$dir/out")" "$want"
	done
}

# Ten thousand turns of a loop of three instructions, counted twice.
counted() {
	have gcc || { skip "vm: --count" "no gcc"; return; }
	cat >"$dir/count.c" <<'END'
#include <stdio.h>
#include <x86intrin.h>

static unsigned long long turns(long n)
{
	unsigned long long start = __rdtsc();

	__asm__ volatile("1: nop; dec %0; jnz 1b" : "+r"(n));
	return __rdtsc() - start;
}

int main(void)
{
	turns(1000);
	for (int i = 0; i < 2; i++)
		printf("%llu\n", turns(11000) - turns(1000));
}
END
	gcc -O2 -static -o "$dir/count" "$dir/count.c"
	try --count --driver none --share "$dir" -- ./count
	ends "--count" 0
	equal "vm: --count: the TSC counts instructions" "$(tr '\n' ' ' <"$dir/out")" "30000 30000 "
}

# A guest that has measured the TSC wrongly, as it may on a busy host, has the host's
# time nevertheless: under TCG; KVM tells it the frequency.
clock() {
	local start=$EPOCHREALTIME took
	VM_ACCEL=tcg try --driver none --append tsc_early_khz=100000 -- sleep 12
	took=$(((${EPOCHREALTIME/[.,]/} - ${start/[.,]/}) / 1000))
	ends "sleep" 0
	check "vm: a second of the guest is one of the host (12 took $took ms)" [ "$took" -ge 12000 ]
}

# A QEMU that writes the console log $1.
qemu_of() { grep -laF -- "$1" /proc/[0-9]*/cmdline 2>/dev/null | xargs -r grep -laF qemu-system 2>/dev/null; }

no_qemu() { [ -z "$(qemu_of "$1" || true)" ]; }

ended_by_signal() {
	local pid status=0
	"$TOP/scripts/vm" --driver none --console "$dir/console" -- sleep 50 2>"$dir/err" &
	pid=$!
	check "vm: the console log is written" wait_for [ -s "$dir/console" ]
	kill "$pid"
	wait "$pid" || status=$?
	equal "vm: SIGTERM" "$status" 143
	check "vm: no QEMU is left" no_qemu "$dir/console"
}

test() {
	statuses
	healthy
	dead
	expected
	iommu
	clock
	counted
	ended_by_signal
}

run_test
