/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What every group is opened with: where earlier metadata goes, who we are. */
#ifndef ASHLAR_DAEMON_GROUP_SETTINGS_H
#define ASHLAR_DAEMON_GROUP_SETTINGS_H

#include <limits.h>

#include "base/error.h"
#include "lvm/vg.h"

struct daemon;

struct group_settings {
    struct vg_settings vg; /* points into the rest */
    char archive_dir[PATH_MAX], backup_dir[PATH_MAX];
};

int group_settings(const struct daemon *d, struct group_settings *s, struct error *err);

#endif
