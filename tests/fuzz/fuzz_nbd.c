/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * NBD: whatever a client sends, the connection ends when the client has, and nothing is left. The
 * first byte chooses where its bytes begin: at the options, or at the requests, behind a handshake
 * that is right. All has been sent before the server looks.
 */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "block/member.h"
#include "export/nbd_connection.h"
#include "runtime.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DISK_BYTES (1u << 20)
#define INPUT_MAX  (64u << 10)

/* Client flags; structured replies, base:allocation, GO. */
static const uint8_t handshake[] =
    "\0\0\0\3IHAVEOPT\0\0\0\10\0\0\0\0"
    "IHAVEOPT\0\0\0\12\0\0\0\37\0\0\0\4disk\0\0\0\1\0\0\0\17base:allocation"
    "IHAVEOPT\0\0\0\7\0\0\0\12\0\0\0\4disk\0";

static struct {
    struct nbd_server *server;
    const uint8_t *data;
    size_t size;
} fuzz;

static void send_input(struct stream *s)
{
    struct iovec iov[] = {
        {(void *)(uintptr_t)handshake, fuzz.data[0] & 1 ? sizeof handshake : 4},
        {(void *)(uintptr_t)(fuzz.data + 1), fuzz.size - 1},
    };

    assert(!stream_write(s, iov, 2, 0));
}

static void talk(void)
{
    struct stream *ours, *theirs;
    char replies[4096];

    assert(!stream_pair(&ours, &theirs));
    send_input(ours);
    stream_shutdown_read(theirs);
    assert(!nbd_accept(fuzz.server, theirs));
    while (stream_read(ours, replies, 1, sizeof replies) > 0)
        ;
    stream_close(ours);
    while (nbd_server_clients(fuzz.server, "disk"))
        co_yield ();
}

static char socket_path[64];

static void remove_socket(void)
{
    unlink(socket_path);
}

/* The server stays for all inputs. */
static void serve(void)
{
    struct worker *self = worker_self();
    struct nbd_params params = {.path = socket_path,
        .mode = 0600,
        .owner = (uid_t)-1,
        .group = (gid_t)-1,
        .workers = &self,
        .worker_count = 1,
        .clients_max = 2};
    struct blockdev *disk;

    assert(!member_memory("disk", DISK_BYTES, 512, &disk));
    assert(!nbd_server_start(&fuzz.server, &params, NULL));
    assert(!nbd_server_add(fuzz.server, "disk", disk, false, NULL));
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    /* one of its own, since several fuzzers may run */
    snprintf(socket_path, sizeof socket_path, "/tmp/fuzz-nbd.%d", (int)getpid());
    atexit(remove_socket);
    fuzz_runtime_start(serve);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size || size > INPUT_MAX)
        return 0;
    fuzz.data = data;
    fuzz.size = size;
    fuzz_runtime_run(talk);
    return 0;
}
