/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rpc/method.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"
#include "catalog.h"
#include "daemon.h"
#include "json.h"

#define TEXT_BYTES_MAX   4096
#define LIST_ENTRIES_MAX 1024

const struct rpc_method *const rpc_methods[] = {
    rpc_describe_methods,
    rpc_array_methods,
    rpc_scan_methods,
    rpc_vg_methods,
    rpc_pv_methods,
    rpc_volume_methods,
    rpc_volume_check_methods,
    rpc_snapshot_methods,
    rpc_volume_copy_methods,
    rpc_export_methods,
    rpc_job_methods,
    rpc_status_methods,
    rpc_events_methods,
    NULL,
};

static const struct rpc_param common_params[] = {
    {"dry_run", RPC_FLAG, false, "check everything, change nothing, say what would be done"},
};

static const char *const type_names[] = {[RPC_TEXT] = "string",
    [RPC_INTEGER] = "integer",
    [RPC_SECONDS] = "number",
    [RPC_FLAG] = "boolean",
    [RPC_LIST] = "list"};

const struct rpc_method *rpc_find_method(const char *name)
{
    for (unsigned noun = 0; rpc_methods[noun]; noun++)
        for (const struct rpc_method *m = rpc_methods[noun]; m->name; m++)
            if (!strcmp(m->name, name))
                return m;
    return NULL;
}

static const struct rpc_param *find_param(const struct rpc_method *m, const char *name)
{
    for (const struct rpc_param *p = m->params; p->name; p++)
        if (!strcmp(p->name, name))
            return p;
    if (m->flags & RPC_DISKS && !strcmp(name, common_params[0].name))
        return &common_params[0];
    return NULL;
}

/* What is wrong with a value, or NULL. */
static const char *bad_text(const json_t *value)
{
    const char *s = json_string_value(value);

    if (!s)
        return "is not a string";
    if (!*s)
        return "is empty";
    if (json_string_length(value) > TEXT_BYTES_MAX)
        return "is too long";
    for (; *s; s++)
        if ((unsigned char)*s < ' ' || *s == 127)
            return "has control characters";
    return NULL;
}

static const char *bad_list(const json_t *value, bool required)
{
    if (!json_is_array(value))
        return "is not a list";
    if (required && json_array_size(value) == 0)
        return "is an empty list";
    if (json_array_size(value) > LIST_ENTRIES_MAX)
        return "is too long a list";
    for (size_t i = 0; i < json_array_size(value); i++)
        if (bad_text(json_array_get(value, i)))
            return "is not a list of plain strings";
    return NULL;
}

static const char *bad_value(const struct rpc_param *p, const json_t *value)
{
    switch (p->type) {
    case RPC_TEXT:
        return bad_text(value);
    case RPC_INTEGER:
        if (!json_is_integer(value))
            return "is not a whole number below 2^63";
        return json_integer_value(value) < 0 ? "is negative" : NULL;
    case RPC_SECONDS:
        if (!json_is_number(value))
            return "is not a number";
        if (json_number_value(value) < 0)
            return "is negative";
        return json_number_value(value) > RPC_SECONDS_MAX ? "is too long" : NULL;
    case RPC_FLAG:
        return json_is_boolean(value) ? NULL : "is not true or false";
    case RPC_LIST:
        return bad_list(value, p->required);
    }
    return "is of no known type";
}

int rpc_check_params(const struct rpc_method *m, json_t *params, struct error *err)
{
    const char *name;
    json_t *value;

    json_object_foreach (params, name, value) {
        const struct rpc_param *p = find_param(m, name);
        const char *bad = p ? bad_value(p, value) : NULL;

        if (!p)
            return error_set(err, EINVAL, "%s has no parameter \"%.60s\"", m->name, name);
        if (bad)
            return error_set(err, EINVAL, "%s: parameter \"%s\" %s", m->name, name, bad);
    }
    for (const struct rpc_param *p = m->params; p->name; p++)
        if (p->required && !json_object_get(params, p->name))
            return error_set(err, EINVAL, "%s: parameter \"%s\" is missing", m->name, p->name);
    return 0;
}

static json_t *error_object(int code, const struct error *err)
{
    const char *name = strerrorname_np(err->code);

    return json_pack("{s:i, s:o, s:{s:s}}", "code", code, "message", json_text(err->text), "data",
        "errno", name ? name : "EIO");
}

/* Takes over id, result and error. */
static char *answer_text(json_t *id, json_t *result, json_t *error)
{
    json_t *answer = json_pack("{s:s, s:o, s:o*, s:o*}", "jsonrpc", "2.0", "id",
        id ? id : json_null(), "result", result, "error", error);
    char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;

    json_decref(answer);
    return text;
}

char *rpc_error_line(int code, const char *text)
{
    struct error err;

    error_set(&err, EINVAL, "%s", text);
    return answer_text(NULL, NULL, error_object(code, &err));
}

static int run(struct rpc_call *call, const struct rpc_method *m)
{
    int rc;

    call->dry_run = rpc_flag(call, "dry_run");
    call->force = rpc_flag(call, "force");
    if (!(m->flags & RPC_CHANGES))
        return m->handler(call);
    catalog_change_begin(call->daemon);
    rc = m->handler(call);
    return catalog_change_end(call->daemon, rc, call->err);
}

/* Returns 0 or the code of the error in call->err. */
static int check_and_run(struct rpc_call *call, const json_t *method)
{
    const struct rpc_method *m = rpc_find_method(json_string_value(method));
    int rc;

    if (!m) {
        error_set(call->err, EOPNOTSUPP, "there is no method \"%.60s\"", json_string_value(method));
        return RPC_METHOD_NOT_FOUND;
    }
    if (!json_is_object(call->params)) {
        error_set(call->err, EINVAL, "%s: parameters are named (a JSON object)", m->name);
        return RPC_INVALID_PARAMS;
    }
    if (rpc_check_params(m, call->params, call->err))
        return RPC_INVALID_PARAMS;
    rc = run(call, m);
    if (rc == 0)
        return 0;
    if (!call->err->code)
        error_set(call->err, -rc, "%s: %s", m->name, strerror(-rc));
    return RPC_REFUSED;
}

/* NULL, or why this is no request. */
static const char *bad_request(const json_t *request)
{
    const json_t *id = json_object_get(request, "id");
    const char *version = json_string_value(json_object_get(request, "jsonrpc"));

    if (json_is_array(request))
        return "batches are refused: one request a line";
    if (!json_is_object(request))
        return "a request is a JSON object";
    if (!version || strcmp(version, "2.0"))
        return "\"jsonrpc\" must be \"2.0\"";
    if (!json_is_string(json_object_get(request, "method")))
        return "\"method\" must be a string";
    if (id && !json_is_string(id) && !json_is_number(id) && !json_is_null(id))
        return "\"id\" must be a string, a number or null";
    return NULL;
}

static char *answer_request(struct rpc_call *call, json_t *request)
{
    json_t *id = json_object_get(request, "id"), *params = json_object_get(request, "params");
    struct error err = {0};
    int code;

    call->params = params ? json_incref(params) : json_object();
    call->result = NULL;
    call->err = &err;
    code = check_and_run(call, json_object_get(request, "method"));
    json_decref(call->params);
    if (!id || code)
        json_decref(call->result);
    if (!id)
        return NULL;
    if (code)
        return answer_text(json_incref(id), NULL, error_object(code, &err));
    return answer_text(json_incref(id), call->result ? call->result : json_object(), NULL);
}

char *rpc_answer(struct rpc_call *call, const char *line, size_t length)
{
    struct error err = {0};
    const char *bad;
    json_t *request;
    char *answer;

    if (json_parse(line, length, &request, &err))
        return answer_text(NULL, NULL, error_object(RPC_PARSE_ERROR, &err));
    bad = bad_request(request);
    answer = bad ? rpc_error_line(RPC_INVALID_REQUEST, bad) : answer_request(call, request);
    json_decref(request);
    return answer;
}

const char *rpc_text(const struct rpc_call *call, const char *name)
{
    return json_string_value(json_object_get(call->params, name));
}

uint64_t rpc_integer(const struct rpc_call *call, const char *name, uint64_t absent)
{
    json_t *value = json_object_get(call->params, name);

    return value ? (uint64_t)json_integer_value(value) : absent;
}

double rpc_seconds(const struct rpc_call *call, const char *name, double absent)
{
    json_t *value = json_object_get(call->params, name);

    return value ? json_number_value(value) : absent;
}

bool rpc_flag(const struct rpc_call *call, const char *name)
{
    return json_is_true(json_object_get(call->params, name));
}

size_t rpc_list_size(const struct rpc_call *call, const char *name)
{
    return json_array_size(json_object_get(call->params, name));
}

const char **rpc_list(const struct rpc_call *call, const char *name)
{
    json_t *list = json_object_get(call->params, name);
    size_t count = json_array_size(list);
    const char **texts = calloc(count + 1, sizeof *texts);

    for (size_t i = 0; texts && i < count; i++)
        texts[i] = json_string_value(json_array_get(list, i));
    return texts;
}

int rpc_would(struct rpc_call *call, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (!call->result)
        call->result = json_pack("{s:[]}", "would");
    return json_array_append_new(json_object_get(call->result, "would"), json_string(text))
               ? -ENOMEM
               : 0;
}

int rpc_result(struct rpc_call *call, json_t *result)
{
    call->result = result;
    return result ? 0 : -ENOMEM;
}

static int describe_param(json_t *list, const struct rpc_param *p)
{
    return json_array_append_new(
        list, json_pack("{s:s, s:s, s:b, s:s}", "name", p->name, "type", type_names[p->type],
                  "required", p->required, "help", p->help));
}

static json_t *describe_method(const struct rpc_method *m)
{
    json_t *params = json_array();
    int bad = !params;

    for (const struct rpc_param *p = m->params; p->name; p++)
        bad |= describe_param(params, p);
    if (m->flags & RPC_DISKS)
        bad |= describe_param(params, &common_params[0]);
    if (bad) {
        json_decref(params);
        return NULL;
    }
    return json_pack("{s:s, s:o, s:s, s:b}", "name", m->name, "params", params, "help", m->help,
        "changes_disks", (m->flags & RPC_DISKS) != 0);
}

static int describe(struct rpc_call *call)
{
    json_t *methods = json_array();

    for (unsigned noun = 0; rpc_methods[noun]; noun++)
        for (const struct rpc_method *m = rpc_methods[noun]; m->name; m++)
            if (json_array_append_new(methods, describe_method(m))) {
                json_decref(methods);
                return -ENOMEM;
            }
    return rpc_result(call, json_pack("{s:s, s:o}", "version", ASHLAR_VERSION, "methods", methods));
}

const struct rpc_method rpc_describe_methods[] = {
    {"rpc.describe", "Lists the methods and their parameters.", 0, {{0}}, describe},
    {0},
};
