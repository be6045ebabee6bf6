/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Small files of the simulator: a table in the world's memory, which outlives machines. A
 * replacement happens at one moment of the time that it takes, so a machine cut off in the middle
 * leaves the old or the new; what has returned stays. Locks are the machine's and end with it.
 *
 * Nothing guards the table: simulated threads take turns, and none gives its turn up in here but in
 * the waits before and after.
 *
 * What can fail: as on the host (host/fs.c), and what sim_fs_fail asks for. A table that is too
 * small for a scenario ends it.
 */
#include "rt/fs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rt/names.h"
#include "rt/sim/fs.h"
#include "rt/sim/machine.h"
#include "rt/sim/path.h"
#include "rt/sim/sim.h"
#include "rt/sync.h"
#include "rt/worker.h"

#define ENTRIES_MAX    96u
#define FILE_BYTES_MAX (32u << 10)
#define WAIT_NS_MAX    300000u

struct entry {
    bool used, directory;
    char path[SIM_PATH_BYTES]; /* clean */
    size_t length;
    char *data; /* FILE_BYTES_MAX of `contents` */
};

static struct tree {
    int fault; /* errno of the next so many replacements */
    unsigned fault_times;
    struct entry entries[ENTRIES_MAX];
} * tree;
static char (*contents)[FILE_BYTES_MAX]; /* by entry; not zeroed, as that takes time */

static struct entry root = {.used = true, .directory = true};
static bool locked[ENTRIES_MAX];
static struct co_mutex replacing = {
    .lock = SPINLOCK_INIT,
    .queue.waiters = LIST_INIT(replacing.queue.waiters),
};

/* A path, and what is there. */
struct place {
    char path[SIM_PATH_BYTES];
    struct entry *entry; /* NULL: nothing */
};

void sim_fs_init(void)
{
    tree = sim_share(sizeof *tree);
    contents = sim_keep(ENTRIES_MAX * sizeof *contents);
}

void sim_fs_fail(int error, unsigned times)
{
    tree->fault = error;
    tree->fault_times = times;
}

static void take_time(void)
{
    if (co_self())
        co_sleep_ns(sim_below(&sim->random[SIM_SCHEDULE], WAIT_NS_MAX));
}

static struct entry *find(const char *path, size_t length)
{
    if (length == 0)
        return &root;
    for (struct entry *e = tree->entries; e < tree->entries + ENTRIES_MAX; e++)
        if (e->used && !strncmp(e->path, path, length) && !e->path[length])
            return e;
    return NULL;
}

static struct entry *make(const char *path, bool directory)
{
    struct entry *e = tree->entries;

    while (e < tree->entries + ENTRIES_MAX && e->used)
        e++;
    if (e == tree->entries + ENTRIES_MAX)
        sim_fail("the simulator has no room for the file %s", path);
    e->used = true;
    e->directory = directory;
    e->length = 0;
    e->data = contents[e - tree->entries];
    strcpy(e->path, path);
    locked[e - tree->entries] = false;
    return e;
}

/* The directories above it are there: 0, else -ENOENT or -ENOTDIR. */
static int look_up(const char *path, struct place *p)
{
    int rc = sim_path_clean(path, p->path);

    if (rc < 0)
        return rc;
    for (const char *s = strchr(p->path, '/'); s; s = strchr(s + 1, '/')) {
        const struct entry *above = find(p->path, (size_t)(s - p->path));

        if (!above)
            return -ENOENT;
        if (!above->directory)
            return -ENOTDIR;
    }
    p->entry = find(p->path, strlen(p->path));
    return 0;
}

/* The same for a file; -EISDIR. */
static int look_up_file(const char *path, struct place *p)
{
    int rc = look_up(path, p);

    return !rc && p->entry && p->entry->directory ? -EISDIR : rc;
}

static int copy_file(const struct entry *e, size_t max_bytes, char **data, size_t *length)
{
    char *copy;

    if (e->length > max_bytes)
        return -EFBIG;
    copy = malloc(e->length + 1);
    if (!copy)
        return -ENOMEM;
    memcpy(copy, e->data, e->length);
    copy[e->length] = '\0';
    *data = copy;
    *length = e->length;
    return 0;
}

int fs_read(const char *path, size_t max_bytes, char **data, size_t *length)
{
    struct place p;
    int rc;

    take_time();
    rc = look_up_file(path, &p);
    if (rc < 0)
        return rc;
    return p.entry ? copy_file(p.entry, max_bytes, data, length) : -ENOENT;
}

static int take_fault(void)
{
    if (!tree->fault_times)
        return 0;
    tree->fault_times--;
    SIM_TRACE("file: %s", strerror(tree->fault));
    return -tree->fault;
}

static void store(struct place *p, const void *data, size_t length)
{
    if (length > FILE_BYTES_MAX)
        sim_fail("the simulator has no room for %zu bytes in %s", length, p->path);
    if (!p->entry)
        p->entry = make(p->path, false);
    if (length)
        memcpy(p->entry->data, data, length);
    p->entry->length = length;
    SIM_TRACE("file: %s replaced, %zu bytes", p->path, length);
}

static int replace(const char *path, const void *data, size_t length)
{
    struct place p;
    int rc = look_up_file(path, &p);

    if (rc < 0)
        return rc;
    rc = take_fault();
    /* The last sync may be what failed. */
    if (!rc || (rc == -EIO && sim_one_in(&sim->random[SIM_FAULTS], 2)))
        store(&p, data, length);
    return rc;
}

/* A place where the machine may be cut off: before and after the moment of the change. */
struct change {
    struct sim_site *site;
    enum sim_phase cut;
};

static void cut_before(struct change *c)
{
    c->site = site_note("file");
    c->cut = site_cut_due();
    if (c->cut == SIM_BEFORE)
        site_cut(c->site, SIM_BEFORE);
    take_time();
    if (c->cut == SIM_DURING && sim_one_in(&sim->random[SIM_MEDIUM], 2))
        site_cut(c->site, SIM_DURING);
}

static void cut_after(const struct change *c)
{
    if (c->cut != SIM_PHASES)
        site_cut(c->site, c->cut);
    take_time();
}

int fs_replace(const char *path, const void *data, size_t length, mode_t mode)
{
    struct change c;
    int rc;

    co_mutex_lock(&replacing);
    cut_before(&c);
    rc = replace(path, data, length);
    cut_after(&c);
    co_mutex_unlock(&replacing);
    return rc;
}

/* -ENOENT: there is none. */
static int find_file(const char *path, struct place *p)
{
    int rc = look_up_file(path, p);

    return !rc && !p->entry ? -ENOENT : rc;
}

int fs_remove(const char *path)
{
    struct change c;
    struct place p;
    int rc;

    take_time();
    rc = find_file(path, &p);
    if (rc < 0)
        return rc;
    cut_before(&c);
    /* It may have gone meanwhile. */
    rc = find_file(path, &p);
    if (!rc) {
        p.entry->used = false;
        SIM_TRACE("file: %s removed", p.path);
    }
    cut_after(&c);
    return rc;
}

/* No file is made otherwise. */
int fs_sync_name(const char *path)
{
    take_time();
    return 0;
}

static int make_one(const char *path)
{
    const struct entry *e = find(path, strlen(path));

    if (!e)
        e = make(path, true);
    return e->directory ? 0 : -ENOTDIR;
}

int fs_make_dir(const char *path, mode_t mode)
{
    char clean[SIM_PATH_BYTES];
    int rc = sim_path_clean(path, clean);

    if (rc < 0)
        return rc;
    take_time();
    for (char *s = strchr(clean + 1, '/'); s && !rc; s = strchr(s + 1, '/')) {
        *s = '\0';
        rc = make_one(clean);
        *s = '/';
    }
    return rc ? rc : make_one(clean);
}

static int add_inside(struct names *names, const char *directory)
{
    size_t above = strlen(directory);
    int rc = 0;

    for (unsigned i = 0; i < ENTRIES_MAX && !rc; i++) {
        const struct entry *e = &tree->entries[i];

        if (e->used && sim_path_above(e->path) == above && !strncmp(e->path, directory, above))
            rc = names_add(names, NULL, e->path + above + 1);
    }
    return rc;
}

int fs_list(const char *path, char ***names)
{
    struct names found = {0};
    struct place p;
    int rc;

    take_time();
    rc = look_up(path, &p);
    if (rc < 0)
        return rc;
    if (!p.entry)
        return -ENOENT;
    if (!p.entry->directory)
        return -ENOTDIR;
    rc = add_inside(&found, p.path);
    rc = rc ? rc : names_pack(&found, names);
    if (!rc)
        sim_path_sort(*names, found.count);
    names_free(&found);
    return rc;
}

int fs_lock(const char *path)
{
    struct place p;
    int rc;

    take_time();
    rc = look_up_file(path, &p);
    if (rc < 0)
        return rc;
    if (!p.entry)
        p.entry = make(p.path, false);
    if (locked[p.entry - tree->entries])
        return -EBUSY;
    locked[p.entry - tree->entries] = true;
    return 0;
}
