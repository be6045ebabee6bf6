/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The promises of the simulated disk, most of them over many seeds: what may come out of a power
 * cut must come out of one, and nothing else. */
#include "unit.h"

#include <errno.h>
#include <string.h>

#include "rt/sim/disk.h"

#define SECTOR    SIM_SECTOR_BYTES
#define DISK_SIZE (1u << 20)
#define CUTS      64 /* seeds tried where each of a few outcomes must be seen */

static struct sim_disk disk;
static struct sim_random rnd;

static void new_disk(uint32_t atomic_bytes, enum sim_discard discard, uint64_t seed)
{
    struct sim_disk_params params = {.path = "/dev/sim",
        .size_bytes = DISK_SIZE,
        .logical_block_bytes = SECTOR,
        .atomic_bytes = atomic_bytes,
        .discard = discard,
        .can_zero = true,
        .seed = seed};

    sim_disk_init(&disk, &params);
    rnd.state = seed;
}

static unsigned char pattern[SIM_DISK_BYTES_MAX];

static uint64_t put_on(struct sim_disk *d, uint64_t sector, uint64_t sectors, int byte)
{
    struct iovec iov = {pattern, sectors * SECTOR};
    struct io io = {.kind = IO_WRITE, .iov = &iov, .iov_count = 1, .offset = sector * SECTOR};

    memset(pattern, byte, iov.iov_len);
    return sim_disk_apply(d, &io, &rnd);
}

static uint64_t put(uint64_t sector, uint64_t sectors, int byte)
{
    return put_on(&disk, sector, sectors, byte);
}

static uint64_t ask(enum io_kind kind, uint64_t sector, uint64_t sectors)
{
    struct io io = {.kind = kind, .offset = sector * SECTOR, .length = sectors * SECTOR};

    return sim_disk_apply(&disk, &io, &rnd);
}

static void flush(void)
{
    sim_disk_flushed(&disk, sim_disk_flush_begin(&disk));
}

/* The byte of which the sectors consist; -1: not of one, -2: the former owner's noise. */
static int got_on(struct sim_disk *d, uint64_t sector)
{
    unsigned char buf[SECTOR], peeked[SECTOR], noise[SECTOR];
    struct iovec iov = {buf, SECTOR};
    struct io io = {.kind = IO_READ, .iov = &iov, .iov_count = 1, .offset = sector * SECTOR};

    sim_disk_peek(d, peeked, sector * SECTOR, SECTOR);
    CU_ASSERT_EQUAL(sim_disk_apply(d, &io, &rnd), 0);
    CU_ASSERT_EQUAL(memcmp(buf, peeked, SECTOR), 0);
    sim_disk_noise(d, sector, noise);
    if (!memcmp(buf, noise, SECTOR))
        return -2;
    for (unsigned i = 1; i < SECTOR; i++)
        if (buf[i] != buf[0])
            return -1;
    return buf[0];
}

static int got(uint64_t sector)
{
    return got_on(&disk, sector);
}

#define NOISE (-2)

static void test_noise(void)
{
    unsigned char a[SECTOR], b[SECTOR];
    uint64_t magic;

    new_disk(512, SIM_DISCARD_ZEROS, 1);
    sim_disk_noise(&disk, 7, a);
    memcpy(&magic, a, sizeof magic);
    CU_ASSERT_EQUAL(magic, SIM_NOISE_MAGIC);
    sim_disk_noise(&disk, 8, b);
    CU_ASSERT_NOT_EQUAL(memcmp(a, b, SECTOR), 0);
    put(7, 1, 5);
    CU_ASSERT_EQUAL(got(6), NOISE);
    CU_ASSERT_EQUAL(got(7), 5);
    CU_ASSERT_EQUAL(got(8), NOISE);
    CU_ASSERT_EQUAL(got(DISK_SIZE / SECTOR - 1), NOISE);
    new_disk(512, SIM_DISCARD_ZEROS, 2);
    CU_ASSERT_EQUAL(got(7), NOISE);
    sim_disk_noise(&disk, 7, b);
    CU_ASSERT_NOT_EQUAL(memcmp(a, b, SECTOR), 0);
}

static void test_lists(void)
{
    unsigned char written[4 * SECTOR], read[4 * SECTOR];
    struct iovec out[] = {{written, 100}, {written + 100, 1500}, {written + 1600, 448}};
    struct iovec in[] = {{read, SECTOR}, {read + SECTOR, 3 * SECTOR}};
    struct io write = {.kind = IO_WRITE, .iov = out, .iov_count = 3, .offset = 9 * SECTOR};
    struct io back = {.kind = IO_READ, .iov = in, .iov_count = 2, .offset = 9 * SECTOR};

    new_disk(512, SIM_DISCARD_ZEROS, 1);
    for (unsigned i = 0; i < sizeof written; i++)
        written[i] = (unsigned char)(i * 7 + i / SECTOR);
    sim_disk_apply(&disk, &write, &rnd);
    sim_disk_apply(&disk, &back, &rnd);
    CU_ASSERT_EQUAL(memcmp(written, read, sizeof read), 0);
    CU_ASSERT_EQUAL(got(8), NOISE);
    CU_ASSERT_EQUAL(got(13), NOISE);
}

static void test_discard(void)
{
    static const int after[] = {
        [SIM_DISCARD_ZEROS] = 0, [SIM_DISCARD_NOTHING] = 3, [SIM_DISCARD_NOISE] = NOISE};

    for (int discard = SIM_DISCARD_ZEROS; discard <= SIM_DISCARD_NOISE; discard++) {
        new_disk(512, (enum sim_discard)discard, 1);
        put(60, 10, 3);
        CU_ASSERT_NOT_EQUAL(ask(IO_DISCARD, 62, 4), 0);
        CU_ASSERT_EQUAL(got(61), 3);
        CU_ASSERT_EQUAL(got(62), after[discard]);
        CU_ASSERT_EQUAL(got(65), after[discard]);
        CU_ASSERT_EQUAL(got(66), 3);
        ask(IO_WRITE_ZEROES, 60, 3);
        CU_ASSERT_EQUAL(got(60), 0);
        CU_ASSERT_EQUAL(got(62), 0);
        CU_ASSERT_EQUAL(ask(IO_SYNC, 0, 0), 0);
    }
}

/* Each of the outcomes of a change to what was flushed is seen, nothing else. */
static void changed(enum io_kind kind, enum sim_discard discard, int old, int new)
{
    unsigned seen_old = 0, seen_new = 0, seen_torn = 0;

    for (uint64_t seed = 0; seed < CUTS; seed++) {
        unsigned news = 0;

        new_disk(512, discard, seed);
        if (old != NOISE)
            put(10, 8, old);
        flush();
        if (kind == IO_WRITE)
            put(10, 8, new);
        else
            ask(kind, 10, 8);
        sim_disk_cut(&disk, &rnd);
        for (unsigned i = 0; i < 8; i++) {
            CU_ASSERT_TRUE(got(10 + i) == old || got(10 + i) == new);
            news += got(10 + i) == new;
        }
        CU_ASSERT_EQUAL(got(9), NOISE);
        CU_ASSERT_EQUAL(got(18), NOISE);
        seen_old += news == 0;
        seen_new += news == 8;
        seen_torn += news > 0 && news < 8;
    }
    CU_ASSERT(seen_old && seen_new && seen_torn);
}

static void test_cut(void)
{
    changed(IO_WRITE, SIM_DISCARD_ZEROS, 1, 2);
    changed(IO_WRITE, SIM_DISCARD_ZEROS, NOISE, 2);
    changed(IO_WRITE_ZEROES, SIM_DISCARD_ZEROS, 1, 0);
    changed(IO_WRITE_ZEROES, SIM_DISCARD_ZEROS, NOISE, 0);
    changed(IO_DISCARD, SIM_DISCARD_ZEROS, 1, 0);
    changed(IO_DISCARD, SIM_DISCARD_NOISE, 1, NOISE);
}

/* Units of 4096 bytes, aligned on the disk, stay whole, whatever the write's own alignment. */
static void test_torn_4096(void)
{
    unsigned mixed = 0;

    for (uint64_t seed = 0; seed < CUTS; seed++) {
        bool first;

        new_disk(4096, SIM_DISCARD_ZEROS, seed);
        put(0, 64, 1);
        flush();
        put(13, 30, 2); /* 3 sectors of a unit, 3 units, 3 sectors of a unit */
        sim_disk_cut(&disk, &rnd);
        first = got(13) == 2;
        for (uint64_t s = 0; s < 64; s++) {
            bool in = s >= 13 && s < 43;

            CU_ASSERT_TRUE(got(s) == 1 || (in && got(s) == 2));
            if (in && s % 8 && s > 13)
                CU_ASSERT_EQUAL(got(s), got(s - 1));
            mixed += in && (got(s) == 2) != first;
        }
    }
    CU_ASSERT(mixed > 0);
}

/* Without a flush, every sector holds one of its versions, and all of them are seen: the first
 * and the last at least, and a later write kept where an earlier one elsewhere is lost. */
static void test_reordered(void)
{
    unsigned seen[5] = {0}, reordered = 0;

    for (uint64_t seed = 0; seed < 4 * CUTS; seed++) {
        new_disk(512, SIM_DISCARD_ZEROS, seed);
        put(100, 4, 0);
        flush();
        for (int version = 1; version <= 4; version++)
            put(100, 2, version);
        put(103, 1, 9);
        sim_disk_cut(&disk, &rnd);
        for (unsigned i = 0; i < 2; i++) {
            CU_ASSERT_TRUE_FATAL(got(100 + i) >= 0 && got(100 + i) <= 4);
            seen[got(100 + i)]++;
        }
        CU_ASSERT_EQUAL(got(102), 0);
        reordered += got(100) == 0 && got(103) == 9;
    }
    CU_ASSERT(seen[0] && seen[1] && seen[2] && seen[3] && seen[4] && reordered);
}

/* Overlapping writes of all sizes against a list of the versions of each sector. */
static void test_versions(void)
{
    enum { SECTORS = 64, WRITES = 40 };

    for (uint64_t seed = 0; seed < CUTS; seed++) {
        bool may[SECTORS][WRITES + 1] = {{false}};

        new_disk(seed % 2 ? 4096 : 512, SIM_DISCARD_ZEROS, seed);
        put(0, SECTORS, 0);
        flush();
        for (unsigned i = 0; i < SECTORS; i++)
            may[i][0] = true;
        for (int version = 1; version <= WRITES; version++) {
            uint64_t at = sim_below(&rnd, SECTORS), n = 1 + sim_below(&rnd, SECTORS - at);
            bool durable = sim_one_in(&rnd, 8);
            uint64_t number = put(at, n, version);

            if (durable)
                sim_disk_durable(&disk, number);
            for (uint64_t i = at; i < at + n; i++) {
                for (int older = 0; durable && older < version; older++)
                    may[i][older] = false;
                may[i][version] = true;
            }
        }
        sim_disk_cut(&disk, &rnd);
        for (unsigned i = 0; i < SECTORS; i++) {
            CU_ASSERT_TRUE_FATAL(got(i) >= 0 && got(i) <= WRITES);
            CU_ASSERT_TRUE(may[i][got(i)]);
        }
    }
}

static void test_flush(void)
{
    unsigned lost = 0;

    for (uint64_t seed = 0; seed < CUTS; seed++) {
        uint64_t begun;

        new_disk(512, SIM_DISCARD_ZEROS, seed);
        put(0, 4, 1);
        put(2, 4, 2);
        begun = sim_disk_flush_begin(&disk);
        put(4, 4, 3); /* not covered */
        sim_disk_flushed(&disk, begun);
        CU_ASSERT_EQUAL(disk.log_count, 1);
        CU_ASSERT_EQUAL(disk.log_bytes, 4 * SECTOR);
        sim_disk_cut(&disk, &rnd);
        CU_ASSERT(got(1) == 1 && got(2) == 2 && got(3) == 2);
        CU_ASSERT(got(4) == 2 || got(4) == 3);
        CU_ASSERT(got(7) == NOISE || got(7) == 3);
        lost += got(4) == 2;
        CU_ASSERT(disk.log_count == 0 && disk.log_bytes == 0);
    }
    CU_ASSERT(lost > 0 && lost < CUTS);
}

/* A flush that began and did not end promises nothing. */
static void test_flush_unfinished(void)
{
    unsigned lost = 0;

    for (uint64_t seed = 0; seed < CUTS; seed++) {
        new_disk(512, SIM_DISCARD_ZEROS, seed);
        put(0, 1, 1);
        sim_disk_flush_begin(&disk);
        sim_disk_cut(&disk, &rnd);
        lost += got(0) == NOISE;
    }
    CU_ASSERT(lost > 0);
}

/* A durable write stays, and neither those before nor after it do for its sake. */
static void test_durable(void)
{
    unsigned older_lost = 0, newer_kept = 0;

    for (uint64_t seed = 0; seed < CUTS; seed++) {
        uint64_t number;

        new_disk(512, SIM_DISCARD_ZEROS, seed);
        put(0, 8, 1);
        number = put(2, 4, 2);
        put(4, 4, 3);
        sim_disk_durable(&disk, number);
        sim_disk_durable(&disk, number + 100); /* not in the log */
        sim_disk_cut(&disk, &rnd);
        CU_ASSERT(got(2) == 2 && got(3) == 2);
        CU_ASSERT(got(5) == 2 || got(5) == 3);
        CU_ASSERT(got(0) == NOISE || got(0) == 1);
        older_lost += got(0) == NOISE;
        newer_kept += got(5) == 3;
    }
    CU_ASSERT(older_lost > 0 && newer_kept > 0);
}

static void test_apply_torn(void)
{
    unsigned counts[9] = {0};

    for (uint64_t seed = 0; seed < 4 * CUTS; seed++) {
        unsigned applied = 0;
        struct iovec iov = {pattern, 8 * SECTOR};
        struct io io = {.kind = IO_WRITE, .iov = &iov, .iov_count = 1, .offset = 3 * SECTOR};

        new_disk(512, SIM_DISCARD_ZEROS, seed);
        put(0, 16, 1);
        flush();
        memset(pattern, 2, sizeof pattern);
        sim_disk_apply_torn(&disk, &io, &rnd);
        for (uint64_t s = 0; s < 16; s++) {
            CU_ASSERT_TRUE(got(s) == 1 || (got(s) == 2 && s >= 3 && s < 11));
            applied += got(s) == 2;
        }
        counts[applied]++;
        sim_disk_cut(&disk, &rnd);
        for (uint64_t s = 0; s < 16; s++)
            CU_ASSERT_TRUE(got(s) == 1 || (got(s) == 2 && s >= 3 && s < 11));
    }
    CU_ASSERT(counts[2] && counts[4] && counts[6]);
    new_disk(512, SIM_DISCARD_ZEROS, 1);
    disk.lose_writes = 1;
    sim_disk_apply_torn(
        &disk, &(struct io){.kind = IO_WRITE_ZEROES, .offset = 0, .length = SECTOR}, &rnd);
    CU_ASSERT_EQUAL(got(0), NOISE);
}

/* More writes than entries: the newest may be lost, the oldest not. */
static void test_overflow_entries(void)
{
    unsigned lost = 0;

    new_disk(512, SIM_DISCARD_ZEROS, 1);
    for (unsigned i = 0; i <= SIM_LOG_WRITES; i++)
        put(i, 1, (int)(i % 250));
    CU_ASSERT_EQUAL(disk.log_count, SIM_LOG_WRITES / 2 + 1);
    CU_ASSERT_EQUAL(disk.log_bytes, (SIM_LOG_WRITES / 2 + 1) * SECTOR);
    sim_disk_cut(&disk, &rnd);
    for (unsigned i = 0; i <= SIM_LOG_WRITES; i++) {
        bool kept = got(i) == (int)(i % 250);

        CU_ASSERT_TRUE(kept || (i >= SIM_LOG_WRITES / 2 && got(i) == NOISE));
        lost += !kept;
    }
    CU_ASSERT(lost > 0);
}

static struct sim_disk_params large(uint64_t seed)
{
    return (struct sim_disk_params){.path = "/dev/large",
        .size_bytes = SIM_DISK_BYTES_MAX,
        .logical_block_bytes = 4096,
        .atomic_bytes = 4096,
        .seed = seed};
}

/* More bytes than the log holds; and one write alone. */
static void test_overflow_bytes(void)
{
    struct sim_disk_params params = large(3);
    const uint64_t mib = (1u << 20) / SECTOR;

    sim_disk_init(&disk, &params);
    for (unsigned i = 0; i < 5; i++)
        put(i * mib, mib, (int)i);
    CU_ASSERT_EQUAL(disk.log_count, 3);
    CU_ASSERT_EQUAL(disk.log_bytes, 3u << 20);
    CU_ASSERT_EQUAL(disk.log[0].offset, 2u << 20);
    CU_ASSERT_EQUAL(disk.log[0].before, 0);
    put(0, 4 * mib, 7); /* just fits */
    CU_ASSERT_EQUAL(disk.log_count, 1);
    put(0, 4 * mib + 8, 8);
    CU_ASSERT_EQUAL(disk.log_count, 0);
    sim_disk_cut(&disk, &rnd);
    CU_ASSERT(got(0) == 8 && got(4 * mib + 7) == 8 && got(4 * mib + 8) == 4);
    put(0, SIM_DISK_BYTES_MAX / SECTOR, 9);
    sim_disk_cut(&disk, &rnd);
    CU_ASSERT(got(0) == 9 && got(SIM_DISK_BYTES_MAX / SECTOR - 1) == 9);
}

static void test_faults(void)
{
    new_disk(512, SIM_DISCARD_ZEROS, 1);
    disk.faults[2] = (struct sim_fault){.kinds = 1u << IO_WRITE | 1u << IO_SYNC,
        .offset = 4096,
        .length = 4096,
        .times = 2,
        .error = -EIO};
    disk.faults[5] = (struct sim_fault){.kinds = 1u << IO_READ,
        .offset = 0,
        .length = SECTOR,
        .times = UINT32_MAX,
        .error = -ENOSPC};
    CU_ASSERT_EQUAL(sim_disk_fault(&disk, IO_WRITE, 0, 4096), 0);
    CU_ASSERT_EQUAL(sim_disk_fault(&disk, IO_WRITE, 8192, 4096), 0);
    CU_ASSERT_EQUAL(sim_disk_fault(&disk, IO_READ, 4096, 4096), 0);
    CU_ASSERT_EQUAL(sim_disk_fault(&disk, IO_WRITE, 0, 4608), -EIO);
    CU_ASSERT_EQUAL(sim_disk_fault(&disk, IO_SYNC, 0, 0), -EIO);
    CU_ASSERT_EQUAL(sim_disk_fault(&disk, IO_WRITE, 0, 4608), 0);
    for (unsigned i = 0; i < 10; i++)
        CU_ASSERT_EQUAL(sim_disk_fault(&disk, IO_READ, 0, 4096), -ENOSPC);
    disk.present = false;
    CU_ASSERT_EQUAL(sim_disk_fault(&disk, IO_DISCARD, 0, 4096), -ENXIO);
}

static void test_faults_cut(void)
{
    new_disk(512, SIM_DISCARD_ZEROS, 1);
    disk.faults[0] = (struct sim_fault){.kinds = ~0u, .length = 1, .times = 3, .error = -EIO};
    disk.faults[1] =
        (struct sim_fault){.kinds = 1u << IO_READ, .length = 1, .times = UINT32_MAX, .error = -EIO};
    disk.lose_writes = disk.misdirect_writes = disk.stalled_until_ns = 5;
    disk.unreadable[1] = 1;
    sim_disk_cut(&disk, &rnd);
    CU_ASSERT_EQUAL(sim_disk_fault(&disk, IO_WRITE, 0, SECTOR), 0);
    CU_ASSERT_EQUAL(sim_disk_fault(&disk, IO_READ, 0, SECTOR), -EIO);
    CU_ASSERT_EQUAL(sim_disk_fault(&disk, IO_READ, 64 * SECTOR, SECTOR), -EIO);
    CU_ASSERT(!disk.lose_writes && !disk.misdirect_writes && !disk.stalled_until_ns);
}

static void test_unreadable(void)
{
    new_disk(512, SIM_DISCARD_ZEROS, 1);
    disk.unreadable[1] = 7; /* sectors 64 to 66 */
    CU_ASSERT_EQUAL(sim_disk_fault(&disk, IO_READ, 0, 64 * SECTOR), 0);
    CU_ASSERT_EQUAL(sim_disk_fault(&disk, IO_READ, 0, 65 * SECTOR), -EIO);
    CU_ASSERT_EQUAL(sim_disk_fault(&disk, IO_READ, 66 * SECTOR, SECTOR), -EIO);
    CU_ASSERT_EQUAL(sim_disk_fault(&disk, IO_READ, 67 * SECTOR, SECTOR), 0);
    CU_ASSERT_EQUAL(sim_disk_fault(&disk, IO_WRITE, 64 * SECTOR, SECTOR), 0);
    put(65, 1, 1);
    CU_ASSERT_EQUAL(sim_disk_fault(&disk, IO_READ, 65 * SECTOR, SECTOR), 0);
    CU_ASSERT_EQUAL(sim_disk_fault(&disk, IO_READ, 66 * SECTOR, SECTOR), -EIO);
    ask(IO_WRITE_ZEROES, 64, 4);
    CU_ASSERT_EQUAL(sim_disk_fault(&disk, IO_READ, 0, DISK_SIZE), 0);
}

static void test_lost(void)
{
    new_disk(512, SIM_DISCARD_ZEROS, 1);
    put(0, 1, 1);
    disk.lose_writes = 2;
    CU_ASSERT_NOT_EQUAL(put(0, 1, 2), 0);
    ask(IO_WRITE_ZEROES, 0, 1);
    CU_ASSERT_EQUAL(got(0), 1);
    put(0, 1, 3);
    CU_ASSERT_EQUAL(got(0), 3);
}

static void test_misdirected(void)
{
    struct sim_disk_params params = large(1);
    unsigned places = 0;

    for (uint64_t seed = 0; seed < CUTS; seed++) {
        unsigned changed = 0;

        new_disk(512, SIM_DISCARD_ZEROS, seed);
        disk.misdirect_writes = 1;
        put(5, 1, 1);
        CU_ASSERT_EQUAL(got(5), NOISE);
        for (uint64_t s = 0; s < DISK_SIZE / SECTOR; s++)
            changed += got(s) == 1;
        CU_ASSERT_EQUAL(changed, 1);
        places += got(1) != 1;
        put(5, 1, 2);
        CU_ASSERT_EQUAL(got(5), 2);
    }
    CU_ASSERT(places > 0);
    params.size_bytes = 4096; /* nowhere else to go */
    sim_disk_init(&disk, &params);
    disk.misdirect_writes = 1;
    put(0, 8, 4);
    CU_ASSERT_EQUAL(got(0), 4);
    params.size_bytes = 3 * 4096;
    sim_disk_init(&disk, &params);
    disk.misdirect_writes = 1;
    put(8, 8, 4);
    CU_ASSERT_EQUAL(got(8), NOISE);
    CU_ASSERT((got(0) == 4 && got(7) == 4) != (got(16) == 4 && got(23) == 4));
}

/* Neither the write before it nor that after it brings back what a poke overwrote. */
static void test_poke(void)
{
    unsigned char buf[2 * SECTOR];

    memset(buf, 0xee, sizeof buf);
    for (uint64_t seed = 0; seed < CUTS; seed++) {
        new_disk(512, SIM_DISCARD_ZEROS, seed);
        put(10, 4, 1);
        put(11, 4, 2);
        sim_disk_poke(&disk, buf, 12 * SECTOR, 2 * SECTOR);
        CU_ASSERT(got(12) == 0xee && got(13) == 0xee && got(14) == 2 && got(11) == 2);
        sim_disk_cut(&disk, &rnd);
        CU_ASSERT(got(12) == 0xee && got(13) == 0xee);
        CU_ASSERT(got(14) == 2 || got(14) == NOISE);
        CU_ASSERT(got(10) == 1 || got(10) == NOISE);
    }
    sim_disk_poke(&disk, buf, 40 * SECTOR, SECTOR);
    CU_ASSERT(got(39) == NOISE && got(40) == 0xee && got(41) == NOISE);
}

/* The same seeds, the same disk; others, another. */
static void history(struct sim_disk *d, uint64_t seed)
{
    struct sim_disk_params params = large(1);

    sim_disk_init(d, &params);
    rnd.state = seed;
    for (unsigned round = 0; round < 10; round++) {
        for (int i = 0; i < 20; i++)
            put_on(d, 8 * sim_below(&rnd, 64), 8 * (1 + sim_below(&rnd, 64)), i);
        d->misdirect_writes = sim_below(&rnd, 2);
        sim_disk_cut(d, &rnd);
    }
}

static void test_deterministic(void)
{
    static struct sim_disk a, b;
    static unsigned char image_a[SIM_DISK_BYTES_MAX], image_b[SIM_DISK_BYTES_MAX];

    history(&a, 42);
    history(&b, 7); /* what was there before does not matter */
    history(&b, 42);
    sim_disk_peek(&a, image_a, 0, a.size_bytes);
    sim_disk_peek(&b, image_b, 0, b.size_bytes);
    CU_ASSERT_EQUAL(memcmp(image_a, image_b, sizeof image_a), 0);
    history(&b, 43);
    sim_disk_peek(&b, image_b, 0, b.size_bytes);
    CU_ASSERT_NOT_EQUAL(memcmp(image_a, image_b, sizeof image_a), 0);
}

static CU_TestInfo disk_tests[] = {
    {"never written: noise", test_noise},
    {"scatter lists", test_lists},
    {"discard and zeroes", test_discard},
    {"a cut keeps, loses or tears", test_cut},
    {"units of 4096 bytes are not torn", test_torn_4096},
    {"a cut reorders", test_reordered},
    {"each sector holds one of its versions", test_versions},
    {"flushed is never lost", test_flush},
    {"a flush that did not end", test_flush_unfinished},
    {"durable (FUA)", test_durable},
    {"a write on its way", test_apply_torn},
    {"log full of entries", test_overflow_entries},
    {"log full of bytes", test_overflow_bytes},
    {"faults count down", test_faults},
    {"faults after a cut", test_faults_cut},
    {"unreadable sectors", test_unreadable},
    {"lost writes", test_lost},
    {"misdirected writes", test_misdirected},
    {"corruption outlasts a cut", test_poke},
    {"deterministic", test_deterministic},
    CU_TEST_INFO_NULL,
};

int main(int argc, char **argv)
{
    CU_SuiteInfo suites[] = {
        {.pName = "sim disk", .pTests = disk_tests},
        CU_SUITE_INFO_NULL,
    };

    return unit_main(argc, argv, suites);
}
