/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who holds a file or block device. Internal to block/. */
#ifndef ASHLAR_BLOCK_HOLDER_H
#define ASHLAR_BLOCK_HOLDER_H

#include <stddef.h>
#include <sys/stat.h>

/* Says in `holder` who holds what is open as `fd`: "mounted on /srv", "used by md127"; empty when
 * nobody does. `st` is its fstat. Blocks. */
void holder_find(const char *path, int fd, const struct stat *st, char *holder, size_t len);

#endif
