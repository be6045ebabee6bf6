/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "host_guest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "host_nbd.h"
#include "host_trouble.h"
#include "rt/worker.h"

#define TRANSFER_MAX  (64u << 10)
#define HOT_BYTES     (32u << 10) /* where half of the requests go */
#define LANES_MAX     4u
#define SESSION_MAX   24u /* requests on one connection */
#define PAUSE_NS_MAX  20000000u
#define LONG_PAUSE_NS UINT64_C(6000000000) /* longer than bits of a bitmap stay set */

/* A request that is under way on a volume, up to that byte. */
struct range {
    struct list link;
    unsigned volume;
    uint64_t end;
};

static struct list ranges = LIST_INIT(ranges);
static struct {
    uint64_t limit_bytes; /* 0: none */
    bool withdrawn;
    unsigned sessions;
} volumes[HOST_VOLUMES];

/* A guest's connection, on which its lanes work side by side. */
struct session {
    unsigned volume;
    struct nbd_client client;
    unsigned requests; /* that are left */
    struct wait_group lanes;
};

struct guest {
    unsigned requests; /* that are left */
    struct wait_group *ended;
};

static uint64_t pick(uint64_t limit)
{
    return sim_below(&sim->random[SIM_GUESTS], limit);
}

static bool one_in(uint64_t n)
{
    return sim_one_in(&sim->random[SIM_GUESTS], n);
}

void guests_limit(unsigned volume, uint64_t bytes)
{
    bool busy;

    volumes[volume].limit_bytes = bytes;
    do {
        busy = false;
        list_for_each (it, &ranges) {
            const struct range *r = container_of(it, struct range, link);

            busy |= bytes && r->volume == volume && r->end > bytes;
        }
        if (busy)
            co_sleep_ns(100000);
    } while (busy);
}

void guests_withdraw(unsigned volume)
{
    volumes[volume].withdrawn = true;
}

void guests_leave(unsigned volume)
{
    while (volumes[volume].sessions > 0)
        co_sleep_ns(100000);
}

void guests_serve(unsigned volume)
{
    volumes[volume].withdrawn = false;
}

static uint64_t usable_bytes(unsigned volume)
{
    uint64_t size_bytes = host->now.volumes[volume].size_bytes;
    uint64_t limit_bytes = volumes[volume].limit_bytes;

    return limit_bytes && limit_bytes < size_bytes ? limit_bytes : size_bytes;
}

/* In a sparse volume; it may end when the group has no more. */
static bool needs_space(unsigned type)
{
    return type == NBD_CMD_WRITE || type == NBD_CMD_WRITE_ZEROES;
}

/* Whether the request may have failed with this. */
static void judge(unsigned volume, const struct nbd_call *call, int rc)
{
    static const char *const names[] = {
        "read", "write", "disconnect", "flush", "trim", "cache", "write zeroes"};

    SIM_TRACE("guest: %s %s %llu+%u%s: %d", host->now.volumes[volume].name, names[call->type],
        (unsigned long long)call->offset, call->length,
        call->flags & NBD_CMD_FLAG_FUA ? " fua" : "", rc);
    if (rc == -ENOSPC && host_has_image(volume) && needs_space(call->type))
        return;
    if (rc == 0 || ((rc == -ENOTCONN || rc == -ESHUTDOWN) && volumes[volume].withdrawn) ||
        trouble_excuses(volume, rc))
        return;
    sim_fail("volume %s: %s of %u bytes at %llu fails: %s", host->now.volumes[volume].name,
        names[call->type], call->length, (unsigned long long)call->offset, strerror(-rc));
}

static int run(struct session *s, struct nbd_call *call)
{
    struct range range = {.volume = s->volume, .end = call->offset + call->length};
    int rc;

    list_append(&ranges, &range.link);
    rc = nbd_client_run(&s->client, call);
    list_remove(&range.link);
    judge(s->volume, call, rc);
    return rc;
}

static int do_read(struct session *s, uint64_t offset, uint32_t length)
{
    struct nbd_call call = {
        .type = NBD_CMD_READ, .offset = offset, .length = length, .data = malloc(length)};
    struct model *m = &host_models[s->volume];
    uint32_t begun = model_read_begin(m);
    int rc = run(s, &call);
    char why[MODEL_WHY_LEN];
    uint64_t bad;

    if (rc)
        model_read_failed(m, begun);
    else if ((bad = model_read_check(m, begun, call.data, offset, length, why)) != MODEL_GOOD)
        sim_fail("volume %s: at %llu: %s", host->now.volumes[s->volume].name,
            (unsigned long long)bad, why);
    free(call.data);
    return rc;
}

/* What a sparse volume discards reads as zeros or as before, sector by sector. */
static bool hints(unsigned volume, unsigned type)
{
    return type == NBD_CMD_TRIM && host->now.volumes[volume].sparse;
}

static int do_change(struct session *s, unsigned type, uint64_t offset, uint32_t length)
{
    static const enum model_kind kinds[] = {[NBD_CMD_WRITE] = MODEL_DATA,
        [NBD_CMD_TRIM] = MODEL_DISCARD,
        [NBD_CMD_WRITE_ZEROES] = MODEL_ZEROS};
    bool fua = one_in(4), hint = hints(s->volume, type);
    struct nbd_call call = {.type = (uint16_t)type,
        .flags = fua ? NBD_CMD_FLAG_FUA : 0,
        .offset = offset,
        .length = length,
        .data = type == NBD_CMD_WRITE ? malloc(length) : NULL};
    struct model *m = &host_models[s->volume];
    unsigned ticket =
        model_write_begin(m, hint ? MODEL_ZEROS : kinds[type], offset, length, call.data);
    int rc;

    if (type == NBD_CMD_WRITE_ZEROES && one_in(2))
        call.flags |= NBD_CMD_FLAG_NO_HOLE;
    rc = run(s, &call);
    model_write_end(m, ticket, rc == 0 && !hint, fua);
    free(call.data);
    return rc;
}

static int do_flush(struct session *s)
{
    struct nbd_call call = {.type = NBD_CMD_FLUSH};
    struct model *m = &host_models[s->volume];
    uint32_t begun = model_flush_begin(m);
    int rc = run(s, &call);

    model_flush_end(m, begun, rc == 0);
    return rc;
}

/* Sparse volumes are to run out of space. */
static uint64_t longest_bytes(unsigned volume)
{
    return host->now.volumes[volume].sparse ? 4 * TRANSFER_MAX : TRANSFER_MAX;
}

/* In blocks that all disks have; small ones are the most. */
static void choose_range(unsigned volume, uint64_t *offset, uint32_t *length)
{
    uint64_t block_bytes = host->block_bytes, room = usable_bytes(volume) / block_bytes;
    uint64_t near = HOT_BYTES / block_bytes, longest = longest_bytes(volume) / block_bytes, count;

    *offset = pick(one_in(2) && near < room ? near : room);
    count = 1 + pick(one_in(host->now.volumes[volume].sparse ? 3 : 8) ? longest : 16);
    if (count > room - *offset)
        count = room - *offset;
    *offset *= block_bytes;
    *length = (uint32_t)(count * block_bytes);
}

static int do_something(struct session *s)
{
    unsigned choice = (unsigned)pick(16);
    uint64_t offset;
    uint32_t length;

    choose_range(s->volume, &offset, &length);
    if (choice < 5 || s->client.flags & NBD_FLAG_READ_ONLY)
        return do_read(s, offset, length);
    if (choice < 12)
        return do_change(s, NBD_CMD_WRITE, offset, length);
    if (choice < 14)
        return do_flush(s);
    if (choice == 14 && (s->client.flags & NBD_FLAG_TRIM))
        return do_change(s, NBD_CMD_TRIM, offset, length);
    return do_change(s, NBD_CMD_WRITE_ZEROES, offset, length);
}

static void pause_a_little(void)
{
    if (one_in(64))
        co_sleep_ns(LONG_PAUSE_NS);
    else if (one_in(3))
        co_sleep_ns(pick(PAUSE_NS_MAX));
}

static void work(void *arg)
{
    struct session *s = arg;

    while (s->requests > 0) {
        s->requests--;
        if (do_something(s) == -ENOTCONN)
            break;
        pause_a_little();
    }
    wait_group_done(&s->lanes);
}

static int connect_to(struct session *s, unsigned volume)
{
    char target[2 * HOST_NAME], path[HOST_PATH];
    int rc;

    s->volume = volume;
    host_target(&host->now, volume, target);
    host_socket(volume, path);
    rc = nbd_client_open(&s->client, path, target, one_in(2));
    SIM_TRACE("guest: connects to %s: %d", target, rc);
    if (rc && !volumes[volume].withdrawn && !trouble_beyond())
        sim_fail("%s: cannot connect: %s", target, strerror(-rc));
    return rc;
}

/* -1: no volume is served. */
static int choose_volume(void)
{
    unsigned served[HOST_VOLUMES], count = 0;

    for (unsigned i = 0; i < HOST_VOLUMES; i++)
        if (host->now.volumes[i].there && host->now.volumes[i].exported && !volumes[i].withdrawn)
            served[count++] = i;
    return count ? (int)served[pick(count)] : -1;
}

static void hold_session(struct guest *g, unsigned volume)
{
    unsigned lanes = 1 + (unsigned)pick(LANES_MAX);
    struct session *s = calloc(1, sizeof *s);

    if (!s)
        sim_fail("out of memory");
    s->requests = 1 + (unsigned)pick(SESSION_MAX);
    if (s->requests > g->requests)
        s->requests = g->requests;
    g->requests -= s->requests;
    volumes[volume].sessions++;
    wait_group_init(&s->lanes);
    if (connect_to(s, volume) == 0) {
        wait_group_add(&s->lanes, lanes);
        for (unsigned i = 0; i < lanes; i++)
            if (co_start("guest lane", work, s))
                sim_fail("out of memory");
        wait_group_wait(&s->lanes);
        nbd_client_close(&s->client);
    }
    volumes[volume].sessions--;
    free(s);
}

static void live(void *arg)
{
    struct guest *g = arg;

    while (g->requests > 0) {
        int volume = choose_volume();

        if (volume >= 0) {
            hold_session(g, (unsigned)volume);
        } else {
            co_sleep_ns(PAUSE_NS_MAX);
            g->requests--;
        }
    }
    wait_group_done(g->ended);
    free(g);
}

void guests_start(unsigned guests, unsigned requests, struct wait_group *ended)
{
    wait_group_add(ended, guests);
    for (unsigned i = 0; i < guests; i++) {
        struct guest *g = malloc(sizeof *g);

        if (!g)
            sim_fail("out of memory");
        *g = (struct guest){requests, ended};
        if (co_start("guest", live, g))
            sim_fail("out of memory");
    }
}

static void verify(unsigned volume)
{
    uint64_t size_bytes = host->now.volumes[volume].size_bytes;
    struct session *s = calloc(1, sizeof *s);

    if (!s)
        sim_fail("out of memory");
    if (connect_to(s, volume) == 0) {
        if (s->client.size_bytes != size_bytes && !trouble_beyond())
            sim_fail("volume %s: served with %llu bytes", host->now.volumes[volume].name,
                (unsigned long long)s->client.size_bytes);
        for (uint64_t at = 0; at < size_bytes; at += TRANSFER_MAX)
            do_read(s, at, (uint32_t)MIN(size_bytes - at, (uint64_t)TRANSFER_MAX));
        nbd_client_close(&s->client);
    }
    free(s);
}

void guests_verify(void)
{
    for (unsigned i = 0; i < HOST_VOLUMES; i++)
        if (host->now.volumes[i].there && host->now.volumes[i].exported)
            verify(i);
}
