/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where things stand in the header, for those who read (header.c) and write it (header_write.c). */
#ifndef ASHLAR_IMAGE_HEADER_LAYOUT_H
#define ASHLAR_IMAGE_HEADER_LAYOUT_H

#define MAGIC                UINT32_C(0x514649fb)
#define AT_VERSION           4
#define AT_BACKING_OFFSET    8
#define AT_BACKING_BYTES     16
#define AT_CLUSTER_BITS      20
#define AT_SIZE              24
#define AT_ENCRYPTION        32
#define AT_L1_ENTRIES        36
#define AT_L1_OFFSET         40
#define AT_REFTABLE_OFFSET   48
#define AT_REFTABLE_CLUSTERS 56
#define AT_SNAPSHOT_COUNT    60
#define AT_SNAPSHOTS_OFFSET  64
#define V2_BYTES             72
#define AT_INCOMPATIBLE      72
#define AT_COMPATIBLE        80
#define AT_AUTOCLEAR         88
#define AT_REFCOUNT_ORDER    96
#define AT_HEADER_BYTES      100
#define V3_BYTES             104 /* at least */
#define AT_COMPRESSION       104
#define KNOWN_BYTES          112 /* the fields that we know, padded to 8 bytes */

#define EXTENSION_BYTES         8 /* before its data */
#define EXTENSION_END           UINT32_C(0)
#define EXTENSION_FORMAT        UINT32_C(0xe2792aca)
#define EXTENSION_FEATURES      UINT32_C(0x6803f857)
#define EXTENSION_BITMAPS       UINT32_C(0x23852875)
#define EXTENSION_ENCRYPTION    UINT32_C(0x0537be77)
#define BITMAPS_EXTENSION_BYTES 24
#define FEATURE_BYTES           48 /* in the table of names: kind, bit, name */
#define FEATURE_NAME_BYTES      46

#endif
