/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "scratch.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/arith.h"
#include "unit.h"

void scratch_run(co_entry *body)
{
    CU_ASSERT_EQUAL(rt_main(body, NULL), 0);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *where)
{
    return remove(path);
}

void scratch_run_each(co_entry *body)
{
    static const char *const templates[] = {"/dev/shm/ashlar-XXXXXX", "/var/tmp/ashlar-XXXXXX"};

    for (unsigned i = 0; i < ARRAY_LEN(templates); i++) {
        char dir[64];

        snprintf(dir, sizeof dir, "%s", templates[i]);
        if (!mkdtemp(dir)) {
            CU_FAIL("no scratch directory");
            continue;
        }
        CU_ASSERT_EQUAL(rt_main(body, dir), 0);
        nftw(dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    }
}

const char *scratch_path(const char *dir, const char *name)
{
    static char paths[8][128];
    static unsigned next;
    char *path = paths[next++ % ARRAY_LEN(paths)];

    snprintf(path, sizeof paths[0], "%s/%s", dir, name);
    return path;
}
