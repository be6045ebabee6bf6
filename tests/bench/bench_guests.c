/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What guests see of a recovery, on disks that take their time, in the simulator's virtual time: so
 * nothing else on this machine counts, but neither does what the processor does. A disk moves so
 * many bytes a second, one request after the other, and answers some time later; of each disk only
 * the front is remembered, where md keeps its own.
 *
 * For each disk and load: the 99th percentile of guests' latency before a member fails and during
 * the recovery (from its first second on), what the recovery does meanwhile, and what it does once
 * guests are idle, against what a disk can.
 * Run by hand: build/tests/bench/bench_guests [DISK...]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "block/member.h"
#include "raid/array.h"
#include "raid/layout.h"
#include "rt/sim/sim.h"
#include "rt/sync.h"
#include "rt/worker.h"

#define MIB          UINT64_C(1048576)
#define SECOND_NS    UINT64_C(1000000000)
#define DISK_BYTES   (UINT64_C(64) << 30)
#define KEPT_BYTES   (256 * MIB)
#define REQUEST      4096u
#define WORKERS      2u
#define DISKS_MAX    4u
#define SAMPLES_MAX  150000u /* of a phase, which is over then, */
#define PHASE_NS     (4 * SECOND_NS)
#define READS_OF_TEN 7u

struct disk_kind {
    const char *name;
    uint64_t bytes_per_sec;
    uint64_t access_ns, jitter_ns; /* for many at once; the second is the mean of what varies */
    uint64_t seek_ns;              /* one at a time, where a request does not follow the last */
};

struct load {
    const char *name;
    unsigned depth;
    uint64_t think_ns; /* mean pause of each between requests */
};

struct disk {
    struct blockdev dev;
    const struct disk_kind *kind;
    struct blockdev *front;
    uint64_t free_ns, head_bytes;
};

static struct bench {
    const struct disk_kind *kind;
    const struct load *load;
    int level;
    unsigned disks;
} bench;

static struct {
    struct blockdev *dev;
    bool over;
    unsigned count;
    uint64_t latency_ns[SAMPLES_MAX];
    struct wait_group guests;
} phase;

static void must(int rc)
{
    if (rc < 0)
        sim_fail("%s", strerror(-rc));
}

static uint64_t draw(uint64_t limit)
{
    return limit ? sim_below(&sim->random[SIM_GUESTS], limit) : 0;
}

/* Most are short, some long. */
static uint64_t draw_about(uint64_t mean)
{
    uint64_t ns = draw(mean);

    while (draw(2))
        ns += draw(mean);
    return ns;
}

/* --- a disk --- */

static struct disk *disk_of(struct blockdev *d)
{
    return container_of(d, struct disk, dev);
}

static void take_time(struct disk *d, uint64_t offset, uint64_t length)
{
    const struct disk_kind *k = d->kind;
    uint64_t now = rt_now_ns();

    d->free_ns = MAX(d->free_ns, now) + length * SECOND_NS / k->bytes_per_sec;
    if (k->seek_ns && offset != d->head_bytes)
        d->free_ns += k->seek_ns / 2 + draw(k->seek_ns);
    d->head_bytes = offset + length;
    co_sleep_ns(d->free_ns - now + k->access_ns + draw_about(k->jitter_ns));
}

static int disk_read(
    struct blockdev *d, const struct iovec *iov, int iov_count, uint64_t offset, uint64_t length)
{
    take_time(disk_of(d), offset, length);
    return offset < KEPT_BYTES ? blockdev_readv(disk_of(d)->front, iov, iov_count, offset, 0) : 0;
}

static int disk_write(struct blockdev *d, const struct iovec *iov, int iov_count, uint64_t offset,
    uint64_t length, unsigned flags)
{
    take_time(disk_of(d), offset, length);
    return offset < KEPT_BYTES ? blockdev_writev(disk_of(d)->front, iov, iov_count, offset, 0) : 0;
}

static void disk_close(struct blockdev *d)
{
    blockdev_close(disk_of(d)->front);
    blockdev_fini(d);
    free(disk_of(d));
}

static const struct blockdev_ops disk_ops = {
    .read = disk_read, .write = disk_write, .close = disk_close};

static struct blockdev *make_disk(const char *name)
{
    struct disk *d = calloc(1, sizeof *d);

    if (!d)
        sim_fail("out of memory");
    must(blockdev_init(&d->dev, &disk_ops, name, DISK_BYTES));
    must(member_memory(name, KEPT_BYTES + MIB, 512, &d->front));
    d->dev.capabilities = BLOCK_CAN_FUA | (bench.kind->seek_ns ? BLOCK_ROTATIONAL : 0);
    d->kind = bench.kind;
    return &d->dev;
}

/* --- guests --- */

static void request(char *buf)
{
    uint64_t offset = draw(phase.dev->size_bytes / REQUEST) * REQUEST, begun_ns = rt_now_ns();

    if (draw(10) < READS_OF_TEN)
        must(blockdev_read(phase.dev, buf, offset, REQUEST));
    else
        must(blockdev_write(phase.dev, buf, offset, REQUEST, BLOCK_STABLE));
    if (phase.count < SAMPLES_MAX)
        phase.latency_ns[phase.count++] = rt_now_ns() - begun_ns;
    else
        phase.over = true;
}

static void guest(void *arg)
{
    char *buf = io_buffer_get(REQUEST);

    memset(buf, 'x', REQUEST);
    while (!phase.over) {
        request(buf);
        if (bench.load->think_ns)
            co_sleep_ns(draw(2 * bench.load->think_ns));
    }
    io_buffer_put(buf, REQUEST);
    wait_group_done(&phase.guests);
}

static int compare(const void *x, const void *y)
{
    uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;

    return (a > b) - (a < b);
}

/* Nanoseconds. */
static double percentile(unsigned percent)
{
    qsort(phase.latency_ns, phase.count, sizeof phase.latency_ns[0], compare);
    return (double)phase.latency_ns[(uint64_t)phase.count * percent / 100];
}

static void run_guests(struct worker **workers, uint64_t phase_ns)
{
    uint64_t end_ns = rt_now_ns() + phase_ns;

    phase.over = false;
    phase.count = 0;
    wait_group_init(&phase.guests);
    wait_group_add(&phase.guests, bench.load->depth);
    for (unsigned i = 0; i < bench.load->depth; i++)
        must(worker_start(workers[i % WORKERS], "guest", guest, NULL));
    while (!phase.over && rt_now_ns() < end_ns)
        co_sleep_ns(SECOND_NS / 100);
    phase.over = true;
    wait_group_wait(&phase.guests);
}

/* --- */

static uint64_t done_bytes(struct array *a)
{
    struct array_status *s = array_status(a);
    double done = (double)s->sync.done_bytes; /* of the array */
    uint64_t of_member = (uint64_t)(done * (double)s->member_bytes / (double)s->size_bytes);

    if (s->sync.action != ARRAY_RECOVERY)
        sim_fail("no recovery runs");
    free(s);
    return of_member;
}

static struct array *make_array(void)
{
    struct array_params params = {.name = "bench",
        .level = bench.level,
        .layout = bench.level == 5 ? RAID5_LAYOUT_LEFT_SYMMETRIC : 0,
        .assume_clean = true};
    struct blockdev *disks[DISKS_MAX];
    struct array *a;

    for (unsigned i = 0; i < bench.disks; i++) {
        char name[8];
        snprintf(name, sizeof name, "d%u", i);
        disks[i] = make_disk(name);
    }
    must(array_create(&a, &params, disks, bench.disks, NULL, 0, NULL));
    array_start(a);
    return a;
}

/* Something in each chunk of the bitmap: what holds nothing is not recovered. */
static void use_all(struct array *a)
{
    char *buf = io_buffer_get(REQUEST);

    for (uint64_t at = 0; at < array_blockdev(a)->size_bytes; at += 16 * MIB)
        must(blockdev_write(array_blockdev(a), buf, at, REQUEST, BLOCK_STABLE));
    io_buffer_put(buf, REQUEST);
}

static void recover(struct array *a)
{
    must(array_fail(a, "d1", NULL));
    must(array_add(a, make_disk("new"), false, &(bool){false}, NULL));
    co_sleep_ns(SECOND_NS / 100);
}

static double rate_of(struct array *a, uint64_t done_before, uint64_t since_ns)
{
    return (double)(done_bytes(a) - done_before) / (double)(rt_now_ns() - since_ns) * 1e9;
}

static void measure(struct array *a, struct worker **workers)
{
    double before, during, beside, idle;
    uint64_t done, since_ns;

    run_guests(workers, PHASE_NS);
    before = percentile(99);
    recover(a);
    run_guests(workers, SECOND_NS);
    done = done_bytes(a);
    since_ns = rt_now_ns();
    run_guests(workers, PHASE_NS);
    beside = rate_of(a, done, since_ns);
    during = percentile(99);
    co_sleep_ns(SECOND_NS);
    done = done_bytes(a);
    since_ns = rt_now_ns();
    co_sleep_ns(SECOND_NS);
    idle = rate_of(a, done, since_ns);
    printf("raid%-2d %-10s %-20s %9.0f %9.0f %6.2f %8.0f %5.0f%% %5.0f%%\n", bench.level,
        bench.kind->name, bench.load->name, before / 1e3, during / 1e3, during / before,
        beside / MIB, beside / (double)bench.kind->bytes_per_sec * 100,
        idle / (double)bench.kind->bytes_per_sec * 100);
    fflush(stdout);
}

static void run(void *arg)
{
    struct worker *workers[WORKERS];
    struct array *a;

    for (unsigned i = 0; i < WORKERS; i++)
        must(worker_create(&workers[i], "w", NULL));
    a = make_array();
    use_all(a);
    phase.dev = array_blockdev(a);
    measure(a, workers);
    must(array_stop(a, NULL));
    for (unsigned i = 0; i < WORKERS; i++)
        worker_destroy(workers[i]);
}

static const struct disk_kind kinds[] = {
    {"nvme", 3000 * MIB, 60000, 20000, 0},
    {"sata ssd", 500 * MIB, 80000, 30000, 0},
    {"hard disk", 180 * MIB, 0, 0, 8000000},
};
static const struct load loads[] = {
    {"1 at a time", 1, 0},
    {"8 at once", 8, 0},
    {"32 at once", 32, 0},
    {"200 a second", 1, 5000000},
    {"10 a second", 1, 100000000},
};

static bool wanted(int argc, char **argv, const char *name)
{
    bool wanted = argc < 2;

    for (int i = 1; i < argc; i++)
        wanted |= !strcmp(argv[i], name);
    return wanted;
}

static void measure_all(int level, unsigned disks, const struct disk_kind *kind)
{
    for (unsigned l = 0; l < sizeof loads / sizeof loads[0]; l++) {
        bench = (struct bench){kind, &loads[l], level, disks};
        sim_reset(1);
        if (sim_live(run, NULL) != SIM_STOPPED)
            printf("%s\n", sim->failure);
    }
}

int main(int argc, char **argv)
{
    sim_init(argv);
    printf("array  disks      guests                   p99 us    during  ratio    MiB/s  of it  "
           "idle\n");
    for (unsigned k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        if (!wanted(argc, argv, kinds[k].name))
            continue;
        measure_all(1, 2, &kinds[k]);
        measure_all(5, 4, &kinds[k]);
    }
    return 0;
}
