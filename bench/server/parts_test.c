/* The smaller parts: tables of known chunks, bodies, certificates and the server's own token. */
#include "testing/testing.h"

#include "server/body.h"
#include "server/certificate.h"
#include "server/known.h"
#include "server/own_token.h"
#include "server/tls.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct error err;

static struct digest digest_number(uint64_t k)
{
    struct digest d;
    digest_of(&k, sizeof k, &d);
    return d;
}

static void test_known_chunks(void **state)
{
    (void)state;
    struct known k;
    struct budget budget;
    budget_init(&budget, 8 << 20);
    assert_int_equal(known_init(&k, &budget, &err), OK);
    struct digest d = digest_number(0), other;
    assert_int_equal(known_find(&k, &d), 0);
    assert_false(known_other(&k, &d, &other));
    for (uint64_t i = 0; i < 20000; i++) {
        d = digest_number(i);
        assert_int_equal(known_add(&k, &d, (uint32_t)i + 1, &err), OK);
    }
    for (uint64_t i = 0; i < 20000; i++) {
        d = digest_number(i);
        assert_int_equal(known_find(&k, &d), i + 1);
    }
    d = digest_number(20000);
    assert_int_equal(known_find(&k, &d), 0);
    d = digest_number(5);
    assert_int_equal(known_add(&k, &d, 77, &err), OK);
    assert_int_equal(known_find(&k, &d), 77);
    assert_int_equal(k.count, 20000);
    assert_true(known_other(&k, &d, &other));
    assert_false(digest_equal(&d, &other));
    memset(&d, 0, sizeof d);
    assert_int_equal(known_find(&k, &d), 0);
    assert_int_equal(known_add(&k, &d, 1, &err), OK);
    assert_int_equal(known_find(&k, &d), 1);
    /* Another session finds no room beside it, and keeps what it has. */
    struct known second;
    assert_int_equal(known_init(&second, &budget, &err), OK);
    enum status status = OK;
    for (uint64_t i = 0; i < 200000 && status == OK; i++) {
        d = digest_number(i);
        status = known_add(&second, &d, 1, &err);
    }
    assert_int_equal(status, ERR_LIMIT);
    assert_true(second.count > 1000);
    assert_true(atomic_load(&budget.peak) <= 8 << 20);
    for (uint64_t i = 0; i < second.count; i++) {
        d = digest_number(i);
        assert_int_equal(known_find(&second, &d), 1);
    }
    known_deinit(&second);
    known_deinit(&k);
    assert_int_equal(atomic_load(&budget.used), 0);
}

static void add_all(struct body *b, const uint8_t *data, size_t size, size_t piece)
{
    for (size_t at = 0; at < size; at += piece)
        assert_int_equal(body_add(b, data + at, size - at < piece ? size - at : piece, &err), OK);
}

static void test_bodies_beyond_the_budget_go_through_files(void **state)
{
    (void)state;
    char *dir = temp_dir_make();
    struct budget budget;
    struct body_file file;
    budget_init(&budget, 1 << 20);
    body_file_init(&file, dir, 4 << 20);
    uint8_t *data = make_splitmix64(3 << 20, 1);
    struct body bodies[3];
    for (int i = 0; i < 3; i++) {
        body_init(&bodies[i], &budget, &file, 3 << 20);
        add_all(&bodies[i], data, i == 0 ? 600000 : (size_t)(3 << 20), 16384);
    }
    assert_true(!bodies[0].in_file && bodies[1].in_file && bodies[2].in_file);
    assert_int_equal(bodies[0].charged, bodies[0].memory.capacity);
    assert_int_equal(atomic_load(&budget.used), bodies[0].charged);
    assert_true(atomic_load(&budget.peak) <= 1 << 20);
    CLEANUP(buffer_deinit) struct buffer scratch = BUFFER_INIT(0);
    for (int i = 0; i < 3; i++) {
        const uint8_t *got;
        size_t size;
        assert_int_equal(body_take(&bodies[i], &scratch, &got, &size, &err), OK);
        assert_int_equal(size, i == 0 ? 600000 : 3 << 20);
        assert_memory_equal(got, data, size);
        uint8_t part[1000];
        assert_int_equal(body_read(&bodies[i], size - sizeof part, part, sizeof part, &err), OK);
        assert_memory_equal(part, data + size - sizeof part, sizeof part);
    }
    /* A slot is used again, and what is beside it stays. */
    body_deinit(&bodies[1]);
    body_init(&bodies[1], &budget, &file, 3 << 20);
    add_all(&bodies[1], data + 1, (3 << 20) - 1, 100000);
    assert_int_equal(file.slot_count, 2);
    for (int i = 1; i < 3; i++) {
        const uint8_t *got;
        size_t size;
        assert_int_equal(body_take(&bodies[i], &scratch, &got, &size, &err), OK);
        assert_int_equal(size, i == 1 ? (3 << 20) - 1 : 3 << 20);
        assert_memory_equal(got, i == 1 ? data + 1 : data, size);
    }
    assert_int_equal(body_add(&bodies[2], data, 1, &err), ERR_LIMIT);
    for (int i = 0; i < 3; i++)
        body_deinit(&bodies[i]);
    assert_int_equal(atomic_load(&budget.used), 0);
    assert_true(file.fd < 0);
    body_file_deinit(&file);
    assert_true(atomic_load(&budget.peak) > 500000);
    /* One that cannot be kept anywhere. */
    budget_init(&budget, 1);
    body_file_init(&file, "/nonexistent", 100);
    body_init(&bodies[0], &budget, &file, 100);
    assert_int_equal(body_add(&bodies[0], data, 50, &err), ERR_IO);
    body_deinit(&bodies[0]);
    body_file_deinit(&file);
    free(data);
    temp_dir_remove(dir);
}

static unsigned mode_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777;
}

static void test_own_certificates_stay(void **state)
{
    (void)state;
    char *dir = temp_dir_make();
    char own[4096], path[5000], first[CERTIFICATE_FINGERPRINT_TEXT_SIZE];
    struct tls_context *c;
    snprintf(own, sizeof own, "%s/own", dir);
    assert_int_equal(tls_context_own(own, &c, &err), OK);
    snprintf(first, sizeof first, "%s", tls_context_fingerprint(c));
    assert_int_equal(strlen(first), 95);
    tls_context_free(c);
    snprintf(path, sizeof path, "%s/" CERTIFICATE_KEY_NAME, own);
    assert_int_equal(mode_of(path), 0600);
    assert_int_equal(mode_of(own), 0700);
    assert_int_equal(tls_context_own(own, &c, &err), OK);
    assert_string_equal(tls_context_fingerprint(c), first);
    tls_context_free(c);
    char certificate[5000];
    snprintf(certificate, sizeof certificate, "%s/" CERTIFICATE_NAME, own);
    assert_int_equal(tls_context_load(certificate, path, &c, &err), OK);
    tls_context_free(c);
    assert_int_equal(tls_context_load(path, path, &c, &err), ERR_FORMAT);
    assert_int_equal(tls_context_load(certificate, certificate, &c, &err), ERR_FORMAT);
    assert_int_equal(tls_context_load(certificate, "/nonexistent", &c, &err), ERR_IO);
    /* Another key than the certificate's. */
    assert_int_equal(unlink(path), 0);
    char saved[5000];
    snprintf(saved, sizeof saved, "%s/saved", own);
    assert_int_equal(rename(certificate, saved), 0);
    assert_int_equal(tls_context_own(own, &c, &err), OK);
    assert_string_not_equal(tls_context_fingerprint(c), first);
    tls_context_free(c);
    assert_int_equal(tls_context_load(saved, path, &c, &err), ERR_FORMAT);
    temp_dir_remove(dir);
}

static void test_the_own_token(void **state)
{
    (void)state;
    char *dir = temp_dir_make();
    char store[4096], first[OWN_SECRET_SIZE], second[OWN_SECRET_SIZE], path[PATH_MAX];
    snprintf(store, sizeof store, "%s/store", dir);
    assert_int_equal(own_token(store, first, path, &err), OK);
    assert_int_equal(strlen(first), 64);
    assert_int_equal(mode_of(path), 0600);
    assert_int_equal(own_token(store, second, path, &err), OK);
    assert_string_equal(first, second);
    assert_int_equal(chmod(path, 0644), 0); /* everybody could have it */
    assert_int_equal(own_token(store, second, path, &err), ERR_FORMAT);
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(truncate(path, 10), 0);
    assert_int_equal(own_token(store, second, path, &err), ERR_FORMAT);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(own_token(store, second, path, &err), OK);
    assert_string_not_equal(first, second);
    temp_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_chunks),
        cmocka_unit_test(test_bodies_beyond_the_budget_go_through_files),
        cmocka_unit_test(test_own_certificates_stay),
        cmocka_unit_test(test_the_own_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
