/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * check DIR [OUT]: what the checkers say of the disk images DIR/NAME.img, as JSON: arrays, then
 * volume groups on what is left and on the arrays. What an array that starts holds is written to
 * OUT/UUID.img. Then qcow2 images, with DIR/backing.img behind those that have a backing. Exit
 * status 0: no problems, 1: some, 2: it could not be done.
 */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check_copies.h"
#include "check_lvm.h"
#include "check_main_qcow2.h"
#include "check_md.h"

#define DISKS_MAX   16u
#define PIECE_BYTES 65536u

static struct check_disk images[DISKS_MAX];
static unsigned image_count;
static struct check_md arrays[DISKS_MAX];

static _Noreturn void die(const char *what)
{
    perror(what);
    exit(2);
}

static void map_image(const char *dir, const char *file)
{
    char *path;
    struct stat st;
    int fd;
    void *bytes;

    if (asprintf(&path, "%s/%s", dir, file) < 0)
        die(file);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        die(path);
    bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED)
        die(path);
    close(fd);
    free(path);
    images[image_count++] = check_image(strdup(file), bytes, (uint64_t)st.st_size);
}

static int is_image(const struct dirent *entry)
{
    const char *dot = strrchr(entry->d_name, '.');

    return dot && !strcmp(dot, ".img");
}

static void map_images(const char *dir)
{
    struct dirent **entries;
    int count = scandir(dir, &entries, is_image, versionsort);

    if (count < 0)
        die(dir);
    for (int i = 0; i < count; i++) {
        if (i < (int)DISKS_MAX)
            map_image(dir, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
}

/* Each line of the text an element. */
static json_t *problems_json(const struct check_problems *p)
{
    json_t *list = json_array();

    for (const char *line = p->text; *line;) {
        size_t length = strcspn(line, "\n");
        json_array_append_new(list, json_stringn(line, length));
        line += length + (line[length] == '\n');
    }
    return list;
}

/* --- arrays --- */

/* Its uuid, in hexadecimal. */
static const char *array_name(const struct check_md *c)
{
    static char names[DISKS_MAX][33];
    char *name = names[c - arrays];

    for (unsigned i = 0; i < 16; i++)
        snprintf(name + 2 * i, 3, "%02x", c->uuid[i]);
    return name;
}

/* How many bits its bitmap has, and has set. */
static void add_bits(json_t *o, const struct check_md_member *m)
{
    json_int_t set = 0;

    for (uint64_t bit = 0; bit < m->bitmap_bits; bit++)
        set += check_md_bit(m, bit);
    json_object_set_new(o, "bitmap_events", json_integer((json_int_t)m->bitmap_events));
    json_object_set_new(o, "bits", json_integer((json_int_t)m->bitmap_bits));
    json_object_set_new(o, "bits_set", json_integer(set));
}

static json_t *member_json(const struct check_md_member *m)
{
    json_t *o = json_pack("{s:s, s:s, s:i, s:I, s:I, s:b, s:b}", "disk", m->disk.name, "state",
        check_md_state_names[m->state], "role", m->role, "number", (json_int_t)m->number, "events",
        (json_int_t)m->events, "dirty", m->dirty, "replacement", m->replacement);

    if (m->damage[0])
        json_object_set_new(o, "damage", json_string(m->damage));
    if (m->has_bitmap)
        add_bits(o, m);
    return o;
}

static json_t *array_json(const struct check_md *c)
{
    json_t *members = json_array();

    for (unsigned i = 0; i < c->disk_count; i++)
        if (c->disks[i].state < CHECK_MD_FOREIGN)
            json_array_append_new(members, member_json(&c->disks[i]));
    return json_pack("{s:s, s:i, s:i, s:i, s:I, s:I, s:I, s:b, s:b, s:b, s:o, s:o}", "uuid",
        array_name(c), "level", c->level, "layout", (int)c->layout_code, "raid_disks",
        (int)c->raid_disks, "chunk_bytes", (json_int_t)c->layout.chunk_bytes, "size_bytes",
        (json_int_t)c->layout.size_bytes, "events", (json_int_t)c->events, "dirty", c->dirty,
        "starts", c->starts, "bitmap", c->has_bitmap, "members", members, "problems",
        problems_json(&c->problems));
}

static void write_array(const struct check_md *c, const char *dir)
{
    static char buf[PIECE_BYTES];
    struct check_disk array = check_array(c, array_name(c));
    char *path;
    int fd;

    if (asprintf(&path, "%s/%s.img", dir, array.name) < 0)
        die(array.name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        die(path);
    for (uint64_t at = 0, bytes; at < array.size_bytes; at += bytes) {
        bytes = array.size_bytes - at < sizeof buf ? array.size_bytes - at : sizeof buf;
        const void *piece = check_read(&array, buf, at, bytes);
        if (!piece || write(fd, piece, bytes) != (ssize_t)bytes)
            die(path);
    }
    if (close(fd))
        die(path);
    free(path);
}

/* Returns how many problems there are. */
static unsigned check_arrays(json_t *list, const char *out, unsigned *array_count)
{
    uint8_t uuids[DISKS_MAX][16];
    unsigned problems = 0;

    *array_count = check_md_find(images, image_count, uuids);
    for (unsigned i = 0; i < *array_count; i++) {
        struct check_md *c = &arrays[i];
        check_md(c, images, image_count, uuids[i]);
        if (c->starts)
            check_copies_agree(c, 0, c->layout.size_bytes);
        if (c->starts && out)
            write_array(c, out);
        problems += c->problems.count;
        json_array_append_new(list, array_json(c));
    }
    return problems;
}

/* --- volume groups --- */

static json_t *pv_json(const struct check_lvm *c, const struct check_pv *pv)
{
    json_t *o = json_pack("{s:s, s:s, s:s, s:I, s:I}", "device", pv->disk.name, "state",
        check_pv_state_names[pv->state], "uuid", pv->uuid, "size_bytes", (json_int_t)pv->size_bytes,
        "seqno", (json_int_t)pv->seqno);

    if (pv->damage[0])
        json_object_set_new(o, "damage", json_string(pv->damage));
    if (pv->vg >= 0)
        json_object_set_new(o, "vg", json_string(c->vgs[pv->vg].name));
    return o;
}

/* "DEVICE FIRST COUNT" for each stripe of each segment, physical extents. */
static json_t *extents_json(const struct check_lvm *c, const struct check_lvm_lv *lv)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < lv->segment_count; i++) {
        const struct check_lvm_segment *s = &c->segments[lv->first_segment + i];
        for (unsigned k = 0; k < s->stripe_count; k++) {
            const struct check_lvm_stripe *stripe = &c->stripes[s->first_stripe + k];
            const char *device = stripe->pv < 0 ? "missing" : c->pvs[stripe->pv].disk.name;
            json_array_append_new(list, json_sprintf("%s %" PRIu64 " %" PRIu64, device,
                                            stripe->first_pe, stripe->pe_count));
        }
    }
    return list;
}

static json_t *vg_json(const struct check_lvm *c, const struct check_lvm_vg *vg)
{
    json_t *lvs = json_array();

    for (unsigned i = vg->first_lv; i < vg->first_lv + vg->lv_count; i++)
        json_array_append_new(
            lvs, json_pack("{s:s, s:s, s:I, s:o}", "name", c->lvs[i].name, "uuid", c->lvs[i].uuid,
                     "size_bytes", (json_int_t)(c->lvs[i].extent_count * vg->extent_bytes),
                     "extents", extents_json(c, &c->lvs[i])));
    return json_pack("{s:s, s:s, s:I, s:I, s:i, s:i, s:o}", "name", vg->name, "uuid", vg->uuid,
        "seqno", (json_int_t)vg->seqno, "extent_bytes", (json_int_t)vg->extent_bytes, "pvs",
        (int)vg->pv_count, "missing", (int)vg->missing, "lvs", lvs);
}

static bool is_member(unsigned image, unsigned array_count)
{
    for (unsigned i = 0; i < array_count; i++)
        if (arrays[i].disks[image].state < CHECK_MD_FOREIGN)
            return true;
    return false;
}

/* What may carry a PV: arrays, and disks that are in none. */
static unsigned find_devices(struct check_disk devices[2 * DISKS_MAX], unsigned array_count)
{
    unsigned count = 0;

    for (unsigned i = 0; i < array_count; i++)
        if (arrays[i].starts)
            devices[count++] = check_array(&arrays[i], array_name(&arrays[i]));
    for (unsigned i = 0; i < image_count; i++)
        if (!is_member(i, array_count))
            devices[count++] = images[i];
    return count;
}

static struct check_lvm *check_groups(json_t *result, unsigned array_count)
{
    struct check_disk devices[2 * DISKS_MAX];
    json_t *pvs = json_array(), *vgs = json_array();
    unsigned count = find_devices(devices, array_count);
    struct check_lvm *c = check_lvm(devices, count, 1);

    if (!c)
        die("check_lvm");
    for (unsigned i = 0; i < c->pv_count; i++)
        if (c->pvs[i].state != CHECK_PV_NONE)
            json_array_append_new(pvs, pv_json(c, &c->pvs[i]));
    for (unsigned i = 0; i < c->vg_count; i++)
        json_array_append_new(vgs, vg_json(c, &c->vgs[i]));
    json_object_set_new(result, "pvs", pvs);
    json_object_set_new(result, "vgs", vgs);
    json_object_set_new(result, "problems", problems_json(&c->problems));
    return c;
}

/* --- qcow2 images --- */

static unsigned check_qcow2_images(json_t *result, const char *out)
{
    const struct check_disk *backing = NULL;
    json_t *list = json_array();
    unsigned problems = 0;

    for (unsigned i = 0; i < image_count; i++)
        if (!strcmp(images[i].name, "backing.img"))
            backing = &images[i];
    for (unsigned i = 0; i < image_count; i++)
        json_array_append_new(list, check_main_qcow2(&images[i], backing, out, &problems));
    json_object_set_new(result, "images", list);
    return problems;
}

int main(int argc, char **argv)
{
    json_t *array_list = json_array(), *result;
    unsigned array_count, problems;
    struct check_lvm *groups;

    if (argc != 2 && argc != 3) {
        fprintf(stderr, "usage: check DIR [OUT]\n");
        return 2;
    }
    map_images(argv[1]);
    problems = check_arrays(array_list, argv[2], &array_count);
    result = json_pack("{s:o}", "arrays", array_list);
    groups = check_groups(result, array_count);
    problems += groups->problems.count + check_qcow2_images(result, argv[2]);
    check_lvm_free(groups);
    json_dumpf(result, stdout, JSON_INDENT(1));
    putchar('\n');
    json_decref(result);
    return problems ? 1 : 0;
}
