/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Shared by the subjects of pmap-test: reporting, devices, rings, memory and
 * patterns.  A case is a function that CHECKs; nothing returns through longjmp
 * and nothing waits without a limit.
 */
#ifndef PMAP_TEST_UTIL_H
#define PMAP_TEST_UTIL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <linux/nvme_ioctl.h>
#include <nvme_pmap.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define KIB(n)	      ((uint64_t)(n) << 10)
#define MIB(n)	      ((uint64_t)(n) << 20)
#define PAGE	      4096u
#define PAGE_ROUND(n) (((n) + PAGE - 1) & ~(uint64_t)(PAGE - 1))

/* Opcodes of the NVM and zoned command sets, beside the helper's. */
enum {
	OP_FLUSH = 0x00,
	OP_WRITE = 0x01,
	OP_READ = 0x02,
	OP_WRITE_UNCOR = 0x04,
	OP_COMPARE = 0x05,
	OP_WRITE_ZEROES = 0x08,
	OP_DSM = 0x09,
	OP_VERIFY = 0x0c,
	OP_RESV_REGISTER = 0x0d,
	OP_RESV_REPORT = 0x0e,
	OP_RESV_ACQUIRE = 0x11,
	OP_RESV_RELEASE = 0x15,
	OP_COPY = 0x19,
	OP_ZONE_SEND = 0x79,
	OP_ZONE_RECV = 0x7a,
	OP_ZONE_APPEND = 0x7d,
	OP_VENDOR = 0x81,
};

/* Status code and its type, without the retry bits, of a positive cqe->res. */
#define NVME_STATUS(res) (0x7ff & (res))
enum {
	SC_INVALID_OPCODE = 0x01,
	SC_SGL_LEN_INVALID = 0x0f,
	SC_LBA_RANGE = 0x80,
	SC_COMPARE_FAILED = 0x285,
};

/* ---- report.c: cases and their outcome ---- */

struct test_case {
	const char *name;
	void (*run)(void);
};

struct subject {
	const char *name;
	const struct test_case *cases;
	size_t nr;
	/* The subject may leave memory pinned or the device gone at the end. */
	bool keeps_pins;
};

#define SUBJECT(ident, ...)                                                       \
	const struct subject subject_##ident = { .name = #ident,                  \
						 .cases = ident##_cases,          \
						 .nr = ARRAY_SIZE(ident##_cases), \
						 ##__VA_ARGS__ }

struct options {
	const char *dev;  /* for dev_open(NULL) */
	const char *dev2; /* a second device, for the cases that need one */
	uint64_t seed;
	unsigned int rounds; /* zero: the subject's own choice */
	unsigned int limit;  /* seconds a case may take */
	bool queues;	     /* files have passthrough queues, see dev_open() */
	bool door;	     /* storms are of programs that know nothing of pmaps */
};
extern struct options opt;

bool slow_kernel(void);
int run_subject(const struct subject *subject, int nr_names, char **names);
/* @pattern: of CASE, of SUBJECT/CASE, or of the name that the result line has. */
bool case_matches(const struct subject *subject, const struct test_case *tc, const char *pattern);

void check_failed(const char *file, int line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void check_ret_failed(const char *file, int line, long got, long want, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));
void skip_case(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
const char *err_name(long ret);
bool case_failed(void);

/*
 * Both are true when the check passes, so that a case can stop where it must.  The
 * message is evaluated after the check: errno is the call's.
 */
#define CHECK(good, ...)                                               \
	({                                                             \
		const bool check_good = (good);                        \
                                                                       \
		if (!check_good)                                       \
			check_failed(__FILE__, __LINE__, __VA_ARGS__); \
		check_good;                                            \
	})
#define CHECK_RET(got, want, ...)                                                                 \
	({                                                                                        \
		const long check_got = (got), check_want = (want);                                \
                                                                                                  \
		if (check_got != check_want)                                                      \
			check_ret_failed(__FILE__, __LINE__, check_got, check_want, __VA_ARGS__); \
		check_got == check_want;                                                          \
	})

/*
 * Run @fn in a child; its failed CHECKs fail this case too.  With @uid not
 * zero the child has given up root (and all capabilities with it).
 */
bool in_child(void (*fn)(void *), void *arg, uid_t uid);
/* A child to wait for with child_wait(); SIGKILLed when the case overruns. */
pid_t child_start(void (*fn)(void *), void *arg, uid_t uid);
bool child_wait(pid_t pid);

/* In 30 ms a signal interrupts a call of this thread, and no other; to be joined. */
pthread_t interrupt_soon(void);
/*
 * How often something is tried that has to be over before a slow device answers, where
 * a host that stalls was late.
 */
#define SLOW_TRIES 10

uint64_t now_ms(void);
void sleep_ms(unsigned int ms);

/* ---- dev.c: the device behind a /dev/ngXnY ---- */

struct dev {
	char path[64];
	int fd;
	uint32_t nsid;
	uint32_t lba;	/* bytes of data in a logical block */
	uint32_t ms;	/* bytes of metadata in a logical block */
	uint32_t block; /* bytes a block takes in the data buffer */
	uint64_t blocks;
	uint64_t mdts; /* bytes; 8 MiB where the controller has no limit */
};

/* @name: a path, "serial=S" or "serial=S:NSID"; NULL for opt.dev. */
bool dev_open(struct dev *dev, const char *name, int flags);
/* The first entry of a directory that @is says it is of. */
bool dir_find(const char *dir, bool (*is)(const char *entry, const void *arg), const void *arg,
	      char *name, size_t size);
/* Of a controller, as a file of sysfs has it. */
bool serial_is(const char *path, const char *serial);
bool dev_path(const char *name, char *path, size_t size);
void dev_close(struct dev *dev);
/*
 * Both kinds of passthrough queue, which dev_open() does where opt.queues says so;
 * with the auto door the driver attaches them.
 */
bool dev_attach(const struct dev *dev);
/* The block device of the same namespace, opened O_DIRECT; -1 if there is none. */
int dev_open_block(const struct dev *dev, int flags);
/* A file of the controller in sysfs ("reset_controller", "device/remove"). */
bool dev_sysfs(const struct dev *dev, const char *attr, char *path, size_t size);
/* The PCI function behind it, e.g. 0000:00:04.0 */
bool dev_pci(const struct dev *dev, char *name, size_t size);
/* How long commands to /dev/ngXnY may take by default; false with errno. */
bool node_timeout(const char *node, const char *ms);
/* Returns when the reset is done. */
bool reset_ctrl(const struct dev *dev);
bool write_file(const char *path, const char *text);
bool read_file(const char *path, char *buf, size_t size);
/* "0" or "1"; and the CPU that the caller runs on. */
bool cpu_online(unsigned int cpu, const char *on);
bool run_on(unsigned int cpu);
int admin_identify(int fd, unsigned int cns, uint32_t nsid, void *buf);

/* ---- ctrl.c: a controller's own node, which stays when namespaces go ---- */

enum {
	ADMIN_ATTACH = 0x15,
	ADMIN_FORMAT = 0x80,
};

/* @name: "serial=S", where ":NSID" is ignored, or the path of a namespace's node. */
bool ctrl_name(const char *name, char *node, size_t size);
/* -1: there is none at the moment, and no case fails. */
int ctrl_open(const char *name);
/* With ioctl, or on a ring of its own: 0, an NVMe status or -errno. */
int admin_ioctl(int fd, const struct nvme_passthru_cmd *cmd);
int admin_uring(int fd, const struct nvme_passthru_cmd *cmd);
int ns_format(int fd, uint32_t nsid, unsigned int lbaf, bool uring);
/* Namespace Attachment, or detachment. */
int ns_attach(int fd, uint32_t nsid, bool on);

/* A registration can ask for one of two forms, or leave the choice to the driver. */
enum { REG_PRP, REG_SGL_LIST, REG_ANY, NR_REG_FORMS };
extern const struct reg_form {
	const char *name;
	uint32_t flags;
} reg_forms[NR_REG_FORMS];

/* pmap calls with CHECKs for the cases in which they must succeed. */
bool must_register(const struct dev *dev, const void *addr, uint64_t len, uint32_t flags,
		   uint32_t *index);
bool must_unregister(const struct dev *dev, uint32_t index);
/* A passthrough queue; @flags as for nvme_pmap_attach_queue(). */
bool must_attach(int fd, uint32_t flags);
bool must_detach(int fd, uint32_t flags);
struct nvme_pmap_query queue_query(int fd);
/* Commands sent with any pmap form, by NVME_PMAP_IOC_STATS. */
uint64_t stats_total(const struct nvme_pmap_stats *stats);
/* One "pmap-@name" line of this process's fdinfo. */
bool fdinfo_counter(int fd, const char *name, uint64_t *value);

/* A file through a socket; 0 or -errno, and the file or -1. */
int send_fd(int sock, int fd);
int receive_fd(int sock);

/* ---- ring.c: rings and commands ---- */

enum mode {
	MODE_IRQ,
	MODE_POLL,
	MODE_DEFER,
	MODE_POLL_DEFER,
	MODE_SQPOLL,
	MODE_POLL_SQPOLL,
	NR_MODES,
};
extern const char *const mode_names[NR_MODES];

struct completion {
	uint64_t user_data;
	int res;
	uint64_t result;
};

bool ring_open(struct io_uring *ring, enum mode mode, unsigned int entries);
bool ring_open_cq(struct io_uring *ring, enum mode mode, unsigned int entries,
		  unsigned int cq_entries);
/* 0, or -ETIME when nothing completed in @ms. */
int ring_reap(struct io_uring *ring, struct completion *done, unsigned int ms);
/* Hand everything prepared to the kernel without reaping; 0 or -errno. */
int ring_push(struct io_uring *ring);

struct nvme_pmap_cmd cmd_rw(const struct dev *dev, uint8_t opcode, uint32_t index, uint64_t offset,
			    uint32_t len, uint64_t slba);
struct io_uring_sqe *prep_cmd(struct io_uring *ring, int fd, const struct nvme_pmap_cmd *cmd,
			      uint64_t user_data);
struct io_uring_sqe *prep_stock(struct io_uring *ring, const struct dev *dev, uint8_t opcode,
				void *buf, uint32_t len, uint64_t slba, uint64_t user_data);
/* The memory of a stock command is of buffer @index of the ring. */
static inline void sqe_fixed(struct io_uring_sqe *sqe, unsigned int index)
{
	sqe->rw_flags = IORING_URING_CMD_FIXED;
	sqe->buf_index = (uint16_t)index;
}
/* Send one command and wait for it: cqe->res, or -ETIME. */
int run_cmd(struct io_uring *ring, int fd, const struct nvme_pmap_cmd *cmd);
int run_rw(struct io_uring *ring, const struct dev *dev, uint8_t opcode, uint32_t index,
	   uint64_t offset, uint32_t len, uint64_t slba);
int run_stock(struct io_uring *ring, const struct dev *dev, uint8_t opcode, void *buf, uint32_t len,
	      uint64_t slba);

/* ---- mem.c: kinds of memory, and the pages that the kernel has pinned ---- */

enum mem_kind {
	MEM_4K,
	MEM_THP,
	MEM_HUGE,
	MEM_MEMFD,
	MEM_MEMFD_HUGE,
	MEM_SHMEM,
	MEM_MTHP, /* folios between a page and a huge one, where the machine gives such */
	NR_MEM_KINDS,
};
extern const char *const mem_names[NR_MEM_KINDS];

struct mem {
	unsigned char *map;
	size_t len;
	int fd;
};

/* False, with the reason noted, where the guest has no such memory. */
bool mem_alloc(struct mem *mem, enum mem_kind kind, size_t len);
void mem_free(struct mem *mem);
bool reserve_huge_pages(unsigned int pages);

/* A number below @limit, from any 64-bit number @from. */
typedef uint64_t draw_fn(void *from, uint64_t limit);
/* Of @all pages of huge folios another one of the same folio, or the same: easily taken for it. */
unsigned int page_like(unsigned int page, unsigned int all, draw_fn *draw, void *from);
/*
 * @nr of @all pages, none of them twice: heads, tails and others, with runs of neighbours;
 * @like: each of the folio that @page names before.
 */
void pages_choose(unsigned int *page, unsigned int nr, unsigned int all, bool like, draw_fn *draw,
		  void *from);
/* These pages of a file at neighbouring addresses, mapped and there. */
bool pages_map(unsigned char *at, int fd, const unsigned int *page, unsigned int nr);

long status_kib(pid_t pid, const char *field); /* "VmPin"; -1: no such process */
bool pins_gone(pid_t pid, unsigned int ms);    /* VmPin reached zero in time */

/* ---- pattern.c: the contents of a block ---- */

uint64_t rnd(void);
uint64_t rnd_below(uint64_t limit);
void rnd_seed(uint64_t seed);

void pattern_fill(void *buf, uint32_t block, uint64_t lba, uint64_t blocks, uint64_t gen);
/* False, with the first wrong block noted, unless @buf is as filled. */
bool pattern_verify(const void *buf, uint32_t block, uint64_t lba, uint64_t blocks, uint64_t gen,
		    const char *what);
void poison(void *buf, size_t len);
/* Bytes before the first that is not poison; @len if all is. */
size_t poisoned(const void *buf, size_t len);
/* Bytes up to the last that is not poison. */
size_t poison_resumes(const void *buf, size_t len);

/* The expected contents of the disk: a generation for each block of a window. */
struct shadow {
	uint64_t first;
	uint64_t blocks;
	uint32_t block;
	uint64_t next_gen;
	uint64_t *gen;
};

bool shadow_init(struct shadow *shadow, const struct dev *dev, uint64_t first, uint64_t blocks);
/* Give the blocks a new generation and put their contents into @buf. */
void shadow_write(struct shadow *shadow, uint64_t lba, uint64_t blocks, void *buf);
bool shadow_verify(const struct shadow *shadow, uint64_t lba, uint64_t blocks, const void *buf,
		   const char *what);
void shadow_manifest(const struct shadow *shadow);
void shadow_free(struct shadow *shadow);
/* On the host: pmap-test check-image IMAGE MANIFEST */
int check_image(int argc, char **argv);

/* ---- setup.c: the beginning of most cases ---- */

struct setup {
	struct dev dev;
	struct mem mem;
	struct io_uring ring;
	uint32_t index;	  /* all of mem, registered */
	uint64_t started; /* ms; the case's own */
};

bool setup_make(struct setup *s, const char *name, enum mode mode, enum mem_kind kind, size_t len);
void setup_close(struct setup *s);

#endif /* PMAP_TEST_UTIL_H */
