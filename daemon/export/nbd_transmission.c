/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Transmission: the reader takes one request after the other, admits it, receives its payload and
 * starts a coroutine that runs it on the device and hands on the reply.
 *
 * A request that is wrong in itself (range, alignment, flags) is answered with an error, its
 * payload thrown away. A client that does not speak the protocol, or leaves in the middle of a
 * request, ends the connection; requests in flight then end first.
 */
#include <errno.h>
#include <string.h>

#include "base/arith.h"
#include "base/bytes.h"
#include "base/mutant.h"
#include "export/nbd_connection.h"

/* A payload longer than this is not read ahead, as it would be copied. */
#define READ_AHEAD_MAX (16u << 10)
/* Of a BLOCK_STATUS reply. */
#define STATUS_BYTES 4096u
#define EXTENTS_MAX  (STATUS_BYTES / EXTENT_BYTES)
#define EXTENT_BYTES 8u

static bool flags_known(const struct nbd_connection *c, const struct nbd_command *cmd)
{
    static const uint16_t known[] = {
        [NBD_CMD_READ] = NBD_CMD_FLAG_DF,
        [NBD_CMD_WRITE_ZEROES] = NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO,
        [NBD_CMD_BLOCK_STATUS] = NBD_CMD_FLAG_REQ_ONE,
    };

    if ((cmd->flags & NBD_CMD_FLAG_DF) && !c->structured)
        return false;
    /* FUA is valid with all commands. */
    return !(cmd->flags & ~(known[cmd->type] | NBD_CMD_FLAG_FUA));
}

static bool changes(unsigned type)
{
    return type == NBD_CMD_WRITE || type == NBD_CMD_TRIM || type == NBD_CMD_WRITE_ZEROES;
}

static int check_range(const struct blockdev *d, const struct nbd_command *cmd)
{
    uint64_t size_bytes = atomic_load(&d->size_bytes);
    bool grows = cmd->type == NBD_CMD_WRITE || cmd->type == NBD_CMD_WRITE_ZEROES;

    if (!cmd->length || cmd->offset % d->logical_block_bytes ||
        cmd->length % d->logical_block_bytes)
        return -EINVAL;
    if (cmd->offset > size_bytes || cmd->length > size_bytes - cmd->offset)
        return grows ? -ENOSPC : -EINVAL;
    if (cmd->type == NBD_CMD_READ && cmd->length > NBD_TRANSFER_MAX)
        return cmd->flags & NBD_CMD_FLAG_DF ? -EOVERFLOW : -EINVAL;
    return cmd->type == NBD_CMD_WRITE && cmd->length > NBD_TRANSFER_MAX ? -EINVAL : 0;
}

static int check(const struct nbd_connection *c, const struct nbd_command *cmd)
{
    int rc;

    if (atomic_load(&c->closing))
        return -ESHUTDOWN;
    if (cmd->type > NBD_CMD_BLOCK_STATUS || cmd->type == NBD_CMD_CACHE || !flags_known(c, cmd))
        return -EINVAL;
    if (changes(cmd->type) && c->export->read_only)
        return -EPERM;
    if (cmd->type == NBD_CMD_FLUSH)
        return cmd->offset || cmd->length ? -EINVAL : 0;
    if (cmd->type == NBD_CMD_BLOCK_STATUS && !c->allocation)
        return -EINVAL;
    rc = check_range(nbd_export_enter(c->export), cmd);
    nbd_export_leave(c->export);
    return rc;
}

static unsigned write_flags(const struct nbd_command *cmd)
{
    return cmd->flags & NBD_CMD_FLAG_FUA && !MUTANT(FUA_IGNORED) ? BLOCK_FUA : 0;
}

static unsigned zeroes_flags(const struct nbd_command *cmd)
{
    unsigned flags = write_flags(cmd);

    if (!(cmd->flags & NBD_CMD_FLAG_NO_HOLE))
        flags |= BLOCK_MAY_UNMAP;
    if (cmd->flags & NBD_CMD_FLAG_FAST_ZERO)
        flags |= BLOCK_FAST;
    return flags;
}

static int trim(struct blockdev *d, const struct nbd_command *cmd)
{
    int rc = blockdev_discard(d, cmd->offset, cmd->length);

    return !rc && (cmd->flags & NBD_CMD_FLAG_FUA) ? blockdev_flush(d) : rc;
}

/* To clients a hole has no data (QEMU does not read it, whatever is said of zeros): what shows from
 * a backing is none, though a write there needs space. */
static uint32_t extent_state(const struct block_extent *e)
{
    if (!(e->flags & EXTENT_ZERO))
        return 0;
    return NBD_STATE_ZERO | (e->flags & EXTENT_HOLE ? NBD_STATE_HOLE : 0);
}

/* Neighbours that are alike are told as one. */
static int block_status(struct blockdev *d, struct nbd_request *r)
{
    const struct nbd_command *cmd = &r->command;
    unsigned count = 0, max = cmd->flags & NBD_CMD_FLAG_REQ_ONE ? 1 : EXTENTS_MAX;
    uint8_t *at = (uint8_t *)r->data[0].iov_base - EXTENT_BYTES;
    uint32_t done = 0;

    while (done < cmd->length) {
        struct block_extent e;
        int rc = blockdev_extents(d, cmd->offset + done, cmd->length - done, &e);

        if (rc < 0)
            return rc;
        if (count && get_be32(at + 4) == extent_state(&e)) {
            put_be32(at, get_be32(at) + (uint32_t)e.length);
        } else if (count == max) {
            break;
        } else {
            at += EXTENT_BYTES;
            count++;
            put_be32(at, (uint32_t)e.length);
            put_be32(at + 4, extent_state(&e));
        }
        done += (uint32_t)e.length;
    }
    r->data[0].iov_len = count * EXTENT_BYTES;
    return 0;
}

static int execute_on(struct blockdev *d, struct nbd_request *r)
{
    const struct nbd_command *cmd = &r->command;

    switch (cmd->type) {
    case NBD_CMD_READ:
        return blockdev_readv(d, r->data, r->data_count, cmd->offset, 0);
    case NBD_CMD_WRITE:
        return blockdev_writev(
            d, r->data, r->data_count, cmd->offset, write_flags(cmd) | BLOCK_STABLE);
    case NBD_CMD_FLUSH:
        return blockdev_flush(d);
    case NBD_CMD_TRIM:
        return trim(d, cmd);
    case NBD_CMD_WRITE_ZEROES:
        return blockdev_write_zeroes(d, cmd->offset, cmd->length, zeroes_flags(cmd));
    default:
        return block_status(d, r);
    }
}

static int execute(struct nbd_request *r)
{
    struct nbd_export *e = r->conn->export;
    int rc = execute_on(nbd_export_enter(e), r);

    nbd_export_leave(e);
    return rc;
}

static void run(void *arg)
{
    struct nbd_request *r = arg;
    struct nbd_connection *c = r->conn;

    if (!r->result)
        r->result = execute(r);
    /* The time that the client has for its replies begins. */
    if (!--c->executing && atomic_load(&c->closing))
        co_event_set(&c->changed);
    nbd_reply(r);
}

static size_t memory_needed(const struct nbd_command *cmd)
{
    switch (cmd->type) {
    case NBD_CMD_READ:
    case NBD_CMD_WRITE:
        return cmd->length;
    case NBD_CMD_BLOCK_STATUS:
        return STATUS_BYTES;
    default:
        return 0;
    }
}

static int receive_payload(struct nbd_request *r)
{
    int rc = 0;

    if (r->command.type != NBD_CMD_WRITE)
        return 0;
    if (r->result < 0)
        return nbd_input_skip(r->conn, r->command.length);
    for (int i = 0; i < r->data_count && !rc; i++)
        rc = nbd_input_read(r->conn, r->data[i].iov_base, r->data[i].iov_len);
    return rc;
}

static const char *input_failure(const struct nbd_connection *c, int rc)
{
    if (c->send_failure)
        return c->send_failure;
    if (atomic_load(&c->closing))
        return "the export is closed";
    if (rc == -ENODATA)
        return "it has left";
    return rc == -EPIPE ? "it has left in the middle of a request" : strerror(-rc);
}

/* Admits a request and sets it going; or why the connection ends. */
static const char *take_request(struct nbd_connection *c, const struct nbd_command *cmd)
{
    int rc = check(c, cmd);
    struct nbd_request *r;

    if (cmd->type == NBD_CMD_WRITE && cmd->length > NBD_PAYLOAD_MAX)
        return "a write that is absurdly long";
    r = nbd_request_get(c, rc < 0 ? 0 : memory_needed(cmd));
    if (!r)
        return input_failure(c, 0);
    r->command = *cmd;
    r->result = rc < 0 ? rc : nbd_request_allocate(r);
    rc = receive_payload(r);
    if (rc < 0) {
        nbd_request_put(r);
        return input_failure(c, rc);
    }
    c->executing++;
    if (co_start("nbd request", run, r) < 0) {
        r->result = -ENOMEM;
        run(r);
    }
    /* A long payload goes on while the cache has it, and others get their turn. */
    if (cmd->type == NBD_CMD_WRITE && cmd->length > READ_AHEAD_MAX)
        co_yield ();
    return NULL;
}

static const char *next_request(struct nbd_connection *c, size_t *ahead)
{
    int rc = nbd_input_need(c, NBD_REQUEST_BYTES, *ahead);
    struct nbd_command cmd;

    if (rc < 0)
        return input_failure(c, rc);
    if (!nbd_request_decode(&cmd, c->input.buf + c->input.head))
        return "wrong magic of a request";
    c->input.head += NBD_REQUEST_BYTES;
    if (cmd.type == NBD_CMD_DISC)
        return "it has left";
    *ahead = cmd.type == NBD_CMD_WRITE && cmd.length > READ_AHEAD_MAX ? NBD_REQUEST_BYTES
                                                                      : NBD_INPUT_BYTES;
    return take_request(c, &cmd);
}

const char *nbd_transmission(struct nbd_connection *c)
{
    size_t ahead = NBD_INPUT_BYTES;
    const char *why;

    do {
        why = next_request(c, &ahead);
    } while (!why);
    nbd_requests_drain(c);
    return why;
}
