#include "net/account.h"

#include "net/login.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { CONNECT_TIMEOUT_DEFAULT_MS = 10000, STALL_TIMEOUT_DEFAULT_MS = 120000, NS_PER_MS = 1000000 };

static enum status copy_text(const char *text, char **out, struct error *err)
{
    if (!text || !*text)
        return OK;
    *out = strdup(text);
    return *out ? OK : fail(err, ERR_MEMORY, "out of memory for an account");
}

/* "[http://][user:pass@]host[:port]": libcurl would take other kinds of proxies, too. The text may hold a password. */
static enum status check_proxy(const char *proxy, struct error *err)
{
    const char *scheme_end = proxy ? strstr(proxy, "://") : NULL;
    if (scheme_end && (scheme_end - proxy != 4 || strncasecmp(proxy, "http", 4) != 0))
        return fail(err, ERR_USAGE,
                    "ALL_PROXY: only proxies of the form [http://][user:password@]host[:port] are used");
    return OK;
}

static enum status fill(struct account *a, const struct account_options *o, struct error *err)
{
    size_t size = strlen(o->secret);
    if (size > ACCOUNT_TEXT_MAX)
        return fail(err, ERR_USAGE, "the secret of %s is longer than %d bytes", o->repository.auth_id,
                    ACCOUNT_TEXT_MAX);
    TRY(check_proxy(o->proxy, err));
    if (o->fingerprint)
        TRY(certificate_fingerprint_parse(o->fingerprint, a->fingerprint, err));
    a->has_fingerprint = o->fingerprint != NULL;
    TRY(copy_text(o->ca_file, &a->ca_file, err));
    TRY(copy_text(o->proxy, &a->proxy, err));
    a->secret = malloc(size + 1);
    if (!a->secret)
        return fail(err, ERR_MEMORY, "out of memory for an account");
    a->secret_size = size + 1;
    memcpy(a->secret, o->secret, size + 1);
    return OK;
}

enum status account_new(const struct account_options *options, struct account **out, struct error *err)
{
    if (!options->secret)
        return fail(err, ERR_USAGE, "%s needs a secret: set PBS_PASSWORD, or PBS_PASSWORD_FILE, _FD or _CMD",
                    options->repository.auth_id);
    struct account *a = calloc(1, sizeof *a);
    if (!a)
        return fail(err, ERR_MEMORY, "out of memory for an account");
    a->repository = options->repository;
    repository_authority(&a->repository, a->authority);
    a->rate = options->rate;
    a->burst = options->burst;
    a->connect_timeout_ms = options->connect_timeout_ms ? options->connect_timeout_ms : CONNECT_TIMEOUT_DEFAULT_MS;
    a->stall_timeout_ns =
        (uint64_t)(options->stall_timeout_ms ? options->stall_timeout_ms : STALL_TIMEOUT_DEFAULT_MS) * NS_PER_MS;
    pthread_mutex_init(&a->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&a->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    enum status status = fill(a, options, err);
    if (status != OK) {
        account_free(a);
        return status;
    }
    *out = a;
    return OK;
}

static void cleanse_free(void *data, size_t size)
{
    if (data)
        OPENSSL_cleanse(data, size);
    free(data);
}

void account_free(struct account *a)
{
    if (!a)
        return;
    cleanse_free(a->secret, a->secret_size);
    cleanse_free(a->ticket, sizeof *a->ticket);
    cleanse_free(a->proxy, a->proxy ? strlen(a->proxy) : 0); /* may hold a password */
    free(a->ca_file);
    pthread_cond_destroy(&a->changed);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

const struct repository *account_repository(const struct account *a)
{
    return &a->repository;
}

struct tls_link_options account_link_options(const struct account *a)
{
    return (struct tls_link_options){
        .repository = &a->repository,
        .fingerprint = a->has_fingerprint ? a->fingerprint : NULL,
        .ca_file = a->ca_file,
        .proxy = a->proxy,
        .connect_timeout_ms = a->connect_timeout_ms,
        .rate = a->rate,
        .burst = a->burst,
    };
}
