/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "block/member.h"
#include "raid/array_private.h"
#include "raid/bitmap.h"

#define SECOND_NS UINT64_C(1000000000)
#define POLL_NS   (SECOND_NS / 200)
#define WAIT_NS   (30 * SECOND_NS)

/* --- a device that does not own what is below --- */

struct loan {
    struct blockdev dev;
    struct blockdev *lower;
};

static struct blockdev *lower_of(struct blockdev *d)
{
    return container_of(d, struct loan, dev)->lower;
}

static int loan_read(
    struct blockdev *d, const struct iovec *iov, int iov_count, uint64_t offset, uint64_t length)
{
    return blockdev_readv(lower_of(d), iov, iov_count, offset, 0);
}

static int loan_write(struct blockdev *d, const struct iovec *iov, int iov_count, uint64_t offset,
    uint64_t length, unsigned flags)
{
    return blockdev_writev(lower_of(d), iov, iov_count, offset, flags);
}

static int loan_flush(struct blockdev *d)
{
    return blockdev_flush(lower_of(d));
}

static int loan_discard(struct blockdev *d, uint64_t offset, uint64_t length)
{
    return blockdev_discard(lower_of(d), offset, length);
}

static int loan_write_zeroes(struct blockdev *d, uint64_t offset, uint64_t length, unsigned flags)
{
    return blockdev_write_zeroes(lower_of(d), offset, length, flags);
}

static void loan_close(struct blockdev *d)
{
    blockdev_fini(d);
    free(container_of(d, struct loan, dev));
}

static const struct blockdev_ops loan_ops = {
    .read = loan_read,
    .write = loan_write,
    .flush = loan_flush,
    .discard = loan_discard,
    .write_zeroes = loan_write_zeroes,
    .close = loan_close,
};

static struct blockdev *lend(struct blockdev *lower, const char *name)
{
    struct loan *l = malloc(sizeof *l);

    if (blockdev_init(&l->dev, &loan_ops, name, lower->size_bytes))
        abort();
    l->lower = lower;
    l->dev.logical_block_bytes = lower->logical_block_bytes;
    l->dev.capabilities = lower->capabilities;
    return &l->dev;
}

/* --- disks --- */

const char *rig_name(unsigned disk)
{
    static const char *const names[RIG_DISKS_MAX] = {
        "d0", "d1", "d2", "d3", "d4", "d5", "d6", "d7", "d8", "d9", "d10", "d11"};

    return names[disk];
}

static struct blockdev *new_memory(const struct rig *r, unsigned disk, uint64_t bytes)
{
    struct blockdev *d;

    if (member_memory(rig_name(disk), bytes, r->block_bytes, &d))
        abort();
    return d;
}

void rig_init(struct rig *r, unsigned disk_count)
{
    memset(r, 0, sizeof *r);
    r->random = 88172645463325252u;
    r->disk_count = disk_count;
    r->block_bytes = 512;
    for (unsigned i = 0; i < disk_count; i++) {
        r->disks[i].size_bytes = RIG_DISK_BYTES;
        r->disks[i].memory = new_memory(r, i, RIG_DISK_BYTES);
    }
}

void rig_resize_disk(struct rig *r, unsigned disk, uint64_t bytes)
{
    blockdev_close(r->disks[disk].memory);
    r->disks[disk].memory = new_memory(r, disk, bytes);
    r->disks[disk].size_bytes = bytes;
}

void rig_use_4k_blocks(struct rig *r)
{
    r->block_bytes = 4096;
    for (unsigned i = 0; i < r->disk_count; i++)
        rig_resize_disk(r, i, r->disks[i].size_bytes);
}

void rig_scribble(struct rig *r)
{
    static uint64_t words[8192];

    for (unsigned i = 0; i < r->disk_count; i++)
        for (uint64_t at = 0; at < r->disks[i].size_bytes; at += sizeof words) {
            for (unsigned k = 0; k < ARRAY_LEN(words); k++) {
                random_below(&r->random, 2);
                words[k] = r->random;
            }
            blockdev_write(r->disks[i].memory, words, at, sizeof words, 0);
        }
}

void rig_end(struct rig *r)
{
    if (r->array)
        rig_stop(r);
    for (unsigned i = 0; i < r->disk_count; i++)
        blockdev_close(r->disks[i].memory);
    free(r->model);
}

struct blockdev *rig_open(struct rig *r, unsigned disk)
{
    struct blockdev *d;

    if (fault_create(lend(r->disks[disk].memory, rig_name(disk)), &d))
        abort();
    snprintf(d->name, sizeof d->name, "%s", rig_name(disk));
    r->disks[disk].fault = d;
    return d;
}

void rig_break(struct rig *r, unsigned disk, enum block_kind kind, uint64_t offset, uint64_t length,
    unsigned times)
{
    fault_add(r->disks[disk].fault,
        &(struct fault_rule){
            .kind = kind, .offset = offset, .length = length, .times = times, .error = -EIO});
}

/* --- life --- */

static void adopt(struct rig *r, struct array *a)
{
    r->array = a;
    r->dev = array_blockdev(a);
}

int rig_create_plain(struct rig *r, const struct array_params *params, unsigned members,
    unsigned spares, struct error *err)
{
    struct blockdev *devs[RIG_DISKS_MAX];
    struct array *a;
    int rc;

    for (unsigned i = 0; i < members + spares; i++)
        devs[i] = rig_open(r, i);
    rc = array_create(&a, params, devs, members, devs + members, spares, err);
    if (!rc)
        adopt(r, a);
    for (unsigned i = 0; rc && i < members + spares; i++)
        blockdev_close(devs[i]);
    return rc;
}

/* Gives the stopped array a bitmap of small chunks, soon cleared, as `mdadm --bitmap-chunk --delay`
 * would. */
static void shrink_bitmap_chunks(struct rig *r, unsigned disk)
{
    struct md_bitmap_header h;
    struct md_superblock sb;
    uint8_t buf[MD_BITMAP_ALIGN_BYTES];
    uint64_t bits;

    rig_read_superblock(r, disk, &sb);
    blockdev_read_bytes(r->disks[disk].memory, buf, 8192, sizeof buf);
    if (sb.level == 0 || md_bitmap_decode(&h, buf, NULL))
        return;
    h.chunk_bytes = RIG_CHUNK_BYTES;
    h.daemon_sleep = 1;
    bits = md_bitmap_bits(h.sync_size * MD_SECTOR_BYTES, h.chunk_bytes);
    md_bitmap_encode(&h, buf);
    md_bitmap_fill(buf + MD_BITMAP_HEADER_BYTES, bits, sb.resync_offset == 0);
    blockdev_write_bytes(r->disks[disk].memory, buf, 8192, sizeof buf, 0);
}

void rig_create(struct rig *r, int level, uint32_t layout, unsigned members, unsigned spares)
{
    struct array_params params = {
        .name = "test", .level = level, .layout = layout, .chunk_bytes = RIG_CHUNK_BYTES};
    struct error err = {0};
    int rc = rig_create_plain(r, &params, members, spares, &err);

    if (rc) {
        fprintf(stderr, "create: %s\n", err.text);
        abort();
    }
    rig_stop(r);
    for (unsigned i = 0; i < members; i++)
        shrink_bitmap_chunks(r, i);
    if (rig_assemble(r, (1u << (members + spares)) - 1, 0))
        abort();
    blockdev_unused(r->dev, 0, r->dev->size_bytes);
    rig_learn(r);
}

int rig_assemble(struct rig *r, unsigned mask, unsigned flags)
{
    struct blockdev *devs[RIG_DISKS_MAX];
    struct array *a;
    struct error err = {0};
    unsigned count = 0;
    int rc;

    for (unsigned i = 0; i < r->disk_count; i++)
        if (mask & 1u << i)
            devs[count++] = rig_open(r, i);
    rc = array_assemble(&a, devs, count, flags, &err);
    if (!rc)
        adopt(r, a);
    else
        CU_ASSERT_NOT_EQUAL(err.code, 0);
    for (unsigned i = 0; rc && i < count; i++)
        blockdev_close(devs[i]);
    return rc;
}

void rig_stop(struct rig *r)
{
    CU_ASSERT_EQUAL(array_stop(r->array, NULL), 0);
    r->array = NULL;
    r->dev = NULL;
}

static void crash(struct rig *r, struct blockdev *holding)
{
    struct blockdev *old[RIG_DISKS_MAX];
    char *buf = malloc(1 << 20);

    for (unsigned i = 0; i < r->disk_count; i++) {
        uint64_t size = r->disks[i].size_bytes;
        old[i] = r->disks[i].memory;
        r->disks[i].memory = new_memory(r, i, size);
        for (uint64_t at = 0; at < size; at += 1 << 20) {
            blockdev_read(old[i], buf, at, 1 << 20);
            blockdev_write(r->disks[i].memory, buf, at, 1 << 20, 0);
        }
    }
    if (holding) {
        fault_clear(holding);
        fault_release(holding);
    }
    rig_stop(r);
    for (unsigned i = 0; i < r->disk_count; i++)
        blockdev_close(old[i]);
    free(buf);
}

void rig_crash(struct rig *r)
{
    crash(r, NULL);
}

void rig_crash_holding(struct rig *r, unsigned disk)
{
    crash(r, r->disks[disk].fault);
}

/* --- contents --- */

void rig_learn(struct rig *r)
{
    free(r->model);
    r->model_bytes = r->dev->size_bytes;
    r->model = malloc(r->model_bytes);
    CU_ASSERT_EQUAL(blockdev_read(r->dev, r->model, 0, r->model_bytes), 0);
}

void rig_check(struct rig *r)
{
    char *buf = malloc(r->model_bytes);

    CU_ASSERT_EQUAL(blockdev_read(r->dev, buf, 0, r->model_bytes), 0);
    CU_ASSERT_EQUAL(memcmp(buf, r->model, r->model_bytes), 0);
    free(buf);
}

void rig_write(struct rig *r, uint64_t offset, uint64_t length, unsigned flags)
{
    for (uint64_t i = 0; i < length; i += 8) {
        random_below(&r->random, 2);
        memcpy(r->model + offset + i, &r->random, 8);
    }
    CU_ASSERT_EQUAL(blockdev_write(r->dev, r->model + offset, offset, length, flags), 0);
}

static void random_range(struct rig *r, uint64_t *offset, uint64_t *length)
{
    uint32_t unit = r->block_bytes;
    unsigned limit = (random_below(&r->random, 8) ? 16384 : 524288) / unit;

    *offset = random_below(&r->random, (unsigned)(r->model_bytes / unit)) * (uint64_t)unit;
    *length = (1 + random_below(&r->random, limit)) * (uint64_t)unit;
    *length = MIN(*length, r->model_bytes - *offset);
}

static void random_read(struct rig *r, uint64_t offset, uint64_t length)
{
    char *buf = malloc(length);

    CU_ASSERT_EQUAL(blockdev_read(r->dev, buf, offset, length), 0);
    CU_ASSERT_EQUAL(memcmp(buf, r->model + offset, length), 0);
    free(buf);
}

void rig_work(struct rig *r, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        uint64_t offset, length;

        random_range(r, &offset, &length);
        switch (random_below(&r->random, 12)) {
        case 0:
            CU_ASSERT_EQUAL(blockdev_flush(r->dev), 0);
            break;
        case 1:
            memset(r->model + offset, 0, length);
            CU_ASSERT_EQUAL(blockdev_write_zeroes(r->dev, offset, length, BLOCK_MAY_UNMAP), 0);
            break;
        case 2:
            rig_write(r, offset, length, BLOCK_FUA | BLOCK_STABLE);
            break;
        case 3:
        case 4:
        case 5:
            random_read(r, offset, length);
            break;
        default:
            rig_write(r, offset, length, 0);
            break;
        }
    }
}

/* --- state --- */

/* For whoever looks at a test that waited in vain. */
static void print_status(struct rig *r)
{
    struct array_status *s = array_status(r->array);

    fprintf(stderr, "%s, %s, last result %d\n", array_state_name(s->state),
        array_action_name(s->sync.action), s->sync.result);
    for (unsigned i = 0; i < s->member_count; i++)
        fprintf(stderr, "  %s role %d %s\n", s->members[i].name, s->members[i].role,
            array_member_state_name(s->members[i].state));
    free(s);
    co_list(stderr);
}

bool rig_wait(struct rig *r, bool (*condition)(const struct array_status *s))
{
    uint64_t end = rt_now_ns() + WAIT_NS;
    bool met = false;

    while (!met && rt_now_ns() < end) {
        struct array_status *s = array_status(r->array);
        met = condition(s);
        free(s);
        if (!met)
            co_sleep_ns(POLL_NS);
    }
    CU_ASSERT(met);
    if (!met)
        print_status(r);
    return met;
}

bool rig_is_whole(const struct array_status *s)
{
    return !s->missing && s->sync.action == ARRAY_IDLE;
}

bool rig_is_idle(const struct array_status *s)
{
    return s->sync.action == ARRAY_IDLE;
}

void rig_settle(struct rig *r)
{
    /* the manager looks twice before it has nothing more to start */
    for (unsigned i = 0; i < 4; i++) {
        co_sleep_ns(POLL_NS);
        rig_wait(r, rig_is_idle);
    }
}

enum array_member_state rig_state(struct rig *r, unsigned disk)
{
    struct array_status *s = array_status(r->array);
    enum array_member_state state = MEMBER_MISSING;

    for (unsigned i = 0; i < s->member_count; i++)
        if (!strcmp(s->members[i].name, rig_name(disk)))
            state = s->members[i].state;
    free(s);
    return state;
}

enum array_state rig_array_state(struct rig *r)
{
    struct array_status *s = array_status(r->array);
    enum array_state state = s->state;

    free(s);
    return state;
}

uint64_t rig_unsynced(struct rig *r)
{
    struct array_status *s = array_status(r->array);
    uint64_t bytes = s->unsynced_bytes;

    free(s);
    return bytes;
}

static bool copies_differ(struct array *a, uint64_t offset, uint64_t *run_bytes, char *bufs[2])
{
    struct raid_location copies[RAID_COPIES_MAX];
    unsigned count = raid_geometry_map(&a->geometry, offset, copies, run_bytes);
    unsigned seen = 0;
    bool differ = false;

    *run_bytes = MIN(*run_bytes, (uint64_t)RIG_CHUNK_BYTES);
    for (unsigned i = 0; i < count; i++) {
        struct member *m = array_readable(a, copies[i].role);
        if (!m)
            continue;
        blockdev_read(
            m->dev, bufs[seen > 0], m->data_offset_bytes + copies[i].offset_bytes, *run_bytes);
        differ |= seen++ && memcmp(bufs[0], bufs[1], *run_bytes);
    }
    return differ;
}

unsigned rig_count_differing(struct rig *r)
{
    char *bufs[2] = {malloc(RIG_CHUNK_BYTES), malloc(RIG_CHUNK_BYTES)};
    uint64_t run_bytes;
    unsigned count = 0;

    for (uint64_t at = 0; at < r->array->geometry.size_bytes; at += run_bytes)
        count += copies_differ(r->array, at, &run_bytes, bufs);
    free(bufs[0]);
    free(bufs[1]);
    return count;
}

void rig_read_superblock(struct rig *r, unsigned disk, struct md_superblock *sb)
{
    char buf[MD_SUPERBLOCK_BYTES];

    blockdev_read_bytes(r->disks[disk].memory, buf, MD_SUPERBLOCK_OFFSET_BYTES, sizeof buf);
    CU_ASSERT_EQUAL(md_superblock_decode(sb, buf, NULL), 0);
}

uint64_t rig_count_bits(struct rig *r, unsigned disk)
{
    struct md_bitmap_header h;
    uint8_t buf[MD_BITMAP_ALIGN_BYTES];

    blockdev_read_bytes(r->disks[disk].memory, buf, 8192, sizeof buf);
    CU_ASSERT_EQUAL(md_bitmap_decode(&h, buf, NULL), 0);
    return md_bitmap_count(
        buf + MD_BITMAP_HEADER_BYTES, md_bitmap_bits(h.sync_size * MD_SECTOR_BYTES, h.chunk_bytes));
}
