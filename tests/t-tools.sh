#!/usr/bin/env bash
DESCRIPTION="run fio and nvme-cli on the block and generic devices of the fork"
TIMEOUT=150
. "$(dirname "$0")/lib.sh"

requires() { have fio nvme; }

# Written for the guest's shell, which has this as $0's first argument.
guest() {
	cat <<-'END'
	# run NAME CMD...
	run() {
		name=$1
		shift
		if "$@" >/tmp/out 2>&1; then
			echo "ok - $name"
		else
			echo "not ok - $name: exits with $?"
			head -n 20 /tmp/out | sed 's/^/# /'
			failed=1
		fi
	}
	# says NAME PATTERN: in the output of the last one
	says() {
		if grep -q "$2" /tmp/out; then
			echo "ok - $1"
		else
			echo "not ok - $1: no $2"
			head -n 20 /tmp/out | sed 's/^/# /'
			failed=1
		fi
	}
	# verify NAME OPTION...: writes, then reads and compares
	verify() {
		name=$1
		shift
		run "$name" fio --name="$name" --rw=randwrite --verify=crc32c --do_verify=1 \
			--size=2m --iodepth=8 --thread=1 --random_generator=lfsr \
			--verify_fatal=1 --output-format=terse "$@"
	}
	passthru() {
		name=$1
		shift
		verify "$name" --filename=/dev/ng0n1 --ioengine=io_uring_cmd --cmd_type=nvme "$@"
	}
	failed=0
	run nvme-list nvme list
	says nvme-list-disk /dev/nvme0n1
	run nvme-list-subsys nvme list-subsys
	run nvme-id-ctrl nvme id-ctrl /dev/nvme0
	says nvme-id-ctrl-serial '^sn *: pmap'
	run nvme-id-ns nvme id-ns /dev/nvme0n1
	says nvme-id-ns-format 'in use'
	run nvme-id-ns-generic nvme id-ns /dev/ng0n1
	run nvme-smart-log nvme smart-log /dev/nvme0
	says nvme-smart-log-spare available_spare
	run nvme-error-log nvme error-log /dev/nvme0
	run nvme-flush nvme flush /dev/nvme0n1
	echo pmap-test-contents >/tmp/data
	run nvme-write nvme write /dev/ng0n1 --start-block=9 --data-size=512 --data=/tmp/data
	run nvme-read nvme read /dev/ng0n1 --start-block=9 --data-size=512
	says nvme-read-data pmap-test-contents
	verify fio-block --filename=/dev/nvme0n1 --ioengine=io_uring --direct=1 --bs=4k
	verify fio-block-fixed --filename=/dev/nvme0n1 --ioengine=io_uring --direct=1 --bs=64k --fixedbufs=1 --hipri=1
	passthru fio-passthru --bs=4k
	passthru fio-passthru-fixed --bs=16k --fixedbufs=1
	passthru fio-passthru-hipri --bs=4k --hipri=1
	passthru fio-passthru-fixed-hipri --bs=128k --fixedbufs=1 --hipri=1
	passthru fio-passthru-sqpoll --bs=4k --sqthread_poll=1
	run nvme-reset nvme reset /dev/nvme0
	passthru fio-after-reset --bs=4k --fixedbufs=1
	exit $failed
	END
}

test() {
	guest_results tools --with fio,nvme -- sh -c "$(guest)"
}

run_test
