/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "image/source.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "block/member.h"

static const uint8_t magic[] = {'Q', 'F', 'I', 0xfb};

static int open_raw(struct source *s, const char *path, bool said, struct error *err)
{
    uint8_t bytes[sizeof magic];
    int rc = blockdev_read_bytes(s->file, bytes, 0, sizeof bytes);

    if (rc)
        return error_set(err, -rc, "cannot read %s: %s", path, strerror(-rc));
    if (!said && !memcmp(bytes, magic, sizeof magic))
        return error_set(err, EINVAL,
            "%s begins like a qcow2 image: say --format qcow2, or --format raw to take it as it is",
            path);
    s->disk = s->file;
    return 0;
}

static int open_image(struct source *s, const char *path, struct error *err)
{
    const struct qcow2_options options = {.read_only = true};
    const char *backing;
    int rc = qcow2_open(&s->image, s->file, path, &options, err);

    if (rc)
        return rc;
    backing = qcow2_header(s->image)->backing_name;
    if (backing)
        return error_set(err, EOPNOTSUPP,
            "%s lies over another image, %s, which is not opened (qemu-img convert makes one of "
            "both)",
            path, backing);
    s->disk = qcow2_blockdev(s->image);
    if (s->disk->size_bytes == qcow2_header(s->image)->size_bytes)
        return 0;
    /* The device leaves out what is less than a block. */
    return error_set(err, EINVAL, "%s has a disk of %" PRIu64 " bytes, which is no multiple of %u",
        path, qcow2_header(s->image)->size_bytes, s->disk->logical_block_bytes);
}

int source_open(struct source *s, const char *path, enum source_format format, struct error *err)
{
    int rc;

    *s = (struct source){0};
    rc = member_open(path, MEMBER_READ_ONLY | MEMBER_PADDED, &s->file, err);
    if (rc)
        return rc;
    rc = format == SOURCE_QCOW2 ? open_image(s, path, err)
                                : open_raw(s, path, format == SOURCE_RAW, err);
    if (rc)
        source_close(s);
    return rc;
}

void source_close(struct source *s)
{
    if (s->image)
        qcow2_close(s->image);
    blockdev_close(s->file);
    *s = (struct source){0};
}
