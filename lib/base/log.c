/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static _Atomic int max_level = LOG_INFORM;

void log_set_level(enum log_level level)
{
    max_level = (int)level;
}

void log_line(enum log_level level, const char *fmt, ...)
{
    char text[1024], line[1100];
    va_list ap;
    int n;

    if ((int)level > max_level)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (getenv("JOURNAL_STREAM"))
        n = snprintf(line, sizeof line, "<%d>%s\n", (int)level, text);
    else
        n = snprintf(line, sizeof line, "%s\n", text);
    /* One write a line, so that lines of several threads do not mix; nothing is to be done when it
     * fails. */
    if (n > 0 && write(STDERR_FILENO, line, (size_t)n) < 0)
        return;
}
