/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A machine's life: it formats the image, or opens it as the daemon would, reads it, and works on
 * it until it stops or is cut off. Where nothing is broken it has to open.
 */
#include <errno.h>
#include <stdlib.h>

#include "block/member.h"
#include "image_world.h"

#define PIECE_BYTES (64u << 10)

struct image_machine image_machine;

static struct blockdev *open_disk(unsigned disk, unsigned flags)
{
    struct error err = {0};
    struct blockdev *dev;

    if (member_open(sim->disks[disk].path, flags, &dev, &err))
        sim_fail("a disk cannot be opened: %s", err.text);
    return dev;
}

static void open_file(unsigned flags)
{
    struct blockdev *lower = open_disk(0, flags);

    image_machine.file = image->growable ? image_file_open(lower) : lower;
    if (image->backed)
        image_machine.backing = open_disk(1, MEMBER_READ_ONLY);
}

static void close_file(void)
{
    blockdev_close(image_machine.file);
    if (image_machine.backing)
        blockdev_close(image_machine.backing);
    image_machine.file = image_machine.backing = NULL;
}

static int try_open(bool read_only, struct error *err)
{
    struct qcow2_options options = {
        .read_only = read_only,
        .backing = image_machine.backing,
        .file_ops = image->growable ? &image_growable : NULL,
        .file_arg = image_machine.file,
        .map_bytes_max = image->map_bytes_max,
        .ahead_bytes = image->ahead_bytes,
        .space_wait_ns = image->space_wait_ns,
        .discard = image->discard,
    };
    int rc = qcow2_open(&image_machine.q, image_machine.file, "image", &options, err);

    SIM_TRACE("open%s: %d %s", read_only ? " read-only" : "", rc, rc ? err->text : "");
    return rc;
}

static void open_image(bool read_only)
{
    struct error err = {0};
    int rc;

    open_file(read_only ? MEMBER_READ_ONLY : 0);
    rc = try_open(read_only, &err);
    if (rc && image->struck) {
        image_mend();
        err = (struct error){0};
        rc = try_open(read_only, &err);
    }
    if (rc)
        sim_fail("the image cannot be opened: %s", err.text);
    image_machine.dev = qcow2_blockdev(image_machine.q);
    if (image_machine.dev->size_bytes != image->size_bytes)
        sim_fail("the disk has another size than it had");
}

/* What was acknowledged is durable now; or, if that failed, forgotten. */
static void close_image(void)
{
    uint32_t begun = model_flush_begin(image_model);
    int rc = qcow2_close(image_machine.q);

    SIM_TRACE("close: %d", rc);
    if (rc && !image->struck)
        sim_fail("the image cannot be closed: error %d", rc);
    close_file();
    model_flush_end(image_model, begun, !rc);
    image->closed = !rc;
    image->lost = rc;
}

/* --- what it holds --- */

static void read_all(void)
{
    void *buf = aligned_alloc(4096, PIECE_BYTES);
    char why[MODEL_WHY_LEN];

    if (!buf)
        sim_fail("out of memory");
    for (uint64_t at = 0, length; at < image->size_bytes; at += length) {
        uint32_t begun = model_read_begin(image_model);
        int rc;

        length = MIN(image->size_bytes - at, (uint64_t)PIECE_BYTES);
        rc = blockdev_read(image_machine.dev, buf, at, length);
        if (rc && !image->struck)
            sim_fail("reading %llu+%llu: error %d", (unsigned long long)at,
                (unsigned long long)length, rc);
        if (rc)
            model_read_failed(image_model, begun);
        else if (model_read_check(image_model, begun, buf, at, length, why) != MODEL_GOOD)
            sim_fail("the disk holds what cannot be: %s", why);
    }
    free(buf);
}

/* --- machines --- */

static void format(void)
{
    struct qcow2_plan plan = image_plan();
    struct error err = {0};

    open_file(0);
    if (qcow2_format(image_machine.file, &plan, &err))
        sim_fail("the image cannot be made: %s", err.text);
    image->made = true;
    close_file();
}

static void only_read(void)
{
    uint64_t numbers[2] = {sim->disks[0].next_number, sim->disks[1].next_number};

    open_image(true);
    read_all();
    if (qcow2_close(image_machine.q))
        sim_fail("an image that was only read cannot be closed");
    close_file();
    if (numbers[0] != sim->disks[0].next_number || numbers[1] != sim->disks[1].next_number)
        sim_fail("an image was written that was only to be read");
}

static void start_workers(void)
{
    image_machine.workers[0] = worker_self();
    for (unsigned i = 1; i < image->workers; i++) {
        const char name[] = {'w', (char)('0' + i), '\0'};
        if (worker_create(&image_machine.workers[i], name, NULL))
            sim_fail("a worker cannot be made");
    }
}

static void end_workers(void)
{
    for (unsigned i = 1; i < image->workers; i++)
        worker_destroy(image_machine.workers[i]);
}

static void work(void)
{
    start_workers();
    gate_init(&image_machine.guests);
    image_guests_start();
    image_fate_start();
    image_administer();
    wait_group_wait(&image_machine.working);
}

void image_machine_run(void *arg)
{
    if (image->plan == PLAN_FORMAT) {
        format();
        return;
    }
    if (image->plan == PLAN_READ) {
        only_read();
        return;
    }
    image_fate_early();
    open_image(false);
    if (one_in(SIM_ADMIN, 2))
        read_all();
    work();
    if (!image->stops)
        sim_power_cut(sim->cut.kill);
    close_image();
    end_workers();
}
