#include "wire/reply.h"

#include "base/json_values.h"
#include "base/printable.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { QUOTE_SIZE = 400 };

/* Whether the text has this word, whatever its case. */
static bool says(const char *text, size_t size, const char *word)
{
    size_t word_size = strlen(word);
    for (size_t i = 0; i + word_size <= size; i++)
        if (strncasecmp(text + i, word, word_size) == 0)
            return true;
    return false;
}

/* One line of printable characters (base/printable.h); of others each byte becomes '?'. */
static void quote(const char *text, size_t size, char out[QUOTE_SIZE])
{
    size_t used = 0;
    bool blank = true; /* none at the beginning */
    for (size_t i = 0; i < size && used + 8 < QUOTE_SIZE;) {
        unsigned char c = (unsigned char)text[i];
        if (c <= ' ' || c == 0x7f) {
            if (!blank)
                out[used++] = ' ';
            blank = true;
            i++;
            continue;
        }
        size_t length = printable_size(text + i, size - i);
        blank = false;
        if (length > 0) {
            memcpy(out + used, text + i, length);
            used += length;
            i += length;
        } else {
            out[used++] = '?';
            i++;
        }
    }
    while (used > 0 && out[used - 1] == ' ')
        used--;
    out[used] = '\0';
}

struct verdict {
    enum status status;
    const char *advice;
};

static struct verdict judge_400(enum reply_place place, const char *text, size_t size)
{
    if (place == REPLY_BACKUP_UPGRADE) {
        if (says(text, size, "lock"))
            return (struct verdict){ERR_LOCKED, "another backup of this group is running or has just ended"};
        if (says(text, size, "owner"))
            return (struct verdict){ERR_REFUSED,
                                    "the group belongs to another account: use that one, or another backup id"};
        if (says(text, size, "timestamp"))
            return (struct verdict){ERR_EXISTS,
                                    "the group has a snapshot that is not older: choose a later backup time"};
        if (says(text, size, "exists"))
            return (struct verdict){ERR_EXISTS, "there is a snapshot of that second: choose another backup time"};
    }
    if (place == REPLY_READER_UPGRADE) {
        if (says(text, size, "lock"))
            return (struct verdict){ERR_LOCKED, "the snapshot is being written or removed"};
        if (says(text, size, "permission"))
            return (struct verdict){ERR_REFUSED, "the account may not read this snapshot"};
        if (says(text, size, "exist") || says(text, size, "not found"))
            return (struct verdict){ERR_NOT_FOUND, "there is no such snapshot"};
    }
    if (place == REPLY_BACKUP_UPGRADE || place == REPLY_READER_UPGRADE) {
        if (says(text, size, "upgrade") || says(text, size, "protocol"))
            return (struct verdict){ERR_UNSUPPORTED,
                                    "the server does not speak this protocol, or a proxy does not let it through"};
        if (says(text, size, "parameter"))
            return (struct verdict){ERR_UNSUPPORTED,
                                    "the server does not know these parameters: is it of another version?"};
    }
    return (struct verdict){ERR_REFUSED, "the server refused"};
}

static struct verdict judge(enum reply_place place, int http_status, const char *text, size_t size)
{
    switch (http_status) {
    case 301:
    case 302:
    case 307:
    case 308:
        return (struct verdict){ERR_UNSUPPORTED, "the server points elsewhere: is this the port of the backup server?"};
    case 400: return judge_400(place, text, size);
    case 401:
        if (place == REPLY_READER_SESSION)
            return (struct verdict){ERR_FORMAT, "the chunk belongs to no index that was downloaded in this session"};
        return (struct verdict){ERR_REFUSED,
                                "the server does not accept these credentials: check user or token, and secret"};
    case 403:
        return (struct verdict){ERR_REFUSED,
                                "the account lacks a privilege, or the datastore does not exist: check both"};
    case 404: return (struct verdict){ERR_NOT_FOUND, "the server has no such thing"};
    case 414: return (struct verdict){ERR_LIMIT, "the request was too long for the server"};
    default: break;
    }
    if (http_status >= 500 && http_status <= 599)
        return (struct verdict){ERR_NETWORK, "the server, or a proxy before it, is out of order: try again later"};
    if (http_status >= 400 && http_status <= 499)
        return (struct verdict){ERR_REFUSED, "the server refused"};
    return (struct verdict){ERR_FORMAT, "an answer that has no place here: is this a backup server?"};
}

enum status reply_check(enum reply_place place, const char *what, int http_status, const void *body, size_t size,
                        struct error *err)
{
    char words[QUOTE_SIZE];
    bool upgrade = place == REPLY_BACKUP_UPGRADE || place == REPLY_READER_UPGRADE;
    if (http_status == (upgrade ? 101 : 200))
        return OK;
    quote(body, size, words);
    struct verdict verdict = judge(place, http_status, body, size);
    if (words[0])
        return fail(err, verdict.status, "%s: %s (status %d, in the server's words: %s)", what, verdict.advice,
                    http_status, words);
    return fail(err, verdict.status, "%s: %s (status %d)", what, verdict.advice, http_status);
}

static enum status open_envelope(const char *what, const void *body, size_t size, size_t values_max, json_t **out,
                                 struct error *err)
{
    json_error_t problem;
    if (size == 0) {
        *out = json_null();
        return OK;
    }
    TRY(json_values_check(body, size, values_max, what, err));
    json_t *root = json_loadb(body, size, 0, &problem);
    if (!root)
        return fail(err, ERR_FORMAT, "%s: the server's answer of %zu bytes is not JSON: %s at byte %d", what, size,
                    problem.text, problem.position);
    json_t *data = json_object_get(root, "data"); /* NULL also if the root is no object */
    if (data)
        *out = json_incref(data);
    json_decref(root);
    if (!data)
        return fail(err, ERR_FORMAT, "%s: the server's answer has no data", what);
    return OK;
}

enum status reply_data(const char *what, const void *body, size_t size, json_t **out, struct error *err)
{
    return open_envelope(what, body, size, REPLY_VALUES_MAX, out, err);
}

enum status reply_list(const char *what, const void *body, size_t size, json_t **out, struct error *err)
{
    return open_envelope(what, body, size, REPLY_LIST_VALUES_MAX, out, err);
}
