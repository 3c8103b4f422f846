#include "cli/benchmark_upload.h"

#include "base/clock.h"
#include "flow/threads.h"
#include "wire/call.h"
#include "wire/protocol.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { BODY_SIZE = 4 << 20, UNDER_WAY_FIRST = 2, UNDER_WAY_MAX = 16 };

static const char what[] = "uploading for the benchmark";

struct upload {
    struct net_session *session;
    uint8_t *data; /* one body */

    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned under_way;
    unsigned under_way_max; /* grows with every answer: a slow link must not be given more than it takes in time */
    uint64_t answered;      /* bodies */
    enum status status;     /* the first failure */
    struct error error;
};

/* On the session's thread. */
static void take_answer(void *user, struct h2_response *response, const struct error *opening)
{
    struct upload *u = user;
    struct error err = {0};
    enum status status = net_session_judge(u->session, what, response, opening, &err);
    h2_response_free(response);
    pthread_mutex_lock(&u->lock);
    u->under_way--;
    if (status == OK) {
        u->answered++;
        u->under_way_max += u->under_way_max < UNDER_WAY_MAX;
    } else if (u->status == OK) {
        u->status = status;
        u->error = err;
    }
    pthread_cond_signal(&u->changed);
    pthread_mutex_unlock(&u->lock);
}

static enum status submit(struct upload *u, struct error *err)
{
    struct net_request request = {.method = "POST",
                                  .path = BUFFER_INIT(WIRE_PATH_MAX),
                                  .body = BUFFER_INIT(BODY_SIZE),
                                  .done = take_answer,
                                  .user = u};
    enum status status = buffer_append(&request.path, CALL_SPEEDTEST, sizeof CALL_SPEEDTEST, err);
    if (status == OK)
        status = buffer_append(&request.body, u->data, BODY_SIZE, err);
    if (status != OK) {
        buffer_deinit(&request.path);
        buffer_deinit(&request.body);
        return status;
    }
    pthread_mutex_lock(&u->lock);
    u->under_way++;
    pthread_mutex_unlock(&u->lock);
    status = net_session_submit(u->session, &request, err);
    if (status != OK) {
        pthread_mutex_lock(&u->lock);
        u->under_way--;
        pthread_mutex_unlock(&u->lock);
    }
    return status;
}

/* Waits until at most `under_way` requests are. */
static enum status wait_for(struct upload *u, bool all, struct error *err)
{
    pthread_mutex_lock(&u->lock);
    while (u->status == OK && (all ? u->under_way > 0 : u->under_way >= u->under_way_max))
        pthread_cond_wait(&u->changed, &u->lock);
    enum status status = u->status;
    if (status != OK)
        *err = u->error;
    pthread_mutex_unlock(&u->lock);
    return status;
}

static enum status upload(struct upload *u, uint64_t duration_ns, struct benchmark_speed *out, struct error *err)
{
    TRY(net_session_wait_open(u->session, err));
    uint64_t begin = clock_monotonic_ns();
    do {
        TRY(wait_for(u, false, err));
        TRY(submit(u, err));
    } while (clock_monotonic_ns() - begin < duration_ns);
    TRY(wait_for(u, true, err));
    *out = (struct benchmark_speed){.bytes = u->answered * BODY_SIZE, .ns = clock_monotonic_ns() - begin};
    return OK;
}

static enum status run(struct upload *u, struct account *account, uint64_t duration_ns, struct benchmark_speed *out,
                       struct net_stats *out_network, struct error *err)
{
    const struct upgrade_request upgrade = {.kind = SESSION_BACKUP,
                                            .store = account_repository(account)->datastore,
                                            .backup_type = "host",
                                            .backup_id = "benchmark",
                                            .backup_time = clock_wall_seconds(),
                                            .benchmark = true};
    u->data = malloc(BODY_SIZE);
    if (!u->data)
        return fail(err, ERR_MEMORY, "out of memory for the data of the benchmark");
    benchmark_data(u->data, BODY_SIZE);
    TRY(net_session_start(account, &upgrade, &flow_threads, &u->session, err));
    enum status status = upload(u, duration_ns, out, err);
    net_session_stats(u->session, out_network);
    net_session_close(u->session); /* answers what is under way */
    return status;
}

enum status benchmark_upload(struct account *account, uint64_t duration_ns, struct benchmark_speed *out,
                             struct net_stats *out_network, struct error *err)
{
    struct upload u = {.under_way_max = UNDER_WAY_FIRST};
    *out = (struct benchmark_speed){0};
    *out_network = (struct net_stats){0};
    int failed = pthread_mutex_init(&u.lock, NULL) | pthread_cond_init(&u.changed, NULL);
    ASSERT(failed == 0);
    enum status status = run(&u, account, duration_ns, out, out_network, err);
    free(u.data);
    pthread_cond_destroy(&u.changed);
    pthread_mutex_destroy(&u.lock);
    return status;
}
