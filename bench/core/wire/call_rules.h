/* Which calls there are and what parameters they take: the server's schema, as tables.
 *
 *   method, component --> call_rules_find --> rules and where parameters come from --> param_parse
 *
 * Pure and constant.
 * Source: bench/spec/protocol.md 2.1, 7.1, 8.1, 10, 14.2 (V1 to V4, V19, V20). */
#ifndef PXB_WIRE_CALL_RULES_H
#define PXB_WIRE_CALL_RULES_H

#include "wire/param.h"
#include "wire/upgrade.h"

enum call_id {
    CALL_ID_LIST, /* GET / */
    CALL_ID_PREVIOUS_BACKUP_TIME,
    CALL_ID_PREVIOUS,
    CALL_ID_DYNAMIC_INDEX,
    CALL_ID_DYNAMIC_APPEND,
    CALL_ID_DYNAMIC_CHUNK,
    CALL_ID_DYNAMIC_CLOSE,
    CALL_ID_FIXED_INDEX,
    CALL_ID_FIXED_APPEND,
    CALL_ID_FIXED_CHUNK,
    CALL_ID_FIXED_CLOSE,
    CALL_ID_BLOB,
    CALL_ID_FINISH,
    CALL_ID_SPEEDTEST,
    CALL_ID_DOWNLOAD,
    CALL_ID_READ_CHUNK,
};

struct call_rules {
    enum call_id id;
    const char *method;
    const char *name; /* the only component of the path */
    enum param_source source;
    const struct param_rule *rules;
    size_t rule_count;
};

/* `name` is "" for "/". NULL: no such call in this kind of session (status 404), also for a known one with another
 * method. */
const struct call_rules *call_rules_find(enum session_kind kind, const char *method, const char *name);
/* The k-th call of a session; NULL behind the last one. For lists of what there is, and for tests. */
const struct call_rules *call_rules_at(enum session_kind kind, size_t k);
/* The upgrade itself; parameters come from the query only. */
const struct call_rules *call_rules_upgrade(enum session_kind kind);

#endif
