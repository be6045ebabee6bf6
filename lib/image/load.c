/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image/load.h"

#include <errno.h>
#include <string.h>

#include "image/copy.h"

bool load_needs_digest(const struct load_plan *plan)
{
    return plan->verify || plan->sha256;
}

static bool progress(const struct load_plan *plan, uint64_t done, uint64_t total, bool back)
{
    if (!plan->progress)
        return true;
    return plan->progress(
        plan->progress_arg, back ? total + done : done, plan->verify ? 2 * total : total);
}

bool load_progress(void *plan, uint64_t done, uint64_t total)
{
    return progress(plan, done, total, false);
}

static bool back_progress(void *plan, uint64_t done, uint64_t total)
{
    return progress(plan, done, total, true);
}

static int differs(const uint8_t *is, const char *what, struct error *err)
{
    char text[DIGEST_TEXT];

    digest_format(is, text);
    return error_set(err, EILSEQ, "%s has another SHA-256: %s", what, text);
}

int load_check(const struct load_plan *plan, struct digest *digest, struct error *err)
{
    uint8_t read[DIGEST_BYTES], back[DIGEST_BYTES];
    int rc;

    if (!load_needs_digest(plan))
        return 0;
    digest_end(digest, read);
    if (plan->sha256 && memcmp(read, plan->sha256, DIGEST_BYTES))
        return differs(read, "the content", err);
    if (!plan->verify)
        return 0;
    rc = digest_disk(plan->to, plan->from->size_bytes, back, back_progress, (void *)plan, err);
    if (rc)
        return rc;
    return memcmp(back, read, DIGEST_BYTES) ? differs(back, "what was written, read back,", err)
                                            : 0;
}

int load_disk(const struct load_plan *plan, struct error *err)
{
    struct digest digest;
    struct copy_plan copy = {.from = plan->from,
        .to = plan->to,
        .digest = load_needs_digest(plan) ? &digest : NULL,
        .progress = load_progress,
        .progress_arg = (void *)plan};
    int rc;

    digest_init(&digest);
    rc = copy_disk(&copy, err);
    return rc ? rc : load_check(plan, &digest, err);
}
