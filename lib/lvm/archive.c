/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lvm/archive.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rt/fs.h"
#include "rt/worker.h"

#define DIR_MODE  0700
#define FILE_MODE 0600

static int save(const char *dir, const char *file, const struct vg_metadata *m,
    const struct vg_text_header *header, struct error *err)
{
    char path[PATH_MAX], *text = NULL;
    size_t length = 0;
    int rc = snprintf(path, sizeof path, "%s/%s", dir, file) < (int)sizeof path ? 0 : -ENAMETOOLONG;

    if (!rc)
        rc = fs_make_dir(dir, DIR_MODE);
    if (!rc)
        rc = vg_metadata_encode(m, header, VG_TEXT_BACKUP, &text, &length);
    if (!rc)
        rc = fs_replace(path, text, length, FILE_MODE);
    free(text);
    return rc ? error_set(err, -rc, "%s/%s cannot be written: %s", dir, file, strerror(-rc)) : 0;
}

long archive_number(const char *file, const char *vg_name)
{
    size_t n = strlen(vg_name);
    char *end;

    if (strncmp(file, vg_name, n) != 0 || file[n] != '_')
        return -1;
    const char *digits = file + n + 1;
    long number = strtol(digits, &end, 10);
    if (end - digits < 5 || *end != '-' || number < 0 || number > INT_MAX)
        return -1;
    const char *random = end + 1;
    strtoul(random, &end, 10);
    return end > random && strcmp(end, ".vg") == 0 ? number : -1;
}

/* Removes those numbered `last` or less. */
static void prune(const char *dir, char *const *names, const char *vg_name, long last)
{
    char path[PATH_MAX];

    for (; *names; names++) {
        long number = archive_number(*names, vg_name);

        if (number >= 0 && number <= last &&
            snprintf(path, sizeof path, "%s/%s", dir, *names) < (int)sizeof path)
            fs_remove(path);
    }
}

int archive_save(const char *dir, unsigned keep, const struct vg_metadata *m,
    const struct vg_text_header *header, struct error *err)
{
    char **names = NULL, file[NAME_MAX + 1];
    uint32_t random;
    long next = 0;

    if (fs_list(dir, &names) == 0)
        for (char **n = names; *n; n++)
            next = archive_number(*n, m->name) >= next ? archive_number(*n, m->name) + 1 : next;
    rt_random(&random, sizeof random);
    snprintf(file, sizeof file, "%s_%05ld-%u.vg", m->name, next, random & INT_MAX);
    int rc = save(dir, file, m, header, err);
    if (!rc && names)
        prune(dir, names, m->name, next - (long)keep);
    free(names);
    return rc;
}

int backup_save(const char *dir, const struct vg_metadata *m, const struct vg_text_header *header,
    struct error *err)
{
    return save(dir, m->name, m, header, err);
}

void backup_remove(const char *dir, const char *vg_name)
{
    char path[PATH_MAX];

    if (snprintf(path, sizeof path, "%s/%s", dir, vg_name) < (int)sizeof path)
        fs_remove(path);
}
