/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writes that need a place. The happy path: claim the subclusters (others who allocate there wait),
 * look again, get host clusters, write the data with what its first and last subcluster lack, and
 * put it into the map.
 *
 * Where the cluster has a place of its own already (or gets one in an extended entry, whose
 * subclusters say that they are not there yet), several writers fill it at once, each with its
 * claim. Where the whole entry is new (standard entries) or replaced (compressed, or shared with a
 * snapshot), the claim covers the cluster: what the write leaves of it is copied, and only then the
 * entry changes, at once.
 *
 * What fails leaves the map as it was, but for clusters with nothing in them.
 */
#include <errno.h>
#include <string.h>

#include "base/arith.h"
#include "base/mutant.h"
#include "image/image.h"
#include "image/pieces.h"
#include "rt/io.h"

struct allocation {
    struct qcow2 *q;
    const struct iovec *iov;
    int iov_count;
    uint64_t offset, length; /* of the guest's write; length shrinks to what goes in one piece */
    bool copy;               /* the data are what stands there, read into iov */
    bool replace;            /* entries change as a whole: the claim covers clusters */
    uint64_t start, end;     /* claimed, and filled: bytes of the guest's disk */
    struct range_holder claim;
    uint64_t host;         /* of `start` */
    uint64_t first, count; /* clusters taken */
    bool fresh;            /* they read as zeros */
    bool kept;             /* the entry has a place, where there may have been data */
};

static uint64_t unit(const struct allocation *a)
{
    return a->replace ? cluster_bytes(a->q) : subcluster_bytes(a->q);
}

/* As much as makes sense at once: data goes out in pieces of a MiB at most in any case. */
#define MOST_BYTES (UINT64_C(4) << 20)

static void claim(struct allocation *a)
{
    uint64_t most = MAX(MOST_BYTES, cluster_bytes(a->q));

    a->start = round_down(a->offset, unit(a));
    a->length = MIN(a->length, most - (a->offset - a->start));
    a->end = round_up(a->offset + a->length, unit(a));
    range_lock_take(&a->q->claims, &a->claim, a->start, a->end, MUTANT(TWO_WRITERS));
}

/* It stands as it stood before the claim was granted, for some of the length. */
static int look_again(struct allocation *a, const struct map_piece *before, bool *same)
{
    struct map_piece p;
    int rc = map_find(a->q, a->offset, a->length, &p);

    if (rc)
        return rc;
    *same = p.kind == before->kind && p.shared == before->shared &&
            !(p.kind == QCOW2_DATA && !p.shared);
    a->length = MIN(a->length, p.length);
    a->end = MIN(a->end, round_up(a->offset + a->length, unit(a)));
    return 0;
}

/* An entry that may be filled where it is. */
static bool has_own_place(struct qcow2_entry e)
{
    return !(e.word & QCOW2_COMPRESSED) && e.word & QCOW2_COPIED && e.word & QCOW2_OFFSET_MASK;
}

/* Only what lies below in a row; at least up to the first cluster's end. */
static void cut(struct allocation *a, uint64_t end)
{
    a->end = MIN(a->end, end);
    a->length = MIN(a->length, a->end - a->offset);
}

static int take(struct allocation *a, uint64_t clusters)
{
    int rc = clusters_take(a->q, clusters, &a->first, &a->count, &a->fresh);

    if (rc)
        return rc;
    a->host = (a->first << a->q->g.cluster_bits) + (a->start & (cluster_bytes(a->q) - 1));
    cut(a, round_down(a->start, cluster_bytes(a->q)) + (a->count << a->q->g.cluster_bits));
    return 0;
}

/* How many clusters from `start` on lack a place, up to `end`; or *host: the place that the first
 * has. */
static int lacking(struct allocation *a, uint64_t *clusters, uint64_t *host)
{
    struct qcow2 *q = a->q;
    uint64_t at = round_down(a->start, cluster_bytes(q)), n = 0;
    struct qcow2_entry e;
    int rc = 0;

    *host = 0;
    for (; at < a->end; at += cluster_bytes(q), n++) {
        rc = map_entry(q, at, &e);
        if (rc || has_own_place(e))
            break;
    }
    if (!rc && !n)
        *host = e.word & QCOW2_OFFSET_MASK;
    *clusters = n;
    return rc;
}

/* Extended entries: the clusters' places go into the map before the data, as places where nothing
 * is yet. Somebody else's may have come first: then these are used. */
static int put_places(struct allocation *a)
{
    struct qcow2 *q = a->q;
    uint64_t at = round_down(a->start, cluster_bytes(q));
    uint64_t done = 0;
    int rc = 0;

    while (!rc && done < a->count) {
        struct qcow2_entry e;
        struct l2_table *t;
        unsigned index;

        rc = map_open(q, at + (done << q->g.cluster_bits), &t, &index);
        if (rc)
            break;
        e = qcow2_entry_get(&q->g, t->bytes, index);
        bool lacks = !(e.word & (QCOW2_OFFSET_MASK | QCOW2_COMPRESSED));
        if (lacks) {
            e.word |= (a->first + done) << q->g.cluster_bits | QCOW2_COPIED;
            map_put(q, t, index, e);
        }
        map_close(q, t);
        if (!lacks)
            break;
        done++;
    }
    if (done < a->count)
        clusters_give_back(q, a->first + done, a->count - done);
    a->count = done;
    if (!done)
        return rc ? rc : -EAGAIN;
    cut(a, at + (done << q->g.cluster_bits));
    return 0;
}

/* Host clusters for the claim, or for its beginning. */
static int find_place(struct allocation *a)
{
    struct qcow2 *q = a->q;
    uint64_t clusters, host, inside = a->start & (cluster_bytes(q) - 1);
    int rc = lacking(a, &clusters, &host);

    if (rc)
        return rc;
    if (host) { /* one that is there */
        a->host = host + inside;
        a->kept = true;
        cut(a, a->start - inside + cluster_bytes(q));
        return 0;
    }
    rc = take(a, clusters);
    if (!rc && !a->replace)
        rc = put_places(a);
    return rc;
}

/* Of clusters that move: subclusters before the first and behind the last that have data need not.
 */
static int trim(struct allocation *a)
{
    struct qcow2 *q = a->q;
    uint64_t from = round_down(a->offset, subcluster_bytes(q));
    uint64_t to = round_up(a->offset + a->length, subcluster_bytes(q));
    uint64_t last = round_down(to - 1, cluster_bytes(q)), old_start = a->start;
    struct qcow2_entry e = {0};
    uint32_t data;
    int rc = map_entry(q, a->start, &e);

    if (rc || e.word & QCOW2_COMPRESSED)
        return rc;
    data =
        (uint32_t)(e.bitmap & ((UINT64_C(1) << ((from - a->start) >> q->g.subcluster_bits)) - 1));
    a->start = data ? a->start + ((uint64_t)__builtin_ctz(data) << q->g.subcluster_bits) : from;
    a->host += a->start - old_start;
    rc = map_entry(q, last, &e);
    if (rc || e.word & QCOW2_COMPRESSED)
        return rc;
    data = (uint32_t)e.bitmap;
    if (data)
        to = MAX(to, last + ((uint64_t)(32 - __builtin_clz(data)) << q->g.subcluster_bits));
    a->end = to;
    return 0;
}

/* [from, to) of the guest's disk, as it reads now. *length: of it; 0: zeros, where zeros are. */
static int read_around(
    const struct allocation *a, uint64_t from, uint64_t to, uint8_t *buf, uint64_t *length)
{
    struct iovec iov = {buf, to - from};
    struct map_piece p;
    int rc = 0;

    *length = 0;
    if (from == to)
        return 0;
    rc = map_find(a->q, from, to - from, &p);
    if (rc)
        return rc;
    if (a->fresh && p.length == to - from &&
        (p.kind == QCOW2_READS_ZERO || (p.kind == QCOW2_BACKED && !a->q->backing)))
        return 0;
    *length = to - from;
    return image_read_inside(a->q, &iov, 1, from, to - from);
}

/* What the claim has before and behind the data: subclusters that the write covers in part, or not
 * at all though the whole cluster moves. */
struct around {
    uint8_t *buf;
    uint64_t bytes;      /* of buf */
    uint64_t head, tail; /* written with the data, which stand between the two */
    uint8_t *tail_at;
};

/* So much data are read in vain rather than that what is around them takes two requests. */
#define BETWEEN_BYTES (UINT64_C(64) << 10)

static int read_both(const struct allocation *a, struct around *r)
{
    uint64_t end = a->offset + a->length, head = a->offset - a->start, all;
    int rc;

    if (head && end < a->end && a->length <= BETWEEN_BYTES) {
        rc = read_around(a, a->start, a->end, r->buf, &all);
        r->head = all ? head : 0;
        r->tail = all ? a->end - end : 0;
        r->tail_at = r->buf + head + a->length;
        return rc;
    }
    r->tail_at = r->buf + round_up(head, 4096);
    rc = read_around(a, a->start, a->offset, r->buf, &r->head);
    return rc ? rc : read_around(a, end, a->end, r->tail_at, &r->tail);
}

/* The data and what is around them, in one. */
static int write_with(const struct allocation *a, const struct around *r)
{
    struct iovec iov[IOV_SEGMENTS_MAX + 2];
    int count = 0;

    if (r->head)
        iov[count++] = (struct iovec){r->buf, r->head};
    count += iov_slice(iov + count, a->iov, a->iov_count, 0, a->length);
    if (r->tail && !MUTANT(NOTHING_AROUND))
        iov[count++] = (struct iovec){r->tail_at, r->tail};
    return blockdev_writev(a->q->file, iov, count, a->host + (a->offset - a->start) - r->head, 0);
}

static int write_data(const struct allocation *a)
{
    uint64_t around = (a->end - a->start) - a->length;
    struct around r = {.bytes = around ? around + BETWEEN_BYTES : 0};
    int rc = 0;

    if (around) {
        r.buf = io_buffer_get(r.bytes);
        rc = r.buf ? read_both(a, &r) : -ENOMEM;
    }
    if (!rc)
        rc = write_with(a, &r);
    if (r.buf)
        io_buffer_put(r.buf, r.bytes);
    return rc;
}

/* What of the entry of the cluster at `at` the claim has filled. */
static struct qcow2_entry filled(const struct allocation *a, struct qcow2_entry e, uint64_t at)
{
    struct qcow2 *q = a->q;
    uint64_t from = MAX(a->start, at), to = MIN(a->end, at + cluster_bytes(q));
    uint64_t host = a->host + from - a->start - (from - at);
    unsigned first = (unsigned)((from - at) >> q->g.subcluster_bits);
    unsigned last = (unsigned)((to - at) >> q->g.subcluster_bits);
    uint64_t bits = q->g.extended ? ((UINT64_C(1) << last) - 1) & ~((UINT64_C(1) << first) - 1) : 0;

    if (a->replace)
        e.bitmap &= ~UINT64_C(0xffffffff);
    e.word = host | QCOW2_COPIED;
    e.bitmap = (e.bitmap | bits) & ~(bits << 32);
    return e;
}

static int publish(struct allocation *a)
{
    struct qcow2 *q = a->q;
    int rc = 0;

    for (uint64_t at = round_down(a->start, cluster_bytes(q)); !rc && at < a->end;
         at += cluster_bytes(q)) {
        struct qcow2_entry old, new;
        struct l2_table *t;
        unsigned index;

        rc = clusters_reserve(q, 4);
        if (!rc)
            rc = map_open(q, at, &t, &index);
        if (rc)
            break;
        old = qcow2_entry_get(&q->g, t->bytes, index);
        new = filled(a, old, at);
        map_put(q, t, index, new);
        if ((old.word ^ new.word) & (QCOW2_OFFSET_MASK | QCOW2_COMPRESSED))
            clusters_drop_entry(q, old);
        map_close(q, t);
        a->first++; /* it is the map's now */
        a->count -= a->count ? 1 : 0;
    }
    return rc;
}

static int write_and_publish(struct allocation *a)
{
    int rc = write_data(a);

    if (!rc)
        rc = publish(a);
    if (rc && a->replace && a->count)
        clusters_give_back(a->q, a->first, a->count);
    return rc;
}

/* Copying up: what stands there, instead of a guest's data. Zeros are not worth a place. */
static int read_below(const struct allocation *a, bool *zero)
{
    int rc = image_read_inside(a->q, a->iov, a->iov_count, a->offset, a->length);

    *zero = !rc && bytes_are_zero(a->iov->iov_base, a->length);
    return rc;
}

/*
 * Something is to be written where there was data until a zeroing left the place to the entry:
 * writes of that data may be under way still, and must not land on what comes after the zeroing.
 * settled: zeroings of before have been waited out.
 */
static bool is_unsettled(
    const struct allocation *a, const struct map_piece *piece, uint64_t *settled)
{
    uint64_t kept = atomic_load(&a->q->map.kept);

    if (!a->kept || piece->kind != QCOW2_READS_ZERO || kept == *settled)
        return false;
    *settled = kept;
    return true;
}

static int allocate(
    struct allocation *a, const struct map_piece *piece, uint64_t *settled, uint64_t *done)
{
    bool same = false, zero = false;
    int rc;

    claim(a);
    rc = look_again(a, piece, &same);
    if (!rc && same && a->copy)
        rc = read_below(a, &zero);
    if (!rc && same && !zero)
        rc = find_place(a);
    if (!rc && same && !zero && a->replace && a->q->g.extended)
        rc = trim(a);
    if (!rc && same && !zero)
        rc = is_unsettled(a, piece, settled) ? -ESTALE : write_and_publish(a);
    range_lock_release(&a->q->claims, &a->claim);
    if (rc == -EAGAIN)
        return 0; /* somebody was quicker: the caller looks again */
    if (!rc && same)
        *done = a->length;
    return rc;
}

int image_write_new(struct qcow2 *q, const struct iovec *iov, int iov_count, uint64_t offset,
    uint64_t length, const struct map_piece *piece, uint64_t *settled, uint64_t *written)
{
    struct allocation a = {.q = q,
        .iov = iov,
        .iov_count = iov_count,
        .offset = offset,
        .length = length,
        .replace = !q->g.extended || piece->shared};

    return allocate(&a, piece, settled, written);
}

int image_copy_up(struct qcow2 *q, void *buf, uint64_t offset, uint64_t length,
    const struct map_piece *piece, uint64_t *copied)
{
    struct iovec iov = {buf, length};
    struct allocation a = {.q = q,
        .iov = &iov,
        .iov_count = 1,
        .offset = offset,
        .length = length,
        .replace = !q->g.extended || piece->shared,
        .copy = true};
    uint64_t settled = 0; /* zeros are not copied up */

    return allocate(&a, piece, &settled, copied);
}
