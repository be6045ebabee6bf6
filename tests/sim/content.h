/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What simulated guests write: sectors that say whose they are. 64 words: a magic, device and
 * number of the write, sector, 0, then words derived from these. Pure.
 */
#ifndef ASHLAR_TESTS_SIM_CONTENT_H
#define ASHLAR_TESTS_SIM_CONTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONTENT_BYTES 512u

struct content {
    uint32_t device, number, sector;
};

/* A write that is changed under way has second contents, other in every word that is derived. */
void content_fill(void *buf, const struct content *c, bool second);
bool content_is(const void *buf, const struct content *c);
/* Each word is of the first or of the second contents. */
bool content_is_mixture(const void *buf, const struct content *c);
bool content_is_zeros(const void *buf);
/* A former owner's noise, or written by a guest to another device or sector. */
bool content_is_foreign(const void *buf, uint32_t device, uint32_t sector);
/* Never 0. */
uint32_t content_hash(const void *buf);
/* "write 17 of device 3, sector 9", "zeros", ...; cut to fit. */
void content_describe(const void *buf, char *text, size_t text_len);

#endif
