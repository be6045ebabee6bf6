/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "golden.h"

#include <stdlib.h>
#include <string.h>

#include "base/arith.h"

const char *const golden_ours[] = {
    "raid0-512k-4-shuffled",
    "raid0-64k-3",
    "raid0-64k-uneven-alternate",
    "raid1-2",
    "raid1-2-crash-bitmap",
    "raid1-2-resync-unfinished",
    "raid1-2-synced",
    "raid1-3-bitmap",
    "raid10-f2-64k-2",
    "raid10-f2-64k-3",
    "raid10-f2-64k-4",
    "raid10-f2-64k-5-degraded",
    "raid10-f3-64k-5",
    "raid10-n2-64k-2",
    "raid10-n2-64k-3",
    "raid10-n2-64k-4",
    "raid10-n2-64k-4-degraded",
    "raid10-n2-64k-4-degraded2",
    "raid10-n2-64k-4-spare",
    "raid10-n2-64k-4-synced-bitmap",
    "raid10-n2-64k-5",
    "raid10-o2-64k-3",
    "raid10-o2-64k-4",
    "raid10-o3-64k-4",
    "raid5-64k-3-spare",
    "raid5-64k-4-crash-bitmap",
    "raid5-64k-4-crash-nobitmap",
    "raid5-64k-4-created-missing",
    "raid5-64k-4-degraded",
    "raid5-64k-4-degraded-bitmap",
    "raid5-64k-4-force-resync-unfinished",
    "raid5-64k-4-largeoffset",
    "raid5-64k-4-resync-unfinished",
    "raid5-64k-4-synced-bitmap",
    "raid5-left-asymmetric-64k-4",
    "raid5-left-symmetric-64k-4",
    "raid5-ls-512k-3",
    "raid5-parity-first-64k-4",
    "raid5-right-asymmetric-64k-4",
    "raid6-64k-5-degraded1",
    "raid6-64k-5-resync-unfinished",
    "raid6-64k-6-synced-bitmap",
    "raid6-left-asymmetric-64k-5",
    "raid6-left-symmetric-64k-5",
    "raid6-ls-512k-4",
    "raid6-right-symmetric-64k-5",
    NULL,
};

static void die(const char *name, const char *what)
{
    fprintf(stderr, "golden array %s: %s\n", name, what);
    exit(2);
}

FILE *golden_file(const struct golden *g, unsigned member, const char *suffix)
{
    char path[512];
    const char *stem = g->members[member].name;

    snprintf(path, sizeof path, "%s/%s/%.*s.%s", GOLDEN_DIR, g->name, (int)strcspn(stem, "."), stem,
        suffix);
    return fopen(path, "rb");
}

static void load_member(struct golden *g, unsigned i)
{
    struct golden_member *m = &g->members[i];

    m->json = json_array_get(json_object_get(g->manifest, "devices"), i);
    m->name = json_string_value(json_object_get(m->json, "file"));
    m->bytes = (uint64_t)golden_number(m->json, "bytes");
    FILE *f = golden_file(g, i, "head");
    if (!f || fread(m->head, 1, sizeof m->head, f) != sizeof m->head)
        die(g->name, "no head");
    fclose(f);
}

struct golden *golden_load(const char *name)
{
    struct golden *g = calloc(1, sizeof *g);
    char path[512];

    if (!g)
        die(name, "out of memory");
    g->name = name;
    snprintf(path, sizeof path, "%s/%s/manifest.json", GOLDEN_DIR, name);
    /* resync_offset may be 2^64 - 1: as a real, which keeps the difference from all others here */
    g->manifest = json_load_file(path, JSON_DECODE_INT_AS_REAL, NULL);
    if (!g->manifest)
        die(name, "no manifest");
    g->count = (unsigned)json_array_size(json_object_get(g->manifest, "devices"));
    if (g->count == 0 || g->count > GOLDEN_MEMBERS_MAX)
        die(name, "no devices");
    for (unsigned i = 0; i < g->count; i++)
        load_member(g, i);
    return g;
}

void golden_free(struct golden *g)
{
    json_decref(g->manifest);
    free(g);
}

int64_t golden_number(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);

    if (json_is_string(v))
        return strtoll(json_string_value(v), NULL, 10);
    return (int64_t)json_number_value(v);
}

struct golden_candidates *golden_decode(const struct golden *g)
{
    struct golden_candidates *c = calloc(1, sizeof *c);

    if (!c)
        die(g->name, "out of memory");
    c->count = g->count;
    for (unsigned i = 0; i < g->count; i++) {
        const uint8_t *head = g->members[i].head;
        if (md_superblock_decode(&c->superblocks[i], head + MD_SUPERBLOCK_OFFSET_BYTES, NULL))
            die(g->name, "no superblock");
        bool bitmap = !md_bitmap_decode(&c->bitmaps[i], head + GOLDEN_BITMAP_BYTES, NULL);
        c->candidates[i] = (struct raid_candidate){
            .name = g->members[i].name,
            .sb = &c->superblocks[i],
            .bitmap = bitmap ? &c->bitmaps[i] : NULL,
            .device_bytes = g->members[i].bytes,
        };
    }
    return c;
}
