/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a busy loop tells the processor. */
#ifndef ASHLAR_RT_CPU_H
#define ASHLAR_RT_CPU_H

static inline void cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
