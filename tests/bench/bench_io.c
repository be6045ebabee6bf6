/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an io costs: random reads of a file, 4 KiB to 1 MiB, through each engine, beside a loop of
 * pread on one thread. Prints thousands of reads a second, the processor time of each (kernel
 * threads that work for us included), and the ratio to pread. Run by hand:
 * build/tests/bench/bench_io [DIRECTORY]... (default: /dev/shm /var/tmp)
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/arith.h"
#include "rt/io.h"
#include "rt/sync.h"
#include "rt/worker.h"

#define FILE_BYTES (256u << 20)
#define DEPTH_MAX  128

static const struct shape {
    unsigned bytes, reads;
} shapes[] = {{4 << 10, 100000}, {64 << 10, 20000}, {1 << 20, 2000}};
static struct shape shape;
static double pread_rate;

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    perror(what);
    exit(1);
}

static uint64_t random_offset(void)
{
    static uint64_t state = 88172645463325252u;

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % (FILE_BYTES / shape.bytes) * shape.bytes;
}

static double cpu_us(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

struct sample {
    uint64_t wall_ns;
    double cpu_us;
};

static struct sample sample_start(void)
{
    return (struct sample){rt_now_ns(), cpu_us()};
}

static void sample_print(const char *what, unsigned depth, const struct sample *start)
{
    double rate = shape.reads * 1e6 / (double)(rt_now_ns() - start->wall_ns);
    double us = (cpu_us() - start->cpu_us) / shape.reads;

    if (!pread_rate)
        pread_rate = rate;
    printf("  %4u KiB %-6s depth %3u %8.1f k/s %7.2f us cpu %6.2f x pread\n", shape.bytes >> 10,
        what, depth, rate, us, rate / pread_rate);
}

static void read_plainly(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
    void *buf = io_buffer_get(shape.bytes);
    struct sample start = sample_start();

    must(fd >= 0, path);
    for (unsigned i = 0; i < shape.reads; i++)
        must(pread(fd, buf, shape.bytes, (off_t)random_offset()) == shape.bytes, "pread");
    pread_rate = 0;
    sample_print("pread", 1, &start);
    io_buffer_put(buf, shape.bytes);
    close(fd);
}

struct slot {
    struct io io;
    struct iovec iov;
};

static struct wait_group group;
static unsigned to_start;

static void start_next(struct io *io)
{
    if (!to_start) {
        wait_group_done(&group);
        return;
    }
    to_start--;
    io->offset = random_offset();
    io_start(io);
}

static void one_done(struct io *io)
{
    must(io->result == 0, "read");
    start_next(io);
}

static void read_at_depth(struct file *file, unsigned depth)
{
    static struct slot slots[DEPTH_MAX];
    struct sample start;

    to_start = shape.reads;
    wait_group_init(&group);
    wait_group_add(&group, depth);
    start = sample_start();
    for (unsigned i = 0; i < depth; i++) {
        struct slot *s = &slots[i];

        s->iov = (struct iovec){io_buffer_get(shape.bytes), shape.bytes};
        s->io = (struct io){
            .kind = IO_READ, .file = file, .iov = &s->iov, .iov_count = 1, .done = one_done};
        start_next(&s->io);
    }
    wait_group_wait(&group);
    sample_print(rt_engine_name(), depth, &start);
    for (unsigned i = 0; i < depth; i++)
        io_buffer_put(slots[i].iov.iov_base, shape.bytes);
}

static void co_read(void *path)
{
    static const unsigned depths[] = {1, 8, 32, DEPTH_MAX};
    struct file *file;

    must(file_open(path, FILE_READ_ONLY, &file, NULL) == 0, path);
    for (unsigned i = 0; i < ARRAY_LEN(depths); i++)
        read_at_depth(file, depths[i]);
    file_close(file);
}

static void make_file(const char *path)
{
    char *data = calloc(1, 1 << 20);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    must(fd >= 0, path);
    memset(data, 0x5a, 1 << 20);
    for (unsigned i = 0; i < FILE_BYTES >> 20; i++)
        must(write(fd, data, 1 << 20) == 1 << 20, path);
    must(!fsync(fd) && !close(fd), path);
    free(data);
}

static void read_all_ways(char *path)
{
    static const char *const engines[] = {"uring", "aio"};

    read_plainly(path);
    for (unsigned i = 0; i < ARRAY_LEN(engines); i++) {
        if (rt_init(engines[i], NULL) < 0)
            printf("  %-6s cannot run here\n", engines[i]);
        else
            must(rt_main(co_read, path) == 0, engines[i]);
    }
}

static void bench(const char *dir)
{
    char path[256];

    snprintf(path, sizeof path, "%s/ashlar-bench-io", dir);
    make_file(path);
    printf("%s\n", dir);
    for (unsigned i = 0; i < ARRAY_LEN(shapes); i++) {
        shape = shapes[i];
        read_all_ways(path);
    }
    unlink(path);
}

int main(int argc, char **argv)
{
    static const char *const defaults[] = {"/dev/shm", "/var/tmp"};

    for (int i = 1; i < argc; i++)
        bench(argv[i]);
    for (unsigned i = 0; argc == 1 && i < ARRAY_LEN(defaults); i++)
        bench(defaults[i]);
    return 0;
}
