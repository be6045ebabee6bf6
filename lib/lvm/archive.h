/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Texts of groups kept in directories as LVM2 keeps them: NAME_NNNNN-RANDOM.vg before each change,
 * and NAME, the current one. Calls wait. */
#ifndef ASHLAR_LVM_ARCHIVE_H
#define ASHLAR_LVM_ARCHIVE_H

#include "base/error.h"
#include "lvm/metadata.h"

/* Writes the next archive file of m and removes the oldest beyond `keep` (at least 1). */
int archive_save(const char *dir, unsigned keep, const struct vg_metadata *m,
    const struct vg_text_header *header, struct error *err);
int backup_save(const char *dir, const struct vg_metadata *m, const struct vg_text_header *header,
    struct error *err);
void backup_remove(const char *dir, const char *vg_name);

/* The number in an archive file's name, -1: it is none of that group. */
long archive_number(const char *file, const char *vg_name);

#endif
