/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How much of a device what is on it claims. The first and last MiB are read through the device
 * into a memory file as long as the device, with a hole between; libblkid, on a helper thread, says
 * what is there. libblkid before 2.39 does not tell sizes, so those of common formats are read
 * here, from fields named in their kernel headers; anything else that is recognised claims all of
 * the device.
 */
#include "block/probe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "block/signature.h"
#include "rt/worker.h"

#define EDGE_BYTES (1u << 20)

struct image {
    uint64_t size_bytes;
    uint32_t logical_block_bytes;
    unsigned char *head, *tail; /* EDGE_BYTES each, of which `edge_bytes` are filled */
    uint64_t edge_bytes;
    int fd;
    /* Found: */
    uint64_t used_bytes;
    char what[SIGNATURE_LEN];
};

/* count * unit; all there is when that overflows. */
static uint64_t product(uint64_t count, uint64_t unit)
{
    uint64_t bytes;

    return __builtin_mul_overflow(count, unit, &bytes) ? UINT64_MAX : bytes;
}

/* fs/ext4/ext4.h, struct ext4_super_block at 1024: s_blocks_count, s_log_block_size,
 * s_feature_incompat (0x80: 64 bits). */
static uint64_t ext_bytes(const unsigned char *head, blkid_probe pr)
{
    const unsigned char *sb = head + 1024;
    uint64_t blocks = get_le32(sb + 4), high = get_le32(sb + 96) & 0x80 ? get_le32(sb + 0x150) : 0;

    return product(blocks | high << 32, UINT64_C(1024) << (get_le32(sb + 24) & 31));
}

/* fs/xfs/libxfs/xfs_format.h, struct xfs_dsb: sb_blocksize, sb_dblocks. */
static uint64_t xfs_bytes(const unsigned char *head, blkid_probe pr)
{
    return product(get_be64(head + 8), get_be32(head + 4));
}

/* uapi/linux/btrfs_tree.h, struct btrfs_super_block at 64 KiB: dev_item.total_bytes, of this
 * device. */
static uint64_t btrfs_bytes(const unsigned char *head, blkid_probe pr)
{
    return get_le64(head + (64 << 10) + 0xd1);
}

/* linux/swap.h, union swap_header: last_page at 1028, in the byte order of the machine that made
 * it; the magic stands at the end of the first page. */
static uint64_t swap_bytes(const unsigned char *head, blkid_probe pr)
{
    const char *magic;
    uint64_t page_bytes;

    if (blkid_probe_lookup_value(pr, "SBMAGIC_OFFSET", &magic, NULL))
        return UINT64_MAX;
    page_bytes = strtoull(magic, NULL, 10) + 10;
    if (get_le32(head + 1024) != 1)
        return product(UINT64_C(1) + get_be32(head + 1028), page_bytes);
    return product(UINT64_C(1) + get_le32(head + 1028), page_bytes);
}

/* Boot sector: bytes per sector at 11, sectors at 40; a copy of it follows the last. */
static uint64_t ntfs_bytes(const unsigned char *head, blkid_probe pr)
{
    uint64_t sectors = get_le64(head + 40);

    return product(sectors + (sectors != UINT64_MAX), get_le16(head + 11));
}

/* uapi/linux/msdos_fs.h, struct fat_boot_sector: sector_size, sectors, total_sect. */
static uint64_t fat_bytes(const unsigned char *head, blkid_probe pr)
{
    uint64_t sectors = get_le16(head + 19);

    return product(sectors ? sectors : get_le32(head + 32), get_le16(head + 11));
}

static const struct {
    const char *type;
    uint64_t (*bytes)(const unsigned char *head, blkid_probe pr);
} formats[] = {
    {"ext2", ext_bytes},
    {"ext3", ext_bytes},
    {"ext4", ext_bytes},
    {"xfs", xfs_bytes},
    {"btrfs", btrfs_bytes},
    {"swap", swap_bytes},
    {"ntfs", ntfs_bytes},
    {"vfat", fat_bytes},
};

static uint64_t format_bytes(const struct image *im, blkid_probe pr, const char *type)
{
    for (unsigned i = 0; i < ARRAY_LEN(formats); i++)
        if (!strcmp(formats[i].type, type))
            return formats[i].bytes(im->head, pr);
    return UINT64_MAX;
}

/* To the end of the last partition; the table itself lies in the first MiB. */
static uint64_t table_bytes(blkid_probe pr)
{
    blkid_partlist list = blkid_probe_get_partitions(pr);
    int count = list ? blkid_partlist_numof_partitions(list) : 0;
    uint64_t used = EDGE_BYTES;

    for (int i = 0; i < count; i++) {
        blkid_partition part = blkid_partlist_get_partition(list, i);
        uint64_t start = (uint64_t)blkid_partition_get_start(part);
        uint64_t end = start + (uint64_t)blkid_partition_get_size(part);

        used = MAX(used, end < start ? UINT64_MAX : product(end, 512));
    }
    return used;
}

static void examine(struct image *im, blkid_probe pr)
{
    const char *type;
    int rc = blkid_do_safeprobe(pr);

    if (rc == 1)
        return;
    if (rc < 0) {
        im->used_bytes = im->size_bytes;
        snprintf(im->what, sizeof im->what, "several signatures");
        return;
    }
    signature_describe(pr, im->what, sizeof im->what);
    if (!blkid_probe_lookup_value(pr, "TYPE", &type, NULL))
        im->used_bytes = format_bytes(im, pr, type);
    if (!blkid_probe_lookup_value(pr, "PTTYPE", &type, NULL))
        im->used_bytes = MAX(im->used_bytes, table_bytes(pr));
    im->used_bytes = MIN(im->used_bytes, im->size_bytes);
}

static int run_blkid(struct image *im)
{
    blkid_probe pr = blkid_new_probe();
    int rc = 0;

    if (!pr)
        return -ENOMEM;
    if (blkid_probe_set_device(pr, im->fd, 0, 0) < 0) {
        rc = -EIO;
    } else {
        blkid_probe_set_sectorsize(pr, im->logical_block_bytes);
        blkid_probe_enable_superblocks(pr, 1);
        blkid_probe_set_superblocks_flags(
            pr, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE | BLKID_SUBLKS_MAGIC);
        blkid_probe_enable_partitions(pr, 1);
        examine(im, pr);
    }
    blkid_free_probe(pr);
    return rc;
}

static bool write_edge(const struct image *im, const unsigned char *edge, uint64_t offset)
{
    return pwrite(im->fd, edge, im->edge_bytes, (off_t)offset) == (ssize_t)im->edge_bytes;
}

static int examine_blocking(void *arg)
{
    struct image *im = arg;
    int rc;

    im->fd = memfd_create("ashlar-probe", MFD_CLOEXEC);
    if (im->fd < 0)
        return -errno;
    if (ftruncate(im->fd, (off_t)im->size_bytes) < 0 || !write_edge(im, im->head, 0) ||
        !write_edge(im, im->tail, im->size_bytes - im->edge_bytes))
        rc = -ENOMEM;
    else
        rc = run_blkid(im);
    close(im->fd);
    return rc;
}

int probe_used_bytes(
    struct blockdev *d, uint64_t *used_bytes, char *what, unsigned what_len, struct error *err)
{
    struct image im = {.size_bytes = d->size_bytes, .logical_block_bytes = d->logical_block_bytes};
    int rc;

    im.edge_bytes = MIN(im.size_bytes, EDGE_BYTES);
    im.head = calloc(2, EDGE_BYTES);
    if (!im.head)
        return error_set(err, ENOMEM, "out of memory");
    im.tail = im.head + EDGE_BYTES;
    rc = blockdev_read_bytes(d, im.head, 0, im.edge_bytes);
    if (!rc)
        rc = blockdev_read_bytes(d, im.tail, im.size_bytes - im.edge_bytes, im.edge_bytes);
    if (!rc)
        rc = rt_offload(examine_blocking, &im);
    free(im.head);
    if (rc < 0)
        return error_set(
            err, -rc, "cannot look for a file system on %s: %s", d->name, strerror(-rc));
    *used_bytes = im.used_bytes;
    snprintf(what, what_len, "%s", im.what);
    return 0;
}
