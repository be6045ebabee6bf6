/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "content.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "rt/sim/disk.h"

#define WORDS   (CONTENT_BYTES / sizeof(uint64_t))
#define MAGIC   UINT64_C(0x7465757267734121)
#define STEP    UINT64_C(0x9e3779b97f4a7c15)
#define DERIVED 4u /* the first derived word */

static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint64_t name_of(const struct content *c)
{
    return (uint64_t)c->device << 32 | c->number;
}

static uint64_t key_of(const struct content *c, bool second)
{
    return mix(mix(name_of(c)) + c->sector) ^ (second ? UINT64_MAX : 0);
}

void content_fill(void *buf, const struct content *c, bool second)
{
    uint64_t words[WORDS];
    uint64_t key = key_of(c, second);

    words[0] = MAGIC;
    words[1] = name_of(c);
    words[2] = c->sector;
    words[3] = 0;
    for (unsigned i = DERIVED; i < WORDS; i++)
        words[i] = key + i;
    memcpy(buf, words, sizeof words);
}

bool content_is(const void *buf, const struct content *c)
{
    uint64_t words[WORDS], key = key_of(c, false), differences;

    memcpy(words, buf, sizeof words);
    differences = (words[0] ^ MAGIC) | (words[1] ^ name_of(c)) | (words[2] ^ c->sector) | words[3];
    for (unsigned i = DERIVED; i < WORDS; i++)
        differences |= words[i] ^ (key + i);
    return !differences;
}

bool content_is_mixture(const void *buf, const struct content *c)
{
    uint64_t first[WORDS], second[WORDS], words[WORDS];

    content_fill(first, c, false);
    content_fill(second, c, true);
    memcpy(words, buf, sizeof words);
    for (unsigned i = 0; i < WORDS; i++)
        if (words[i] != first[i] && words[i] != second[i])
            return false;
    return true;
}

bool content_is_zeros(const void *buf)
{
    static const unsigned char zeros[CONTENT_BYTES];

    return !memcmp(buf, zeros, sizeof zeros);
}

bool content_is_foreign(const void *buf, uint32_t device, uint32_t sector)
{
    uint64_t words[DERIVED];

    memcpy(words, buf, sizeof words);
    return words[0] == SIM_NOISE_MAGIC ||
           (words[0] == MAGIC && (words[1] >> 32 != device || words[2] != sector));
}

uint32_t content_hash(const void *buf)
{
    uint64_t words[WORDS], hash = 0;

    memcpy(words, buf, sizeof words);
    for (unsigned i = 0; i < WORDS; i++)
        hash = mix(hash + words[i] + STEP);
    return (uint32_t)hash | 1;
}

void content_describe(const void *buf, char *text, size_t text_len)
{
    uint64_t words[WORDS];
    struct content c;

    memcpy(words, buf, sizeof words);
    c = (struct content){(uint32_t)(words[1] >> 32), (uint32_t)words[1], (uint32_t)words[2]};
    if (content_is_zeros(buf))
        snprintf(text, text_len, "zeros");
    else if (words[0] == SIM_NOISE_MAGIC)
        snprintf(text, text_len, "noise of a former owner");
    else if (words[0] == MAGIC)
        snprintf(text, text_len, "%swrite %" PRIu32 " of device %" PRIu32 ", sector %" PRIu32,
            content_is(buf, &c)           ? ""
            : content_is_mixture(buf, &c) ? "changed "
                                          : "torn ",
            c.number, c.device, c.sector);
    else
        snprintf(text, text_len, "nobody's: %016" PRIx64 " %016" PRIx64, words[0], words[1]);
}
