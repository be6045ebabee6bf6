/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include <errno.h>
#include <grp.h>
#include <ini.h>
#include <pwd.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/arith.h"
#include "rt/worker.h"

#define WORKERS_DEFAULT_MAX 8
#define LINE_CHARS_MAX      196 /* inih's line buffer less line end and NUL */

struct key {
    const char *section, *name;
    size_t field;
    /* Writes to the field; NULL, or what is wrong with the value. */
    const char *(*set)(void *field, const char *value);
};

static const char *set_string(void *field, const char *value)
{
    char **s = field, *copy = strdup(value);

    if (!copy)
        return "out of memory";
    free(*s);
    *s = copy;
    return NULL;
}

static const char *set_path(void *field, const char *value)
{
    if (value[0] != '/')
        return "not an absolute path";
    return set_string(field, value);
}

static const char *set_engine(void *field, const char *value)
{
    if (strcmp(value, "uring") && strcmp(value, "aio"))
        return "not uring or aio";
    return set_string(field, value);
}

static const char *set_count(unsigned *field, const char *value, unsigned min, unsigned max)
{
    char *end;
    unsigned long n = strtoul(value, &end, 10);

    if (value[0] < '0' || value[0] > '9' || *end || n < min || n > max)
        return "not a number in the range allowed";
    *field = (unsigned)n;
    return NULL;
}

static const char *set_workers(void *field, const char *value)
{
    return set_count(field, value, 1, WORKERS_MAX - 1);
}

static const char *set_clients(void *field, const char *value)
{
    return set_count(field, value, 1, 65535);
}

static const char *set_keep(void *field, const char *value)
{
    return set_count(field, value, 1, 10000);
}

static const char *set_level(void *field, const char *value)
{
    static const struct {
        const char *name;
        enum log_level level;
    } levels[] = {{"error", LOG_ERROR}, {"warning", LOG_WARN}, {"notice", LOG_NOTICE},
        {"info", LOG_INFORM}, {"debug", LOG_DETAIL}};

    for (unsigned i = 0; i < ARRAY_LEN(levels); i++)
        if (!strcmp(value, levels[i].name)) {
            *(enum log_level *)field = levels[i].level;
            return NULL;
        }
    return "not error, warning, notice, info or debug";
}

static const char *set_bool(void *field, const char *value)
{
    static const char *const yes[] = {"yes", "true", "on", "1"}, *const no[] = {
                                                                     "no", "false", "off", "0"};

    for (unsigned i = 0; i < ARRAY_LEN(yes); i++)
        if (!strcasecmp(value, yes[i]) || !strcasecmp(value, no[i])) {
            *(bool *)field = !strcasecmp(value, yes[i]);
            return NULL;
        }
    return "not yes or no";
}

static const char *set_mode(void *field, const char *value)
{
    char *end;
    unsigned long mode = strtoul(value, &end, 8);

    if (value[0] < '0' || value[0] > '7' || *end || mode > 0777)
        return "not an octal mode";
    *(mode_t *)field = (mode_t)mode;
    return NULL;
}

static const char *set_user(void *field, const char *value)
{
    struct passwd *user = getpwnam(value);
    unsigned id;

    if (!user && set_count(&id, value, 0, INT32_MAX))
        return "no such user";
    *(uid_t *)field = user ? user->pw_uid : id;
    return NULL;
}

static const char *set_group(void *field, const char *value)
{
    struct group *group = getgrnam(value);
    unsigned id;

    if (!group && set_count(&id, value, 0, INT32_MAX))
        return "no such group";
    *(gid_t *)field = group ? group->gr_gid : id;
    return NULL;
}

/* Adds the words of the value; the key may be repeated, or its value go on in indented lines. */
static const char *set_list(void *field, const char *value)
{
    char ***list = field, *copy = strdup(value), *rest = copy, *word;
    const char *bad = copy ? NULL : "out of memory";
    size_t n = 0;

    while ((*list)[n])
        n++;
    while (!bad && (word = strsep(&rest, " \t"))) {
        char **longer;

        if (!*word)
            continue;
        longer = realloc(*list, (n + 2) * sizeof *longer);
        if (longer)
            *list = longer;
        if (*word != '/')
            bad = "not an absolute path";
        else if (!longer || !((*list)[n] = strdup(word)))
            bad = "out of memory";
        else
            (*list)[++n] = NULL;
    }
    if (*list)
        (*list)[n] = NULL;
    free(copy);
    return bad;
}

#define FIELD(name) offsetof(struct config, name)
static const struct key keys[] = {
    {"daemon", "socket", FIELD(socket), set_path},
    {"daemon", "state_dir", FIELD(state_dir), set_path},
    {"daemon", "runtime_dir", FIELD(runtime_dir), set_path},
    {"daemon", "workers", FIELD(workers), set_workers},
    {"daemon", "engine", FIELD(engine), set_engine},
    {"daemon", "log_level", FIELD(log_level), set_level},
    {"scan", "paths", FIELD(scan_paths), set_list},
    {"scan", "auto_assemble", FIELD(auto_assemble), set_bool},
    {"export", "socket_mode", FIELD(export_socket_mode), set_mode},
    {"export", "socket_owner", FIELD(export_socket_owner), set_user},
    {"export", "socket_group", FIELD(export_socket_group), set_group},
    {"export", "nbd_clients_max", FIELD(nbd_clients_max), set_clients},
    {"archive", "keep", FIELD(archive_keep), set_keep},
};

int config_init(struct config *c)
{
    *c = (struct config){
        .state_dir = strdup("/var/lib/ashlar"),
        .runtime_dir = strdup("/run/ashlar"),
        .log_level = LOG_INFORM,
        .scan_paths = calloc(1, sizeof(char *)),
        .auto_assemble = true,
        .export_socket_mode = 0600,
        .export_socket_owner = (uid_t)-1,
        .export_socket_group = (gid_t)-1,
        .nbd_clients_max = 64,
        .archive_keep = 50,
    };
    return c->state_dir && c->runtime_dir && c->scan_paths ? 0 : -ENOMEM;
}

void config_free(struct config *c)
{
    free(c->socket);
    free(c->state_dir);
    free(c->runtime_dir);
    free(c->engine);
    free(c->host);
    for (char **p = c->scan_paths; p && *p; p++)
        free(*p);
    free(c->scan_paths);
}

int config_set(
    struct config *c, const char *section, const char *key, const char *value, struct error *err)
{
    for (unsigned i = 0; i < ARRAY_LEN(keys); i++) {
        const char *bad;

        if (strcmp(section, keys[i].section) || strcmp(key, keys[i].name))
            continue;
        bad = keys[i].set((char *)c + keys[i].field, value);
        return bad ? error_set(err, EINVAL, "%s = %.100s: %s", key, value, bad) : 0;
    }
    return error_set(err, EINVAL, "unknown key %.50s in section [%.50s]", key, section);
}

/* A file being read. inih calls back without a line number: the line read last is the one. */
struct reading {
    struct config *config;
    FILE *file;
    int line;
    int bad_line; /* of the first error; 0: none so far */
    struct error why;
};

static void refuse_line(struct reading *r, const struct error *why)
{
    if (r->bad_line)
        return;
    r->bad_line = r->line;
    r->why = *why;
}

static char *next_line(char *text, int room, void *arg)
{
    struct reading *r = arg;
    struct error err;
    char *end;

    memset(text, ' ', (size_t)room);
    if (!fgets(text, room, r->file))
        return NULL;
    r->line++;
    end = memrchr(text, 0, (size_t)room); /* fgets's own NUL is the last */
    if (end == text + strlen(text) && end - text <= LINE_CHARS_MAX)
        return text;
    if (end - text > LINE_CHARS_MAX)
        error_set(&err, EINVAL, "longer than %d characters", LINE_CHARS_MAX);
    else
        error_set(&err, EINVAL, "holds a NUL");
    refuse_line(r, &err);
    return NULL;
}

static int on_value(void *arg, const char *section, const char *key, const char *value)
{
    struct reading *r = arg;
    struct error err;

    if (config_set(r->config, section, key, value, &err) == 0)
        return 1;
    refuse_line(r, &err);
    return 0;
}

int config_read(struct config *c, const char *path, struct error *err)
{
    struct reading r = {.config = c, .file = fopen(path, "re")};
    int line, failed;

    if (!r.file)
        return error_set(err, errno, "%s: %s", path, strerror(errno));
    line = ini_parse_stream(next_line, &r, on_value, &r);
    failed = ferror(r.file);
    fclose(r.file);
    if (failed)
        return error_set(err, EIO, "%s: cannot be read", path);
    if (r.bad_line && (line <= 0 || r.bad_line <= line))
        return error_set(err, EINVAL, "%s:%d: %s", path, r.bad_line, r.why.text);
    if (line)
        return error_set(err, EINVAL, "%s:%d: neither [section] nor key = value", path, line);
    return 0;
}

char *config_absolute(const char *path)
{
    char *here = path[0] == '/' ? NULL : getcwd(NULL, 0), *absolute = NULL;

    if (path[0] == '/')
        absolute = strdup(path);
    else if (here && asprintf(&absolute, "%s/%s", here, path) < 0)
        absolute = NULL;
    free(here);
    return absolute;
}

int config_finish(struct config *c, struct error *err)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    char host[65];

    if (!c->workers)
        c->workers = (unsigned)MAX(1l, MIN(cpus, (long)WORKERS_DEFAULT_MAX));
    if (!c->socket && asprintf(&c->socket, "%s/ashlard.sock", c->runtime_dir) < 0) {
        c->socket = NULL;
        return error_set(err, ENOMEM, "out of memory");
    }
    if (gethostname(host, sizeof host))
        return error_set(err, errno, "the host's name: %s", strerror(errno));
    c->host = strdup(host);
    return c->host ? 0 : error_set(err, ENOMEM, "out of memory");
}
