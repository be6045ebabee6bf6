/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "check_text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 8u

static void skip_space(struct check_text *t)
{
    while (t->at < t->end) {
        if (*t->at == '#')
            while (t->at < t->end && *t->at != '\n')
                t->at++;
        else if (isspace((unsigned char)*t->at))
            t->at++;
        else
            return;
    }
}

static bool next_is(struct check_text *t, char c)
{
    skip_space(t);
    if (t->at == t->end || *t->at != c)
        return false;
    t->at++;
    return true;
}

/* 0: out of memory. */
static unsigned add_node(struct check_text *t, enum check_node_kind kind)
{
    if (t->count == t->room) {
        unsigned room = t->room ? 2 * t->room : 256;
        void *nodes = realloc(t->nodes, room * sizeof *t->nodes);
        if (!nodes)
            return 0;
        t->nodes = nodes;
        t->room = room;
    }
    t->nodes[t->count] = (struct check_node){.kind = kind};
    return t->count++;
}

/* After *last, or as the parent's first. */
static void append(struct check_text *t, unsigned parent, unsigned *last, unsigned node)
{
    if (*last)
        t->nodes[*last].next = node;
    else
        t->nodes[parent].first = node;
    *last = node;
}

static const char *parse_number(struct check_text *t, unsigned node)
{
    const char *start = t->at;

    if (t->at < t->end && *t->at == '-')
        t->at++;
    for (; t->at < t->end && isdigit((unsigned char)*t->at); t->at++)
        t->nodes[node].number = 10 * t->nodes[node].number + (uint64_t)(*t->at - '0');
    return t->at - start > 0 && t->at - start < 20 ? NULL : "a value that is none";
}

static const char *parse_string(struct check_text *t, unsigned node)
{
    const char *start = ++t->at;

    for (; t->at < t->end && *t->at != '"'; t->at++)
        if (*t->at == '\\')
            t->at++;
    if (t->at >= t->end)
        return "a string without an end";
    t->nodes[node].text = start;
    t->nodes[node].text_bytes = (size_t)(t->at++ - start);
    return NULL;
}

static const char *parse_item(struct check_text *t, unsigned *node)
{
    bool string;

    skip_space(t);
    string = t->at < t->end && *t->at == '"';
    *node = add_node(t, string ? CHECK_STRING : CHECK_NUMBER);
    if (!*node)
        return "out of memory";
    return string ? parse_string(t, *node) : parse_number(t, *node);
}

static const char *parse_list(struct check_text *t, unsigned list)
{
    unsigned last = 0, item;
    const char *why;

    if (next_is(t, ']'))
        return NULL;
    do {
        why = parse_item(t, &item);
        if (why)
            return why;
        append(t, list, &last, item);
    } while (next_is(t, ','));
    return next_is(t, ']') ? NULL : "a list without an end";
}

static const char *parse_value(struct check_text *t, unsigned *node)
{
    if (!next_is(t, '['))
        return parse_item(t, node);
    *node = add_node(t, CHECK_LIST);
    return *node ? parse_list(t, *node) : "out of memory";
}

static const char *parse_section(struct check_text *t, unsigned section, unsigned depth);

static const char *parse_member(struct check_text *t, unsigned *node, unsigned depth)
{
    const char *key = t->at, *why;
    size_t bytes;

    while (t->at < t->end && !isspace((unsigned char)*t->at) && !strchr("={}[]\"#,", *t->at))
        t->at++;
    bytes = (size_t)(t->at - key);
    if (!bytes)
        return "something that is no key";
    if (next_is(t, '{')) {
        *node = add_node(t, CHECK_SECTION);
        why = *node ? parse_section(t, *node, depth + 1) : "out of memory";
    } else if (next_is(t, '=')) {
        why = parse_value(t, node);
    } else {
        return "a key without a value";
    }
    if (!why) {
        t->nodes[*node].key = key;
        t->nodes[*node].key_bytes = bytes;
    }
    return why;
}

/* Up to its closing brace; the whole text to its end. */
static const char *parse_section(struct check_text *t, unsigned section, unsigned depth)
{
    unsigned last = 0, node;
    const char *why;

    if (depth > DEPTH_MAX)
        return "sections too deep";
    for (;;) {
        skip_space(t);
        if (t->at == t->end)
            return depth ? "a section without an end" : NULL;
        if (depth && next_is(t, '}'))
            return NULL;
        why = parse_member(t, &node, depth);
        if (why)
            return why;
        append(t, section, &last, node);
    }
}

const char *check_text_parse(struct check_text *t, const char *text, size_t bytes)
{
    *t = (struct check_text){.at = text, .end = text + bytes};
    add_node(t, CHECK_SECTION);
    return t->count ? parse_section(t, 0, 0) : "out of memory";
}

void check_text_free(struct check_text *t)
{
    free(t->nodes);
}

static bool is(const char *bytes, size_t length, const char *text)
{
    return strlen(text) == length && memcmp(bytes, text, length) == 0;
}

unsigned check_text_find(
    const struct check_text *t, unsigned section, const char *key, enum check_node_kind kind)
{
    unsigned i = t->nodes[section].first;

    while (i && !(t->nodes[i].kind == kind && is(t->nodes[i].key, t->nodes[i].key_bytes, key)))
        i = t->nodes[i].next;
    return i;
}

uint64_t check_text_number(
    const struct check_text *t, unsigned section, const char *key, uint64_t otherwise)
{
    unsigned node = check_text_find(t, section, key, CHECK_NUMBER);

    return node ? t->nodes[node].number : otherwise;
}

bool check_text_repeats(const struct check_text *t, unsigned section)
{
    for (unsigned i = t->nodes[section].first; i; i = t->nodes[i].next)
        for (unsigned k = t->nodes[i].next; k; k = t->nodes[k].next)
            if (t->nodes[i].key_bytes == t->nodes[k].key_bytes &&
                memcmp(t->nodes[i].key, t->nodes[k].key, t->nodes[i].key_bytes) == 0)
                return true;
    return false;
}

bool check_text_is(const struct check_text *t, unsigned string, const char *text)
{
    const struct check_node *n = &t->nodes[string];

    return n->kind == CHECK_STRING && is(n->text, n->text_bytes, text);
}

static bool copy(const char *from, size_t bytes, char *to, size_t room)
{
    if (bytes >= room)
        return false;
    memcpy(to, from, bytes);
    to[bytes] = '\0';
    return true;
}

bool check_text_copy_key(const struct check_text *t, unsigned node, char *to, size_t room)
{
    return copy(t->nodes[node].key, t->nodes[node].key_bytes, to, room);
}

bool check_text_copy(const struct check_text *t, unsigned string, char *to, size_t room)
{
    const struct check_node *n = &t->nodes[string];

    return n->kind == CHECK_STRING && copy(n->text, n->text_bytes, to, room);
}

unsigned check_text_items(const struct check_text *t, unsigned list)
{
    unsigned count = 0;

    for (unsigned i = t->nodes[list].first; i; i = t->nodes[i].next)
        count++;
    return count;
}
