/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qcow2_check on a file, for check-peers.py: prints what it found as JSON. A file whose end is not
 * a block's is made longer to one, and one without room for a repair by what that asks for: a block
 * device is neither.
 * qcow2_check_tool [--leaks|--all] [--time] FILE
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arith.h"
#include "block/member.h"
#include "image/check.h"
#include "rt/worker.h"

static const char *path;
static unsigned flags;
static bool timed;
static int status;

static int lengthen(uint64_t more)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return -errno;
    if (more || st.st_size % 512 || st.st_size < 4096)
        return truncate(path, (off_t)MAX(round_up((uint64_t)st.st_size + more, 512), 4096u)) < 0
                   ? -errno
                   : 0;
    return 0;
}

static void print_counts(const char *name, const uint64_t *counts)
{
    printf("\"%s\": {", name);
    for (unsigned i = 0; i < CHECK_FAULTS; i++)
        printf("%s\"%s\": %" PRIu64, i ? ", " : "", check_fault_name(i), counts[i]);
    printf("}, ");
}

static void print_result(const struct check_result *r)
{
    printf("{");
    print_counts("found", r->found);
    print_counts("repaired", r->repaired);
    printf("\"allocated\": %" PRIu64 ", \"compressed\": %" PRIu64 ", \"total\": %" PRIu64
           ", \"end\": %" PRIu64 ", \"clean\": %s}\n",
        r->clusters_allocated, r->clusters_compressed, r->clusters_total, r->image_end_bytes,
        check_is_clean(r) ? "true" : "false");
    for (unsigned i = 0; i < r->finding_count; i++)
        fprintf(stderr, "%s at 0x%" PRIx64 ": %s\n", check_fault_name(r->findings[i].fault),
            r->findings[i].offset, r->findings[i].text);
}

static int check(struct check_result *r, struct error *err)
{
    struct blockdev *file;
    uint64_t began;
    int rc = lengthen(0);

    if (!rc)
        rc = member_open(path, flags ? 0 : MEMBER_READ_ONLY, &file, err);
    if (rc < 0)
        return rc;
    began = rt_now_ns();
    rc = qcow2_check(file, flags, NULL, NULL, r, err);
    if (timed)
        fprintf(stderr, "%.1f ms\n", (double)(rt_now_ns() - began) / 1e6);
    blockdev_close(file);
    return rc;
}

static void tool_main(void *arg)
{
    struct check_result *r = calloc(1, sizeof *r);
    struct error err = {0};
    int rc = r ? check(r, &err) : -ENOMEM;

    if (rc == -ENOSPC && !lengthen(r->room_needed_bytes))
        rc = check(r, &err);
    if (rc < 0)
        fprintf(stderr, "%s: %s\n", path, err.code ? err.text : strerror(-rc));
    else
        print_result(r);
    status = rc < 0;
    free(r);
}

int main(int argc, char **argv)
{
    struct error err = {0};

    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--leaks"))
            flags |= CHECK_REPAIR_LEAKS;
        else if (!strcmp(argv[i], "--all"))
            flags |= CHECK_REPAIR_ALL;
        else if (!strcmp(argv[i], "--time"))
            timed = true;
        else
            path = argv[i];
    }
    if (!path) {
        fprintf(stderr, "usage: %s [--leaks|--all] [--time] FILE\n", argv[0]);
        return 2;
    }
    if (rt_init(NULL, &err) < 0 || rt_main(tool_main, NULL) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 2;
    }
    return status;
}
