/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The TCG plugin windows.so.  windows.c counts instructions between the markers of
 * nvme-bench, lines.c the memory that they access there.
 *
 * Nothing here is locked: QEMU runs all emulated CPUs in one thread, as it does with
 * -icount.
 */
#ifndef PROFILE_PLUGIN_H
#define PROFILE_PLUGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * Debian's QEMU 7.2 has plugins, but no header for them: this declares the used part of
 * the interface.
 */
#define QEMU_PLUGIN_VERSION 1
#define EXPORT		    __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
typedef uint32_t qemu_plugin_meminfo_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_hwaddr;
enum { CB_NO_REGS };
enum { MEM_READS = 1, MEM_WRITES = 2 };

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
					   void (*cb)(qemu_plugin_id_t,
						      struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
					    void (*cb)(unsigned int, void *),
					    int flags, void *data);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn,
				      void (*cb)(unsigned int,
						 qemu_plugin_meminfo_t,
						 uint64_t, void *),
				      int flags, int accesses, void *data);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id,
				    void (*cb)(qemu_plugin_id_t, void *),
				    void *data);
/* Forget all registrations, and all translated code; then call @cb. */
void qemu_plugin_reset(qemu_plugin_id_t id, void (*cb)(qemu_plugin_id_t));
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *
qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
unsigned int qemu_plugin_mem_size_shift(qemu_plugin_meminfo_t info);
bool qemu_plugin_mem_is_store(qemu_plugin_meminfo_t info);
struct qemu_plugin_hwaddr *qemu_plugin_get_hwaddr(qemu_plugin_meminfo_t info,
						  uint64_t vaddr);
bool qemu_plugin_hwaddr_is_io(const struct qemu_plugin_hwaddr *haddr);
uint64_t qemu_plugin_hwaddr_phys_addr(const struct qemu_plugin_hwaddr *haddr);

/* A kernel instruction. */
struct place {
	uint64_t addr;
	enum { PLAIN, CALL, RETURN } kind;
	bool atomic;
	uint64_t mmio_reads;
	uint64_t mmio_writes;
};

/* A chain of callers: the innermost, and the node of the rest. */
struct node {
	uint32_t parent;
	uint64_t site;
};

/* The node of the system call or trap that user space has entered. */
#define ROOT 1u

/*
 * An emulated CPU.
 * @window: that it is in, or 0
 * @here: the node that it has been called from
 * @batch: number of the batch that it is at, which a window other than 2 begins
 */
struct cpu {
	int window;
	uint32_t here;
	uint32_t batch;
};

#define CPUS 16u
extern struct cpu cpus[CPUS];

/* Of a table whose size is a power of two. */
static inline uint32_t hash(uint64_t value, uint32_t size)
{
	return (uint32_t)((value * 0x9e3779b97f4a7c15ull) >> 32) % size;
}

/* The next place to look at; none is left when there have been as many tries. */
static inline uint32_t next_slot(uint32_t i, uint32_t size, uint32_t *tries)
{
	if (++*tries == size) {
		fputs("windows: a table of the plugin is full\n", stderr);
		abort();
	}
	return (i + 1) % size;
}

/* windows.c */
void print_nodes(FILE *file);

/* lines.c */
/* @name: of the file for all accesses to lines, or NULL. */
bool lines_init(const char *name);
/* Is this a locked instruction, or an xchg with memory? */
bool lines_atomic(const struct qemu_plugin_insn *insn);
/* Have the accesses of an instruction counted; its place stays where it is. */
void lines_watch(struct qemu_plugin_insn *insn, struct place *place);
void lines_print(FILE *file);
/* Write down all accesses, and forget them. */
void lines_end_row(void);
void lines_end(void);

#endif
