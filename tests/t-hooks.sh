#!/usr/bin/env bash
# shellcheck disable=SC2034 # read by lib.sh and the runner
DESCRIPTION="stop the build where a changed stock source does not fit the hooks"
TIMEOUT=600
KERNELS="plain"
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"

host=drivers/nvme/host
pins=$TOP/$host/hooks/pins
stock=

# The source that the build has unpacked; each case changes copies of files.
stock_source() {
	"$TOP/scripts/overlay" --tree "$dir/tree" || return
	stock=$BUILD/$(kernel_release 6.12)/stock
	cp -r "$stock" "$dir/stock"
}

# edit FILE SED-SCRIPT: in the copy; it has to change something.
edit() {
	cp "$stock/$1" "$dir/stock/$1"
	sed -i -E "$2" "$dir/stock/$1"
	! cmp -s "$stock/$1" "$dir/stock/$1"
}

restore() { cp "$stock/$1" "$dir/stock/$1"; }

# of FUNCTION SED-COMMANDS: in its definition only
of() { printf '/^[a-z].*\\b%s\\(/,/^\\}/{%s}' "$1" "$2"; }

# says NAME STATUS PATTERN...: of $dir/out, all of them, and the status is not 0.
says() {
	local name=$1 status=$2 pattern
	shift 2
	[ "$status" -ne 0 ] || { not_ok "$name" "accepted"; return; }
	for pattern; do
		grep -qE -- "$pattern" "$dir/out" && continue
		not_ok "$name" "does not say $pattern"
		sed 's/^/# /' "$dir/out"
		return
	done
	ok "$name"
}

# pinned NAME FILE SED-SCRIPT PATTERN...: prove-pins refuses that, and says so.
pinned() {
	local name="pins: $1" file=$2 status=0
	edit "$file" "$3" || { not_ok "$name" "the edit changes nothing"; return; }
	shift 3
	"$TOP/scripts/prove-pins" "$pins" 6.12 "$dir/stock" >"$dir/out" 2>&1 || status=$?
	says "$name" $status "$@"
	restore "$file"
}

# unpinned NAME FILE SED-SCRIPT: a change that a formatter may make is no change.
unpinned() {
	local name="pins: $1"
	edit "$2" "$3" || { not_ok "$name" "the edit changes nothing"; return; }
	check "$name" "$TOP/scripts/prove-pins" "$pins" 6.12 "$dir/stock"
	restore "$2"
}

test_pins() {
	local table=$dir/pins status
	check "pins: the source of the package" "$TOP/scripts/prove-pins" "$pins" 6.12 "$stock"
	pinned "one more condition" $host/ioctl.c "$(of nvme_ns_cmd_allowed 's/return true/return !ns/')" \
		"$host/ioctl.c: nvme_ns_cmd_allowed has changed: the hash is [0-9a-f]{16}, not " \
		'why that matters: validate.c' "read lines [0-9]+-[0-9]+ of .*/$host/ioctl.c" \
		"accept it for 6.12 in .*/hooks/pins"
	pinned "a string" $host/pci.c "$(of nvme_timeout 's/reset controller/Reset controller/')" 'nvme_timeout has changed'
	pinned "a reset that disables after it has synced" $host/pci.c \
		"$(of nvme_reset_work '/nvme_dev_disable\(dev, false\);/d;s/^\tnvme_sync_queues.*$/&\n\tnvme_dev_disable(dev, false);/')" \
		'nvme_reset_work has changed'
	pinned "a reset that does not always sync" $host/pci.c \
		"$(of nvme_reset_work 's/^\tnvme_sync_queues/\tif (was_suspend)\n\t&/')" 'nvme_reset_work has changed'
	pinned "a function that is gone" io_uring/rsrc.c 's/\bheadpage_already_acct\b/headpage_acct/' \
		'io_uring/rsrc.c: headpage_already_acct is not there any more' 'io_buffer_account_pin has changed'
	pinned "a second definition of it" $host/pci.c \
		'1i static bool nvme_cqe_pending(struct nvme_queue *nvmeq)\n{\n\treturn nvmeq;\n}' \
		'nvme_cqe_pending has changed'
	pinned "a line for another configuration" io_uring/uring_cmd.c \
		"$(of io_uring_cmd_done 's/^.*smp_store_release.*$/#ifdef X\n&\n#endif/')" 'io_uring_cmd_done has changed'
	pinned "a member of a struct" io_uring/rsrc.h 's/(unsigned long\s+)acct_pages;/&\n\1more;/' \
		'struct:io_mapped_ubuf has changed'
	unpinned "comments and white space" $host/core.c "$(of nvme_passthru_start 's/^\t/\t \t/; s/return effects;/return\n\t\teffects; \/* those } *\//')"

	sed 's/ 6\.12 / 6.11,6.13 /' "$pins" >"$table"
	"$TOP/scripts/prove-pins" "$table" 6.12 "$stock" >"$dir/out" 2>&1 && status=0 || status=1
	says "pins: a kernel that nobody has looked at" $status 'nvme_timeout is not known for this kernel; its hash is [0-9a-f]{16}$'
	sed 's/ 6\.12 / 6.11,6.12 /' "$pins" >"$table"
	sed 's/ 6\.12 / 7.2 /; s/ [0-9a-f]\{16\} / 0123456789abcdef /' "$pins" >>"$table"
	check "pins: kernels with different text" "$TOP/scripts/prove-pins" "$table" 6.12 "$stock"
	echo 'a line' >>"$table"
	"$TOP/scripts/prove-pins" "$table" 6.12 "$stock" >"$dir/out" 2>&1 && status=0 || status=1
	says "pins: a line that is none" $status 'not five fields'
	sed 's/ complete\.c/ finish.c/' "$pins" >"$table"
	"$TOP/scripts/prove-pins" "$table" 6.12 "$stock" >"$dir/out" 2>&1 && status=0 || status=1
	says "pins: a file that we have no more" $status 'nvme_uring_task_cb: there is no finish.c of ours'
	sed 's/nvme_pmap_rq_status()/nvme_pmap_result()/' "$pins" >"$table"
	"$TOP/scripts/prove-pins" "$table" 6.12 "$stock" >"$dir/out" 2>&1 && status=0 || status=1
	says "pins: a function that we have no more" $status 'nvme_uring_cmd_end_io: no nvme_pmap_result\(\) in complete.c'
}

# hooked NAME FILE SED-SCRIPT PATTERN [OTHER-FILE]: with the edit, of the other file if
# one is named, the hooks of FILE are refused, by a message like that.
hooked() {
	local name="hooks: $1" edited=${5:-$2} status=0
	edit "$host/$edited.c" "$3" || { not_ok "$name" "the edit changes nothing"; return; }
	"$TOP/scripts/apply-hooks" "$TOP/$host/hooks/$2.cocci" "$dir/stock/$host/$2.c" \
		"$dir/stock/$host" "$dir/stock/drivers/nvme/target" >"$dir/out" 2>&1 || status=$?
	says "$name" $status "^prove-hooks: .*$4" 'a hook is not in place'
	restore "$host/$2.c"
	restore "$host/$edited.c"
}

# moved_up FUNCTION LINE BEFORE TEXT: SED-SCRIPT that deletes the line, and has the
# text before the other
moved_up() { of "$1" "/$2/d;s/^.*$3/\\t$4\\n&/"; }

test_probe() {
	hooked "drvdata at the top of probe" pci \
		"$(moved_up nvme_probe '^\tpci_set_drvdata' 'result = nvme_add_ctrl' 'pci_set_drvdata(pdev, dev);')" \
		'stand.* in nvme_probe'
	hooked "drvdata before the controller is live" pci \
		"$(moved_up nvme_probe '^\tpci_set_drvdata' 'nvme_dbbuf_dma_alloc' 'pci_set_drvdata(pdev, dev);')" \
		'stand.* in nvme_probe'
	hooked "namespaces looked for before" pci \
		"$(moved_up nvme_probe 'nvme_start_ctrl' 'pci_set_drvdata' 'nvme_start_ctrl(\&dev->ctrl);')" \
		'stands 0 times in nvme_probe'
	hooked "probe fails afterwards" pci \
		"$(of nvme_probe 's/^\tnvme_put_ctrl.*$/\tif (dev->online_queues < 2)\n\t\tgoto out_disable;\n&/')" \
		'goto. stands before .* in nvme_probe'
	hooked "probe returns early afterwards" pci \
		"$(of nvme_probe 's/^\tflush_work.*$/\tif (!dev->hmb)\n\t\treturn 0;\n&/')" \
		'return. stands before|stands 2 times in nvme_probe'
	hooked "probe is another function" pci 's/^(\t\.probe\t*= )nvme_probe,/\1nvme_probe_slow,/' \
		'stands 0 times in the file and 0 times in nvme_driver'
	hooked "remove is another function" pci 's/^(\t\.remove\t*= )nvme_remove,/\1nvme_remove_fast,/' \
		'stands 0 times in the file and 0 times in nvme_driver'
}

test_remove() {
	hooked "remove returns early" pci \
		"$(of nvme_remove 's/^\tflush_work.*$/\tif (!dev->bar)\n\t\treturn;\n&/')" 'return. stands before .* in nvme_remove'
	hooked "remove jumps over the end" pci \
		"$(of nvme_remove 's/^\tflush_work.*$/\tif (!dev->bar)\n\t\tgoto unmap;\n&/; s/^\tnvme_dev_unmap/unmap:\n&/')" \
		'goto. stands before .* in nvme_remove'
	hooked "a label before the end" pci "$(of nvme_remove 's/^\tnvme_remove_namespaces/again:\n&/')" \
		'again:. stands before .* in nvme_remove'
	hooked "remove disables under a condition" pci \
		"$(of nvme_remove 's/^\tnvme_dev_disable.*$/\tif (dev->bar)\n\t&/')" 'nvme_remove'
	hooked "queues freed before the end" pci \
		"$(moved_up nvme_remove 'nvme_free_queues' 'nvme_remove_namespaces' 'nvme_free_queues(dev, 0);')" \
		'`nvme_free_queues.*does not stand behind what it should in nvme_remove'
	hooked "registers unmapped before the end" pci \
		"$(moved_up nvme_remove 'nvme_dev_unmap' 'nvme_stop_ctrl' 'nvme_dev_unmap(dev);')" \
		'`nvme_dev_unmap.*does not stand behind what it should in nvme_remove'
	hooked "namespaces removed after the end" pci \
		"$(of nvme_remove '/nvme_remove_namespaces/d; s/^\tnvme_dev_remove_admin.*$/&\n\tnvme_remove_namespaces(\&dev->ctrl);/')" \
		'does not stand behind what it should in nvme_remove'
	hooked "remove twice, by configuration" pci \
		'/^static void nvme_remove\(/,/^}/{H;/^}/{G;s/^(}\n)(.*)$/\1#ifdef CONFIG_X\2\n#endif/}}' \
		'nvme_remove is defined 2 times'
}

test_queues() {
	hooked "queues for another number" pci \
		"$(of nvme_pci_alloc_dev 's/kcalloc_node\(dev->nr_allocated_queues/kcalloc_node(nvme_max_io_queues(dev) + 1/')" \
		'in nvme_pci_alloc_dev'
	hooked "another number later" pci \
		"$(of nvme_reset_work 's/^\tresult = nvme_setup_io_queues.*$/\tdev->nr_allocated_queues = 2;\n&/')" \
		'stands 2 times in the file and 1 times in nvme_pci_alloc_dev'
	hooked "the count asked for once more" pci \
		"$(of nvme_reset_work 's/^\tresult = nvme_setup_io_queues.*$/\tresult = nvme_set_queue_count(\&dev->ctrl, \&n);\n&/')" \
		'nvme_pmap_set_queue_count stands 2 times in the file, and 1 times in proofs'
	hooked "and in another way" pci \
		"$(of nvme_reset_work 's/^\tresult = nvme_setup_io_queues.*$/\tresult = nvme_set_queue_count(ctrl, 2);\n&/')" \
		'nvme_set_queue_count is used by nvme_reset_work'
	hooked "queues made before they are asked for" pci \
		"$(of nvme_setup_io_queues 's/^\tnr_io_queues = min.*$/\tresult = nvme_create_io_queues(dev);\n&/')" \
		'in nvme_setup_io_queues'
	hooked "queues made by somebody else" pci \
		"$(of nvme_reset_work 's/^\tnvme_dbbuf_dma_alloc.*$/&\n\tnvme_create_io_queues(dev);/')" \
		'nvme_create_io_queues is used by nvme_reset_work'
	hooked "an answer that is not looked at" pci \
		"$(of nvme_setup_io_queues '/^\tresult = nvme_set_queue_count/{n;N;d}')" 'in nvme_setup_io_queues'
}

test_disable() {
	hooked "cancelled before the device is disabled" pci \
		"$(moved_up nvme_dev_disable 'nvme_reap_pending_cqes' 'pci_free_irq_vectors' 'nvme_reap_pending_cqes(dev);')" \
		'does not stand behind what it should in nvme_dev_disable'
	hooked "cancelled after blk-mq is" pci \
		"$(of nvme_dev_disable '/nvme_reap_pending_cqes/d; s/^\tnvme_cancel_admin_tagset.*$/&\n\tnvme_reap_pending_cqes(dev);/')" \
		'does not stand behind what it should in nvme_dev_disable'
	hooked "the controller disabled after that" pci \
		"$(of nvme_dev_disable '/nvme_disable_ctrl/d; s/^\tnvme_reap_pending_cqes.*$/&\n\tnvme_disable_ctrl(\&dev->ctrl, shutdown);/')" \
		'in nvme_dev_disable'
	hooked "stopped after the controller is" pci \
		"$(of nvme_dev_disable '/nvme_quiesce_io_queues/d; s/^\tnvme_suspend_queue.*$/&\n\tnvme_quiesce_io_queues(\&dev->ctrl);/')" \
		'does not stand behind what it should in nvme_dev_disable'
	hooked "disable returns in between" pci \
		"$(of nvme_dev_disable 's/^\tnvme_suspend_queue.*$/&\n\tif (dead)\n\t\treturn;/')" \
		'return. stands before .* in nvme_dev_disable'
	hooked "disable returns before all" pci \
		"$(of nvme_dev_disable 's/^\tmutex_lock.*$/\tif (shutdown)\n\t\treturn;\n&/')" \
		'return. stands before .* in nvme_dev_disable'
	hooked "disable jumps over it" pci \
		"$(of nvme_dev_disable 's/^\tnvme_quiesce_io_queues.*$/\tif (dead)\n\t\tgoto out;\n&/; s/^\tmutex_unlock/out:\n&/')" \
		'goto. stands before .* in nvme_dev_disable'
	hooked "stopped under a condition" pci \
		"$(of nvme_dev_disable 's/^\tnvme_quiesce_io_queues.*$/\tif (!dead)\n\t&/')" 'in nvme_dev_disable'
	hooked "cancelled in a loop" pci \
		"$(of nvme_dev_disable 's/^\tnvme_reap_pending_cqes.*$/\tdo {\n\t&\n\t} while (dev->hmb);/')" \
		'does not always run in nvme_dev_disable'
	hooked "cancelled by configuration" pci \
		"$(of nvme_dev_disable 's/^\tnvme_reap_pending_cqes.*$/#ifdef CONFIG_PM\n&\n#endif/')" \
		'in nvme_dev_disable'
	hooked "stopped by configuration" pci \
		"$(of nvme_dev_disable 's/^\tnvme_quiesce_io_queues.*$/#if 0\n&\n#endif/')" \
		'in nvme_dev_disable'
	hooked "all of it by configuration" pci \
		"$(of nvme_dev_disable 's/^static .*\)$/#ifdef CONFIG_PM\n&/; s/^\}/&\n#endif/')" \
		'nvme_dev_disable under #ifdef CONFIG_PM'
	hooked "the lock dropped in between" pci \
		"$(of nvme_dev_disable 's/^\tnvme_suspend_io_queues.*$/&\n\tmutex_unlock(\&dev->shutdown_lock);\n\tmutex_lock(\&dev->shutdown_lock);/')" \
		'stands 2 times in nvme_dev_disable'
	hooked "another way to disable" pci \
		'/^static void nvme_dev_disable.*\{?$/{/;$/!s/^/static void nvme_dev_halt(struct nvme_dev *dev)\n{\n\tnvme_disable_ctrl(\&dev->ctrl, true);\n}\n\n/}' \
		'nvme_disable_ctrl is used by nvme_dev_halt'
	hooked "another who cancels" pci "$(of nvme_timeout 's/^\tnvme_dev_disable\(dev, false\);/\tnvme_cancel_tagset(\&dev->ctrl);\n&/')" \
		'nvme_cancel_tagset is used by nvme_timeout'
	hooked "disable is a macro as well" pci '1i #define nvme_dev_disable(dev, shutdown) do { } while (0)' \
		'nvme_dev_disable is defined 1 times, not once, or is a macro'
}

test_submit() {
	hooked "an early return between start and end" ioctl \
		"$(of nvme_submit_user_cmd 's/^\tif \(result\)$/\tif (ret < 0)\n\t\treturn ret;\n&/')" \
		'return. stands before .* in nvme_submit_user_cmd'
	hooked "the end depends on the status" ioctl \
		"$(of nvme_submit_user_cmd 's/^\tif \(effects\)/\tif (effects \&\& !ret)/')" 'in nvme_submit_user_cmd'
	hooked "the command sent before the start" ioctl \
		"$(moved_up nvme_submit_user_cmd 'nvme_execute_rq' 'bio = req->bio' 'ret = nvme_execute_rq(req, false);')" \
		'in nvme_submit_user_cmd'
	hooked "the start under a condition" ioctl \
		"$(of nvme_submit_user_cmd 's/^\teffects = nvme_passthru_start.*$/\tif (bufflen)\n\t&/')" 'in nvme_submit_user_cmd'
	hooked "a second caller of nvme_passthru_start" ioctl \
		"$(of nvme_uring_cmd_io 's/^\tblk_execute_rq_nowait.*$/\tnvme_passthru_start(ctrl, ns, c.common.opcode);\n&/')" \
		'nvme_passthru_start is used by nvme_uring_cmd_io'
	hooked "one in another file" ioctl \
		"$(of nvme_scan_work 's/^\tmutex_lock.*$/&\n\tnvme_passthru_start(ctrl, NULL, 0);/')" \
		'nvme_passthru_start is used by nvme_scan_work' core
	hooked "one by a pointer" ioctl '1i static void *start[] = { nvme_passthru_start };' \
		'nvme_passthru_start is used by start'
	hooked "one by a macro" ioctl '1i #define begin(c) nvme_passthru_start(c, NULL, 0)' \
		'nvme_passthru_start is used by begin'
	hooked "requests allocated elsewhere" ioctl \
		"$(of nvme_ns_head_ctrl_ioctl 's/^\tint ret;/&\n\tnvme_alloc_user_request(ns->queue, NULL, 0, 0);/')" \
		'nvme_alloc_user_request is used by nvme_ns_head_ctrl_ioctl'
}

test_uring() {
	hooked "an error that is not kept" ioctl \
		"$(of nvme_uring_cmd_io 's/^(\tif \(IS_ERR\(req\)\))$/\1 {\n\t\tret = -EAGAIN;\n\t\treturn ret;\n\t}\n&/')" \
		'in nvme_uring_cmd_io'
	hooked "sent before the queue is noted" ioctl \
		"$(moved_up nvme_uring_cmd_io '^\tblk_execute_rq_nowait' 'pdu->bio = ' 'blk_execute_rq_nowait(req, false);')" \
		'does not stand behind what it should in nvme_uring_cmd_io'
	hooked "a check before the pmap ioctls" ioctl \
		"$(of nvme_ns_chr_ioctl 's/^\tif \(is_ctrl_ioctl.*$/\tif (!open_for_write)\n\t\treturn -EPERM;\n&/')" 'in nvme_ns_chr_ioctl'
	hooked "the ioctls by another function" ioctl \
		'1i const struct file_operations other = { .unlocked_ioctl = nvme_ns_chr_ioctl };' \
		'nvme_ns_chr_ioctl is used by other'
	hooked "the head's calls under another condition" ioctl 's/^#ifdef CONFIG_NVME_MULTIPATH/#ifdef CONFIG_NVME_HEADS/' \
		'under #ifdef CONFIG_NVME_HEADS'
}

test_files() {
	hooked "a file released early" core \
		"$(of nvme_ns_chr_release 's/^\tnvme_ns_release/\tif (!inode->i_cdev)\n\t\treturn 0;\n&/')" \
		'stands 0 times in nvme_ns_chr_release'
	hooked "released by another function" core 's/^(\t\.release\t*= )nvme_ns_chr_release,/\1nvme_ns_chr_close,/' \
		'nvme_ns_chr_fops'
	hooked "no compat ioctl" core '/^\t\.compat_ioctl\t= compat_ptr_ioctl,/d' 'nvme_ns_chr_fops'
	hooked "the operations of another device" core \
'1i const void *more = { &nvme_ns_chr_fops };' \
		'nvme_ns_chr_fops is used by more'
	hooked "character devices added twice" core \
		"$(of nvme_scan_work 's/^\tmutex_lock.*$/&\n\tnvme_add_ns_cdev(NULL);/')" 'nvme_add_ns_cdev is used by nvme_scan_work'
	hooked "a device that is added otherwise" core \
		"$(of nvme_add_ns_cdev 's/^\treturn nvme_cdev_add/\tret = nvme_cdev_add/; s/^\}/\treturn ret;\n}/')" 'nvme_add_ns_cdev'
}

# The hooks go into a source that is as it was, and one that is only written otherwise.
test_hooks() {
	local name
	for name in core ioctl pci; do
		sed -i 's,^\tmutex_lock(.*$,\t/* a } that is none */\n&,' "$dir/stock/$host/$name.c"
		check "hooks: $name.c, with comments" "$TOP/scripts/apply-hooks" "$TOP/$host/hooks/$name.cocci" \
			"$dir/stock/$host/$name.c" "$dir/stock/$host" "$dir/stock/drivers/nvme/target"
		restore "$host/$name.c"
	done
	test_probe
	test_remove
	test_queues
	test_disable
	test_submit
	test_uring
	test_files
}

# stopped NAME PATTERN...: by scripts/overlay on the copy of the source.
stopped() {
	local name="overlay: $1" status=0
	shift
	"$TOP/scripts/overlay" --stock "$dir/stock" --tree "$dir/tree" >"$dir/out" 2>&1 || status=$?
	says "$name" $status "$@"
}

# A dpkg-query that knows another version of the headers.
other_headers() {
	cat <<-END
	#!/bin/sh
	case \$3 in linux-headers-*+*) echo 6.12.1-1 ;; *) exec $(type -P dpkg-query) "\$@" ;; esac
	END
}

test_overlay() {
	local header=$dir/tree/$host/pmap/ubuf.h
	check "overlay: io_uring's struct in a header" grep -q '^struct io_mapped_ubuf {$' "$header"
	check "overlay: which is not committed" [ ! -e "$TOP/$host/pmap/ubuf.h" ]
	edit $host/pci.c "$(of nvme_timeout 's/return BLK_EH_DONE/return BLK_EH_RESET_TIMER/')"
	stopped "a change of what is pinned" 'nvme_timeout has changed' 'stock code is not what'
	restore $host/pci.c
	mkdir -p "$dir/bin"
	other_headers >"$dir/bin/dpkg-query"
	chmod +x "$dir/bin/dpkg-query"
	PATH=$dir/bin:$PATH stopped "headers of another version" \
		'linux-source-6.12 is .*, linux-headers-.* is 6.12.1-1: install the same'
}

test_struct() {
	local file=$dir/rsrc.h status
	printf '#ifdef X\nstruct a {\n\tint b;\n};\n#else\nstruct a {\n\tint c;\n};\n#endif\nstruct d;\n' >"$file"
	"$TOP/scripts/stock-struct" "$file" a >"$dir/out" 2>&1 && status=0 || status=1
	says "overlay: a struct with two definitions" $status 'struct a is defined 2 times, not once'
	"$TOP/scripts/stock-struct" "$file" d >"$dir/out" 2>&1 && status=0 || status=1
	says "overlay: and with none" $status 'struct d is defined 0 times, not once'
}

test() {
	stock_source
	test_pins
	test_hooks
	test_overlay
	test_struct
}

run_test
