/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Log lines to standard error, with the "<N>" priority prefix that the journal understands when
 * standard error is the journal, without it on a terminal. Low layers do not log: a failure is
 * logged once, where it is handled.
 */
#ifndef ASHLAR_BASE_LOG_H
#define ASHLAR_BASE_LOG_H

enum log_level { LOG_ERROR = 3, LOG_WARN = 4, LOG_NOTICE = 5, LOG_INFORM = 6, LOG_DETAIL = 7 };

/* Lines above this level are dropped; LOG_INFORM at start. */
void log_set_level(enum log_level level);
void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...)   log_line(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARN, __VA_ARGS__)
#define log_notice(...)  log_line(LOG_NOTICE, __VA_ARGS__)
#define log_info(...)    log_line(LOG_INFORM, __VA_ARGS__)
#define log_debug(...)   log_line(LOG_DETAIL, __VA_ARGS__)

#endif
