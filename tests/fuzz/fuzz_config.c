/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Configuration: a text is accepted or refused, with the line that is wrong; what comes out of it
 * is in range. The first byte chooses: a file, or one value (section, key and value on lines of
 * their own), which may hold what no line of a file can.
 */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "config.h"
#include "rt/worker.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int fd;
static char path[32];

static bool accepted(int rc, const struct error *err)
{
    assert(!rc || (rc == -EINVAL && err->text[0]));
    return !rc;
}

/* Refused with "FILE:LINE: reason", and never with a NUL in it. */
static bool read_file(struct config *c, const char *text, size_t length)
{
    struct error err = {0};
    unsigned line, lines = 1;
    bool good;

    assert(!ftruncate(fd, 0) && pwrite(fd, text, length, 0) == (ssize_t)length);
    good = accepted(config_read(c, path, &err), &err);
    for (size_t i = 0; i < length; i++)
        lines += text[i] == '\n';
    assert(!good || !memchr(text, 0, length));
    assert(good || sscanf(err.text + strlen(path), ":%u: ", &line) == 1);
    assert(good || (line >= 1 && line <= lines));
    return good;
}

static bool set_value(struct config *c, const char *text, size_t length)
{
    char *copy = strndup(text, length), *rest = copy;
    const char *section = strsep(&rest, "\n"), *key = rest ? strsep(&rest, "\n") : "";
    struct error err = {0};
    bool good = accepted(config_set(c, section, key, rest ? rest : "", &err), &err);

    free(copy);
    return good;
}

static void check(const struct config *c)
{
    assert(c->socket[0] == '/' && c->state_dir[0] == '/' && c->runtime_dir[0] == '/');
    assert(!c->engine || !strcmp(c->engine, "uring") || !strcmp(c->engine, "aio"));
    assert(c->workers >= 1 && c->workers < WORKERS_MAX);
    assert(c->log_level >= LOG_ERROR && c->log_level <= LOG_DETAIL);
    for (char **p = c->scan_paths; *p; p++)
        assert(**p == '/' && !strpbrk(*p, " \t"));
    assert(c->export_socket_mode <= 0777);
    assert(c->nbd_clients_max >= 1 && c->nbd_clients_max <= 65535);
    assert(c->archive_keep >= 1 && c->archive_keep <= 10000);
    assert(c->host);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    fd = memfd_create("ashlard.conf", MFD_CLOEXEC);
    assert(fd >= 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data + 1;
    struct config c;

    if (!size)
        return 0;
    assert(!config_init(&c));
    if (data[0] & 1 ? read_file(&c, text, size - 1) : set_value(&c, text, size - 1)) {
        assert(!config_finish(&c, NULL));
        check(&c);
    }
    config_free(&c);
    return 0;
}
