/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a qcow2 image costs against the bare member that it stands on, in the same run: writes of
 * what has no place yet, rewrites, reads, writes over a backing; what the map
 * costs a request; what large images cost to open, to check and to take snapshots of. On memory
 * members or on files in a directory; rates are by CPU time, but by the clock where files are on a
 * disk.
 * Both begin zeroed, as volumes do; rounds alternate. Ratios are medians of the rounds' own.
 * Run by hand: build/tests/bench/bench_image map|io|clusters|large|check|snapshots [DIRECTORY|-
 * [random|sequence|flush|backing|snapshot]]
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "block/member.h"
#include "image/check.h"
#include "image/qcow2.h"
#include "image/writer.h"
#include "rt/sync.h"
#include "rt/worker.h"

#define ROUNDS       5u
#define DISK_BYTES   (UINT64_C(512) << 20)
#define FILE_BYTES   (2 * DISK_BYTES + (UINT64_C(128) << 20))
#define SMALL_BYTES  4096u
#define MEMORY_COUNT 65536u /* requests of a load */
#define FILE_NS      UINT64_C(400000000)
#define KIB          UINT64_C(1024)
#define GIB          (UINT64_C(1) << 30)

static const char *directory; /* NULL: memory */
static const char *only_load; /* NULL: all */
static bool on_disk;

static void must(int rc, const struct error *err)
{
    if (rc < 0) {
        fprintf(stderr, "%s\n", err && err->text[0] ? err->text : strerror(-rc));
        exit(1);
    }
}

static double now_ns(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *values, unsigned count)
{
    qsort(values, count, sizeof *values, by_size);
    return values[count / 2];
}

/* --- devices --- */

static struct blockdev *member(const char *name, uint64_t bytes)
{
    struct error err = {0};
    struct blockdev *d;
    char path[512];

    if (!directory) {
        must(member_memory(name, bytes, 512, &d), NULL);
        return d;
    }
    snprintf(path, sizeof path, "%s/bench_image.%s", directory, name);
    unlink(path);
    must(member_open(path, MEMBER_CREATE, &d, &err), &err);
    unlink(path);
    must(member_resize(d, bytes), NULL);
    return d;
}

/* As a new volume is: zeros, and of a file also its place. */
static void clear(struct blockdev *d)
{
    must(blockdev_write_zeroes(d, 0, d->size_bytes, 0), NULL);
    must(blockdev_flush(d), NULL);
}

/* The member is as large as the image needs now; the rest of it is added, zeroed, when asked for.
 */
static int grow(void *arg, uint64_t size_bytes)
{
    struct blockdev *d = arg;

    if (size_bytes > FILE_BYTES)
        return -ENOSPC;
    atomic_store(&d->size_bytes, MAX(size_bytes, d->size_bytes));
    return 0;
}

static const struct qcow2_file_ops file_ops = {.grow = grow};

static struct qcow2 *new_image(
    struct blockdev *file, struct blockdev *backing, const struct qcow2_plan *like)
{
    struct qcow2_options options = {
        .backing = backing, .file_ops = &file_ops, .file_arg = file, .discard = true};
    struct qcow2_plan plan = *like;
    struct error err = {0};
    struct qcow2 *q;
    uint64_t bytes;

    plan.size_bytes = DISK_BYTES;
    if (backing)
        plan.backing_name = plan.backing_format = "raw";
    atomic_store(&file->size_bytes, FILE_BYTES);
    clear(file);
    must(qcow2_plan_bytes(&plan, &bytes, &err), &err);
    atomic_store(&file->size_bytes, bytes);
    must(qcow2_format(file, &plan, &err), &err);
    must(qcow2_open(&q, file, "image", &options, &err), &err);
    return q;
}

/* --- loads --- */

struct load {
    struct blockdev *dev;
    enum block_kind kind;
    uint64_t bytes, count; /* of a request; how many at most */
    bool random;
    unsigned depth, flush_every; /* 0: never */
    /* Below: while it runs. */
    uint64_t next, due_ns;
    struct wait_group runners;
};

static void run_request(struct load *l, uint64_t i, void *buf)
{
    uint64_t slots = DISK_BYTES / l->bytes;
    uint64_t slot = l->random ? i * 40503 % slots : i % slots; /* an odd number: each slot once */
    struct iovec iov = {buf, l->bytes};

    if (l->kind == BLOCK_READ)
        must(blockdev_readv(l->dev, &iov, 1, slot * l->bytes, 0), NULL);
    else
        must(blockdev_writev(l->dev, &iov, 1, slot * l->bytes, BLOCK_STABLE), NULL);
    if (l->flush_every && i % l->flush_every == l->flush_every - 1)
        must(blockdev_flush(l->dev), NULL);
}

static bool is_over(const struct load *l)
{
    return l->next >= l->count || (l->due_ns && !(l->next % 16) && rt_now_ns() > l->due_ns);
}

static void run_requests(void *arg)
{
    struct load *l = arg;
    void *buf = aligned_alloc(4096, l->bytes);

    if (!buf)
        must(-ENOMEM, NULL);
    memset(buf, 'x', l->bytes);
    while (!is_over(l))
        run_request(l, l->next++, buf);
    free(buf);
    wait_group_done(&l->runners);
}

/* Nanoseconds of a request; `count` becomes how many there were. */
static double run_load(struct load *l)
{
    clockid_t clock = on_disk ? CLOCK_MONOTONIC : CLOCK_PROCESS_CPUTIME_ID;
    double start = now_ns(clock);

    l->next = 0;
    l->due_ns = on_disk ? rt_now_ns() + FILE_NS : 0;
    wait_group_init(&l->runners);
    wait_group_add(&l->runners, l->depth);
    for (unsigned i = 0; i < l->depth; i++)
        must(co_start("load", run_requests, l), NULL);
    wait_group_wait(&l->runners);
    l->count = MIN(l->next, l->count);
    return (now_ns(clock) - start) / (double)l->count;
}

/* --- what is compared --- */

enum figure {
    FIRST,
    REWRITE,
    READ,
    SEQUENTIAL_64K,
    SEQUENTIAL_1M,
    FLUSHED_8,
    FLUSHED_64,
    OVER_BACKING,
    OVER_BACKING_REWRITE,
    AFTER_SNAPSHOT,
    AFTER_SNAPSHOT_REWRITE,
    FIGURES
};
static const char *const figure_names[FIGURES] = {[FIRST] = "4 KiB random, first write",
    [REWRITE] = "4 KiB random, rewrite",
    [READ] = "4 KiB random, read",
    [SEQUENTIAL_64K] = "64 KiB in sequence, first write",
    [SEQUENTIAL_1M] = "1 MiB in sequence, first write",
    [FLUSHED_8] = "4 KiB first write, flush every 8",
    [FLUSHED_64] = "4 KiB first write, flush every 64",
    [OVER_BACKING] = "4 KiB first write over a backing",
    [OVER_BACKING_REWRITE] = "  its rewrites",
    [AFTER_SNAPSHOT] = "4 KiB write after a snapshot",
    [AFTER_SNAPSHOT_REWRITE] = "  its rewrites"};

struct subject {
    struct blockdev *file, *backing;
    const struct qcow2_plan *plan; /* NULL: the bare member */
    struct qcow2 *image;
    double ns[FIGURES][ROUNDS];
};

static struct blockdev *begin(struct subject *s, struct blockdev *backing)
{
    if (s->plan) {
        s->image = new_image(s->file, backing, s->plan);
        return qcow2_blockdev(s->image);
    }
    clear(s->file);
    return s->file;
}

static void end(struct subject *s)
{
    if (s->plan)
        must(qcow2_close(s->image), NULL);
}

static void measure_random(struct subject *s, unsigned round, unsigned depth)
{
    struct load l = {.dev = begin(s, NULL),
        .kind = BLOCK_WRITE,
        .bytes = SMALL_BYTES,
        .count = MEMORY_COUNT,
        .random = true,
        .depth = depth};

    s->ns[FIRST][round] = run_load(&l);
    must(blockdev_flush(l.dev), NULL);
    s->ns[REWRITE][round] = run_load(&l);
    l.kind = BLOCK_READ;
    s->ns[READ][round] = run_load(&l);
    end(s);
}

static double measure_new(
    struct subject *s, uint64_t bytes, bool random, unsigned depth, unsigned flush_every)
{
    struct load l = {.dev = begin(s, NULL),
        .kind = BLOCK_WRITE,
        .bytes = bytes,
        .count = random ? MEMORY_COUNT / 4 : DISK_BYTES / bytes,
        .random = random,
        .depth = depth,
        .flush_every = flush_every};
    double ns = run_load(&l);

    end(s);
    return ns;
}

static void measure_backed(struct subject *s, unsigned round, unsigned depth)
{
    struct load l = {.dev = begin(s, s->backing),
        .kind = BLOCK_WRITE,
        .bytes = SMALL_BYTES,
        .count = MEMORY_COUNT,
        .random = true,
        .depth = depth};

    s->ns[OVER_BACKING][round] = run_load(&l);
    s->ns[OVER_BACKING_REWRITE][round] = run_load(&l);
    end(s);
}

/* The disk is full when the snapshot is taken. */
static void measure_after_snapshot(struct subject *s, unsigned round, unsigned depth)
{
    struct load fill = {.dev = begin(s, NULL),
        .kind = BLOCK_WRITE,
        .bytes = 1024 * KIB,
        .count = DISK_BYTES / KIB / 1024,
        .depth = 1};
    struct load l = {.dev = fill.dev,
        .kind = BLOCK_WRITE,
        .bytes = SMALL_BYTES,
        .count = MEMORY_COUNT,
        .random = true,
        .depth = depth};
    struct error err = {0};

    run_load(&fill);
    if (s->image)
        must(qcow2_snapshot_create(s->image, "before", &err), &err);
    s->ns[AFTER_SNAPSHOT][round] = run_load(&l);
    s->ns[AFTER_SNAPSHOT_REWRITE][round] = run_load(&l);
    end(s);
}

static void measure_sequences(struct subject *s, unsigned round, unsigned depth)
{
    s->ns[SEQUENTIAL_64K][round] = measure_new(s, 64 * KIB, false, depth, 0);
    s->ns[SEQUENTIAL_1M][round] = measure_new(s, 1024 * KIB, false, depth, 0);
}

static void measure_flushed(struct subject *s, unsigned round, unsigned depth)
{
    s->ns[FLUSHED_8][round] = measure_new(s, SMALL_BYTES, true, depth, 8);
    s->ns[FLUSHED_64][round] = measure_new(s, SMALL_BYTES, true, depth, 64);
}

static const struct {
    const char *name;
    void (*measure)(struct subject *s, unsigned round, unsigned depth);
} loads[] = {{"random", measure_random}, {"sequence", measure_sequences},
    {"flush", measure_flushed}, {"backing", measure_backed}, {"snapshot", measure_after_snapshot}};

static void measure_round(struct subject *s, unsigned round, unsigned depth)
{
    for (unsigned i = 0; i < ARRAY_LEN(loads); i++)
        if (!only_load || !strcmp(only_load, loads[i].name))
            loads[i].measure(s, round, depth);
}

static void print_figure(struct subject *raw, struct subject *image, enum figure f)
{
    double ratios[ROUNDS];

    if (raw->ns[f][0] == 0)
        return;
    for (unsigned i = 0; i < ROUNDS; i++)
        ratios[i] = raw->ns[f][i] / image->ns[f][i];
    printf("  %-34s %9.0f %9.0f %8.2f\n", figure_names[f], median(raw->ns[f], ROUNDS),
        median(image->ns[f], ROUNDS), median(ratios, ROUNDS));
}

static void compare(const char *name, const struct qcow2_plan *plan, unsigned depth)
{
    struct blockdev *backing = member("backing", DISK_BYTES);
    static struct subject raw, image;
    struct load fill = {.dev = backing,
        .kind = BLOCK_WRITE,
        .bytes = 1024 * KIB,
        .count = DISK_BYTES / KIB / 1024,
        .depth = 1};

    raw = (struct subject){.file = member("raw", FILE_BYTES)};
    image = (struct subject){.file = member("image", FILE_BYTES), .backing = backing, .plan = plan};
    run_load(&fill);
    for (unsigned i = 0; i < ROUNDS; i++) {
        measure_round(&raw, i, depth);
        measure_round(&image, i, depth);
    }
    printf("%-36s %9s %9s %8s  (ns; depth %u)\n", name, "member", "image", "ratio", depth);
    for (unsigned f = 0; f < FIGURES; f++)
        print_figure(&raw, &image, (enum figure)f);
    fflush(stdout);
    blockdev_close(raw.file);
    atomic_store(&image.file->size_bytes, FILE_BYTES);
    blockdev_close(image.file);
    blockdev_close(backing);
}

static void measure_io(void)
{
    struct qcow2_plan plan = {0};

    compare("the default", &plan, 1);
    compare("the default", &plan, 32);
}

static void measure_clusters(void)
{
    for (unsigned bits = 16; bits <= 18; bits++)
        for (unsigned standard = 0; standard < 2; standard++) {
            struct qcow2_plan plan = {.cluster_bits = bits, .standard_l2 = standard};
            char name[64];

            snprintf(
                name, sizeof name, "%u KiB%s", 1u << (bits - 10), standard ? "" : ", extended");
            compare(name, &plan, 32);
        }
}

/* --- what the map costs --- */

#define MAP_COUNT 1000000u
#define MAP_SPAN  64u /* requests: what is touched stays in cache */

static double loop_ns(struct blockdev *d, enum block_kind kind, void *buf)
{
    double start = now_ns(CLOCK_PROCESS_CPUTIME_ID);

    for (unsigned i = 0; i < MAP_COUNT; i++) {
        uint64_t offset = (uint64_t)(i % MAP_SPAN) * (128 * KIB + SMALL_BYTES);

        if (kind == BLOCK_READ)
            must(blockdev_read(d, buf, offset, SMALL_BYTES), NULL);
        else
            must(blockdev_write(d, buf, offset, SMALL_BYTES, BLOCK_STABLE), NULL);
    }
    return (now_ns(CLOCK_PROCESS_CPUTIME_ID) - start) / MAP_COUNT;
}

static void compare_loops(
    const char *name, struct blockdev *raw, struct blockdev *image, enum block_kind kind)
{
    void *buf = aligned_alloc(4096, SMALL_BYTES);
    double bare[ROUNDS], ns[ROUNDS], cost[ROUNDS];

    if (!buf)
        must(-ENOMEM, NULL);
    memset(buf, 'x', SMALL_BYTES);
    for (unsigned i = 0; i < ROUNDS; i++) {
        bare[i] = loop_ns(raw, kind, buf);
        ns[i] = loop_ns(image, kind, buf);
        cost[i] = ns[i] - bare[i];
    }
    printf("%-20s member %4.0f, image %4.0f: %4.0f ns\n", name, median(bare, ROUNDS),
        median(ns, ROUNDS), median(cost, ROUNDS));
    free(buf);
}

static void measure_map(void)
{
    struct blockdev *raw = member("raw", FILE_BYTES), *file = member("image", FILE_BYTES);
    struct qcow2_plan plan = {0};
    struct qcow2 *q = new_image(file, NULL, &plan);

    compare_loops("4 KiB rewrite", raw, qcow2_blockdev(q), BLOCK_WRITE);
    compare_loops("4 KiB read", raw, qcow2_blockdev(q), BLOCK_READ);
    must(qcow2_close(q), NULL);
    blockdev_close(raw);
    atomic_store(&file->size_bytes, FILE_BYTES);
    blockdev_close(file);
}

/* --- large images, of which only the metadata is there --- */

/* Every `step`th cluster of the disk has a place. */
static struct blockdev *write_large(uint64_t disk_bytes, unsigned step)
{
    struct blockdev *file =
        member("large", round_up(disk_bytes / step, GIB) + disk_bytes / 512 + 2 * GIB);
    struct writer_plan plan = {.file = file, .image = {.size_bytes = disk_bytes}};
    struct error err = {0};
    struct writer w;
    uint64_t offset, end_bytes;

    must(writer_begin(&w, &plan, &err), &err);
    for (uint64_t c = 0; c < disk_bytes / w.cluster_bytes; c += step) {
        must(writer_take(&w, 1, &offset, &err), &err);
        must(writer_map(&w, c, writer_plain_entry(&w, offset), &err), &err);
    }
    must(writer_end(&w, &end_bytes, &err), &err);
    writer_free(&w);
    return file;
}

static struct qcow2 *open_large(struct blockdev *file, double *ms)
{
    struct qcow2_options options = {.map_bytes_max = 4 * GIB};
    struct error err = {0};
    struct qcow2 *q;
    double start = now_ns(CLOCK_MONOTONIC);

    must(qcow2_open(&q, file, "large", &options, &err), &err);
    *ms = (now_ns(CLOCK_MONOTONIC) - start) / 1e6;
    return q;
}

static uint64_t map_bytes(struct qcow2 *q)
{
    struct qcow2_status status;

    qcow2_status(q, &status);
    return status.map_bytes;
}

/* So that all of the map is in memory. */
static void read_all_over(struct qcow2 *q)
{
    struct blockdev *d = qcow2_blockdev(q);
    void *buf = aligned_alloc(4096, SMALL_BYTES);

    for (uint64_t at = 0; at < d->size_bytes; at += GIB / 4)
        must(blockdev_read(d, buf, at, SMALL_BYTES), NULL);
    free(buf);
}

static void measure_large(void)
{
    static const unsigned steps[] = {10, 2, 1};

    for (unsigned i = 0; i < ARRAY_LEN(steps); i++) {
        struct blockdev *file = write_large(1024 * GIB, steps[i]);
        double ms, filled_ms;
        struct qcow2 *q = open_large(file, &ms);
        uint64_t opened_bytes = map_bytes(q);
        double start = now_ns(CLOCK_MONOTONIC);

        read_all_over(q);
        filled_ms = (now_ns(CLOCK_MONOTONIC) - start) / 1e6;
        printf("1 TiB, %3u%% allocated: open %6.1f ms, %5.1f MiB; all of the map %6.1f ms, %6.1f "
               "MiB\n",
            100 / steps[i], ms, (double)opened_bytes / 1048576, filled_ms,
            (double)map_bytes(q) / 1048576);
        fflush(stdout);
        must(qcow2_close(q), NULL);
        blockdev_close(file);
    }
}

/* --- the check --- */

static double check_ms(struct blockdev *file, unsigned flags, struct check_result *result)
{
    struct error err = {0};
    double start = now_ns(directory ? CLOCK_MONOTONIC : CLOCK_PROCESS_CPUTIME_ID);

    must(qcow2_check(file, flags, NULL, NULL, result, &err), &err);
    return (now_ns(directory ? CLOCK_MONOTONIC : CLOCK_PROCESS_CPUTIME_ID) - start) / 1e6;
}

/* Not closed, with refcounts of some thousand clusters that did not reach the disk. */
static void make_dirty(struct blockdev *file)
{
    uint8_t zeros[16 * KIB] = {0}, word[8];
    uint64_t block;

    must(blockdev_read_bytes(file, word, 48, sizeof word), NULL);
    must(blockdev_read_bytes(file, word, get_be64(word), sizeof word), NULL);
    block = get_be64(word);
    must(blockdev_write_bytes(file, zeros, block + sizeof zeros, sizeof zeros, 0), NULL);
    put_be64(word, QCOW2_EXTENDED_L2 | QCOW2_DIRTY);
    must(blockdev_write_bytes(file, word, 72, sizeof word, 0), NULL);
}

static void measure_check(void)
{
    static const unsigned gib[] = {4, 16, 100, 1024};
    struct check_result *result = malloc(sizeof *result);

    for (unsigned i = 0; i < ARRAY_LEN(gib); i++) {
        struct blockdev *file = write_large(gib[i] * GIB, 1);
        double whole_ms = check_ms(file, 0, result), dirty_ms;

        make_dirty(file);
        dirty_ms = check_ms(file, CHECK_REPAIR_LEAKS, result);
        printf("%4u GiB allocated: check %6.1f ms; not closed, %ju refcounts put right: %6.1f ms\n",
            gib[i], whole_ms, (uintmax_t)result->repaired[CHECK_REFCOUNT], dirty_ms);
        blockdev_close(file);
    }
    free(result);
}

/* The longest that a guest waits who reads and writes all the time. */
struct guest {
    struct blockdev *dev;
    bool stop;
    double longest_ns;
    struct co_event ended;
};

static void run_guest(void *arg)
{
    struct guest *g = arg;
    void *buf = aligned_alloc(4096, SMALL_BYTES);

    memset(buf, 'x', SMALL_BYTES);
    for (uint64_t i = 0; !g->stop; i++) {
        uint64_t offset = i * 40503 % (g->dev->size_bytes / SMALL_BYTES) * SMALL_BYTES;
        double start = now_ns(CLOCK_MONOTONIC), took;

        if (i % 2)
            must(blockdev_read(g->dev, buf, offset, SMALL_BYTES), NULL);
        else
            must(blockdev_write(g->dev, buf, offset, SMALL_BYTES, 0), NULL);
        took = now_ns(CLOCK_MONOTONIC) - start;
        g->longest_ns = MAX(g->longest_ns, took);
        co_yield ();
    }
    free(buf);
    co_event_set(&g->ended);
}

static void measure_snapshot(uint64_t disk_bytes)
{
    struct blockdev *file = write_large(disk_bytes, 1);
    struct error err = {0};
    struct guest guest = {0};
    double open_ms, start, create_ms, delete_ms;
    struct qcow2 *q = open_large(file, &open_ms);

    guest.dev = qcow2_blockdev(q);
    co_event_init(&guest.ended);
    must(co_start("guest", run_guest, &guest), NULL);
    start = now_ns(CLOCK_MONOTONIC);
    must(qcow2_snapshot_create(q, "one", &err), &err);
    create_ms = (now_ns(CLOCK_MONOTONIC) - start) / 1e6;
    start = now_ns(CLOCK_MONOTONIC);
    must(qcow2_snapshot_delete(q, "one", &err), &err);
    delete_ms = (now_ns(CLOCK_MONOTONIC) - start) / 1e6;
    guest.stop = true;
    co_event_wait(&guest.ended);
    printf("%3llu GiB allocated: snapshot create %.1f ms, delete %.1f ms; a guest waits at most "
           "%.1f ms\n",
        (unsigned long long)(disk_bytes / GIB), create_ms, delete_ms, guest.longest_ns / 1e6);
    fflush(stdout);
    must(qcow2_close(q), NULL);
    blockdev_close(file);
}

static void measure_snapshots(void)
{
    measure_snapshot(4 * GIB);
    measure_snapshot(16 * GIB);
    measure_snapshot(100 * GIB);
}

static const struct {
    const char *name;
    void (*run)(void);
} sections[] = {{"map", measure_map}, {"io", measure_io}, {"clusters", measure_clusters},
    {"large", measure_large}, {"check", measure_check}, {"snapshots", measure_snapshots}};

static void run(void *arg)
{
    const char *name = arg;

    for (unsigned i = 0; i < ARRAY_LEN(sections); i++)
        if (!name || !strcmp(name, sections[i].name))
            sections[i].run();
}

int main(int argc, char **argv)
{
    struct error err = {0};
    struct statfs fs;

    directory = argc > 2 && strcmp(argv[2], "-") ? argv[2] : NULL;
    only_load = argc > 3 ? argv[3] : NULL;
    on_disk = directory && !statfs(directory, &fs) && fs.f_type != TMPFS_MAGIC;
    if (rt_init(NULL, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    must(rt_main(run, argc > 1 ? argv[1] : NULL), NULL);
    return 0;
}
