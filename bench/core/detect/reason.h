/* Why: codes for every decision that change detection takes. Names are what --stats and --decisions print.
 * Source: bench/spec/change-detection.md 4 and 5. */
#ifndef PXB_DETECT_REASON_H
#define PXB_DETECT_REASON_H

#include "base/status.h"

/* What became of the reference: the rows of section 4, one code each. */
enum reference_reason {
    REFERENCE_USED,                /* 13 */
    REFERENCE_NOT_ASKED,           /* 6: mode data */
    REFERENCE_NO_PREVIOUS,         /* 2 */
    REFERENCE_MANIFEST_UNREADABLE, /* 4 */
    REFERENCE_MANIFEST_KEYED,      /* 5 */
    REFERENCE_SNAPSHOT_UNREADABLE, /* 7 */
    REFERENCE_NO_METADATA_INDEX,   /* 8 */
    REFERENCE_METADATA_INDEX_BAD,  /* 9 */
    REFERENCE_NO_PAYLOAD_INDEX,    /* 10 */
    REFERENCE_CRYPT_MODE,          /* 11 */
    REFERENCE_PAYLOAD_INDEX_BAD,   /* 12 */
    REFERENCE_METADATA_UNREADABLE, /* 14 at the start */
    REFERENCE_METADATA_BROKE,      /* 14 in mid-run: from there on everything is re-encoded */
    REFERENCE_ROOT_UNREADABLE,     /* 15 */
    REFERENCE_REASON_COUNT
};
const char *reference_reason_name(enum reference_reason reason);

/* Why a file was reused or re-encoded. */
enum file_reason {
    FILE_UNCHANGED, /* reused */
    FILE_NO_REFERENCE,
    FILE_NEW,      /* no entry of that name in the parallel directory */
    FILE_TYPE,     /* the entry there is no regular file with contents */
    FILE_HARDLINK, /* the entry there is a hardlink: carries no attributes */
    FILE_SIZE,
    FILE_MTIME,
    FILE_MODE,
    FILE_OWNER,
    FILE_FLAGS,
    FILE_XATTR,
    FILE_XATTR_VALUE,
    FILE_ACL,
    FILE_FCAPS,
    FILE_PROJECT_ID,
    FILE_NON_MONOTONE, /* old offset not above the highest accepted one */
    FILE_OUT_OF_RANGE, /* old range does not lie within the old payload stream */
    FILE_THRESHOLD,    /* unchanged, but its range's padding exceeded the threshold: collateral */
    FILE_INSTANCES,    /* profile stored: unchanged, but its chunk would be listed too often: collateral */
    FILE_ABSORBED,     /* profile stored: unchanged, but in a small chunk beside a small new one: collateral */
    FILE_REASON_COUNT
};
const char *file_reason_name(enum file_reason reason);

#endif
