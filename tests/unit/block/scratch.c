/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "scratch.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arith.h"

static char directory[64];

int scratch_begin(void)
{
    snprintf(directory, sizeof directory, "%s/ashlar-block-XXXXXX",
        getenv("TMPDIR") && strlen(getenv("TMPDIR")) < 40 ? getenv("TMPDIR") : "/var/tmp");
    return mkdtemp(directory) ? 0 : 1;
}

int scratch_end(void)
{
    return scratch_run("rm -r %s", directory) ? 0 : 1;
}

const char *scratch_path(const char *name)
{
    static char paths[4][128];
    static unsigned next;
    char *path = paths[next++ % ARRAY_LEN(paths)];

    snprintf(path, sizeof paths[0], "%s/%s", directory, name);
    return path;
}

const char *scratch_file(const char *name, uint64_t size_bytes)
{
    const char *path = scratch_path(name);
    FILE *f = fopen(path, "we");

    CU_ASSERT(f && !ftruncate(fileno(f), (off_t)size_bytes));
    if (f)
        fclose(f);
    return path;
}

bool scratch_run(const char *fmt, ...)
{
    char command[512];
    size_t n;
    va_list ap;

    va_start(ap, fmt);
    n = (size_t)vsnprintf(command + 2, sizeof command - 2, fmt, ap);
    va_end(ap);
    if (n + 25 > sizeof command)
        return false;
    memcpy(command, "( ", 2);
    snprintf(command + 2 + n, sizeof command - 2 - n, "; ) >/dev/null 2>&1");
    return !system(command);
}

void scratch_skip(const char *why)
{
    printf("SKIP: %s\n", why);
}

bool scratch_has(const char *program)
{
    char why[64];

    if (scratch_run("PATH=$PATH:/usr/sbin:/sbin command -v %s", program))
        return true;
    snprintf(why, sizeof why, "%s is not installed", program);
    scratch_skip(why);
    return false;
}

bool scratch_loop(const char *file, const char *options, char device[32])
{
    char command[256];
    bool ok;
    FILE *p;

    snprintf(command, sizeof command, "losetup -f --show %s %s 2>/dev/null", options, file);
    p = popen(command, "re");
    ok = p && fgets(device, 32, p);
    if (ok)
        device[strcspn(device, "\n")] = '\0';
    else
        scratch_skip("loop devices cannot be attached here");
    if (p)
        pclose(p);
    return ok;
}
