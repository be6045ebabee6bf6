/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which engine is chosen where io_uring is refused, as by a container's filter: in a child process,
 * since a filter stays. */
#include "unit.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arith.h"
#include "rt/worker.h"

extern CU_TestInfo init_tests[];

static int refuse_io_uring(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {ARRAY_LEN(code), code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0 ? -errno : 0;
}

enum { CHOSEN_RIGHT = 10, CHOSEN_WRONG, NO_FILTER };

static int falls_back(void)
{
    unsetenv("ASHLAR_ENGINE");
    return rt_init(NULL, NULL) == 0 && !strcmp(rt_engine_name(), "aio");
}

static int says_no(void)
{
    struct error err = {0};

    return rt_init("uring", &err) == -ENOSYS && strstr(err.text, "uring");
}

/* The exit status of a child that io_uring is refused. */
static int in_child(int (*right)(void))
{
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        if (refuse_io_uring() < 0)
            _exit(NO_FILTER);
        _exit(right() ? CHOSEN_RIGHT : CHOSEN_WRONG);
    }
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_refused(void)
{
    CU_ASSERT_EQUAL(in_child(falls_back), CHOSEN_RIGHT);
    CU_ASSERT_EQUAL(in_child(says_no), CHOSEN_RIGHT);
}

CU_TestInfo init_tests[] = {
    {"io_uring is refused", test_refused},
    CU_TEST_INFO_NULL,
};
