/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the parts of an open image share. Nobody outside lib/image includes it.
 *
 * Locks, in the order in which they are taken: control (a mutex: commits, growth, snapshots,
 * resize) -> gate (requests; closed for moments in which nothing may be under way) -> claims
 * (ranges of the guest's disk that are being allocated or freed) -> a shard of the map (spinlocks)
 * -> map.dirty_lock -> clusters.lock.
 */
#ifndef ASHLAR_IMAGE_IMAGE_H
#define ASHLAR_IMAGE_IMAGE_H

#include <stdatomic.h>

#include "image/entry.h"
#include "image/qcow2.h"
#include "rt/sync.h"

#define MAP_SHARDS   64
#define SECTOR_BYTES 512

/* A bit for each 512-byte sector of a table that is not on the disk yet. */
struct dirty {
    uint64_t *bits;
    unsigned sectors;
};

/* An L2 table in memory, as it stands on the disk. Under its shard's lock. */
struct l2_table {
    struct list link;     /* in map.dirty, while listed */
    unsigned index;       /* in L1 */
    uint64_t host_offset; /* where it is, or will be */
    bool listed;
    bool whole;       /* new or moved: on the disk there is nothing yet */
    bool used;        /* since the clock came by */
    unsigned writing; /* commits that carry parts of it */
    struct dirty dirty;
    uint8_t *bytes; /* one cluster */
};

struct l1_slot {
    uint64_t word;          /* as on the disk, or as it will be */
    struct l2_table *table; /* NULL: not in memory */
    bool loading;
};

/* Together with the freed clusters. */
enum map_state {
    MAP_DURABLE,
    MAP_COMMITTING, /* all that was changed is captured, and may not be durable yet */
    MAP_CHANGED     /* since then, or it failed: something is in memory only */
};

struct map {
    struct l1_slot *slots;
    unsigned count; /* of slots: header.l1_entries */
    struct map_shard {
        struct spinlock lock;
        struct wait_queue loaders; /* those who wait for tables of it */
        char pad[32];
    } shards[MAP_SHARDS]; /* by L1 index */
    struct spinlock dirty_lock;
    struct list dirty;     /* tables */
    struct dirty l1_dirty; /* under dirty_lock */
    _Atomic enum map_state state;
    _Atomic uint64_t kept; /* zeroings that left an entry the place where data was */
    atomic_uint tables, tables_max;
    atomic_uint hand; /* where eviction goes on */
};

struct freed_run {
    uint64_t cluster;
    uint64_t count;
};
struct freed {
    struct freed_run *runs;
    size_t count, capacity;
};
#define FREED_SPARE 4096 /* room of clusters.freed for those who have reserved some */

/* A refcount block in memory, as it stands on the disk. */
struct refblock {
    uint64_t number, host_offset;
    uint8_t *bytes;
    struct dirty dirty;
};

/* The file's clusters. Under `lock`. */
struct clusters {
    struct spinlock lock;
    uint64_t count;  /* those that have refcounts and are in the file */
    uint64_t free;   /* bits in `allocatable` */
    uint64_t kept;   /* of the free ones: not for guests, but to delete a snapshot */
    uint64_t cursor; /* where the next search begins */
    uint64_t
        untouched; /* clusters from here on read as zeros: added, and never used since; ~0: none */
    uint64_t *allocatable;         /* a bit each: refcount 0, and nobody remembers it */
    struct refblock **blocks;      /* by number; NULL: none */
    uint64_t block_count;          /* of `blocks`: what the refcount table has room for */
    uint64_t dirty_from, dirty_to; /* blocks among which are all that are dirty */
    struct freed freed;            /* references given up since the last commit */
    uint64_t *metadata;            /* a bit each: metadata.c */
    uint64_t metadata_count;
};

struct space {
    struct spinlock lock;
    struct list waiters;         /* writes that have not been told to try again */
    unsigned waiting;            /* those, and who has been told but not run yet */
    _Atomic uint64_t generation; /* goes up when there may be more room */
    bool growing;                /* a coroutine sees to it */
    _Atomic uint64_t reserve;    /* clusters wanted beyond what is wanted ahead */
    bool starving;
    struct co_event kick; /* for it: do not wait longer */
    struct co_event idle; /* it has ended */
};

/* Freed clusters on their way: out of the map on the disk, not yet to be used again. */
struct reaper {
    struct spinlock lock;
    struct list batches;
    bool running;
    struct co_event idle;
};

struct qcow2 {
    struct blockdev dev;
    struct blockdev *file, *backing;
    struct qcow2_options options;
    struct qcow2_header header; /* as on the disk */
    struct qcow2_geometry g;
    struct qcow2_snapshot *snapshots; /* header.snapshot_count */
    _Atomic uint32_t snapshot_count;  /* of the header, for those who do not hold control */
    _Atomic bool corrupt;
    _Atomic bool broken;      /* memory and disk differ: opening it again mends it */
    _Atomic bool marked;      /* the disk says that it is in use */
    struct co_event reported; /* that it is corrupt */
    struct co_mutex admin; /* snapshots, resizes and checks, one after the other; before control */
    struct co_mutex control;
    struct gate gate;
    struct grace grace;
    struct range_lock claims; /* bytes of the guest's disk */
    struct map map;
    struct clusters clusters;
    struct space space;
    _Atomic bool sinking; /* writes go to the backing (sink.c); changes with the gate closed */
    _Atomic bool closing;
    struct reaper reaper;
};

static inline struct qcow2 *qcow2_of(struct blockdev *d)
{
    return (struct qcow2 *)((char *)d - offsetof(struct qcow2, dev));
}

static inline uint64_t cluster_bytes(const struct qcow2 *q)
{
    return UINT64_C(1) << q->g.cluster_bits;
}

static inline uint64_t subcluster_bytes(const struct qcow2 *q)
{
    return UINT64_C(1) << q->g.subcluster_bits;
}

/* Not once it is known to be damaged. */
static inline bool image_may_change(struct qcow2 *q)
{
    return !atomic_load_explicit(&q->corrupt, memory_order_relaxed) &&
           !atomic_load_explicit(&q->broken, memory_order_relaxed);
}

/* A request inside: neither the layout changes, nor does what it found in the map get used anew. */
struct visit {
    unsigned ticket;
};
static inline void visit_begin(struct qcow2 *q, struct visit *v)
{
    gate_enter(&q->gate);
    v->ticket = grace_enter(&q->grace);
}

static inline void visit_end(struct qcow2 *q, struct visit *v)
{
    grace_leave(&q->grace, v->ticket);
    gate_leave(&q->gate);
}

/* dirty.c */
int dirty_init(struct dirty *d, uint64_t bytes);
void dirty_free(struct dirty *d);
void dirty_mark(struct dirty *d, uint64_t offset, uint64_t length);
void dirty_clear(struct dirty *d);
bool dirty_any(const struct dirty *d);
/* The next run of dirty sectors from `from` on; false: none. */
bool dirty_next(const struct dirty *d, unsigned from, unsigned *start, unsigned *end);

/* table.c: L2 tables in memory. */
struct l2_table *table_new(const struct qcow2 *q, unsigned index);
void table_free(struct l2_table *t);
/* The table is in memory on return (unless L1 has none, or it went again). Waits. -EIO, -ENOMEM. */
int table_load(struct qcow2 *q, unsigned index);
/* Under the shard's lock: it was changed. */
void table_touch(struct qcow2 *q, struct l2_table *t, uint64_t offset, uint64_t length);
void table_list(struct qcow2 *q, struct l2_table *t);
/* Makes room for one more, if the limit asks for it and there is a clean one. */
void table_evict(struct qcow2 *q);
static inline struct map_shard *map_shard(struct qcow2 *q, unsigned index)
{
    return &q->map.shards[index % MAP_SHARDS];
}

/* image.c: tables in memory as the options say. */
void image_limit_tables(struct qcow2 *q);

/* map.c: what stands where, and changing it. */
struct map_piece {
    enum qcow2_kind kind;
    bool shared; /* it cannot be written where it is: the cluster has other owners, or is compressed
                  */
    uint64_t host;   /* DATA: where */
    uint64_t length; /* of the guest's bytes, all alike; DATA: contiguous below */
    struct qcow2_entry entry;
};
int map_init(struct qcow2 *q);
void map_free_tables(struct map *m);
/* What stands at `offset`, at most `length`. Waits for tables. -EIO. */
int map_find(struct qcow2 *q, uint64_t offset, uint64_t length, struct map_piece *piece);
/* The entry of the cluster at `offset`; {0} without a table. */
int map_entry(struct qcow2 *q, uint64_t offset, struct qcow2_entry *e);
/*
 * The table of `offset` is in memory, our own (refcount 1), and may be changed until the caller
 * waits (its shard is locked): index of the entry in it. -ENOSPC, -EIO, -ENOMEM: nothing is locked.
 */
int map_open(struct qcow2 *q, uint64_t offset, struct l2_table **t, unsigned *index);
void map_close(struct qcow2 *q, struct l2_table *t);
/* Between the two: puts an entry. */
void map_put(struct qcow2 *q, struct l2_table *t, unsigned index, struct qcow2_entry e);

/* clusters.c, clusters_take.c, clusters_load.c, freed.c: who may have which cluster, in memory. */
int clusters_init(struct qcow2 *q, struct error *err);
void clusters_free(struct qcow2 *q);
/* Between 1 and `want` clusters in a row, refcount 1. *fresh: they read as zeros. -ENOSPC. */
int clusters_take(struct qcow2 *q, uint64_t want, uint64_t *first, uint64_t *count, bool *fresh);
/* The same, also of those that are kept from guests. */
int clusters_take_kept(
    struct qcow2 *q, uint64_t want, uint64_t *first, uint64_t *count, bool *fresh);
/* Keeps so many free ones from guests: a full image can still have its snapshots deleted. `more`:
 * that much more, if any are kept. */
void clusters_keep(struct qcow2 *q, uint64_t count);
void clusters_keep_more(struct qcow2 *q, uint64_t more);
/* Under clusters.lock: those that guests may take. */
uint64_t clusters_available(const struct qcow2 *q);
/* So many in a row, also kept ones. */
int clusters_take_row(struct qcow2 *q, uint64_t count, uint64_t *first);
/* One below `limit`, the first. -ENOSPC. */
int clusters_take_below(struct qcow2 *q, uint64_t limit, uint64_t *cluster);
/* The next searches begin at the file's beginning. */
void clusters_rewind(struct qcow2 *q);
/* The file ends behind the last cluster in use and `ahead` free ones (or where it ends already):
 * returns the number of those that are left. */
uint64_t clusters_cut(struct qcow2 *q, uint64_t ahead);
/* What was taken, and never put in the map. */
void clusters_give_back(struct qcow2 *q, uint64_t first, uint64_t count);
/* The next `references` calls of clusters_drop will find room. -ENOMEM. */
int clusters_reserve(struct qcow2 *q, unsigned references);
/* A reference is no longer in the map in memory. */
void clusters_drop(struct qcow2 *q, uint64_t cluster, uint64_t count);
/* Counts a run of references down; at 0 the clusters may not be taken yet. -ERANGE: some were 0. */
int clusters_count_down(struct qcow2 *q, const struct freed_run *run);
/* The clusters of what an entry refers to. -ENOMEM. */
int freed_add_entry(const struct qcow2 *q, struct freed *f, struct qcow2_entry e);
/* The same of what an entry refers to: at most 3 references reserved. */
void clusters_drop_entry(struct qcow2 *q, struct qcow2_entry e);
/* Clusters were added from `from` on, which read as zeros. */
void clusters_fresh(struct qcow2 *q, uint64_t from);
/* Those with refcount 0 may be taken. */
void clusters_allow(struct qcow2 *q, const struct freed *freed);
/* References down; at 0 the clusters may be taken again. */
void clusters_release(struct qcow2 *q, const struct freed *freed);
struct refblock *refblock_new(const struct qcow2 *q, uint64_t number, uint64_t host_offset);
void refblock_free(struct refblock *b);
/* Under clusters.lock: refcounts of block `number` are not on the disk. */
void clusters_dirty(struct qcow2 *q, uint64_t number, uint64_t offset, uint64_t length);
/* Under clusters.lock: the file has `count` clusters now; those of the new ones with a refcount of
 * 0 may be taken. */
void clusters_add(struct qcow2 *q, uint64_t count);
uint64_t clusters_refcount(struct qcow2 *q, uint64_t cluster);
/* Counts what the entries of a table refer to once more. -ERANGE: there is no room for more, or
 * they were 0 (some may have changed). */
int clusters_count_up(struct qcow2 *q, const uint8_t *table);
/* An entry of a guest's may refer to it; `alone`: as its only owner. */
bool clusters_may_refer(struct qcow2 *q, uint64_t cluster, bool alone);
/* Of the image as it is opened: -EUCLEAN, when tables lie over one another. */
int metadata_init(struct qcow2 *q, struct error *err);
int freed_add(struct freed *f, uint64_t cluster, uint64_t count);

/* space.c: room for more. */
void space_init(struct qcow2 *q);
/* So many clusters are free: if that is less than is wanted ahead, the file is made longer
 * meanwhile. */
void space_ask(struct qcow2 *q, uint64_t free);
/* Waits until there may be more room than at `generation`. -ENOSPC: due_ns has passed. Not inside a
 * visit. */
int space_wait(struct qcow2 *q, uint64_t generation, uint64_t due_ns);
/* So many clusters are free, as far as one can say: grows for them. Waits as a write would.
 * -ENOSPC. */
int space_reserve(struct qcow2 *q, uint64_t clusters);
/* There may be more room. */
void space_wake(struct qcow2 *q);
/* Nothing runs any more. */
void space_end(struct qcow2 *q);

/* extend.c: clusters and refcount blocks for a longer file. Under `control`. */
int clusters_extend(struct qcow2 *q, uint64_t file_bytes);

/* commit.c */
/* All that was changed before the call is durable after it. */
int image_commit(struct qcow2 *q);
/* The same under `control`; `all`: refcounts too that only went down. */
int commit_locked(struct qcow2 *q, bool all);
/* After a change: commits where guests never do, so that changed tables do not fill the memory.
 * What fails is tried again by a flush. */
void image_relieve(struct qcow2 *q);
/* mark.c: the header says that the image is in use (and bitmaps are out of date). Quick when it
 * does. */
int image_mark(struct qcow2 *q);
/* drop_bitmaps.c: the clusters that the bitmaps use. -EIO, -EBADMSG, -ENOMEM: *f has some of them.
 */
int bitmaps_clusters(struct qcow2 *q, struct freed *f);
/* Something in it cannot be: no more writes, and the header says so. */
void image_corrupt(struct qcow2 *q);
/* Under `control`; as good as can be. */
void header_say_corrupt(struct qcow2 *q);
/* Writes the header durably, under `control`; header becomes what it says. */
int header_write(struct qcow2 *q, const struct qcow2_header *h);

/* reap.c */
void reaper_init(struct qcow2 *q);
/* Takes the runs over. Never fails: without memory it does the work at once. */
void reaper_add(struct qcow2 *q, struct freed *freed);
void reaper_end(struct qcow2 *q);

/* sink.c, inside a visit: nothing of the image is above that part of the backing on return. Or of
 * some of it: *offset goes on. */
int image_sink_range(struct qcow2 *q, uint64_t offset, uint64_t length);
int image_sink_some(struct qcow2 *q, uint64_t *offset, uint64_t length);

/* read.c, write.c, zero.c: the guest's requests. */
int image_read(
    struct blockdev *d, const struct iovec *iov, int iov_count, uint64_t offset, uint64_t length);
int image_write(struct blockdev *d, const struct iovec *iov, int iov_count, uint64_t offset,
    uint64_t length, unsigned flags);
int image_discard(struct blockdev *d, uint64_t offset, uint64_t length);
int image_write_zeroes(struct blockdev *d, uint64_t offset, uint64_t length, unsigned flags);
int image_extents(struct blockdev *d, uint64_t offset, uint64_t length, struct block_extent *e);
/* Inside a visit; any byte range, also beyond the disk's end (zeros). */
int image_read_inside(
    struct qcow2 *q, const struct iovec *iov, int iov_count, uint64_t offset, uint64_t length);
/*
 * allocate.c: writes where the map has no place for it yet: some of it. Inside a visit. -ENOSPC.
 * -ESTALE: call again after a grace period, with *settled (0 at first) as it is then.
 */
int image_write_new(struct qcow2 *q, const struct iovec *iov, int iov_count, uint64_t offset,
    uint64_t length, const struct map_piece *piece, uint64_t *settled, uint64_t *written);
/* The same of what stands there, read by way of `buf` (`length` of room): so that it stands in the
 * file itself, but for zeros. Of a piece that is QCOW2_BACKED. */
int image_copy_up(struct qcow2 *q, void *buf, uint64_t offset, uint64_t length,
    const struct map_piece *piece, uint64_t *copied);

#endif
