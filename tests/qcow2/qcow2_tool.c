/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A qcow2 image in a file, run by commands, for tests against QEMU's tools:
 *
 *     qcow2_tool [-rd] [-m MAP_BYTES] [-a AHEAD_BYTES] [-s SPACE_BYTES] [-S SNAPSHOT]
 *         [-w WORKERS] IMAGE [FORMAT:BACKING...]
 *
 * opens it over a chain of backing files (FORMAT: raw or qcow2; -r: read-only, -S: as it was then,
 * -d: discards below what is freed, -s: the file grows no longer, and who needs space waits for a
 * millisecond only), then reads commands from standard input, a line each, and answers with a line
 * each: "ok ..." or "error ERRNO REASON". The first answer is that of opening. Sizes are in bytes.
 *
 *     read OFFSET LENGTH [PATH]        the crc32 of what is there; PATH: and writes it to that file
 *     write OFFSET LENGTH STAMP [fua]  see stamp_sectors
 *     zero OFFSET LENGTH [unmap]
 *     discard OFFSET LENGTH
 *     flush
 *     extents OFFSET LENGTH            LENGTH:FLAGS of each (1: reads as zeros, 2: a hole)
 *     resize SIZE
 *     snapshot create|delete|revert NAME
 *     snapshots
 *     compact                          gives the end of the file back
 *     status
 *     parallel COROUTINES SEED OPERATIONS RAW STATE [compact] [snapshots]
 *                                      see parallel.h
 *     close                            closes the image and ends
 *
 * The end of the input closes it as well. Exit status: 0, or 1 when it could not be opened or
 * closed.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "base/arith.h"
#include "block/member.h"
#include "image/compact.h"
#include "image/qcow2.h"
#include "parallel.h"
#include "rt/worker.h"

#define CHAIN_MAX   16
#define WORDS_MAX   8
#define SPACE_BYTES (UINT64_C(1) << 40) /* nothing here needs as much */

static struct {
    char **images; /* the first: as in the arguments */
    unsigned image_count;
    unsigned worker_count;
    bool read_only, discard;
    uint64_t map_bytes, ahead_bytes, space_bytes;
    const char *snapshot; /* to be read */
    struct co_mutex resizing;
    struct worker *workers[WORKERS_MAX - 1];
    struct blockdev *files[CHAIN_MAX];
    struct qcow2 *chain[CHAIN_MAX]; /* NULL: a raw file */
    int status;
} program = {.worker_count = 2, .ahead_bytes = 1 << 20, .space_bytes = SPACE_BYTES};

#define IMAGE (program.chain[0])
#define DISK  qcow2_blockdev(program.chain[0])

static int grow(void *arg, uint64_t size_bytes)
{
    struct blockdev *file = arg;
    int rc = 0;

    if (size_bytes > program.space_bytes)
        return -ENOSPC;
    co_mutex_lock(&program.resizing);
    if (size_bytes > file->size_bytes)
        rc = member_resize(file, round_up(size_bytes, 4096));
    co_mutex_unlock(&program.resizing);
    return rc;
}

static int shrink(void *arg, uint64_t size_bytes)
{
    struct blockdev *file = arg;
    int rc = 0;

    co_mutex_lock(&program.resizing);
    if (round_up(size_bytes, 4096) < file->size_bytes)
        rc = member_resize(file, round_up(size_bytes, 4096));
    co_mutex_unlock(&program.resizing);
    return rc;
}

static const struct qcow2_file_ops file_ops = {.grow = grow, .shrink = shrink};

/* Words of a command: [0] its name. */
struct command {
    char *words[WORDS_MAX];
    unsigned count;
};

static uint64_t number_of(const struct command *c, unsigned i)
{
    return i < c->count ? strtoull(c->words[i], NULL, 0) : 0;
}

static bool has(const struct command *c, unsigned i, const char *word)
{
    return i < c->count && !strcmp(c->words[i], word);
}

static int run_read(const struct command *c, struct error *err)
{
    uint64_t length = number_of(c, 2);
    void *buf = aligned_alloc(4096, round_up(length + 1, 4096));
    int rc = buf ? blockdev_read(DISK, buf, number_of(c, 1), length) : -ENOMEM;

    if (!rc && c->count > 3) {
        FILE *f = fopen(c->words[3], "we");

        if (!f || fwrite(buf, 1, length, f) != length)
            rc = error_set(err, EIO, "cannot write %s", c->words[3]);
        if (f)
            fclose(f);
    }
    if (!rc)
        printf("ok %08lx\n", crc32(0, buf, (uInt)length));
    free(buf);
    return rc;
}

static int run_write(const struct command *c, struct error *err)
{
    uint64_t offset = number_of(c, 1), length = number_of(c, 2);
    void *buf = aligned_alloc(4096, round_up(length + 1, 4096));
    int rc = -ENOMEM;

    if (buf) {
        stamp_sectors(buf, number_of(c, 3), offset / 512, length / 512);
        rc = blockdev_write(DISK, buf, offset, length, has(c, 4, "fua") ? BLOCK_FUA : 0);
    }
    if (!rc)
        printf("ok\n");
    free(buf);
    return rc;
}

static int done(int rc)
{
    if (!rc)
        printf("ok\n");
    return rc;
}

static int run_zero(const struct command *c, struct error *err)
{
    return done(blockdev_write_zeroes(
        DISK, number_of(c, 1), number_of(c, 2), has(c, 3, "unmap") ? BLOCK_MAY_UNMAP : 0));
}

static int run_discard(const struct command *c, struct error *err)
{
    return done(blockdev_discard(DISK, number_of(c, 1), number_of(c, 2)));
}

static int run_flush(const struct command *c, struct error *err)
{
    return done(blockdev_flush(DISK));
}

static int run_extents(const struct command *c, struct error *err)
{
    uint64_t at = number_of(c, 1), end = at + number_of(c, 2);
    char *text = NULL;
    size_t length;
    FILE *f = open_memstream(&text, &length);
    int rc = f ? 0 : -ENOMEM;

    while (!rc && at < end) {
        struct block_extent e;

        rc = blockdev_extents(DISK, at, end - at, &e);
        if (!rc) {
            fprintf(f, " %" PRIu64 ":%u", e.length, e.flags);
            at += e.length;
        }
    }
    if (f)
        fclose(f);
    if (!rc)
        printf("ok%s\n", text);
    free(text);
    return rc;
}

static int run_resize(const struct command *c, struct error *err)
{
    return done(qcow2_resize(IMAGE, number_of(c, 1), err));
}

static int run_snapshot(const struct command *c, struct error *err)
{
    if (c->count < 3)
        return -EINVAL;
    if (has(c, 1, "create"))
        return done(qcow2_snapshot_create(IMAGE, c->words[2], err));
    if (has(c, 1, "delete"))
        return done(qcow2_snapshot_delete(IMAGE, c->words[2], err));
    if (has(c, 1, "revert"))
        return done(qcow2_snapshot_revert(IMAGE, c->words[2], err));
    return -EINVAL;
}

static int run_compact(const struct command *c, struct error *err)
{
    return done(qcow2_compact(IMAGE, NULL, NULL, err));
}

static int run_snapshots(const struct command *c, struct error *err)
{
    struct qcow2_snapshot_status list[64];
    unsigned count = qcow2_snapshots(IMAGE, list, ARRAY_LEN(list));

    printf("ok %u", count);
    for (unsigned i = 0; i < MIN(count, (unsigned)ARRAY_LEN(list)); i++)
        printf(" %s:%s:%" PRIu64, list[i].id, list[i].name, list[i].size_bytes);
    printf("\n");
    return 0;
}

static int run_status(const struct command *c, struct error *err)
{
    struct qcow2_status s;

    qcow2_status(IMAGE, &s);
    printf("ok size_bytes=%" PRIu64 " file_bytes=%" PRIu64 " allocated_bytes=%" PRIu64
           " free_bytes=%" PRIu64 " map_bytes=%" PRIu64 " starving=%d corrupt=%d snapshots=%u\n",
        s.size_bytes, s.file_bytes, s.allocated_bytes, s.free_bytes, s.map_bytes, s.starving,
        s.corrupt, s.snapshots);
    return 0;
}

/* Guests may be quicker, and take the room that it wants. */
static int compact(struct error *err)
{
    int rc = qcow2_compact(IMAGE, NULL, NULL, err);

    return rc == -ENOSPC ? 0 : rc;
}

static int snapshot(const char *name, bool create, struct error *err)
{
    return create ? qcow2_snapshot_create(IMAGE, name, err)
                  : qcow2_snapshot_delete(IMAGE, name, err);
}

static int run_parallel(const struct command *c, struct error *err)
{
    struct parallel_plan plan = {
        .workers = program.workers,
        .worker_count = program.worker_count,
        .coroutines = (unsigned)number_of(c, 1),
        .seed = number_of(c, 2),
        .operations = number_of(c, 3),
        .snapshot = has(c, 6, "snapshots") || has(c, 7, "snapshots") ? snapshot : NULL,
        .compact = has(c, 6, "compact") ? compact : NULL,
    };

    if (c->count < 6)
        return -EINVAL;
    plan.d = DISK;
    plan.raw = c->words[4];
    plan.state = c->words[5];
    return done(parallel_run(&plan, err));
}

static const struct {
    const char *name;
    int (*run)(const struct command *c, struct error *err); /* answers when it returns 0 */
} commands[] = {
    {"read", run_read},
    {"write", run_write},
    {"zero", run_zero},
    {"discard", run_discard},
    {"flush", run_flush},
    {"extents", run_extents},
    {"resize", run_resize},
    {"snapshot", run_snapshot},
    {"snapshots", run_snapshots},
    {"compact", run_compact},
    {"status", run_status},
    {"parallel", run_parallel},
};

static void answer_error(int rc, const struct error *err)
{
    printf("error %d %s\n", -rc, err->text[0] ? err->text : strerror(-rc));
}

static void run_command(const struct command *c)
{
    struct error err = {0};
    int rc = -EINVAL;

    for (unsigned i = 0; i < ARRAY_LEN(commands); i++)
        if (!strcmp(c->words[0], commands[i].name))
            rc = commands[i].run(c, &err);
    if (rc < 0)
        answer_error(rc, &err);
    fflush(stdout);
}

static int read_line(void *arg)
{
    return fgets(arg, 4096, stdin) ? 0 : -EPIPE;
}

static void run_commands(void)
{
    char line[4096];

    while (!rt_offload(read_line, line)) {
        struct command c = {.count = 0};
        char *rest = line, *word;

        while (c.count < WORDS_MAX && (word = strsep(&rest, " \n")))
            if (*word)
                c.words[c.count++] = word;
        if (c.count && !strcmp(c.words[0], "close"))
            return;
        if (c.count)
            run_command(&c);
    }
}

/* Image i of the chain, over i + 1, which is open. */
static int open_image(unsigned i, struct error *err)
{
    const char *path = program.images[i], *colon = i ? strchr(path, ':') : NULL;
    bool raw = colon && !strncmp(path, "raw:", 4);
    bool read_only = i || program.read_only;
    struct qcow2_options options = {
        .read_only = read_only,
        .file_ops = read_only ? NULL : &file_ops,
        .map_bytes_max = program.map_bytes,
        .ahead_bytes = program.ahead_bytes,
        .space_wait_ns = program.space_bytes < SPACE_BYTES ? 1000000 : 0,
        .discard = program.discard,
        .snapshot = i ? NULL : program.snapshot,
    };
    int rc = member_open(colon ? colon + 1 : path, read_only ? MEMBER_READ_ONLY | MEMBER_PADDED : 0,
        &program.files[i], err);

    if (rc < 0 || raw)
        return rc;
    if (i + 1 < program.image_count)
        options.backing =
            program.chain[i + 1] ? qcow2_blockdev(program.chain[i + 1]) : program.files[i + 1];
    options.file_arg = program.files[i];
    return qcow2_open(&program.chain[i], program.files[i], path, &options, err);
}

static int close_images(void)
{
    int rc = 0;

    for (unsigned i = 0; i < program.image_count; i++) {
        int closed = program.chain[i] ? qcow2_close(program.chain[i]) : 0;

        rc = rc ? rc : closed;
        if (program.files[i])
            blockdev_close(program.files[i]);
    }
    return rc;
}

static int open_images(struct error *err)
{
    int rc = 0;

    for (unsigned i = program.image_count; !rc && i--;)
        rc = open_image(i, err);
    return rc;
}

static void entry(void *arg)
{
    struct error err = {0};
    unsigned started = 0;
    int rc = 0, closed;

    co_mutex_init(&program.resizing);
    while (!rc && started < program.worker_count) {
        rc = worker_create(&program.workers[started], "guests", &err);
        started += !rc;
    }
    if (!rc)
        rc = open_images(&err);
    if (rc < 0) {
        answer_error(rc, &err);
    } else {
        printf("ok\n");
        fflush(stdout);
        run_commands();
    }
    closed = close_images();
    while (started--)
        worker_destroy(program.workers[started]);
    if (!rc && closed < 0)
        answer_error(closed, &err);
    else if (!rc)
        printf("ok\n");
    program.status = rc < 0 || closed < 0;
}

int main(int argc, char **argv)
{
    struct error err = {0};
    int option;

    while ((option = getopt(argc, argv, "rdm:a:s:S:w:")) > 0) {
        if (option == 'r')
            program.read_only = true;
        else if (option == 'd')
            program.discard = true;
        else if (option == 'm')
            program.map_bytes = strtoull(optarg, NULL, 0);
        else if (option == 'a')
            program.ahead_bytes = strtoull(optarg, NULL, 0);
        else if (option == 's')
            program.space_bytes = strtoull(optarg, NULL, 0);
        else if (option == 'S')
            program.snapshot = optarg;
        else if (option == 'w')
            program.worker_count =
                MIN((unsigned)atoi(optarg), (unsigned)ARRAY_LEN(program.workers));
        else
            return 2;
    }
    program.images = argv + optind;
    program.image_count = (unsigned)(argc - optind);
    if (!program.image_count || program.image_count > CHAIN_MAX || !program.worker_count) {
        fprintf(
            stderr, "usage: qcow2_tool [OPTIONS] IMAGE [FORMAT:BACKING...], see qcow2_tool.c\n");
        return 2;
    }
    if (rt_init(NULL, &err) < 0 || rt_main(entry, NULL) < 0) {
        fprintf(stderr, "qcow2_tool: %s\n", err.text);
        return 1;
    }
    return program.status;
}
