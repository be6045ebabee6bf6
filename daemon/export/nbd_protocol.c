/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Codecs of the NBD protocol. Lengths inside an option's data come from the client: each is held
 * against what is left. */
#include "export/nbd_protocol.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"

bool nbd_option_decode(struct nbd_option *o, const uint8_t *buf)
{
    if (get_be64(buf) != NBD_OPTION_MAGIC)
        return false;
    o->type = get_be32(buf + 8);
    o->length = get_be32(buf + 12);
    return true;
}

void nbd_option_reply_encode(uint8_t *buf, uint32_t option, uint32_t type, uint32_t length)
{
    put_be64(buf, NBD_OPTION_REPLY_MAGIC);
    put_be32(buf + 8, option);
    put_be32(buf + 12, type);
    put_be32(buf + 16, length);
}

bool nbd_string_is(const struct nbd_string *s, const char *text)
{
    return s->length == strlen(text) && !memcmp(s->text, text, s->length);
}

/* u32 length, then so many bytes. */
static bool take_string(struct nbd_string *s, const uint8_t **at, const uint8_t *end)
{
    if (end - *at < 4)
        return false;
    s->length = get_be32(*at);
    s->text = (const char *)*at + 4;
    if (s->length > NBD_NAME_MAX || s->length > (size_t)(end - *at - 4))
        return false;
    *at += 4 + s->length;
    return true;
}

bool nbd_go_decode(struct nbd_go *go, const uint8_t *data, size_t length)
{
    const uint8_t *at = data, *end = data + length;

    if (!take_string(&go->name, &at, end) || end - at < 2)
        return false;
    go->info_count = get_be16(at);
    go->infos = at + 2;
    return (size_t)(end - go->infos) == 2 * (size_t)go->info_count;
}

bool nbd_go_wants(const struct nbd_go *go, enum nbd_info info)
{
    for (unsigned i = 0; i < go->info_count; i++)
        if (get_be16(go->infos + 2 * (size_t)i) == info)
            return true;
    return false;
}

bool nbd_meta_decode(struct nbd_meta *meta, const uint8_t *data, size_t length)
{
    const uint8_t *at = data, *end = data + length;
    struct nbd_string query;

    if (!take_string(&meta->name, &at, end) || end - at < 4)
        return false;
    meta->query_count = get_be32(at);
    meta->queries = at += 4;
    for (uint32_t i = 0; i < meta->query_count; i++)
        if (!take_string(&query, &at, end))
            return false;
    return at == end;
}

struct nbd_string nbd_meta_query(const uint8_t **at)
{
    struct nbd_string query = {(const char *)*at + 4, get_be32(*at)};

    *at += 4 + query.length;
    return query;
}

bool nbd_request_decode(struct nbd_command *c, const uint8_t *buf)
{
    if (get_be32(buf) != NBD_REQUEST_MAGIC)
        return false;
    c->flags = get_be16(buf + 4);
    c->type = get_be16(buf + 6);
    c->cookie = get_be64(buf + 8);
    c->offset = get_be64(buf + 16);
    c->length = get_be32(buf + 24);
    return true;
}

void nbd_simple_reply_encode(uint8_t *buf, uint64_t cookie, uint32_t error)
{
    put_be32(buf, NBD_SIMPLE_REPLY_MAGIC);
    put_be32(buf + 4, error);
    put_be64(buf + 8, cookie);
}

void nbd_chunk_encode(uint8_t *buf, uint16_t type, uint64_t cookie, uint32_t length)
{
    put_be32(buf, NBD_CHUNK_MAGIC);
    put_be16(buf + 4, NBD_CHUNK_FLAG_DONE);
    put_be16(buf + 6, type);
    put_be64(buf + 8, cookie);
    put_be32(buf + 16, length);
}

uint32_t nbd_error(int rc)
{
    /* The protocol's numbers are Linux's, but only these. */
    switch (-rc) {
    case 0:
    case EPERM:
    case EIO:
    case ENOMEM:
    case EINVAL:
    case ENOSPC:
    case EOVERFLOW:
    case ENOTSUP:
    case ESHUTDOWN:
        return (uint32_t)-rc;
    case EROFS:
        return EPERM;
    case EFBIG:
    case EDQUOT:
        return ENOSPC;
    default:
        return EIO;
    }
}
