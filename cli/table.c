/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "table.h"

#include <libsmartcols/libsmartcols.h>
#include <stdio.h>
#include <stdlib.h>

/* Nothing sensible is left to do for a command that cannot even print. */
static void *need(void *p)
{
    if (!p) {
        fputs("ashlar: out of memory\n", stderr);
        exit(1);
    }
    return p;
}

struct table *table_new(bool tree, const char *const *headings)
{
    struct libscols_table *t = need(scols_new_table());

    for (int i = 0; headings[i]; i++) {
        bool right = headings[i][0] == '>';
        int flags = (tree && i == 0 ? SCOLS_FL_TREE : 0) | (right ? SCOLS_FL_RIGHT : 0);
        need(scols_table_new_column(t, headings[i] + right, 0, flags));
    }
    return (struct table *)t;
}

struct libscols_line *table_row(
    struct table *t, struct libscols_line *parent, const char *const *cells)
{
    struct libscols_line *line = need(scols_table_new_line((struct libscols_table *)t, parent));

    for (size_t i = 0; cells[i]; i++)
        if (scols_line_set_data(line, i, cells[i]))
            need(NULL);
    return line;
}

void table_print(struct table *t)
{
    scols_print_table((struct libscols_table *)t);
    scols_unref_table((struct libscols_table *)t);
}
