/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Configuration: an INI file (ashlard.conf(5)), read once before the runtime starts. Unknown
 * sections and keys and bad values are refused with file and line. The command line overrides it:
 * config_set with the same keys.
 */
#ifndef ASHLAR_DAEMON_CONFIG_H
#define ASHLAR_DAEMON_CONFIG_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/log.h"

#define CONFIG_DEFAULT_PATH "/etc/ashlar/ashlard.conf"

struct config {
    char *socket; /* RUNTIME_DIR/ashlard.sock unless given: config_finish */
    char *state_dir, *runtime_dir;
    char *engine;     /* NULL: what the kernel allows */
    unsigned workers; /* for I/O; 0: by the number of processors (config_finish) */
    enum log_level log_level;

    char **scan_paths; /* files, directories, patterns; NULL-terminated */
    bool auto_assemble;

    mode_t export_socket_mode;
    uid_t export_socket_owner; /* -1: unchanged */
    gid_t export_socket_group;
    unsigned nbd_clients_max;

    unsigned archive_keep; /* earlier metadata texts kept of each volume group */
    char *host;            /* written into new superblocks and metadata: config_finish */
};

/* Defaults; -ENOMEM. config_free is right after any outcome. */
int config_init(struct config *c);
void config_free(struct config *c);

/* Reads a file. -ENOENT when there is none, -EINVAL with "FILE:LINE: reason". */
int config_read(struct config *c, const char *path, struct error *err);
/* One value by its key. -EINVAL. */
int config_set(
    struct config *c, const char *section, const char *key, const char *value, struct error *err);
/* A path as the command line may give it, from the working directory; freed by the caller. NULL:
 * out of memory. */
char *config_absolute(const char *path);
/* Fills in what follows from the rest; after all else. */
int config_finish(struct config *c, struct error *err);

#endif
