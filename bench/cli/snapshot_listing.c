#include "cli/snapshot_listing.h"

#include "net/rest.h"
#include "wire/names.h"
#include "wire/protocol.h"
#include "wire/query.h"
#include "wire/reply.h"

#include <stdlib.h>
#include <string.h>

enum { ANSWER_SIZE_MAX = 64 << 20, SNAPSHOTS_MAX = 1 << 22 };

static const char what[] = "listing the snapshots";
static const char manifest_name[] = "index.json.blob";

static void buffer_cleanup(struct buffer *b)
{
    buffer_deinit(b);
}

static void json_cleanup(json_t **value)
{
    json_decref(*value);
}

/* ---- the answer ---- */

static enum status copy_text(const json_t *object, const char *member, char *out, size_t out_size, struct error *err)
{
    const json_t *value = json_object_get(object, member);
    if (!json_is_string(value) || json_string_length(value) >= out_size ||
        strlen(json_string_value(value)) != json_string_length(value))
        return fail(err, ERR_FORMAT, "%s: the server's answer has a snapshot without usable %s", what, member);
    memcpy(out, json_string_value(value), json_string_length(value) + 1);
    return OK;
}

static enum status parse_id(const json_t *object, const char *ns, struct snapshot_id *out, struct error *err)
{
    *out = (struct snapshot_id){0};
    TRY(copy_text(object, "backup-type", out->type, sizeof out->type, err));
    TRY(copy_text(object, "backup-id", out->id, sizeof out->id, err));
    memcpy(out->ns, ns, strlen(ns) + 1);
    out->time = json_integer_value(json_object_get(object, "backup-time")); /* 0: none, which is refused */
    if (snapshot_id_check(out, err) == OK)
        return OK;
    fail_within(err, "%s: the server's answer has a snapshot that cannot be", what);
    err->status = ERR_FORMAT; /* not the user's doing */
    return ERR_FORMAT;
}

static enum status add_file(const json_t *file, struct snapshot_listing_item *item, size_t *capacity,
                            bool *out_finished, struct error *err)
{
    static const struct digest unknown;
    const char *name = json_string_value(json_object_get(file, "filename"));
    const char *mode = json_string_value(json_object_get(file, "crypt-mode"));
    const json_t *size = json_object_get(file, "size");
    if (!name || !name_is_safe(name, strlen(name)))
        return fail(err, ERR_FORMAT, "%s: the server's answer has a file without usable name", what);
    if (strcmp(name, manifest_name) == 0) {
        *out_finished = true;
        return OK;
    }
    /* What is not in the manifest, as a client's log, comes without these. */
    if (!mode || !json_is_integer(size))
        return OK;
    if (strcmp(mode, "none") != 0 && strcmp(mode, "encrypt") != 0 && strcmp(mode, "sign-only") != 0)
        return fail(err, ERR_FORMAT, "%s: the server's answer has a file of unknown crypt-mode", what);
    if (json_integer_value(size) < 0)
        return fail(err, ERR_FORMAT, "%s: the server's answer has a file of negative size", what);
    return manifest_append(&item->files, capacity, name, mode, (uint64_t)json_integer_value(size), &unknown, what, err);
}

static enum status parse_item(const json_t *object, const char *ns, struct snapshot_listing_item *item,
                              bool *out_finished, struct error *err)
{
    const json_t *files = json_object_get(object, "files");
    *out_finished = false;
    TRY(parse_id(object, ns, &item->id, err));
    if (!json_is_array(files))
        return fail(err, ERR_FORMAT, "%s: the server's answer has a snapshot without files", what);
    TRY(manifest_init(&item->files, item->id.type, item->id.id, item->id.time, err));
    item->is_readable = json_is_integer(json_object_get(object, "size"));
    size_t capacity = 0;
    for (size_t i = 0; i < json_array_size(files); i++)
        TRY(add_file(json_array_get(files, i), item, &capacity, out_finished, err));
    return manifest_check_names(&item->files, what, err);
}

static enum status add_item(const json_t *object, const char *ns, struct snapshot_listing *l, struct error *err)
{
    void *items = l->items;
    bool finished;
    TRY(array_grow(&items, l->count, &l->capacity, sizeof *l->items, SNAPSHOTS_MAX, "snapshots", err));
    l->items = items;
    struct snapshot_listing_item *item = &l->items[l->count];
    *item = (struct snapshot_listing_item){0};
    enum status status = parse_item(object, ns, item, &finished, err);
    if (status == OK && finished)
        l->count++;
    else
        manifest_deinit(&item->files);
    return status;
}

static int compare(const void *left, const void *right)
{
    const struct snapshot_id *a = &((const struct snapshot_listing_item *)left)->id;
    const struct snapshot_id *b = &((const struct snapshot_listing_item *)right)->id;
    int order = strcmp(a->type, b->type);
    order = order ? order : strcmp(a->id, b->id);
    return order ? order : (a->time > b->time) - (a->time < b->time);
}

enum status snapshot_listing_parse(const json_t *data, const char *ns, struct snapshot_listing *out, struct error *err)
{
    if (!json_is_array(data))
        return fail(err, ERR_FORMAT, "%s: the server's answer is no list", what);
    for (size_t i = 0; i < json_array_size(data); i++)
        TRY(add_item(json_array_get(data, i), ns, out, err));
    if (out->count > 1)
        qsort(out->items, out->count, sizeof *out->items, compare);
    return OK;
}

void snapshot_listing_deinit(struct snapshot_listing *l)
{
    for (size_t i = 0; i < l->count; i++)
        manifest_deinit(&l->items[i].files);
    free(l->items);
    *l = (struct snapshot_listing){0};
}

/* ---- the question ---- */

static enum status write_question(const struct account *account, const char *ns, const struct snapshot_id *group,
                                  struct buffer *path, struct buffer *query, struct error *err)
{
    TRY(buffer_printf(path, err, "admin/datastore/%s/snapshots", account_repository(account)->datastore));
    if (group) {
        TRY(query_add(query, "backup-id", group->id, err));
        TRY(query_add(query, "backup-type", group->type, err));
    }
    if (*ns)
        TRY(query_add(query, "ns", ns, err));
    return query->size > 0 ? buffer_append_u8(query, '\0', err) : OK;
}

/* Whoever asked for a group restores from what comes first. */
static enum status check_group(const struct snapshot_listing *l, const struct snapshot_id *group, struct error *err)
{
    for (size_t i = 0; group && i < l->count; i++)
        if (strcmp(l->items[i].id.type, group->type) != 0 || strcmp(l->items[i].id.id, group->id) != 0)
            return fail(err, ERR_FORMAT, "%s: the server's answer has snapshots of another group than %s/%s", what,
                        group->type, group->id);
    return OK;
}

static enum status ask(struct rest *r, struct account *account, const char *ns, const struct snapshot_id *group,
                       struct snapshot_listing *out, struct error *err)
{
    CLEANUP(json_cleanup) json_t *data = NULL;
    CLEANUP(buffer_cleanup) struct buffer path = BUFFER_INIT(WIRE_TARGET_MAX);
    CLEANUP(buffer_cleanup) struct buffer query = BUFFER_INIT(WIRE_TARGET_MAX);
    CLEANUP(buffer_cleanup) struct buffer answer = BUFFER_INIT(ANSWER_SIZE_MAX);
    TRY(write_question(account, ns, group, &path, &query, err));
    TRY(rest_call(r, "GET", (const char *)path.data, (const char *)query.data, NULL, NULL, ANSWER_SIZE_MAX, what,
                  &answer, err));
    TRY(reply_list(what, answer.data, answer.size, &data, err));
    TRY(snapshot_listing_parse(data, ns, out, err));
    return check_group(out, group, err);
}

enum status snapshot_listing_ask(struct account *account, const char *ns, const struct snapshot_id *group,
                                 struct snapshot_listing *out, struct error *err)
{
    struct rest *r;
    TRY(rest_new(account, &r, err));
    enum status status = ask(r, account, ns, group, out, err);
    rest_free(r);
    return status;
}
