/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a file, a directory or a pattern names: glob(3), and one level of the directories among what
 * it finds. On a helper thread. */
#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "rt/fs.h"
#include "rt/names.h"
#include "rt/worker.h"

struct expansion {
    const char *pattern;
    struct names paths;
    char **packed;
};

static bool is_neither_file_nor_disk(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode);
}

static int is_shown(const struct dirent *e)
{
    return e->d_name[0] != '.';
}

static int add_directory(struct names *paths, const char *directory)
{
    struct dirent **entries;
    int rc = 0, count = scandir(directory, &entries, is_shown, alphasort);

    for (int i = 0; i < count; i++) {
        struct names inside = {0};

        if (!rc)
            rc = names_add(&inside, directory, entries[i]->d_name);
        if (!rc && !is_neither_file_nor_disk(inside.text))
            rc = names_add(paths, NULL, inside.text);
        names_free(&inside);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
    return rc;
}

static int add(struct names *paths, const char *path)
{
    struct stat st;

    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return add_directory(paths, path);
    return is_neither_file_nor_disk(path) ? 0 : names_add(paths, NULL, path);
}

static int expand_blocking(void *arg)
{
    struct expansion *e = arg;
    glob_t found = {0};
    int rc = glob(e->pattern, GLOB_NOCHECK, NULL, &found) == GLOB_NOSPACE ? -ENOMEM : 0;

    for (size_t i = 0; i < found.gl_pathc && !rc; i++)
        rc = add(&e->paths, found.gl_pathv[i]);
    globfree(&found);
    if (!rc)
        rc = names_pack(&e->paths, &e->packed);
    names_free(&e->paths);
    return rc;
}

int fs_expand(const char *pattern, char ***paths)
{
    struct expansion e = {.pattern = pattern};
    int rc = rt_offload(expand_blocking, &e);

    if (!rc)
        *paths = e.packed;
    return rc;
}
