/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The chain of callers is read from the frame pointers of the coroutine that has the turn. */
#include "rt/sim/site.h"

#include <string.h>

#include "base/arith.h"
#include "rt/sim/machine.h"

#define SITES_MAX 4096u /* a power of two; the last ones share an entry */

struct sites {
    unsigned count;
    uint16_t slots[2 * SITES_MAX]; /* number + 1 in `sites`, by hash; 0: free */
    struct sim_site sites[SITES_MAX];
};

static struct sites *table;

void site_init(void)
{
    table = sim_keep(sizeof *table);
}

const struct sim_site *sim_sites(unsigned *count)
{
    *count = table->count;
    return table->sites;
}

struct frame {
    const struct frame *caller;
    void *return_address;
};

__attribute__((noinline, no_sanitize("address"))) static void read_chain(void **frames)
{
    const struct frame *f = __builtin_frame_address(0);
    const struct co *co = co_self();
    const char *low = co ? co->fiber.stack : NULL, *high = (const char *)co;

    for (unsigned i = 0; i < SIM_SITE_FRAMES; i++) {
        const char *at = (const char *)f;

        if (!co || at < low || at + sizeof *f > high)
            break;
        frames[i] = f->return_address;
        f = f->caller;
    }
}

static uint64_t hash_chain(const char *kind, void *const *frames)
{
    uint64_t h = (uintptr_t)kind;

    for (unsigned i = 0; i < SIM_SITE_FRAMES; i++)
        h = (h ^ (uintptr_t)frames[i]) * UINT64_C(0x9fb21c651e98df25) ^ (h >> 31);
    return h;
}

struct sim_site *site_note(const char *kind)
{
    void *frames[SIM_SITE_FRAMES] = {0};
    struct sim_site *s;
    unsigned at;

    read_chain(frames);
    for (at = (unsigned)hash_chain(kind, frames) % ARRAY_LEN(table->slots); table->slots[at];
         at = (at + 1) % ARRAY_LEN(table->slots)) {
        s = &table->sites[table->slots[at] - 1];
        if (s->kind == kind && !memcmp(s->frames, frames, sizeof frames))
            break;
    }
    if (!table->slots[at] && table->count < SITES_MAX) {
        s = &table->sites[table->count++];
        s->kind = kind;
        memcpy(s->frames, frames, sizeof frames);
        table->slots[at] = (uint16_t)table->count;
    }
    s = &table->sites[table->slots[at] ? table->slots[at] - 1u : SITES_MAX - 1];
    s->seen++;
    return s;
}

enum sim_phase site_cut_due(void)
{
    struct sim_cut *cut = &sim->cut;

    return cut->writes && !--cut->writes ? cut->phase : SIM_PHASES;
}

void site_cut(struct sim_site *s, enum sim_phase phase)
{
    s->cut[phase]++;
    sim_power_cut(sim->cut.kill);
}
