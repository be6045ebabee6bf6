/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A list of names that grows, handed out as one block of memory. Internal to rt/. */
#ifndef ASHLAR_RT_NAMES_H
#define ASHLAR_RT_NAMES_H

#include <stddef.h>

/* Starts as zeros. */
struct names {
    char *text; /* each with its NUL */
    size_t bytes, room_bytes, count;
};

/* "NAME", or "DIRECTORY/NAME" when there is one. -ENOMEM. */
int names_add(struct names *n, const char *directory, const char *name);
/* The names in the order in which they came, NULL-terminated, in one allocation for the caller;
 * -ENOMEM. */
int names_pack(const struct names *n, char ***packed);
void names_free(struct names *n);

#endif
