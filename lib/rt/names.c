/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names are gathered in one text; packed, the pointers come first, then the text. */
#include "rt/names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int make_room(struct names *n, size_t bytes)
{
    size_t room = 2 * (n->bytes + bytes);
    char *text;

    if (n->room_bytes - n->bytes >= bytes)
        return 0;
    text = realloc(n->text, room);
    if (!text)
        return -ENOMEM;
    n->text = text;
    n->room_bytes = room;
    return 0;
}

int names_add(struct names *n, const char *directory, const char *name)
{
    size_t prefix = directory ? strlen(directory) + 1 : 0, bytes = strlen(name) + 1;
    int rc = make_room(n, prefix + bytes);

    if (rc < 0)
        return rc;
    if (directory) {
        memcpy(n->text + n->bytes, directory, prefix - 1);
        n->text[n->bytes + prefix - 1] = '/';
    }
    memcpy(n->text + n->bytes + prefix, name, bytes);
    n->bytes += prefix + bytes;
    n->count++;
    return 0;
}

int names_pack(const struct names *n, char ***packed)
{
    size_t pointers_bytes = (n->count + 1) * sizeof(char *);
    char **names = malloc(pointers_bytes + n->bytes), *text;

    if (!names)
        return -ENOMEM;
    text = (char *)names + pointers_bytes;
    if (n->bytes)
        memcpy(text, n->text, n->bytes);
    for (size_t i = 0; i < n->count; i++) {
        names[i] = text;
        text += strlen(text) + 1;
    }
    names[n->count] = NULL;
    *packed = names;
    return 0;
}

void names_free(struct names *n)
{
    free(n->text);
    *n = (struct names){0};
}
