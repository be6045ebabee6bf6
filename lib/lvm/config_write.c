/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The writer of lvm/config.h. Running out of memory is remembered and told by `failed`. */
#include "lvm/config.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"

static bool reserve(struct config_writer *w, size_t more)
{
    if (w->failed)
        return false;
    if (w->length + more < w->room)
        return true;
    size_t room = MAX(w->room * 2, w->length + more + 4096);
    char *text = realloc(w->text, room);
    if (!text) {
        free(w->text);
        w->text = NULL;
        w->failed = true;
        return false;
    }
    w->text = text;
    w->room = room;
    return true;
}

static void put(struct config_writer *w, const char *text, size_t length)
{
    if (!reserve(w, length))
        return;
    memcpy(w->text + w->length, text, length);
    w->length += length;
    w->text[w->length] = 0;
}

static void put_string(struct config_writer *w, const char *text)
{
    put(w, text, strlen(text));
}

static void put_indent(struct config_writer *w)
{
    for (unsigned i = 0; w->comments && i < w->depth; i++)
        put(w, "\t", 1);
}

static void __attribute__((format(printf, 2, 0)))
put_formatted(struct config_writer *w, const char *fmt, va_list ap)
{
    va_list again;

    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    if (n < 0 || !reserve(w, (size_t)n))
        return;
    vsnprintf(w->text + w->length, (size_t)n + 1, fmt, ap);
    w->length += (size_t)n;
}

void config_line(struct config_writer *w, const char *fmt, ...)
{
    va_list ap;

    put_indent(w);
    va_start(ap, fmt);
    put_formatted(w, fmt, ap);
    va_end(ap);
    put(w, "\n", 1);
}

void config_line_comment(struct config_writer *w, const char *comment, const char *fmt, ...)
{
    va_list ap;

    put_indent(w);
    va_start(ap, fmt);
    put_formatted(w, fmt, ap);
    va_end(ap);
    put_string(w, w->comments ? comment : "");
    put(w, "\n", 1);
}

void config_blank(struct config_writer *w)
{
    put(w, "\n", 1);
}

void config_open(struct config_writer *w, const char *key)
{
    config_line(w, "%s {", key);
    w->depth++;
}

void config_close(struct config_writer *w)
{
    w->depth--;
    config_line(w, "}");
}

static void put_quoted(struct config_writer *w, const char *text)
{
    put(w, "\"", 1);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            put(w, "\\", 1);
        put(w, text, 1);
    }
    put(w, "\"", 1);
}

static void put_key(struct config_writer *w, const char *key)
{
    put_indent(w);
    put_string(w, key);
    put_string(w, " = ");
}

void config_put_text_comment(
    struct config_writer *w, const char *comment, const char *key, const char *text)
{
    put_key(w, key);
    put_quoted(w, text);
    put_string(w, w->comments ? comment : "");
    put(w, "\n", 1);
}

void config_put_text(struct config_writer *w, const char *key, const char *text)
{
    config_put_text_comment(w, "", key, text);
}

void config_put_list(
    struct config_writer *w, const char *key, const char *const *items, unsigned count)
{
    put_key(w, key);
    put(w, "[", 1);
    for (unsigned i = 0; i < count; i++) {
        put(w, ", ", i ? 2 : 0);
        put_quoted(w, items[i]);
    }
    put(w, "]\n", 2);
}

static void put_value(struct config_writer *w, const struct config_value *v)
{
    char number[24];

    if (v->text) {
        put_quoted(w, v->text);
        return;
    }
    snprintf(number, sizeof number, "%" PRId64, v->number);
    put_string(w, number);
}

static void put_values(struct config_writer *w, const struct config_node *n)
{
    put_key(w, n->key);
    put(w, "[", n->array);
    for (unsigned i = 0; i < n->value_count; i++) {
        put(w, ", ", i ? 2 : 0);
        put_value(w, &n->values[i]);
    }
    put(w, "]", n->array);
    put(w, "\n", 1);
}

void config_put_nodes(struct config_writer *w, const struct config_node *nodes)
{
    for (; nodes; nodes = nodes->next) {
        if (!nodes->section) {
            put_values(w, nodes);
            continue;
        }
        config_blank(w);
        config_open(w, nodes->key);
        config_put_nodes(w, nodes->children);
        config_close(w);
    }
}
