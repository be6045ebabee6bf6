/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int error_set(struct error *err, int code, const char *fmt, ...)
{
    va_list ap;

    if (!err)
        return -code;
    err->code = code;
    va_start(ap, fmt);
    vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    return -code;
}

int error_prefix(struct error *err, int rc, const char *fmt, ...)
{
    char old[sizeof err->text], head[200];
    va_list ap;

    if (!err)
        return rc;
    snprintf(old, sizeof old, "%s", err->code ? err->text : strerror(-rc));
    va_start(ap, fmt);
    vsnprintf(head, sizeof head, fmt, ap);
    va_end(ap);
    return error_set(err, -rc, "%s: %.300s", head, old);
}
