#!/usr/bin/env bash
DESCRIPTION="the examples compile by their own command lines, move the right data, take the right path"
TIMEOUT=200
KERNELS="plain"
. "$(dirname "$0")/lib.sh"

examples=(pmap-read pmap-queue pmap-share pmap-log uring-read)
programs=$(printf ",$BUILD/tests/%s" "${examples[@]}")
slba=65536

requires() {
	local name
	for name in "${examples[@]}"; do have "$BUILD/tests/$name" || return; done
}

# --- their sources ----------------------------------------------------------

# built NAME: by the line in its comment, with more warnings, in a copy of include/.
# shellcheck disable=SC2317 # called by check
built() {
	local line
	line=$(sed -n 's/^ \*\t\(cc .*\)$/\1/p' "$dir/include/examples/$1.c")
	[[ $line == "cc "*"$1.c -o $1 "* ]] || return
	(cd "$dir/include/examples" && eval "$line -Wall -Wextra -Werror" && [ -x "$1" ])
}

# The comment's command line is that of the table, where a | is escaped.
# shellcheck disable=SC2317 # called by check
listed() {
	local line
	line=$(sed -n "s/^ \*\t\(.*\.\/$1 .*\)$/\1/p" "$TOP/include/examples/$1.c")
	[ "$line" ] && grep "^| \`$1\.c\` |" "$TOP/include/examples/README.md" |
		grep -qF -- "| \`${line//|/\\|}\` |"
}

# shellcheck disable=SC2317 # called by check
short() { [ "$(wc -l <"$TOP/include/examples/$1.c")" -lt 100 ]; }

sources() {
	local name
	equal "every example is in this test" "$(cd "$TOP/include/examples" && echo *.c)" \
		"$(printf '%s.c\n' "${examples[@]}" | sort | xargs)"
	cp -r "$TOP/include" "$dir/include"
	for name in "${examples[@]}"; do
		check "$name: built by its comment" built "$name"
		check "$name: listed" listed "$name"
		check "$name: short" short "$name"
	done
	check "uring-read: has no header of ours" eval \
		"! grep -q 'include.*pmap' '$TOP/include/examples/uring-read.c'"
}

# --- their effects ----------------------------------------------------------

# Written for the guest's shell, in which PATH leads to the examples.
common() {
	cat <<-'END'
	failed=0 door=/sys/class/nvme/nvme0/pmap
	# is NAME VALUE WANTED
	is() {
		if [ "$2" = "$3" ]; then
			echo "ok - $1"
		else
			echo "not ok - $1: is '$2', not '$3'"
			head -n 5 /tmp/err | sed 's/^/# /'
			failed=1
		fi
	}
	# holds NAME CMD...
	holds() {
		name=$1
		shift
		if "$@"; then is "$name" 0 0; else is "$name" "$* fails" ""; fi
	}
	# same NAME BYTES: /tmp/out is what the disk begins with
	same() {
		head -c $2 /dev/nvme0n1 >/tmp/wanted
		holds "$1" cmp /tmp/wanted /tmp/out
	}
	# refuses NAME STATUS TEXT CMD...: CMD ends with STATUS, a message that has TEXT,
	# and no other output
	refuses() {
		refused=$1 wanted=$2 text=$3
		shift 3
		"$@" </dev/null >/tmp/out 2>/tmp/err
		is "$refused: status" $? $wanted
		holds "$refused: message" grep -q "^$1: .*$text" /tmp/err
		is "$refused: output" "$(wc -c </tmp/out)" 0
	}
	END
}

on_fork() {
	common
	cat <<-'END'
	# held CMD...: runs CMD into a pipe that is full already, so that CMD stops at its
	# first write.  Then /tmp/info gets the fdinfo of all its files of /dev/ng0n1, and
	# $free the number of free queues; CMD goes on when the pipe is read.
	held() {
		rm -f /tmp/pipe
		mkfifo /tmp/pipe
		exec 3<>/tmp/pipe
		dd if=/dev/zero of=/tmp/pipe bs=4096 count=16 2>/tmp/err
		"$@" >/tmp/pipe 2>/tmp/err 3>&- &
		pid=$! tries=0
		until grep -q '^1 0x1 ' /proc/$pid/syscall 2>/tmp/null; do
			tries=$((tries + 1))
			[ $tries -lt 100 ] || break
			usleep 50000
		done
		for file in /proc/$pid/fd/*; do
			[ "$(readlink $file)" = /dev/ng0n1 ] || continue
			cat /proc/$pid/fdinfo/${file##*/}
		done >/tmp/info
		free=$(cat $door/queues_free)
		exec 4</tmp/pipe 3>&-
		tail -c +65537 <&4 >/tmp/out
		exec 4<&-
		wait $pid
		status=$?
	}
	# sum COUNTER...: of all files
	sum() {
		for name; do awk -v name="pmap-$name:" '$1 == name { print $2 }' /tmp/info; done |
			awk '{ sum += $1 } END { print sum + 0 }'
	}
	forms="prp sgl_list sgl_run built"
	fallbacks="fallback_full fallback_down fallback_frozen fallback_list fallback_mode
		fallback_logged fallback_worker"

	held pmap-read /dev/ng0n1 65000
	is "pmap-read: status" $status 0
	same "pmap-read: data" 65024
	is "pmap-read: one command by blk-mq" "$(sum $forms) $(sum queue)" "1 0"

	all=$(cat $door/queues_free)
	held pmap-queue /dev/ng0n1 40
	is "pmap-queue: status" $status 0
	same "pmap-queue: data" 163840
	is "pmap-queue: by queue" "$(sum queue) $(sum queues_attached)" "40 1"
	is "pmap-queue: polled by its ring" "$(sum direct) $(sum deferred)" "40 0"
	is "pmap-queue: none by blk-mq" $(sum $fallbacks fallback_busy) 0
	is "pmap-queue: queues left" $free $((all - 1))
	is "pmap-queue: message" "$(cat /tmp/err)" "pmap-queue: 40 of 40 by queue"

	# a thread that finds the queue busy sends its batch by blk-mq
	held pmap-share /dev/ng0n1 4
	is "pmap-share: status" $status 0
	same "pmap-share: data" 262144
	is "pmap-share: files" "$(grep -c ^pmap-queues_attached: /tmp/info) $(sum queues_attached)" "5 5"
	is "pmap-share: buffers" "$(grep -cx 'pmap-buffers:.1' /tmp/info)" 4
	is "pmap-share: commands" $(($(sum queue) + $(sum fallback_busy))) 64
	holds "pmap-share: by queue" [ $(sum queue) -ge 16 ]
	is "pmap-share: one queue for all" $free $((all - 1))

	held sh -c "exec pmap-log /dev/ng0n1 $slba </tmp/lines"
	is "pmap-log: status" $status 0
	holds "pmap-log: output" cmp /tmp/lines /tmp/out
	# three groups, and a Flush has no form
	is "pmap-log: commands" $(sum $forms) 6

	# auto MODE: sets mq, queue and stock, which share 1024 commands, but for the first
	# ones: the driver counts by file, and knows the file a little later.
	auto() {
		echo $1 >$door/auto_mode
		cat $door/auto_mq $door/auto_queue $door/stock_* >/tmp/before
		uring-read /dev/ng0n1 16 >/tmp/out 2>/tmp/err
		is "uring-read: $1: status" $? 0
		same "uring-read: $1: data" 16777216
		cat $door/auto_mq $door/auto_queue $door/stock_* >/tmp/after
		set -- $1 $(paste /tmp/before /tmp/after | awk '{ print $2 - $1 }')
		mq=$2 queue=$3 stock=$(($4 + $5 + $6 + $7))
		echo "# uring-read: $*"
	}
	auto off
	is "uring-read: off" "$mq $queue $stock" "0 0 0"
	# stock has some before the buffer is mapped
	auto on
	holds "uring-read: on" [ $mq -ge 256 ]
	is "uring-read: on, no queue" $queue 0
	holds "uring-read: on, none twice" [ $((mq + stock)) -le 1024 ]
	# and blk-mq some before there is a queue
	auto queue
	holds "uring-read: queue" [ $queue -ge 256 ]
	holds "uring-read: queue, none twice" [ $((mq + queue + stock)) -le 1024 ]

	for program in pmap-read pmap-queue pmap-share pmap-log uring-read; do
		refuses "$program: no arguments" 2 "usage: $program /dev/ngXnY" $program
		refuses "$program: not a number" 2 usage $program /dev/ng0n1 8x
		refuses "$program: an empty number" 2 usage $program /dev/ng0n1 ""
		refuses "$program: an argument more" 2 usage $program /dev/ng0n1 1 1
		refuses "$program: no such file" 1 "/dev/ng9n9: No such file" $program /dev/ng9n9 1
		call=NVME_IOCTL_ID
		[ $program != pmap-share ] || call="the driver offers no pmap"
		refuses "$program: not a disk" 1 "$call: Inappropriate ioctl" $program /dev/null 1
	done
	for program in pmap-read pmap-queue pmap-share uring-read; do
		refuses "$program: zero" 2 usage $program /dev/ng0n1 0
		# less than a buffer of stdio from pmap-read: only a flush sees the error
		$program /dev/ng0n1 1 2>/tmp/err >/dev/full
		is "$program: full output: status" $? 1
		holds "$program: full output: message" grep -q "^$program: stdout: " /tmp/err
	done
	refuses "pmap-read: more than a command" 1 "BYTES: Message too long" pmap-read /dev/ng0n1 16777216
	refuses "pmap-queue: too many" 2 usage pmap-queue /dev/ng0n1 1025
	refuses "pmap-share: too many" 2 usage pmap-share /dev/ng0n1 33
	uring-read /dev/ng0n1 1024 2>/tmp/err | cat >/tmp/out
	holds "uring-read: beyond the end" grep -q "^uring-read: read: NVMe status 0x" /tmp/err
	echo text | pmap-log /dev/ng0n1 0x10000000 2>/tmp/err
	is "pmap-log: beyond the end: status" $? 1
	holds "pmap-log: beyond the end: message" grep -q "^pmap-log: write: NVMe status 0x" /tmp/err

	nvme-driver fork pmap_queues=0
	pmap-queue /dev/ng0n1 40 >/tmp/out 2>/tmp/err
	is "pmap-queue: no queue: status" $? 0
	same "pmap-queue: no queue: data" 163840
	is "pmap-queue: no queue: message" "$(cat /tmp/err)" "pmap-queue: 0 of 40 by queue"
	pmap-share /dev/ng0n1 >/tmp/out 2>/tmp/err
	is "pmap-share: no queue: status" $? 0
	same "pmap-share: no queue: data" 262144
	exit $failed
	END
}

on_stock() {
	common
	cat <<-'END'
	uring-read /dev/ng0n1 16 >/tmp/out 2>/tmp/err
	is "stock: uring-read: status" $? 0
	same "stock: uring-read: data" 16777216
	for program in pmap-read pmap-queue pmap-share pmap-log; do
		refuses "stock: $program" 1 "no pmap.*: Inappropriate ioctl" $program /dev/ng0n1 1
	done
	exit $failed
	END
}

# On a disk of 256 KiB: the controller fails the commands beyond its end.
on_small() {
	common
	cat <<-'END'
	status="read: NVMe status 0x[0-9a-f]*80$"
	refuses "pmap-read: beyond the end" 1 "$status" pmap-read /dev/ng0n1 262656
	refuses "pmap-queue: beyond the end" 1 "$status" pmap-queue /dev/ng0n1 65
	# the parts before that may be there
	pmap-share /dev/ng0n1 5 >/tmp/out 2>/tmp/err
	is "pmap-share: beyond the end: status" $? 1
	holds "pmap-share: beyond the end: message" grep -q "^pmap-share: $status" /tmp/err
	exit $failed
	END
}

# guest DRIVER DISK SCRIPT OPTION...
guest() {
	local driver=$1 disk=$dir/$2 script=$3
	shift 3
	guest_results "examples on $driver" --driver "$driver" --with "${programs#,}" --disk "$disk" \
		"$@" -- sh -c "PATH=\$PATH:$BUILD/tests slba=$slba
			for n in \$(seq 0 39); do echo \"record \$n, of a log\"; done >/tmp/lines
			$script"
}

# The disk with the log as it is to be: 512 bytes for each record.
logged() {
	local n text
	for n in {0..39}; do
		text="record $n, of a log"
		printf "\\x$(printf %02x "$n")\\0\\0\\0\\x$(printf %02x $((${#text} + 1)))\\0\\0\\0%s\n" \
			"$text" | dd bs=512 conv=sync iflag=fullblock status=none
	done
}

# Writes and Flushes that QEMU saw, by opcode.
order() { sed -n 's/.*pci_nvme_io_cmd .* opc 0x\([01]\) .*/\1/p' "$dir/trace" | xargs; }

test() {
	sources
	head -c 64M /dev/urandom >"$dir/disk"
	cp "$dir/disk" "$dir/wanted"
	logged | dd of="$dir/wanted" bs=512 seek=$slba conv=notrunc status=none
	guest stock disk "$(on_stock)"
	guest fork disk "$(on_fork)" --qemu "-trace pci_nvme_io_cmd -D $dir/trace"
	truncate -s 256K "$dir/small"
	guest fork small "$(on_small)"
	check "pmap-log: the disk, and all beside the log" cmp "$dir/wanted" "$dir/disk"
	# three groups of 16 records at most, and one that lies beyond the disk's end
	equal "pmap-log: writes and flushes" "$(order)" "1 0 1 0 1 0 1"
}

run_test
