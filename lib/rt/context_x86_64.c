/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * x86_64, System V ABI. Saved, from the stack pointer upwards: mxcsr and the x87 control word, r15,
 * r14, r13, r12, rbx, rbp, the return address (tools/gdb/ashlar-gdb.py reads this layout).
 */
#include "rt/context.h"

#include <stdint.h>

enum { SAVED_CONTROL, SAVED_R15, SAVED_R14, SAVED_R13, SAVED_R12, SAVED_RBX, SAVED_RBP, SAVED_RIP };
#define SAVED_WORDS 8

/* As the ABI has them when a process starts: mxcsr in the low half, the x87 control word above. */
#define CONTROL_DEFAULT 0x0000037f00001f80u

/* Where a new context starts: fn is in rbx, arg in r12. Ends every backtrace. */
void context_begin(void);

/* A jump instead of a return at the end: the processor's return predictor knows nothing of the
 * other stack. */
__asm__(".text\n"
        ".globl context_switch\n"
        ".hidden context_switch\n"
        ".type context_switch, @function\n"
        "context_switch:\n"
        "    .cfi_startproc\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    subq $8, %rsp\n"
        "    .cfi_def_cfa_offset 64\n"
        "    stmxcsr (%rsp)\n"
        "    fnstcw 4(%rsp)\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    ldmxcsr (%rsp)\n"
        "    fldcw 4(%rsp)\n"
        "    addq $8, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    .cfi_def_cfa_offset 8\n"
        "    popq %rcx\n"
        "    .cfi_def_cfa_offset 0\n"
        "    .cfi_register %rip, %rcx\n"
        "    jmpq *%rcx\n"
        "    .cfi_endproc\n"
        ".size context_switch, . - context_switch\n"
        ".globl context_begin\n"
        ".hidden context_begin\n"
        ".type context_begin, @function\n"
        "context_begin:\n"
        "    .cfi_startproc\n"
        "    .cfi_undefined %rip\n"
        "    movq %r12, %rdi\n"
        "    callq *%rbx\n"
        "    ud2\n"
        "    .cfi_endproc\n"
        ".size context_begin, . - context_begin\n");

void *context_make(void *stack, size_t bytes, void (*fn)(void *arg), void *arg)
{
    uintptr_t top = ((uintptr_t)stack + bytes) & ~(uintptr_t)15;
    uint64_t *saved = (uint64_t *)top - SAVED_WORDS;

    saved[SAVED_CONTROL] = CONTROL_DEFAULT;
    saved[SAVED_R15] = saved[SAVED_R14] = saved[SAVED_R13] = saved[SAVED_RBP] = 0;
    saved[SAVED_R12] = (uintptr_t)arg;
    saved[SAVED_RBX] = (uintptr_t)fn;
    saved[SAVED_RIP] = (uintptr_t)context_begin;
    return saved;
}
