/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * LVM2's text format as a tree: sections, numbers, strings, lists. Tolerant: what stands in it is
 * the concern of whoever walks it. Nodes point into the text, which has to stay.
 */
#ifndef ASHLAR_TESTS_SIM_CHECK_TEXT_H
#define ASHLAR_TESTS_SIM_CHECK_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum check_node_kind { CHECK_SECTION, CHECK_NUMBER, CHECK_STRING, CHECK_LIST };

/* Others are named by their index; 0 is the whole text, a section, so that 0 also says "none". */
struct check_node {
    enum check_node_kind kind;
    const char *key, *text; /* a list's items have no key; text: of a string, escapes as they are */
    size_t key_bytes, text_bytes;
    uint64_t number;
    unsigned first, next; /* child, sibling */
};

struct check_text {
    struct check_node *nodes;
    unsigned count, room;
    const char *at, *end;
};

/* Returns what is wrong, NULL: nothing. check_text_free in either case. */
const char *check_text_parse(struct check_text *t, const char *text, size_t bytes);
void check_text_free(struct check_text *t);

/* The child of a section with that key and of that kind; 0: there is none. */
unsigned check_text_find(
    const struct check_text *t, unsigned section, const char *key, enum check_node_kind kind);
uint64_t check_text_number(
    const struct check_text *t, unsigned section, const char *key, uint64_t otherwise);
/* Whether two children of the section have one key. */
bool check_text_repeats(const struct check_text *t, unsigned section);
bool check_text_is(const struct check_text *t, unsigned string, const char *text);
/* Key or string into room bytes; false when it is too long. */
bool check_text_copy_key(const struct check_text *t, unsigned node, char *to, size_t room);
bool check_text_copy(const struct check_text *t, unsigned string, char *to, size_t room);
unsigned check_text_items(const struct check_text *t, unsigned list);

#endif
