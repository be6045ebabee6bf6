/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "rt/worker.h"
#include "scan.h"

struct expansion {
    const char *pattern;
    char **paths;
    size_t count;
};

/* Files and block devices count; whatever else there is, is passed over. */
static int add(struct expansion *e, const char *path)
{
    char **longer;
    struct stat st;

    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return 0;
    longer = realloc(e->paths, (e->count + 2) * sizeof *longer);
    if (!longer)
        return -ENOMEM;
    e->paths = longer;
    longer[e->count] = strdup(path);
    if (!longer[e->count])
        return -ENOMEM;
    longer[++e->count] = NULL;
    return 0;
}

static int add_directory(struct expansion *e, const char *path)
{
    struct dirent **entries;
    int rc = 0, n = scandir(path, &entries, NULL, alphasort);

    for (int i = 0; i < n; i++) {
        char *inside = NULL;

        if (rc == 0 && entries[i]->d_name[0] != '.') {
            if (asprintf(&inside, "%s/%s", path, entries[i]->d_name) < 0)
                rc = -ENOMEM;
            else
                rc = add(e, inside);
            free(inside);
        }
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
    return rc;
}

static int expand(void *arg)
{
    struct expansion *e = arg;
    glob_t found = {0};
    int rc = 0;

    if (glob(e->pattern, GLOB_NOCHECK, NULL, &found) == GLOB_NOSPACE)
        rc = -ENOMEM;
    for (size_t i = 0; rc == 0 && i < found.gl_pathc; i++) {
        struct stat st;
        const char *path = found.gl_pathv[i];
        bool directory = stat(path, &st) == 0 && S_ISDIR(st.st_mode);

        rc = directory ? add_directory(e, path) : add(e, path);
    }
    globfree(&found);
    return rc;
}

int scan_paths_expand(const char *pattern, char ***paths)
{
    struct expansion e = {.pattern = pattern, .paths = calloc(1, sizeof *e.paths)};
    int rc = e.paths ? rt_offload(expand, &e) : -ENOMEM;

    if (rc)
        scan_paths_free(e.paths);
    else
        *paths = e.paths;
    return rc;
}

void scan_paths_free(char **paths)
{
    for (char **p = paths; p && *p; p++)
        free(*p);
    free(paths);
}
