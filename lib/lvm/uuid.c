/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lvm/uuid.h"

#include <string.h>

/* LVM2 also reads ! and #, which it has never written into new ones. */
static const char alphabet[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
static const char pattern[] = "xxxxxx-xxxx-xxxx-xxxx-xxxx-xxxx-xxxxxx";

static bool in_alphabet(char c)
{
    return c && (strchr(alphabet, c) || c == '!' || c == '#');
}

void lvm_uuid_make(char text[LVM_UUID_TEXT_CHARS + 1], const uint8_t random[LVM_UUID_CHARS])
{
    const uint8_t *r = random;

    for (unsigned i = 0; i < LVM_UUID_TEXT_CHARS; i++)
        text[i] = pattern[i] == '-' ? '-' : alphabet[*r++ % (sizeof alphabet - 1)];
    text[LVM_UUID_TEXT_CHARS] = 0;
}

bool lvm_uuid_valid(const char *text)
{
    for (unsigned i = 0; i < LVM_UUID_TEXT_CHARS; i++)
        if (pattern[i] == '-' ? text[i] != '-' : !in_alphabet(text[i]))
            return false;
    return !text[LVM_UUID_TEXT_CHARS];
}

bool lvm_uuid_from_label(char text[LVM_UUID_TEXT_CHARS + 1], const char label[LVM_UUID_CHARS])
{
    for (unsigned i = 0; i < LVM_UUID_CHARS; i++)
        if (!in_alphabet(label[i]))
            return false;
    for (unsigned i = 0; i < LVM_UUID_TEXT_CHARS; i++)
        text[i] = pattern[i] == '-' ? '-' : *label++;
    text[LVM_UUID_TEXT_CHARS] = 0;
    return true;
}

void lvm_uuid_to_label(char label[LVM_UUID_CHARS], const char *text)
{
    for (unsigned i = 0; i < LVM_UUID_TEXT_CHARS; i++)
        if (pattern[i] != '-')
            *label++ = text[i];
}
