/* The previous snapshot as a reference: everything that must hold before one byte of it is trusted, and a reason when
 * it does not. Never fatal by itself: without a reference everything is re-encoded. Source:
 * bench/spec/change-detection.md 4 and its defect D6. For one thread. */
#ifndef PXB_FLOW_REFERENCE_H
#define PXB_FLOW_REFERENCE_H

#include "detect/cursor.h"
#include "flow/old_files.h"
#include "flow/restore.h"
#include "flow/snapshot.h"
#include "flow/stats.h"

/* The previous snapshot of the group, opened once and shared by all archives of a run. */
struct previous {
    struct store_reader *reader; /* owned; NULL: none */
    struct snapshot_id snapshot;
    struct manifest manifest;
    enum crypt_mode mode;         /* of the run */
    enum reference_reason reason; /* why there is none; REFERENCE_USED: the manifest is good */
    char detail[512];
};
/* Never fails: what goes wrong becomes the reason. Logs the lines of section 4. `mode`: of the run; its key is the
 * store's. `wants_chunks`: an archive may refer to it. */
void previous_open(struct store *store, struct store_writer *writer, enum crypt_mode mode, bool wants_chunks,
                   struct previous *out);
/* The index of this name will be asked for: servers are told early. */
void previous_expect(struct previous *p, const char *name);
void previous_close(struct previous *p);
/* The index that a stream had there: its chunks are known. False: there is none to go by, and the log says why. */
bool previous_known_chunks(struct previous *p, const char *name, struct dynamic_index *out);
bool previous_known_image(struct previous *p, const char *name, struct fixed_index *out);

/* One split archive's reference. The indexes are also the lists of known chunks, in every mode. */
struct reference {
    enum reference_reason reason; /* REFERENCE_USED: cursor and payload_index are good */
    char detail[512];
    bool has_metadata_index, has_payload_index;
    struct dynamic_index metadata_index, payload_index;
    struct store_reader *reader; /* borrowed; of the previous snapshot */
    char payload_name[256];      /* "root.ppxar.didx" */
    struct chunk_stream *stream; /* owned */
    struct decoder *decoder;     /* owned */
    struct cursor cursor;
    struct old_files *old_files; /* owned: reads the metadata stream once more, ahead of the cursor */
};
/* `asked`: mode metadata. Never fails. Each index is fetched once (D11). */
void reference_prepare(struct previous *previous, const char *archive, bool asked, struct reference *out);
void reference_close(struct reference *r);
/* Stops looking up in the reference from here on (row 14 in mid-run). */
void reference_break(struct reference *r, const struct error *why);

#endif
