/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "json.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Deepest nesting of brackets outside strings; right for valid JSON, a bound for anything else. */
static unsigned depth(const char *text, size_t length)
{
    unsigned level = 0, deepest = 0;
    bool in_string = false;

    for (size_t i = 0; i < length; i++) {
        char c = text[i];

        if (in_string && c == '\\')
            i++;
        else if (c == '"')
            in_string = !in_string;
        else if (!in_string && (c == '[' || c == '{') && ++level > deepest)
            deepest = level;
        else if (!in_string && (c == ']' || c == '}') && level > 0)
            level--;
    }
    return deepest;
}

int json_parse(const char *text, size_t length, json_t **json, struct error *err)
{
    json_error_t why;
    json_t *parsed;

    if (depth(text, length) > JSON_DEPTH_MAX)
        return error_set(err, EINVAL, "JSON nested deeper than %d", JSON_DEPTH_MAX);
    parsed = json_loadb(text, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why);
    if (parsed) {
        *json = parsed;
        return 0;
    }
    return error_set(err, json_error_code(&why) == json_error_out_of_memory ? ENOMEM : EINVAL,
        "not JSON: line %d, column %d: %s", why.line, why.column, why.text);
}

json_t *json_text(const char *text)
{
    json_t *json = json_string(text);
    char *clean;

    if (json || !text)
        return json;
    clean = strdup(text);
    for (char *c = clean; c && *c; c++)
        if ((unsigned char)*c >= 0x80)
            *c = '?';
    json = json_string(clean);
    free(clean);
    return json;
}
