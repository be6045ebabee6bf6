/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Stacks as mappings. */
#include "rt/stack.h"

#include <sys/mman.h>
#include <unistd.h>

static size_t guard_bytes(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

void *stack_memory_get(size_t bytes)
{
    size_t guard = guard_bytes();
    char *base = mmap(NULL, guard + bytes, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);

    if (base == MAP_FAILED)
        return NULL;
    if (mprotect(base, guard, PROT_NONE) < 0) {
        munmap(base, guard + bytes);
        return NULL;
    }
    return base + guard;
}

void stack_memory_put(void *stack, size_t bytes)
{
    munmap((char *)stack - guard_bytes(), guard_bytes() + bytes);
}
