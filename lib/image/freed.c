/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runs of clusters, as they are given up. The caller's lock guards them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "image/clusters.h"

int freed_add(struct freed *f, uint64_t cluster, uint64_t count)
{
    struct freed_run *last = f->count ? &f->runs[f->count - 1] : NULL;
    struct freed_run *runs;

    if (last && last->cluster + last->count == cluster) {
        last->count += count;
        return 0;
    }
    if (f->count == f->capacity) {
        runs = realloc(f->runs, (2 * f->capacity + 16) * sizeof *runs);
        if (!runs)
            return -ENOMEM;
        f->runs = runs;
        f->capacity = 2 * f->capacity + 16;
    }
    f->runs[f->count++] = (struct freed_run){cluster, count};
    return 0;
}

int freed_add_entry(const struct qcow2 *q, struct freed *f, struct qcow2_entry e)
{
    uint64_t first, count = qcow2_entry_clusters(&q->g, e, &first);

    return count ? freed_add(f, first, count) : 0;
}
