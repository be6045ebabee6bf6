/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/size.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char units[] = "KMGTPE";

static int unit_shift(const char *s, unsigned *shift)
{
    const char *u;

    *shift = 0;
    if (!*s || !strcmp(s, "B"))
        return 0;
    u = strchr(units, toupper((unsigned char)*s));
    if (!u)
        return -EINVAL;
    s++;
    if (*s && strcmp(s, "B") && strcmp(s, "iB") && strcmp(s, "b") && strcmp(s, "ib"))
        return -EINVAL;
    *shift = 10 * (unsigned)(u - units + 1);
    return 0;
}

int size_parse(const char *text, uint64_t *bytes)
{
    unsigned shift;
    char *end;
    int rc;

    if (!isdigit((unsigned char)*text))
        return -EINVAL;
    errno = 0;
    unsigned long long whole = strtoull(text, &end, 10);
    if (errno)
        return -ERANGE;
    long double fraction = 0;
    if (*end == '.') {
        char *digits = end;
        if (!isdigit((unsigned char)digits[1]))
            return -EINVAL;
        for (long double unit = 0.1L; isdigit((unsigned char)*++end); unit /= 10)
            fraction += unit * (*end - '0');
    }
    rc = unit_shift(end, &shift);
    if (rc)
        return rc;
    if (fraction != 0 && shift == 0)
        return -EINVAL;
    if (whole > (uint64_t)INT64_MAX >> shift)
        return -ERANGE;
    uint64_t part = (uint64_t)llroundl(ldexpl(fraction, (int)shift));
    if ((whole << shift) > (uint64_t)INT64_MAX - part)
        return -ERANGE;
    *bytes = (whole << shift) + part;
    return 0;
}

char *size_format(uint64_t bytes, char *buf, unsigned len)
{
    unsigned i = 0;
    double value = (double)bytes;

    while (value >= 1024 && i < sizeof units - 1) {
        value /= 1024;
        i++;
    }
    if (i == 0)
        snprintf(buf, len, "%u", (unsigned)bytes);
    else if (value < 1023.95 && value != floor(value) && value < 100)
        snprintf(buf, len, "%.1f%c", value, units[i - 1]);
    else
        snprintf(buf, len, "%.0f%c", value, units[i - 1]);
    return buf;
}
