/* Credentials for one request: a token's at once, a user's by a ticket, which all connections of an account share.
 *
 *   no ticket --call--> ticket --401, or too old--> no ticket
 *
 * While one thread calls, the others wait for its ticket; if the server refuses, that is their answer, too.
 * Source: bench/spec/protocol.md 6. */
#ifndef PXB_NET_LOGIN_H
#define PXB_NET_LOGIN_H

#include "net/account.h"
#include "net/tls_link.h"

#include <pthread.h>

enum { ACCOUNT_TEXT_MAX = 4096, TICKET_AGE_MAX_S = 6600 };

struct ticket {
    char ticket[ACCOUNT_TEXT_MAX + 1];
    char csrf_token[ACCOUNT_TEXT_MAX + 1];
    const char *cookie_name; /* a literal; NULL: the usual one */
    uint64_t number;         /* 1 for the first; 0: none */
};

struct account {
    struct repository repository;
    char authority[REPOSITORY_FULL_SIZE];
    char *secret;
    size_t secret_size;
    bool has_fingerprint;
    uint8_t fingerprint[CERTIFICATE_FINGERPRINT_SIZE];
    char *ca_file;
    char *proxy;
    uint64_t rate, burst;
    unsigned connect_timeout_ms;
    uint64_t stall_timeout_ns;

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t changed;
    bool calling;
    uint64_t calls; /* that ended */
    struct ticket *ticket;
    uint64_t ticket_ns;   /* when it came */
    struct error refusal; /* how the last call ended, if the server decided so */
};

/* How the account's connections are opened; points into the account. */
struct tls_link_options account_link_options(const struct account *a);

/* A copy, which stays when others log in anew. `credentials` points into it. */
struct login {
    struct http_credentials credentials;
    struct ticket *ticket; /* NULL: a token's */
    uint64_t number;
};
void login_deinit(struct login *login); /* accepts zeroed */

/* `refused`: the number of a ticket that the server did not take, 0: none. Calls over `l`; *out_usable: whether another
 * request may follow on it. ERR_REFUSED: wrong password. ERR_UNSUPPORTED: a second factor is wanted. */
MUST_CHECK enum status login_get(struct account *a, struct tls_link *l, uint64_t refused, struct net_wake *wake,
                                 struct login *out, bool *out_usable, struct error *err);

#endif
