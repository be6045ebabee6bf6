/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A walk through the tree: the group, its PVs, its LVs with their segments and stripes; at the end
 * all physical extents in use, sorted, so that neighbours show what is used twice.
 */
#include "check_vg.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct vg_pv {
    char key[CHECK_LVM_NAME_BYTES];
    int index; /* in check_lvm.pvs, or -1 */
    uint64_t pe_count;
};

/* Extents of a PV that a segment uses. */
struct use {
    unsigned pv;
    uint64_t first, end;
    const char *lv;
};

struct walk {
    struct check_lvm *c;
    struct check_lvm_vg *vg;
    int number;
    const struct check_text *t;
    unsigned section; /* of the group */
    unsigned pv_count, use_count;
    struct vg_pv pvs[CHECK_LVM_PVS_MAX];
    struct use uses[CHECK_LVM_STRIPES_MAX];
};

static void problem(struct walk *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void problem(struct walk *w, const char *fmt, ...)
{
    char text[256];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    check_problem(
        &w->c->problems, "group %s, seqno %" PRIu32 ": %s", w->vg->name, w->vg->seqno, text);
}

/* Without its dashes, which stand where they belong. */
static bool read_uuid(const struct check_text *t, unsigned section, char uuid[CHECK_LVM_UUID_BYTES])
{
    char text[39];
    unsigned id = check_text_find(t, section, "id", CHECK_STRING), count = 0;

    if (!id || !check_text_copy(t, id, text, sizeof text) || strlen(text) != 38)
        return false;
    for (unsigned i = 0; i < 38; i++) {
        bool dash = i >= 6 && (i - 6) % 5 == 0 && i < 36;
        if (dash != (text[i] == '-'))
            return false;
        if (!dash)
            uuid[count++] = text[i];
    }
    uuid[count] = '\0';
    return true;
}

static bool is_name(const char *name)
{
    if (!*name || *name == '-' || !strcmp(name, ".") || !strcmp(name, ".."))
        return false;
    return strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+.-") ==
           strlen(name);
}

/* --- the group --- */

/* The only section of the text; 0: none, or several. */
static unsigned group_section(const struct check_text *t)
{
    unsigned section = 0;

    for (unsigned i = t->nodes[0].first; i; i = t->nodes[i].next) {
        if (t->nodes[i].kind != CHECK_SECTION)
            continue;
        if (section)
            return 0;
        section = i;
    }
    return section;
}

const char *check_vg_identify(struct check_lvm_vg *vg, const struct check_text *t)
{
    unsigned section = group_section(t), contents = check_text_find(t, 0, "contents", CHECK_STRING);
    uint64_t seqno = check_text_number(t, section, "seqno", 0);

    if (!contents || !check_text_is(t, contents, "Text Format Volume Group") ||
        check_text_number(t, 0, "version", 0) != 1)
        return "not a volume group's, version 1";
    if (!section)
        return "not of one group";
    if (!check_text_copy_key(t, section, vg->name, sizeof vg->name) || !is_name(vg->name))
        return "the group's name";
    if (!read_uuid(t, section, vg->uuid))
        return "the group's id";
    if (seqno == 0 || seqno > UINT32_MAX)
        return "the group's seqno";
    vg->seqno = (uint32_t)seqno;
    vg->extent_bytes = check_text_number(t, section, "extent_size", 0) * CHECK_SECTOR_BYTES;
    return vg->extent_bytes ? NULL : "the group's extent size";
}

static bool has_item(
    const struct check_text *t, unsigned section, const char *key, const char *text)
{
    unsigned list = check_text_find(t, section, key, CHECK_LIST);

    for (unsigned i = list ? t->nodes[list].first : 0; i; i = t->nodes[i].next)
        if (check_text_is(t, i, text))
            return true;
    return false;
}

static bool has_status(const struct check_text *t, unsigned section, const char *flag)
{
    return has_item(t, section, "status", flag);
}

static void check_group(struct walk *w)
{
    unsigned format = check_text_find(w->t, w->section, "format", CHECK_STRING);

    if (check_text_repeats(w->t, 0) || check_text_repeats(w->t, w->section))
        problem(w, "a key stands there twice");
    if (format && !check_text_is(w->t, format, "lvm2"))
        problem(w, "its format is not lvm2");
    if (!has_status(w->t, w->section, "READ"))
        problem(w, "its status has no READ");
    if (!check_text_find(w->t, 0, "creation_time", CHECK_NUMBER) ||
        !check_text_find(w->t, 0, "creation_host", CHECK_STRING))
        problem(w, "nothing says when and where it was made");
}

/* --- its PVs --- */

static int find_present(const struct check_lvm *c, const char *uuid)
{
    for (unsigned i = 0; i < c->pv_count; i++)
        if (!strcmp(c->pvs[i].uuid, uuid))
            return (int)i;
    return -1;
}

static void check_pv_size(struct walk *w, const struct vg_pv *v, unsigned node)
{
    uint64_t size = check_text_number(w->t, node, "dev_size", 0);
    uint64_t start = check_text_number(w->t, node, "pe_start", 0);
    uint64_t end = start + v->pe_count * (w->vg->extent_bytes / CHECK_SECTOR_BYTES);

    if (size && end > size)
        problem(w, "%s: extents up to sector %" PRIu64 " of %" PRIu64, v->key, end, size);
    if (v->index < 0)
        return;
    const struct check_pv *pv = &w->c->pvs[v->index];
    if (size && size * CHECK_SECTOR_BYTES != pv->size_bytes)
        problem(w, "%s: %" PRIu64 " sectors, its label says %" PRIu64 " bytes", v->key, size,
            pv->size_bytes);
    if (start * CHECK_SECTOR_BYTES != pv->data_offset_bytes)
        problem(w, "%s: extents start at sector %" PRIu64 ", its label says byte %" PRIu64, v->key,
            start, pv->data_offset_bytes);
    if (end * CHECK_SECTOR_BYTES > pv->disk.size_bytes)
        problem(w, "%s: extents beyond the end of the device", v->key);
}

static void read_pv(struct walk *w, unsigned node)
{
    struct vg_pv *v = &w->pvs[w->pv_count];
    char uuid[CHECK_LVM_UUID_BYTES];

    if (w->pv_count == CHECK_LVM_PVS_MAX) {
        problem(w, "more PVs than are looked at");
        return;
    }
    if (!check_text_copy_key(w->t, node, v->key, sizeof v->key) || !read_uuid(w->t, node, uuid)) {
        problem(w, "a PV's key or id");
        return;
    }
    v->index = find_present(w->c, uuid);
    v->pe_count = check_text_number(w->t, node, "pe_count", 0);
    for (unsigned i = 0; i < w->pv_count; i++)
        if (v->index >= 0 && w->pvs[i].index == v->index)
            problem(w, "%s and %s are the same PV", v->key, w->pvs[i].key);
    check_pv_size(w, v, node);
    w->pv_count++;
    w->vg->pv_count++;
    w->vg->missing += v->index < 0;
    if (v->index < 0)
        return;
    w->c->pe_start_bytes[v->index] =
        check_text_number(w->t, node, "pe_start", 0) * CHECK_SECTOR_BYTES;
    w->c->pe_count[v->index] = v->pe_count;
    if (w->c->pvs[v->index].vg >= 0)
        problem(
            w, "%s is claimed by group %s, too", v->key, w->c->vgs[w->c->pvs[v->index].vg].name);
    w->c->pvs[v->index].vg = w->number;
}

static void read_pvs(struct walk *w)
{
    unsigned pvs = check_text_find(w->t, w->section, "physical_volumes", CHECK_SECTION);

    if (!pvs || check_text_repeats(w->t, pvs))
        problem(w, "no PVs, or two of a name");
    for (unsigned i = pvs ? w->t->nodes[pvs].first : 0; i; i = w->t->nodes[i].next)
        if (w->t->nodes[i].kind == CHECK_SECTION)
            read_pv(w, i);
}

/* --- LVs --- */

static struct vg_pv *find_pv(struct walk *w, unsigned string)
{
    for (unsigned i = 0; i < w->pv_count; i++)
        if (check_text_is(w->t, string, w->pvs[i].key))
            return &w->pvs[i];
    return NULL;
}

static void use_extents(struct walk *w, const struct vg_pv *v, const struct check_lvm_stripe *s)
{
    const char *lv = w->c->lvs[w->c->lv_count].name;

    if (s->first_pe > v->pe_count || s->pe_count > v->pe_count - s->first_pe)
        problem(w, "%s: extents %" PRIu64 "+%" PRIu64 " of %s, which has %" PRIu64, lv, s->first_pe,
            s->pe_count, v->key, v->pe_count);
    w->uses[w->use_count++] =
        (struct use){(unsigned)(v - w->pvs), s->first_pe, s->first_pe + s->pe_count, lv};
}

/* ["pv0", 0, "pv1", 0]: on PVs; false when it names none, as parts of other types may. */
static bool read_stripes(struct walk *w, struct check_lvm_segment *s, unsigned list)
{
    const struct check_node *n = w->t->nodes;
    unsigned count = check_text_items(w->t, list) / 2;

    s->first_stripe = w->c->stripe_count;
    for (unsigned i = n[list].first; i && n[i].next; i = n[n[i].next].next) {
        struct vg_pv *v = find_pv(w, i);
        if (!v || w->c->stripe_count == CHECK_LVM_STRIPES_MAX)
            return false;
        struct check_lvm_stripe *stripe = &w->c->stripes[w->c->stripe_count++];
        *stripe = (struct check_lvm_stripe){
            v->index, n[n[i].next].number, count ? s->extent_count / count : 0};
        s->stripe_count++;
        use_extents(w, v, stripe);
    }
    return true;
}

static void check_striped(
    struct walk *w, const struct check_lvm_segment *s, unsigned node, const char *name)
{
    uint64_t count = check_text_number(w->t, node, "stripe_count", 0);
    uint64_t stripe = s->stripe_bytes;

    if (count == 0 || count != s->stripe_count || s->extent_count % count) {
        problem(w, "%s: %" PRIu64 " extents in %" PRIu64 " stripes, %u are listed", name,
            s->extent_count, count, s->stripe_count);
        return;
    }
    if (count == 1 ? stripe != 0 : !stripe || stripe & (stripe - 1) || stripe > w->vg->extent_bytes)
        problem(w, "%s: stripes of %" PRIu64 " bytes", name, stripe);
}

/* LVs made of other LVs name those where others have PVs. */
static bool is_stacked(const struct check_text *t, unsigned lvs, unsigned list)
{
    char name[CHECK_LVM_NAME_BYTES];
    unsigned first = list ? t->nodes[list].first : 0;

    return first && check_text_copy(t, first, name, sizeof name) &&
           check_text_find(t, lvs, name, CHECK_SECTION);
}

static void read_segment(struct walk *w, struct check_lvm_lv *lv, unsigned lvs, unsigned node)
{
    struct check_lvm_segment *s = &w->c->segments[w->c->segment_count];
    unsigned type = check_text_find(w->t, node, "type", CHECK_STRING);
    unsigned stripes = check_text_find(w->t, node, "stripes", CHECK_LIST);

    if (w->c->segment_count == CHECK_LVM_SEGMENTS_MAX) {
        problem(w, "more segments than are looked at");
        return;
    }
    *s = (struct check_lvm_segment){
        .first_extent = check_text_number(w->t, node, "start_extent", UINT64_MAX),
        .extent_count = check_text_number(w->t, node, "extent_count", 0),
        .stripe_bytes = check_text_number(w->t, node, "stripe_size", 0) * CHECK_SECTOR_BYTES,
    };
    if (!type || s->first_extent != lv->extent_count || s->extent_count == 0)
        problem(w, "%s: a segment of extents %" PRIu64 "+%" PRIu64 " after %" PRIu64, lv->name,
            s->first_extent, s->extent_count, lv->extent_count);
    lv->extent_count += s->extent_count;
    w->c->segment_count++;
    lv->segment_count++;
    if (!type || !check_text_is(w->t, type, "striped") || is_stacked(w->t, lvs, stripes))
        return;
    if (!stripes || !read_stripes(w, s, stripes))
        problem(w, "%s: stripes on no PV of the group", lv->name);
    else
        check_striped(w, s, node, lv->name);
}

/* segment1 and so on, in that order. */
static void read_segments(struct walk *w, struct check_lvm_lv *lv, unsigned lvs, unsigned node)
{
    uint64_t count = check_text_number(w->t, node, "segment_count", 0), found = 0;

    for (unsigned i = w->t->nodes[node].first; i; i = w->t->nodes[i].next) {
        char key[32], expected[32];
        if (w->t->nodes[i].kind != CHECK_SECTION)
            continue;
        snprintf(expected, sizeof expected, "segment%" PRIu64, ++found);
        if (!check_text_copy_key(w->t, i, key, sizeof key) || strcmp(key, expected) != 0)
            problem(w, "%s: %s is missing", lv->name, expected);
        read_segment(w, lv, lvs, i);
    }
    if (found != count || count == 0)
        problem(w, "%s: %" PRIu64 " segments, it has %" PRIu64, lv->name, count, found);
}

static void check_lv(struct walk *w, const struct check_lvm_lv *lv, unsigned node)
{
    if (!is_name(lv->name))
        problem(w, "%s: no name for an LV", lv->name);
    if (!has_status(w->t, node, "READ"))
        problem(w, "%s: its status has no READ", lv->name);
    if (check_text_repeats(w->t, node))
        problem(w, "%s: a key stands there twice", lv->name);
    for (const struct check_lvm_lv *other = &w->c->lvs[w->vg->first_lv]; other < lv; other++)
        if (!strcmp(other->uuid, lv->uuid))
            problem(w, "%s and %s have the same id", lv->name, other->name);
}

static void read_lvs(struct walk *w)
{
    unsigned lvs = check_text_find(w->t, w->section, "logical_volumes", CHECK_SECTION);

    if (lvs && check_text_repeats(w->t, lvs))
        problem(w, "two LVs of a name");
    for (unsigned i = lvs ? w->t->nodes[lvs].first : 0; i; i = w->t->nodes[i].next) {
        struct check_lvm_lv *lv = &w->c->lvs[w->c->lv_count];
        if (w->c->lv_count == CHECK_LVM_LVS_MAX) {
            problem(w, "more LVs than are looked at");
            return;
        }
        *lv = (struct check_lvm_lv){.vg = w->number, .first_segment = w->c->segment_count};
        if (w->t->nodes[i].kind != CHECK_SECTION ||
            !check_text_copy_key(w->t, i, lv->name, sizeof lv->name) ||
            !read_uuid(w->t, i, lv->uuid)) {
            problem(w, "an LV's name or id");
            continue;
        }
        lv->unfinished = has_item(w->t, i, "tags", "ashlar.new");
        check_lv(w, lv, i);
        read_segments(w, lv, lvs, i);
        w->c->lv_count++;
        w->vg->lv_count++;
    }
}

static int by_place(const void *a, const void *b)
{
    const struct use *x = a, *y = b;

    if (x->pv != y->pv)
        return x->pv < y->pv ? -1 : 1;
    return x->first < y->first ? -1 : x->first > y->first;
}

static void check_uses(struct walk *w)
{
    qsort(w->uses, w->use_count, sizeof *w->uses, by_place);
    for (unsigned i = 1; i < w->use_count; i++) {
        const struct use *a = &w->uses[i - 1], *b = &w->uses[i];
        if (a->pv == b->pv && b->first < a->end)
            problem(w, "extent %" PRIu64 " of %s is used by %s and %s", b->first, w->pvs[a->pv].key,
                a->lv, b->lv);
    }
}

void check_vg_read(
    struct check_lvm *c, struct check_lvm_vg *vg, int number, const struct check_text *t)
{
    struct walk *w = malloc(sizeof *w);

    vg->pv_count = vg->missing = vg->lv_count = 0;
    vg->first_lv = c->lv_count;
    if (!w) {
        check_problem(&c->problems, "out of memory");
        return;
    }
    w->c = c;
    w->vg = vg;
    w->number = number;
    w->t = t;
    w->section = group_section(t);
    w->pv_count = w->use_count = 0;
    check_group(w);
    read_pvs(w);
    read_lvs(w);
    check_uses(w);
    free(w);
}
