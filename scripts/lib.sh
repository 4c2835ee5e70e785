# shellcheck shell=bash
# Shared by the scripts: names of places, messages, the kernels we know.

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=${BUILD:-$TOP/build}

info() { printf '%s\n' "$*" >&2; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# kernel_release 6.12 -> the newest installed release of that version that has
# both headers and an image, e.g. 6.12.117+deb12-amd64.
kernel_release() {
	local dir release
	for dir in $(printf '%s\n' /lib/modules/"$1"[.+-]*/build | sort -rV); do
		release=$(basename "$(dirname "$dir")")
		if [ -e "$dir/Makefile" ] && [ -e "/boot/vmlinuz-$release" ]; then
			printf '%s\n' "$release"
			return
		fi
	done
	die "no linux-image and linux-headers of $1 installed (run scripts/setup)"
}

# modules_dir RELEASE -> where the fork's nvme-core.ko and nvme.ko are built.
modules_dir() { printf '%s\n' "$BUILD/$1"; }
