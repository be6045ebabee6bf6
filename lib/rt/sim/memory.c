/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Machines without processes of their own: what a machine has changed of the program's memory is
 * put back when it ends, as if it had been another process's. That costs a tenth of a fork and of
 * the page faults after it.
 *
 * Put back is the program's data (.data and .bss, copied before). The heap is this file's own while
 * a machine runs: what is allocated then comes from an area that is empty again afterwards. So do
 * stacks. Shared memory (sim_share, sim_keep) lasts, as it must.
 *
 * Not put back is what shared libraries keep in variables: memory_init has the C library do
 * beforehand what it would do once with memory from the heap.
 *
 * Sanitizers have a heap of their own, so with them machines are processes.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/arith.h"
#include "rt/sim/machine.h"
#include "rt/stack.h"

#define STACK_AREA_BYTES (UINT64_C(1) << 30)

/* --- stacks: one after the other, each with its guard page, and used again --- */

struct stack_area {
    char *base, *next;
    void *idle; /* a list through their uppermost words */
    size_t bytes;
};

static struct stack_area stacks;

static void **idle_link(void *stack)
{
    return (void **)((char *)stack + stacks.bytes) - 1;
}

void *stack_memory_get(size_t bytes)
{
    size_t guard = (size_t)sysconf(_SC_PAGESIZE);
    char *stack = stacks.idle;

    if (stack) {
        stacks.idle = *idle_link(stack);
        return stack;
    }
    stack = stacks.next + guard;
    stacks.bytes = bytes;
    stacks.next = stack + bytes;
    if (stacks.next > stacks.base + STACK_AREA_BYTES)
        sim_fail("there is no room for another stack");
    mprotect(stack, bytes, PROT_READ | PROT_WRITE);
    return stack;
}

void stack_memory_put(void *stack, size_t bytes)
{
    *idle_link(stack) = stacks.idle;
    stacks.idle = stack;
}

static void stacks_init(void)
{
    stacks.base = stacks.next =
        mmap(NULL, STACK_AREA_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stacks.base == MAP_FAILED)
        abort();
}

#if FIBER_ASAN || FIBER_TSAN

const bool memory_can_be_restored = false;

void memory_init(void)
{
    stacks_init();
}

void memory_save(void)
{
}

void memory_restore(void)
{
}

#else

const bool memory_can_be_restored = true;

/* --- the heap --- */

#define AREA_BYTES   (UINT64_C(1) << 30)
#define SMALLEST     32u
#define CLASSES      32u /* powers of two from there on */
#define HEADER_BYTES 16u

struct area {
    char *base, *next;
    void *idle[CLASSES]; /* lists through their first words */
};

/* Right below what the caller gets. */
struct header {
    uint32_t class;
    uint32_t offset; /* of what the caller has, in the block */
};

static struct area areas[2]; /* the program's, the machine's */
static bool machine_runs;

static void area_init(struct area *a)
{
    a->base = a->next = mmap(NULL, AREA_BYTES, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (a->base == MAP_FAILED)
        abort();
}

static unsigned class_for(size_t bytes)
{
    return bytes <= SMALLEST ? 0 : 64 - (unsigned)__builtin_clzl((bytes - 1) / SMALLEST);
}

static void *block_get(struct area *a, unsigned class)
{
    char *block = a->idle[class];

    if (!a->base)
        area_init(a);
    if (block) {
        a->idle[class] = *(void **)block;
        return block;
    }
    block = a->next;
    if ((size_t)SMALLEST << class > AREA_BYTES - (size_t)(block - a->base))
        return NULL;
    a->next += (size_t)SMALLEST << class;
    return block;
}

static void *allocate(size_t bytes, size_t align)
{
    size_t room = bytes + HEADER_BYTES + (align > HEADER_BYTES ? align : 0);
    unsigned class = class_for(room);
    char *block, *given;

    if (room < bytes || class >= CLASSES || !(block = block_get(&areas[machine_runs], class))) {
        errno = ENOMEM;
        return NULL;
    }
    given = (char *)round_up((uintptr_t)block + HEADER_BYTES, MAX(align, (size_t)HEADER_BYTES));
    ((struct header *)given)[-1] =
        (struct header){.class = class, .offset = (uint32_t)(given - block)};
    return given;
}

static const struct header *header_of(const void *given)
{
    return (const struct header *)given - 1;
}

static size_t capacity(const void *given)
{
    return ((size_t)SMALLEST << header_of(given)->class) - header_of(given)->offset;
}

void *malloc(size_t bytes)
{
    return allocate(bytes, 0);
}

void *calloc(size_t count, size_t bytes)
{
    size_t all;
    void *given;

    if (__builtin_mul_overflow(count, bytes, &all)) {
        errno = ENOMEM;
        return NULL;
    }
    given = allocate(all, 0);
    return given ? memset(given, 0, all) : NULL;
}

/* A machine leaves alone what the program has allocated: it is put back with the rest. */
void free(void *given)
{
    struct area *a = &areas[machine_runs];
    const struct header *h;
    char *block;

    if (!given || (char *)given < a->base || (char *)given >= a->base + AREA_BYTES)
        return;
    h = header_of(given);
    block = (char *)given - h->offset;
    unsigned class = h->class;
    *(void **)block = a->idle[class];
    a->idle[class] = block;
}

void *realloc(void *given, size_t bytes)
{
    void *other;

    if (given && capacity(given) >= bytes)
        return given;
    other = malloc(bytes);
    if (given && other) {
        memcpy(other, given, capacity(given));
        free(given);
    }
    return other;
}

int posix_memalign(void **given, size_t align, size_t bytes)
{
    void *memory = allocate(bytes, align);

    if (!memory)
        return ENOMEM;
    *given = memory;
    return 0;
}

void *aligned_alloc(size_t align, size_t bytes)
{
    return allocate(bytes, align);
}

/* --- the program's data --- */

extern char __data_start[], _end[];

static char *saved;

void memory_init(void)
{
    stacks_init();
    area_init(&areas[1]);
    tzset();
    saved = mmap(NULL, (size_t)(_end - __data_start), PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (saved == MAP_FAILED)
        abort();
}

void memory_save(void)
{
    memcpy(saved, __data_start, (size_t)(_end - __data_start));
    machine_runs = true;
}

void memory_restore(void)
{
    memcpy(__data_start, saved, (size_t)(_end - __data_start));
}

#endif
