#include "store/remote.h"

#include "base/clock.h"
#include "wire/query.h"
#include "wire/reply.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LISTING_SIZE_MAX = 64 << 20, SNAPSHOTS_MAX = 1 << 20 };

/* ---- sessions ---- */

enum status remote_link_open(struct remote_store *s, enum session_kind kind, const struct snapshot_id *id,
                             struct remote_link **out, struct error *err)
{
    const struct upgrade_request upgrade = {
        .kind = kind,
        .store = account_repository(s->account)->datastore,
        .ns = id->ns,
        .backup_type = id->type,
        .backup_id = id->id,
        .backup_time = id->time,
        .debug = true, /* as the reference client; it makes the server's task log longer */
    };
    struct remote_link *link = calloc(1, sizeof *link);
    if (!link)
        return fail(err, ERR_MEMORY, "out of memory for a session");
    enum status status = net_session_start(s->account, &upgrade, s->threads, &link->session, err);
    if (status != OK) {
        free(link);
        return status;
    }
    pthread_mutex_lock(&s->lock);
    link->next = s->links;
    s->links = link;
    pthread_mutex_unlock(&s->lock);
    *out = link;
    return OK;
}

void remote_link_close(struct remote_store *s, struct remote_link *link)
{
    if (!link)
        return;
    struct net_stats stats;
    net_session_stats(link->session, &stats);
    pthread_mutex_lock(&s->lock);
    struct remote_link **at = &s->links;
    while (*at != link)
        at = &(*at)->next;
    *at = link->next;
    net_stats_add(&s->closed, &stats);
    pthread_mutex_unlock(&s->lock);
    net_session_close(link->session);
    free(link);
}

static void net_stats(struct store *store, struct net_stats *out)
{
    struct remote_store *s = remote_store_of(store);
    pthread_mutex_lock(&s->lock);
    *out = s->closed;
    for (const struct remote_link *link = s->links; link; link = link->next) {
        struct net_stats one;
        net_session_stats(link->session, &one);
        net_stats_add(out, &one);
    }
    pthread_mutex_unlock(&s->lock);
    pthread_mutex_lock(&s->rest_lock);
    if (s->rest) {
        struct net_stats one;
        rest_stats(s->rest, &one);
        net_stats_add(out, &one);
    }
    pthread_mutex_unlock(&s->rest_lock);
    out->waited_ns += atomic_load_explicit(&s->waited_ns, memory_order_relaxed);
}

void remote_wait(struct remote_store *s, pthread_cond_t *changed, pthread_mutex_t *lock)
{
    uint64_t since_ns = clock_monotonic_ns();
    pthread_cond_wait(changed, lock);
    atomic_fetch_add_explicit(&s->waited_ns, clock_monotonic_ns() - since_ns, memory_order_relaxed);
}

/* ---- names and answers ---- */

enum status remote_name_check(const char *name, const char *extension, struct error *err)
{
    size_t size = strlen(name);
    if (name_is_archive(name, size) && (!extension || name_has_extension(name, size, extension)))
        return OK;
    return fail(err, ERR_USAGE, "'%.200s' is not the name of a stored file%s%s", name, extension ? " ending in " : "",
                extension ? extension : "");
}

enum status remote_missing(const struct h2_response *response, enum status status, struct error *err)
{
    if (response->status != OK || (response->http_status != 400 && response->http_status != 404))
        return status;
    if (err)
        err->status = ERR_NOT_FOUND;
    return ERR_NOT_FOUND;
}

/* ---- plain calls ---- */

static enum status rest_of(struct remote_store *s, struct rest **out, struct error *err)
{
    if (!s->rest)
        TRY(rest_new(s->account, &s->rest, err));
    *out = s->rest;
    return OK;
}

/* "admin/datastore/STORE/snapshots" */
static enum status snapshots_path(const struct remote_store *s, struct buffer *out, struct error *err)
{
    TRY(buffer_printf(out, err, "admin/datastore/"));
    TRY(percent_encode_component(out, account_repository(s->account)->datastore, err));
    TRY(buffer_printf(out, err, "/snapshots"));
    return buffer_append_u8(out, 0, err);
}

/* Empty parts are left out. */
static enum status snapshot_query(const struct snapshot_id *id, struct buffer *out, struct error *err)
{
    if (id->id[0])
        TRY(query_add(out, "backup-id", id->id, err));
    if (id->time > 0)
        TRY(query_add_integer(out, "backup-time", id->time, err));
    if (id->type[0])
        TRY(query_add(out, "backup-type", id->type, err));
    if (id->ns[0])
        TRY(query_add(out, "ns", id->ns, err));
    return buffer_append_u8(out, 0, err);
}

static enum status call_snapshots(struct remote_store *s, const char *method, const struct snapshot_id *id,
                                  const char *what, struct buffer *out, struct error *err)
{
    CLEANUP(buffer_deinit) struct buffer path = BUFFER_INIT(WIRE_TARGET_MAX);
    CLEANUP(buffer_deinit) struct buffer query = BUFFER_INIT(WIRE_TARGET_MAX);
    TRY(snapshots_path(s, &path, err));
    TRY(snapshot_query(id, &query, err));
    const char *query_text = query.size > 1 ? (const char *)query.data : NULL;
    struct rest *rest;
    pthread_mutex_lock(&s->rest_lock);
    enum status status = rest_of(s, &rest, err);
    if (status == OK)
        status =
            rest_call(rest, method, (const char *)path.data, query_text, NULL, NULL, LISTING_SIZE_MAX, what, out, err);
    pthread_mutex_unlock(&s->rest_lock);
    return status;
}

/* Whether the list of files, of names or of objects with a name, has the manifest. */
static bool has_manifest(const json_t *files)
{
    size_t i;
    json_t *file;
    json_array_foreach(files, i, file)
    {
        const char *name = json_string_value(json_is_object(file) ? json_object_get(file, "filename") : file);
        if (name && strcmp(name, REMOTE_MANIFEST_NAME) == 0)
            return true;
    }
    return false;
}

static enum status take_snapshot(const json_t *one, const char *ns, struct snapshot_id *out, struct error *err)
{
    const char *type = json_string_value(json_object_get(one, "backup-type"));
    const char *id = json_string_value(json_object_get(one, "backup-id"));
    const json_t *time = json_object_get(one, "backup-time");
    *out = (struct snapshot_id){0};
    if (!type || !id || !json_is_integer(time) || strlen(type) >= sizeof out->type || strlen(id) >= sizeof out->id)
        return fail(err, ERR_FORMAT, "not a snapshot's type, id and time");
    memcpy(out->type, type, strlen(type) + 1);
    memcpy(out->id, id, strlen(id) + 1);
    memcpy(out->ns, ns, strlen(ns) + 1);
    out->time = json_integer_value(time);
    if (snapshot_id_check(out, err) == OK)
        return OK;
    err->status = ERR_FORMAT; /* the server's, not the caller's */
    return ERR_FORMAT;
}

static enum status take_list(const json_t *data, const char *ns, const struct snapshot_id *group,
                             struct snapshot_list *out, struct error *err)
{
    size_t i, capacity = 0;
    json_t *one;
    if (!json_is_array(data))
        return fail(err, ERR_FORMAT, "not a list");
    json_array_foreach(data, i, one)
    {
        struct snapshot_id id;
        if (take_snapshot(one, ns, &id, err) != OK)
            return fail_within(err, "entry %zu", i);
        if (group && (strcmp(id.type, group->type) != 0 || strcmp(id.id, group->id) != 0))
            return fail(err, ERR_FORMAT, "entry %zu: is of %s/%s, not of %s/%s", i, id.type, id.id, group->type,
                        group->id);
        if (!has_manifest(json_object_get(one, "files")))
            continue; /* not finished */
        void *items = out->items;
        TRY(array_grow(&items, out->count, &capacity, sizeof *out->items, SNAPSHOTS_MAX, "snapshots", err));
        out->items = items;
        out->items[out->count++] = id;
    }
    snapshot_list_sort(out);
    return OK;
}

static enum status list(struct store *store, const char *ns, const struct snapshot_id *group, struct snapshot_list *out,
                        struct error *err)
{
    static const char what[] = "listing the snapshots";
    struct snapshot_id place = {0};
    TRY(snapshot_namespace_check(ns, err));
    if (group) {
        TRY(snapshot_group_check(group, err));
        place = *group;
        place.time = 0;
    }
    memset(place.ns, 0, sizeof place.ns);
    memcpy(place.ns, ns, strlen(ns)); /* checked: it fits */
    CLEANUP(buffer_deinit) struct buffer body = BUFFER_INIT(LISTING_SIZE_MAX);
    TRY(call_snapshots(remote_store_of(store), "GET", &place, what, &body, err));
    json_t *data;
    struct error own = {0};
    TRY(reply_list(what, body.data, body.size, &data, err));
    enum status status = take_list(data, ns, group, out, &own);
    json_decref(data);
    return status == OK ? OK : fail(err, status, "%s: the server's answer: %s", what, own.text);
}

static enum status forget(struct store *store, const struct snapshot_id *id, struct error *err)
{
    char text[SNAPSHOT_TEXT_SIZE], what[SNAPSHOT_TEXT_SIZE + 32];
    snprintf(what, sizeof what, "removing snapshot %s", snapshot_id_text(id, text));
    CLEANUP(buffer_deinit) struct buffer body = BUFFER_INIT(LISTING_SIZE_MAX);
    return call_snapshots(remote_store_of(store), "DELETE", id, what, &body, err);
}

/* ---- open and close ---- */

static void close_store(struct store *store)
{
    struct remote_store *s = remote_store_of(store);
    ASSERT(!s->links);
    rest_free(s->rest);
    pthread_mutex_destroy(&s->rest_lock);
    pthread_mutex_destroy(&s->lock);
    free(s->text);
    free(s);
}

enum status remote_open(const char *repository, const struct store_options *options, struct store **out,
                        struct error *err)
{
    static const struct store_ops ops = {.is_remote = true,
                                         .close = close_store,
                                         .net_stats = net_stats,
                                         .list = list,
                                         .forget = forget,
                                         .begin = remote_begin,
                                         .reader_open = remote_reader_open};
    *out = NULL;
    if (!options->remote)
        return fail(err, ERR_USAGE,
                    "repository '%.200s' is not a directory, written as /PATH or ./PATH, and no account on a server is "
                    "given",
                    repository);
    struct remote_store *s = calloc(1, sizeof *s);
    char *text = strdup(repository);
    if (!s || !text) {
        free(s);
        free(text);
        return fail(err, ERR_MEMORY, "out of memory for a datastore");
    }
    s->head = (struct store_head){&ops, options->key};
    s->text = text;
    s->account = options->remote->account;
    s->threads = options->remote->threads;
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->rest_lock, NULL);
    *out = (struct store *)s;
    return OK;
}
