#include "server/rest_context.h"

#include "base/log.h"
#include "store/local_server.h"
#include "store/local_server_lists.h"
#include "wire/names.h"
#include "wire/protocol.h"

#include <stdlib.h>
#include <string.h>

struct rest_api {
    struct store *store;
    char *store_name;
    size_t parameter_body_max;
    struct budget *bodies;
    char *directory;
    struct workshop workshop;
};

/* A blob takes up to 128 MiB while it is decoded. What the allocator would not give back to the system anyway is kept:
 * else it would stay with every thread that ever decoded one. */
enum { WORKBENCHES = 2, KEEP_MAX = 32 << 20 };

enum status rest_api_new(const struct rest_api_options *options, struct rest_api **out, struct error *err)
{
    *out = NULL;
    struct rest_api *api = calloc(1, sizeof *api);
    char *name = strdup(options->store_name);
    char *directory = strdup(options->directory);
    if (!api || !name || !directory) {
        free(api);
        free(name);
        free(directory);
        return fail(err, ERR_MEMORY, "out of memory for the plain calls");
    }
    *api = (struct rest_api){.store = options->store,
                             .store_name = name,
                             .parameter_body_max = options->parameter_body_max,
                             .bodies = options->bodies,
                             .directory = directory};
    workshop_init(&api->workshop, WORKBENCHES, KEEP_MAX);
    *out = api;
    return OK;
}

void rest_api_free(struct rest_api *api)
{
    if (!api)
        return;
    workshop_deinit(&api->workshop);
    free(api->store_name);
    free(api->directory);
    free(api);
}

bool rest_api_is_public(const char *method, const char *const *components, size_t component_count)
{
    const struct rest_route *route = rest_route_find(method, components, component_count);
    return route && route->is_public;
}

size_t rest_api_body_max(const struct rest_api *api, const char *method, const char *const *components,
                         size_t component_count)
{
    const struct rest_route *route = rest_route_find(method, components, component_count);
    bool has_data = route && route->is_raw && strcmp(method, "POST") == 0;
    return has_data ? WIRE_BLOB_ENCODED_MAX : api->parameter_body_max;
}

void rest_answer_deinit(struct rest_answer *answer)
{
    if (answer->close)
        answer->close(answer->source.context);
    buffer_deinit(&answer->body);
    *answer = (struct rest_answer){0};
}

void rest_answer_source(struct rest_context *c, struct source source, void (*close)(void *context))
{
    c->answer->content_type = WIRE_TYPE_BINARY;
    c->answer->source = source;
    c->answer->close = close;
}

void rest_answer_size(struct rest_context *c, uint64_t size)
{
    c->answer->has_size = true;
    c->answer->size = size;
}

/* ---- who may do what ---- */

enum { COMPONENT_STORE = 2 };

static enum status deny(struct rest_context *c, const char *what, struct error *err)
{
    c->failed_status = 403;
    return fail(err, ERR_REFUSED, "permission check failed: %s may not %s", c->caller->auth_id, what);
}

enum status rest_may(struct rest_context *c, struct rest_need need, const struct snapshot_id *group, struct error *err)
{
    char owner[STORED_OWNER_SIZE];
    if (c->caller->privileges & need.privileges)
        return OK;
    if (!(c->caller->privileges & need.owner_privilege))
        return deny(c, "do this", err);
    TRY(local_owner(c->store, group, owner, err));
    if (!access_owns(c->caller->auth_id, owner))
        return fail(err, ERR_REFUSED, "the owner of group %s/%s is %s: %s has no right to it", group->type, group->id,
                    owner, c->caller->auth_id);
    return OK;
}

enum status rest_may_list(struct rest_context *c, struct rest_need need, bool *out_own_only, struct error *err)
{
    unsigned privileges = c->caller->privileges;
    *out_own_only = !(privileges & need.privileges);
    return privileges & (need.privileges | need.owner_privilege) ? OK : deny(c, "list this", err);
}

/* ---- parameters ---- */

const char *rest_param_text(const struct rest_context *c, const char *name)
{
    const struct param_value *value = param_get(c->params, name);
    return value->present ? value->text.data : NULL;
}

const char *rest_param_namespace(const struct rest_context *c, const char *name)
{
    const char *text = rest_param_text(c, name);
    return text ? text : "";
}

static enum status copy_text(const char *text, char *out, size_t out_size, struct error *err)
{
    size_t size = strlen(text);
    if (size >= out_size)
        return fail(err, ERR_USAGE, "a name of %zu characters: at most %zu are allowed", size, out_size - 1);
    memcpy(out, text, size + 1);
    return OK;
}

enum status rest_param_snapshot(const struct rest_context *c, struct snapshot_id *out, struct error *err)
{
    *out = (struct snapshot_id){.time = param_get(c->params, "backup-time")->integer};
    TRY(copy_text(rest_param_text(c, "backup-type"), out->type, sizeof out->type, err));
    TRY(copy_text(rest_param_text(c, "backup-id"), out->id, sizeof out->id, err));
    TRY(copy_text(rest_param_namespace(c, "ns"), out->ns, sizeof out->ns, err));
    return snapshot_id_check(out, err);
}

/* ---- answering ---- */

/* The datastore that is named by the path. Whoever asks for another one has no rights on it. */
static enum status check_store(struct rest_context *c, struct error *err)
{
    const struct rest_question *q = c->question;
    if (q->component_count <= COMPONENT_STORE || strcmp(q->components[0], "admin") != 0)
        return OK;
    const char *name = q->components[COMPONENT_STORE];
    if (!name_is_datastore(name, strlen(name)))
        return fail(err, ERR_USAGE, "'%.60s' is not the name of a datastore", name);
    if (strcmp(name, c->store_name) != 0)
        return deny(c, "use a datastore of this name, if there is one", err);
    return OK;
}

static enum status handle(const struct rest_api *api, const struct rest_route *route, struct rest_context *c,
                          struct error *err)
{
    const struct rest_question *q = c->question;
    struct param_input input = {
        .source = route->is_raw ? PARAM_FROM_QUERY_ONLY : PARAM_FROM_ANYWHERE,
        .query = q->query,
        .query_size = strlen(q->query),
        .content_type = q->content_type,
        .body = route->is_raw ? NULL : q->body,
        .body_size = route->is_raw ? 0 : q->body_size,
        .body_size_max = api->parameter_body_max,
    };
    struct param_set params = {0};
    TRY(param_parse(route->rules, route->rule_count, &input, &params, err));
    c->params = &params;
    enum status status = check_store(c, err);
    if (status == OK)
        status = route->handle(c, err);
    param_clear(&params);
    return status;
}

/* Instead of whatever was begun. */
static void answer_error(const struct rest_api *api, struct rest_answer *answer, int status, const char *text)
{
    char public_text[ERROR_TEXT_MAX];
    local_public_text(api->store, text, public_text);
    rest_answer_deinit(answer);
    answer->status = status;
    answer->content_type = WIRE_TYPE_JSON_REPLY;
    answer->body = BUFFER_INIT(ERROR_TEXT_MAX);
    /* Without memory the status has to do. */
    (void)!buffer_append(&answer->body, public_text, strlen(public_text), NULL);
}

void rest_api_answer(struct rest_api *api, const struct rest_question *question, struct rest_answer *answer)
{
    struct error err = {0};
    *answer =
        (struct rest_answer){.status = 200, .content_type = WIRE_TYPE_JSON_REPLY, .body = BUFFER_INIT(REST_JSON_MAX)};
    const struct rest_route *route = rest_route_find(question->method, question->components, question->component_count);
    if (!route) {
        answer_error(api, answer, 404, "path not found");
        return;
    }
    if (!route->is_public && !question->caller) {
        answer_error(api, answer, 401, "authentication failed: no credentials");
        return;
    }
    struct rest_context c = {
        .store = api->store,
        .store_name = api->store_name,
        .bodies = api->bodies,
        .directory = api->directory,
        .workshop = &api->workshop,
        .caller = question->caller,
        .question = question,
        .answer = answer,
        .failed_status = 400,
    };
    if (handle(api, route, &c, &err) != OK) {
        log_debug("%s %s: %s", question->method, route->path, err.text);
        answer_error(api, answer, c.failed_status, err.text);
    }
}
