/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Finding, adding and removing in a vg_metadata, and the rules for names. The text is read by
 * metadata_read.c and written by metadata_write.c. */
#include "lvm/metadata.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"

struct vg_metadata *vg_metadata_new(const char *name, const char *id, uint32_t extent_size_sectors)
{
    struct arena *a = arena_create();
    struct vg_metadata *m = a ? arena_get(a, sizeof *m) : NULL;

    if (!m) {
        arena_free(a);
        return NULL;
    }
    m->arena = a;
    m->name = arena_text(a, name);
    memcpy(m->id, id, sizeof m->id);
    m->extent_size_sectors = extent_size_sectors;
    text_list_add(a, &m->status, "RESIZEABLE");
    text_list_add(a, &m->status, "READ");
    text_list_add(a, &m->status, "WRITE");
    if (!arena_failed(a))
        return m;
    arena_free(a);
    return NULL;
}

void vg_metadata_free(struct vg_metadata *m)
{
    if (m)
        arena_free(m->arena);
}

int vg_metadata_clone(const struct vg_metadata *m, struct vg_metadata **copy)
{
    struct vg_text_header header = {.description = ""};
    char *text;
    size_t length;
    int rc = vg_metadata_encode(m, &header, VG_TEXT_DISK, &text, &length);

    if (rc)
        return rc;
    rc = vg_metadata_decode(copy, text, length, NULL);
    free(text);
    return rc;
}

struct vg_lv *vg_metadata_find_lv(const struct vg_metadata *m, const char *name)
{
    for (unsigned i = 0; i < m->lv_count; i++)
        if (strcmp(m->lvs[i].name, name) == 0)
            return &m->lvs[i];
    return NULL;
}

struct vg_lv *vg_metadata_find_lv_by_id(const struct vg_metadata *m, const char *id)
{
    for (unsigned i = 0; i < m->lv_count; i++)
        if (strcmp(m->lvs[i].id, id) == 0)
            return &m->lvs[i];
    return NULL;
}

int vg_metadata_find_pv(const struct vg_metadata *m, const char *id)
{
    for (unsigned i = 0; i < m->pv_count; i++)
        if (strcmp(m->pvs[i].id, id) == 0)
            return (int)i;
    return -1;
}

static bool key_is_used(const struct vg_metadata *m, const char *key)
{
    for (unsigned i = 0; i < m->pv_count; i++)
        if (strcmp(m->pvs[i].key, key) == 0)
            return true;
    return false;
}

struct vg_pv *vg_metadata_add_pv(struct vg_metadata *m)
{
    struct vg_pv *pvs = arena_grow(m->arena, m->pvs, m->pv_count, 1, sizeof *pvs);
    char key[16];
    unsigned n = 0;

    do
        snprintf(key, sizeof key, "pv%u", n++);
    while (key_is_used(m, key));
    if (!pvs)
        return NULL;
    struct vg_pv *pv = &pvs[m->pv_count];
    pv->key = arena_text(m->arena, key);
    pv->device = "";
    if (!pv->key || text_list_add(m->arena, &pv->status, "ALLOCATABLE"))
        return NULL;
    m->pvs = pvs;
    m->pv_count++;
    return pv;
}

static void renumber_stripes(struct vg_segment *s, unsigned removed)
{
    for (unsigned i = 0; i < s->stripe_count; i++)
        if (s->stripes[i].pv > removed)
            s->stripes[i].pv--;
}

void vg_metadata_remove_pv(struct vg_metadata *m, unsigned index)
{
    m->pv_count--;
    memmove(&m->pvs[index], &m->pvs[index + 1], (m->pv_count - index) * sizeof *m->pvs);
    for (unsigned i = 0; i < m->lv_count; i++)
        for (unsigned k = 0; k < m->lvs[i].segment_count; k++)
            renumber_stripes(&m->lvs[i].segments[k], index);
}

struct vg_lv *vg_metadata_add_lv(struct vg_metadata *m, const char *name, const char *id)
{
    struct vg_lv *lvs = arena_grow(m->arena, m->lvs, m->lv_count, 1, sizeof *lvs);

    if (!lvs)
        return NULL;
    struct vg_lv *lv = &lvs[m->lv_count];
    lv->name = arena_text(m->arena, name);
    memcpy(lv->id, id, sizeof lv->id);
    if (!lv->name || text_list_add(m->arena, &lv->status, "READ") ||
        text_list_add(m->arena, &lv->status, "WRITE") ||
        text_list_add(m->arena, &lv->status, "VISIBLE"))
        return NULL;
    m->lvs = lvs;
    m->lv_count++;
    return lv;
}

void vg_metadata_remove_lv(struct vg_metadata *m, struct vg_lv *lv)
{
    size_t index = (size_t)(lv - m->lvs);

    m->lv_count--;
    memmove(lv, lv + 1, (m->lv_count - index) * sizeof *lv);
}

uint32_t vg_lv_extents(const struct vg_lv *lv)
{
    if (!lv->segment_count)
        return 0;
    const struct vg_segment *last = &lv->segments[lv->segment_count - 1];
    return last->start_extent + last->extent_count;
}

bool vg_lv_known(const struct vg_lv *lv)
{
    for (unsigned i = 0; i < lv->segment_count; i++)
        if (!lv->segments[i].stripe_count)
            return false;
    return true;
}

uint32_t vg_segment_pes_per_stripe(const struct vg_segment *s)
{
    return s->extent_count / s->stripe_count;
}

bool text_list_has(const struct text_list *l, const char *item)
{
    for (unsigned i = 0; i < l->count; i++)
        if (strcmp(l->items[i], item) == 0)
            return true;
    return false;
}

int text_list_add(struct arena *a, struct text_list *l, const char *item)
{
    if (text_list_has(l, item))
        return 0;
    const char **items = arena_grow(a, l->items, l->count, 1, sizeof *items);
    const char *copy = arena_text(a, item);
    if (!items || !copy)
        return -ENOMEM;
    items[l->count] = copy;
    l->items = items;
    l->count++;
    return 0;
}

bool text_list_remove(struct text_list *l, const char *item)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < l->count; i++)
        if (strcmp(l->items[i], item) != 0)
            l->items[kept++] = l->items[i];
    bool found = kept != l->count;
    l->count = kept;
    return found;
}

static bool only_chars(const char *text, const char *beside_letters_and_digits)
{
    for (; *text; text++)
        if (!isalnum((unsigned char)*text) && !strchr(beside_letters_and_digits, *text))
            return false;
    return true;
}

int vg_name_check(const char *name, struct error *err)
{
    if (!*name || strlen(name) > LVM_NAME_CHARS)
        return error_set(err, EINVAL, "a name has 1 to %u characters", LVM_NAME_CHARS);
    if (!only_chars(name, "_+.-"))
        return error_set(
            err, EINVAL, "the name \"%s\" has characters beside A-Z a-z 0-9 _ + . -", name);
    if (*name == '-' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return error_set(err, EINVAL, "the name \"%s\" is not allowed", name);
    return 0;
}

int lv_name_check(const char *name, struct error *err)
{
    static const char *const starts[] = {"snapshot", "pvmove"};
    static const char *const parts[] = {"_cdata", "_cmeta", "_corig", "_cpool", "_cvol", "_imeta",
        "_iorig", "_mimage", "_mlog", "_pmspare", "_rimage", "_rmeta", "_tdata", "_tmeta", "_vdata",
        "_vorigin", "_wcorig"};
    int rc = vg_name_check(name, err);

    for (unsigned i = 0; !rc && i < ARRAY_LEN(starts); i++)
        if (strncmp(name, starts[i], strlen(starts[i])) == 0)
            rc = error_set(
                err, EINVAL, "LVM2 keeps names that begin with \"%s\" for itself", starts[i]);
    for (unsigned i = 0; !rc && i < ARRAY_LEN(parts); i++)
        if (strstr(name, parts[i]))
            rc = error_set(err, EINVAL, "LVM2 keeps names with \"%s\" for itself", parts[i]);
    return rc;
}

int lvm_tag_check(const char *tag, struct error *err)
{
    if (!*tag || strlen(tag) > LVM_TAG_CHARS || *tag == '-' || !only_chars(tag, "_+.-/=!:&#"))
        return error_set(err, EINVAL,
            "the tag \"%.64s\" is not 1 to %u of A-Z a-z 0-9 _ + . - / = ! : & #, - not first", tag,
            LVM_TAG_CHARS);
    return 0;
}
