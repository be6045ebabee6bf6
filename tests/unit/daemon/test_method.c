/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fixture.h"

#include <stdlib.h>
#include <string.h>

#include "rpc/method.h"

extern CU_TestInfo method_tests[];

/* The answer as a document; NULL: none. */
static json_t *ask(struct fixture *f, const char *line)
{
    struct rpc_call call = {.daemon = &f->daemon};
    json_t *json;
    char *text;

    co_event_init(&call.wake);
    text = rpc_answer(&call, line, strlen(line));
    if (!text)
        return NULL;
    CU_ASSERT_PTR_NULL(strchr(text, '\n'));
    json = json_loads(text, 0, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(json);
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(json, "jsonrpc")), "2.0");
    CU_ASSERT_PTR_NOT_NULL(json_object_get(json, "id"));
    free(text);
    return json;
}

/* That it is refused with the code, and the message contains `what`. */
static void refused(struct fixture *f, const char *line, int code, const char *what)
{
    json_t *answer = ask(f, line), *error = json_object_get(answer, "error");
    const char *message = json_string_value(json_object_get(error, "message"));

    CU_ASSERT_EQUAL(json_integer_value(json_object_get(error, "code")), code);
    CU_ASSERT_PTR_NOT_NULL_FATAL(message);
    CU_ASSERT_PTR_NOT_NULL(strstr(message, what));
    CU_ASSERT_PTR_NOT_NULL(json_object_get(json_object_get(error, "data"), "errno"));
    CU_ASSERT_PTR_NULL(json_object_get(answer, "result"));
    json_decref(answer);
}

#define CALL(method, params)                                                                       \
    "{\"jsonrpc\": \"2.0\", \"id\": 1, \"method\": \"" method "\", \"params\": " params "}"

static void no_requests(struct fixture *f)
{
    refused(f, "{", RPC_PARSE_ERROR, "not JSON");
    refused(f, "\xff\xfe", RPC_PARSE_ERROR, "not JSON");
    refused(f, "{} {}", RPC_PARSE_ERROR, "not JSON");
    refused(f, "[[[[[[[[[[[[[[[[[[[[[[", RPC_PARSE_ERROR, "nested");
    refused(f, "[]", RPC_INVALID_REQUEST, "batches");
    refused(f, "[" CALL("status", "{}") "]", RPC_INVALID_REQUEST, "batches");
    refused(f, "7", RPC_INVALID_REQUEST, "object");
    refused(f, "{}", RPC_INVALID_REQUEST, "jsonrpc");
    refused(f, "{\"jsonrpc\": \"1.0\", \"id\": 1, \"method\": \"status\"}", RPC_INVALID_REQUEST,
        "jsonrpc");
    refused(f, "{\"jsonrpc\": \"2.0\", \"id\": 1}", RPC_INVALID_REQUEST, "method");
    refused(f, "{\"jsonrpc\": \"2.0\", \"id\": 1, \"method\": 7}", RPC_INVALID_REQUEST, "method");
    refused(
        f, "{\"jsonrpc\": \"2.0\", \"id\": [], \"method\": \"status\"}", RPC_INVALID_REQUEST, "id");
    refused(f, CALL("no.such", "{}"), RPC_METHOD_NOT_FOUND, "no.such");
    refused(f, CALL("", "{}"), RPC_METHOD_NOT_FOUND, "no method");
}

static void test_no_requests(void)
{
    fixture_run(no_requests);
}

static void bad_params(struct fixture *f)
{
    static const struct {
        const char *line, *what;
    } bad[] = {
        {CALL("array.show", "[\"a\"]"), "named"},
        {CALL("array.show", "null"), "named"},
        {CALL("array.show", "{}"), "\"name\" is missing"},
        {CALL("array.show", "{\"name\": 7}"), "not a string"},
        {CALL("array.show", "{\"name\": \"\"}"), "empty"},
        {CALL("array.show", "{\"name\": \"a\\n\"}"), "control"},
        {CALL("array.show", "{\"name\": \"a\", \"more\": 1}"), "\"more\""},
        {CALL("array.show", "{\"name\": \"a\", \"dry_run\": true}"), "\"dry_run\""},
        {CALL("array.stop", "{\"name\": \"a\", \"dry_run\": 1}"), "true or false"},
        {CALL("job.show", "{\"id\": -1}"), "negative"},
        {CALL("job.show", "{\"id\": 1.5}"), "whole number"},
        {CALL("job.show", "{\"id\": \"1\"}"), "whole number"},
        {CALL("job.show", "{\"id\": null}"), "whole number"},
        {CALL("job.wait", "{\"id\": 1, \"timeout_seconds\": \"1\"}"), "not a number"},
        {CALL("job.wait", "{\"id\": 1, \"timeout_seconds\": -0.5}"), "negative"},
        {CALL("job.wait", "{\"id\": 1, \"timeout_seconds\": 1e300}"), "too long"},
        {CALL("vg.create", "{\"vg\": \"v\", \"pvs\": []}"), "empty list"},
        {CALL("vg.create", "{\"vg\": \"v\", \"pvs\": \"/a\"}"), "not a list"},
        {CALL("vg.create", "{\"vg\": \"v\", \"pvs\": [\"/a\", 1]}"), "plain strings"},
        {CALL("vg.create", "{\"vg\": \"v\", \"pvs\": [\"/a\"], \"force\": \"yes\"}"),
            "true or false"},
    };

    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        refused(f, bad[i].line, RPC_INVALID_PARAMS, bad[i].what);
}

static void test_bad_params(void)
{
    fixture_run(bad_params);
}

static void long_params(struct fixture *f)
{
    char *line = malloc(20000);

    CU_ASSERT_PTR_NOT_NULL_FATAL(line);
    strcpy(line, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"array.show\",\"params\":{\"name\":\"");
    memset(line + strlen(line), 'x', 5000);
    strcpy(line +
               strlen("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"array.show\",\"params\":{"
                      "\"name\":\"") +
               5000,
        "\"}}");
    refused(f, line, RPC_INVALID_PARAMS, "too long");
    strcpy(line, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"vg.create\",\"params\":{\"vg\":\"v\","
                 "\"pvs\":[\"/a\"");
    for (unsigned i = 0; i < 1024; i++)
        strcat(line, ",\"/a\"");
    strcat(line, "]}}");
    refused(f, line, RPC_INVALID_PARAMS, "too long");
    free(line);
}

static void test_long_params(void)
{
    fixture_run(long_params);
}

static void refusals(struct fixture *f)
{
    refused(f, CALL("array.show", "{\"name\": \"a\"}"), RPC_REFUSED, "there is no array a");
    refused(f, CALL("job.show", "{\"id\": 5}"), RPC_REFUSED, "there is no job 5");
    refused(f, CALL("vg.show", "{\"vg\": \"v\"}"), RPC_REFUSED, "there is no volume group v");
    refused(f, CALL("volume.resize", "{\"vg\": \"v\", \"name\": \"n\", \"size_bytes\": 1}"),
        RPC_REFUSED, "there is no volume group v");
    refused(f, CALL("export.add", "{\"target\": \"v/n\", \"type\": \"carrier-pigeon\"}"),
        RPC_REFUSED, "carrier-pigeon");
    refused(f, CALL("export.remove", "{\"target\": \"v/n\"}"), RPC_REFUSED, "not exported");
    refused(f, CALL("array.create", "{\"name\": \"a\", \"level\": 4, \"members\": [\"/a\"]}"),
        RPC_REFUSED, "levels");
    refused(f, CALL("array.create", "{\"name\": \"a/b\", \"level\": 1, \"members\": [\"/a\"]}"),
        RPC_REFUSED, "no name for an array");
    refused(f, CALL("array.create", "{\"name\": \"a\", \"level\": 1, \"members\": [\"a\"]}"),
        RPC_REFUSED, "absolute");
}

static void test_refusals(void)
{
    fixture_run(refusals);
}

static void answers(struct fixture *f)
{
    json_t *answer;

    answer = ask(f, "{\"jsonrpc\": \"2.0\", \"id\": \"x\", \"method\": \"job.list\"}");
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(answer, "id")), "x");
    CU_ASSERT(json_is_array(json_object_get(json_object_get(answer, "result"), "jobs")));
    json_decref(answer);
    answer = ask(f, "{\"jsonrpc\": \"2.0\", \"id\": null, \"method\": \"status\", \"params\": {}}");
    CU_ASSERT(json_is_null(json_object_get(answer, "id")));
    CU_ASSERT(json_is_array(json_object_get(json_object_get(answer, "result"), "arrays")));
    json_decref(answer);
}

static void test_answers(void)
{
    fixture_run(answers);
}

/* A request without id is done, and never answered. */
static void notifications(struct fixture *f)
{
    CU_ASSERT_PTR_NULL(ask(f, "{\"jsonrpc\": \"2.0\", \"method\": \"status\"}"));
    CU_ASSERT_PTR_NULL(ask(f, "{\"jsonrpc\": \"2.0\", \"method\": \"no.such\"}"));
    CU_ASSERT_PTR_NULL(
        ask(f, "{\"jsonrpc\": \"2.0\", \"method\": \"job.show\", \"params\": {\"id\": -1}}"));
}

static void test_notifications(void)
{
    fixture_run(notifications);
}

static bool takes_dry_run(json_t *params)
{
    json_t *p;
    size_t i;

    json_array_foreach (params, i, p) {
        CU_ASSERT(strlen(json_string_value(json_object_get(p, "help"))) > 0);
        if (!strcmp(json_string_value(json_object_get(p, "name")), "dry_run"))
            return true;
    }
    return false;
}

static void describes(struct fixture *f)
{
    json_t *answer = ask(f, CALL("rpc.describe", "{}")), *m;
    json_t *methods = json_object_get(json_object_get(answer, "result"), "methods");
    size_t i, total = 0;

    for (unsigned noun = 0; rpc_methods[noun]; noun++)
        for (const struct rpc_method *r = rpc_methods[noun]; r->name; r++)
            total++;
    CU_ASSERT_EQUAL(json_array_size(methods), total);
    json_array_foreach (methods, i, m) {
        CU_ASSERT(strlen(json_string_value(json_object_get(m, "help"))) > 0);
        CU_ASSERT_EQUAL(takes_dry_run(json_object_get(m, "params")),
            json_is_true(json_object_get(m, "changes_disks")));
    }
    json_decref(answer);
}

static void test_describes(void)
{
    fixture_run(describes);
}

CU_TestInfo method_tests[] = {
    {"what is no request", test_no_requests},
    {"parameters that do not fit", test_bad_params},
    {"parameters that are too long", test_long_params},
    {"what is refused", test_refusals},
    {"answers carry the id", test_answers},
    {"notifications are not answered", test_notifications},
    {"methods describe themselves", test_describes},
    CU_TEST_INFO_NULL,
};
