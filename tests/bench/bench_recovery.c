/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How fast a new member is filled while nobody else uses the array: against the same bytes read
 * from and written to the same files without an array (eight times 1 MiB at once, and a flush in
 * the end); and how long it takes when 5% of the array is in use, against all of it. Medians of
 * rounds that alternate. Run by hand: build/tests/bench/bench_recovery DIRECTORY [GIB [ARRAY...]]
 * (default: members of 4 GiB, all arrays)
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arith.h"
#include "block/member.h"
#include "raid/array.h"
#include "raid/layout.h"
#include "rt/sync.h"
#include "rt/worker.h"

#define MIB         UINT64_C(1048576)
#define ROUNDS      3u
#define LANES       8u
#define MEMBERS_MAX 6u
#define FRONT_BYTES (16 * MIB) /* of a member, before what is copied without an array */
#define TARGET      1u

static struct {
    const char *directory;
    uint64_t member_bytes;
    char **only; /* NULL at the end */
} args = {.member_bytes = 4096 * MIB};

struct shape {
    const char *name;
    int level;
    uint32_t layout;
    unsigned members, sources; /* how many are read to fill one */
};

static struct bench {
    const struct shape *shape;
    struct blockdev *members[MEMBERS_MAX];
    struct array *array;
    /* Of a copy without an array: */
    uint64_t next_bytes;
    struct wait_group lanes;
} bench;

static void must(int rc, const char *what)
{
    if (rc >= 0)
        return;
    fprintf(stderr, "%s: %s\n", what, strerror(-rc));
    exit(1);
}

static double seconds_since(uint64_t begun_ns)
{
    return (double)(rt_now_ns() - begun_ns) / 1e9;
}

/* --- members --- */

static void path_of(unsigned i, char path[256])
{
    snprintf(path, 256, "%s/bench-member-%u", args.directory, i);
}

static void open_member(unsigned i)
{
    char path[256];
    struct error err;

    path_of(i, path);
    must(member_open(path, 0, &bench.members[i], &err), path);
}

/* Not sparse: what has to be allocated first is slower. */
static void fill_member(unsigned i)
{
    char *buf = io_buffer_get(MIB);

    memset(buf, 'x', MIB);
    for (uint64_t at = 0; at < args.member_bytes; at += MIB)
        must(blockdev_write(bench.members[i], buf, at, MIB, BLOCK_STABLE), "filling a member");
    must(blockdev_flush(bench.members[i]), "filling a member");
    io_buffer_put(buf, MIB);
}

static void make_member(unsigned i)
{
    char path[256];
    int fd;

    path_of(i, path);
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)args.member_bytes)) {
        perror(path);
        exit(1);
    }
    close(fd);
    open_member(i);
    fill_member(i);
}

static void remove_members(void)
{
    char path[256];

    for (unsigned i = 0; i < bench.shape->members; i++) {
        path_of(i, path);
        unlink(path);
    }
}

/* --- without an array --- */

static void copy_lane(void *arg)
{
    unsigned sources = bench.shape->sources;
    struct block_op ops[MEMBERS_MAX];
    struct iovec iov[MEMBERS_MAX];
    uint64_t at;

    for (unsigned i = 0; i < sources; i++)
        iov[i] = (struct iovec){io_buffer_get(MIB), MIB};
    while ((at = bench.next_bytes) < args.member_bytes) {
        bench.next_bytes += MIB;
        for (unsigned i = 0; i < sources; i++)
            ops[i] = (struct block_op){.kind = BLOCK_READ,
                .dev = bench.members[i < TARGET ? i : i + 1],
                .iov = &iov[i],
                .iov_count = 1,
                .offset = at};
        must(blockdev_run(ops, sources), "reading");
        must(blockdev_writev(bench.members[TARGET], iov, 1, at, BLOCK_STABLE), "writing");
    }
    for (unsigned i = 0; i < sources; i++)
        io_buffer_put(iov[i].iov_base, MIB);
    wait_group_done(&bench.lanes);
}

/* MiB a second. */
static double copy_bare(void)
{
    uint64_t begun_ns = rt_now_ns();

    bench.next_bytes = FRONT_BYTES;
    wait_group_init(&bench.lanes);
    wait_group_add(&bench.lanes, LANES);
    for (unsigned i = 0; i < LANES; i++)
        must(co_start("copy", copy_lane, NULL), "coroutine");
    wait_group_wait(&bench.lanes);
    must(blockdev_flush(bench.members[TARGET]), "flush");
    return (double)((args.member_bytes - FRONT_BYTES) / MIB) / seconds_since(begun_ns);
}

/* --- with one --- */

static void create(void)
{
    const struct shape *s = bench.shape;
    struct array_params params = {
        .name = "bench", .level = s->level, .layout = s->layout, .assume_clean = true};
    struct error err;

    if (array_create(&bench.array, &params, bench.members, s->members, NULL, 0, &err)) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    array_start(bench.array);
}

/* Something in each chunk of the bitmap, in the front part of the array. */
static void use(unsigned percent)
{
    struct blockdev *d = array_blockdev(bench.array);
    char *buf = io_buffer_get(4096);

    memset(buf, 'x', 4096);
    for (uint64_t at = 0; at < d->size_bytes / 100 * percent; at += 16 * MIB)
        must(blockdev_write(d, buf, at, 4096, BLOCK_STABLE), "using the array");
    io_buffer_put(buf, 4096);
}

static void wait_until_whole(uint64_t *done_bytes)
{
    uint64_t version = 0;
    bool whole = false;

    while (!whole) {
        struct array_status *s = array_status(bench.array);
        whole = s->state < ARRAY_DEGRADED && s->sync.action == ARRAY_IDLE;
        *done_bytes = s->sync.done_bytes;
        free(s);
        if (!whole)
            must(array_wait_change(bench.array, &version), "recovery");
    }
}

/* Seconds, from the moment a member that holds nothing is there until the array is whole. */
static double recover(uint64_t *done_bytes)
{
    char path[256];
    uint64_t begun_ns;
    bool readded;

    path_of(TARGET, path);
    must(array_fail(bench.array, path, NULL), "fail");
    while (array_remove(bench.array, path, NULL) < 0)
        co_sleep_ns(1000000);
    open_member(TARGET);
    must(blockdev_write_zeroes(bench.members[TARGET], 0, MIB, 0), "wiping");
    begun_ns = rt_now_ns();
    must(array_add(bench.array, bench.members[TARGET], false, &readded, NULL), "add");
    wait_until_whole(done_bytes);
    return seconds_since(begun_ns);
}

static double recover_used(unsigned percent, double *rate)
{
    double seconds;
    uint64_t done_bytes;

    create();
    use(percent);
    seconds = recover(&done_bytes);
    must(array_destroy(bench.array, NULL), "destroy");
    for (unsigned i = 0; i < bench.shape->members; i++)
        open_member(i);
    *rate = (double)(args.member_bytes - FRONT_BYTES) / (double)MIB / seconds;
    return seconds;
}

static int compare(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;

    return (a > b) - (a < b);
}

static double median(double values[ROUNDS])
{
    qsort(values, ROUNDS, sizeof values[0], compare);
    return values[ROUNDS / 2];
}

static void measure(const struct shape *shape)
{
    double bare[ROUNDS], rate[ROUNDS], against_bare[ROUNDS], part[ROUNDS];

    bench.shape = shape;
    for (unsigned i = 0; i < shape->members; i++)
        make_member(i);
    for (unsigned i = 0; i < ROUNDS; i++) {
        double unused, all;
        bare[i] = copy_bare();
        all = recover_used(100, &rate[i]);
        against_bare[i] = rate[i] / bare[i];
        part[i] = recover_used(5, &unused) / all;
    }
    printf("%-16s %8.0f %8.0f %7.0f%% %11.1f%%\n", shape->name, median(bare), median(rate),
        100 * median(against_bare), 100 * median(part));
    fflush(stdout);
    for (unsigned i = 0; i < shape->members; i++)
        blockdev_close(bench.members[i]);
    remove_members();
}

static bool wanted(const char *name)
{
    for (char **only = args.only; *only; only++)
        if (!strcmp(*only, name))
            return true;
    return !*args.only;
}

static void run(void *arg)
{
    static const struct shape shapes[] = {
        {"raid1", 1, 0, 2, 1},
        {"raid10", 10, RAID10_LAYOUT_NEAR(2), 4, 1},
        {"raid5", 5, RAID5_LAYOUT_LEFT_SYMMETRIC, 4, 3},
        {"raid6", 6, RAID5_LAYOUT_LEFT_SYMMETRIC, 6, 4},
    };

    printf("                 bare MiB/s recovery  of bare     5%% / all\n");
    for (unsigned i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        if (wanted(shapes[i].name))
            measure(&shapes[i]);
}

int main(int argc, char **argv)
{
    struct error err = {0};

    if (argc < 2)
        return 2;
    args.directory = argv[1];
    if (argc > 2)
        args.member_bytes = strtoull(argv[2], NULL, 10) << 30;
    args.only = argv + MIN(argc, 3);
    if (rt_init(NULL, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    must(rt_main(run, NULL), "runtime");
    return 0;
}
