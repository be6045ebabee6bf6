/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rt/fs.h"
#include "state.h"

extern CU_TestInfo state_tests[];

static const uint8_t uuid[16] = {0xa0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255};

static void fill(struct daemon *d)
{
    static const char *const members[] = {"/m/0", "/m/\"1\" \xc3\xa4"};
    struct catalog_array *a = catalog_add_array(d, "a0", uuid);

    CU_ASSERT_PTR_NOT_NULL_FATAL(a);
    CU_ASSERT_EQUAL(catalog_set_members(a, members, 2), 0);
    CU_ASSERT_EQUAL(a->max_read_errors, ARRAY_MAX_READ_ERRORS);
    a->max_read_errors = 7;
    CU_ASSERT_PTR_NOT_NULL(catalog_add_pv(d, "/pv"));
    CU_ASSERT_PTR_NOT_NULL(catalog_add_export(d, "vg/v", NULL, false));
    CU_ASSERT_PTR_NOT_NULL(catalog_add_export(d, "vg/v", "/own.sock", true));
    d->jobs.next_id = 17;
}

static void empty(struct daemon *d)
{
    catalog_free(&d->catalog);
    catalog_init(&d->catalog);
    d->jobs.next_id = 1;
}

static void check(struct daemon *d)
{
    struct catalog_array *a = catalog_find_array(&d->catalog, "a0");
    struct catalog_export *e = catalog_find_export(&d->catalog, "vg/v");

    CU_ASSERT_PTR_NOT_NULL_FATAL(a);
    CU_ASSERT(!memcmp(a->uuid, uuid, sizeof uuid));
    CU_ASSERT_STRING_EQUAL(a->members[1], "/m/\"1\" \xc3\xa4");
    CU_ASSERT_PTR_NULL(a->members[2]);
    CU_ASSERT_PTR_NULL(a->array);
    CU_ASSERT_EQUAL(a->max_read_errors, 7);
    CU_ASSERT_PTR_NOT_NULL(catalog_find_pv(&d->catalog, "/pv"));
    CU_ASSERT_PTR_NOT_NULL_FATAL(e);
    CU_ASSERT_PTR_NULL(e->path);
    CU_ASSERT_FALSE(e->read_only);
    e = container_of(e->link.next, struct catalog_export, link);
    CU_ASSERT_STRING_EQUAL(e->path, "/own.sock");
    CU_ASSERT(e->read_only);
    CU_ASSERT_EQUAL(d->jobs.next_id, 17);
}

static void round_trip(struct fixture *f)
{
    struct daemon *d = &f->daemon;
    char *text, *again;

    fill(d);
    text = state_encode(d);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    empty(d);
    CU_ASSERT_EQUAL(state_decode(d, text, strlen(text), NULL), 0);
    check(d);
    again = state_encode(d);
    CU_ASSERT_STRING_EQUAL(text, again);
    free(text);
    free(again);
}

static void test_round_trip(void)
{
    fixture_run(round_trip);
}

/* A member that did not come is remembered until the array is changed by hand. */
static void away(struct fixture *f)
{
    static const char *const all[] = {"/m/0", "/m/1", "/m/2"}, *const some[] = {"/m/1", "/new"};
    struct catalog_array *a = catalog_add_array(&f->daemon, "a0", uuid);
    char *text;

    CU_ASSERT_PTR_NOT_NULL_FATAL(a);
    CU_ASSERT_EQUAL(catalog_set_members(a, all, 3), 0);
    CU_ASSERT_EQUAL(catalog_change_members(a, some, 2, true), 0);
    CU_ASSERT_STRING_EQUAL(a->members[0], "/m/1");
    CU_ASSERT_STRING_EQUAL(a->members[1], "/new");
    CU_ASSERT_STRING_EQUAL(a->away[0], "/m/0");
    CU_ASSERT_STRING_EQUAL(a->away[1], "/m/2");
    CU_ASSERT_PTR_NULL(a->away[2]);
    text = state_encode(&f->daemon);
    empty(&f->daemon);
    CU_ASSERT_EQUAL(state_decode(&f->daemon, text, strlen(text), NULL), 0);
    free(text);
    a = catalog_find_array(&f->daemon.catalog, "a0");
    CU_ASSERT_PTR_NOT_NULL_FATAL(a);
    CU_ASSERT_STRING_EQUAL(a->members[3], "/m/2");
    CU_ASSERT_EQUAL(catalog_change_members(a, some, 2, false), 0);
    CU_ASSERT_PTR_NULL(a->members[2]);
    CU_ASSERT_PTR_NULL(a->away[0]);
}

static void test_away(void)
{
    fixture_run(away);
}

static void damaged(struct fixture *f)
{
#define HEAD "{\"version\": 1, \"next_job\": 1, "
#define A    "{\"name\": \"a\", \"uuid\": \"00000000:00000000:00000000:00000000\", \"members\": []}"
    static const char *const bad[] = {"", "{", "[]", "{}", HEAD "\"arrays\": []}",
        "{\"version\": 2, \"next_job\": 1, \"arrays\": [], \"pvs\": [], \"exports\": []}",
        "{\"version\": 1, \"next_job\": 0, \"arrays\": [], \"pvs\": [], \"exports\": []}",
        HEAD "\"arrays\": [" A ", " A "], \"pvs\": [], \"exports\": []}",
        HEAD "\"arrays\": [{\"name\": \"a\", \"uuid\": \"0\", \"members\": []}], \"pvs\": [], "
             "\"exports\": []}",
        HEAD "\"arrays\": [" A "], \"pvs\": [7], \"exports\": []}",
        HEAD "\"arrays\": [" A "], \"pvs\": [\"/a\", \"/a\"], \"exports\": []}",
        HEAD "\"arrays\": [" A "], \"pvs\": [], \"exports\": [{\"target\": \"a\"}]}",
        HEAD "\"arrays\": [" A "], \"pvs\": [], \"exports\": [{\"target\": \"a\", \"type\": "
             "\"x\", \"path\": null, \"read_only\": false}]}"};

    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error err = {0};

        CU_ASSERT_EQUAL(state_decode(&f->daemon, bad[i], strlen(bad[i]), &err), -EINVAL);
        CU_ASSERT_EQUAL(err.code, EINVAL);
        CU_ASSERT(list_empty(&f->daemon.catalog.arrays));
        CU_ASSERT(list_empty(&f->daemon.catalog.pvs));
    }
}

static void test_damaged(void)
{
    fixture_run(damaged);
}

static void truncated(struct fixture *f)
{
    char *text;

    fill(&f->daemon);
    text = state_encode(&f->daemon);
    empty(&f->daemon);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    for (size_t n = 0; n < strlen(text); n++)
        CU_ASSERT_EQUAL(state_decode(&f->daemon, text, n, NULL), -EINVAL);
    free(text);
}

static void test_truncated(void)
{
    fixture_run(truncated);
}

static void save_and_load(struct fixture *f)
{
    struct daemon *d = &f->daemon;
    struct error err = {0};

    CU_ASSERT_EQUAL(state_load(d, &err), 0); /* nothing there yet */
    fill(d);
    CU_ASSERT_EQUAL(state_save(d, &err), 0);
    empty(d);
    CU_ASSERT_EQUAL(state_load(d, &err), 0);
    check(d);
}

static void test_save_and_load(void)
{
    fixture_run(save_and_load);
}

static void only_changes(struct fixture *f)
{
    const char *path = fixture_path(f, "state.json");

    fill(&f->daemon);
    CU_ASSERT_EQUAL(state_save(&f->daemon, NULL), 0);
    CU_ASSERT_EQUAL(fs_remove(path), 0);
    CU_ASSERT_EQUAL(state_save(&f->daemon, NULL), 0);
    CU_ASSERT_EQUAL(fs_remove(path), -ENOENT);
    f->daemon.jobs.next_id++;
    CU_ASSERT_EQUAL(state_save(&f->daemon, NULL), 0);
    CU_ASSERT_EQUAL(fs_remove(path), 0);
}

static void test_only_changes(void)
{
    fixture_run(only_changes);
}

static void kept_aside(struct fixture *f)
{
    char **names, *data;
    struct error err = {0};
    size_t length;

    CU_ASSERT_EQUAL(fs_replace(fixture_path(f, "state.json"), "{nonsense", 9, 0600), 0);
    CU_ASSERT_EQUAL(state_load(&f->daemon, &err), 0);
    fill(&f->daemon);
    CU_ASSERT_EQUAL(state_save(&f->daemon, &err), 0);
    CU_ASSERT_EQUAL_FATAL(fs_list(f->dir, &names), 0);
    CU_ASSERT_STRING_EQUAL(names[0], "state.json");
    CU_ASSERT(!strncmp(names[1], "state.json.damaged-", 19));
    CU_ASSERT_EQUAL_FATAL(fs_read(fixture_path(f, names[1]), 100, &data, &length), 0);
    CU_ASSERT_STRING_EQUAL(data, "{nonsense");
    free(data);
    free(names);
}

static void test_kept_aside(void)
{
    fixture_run(kept_aside);
}

static void unwritable(struct fixture *f)
{
    struct error err = {0};

    CU_ASSERT_EQUAL(config_set(&f->config, "daemon", "state_dir", "/nonexistent/ashlar", NULL), 0);
    fill(&f->daemon);
    CU_ASSERT_EQUAL(state_save(&f->daemon, &err), -ENOENT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "/nonexistent/ashlar/state.json"));
    catalog_change_begin(&f->daemon);
    CU_ASSERT_EQUAL(catalog_change_end(&f->daemon, 0, &err), -ENOENT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "not be remembered"));
    catalog_change_begin(&f->daemon);
    CU_ASSERT_EQUAL(catalog_change_end(&f->daemon, -EBUSY, &err), -EBUSY);
}

static void test_unwritable(void)
{
    fixture_run(unwritable);
}

static void test_uuid(void)
{
    uint8_t back[16] = {0};
    char text[UUID_TEXT_BYTES];

    CU_ASSERT_STRING_EQUAL(uuid_format(uuid, text), "a0010203:04050607:08090a0b:0c0d0eff");
    CU_ASSERT_EQUAL(uuid_parse_text(text, back), 0);
    CU_ASSERT(!memcmp(uuid, back, sizeof uuid));
    CU_ASSERT_EQUAL(uuid_parse_text("a0010203:04050607:08090a0b:0c0d0ef", back), -EINVAL);
    CU_ASSERT_EQUAL(uuid_parse_text("a0010203:04050607:08090a0b:0c0d0eff0", back), -EINVAL);
    CU_ASSERT_EQUAL(uuid_parse_text("a001020304050607:08090a0b:0c0d0eff", back), -EINVAL);
    CU_ASSERT_EQUAL(uuid_parse_text("", back), -EINVAL);
}

CU_TestInfo state_tests[] = {
    {"round trip", test_round_trip},
    {"members that are away", test_away},
    {"what is damaged is refused", test_damaged},
    {"every truncation is refused", test_truncated},
    {"saved and loaded", test_save_and_load},
    {"written only when it has changed", test_only_changes},
    {"a damaged file is kept aside", test_kept_aside},
    {"a directory that cannot be written", test_unwritable},
    {"UUIDs", test_uuid},
    CU_TEST_INFO_NULL,
};
