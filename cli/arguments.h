/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From words to parameters: getopt_long over a command's table. */
#ifndef ASHLAR_CLI_ARGUMENTS_H
#define ASHLAR_CLI_ARGUMENTS_H

#include "cli.h"

enum arguments_result { ARGUMENTS_OK, ARGUMENTS_HELP, ARGUMENTS_VERSION, ARGUMENTS_BAD };

/* Options before the noun; leaves argv at the noun. */
enum arguments_result arguments_global(struct cli *cli, int *argc, char ***argv);
/*
 * The words behind noun and verb, in any order of options and arguments; fills in params. HELP: the
 * command's help has been printed. BAD: the reason has been printed.
 */
enum arguments_result arguments_command(
    struct cli *cli, const struct command *command, int argc, char **argv, json_t *params);
void arguments_help_common(void);

#endif
