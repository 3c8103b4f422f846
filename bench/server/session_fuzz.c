/* Any bytes from a client after its upgrade, up to the datastore: calls with any parameters, bodies and order. First
 * byte: kind of session; second: size of the pieces. Whatever comes, an unfinished backup leaves nothing behind. */
#include "server/session.h"

#include "base/log.h"
#include "store/local_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct shared shared = {.name = "store1", .strict = true, .limits = {.parameter_body_max = 65535}};
static char directory[] = "/tmp/pxb_session_fuzz_XXXXXX";
static const struct snapshot_id base = {.type = "host", .id = "base", .time = 1700000000};

static void remove_directory(void)
{
    char command[100];
    store_close(shared.store);
    workshop_deinit(&shared.workshop);
    snprintf(command, sizeof command, "rm -rf %s", directory);
    if (system(command) != 0)
        abort();
}

static struct store_writer *begin(const struct snapshot_id *id)
{
    const struct local_begin how = {.auth_id = "fuzz@pbs"};
    struct store_writer *w;
    ASSERT(local_begin(shared.store, id, &how, &w, NULL) == OK);
    return w;
}

/* A datastore with one snapshot of nothing. */
static void prepare(void)
{
    static const uint8_t manifest[] = "\x42\xab\x38\x07\xbe\x83\x70\xa1\0\0\0\0";
    const struct store_options options = {.sync = SYNC_NONE, .create = true};
    log_set_level(LOG_ERROR);
    ASSERT(mkdtemp(directory));
    ASSERT(local_prepare(directory, NULL) == OK);
    ASSERT(store_open(directory, &options, &shared.store, NULL) == OK);
    shared.datastore = directory;
    budget_init(&shared.bodies, 1 << 20);
    budget_init(&shared.tables, 1 << 26);
    budget_init(&shared.indexes, 100);
    workshop_init(&shared.workshop, 1, 1 << 25);
    const struct faults none = {0};
    fault_state_init(&shared.faults, &none);
    struct store_writer *w = begin(&base);
    ASSERT(local_finish(w, manifest, 12, false, NULL) == OK);
    local_end(w, false);
    atexit(remove_directory);
}

static void drain(struct session *s)
{
    const uint8_t *out;
    size_t size;
    for (int i = 0; i < 64 && session_output(s, &out, &size, NULL) == OK && size > 0; i++)
        session_sent(s, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct faults none;
    static const struct snapshot_id id = {.type = "host", .id = "fuzz", .time = 1700000060};
    if (!shared.store)
        prepare();
    if (size < 2)
        return 0;
    struct session_options options = {
        .shared = &shared, .faults = &none, .kind = data[0] % 2 ? SESSION_READER : SESSION_BACKUP, .id = id};
    size_t piece = (size_t)data[1] * 16 + 1;
    if (options.kind == SESSION_BACKUP) {
        options.writer = begin(&id);
    } else {
        options.id = base;
        ASSERT(store_reader_open(shared.store, &base, &options.reader, NULL) == OK);
    }
    struct session *s;
    ASSERT(session_new(&options, &s, NULL) == OK);
    bool good = true;
    for (size_t at = 2; good && at < size; at += piece) {
        good = session_feed(s, data + at, size - at < piece ? size - at : piece, at, NULL) == OK;
        drain(s);
    }
    uint64_t before = atomic_load(&shared.counts.sessions_finished);
    session_free(s);
    ASSERT(atomic_load(&shared.bodies.used) == 0 && atomic_load(&shared.tables.used) == 0);
    char path[200];
    struct stat st;
    snprintf(path, sizeof path, "%s/host/fuzz", directory);
    if (before == 0) {
        ASSERT(stat(path, &st) != 0);
        return 0;
    }
    /* Finished, against all odds: away with it. */
    atomic_store(&shared.counts.sessions_finished, 0);
    snprintf(path, sizeof path, "rm -rf %s/host/fuzz", directory);
    ASSERT(system(path) == 0);
    return 0;
}
