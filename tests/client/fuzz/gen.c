// SPDX-License-Identifier: GPL-2.0
/* Fuzzing: random values, and arguments that are mostly right. */
#include <sys/ioctl.h>

#include "fuzz/fuzz.h"

/* splitmix64, one state for each worker. */
uint64_t draw(struct worker *w)
{
	uint64_t x = w->state += 0x9e3779b97f4a7c15ull;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

uint64_t draw_below(struct worker *w, uint64_t limit) { return draw(w) % limit; }

unsigned int draw_file(struct worker *w) { return (unsigned int)draw_below(w, NR_FILES); }

static const uint64_t boundaries[] = {
	0,
	1,
	2,
	3,
	4,
	8,
	511,
	512,
	513,
	4092,
	4095,
	4096,
	4097,
	65535,
	65536,
	65537,
	(1ull << 31) - 1,
	1ull << 31,
	(1ull << 31) + 1,
	(1ull << 32) - 4,
	(1ull << 32) - 1,
	1ull << 32,
	(1ull << 32) + 1,
	1ull << 39,
	(1ull << 39) + 4,
	(1ull << 63) - 1,
	1ull << 63,
	-4096ull,
	-512ull,
	-4ull,
	-1ull,
};

uint64_t odd_value(struct worker *w, uint64_t base)
{
	uint64_t bound = boundaries[draw_below(w, ARRAY_SIZE(boundaries))];

	switch (draw_below(w, 6)) {
	case 0:
		return draw(w);
	case 1:
		return base + bound;
	case 2:
		return base - bound;
	case 3:
		return base ^ 1ull << draw_below(w, 64);
	default:
		return bound;
	}
}

struct field {
	uint8_t at, size;
};

static void mutate_field(struct worker *w, unsigned char *p, struct field f)
{
	uint64_t value = 0;

	memcpy(&value, p + f.at, f.size);
	value = odd_value(w, value);
	memcpy(p + f.at, &value, f.size);
}

/* One field, or two. */
static void mutate(struct worker *w, void *p, const struct field *fields, size_t nr)
{
	mutate_field(w, p, fields[draw_below(w, nr)]);
	if (chance(w, 300))
		mutate_field(w, p, fields[draw_below(w, nr)]);
}

#define FIELD(type, name)                                                     \
	{                                                                     \
		offsetof(struct type, name), sizeof(((struct type *)0)->name) \
	}

/* ---- arguments of ioctls ---- */

static const struct field query_fields[] = {
	FIELD(nvme_pmap_query, size),
	FIELD(nvme_pmap_query, flags),
	FIELD(nvme_pmap_query, version),
	FIELD(nvme_pmap_query, pinned),
};

static const struct field register_fields[] = {
	FIELD(nvme_pmap_register, size),  FIELD(nvme_pmap_register, flags),
	FIELD(nvme_pmap_register, addr),  FIELD(nvme_pmap_register, len),
	FIELD(nvme_pmap_register, index), FIELD(nvme_pmap_register, form),
};

static const struct field unregister_fields[] = {
	FIELD(nvme_pmap_unregister, size),
	FIELD(nvme_pmap_unregister, flags),
	FIELD(nvme_pmap_unregister, index),
	FIELD(nvme_pmap_unregister, reserved),
};

static const struct field attach_fields[] = {
	FIELD(nvme_pmap_attach, size),
	FIELD(nvme_pmap_attach, flags),
	FIELD(nvme_pmap_attach, fd),
	FIELD(nvme_pmap_attach, cpu),
};

static const struct {
	const struct field *fields;
	size_t nr, size;
} args[] = {
	{ query_fields, ARRAY_SIZE(query_fields), sizeof(struct nvme_pmap_query) },
	{ register_fields, ARRAY_SIZE(register_fields), sizeof(struct nvme_pmap_register) },
	{ unregister_fields, ARRAY_SIZE(unregister_fields), sizeof(struct nvme_pmap_unregister) },
	{ query_fields, 2, sizeof(struct nvme_pmap_stats) },
	{ attach_fields, ARRAY_SIZE(attach_fields), sizeof(struct nvme_pmap_attach) },
	{ attach_fields, 2, sizeof(struct nvme_pmap_detach) },
};

/* A buffer at an address that memory can have: into the hole with it. */
static void keep_to_hole(struct nvme_pmap_register *reg)
{
	if (reg->addr >= LOWEST_ADDR && reg->addr < HIGHEST_ADDR)
		reg->addr = (uintptr_t)fuzz.hole + (reg->addr - (uintptr_t)fuzz.hole) % HOLE_LEN;
}

/* @nr: K_QUERY to K_DETACH; @arg has room for a page. */
void mutate_arg(struct worker *w, unsigned int nr, void *arg)
{
	if (chance(w, 900)) {
		mutate(w, arg, args[nr].fields, args[nr].nr);
	} else if (chance(w, 500)) {
		/* a newer program's structure, of which the rest is zero or not */
		uint32_t from = chance(w, 500) ? 8 : (uint32_t)args[nr].size;
		uint32_t size = from + (uint32_t)draw_below(w, PAGE - from + 2);

		memcpy(arg, &size, sizeof(size));
		if (size <= PAGE && chance(w, 500))
			((unsigned char *)arg)[size - 1] ^= (unsigned char)draw(w);
	} else {
		size_t i;

		for (i = 4; i < args[nr].size; i++)
			((unsigned char *)arg)[i] = (unsigned char)draw(w);
	}
	if (nr == K_REGISTER)
		keep_to_hole(arg);
}

/* A queue of the file's own, or of another file; of any descriptor, now and then. */
struct nvme_pmap_attach gen_attach(struct worker *w, unsigned int file)
{
	struct nvme_pmap_attach att = { .size = sizeof(att) };

	if (file_queues(file) == QUEUED_POLLED || (file_queues(file) != QUEUED_IRQ && draw(w) % 2))
		att.flags = NVME_PMAP_QUEUE_POLLED;
	if (chance(w, 300)) {
		att.flags |= NVME_PMAP_QUEUE_SHARE;
		att.fd = chance(w, 900) ? fuzz.fd[draw_file(w)] : (int32_t)draw_below(w, 600) - 10;
	}
	return att;
}

/* Any ioctl that is neither ours nor stock's: direction, size, type and number. */
unsigned long gen_near_ioctl(struct worker *w)
{
	unsigned int nr = 0xb0 + (unsigned int)draw_below(w, 16);
	unsigned int dir = (unsigned int)draw_below(w, 4), type = chance(w, 900) ? 'N' : 'O';
	unsigned int size = chance(w, 500) ? 0 : (unsigned int)draw_below(w, 1 << 14);

	if (!dir && !size && type == 'N' && nr < 0xb6)
		nr += 6;
	return _IOC(dir, type, nr, size);
}

uint32_t gen_near_op(struct worker *w)
{
	static const uint32_t ops[] = {
		0,
		~0u,
		NVME_URING_CMD_ADMIN,
		NVME_URING_CMD_ADMIN_VEC,
		NVME_PMAP_IOC_QUERY,
		NVME_PMAP_IOC_REGISTER,
		NVME_PMAP_IOC_ATTACH,
		_IO('N', 0xb8),
		_IOWR('N', 0xb8, struct nvme_uring_cmd) + 1,
		_IOWR('N', 0xb7, struct nvme_pmap_cmd),
		_IOWR('N', 0xb9, struct nvme_pmap_cmd),
		_IOR('N', 0xb8, struct nvme_pmap_cmd),
		_IOW('N', 0xb8, struct nvme_pmap_cmd),
	};

	return ops[draw_below(w, ARRAY_SIZE(ops))];
}

/* ---- commands ---- */

static const struct field cmd_fields[] = {
	FIELD(nvme_pmap_cmd, opcode),
	FIELD(nvme_pmap_cmd, flags),
	FIELD(nvme_pmap_cmd, rsvd1),
	FIELD(nvme_pmap_cmd, nsid),
	FIELD(nvme_pmap_cmd, cdw2),
	FIELD(nvme_pmap_cmd, cdw3),
	FIELD(nvme_pmap_cmd, index),
	FIELD(nvme_pmap_cmd, rsvd2),
	FIELD(nvme_pmap_cmd, offset),
	FIELD(nvme_pmap_cmd, rsvd3),
	FIELD(nvme_pmap_cmd, data_len),
	FIELD(nvme_pmap_cmd, cdw10),
	FIELD(nvme_pmap_cmd, cdw11),
	FIELD(nvme_pmap_cmd, cdw12),
	FIELD(nvme_pmap_cmd, cdw13),
	FIELD(nvme_pmap_cmd, cdw14),
	FIELD(nvme_pmap_cmd, cdw15),
	FIELD(nvme_pmap_cmd, timeout_ms),
	FIELD(nvme_pmap_cmd, rsvd4),
	/* again: the fields that decide where the data goes */
	FIELD(nvme_pmap_cmd, index),
	FIELD(nvme_pmap_cmd, offset),
	FIELD(nvme_pmap_cmd, data_len),
	FIELD(nvme_pmap_cmd, cdw12),
	FIELD(nvme_pmap_cmd, offset),
	FIELD(nvme_pmap_cmd, data_len),
	FIELD(nvme_pmap_cmd, cdw12),
	{ offsetof(struct nvme_pmap_cmd, cdw12), 2 },
};

static uint8_t draw_opcode(struct worker *w)
{
	static const uint8_t ops[] = {
		OP_READ,   OP_READ,	    OP_READ,	OP_READ,	OP_READ,
		OP_READ,   OP_READ,	    OP_READ,	OP_READ,	OP_WRITE,
		OP_WRITE,  OP_WRITE,	    OP_COMPARE, OP_DSM,		OP_FLUSH,
		OP_VERIFY, OP_WRITE_ZEROES, OP_COPY,	OP_RESV_REPORT, OP_ZONE_APPEND,
	};

	return chance(w, 20) ? (uint8_t)draw(w) : ops[draw_below(w, ARRAY_SIZE(ops))];
}

static uint32_t draw_index(struct worker *w, unsigned int file)
{
	unsigned int i;
	uint32_t of_worker = (uint32_t)(draw_below(w, NR_WORKERS) * 8 + draw_below(w, NR_SLOTS));

	if (chance(w, 20))
		return (uint32_t)odd_value(w, of_worker);
	if (file < NR_KEPT && chance(w, 500))
		return PRP_INDEX + (uint32_t)draw_below(w, NR_SLOTS);
	/* from there on the next that is registered, if there is one */
	for (i = 0; i < NR_WORKERS * 8; i++) {
		uint32_t index = (of_worker + i) % (NR_WORKERS * 8);

		if (__atomic_load_n(&fuzz.guess[file][index], __ATOMIC_RELAXED))
			return index;
	}
	return of_worker;
}

/* A slice of a buffer of @len bytes: mostly short, often at one of the ends. */
static void draw_slice(struct worker *w, uint32_t len, struct nvme_pmap_cmd *c)
{
	uint32_t max = len / 512, blocks = 1 + (uint32_t)draw_below(w, chance(w, 960) ? 24 : 1100);
	uint32_t spare;

	if (blocks > max)
		blocks = max ? max : 1;
	c->data_len = blocks * 512;
	spare = len > c->data_len ? len - c->data_len : 0;
	switch (draw_below(w, 4)) {
	case 0:
		c->offset = 0;
		break;
	case 1:
		c->offset = spare;
		break;
	case 2:
		c->offset = draw_below(w, spare / PAGE + 1) * PAGE;
		break;
	default:
		c->offset = draw_below(w, spare / 4 + 1) * 4;
	}
}

static void set_slba(struct nvme_pmap_cmd *c, uint64_t slba)
{
	c->cdw10 = (uint32_t)slba;
	c->cdw11 = (uint32_t)(slba >> 32);
}

/* Counts as the opcode has them, so that they match data_len. */
static void set_count(struct nvme_pmap_cmd *c)
{
	switch (c->opcode) {
	case OP_DSM:
		c->data_len = c->data_len / 16 > 256 ? 4096 : c->data_len;
		c->cdw10 = c->data_len / 16 - 1;
		c->cdw11 = 0;
		c->cdw12 = 0;
		break;
	case OP_COPY:
		c->data_len = c->data_len / 32 > 64 ? 2048 : c->data_len;
		c->cdw12 = c->data_len / 32 - 1;
		break;
	case OP_RESV_REPORT:
		c->cdw10 = c->data_len / 4 - 1;
		break;
	default:
		c->cdw12 = c->data_len / 512 - 1;
	}
}

/*
 * A worker with write access must not write to the compared part of the disk, unless
 * the driver lets a command write more than its data_len.
 */
static void keep_to_scratch(struct worker *w, struct nvme_pmap_cmd *c)
{
	uint32_t blocks = c->data_len / 512;

	switch (c->opcode) {
	case OP_READ:
	case OP_COMPARE:
	case OP_VERIFY:
	case OP_FLUSH:
	case OP_RESV_REPORT:
		return;
	case OP_DSM: /* other threads change the memory of the ranges */
		c->cdw11 &= ~4u;
		return;
	case OP_WRITE:
		/* the last blocks of the scratch, as often as not */
		if (blocks < 2048 && chance(w, 500)) {
			set_slba(c, SCRATCH_END - blocks);
			return;
		}
		break;
	}
	set_slba(c, SCRATCH_FIRST + draw_below(w, (SCRATCH_END - SCRATCH_FIRST) / 2));
}

struct nvme_pmap_cmd gen_pmap(struct worker *w, unsigned int file)
{
	struct nvme_pmap_cmd c = { .opcode = draw_opcode(w), .nsid = fuzz.dev.nsid };
	uint32_t len = 0;

	c.index = draw_index(w, file);
	if (c.index < NR_GUESSED)
		len = __atomic_load_n(&fuzz.guess[file][c.index], __ATOMIC_RELAXED);
	draw_slice(w, len ? len : 2 * PAGE, &c);
	set_slba(&c, draw_below(w, fuzz.dev.blocks));
	set_count(&c);
	if (chance(w, 330)) {
		mutate(w, &c, cmd_fields, ARRAY_SIZE(cmd_fields));
	} else if (chance(w, 15)) {
		size_t i;

		for (i = 0; i < sizeof(c); i++)
			((unsigned char *)&c)[i] = (unsigned char)draw(w);
	}
	if (file_writable(file))
		keep_to_scratch(w, &c);
	/* A time-out resets the controller, which lifetime/persistence.c tests. */
	if (c.timeout_ms && c.timeout_ms < 60000)
		c.timeout_ms += 60000;
	return c;
}

/* Memory that the stock door cannot use; never NULL, which means no data. */
static uint64_t bad_pointer(struct worker *w)
{
	const uint64_t bad[] = {
		(uintptr_t)w->args + ARGS_LEN, (uintptr_t)w->readonly, 1ull << 63, 4096, -4096ull,
		(1ull << 47) - PAGE,
	};

	return bad[draw_below(w, ARRAY_SIZE(bad))];
}

/*
 * The stock driver does not check the length of PRPs: opcode, count and length always
 * agree.  Spoilt commands are refused before they get PRPs.
 */
struct nvme_uring_cmd gen_stock(struct worker *w, unsigned int file, bool vec)
{
	uint32_t blocks = 1 + (uint32_t)draw_below(w, STOCK_LEN / 512 / 2);
	struct nvme_uring_cmd c = {
		.opcode = chance(w, 300) ? OP_WRITE : OP_READ,
		.nsid = fuzz.dev.nsid,
		.addr = (uintptr_t)w->stock + draw_below(w, STOCK_LEN / 8) * 4,
		.data_len = blocks * 512,
		.cdw10 = (uint32_t)draw_below(w, fuzz.dev.blocks - blocks),
		.cdw12 = blocks - 1,
	};

	if (c.opcode == OP_WRITE && file_writable(file))
		c.cdw10 = SCRATCH_END - blocks;
	switch (draw_below(w, 12)) {
	case 0:
		c.opcode = (uint8_t)(0x80 | draw(w));
		break;
	case 1:
		c.flags = (uint8_t)(1 + draw_below(w, 255));
		break;
	case 2:
		c.addr = bad_pointer(w);
		break;
	case 3:
		c.metadata = (uintptr_t)w->stock;
		c.metadata_len = 8;
		break;
	case 4:
		/* the driver says so on the console each time */
		c.nsid += chance(w, 5);
		break;
	}
	if (vec && chance(w, 100))
		c.addr = bad_pointer(w);
	return c;
}
