/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From text to vg_metadata: the tree is taken apart key by key; what nobody took stays in the
 * `extra` of its place. Three verdicts: damaged (-EBADMSG), not for us to modify
 * (read_only_reason), and fine.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "lvm/metadata.h"
#include "lvm/metadata_check.h"

struct reader {
    struct arena *arena;
    struct vg_metadata *m;
    struct error *err;
};

static int bad(struct reader *r, const char *where, const char *key, const char *what)
{
    return error_set(r->err, EBADMSG, "metadata of %s: \"%s\" %s", where, key, what);
}

/* The first reason counts. */
__attribute__((format(printf, 2, 3))) static void never_modify(
    struct reader *r, const char *fmt, ...)
{
    char reason[256];
    va_list ap;

    if (r->m->read_only_reason)
        return;
    va_start(ap, fmt);
    vsnprintf(reason, sizeof reason, fmt, ap);
    va_end(ap);
    r->m->read_only_reason = arena_text(r->arena, reason);
}

static int take_number(struct reader *r, const char *where, struct config_node **nodes,
    const char *key, bool required, uint64_t max, uint64_t *number)
{
    const struct config_node *n = config_take(nodes, key);

    if (!n)
        return required ? bad(r, where, key, "is missing") : 0;
    if (n->section || n->value_count != 1 || n->values->text || n->values->number < 0 ||
        (uint64_t)n->values->number > max)
        return bad(r, where, key, "is no number in range");
    *number = (uint64_t)n->values->number;
    return 0;
}

static int take_u32(struct reader *r, const char *where, struct config_node **nodes,
    const char *key, bool required, uint32_t *number)
{
    uint64_t n = *number;
    int rc = take_number(r, where, nodes, key, required, UINT32_MAX, &n);

    *number = (uint32_t)n;
    return rc;
}

static int take_text(struct reader *r, const char *where, struct config_node **nodes,
    const char *key, bool required, const char **text)
{
    const struct config_node *n = config_take(nodes, key);

    if (!n)
        return required ? bad(r, where, key, "is missing") : 0;
    if (n->section || n->value_count != 1 || !n->values->text)
        return bad(r, where, key, "is no text");
    *text = n->values->text;
    return 0;
}

static int take_id(struct reader *r, const char *where, struct config_node **nodes,
    char id[LVM_UUID_TEXT_CHARS + 1])
{
    const char *text = NULL;
    int rc = take_text(r, where, nodes, "id", true, &text);

    if (rc)
        return rc;
    if (!lvm_uuid_valid(text))
        return bad(r, where, "id", "is no LVM2 identifier");
    memcpy(id, text, LVM_UUID_TEXT_CHARS + 1);
    return 0;
}

static int take_list(struct reader *r, const char *where, struct config_node **nodes,
    const char *key, struct text_list *list)
{
    const struct config_node *n = config_take(nodes, key);

    if (!n)
        return 0;
    if (n->section)
        return bad(r, where, key, "is no list");
    list->items = arena_get(r->arena, n->value_count * sizeof *list->items);
    if (!list->items)
        return -ENOMEM;
    for (; list->count < n->value_count; list->count++) {
        if (!n->values[list->count].text)
            return bad(r, where, key, "has something that is no text");
        list->items[list->count] = n->values[list->count].text;
    }
    return 0;
}

/* A section's children; *children is NULL when it is absent. */
static int take_section(struct reader *r, const char *where, struct config_node **nodes,
    const char *key, bool required, struct config_node **children)
{
    const struct config_node *n = config_take(nodes, key);

    *children = NULL;
    if (!n)
        return required ? bad(r, where, key, "is missing") : 0;
    if (!n->section)
        return bad(r, where, key, "is no section");
    *children = n->children;
    return 0;
}

static int take_flags(struct reader *r, const char *where, struct config_node **nodes,
    struct text_list *status, struct text_list *flags, struct text_list *tags)
{
    int rc = take_list(r, where, nodes, "status", status);

    if (!rc)
        rc = take_list(r, where, nodes, "flags", flags);
    if (!rc)
        rc = take_list(r, where, nodes, "tags", tags);
    return rc;
}

/* An unknown status flag says that who does not know it must leave the group alone; unknown `flags`
 * do no harm. */
static void judge_status(struct reader *r, const char *where, const struct text_list *status,
    const char *const *known, unsigned known_count)
{
    const struct text_list all = {known_count, (const char **)known};

    for (unsigned i = 0; i < status->count; i++)
        if (!text_list_has(&all, status->items[i]))
            never_modify(r, "%s has the status flag %s", where, status->items[i]);
}

static void judge_sections(struct reader *r, const char *where, const struct config_node *extra)
{
    for (; extra; extra = extra->next)
        if (extra->section)
            never_modify(r, "%s has a section \"%s\" that is not known", where, extra->key);
}

static int read_pv(struct reader *r, struct config_node *n, struct vg_pv *pv)
{
    static const char *const known[] = {"ALLOCATABLE"};
    struct config_node *left = n->children;
    int rc = n->section ? 0 : bad(r, r->m->name, n->key, "is no section");

    pv->key = n->key;
    pv->device = "";
    if (!rc)
        rc = take_id(r, n->key, &left, pv->id);
    if (!rc)
        rc = take_text(r, n->key, &left, "device", false, &pv->device);
    if (!rc)
        rc = take_flags(r, n->key, &left, &pv->status, &pv->flags, &pv->tags);
    if (!rc)
        rc = take_number(r, n->key, &left, "dev_size", false, INT64_MAX, &pv->dev_size_sectors);
    if (!rc)
        rc = take_number(r, n->key, &left, "pe_start", true, INT64_MAX / LVM_SECTOR_BYTES,
            &pv->pe_start_sectors);
    if (!rc)
        rc = take_u32(r, n->key, &left, "pe_count", true, &pv->pe_count);
    pv->extra = left;
    judge_status(r, n->key, &pv->status, known, ARRAY_LEN(known));
    if (text_list_has(&pv->flags, "MISSING"))
        never_modify(r, "its PV %s (%s) is recorded as missing", n->key, pv->device);
    judge_sections(r, n->key, left);
    return rc;
}

static unsigned count_siblings(const struct config_node *n)
{
    unsigned count = 0;

    for (; n; n = n->next)
        count++;
    return count;
}

static int read_pvs(struct reader *r, struct config_node *nodes)
{
    unsigned count = count_siblings(nodes);
    int rc = 0;

    if (count > LVM_PVS_MAX)
        return bad(r, r->m->name, "physical_volumes", "has too many");
    r->m->pvs = arena_get(r->arena, count * sizeof *r->m->pvs);
    if (!r->m->pvs)
        return -ENOMEM;
    for (; !rc && nodes; nodes = nodes->next)
        rc = read_pv(r, nodes, &r->m->pvs[r->m->pv_count++]);
    return rc;
}

static int find_pv_key(const struct vg_metadata *m, const char *key)
{
    for (unsigned i = 0; i < m->pv_count; i++)
        if (strcmp(m->pvs[i].key, key) == 0)
            return (int)i;
    return -1;
}

/* `stripes`: pairs of a PV's key and a first PE. False: it is not a list of those (areas may be
 * other volumes, too). */
static bool read_stripes(
    struct reader *r, const struct config_node *n, struct vg_segment *s, uint64_t stripe_count)
{
    if (!n || n->section || !stripe_count || stripe_count > LVM_STRIPES_MAX ||
        n->value_count != 2 * stripe_count)
        return false;
    s->stripes = arena_get(r->arena, stripe_count * sizeof *s->stripes);
    for (unsigned i = 0; s->stripes && i < stripe_count; i++) {
        const struct config_value *v = &n->values[2 * i];
        int pv = v[0].text ? find_pv_key(r->m, v[0].text) : -1;

        if (pv < 0 || v[1].text || v[1].number < 0 || v[1].number > UINT32_MAX)
            return false;
        s->stripes[i] = (struct vg_stripe){(unsigned)pv, (uint32_t)v[1].number};
    }
    return s->stripes;
}

/* The keys of a striped segment; untouched when it is not one that we understand. */
static bool read_striped(struct reader *r, struct config_node **left, struct vg_segment *s)
{
    const struct config_node *count = config_find(*left, "stripe_count");
    const struct config_node *size = config_find(*left, "stripe_size");
    uint64_t stripes = count && count->value_count == 1 ? (uint64_t)count->values->number : 0;
    uint64_t stripe_size = size && size->value_count == 1 ? (uint64_t)size->values->number : 0;

    if (strcmp(s->type, LVM_SEGMENT_STRIPED) != 0 ||
        !read_stripes(r, config_find(*left, "stripes"), s, stripes))
        return false;
    if (s->extent_count % stripes || (stripes > 1 && (!stripe_size || stripe_size > UINT32_MAX)))
        return false;
    s->stripe_count = (unsigned)stripes;
    s->stripe_size_sectors = stripes > 1 ? (uint32_t)stripe_size : 0;
    config_take(left, "stripe_count");
    config_take(left, "stripe_size");
    config_take(left, "stripes");
    return true;
}

static int read_segment(
    struct reader *r, const char *where, struct config_node *left, struct vg_segment *s)
{
    int rc = take_u32(r, where, &left, "start_extent", true, &s->start_extent);

    if (!rc)
        rc = take_u32(r, where, &left, "extent_count", true, &s->extent_count);
    if (!rc)
        rc = take_text(r, where, &left, "type", true, &s->type);
    if (rc)
        return rc;
    if (!read_striped(r, &left, s))
        never_modify(r, "%s has a segment of type %s", where, s->type);
    else
        judge_sections(r, where, left);
    s->extra = left;
    return 0;
}

static int read_segments(struct reader *r, struct vg_lv *lv, struct config_node **left)
{
    uint32_t count = 0;
    int rc = take_u32(r, lv->name, left, "segment_count", true, &count);

    if (!rc && count > count_siblings(*left))
        return bad(r, lv->name, "segment_count", "is larger than what follows");
    lv->segments = rc ? NULL : arena_get(r->arena, count * sizeof *lv->segments);
    if (!lv->segments)
        return rc ?: -ENOMEM;
    for (; !rc && lv->segment_count < count; lv->segment_count++) {
        struct config_node *children;
        char key[24];

        snprintf(key, sizeof key, "segment%u", lv->segment_count + 1);
        rc = take_section(r, lv->name, left, key, true, &children);
        if (!rc)
            rc = read_segment(r, lv->name, children, &lv->segments[lv->segment_count]);
    }
    return rc;
}

static int read_lv(struct reader *r, struct config_node *n, struct vg_lv *lv)
{
    static const char *const known[] = {"READ", "WRITE", "VISIBLE", "FIXED_MINOR"};
    struct config_node *left = n->children;
    int rc = n->section ? 0 : bad(r, r->m->name, n->key, "is no section");

    lv->name = n->key;
    if (!rc)
        rc = take_id(r, n->key, &left, lv->id);
    if (!rc)
        rc = take_flags(r, n->key, &left, &lv->status, &lv->flags, &lv->tags);
    if (!rc)
        rc = take_number(r, n->key, &left, "creation_time", false, INT64_MAX, &lv->creation_time);
    if (!rc)
        rc = take_text(r, n->key, &left, "creation_host", false, &lv->creation_host);
    if (!rc)
        rc = read_segments(r, lv, &left);
    lv->extra = left;
    judge_status(r, n->key, &lv->status, known, ARRAY_LEN(known));
    judge_sections(r, n->key, left);
    return rc;
}

static int read_lvs(struct reader *r, struct config_node *nodes)
{
    unsigned count = count_siblings(nodes);
    int rc = 0;

    if (count > LVM_LVS_MAX)
        return bad(r, r->m->name, "logical_volumes", "has too many");
    r->m->lvs = arena_get(r->arena, count * sizeof *r->m->lvs);
    if (!r->m->lvs)
        return -ENOMEM;
    for (; !rc && nodes; nodes = nodes->next)
        rc = read_lv(r, nodes, &r->m->lvs[r->m->lv_count++]);
    return rc;
}

static const char *text_of(const struct config_node *nodes, const char *key)
{
    const struct config_node *n = config_find((struct config_node *)nodes, key);

    return n && n->value_count == 1 && n->values->text ? n->values->text : "";
}

static void judge_vg(struct reader *r)
{
    static const char *const known[] = {"RESIZEABLE", "READ", "WRITE"};
    const struct vg_metadata *m = r->m;
    const char *system_id = text_of(m->extra, "system_id"), *lock = text_of(m->extra, "lock_type");

    judge_status(r, m->name, &m->status, known, ARRAY_LEN(known));
    for (unsigned i = 0; i < ARRAY_LEN(known); i++)
        if (!text_list_has(&m->status, known[i]))
            never_modify(r, "%s lacks the status flag %s", m->name, known[i]);
    if (*system_id)
        never_modify(r, "%s belongs to the system \"%s\"", m->name, system_id);
    if (*lock && strcmp(lock, "none") != 0)
        never_modify(r, "%s is shared by locks of type %s", m->name, lock);
    judge_sections(r, m->name, m->extra);
}

static int read_vg_keys(struct reader *r, struct config_node **left)
{
    struct vg_metadata *m = r->m;
    const char *format = "lvm2";
    int rc = take_id(r, m->name, left, m->id);

    if (!rc)
        rc = take_u32(r, m->name, left, "seqno", true, &m->seqno);
    if (!rc)
        rc = take_text(r, m->name, left, "format", false, &format);
    if (!rc && strcmp(format, "lvm2") != 0)
        rc = error_set(r->err, EOPNOTSUPP, "%s is of format %.32s, not lvm2", m->name, format);
    if (!rc)
        rc = take_flags(r, m->name, left, &m->status, &m->flags, &m->tags);
    if (!rc)
        rc = take_u32(r, m->name, left, "extent_size", true, &m->extent_size_sectors);
    if (!rc && !m->extent_size_sectors)
        rc = bad(r, m->name, "extent_size", "is zero");
    if (!rc)
        rc = take_u32(r, m->name, left, "max_lv", false, &m->max_lv);
    if (!rc)
        rc = take_u32(r, m->name, left, "max_pv", false, &m->max_pv);
    if (!rc)
        rc = take_u32(r, m->name, left, "metadata_copies", false, &m->metadata_copies);
    return rc;
}

static int read_vg(struct reader *r, struct config_node *left)
{
    struct config_node *pvs, *lvs;
    int rc = read_vg_keys(r, &left);

    if (!rc)
        rc = take_section(r, r->m->name, &left, "physical_volumes", true, &pvs);
    if (!rc)
        rc = read_pvs(r, pvs);
    if (!rc)
        rc = take_section(r, r->m->name, &left, "logical_volumes", false, &lvs);
    if (!rc)
        rc = read_lvs(r, lvs);
    if (rc)
        return rc;
    r->m->extra = left;
    judge_vg(r);
    return vg_metadata_check(r->m, r->err);
}

/* The one section at the top is the group, its key the name. */
static int read_top(struct reader *r, struct config_node *nodes)
{
    struct config_node *group = NULL;
    uint64_t version = 0;
    const char *contents = "";
    int rc = take_text(r, "the text", &nodes, "contents", true, &contents);

    if (!rc)
        rc = take_number(r, "the text", &nodes, "version", true, INT64_MAX, &version);
    if (rc)
        return rc;
    if (strcmp(contents, "Text Format Volume Group") != 0 || version != 1)
        return error_set(r->err, EOPNOTSUPP, "the metadata text is of another kind or version");
    for (; nodes; nodes = nodes->next)
        if (nodes->section && group)
            return bad(r, "the text", nodes->key, "is a second group");
        else if (nodes->section)
            group = nodes;
    if (!group || vg_name_check(group->key, NULL))
        return error_set(r->err, EBADMSG, "the metadata text has no group with a valid name");
    r->m->name = group->key;
    return read_vg(r, group->children);
}

int vg_metadata_decode(struct vg_metadata **m, const char *text, size_t length, struct error *err)
{
    struct reader r = {.arena = arena_create(), .err = err};
    struct config_node *nodes = NULL;
    int rc = -ENOMEM;

    if (r.arena)
        r.m = arena_get(r.arena, sizeof *r.m);
    if (r.m) {
        r.m->arena = r.arena;
        rc = length > LVM_TEXT_MAX_BYTES ? error_set(err, EBADMSG, "the metadata text is too long")
                                         : config_parse(r.arena, text, length, &nodes, err);
    }
    if (!rc)
        rc = read_top(&r, nodes);
    if (!rc && arena_failed(r.arena))
        rc = -ENOMEM;
    if (rc == -ENOMEM)
        error_set(err, ENOMEM, "out of memory");
    if (rc)
        arena_free(r.arena);
    else
        *m = r.m;
    return rc;
}
