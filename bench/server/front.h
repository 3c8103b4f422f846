/* The HTTP/1.1 side of a connection: requests one after the other, kept alive, until one of them is an upgrade.
 *
 *   connection.c --feed--> [ head, body --> login | rest_api_answer | open_session ] --output--> connection.c
 *
 * No sockets; time is an argument. For one thread.
 * Source: bench/spec/protocol.md 5, 6, 7, 14. */
#ifndef PXB_SERVER_FRONT_H
#define PXB_SERVER_FRONT_H

#include "server/body.h"
#include "server/session.h"
#include "wire/http_body.h"
#include "wire/target.h"

enum front_state {
    FRONT_HEAD,
    FRONT_BODY,
    FRONT_REPLY,    /* takes no input until the reply is out */
    FRONT_UPGRADED, /* the 101 is in the output; `upgrade` is to be taken */
    FRONT_CLOSED,   /* the connection is to be closed when the output is out */
};

struct front {
    struct shared *shared;
    const struct faults *faults;
    enum front_state state;
    uint64_t now;
    struct http_head head;
    bool between;    /* nothing of the next request came yet, but blank lines */
    bool half_blank; /* and half of one more */
    size_t blank_size;
    uint64_t begun_ns; /* when the first byte came; 0: none did */
    struct target target;
    struct caller caller;
    bool is_known; /* the caller */
    char refusal[256];
    char name[FAULT_CALL_MAX];
    bool fault_cut, fault_delay, fault_error;
    struct http_body body;
    struct buffer content; /* parameters; wiped */
    bool has_upload;       /* the body is data, and goes here: */
    struct body_file file;
    struct body upload;
    bool keeps_alive;
    /* The reply. */
    struct buffer out;
    size_t sent;
    struct rest_answer answer;
    bool streams;
    bool chunked;
    uint64_t left; /* of a source of known size */
    uint64_t due_ns;
    struct session_options upgrade;
    enum session_cut cut;
};

void front_init(struct front *f, struct shared *shared, const struct faults *faults);
void front_deinit(struct front *f);

/* Takes bytes until a request is complete (*out_used says how many); then what it asks is done. */
void front_feed(struct front *f, const uint8_t *data, size_t size, uint64_t now, size_t *out_used);
/* Bytes to send; 0: none now. ERR_NETWORK: a reply cannot be completed. */
MUST_CHECK enum status front_output(struct front *f, uint64_t now, const uint8_t **out, size_t *out_size,
                                    struct error *err);
void front_sent(struct front *f, size_t size);
/* When a request that has begun must be whole (UINT64_MAX: none has). */
uint64_t front_patience(const struct front *f);
/* When a delayed reply is due (UINT64_MAX: none). */
uint64_t front_due(const struct front *f);

#endif
