#!/usr/bin/env bash
DESCRIPTION="format namespaces under load, with commands that the driver sees and does not see"
TIMEOUT=400
. "$(dirname "$0")/lib.sh"

requires() { have "$client"; }

example=$BUILD/tests/pmap-read

# The slow device takes 16 MiB of zeroes at a time, 20 ms each, to format.  Of
# the other controller's namespaces Linux cannot use the first, whose zones are
# no power of two.
# shellcheck disable=SC2016 # for the guest's shell
changes() {
	local args=(--qemu "-device nvme,serial=hidden,id=hidden")
	namespace hidden 1 zoned=on,zoned.zone_size=3M 48M
	namespace hidden 2 ms=8,mset=1,pi=1,pil=0
	guest_results formats --with "$client,$example" --timeout 180 \
		--qemu "$(null slow 20000000 268435456)" \
		--qemu "-device nvme,serial=slow,drive=slow" \
		"${args[@]}" \
		-- sh -c 'status=0
			for q in "" -q; do
				"$0" formatting $q -d serial=slow -D serial=pmap || status=1
				"$0" unknown_format $q -d serial=hidden zoned pi || status=1
			done
			nvme-driver fork nvme_core.disable_pi_offsets=1 || status=1
			"$0" unknown_format -d serial=hidden pi-hidden || status=1
			"$0" unknown_format -q -d serial=hidden pi-hidden || status=1
			for ctrl in /sys/class/nvme/nvme*; do
				read serial <$ctrl/serial
				[ "$serial" = hidden ] || continue
				# whichever of its namespaces was found first
				said=$(for node in /dev/ng${ctrl##*nvme}n*; do
					"$1" $node 2>&1 >/dev/null || echo "exits with $?"
				done)
				case $said in
				*"know the format"*"exits with 1"*)
					echo "ok - the example, and a format that is not known"
					continue
					;;
				esac
				echo "not ok - the example, and a format that is not known: $said"
				status=1
			done
			exit $status' "$client" "$example"
}

# Changes that the driver is not told the end of; the two controllers share a
# namespace, and each has a node of its own.
# shellcheck disable=SC2016 # for the guest's shell
unseen() {
	guest_results unseen --with "$client" --timeout 180 --modparam 'nvme_core multipath=N' \
		--qemu "$(null quick 0)" --qemu "-device nvme,serial=quick,drive=quick" \
		--qemu "$(null both 0)" --qemu "-device nvme-subsys,id=pair" \
		--qemu "-device nvme,serial=pair,subsys=pair,id=one" \
		--qemu "-device nvme,serial=pair,subsys=pair" \
		--qemu "-device nvme-ns,bus=one,drive=both,nsid=1,shared=on" \
		-- sh -c 'status=0 pair=
			for ctrl in /sys/class/nvme/nvme*; do
				if grep -q "^pair" "$ctrl/serial"; then pair="$pair /dev/ng${ctrl##*nvme}n1"; fi
			done
			set -- "$0" $pair
			for q in "" -q; do
				"$1" format_unseen $q -d serial=quick -D serial=pmap after uring reset vendor scan-fails lists-read-only || status=1
				"$1" format_unseen $q -d $2 -D $3 shared || status=1
			done
			exit $status' "$client"
}

test() {
	changes
	unseen
}

run_test
