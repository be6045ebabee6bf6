/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Checking an image that guests are using. What stands on the disk changes only under `control`
 * (commits, growth, snapshots), so it is checked under that, right after a commit: guests read and
 * write on, flushes wait. Refcounts run ahead of the map for writes that are under way, and stay
 * behind what was freed just now: what looks like a leak is none.
 */
#include "image/check.h"
#include "image/image.h"

static void forget_leaks(struct check_result *r)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < r->finding_count; i++)
        if (r->findings[i].fault != CHECK_LEAK)
            r->findings[kept++] = r->findings[i];
    r->finding_count = kept;
    r->found[CHECK_LEAK] = 0;
}

int qcow2_check_online(struct qcow2 *q, check_progress *progress, void *arg,
    struct check_result *result, struct error *err)
{
    int rc = 0;

    co_mutex_lock(&q->control);
    if (!q->options.read_only)
        rc = commit_locked(q, true);
    if (!rc)
        rc = qcow2_check(q->file, 0, progress, arg, result, err);
    co_mutex_unlock(&q->control);
    if (!rc && !q->options.read_only)
        forget_leaks(result);
    return rc;
}
