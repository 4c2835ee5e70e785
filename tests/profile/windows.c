// SPDX-License-Identifier: GPL-2.0
/*
 * A QEMU TCG plugin: how often each instruction of the guest's kernel ran between
 * the markers that nvme-bench executes (see bench.h).  Debian's QEMU 7.2 has
 * plugins, but no header for them: what is used of the interface is declared here.
 *
 *	-plugin windows.so,out=FILE[,each=FILE]
 *
 * FILE gets a line "WINDOW COUNT ADDRESS CALLER..." for each, at the end of QEMU;
 * callers are addresses of call instructions, the innermost first.  Where the windows
 * of number 3 are to be told apart, another file gets a line with the instructions of
 * each as it ends.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define QEMU_PLUGIN_VERSION 1
#define EXPORT		    __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { CB_NO_REGS };

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
					   void (*cb)(qemu_plugin_id_t,
						      struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
					    void (*cb)(unsigned int, void *),
					    int flags, void *data);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id,
				    void (*cb)(qemu_plugin_id_t, void *),
				    void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *
qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);

EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;
EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc,
			       char **argv);

/* Windows are numbered from 1. */
#define WINDOWS 3
#define EACH	3

/* A kernel instruction. */
struct place {
	uint64_t addr;
	enum { PLAIN, CALL, RETURN } kind;
};

/* A chain of callers: the innermost, and the node of the rest. */
struct node {
	uint32_t parent;
	uint64_t site;
};

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
static int window;
static unsigned long long in_window;
static uint32_t here = 1; /* node 1 is the root: entered from user space */

static uint32_t hash(uint64_t value, uint32_t size)
{
	return (uint32_t)((value * 0x9e3779b97f4a7c15ull) >> 32) % size;
}

static struct place *find_place(uint64_t addr)
{
	uint32_t i = hash(addr, PLACES);

	while (places[i].addr && places[i].addr != addr)
		i = (i + 1) % PLACES;
	places[i].addr = addr;
	return &places[i];
}

static uint32_t find_node(uint32_t parent, uint64_t site)
{
	uint32_t i = hash(site ^ (uint64_t)parent << 40, NODES);

	while (i < 2 || (nodes[i].site &&
			 (nodes[i].site != site || nodes[i].parent != parent)))
		i = (i + 1) % NODES;
	nodes[i] = (struct node){ .parent = parent, .site = site };
	return i;
}

static struct count *find_count(const struct place *place, uint32_t node)
{
	uint32_t i = hash(place->addr ^ (uint64_t)node << 40, COUNTS);

	while (counts[i].place &&
	       (counts[i].place != place || counts[i].node != node))
		i = (i + 1) % COUNTS;
	counts[i].place = place;
	counts[i].node = node;
	return &counts[i];
}

static void on_place(unsigned int cpu, void *data)
{
	const struct place *place = data;

	(void)cpu;
	if (!window)
		return;
	find_count(place, here)->in[window - 1]++;
	in_window++;
	if (place->kind == CALL)
		here = find_node(here, place->addr);
	else if (place->kind == RETURN && here != 1)
		here = nodes[here].parent;
}

static void on_marker(unsigned int cpu, void *data)
{
	(void)cpu;
	if (each && window == EACH)
		fprintf(each, "%llu\n", in_window);
	in_window = 0;
	here = 1;
	window = (int)(intptr_t)data;
}

/* "nop" with 7 bytes of displacement 0x706d61NN: NN is the window, 0 its end. */
static int marker(const struct qemu_plugin_insn *insn)
{
	static const uint8_t start[] = { 0x0f, 0x1f, 0x80 };
	const uint8_t *bytes = qemu_plugin_insn_data(insn);

	if (qemu_plugin_insn_size(insn) != 7 ||
	    memcmp(bytes, start, sizeof(start)) || bytes[4] != 0x61 ||
	    bytes[5] != 0x6d || bytes[6] != 0x70 || bytes[3] > WINDOWS)
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
	qemu_plugin_register_vcpu_insn_exec_cb(insn, on_place, CB_NO_REGS,
					       place);
}

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	(void)id;
	for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uint64_t addr = qemu_plugin_insn_vaddr(insn);
		int number;

		if (addr >> 63) {
			count_place(insn);
			continue;
		}
		number = marker(insn);
		if (number >= 0)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_marker,
							       CB_NO_REGS,
							       (void *)(intptr_t)
								       number);
	}
}

static void print_count(FILE *file, const struct count *count, int n)
{
	if (!count->in[n])
		return;
	fprintf(file, "%d %llu %llx", n + 1, (unsigned long long)count->in[n],
		(unsigned long long)count->place->addr);
	for (uint32_t i = count->node; i != 1; i = nodes[i].parent)
		fprintf(file, " %llx", (unsigned long long)nodes[i].site);
	fputc('\n', file);
}

static void at_end(qemu_plugin_id_t id, void *data)
{
	FILE *file = fopen(out, "w");

	(void)id;
	(void)data;
	for (uint32_t i = 0; file && i < COUNTS; i++)
		for (int n = 0; counts[i].place && n < WINDOWS; n++)
			print_count(file, &counts[i], n);
	if (!file || fclose(file))
		perror(out);
	if (each && fclose(each))
		perror(each_name);
}

int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc,
			char **argv)
{
	(void)info;
	for (int i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "out=", 4))
			out = argv[i] + 4;
		else if (!strncmp(argv[i], "each=", 5))
			each_name = argv[i] + 5;
	}
	if (each_name)
		each = fopen(each_name, "w");
	places = calloc(PLACES, sizeof(*places));
	nodes = calloc(NODES, sizeof(*nodes));
	counts = calloc(COUNTS, sizeof(*counts));
	if (!places || !nodes || !counts)
		return -1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
	qemu_plugin_register_atexit_cb(id, at_end, NULL);
	return 0;
}
