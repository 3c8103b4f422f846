/* How fast a server takes what a backup sends: a session made for that, which stores nothing. One connection, bodies of
 * 4 MiB, as many under way as the link fills with.
 * Source: bench/spec/protocol.md 8.10. */
#ifndef PXB_CLI_BENCHMARK_UPLOAD_H
#define PXB_CLI_BENCHMARK_UPLOAD_H

#include "cli/benchmark_local.h"
#include "net/session.h"

/* For about `duration_ns`, and as long again as the link takes for what is under way then. `out_network` is filled in
 * also on failure. */
MUST_CHECK enum status benchmark_upload(struct account *account, uint64_t duration_ns, struct benchmark_speed *out,
                                        struct net_stats *out_network, struct error *err);

#endif
