/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arrays.h"
#include "base/log.h"
#include "daemon.h"
#include "json.h"
#include "rt/fs.h"
#include "rt/worker.h"

#define STATE_VERSION   1
#define STATE_BYTES_MAX (16u << 20)

char *uuid_format(const uint8_t uuid[16], char text[UUID_TEXT_BYTES])
{
    char *t = text;

    for (unsigned i = 0; i < 16; i++)
        t += sprintf(t, "%s%02x", i && i % 4 == 0 ? ":" : "", uuid[i]);
    return text;
}

int uuid_parse_text(const char *text, uint8_t uuid[16])
{
    uint8_t bytes[16];
    char again[UUID_TEXT_BYTES];
    const char *t = text;

    for (unsigned i = 0; i < 16; i++) {
        if (sscanf(t, i && i % 4 == 0 ? ":%2hhx" : "%2hhx", &bytes[i]) != 1)
            return -EINVAL;
        t += i && i % 4 == 0 ? 3 : 2;
    }
    if (strcmp(text, uuid_format(bytes, again)))
        return -EINVAL;
    memcpy(uuid, bytes, sizeof bytes);
    return 0;
}

static json_t *encode_array(const struct catalog_array *a)
{
    char uuid[UUID_TEXT_BYTES];
    json_t *members = json_array();

    for (char **m = a->members; *m; m++)
        json_array_append_new(members, json_string(*m));
    for (char **m = a->away; *m; m++)
        json_array_append_new(members, json_string(*m));
    return json_pack("{s:s, s:s, s:i, s:o}", "name", a->name, "uuid", uuid_format(a->uuid, uuid),
        "max_read_errors", (int)a->max_read_errors, "members", members);
}

char *state_encode(const struct daemon *d)
{
    json_t *arrays = json_array(), *pvs = json_array(), *exports = json_array(), *all;
    char *text = NULL;

    list_for_each (it, &d->catalog.arrays)
        json_array_append_new(arrays, encode_array(container_of(it, struct catalog_array, link)));
    list_for_each (it, &d->catalog.pvs)
        json_array_append_new(pvs, json_string(container_of(it, struct catalog_pv, link)->path));
    list_for_each (it, &d->catalog.exports) {
        const struct catalog_export *e = container_of(it, struct catalog_export, link);

        json_array_append_new(
            exports, json_pack("{s:s, s:s, s:s?, s:b}", "target", e->target, "type", "nbd", "path",
                         e->path, "read_only", e->read_only));
    }
    all = json_pack("{s:i, s:I, s:o, s:o, s:o}", "version", STATE_VERSION, "next_job",
        (json_int_t)d->jobs.next_id, "arrays", arrays, "pvs", pvs, "exports", exports);
    if (all)
        text = json_dumps(all, JSON_INDENT(2));
    json_decref(all);
    return text;
}

static int decode_array(struct daemon *d, json_t *item, struct error *err)
{
    const char *name, *uuid_text, *paths[ARRAY_MEMBERS_MAX];
    struct catalog_array *a;
    uint8_t uuid[16];
    json_t *members;
    int max_read_errors = ARRAY_MAX_READ_ERRORS;
    unsigned count;

    if (json_unpack(item, "{s:s, s:s, s?i, s:o}", "name", &name, "uuid", &uuid_text,
            "max_read_errors", &max_read_errors, "members", &members) ||
        max_read_errors < 0 || max_read_errors > ARRAY_READ_ERRORS_LIMIT ||
        uuid_parse_text(uuid_text, uuid) || strlen(name) >= ARRAY_NAME_MAX ||
        !json_is_array(members) || json_array_size(members) > ARRAY_MEMBERS_MAX)
        return error_set(err, EINVAL, "an array is not as it should be");
    if (catalog_find_array(&d->catalog, name) || catalog_find_array_uuid(&d->catalog, uuid))
        return error_set(err, EINVAL, "array %s is there twice", name);
    count = (unsigned)json_array_size(members);
    for (unsigned i = 0; i < count; i++)
        if (!(paths[i] = json_string_value(json_array_get(members, i))))
            return error_set(err, EINVAL, "a member of array %s is no path", name);
    a = catalog_add_array(d, name, uuid);
    if (!a)
        return -ENOMEM;
    a->max_read_errors = (unsigned)max_read_errors;
    return catalog_set_members(a, paths, count);
}

static int decode_pv(struct daemon *d, json_t *item, struct error *err)
{
    const char *path = json_string_value(item);

    if (!path || catalog_find_pv(&d->catalog, path))
        return error_set(err, EINVAL, "a PV is no path, or is there twice");
    return catalog_add_pv(d, path) ? 0 : -ENOMEM;
}

static int decode_export(struct daemon *d, json_t *item, struct error *err)
{
    const char *target, *type;
    json_t *path;
    int read_only;

    if (json_unpack(item, "{s:s, s:s, s:o, s:b}", "target", &target, "type", &type, "path", &path,
            "read_only", &read_only) ||
        strcmp(type, "nbd") || strlen(target) >= CATALOG_NAME_MAX ||
        (!json_is_string(path) && !json_is_null(path)))
        return error_set(err, EINVAL, "an export is not as it should be");
    return catalog_add_export(d, target, json_string_value(path), read_only) ? 0 : -ENOMEM;
}

static int decode_list(struct daemon *d, json_t *all, const char *key,
    int (*decode)(struct daemon *d, json_t *item, struct error *err), struct error *err)
{
    json_t *list = json_object_get(all, key), *item;
    size_t i;

    if (!json_is_array(list))
        return error_set(err, EINVAL, "\"%s\" is not a list", key);
    json_array_foreach (list, i, item) {
        int rc = decode(d, item, err);

        if (rc)
            return rc;
    }
    return 0;
}

static int decode_all(struct daemon *d, json_t *all, struct error *err)
{
    json_int_t version = 0, next_job = 0;
    int rc;

    if (json_unpack(all, "{s:I, s:I}", "version", &version, "next_job", &next_job) || next_job < 1)
        return error_set(err, EINVAL, "version and next_job are not there");
    if (version != STATE_VERSION)
        return error_set(err, EINVAL, "version %lld, not %d", (long long)version, STATE_VERSION);
    if ((rc = decode_list(d, all, "arrays", decode_array, err)) ||
        (rc = decode_list(d, all, "pvs", decode_pv, err)) ||
        (rc = decode_list(d, all, "exports", decode_export, err)))
        return rc;
    d->jobs.next_id = (uint64_t)next_job;
    return 0;
}

int state_decode(struct daemon *d, const char *text, size_t length, struct error *err)
{
    json_t *all;
    int rc = json_parse(text, length, &all, err);

    if (rc)
        return rc;
    rc = decode_all(d, all, err);
    json_decref(all);
    if (rc) {
        catalog_free(&d->catalog);
        catalog_init(&d->catalog);
    }
    return rc;
}

static int state_path(const struct daemon *d, char path[PATH_MAX], const char *suffix)
{
    int n = snprintf(path, PATH_MAX, "%s/state.json%s", d->config->state_dir, suffix);

    return n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* Takes `text` over. */
static int write_state(struct daemon *d, char *text, struct error *err)
{
    char path[PATH_MAX];
    int rc = state_path(d, path, "");

    if (rc == 0)
        rc = fs_replace(path, text, strlen(text), 0600);
    if (rc) {
        free(text);
        log_error("%s/state.json: %s", d->config->state_dir, strerror(-rc));
        return error_set(err, -rc, "%s/state.json: %s", d->config->state_dir, strerror(-rc));
    }
    free(d->catalog.saved);
    d->catalog.saved = text;
    return 0;
}

int state_save(struct daemon *d, struct error *err)
{
    char *text;
    int rc = 0;

    co_mutex_lock(&d->catalog.saving);
    text = state_encode(d);
    if (!text)
        rc = error_set(err, ENOMEM, "out of memory");
    else if (d->catalog.saved && !strcmp(d->catalog.saved, text))
        free(text);
    else
        rc = write_state(d, text, err);
    co_mutex_unlock(&d->catalog.saving);
    return rc;
}

static int keep_aside(struct daemon *d, const char *text, size_t length, struct error *err)
{
    char path[PATH_MAX], suffix[40];
    int rc;

    snprintf(suffix, sizeof suffix, ".damaged-%" PRIu64, rt_wall_seconds());
    rc = state_path(d, path, suffix);
    if (rc == 0)
        rc = fs_replace(path, text, length, 0600);
    if (rc)
        return error_set(err, -rc, "%s/state.json is damaged and cannot be kept aside: %s",
            d->config->state_dir, strerror(-rc));
    log_error("%s/state.json is damaged (%s); it is kept as %s, and what it knew is forgotten",
        d->config->state_dir, err->text, path);
    return 0;
}

int state_load(struct daemon *d, struct error *err)
{
    char path[PATH_MAX], *text;
    size_t length;
    int rc = state_path(d, path, "");

    if (rc == 0)
        rc = fs_read(path, STATE_BYTES_MAX, &text, &length);
    if (rc == -ENOENT)
        return 0;
    if (rc)
        return error_set(err, -rc, "%s/state.json: %s", d->config->state_dir, strerror(-rc));
    rc = state_decode(d, text, length, err);
    if (rc == -EINVAL)
        rc = keep_aside(d, text, length, err);
    free(text);
    return rc;
}
