/* One upgraded connection: HTTP/2 requests come in, are checked against the schema, carried out and answered.
 *
 *   connection.c --feed--> [ h2_server --> call --> backup_session.c | reader_session.c --> reply ] --output-->
 * connection.c
 *
 * No sockets and no clock of its own: time is an argument. For one thread. What it reads and writes on disk it does at
 * once; a session's calls are carried out one after the other, in the order in which they are complete.
 * Source: bench/spec/protocol.md 7.4, 8 to 10, 14. */
#ifndef PXB_SERVER_SESSION_H
#define PXB_SERVER_SESSION_H

#include "server/shared.h"
#include "wire/call_rules.h"
#include "wire/h2_server.h"

struct session_options {
    struct shared *shared;       /* borrowed */
    const struct faults *faults; /* borrowed: the connection's */
    enum session_kind kind;
    struct snapshot_id id;
    bool benchmark;
    struct store_writer *writer; /* of a backup: taken, also on failure */
    struct store_reader *reader; /* of a reader: taken, also on failure */
};

struct session;
MUST_CHECK enum status session_new(const struct session_options *options, struct session **out, struct error *err);
/* An unfinished backup's snapshot is removed. Accepts NULL. */
void session_free(struct session *s);

/* As h2_server_feed, _output, _sent, _finished. */
MUST_CHECK enum status session_feed(struct session *s, const void *data, size_t size, uint64_t now, struct error *err);
MUST_CHECK enum status session_output(struct session *s, const uint8_t **out, size_t *out_size, struct error *err);
void session_sent(struct session *s, size_t size);
bool session_is_over(const struct session *s);
/* Nothing is under way. */
bool session_is_idle(const struct session *s);
/* Settings that were held back go out. */
void session_announce(struct session *s);
/* Takes no more requests. */
void session_goaway(struct session *s);

/* Sends replies that were delayed up to now; when the next one is due (UINT64_MAX: none). */
uint64_t session_due(struct session *s, uint64_t now);

/* What fault injection wants done to the connection. */
enum session_cut { SESSION_CUT_NOT, SESSION_CUT_NOW, SESSION_CUT_HALF, SESSION_CUT_FLUSHED };
enum session_cut session_cut(const struct session *s);

#endif
