/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The runtime for fuzzers of code that runs in coroutines. libFuzzer keeps the main thread, so the
 * runtime has one of its own, which stays for all inputs; the fuzzer waits whenever it is handed
 * something, so that only one of the two runs.
 */
#ifndef ASHLAR_FUZZ_RUNTIME_H
#define ASHLAR_FUZZ_RUNTIME_H

/* Starts it and runs `prepare` in its first coroutine. Once. */
void fuzz_runtime_start(void (*prepare)(void));
/* Runs fn in a coroutine of its own until it returns. */
void fuzz_runtime_run(void (*fn)(void));

#endif
