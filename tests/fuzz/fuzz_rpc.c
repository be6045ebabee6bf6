/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * JSON-RPC and the state file: whatever a line or the file holds, it is answered or refused. The
 * daemon has no disks, and methods that change something end at the check of their parameters (they
 * would open whatever path the fuzzer thinks of). The first byte chooses: lines, or a file.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "daemon.h"
#include "json.h"
#include "rpc/method.h"
#include "rt/worker.h"
#include "runtime.h"
#include "state.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What the daemon that answers remembers. */
static const char remembered[] =
    "{\"version\":1,\"next_job\":3,\"arrays\":[{\"name\":\"a\",\"members\":[\"/m/0\"],"
    "\"uuid\":\"a0010203:04050607:08090a0b:0c0d0eff\"}],\"pvs\":[\"/p\"],"
    "\"exports\":[{\"target\":\"v/n\",\"type\":\"nbd\",\"path\":null,\"read_only\":false}]}";

static struct {
    struct config config;
    struct daemon daemon, reader; /* the one answers, the other reads state files */
    const char *data;
    size_t size;
} fuzz;

/* A method that only looks, and not at its connection. */
static bool harmless(const json_t *request)
{
    const char *name = json_string_value(json_object_get(request, "method"));
    json_t *params = json_object_get(request, "params");
    const struct rpc_method *m = name ? rpc_find_method(name) : NULL;

    if (!m || (!(m->flags & RPC_CHANGES) && strcmp(name, "events.subscribe")))
        return true;
    if (json_is_object(params))
        rpc_check_params(m, params, NULL);
    return false;
}

static void answer_line(const char *line, size_t length)
{
    struct rpc_call call = {.daemon = &fuzz.daemon};
    bool answer = true;
    json_t *request;
    char *text;

    if (json_parse(line, length, &request, NULL) == 0) {
        answer = harmless(request);
        json_decref(request);
    }
    if (!answer)
        return;
    co_event_init(&call.wake);
    co_event_set(&call.wake);
    text = rpc_answer(&call, line, length);
    assert(!text || !strchr(text, '\n'));
    free(text);
}

static void answer_lines(void)
{
    const char *line = fuzz.data, *end = fuzz.data + fuzz.size, *next;

    for (; line < end; line = next + 1) {
        next = memchr(line, '\n', (size_t)(end - line));
        next = next ? next : end;
        answer_line(line, (size_t)(next - line));
    }
}

/* What was understood is written again as it was read. */
static void read_state(void)
{
    struct daemon *d = &fuzz.reader;
    char *text, *again;

    if (state_decode(d, fuzz.data, fuzz.size, NULL) == 0) {
        text = state_encode(d);
        catalog_free(&d->catalog);
        catalog_init(&d->catalog);
        assert(text && state_decode(d, text, strlen(text), NULL) == 0);
        again = state_encode(d);
        assert(again && !strcmp(text, again));
        free(text);
        free(again);
    }
    catalog_free(&d->catalog);
    catalog_init(&d->catalog);
}

static void deal(void)
{
    if (fuzz.data[-1] & 1)
        answer_lines();
    else
        read_state();
}

static void make_daemon(struct daemon *d)
{
    *d = (struct daemon){.config = &fuzz.config};
    assert(!events_init(&d->events));
    jobs_init(&d->jobs, &d->events);
    catalog_init(&d->catalog);
}

static void prepare(void)
{
    assert(!config_init(&fuzz.config));
    make_daemon(&fuzz.daemon);
    make_daemon(&fuzz.reader);
    assert(!state_decode(&fuzz.daemon, remembered, strlen(remembered), NULL));
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    fuzz_runtime_start(prepare);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size || size > RPC_LINE_MAX)
        return 0;
    fuzz.data = (const char *)data + 1;
    fuzz.size = size - 1;
    fuzz_runtime_run(deal);
    return 0;
}
