/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rt/sim/path.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int sim_path_clean(const char *path, char clean[SIM_PATH_BYTES])
{
    size_t used = 0;

    if (!*path)
        return -ENOENT;
    for (const char *name = path; *(name += strspn(name, "/"));) {
        size_t length = strcspn(name, "/");

        if (used + 1 + length >= SIM_PATH_BYTES)
            return -ENAMETOOLONG;
        clean[used] = '/';
        memcpy(clean + used + 1, name, length);
        used += 1 + length;
        name += length;
    }
    clean[used] = '\0';
    return 0;
}

size_t sim_path_above(const char *clean)
{
    const char *last = strrchr(clean, '/');

    return last ? (size_t)(last - clean) : 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void sim_path_sort(char **paths, size_t count)
{
    qsort(paths, count, sizeof *paths, by_name);
}
