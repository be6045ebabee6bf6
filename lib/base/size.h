/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sizes as people write them: a number with an optional K, M, G, T, P or E (powers of 1024; "KiB"
 * and "KB" mean the same). */
#ifndef ASHLAR_BASE_SIZE_H
#define ASHLAR_BASE_SIZE_H

#include <stdint.h>

/* -EINVAL when it is no size, -ERANGE above 2^63-1; *bytes is untouched on failure. Fractions
 * ("1.5G") are accepted. */
int size_parse(const char *text, uint64_t *bytes);

/* "512K", "1.5G", "3.7T": at most one decimal; at least 12 bytes of room, always terminated.
 * Returns buf. */
char *size_format(uint64_t bytes, char *buf, unsigned len);

#endif
