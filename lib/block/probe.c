/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is on a member, by libblkid, and whether it may be taken. Signatures are looked for as
 * wipefs does it: all there are, also those with a bad checksum. Blocks, so it runs on a helper
 * thread.
 */
#include "block/probe.h"

#include <blkid/blkid.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/holder.h"
#include "block/signature.h"
#include "rt/worker.h"

struct probing {
    const char *path;
    struct probe_result *result;
    struct error *err;
};

static void copy_value(blkid_probe pr, const char *name, char *to, size_t len)
{
    const char *value;

    if (!to[0] && !blkid_probe_lookup_value(pr, name, &value, NULL))
        snprintf(to, len, "%s", value);
}

static void note_signature(blkid_probe pr, struct probe_result *r)
{
    char what[SIGNATURE_LEN];
    size_t used = strlen(r->signature);

    signature_describe(pr, what, sizeof what);
    copy_value(pr, "LABEL", r->label, sizeof r->label);
    copy_value(pr, "UUID", r->uuid, sizeof r->uuid);
    if (!strstr(r->signature, what))
        snprintf(r->signature + used, sizeof r->signature - used, "%s%s", used ? ", " : "", what);
}

static int find_signatures(int fd, struct probe_result *r)
{
    blkid_probe pr = blkid_new_probe();
    int rc = pr ? 0 : -ENOMEM;

    if (!rc && blkid_probe_set_device(pr, fd, 0, 0) < 0)
        rc = -EIO;
    if (!rc) {
        blkid_probe_enable_superblocks(pr, 1);
        blkid_probe_set_superblocks_flags(pr, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE |
                                                  BLKID_SUBLKS_LABEL | BLKID_SUBLKS_UUID |
                                                  BLKID_SUBLKS_BADCSUM);
        blkid_probe_enable_partitions(pr, 1);
        blkid_probe_set_partitions_flags(pr, BLKID_PARTS_FORCE_GPT);
        while (!(rc = blkid_do_probe(pr)))
            note_signature(pr, r);
        rc = rc < 0 ? -EIO : 0;
    }
    blkid_free_probe(pr);
    return rc;
}

static int look(const struct probing *p, int fd)
{
    struct probe_result found = {0};
    struct stat st;
    int rc;

    if (fstat(fd, &st) < 0)
        return error_set(p->err, errno, "cannot look at %s: %s", p->path, strerror(errno));
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return error_set(
            p->err, EINVAL, "%s is neither a regular file nor a block device", p->path);
    holder_find(p->path, fd, &st, found.holder, sizeof found.holder);
    rc = find_signatures(fd, &found);
    if (rc < 0)
        return error_set(p->err, -rc, "cannot probe %s: %s", p->path, strerror(-rc));
    *p->result = found;
    return 0;
}

static int probe_blocking(void *arg)
{
    const struct probing *p = arg;
    int fd = open(p->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC), rc;

    if (fd < 0)
        return error_set(p->err, errno, "cannot open %s: %s", p->path, strerror(errno));
    rc = look(p, fd);
    close(fd);
    return rc;
}

int probe_path(const char *path, struct probe_result *result, struct error *err)
{
    struct probing p = {path, result, err};

    return rt_offload(probe_blocking, &p);
}

int probe_refuse(const char *path, bool force, struct error *err)
{
    struct probe_result r;
    int rc = probe_path(path, &r, err);

    if (rc < 0)
        return rc;
    if (r.holder[0])
        return error_set(err, EBUSY, "%s is in use: %s", path, r.holder);
    if (!r.signature[0] || force)
        return 0;
    return error_set(err, EEXIST, "%s carries data: %s%s%s%s; --force overrides", path, r.signature,
        r.label[0] ? " labelled \"" : "", r.label, r.label[0] ? "\"" : "");
}
