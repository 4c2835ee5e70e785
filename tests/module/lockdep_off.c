// SPDX-License-Identifier: GPL-2.0
/*
 * Lockdep stops watching, as after its first report; everything else of a debug kernel
 * goes on.  Stock's recovery and its suspend freeze queues in one worker and thaw them in
 * another, and lockdep complains, also without commands of ours.  For tests/t-hostile.sh.
 */
#include <linux/debug_locks.h>
#include <linux/module.h>

static int __init lockdep_off_init(void)
{
	/* not debug_locks_off(), which makes the console verbose */
	WRITE_ONCE(debug_locks, 0);
	return 0;
}
module_init(lockdep_off_init);

static void __exit lockdep_off_exit(void)
{
}
module_exit(lockdep_off_exit);

MODULE_DESCRIPTION("test: lockdep off, the rest of a debug kernel on");
MODULE_LICENSE("GPL");
