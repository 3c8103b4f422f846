/* Inside of a session: one call from its head to its reply. Shared by session.c, call_reply.c, backup_*.c and
 * reader_session.c. */
#ifndef PXB_SERVER_CALL_H
#define PXB_SERVER_CALL_H

#include "server/body.h"
#include "server/known.h"
#include "server/session.h"
#include "wire/protocol.h"
#include "wire/target.h"

struct backup_session;
struct reader_session;

struct call {
    struct session *session;
    struct call *previous, *next; /* all calls of the session */
    int32_t stream;
    /* The request. Texts are the h2_server's. */
    const struct call_rules *rules; /* NULL: there is no such call */
    const char *method;
    const char *query;
    const char *content_type;
    struct target target;
    struct param_set params;
    struct body body;
    bool discards_body; /* a speed test's */
    /* What fault injection does with it. */
    bool fault_cut, fault_delay, fault_error, fault_lie;
    /* The reply: a text, a file from `fd`, or always the same byte. */
    bool replied;
    bool submitted;
    int status;
    const char *type;
    struct buffer text;
    int fd;       /* -1: none */
    bool repeats; /* `size` times the byte `filler` */
    uint8_t filler;
    uint64_t offset, size;
    enum lie lie;
    uint64_t due_ns; /* of a delayed reply */
    struct call *next_waiting;
};

struct session {
    struct shared *shared;
    struct body_file body_file;
    const struct faults *faults;
    enum session_kind kind;
    struct h2_server *h2;
    struct call *calls;
    struct backup_session *backup;
    struct reader_session *reader;
    uint64_t now;
    unsigned requests;
    unsigned files;       /* replies from files that are under way */
    struct call *waiting; /* replies from files that are not begun yet, in order */
    struct call *waiting_last;
    bool going_away;
    bool freeing;
    enum session_cut cut;
};

/* ---- replies: each call gets one, once ---- */

/* At most so many files of a session are open for replies; others wait in order. */
enum { SESSION_FILES_MAX = 32 };

/* {"data":TEXT} */
void call_reply_data(struct call *c, const char *format, ...) PRINTF_LIKE(2, 3);
/* Bare text. */
void call_reply_error(struct call *c, int status, const char *text);
/* 400 with the sentence; ERR_NOT_FOUND stays 400 as well: only the caller knows better. */
void call_reply_failure(struct call *c, const struct error *err);
/* The bytes of a file; takes the descriptor. */
void call_reply_file(struct call *c, int fd, uint64_t size);
/* `size` times the same byte. */
void call_reply_constant(struct call *c, uint8_t byte, uint64_t size);
/* Delayed ones whose time has come, and files that there is room for. */
void call_reply_due(struct session *s);
/* The call is over: its file gives way to another one. */
void call_reply_close(struct call *c);

/* ---- the two kinds of session ---- */

/* Takes the writer, also on failure. */
MUST_CHECK enum status backup_session_new(struct session *s, const struct session_options *options,
                                          struct backup_session **out, struct error *err);
void backup_session_free(struct backup_session *b);
/* A complete call with its parameters, not answered yet. */
void backup_session_call(struct backup_session *b, struct call *c);

MUST_CHECK enum status reader_session_new(struct session *s, const struct session_options *options,
                                          struct reader_session **out, struct error *err);
void reader_session_free(struct reader_session *r);
void reader_session_call(struct reader_session *r, struct call *c);

/* Every chunk that the index file lists becomes known, with its length. Checks everything that is not a digest.
 * ERR_FORMAT. */
MUST_CHECK enum status register_index(struct known *known, int fd, uint64_t size, const char *name, struct error *err);

#endif
