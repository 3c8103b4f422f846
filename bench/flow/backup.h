/* A whole backup: locks, reference, archives, manifest. Starts and joins all its threads; returns with none running.
 * The result (streams, indexes) depends on tree, reference and the options marked * alone.
 * Source: bench/spec/change-detection.md 4, bench/spec/datastore.md 6 and 8. */
#ifndef PXB_FLOW_BACKUP_H
#define PXB_FLOW_BACKUP_H

#include "base/slab.h"
#include "detect/covering.h"
#include "detect/predicate.h"
#include "flow/stats.h"
#include "flow/walk_options.h"
#include "store/store.h"

#include <stdio.h>

enum detection_mode {
    MODE_LEGACY, /* one stream and a catalog (archive version 1) */
    MODE_DATA,
    MODE_METADATA,
};

enum {
    CACHE_LIMIT_DEFAULT = 65536,
    CACHE_LIMIT_MAX = 1 << 24,
    MAX_INSTANCES_DEFAULT = 8,
    MAX_INSTANCES_MAX = 1000000,
    ABSORB_BELOW_MAX = 1 << 30,
    THREADS_MAX = 64,
    BACKUP_SOURCES_MAX = 64
};

struct archive_options {
    enum detection_mode mode;   /* * */
    enum reuse_profile profile; /* * */
    enum compare_rule compare;  /* * */
    uint64_t chunk_average;     /* * bytes; 0: 4 MiB */
    uint32_t threshold_ppm;     /* * padding threshold, parts per million of range + padding; 100000: 10 % */
    uint64_t cache_limit;       /* * entries; 0: CACHE_LIMIT_DEFAULT */
    uint64_t absorb_below;      /* * profile stored, bytes; absorb_below_default where has_absorb_below is not set */
    bool has_absorb_below;
    uint32_t max_instances;   /* * profile stored; 0: MAX_INSTANCES_DEFAULT */
    struct walk_options walk; /* * */
    unsigned threads;         /* 0: number of processors */
    size_t read_size_max;     /* bytes per read call, for tests; 0: no limit */
    bool require_reference;
    FILE *decisions; /* JSON lines; NULL: none. Borrowed. */
};

/* The names of the enumerations, NULL-terminated: what options accept, statistics and decisions print. */
extern const char *const detection_mode_names[];
extern const char *const reuse_profile_names[];
extern const char *const compare_rule_names[];

/* A sixteenth of the average chunk. */
uint64_t absorb_below_default(uint64_t chunk_average);

enum source_kind {
    SOURCE_TREE,  /* NAME.pxar: a directory */
    SOURCE_IMAGE, /* NAME.img: a file or block device */
    SOURCE_BLOB,  /* NAME.conf, NAME.log: a small file */
};

struct backup_source {
    const char *name; /* "root": stored as root.pxar.didx, or root.mpxar.didx and root.ppxar.didx */
    const char *path;
    enum source_kind kind;
    const char *extension; /* of a blob: "conf" or "log" */
    bool has_mode;
    enum detection_mode mode; /* of a tree, with has_mode: instead of the run's */
};

enum { BACKUP_STORED_NAME_SIZE = 300 };
/* What a source becomes in the snapshot, in the order of the manifest: one name, or the two of a split archive. `mode`:
 * of the run. */
size_t backup_stored_names(const struct backup_source *source, enum detection_mode mode,
                           char names[2][BACKUP_STORED_NAME_SIZE]);

struct backup_options {
    struct archive_options archive;
    struct snapshot_id snapshot; /* time 0: now */
    enum crypt_mode crypt_mode;  /* other than CRYPT_NONE if, and only if, the store was opened with a key */
    const char *key_name;        /* where the key is from, for the log; NULL: not said */
    struct slice wrapped_key;    /* of flow/master_key.h, borrowed; of size 0: none is stored */
    const struct backup_source *sources;
    size_t source_count;
    bool dry_run; /* checks arguments, asks a server for leave, prints what would be done, stores nothing */
};

struct backup_result {
    struct snapshot_id snapshot;
    struct archive_stats *archives; /* owned, one per source */
    size_t archive_count;
    bool has_catalog;
    struct stream_stats catalog;
    uint64_t duration_ns;
};

/* What backup_run refuses before it touches the store: options, sources that are not there or collide. Cheap: for
 * callers that want to know before they make a store. */
MUST_CHECK enum status backup_check(const struct backup_options *options, struct error *err);
/* Prints the lines of section 12 as it goes. On failure no snapshot is left and earlier ones are whole; `out` then
 * holds what was counted so far. */
MUST_CHECK enum status backup_run(struct store *store, const struct backup_options *options, struct backup_result *out,
                                  struct error *err);
void backup_result_deinit(struct backup_result *r);

/* One archive into two plain files, or into one with `payload_path` NULL (the options' mode then does not count);
 * created exclusively with mode 0640, removed again on failure (`pxar create`). `tree` may not be a symlink. */
MUST_CHECK enum status pack_tree(const char *tree, const char *archive_path, const char *payload_path,
                                 const struct archive_options *options, struct archive_stats *out, struct error *err);

#endif
