/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Before a member is taken: what is on it (libblkid) and who holds it (mounts, swap, holders of the
 * kernel, libdevmapper). */
#ifndef ASHLAR_BLOCK_PROBE_H
#define ASHLAR_BLOCK_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "block/blockdev.h"

struct probe_result {
    char holder[256];    /* "mounted on /srv", "used by md127"; empty: nobody */
    char signature[128]; /* "ext4 file system", "linux_raid_member", "LVM2_member", "gpt partition
                            table"; empty: none */
    char label[64], uuid[64];
};

/* Looks without changing anything, on a helper thread. -ENOENT and so on with the reason. */
int probe_path(const char *path, struct probe_result *result, struct error *err);
/* 0 when it may be taken; -EBUSY for a holder (never overridden), -EEXIST for a signature unless
 * `force`, with the reason and the option. */
int probe_refuse(const char *path, bool force, struct error *err);
/*
 * How many bytes from the start of a device the file system there (ext2/3/4, xfs, btrfs, swap, a
 * partition table, LVM2, ...) says it uses, by libblkid's FSSIZE/FSLASTBLOCK or the format's own
 * fields; 0: nothing known is there. Reads the first and last MiB through the blockdev.
 */
int probe_used_bytes(
    struct blockdev *d, uint64_t *used_bytes, char *what, unsigned what_len, struct error *err);

#endif
