// SPDX-License-Identifier: GPL-2.0
/*
 * Which memory the kernel's instructions access within the windows: lines of 64 bytes,
 * and registers of devices (MMIO).
 *
 * A line is a piece of physical memory, mapped at any address, the stack included, and
 * counts once for a batch, which is windows 1 and 2 together, or window 3.  All loads and
 * stores by instructions of the kernel count, to memory of the kernel or of the program;
 * fetches of instructions, walks of page tables, and accesses by a device do not.
 */
#include "plugin.h"

#define LINE_SHIFT 6

/*
 * A line as one CPU knows it.
 * @key: its number, and the CPU; never zero
 * @read: the batch that last read it
 * @written: the batch that last wrote it
 */
struct line {
	uint64_t key;
	uint32_t read;
	uint32_t written;
};

/* An access to a line: the instruction with its callers, and the CPU. */
struct access {
	const struct place *place;
	uint64_t key;
	uint64_t vaddr;
	uint32_t node;
	uint32_t reads;
	uint32_t writes;
};

#define LINES	 (1u << 20)
#define ACCESSES (1u << 21)
static struct line *lines;
static struct access *accesses;
static const char *shared_name;
static FILE *shared;

static struct {
	uint64_t read;
	uint64_t written;
	uint64_t touched;
} total;

static struct line *find_line(uint64_t key)
{
	uint32_t i = hash(key, LINES), tries = 0;

	while (lines[i].key && lines[i].key != key)
		i = next_slot(i, LINES, &tries);
	lines[i].key = key;
	return &lines[i];
}

static struct access *find_access(const struct place *place, uint32_t node,
				  uint64_t key)
{
	uint32_t i = hash(place->addr ^ (uint64_t)node << 40 ^ key << 20,
			  ACCESSES);
	uint32_t tries = 0;

	while (accesses[i].key &&
	       (accesses[i].key != key || accesses[i].place != place ||
		accesses[i].node != node))
		i = next_slot(i, ACCESSES, &tries);
	if (!accesses[i].key)
		accesses[i] = (struct access){ .place = place,
					       .node = node,
					       .key = key };
	return &accesses[i];
}

static void note_line(struct line *line, uint32_t batch, bool store)
{
	if (line->read != batch && line->written != batch)
		total.touched++;
	if (store && line->written != batch) {
		line->written = batch;
		total.written++;
	} else if (!store && line->read != batch) {
		line->read = batch;
		total.read++;
	}
}

static void note_access(const struct place *place, uint32_t node, uint64_t key,
			uint64_t vaddr, bool store)
{
	struct access *access = find_access(place, node, key);

	access->vaddr = vaddr;
	if (store)
		access->writes++;
	else
		access->reads++;
}

static void on_memory(unsigned int number, qemu_plugin_meminfo_t info,
		      uint64_t vaddr, void *data)
{
	const struct cpu *cpu = &cpus[number % CPUS];
	bool store = qemu_plugin_mem_is_store(info);
	const struct qemu_plugin_hwaddr *hwaddr;
	struct place *place = data;
	uint64_t key, last;

	if (!cpu->window)
		return;
	hwaddr = qemu_plugin_get_hwaddr(info, vaddr);
	if (hwaddr && qemu_plugin_hwaddr_is_io(hwaddr)) {
		if (store)
			place->mmio_writes++;
		else
			place->mmio_reads++;
		return;
	}
	key = hwaddr ? qemu_plugin_hwaddr_phys_addr(hwaddr) : vaddr;
	/* an access may reach into the next line (of the same page, it is assumed) */
	last = key + (1u << qemu_plugin_mem_size_shift(info)) - 1;
	for (key >>= LINE_SHIFT; key <= last >> LINE_SHIFT; key++) {
		uint64_t of_cpu = (key + 1) * CPUS + number % CPUS;

		note_line(find_line(of_cpu), cpu->batch, store);
		if (accesses)
			note_access(place, cpu->here, of_cpu, vaddr, store);
	}
}

bool lines_atomic(const struct qemu_plugin_insn *insn)
{
	const uint8_t *bytes = qemu_plugin_insn_data(insn);
	size_t size = qemu_plugin_insn_size(insn), i;

	for (i = 0; i + 1 < size; i++) {
		switch (bytes[i]) {
		case 0xf0:
			return true;
		case 0x26:
		case 0x2e:
		case 0x36:
		case 0x3e:
		case 0x64 ... 0x67:
		case 0xf2:
		case 0xf3:
		case 0x40 ... 0x4f:
			continue;
		}
		break;
	}
	/* xchg, whose operand is not a register */
	return i + 1 < size && (bytes[i] & 0xfe) == 0x86 &&
	       bytes[i + 1] >> 6 != 3;
}

void lines_watch(struct qemu_plugin_insn *insn, struct place *place)
{
	qemu_plugin_register_vcpu_mem_cb(insn, on_memory, CB_NO_REGS,
					 MEM_READS | MEM_WRITES, place);
}

void lines_print(FILE *file)
{
	fprintf(file, "lines read %llu\n", (unsigned long long)total.read);
	fprintf(file, "lines written %llu\n",
		(unsigned long long)total.written);
	fprintf(file, "lines touched %llu\n",
		(unsigned long long)total.touched);
}

static void print_access(FILE *file, const struct access *access)
{
	fprintf(file, "access %llx %llx %u %llx %u %u %u\n",
		(unsigned long long)(access->key / CPUS - 1) << LINE_SHIFT,
		(unsigned long long)access->vaddr,
		(unsigned int)(access->key % CPUS),
		(unsigned long long)access->place->addr, access->node,
		access->reads, access->writes);
}

void lines_end_row(void)
{
	if (!shared)
		return;
	for (uint32_t i = 0; i < ACCESSES; i++) {
		if (accesses[i].key)
			print_access(shared, &accesses[i]);
		accesses[i].key = 0;
	}
	fprintf(shared, "row\n");
}

void lines_end(void)
{
	if (!shared)
		return;
	print_nodes(shared);
	if (fclose(shared))
		perror(shared_name);
}

bool lines_init(const char *name)
{
	lines = calloc(LINES, sizeof(*lines));
	if (!lines || !name)
		return lines;
	shared_name = name;
	shared = fopen(name, "w");
	accesses = calloc(ACCESSES, sizeof(*accesses));
	return shared && accesses;
}
