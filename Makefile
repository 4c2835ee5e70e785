# SPDX-License-Identifier: GPL-2.0
# The targets; `make help` lists them.  The work is done by scripts/.

KERNEL ?= 6.12
BUILD := build
# The kernels that tests run on: plain, kasan, kcsan, or several with commas.
KERNELS ?= plain
comma := ,
CFLAGS ?= -O2 -g
USER_CFLAGS := -std=gnu11 -D_GNU_SOURCE= -Wall -Wextra -Iinclude/uapi -Iinclude

PREFIX ?= /usr/local
MAN := $(wildcard docs/man/*.[1-9])
HEADERS := $(wildcard include/*.h include/uapi/linux/*.h)
CLIENT := $(wildcard tests/client/*.c tests/client/*/*.c)
BENCH := $(wildcard tests/bench/*.c)
PLUGIN := $(wildcard tests/profile/*.c)
EXAMPLES := $(patsubst include/examples/%.c,$(BUILD)/tests/%,$(wildcard include/examples/*.c))

.PHONY: all modules delta profile test test-debug debug-kernels soak hostile bench check man install-man tools clean help
.DEFAULT_GOAL := all

all: modules ## Build the fork's nvme-core.ko and nvme.ko

modules:
	@scripts/overlay --kernel $(KERNEL)

delta: ## Show the changes of the fork in the stock files
	@scripts/overlay --kernel $(KERNEL) --delta

# QUICK, DEVICE, WRITE and KERNEL reach the script through the environment.  A whole run
# writes the tables of README.md and docs/benchmarks.md.
bench: modules ## Compare the stock driver with the fork (QUICK=1, DEVICE=/dev/ngXnY)
	@scripts/bench
	@[ -n "$(QUICK)$(DEVICE)" ] || scripts/bench-readme

profile: modules ## Where the instructions of one IO go, by function (PATHS="fork:pmap:8 ...")
	@scripts/setup vm profile
	@$(MAKE) -s tools
	@scripts/profile $(PATHS)

# KERNELS=plain,kasan,kcsan runs them on the debug kernels as well.
test: modules ## Run every test (NAME=t-queues for one, CASE=queue/detach,... for some cases)
	@scripts/setup vm test bench profile
	@for kernel in $(subst $(comma), ,$(KERNELS)); do \
		[ $$kernel = plain ] || scripts/debug-kernel --kernel $(KERNEL) $$kernel || exit 1; \
	done
	@$(MAKE) -s tools
	@SOAK_MINUTES=$(SOAK_MINUTES) TEST_EXCEPT="$(EXCEPT)" tests/run -k $(KERNELS) $${CASE:+-c "$$CASE"} $(NAME)

debug-kernels: ## Build the kernels of test-debug, once
	@scripts/debug-kernel --kernel $(KERNEL)

test-debug: ## Run the tests on kernels with KASAN and the rest, and with KCSAN
	@$(MAKE) -s test KERNELS=kasan,kcsan

soak: modules ## Mix everything in one guest for MINUTES=10
	@scripts/setup vm test
	@scripts/soak $(MINUTES)

# KERNELS=kasan for the kernel that checks itself; HOSTILE_SEED for the draws of another run.
hostile: modules ## A hostile user, and all disturbed, for MINUTES=30 (KERNELS=kasan)
	@scripts/setup vm test
	@[ $(KERNELS) = plain ] || scripts/debug-kernel --kernel $(KERNEL) $(KERNELS)
	@scripts/hostile $(KERNELS) $(MINUTES)

check: ## Static checks: compilers, analyzers, style, spelling, english, names, calls (STEP=cocci for one)
	@scripts/check --kernel $(KERNEL) $(STEP)

man: ## Check the man pages
	@scripts/check man

# DESTDIR and PREFIX as usual.
install-man: ## Install the man pages below DESTDIR and PREFIX=/usr/local
	@for page in $(MAN); do \
		install -D -m 644 $$page "$(DESTDIR)$(PREFIX)/share/man/man$${page##*.}/$${page##*/}" || exit 1; \
	done

tools: $(BUILD)/tests/nvme-bench $(BUILD)/tests/pmap-test $(EXAMPLES) \
	$(BUILD)/tests/windows.so

$(BUILD)/tests/nvme-bench: $(BENCH) $(wildcard tests/bench/*.h) $(HEADERS)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(USER_CFLAGS) -static $(BENCH) -o $@ -luring -lpthread

$(BUILD)/tests/pmap-test: $(CLIENT) $(wildcard tests/client/*/*.h) $(HEADERS)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(USER_CFLAGS) -Itests/client -static $(CLIENT) -o $@ -luring -lpthread

$(BUILD)/tests/windows.so: $(PLUGIN) $(wildcard tests/profile/*.h)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -std=gnu11 -Wall -Wextra -shared -fPIC -fvisibility=hidden $(PLUGIN) -o $@

$(EXAMPLES): $(BUILD)/tests/%: include/examples/%.c $(HEADERS)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(USER_CFLAGS) -static $< -o $@ -luring -lpthread

clean: ## Remove build/
	rm -rf $(BUILD)

help: ## This list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
