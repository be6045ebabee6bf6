/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Chunks of memory, each used from its front; what does not fit into the last one starts another.
 */
#include "lvm/arena.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"

#define CHUNK_BYTES 8192

struct chunk {
    struct chunk *next;
    size_t room, used;
    _Alignas(max_align_t) char bytes[];
};

struct arena {
    struct chunk *chunks; /* the one in use first */
    bool failed;
};

struct arena *arena_create(void)
{
    return calloc(1, sizeof(struct arena));
}

void arena_free(struct arena *a)
{
    if (!a)
        return;
    while (a->chunks) {
        struct chunk *c = a->chunks;

        a->chunks = c->next;
        free(c);
    }
    free(a);
}

bool arena_failed(const struct arena *a)
{
    return a->failed;
}

static struct chunk *chunk_add(struct arena *a, size_t bytes)
{
    size_t room = MAX(bytes, (size_t)CHUNK_BYTES);
    struct chunk *c = calloc(1, sizeof *c + room);

    if (!c) {
        a->failed = true;
        return NULL;
    }
    c->room = room;
    c->next = a->chunks;
    a->chunks = c;
    return c;
}

void *arena_get(struct arena *a, size_t bytes)
{
    size_t n = round_up(MAX(bytes, (size_t)1), _Alignof(max_align_t));
    struct chunk *c = a->chunks;

    if (!c || c->room - c->used < n)
        c = chunk_add(a, n);
    if (!c)
        return NULL;
    c->used += n;
    return c->bytes + c->used - n;
}

void *arena_grow(struct arena *a, const void *old, size_t count, size_t more, size_t element_bytes)
{
    void *p = arena_get(a, (count + more) * element_bytes);

    if (p && count)
        memcpy(p, old, count * element_bytes);
    return p;
}

char *arena_text_n(struct arena *a, const char *text, size_t length)
{
    char *p = arena_get(a, length + 1);

    if (p)
        memcpy(p, text, length);
    return p;
}

char *arena_text(struct arena *a, const char *text)
{
    return arena_text_n(a, text, strlen(text));
}

char *arena_format(struct arena *a, const char *fmt, ...)
{
    char buf[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(buf, sizeof buf, fmt, ap);
    va_end(ap);
    return arena_text(a, buf);
}
