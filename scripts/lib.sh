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

# kernel_source 6.12 -> the distribution's whole source, unpacked once for each
# version of its package.
kernel_source() {
	local dir=$BUILD/debug/$1-source tarball=/usr/src/linux-source-$1.tar.xz version part
	[ -e "$tarball" ] || die "no $tarball (run scripts/setup build)"
	version=$(dpkg-query -Wf '${Version}' "linux-source-$1")
	if [ "$(cat "$dir/.pmap-version" 2>/dev/null)" != "$version" ]; then
		info "unpacking linux-source-$1 $version"
		rm -rf "$dir"
		mkdir -p "$dir"
		tar -C "$dir" --strip-components=1 -xJf "$tarball"
		# KCSAN checks the code that an IO passes through: elsewhere are many
		# known data races, not ours, which would end the guest.
		for part in io_uring block; do
			echo 'KCSAN_SANITIZE := y' >>"$dir/$part/Makefile"
		done
		echo "$version" >"$dir/.pmap-version"
	fi
	printf '%s\n' "$dir"
}
