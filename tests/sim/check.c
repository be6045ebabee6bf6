/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "check.h"

#include <stdarg.h>
#include <stdio.h>

static const void *image_at(void *arg, void *buf, uint64_t offset, uint64_t length)
{
    return (const char *)arg + offset;
}

struct check_disk check_image(const char *name, const void *bytes, uint64_t size_bytes)
{
    return (struct check_disk){name, size_bytes, image_at, (void *)bytes};
}

const void *check_read(const struct check_disk *d, void *buf, uint64_t offset, uint64_t length)
{
    if (offset > d->size_bytes || length > d->size_bytes - offset)
        return NULL;
    return d->at(d->arg, buf, offset, length);
}

void check_problem(struct check_problems *p, const char *fmt, ...)
{
    size_t room = sizeof p->text - p->used;
    va_list args;
    int n;

    p->count++;
    va_start(args, fmt);
    n = vsnprintf(p->text + p->used, room, fmt, args);
    va_end(args);
    if (n < 0 || (size_t)n + 2 > room) {
        p->text[p->used] = '\0';
        return;
    }
    p->used += (size_t)n;
    p->text[p->used++] = '\n';
    p->text[p->used] = '\0';
}
