#!/usr/bin/env bash
DESCRIPTION="load the distribution's nvme-tcp, nvmet and nvme-loop on the fork's nvme-core"
TIMEOUT=100
. "$(dirname "$0")/lib.sh"

requires() { have "$client"; }

# An NVMe target over a file in memory, and a controller that is connected to
# it by nvme-loop: as a writer of /dev/nvme-fabrics, which is all of nvme-cli
# that it takes.
guest() {
	cat <<-'END'
	status=0
	not_ok() { echo "not ok - $1: $2"; status=1; }
	for module in nvme-fabrics nvme-tcp nvmet nvme-loop; do
		if modprobe $module 2>/tmp/why; then
			echo "ok - load-$module"
		else
			not_ok "load-$module" "$(head -n 1 /tmp/why)"
		fi
	done
	lsmod | grep '^nvme' | sed 's/^/# /'
	mount -t configfs configfs /sys/kernel/config || not_ok configfs "not mounted"
	dd if=/dev/zero of=/tmp/target bs=1M count=16 2>/dev/null
	cd /sys/kernel/config/nvmet || exit 1
	mkdir subsystems/pmap && echo 1 >subsystems/pmap/attr_allow_any_host
	echo loopback >subsystems/pmap/attr_serial
	mkdir subsystems/pmap/namespaces/1
	echo /tmp/target >subsystems/pmap/namespaces/1/device_path
	echo 1 >subsystems/pmap/namespaces/1/enable
	mkdir ports/1 && echo loop >ports/1/addr_trtype
	ln -s /sys/kernel/config/nvmet/subsystems/pmap ports/1/subsystems/pmap
	# printf writes at once; with multipath the node would be a head, which
	# has an answer of its own.
	if printf 'transport=loop,nqn=pmap' >/dev/nvme-fabrics; then
		echo "ok - connect"
	else
		not_ok connect "no answer"
	fi
	cd /
	"$0" unsupported -d serial=loopback || status=1
	"$0" modes -d serial=pmap irq poll || status=1
	for ctrl in /sys/class/nvme/nvme*; do
		[ "$(cat "$ctrl/transport")" = loop ] || continue
		if echo 1 >"$ctrl/delete_controller"; then
			echo "ok - disconnect"
		else
			not_ok disconnect "cannot delete $ctrl"
		fi
	done
	rm /sys/kernel/config/nvmet/ports/1/subsystems/pmap
	# The fork's nvme-core stays in use by the modules loaded on it.
	if rmmod nvme-core 2>/dev/null; then
		not_ok core-in-use "nvme-core was unloaded under the others"
	else
		echo "ok - core-in-use"
	fi
	rmmod nvme-loop && rmmod nvme-tcp && echo "ok - unload" || not_ok unload "rmmod fails"
	exit $status
	END
}

test() {
	guest_results siblings --with "$client" --modparam 'nvme_core multipath=N' \
		--module nvme-fabrics,nvme-tcp,nvmet,nvme-loop,configfs,loop \
		-- sh -c "$(guest)" "$client"
	# The same questions to the stock driver: how a program tells the two apart.
	guest_results stock --driver stock -- "$client" unsupported | sed 's/ - /&stock: /' | tee "$dir/out"
	if grep -q '^not ok - ' "$dir/out"; then test_failed=1; fi
}

run_test
