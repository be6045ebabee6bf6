/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From vg_metadata to text, with keys in LVM2's order, so that texts compare. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/arith.h"
#include "lvm/metadata.h"

#define COMMENT_CHARS 64

static struct tm utc(uint64_t seconds)
{
    time_t t = (time_t)seconds;
    struct tm tm = {.tm_mday = 1};

    gmtime_r(&t, &tm);
    return tm;
}

/* As LVM2 writes sizes into comments. */
static void put_sectors(
    struct config_writer *w, const char *tabs, uint64_t sectors, const char *key, uint64_t number)
{
    static const char *const units[] = {
        "Kilobytes", "Megabytes", "Gigabytes", "Terabytes", "Petabytes", "Exabytes"};
    char comment[COMMENT_CHARS];
    double n = (double)sectors / 2;
    unsigned i = 0;

    while (n > 1024 && i < ARRAY_LEN(units) - 1) {
        n /= 1024;
        i++;
    }
    snprintf(comment, sizeof comment, "%s# %g %s", tabs, n, units[i]);
    config_line_comment(w, comment, "%s = %" PRIu64, key, number);
}

static void put_flags(struct config_writer *w, const struct text_list *status,
    const struct text_list *flags, const struct text_list *tags)
{
    config_put_list(w, "status", status->items, status->count);
    config_put_list(w, "flags", flags->items, flags->count);
    if (tags->count)
        config_put_list(w, "tags", tags->items, tags->count);
}

static void put_pv(struct config_writer *w, const struct vg_metadata *m, const struct vg_pv *pv)
{
    config_blank(w);
    config_open(w, pv->key);
    config_put_text(w, "id", pv->id);
    config_put_text_comment(w, "\t# Hint only", "device", pv->device);
    config_blank(w);
    put_flags(w, &pv->status, &pv->flags, &pv->tags);
    if (pv->dev_size_sectors)
        put_sectors(w, "\t", pv->dev_size_sectors, "dev_size", pv->dev_size_sectors);
    config_line(w, "pe_start = %" PRIu64, pv->pe_start_sectors);
    put_sectors(w, "\t", (uint64_t)pv->pe_count * m->extent_size_sectors, "pe_count", pv->pe_count);
    config_put_nodes(w, pv->extra);
    config_close(w);
}

static void put_stripes(
    struct config_writer *w, const struct vg_metadata *m, const struct vg_segment *s)
{
    if (s->stripe_count == 1)
        config_line_comment(w, "\t# linear", "stripe_count = 1");
    else
        config_line(w, "stripe_count = %u", s->stripe_count);
    if (s->stripe_count > 1)
        put_sectors(w, "\t", s->stripe_size_sectors, "stripe_size", s->stripe_size_sectors);
    config_blank(w);
    config_line(w, "stripes = [");
    w->depth++;
    for (unsigned i = 0; i < s->stripe_count; i++)
        config_line(w, "\"%s\", %u%s", m->pvs[s->stripes[i].pv].key, s->stripes[i].start_pe,
            i + 1 < s->stripe_count ? "," : "");
    w->depth--;
    config_line(w, "]");
}

static void put_segment(struct config_writer *w, const struct vg_metadata *m,
    const struct vg_segment *s, unsigned number)
{
    char key[24];

    snprintf(key, sizeof key, "segment%u", number);
    config_open(w, key);
    config_line(w, "start_extent = %u", s->start_extent);
    put_sectors(w, "\t", (uint64_t)s->extent_count * m->extent_size_sectors, "extent_count",
        s->extent_count);
    config_blank(w);
    config_put_text(w, "type", s->type);
    if (s->stripe_count)
        put_stripes(w, m, s);
    config_put_nodes(w, s->extra);
    config_close(w);
}

static void put_creation_time(struct config_writer *w, uint64_t seconds)
{
    struct tm tm = utc(seconds);
    char comment[COMMENT_CHARS];

    strftime(comment, sizeof comment, "\t# %Y-%m-%d %T +0000", &tm);
    config_line_comment(w, comment, "creation_time = %" PRIu64, seconds);
}

static void put_lv(struct config_writer *w, const struct vg_metadata *m, const struct vg_lv *lv)
{
    config_blank(w);
    config_open(w, lv->name);
    config_put_text(w, "id", lv->id);
    put_flags(w, &lv->status, &lv->flags, &lv->tags);
    if (lv->creation_time)
        put_creation_time(w, lv->creation_time);
    if (lv->creation_host)
        config_put_text(w, "creation_host", lv->creation_host);
    config_put_nodes(w, lv->extra);
    config_line(w, "segment_count = %u", lv->segment_count);
    config_blank(w);
    for (unsigned i = 0; i < lv->segment_count; i++)
        put_segment(w, m, &lv->segments[i], i + 1);
    config_close(w);
}

static void put_vg(struct config_writer *w, const struct vg_metadata *m)
{
    config_open(w, m->name);
    config_put_text(w, "id", m->id);
    config_line(w, "seqno = %u", m->seqno);
    config_put_text_comment(w, "\t\t\t# informational", "format", "lvm2");
    put_flags(w, &m->status, &m->flags, &m->tags);
    put_sectors(w, "\t\t", m->extent_size_sectors, "extent_size", m->extent_size_sectors);
    config_line(w, "max_lv = %u", m->max_lv);
    config_line(w, "max_pv = %u", m->max_pv);
    config_line(w, "metadata_copies = %u", m->metadata_copies);
    config_blank(w);
    config_open(w, "physical_volumes");
    for (unsigned i = 0; i < m->pv_count; i++)
        put_pv(w, m, &m->pvs[i]);
    config_close(w);
    config_blank(w);
    if (m->lv_count) {
        config_open(w, "logical_volumes");
        for (unsigned i = 0; i < m->lv_count; i++)
            put_lv(w, m, &m->lvs[i]);
        config_close(w);
    }
    config_put_nodes(w, m->extra);
    config_blank(w);
    config_close(w);
}

static void put_header(struct config_writer *w, const struct vg_text_header *h)
{
    struct tm tm = utc(h->creation_time);
    char time[COMMENT_CHARS];

    strftime(time, sizeof time, "%a %b %e %T %Y", &tm);
    config_line(w, "# Generated by Ashlar version " ASHLAR_VERSION ": %s", time);
    config_blank(w);
    config_put_text(w, "contents", "Text Format Volume Group");
    config_line(w, "version = 1");
    config_blank(w);
    config_put_text(w, "description", h->description);
    config_blank(w);
    config_put_text(w, "creation_host", h->creation_host ? h->creation_host : "");
    config_line(w, "creation_time = %" PRIu64 "\t# %s", h->creation_time, time);
    config_blank(w);
}

int vg_metadata_encode(const struct vg_metadata *m, const struct vg_text_header *header,
    enum vg_text_form form, char **text, size_t *length)
{
    struct config_writer w = {.comments = form == VG_TEXT_BACKUP};

    if (form == VG_TEXT_BACKUP) {
        put_header(&w, header);
        put_vg(&w, m);
    } else {
        put_vg(&w, m);
        put_header(&w, header);
    }
    if (w.failed)
        return -ENOMEM;
    *text = w.text;
    *length = w.length;
    return 0;
}
