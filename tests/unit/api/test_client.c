/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The client against a thread that plays the daemon: it reads a line for each prepared answer and
 * sends that. */
#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "ashlar.h"

extern CU_TestInfo client_tests[];

static char socket_path[64];
static char requests[4][4096]; /* read after stop */

struct daemon {
    int listener;
    const char *const *answers; /* ends with NULL; then the daemon hangs up */
    pthread_t thread;
};

static void *daemon_thread(void *arg)
{
    struct daemon *d = arg;
    size_t i = 0;
    int fd = accept(d->listener, NULL, NULL);
    FILE *in = fdopen(dup(fd), "r");

    for (const char *const *a = d->answers; *a && fgets(requests[i++], sizeof requests[0], in); a++)
        if (send(fd, *a, strlen(*a), MSG_NOSIGNAL) < 0)
            break;
    fclose(in);
    close(fd);
    return NULL;
}

static struct ashlar_client *start(struct daemon *d, const char *const *answers)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct ashlar_client *c;

    snprintf(socket_path, sizeof socket_path, "/tmp/ashlar-client-test.%d", (int)getpid());
    unlink(socket_path);
    memcpy(addr.sun_path, socket_path, strlen(socket_path));
    d->answers = answers;
    d->listener = socket(AF_UNIX, SOCK_STREAM, 0);
    CU_ASSERT_FATAL(
        !bind(d->listener, (struct sockaddr *)&addr, sizeof addr) && !listen(d->listener, 1));
    CU_ASSERT_FATAL(!pthread_create(&d->thread, NULL, daemon_thread, d));
    CU_ASSERT_EQUAL(ashlar_connect(socket_path, &c), 0);
    return c;
}

static void stop(struct daemon *d, struct ashlar_client *c)
{
    ashlar_disconnect(c);
    pthread_join(d->thread, NULL);
    close(d->listener);
    unlink(socket_path);
}

static void test_call(void)
{
    static const char *const answers[] = {
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"x\":[1,2]}}\n",
        "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":null}\n", NULL};
    struct daemon d;
    struct ashlar_client *c = start(&d, answers);
    char *result = NULL;

    CU_ASSERT_EQUAL(ashlar_call(c, "noun.verb", "{\"a\": \"b\"}", &result), 0);
    CU_ASSERT_STRING_EQUAL(result, "{\"x\":[1,2]}");
    free(result);
    CU_ASSERT_EQUAL(ashlar_call(c, "noun.verb", NULL, &result), 0);
    CU_ASSERT_STRING_EQUAL(result, "null");
    free(result);
    stop(&d, c);
    CU_ASSERT_STRING_EQUAL(requests[0],
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"noun.verb\",\"params\":{\"a\":\"b\"}}\n");
}

static void test_refusal(void)
{
    static const char *const answers[] = {"{\"id\":1,\"error\":{\"code\":-32000,\"message\":\"in "
                                          "use\",\"data\":{\"errno\":\"EBUSY\"}}}\n",
        "{\"id\":2,\"error\":{\"code\":-32601,\"message\":\"what?\"}}\n", "{\"id\":3}\n", NULL};
    struct daemon d;
    struct ashlar_client *c = start(&d, answers);
    char *result = NULL;

    CU_ASSERT_EQUAL(ashlar_call(c, "m", NULL, &result), -EBUSY);
    CU_ASSERT_STRING_EQUAL(ashlar_error(c), "in use");
    CU_ASSERT_EQUAL(ashlar_call(c, "m", NULL, &result), -EIO);
    CU_ASSERT_STRING_EQUAL(ashlar_error(c), "what?");
    CU_ASSERT_EQUAL(ashlar_call(c, "m", NULL, &result), -EBADMSG);
    CU_ASSERT_EQUAL(ashlar_call(c, "m", "[]", &result), -EINVAL);
    CU_ASSERT_EQUAL(ashlar_call(c, "m", "{", &result), -EINVAL);
    CU_ASSERT_PTR_NULL(result);
    stop(&d, c);
}

static void test_events_between(void)
{
    static const char *const answers[] = {
        "{\"method\":\"event\",\"params\":{\"seq\":1}}\n{\"id\":1,\"result\":{}}\n{\"method\":"
        "\"event\",\"params\":{\"seq\":2}}\n",
        NULL};
    struct daemon d;
    struct ashlar_client *c = start(&d, answers);
    char *text;

    CU_ASSERT_EQUAL(ashlar_call(c, "events.subscribe", NULL, &text), 0);
    free(text);
    CU_ASSERT_EQUAL(ashlar_next_event(c, -1, &text), 0);
    CU_ASSERT_STRING_EQUAL(text, "{\"seq\":1}");
    free(text);
    CU_ASSERT_EQUAL(ashlar_next_event(c, -1, &text), 0);
    CU_ASSERT_STRING_EQUAL(text, "{\"seq\":2}");
    free(text);
    CU_ASSERT_EQUAL(ashlar_next_event(c, -1, &text), -EPIPE);
    CU_ASSERT_EQUAL(ashlar_next_event(c, -1, &text), -EPIPE);
    stop(&d, c);
}

static void test_broken(void)
{
    static const char *const broken[] = {"not json\n", "[]\n", "{\"id\": 1, \"resu", ""};

    for (unsigned i = 0; i < sizeof broken / sizeof *broken; i++) {
        const char *const answers[] = {broken[i], NULL};
        struct daemon d;
        struct ashlar_client *c = start(&d, answers);
        char *result = NULL;
        int rc = ashlar_call(c, "m", NULL, &result);

        CU_ASSERT(rc == -EBADMSG || rc == -EPIPE);
        CU_ASSERT_PTR_NOT_NULL(strstr(ashlar_error(c), "lost"));
        CU_ASSERT_EQUAL(ashlar_call(c, "m", NULL, &result), -EPIPE);
        CU_ASSERT_PTR_NULL(result);
        stop(&d, c);
    }
}

static void test_no_daemon(void)
{
    char too_long[200];
    struct ashlar_client *c;
    char *result;

    CU_ASSERT_EQUAL(ashlar_connect("/nonexistent/socket", &c), -ENOENT);
    CU_ASSERT_PTR_NOT_NULL(strstr(ashlar_error(c), "is ashlard running?"));
    CU_ASSERT_EQUAL(ashlar_call(c, "m", NULL, &result), -EPIPE);
    ashlar_disconnect(c);
    memset(too_long, 'x', sizeof too_long - 1);
    too_long[sizeof too_long - 1] = 0;
    CU_ASSERT_EQUAL(ashlar_connect(too_long, &c), -ENAMETOOLONG);
    ashlar_disconnect(c);
}

/* An answer of some MiB arrives in many pieces. */
static void test_long_answer(void)
{
    static char answer[3 << 20];
    const char *const answers[] = {answer, NULL};
    struct daemon d;
    struct ashlar_client *c;
    char *result = NULL;
    int head = snprintf(answer, sizeof answer, "{\"id\":1,\"result\":\"");

    memset(answer + head, 'y', sizeof answer - (size_t)head - 4);
    strcpy(answer + sizeof answer - 4, "\"}\n");
    c = start(&d, answers);
    CU_ASSERT_EQUAL(ashlar_call(c, "m", NULL, &result), 0);
    CU_ASSERT_EQUAL(strlen(result), sizeof answer - (size_t)head - 4 + 2);
    free(result);
    stop(&d, c);
}

CU_TestInfo client_tests[] = {
    {"a call", test_call},
    {"refusals", test_refusal},
    {"events between answers", test_events_between},
    {"broken answers end the connection", test_broken},
    {"no daemon", test_no_daemon},
    {"a long answer", test_long_answer},
    CU_TEST_INFO_NULL,
};
