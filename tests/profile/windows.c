// SPDX-License-Identifier: GPL-2.0
/*
 * A QEMU TCG plugin: how often each instruction of the guest's kernel ran between
 * the markers that nvme-bench executes (see bench.h).  Debian's QEMU 7.2 has
 * plugins, but no header for them: what is used of the interface is declared here.
 *
 *	-plugin windows.so,out=FILE[,each=FILE]
 *
 * FILE gets a line "WINDOW ADDRESS COUNT" for each, at the end of QEMU.  Where the
 * windows of number 3 are to be told apart, another file gets a line with the
 * instructions of each as it ends.
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

/* A kernel instruction; windows are numbered from 1. */
#define WINDOWS 3
#define EACH	3
struct place {
	uint64_t addr;
	uint64_t count[WINDOWS];
};

/* Open addressing; a kernel and its modules run far fewer instructions. */
#define PLACES (1u << 22)
static struct place *places;
static const char *out = "windows.txt";
static const char *each_name;
static FILE *each;
static int window;
static unsigned long long in_window;

static struct place *find(uint64_t addr)
{
	uint32_t i = (uint32_t)((addr * 0x9e3779b97f4a7c15ull) >> 42);

	while (places[i].addr && places[i].addr != addr)
		i = (i + 1) % PLACES;
	places[i].addr = addr;
	return &places[i];
}

static void on_place(unsigned int cpu, void *data)
{
	struct place *place = data;

	(void)cpu;
	if (!window)
		return;
	place->count[window - 1]++;
	in_window++;
}

static void on_marker(unsigned int cpu, void *data)
{
	(void)cpu;
	if (each && window == EACH)
		fprintf(each, "%llu\n", in_window);
	in_window = 0;
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

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	(void)id;
	for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uint64_t addr = qemu_plugin_insn_vaddr(insn);
		int number;

		if (addr >> 63) {
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_place,
							       CB_NO_REGS,
							       find(addr));
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

static void at_end(qemu_plugin_id_t id, void *data)
{
	FILE *file = fopen(out, "w");

	(void)id;
	(void)data;
	for (uint32_t i = 0; file && i < PLACES; i++)
		for (int w = 0; w < WINDOWS; w++)
			if (places[i].count[w])
				fprintf(file, "%d %llx %llu\n", w + 1,
					(unsigned long long)places[i].addr,
					(unsigned long long)places[i].count[w]);
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
	if (!places)
		return -1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
	qemu_plugin_register_atexit_cb(id, at_end, NULL);
	return 0;
}
