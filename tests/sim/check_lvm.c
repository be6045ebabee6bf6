/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Each PV by itself (check_pv); each text (check_vg), the newest of a group last, so that it is
 * what the tables hold; then the PVs against the group that names them.
 */
#include "check_lvm.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "check_pv.h"
#include "check_text.h"
#include "check_vg.h"

const char *const check_pv_state_names[] = {
    "newest", "behind", "bare", "orphan", "out", "damaged", "none"};

/* The text of one PV. */
struct copy {
    char *text; /* NULL: none */
    size_t bytes;
    struct check_text tree;
    struct check_lvm_vg vg; /* as identified */
    int number;             /* of the group; -1: none */
};

struct look {
    struct check_lvm *c;
    struct copy copies[CHECK_LVM_PVS_MAX];
    unsigned newest[CHECK_LVM_VGS_MAX]; /* PV that has it, by group */
};

#define PROBLEM(l, ...) check_problem(&(l)->c->problems, __VA_ARGS__)

static const char *name_of(const struct look *l, unsigned pv)
{
    return l->c->pvs[pv].disk.name;
}

static bool same_text(const struct copy *a, const struct copy *b)
{
    return a->bytes == b->bytes && memcmp(a->text, b->text, a->bytes) == 0;
}

static void identify(struct look *l, unsigned i)
{
    struct copy *copy = &l->copies[i];
    const char *why = check_text_parse(&copy->tree, copy->text, copy->bytes);

    if (!why)
        why = check_vg_identify(&copy->vg, &copy->tree);
    if (why) {
        PROBLEM(l, "%s: text: %s", name_of(l, i), why);
        free(copy->text);
        copy->text = NULL;
        return;
    }
    l->c->pvs[i].seqno = copy->vg.seqno;
}

/* False: out of memory. */
static bool read_pvs(struct look *l, const struct check_disk *disks)
{
    for (unsigned i = 0; i < l->c->pv_count; i++) {
        struct copy *copy = &l->copies[i];
        if (!check_pv_read(&l->c->pvs[i], &disks[i], &copy->text, &copy->bytes, &l->c->problems))
            return false;
        copy->number = -1;
        if (copy->text)
            identify(l, i);
    }
    return true;
}

static void check_uuids(struct look *l)
{
    for (unsigned i = 0; i < l->c->pv_count; i++)
        for (unsigned k = 0; k < i; k++)
            if (l->c->pvs[i].uuid[0] && !strcmp(l->c->pvs[i].uuid, l->c->pvs[k].uuid))
                PROBLEM(l, "%s and %s have the same PV uuid", name_of(l, k), name_of(l, i));
}

/* --- groups --- */

static void take_group(struct look *l, unsigned i)
{
    struct check_lvm *c = l->c;
    struct copy *copy = &l->copies[i];
    unsigned k = 0;

    while (k < c->vg_count && strcmp(c->vgs[k].uuid, copy->vg.uuid) != 0)
        k++;
    if (k == CHECK_LVM_VGS_MAX) {
        PROBLEM(l, "more groups than are looked at");
        return;
    }
    copy->number = (int)k;
    if (k < c->vg_count && copy->vg.seqno <= c->vgs[k].seqno)
        return;
    c->vgs[k] = copy->vg;
    l->newest[k] = i;
    c->vg_count += k == c->vg_count;
}

/* A text that is not the newest leaves nothing but its problems. */
static void check_older(struct look *l, unsigned i)
{
    struct copy *copy = &l->copies[i];
    unsigned lv_count = l->c->lv_count, segment_count = l->c->segment_count;
    unsigned stripe_count = l->c->stripe_count;

    for (unsigned k = 0; k < i; k++)
        if (l->copies[k].text && same_text(copy, &l->copies[k]))
            return;
    check_vg_read(l->c, &copy->vg, copy->number, &copy->tree);
    for (unsigned k = 0; k < l->c->pv_count; k++)
        l->c->pvs[k].vg = -1;
    l->c->lv_count = lv_count;
    l->c->segment_count = segment_count;
    l->c->stripe_count = stripe_count;
}

static void read_groups(struct look *l)
{
    struct check_lvm *c = l->c;

    for (unsigned i = 0; i < c->pv_count; i++) {
        int number = l->copies[i].text ? l->copies[i].number : -1;
        if (number >= 0 && !same_text(&l->copies[i], &l->copies[l->newest[number]]))
            check_older(l, i);
    }
    for (unsigned k = 0; k < c->vg_count; k++)
        check_vg_read(c, &c->vgs[k], (int)k, &l->copies[l->newest[k]].tree);
    for (unsigned i = 0; i < c->vg_count; i++)
        for (unsigned k = 0; k < i; k++)
            if (!strcmp(c->vgs[i].name, c->vgs[k].name))
                PROBLEM(l, "two groups named %s", c->vgs[i].name);
}

/* --- PVs against groups --- */

/* One that its group's newest text names. */
static void check_named(struct look *l, unsigned i, uint32_t behind_max)
{
    struct check_pv *pv = &l->c->pvs[i];
    const struct check_lvm_vg *vg = &l->c->vgs[pv->vg];
    const struct copy *copy = &l->copies[i];

    if (!pv->area_bytes || pv->area_ignored) {
        pv->state = CHECK_PV_BARE;
        return;
    }
    pv->state = CHECK_PV_BEHIND;
    if (!copy->text)
        return;
    if (copy->number != pv->vg) {
        PROBLEM(l, "%s holds metadata of group %s, and %s claims it", name_of(l, i), copy->vg.name,
            vg->name);
        return;
    }
    if (pv->seqno == vg->seqno) {
        pv->state = CHECK_PV_NEWEST;
        if (!same_text(copy, &l->copies[l->newest[pv->vg]]))
            PROBLEM(l, "%s and %s hold different texts of group %s, seqno %" PRIu32,
                name_of(l, l->newest[pv->vg]), name_of(l, i), vg->name, vg->seqno);
    } else if (vg->seqno - pv->seqno > behind_max) {
        PROBLEM(l, "%s holds seqno %" PRIu32 " of group %s, which is at %" PRIu32, name_of(l, i),
            pv->seqno, vg->name, vg->seqno);
    }
}

static void check_unnamed(struct look *l, unsigned i)
{
    struct check_pv *pv = &l->c->pvs[i];

    if (!l->copies[i].text)
        return;
    pv->state = CHECK_PV_OUT;
    pv->vg = l->copies[i].number;
    if (pv->vg >= 0 && pv->seqno == l->c->vgs[pv->vg].seqno)
        PROBLEM(l, "%s holds the newest metadata of group %s, which does not name it",
            name_of(l, i), l->c->vgs[pv->vg].name);
}

static void check_pvs(struct look *l, uint32_t behind_max)
{
    for (unsigned i = 0; i < l->c->pv_count; i++) {
        struct check_pv *pv = &l->c->pvs[i];
        if (pv->state != CHECK_PV_ORPHAN)
            continue;
        if (pv->vg >= 0)
            check_named(l, i, behind_max);
        else
            check_unnamed(l, i);
    }
}

struct check_lvm *check_lvm(const struct check_disk *pvs, unsigned count, uint32_t behind_max)
{
    struct look *l = calloc(1, sizeof *l);
    struct check_lvm *c = malloc(sizeof *c);
    bool done = false;

    if (l && c) {
        l->c = c;
        c->pv_count = count < CHECK_LVM_PVS_MAX ? count : CHECK_LVM_PVS_MAX;
        c->vg_count = c->lv_count = c->segment_count = c->stripe_count = 0;
        memset(&c->problems, 0, sizeof c->problems);
        done = read_pvs(l, pvs);
    }
    if (done) {
        check_uuids(l);
        for (unsigned i = 0; i < c->pv_count; i++)
            if (l->copies[i].text)
                take_group(l, i);
        read_groups(l);
        check_pvs(l, behind_max);
    }
    for (unsigned i = 0; l && i < CHECK_LVM_PVS_MAX; i++) {
        free(l->copies[i].text);
        check_text_free(&l->copies[i].tree);
    }
    free(l);
    if (done)
        return c;
    free(c);
    return NULL;
}

void check_lvm_free(struct check_lvm *c)
{
    free(c);
}

/* --- what it found --- */

int check_lvm_find(const struct check_lvm *c, const char *vg, const char *lv)
{
    for (unsigned i = 0; i < c->lv_count; i++)
        if (!strcmp(c->lvs[i].name, lv) && !strcmp(c->vgs[c->lvs[i].vg].name, vg))
            return (int)i;
    return -1;
}

static const struct check_lvm_segment *segment_at(
    const struct check_lvm *c, const struct check_lvm_lv *lv, uint64_t extent)
{
    for (unsigned i = 0; i < lv->segment_count; i++) {
        const struct check_lvm_segment *s = &c->segments[lv->first_segment + i];
        if (extent >= s->first_extent && extent - s->first_extent < s->extent_count)
            return s;
    }
    return NULL;
}

bool check_lvm_place(const struct check_lvm *c, int lv, uint64_t offset, unsigned *pv,
    uint64_t *pv_offset, uint64_t *run_bytes)
{
    uint64_t extent_bytes = c->vgs[c->lvs[lv].vg].extent_bytes, which = 0, within;
    const struct check_lvm_segment *s = segment_at(c, &c->lvs[lv], offset / extent_bytes);
    const struct check_lvm_stripe *stripe;

    if (!s || !s->stripe_count)
        return false;
    within = offset - s->first_extent * extent_bytes;
    *run_bytes = s->extent_count * extent_bytes - within;
    if (s->stripe_count > 1) {
        uint64_t number = within / s->stripe_bytes, rest = within % s->stripe_bytes;
        which = number % s->stripe_count;
        within = number / s->stripe_count * s->stripe_bytes + rest;
        *run_bytes = s->stripe_bytes - rest;
    }
    stripe = &c->stripes[s->first_stripe + which];
    if (stripe->pv < 0)
        return false;
    *pv = (unsigned)stripe->pv;
    *pv_offset = c->pe_start_bytes[stripe->pv] + stripe->first_pe * extent_bytes + within;
    return true;
}
