/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * LVM2's identifiers: 32 characters of 0-9 a-z A-Z, written with dashes (6-4-4-4-4-4-6) in text and
 * without in labels. Pure. Source: LVM2 lib/uuid/uuid.c.
 */
#ifndef ASHLAR_LVM_UUID_H
#define ASHLAR_LVM_UUID_H

#include <stdbool.h>
#include <stdint.h>

#define LVM_UUID_CHARS      32 /* in labels */
#define LVM_UUID_TEXT_CHARS 38 /* with dashes */

/* One with dashes, NUL-terminated, out of 32 random bytes. */
void lvm_uuid_make(char text[LVM_UUID_TEXT_CHARS + 1], const uint8_t random[LVM_UUID_CHARS]);
/* False unless `text` is one with dashes. */
bool lvm_uuid_valid(const char *text);
/* Label form to text form; false, and *text untouched, when a character is none of the alphabet. */
bool lvm_uuid_from_label(char text[LVM_UUID_TEXT_CHARS + 1], const char label[LVM_UUID_CHARS]);
/* Text form (valid) to label form, no NUL. */
void lvm_uuid_to_label(char label[LVM_UUID_CHARS], const char *text);

#endif
