// SPDX-License-Identifier: GPL-2.0
/*
 * A module that makes the mistake it is told to make: whether each check of the
 * debug kernels is there, and ends a guest of scripts/vm.
 */
#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

static char *what = "";
module_param(what, charp, 0444);

static DEFINE_SPINLOCK(spin);
static DEFINE_MUTEX(outer);
static DEFINE_MUTEX(inner);
static int shared, room[4];

static void after_free(void)
{
	volatile char *p = kmalloc(64, GFP_KERNEL);

	kfree((void *)p);
	p[8] = 1;
}

static void leak(void)
{
	char *volatile p = kmalloc(100, GFP_KERNEL);

	/* nothing may be left of the pointer, in a register or here */
	p = NULL;
}

static void sleep_in_atomic(void)
{
	spin_lock(&spin);
	msleep(1);
	spin_unlock(&spin);
}

static void lock_order(void)
{
	mutex_lock(&outer);
	mutex_lock(&inner);
	mutex_unlock(&inner);
	mutex_unlock(&outer);
	mutex_lock(&inner);
	mutex_lock(&outer);
	mutex_unlock(&outer);
	mutex_unlock(&inner);
}

static void out_of_bounds(void)
{
	volatile int i = 4;

	room[i] = 1;
}

/* Unmapped with another size than it was mapped with. */
static void dma_size(void)
{
	struct pci_dev *pdev = pci_get_class(PCI_CLASS_STORAGE_EXPRESS, NULL);
	void *p = kmalloc(4096, GFP_KERNEL);
	dma_addr_t dma;

	if (pdev && p) {
		dma = dma_map_single(&pdev->dev, p, 4096, DMA_FROM_DEVICE);
		if (!dma_mapping_error(&pdev->dev, dma))
			dma_unmap_single(&pdev->dev, dma, 512, DMA_FROM_DEVICE);
	}
	kfree(p);
	pci_dev_put(pdev);
}

static int racer(void *unused)
{
	while (!kthread_should_stop()) {
		shared++;
		cond_resched();
	}
	return 0;
}

static void two_racers(void)
{
	struct task_struct *a = kthread_run(racer, NULL, "racer-a");
	struct task_struct *b = kthread_run(racer, NULL, "racer-b");

	msleep(5000);
	kthread_stop(a);
	kthread_stop(b);
}

static const struct {
	const char *name;
	void (*make)(void);
} mistakes[] = {
	{ "after-free", after_free },
	{ "leak", leak },
	{ "sleep-in-atomic", sleep_in_atomic },
	{ "lock-order", lock_order },
	{ "out-of-bounds", out_of_bounds },
	{ "dma-size", dma_size },
	{ "data-race", two_racers },
};

static int __init faulty_init(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(mistakes); i++)
		if (!strcmp(mistakes[i].name, what)) {
			mistakes[i].make();
			return 0;
		}
	return *what ? -EINVAL : 0;
}

static void __exit faulty_exit(void)
{
}

module_init(faulty_init);
module_exit(faulty_exit);
MODULE_DESCRIPTION("mistakes on demand, for tests");
MODULE_LICENSE("GPL");
