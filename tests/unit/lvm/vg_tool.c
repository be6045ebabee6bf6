/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lib/lvm from the command line, for tests beside the real LVM2:
 *
 *     vg_tool [-s STATE-DIR] COMMAND [ARGUMENT...] -- PV...
 *
 * With -s, archive and backup files go there. The PVs are opened, the group on them (but for
 * create) too, the one command is done, all is closed.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arith.h"
#include "block/member.h"
#include "lvm/vg.h"
#include "rt/worker.h"

#define PVS_MAX   16
#define MIB       (UINT64_C(1) << 20)
#define CAT_BYTES (1u << 20)

struct tool {
    struct vg_settings settings;
    char **args; /* after the command, NULL at the end */
    struct blockdev *pvs[PVS_MAX];
    unsigned pv_count;
    struct vg *vg;
    struct error err;
    int rc;
};

static struct lv *find(struct tool *t)
{
    struct lv *lv = vg_find_lv(t->vg, t->args[0]);

    if (!lv)
        error_set(&t->err, ENOENT, "there is no volume %s", t->args[0]);
    return lv;
}

static int create(struct tool *t)
{
    return vg_create(&t->vg, t->args[0], t->pvs, t->pv_count, 0, &t->settings, 0, &t->err);
}

/* The last device is the new one. */
static int extend(struct tool *t)
{
    return vg_extend(t->vg, &t->pvs[t->pv_count - 1], 1, 0, &t->err);
}

static int reduce(struct tool *t)
{
    return vg_reduce(t->vg, t->args[0], 0, &t->err);
}

static int rename_vg(struct tool *t)
{
    return vg_rename(t->vg, t->args[0], 0, &t->err);
}

static int remove_vg(struct tool *t)
{
    int rc = vg_remove(t->vg, 0, &t->err);

    if (!rc)
        t->vg = NULL;
    return rc;
}

static int lv_create_(struct tool *t)
{
    struct lv *lv;

    return lv_create(
        t->vg, t->args[0], strtoull(t->args[1], NULL, 10) * MIB, NULL, 0, 0, &lv, &t->err);
}

static int lv_resize_(struct tool *t)
{
    struct lv *lv = find(t);

    return lv ? lv_resize(lv, strtoull(t->args[1], NULL, 10) * MIB, 0, &t->err) : -ENOENT;
}

static int lv_rename_(struct tool *t)
{
    struct lv *lv = find(t);

    return lv ? lv_rename(lv, t->args[1], 0, &t->err) : -ENOENT;
}

static int lv_remove_(struct tool *t)
{
    struct lv *lv = find(t);

    return lv ? lv_remove(lv, 0, &t->err) : -ENOENT;
}

static int lv_tag_(struct tool *t)
{
    struct lv *lv = find(t);

    return lv ? lv_add_tag(lv, t->args[1], 0, &t->err) : -ENOENT;
}

/* A volume's bytes to standard output. */
static int cat(struct tool *t)
{
    struct lv *lv = find(t);
    struct blockdev *d = lv ? lv_blockdev(lv, &t->err) : NULL;
    char *buf = malloc(CAT_BYTES);
    int rc = d ? 0 : -t->err.code;

    for (uint64_t at = 0; !rc && at < d->size_bytes; at += CAT_BYTES) {
        rc = blockdev_read(d, buf, at, CAT_BYTES);
        fwrite(buf, 1, CAT_BYTES, stdout);
    }
    free(buf);
    return rc;
}

static void show_lv(const struct lv_status *lv)
{
    printf("lv %s %s %llu%s%s%s", lv->name, lv->uuid, (unsigned long long)lv->size_bytes,
        lv->hidden ? " hidden" : "", lv->unusable ? " unusable" : "", lv->tag_count ? " tags" : "");
    for (unsigned i = 0; i < lv->tag_count; i++)
        printf(" %s", lv->tags[i]);
    printf("\n");
}

static int show(struct tool *t)
{
    struct vg_status *s = vg_status(t->vg);

    if (!s)
        return -ENOMEM;
    printf("vg %s %s seqno %u size %llu free %llu\n", s->name, s->uuid, s->seqno,
        (unsigned long long)s->size_bytes, (unsigned long long)s->free_bytes);
    printf("reason %s\n", s->read_only_reason ? s->read_only_reason : "none");
    printf("warning %s\n", s->warning ? s->warning : "none");
    for (unsigned i = 0; i < s->pv_count; i++)
        printf("pv %s %s free %llu%s\n", s->pvs[i].name, s->pvs[i].uuid,
            (unsigned long long)s->pvs[i].free_bytes, s->pvs[i].missing ? " missing" : "");
    for (unsigned i = 0; i < s->lv_count; i++)
        show_lv(&s->lvs[i]);
    vg_status_free(s);
    return 0;
}

static const struct command {
    const char *name;
    unsigned args;
    bool opens;     /* the group is on the devices */
    unsigned extra; /* devices at the end that are not of it */
    int (*fn)(struct tool *t);
} commands[] = {
    {"create", 1, false, 0, create},
    {"extend", 0, true, 1, extend},
    {"reduce", 1, true, 0, reduce},
    {"rename", 1, true, 0, rename_vg},
    {"remove", 0, true, 0, remove_vg},
    {"lv-create", 2, true, 0, lv_create_},
    {"lv-resize", 2, true, 0, lv_resize_},
    {"lv-rename", 2, true, 0, lv_rename_},
    {"lv-remove", 1, true, 0, lv_remove_},
    {"lv-tag", 2, true, 0, lv_tag_},
    {"cat", 1, true, 0, cat},
    {"show", 0, true, 0, show},
};

static const struct command *chosen;
static struct tool tool;
static char **pv_paths;

static void work(void *arg)
{
    struct tool *t = arg;

    for (; !t->rc && pv_paths[t->pv_count]; t->pv_count++)
        t->rc = member_open(pv_paths[t->pv_count], 0, &t->pvs[t->pv_count], &t->err);
    if (!t->rc && chosen->opens)
        t->rc = vg_open(&t->vg, t->pvs, t->pv_count - chosen->extra, &t->settings, &t->err);
    if (!t->rc)
        t->rc = chosen->fn(t);
    if (t->vg)
        vg_close(t->vg, NULL);
    for (unsigned i = 0; i < t->pv_count; i++)
        if (t->pvs[i])
            blockdev_close(t->pvs[i]);
}

static int usage(void)
{
    fprintf(stderr, "usage: vg_tool [-s STATE-DIR] COMMAND [ARGUMENT...] -- PV...\n");
    return 2;
}

static char *path_in(const char *dir, const char *name)
{
    char *path = NULL;

    return asprintf(&path, "%s/%s", dir, name) < 0 ? NULL : path;
}

int main(int argc, char **argv)
{
    unsigned given = 0;
    int at = 1;

    tool.settings = (struct vg_settings){.host = "test", .archive_keep = 3};
    if (argc > 2 && strcmp(argv[1], "-s") == 0) {
        tool.settings.archive_dir = path_in(argv[2], "archive");
        tool.settings.backup_dir = path_in(argv[2], "backup");
        at = 3;
    }
    for (unsigned i = 0; at < argc && i < ARRAY_LEN(commands); i++)
        if (strcmp(argv[at], commands[i].name) == 0)
            chosen = &commands[i];
    tool.args = &argv[at + 1];
    while (at < argc && tool.args[given] && strcmp(tool.args[given], "--") != 0)
        given++;
    if (!chosen || !tool.args[given] || given != chosen->args || argc - at > PVS_MAX)
        return usage();
    pv_paths = &tool.args[given + 1];
    if (rt_init(NULL, &tool.err) < 0 || rt_main(work, &tool) < 0 || tool.rc) {
        fprintf(stderr, "vg_tool: %s\n", tool.err.text);
        return 1;
    }
    return 0;
}
