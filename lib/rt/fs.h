/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Small files: state, archives, configuration. Calls wait on a helper thread; the simulator keeps
 * them in memory under the same rules (a replaced file is either old or new after a power cut).
 */
#ifndef ASHLAR_RT_FS_H
#define ASHLAR_RT_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Whole file, NUL-terminated past its length; *data is freed by the caller. -EFBIG above max_bytes.
 */
int fs_read(const char *path, size_t max_bytes, char **data, size_t *length);
/* Atomic and durable: temporary file, fsync, rename, fsync of the directory. On failure the old
 * file is as it was (only if the last fsync failed, it may be old or new after a power cut). */
int fs_replace(const char *path, const void *data, size_t length, mode_t mode);
/* Durable too. */
int fs_remove(const char *path);
/* The name of a file that was made otherwise (FILE_CREATE) is durable. */
int fs_sync_name(const char *path);
/* With parents, like mkdir -p; 0 when it is there already, -ENOTDIR when something else is. */
int fs_make_dir(const char *path, mode_t mode);
/* Names in a directory without "." and ".." and without what an interrupted fs_replace left,
 * sorted; a NULL-terminated array in one allocation, freed by the caller. */
int fs_list(const char *path, char ***names);
/* The files and block devices that `pattern` names: one of them, what is in a directory, or all
 * that a pattern of glob(7) matches, directories as what is in them; hidden ones and whatever else
 * there is are passed over. When nothing is there the pattern itself: whoever opens it says why
 * not. Sorted and allocated as above. */
int fs_expand(const char *pattern, char ***paths);
/* A lock file held until the process ends (one daemon a state directory): -EBUSY when another
 * process holds it. */
int fs_lock(const char *path);

#endif
