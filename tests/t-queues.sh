#!/usr/bin/env bash
DESCRIPTION="attach, share and detach passthrough queues, and run other subjects on them"
TIMEOUT=400
KERNELS="plain kasan kcsan"
. "$(dirname "$0")/lib.sh"

requires() { have "$client" python3; }

# The subjects of other tests, on files that have both kinds of queue.
# shellcheck disable=SC2016 # for the guest's shell
others() {
	local args=(--qemu "-device nvme,serial=multi,id=multi")

	namespace multi 1 "" 64M
	namespace multi 2 "" 64M
	guest_results others --modparam 'nvme io_queue_depth=64' --nvme mdts=9 --with "$client" \
		--append "hugepages=16" --timeout 360 "${args[@]}" -- sh -c 'status=0
			for subject in modes parallel integrity command ioctl persistence; do
				"$0" $subject -q -d serial=pmap || status=1
			done
			"$0" namespaces -q -d serial=multi:1 -D serial=multi:2 || status=1
			exit $status' "$client"
}

# As in t-lifetime.
# shellcheck disable=SC2016 # for the guest's shell
ends() {
	guest_results ends --with "$client" --qmp "$dir/qmp" --timeout 360 \
		--qemu "$(null slow 200000000)" --qemu "-device nvme,serial=slow,drive=slow" \
		--qemu "$(null plugged 1000000)" \
		--qemu "-device pcie-root-port,id=slot7,chassis=7,slot=7" \
		--qemu "-device nvme,serial=plugged,id=plugged,drive=plugged,bus=slot7" \
		-- sh -c 'status=0
			"$0" removal -q -d serial=slow -D serial=plugged by-host idle unused "in-*" \
				during-unregister || status=1
			"$0" lifetime -q -d serial=slow || status=1
			"$0" removal -q -d serial=pmap idle under-load || status=1
			"$0" unload -q -d serial=pmap || status=1
			exit $status' "$client" | host_serves "$dir/qmp" || test_failed=1
}

# The depth is for the slow device; six pairs, one of them for the polls of blk-mq.  The
# time-out is the one of cloud images, and has more than 31 bits.
# shellcheck disable=SC2016 # for the guest's shell
own() {
	guest_results own --with "$client" --timeout 300 --modparam 'nvme pmap_queue_depth=16' \
		--modparam 'nvme_core io_timeout=4294967295' \
		--qemu "$(null big 0)" --qemu "-device nvme,serial=big,drive=big,mdts=0,logical_block_size=65536,physical_block_size=65536" \
		--qemu "$(null slow 200000000)" --qemu "-device nvme,serial=slow,drive=slow" \
		--qemu "$(null few 0)" --qemu "-device nvme,serial=few,drive=few,max_ioqpairs=5" \
		-- sh -c 'status=0
			"$0" queue -d serial=pmap || status=1
			"$0" queue_lifetime -d serial=pmap || status=1
			"$0" queue -d serial=pmap -D serial=slow arguments || status=1
			"$0" queue_slow -D serial=slow || status=1
			"$0" queue_few -D serial=few || status=1
			"$0" queue_64k -D serial=big || status=1
			if dmesg | grep "QID .* timeout"; then status=1; fi
			exit $status' "$client"
}

# As many pairs as CPUs: the block device leaves as many as the operator says, over a
# reset as well, and keeps one.
# shellcheck disable=SC2016 # for the guest's shell
reserved() {
	local reserve want
	for reserve in '0 2 0' '1 1 1' '9 1 1'; do
		read -r reserve want <<<"$reserve"
		guest_results "reserved-$reserve" --smp 2 --nvme max_ioqpairs=2 --with "$client" \
			--modparam "nvme pmap_reserve=$reserve" -- sh -c 'ctrl=/sys/class/nvme/nvme0
				for when in "" ", after a reset"; do
					is="$(ls /sys/block/nvme0n1/mq | wc -l) $(cat $ctrl/pmap/queues_granted)"
					if [ "$is" = "$2" ]; then
						echo "ok - reserve $1$when"
					else
						echo "not ok - reserve $1$when: \"$is\" queues, not \"$2\""
					fi
					echo 1 >$ctrl/reset_controller
				done
				"$0" integrity -d serial=pmap sweep' "$client" "$reserve" "$want"
	done
}

test() {
	own
	others
	ends
	reserved
}

run_test
