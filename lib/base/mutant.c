/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/mutant.h"

#include <errno.h>
#include <string.h>

#include "base/arith.h"

#define MUTANT_TEXTS(name, text, what) [MUTANT_##name] = {text, what},
static const struct {
    const char *name, *what;
} mutants[] = {MUTANTS(MUTANT_TEXTS)};

enum mutant mutant_chosen;

int mutant_choose(const char *name)
{
    for (unsigned i = MUTANT_NONE + 1; i < ARRAY_LEN(mutants); i++)
        if (!strcmp(mutants[i].name, name)) {
            mutant_chosen = (enum mutant)i;
            return 0;
        }
    return -EINVAL;
}

void mutant_list(FILE *f)
{
    for (unsigned i = MUTANT_NONE + 1; i < ARRAY_LEN(mutants); i++)
        fprintf(f, "%-24s%s\n", mutants[i].name, mutants[i].what);
}
