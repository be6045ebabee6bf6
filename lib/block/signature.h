/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What libblkid found, in words. Internal to block/. */
#ifndef ASHLAR_BLOCK_SIGNATURE_H
#define ASHLAR_BLOCK_SIGNATURE_H

#include <blkid/blkid.h>
#include <stddef.h>

#define SIGNATURE_LEN 64

/* "ext4 file system", "linux_raid_member", "gpt partition table". The probe's superblock flags
 * include TYPE and USAGE. */
void signature_describe(blkid_probe pr, char *text, size_t len);

#endif
