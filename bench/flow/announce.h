/* Tells a store on a server which chunks its reader will ask for, so that they are on their way while others are worked
 * on. Does nothing, and costs nothing, with a directory. Not thread-safe. */
#ifndef PXB_FLOW_ANNOUNCE_H
#define PXB_FLOW_ANNOUNCE_H

#include "store/store.h"

enum { ANNOUNCE_BYTES = 16 << 20 }; /* raw, ahead of who reads; one chunk at least */

enum announcement {
    ANNOUNCE_IT,
    ANNOUNCE_NOT,  /* it will not be asked for */
    ANNOUNCE_STOP, /* nothing is known of this one and what follows */
};
/* Fills in chunk k. */
typedef enum announcement announce_chunk(void *context, size_t k, struct store_hint *out);

struct announcer {
    struct store_reader *reader; /* borrowed, as the name of the index */
    const char *name;
    announce_chunk *chunk;
    void *context;
    size_t next; /* the first chunk that was not announced; to be set to where a reader went back to */
};
/* Chunk `current` of `count` will be asked for next, then those behind. */
void announce_ahead(struct announcer *a, size_t current, size_t count);

#endif
