/* Any text as a repository: what parses is made of good parts and spelled out parses to the same. */
#include "wire/repository.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[2 * REPOSITORY_TEXT_MAX];
    char full[REPOSITORY_FULL_SIZE];
    char user[REPOSITORY_TEXT_MAX + 1];
    struct repository r;
    struct repository again;
    struct error err;
    uint8_t fingerprint[CERTIFICATE_FINGERPRINT_SIZE];
    if (size >= sizeof text)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    (void)!certificate_fingerprint_parse(text, fingerprint, &err);
    if (repository_parse(text, &r, &err) != OK)
        return 0;
    ASSERT(name_is_auth_id(r.auth_id, strlen(r.auth_id)));
    ASSERT(name_is_host(r.host, strlen(r.host)));
    ASSERT(name_is_safe(r.datastore, strlen(r.datastore)));
    repository_user(&r, user);
    ASSERT(name_is_user_id(user, strlen(user)));
    if (strlen(repository_text(&r, full)) <= REPOSITORY_TEXT_MAX) {
        ASSERT(repository_parse(full, &again, &err) == OK);
        ASSERT(strcmp(r.auth_id, again.auth_id) == 0 && strcmp(r.host, again.host) == 0);
        ASSERT(strcmp(r.datastore, again.datastore) == 0 && r.port == again.port);
    }
    return 0;
}
