// SPDX-License-Identifier: GPL-2.0
/* Activity beside a storm: registrations, the block device, switching the door. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/storm.h"

static bool by_reset_too(int res)
{
	const int *t = by_reset;

	while (*t && *t != res)
		t++;
	return res && *t == res;
}

/* Register, write by it, read by it, unregister. */
static bool one_turn(struct beside *b, struct io_uring *ring, struct mem *mem, uint64_t gen)
{
	const uint32_t half = mem->len / 2, blocks = half / b->dev.block;
	uint32_t index;
	int res;

	if (!must_register(&b->dev, mem->map, mem->len, gen % 3, &index))
		return false;
	pattern_fill(mem->map, b->dev.block, b->lba, blocks, gen);
	poison(mem->map + half, half);
	res = run_rw(ring, &b->dev, OP_WRITE, index, 0, half, b->lba);
	if (!res)
		res = run_rw(ring, &b->dev, OP_READ, index, half, half, b->lba);
	if (res) {
		b->failed++;
		return CHECK(by_reset_too(res), "a new buffer: %s", err_name(res)) &&
		       must_unregister(&b->dev, index);
	}
	b->done++;
	return must_unregister(&b->dev, index) &&
	       CHECK(pattern_verify(mem->map + half, b->dev.block, b->lba, blocks, gen,
				    "a new buffer"),
		     "data by a new buffer");
}

void *beside_registers(void *arg)
{
	struct beside *b = arg;
	struct mem mem;
	struct io_uring ring;
	uint64_t gen = 0;

	if (!mem_alloc(&mem, MEM_4K, 16 * PAGE) || !ring_open(&ring, MODE_IRQ, 4))
		return NULL;
	while (!b->stop && one_turn(b, &ring, &mem, ++gen))
		;
	io_uring_queue_exit(&ring);
	mem_free(&mem);
	return NULL;
}

/* O_DIRECT on the block device: blk-mq sends it again after a reset. */
void *beside_block(void *arg)
{
	struct beside *b = arg;
	unsigned char *buf = aligned_alloc(PAGE, 8 * PAGE);
	const uint32_t len = 4 * PAGE, blocks = len / b->dev.block;
	int fd = dev_open_block(&b->dev, O_RDWR);
	off_t at = (off_t)(b->lba * b->dev.block);
	bool good = CHECK(fd >= 0 && buf, "block device: %s", strerror(errno));

	while (good && !b->stop) {
		pattern_fill(buf, b->dev.block, b->lba, blocks, ++b->done);
		poison(buf + len, len);
		good = CHECK(pwrite(fd, buf, len, at) == len, "pwrite: %s", strerror(errno)) &&
		       CHECK(pread(fd, buf + len, len, at) == len, "pread: %s", strerror(errno)) &&
		       CHECK(pattern_verify(buf + len, b->dev.block, b->lba, blocks, b->done,
					    "block device"),
			     "block data");
	}
	if (fd >= 0)
		close(fd);
	free(buf);
	return NULL;
}

void *beside_switches(void *arg)
{
	static const char *const modes[] = { "queue", "off", "on" };
	struct beside *b = arg;
	struct dev dev = { .fd = -1 };
	unsigned int i;
	char path[160];

	for (i = 0; !b->stop; i++) {
		if (dev_path(NULL, dev.path, sizeof(dev.path)) &&
		    dev_sysfs(&dev, "pmap/auto_mode", path, sizeof(path)) &&
		    write_file(path, modes[i % 3]))
			b->done++;
		else
			b->failed++;
		sleep_ms(1 + i % 7);
	}
	return NULL;
}

bool beside_start(struct beside *b, uint64_t lba, void *(*fn)(void *))
{
	*b = (struct beside){ .lba = lba };
	return dev_open(&b->dev, NULL, O_RDWR) &&
	       CHECK(!pthread_create(&b->thread, NULL, fn, b), "pthread_create");
}

void beside_stop(struct beside *b, const char *what)
{
	b->stop = true;
	if (b->thread)
		pthread_join(b->thread, NULL);
	CHECK(b->done > 1, "%s: %" PRIu64 " turns", what, b->done);
	note("%s: %" PRIu64 " turns, %" PRIu64 " cut short", what, b->done, b->failed);
	dev_close(&b->dev);
}
