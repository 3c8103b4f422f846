/* What plain calls change: namespaces, snapshots removed, a client's log. */
#include "server/rest_context.h"

#include "blob/blob.h"
#include "store/local_server_changes.h"
#include "store/local_server_lists.h"
#include "wire/protocol.h"

#include <string.h>

enum { ANY_PRIVILEGE = PRIVILEGE_ALL };

/* ---- namespaces ---- */

static enum status list_namespace(void *context, const char *ns, struct error *err)
{
    return rest_json_list_add(context, json_pack("{s:s}", "ns", ns), err);
}

enum status rest_get_namespaces(struct rest_context *c, struct error *err)
{
    bool own_only;
    struct rest_json_list list;
    const struct param_value *depth = param_get(c->params, "max-depth");
    unsigned depth_max = depth->present ? (unsigned)depth->integer : NAME_NAMESPACE_DEPTH_MAX;
    TRY(rest_may_list(c, (struct rest_need){ANY_PRIVILEGE, 0}, &own_only, err));
    TRY(rest_json_list_begin(&list, &c->answer->body, err));
    TRY(local_each_namespace(c->store, rest_param_namespace(c, "parent"), depth_max, list_namespace, &list, err));
    return rest_json_list_end(&list, err);
}

enum status rest_make_namespace(struct rest_context *c, struct error *err)
{
    char whole[NAMESPACE_MAX + 1];
    TRY(rest_may(c, (struct rest_need){PRIVILEGE_MODIFY, 0}, NULL, err));
    TRY(local_make_namespace(c->store, rest_param_namespace(c, "parent"), rest_param_text(c, "name"), whole, err));
    return rest_json_data(&c->answer->body, json_string(whole), err);
}

enum status rest_remove_namespace(struct rest_context *c, struct error *err)
{
    const struct param_value *with_groups = param_get(c->params, "delete-groups");
    TRY(rest_may(c, (struct rest_need){PRIVILEGE_MODIFY, 0}, NULL, err));
    TRY(local_remove_namespace(c->store, rest_param_namespace(c, "ns"), with_groups->present && with_groups->boolean,
                               err));
    return rest_json_data(&c->answer->body, json_null(), err);
}

/* ---- snapshots ---- */

enum status rest_remove_snapshot(struct rest_context *c, struct error *err)
{
    struct snapshot_id id;
    TRY(rest_param_snapshot(c, &id, err));
    TRY(rest_may(c, (struct rest_need){PRIVILEGE_MODIFY, PRIVILEGE_PRUNE}, &id, err));
    TRY(local_remove_snapshot(c->store, &id, err));
    return rest_json_data(&c->answer->body, json_null(), err);
}

enum status rest_put_log(struct rest_context *c, struct error *err)
{
    struct snapshot_id id;
    enum blob_kind kind;
    const struct rest_question *q = c->question;
    TRY(rest_param_snapshot(c, &id, err));
    TRY(rest_may(c, (struct rest_need){0, PRIVILEGE_BACKUP}, &id, err));
    if (q->body_size < WIRE_BLOB_ENCODED_MIN || q->body_size > WIRE_BLOB_ENCODED_MAX)
        return fail(err, ERR_USAGE, "a log of %zu bytes is no blob", q->body_size);
    TRY(blob_check(q->body, q->body_size, CLIENT_LOG_NAME, &kind, err));
    TRY(local_put_log(c->store, &id, q->body, q->body_size, err));
    return rest_json_data(&c->answer->body, json_null(), err);
}
