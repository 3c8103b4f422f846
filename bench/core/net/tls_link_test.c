#include "testing/testing.h"

#include "base/clock.h"
#include "net/http_exchange.h"
#include "net/tls_link.h"
#include "net/tls_peer_for_test.h"

#include <ctype.h>
#include <openssl/pem.h>

static struct peer peer;
static struct peer_script script;
static struct error err;
static struct repository repository;
static uint8_t fingerprint[CERTIFICATE_FINGERPRINT_SIZE];

static void begin(void)
{
    peer_start(&peer, &script);
    assert_int_equal(certificate_fingerprint_parse(peer.fingerprint, fingerprint, &err), OK);
    repository = peer_account(&peer, "u@pbs!tok").repository;
}

static void finish(void)
{
    peer_stop(&peer);
    peer_drop(&peer);
    script = (struct peer_script){0};
}

static struct tls_link_options known(void)
{
    return (struct tls_link_options){
        .repository = &repository, .fingerprint = fingerprint, .connect_timeout_ms = 10000};
}

static void check_refused(const struct tls_link_options *options, enum status expected, const char *words)
{
    struct tls_link *l = NULL;
    err = (struct error){0};
    assert_int_equal(tls_link_open(options, NULL, &l, &err), expected);
    check_says(err.text, words);
}

static void check_accepted(const struct tls_link_options *options)
{
    struct tls_link *l = NULL;
    check_ok(tls_link_open(options, NULL, &l, &err), &err);
    tls_link_close(l);
}

static void test_another_fingerprint_ends_before_a_byte_is_sent(void **state)
{
    (void)state;
    begin();
    struct tls_link_options options = known();
    check_accepted(&options);
    fingerprint[31] ^= 1;
    check_refused(&options, ERR_MISMATCH, peer.fingerprint);
    finish();
    assert_int_equal(peer.handshakes, 2);
    assert_int_equal(peer.received, 0);
}

static void test_self_made_certificates_need_a_fingerprint(void **state)
{
    (void)state;
    begin();
    struct tls_link_options options = known();
    options.fingerprint = NULL;
    check_refused(&options, ERR_REFUSED, "not trusted");
    finish();
    assert_int_equal(peer.received, 0);
}

static char *write_authority(const char *directory)
{
    char *path;
    assert_true(asprintf(&path, "%s/ca.pem", directory) > 0);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(PEM_write_X509(file, peer.certificate), 1);
    assert_int_equal(fclose(file), 0);
    return path;
}

static void test_without_fingerprint_authority_and_host_name_decide(void **state)
{
    (void)state;
    char *directory = temp_dir_make();
    for (int other = 0; other < 2; other++) {
        script.other_address = other == 1;
        begin();
        char *path = write_authority(directory);
        struct tls_link_options options = known();
        options.fingerprint = NULL;
        options.ca_file = path;
        if (other)
            check_refused(&options, ERR_REFUSED, "not trusted");
        else
            check_accepted(&options);
        options = known();
        check_accepted(&options); /* a fingerprint needs neither */
        options.fingerprint = NULL;
        options.ca_file = "/nonexistent/ca.pem";
        check_refused(&options, ERR_USAGE, "/nonexistent/ca.pem");
        free(path);
        finish();
    }
    temp_dir_remove(directory);
}

static void test_nobody_listens(void **state)
{
    (void)state;
    begin();
    struct tls_link_options options = known();
    finish();
    check_refused(&options, ERR_NETWORK, "refused");
    assert_int_equal(repository_make("u@pbs", "name.invalid", 0, "store1", &repository, &err), OK);
    check_refused(&options, ERR_NETWORK, "name.invalid:8007");
}

static void test_servers_without_tls(void **state)
{
    (void)state;
    script.plain = true;
    script.raw = "SSH-2.0-OpenSSH\r\n";
    begin();
    struct tls_link_options options = known();
    check_refused(&options, ERR_NETWORK, "TLS");
    finish();
}

static void test_a_server_that_never_answers_is_given_up(void **state)
{
    (void)state;
    script.no_handshake = true;
    begin();
    struct tls_link_options options = known();
    options.connect_timeout_ms = 200;
    check_refused(&options, ERR_NETWORK, "200 ms");
    finish();
}

static struct net_wake wake;

static void *stop_soon(void *argument)
{
    (void)argument;
    usleep(100000);
    net_wake_stop(&wake);
    return NULL;
}

static void test_connecting_ends_at_once_when_told(void **state)
{
    (void)state;
    pthread_t thread;
    struct tls_link *l;
    script.no_handshake = true;
    begin();
    struct tls_link_options options = known();
    options.connect_timeout_ms = 600000;
    assert_int_equal(net_wake_init(&wake, &err), OK);
    net_wake_up(&wake); /* does not stop anything */
    assert_int_equal(pthread_create(&thread, NULL, stop_soon, NULL), 0);
    assert_int_equal(tls_link_open(&options, &wake, &l, &err), ERR_CANCELLED);
    pthread_join(thread, NULL);
    assert_int_equal(tls_link_open(&options, &wake, &l, &err), ERR_CANCELLED);
    net_wake_deinit(&wake);
    finish();
}

/* Returns how often it was blocked. */
static unsigned send_all(struct tls_link *l, const uint8_t *data, size_t size)
{
    unsigned blocked = 0;
    struct sigpipe_state sigpipe;
    sigpipe_block(&sigpipe);
    for (size_t at = 0; at < size;) {
        size_t sent, got;
        uint8_t byte;
        assert_int_equal(tls_link_send(l, data + at, size - at, &sent, &err), OK);
        at += sent;
        if (sent > 0)
            continue;
        blocked++;
        assert_int_equal(tls_link_receive(l, &byte, 1, &got, &err), OK);
        assert_int_equal(got, 0);
        assert_int_equal(tls_link_wait(l, true, UINT64_MAX, NULL, &err), OK);
    }
    sigpipe_restore(&sigpipe);
    return blocked;
}

static void test_blocked_sends_lose_and_repeat_nothing(void **state)
{
    (void)state;
    enum { SIZE = 2 << 20, SMALL = 4096 };
    const int small = SMALL;
    struct tls_link *l;
    struct net_stats stats = {0};
    script.silent = true;
    script.receive_buffer = SMALL;
    begin();
    struct tls_link_options options = known();
    assert_int_equal(tls_link_open(&options, NULL, &l, &err), OK);
    assert_int_equal(setsockopt(tls_link_descriptor(l), SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
    assert_true(send_all(l, peer_pattern, SIZE) > 0);
    assert_int_equal(tls_link_stats(l)->sent, SIZE);
    assert_int_equal(tls_link_stats(l)->connections, 1);
    tls_link_add_wire(tls_link_descriptor(l), &stats);
    assert_true(stats.wire_sent == 0 || stats.wire_sent > SIZE / 2); /* some of it may be on its way */
    assert_true(stats.wire_received == 0 || stats.wire_received > 100);
    tls_link_close(l);
    usleep(1000);
    while (true) {
        pthread_mutex_lock(&peer.lock);
        bool all = peer.received >= SIZE;
        pthread_mutex_unlock(&peer.lock);
        if (all)
            break;
        usleep(1000);
    }
    finish();
    assert_int_equal(peer.received, SIZE);
}

static void wait_for_received(uint64_t count)
{
    for (bool all = false; !all;) {
        pthread_mutex_lock(&peer.lock);
        all = peer.received >= count;
        pthread_mutex_unlock(&peer.lock);
        usleep(1000);
    }
}

/* As the kernel counts: until acknowledgements have come back, or one call has passed after another without. */
static uint64_t taken_at_rest(struct tls_link *l)
{
    uint64_t before = 0, taken = tls_link_taken(l, false);
    for (int calm = 0; calm < 100; calm = taken == before ? calm + 1 : 0) {
        usleep(1000);
        before = taken;
        taken = tls_link_taken(l, false);
    }
    return taken;
}

static void test_what_the_peer_took_counts_as_far_as_it_was_marked(void **state)
{
    (void)state;
    enum { SIZE = 1 << 20 };
    struct tls_link *l;
    script.silent = true;
    script.receive_buffer = 4096;
    script.slow_read_ms = 10;
    begin();
    struct tls_link_options options = known();
    assert_int_equal(tls_link_open(&options, NULL, &l, &err), OK);
    assert_int_equal(tls_link_taken(l, false), 0); /* not what the handshake took */
    (void)send_all(l, peer_pattern, SIZE);
    (void)tls_link_taken(l, false);
    assert_int_equal(tls_link_taken(l, false), 0); /* nobody said that this matters */
    (void)tls_link_taken(l, true);
    wait_for_received(SIZE);
    uint64_t taken = taken_at_rest(l);
    assert_true(taken > 0 && taken < SIZE + (64 << 10));
    (void)send_all(l, peer_pattern, 100000);
    wait_for_received(SIZE + 100000);
    assert_int_equal(taken_at_rest(l), taken);
    tls_link_close(l);
    finish();
}

static void test_a_link_with_something_to_say_is_not_idle(void **state)
{
    (void)state;
    static const char request[] = "GET /x HTTP/1.1\r\n\r\n";
    struct tls_link *l;
    script.raw = "?";
    begin();
    struct tls_link_options options = known();
    for (int ends = 0; ends < 2; ends++) {
        assert_int_equal(tls_link_open(&options, NULL, &l, &err), OK);
        usleep(20000); /* session tickets are nothing to be read */
        assert_true(tls_link_is_idle(l));
        (void)send_all(l, (const uint8_t *)request, sizeof request - 1);
        if (ends)
            atomic_store(&peer.stop, true);
        while (tls_link_is_idle(l))
            usleep(1000);
        tls_link_close(l);
    }
    finish();
}

static void test_a_rate_holds_back_both_directions(void **state)
{
    (void)state;
    enum { SIZE = 64 << 10, RATE = 256 << 10 };
    struct tls_link *l;
    script.silent = true;
    begin();
    struct tls_link_options options = known();
    options.rate = RATE;
    options.burst = 1000;
    assert_int_equal(tls_link_open(&options, NULL, &l, &err), OK);
    uint64_t since_ns = clock_monotonic_ns();
    (void)send_all(l, peer_pattern, SIZE);
    /* The last piece's pause is still to come. */
    assert_true(clock_monotonic_ns() - since_ns >= (uint64_t)(SIZE - TLS_LINK_SEND_MAX) * 1000000000 / RATE);
    assert_true(tls_link_stats(l)->throttled_ns > 0);
    tls_link_close(l);
    finish();
}

static void test_the_end_is_an_end(void **state)
{
    (void)state;
    struct tls_link *l;
    uint8_t byte;
    size_t got = 0;
    script.end_after = 5;
    begin();
    struct tls_link_options options = known();
    assert_int_equal(tls_link_open(&options, NULL, &l, &err), OK);
    (void)send_all(l, peer_pattern, 5);
    enum status status;
    while ((status = tls_link_receive(l, &byte, 1, &got, &err)) == OK)
        assert_int_equal(tls_link_wait(l, false, UINT64_MAX, NULL, &err), OK);
    assert_int_equal(status, ERR_CLOSED);
    tls_link_close(l);
    finish();
}

static void test_waits_end_by_the_clock_and_when_woken(void **state)
{
    (void)state;
    struct tls_link *l;
    script.silent = true;
    begin();
    struct tls_link_options options = known();
    assert_int_equal(net_wake_init(&wake, &err), OK);
    assert_int_equal(tls_link_open(&options, &wake, &l, &err), OK);
    /* Session tickets wake without anything to read. */
    for (int i = 0; i < 5; i++) {
        uint8_t byte;
        size_t got;
        assert_int_equal(tls_link_receive(l, &byte, 1, &got, &err), OK);
        assert_int_equal(got, 0);
        assert_int_equal(tls_link_wait(l, false, clock_monotonic_ns() + 20000000, &wake, &err), OK);
    }
    net_wake_up(&wake);
    assert_int_equal(tls_link_wait(l, false, UINT64_MAX, &wake, &err), OK);
    net_wake_stop(&wake);
    assert_int_equal(tls_link_wait(l, false, UINT64_MAX, &wake, &err), ERR_CANCELLED);
    tls_link_close(l);
    net_wake_deinit(&wake);
    finish();
}

/* ---- a proxy ---- */

struct proxy {
    int listening;
    uint16_t port;
    pthread_t thread;
    char head[2000];
    const char *answer;
    bool forwards;
};

static void relay(int one, int other)
{
    uint8_t buffer[4096];
    for (;;) {
        struct pollfd fds[2] = {{.fd = one, .events = POLLIN}, {.fd = other, .events = POLLIN}};
        (void)poll(fds, 2, -1);
        for (int i = 0; i < 2; i++) {
            if (!fds[i].revents)
                continue;
            ssize_t got = recv(fds[i].fd, buffer, sizeof buffer, 0);
            if (got <= 0 || send(fds[1 - i].fd, buffer, (size_t)got, MSG_NOSIGNAL) != got)
                return;
        }
    }
}

static void *proxy_run(void *argument)
{
    struct proxy *p = argument;
    size_t used = 0;
    int from = accept(p->listening, NULL, NULL);
    ASSERT(from >= 0);
    while (!strstr(p->head, "\r\n\r\n")) {
        ssize_t got = recv(from, p->head + used, sizeof p->head - used - 1, 0);
        ASSERT(got > 0);
        used += (size_t)got;
    }
    ASSERT(send(from, p->answer, strlen(p->answer), MSG_NOSIGNAL) > 0);
    if (p->forwards) {
        struct sockaddr_in address = {
            .sin_family = AF_INET, .sin_port = htons(peer.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int to = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ASSERT(connect(to, (const struct sockaddr *)&address, sizeof address) == 0);
        relay(from, to);
        close(to);
    }
    close(from);
    return NULL;
}

static void proxy_start(struct proxy *p, const char *answer, bool forwards)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    *p = (struct proxy){.answer = answer, .forwards = forwards};
    p->listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(p->listening, (const struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(p->listening, 4), 0);
    assert_int_equal(getsockname(p->listening, (struct sockaddr *)&address, &size), 0);
    p->port = ntohs(address.sin_port);
    assert_int_equal(pthread_create(&p->thread, NULL, proxy_run, p), 0);
}

static void proxy_stop(struct proxy *p)
{
    pthread_join(p->thread, NULL);
    close(p->listening);
}

static void test_proxies_are_asked_to_connect(void **state)
{
    (void)state;
    static struct proxy proxy;
    char text[100], line[100];
    begin();
    proxy_start(&proxy, "HTTP/1.1 200 Connection established\r\n\r\n", true);
    struct tls_link_options options = known();
    snprintf(text, sizeof text, "http://who:pass@127.0.0.1:%u", proxy.port);
    options.proxy = text;
    check_accepted(&options);
    proxy_stop(&proxy);
    snprintf(line, sizeof line, "CONNECT 127.0.0.1:%u HTTP/1.1\r\n", peer.port);
    assert_ptr_equal(strstr(proxy.head, line), proxy.head);
    assert_non_null(strstr(proxy.head, "Proxy-Authorization: Basic d2hvOnBhc3M=\r\n"));
    proxy_start(&proxy, "HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n", false);
    snprintf(text, sizeof text, "127.0.0.1:%u", proxy.port);
    check_refused(&options, ERR_NETWORK, "407");
    proxy_stop(&proxy);
    finish();
    assert_int_equal(peer.handshakes, 1);
}

static void test_no_variable_brings_in_a_proxy(void **state)
{
    (void)state;
    static const char *const names[] = {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "http_proxy"};
    begin();
    struct tls_link_options options = known();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_int_equal(setenv(names[i], "http://127.0.0.1:1", 1), 0);
    check_accepted(&options);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unsetenv(names[i]);
    /* Nor takes one away. */
    assert_int_equal(setenv("no_proxy", "*", 1), 0);
    options.proxy = "http://127.0.0.1:1";
    check_refused(&options, ERR_NETWORK, "proxy");
    unsetenv("no_proxy");
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_another_fingerprint_ends_before_a_byte_is_sent),
        cmocka_unit_test(test_self_made_certificates_need_a_fingerprint),
        cmocka_unit_test(test_without_fingerprint_authority_and_host_name_decide),
        cmocka_unit_test(test_nobody_listens),
        cmocka_unit_test(test_servers_without_tls),
        cmocka_unit_test(test_a_server_that_never_answers_is_given_up),
        cmocka_unit_test(test_connecting_ends_at_once_when_told),
        cmocka_unit_test(test_blocked_sends_lose_and_repeat_nothing),
        cmocka_unit_test(test_what_the_peer_took_counts_as_far_as_it_was_marked),
        cmocka_unit_test(test_a_link_with_something_to_say_is_not_idle),
        cmocka_unit_test(test_a_rate_holds_back_both_directions),
        cmocka_unit_test(test_the_end_is_an_end),
        cmocka_unit_test(test_waits_end_by_the_clock_and_when_woken),
        cmocka_unit_test(test_proxies_are_asked_to_connect),
        cmocka_unit_test(test_no_variable_brings_in_a_proxy),
    };
    alarm(300);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
