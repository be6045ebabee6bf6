/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names for what a probe of libblkid has found; see signature.h. */
#include "block/signature.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

void signature_describe(blkid_probe pr, char *text, size_t len)
{
    const char *type, *usage;

    if (!blkid_probe_lookup_value(pr, "TYPE", &type, NULL)) {
        bool file_system =
            !blkid_probe_lookup_value(pr, "USAGE", &usage, NULL) && !strcmp(usage, "filesystem");

        snprintf(text, len, "%s%s", type, file_system ? " file system" : "");
    } else if (!blkid_probe_lookup_value(pr, "PTTYPE", &type, NULL)) {
        snprintf(text, len, "%s partition table", type);
    } else {
        snprintf(text, len, "unknown signature");
    }
}
