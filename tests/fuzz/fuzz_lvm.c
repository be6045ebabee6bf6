/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * LVM2 label, metadata area header and metadata text, by the first byte of the input. Checksums are
 * made right, as the fuzzer would not find them; a text that decodes is encoded, and that decodes
 * too.
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

static void try_label(uint8_t *sector)
{
    struct lvm_label label;
    struct error err = {0};

    put_le32(sector + 16, lvm_crc(LVM_CRC_INITIAL, sector + 20, LVM_LABEL_BYTES - 20));
    if (lvm_label_decode(&label, sector, get_le64(sector + 8), &err) == 0)
        lvm_label_encode(&label, sector);
}

static void try_header(uint8_t *sector)
{
    struct lvm_mda_header h;
    struct lvm_mda_piece pieces[2];
    struct error err = {0};
    uint64_t offset;

    put_le32(sector, lvm_crc(LVM_CRC_INITIAL, sector + 4, LVM_MDA_HEADER_BYTES - 4));
    if (lvm_mda_decode(&h, sector, 4096, 1044480, &err))
        return;
    lvm_mda_encode(&h, sector);
    if (lvm_mda_place(&h, 4096, &offset) == 0)
        lvm_mda_pieces(h.size_bytes, offset, 4096, pieces);
}

static void try_text(const char *text, size_t length)
{
    struct vg_text_header header = {.description = "fuzz", .creation_host = "fuzz"};
    struct vg_metadata *m, *again;
    struct error err = {0};
    char *encoded;

    if (vg_metadata_decode(&m, text, length, &err))
        return;
    for (int form = VG_TEXT_DISK; !m->read_only_reason && form <= VG_TEXT_BACKUP; form++) {
        size_t encoded_length;
        assert(!vg_metadata_encode(m, &header, (enum vg_text_form)form, &encoded, &encoded_length));
        assert(!vg_metadata_decode(&again, encoded, encoded_length, &err));
        assert(again->pv_count == m->pv_count && again->lv_count == m->lv_count &&
               again->seqno == m->seqno);
        vg_metadata_free(again);
        free(encoded);
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
