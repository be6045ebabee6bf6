/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libashlar, the client half: calls to a running ashlard. Blocking, for any thread, one call at a
 * time on a client; programs that want more open more. Errors are 0 or -errno; the text of the last
 * one is kept by the client.
 *
 *     struct ashlar_client *c;
 *     char *result;
 *     if (ashlar_connect(NULL, &c) == 0 && ashlar_call(c, "status", NULL, &result) == 0)
 *         puts(result), free(result);
 *     ashlar_disconnect(c);
 */
#ifndef ASHLAR_H
#define ASHLAR_H

#ifdef __cplusplus
extern "C" {
#endif

#define ASHLAR_DEFAULT_SOCKET "/run/ashlar/ashlard.sock"

struct ashlar_client;

/*
 * Connects to the daemon's socket; NULL: $ASHLAR_SOCKET, else ASHLAR_DEFAULT_SOCKET. On failure
 * *client is still made unless -ENOMEM, for ashlar_error, and is freed by ashlar_disconnect.
 */
int ashlar_connect(const char *socket_path, struct ashlar_client **client);
void ashlar_disconnect(struct ashlar_client *client);

/*
 * Calls a method (see docs/rpc.md) with a JSON object of parameters (NULL: none). *result is a JSON
 * document, freed by the caller with free(). A refusal by the daemon is the -errno it names (-EIO
 * when it names none we know); a broken connection is -EPIPE.
 */
int ashlar_call(
    struct ashlar_client *client, const char *method, const char *params_json, char **result_json);

/* After "events.subscribe": the next event, a JSON object, freed by the caller. Waits; -ETIMEDOUT
 * (timeout_ms >= 0), -EPIPE at the end. */
int ashlar_next_event(struct ashlar_client *client, int timeout_ms, char **event_json);

/* Why the last call failed: one sentence, valid until the next. Never NULL. */
const char *ashlar_error(const struct ashlar_client *client);

const char *ashlar_version(void);

#ifdef __cplusplus
}
#endif

#endif
