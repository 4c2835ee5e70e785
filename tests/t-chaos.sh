#!/usr/bin/env bash
DESCRIPTION="verify data under load during resets, hotplug, namespace changes and suspend"
TIMEOUT=800
KERNELS="plain kasan kcsan"
. "$(dirname "$0")/lib.sh"

requires() { have "$client" python3; }

# blockdev NAME SIZE: a file of that size, at most 1000 commands a second, so
# that some are always in flight when something happens.
blockdev() {
	truncate -s "$2" "$dir/$1"
	printf -- '-blockdev driver=file,node-name=%s-file,filename=%s,cache.no-flush=on ' "$1" "$dir/$1"
	printf -- '-blockdev driver=raw,node-name=%s-raw,file=%s-file ' "$1" "$1"
	printf -- '-object throttle-group,id=%s-slow,x-iops-total=1000 ' "$1"
	printf -- '-blockdev driver=throttle,node-name=%s,throttle-group=%s-slow,file=%s-raw' "$1" "$1" "$1"
}

# asleep NAME OPTION...: asleep once, this QEMU's guest cannot power off: it tells its
# status itself, and a reset ends it.
# shellcheck disable=SC2016 # for the guest's shell
asleep() {
	guest_results "$1" --in-turn --with "$client" --qmp "$dir/qmp" --timeout 100 \
		-- sh -c '"$0" chaos_end -d serial=pmap $1 suspend-ram
			echo $? >/dev/vport0p3
			reboot -nf' "$client" "${*:2}" | host_serves "$dir/qmp" || test_failed=1
}

# Stock freezes the queues in one worker and thaws them in another when a command
# times out or the machine sleeps, and lockdep reports this, also without our commands.
left_out() {
	local case
	[ "$TEST_KERNEL" = kasan ] || return 0
	for case in chaos_timeout/out-of-time chaos_end/suspend-{devices,ram}; do
		skip "$case" "lockdep and stock's recovery; runs on the other kernels"
		skip "$case (queue)" "as without"
		skip "$case (auto queue)" "as without"
	done
}

# storms NAME OPTIONS CASES CASES VM-ARGUMENT... : of the controller that can be
# unplugged, and of the other; some are left out, for their time, where OPTIONS make no
# difference to them.  QEMU loses an interrupt in a suspend now and then; the
# driver finds the completion when the command times out, and so io_timeout is short.
# shellcheck disable=SC2016 # for the guest's shell
storms() {
	local name=$1 options=$2 plugged=$3 cases=$4
	shift 4
	local args=(
		--qemu "$(null slow 3000000000)"
		--qemu "-device pcie-root-port,id=slot8,chassis=8,slot=8"
		--qemu "$(blockdev plugged 64M)"
		--qemu "-device pcie-root-port,id=slot7,chassis=7,slot=7"
		--qemu "-device nvme,serial=plugged,id=plugged,drive=plugged,bus=slot7"
		--qemu "-device nvme-subsys,id=sub,nqn=pmap-chaos -device nvme,serial=many,id=many,subsys=sub"
		--qemu "$(blockdev ns1 64M)" --qemu "$(blockdev ns2 64M)"
		--qemu "-device nvme-ns,drive=ns1,bus=many,nsid=1,shared=on"
		--qemu "-device nvme-ns,drive=ns2,bus=many,nsid=2,shared=on")

	guest_results "$name" --with "$client" --qmp "$dir/qmp" --timeout 650 --mem 512 \
		--expect 'pmap-test invoked oom-killer' --append suspend.pm_test_delay=1 \
		"${args[@]}" "$@" -- sh -c 'status=0 q=$2
			"$0" chaos $q -d serial=plugged $3 || status=1
			"$0" chaos $q -d serial=pmap $4 || status=1
			case $q in -a*)
				"$0" chaos_auto $q -d serial=pmap || status=1
				"$0" chaos -a -d serial=pmap resets owner-killed || status=1
				;;
			esac
			[ "$1" = kasan ] || "$0" chaos_timeout $q -d serial=pmap -D serial=slow || status=1
			"$0" chaos_ns $q -d serial=many || status=1
			"$0" chaos_hotplug $q -d serial=pmap -D serial=plugged || status=1
			for timeout in /sys/block/nvme*/queue/io_timeout; do echo 8000 >$timeout; done
			[ "$1" = kasan ] || "$0" chaos_end $q -d serial=pmap suspend-devices || status=1
			"$0" chaos_end $q -d serial=pmap reload || status=1
			exit $status' "$client" "$TEST_KERNEL" "$options" "$plugged" "$cases" |
		host_serves "$dir/qmp" || test_failed=1
}

# Unmodified programs.  Commands that stock serves map memory that the door has mapped
# already.
door() {
	local args=()
	overlapping
	storms auto "-a -q" "resets shared-file" \
		"resets cpu-hotplug pressure owner-killed oom shared-file" \
		--modparam 'nvme_core multipath=N pmap_auto_mode=queue' "${args[@]}"
}

test() {
	local param='nvme_core multipath=N'
	local most="resets reregister cpu-hotplug owner-killed oom shared-file"
	left_out
	storms chaos "" "resets owner-killed shared-file" "$most pressure" --modparam "$param"
	storms queues -q "resets shared-file" "$most" --modparam "$param"
	door
	[ "$TEST_KERNEL" != kasan ] || return 0
	asleep asleep
	asleep asleep-queues -q
	asleep asleep-auto -a -q
}

run_test
