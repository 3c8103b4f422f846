/* How store.h finds the code behind an object: each begins with a head that names its table. Inside the store folder
 * only.
 *
 *   store_begin(s) --> head of s --> local_begin_backup | remote_begin --> a writer with a head of its own --> ...
 *
 * `struct store` and its kin, as types with members, are those of local.h; remote.h's begin with the same heads and are
 * cast. Entries of tables may be NULL where it is said. */
#ifndef PXB_STORE_STORE_OPS_H
#define PXB_STORE_STORE_OPS_H

#include "store/store.h"

struct store_ops {
    bool is_remote;
    void (*close)(struct store *s);
    void (*net_stats)(struct store *s, struct net_stats *out);
    enum status (*list)(struct store *s, const char *ns, const struct snapshot_id *group, struct snapshot_list *out,
                        struct error *err);
    enum status (*forget)(struct store *s, const struct snapshot_id *id, struct error *err);
    enum status (*begin)(struct store *s, const struct snapshot_id *id, struct store_writer **out, struct error *err);
    enum status (*reader_open)(struct store *s, const struct snapshot_id *id, struct store_reader **out,
                               struct error *err);
};
struct store_head {
    const struct store_ops *ops;
    const struct crypt_config *key;
};

struct writer_ops {
    bool (*previous)(const struct store_writer *w, struct snapshot_id *out);
    enum status (*previous_open)(struct store_writer *w, bool wants_chunks, struct store_reader **out,
                                 struct error *err);
    enum status (*put_chunk)(struct store_writer *w, const struct store_chunk *chunk, bool *out_new, struct error *err);
    enum status (*replace_chunk)(struct store_writer *w, const struct store_chunk *chunk, struct error *err);
    void (*index_expect)(struct store_writer *w, const char *name); /* NULL: nothing */
    enum status (*index_begin)(struct store_writer *w, const char *name, struct store_index **out, struct error *err);
    enum status (*fixed_index_begin)(struct store_writer *w, const char *name, uint64_t size, uint64_t chunk_size,
                                     struct store_fixed_index **out, struct error *err);
    enum status (*put_blob)(struct store_writer *w, const char *name, const uint8_t *blob, size_t size,
                            struct error *err);
    enum status (*finish)(struct store_writer *w, const uint8_t *manifest_blob, size_t size, struct error *err);
    void (*cancel)(struct store_writer *w); /* NULL: nothing waits */
    void (*abort)(struct store_writer *w);
};
struct writer_head {
    const struct writer_ops *ops;
};

struct index_ops {
    enum status (*append)(struct store_index *index, uint64_t end, const struct digest *digest, bool is_coming,
                          struct error *err);
    void (*end)(struct store_index *index); /* NULL: nothing */
    enum status (*finish)(struct store_index *index, struct digest *out_csum, uint64_t *out_size, uint64_t *out_count,
                          struct error *err);
    void (*abort)(struct store_index *index);
};
struct index_head {
    const struct index_ops *ops;
    uint32_t stream;
};

struct fixed_index_ops {
    enum status (*put)(struct store_fixed_index *index, uint64_t k, const struct digest *digest, bool is_coming,
                       struct error *err);
    void (*end)(struct store_fixed_index *index); /* NULL: nothing */
    enum status (*finish)(struct store_fixed_index *index, struct digest *out_csum, struct error *err);
    void (*abort)(struct store_fixed_index *index);
};
struct fixed_index_head {
    const struct fixed_index_ops *ops;
    uint32_t stream;
};

struct reader_ops {
    bool is_remote;
    void (*cancel)(struct store_reader *r); /* NULL: nothing waits */
    void (*close)(struct store_reader *r);
    enum status (*read_file)(struct store_reader *r, const char *name, size_t size_max, struct buffer *out,
                             struct error *err);
    void (*prefetch_file)(struct store_reader *r, const char *name, size_t size_max); /* NULL: nothing */
    enum status (*get_chunk)(struct store_reader *r, const char *index_name, const struct digest *digest,
                             struct buffer *out, struct error *err);
    void (*prefetch)(struct store_reader *r, const char *index_name, const struct store_hint *hints,
                     size_t count); /* NULL: nothing */
    void (*chunk_path)(const struct store_reader *r, const struct digest *digest, char *out, size_t out_size);
};
struct reader_head {
    const struct reader_ops *ops;
    const struct crypt_config *key;
    struct snapshot_id id; /* store.c fills it in */
};

/* What store_open does for each kind. */
MUST_CHECK enum status local_open(const char *repository, const struct store_options *options, struct store **out,
                                  struct error *err);
MUST_CHECK enum status remote_open(const char *repository, const struct store_options *options, struct store **out,
                                   struct error *err);
/* Sorts by type, id, time. */
void snapshot_list_sort(struct snapshot_list *list);

#endif
