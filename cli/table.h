/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tables and trees for people, by libsmartcols. */
#ifndef ASHLAR_CLI_TABLE_H
#define ASHLAR_CLI_TABLE_H

#include <stdbool.h>

struct table;
struct libscols_line;

/* Headings end with NULL; ">" before one aligns its column to the right. `tree`: the first column
 * is a tree. */
struct table *table_new(bool tree, const char *const *headings);
/* Cells for each column, ending with NULL; `parent` NULL: a root. */
struct libscols_line *table_row(
    struct table *t, struct libscols_line *parent, const char *const *cells);
/* Prints and frees. */
void table_print(struct table *t);

#define TABLE_ROW(t, parent, ...)                                                                  \
    table_row(t, parent, (const char *const[]){__VA_ARGS__, (const char *)0})
#define TABLE_NEW(tree, ...) table_new(tree, (const char *const[]){__VA_ARGS__, (const char *)0})

#endif
