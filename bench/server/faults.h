/* What a server does wrong on purpose, so that clients can be tested: slow and lossy links, errors, lies, tight limits.
 * Plain values; all zero is a good server. Byte counts are of what TLS carries.
 * Source: bench/spec/protocol.md 14.3. */
#ifndef PXB_SERVER_FAULTS_H
#define PXB_SERVER_FAULTS_H

#include "base/status.h"

enum { FAULT_CALL_MAX = 64 };

/* "the k-th call of this name": "dynamic_chunk", "PUT dynamic_index", "finish", "chunk", "download", "backup",
 * "reader", "access/ticket", "admin/datastore/NAME/snapshots"; with a method before it, or for any. Counted over all
 * connections since the faults were set. */
struct fault_call {
    char name[FAULT_CALL_MAX]; /* "": no such fault; "*": any call */
    unsigned k;                /* from 1; 0: every one */
};

enum cut_when { CUT_AT_HEAD, CUT_AT_BODY, CUT_BEFORE_REPLY, CUT_WITHIN_REPLY, CUT_AFTER_REPLY };
extern const char *const cut_when_names[]; /* "head", "body", "before-reply", "within-reply", "after-reply"; NULL */

enum lie {
    LIE_NONE,
    LIE_FLIP,    /* one bit of the file or chunk is turned */
    LIE_SWAP,    /* another chunk than the one asked for: whole, well-formed */
    LIE_CUT,     /* half of it */
    LIE_GROW,    /* bytes behind it */
    LIE_ENDLESS, /* bytes behind it, without end */
};
extern const char *const lie_names[]; /* "none", "flip", "swap", "cut", "grow", "endless"; NULL */

struct faults {
    /* The link, a model of a network: what is sent arrives this much later, and no faster than this. Requests that
     * overlap wait together. Connecting costs a round trip, as in TCP. */
    uint32_t delay_in_us;  /* from the client */
    uint32_t delay_out_us; /* to the client */
    uint64_t rate_in;      /* bytes per second; 0: unlimited */
    uint64_t rate_out;

    /* Loss of the connection, once so many bytes came or went; 0: never. */
    uint64_t cut_in;
    uint64_t cut_out;
    unsigned cut_connection; /* the k-th since the faults were set (from 1); 0: every one */
    bool cut_with_reset;     /* RST instead of FIN; neither says good-bye in TLS */
    struct fault_call cut_call;
    enum cut_when cut_when;

    /* A slow or refused call. */
    struct fault_call delay_call;
    uint32_t delay_call_ms;
    struct fault_call error_call;
    int error_status; /* 0: 400 */
    bool error_early; /* with the head, before the body is read */

    /* Lies in downloads: "download", "chunk", "previous". */
    struct fault_call lie_call;
    enum lie lie;

    uint64_t read_rate; /* a slow reader: bytes taken from the socket per second; 0: as they come */
    /* HTTP/2; 0: the specification's values. */
    uint32_t streams_max, stream_window, connection_window, frame_size_max, header_list_max;
    unsigned goaway_after; /* requests of a session; 0: never */
    bool reset_with_cancel;
    bool lax;
    bool split_101; /* byte by byte, each in a record of its own */
    bool join_101;  /* in one record with SETTINGS (else they are two) */
    uint32_t settings_late_ms;
    /* The datastore. */
    unsigned drop_chunk;      /* the k-th chunk that is stored is removed again; 0: none */
    bool base_failed;         /* the newest snapshot counts as failed in verification */
    bool release_lock_at_end; /* of the connection, not at finish: servers before 4.0.16 */
    uint32_t delay_401_ms;
};

/* One "name=value" as on the command line: "delay-in=15ms", "cut-call=finish", "cut-when=after-reply", "lie=flip", ...
 * ; bare names set what is true or false. ERR_USAGE says what there is. */
MUST_CHECK enum status faults_set(struct faults *f, const char *text, struct error *err);
/* One line per name, for --help. */
const char *faults_help(void);

#endif
