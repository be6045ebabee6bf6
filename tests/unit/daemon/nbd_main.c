/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nbd_peer.h"

#include <stdio.h>

#include "base/log.h"

extern CU_TestInfo nbd_protocol_tests[], nbd_handshake_tests[], nbd_transmission_tests[],
    nbd_end_tests[], nbd_switch_tests[];

int main(int argc, char **argv)
{
    CU_SuiteInfo suites[] = {
        {.pName = "nbd_protocol", .pTests = nbd_protocol_tests},
        {.pName = "nbd_handshake", .pTests = nbd_handshake_tests},
        {.pName = "nbd_transmission", .pTests = nbd_transmission_tests},
        {.pName = "nbd_end", .pTests = nbd_end_tests},
        {.pName = "nbd_switch", .pTests = nbd_switch_tests},
        CU_SUITE_INFO_NULL,
    };
    struct error err = {0};

    log_set_level(LOG_ERROR);
    if (rt_init(NULL, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 77;
    }
    return unit_main(argc, argv, suites);
}
