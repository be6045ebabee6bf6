/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a pattern names among the simulated disks that are there; a directory is one in which there
 * is or was a disk. */
#include <fnmatch.h>
#include <string.h>

#include "rt/fs.h"
#include "rt/names.h"
#include "rt/sim/path.h"
#include "rt/sim/sim.h"
#include "rt/worker.h"

#define WAIT_NS_MAX 300000u

static bool matches(const char *pattern, const char *path)
{
    return fnmatch(pattern, path, FNM_PATHNAME | FNM_PERIOD) == 0;
}

/* The pattern names the directory in which it is. */
static bool is_inside(const char *pattern, const char *path)
{
    char directory[sizeof sim->disks->path] = "";

    memcpy(directory, path, sim_path_above(path));
    return path[sim_path_above(path) + 1] != '.' && matches(pattern, directory);
}

static int add_disks(struct names *found, const char *pattern, bool *directory)
{
    int rc = 0;

    for (unsigned i = 0; i < sim->disk_count && !rc; i++) {
        const struct sim_disk *d = &sim->disks[i];
        bool inside = is_inside(pattern, d->path);

        if (d->present && (inside || matches(pattern, d->path)))
            rc = names_add(found, NULL, d->path);
        *directory |= inside;
    }
    return rc;
}

int fs_expand(const char *pattern, char ***paths)
{
    struct names found = {0};
    char clean[SIM_PATH_BYTES];
    bool directory = false;
    int rc = sim_path_clean(pattern, clean);

    if (co_self())
        co_sleep_ns(sim_below(&sim->random[SIM_SCHEDULE], WAIT_NS_MAX));
    rc = rc ? rc : add_disks(&found, clean, &directory);
    if (!rc && !found.count && !directory)
        rc = names_add(&found, NULL, pattern);
    rc = rc ? rc : names_pack(&found, paths);
    if (!rc)
        sim_path_sort(*paths, found.count);
    names_free(&found);
    return rc;
}
