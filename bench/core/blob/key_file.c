#include "blob/key_file.h"

#include <inttypes.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const key_kdf_names[] = {
    [KEY_KDF_NONE] = "none", [KEY_KDF_SCRYPT] = "scrypt", [KEY_KDF_PBKDF2] = "pbkdf2", NULL};

/* What the text calls them. */
static const char *const stored_names[] = {[KEY_KDF_SCRYPT] = "Scrypt", [KEY_KDF_PBKDF2] = "PBKDF2"};

static void json_cleanup(json_t **value)
{
    json_decref(*value);
}

/* ---- base64 ---- */

enum { BASE64_TEXT_MAX = (KEY_SALT_SIZE_MAX + 2) / 3 * 4 };

/* The standard alphabet, padded, nothing else: OpenSSL alone would skip blanks. */
static bool base64_is_valid(const char *text, size_t size)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if (size == 0)
        return true;
    size_t padding = size % 4 != 0 || text[size - 1] != '=' ? 0 : text[size - 2] == '=' ? 2 : 1;
    return size % 4 == 0 && strspn(text, alphabet) == size - padding;
}

static enum status base64_decode(const json_t *value, size_t capacity, uint8_t *out, size_t *out_size, const char *what,
                                 struct error *err)
{
    const char *text = json_string_value(value);
    size_t size = text ? json_string_length(value) : 0;
    if (!text || size > BASE64_TEXT_MAX || !base64_is_valid(text, size))
        return fail(err, ERR_FORMAT, "%s is no base64 of at most %zu bytes", what, capacity);
    uint8_t decoded[BASE64_TEXT_MAX / 4 * 3];
    *out_size = 0;
    if (size > 0) {
        int count = EVP_DecodeBlock(decoded, (const uint8_t *)text, (int)size);
        size_t padding = text[size - 1] != '=' ? 0 : text[size - 2] == '=' ? 2 : 1;
        ASSERT(count > 0 && (size_t)count == size / 4 * 3);
        *out_size = (size_t)count - padding;
    }
    bool fits = *out_size <= capacity;
    if (fits)
        memcpy(out, decoded, *out_size);
    OPENSSL_cleanse(decoded, sizeof decoded);
    return fits ? OK : fail(err, ERR_FORMAT, "%s is no base64 of at most %zu bytes", what, capacity);
}

static json_t *base64_json(const uint8_t *data, size_t size)
{
    char text[BASE64_TEXT_MAX + 1] = "";
    if (size > 0)
        EVP_EncodeBlock((uint8_t *)text, data, (int)size);
    json_t *value = json_string(text);
    OPENSSL_cleanse(text, sizeof text);
    return value;
}

/* ---- reading ---- */

static enum status member(const json_t *object, const char *key, const char *name, json_t **out, struct error *err)
{
    *out = json_object_get(object, key);
    return *out ? OK : fail(err, ERR_FORMAT, "%s: member %s is missing", name, key);
}

static enum status positive_member(const json_t *object, const char *key, uint64_t max, const char *name, uint64_t *out,
                                   struct error *err)
{
    json_t *value;
    TRY(member(object, key, name, &value, err));
    json_int_t number = json_is_integer(value) ? json_integer_value(value) : 0;
    if (number < 1)
        return fail(err, ERR_FORMAT, "%s: member %s is no whole number from 1", name, key);
    if ((uint64_t)number > max)
        return fail(err, ERR_LIMIT, "%s: member %s is %" JSON_INTEGER_FORMAT ", at most %" PRIu64 " is allowed", name,
                    key, number, max);
    *out = (uint64_t)number;
    return OK;
}

static enum status check_scrypt(const struct key_file *f, const char *name, struct error *err)
{
    if (f->n < 2 || (f->n & (f->n - 1)) != 0)
        return fail(err, ERR_FORMAT, "%s: member n is %" PRIu64 ", no power of two from 2", name, f->n);
    /* None of the products overflows: each factor was held below its maximum. */
    uint64_t cost = f->n * f->r * f->p;
    uint64_t memory = 128 * f->r * (f->n + f->p);
    if (cost > KEY_SCRYPT_COST_MAX || memory > KEY_SCRYPT_MEMORY_MAX)
        return fail(err, ERR_LIMIT,
                    "%s: scrypt with n %" PRIu64 ", r %" PRIu32 ", p %" PRIu32
                    " costs too much: at most %d (n x r x p) and %d bytes of memory are allowed",
                    name, f->n, f->r, f->p, KEY_SCRYPT_COST_MAX, KEY_SCRYPT_MEMORY_MAX);
    return OK;
}

static enum status parse_kdf(const json_t *value, const char *name, struct key_file *f, struct error *err)
{
    if (json_is_null(value)) {
        f->kdf = KEY_KDF_NONE;
        return OK;
    }
    const json_t *scrypt = json_object_get(value, stored_names[KEY_KDF_SCRYPT]);
    const json_t *pbkdf2 = json_object_get(value, stored_names[KEY_KDF_PBKDF2]);
    if (json_object_size(value) != 1 || (!json_is_object(scrypt) && !json_is_object(pbkdf2)))
        return fail(err, ERR_FORMAT, "%s: member kdf is neither null nor {\"Scrypt\": {...}} nor {\"PBKDF2\": {...}}",
                    name);
    uint64_t r, p;
    json_t *salt;
    TRY(member(scrypt ? scrypt : pbkdf2, "salt", name, &salt, err));
    char what[512];
    snprintf(what, sizeof what, "%.400s: member salt", name);
    TRY(base64_decode(salt, sizeof f->salt, f->salt, &f->salt_size, what, err));
    if (pbkdf2) {
        f->kdf = KEY_KDF_PBKDF2;
        return positive_member(pbkdf2, "iter", KEY_PBKDF2_ITERATIONS_MAX, name, &f->iterations, err);
    }
    f->kdf = KEY_KDF_SCRYPT;
    TRY(positive_member(scrypt, "n", KEY_SCRYPT_COST_MAX, name, &f->n, err));
    TRY(positive_member(scrypt, "r", 1 << 15, name, &r, err));
    TRY(positive_member(scrypt, "p", 1 << 15, name, &p, err));
    f->r = (uint32_t)r;
    f->p = (uint32_t)p;
    return check_scrypt(f, name, err);
}

static enum status parse_time(const json_t *root, const char *key, const char *name, char out[KEY_TIME_SIZE],
                              struct error *err)
{
    json_t *value;
    TRY(member(root, key, name, &value, err));
    const char *text = json_string_value(value);
    size_t size = text ? json_string_length(value) : 0;
    if (size == 0 || size >= KEY_TIME_SIZE || strspn(text, "0123456789-:.+TZtz ") != size)
        return fail(err, ERR_FORMAT, "%s: member %s is no time", name, key);
    memcpy(out, text, size + 1);
    return OK;
}

static enum status parse_optional(const json_t *root, const char *name, struct key_file *f, struct error *err)
{
    const json_t *fingerprint = json_object_get(root, "fingerprint");
    if (fingerprint && !json_is_null(fingerprint)) {
        const char *text = json_string_value(fingerprint);
        if (!text || !fingerprint_parse(text, f->fingerprint))
            return fail(err, ERR_FORMAT, "%s: member fingerprint is not 32 pairs of hexadecimal digits joined by ':'",
                        name);
        f->has_fingerprint = true;
    }
    const json_t *hint = json_object_get(root, "hint");
    if (!hint || json_is_null(hint))
        return OK;
    if (!json_is_string(hint) || json_string_length(hint) > KEY_HINT_SIZE_MAX)
        return fail(err, ERR_FORMAT, "%s: member hint is no text of at most %d bytes", name, KEY_HINT_SIZE_MAX);
    f->hint = strdup(json_string_value(hint));
    return f->hint ? OK : fail(err, ERR_MEMORY, "out of memory for a hint");
}

static enum status parse_root(const json_t *root, const char *name, struct key_file *f, struct error *err)
{
    json_t *value;
    char what[512];
    if (!json_is_object(root))
        return fail(err, ERR_FORMAT, "%s: is no key file: not a JSON object", name);
    TRY(member(root, "kdf", name, &value, err));
    TRY(parse_kdf(value, name, f, err));
    TRY(parse_time(root, "created", name, f->created, err));
    TRY(parse_time(root, "modified", name, f->modified, err));
    TRY(member(root, "data", name, &value, err));
    snprintf(what, sizeof what, "%.400s: member data", name);
    TRY(base64_decode(value, sizeof f->data, f->data, &f->data_size, what, err));
    size_t wanted = f->kdf == KEY_KDF_NONE ? (size_t)CRYPT_KEY_SIZE : (size_t)KEY_WRAPPED_SIZE;
    if (f->data_size != wanted)
        return fail(err, ERR_FORMAT, "%s: member data has %zu bytes, not %zu", name, f->data_size, wanted);
    return parse_optional(root, name, f, err);
}

enum status key_file_parse(const uint8_t *text, size_t size, const char *name, struct key_file *out, struct error *err)
{
    *out = (struct key_file){0};
    if (size > KEY_FILE_SIZE_MAX)
        return fail(err, ERR_LIMIT, "%s: key file of %zu bytes, at most %d are allowed", name, size, KEY_FILE_SIZE_MAX);
    json_error_t where;
    CLEANUP(json_cleanup)
    json_t *root = json_loadb(size > 0 ? (const char *)text : "", size, JSON_REJECT_DUPLICATES, &where);
    /* Without the parser's text, which quotes what it stumbled over: that may be the key. */
    if (!root)
        return fail(err, ERR_FORMAT, "%s: is no key file: not JSON at line %d, column %d", name, where.line,
                    where.column);
    struct key_file f = {0};
    enum status status = parse_root(root, name, &f, err);
    if (status == OK)
        *out = f;
    else
        key_file_deinit(&f);
    OPENSSL_cleanse(f.data, sizeof f.data);
    return status;
}

void key_file_deinit(struct key_file *f)
{
    free(f->hint);
    OPENSSL_cleanse(f, sizeof *f);
}

/* ---- writing ---- */

static json_t *kdf_json(const struct key_file *f)
{
    switch (f->kdf) {
    case KEY_KDF_NONE: break;
    case KEY_KDF_SCRYPT:
        return json_pack("{s:{s:I, s:I, s:I, s:o}}", stored_names[f->kdf], "n", (json_int_t)f->n, "r", (json_int_t)f->r,
                         "p", (json_int_t)f->p, "salt", base64_json(f->salt, f->salt_size));
    case KEY_KDF_PBKDF2:
        return json_pack("{s:{s:I, s:o}}", stored_names[f->kdf], "iter", (json_int_t)f->iterations, "salt",
                         base64_json(f->salt, f->salt_size));
    }
    return json_null();
}

struct dump {
    struct buffer *out;
    struct error *err;
    enum status status;
};

static int dump_some(const char *data, size_t size, void *context)
{
    struct dump *dump = context;
    dump->status = buffer_append(dump->out, data, size, dump->err);
    return dump->status == OK ? 0 : -1;
}

enum status key_file_write(const struct key_file *f, enum key_file_form form, struct buffer *out, struct error *err)
{
    char fingerprint[FINGERPRINT_TEXT_SIZE];
    TRY(buffer_reserve(out, KEY_FILE_SIZE_MAX, err)); /* growing would leave copies of the key behind */
    /* Members that are NULL with '*' are left out. */
    CLEANUP(json_cleanup)
    json_t *root =
        json_pack("{s:o, s:s, s:s, s:o, s:s*, s:s*}", "kdf", kdf_json(f), "created", f->created, "modified",
                  f->modified, "data", base64_json(f->data, f->data_size), "fingerprint",
                  f->has_fingerprint ? fingerprint_text(f->fingerprint, fingerprint) : NULL, "hint", f->hint);
    if (!root)
        return fail(err, ERR_FORMAT, "key file: cannot be written as JSON (is the hint UTF-8?)");
    struct dump dump = {.out = out, .err = err, .status = OK};
    size_t size_before = out->size;
    if (json_dump_callback(root, dump_some, &dump, form == KEY_FILE_COMPACT ? JSON_COMPACT : JSON_INDENT(2)) == 0)
        return form == KEY_FILE_COMPACT ? OK : buffer_append_u8(out, '\n', err);
    out->size = size_before;
    return dump.status != OK ? dump.status : fail(err, ERR_MEMORY, "out of memory for a key file");
}

/* ---- passphrases ---- */

static enum status check_passphrase(const char *passphrase, struct error *err)
{
    if (!passphrase)
        return fail(err, ERR_NOT_FOUND, "a passphrase is needed");
    if (strlen(passphrase) < KEY_PASSPHRASE_SIZE_MIN)
        return fail(err, ERR_USAGE, "the passphrase is shorter than %d bytes", KEY_PASSPHRASE_SIZE_MIN);
    return OK;
}

static enum status derive(const struct key_file *f, const char *passphrase, uint8_t out[CRYPT_KEY_SIZE],
                          struct error *err)
{
    TRY(check_passphrase(passphrase, err));
    size_t size = strlen(passphrase);
    if (f->kdf == KEY_KDF_PBKDF2)
        return crypt_pbkdf2(passphrase, size, f->salt, f->salt_size, f->iterations, out, err);
    return crypt_scrypt(passphrase, size, f->salt, f->salt_size, f->n, f->r, f->p, KEY_SCRYPT_MEMORY_MAX, out, err);
}

static enum status decrypt(const struct key_file *f, const char *passphrase, uint8_t out[CRYPT_KEY_SIZE],
                           struct error *err)
{
    uint8_t derived[CRYPT_KEY_SIZE];
    struct crypt_cipher *cipher = NULL;
    TRY(derive(f, passphrase, derived, err));
    enum status status = crypt_cipher_new(&cipher, err);
    if (status == OK)
        status = crypt_open(cipher, derived, f->data, f->data + CRYPT_IV_SIZE, f->data + CRYPT_IV_SIZE + CRYPT_TAG_SIZE,
                            CRYPT_KEY_SIZE, out, err);
    OPENSSL_cleanse(derived, sizeof derived);
    crypt_cipher_free(cipher);
    return status == ERR_MISMATCH ? fail(err, ERR_MISMATCH, "wrong passphrase, or the file is damaged") : status;
}

static enum status check_fingerprint(const struct key_file *f, const uint8_t key[CRYPT_KEY_SIZE], struct error *err)
{
    if (!f->has_fingerprint)
        return OK;
    struct crypt_config config;
    TRY(crypt_config_init(&config, key, err));
    char found[FINGERPRINT_TEXT_SIZE], wanted[FINGERPRINT_TEXT_SIZE];
    bool same = memcmp(config.fingerprint, f->fingerprint, FINGERPRINT_SIZE) == 0;
    fingerprint_text(config.fingerprint, found);
    crypt_config_deinit(&config);
    return same ? OK
                : fail(err, ERR_MISMATCH, "the key's fingerprint is %s, the file says %s", found,
                       fingerprint_text(f->fingerprint, wanted));
}

enum status key_file_unwrap(const struct key_file *f, const char *passphrase, const char *name,
                            uint8_t out[CRYPT_KEY_SIZE], struct error *err)
{
    enum status status = OK;
    if (f->kdf == KEY_KDF_NONE)
        memcpy(out, f->data, CRYPT_KEY_SIZE);
    else
        status = decrypt(f, passphrase, out, err);
    if (status == OK)
        status = check_fingerprint(f, out, err);
    if (status == OK)
        return OK;
    OPENSSL_cleanse(out, CRYPT_KEY_SIZE);
    return fail_within(err, "%s", name);
}

static enum status encrypt(struct key_file *f, const uint8_t key[CRYPT_KEY_SIZE], const char *passphrase,
                           const uint8_t iv[CRYPT_IV_SIZE], struct error *err)
{
    uint8_t derived[CRYPT_KEY_SIZE];
    struct crypt_cipher *cipher = NULL;
    const struct slice whole = {.data = key, .size = CRYPT_KEY_SIZE};
    TRY(derive(f, passphrase, derived, err));
    enum status status = crypt_cipher_new(&cipher, err);
    if (status == OK)
        status = crypt_seal(cipher, derived, iv, &whole, 1, f->data + CRYPT_IV_SIZE + CRYPT_TAG_SIZE,
                            f->data + CRYPT_IV_SIZE, err);
    memcpy(f->data, iv, CRYPT_IV_SIZE);
    f->data_size = KEY_WRAPPED_SIZE;
    OPENSSL_cleanse(derived, sizeof derived);
    crypt_cipher_free(cipher);
    return status;
}

enum status key_file_wrap(struct key_file *f, const uint8_t key[CRYPT_KEY_SIZE], enum key_kdf kdf,
                          const char *passphrase, const uint8_t entropy[KEY_ENTROPY_SIZE], struct error *err)
{
    struct crypt_config config;
    TRY(crypt_config_init(&config, key, err));
    memcpy(f->fingerprint, config.fingerprint, FINGERPRINT_SIZE);
    f->has_fingerprint = true;
    crypt_config_deinit(&config);

    OPENSSL_cleanse(f->data, sizeof f->data);
    f->kdf = kdf;
    f->n = f->iterations = 0;
    f->r = f->p = 0;
    f->salt_size = 0;
    if (kdf == KEY_KDF_NONE) {
        memcpy(f->data, key, CRYPT_KEY_SIZE);
        f->data_size = CRYPT_KEY_SIZE;
        return OK;
    }
    memcpy(f->salt, entropy, KEY_SALT_SIZE);
    f->salt_size = KEY_SALT_SIZE;
    if (kdf == KEY_KDF_PBKDF2) {
        f->iterations = KEY_PBKDF2_ITERATIONS;
    } else {
        f->n = KEY_SCRYPT_N;
        f->r = KEY_SCRYPT_R;
        f->p = KEY_SCRYPT_P;
    }
    return encrypt(f, key, passphrase, entropy + KEY_SALT_SIZE, err);
}
