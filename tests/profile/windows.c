// SPDX-License-Identifier: GPL-2.0
/*
 * A QEMU TCG plugin: how often each instruction of the guest's kernel ran between
 * the markers that nvme-bench executes (see bench.h), and the memory it accessed
 * (lines.c).
 *
 *	-plugin windows.so,out=FILE[,each=FILE][,shared=FILE]
 *
 * FILE gets these lines at the end of QEMU, of which the first is there for each
 * instruction, and for each chain of its callers: addresses of call instructions, the
 * innermost first.
 *
 *	WINDOW COUNT ADDRESS CALLER...
 *	atomic|mmio-read|mmio-write COUNT ADDRESS
 *	lines read|written|touched COUNT
 *
 * Where the windows of number 3 are to be told apart, the file named by each= gets a
 * line with the instructions of each as it ends.  The one named by shared= gets all
 * accesses to lines of memory, by rows; NODE names a chain of callers, and 1 is its
 * end.
 *
 *	access PHYSICAL-ADDRESS ADDRESS CPU INSTRUCTION NODE READS WRITES
 *	row
 *	node NODE PARENT ADDRESS
 */
#include <string.h>

#include "plugin.h"

EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;
EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc,
			       char **argv);

/* Windows are numbered from 1; the last number ends a row. */
#define WINDOWS 3
#define ROW	4
#define REAP	2
#define EACH	3

struct count {
	const struct place *place;
	uint32_t node;
	uint64_t in[WINDOWS];
};

/* Open addressing; a kernel and its modules need far fewer. */
#define PLACES (1u << 22)
#define NODES  (1u << 18)
#define COUNTS (1u << 20)
static struct place *places;
static struct node *nodes;
static struct count *counts;

static const char *out = "windows.txt";
static const char *each_name;
static FILE *each;
static unsigned long long in_window[CPUS];
static qemu_plugin_id_t plugin;
static bool watching;
static uint32_t batches;

struct cpu cpus[CPUS];

static struct place *find_place(uint64_t addr)
{
	uint32_t i = hash(addr, PLACES);
	uint32_t tries = 0;

	while (places[i].addr && places[i].addr != addr)
		i = next_slot(i, PLACES, &tries);
	places[i].addr = addr;
	return &places[i];
}

static uint32_t find_node(uint32_t parent, uint64_t site)
{
	uint32_t i = hash(site ^ (uint64_t)parent << 40, NODES);
	uint32_t tries = 0;

	while (i < 2 || (nodes[i].site &&
			 (nodes[i].site != site || nodes[i].parent != parent)))
		i = next_slot(i, NODES, &tries);
	nodes[i] = (struct node){ .parent = parent, .site = site };
	return i;
}

static struct count *find_count(const struct place *place, uint32_t node)
{
	uint32_t i = hash(place->addr ^ (uint64_t)node << 40, COUNTS);
	uint32_t tries = 0;

	while (counts[i].place &&
	       (counts[i].place != place || counts[i].node != node))
		i = next_slot(i, COUNTS, &tries);
	counts[i].place = place;
	counts[i].node = node;
	return &counts[i];
}

static void on_place(unsigned int number, void *data)
{
	const struct place *place = data;
	struct cpu *cpu = &cpus[number % CPUS];

	if (!cpu->window)
		return;
	find_count(place, cpu->here)->in[cpu->window - 1]++;
	in_window[number % CPUS]++;
	if (place->kind == CALL)
		cpu->here = find_node(cpu->here, place->addr);
	else if (place->kind == RETURN && cpu->here != ROOT)
		cpu->here = nodes[cpu->here].parent;
}

static void watch(qemu_plugin_id_t id);

/* The first one begins it all: until then the guest runs at its usual speed. */
static void on_marker(unsigned int number, void *data)
{
	struct cpu *cpu = &cpus[number % CPUS];

	if (!watching) {
		watching = true;
		qemu_plugin_reset(plugin, watch);
	}
	if (each && cpu->window == EACH)
		fprintf(each, "%llu\n", in_window[number % CPUS]);
	in_window[number % CPUS] = 0;
	cpu->here = ROOT;
	cpu->window = (int)(intptr_t)data % ROW;
	if ((intptr_t)data == ROW)
		lines_end_row();
	if (cpu->window && cpu->window != REAP)
		cpu->batch = ++batches;
}

/* "nop" with 7 bytes of displacement 0x706d61NN: NN is the window, 0 its end. */
static int marker(const struct qemu_plugin_insn *insn)
{
	static const uint8_t start[] = { 0x0f, 0x1f, 0x80 };
	const uint8_t *bytes = qemu_plugin_insn_data(insn);

	if (qemu_plugin_insn_size(insn) != 7 ||
	    memcmp(bytes, start, sizeof(start)) || bytes[4] != 0x61 ||
	    bytes[5] != 0x6d || bytes[6] != 0x70 || bytes[3] > ROW)
		return -1;
	return bytes[3];
}

/* Of x86: near calls, direct or through a register or memory, and returns. */
static int kind_of(const struct qemu_plugin_insn *insn)
{
	const uint8_t *bytes = qemu_plugin_insn_data(insn);
	size_t size = qemu_plugin_insn_size(insn), i = 0;

	/* prefixes: segment, repeat, REX */
	while (i + 1 < size &&
	       (bytes[i] == 0x2e || bytes[i] == 0x3e || bytes[i] == 0xf2 ||
		bytes[i] == 0xf3 || (bytes[i] & 0xf0) == 0x40))
		i++;
	if (bytes[i] == 0xe8 ||
	    (bytes[i] == 0xff && i + 1 < size && (bytes[i + 1] >> 3 & 7) == 2))
		return CALL;
	return bytes[i] == 0xc3 || bytes[i] == 0xc2 ? RETURN : PLAIN;
}

static void count_place(struct qemu_plugin_insn *insn)
{
	struct place *place = find_place(qemu_plugin_insn_vaddr(insn));

	/* code may have been patched */
	place->kind = kind_of(insn);
	place->atomic = lines_atomic(insn);
	qemu_plugin_register_vcpu_insn_exec_cb(insn, on_place, CB_NO_REGS,
					       place);
	lines_watch(insn, place);
}

static void watch_marker(struct qemu_plugin_insn *insn)
{
	int number = marker(insn);

	if (number >= 0)
		qemu_plugin_register_vcpu_insn_exec_cb(insn, on_marker,
						       CB_NO_REGS,
						       (void *)(intptr_t)number);
}

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	(void)id;
	for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);

		if (!(qemu_plugin_insn_vaddr(insn) >> 63))
			watch_marker(insn);
		else if (watching)
			count_place(insn);
	}
}

static void print_count(FILE *file, const struct count *count, int n)
{
	if (!count->in[n])
		return;
	fprintf(file, "%d %llu %llx", n + 1, (unsigned long long)count->in[n],
		(unsigned long long)count->place->addr);
	for (uint32_t i = count->node; i != ROOT; i = nodes[i].parent)
		fprintf(file, " %llx", (unsigned long long)nodes[i].site);
	fputc('\n', file);
	if (count->place->atomic)
		fprintf(file, "atomic %llu %llx\n",
			(unsigned long long)count->in[n],
			(unsigned long long)count->place->addr);
}

static void print_mmio(FILE *file, const struct place *place)
{
	if (place->mmio_reads)
		fprintf(file, "mmio-read %llu %llx\n",
			(unsigned long long)place->mmio_reads,
			(unsigned long long)place->addr);
	if (place->mmio_writes)
		fprintf(file, "mmio-write %llu %llx\n",
			(unsigned long long)place->mmio_writes,
			(unsigned long long)place->addr);
}

void print_nodes(FILE *file)
{
	for (uint32_t i = 2; i < NODES; i++)
		if (nodes[i].site)
			fprintf(file, "node %u %u %llx\n", i, nodes[i].parent,
				(unsigned long long)nodes[i].site);
}

static void at_end(qemu_plugin_id_t id, void *data)
{
	FILE *file = fopen(out, "w");

	(void)id;
	(void)data;
	for (uint32_t i = 0; file && i < COUNTS; i++)
		for (int n = 0; counts[i].place && n < WINDOWS; n++)
			print_count(file, &counts[i], n);
	for (uint32_t i = 0; file && i < PLACES; i++)
		print_mmio(file, &places[i]);
	if (file)
		lines_print(file);
	if (!file || fclose(file))
		perror(out);
	if (each && fclose(each))
		perror(each_name);
	lines_end();
}

static void watch(qemu_plugin_id_t id)
{
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
	qemu_plugin_register_atexit_cb(id, at_end, NULL);
}

int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc,
			char **argv)
{
	const char *shared = NULL;

	(void)info;
	for (int i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "out=", 4))
			out = argv[i] + 4;
		else if (!strncmp(argv[i], "each=", 5))
			each_name = argv[i] + 5;
		else if (!strncmp(argv[i], "shared=", 7))
			shared = argv[i] + 7;
	}
	if (each_name)
		each = fopen(each_name, "w");
	places = calloc(PLACES, sizeof(*places));
	nodes = calloc(NODES, sizeof(*nodes));
	counts = calloc(COUNTS, sizeof(*counts));
	if (!places || !nodes || !counts || !lines_init(shared))
		return -1;
	plugin = id;
	watch(id);
	return 0;
}
