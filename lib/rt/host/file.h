/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What an open file is to the engines that work on descriptors. Internal to rt/. */
#ifndef ASHLAR_RT_FILE_H
#define ASHLAR_RT_FILE_H

#include <sys/stat.h>

#include "rt/io.h"

struct file {
    int fd;
    bool in_memory; /* tmpfs and the like: transfers are copies, no medium is waited for */
    struct file_info info;
};

/* Fills in in_memory and info for a regular file or block device just opened; turns O_DIRECT off
 * where it does not work. `st` is its fstat. Blocks. 0 or -errno. */
int file_probe(struct file *file, const struct stat *st);

#endif
