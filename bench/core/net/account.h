/* Who we are to which server: the address, how its certificate is judged, the secret, and the ticket once there is one.
 * Thread-safe; shared by all connections of a store. Source: bench/spec/protocol.md 4.2, 6. */
#ifndef PXB_NET_ACCOUNT_H
#define PXB_NET_ACCOUNT_H

#include "wire/repository.h"
#include "wire/upgrade.h"

struct account_options {
    struct repository repository;
    const char *secret;      /* password or token secret; NULL: ERR_USAGE. Copied into memory that is zeroed */
    const char *fingerprint; /* NULL: the system's certificate authorities decide. ERR_USAGE: not in colon form */
    const char *ca_file;     /* NULL: the system's; for tests */
    const char *proxy;       /* value of ALL_PROXY; NULL or "": none, whatever other variables say */
    uint64_t rate, burst;    /* of each connection and direction, bytes per second and bytes; 0: unlimited, as rate */
    unsigned connect_timeout_ms; /* 0: 10000 */
    unsigned stall_timeout_ms;   /* without progress (net/progress.h) while an answer is due; 0: 120000 */
};

struct account;
MUST_CHECK enum status account_new(const struct account_options *options, struct account **out, struct error *err);
void account_free(struct account *a); /* connections must be gone; accepts NULL */
const struct repository *account_repository(const struct account *a);

#endif
