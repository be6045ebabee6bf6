/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "raid/layout.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arith.h"

/* md's codes for what is not a RAID level. */
#define MD_LEVEL_LINEAR    (-1)
#define MD_LEVEL_MULTIPATH (-4)
#define MD_LEVEL_FAULTY    (-5)
#define MD_LEVEL_CONTAINER (-100)

static const struct {
    int level;
    const char *name, *alias;
} levels[] = {
    {0, "raid0", "stripe"},
    {1, "raid1", "mirror"},
    {4, "raid4", NULL},
    {5, "raid5", NULL},
    {6, "raid6", NULL},
    {10, "raid10", NULL},
    {MD_LEVEL_LINEAR, "linear", NULL},
    {MD_LEVEL_MULTIPATH, "multipath", NULL},
    {MD_LEVEL_FAULTY, "faulty", NULL},
    {MD_LEVEL_CONTAINER, "container", NULL},
};

struct layout_name {
    uint32_t layout;
    const char *name, *alias;
};

static const struct layout_name raid0_layouts[] = {
    {RAID0_LAYOUT_ORIGINAL, "original", NULL},
    {RAID0_LAYOUT_ALTERNATE, "alternate", NULL},
};

/* RAID6's; the first RAID5_LAYOUTS are RAID5's too. */
static const struct layout_name parity_layouts[] = {
    {RAID5_LAYOUT_LEFT_ASYMMETRIC, "left-asymmetric", "la"},
    {RAID5_LAYOUT_RIGHT_ASYMMETRIC, "right-asymmetric", "ra"},
    {RAID5_LAYOUT_LEFT_SYMMETRIC, "left-symmetric", "ls"},
    {RAID5_LAYOUT_RIGHT_SYMMETRIC, "right-symmetric", "rs"},
    {RAID5_LAYOUT_PARITY_FIRST, "parity-first", NULL},
    {RAID5_LAYOUT_PARITY_LAST, "parity-last", NULL},
    {RAID6_LAYOUT_DDF_ZERO_RESTART, "ddf-zero-restart", NULL},
    {RAID6_LAYOUT_DDF_N_RESTART, "ddf-N-restart", NULL},
    {RAID6_LAYOUT_DDF_N_CONTINUE, "ddf-N-continue", NULL},
    {RAID6_LAYOUT_Q_LAST | RAID5_LAYOUT_LEFT_ASYMMETRIC, "left-asymmetric-6", NULL},
    {RAID6_LAYOUT_Q_LAST | RAID5_LAYOUT_RIGHT_ASYMMETRIC, "right-asymmetric-6", NULL},
    {RAID6_LAYOUT_Q_LAST | RAID5_LAYOUT_LEFT_SYMMETRIC, "left-symmetric-6", NULL},
    {RAID6_LAYOUT_Q_LAST | RAID5_LAYOUT_RIGHT_SYMMETRIC, "right-symmetric-6", NULL},
    {RAID6_LAYOUT_Q_LAST | RAID5_LAYOUT_PARITY_FIRST, "parity-first-6", NULL},
};
#define RAID5_LAYOUTS 6u

int raid_level_parse(const char *text, int *level, struct error *err)
{
    for (unsigned i = 0; i < ARRAY_LEN(levels) && levels[i].level >= 0; i++) {
        const char *number = levels[i].name + strlen("raid");
        if (strcmp(text, levels[i].name) && strcmp(text, number) &&
            (!levels[i].alias || strcmp(text, levels[i].alias)))
            continue;
        *level = levels[i].level;
        return 0;
    }
    return error_set(err, EINVAL, "'%s' is no RAID level", text);
}

const char *raid_level_name(int level)
{
    for (unsigned i = 0; i < ARRAY_LEN(levels); i++)
        if (levels[i].level == level)
            return levels[i].name;
    return "unknown level";
}

/* The named layouts of a level but RAID10, whose names are made up of numbers. */
static const struct layout_name *names_of(int level, unsigned *count)
{
    switch (level) {
    case 0:
        *count = ARRAY_LEN(raid0_layouts);
        return raid0_layouts;
    case 5:
        *count = RAID5_LAYOUTS;
        return parity_layouts;
    case 6:
        *count = ARRAY_LEN(parity_layouts);
        return parity_layouts;
    default:
        *count = 0;
        return NULL;
    }
}

uint32_t raid_layout_default(int level)
{
    switch (level) {
    case 0:
        return RAID0_LAYOUT_ORIGINAL;
    case 5:
    case 6:
        return RAID5_LAYOUT_LEFT_SYMMETRIC;
    case 10:
        return RAID10_LAYOUT_NEAR(2);
    default:
        return 0;
    }
}

/* "near2": a word or its first letter, and a number of copies. */
static int raid10_parse(const char *text, uint32_t *layout, struct error *err)
{
    static const char *const words[] = {"near", "far", "offset"};
    unsigned copies = 0;

    for (unsigned i = 0; i < ARRAY_LEN(words); i++) {
        size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyz");
        if (len != 1 && len != strlen(words[i]))
            continue;
        if (strncmp(text, words[i], len) || strspn(text + len, "0123456789") != strlen(text + len))
            continue;
        copies = (unsigned)strtoul(text + len, NULL, 10);
        if (strlen(text + len) > 3 || copies < 2 || copies > 255)
            break;
        *layout = i == 0 ? RAID10_LAYOUT_NEAR(copies)
                         : RAID10_LAYOUT_FAR(copies) | (i == 2 ? RAID10_LAYOUT_OFFSET : 0);
        return 0;
    }
    return error_set(err, EINVAL,
        "'%s' is no layout of raid10: near, far or offset and a number of copies, as in near2",
        text);
}

static int named_parse(int level, const char *text, uint32_t *layout, struct error *err)
{
    unsigned count;
    const struct layout_name *names = names_of(level, &count);
    char all[256] = "";

    if (!count)
        return error_set(err, EINVAL, "%s has no layouts", raid_level_name(level));
    for (unsigned i = 0; i < count; i++) {
        if (!strcmp(text, names[i].name) || (names[i].alias && !strcmp(text, names[i].alias))) {
            *layout = names[i].layout;
            return 0;
        }
        strncat(all, " ", sizeof all - strlen(all) - 1);
        strncat(all, names[i].name, sizeof all - strlen(all) - 1);
    }
    return error_set(
        err, EINVAL, "'%s' is no layout of %s, which has%s", text, raid_level_name(level), all);
}

int raid_layout_parse(int level, const char *text, uint32_t *layout, struct error *err)
{
    if (text && *text)
        return level == 10 ? raid10_parse(text, layout, err)
                           : named_parse(level, text, layout, err);
    *layout = raid_layout_default(level);
    return 0;
}

static void raid10_format(uint32_t layout, char *buf, unsigned len)
{
    unsigned near = raid10_near_copies(layout), far = raid10_far_copies(layout);
    const char *word = layout & RAID10_LAYOUT_OFFSET ? "offset" : "far";
    unsigned mode = layout >> 17;
    char sets[16] = "";

    if (mode)
        snprintf(sets, sizeof sets, ",sets%u", mode);
    if (far == 1)
        snprintf(buf, len, "near%u%s", near, sets);
    else if (near == 1)
        snprintf(buf, len, "%s%u%s", word, far, sets);
    else
        snprintf(buf, len, "near%u,%s%u%s", near, word, far, sets);
}

char *raid_layout_format(int level, uint32_t layout, char *buf, unsigned len)
{
    unsigned count;
    const struct layout_name *names = names_of(level, &count);

    if (level == 10) {
        raid10_format(layout, buf, len);
        return buf;
    }
    if (count)
        snprintf(buf, len, "layout %u", layout);
    else
        snprintf(buf, len, "-");
    for (unsigned i = 0; i < count; i++)
        if (names[i].layout == layout)
            snprintf(buf, len, "%s", names[i].name);
    return buf;
}
