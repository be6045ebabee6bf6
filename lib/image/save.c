/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The steps of a piece: prepare decides what becomes of each cluster, and compresses; in_turn gives
 * them their places, so that the image is in the disk's order, and maps them; finish writes: what
 * is not compressed by one scattered write, what is by another.
 */
#include "image/save.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/arith.h"
#include "image/compress.h"
#include "rt/worker.h"

#define COMPRESS_ORDER_MIN 4 /* many compressed clusters share one cluster */

struct save {
    const struct save_plan *plan;
    struct writer writer;
    uint64_t piece_bytes;
};

/* A lane's own: packed bytes first, so that they are aligned. */
struct packing {
    uint64_t packed_bytes, packed_offset, plain_offset;
    unsigned packed_count, plain_count;
    uint32_t *lengths;   /* of the compressed clusters, in their order */
    uint8_t *fates;      /* enum fate of each cluster */
    struct iovec *plain; /* what is written as it is */
    int plain_iovs;
};
enum fate { FATE_ZERO, FATE_PLAIN, FATE_PACKED };

static uint64_t clusters_max(const struct save *s)
{
    return s->piece_bytes / s->writer.cluster_bytes;
}

static uint8_t *packed_of(const struct piece *p)
{
    return p->own;
}

/* Laid out anew for each piece. */
static struct packing *packing_of(const struct save *s, const struct piece *p)
{
    return (struct packing *)(packed_of(p) + s->piece_bytes);
}

static void packing_init(const struct save *s, struct packing *k)
{
    *k = (struct packing){.plain = (struct iovec *)(k + 1)};
    k->lengths = (uint32_t *)(k->plain + clusters_max(s));
    k->fates = (uint8_t *)(k->lengths + clusters_max(s));
}

static size_t own_bytes(const struct save *s)
{
    return s->piece_bytes + sizeof(struct packing) +
           clusters_max(s) * (sizeof(struct iovec) + sizeof(uint32_t) + 1);
}

static void add_plain(const struct save *s, struct packing *k, uint8_t *bytes)
{
    struct iovec *last = k->plain_iovs ? &k->plain[k->plain_iovs - 1] : NULL;

    k->plain_count++;
    if (last && (uint8_t *)last->iov_base + last->iov_len == bytes)
        last->iov_len += s->writer.cluster_bytes;
    else
        k->plain[k->plain_iovs++] = (struct iovec){bytes, s->writer.cluster_bytes};
}

static enum fate pack_cluster(
    const struct save *s, struct packing *k, uint8_t *packed, uint8_t *bytes, int *rc)
{
    uint64_t cluster_bytes = s->writer.cluster_bytes;
    size_t length;

    if (bytes_are_zero(bytes, cluster_bytes))
        return FATE_ZERO;
    if (s->plan->compress) {
        *rc = cluster_pack(s->plan->to.image.compression, packed + k->packed_bytes,
            cluster_bytes - 1, &length, bytes, cluster_bytes);
        if (*rc == 0) {
            k->lengths[k->packed_count++] = (uint32_t)length;
            k->packed_bytes += length;
            return FATE_PACKED;
        }
        if (*rc == -ENOSPC)
            *rc = 0;
    }
    add_plain(s, k, bytes);
    return FATE_PLAIN;
}

struct packing_call {
    const struct save *save;
    const struct piece *piece;
};

static int pack_blocking(void *arg)
{
    const struct packing_call *call = arg;
    const struct piece *p = call->piece;
    struct packing *k = packing_of(call->save, p);
    uint64_t cluster_bytes = call->save->writer.cluster_bytes;
    int rc = 0;

    packing_init(call->save, k);
    for (uint64_t i = 0; rc == 0 && i * cluster_bytes < p->length; i++)
        k->fates[i] =
            (uint8_t)pack_cluster(call->save, k, packed_of(p), p->bytes + i * cluster_bytes, &rc);
    return rc;
}

static int prepare(void *arg, struct piece *p, struct error *err)
{
    const struct save *s = arg;
    struct packing_call call = {s, p};
    int rc;

    if (p->zero)
        return 0;
    rc = s->plan->compress ? rt_offload(pack_blocking, &call) : pack_blocking(&call);
    return rc ? error_set(err, -rc, "cannot compress: %s", strerror(-rc)) : 0;
}

static int place(struct save *s, struct packing *k, struct error *err)
{
    int rc = 0;

    if (k->packed_count)
        rc = writer_take_packed(&s->writer, k->lengths, k->packed_count, &k->packed_offset, err);
    if (!rc && k->plain_count)
        rc = writer_take(&s->writer, k->plain_count, &k->plain_offset, err);
    return rc;
}

static int map(struct save *s, const struct piece *p, const struct packing *k, struct error *err)
{
    const struct qcow2_geometry *g = &s->writer.geometry;
    uint64_t first = p->offset >> g->cluster_bits, plain = k->plain_offset,
             packed = k->packed_offset;
    const uint32_t *length = k->lengths;
    int rc = 0;

    for (uint64_t i = 0; !rc && i << g->cluster_bits < p->length; i++) {
        struct qcow2_entry e = {0};

        if (k->fates[i] == FATE_ZERO)
            continue;
        if (k->fates[i] == FATE_PACKED) {
            e.word = qcow2_packed_word(g, packed, *length);
            packed += *length++;
        } else {
            e = writer_plain_entry(&s->writer, plain);
            plain += s->writer.cluster_bytes;
        }
        rc = writer_map(&s->writer, first + i, e, err);
    }
    return rc;
}

static int in_turn(void *arg, struct piece *p, struct error *err)
{
    struct save *s = arg;
    struct packing *k = packing_of(s, p);
    int rc;

    if (s->plan->digest)
        digest_piece(s->plan->digest, p);
    if (p->zero)
        return 0;
    rc = place(s, k, err);
    return rc ? rc : map(s, p, k, err);
}

static int finish(void *arg, struct piece *p, struct error *err)
{
    struct save *s = arg;
    struct blockdev *file = s->plan->to.file;
    struct packing *k = packing_of(s, p);
    uint64_t padded;
    int rc = 0;

    if (p->zero)
        return 0;
    padded = round_up(k->packed_bytes, file->logical_block_bytes);
    memset(packed_of(p) + k->packed_bytes, 0, padded - k->packed_bytes);
    if (padded)
        rc = blockdev_write(file, packed_of(p), k->packed_offset, padded, BLOCK_STABLE);
    if (!rc && k->plain_iovs)
        rc = blockdev_writev(file, k->plain, k->plain_iovs, k->plain_offset, BLOCK_STABLE);
    return rc ? error_set(err, -rc, "cannot write to %s: %s", file->name, strerror(-rc)) : 0;
}

static int run(struct save *s, struct error *err)
{
    const struct save_plan *plan = s->plan;
    struct pieces_plan pieces = {.from = plan->from,
        .align_bytes = MAX(s->writer.cluster_bytes, plan->from->logical_block_bytes),
        .prepare = prepare,
        .in_turn = in_turn,
        .finish = finish,
        .arg = s,
        .progress = plan->progress,
        .progress_arg = plan->progress_arg};

    s->piece_bytes = pieces.piece_bytes = MAX(PIECE_BYTES, pieces.align_bytes);
    pieces.own_bytes = own_bytes(s);
    return pieces_run(&pieces, err);
}

int save_qcow2(const struct save_plan *plan, uint64_t *end_bytes, struct error *err)
{
    struct save s = {.plan = plan};
    unsigned order = plan->to.image.refcount_order;
    int rc;

    if (plan->to.image.size_bytes < plan->from->size_bytes ||
        (plan->compress && order && order < COMPRESS_ORDER_MIN))
        return error_set(err, EINVAL, "no such image of %s", plan->from->name);
    rc = writer_begin(&s.writer, &plan->to, err);
    if (rc)
        return rc;
    rc = run(&s, err);
    if (!rc)
        rc = writer_end(&s.writer, end_bytes, err);
    writer_free(&s.writer);
    return rc;
}
