/* Memory for looking at one upload or blob at a time: decoded, put right, sealed. A server has few such benches,
 * however many connections it has: a thread takes one, works and puts it back, and waits while all are taken. So what
 * is done at one never waits for a client. Thread-safe; a bench is its taker's. */
#ifndef PXB_SERVER_WORKSHOP_H
#define PXB_SERVER_WORKSHOP_H

#include "base/buffer.h"
#include "blob/blob.h"

#include <pthread.h>

struct workbench {
    struct blob_context *blobs;
    struct buffer encoded;   /* an upload that was kept in a file */
    struct buffer raw;       /* what is in it; the limit is the user's to set */
    struct buffer rewritten; /* the same blob with another checksum */
    struct workbench *next;
};

struct workshop {
    pthread_mutex_t lock;
    pthread_cond_t returned;
    struct workbench *idle; /* the last one returned first: its memory is warm */
    unsigned made, made_max;
    size_t keep_max; /* bytes that a buffer of an idle bench may have */
};

void workshop_init(struct workshop *w, unsigned benches, size_t keep_max);
void workshop_deinit(struct workshop *w); /* all benches are back */
/* Empty buffers. ERR_MEMORY. */
MUST_CHECK enum status workshop_take(struct workshop *w, struct workbench **out, struct error *err);
void workshop_return(struct workshop *w, struct workbench *bench); /* accepts NULL */

#endif
