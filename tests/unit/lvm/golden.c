/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "golden.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/arith.h"

const struct golden goldens[] = {
    {"pe4-linear-striped", "vg4", 3, 3, NULL},
    {"pe32-linear-striped", "vg32", 3, 3, NULL},
    {"pe4-stripe3-512k", "vg4", 3, 2, NULL},
    {"pe4-extended-mixed-types", "vgm", 3, 2, NULL},
    {"pe4-mda-ignored-and-none", "vgi", 3, 1, NULL},
    {"pe4-pvmove-clean", "vmv", 2, 2, NULL},
    {"other-types", "vo", 3, 23, "snapshot"},
    {"pe4-two-vgs", "va", 1, 1, NULL},
    {"md-raid10-lvm", "vgmd", 0, 2, NULL},
};
const unsigned golden_count = ARRAY_LEN(goldens);

/* Reads through gzip, or plain files as they are. */
static char *read_all(const char *path, size_t room, size_t *length)
{
    gzFile f = gzopen(path, "rb");
    char *data = calloc(1, room + 1);
    int n = f ? gzread(f, data, (unsigned)room) : -1;

    if (n < 0) {
        fprintf(stderr, "%s cannot be read\n", path);
        abort();
    }
    gzclose(f);
    *length = (size_t)n;
    return data;
}

char *golden_head(const struct golden *g, unsigned pv)
{
    char path[512];
    size_t length;

    snprintf(path, sizeof path, "%s/%s.d%u.gz", LVM_DATA, g->name, pv);
    return read_all(path, GOLDEN_HEAD_BYTES, &length);
}

char *golden_backup(const struct golden *g, size_t *length)
{
    char path[512];

    snprintf(path, sizeof path, "%s/%s.%s.vg", LVM_DATA, g->name, g->vg);
    return read_all(path, GOLDEN_HEAD_BYTES, length);
}

char *golden_text(const char *head, size_t *length)
{
    struct lvm_label label;
    struct lvm_mda_header h;
    struct lvm_mda_piece pieces[2];

    if (lvm_label_find(&label, head, NULL) || !label.metadata_area_count)
        return NULL;
    const struct lvm_area *area = &label.metadata_areas[0];
    const char *mda = head + area->offset_bytes;
    if (lvm_mda_decode(&h, mda, area->offset_bytes, area->size_bytes, NULL) || !h.committed.offset)
        return NULL;
    char *text = malloc(h.committed.size), *to = text;
    unsigned n = lvm_mda_pieces(h.size_bytes, h.committed.offset, h.committed.size, pieces);
    for (unsigned i = 0; i < n; to += pieces[i++].length)
        memcpy(to, mda + pieces[i].offset, pieces[i].length);
    *length = h.committed.size;
    return text;
}
