/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* volume.load and volume.save: guest disks from and to files. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon.h"
#include "groups.h"
#include "rpc/method.h"
#include "volume_copy.h"

static int read_format(const struct rpc_call *call, enum source_format *format)
{
    const char *text = rpc_text(call, "format");

    *format = !text ? SOURCE_UNSAID : !strcmp(text, "qcow2") ? SOURCE_QCOW2 : SOURCE_RAW;
    if (text && *format == SOURCE_RAW && strcmp(text, "raw"))
        return error_set(call->err, EINVAL, "there is no format \"%.40s\"; raw, qcow2", text);
    return 0;
}

static int read_compression(const struct rpc_call *call, struct volume_copy_plan *plan)
{
    const char *text = rpc_text(call, "compression");

    plan->compress = rpc_flag(call, "compress");
    plan->compression = text && !strcmp(text, "zstd") ? QCOW2_ZSTD : QCOW2_ZLIB;
    if (text && plan->compression == QCOW2_ZLIB && strcmp(text, "zlib"))
        return error_set(call->err, EINVAL, "there is no compression \"%.40s\"; zlib, zstd", text);
    if (text && !plan->compress)
        return error_set(call->err, EINVAL, "compression is for what is compressed (compress)");
    return 0;
}

/* target: room for CATALOG_NAME_MAX. */
static int read_plan(struct rpc_call *call, struct volume_copy_plan *plan, char *target)
{
    const char *vg = rpc_text(call, "vg"), *name = rpc_text(call, "name");
    int rc;

    *plan = (struct volume_copy_plan){.target = target,
        .path = rpc_text(call, "path"),
        .verify = rpc_flag(call, "verify"),
        .dry = call->dry_run};
    rc = read_format(call, &plan->format);
    if (rc == 0)
        rc = read_compression(call, plan);
    if (rc == 0)
        rc = groups_find(call->daemon, vg, &plan->vg, call->err);
    if (rc == 0)
        rc = groups_find_volume(call->daemon, vg, name, &plan->lv, call->err);
    snprintf(target, CATALOG_NAME_MAX, "%s/%s", vg, name);
    return rc;
}

static int answer(struct rpc_call *call, int rc, uint64_t job_id)
{
    return rc ? rc : rpc_result(call, json_pack("{s:I}", "job", (json_int_t)job_id));
}

static int load(struct rpc_call *call)
{
    const char *text = rpc_text(call, "sha256");
    char target[CATALOG_NAME_MAX];
    uint8_t sha256[DIGEST_BYTES];
    struct volume_copy_plan plan;
    uint64_t job_id = 0;
    int rc = read_plan(call, &plan, target);

    if (rc == 0 && text && !digest_parse(sha256, text))
        rc = error_set(call->err, EINVAL, "\"%.70s\" is no SHA-256 (64 hexadecimal digits)", text);
    if (rc)
        return rc;
    plan.sha256 = text ? sha256 : NULL;
    rc = volume_load(call->daemon, &plan, &job_id, call->err);
    if (rc == 0 && plan.dry)
        return rpc_would(call, "overwrite volume %s with the disk in %s", target, plan.path);
    return answer(call, rc, job_id);
}

static int save(struct rpc_call *call)
{
    char target[CATALOG_NAME_MAX];
    struct volume_copy_plan plan;
    uint64_t job_id = 0;
    int rc = read_plan(call, &plan, target);

    plan.snapshot = rpc_text(call, "snapshot");
    if (rc == 0)
        rc = volume_save(call->daemon, &plan, &job_id, call->err);
    if (rc == 0 && plan.dry)
        return rpc_would(call, "write volume %s to %s", target, plan.path);
    return answer(call, rc, job_id);
}

#define VOLUME                                                                                     \
    {"vg", RPC_TEXT, true, "the volume group"},                                                    \
    {                                                                                              \
        "name", RPC_TEXT, true, "the volume"                                                       \
    }
#define COMPRESSION                                                                                \
    {                                                                                              \
        "compression", RPC_TEXT, false, "with compress: zlib (default), zstd"                      \
    }
const struct rpc_method rpc_volume_copy_methods[] = {
    {"volume.load", "Overwrites a volume with the disk in a file.", RPC_CHANGES | RPC_DISKS,
        {VOLUME, {"path", RPC_TEXT, true, "the file"},
            {"format", RPC_TEXT, false, "raw (default), qcow2"},
            {"compress", RPC_FLAG, false, "compress the clusters of a sparse volume"}, COMPRESSION,
            {"verify", RPC_FLAG, false, "read back what was written, and compare"},
            {"sha256", RPC_TEXT, false, "what the SHA-256 of the disk must be"}},
        load},
    {"volume.save", "Writes a volume to a new file.", RPC_CHANGES | RPC_DISKS,
        {VOLUME, {"path", RPC_TEXT, true, "the file, which must not be there yet"},
            {"format", RPC_TEXT, false, "raw (default), qcow2"},
            {"compress", RPC_FLAG, false, "compress the clusters (qcow2)"}, COMPRESSION,
            {"snapshot", RPC_TEXT, false,
                "what a sparse volume was then, also while it is in use"}},
        save},
    {0},
};
