/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "crash_model.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crash_disk.h"

#define SECTOR_BYTES 512u
#define OVERLAP_MAX  512u
#define WORDS        (SECTOR_BYTES / sizeof(uint64_t))

void crash_model_init(struct crash_model *m, uint64_t size_bytes)
{
    memset(m, 0, sizeof *m);
    m->size_bytes = size_bytes;
    crash_model_finish(m, crash_model_begin(m, CRASH_ANYTHING, 0, size_bytes, NULL), true, true);
}

void crash_model_end(struct crash_model *m)
{
    free(m->writes);
}

/* The words say which write and which sector it was. */
static void fill_sector(uint64_t *words, unsigned write, uint64_t offset)
{
    for (unsigned i = 0; i < WORDS; i++)
        words[i] = (uint64_t)(write + 1) << 40 | (offset / SECTOR_BYTES) << 8 | i;
}

unsigned crash_model_begin(
    struct crash_model *m, enum crash_content content, uint64_t offset, uint64_t length, char *buf)
{
    uint64_t words[WORDS];
    unsigned write;

    spin_lock(&m->lock);
    if (m->count % 64 == 0)
        m->writes = realloc(m->writes, (m->count + 64) * sizeof *m->writes);
    if (!m->writes)
        abort();
    write = m->count++;
    m->writes[write] = (struct crash_guest_write){
        content, offset, length, crash_clock(), CRASH_NEVER, CRASH_NEVER, CRASH_NEVER};
    spin_unlock(&m->lock);
    for (uint64_t at = 0; content == CRASH_DATA && at < length; at += SECTOR_BYTES) {
        fill_sector(words, write, offset + at);
        memcpy(buf + at, words, SECTOR_BYTES);
    }
    return write;
}

void crash_model_finish(struct crash_model *m, unsigned write, bool success, bool fua)
{
    struct crash_guest_write *w;

    spin_lock(&m->lock);
    w = &m->writes[write];
    w->ended = crash_clock();
    if (success)
        w->seen = w->ended;
    if (success && fua)
        w->durable = w->ended;
    spin_unlock(&m->lock);
}

void crash_model_flushed(struct crash_model *m, uint64_t begun)
{
    spin_lock(&m->lock);
    for (unsigned i = 0; i < m->count; i++)
        if (m->writes[i].seen < begun && m->writes[i].durable == CRASH_NEVER)
            m->writes[i].durable = crash_clock();
    spin_unlock(&m->lock);
}

void crash_model_cut(struct crash_model *m, uint64_t moment)
{
    spin_lock(&m->lock);
    for (unsigned i = 0; i < m->count; i++) {
        struct crash_guest_write *w = &m->writes[i];
        if (w->begun > moment)
            w->length = 0;
        if (w->ended > moment)
            w->ended = moment;
        if (w->durable > moment)
            w->durable = w->seen = CRASH_NEVER;
    }
    spin_unlock(&m->lock);
}

static unsigned find_overlaps(const struct crash_model *m, uint64_t offset, uint64_t before,
    const struct crash_guest_write **found)
{
    unsigned count = 0;

    for (unsigned i = 0; i < m->count; i++) {
        const struct crash_guest_write *w = &m->writes[i];
        if (w->offset <= offset && offset < w->offset + w->length && w->begun < before &&
            count < OVERLAP_MAX)
            found[count++] = w;
    }
    return count;
}

static uint64_t settled(const struct crash_guest_write *w, bool cut)
{
    return cut ? w->durable : w->seen;
}

static bool superseded(const struct crash_guest_write *w, const struct crash_guest_write **all,
    unsigned count, uint64_t since, bool cut)
{
    for (unsigned i = 0; i < count; i++)
        if (settled(all[i], cut) < since && all[i]->begun > w->ended)
            return true;
    return false;
}

static bool holds(const struct crash_model *m, const struct crash_guest_write *w, uint64_t offset,
    const char *buf)
{
    uint64_t words[WORDS] = {0};

    if (w->content == CRASH_ANYTHING)
        return true;
    if (w->content == CRASH_DATA)
        fill_sector(words, (unsigned)(w - m->writes), offset);
    return !memcmp(words, buf, SECTOR_BYTES);
}

/* A sector may hold any write begun before `until`, unless another that began after it had ended
 * was settled before `since`. */
static bool sector_good(const struct crash_model *m, const char *buf, uint64_t offset,
    uint64_t since, uint64_t until, bool cut)
{
    const struct crash_guest_write *found[OVERLAP_MAX];
    unsigned count = find_overlaps(m, offset, until, found);

    for (unsigned i = 0; i < count; i++)
        if (holds(m, found[i], offset, buf) && !superseded(found[i], found, count, since, cut))
            return true;
    return false;
}

static uint64_t check(struct crash_model *m, const char *buf, uint64_t offset, uint64_t length,
    uint64_t since, uint64_t until, bool cut)
{
    uint64_t bad = CRASH_NEVER;

    spin_lock(&m->lock);
    for (uint64_t at = 0; at < length && bad == CRASH_NEVER; at += SECTOR_BYTES)
        if (!sector_good(m, buf + at, offset + at, since, until, cut))
            bad = offset + at;
    spin_unlock(&m->lock);
    return bad;
}

uint64_t crash_model_check_read(struct crash_model *m, const char *buf, uint64_t offset,
    uint64_t length, uint64_t begun, uint64_t ended)
{
    return check(m, buf, offset, length, begun, ended, false);
}

uint64_t crash_model_check_cut(
    struct crash_model *m, const char *buf, uint64_t offset, uint64_t length, uint64_t moment)
{
    return check(m, buf, offset, length, moment, moment, true);
}

void crash_model_explain(struct crash_model *m, uint64_t offset, const char *found)
{
    uint64_t word;

    memcpy(&word, found, sizeof word);
    fprintf(stderr, "  found: write %" PRId64 "\n", (int64_t)(word >> 40) - 1);
    for (unsigned i = 0; i < m->count; i++) {
        const struct crash_guest_write *w = &m->writes[i];
        if (w->offset <= offset && offset < w->offset + w->length)
            fprintf(stderr,
                "  write %u: content %d, begun %" PRIu64 ", ended %" PRIu64 ", seen %" PRId64
                ", durable %" PRId64 "\n",
                i, w->content, w->begun, w->ended, (int64_t)w->seen, (int64_t)w->durable);
    }
}
