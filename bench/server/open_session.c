#include "server/open_session.h"

#include "base/log.h"
#include "store/local_server.h"
#include "store/local_server_lists.h"

#include <stdio.h>
#include <string.h>

#define BENCHMARK_TYPE "host"
#define BENCHMARK_ID "benchmark"

static void take_id(const struct param_set *params, struct snapshot_id *out)
{
    const struct param_value *ns = param_get(params, "ns");
    *out = (struct snapshot_id){.time = param_get(params, "backup-time")->integer};
    snprintf(out->type, sizeof out->type, "%s", param_get(params, "backup-type")->text.data);
    snprintf(out->id, sizeof out->id, "%s", param_get(params, "backup-id")->text.data);
    snprintf(out->ns, sizeof out->ns, "%s", ns->present ? ns->text.data : "");
}

static enum status check_upgrade(const struct http_head *head, enum session_kind kind, struct error *err)
{
    const char *wanted = session_protocol(kind);
    const char *upgrade = http_head_find(head, "upgrade");
    if (!upgrade)
        return fail(err, ERR_USAGE, "missing Upgrade header: expected protocol %s", wanted);
    if (strcmp(upgrade, wanted) != 0)
        return fail(err, ERR_USAGE, "invalid protocol name in the Upgrade header: expected %s", wanted);
    if (head->minor != 1)
        return fail(err, ERR_USAGE, "unexpected HTTP version for an upgrade: expected 1.1");
    return OK;
}

static enum status open_backup(struct shared *shared, const struct faults *faults, const struct http_head *head,
                               const struct param_set *params, const struct caller *caller, struct session_options *out,
                               int *out_http_status, struct error *err)
{
    const char *store = param_get(params, "store")->text.data;
    out->benchmark = param_get(params, "benchmark")->boolean;
    if (strcmp(store, shared->name) != 0 || !(caller->privileges & PRIVILEGE_BACKUP)) {
        *out_http_status = 403;
        return fail(err, ERR_REFUSED, "permission check failed: missing Datastore.Backup on /datastore/%s", store);
    }
    TRY(check_upgrade(head, SESSION_BACKUP, err));
    if (local_check_namespace(shared->store, out->id.ns, err) != OK) {
        *out_http_status = 404;
        return fail(err, ERR_NOT_FOUND, "namespace not found: %s", out->id.ns);
    }
    bool is_benchmark_id = strcmp(out->id.type, BENCHMARK_TYPE) == 0 && strcmp(out->id.id, BENCHMARK_ID) == 0;
    if (out->benchmark != is_benchmark_id || (out->benchmark && out->id.ns[0]))
        return fail(err, ERR_USAGE,
                    "group " BENCHMARK_TYPE "/" BENCHMARK_ID " of the root namespace is for benchmarks, "
                    "and benchmarks are for nothing else");
    const struct local_begin how = {
        .auth_id = caller->auth_id,
        .may_use = out->benchmark ? NULL : access_owns,
        .ignore_base = faults->base_failed,
    };
    return local_begin(shared->store, &out->id, &how, &out->writer, err);
}

static enum status open_reader(struct shared *shared, const struct http_head *head, const struct param_set *params,
                               const struct caller *caller, struct session_options *out, struct error *err)
{
    const char *store = param_get(params, "store")->text.data;
    if (strcmp(store, shared->name) != 0 || !(caller->privileges & (PRIVILEGE_READ | PRIVILEGE_BACKUP)))
        return fail(err, ERR_REFUSED, "permission check failed: no rights on /datastore/%s", store);
    TRY(check_upgrade(head, SESSION_READER, err));
    if (!(caller->privileges & PRIVILEGE_READ)) {
        char owner[STORED_OWNER_SIZE];
        struct snapshot_id group = out->id;
        group.time = 0;
        TRY(local_owner(shared->store, &group, owner, err));
        if (!access_owns(caller->auth_id, owner))
            return fail(err, ERR_REFUSED, "permission check failed: the owner of the group is %s, not %s", owner,
                        caller->auth_id);
    }
    enum status status = store_reader_open(shared->store, &out->id, &out->reader, err);
    char text[SNAPSHOT_TEXT_SIZE];
    return status == ERR_NOT_FOUND ? fail(err, ERR_NOT_FOUND, "snapshot %s does not exist, or is not finished",
                                          snapshot_id_text(&out->id, text))
                                   : status;
}

static enum status open_checked(struct shared *shared, const struct faults *faults, enum session_kind kind,
                                const struct http_head *head, const char *query, const struct caller *caller,
                                struct session_options *out, int *out_http_status, struct error *err)
{
    const struct call_rules *rules = call_rules_upgrade(kind);
    const struct param_input input = {.source = PARAM_FROM_QUERY_ONLY, .query = query, .query_size = strlen(query)};
    CLEANUP(param_clear) struct param_set params = {0};
    *out_http_status = 400;
    TRY(param_parse(rules->rules, rules->rule_count, &input, &params, err));
    *out = (struct session_options){.shared = shared, .faults = faults, .kind = kind};
    take_id(&params, &out->id);
    TRY(snapshot_id_check(&out->id, err));
    return kind == SESSION_BACKUP ? open_backup(shared, faults, head, &params, caller, out, out_http_status, err)
                                  : open_reader(shared, head, &params, caller, out, err);
}

enum status open_session(struct shared *shared, const struct faults *faults, enum session_kind kind,
                         const struct http_head *head, const char *query, const struct caller *caller,
                         struct session_options *out, int *out_http_status, struct error *err)
{
    enum status status = open_checked(shared, faults, kind, head, query, caller, out, out_http_status, err);
    if (status != OK) {
        char text[ERROR_TEXT_MAX];
        log_debug("a session is refused: %s", err->text);
        local_public_text(shared->store, err->text, text);
        memcpy(err->text, text, sizeof text);
    }
    return status;
}
