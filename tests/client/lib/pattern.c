// SPDX-License-Identifier: GPL-2.0
/*
 * The contents of a block.  The first two words of a block are its LBA and its
 * generation, so that a wrong block says where it came from; the rest follows
 * from both, so that two blocks have no word in common.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/util.h"

#define POISON 0x5a5a5a5a5a5a5a5aull

/* Slices begin at any multiple of four bytes. */
typedef uint64_t __attribute__((aligned(1), may_alias)) word;

static uint64_t state = 1;

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

/* splitmix64; not for use by several threads. */
uint64_t rnd(void) { return mix(state += 0x9e3779b97f4a7c15ull); }

uint64_t rnd_below(uint64_t limit) { return rnd() % limit; }

void rnd_seed(uint64_t seed) { state = seed; }

static void fill_block(word *w, uint32_t words, uint64_t lba, uint64_t gen)
{
	uint64_t h = mix(mix(lba + 1) ^ (gen << 1));
	uint32_t j;

	w[0] = lba;
	w[1] = gen;
	for (j = 2; j < words; j++)
		w[j] = h + j * 0x9e3779b97f4a7c15ull;
}

void pattern_fill(void *buf, uint32_t block, uint64_t lba, uint64_t blocks, uint64_t gen)
{
	unsigned char *p = buf;

	for (; blocks; blocks--, lba++, p += block)
		fill_block((word *)(void *)p, block / 8, lba, gen);
}

bool pattern_verify(const void *buf, uint32_t block, uint64_t lba, uint64_t blocks, uint64_t gen,
		    const char *what)
{
	const unsigned char *p = buf;
	word want[block / 8];
	uint32_t j;

	for (; blocks; blocks--, lba++, p += block) {
		const word *w = (const word *)(const void *)p;

		fill_block(want, block / 8, lba, gen);
		if (!memcmp(p, want, block / 8 * 8))
			continue;
		for (j = 0; j + 1 < block / 8 && w[j] == want[j]; j++)
			;
		note("%s: lba %" PRIu64 " gen %" PRIu64
		     ": wrong from byte %u (buffer byte %td): %016" PRIx64 " for %016" PRIx64
		     "; the block says lba %" PRIu64 " gen %" PRIu64,
		     what, lba, gen, j * 8, p - (const unsigned char *)buf + j * 8, w[j], want[j],
		     w[0], w[1]);
		return false;
	}
	return true;
}

void poison(void *buf, size_t len) { memset(buf, (int)(POISON & 0xff), len); }

size_t poisoned(const void *buf, size_t len)
{
	const unsigned char *p = buf;
	size_t i = 0;

	for (; i + 64 <= len; i += 64) {
		const word *w = (const word *)(const void *)(p + i);
		uint64_t diff = 0;
		int j;

		for (j = 0; j < 8; j++)
			diff |= w[j] ^ POISON;
		if (diff)
			break;
	}
	while (i < len && p[i] == (POISON & 0xff))
		i++;
	return i;
}

size_t poison_resumes(const void *buf, size_t len)
{
	const unsigned char *p = buf;

	while (len && p[len - 1] == (POISON & 0xff))
		len--;
	return len;
}

bool shadow_init(struct shadow *shadow, const struct dev *dev, uint64_t first, uint64_t blocks)
{
	*shadow = (struct shadow){
		.first = first, .blocks = blocks, .block = dev->block, .next_gen = 1
	};
	shadow->gen = calloc(blocks, sizeof(*shadow->gen));
	return CHECK(shadow->gen && first + blocks <= dev->blocks, "no room for %" PRIu64 " blocks",
		     blocks);
}

void shadow_write(struct shadow *shadow, uint64_t lba, uint64_t blocks, void *buf)
{
	uint64_t gen = shadow->next_gen++, i;

	for (i = 0; i < blocks; i++)
		shadow->gen[lba - shadow->first + i] = gen;
	pattern_fill(buf, shadow->block, lba, blocks, gen);
}

/* Neighbouring blocks with the same generation, from @lba on. */
static uint64_t same_gen(const struct shadow *shadow, uint64_t lba, uint64_t blocks)
{
	const uint64_t *gen = &shadow->gen[lba - shadow->first];
	uint64_t n = 1;

	while (n < blocks && gen[n] == gen[0])
		n++;
	return n;
}

bool shadow_verify(const struct shadow *shadow, uint64_t lba, uint64_t blocks, const void *buf,
		   const char *what)
{
	const unsigned char *p = buf;
	uint64_t n;

	for (; blocks; blocks -= n, lba += n, p += n * shadow->block) {
		n = same_gen(shadow, lba, blocks);
		if (!pattern_verify(p, shadow->block, lba, n, shadow->gen[lba - shadow->first],
				    what))
			return false;
	}
	return true;
}

void shadow_manifest(const struct shadow *shadow)
{
	uint64_t lba = shadow->first, left = shadow->blocks, n;

	for (; left; left -= n, lba += n) {
		n = same_gen(shadow, lba, left);
		printf("manifest %u %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", shadow->block, lba, n,
		       shadow->gen[lba - shadow->first]);
	}
	printf("manifest end\n");
}

void shadow_free(struct shadow *shadow)
{
	free(shadow->gen);
	shadow->gen = NULL;
}

static bool check_run(int fd, uint32_t block, uint64_t lba, uint64_t n, uint64_t gen)
{
	size_t len = n * block;
	void *buf = malloc(len);
	bool good = buf && pread(fd, buf, len, (off_t)(lba * block)) == (ssize_t)len &&
		    pattern_verify(buf, block, lba, n, gen, "image");

	free(buf);
	return good;
}

/* Compare an image with the manifest that a guest printed. */
int check_image(int argc, char **argv)
{
	uint64_t lba, n, gen, blocks = 0, bad = 0;
	bool end = false;
	char line[512];
	uint32_t block;
	FILE *manifest;
	int fd;

	if (argc != 2)
		return 2;
	fd = open(argv[0], O_RDONLY);
	if (fd < 0) {
		perror(argv[0]);
		return 2;
	}
	manifest = fopen(argv[1], "r");
	if (!manifest) {
		perror(argv[1]);
		close(fd);
		return 2;
	}
	while (fgets(line, sizeof(line), manifest)) {
		end |= !strncmp(line, "manifest end", 12);
		if (sscanf(line, "manifest %u %" SCNu64 " %" SCNu64 " %" SCNu64, &block, &lba, &n,
			   &gen) != 4)
			continue;
		blocks += n;
		bad += !check_run(fd, block, lba, n, gen);
	}
	fclose(manifest);
	close(fd);
	printf("check-image: %" PRIu64 " blocks, %" PRIu64 " bad runs, manifest %s\n", blocks, bad,
	       end ? "complete" : "incomplete");
	return bad || !blocks || !end;
}
