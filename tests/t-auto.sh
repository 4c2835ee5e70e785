#!/usr/bin/env bash
DESCRIPTION="map fixed buffers of unmodified programs automatically, and compare with the stock driver"
TIMEOUT=520
KERNELS="plain kasan"
. "$(dirname "$0")/lib.sh"

requires() { have "$client" fio; }

# shellcheck disable=SC2016 # for the guest's shell
cases() {
	guest_results auto --with "$client" --mem "$mem" --append hugepages=16 "${args[@]}" \
		--timeout 300 -- sh -c 'status=0
			"$0" auto -d serial=pmap || status=1
			"$0" auto -q -d serial=pmap || status=1
			exit $status' "$client"
}

# Written for the guest's shell: fio of the distribution, as it is.
guest() {
	cat <<-'SCRIPT'
	door=/sys/class/nvme/nvme0/pmap/auto_mode
	# The counters of the controller: mq, queue, starting, other stock.
	counted() {
		cd /sys/class/nvme/nvme0/pmap
		echo $(cat auto_mq auto_queue stock_setup) \
			$(($(cat stock_unsupported) + $(cat stock_unmapped) + $(cat stock_other)))
	}
	# current counts minus the arguments: sets mq, queue, starting, stock
	since() {
		set -- "$@" $(counted)
		mq=$(($5 - $1)) queue=$(($6 - $2)) starting=$(($7 - $3)) stock=$(($8 - $4))
	}
	# The door must have served most; stock serves the first commands on each of the 16
	# buffers, and in queue mode blk-mq has commands that need a list, and commands
	# before there is a queue.
	judge() {
		case $1 in
		off) [ $((mq + queue + starting + stock)) -eq 0 ] ;;
		on) [ $mq -ge 50 ] && [ $queue -eq 0 ] && [ $stock -eq 0 ] && [ $starting -lt $((mq + queue)) ] ;;
		queue) [ $queue -ge 50 ] && [ $queue -gt $mq ] && [ $stock -eq 0 ] && [ $starting -lt $((mq + queue)) ] ;;
		esac
	}
	# run MODE NAME OPTION...: two jobs, each with a part of the disk, in one process
	run() {
		mode=$1 name="fio-$1-$2"
		shift 2
		echo $mode >$door
		before=$(counted) status=0
		fio --name=f --ioengine=io_uring_cmd --cmd_type=nvme --fixedbufs=1 --thread=1 \
			--filename=/dev/ng0n1 --numjobs=2 --offset_increment=96m --size=32m \
			--rw=randrw --verify=crc32c --verify_fatal=1 --iodepth=8 \
			--output-format=terse "$@" >/tmp/out 2>&1 || status=1
		since $before
		echo "# $name: $mq by blk-mq, $queue by queue, $starting starting, $stock by stock"
		if [ $status -ne 0 ]; then
			echo "not ok - $name: fio fails"
			head -n 20 /tmp/out | sed 's/^/# /'
			failed=1
		elif judge $mode; then
			echo "ok - $name"
		else
			echo "not ok - $name: the door did not serve as it should"
			failed=1
		fi
	}
	failed=0
	run off irq --bsrange=4k-128k
	for mode in on queue; do
		run $mode irq --bsrange=4k-128k
		run $mode hipri --bsrange=4k-128k --hipri=1
		run $mode large --bs=1m --mem=shmhuge --hugepage-size=2m --size=90m
		run $mode large-hipri --bs=1m --mem=shmhuge --hugepage-size=2m --size=90m --hipri=1
	done
	exit $failed
	SCRIPT
}

with_fio() {
	guest_results fio --with fio --nvme mdts=8 --append hugepages=32 "${args[@]}" \
		--timeout 200 -- sh -c "$(guest)"
}

test() {
	local args=() mem=3072
	overlapping
	# behind an IOMMU stock takes no more than 128 KiB, and the cases compare with stock
	[ "$TEST_KERNEL" = plain ] || { args+=(--iommu off); mem=2048; }
	cases
	with_fio
}

run_test
