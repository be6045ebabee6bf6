/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "../block/scratch.h"

extern CU_TestInfo bitmaps_tests[], check_tests[], compact_tests[], compress_tests[], copy_tests[],
    create_tests[], entry_tests[], geometry_tests[], image_tests[], header_tests[], load_tests[],
    refcount_tests[], save_tests[], sink_tests[], snapshot_table_tests[], snapshot_tests[],
    source_tests[];

int main(int argc, char **argv)
{
    CU_SuiteInfo suites[] = {
        {"bitmaps", scratch_begin, scratch_end, NULL, NULL, bitmaps_tests},
        {.pName = "check", .pTests = check_tests},
        {.pName = "compact", .pTests = compact_tests},
        {.pName = "compress", .pTests = compress_tests},
        {.pName = "copy", .pTests = copy_tests},
        {"create", scratch_begin, scratch_end, NULL, NULL, create_tests},
        {.pName = "entry", .pTests = entry_tests},
        {.pName = "geometry", .pTests = geometry_tests},
        {"header", scratch_begin, scratch_end, NULL, NULL, header_tests},
        {.pName = "load", .pTests = load_tests},
        {.pName = "refcount", .pTests = refcount_tests},
        {"save", scratch_begin, scratch_end, NULL, NULL, save_tests},
        {.pName = "sink", .pTests = sink_tests},
        {.pName = "snapshot", .pTests = snapshot_tests},
        {"snapshot-table", scratch_begin, scratch_end, NULL, NULL, snapshot_table_tests},
        {"source", scratch_begin, scratch_end, NULL, NULL, source_tests},
        {.pName = "image", .pTests = image_tests},
        CU_SUITE_INFO_NULL,
    };
    struct error err = {0};

    if (rt_init(NULL, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 77;
    }
    return unit_main(argc, argv, suites);
}
