/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "report.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <link.h>
#include <stdio.h>

#include "base/arith.h"
#include "rt/sim/site.h"

static uint64_t fault_total(const struct report *r, enum fault fault)
{
    if (fault == FAULT_POWER_CUT)
        return sim->counts.power_cuts;
    return fault == FAULT_KILL ? sim->counts.kills : r->faults[fault];
}

static double rate(uint64_t count, const struct report *r)
{
    return r->seconds > 0 ? (double)count / r->seconds : 0;
}

void report_text(const struct report *r)
{
    printf("scenario %s: %" PRIu64 " seeds in %.1f s (%.1f/s), %" PRIu64 " failed\n", r->scenario,
        r->seeds, r->seconds, rate(r->seeds, r), r->failed);
    printf("%" PRIu64 " machines, %" PRIu64 " power cuts (%.1f/s), %" PRIu64 " kills, %" PRIu64
           " stops; %" PRIu64 " I/Os, %" PRIu64 " turns of workers\n",
        sim->counts.machines, sim->counts.power_cuts, rate(sim->counts.power_cuts, r),
        sim->counts.kills, sim->counts.stops, sim->counts.ios, sim->counts.events);
    printf("faults:");
    for (unsigned i = 0; i < FAULTS; i++)
        printf(" %s %" PRIu64, fault_names[i], fault_total(r, i));
    printf("\n");
}

static json_t *describe_failures(const struct report *r)
{
    json_t *all = json_array();

    for (uint64_t i = 0; i < MIN(r->failed, FAILURES_MAX); i++)
        json_array_append_new(all, json_pack("{s:I, s:s}", "seed", (json_int_t)r->failures[i].seed,
                                       "reason", r->failures[i].reason));
    return all;
}

void report_json(const struct report *r)
{
    json_t *faults = json_object(), *all;
    char hash[17];

    for (unsigned i = 0; i < FAULTS; i++)
        json_object_set_new(faults, fault_names[i], json_integer((json_int_t)fault_total(r, i)));
    snprintf(hash, sizeof hash, "%016" PRIx64, r->hash);
    all = json_pack("{s:s, s:I, s:I, s:s, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:I, s:o}",
        "scenario", r->scenario, "seeds", (json_int_t)r->seeds, "last_seed",
        (json_int_t)r->last_seed, "hash", hash, "seconds", r->seconds, "machines",
        (json_int_t)sim->counts.machines, "power_cuts", (json_int_t)sim->counts.power_cuts, "kills",
        (json_int_t)sim->counts.kills, "stops", (json_int_t)sim->counts.stops, "ios",
        (json_int_t)sim->counts.ios, "events", (json_int_t)sim->counts.events, "faults", faults,
        "failed", (json_int_t)r->failed, "failures", describe_failures(r));
    json_dumpf(all, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(all);
}

/* The executable is the first object. */
static int load_address(struct dl_phdr_info *info, size_t size, void *address)
{
    *(uintptr_t *)address = info->dlpi_addr;
    return 1;
}

static void print_site(FILE *f, const struct sim_site *s, uintptr_t base)
{
    fprintf(f, "%s %" PRIu64, s->kind, s->seen);
    for (unsigned phase = 0; phase < SIM_PHASES; phase++)
        fprintf(f, " %" PRIu64, s->cut[phase]);
    for (unsigned i = 0; i < SIM_SITE_FRAMES && s->frames[i]; i++)
        fprintf(f, " %" PRIxPTR, (uintptr_t)s->frames[i] - base);
    fputc('\n', f);
}

int report_sites(const char *path)
{
    FILE *f = fopen(path, "we");
    const struct sim_site *sites;
    uintptr_t base = 0;
    unsigned count;

    if (!f)
        return -errno;
    dl_iterate_phdr(load_address, &base);
    sites = sim_sites(&count);
    for (unsigned i = 0; i < count; i++)
        print_site(f, &sites[i], base);
    return fclose(f) ? -errno : 0;
}
