/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory for direct I/O. Each worker keeps what it is given back, in one free list for each power
 * of two from 4 KiB to 2 MiB and up to CACHED_MAX bytes; only the worker itself touches its lists,
 * so there is no lock. Larger buffers, and all of them outside workers, come from the heap; so do
 * all under AddressSanitizer, in their exact size, for it to see who runs over the end.
 */
#include "rt/io.h"

#include <stdlib.h>

#include "rt/worker.h"

#define ALIGN_BYTES 4096
#define SMALLEST    4096
#define CLASSES     10 /* 4 KiB to 2 MiB */
#define CACHED_MAX  (16u << 20)

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define POOLED false
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define POOLED false
#endif
#ifndef POOLED
#define POOLED true
#endif

struct spare {
    struct spare *next;
};

static struct pool {
    _Alignas(64) struct spare *spares[CLASSES];
    size_t cached_bytes;
} pools[WORKERS_MAX];

static struct pool *own_pool(void)
{
    struct worker *w = POOLED ? worker_self() : NULL;

    return w ? &pools[worker_index(w)] : NULL;
}

/* CLASSES when there is none for this size. */
static unsigned class_of(size_t bytes)
{
    unsigned class = 0;

    while (class < CLASSES && ((size_t)SMALLEST << class) < bytes)
        class ++;
    return class;
}

void *io_buffer_get(size_t bytes)
{
    struct pool *pool = own_pool();
    unsigned class = class_of(bytes);
    struct spare *spare;
    void *buf;

    if (pool && class < CLASSES && (spare = pool->spares[class])) {
        pool->spares[class] = spare->next;
        pool->cached_bytes -= (size_t)SMALLEST << class;
        return spare;
    }
    /* The full size of the class, for it may end up in a list. */
    if (POOLED && class < CLASSES)
        bytes = (size_t)SMALLEST << class;
    return posix_memalign(&buf, ALIGN_BYTES, bytes) ? NULL : buf;
}

void io_buffer_put(void *buf, size_t bytes)
{
    struct pool *pool = own_pool();
    unsigned class = class_of(bytes);
    struct spare *spare = buf;

    if (!buf)
        return;
    if (!pool || class == CLASSES ||
        pool->cached_bytes + ((size_t)SMALLEST << class) > CACHED_MAX) {
        free(buf);
        return;
    }
    spare->next = pool->spares[class];
    pool->spares[class] = spare;
    pool->cached_bytes += (size_t)SMALLEST << class;
}
