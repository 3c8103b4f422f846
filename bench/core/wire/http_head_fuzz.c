/* Any bytes as heads of messages and the bodies behind them: whole and byte by byte come to the same, and a head that
 * was read can be written and read again. */
#include "wire/http_body.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BODY_MAX = 1 << 16 };

struct outcome {
    enum status head;
    enum status body;
    size_t head_size;
    size_t body_end;
    uint64_t body_size;
    uint32_t body_sum;
};

static void read_body(const struct http_head *head, const uint8_t *data, size_t size, size_t piece, struct outcome *out)
{
    struct http_body body;
    struct error err;
    size_t position = 0;
    out->body = http_body_init(&body, head, BODY_MAX, &err);
    while (out->body == OK && position < size && !body.complete) {
        const uint8_t *part;
        size_t used;
        size_t part_size;
        size_t now = size - position < piece ? size - position : piece;
        out->body = http_body_feed(&body, data + position, now, &used, &part, &part_size, &err);
        if (out->body != OK)
            return;
        ASSERT(used > 0 && used <= now && part_size <= used);
        for (size_t i = 0; i < part_size; i++)
            out->body_sum = out->body_sum * 31 + part[i];
        position += used;
    }
    if (out->body == OK)
        out->body = http_body_end(&body, &err);
    ASSERT(body.size <= BODY_MAX);
    out->body_end = position;
    out->body_size = body.size;
}

static void check_written(const struct http_head *head)
{
    struct http_head again;
    struct buffer text = BUFFER_INIT(2 * HTTP_HEAD_SIZE_MAX);
    size_t used;
    struct error err;
    enum status status =
        head->kind == HTTP_REQUEST
            ? http_request_write(&text, head->method, head->target, head->fields, head->field_count, &err)
            : http_response_write(&text, head->status, head->reason, head->fields, head->field_count, &err);
    ASSERT(status == OK);
    http_head_init(&again, head->kind);
    if (text.size <= HTTP_HEAD_SIZE_MAX) { /* ": " may be longer than what was there */
        status = http_head_feed(&again, text.data, text.size, &used, &err);
        ASSERT(status == OK && again.complete && used == text.size && again.field_count == head->field_count);
        ASSERT(http_head_framing(&again) == http_head_framing(head));
    }
    http_head_deinit(&again);
    buffer_deinit(&text);
}

static void run(enum http_kind kind, const uint8_t *data, size_t size, size_t piece, struct outcome *out)
{
    struct http_head head;
    struct error err;
    *out = (struct outcome){0};
    http_head_init(&head, kind);
    while (out->head == OK && !head.complete && out->head_size < size) {
        size_t used = 0;
        size_t now = size - out->head_size < piece ? size - out->head_size : piece;
        out->head = http_head_feed(&head, data + out->head_size, now, &used, &err);
        out->head_size += out->head == OK ? used : 0;
    }
    if (out->head != OK)
        out->head_size = 0;
    if (out->head == OK && head.complete) {
        check_written(&head);
        (void)http_head_keeps_alive(&head);
        read_body(&head, data + out->head_size, size - out->head_size, piece, out);
    }
    http_head_deinit(&head);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (int kind = HTTP_REQUEST; kind <= HTTP_RESPONSE; kind++) {
        struct outcome whole;
        struct outcome single;
        run((enum http_kind)kind, data, size, size ? size : 1, &whole);
        run((enum http_kind)kind, data, size, 1, &single);
        ASSERT(whole.head == single.head && whole.head_size == single.head_size);
        ASSERT(whole.body == single.body);
        if (whole.body == OK)
            ASSERT(whole.body_end == single.body_end && whole.body_size == single.body_size &&
                   whole.body_sum == single.body_sum);
    }
    return 0;
}
