/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What every CUnit suite starts from: a main file lists its suites, unit_main runs them and gives
 * the exit status. */
#ifndef ASHLAR_TESTS_UNIT_H
#define ASHLAR_TESTS_UNIT_H

#include <CUnit/CUnit.h>

/* Runs the NULL-terminated suites, or those that the arguments name. Returns main's
 * exit status. */
int unit_main(int argc, char **argv, CU_SuiteInfo *suites);

#endif
