/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * JSON-RPC and the state file: whatever a line or the file holds, it is answered or refused. The
 * daemon has no disks, and methods that change something end at the check of their parameters (they
 * would open whatever path the fuzzer thinks of). The first byte chooses: a line, or a file.
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

static struct {
    struct config config;
    struct daemon daemon;
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

static void answer_line(void)
{
    struct rpc_call call = {.daemon = &fuzz.daemon};
    bool answer = true;
    json_t *request;
    char *text;

    if (json_parse(fuzz.data, fuzz.size, &request, NULL) == 0) {
        answer = harmless(request);
        json_decref(request);
    }
    if (!answer)
        return;
    co_event_init(&call.wake);
    co_event_set(&call.wake);
    text = rpc_answer(&call, fuzz.data, fuzz.size);
    assert(!text || !strchr(text, '\n'));
    free(text);
}

/* What was understood is written again as it was read. */
static void read_state(void)
{
    char *text, *again;

    if (state_decode(&fuzz.daemon, fuzz.data, fuzz.size, NULL) == 0) {
        text = state_encode(&fuzz.daemon);
        catalog_free(&fuzz.daemon.catalog);
        catalog_init(&fuzz.daemon.catalog);
        assert(text && state_decode(&fuzz.daemon, text, strlen(text), NULL) == 0);
        again = state_encode(&fuzz.daemon);
        assert(again && !strcmp(text, again));
        free(text);
        free(again);
    }
    catalog_free(&fuzz.daemon.catalog);
    catalog_init(&fuzz.daemon.catalog);
}

static void deal(void)
{
    if (fuzz.data[-1] & 1)
        answer_line();
    else
        read_state();
}

static void prepare(void)
{
    struct daemon *d = &fuzz.daemon;

    assert(!config_init(&fuzz.config));
    *d = (struct daemon){.config = &fuzz.config};
    assert(!events_init(&d->events));
    jobs_init(&d->jobs, &d->events);
    catalog_init(&d->catalog);
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
