/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Errors: every call that can fail returns 0 or -errno. A control call (create, assemble, parse)
 * also takes a `struct error *`, which the place that knows the reason fills in, once; NULL means
 * that the caller does not care.
 */
#ifndef ASHLAR_BASE_ERROR_H
#define ASHLAR_BASE_ERROR_H

struct error {
    int code;       /* positive errno, 0 while unset */
    char text[512]; /* one sentence without a final stop: what failed and why */
};

/* Fills in *err (unless NULL) and returns -code, so that `return error_set(err, EINVAL, "...")`
 * reads well. */
int error_set(struct error *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "PREFIX: " before the text that is there (or before strerror(-rc) when there is none);
 * returns rc. */
int error_prefix(struct error *err, int rc, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
