/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * LVM2's text format as a tree, for metadata: sections `name { ... }`, `key = value` and
 * `key = [value, ...]`, where a value is a number or a quoted string; comments from # to the end of
 * the line. Pure. What comes from a disk is bounded: length by the caller, depth and number of
 * nodes here. Source: LVM2 libdm/libdm-config.c.
 */
#ifndef ASHLAR_LVM_CONFIG_H
#define ASHLAR_LVM_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "lvm/arena.h"

#define CONFIG_DEPTH_MAX 16
#define CONFIG_NODES_MAX (4u << 20)

struct config_value {
    const char *text; /* NULL: a number */
    int64_t number;
};

/* A section (children), or a key with values; siblings are linked in the order of the text. */
struct config_node {
    const char *key;
    struct config_node *next, *children;
    bool section;
    bool array; /* written in [ ] */
    unsigned value_count;
    struct config_value *values;
};

/* The top-level nodes of `length` bytes (a NUL ends the text early), in arena `a`. -EBADMSG with
 * the line, -ENOMEM. */
int config_parse(struct arena *a, const char *text, size_t length, struct config_node **nodes,
    struct error *err);

/* First of the siblings with that key, or NULL. */
struct config_node *config_find(struct config_node *nodes, const char *key);
/* Like find, and unlinks it from the siblings: what is left at the end is what nobody asked for. */
struct config_node *config_take(struct config_node **nodes, const char *key);

/* Text that grows: indented with comments (a backup file), or bare (on disk). */
struct config_writer {
    char *text; /* malloc'd, NUL-terminated */
    size_t length, room;
    unsigned depth;
    bool comments;
    bool failed; /* out of memory: text is NULL */
};

/* A line, indented by the depth where comments are wanted. */
void config_line(struct config_writer *w, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Where comments are wanted, `comment` (a tab and "# ...") follows on the line. */
void config_line_comment(struct config_writer *w, const char *comment, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void config_blank(struct config_writer *w);
void config_open(struct config_writer *w, const char *key);
void config_close(struct config_writer *w);
/* `key = "text"`, escaped. */
void config_put_text(struct config_writer *w, const char *key, const char *text);
void config_put_text_comment(
    struct config_writer *w, const char *comment, const char *key, const char *text);
/* `key = ["a", "b"]` on one line. */
void config_put_list(
    struct config_writer *w, const char *key, const char *const *items, unsigned count);
/* Nodes as they were parsed, with all below them. */
void config_put_nodes(struct config_writer *w, const struct config_node *nodes);

#endif
