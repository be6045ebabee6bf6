/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "group_space.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/size.h"
#include "daemon.h"
#include "images.h"

#define TAG_WARN    "ashlar.warn="
#define TAG_RESERVE "ashlar.reserve="

static uint64_t number(const struct catalog_vg *v, const char *tag, uint64_t absent)
{
    const char *text = vg_find_tag(v->vg, tag);
    uint64_t n;
    char rest;

    return text && sscanf(text, "%" SCNu64 "%c", &n, &rest) == 1 ? n : absent;
}

unsigned group_warn_percent(const struct catalog_vg *v)
{
    uint64_t percent = number(v, TAG_WARN, GROUP_WARN_PERCENT_DEFAULT);

    return percent <= 100 ? (unsigned)percent : GROUP_WARN_PERCENT_DEFAULT;
}

uint64_t group_reserve_bytes(const struct catalog_vg *v)
{
    return number(v, TAG_RESERVE, 0);
}

uint64_t group_growth_bytes(const struct catalog_vg *v)
{
    uint64_t size_bytes, free_bytes, reserve_bytes = group_reserve_bytes(v);

    vg_space(v->vg, &size_bytes, &free_bytes);
    return free_bytes > reserve_bytes ? free_bytes - reserve_bytes : 0;
}

int group_set_warn_percent(
    struct daemon *d, struct catalog_vg *v, uint64_t percent, bool dry, struct error *err)
{
    char tag[64];
    int rc;

    if (percent > 100)
        return error_set(err, EINVAL, "a threshold is at most 100 percent");
    snprintf(tag, sizeof tag, TAG_WARN "%" PRIu64, percent);
    rc = vg_replace_tag(v->vg, TAG_WARN, tag, dry ? VG_DRY_RUN : 0, err);
    if (rc == 0 && !dry)
        events_post(&d->events, EVENT_VG_CHANGED, vg_name(v->vg),
            "tells when more than %" PRIu64 "%% is in use", percent);
    return rc;
}

int group_set_reserve_bytes(
    struct daemon *d, struct catalog_vg *v, uint64_t bytes, bool dry, struct error *err)
{
    char tag[64], size[16];
    int rc;

    snprintf(tag, sizeof tag, TAG_RESERVE "%" PRIu64, bytes);
    rc = vg_replace_tag(v->vg, TAG_RESERVE, bytes ? tag : NULL, dry ? VG_DRY_RUN : 0, err);
    if (rc == 0 && !dry)
        events_post(&d->events, EVENT_VG_CHANGED, vg_name(v->vg),
            "sparse volumes leave %s of it free", size_format(bytes, size, sizeof size));
    return rc;
}

static void tell_space(struct daemon *d, struct catalog_vg *v)
{
    uint64_t size_bytes, free_bytes;
    char text[16];
    bool low;

    vg_space(v->vg, &size_bytes, &free_bytes);
    low = !list_empty(&v->images) &&
          size_bytes - free_bytes > size_bytes / 100 * group_warn_percent(v);
    if (low == v->space_low)
        return;
    v->space_low = low;
    events_post(&d->events, EVENT_VG_SPACE, vg_name(v->vg), "%s%u%% in use, %s free",
        low ? "more than " : "no longer more than ", group_warn_percent(v),
        size_format(free_bytes, text, sizeof text));
}

void group_space_look(struct daemon *d, struct catalog_vg *v)
{
    uint64_t free_bytes = group_growth_bytes(v);
    bool more = free_bytes > v->free_bytes;

    tell_space(d, v);
    v->free_bytes = free_bytes;
    if (!more)
        return;
    list_for_each (it, &v->images) {
        struct catalog_image *i = container_of(it, struct catalog_image, link);

        if (i->q)
            qcow2_space_changed(i->q);
    }
}

void group_space_look_all(struct daemon *d)
{
    list_for_each (it, &d->catalog.vgs)
        group_space_look(d, container_of(it, struct catalog_vg, link));
}
