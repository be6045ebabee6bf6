/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/fault.h"
#include "block/member.h"

const struct vg_settings no_settings = {.host = "test"};

void rig_begin(struct rig *r, uint32_t logical_block_bytes)
{
    *r = (struct rig){0};
    for (unsigned i = 0; i < RIG_PVS; i++) {
        struct blockdev *memory;
        char name[16];

        snprintf(name, sizeof name, "pv-%u", i);
        CU_ASSERT_EQUAL(member_memory(name, RIG_BYTES, logical_block_bytes, &memory), 0);
        CU_ASSERT_EQUAL(fault_create(memory, &r->pvs[i]), 0);
        snprintf(r->pvs[i]->name, sizeof r->pvs[i]->name, "%s", name);
    }
}

void rig_create(struct rig *r, unsigned count)
{
    struct error err = {0};

    expect(vg_create(&r->vg, "vg", r->pvs, count, 0, &no_settings, 0, &err), 0, &err, NULL);
}

void rig_reopen(struct rig *r, unsigned first, unsigned count)
{
    struct error err = {0};

    if (r->vg)
        expect(vg_close(r->vg, &err), 0, &err, NULL);
    r->vg = NULL;
    expect(vg_open(&r->vg, r->pvs + first, count, &no_settings, &err), 0, &err, NULL);
}

void rig_end(struct rig *r)
{
    struct error err = {0};

    if (r->vg)
        expect(vg_close(r->vg, &err), 0, &err, NULL);
    for (unsigned i = 0; i < RIG_PVS; i++) {
        CU_ASSERT_EQUAL(r->pvs[i]->users, 0);
        blockdev_close(r->pvs[i]);
    }
}

struct lv *rig_lv(struct rig *r, const char *name, unsigned extents)
{
    struct lv *lv = NULL;
    struct error err = {0};

    expect(lv_create(r->vg, name, extents * EXTENT, NULL, 0, 0, &lv, &err), 0, &err, NULL);
    return lv;
}

void fill(struct blockdev *d, uint64_t offset, uint64_t length, char byte)
{
    char *buf = malloc(length);

    memset(buf, byte, length);
    CU_ASSERT_EQUAL(blockdev_write(d, buf, offset, length, 0), 0);
    free(buf);
}

bool holds(struct blockdev *d, uint64_t offset, uint64_t length, char byte)
{
    char *buf = malloc(length);
    bool same = blockdev_read(d, buf, offset, length) == 0;

    for (uint64_t i = 0; same && i < length; i++)
        same = buf[i] == byte;
    free(buf);
    return same;
}

void expect(int rc, int code, struct error *err, const char *part)
{
    CU_ASSERT_EQUAL(rc, -code);
    if (rc != -code)
        printf("%d, not %d: %s\n", rc, -code, err->text);
    if (part && !strstr(err->text, part)) {
        CU_FAIL("the error's text is another one");
        printf("\"%s\" is not in \"%s\"\n", part, err->text);
    }
    *err = (struct error){0};
}
