/* What the handlers of plain calls share: the question taken apart, the answer under way, and who may do what.
 * Inside bench/server's rest_*.c only. A handler fills `answer`, or fails with the sentence that becomes its body.
 * Source: bench/spec/protocol.md 6.3, 11, 18. */
#ifndef PXB_SERVER_REST_CONTEXT_H
#define PXB_SERVER_REST_CONTEXT_H

#include "server/rest.h"
#include "server/rest_json.h"
#include "server/workshop.h"
#include "wire/param.h"

enum { REST_JSON_MAX = 64 << 20 }; /* an answer that is a list */

struct rest_context {
    struct store *store;
    const char *store_name;
    struct budget *bodies; /* as the options have them */
    const char *directory;
    struct workshop *workshop;   /* for whole blobs */
    const struct caller *caller; /* NULL in public calls */
    const struct rest_question *question;
    const struct param_set *params; /* checked */
    struct rest_answer *answer;     /* status 200, empty body with REST_JSON_MAX */
    int failed_status;              /* of a failure: 400 unless a handler says otherwise */
};

typedef enum status rest_handler(struct rest_context *c, struct error *err);

/* A call of the api. */
struct rest_route {
    const char *method;
    const char *path; /* "admin/datastore/?/groups": '?' is any one component */
    bool is_public;
    bool is_raw; /* parameters in the query only: the body is data */
    const struct param_rule *rules;
    size_t rule_count;
    rest_handler *handle;
};
/* NULL: no such call (404). */
const struct rest_route *rest_route_find(const char *method, const char *const *components, size_t component_count);

/* Which group a caller may do something to: with `privileges` (any of them) to all, with `owner_privilege` to its own
 * ones. 0: none such. 403: neither of the two; 400: somebody else's group, or one without owner. */
struct rest_need {
    unsigned privileges;
    unsigned owner_privilege;
};
MUST_CHECK enum status rest_may(struct rest_context *c, struct rest_need need, const struct snapshot_id *group,
                                struct error *err);
/* The same for a listing: 403 when nothing may be listed. *out_own_only: of groups, only the caller's. */
MUST_CHECK enum status rest_may_list(struct rest_context *c, struct rest_need need, bool *out_own_only,
                                     struct error *err);
/* Of parameters; "" or NULL where they were not given. */
const char *rest_param_namespace(const struct rest_context *c, const char *name);
const char *rest_param_text(const struct rest_context *c, const char *name); /* NULL */
/* backup-type, backup-id, backup-time and ns. */
MUST_CHECK enum status rest_param_snapshot(const struct rest_context *c, struct snapshot_id *out, struct error *err);

/* Instead of a body: from here on the context is closed with the answer, also when the handler fails afterwards. */
void rest_answer_source(struct rest_context *c, struct source source, void (*close)(void *context));
void rest_answer_size(struct rest_context *c, uint64_t size); /* of the source, if it is known */

/* Handlers, by file. */
rest_handler rest_get_version, rest_get_ping, rest_get_datastores, rest_get_status, rest_get_groups, rest_get_snapshots,
    rest_get_files, rest_get_gc, rest_start_gc, rest_get_task; /* rest_lists.c */
rest_handler rest_get_namespaces, rest_make_namespace, rest_remove_namespace, rest_remove_snapshot, rest_put_log;
rest_handler rest_download, rest_download_decoded;   /* rest_files.c */
rest_handler rest_get_catalog, rest_download_member; /* rest_tree.c */

#endif
