/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The parser: tokens, and over them one function per rule. The first thing wrong is told with its
 * line; every rule then returns at once, because the scanner has stopped at an error token.
 */
#include "lvm/config.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"

enum token { TOKEN_END, TOKEN_NAME, TOKEN_NUMBER, TOKEN_TEXT, TOKEN_MARK, TOKEN_BAD };

struct scanner {
    const char *at, *end;
    unsigned line;
    unsigned nodes; /* so far, values included */
    struct arena *arena;
    struct error *err;
    int rc;
    /* The token at hand. */
    enum token token;
    char mark;
    int64_t number;
    const char *text;
};

static void fail(struct scanner *s, int code, const char *what)
{
    if (!s->rc)
        s->rc = error_set(s->err, code, "metadata text, line %u: %s", s->line, what);
    s->token = TOKEN_BAD;
}

static void skip_blank(struct scanner *s)
{
    for (; s->at < s->end; s->at++) {
        if (*s->at == '#')
            s->at = memchr(s->at, '\n', (size_t)(s->end - s->at)) ?: s->end;
        if (s->at == s->end || !isspace((unsigned char)*s->at))
            return;
        s->line += *s->at == '\n';
    }
}

static bool name_char(char c)
{
    return isalnum((unsigned char)c) || (c && strchr("_+.-/@:!&", c));
}

/* The opening quote is at hand. */
static void scan_text(struct scanner *s)
{
    const char *start = ++s->at;
    size_t n = 0;

    while (s->at < s->end && *s->at && *s->at != '"' && *s->at != '\n') {
        s->at += *s->at == '\\' && s->end - s->at > 1 ? 2 : 1;
        n++;
    }
    if (s->at >= s->end || *s->at != '"') {
        fail(s, EBADMSG, "a quoted text does not end");
        return;
    }
    char *text = arena_get(s->arena, n + 1);
    if (!text) {
        fail(s, ENOMEM, "out of memory");
        return;
    }
    for (size_t i = 0; i < n; i++) {
        start += *start == '\\';
        text[i] = *start++;
    }
    s->at++;
    s->token = TOKEN_TEXT;
    s->text = text;
}

static bool looks_like_number(const char *text)
{
    text += *text == '-' || *text == '+';
    for (; isdigit((unsigned char)*text); text++)
        if (!text[1])
            return true;
    return false;
}

static void scan_name_or_number(struct scanner *s)
{
    const char *start = s->at;

    while (s->at < s->end && name_char(*s->at))
        s->at++;
    s->text = arena_text_n(s->arena, start, (size_t)(s->at - start));
    if (!s->text) {
        fail(s, ENOMEM, "out of memory");
        return;
    }
    s->token = TOKEN_NAME;
    if (!looks_like_number(s->text))
        return;
    errno = 0;
    s->number = strtoll(s->text, NULL, 10);
    s->token = TOKEN_NUMBER;
    if (errno)
        fail(s, EBADMSG, "a number is too large");
}

static void next(struct scanner *s)
{
    if (s->rc)
        return;
    skip_blank(s);
    if (s->at == s->end || !*s->at) {
        s->token = TOKEN_END;
    } else if (*s->at == '"') {
        scan_text(s);
    } else if (name_char(*s->at)) {
        scan_name_or_number(s);
    } else if (strchr("{}[]=,", *s->at)) {
        s->token = TOKEN_MARK;
        s->mark = *s->at++;
    } else {
        fail(s, EBADMSG, "an unexpected character");
    }
}

static bool at_mark(const struct scanner *s, char mark)
{
    return s->token == TOKEN_MARK && s->mark == mark;
}

static bool expect_mark(struct scanner *s, char mark, const char *what)
{
    if (!at_mark(s, mark)) {
        fail(s, EBADMSG, what);
        return false;
    }
    next(s);
    return true;
}

/* Everything that is kept passes here, so that a text cannot make us use memory without end. */
static bool count_node(struct scanner *s)
{
    if (++s->nodes > CONFIG_NODES_MAX)
        fail(s, EBADMSG, "too many keys and values");
    return !s->rc;
}

static void parse_value(struct scanner *s, struct config_value *v)
{
    if (s->token == TOKEN_TEXT)
        v->text = s->text;
    else if (s->token == TOKEN_NUMBER)
        v->number = s->number;
    else
        fail(s, EBADMSG, "a number or a quoted text is expected");
    next(s);
}

static bool append_value(struct scanner *s, struct config_node *n, unsigned *room)
{
    if (!count_node(s))
        return false;
    if (n->value_count == *room) {
        *room = MAX(4u, *room * 2);
        n->values = arena_grow(
            s->arena, n->values, n->value_count, *room - n->value_count, sizeof *n->values);
        if (!n->values) {
            fail(s, ENOMEM, "out of memory");
            return false;
        }
    }
    parse_value(s, &n->values[n->value_count++]);
    return !s->rc;
}

/* After "KEY =". */
static void parse_values(struct scanner *s, struct config_node *n)
{
    unsigned room = 0;

    n->array = at_mark(s, '[');
    if (!n->array) {
        append_value(s, n, &room);
        return;
    }
    next(s);
    while (!at_mark(s, ']')) {
        if (!append_value(s, n, &room))
            return;
        if (!at_mark(s, ']') && !expect_mark(s, ',', "a comma or ] is expected"))
            return;
    }
    next(s);
}

static struct config_node *parse_nodes(struct scanner *s, unsigned depth);

static struct config_node *parse_node(struct scanner *s, unsigned depth)
{
    struct config_node *n = count_node(s) ? arena_get(s->arena, sizeof *n) : NULL;

    if (!n) {
        fail(s, ENOMEM, "out of memory");
        return NULL;
    }
    n->key = s->text; /* a group may be called "1" */
    next(s);
    n->section = at_mark(s, '{');
    if (n->section) {
        next(s);
        n->children = parse_nodes(s, depth + 1);
        expect_mark(s, '}', "a section does not end");
    } else if (expect_mark(s, '=', "= or { is expected")) {
        parse_values(s, n);
    }
    return n;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A key twice in a section: nobody could say which one counts, and LVM2 never writes it. */
static void refuse_twice(struct scanner *s, const struct config_node *first, size_t count)
{
    const char **keys = calloc(count + 1, sizeof *keys);
    size_t used = 0;

    if (!keys) {
        fail(s, ENOMEM, "out of memory");
        return;
    }
    for (const struct config_node *n = first; n; n = n->next)
        keys[used++] = n->key;
    qsort(keys, count, sizeof *keys, compare_keys);
    for (size_t i = 1; i < count; i++)
        if (!strcmp(keys[i - 1], keys[i]))
            fail(s, EBADMSG, "a key stands twice in the section that ends here");
    free(keys);
}

/* Up to a closing brace or the end. */
static struct config_node *parse_nodes(struct scanner *s, unsigned depth)
{
    struct config_node *first = NULL, **link = &first;
    size_t count = 0;

    if (depth > CONFIG_DEPTH_MAX)
        fail(s, EBADMSG, "sections are nested too deeply");
    while (s->token == TOKEN_NAME || s->token == TOKEN_NUMBER) {
        struct config_node *n = parse_node(s, depth);

        if (!n)
            break;
        *link = n;
        link = &n->next;
        count++;
    }
    if (!s->rc)
        refuse_twice(s, first, count);
    return first;
}

int config_parse(
    struct arena *a, const char *text, size_t length, struct config_node **nodes, struct error *err)
{
    struct scanner s = {.at = text, .end = text + length, .line = 1, .arena = a, .err = err};

    next(&s);
    struct config_node *first = parse_nodes(&s, 0);
    if (s.token != TOKEN_END)
        fail(&s, EBADMSG, "a key is expected");
    if (s.rc)
        return s.rc;
    *nodes = first;
    return 0;
}

struct config_node *config_find(struct config_node *nodes, const char *key)
{
    while (nodes && strcmp(nodes->key, key) != 0)
        nodes = nodes->next;
    return nodes;
}

struct config_node *config_take(struct config_node **nodes, const char *key)
{
    for (; *nodes; nodes = &(*nodes)->next) {
        struct config_node *n = *nodes;

        if (strcmp(n->key, key) == 0) {
            *nodes = n->next;
            n->next = NULL;
            return n;
        }
    }
    return NULL;
}
