#include "server/access.h"

#include "chunk/digest.h"
#include "wire/protocol.h"
#include "wire/upgrade.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { ACCOUNTS_MAX = 1024, SECRET_SIZE_MAX = 4096, KEY_SIZE = 32, TICKET_AHEAD_S = 300, SIGNATURE_TEXT_SIZE = 48 };

static const struct {
    const char *name;
    unsigned value;
} privilege_names[] = {
    {"audit", PRIVILEGE_AUDIT},
    {"read", PRIVILEGE_READ},
    {"backup", PRIVILEGE_BACKUP},
    {"modify", PRIVILEGE_MODIFY},
    {"prune", PRIVILEGE_PRUNE},
    {"all", PRIVILEGE_ALL},
    {"none", 0},
};

/* Secrets are kept as digests: what nobody has, nobody can lose. */
struct account {
    char auth_id[NAME_AUTH_ID_MAX + 1];
    struct digest secret;
    unsigned privileges;
};

struct access {
    struct account *accounts;
    size_t count;
    uint8_t key[KEY_SIZE]; /* of tickets: they end with the server */
};

enum status privileges_parse(const char *text, unsigned *out, struct error *err)
{
    *out = 0;
    for (const char *word = text;;) {
        size_t size = strcspn(word, ",");
        size_t k = 0;
        size_t count = sizeof privilege_names / sizeof *privilege_names;
        while (k < count &&
               (strlen(privilege_names[k].name) != size || memcmp(privilege_names[k].name, word, size) != 0))
            k++;
        if (k == count)
            return fail(err, ERR_USAGE,
                        "'%.100s' is no list of privileges: audit, read, backup, modify, prune joined by ',', or all, "
                        "or none",
                        text);
        *out |= privilege_names[k].value;
        if (!word[size])
            return OK;
        word += size + 1;
    }
}

bool access_owns(const char *auth_id, const char *owner)
{
    if (strcmp(auth_id, owner) == 0)
        return true;
    size_t size = strlen(owner);
    size_t offset = name_token_offset(owner, size);
    if (offset == size)
        return false;
    size_t user_size = offset - 1; /* without the '!' */
    return strlen(auth_id) == user_size && memcmp(auth_id, owner, user_size) == 0;
}

/* ---- the table ---- */

static const struct account *find(const struct access *a, const char *auth_id)
{
    for (size_t i = 0; i < a->count; i++)
        if (strcmp(a->accounts[i].auth_id, auth_id) == 0)
            return &a->accounts[i];
    return NULL;
}

static enum status add(struct access *a, const struct access_account *account, struct error *err)
{
    size_t size = strlen(account->auth_id);
    if (!name_is_auth_id(account->auth_id, size))
        return fail(err, ERR_USAGE, "'%.200s' is neither a user like root@pam nor a token like root@pam!name",
                    account->auth_id);
    if (!account->secret[0])
        return fail(err, ERR_USAGE, "the secret of %s is empty", account->auth_id);
    if (find(a, account->auth_id))
        return fail(err, ERR_USAGE, "there are two accounts called %s", account->auth_id);
    struct account *to = &a->accounts[a->count++];
    memcpy(to->auth_id, account->auth_id, size + 1);
    digest_of(account->secret, strlen(account->secret), &to->secret);
    to->privileges = account->privileges;
    return OK;
}

enum status access_new(const struct access_account *accounts, size_t count, struct access **out, struct error *err)
{
    *out = NULL;
    if (count == 0)
        return fail(err, ERR_USAGE, "a server needs an account");
    struct access *a = calloc(1, sizeof *a);
    if (!a)
        return fail(err, ERR_MEMORY, "out of memory for accounts");
    void *table = NULL;
    enum status status = array_new(count, sizeof *a->accounts, ACCOUNTS_MAX, "accounts", &table, err);
    a->accounts = table;
    if (status == OK && getrandom(a->key, sizeof a->key, 0) != (ssize_t)sizeof a->key)
        status = fail(err, ERR_IO, "random bytes for a key of tickets");
    for (size_t i = 0; i < count && status == OK; i++)
        status = add(a, &accounts[i], err);
    if (status != OK) {
        access_free(a);
        return status;
    }
    *out = a;
    return OK;
}

void access_free(struct access *a)
{
    if (!a)
        return;
    if (a->accounts)
        OPENSSL_cleanse(a->accounts, a->count * sizeof *a->accounts);
    free(a->accounts);
    OPENSSL_cleanse(a, sizeof *a);
    free(a);
}

static bool secret_fits(const struct account *account, const char *secret)
{
    struct digest digest;
    digest_of(secret, strlen(secret), &digest);
    return CRYPTO_memcmp(digest.bytes, account->secret.bytes, DIGEST_SIZE) == 0;
}

static void to_caller(const struct account *account, struct caller *out)
{
    memcpy(out->auth_id, account->auth_id, sizeof out->auth_id);
    out->privileges = account->privileges;
}

/* ---- tickets ---- */

/* Of "PURPOSE:USER:TIME", in base64 without padding. */
static bool sign(const struct access *a, const char *purpose, const char *user_id, size_t user_size, uint32_t time,
                 char out[SIGNATURE_TEXT_SIZE])
{
    char text[NAME_AUTH_ID_MAX + 64];
    uint8_t mac[EVP_MAX_MD_SIZE];
    unsigned mac_size = 0;
    int size = snprintf(text, sizeof text, "%s:%.*s:%08" PRIX32, purpose, (int)user_size, user_id, time);
    if (size < 0 || (size_t)size >= sizeof text ||
        !HMAC(EVP_sha256(), a->key, KEY_SIZE, (const uint8_t *)text, (size_t)size, mac, &mac_size) || mac_size != 32)
        return false;
    int length = EVP_EncodeBlock((unsigned char *)out, mac, 32); /* 44 characters and NUL */
    while (length > 0 && out[length - 1] == '=')
        out[--length] = '\0';
    return true;
}

static bool same_text(const char *a, const char *b)
{
    size_t size = strlen(a);
    return size == strlen(b) && CRYPTO_memcmp(a, b, size) == 0;
}

static bool parse_time(const char *text, char end, uint32_t *out)
{
    *out = 0;
    for (int i = 0; i < 8; i++) {
        char c = text[i];
        uint32_t digit = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                         : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A') + 10
                                                : 16;
        if (digit > 15)
            return false;
        *out = *out << 4 | digit;
    }
    return text[8] == end;
}

static bool is_young(uint32_t time, int64_t now)
{
    return now - (int64_t)time <= WIRE_TICKET_LIFETIME_S && (int64_t)time - now <= TICKET_AHEAD_S;
}

/* "PBS:USER:TIME::SIGNATURE" */
static const struct account *check_ticket(const struct access *a, const char *ticket, int64_t now)
{
    char signature[SIGNATURE_TEXT_SIZE];
    uint32_t time;
    if (strncmp(ticket, "PBS:", 4) != 0)
        return NULL;
    const char *user = ticket + 4;
    size_t user_size = strcspn(user, ":");
    if (!user[user_size] || user_size > NAME_USER_ID_MAX || !parse_time(user + user_size + 1, ':', &time))
        return NULL;
    const char *rest = user + user_size + 1 + 8;
    if (strncmp(rest, "::", 2) != 0 || !sign(a, "ticket", user, user_size, time, signature) ||
        !same_text(rest + 2, signature) || !is_young(time, now))
        return NULL;
    char name[NAME_AUTH_ID_MAX + 1];
    memcpy(name, user, user_size);
    name[user_size] = '\0';
    return find(a, name);
}

/* "TIME:SIGNATURE" */
static bool check_csrf(const struct access *a, const char *csrf, const char *user_id, int64_t now)
{
    char signature[SIGNATURE_TEXT_SIZE];
    uint32_t time;
    return csrf && strlen(csrf) > 9 && parse_time(csrf, ':', &time) &&
           sign(a, "csrf", user_id, strlen(user_id), time, signature) && same_text(csrf + 9, signature) &&
           is_young(time, now);
}

enum status access_login(const struct access *a, const char *user_id, const char *password, int64_t now,
                         char out_ticket[TICKET_TEXT_MAX], char out_csrf[CSRF_TEXT_MAX], struct error *err)
{
    const struct account *account = find(a, user_id);
    const struct account *by_ticket = check_ticket(a, password, now);
    if (!account || !name_is_user_id(user_id, strlen(user_id)) ||
        (by_ticket != account && !secret_fits(account, password)))
        return fail(err, ERR_REFUSED, "permission check failed: user or password is wrong");
    char signature[SIGNATURE_TEXT_SIZE];
    uint32_t time = (uint32_t)now;
    if (!sign(a, "ticket", user_id, strlen(user_id), time, signature))
        return fail(err, ERR_UNSUPPORTED, "OpenSSL cannot sign a ticket");
    snprintf(out_ticket, TICKET_TEXT_MAX, "PBS:%s:%08" PRIX32 "::%s", user_id, time, signature);
    if (!sign(a, "csrf", user_id, strlen(user_id), time, signature))
        return fail(err, ERR_UNSUPPORTED, "OpenSSL cannot sign a token");
    snprintf(out_csrf, CSRF_TEXT_MAX, "%08" PRIX32 ":%s", time, signature);
    return OK;
}

/* ---- requests ---- */

static void secret_buffer_deinit(struct buffer *b)
{
    if (b->data)
        OPENSSL_cleanse(b->data, b->capacity);
    buffer_deinit(b);
}

static enum status find_cookie(const struct http_head *head, struct buffer *out, struct error *err)
{
    static const char *const names[] = {"__Host-PBSAuthCookie", "PBSAuthCookie"};
    for (size_t i = 0; i < head->field_count; i++) {
        if (strcasecmp(head->fields[i].name, "cookie") != 0)
            continue;
        for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
            buffer_clear(out);
            enum status status = credentials_parse_cookie(head->fields[i].value, names[k], out, err);
            if (status != ERR_NOT_FOUND)
                return status;
        }
    }
    return fail(err, ERR_NOT_FOUND, "no cookie");
}

static enum status check_cookie(const struct access *a, const struct http_head *head, const struct buffer *ticket,
                                int64_t now, struct caller *out, struct error *err)
{
    bool whole = strlen((const char *)ticket->data) + 1 == ticket->size; /* no decoded NUL inside */
    const struct account *account = whole ? check_ticket(a, (const char *)ticket->data, now) : NULL;
    if (!account)
        return fail(err, ERR_REFUSED, "authentication failed: the ticket is invalid or too old");
    if (strcmp(head->method, "GET") != 0 &&
        !check_csrf(a, http_head_find(head, "CSRFPreventionToken"), account->auth_id, now))
        return fail(err, ERR_REFUSED, "authentication failed: missing or invalid CSRF prevention token");
    to_caller(account, out);
    return OK;
}

enum status access_check(const struct access *a, const struct http_head *head, int64_t now, struct caller *out,
                         struct error *err)
{
    CLEANUP(secret_buffer_deinit) struct buffer first = BUFFER_INIT(HTTP_HEAD_SIZE_MAX);
    CLEANUP(secret_buffer_deinit) struct buffer secret = BUFFER_INIT(HTTP_HEAD_SIZE_MAX);
    TRY(buffer_reserve(&first, HTTP_HEAD_SIZE_MAX, err));
    TRY(buffer_reserve(&secret, HTTP_HEAD_SIZE_MAX, err));
    if (find_cookie(head, &first, err) == OK)
        return check_cookie(a, head, &first, now, out, err);
    buffer_clear(&first);
    const char *value = http_head_find(head, "authorization");
    if (!value)
        return fail(err, ERR_REFUSED, "authentication failed: no authentication credentials provided");
    if (credentials_parse_token(value, &first, &secret, err) != OK)
        return fail(err, ERR_REFUSED, "authentication failed: the header Authorization is not understood");
    const char *id = (const char *)first.data;
    const struct account *account = find(a, id);
    bool whole = strlen((const char *)secret.data) + 1 == secret.size; /* no decoded NUL inside */
    if (!account || !whole || !name_is_token_id(id, strlen(id)) || !secret_fits(account, (const char *)secret.data))
        return fail(err, ERR_REFUSED, "authentication failed: unknown token or wrong secret");
    to_caller(account, out);
    return OK;
}
