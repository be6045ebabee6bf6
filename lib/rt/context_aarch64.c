/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * AArch64, AAPCS64. Saved, from the stack pointer upwards: x19 to x30, d8 to d15, fpcr, padding
 * (tools/gdb/ashlar-gdb.py reads this layout). x30 is where the context continues.
 */
#include "rt/context.h"

#include <stdint.h>

enum { SAVED_X19 = 0, SAVED_X20 = 1, SAVED_X30 = 11, SAVED_WORDS = 22 };

/* Where a new context starts: fn is in x19, arg in x20. Ends every backtrace. */
void context_begin(void);

__asm__(".text\n"
        ".globl context_switch\n"
        ".hidden context_switch\n"
        ".type context_switch, %function\n"
        "context_switch:\n"
        "    .cfi_startproc\n"
        "    sub sp, sp, #176\n"
        "    .cfi_def_cfa_offset 176\n"
        "    stp x19, x20, [sp, #0]\n"
        "    stp x21, x22, [sp, #16]\n"
        "    stp x23, x24, [sp, #32]\n"
        "    stp x25, x26, [sp, #48]\n"
        "    stp x27, x28, [sp, #64]\n"
        "    stp x29, x30, [sp, #80]\n"
        "    stp d8, d9, [sp, #96]\n"
        "    stp d10, d11, [sp, #112]\n"
        "    stp d12, d13, [sp, #128]\n"
        "    stp d14, d15, [sp, #144]\n"
        "    mrs x9, fpcr\n"
        "    str x9, [sp, #160]\n"
        "    mov x10, sp\n"
        "    str x10, [x0]\n"
        "    mov sp, x1\n"
        "    ldp x19, x20, [sp, #0]\n"
        "    ldp x21, x22, [sp, #16]\n"
        "    ldp x23, x24, [sp, #32]\n"
        "    ldp x25, x26, [sp, #48]\n"
        "    ldp x27, x28, [sp, #64]\n"
        "    ldp x29, x30, [sp, #80]\n"
        "    ldp d8, d9, [sp, #96]\n"
        "    ldp d10, d11, [sp, #112]\n"
        "    ldp d12, d13, [sp, #128]\n"
        "    ldp d14, d15, [sp, #144]\n"
        "    ldr x9, [sp, #160]\n"
        "    msr fpcr, x9\n"
        "    add sp, sp, #176\n"
        "    .cfi_def_cfa_offset 0\n"
        "    ret\n"
        "    .cfi_endproc\n"
        ".size context_switch, . - context_switch\n"
        ".globl context_begin\n"
        ".hidden context_begin\n"
        ".type context_begin, %function\n"
        "context_begin:\n"
        "    .cfi_startproc\n"
        "    .cfi_undefined x30\n"
        "    mov x0, x20\n"
        "    blr x19\n"
        "    brk #1\n"
        "    .cfi_endproc\n"
        ".size context_begin, . - context_begin\n");

void *context_make(void *stack, size_t bytes, void (*fn)(void *arg), void *arg)
{
    uintptr_t top = ((uintptr_t)stack + bytes) & ~(uintptr_t)15;
    uint64_t *saved = (uint64_t *)top - SAVED_WORDS;

    for (unsigned i = 0; i < SAVED_WORDS; i++)
        saved[i] = 0;
    saved[SAVED_X19] = (uintptr_t)fn;
    saved[SAVED_X20] = (uintptr_t)arg;
    saved[SAVED_X30] = (uintptr_t)context_begin;
    return saved;
}
