/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is known of a simulated host, in memory that outlives its machines: arrays, groups, volumes
 * and what each sector of a volume may hold.
 *
 * There is one administrator, who writes down what will be before asking for it: `now` is what must
 * be there, `then` what will be once the request under way has been done. A machine cut off in
 * between has done it or not; the next one says which (host_settle).
 */
#ifndef ASHLAR_TESTS_SIM_HOST_WORLD_H
#define ASHLAR_TESTS_SIM_HOST_WORLD_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "model.h"
#include "rt/sim/sim.h"
#include "scenario.h"

#define HOST_DISKS     7
#define HOST_ARRAYS    3
#define HOST_GROUPS    2
#define HOST_VOLUMES   5
#define HOST_NAME      16
#define HOST_SNAPSHOTS 2u /* of a volume */
#define HOST_PATH      48

#define HOST_VOLUME_BYTES_MAX (1u << 20)
#define HOST_SPARSE_BYTES_MAX (2u << 20)

#define HOST_STATE_DIR   "/var/lib/ashlar"
#define HOST_RUNTIME_DIR "/run/ashlar"
#define HOST_SOCKET      HOST_RUNTIME_DIR "/ashlard.sock"
#define HOST_NBD_SOCKET  HOST_RUNTIME_DIR "/nbd.sock"

enum host_presence {
    HOST_ABSENT,
    HOST_THERE,
    HOST_STOPPED, /* whole; a later start or scan may bring it up */
    HOST_DOUBTFUL /* the same, of what is left of it */
};

struct host_array {
    enum host_presence presence;
    char name[HOST_NAME];
    char uuid[40]; /* as the daemon writes it; empty: not seen yet */
    uint32_t raid_disks, in_sync;
    int level;
    uint32_t members;   /* disks that take part or wait as spares, a bit each */
    uint32_t spares;    /* of them, as last seen */
    uint32_t attached;  /* members, and those that are faulty or stale; as last seen */
    bool fleeting;      /* what came up of one whose destruction was cut off: may go again */
    bool replacing;     /* as last seen */
    bool loose;         /* a copy that was read may be lost before the others are like it */
    bool unsynced;      /* parity may not fit somewhere; as last seen, or since a cut */
    uint32_t unsettled; /* that may take part or not: of a replacement, which ends by itself */
};

struct host_group {
    bool there;
    char name[HOST_NAME];
    uint64_t extent_bytes;
    uint32_t arrays, disks; /* its PVs, a bit each */
};

struct host_snapshot {
    char name[HOST_NAME];
    uint64_t size_bytes;
    unsigned slot;  /* its model: host_snapshot_model */
    uint32_t begun; /* the read of that model that gave what it holds... */
    bool known;     /* ...unless that has been read already */
};

struct host_volume {
    bool there, exported;
    bool own_socket; /* if exported */
    bool sparse;
    unsigned group;
    char name[HOST_NAME];
    uint64_t size_bytes;
    char origin[2 * HOST_NAME]; /* "v7" or "v7@s8", in the same group; empty: it is no clone */
    unsigned snapshot_count;
    struct host_snapshot snapshots[HOST_SNAPSHOTS];
};

struct host_state {
    struct host_array arrays[HOST_ARRAYS];
    struct host_group groups[HOST_GROUPS];
    struct host_volume volumes[HOST_VOLUMES];
};

/* What goes wrong in a seed besides cuts (host_trouble.h). */
enum host_trouble {
    HOST_TROUBLE_NONE,
    HOST_TROUBLE_MEMBERS,
    HOST_TROUBLE_SINGLE,
    HOST_TROUBLE_FILES,
    HOST_TROUBLE_BEYOND
};

struct host_world {
    const struct scenario_options *options;
    unsigned workers;
    uint64_t block_bytes; /* of every disk */
    unsigned names;       /* given so far: no name is used twice */
    uint32_t contents;    /* the same, of models */
    struct host_state now, then;
    enum host_trouble trouble;
    uint32_t victims; /* disks that their arrays may lose, or have lost, a bit each */
    uint32_t fragile; /* disks without copies that have had errors in this machine */
    uint32_t ghosts;  /* disks of arrays that were destroyed while they were out of them, as seen */
    uint32_t carrying; /* disks that have ever been used: something may stand on them */
    uint32_t spoilt;   /* groups of which one copy of the metadata has been spoilt, a bit each */
    bool unsaved;      /* the last change may not be remembered */
    uint32_t layered;  /* raw volumes that have had a snapshot, and may have it: a bit each */
    uint32_t unpinned; /* volumes whose models are, a bit each */
    bool changing;     /* `then` has been asked for and not been answered */
};
extern struct host_world *host;
extern struct model *host_models; /* of each volume, then of each snapshot */

/* host_status.c: what the daemon's `status` says, in the slots of `now` and `then`. Fails the
 * machine for what nobody has made, or cannot be used. */
void host_read_status(json_t *status, struct host_state *seen);
/* After a start, or when nobody knows whether a request has been done: `seen` must be as now or as
 * then; becomes what is known. */
void host_settle(const struct host_state *seen, bool started);
/* At any other time: `seen` must be as now; takes over what changes by itself. */
void host_compare(const struct host_state *seen);
/* The request under way has been done, or refused. */
void host_done(void);
void host_refused(void);

static inline bool host_has_parity(const struct host_array *a)
{
    return a->presence != HOST_ABSENT && a->level >= 5 && a->level <= 6;
}

/* Before a member that serves may go. */
void host_loosen(unsigned array);
/* A machine has ended in the middle of things: where parity may not fit, members that are not there
 * take with them what was being written (docs/formats.md). */
void host_tear(void);
/* It has, or may have, an image that takes what is written. */
bool host_has_image(unsigned volume);
/* What the volume will hold when it has been made: zeros; what another one, or a snapshot, does. */
void host_begin_volume(unsigned volume, uint64_t size_bytes);
void host_begin_clone(unsigned volume, unsigned origin, int snapshot);
/* The snapshot under way has been taken by now, if ever: while it was, nothing was forgotten. */
void host_keep_snapshot(void);
/* NULL, or the volume's last snapshot in `then`, which is being taken. */
struct host_snapshot *host_new_snapshot(unsigned volume);
struct model *host_snapshot_model(unsigned volume, const struct host_snapshot *s);
/* Whether the volume, or one of its snapshots, has clones. */
bool host_has_clones(unsigned volume);

/* Disks in use by what is there, or may be there again. */
uint32_t host_used_disks(const struct host_state *s);
/* Disks that nothing uses; and what becomes, in `then`, of arrays that are down when they are
 * taken. */
uint32_t host_free_disks(void);
void host_take_disks(uint32_t disks);
/* NULL, or the group that has this array. */
const struct host_group *host_group_of(unsigned array);
/* "/disks/d3" */
void host_disk_path(unsigned disk, char path[HOST_NAME]);
/* "g1/v7" */
void host_target(const struct host_state *s, unsigned volume, char target[2 * HOST_NAME]);
/* Where it is served. */
void host_socket(unsigned volume, char path[HOST_PATH]);
/* A fresh name. */
void host_name(char kind, char name[HOST_NAME]);

#endif
