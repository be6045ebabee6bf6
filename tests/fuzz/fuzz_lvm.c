/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * LVM2 label, metadata area header and metadata text, by the first byte of the input. Checksums are
 * made right, as the fuzzer would not find them; what decodes is encoded, and that decodes to the
 * same.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "lvm/crc.h"
#include "lvm/label.h"
#include "lvm/mda.h"
#include "lvm/metadata.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The label as it is found on a device; as we write it, it says the same. */
static void try_label(uint8_t *sector)
{
    uint8_t device[LVM_LABEL_SCAN_BYTES] = {0}, once[LVM_LABEL_BYTES], twice[LVM_LABEL_BYTES];
    uint64_t number = get_le64(sector + 8) % LVM_LABEL_SCAN_SECTORS;
    struct lvm_label label;
    struct error err = {0};

    put_le32(sector + 16, lvm_crc(LVM_CRC_INITIAL, sector + 20, LVM_LABEL_BYTES - 20));
    memcpy(device + number * LVM_LABEL_BYTES, sector, LVM_LABEL_BYTES);
    if (lvm_label_find(&label, device, &err)) {
        assert(err.text[0]);
        return;
    }
    assert(label.sector == number);
    lvm_label_encode(&label, once);
    assert(!lvm_label_decode(&label, once, number, &err));
    lvm_label_encode(&label, twice);
    assert(!memcmp(once, twice, sizeof once));
}

static bool overlap(const struct lvm_mda_piece *a, const struct lvm_mda_piece *b)
{
    return a->offset < b->offset + b->length && b->offset < a->offset + a->length;
}

/* Where the next text goes there is room, and the committed one is not touched. */
static void try_place(const struct lvm_mda_header *h, uint64_t length)
{
    struct lvm_mda_piece last[2], next[2];
    unsigned lasts = 0, nexts;
    uint64_t offset;

    if (lvm_mda_place(h, length, &offset))
        return;
    if (h->committed.offset)
        lasts = lvm_mda_pieces(h->size_bytes, h->committed.offset, h->committed.size, last);
    nexts = lvm_mda_pieces(h->size_bytes, offset, length, next);
    for (unsigned i = 0; i < nexts; i++) {
        assert(next[i].offset >= LVM_MDA_HEADER_BYTES);
        assert(next[i].offset + next[i].length <= h->size_bytes);
        for (unsigned j = 0; j < lasts; j++)
            assert(!overlap(&next[i], &last[j]));
    }
}

/* The place and size are those of the label, which knows devices of a sane size only. */
static void try_header(uint8_t *sector)
{
    uint64_t start = get_le64(sector + 24);
    uint64_t size =
        get_le64(sector + 32) % (UINT64_C(1) << 40) / LVM_MDA_ALIGN_BYTES * LVM_MDA_ALIGN_BYTES;
    struct lvm_mda_header h;
    struct error err = {0};
    uint8_t again[LVM_MDA_HEADER_BYTES];

    put_le64(sector + 32, size);
    put_le32(sector, lvm_crc(LVM_CRC_INITIAL, sector + 4, LVM_MDA_HEADER_BYTES - 4));
    if (lvm_mda_decode(&h, sector, start, size, &err))
        return;
    lvm_mda_encode(&h, again);
    assert(!lvm_mda_decode(&h, again, start, size, &err));
    try_place(&h, 1);
    try_place(&h, LVM_MDA_ALIGN_BYTES + 1);
    try_place(&h, lvm_mda_text_max(size));
}

/* What is written is read and written again the same. */
static void try_form(const struct vg_metadata *m, enum vg_text_form form)
{
    struct vg_text_header header = {.description = "fuzz", .creation_host = "fuzz"};
    struct vg_metadata *again;
    char *once, *twice;
    size_t length;

    assert(!vg_metadata_encode(m, &header, form, &once, &length));
    assert(!vg_metadata_decode(&again, once, length, NULL));
    assert(!vg_metadata_encode(again, &header, form, &twice, &length));
    assert(!strcmp(once, twice));
    vg_metadata_free(again);
    free(once);
    free(twice);
}

static void try_text(const char *text, size_t length)
{
    struct vg_metadata *m;
    struct error err = {0};

    if (vg_metadata_decode(&m, text, length, &err))
        return;
    if (!m->read_only_reason) {
        try_form(m, VG_TEXT_DISK);
        try_form(m, VG_TEXT_BACKUP);
    }
    vg_metadata_free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t sector[LVM_LABEL_BYTES] = {0};

    if (!size)
        return 0;
    memcpy(sector, data + 1, size - 1 < sizeof sector ? size - 1 : sizeof sector);
    if (data[0] == 'L')
        try_label(sector);
    else if (data[0] == 'M')
        try_header(sector);
    else
        try_text((const char *)data + 1, size - 1);
    return 0;
}
