/* One client's connection from its first byte to its last, on a thread of its own.
 *
 *   socket <-> link (delays, rates) <-> TLS <-> front (HTTP/1.1), then session (HTTP/2)
 *
 * Nothing but the wake descriptor is touched by other threads. */
#ifndef PXB_SERVER_CONNECTION_H
#define PXB_SERVER_CONNECTION_H

#include "server/shared.h"

struct connection;
/* Takes the socket, also on failure. */
MUST_CHECK enum status connection_new(struct shared *shared, int fd, struct connection **out, struct error *err);
void connection_free(struct connection *c); /* accepts NULL */
/* Until its end. */
void connection_run(struct connection *c);
/* Something changed (shared->stopping, faults). Thread-safe. */
void connection_wake(struct connection *c);

#endif
