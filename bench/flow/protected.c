#include "flow/protected.h"

#include <jansson.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

static size_t whole_pages(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (size + page - 1) / page * page;
}

enum status protect_process(struct error *err)
{
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return fail(err, ERR_IO, "forbid core dumps, which would hold a secret");
    return OK;
}

enum status protected_new(size_t size, void **out, struct error *err)
{
    ASSERT(size > 0 && size < (size_t)1 << 30);
    TRY(protect_process(err));
    size_t mapped = whole_pages(size);
    void *data = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED)
        return fail(err, ERR_MEMORY, "out of memory for a secret");
    if (madvise(data, mapped, MADV_DONTDUMP) != 0) {
        (void)munmap(data, mapped);
        return fail(err, ERR_IO, "keep a secret out of core dumps");
    }
    (void)mlock(data, mapped); /* the limit may be 0: then it may be swapped out as everything else */
    *out = data;
    return OK;
}

void protected_free(void *data, size_t size)
{
    if (!data)
        return;
    OPENSSL_cleanse(data, size);
    (void)munmap(data, whole_pages(size));
}

static void free_cleansed(void *data)
{
    if (data)
        OPENSSL_cleanse(data, malloc_usable_size(data));
    free(data);
}

void json_cleansing_begin(void)
{
    json_set_alloc_funcs(malloc, free_cleansed);
}

void json_cleansing_end(void)
{
    json_set_alloc_funcs(malloc, free);
}
