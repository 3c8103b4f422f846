/* Profile stored against its definition, computed again from scratch for every question, on small random cases; and
 * what must hold with caches too small to see everything, in the other profiles, too. */
#include "testing/testing.h"

#include "detect/stored_for_test.h"

enum { FILES_MAX = 128, CHUNKS_MAX = 128, ROUNDS = 40000, REACH = 32, NONE = CHUNKS_MAX };

/* ---- the definition (bench/spec/reuse-stored.md 2, 4) ---- */

/* Decides over the files [first, count) with all before them decided: those seen since the cache was full last.
 * A chunk is one or more entries, named by the first of them. */
struct model {
    const struct scene *scene;
    const struct dynamic_index *index;
    struct event files[FILES_MAX]; /* offered and raw ones alone */
    size_t source[FILES_MAX];      /* their events */
    size_t first, count;
    size_t chunk_of[CHUNKS_MAX];   /* by entry; NONE: no file was offered for it yet */
    uint64_t used_end[CHUNKS_MAX]; /* by entry, within it */
    enum file_reason chunk_reason[CHUNKS_MAX];
    enum file_reason settled_reason[CHUNKS_MAX];
    bool settled[CHUNKS_MAX];
    uint64_t unseen[CHUNKS_MAX]; /* bytes that count as live */
    uint64_t told_end;
    size_t early_cut; /* number of files */
    uint64_t early_chunks;
    struct listing listings[FILES_MAX * 8];
    size_t listing_count;
};

static uint64_t length_of(const struct event *f)
{
    return f->end - f->start;
}

static uint64_t chunk_size(const struct model *m, size_t chunk)
{
    return dynamic_index_chunk_size(m->index, chunk);
}

static uint64_t entry_overlap(const struct model *m, size_t file, size_t entry)
{
    const struct event *f = &m->files[file];
    uint64_t start = dynamic_index_start(m->index, entry), end = m->index->entries[entry].end;
    if (f->kind != EVENT_OFFERED || f->end <= start || f->start >= end)
        return 0;
    return (f->end < end ? f->end : end) - (f->start > start ? f->start : start);
}

static uint64_t model_overlap(const struct model *m, size_t file, size_t chunk)
{
    uint64_t sum = 0;
    for (size_t e = chunk; e < m->index->count; e++)
        if (m->chunk_of[e] == chunk)
            sum += entry_overlap(m, file, e);
    return sum;
}

static bool same_contents(const struct model *m, size_t a, size_t b)
{
    return chunk_size(m, a) == chunk_size(m, b) &&
           memcmp(&m->index->entries[a].digest, &m->index->entries[b].digest, sizeof(struct digest)) == 0;
}

/* A further file: which chunks its entries are. */
static void model_assign(struct model *m, size_t file)
{
    const struct event *f = &m->files[file];
    for (size_t e = 0; e < m->index->count; e++) {
        if (!entry_overlap(m, file, e))
            continue;
        uint64_t start = dynamic_index_start(m->index, e), from = f->start > start ? f->start - start : 0;
        if (m->chunk_of[e] == NONE) {
            m->chunk_of[e] = e;
            for (size_t i = e; i-- > 0 && e - i <= REACH;)
                if (m->chunk_of[i] != NONE && same_contents(m, i, e)) {
                    if (from >= m->used_end[i])
                        m->chunk_of[e] = m->chunk_of[i];
                    break;
                }
        }
        m->used_end[e] = (f->end < m->index->entries[e].end ? f->end : m->index->entries[e].end) - start;
    }
}

/* No file to come can touch it. `out_again`: one may, in another entry. */
static bool model_closed(const struct model *m, size_t chunk, uint64_t passed, bool *out_again, uint64_t *out_rest)
{
    size_t last = chunk;
    for (size_t e = chunk; e < m->index->count; e++)
        if (m->chunk_of[e] == chunk)
            last = e;
    bool again = false;
    for (size_t j = last + 1; j < m->index->count && j - last <= REACH; j++)
        again = again || (same_contents(m, last, j) && m->index->entries[j].end > passed);
    *out_rest = chunk_size(m, last) - m->used_end[last];
    *out_again = again && *out_rest > 0;
    return m->index->entries[last].end <= passed && !*out_again;
}

static size_t last_offered(const struct model *m)
{
    for (size_t f = m->count; f-- > m->first;)
        if (m->files[f].kind == EVENT_OFFERED)
            return f;
    return SIZE_MAX;
}

static size_t last_chunk_of(const struct model *m, size_t file)
{
    size_t k = m->index->count - 1;
    while (!entry_overlap(m, file, k))
        k--;
    return m->chunk_of[k];
}

static uint64_t model_waste(const struct model *m, size_t chunk)
{
    uint64_t live = m->unseen[chunk];
    for (size_t f = 0; f < m->count; f++)
        if (m->files[f].reused)
            live += model_overlap(m, f, chunk);
    return chunk_size(m, chunk) - live;
}

static bool model_touched(const struct model *m, size_t first, size_t end, size_t chunk)
{
    for (size_t f = first; f < end; f++)
        if (model_overlap(m, f, chunk))
            return true;
    return false;
}

static unsigned model_instances(const struct model *m, size_t chunk)
{
    unsigned count = 0;
    bool within = false;
    for (size_t f = 0; f < m->count; f++) {
        bool uses = m->files[f].reused && model_overlap(m, f, chunk);
        count += uses && !within;
        within = uses;
    }
    return count;
}

static void model_give_up(struct model *m, size_t chunk, enum file_reason reason)
{
    if (m->chunk_reason[chunk] != FILE_UNCHANGED)
        return;
    m->chunk_reason[chunk] = reason;
    for (size_t f = m->first; f < m->count; f++)
        if (m->files[f].reused && model_overlap(m, f, chunk)) {
            m->files[f].reused = false;
            m->files[f].reason = reason;
        }
}

static void model_settle(struct model *m)
{
    for (bool again = true; again;) {
        again = false;
        for (size_t k = 0; k < m->index->count; k++) {
            if (m->chunk_reason[k] != FILE_UNCHANGED || !model_touched(m, m->first, m->count, k))
                continue;
            if (!m->settled[k] && model_waste(m, k) * PPM_ONE > chunk_size(m, k) * m->scene->options.threshold_ppm)
                model_give_up(m, k, FILE_THRESHOLD);
            else if (model_instances(m, k) > m->scene->options.max_instances)
                model_give_up(m, k, FILE_INSTANCES);
            else
                continue;
            again = true;
        }
    }
}

static bool model_small(const struct model *m, size_t chunk)
{
    return !m->settled[chunk] && chunk_size(m, chunk) < m->scene->options.absorb_below;
}

/* All chunks of the file are small: they are given up. */
static bool model_absorb_file(struct model *m, size_t file)
{
    for (size_t k = 0; k < m->index->count; k++)
        if (model_overlap(m, file, k) && !model_small(m, k))
            return false;
    for (size_t k = 0; k < m->index->count; k++)
        if (model_overlap(m, file, k))
            model_give_up(m, k, FILE_ABSORBED);
    return true;
}

/* The run that the file is in. */
static uint64_t model_run_of(const struct model *m, size_t file, size_t *out_first, size_t *out_end)
{
    uint64_t length = 0;
    size_t first = file, end;
    while (first > 0 && !m->files[first - 1].reused)
        first--;
    for (end = first; end < m->count && !m->files[end].reused; end++)
        length += length_of(&m->files[end]);
    *out_first = first;
    *out_end = end;
    return length;
}

static bool model_absorb(struct model *m)
{
    bool given_up = false;
    size_t start = m->first > 0 && !m->files[m->first - 1].reused ? m->first - 1 : m->first;
    for (size_t i = start; i < m->count; i++) {
        if (m->files[i].reused)
            continue;
        size_t first, end;
        while (model_run_of(m, i, &first, &end) < m->scene->options.absorb_until) {
            if (!(end < m->count && model_absorb_file(m, end)) &&
                !(first > m->first && model_absorb_file(m, first - 1)))
                break;
            given_up = true;
        }
        i = end;
    }
    return given_up;
}

/* Whether a chunk is used before the file and from it on, or may be. */
static bool model_across(const struct model *m, size_t file, uint64_t passed)
{
    for (size_t k = 0; k < m->index->count; k++) {
        bool again;
        uint64_t rest;
        if (m->chunk_of[k] == k && model_touched(m, m->first, file, k) &&
            (!model_closed(m, k, passed, &again, &rest) || model_touched(m, file, m->count, k)))
            return true;
    }
    return false;
}

/* Cut B: files before the last place with a long raw run before it and no chunk across. */
static size_t model_early_cut(const struct model *m, uint64_t passed)
{
    for (size_t f = m->count; f-- > m->first;) {
        if (m->files[f].kind != EVENT_OFFERED)
            continue;
        uint64_t length = 0;
        for (size_t r = f; r > 0 && !m->files[r - 1].reused; r--)
            length += length_of(&m->files[r - 1]);
        if (length >= m->scene->options.absorb_until && !model_across(m, f, passed))
            return f;
    }
    return m->first;
}

static void model_resolve(struct model *m)
{
    for (size_t k = 0; k < m->index->count; k++)
        if (model_touched(m, m->first, m->count, k))
            m->chunk_reason[k] = FILE_UNCHANGED;
    for (size_t f = m->first; f < m->count; f++) {
        m->files[f].reused = m->files[f].kind == EVENT_OFFERED;
        m->files[f].reason = m->files[f].reused ? FILE_UNCHANGED : FILE_MTIME;
    }
    for (size_t k = 0; k < m->index->count; k++)
        if (m->settled_reason[k] != FILE_UNCHANGED && model_touched(m, m->first, m->count, k))
            model_give_up(m, k, m->settled_reason[k]);
    model_settle(m);
    size_t offered = last_offered(m);
    m->early_cut = offered == SIZE_MAX ? m->first : model_early_cut(m, m->files[offered].end);
    while (model_absorb(m))
        model_settle(m);
}

/* How many of the model's files are certain. */
static size_t model_cut(const struct model *m)
{
    uint64_t passed = m->files[last_offered(m)].end;
    for (size_t f = m->count; f-- > m->early_cut;)
        if (m->files[f].reused && !model_small(m, last_chunk_of(m, f)) && !model_across(m, f + 1, passed))
            return f + 1;
    return m->early_cut;
}

/* Entries that are cached when `events` of them have come; `from`: of the event behind the last flush. */
static size_t model_cached(struct model *m, size_t from, size_t events)
{
    if (last_offered(m) == SIZE_MAX)
        return 0;
    model_resolve(m);
    size_t cut = model_cut(m), cached = 0;
    while (cut < m->count && m->files[cut].kind != EVENT_OFFERED)
        cut++;
    if (cut == m->count)
        return 0;
    for (size_t i = m->source[cut] > from ? m->source[cut] : from; i < events; i++)
        cached += m->scene->events[i].kind != EVENT_LEAVE;
    return cached;
}

/* Of files that begin at `from` or behind, what lies within [start, end). */
static uint64_t model_unseen(const struct model *m, uint64_t from, uint64_t start, uint64_t end)
{
    uint64_t unseen = 0;
    for (size_t i = 0; i < m->scene->old_file_count; i++) {
        const struct old_file *f = &m->scene->old_files[i];
        if (f->start >= from && f->start < end && f->end > start)
            unseen += (f->end < end ? f->end : end) - (f->start > start ? f->start : start);
    }
    return unseen;
}

static void model_flush(struct model *m)
{
    uint64_t passed = m->files[last_offered(m)].end, from = m->told_end > passed ? m->told_end : passed;
    bool open[CHUNKS_MAX] = {false};
    for (size_t k = 0; k < m->index->count; k++) {
        bool again;
        uint64_t rest;
        if (m->chunk_of[k] != k || !model_touched(m, m->first, m->count, k) || m->settled[k] ||
            model_closed(m, k, passed, &again, &rest))
            continue;
        open[k] = true;
        m->early_chunks++;
        size_t last = m->index->count - 1;
        while (m->chunk_of[last] != k)
            last--;
        for (size_t j = last; j < m->index->count && j - last <= REACH; j++)
            if (same_contents(m, last, j))
                m->unseen[k] += model_unseen(m, from, dynamic_index_start(m->index, j), m->index->entries[j].end);
        m->unseen[k] = m->unseen[k] < rest ? m->unseen[k] : rest;
    }
    model_resolve(m);
    for (size_t k = 0; k < m->index->count; k++) {
        m->settled[k] = m->settled[k] || open[k];
        if (m->settled[k])
            m->settled_reason[k] = m->chunk_reason[k];
    }
    m->first = m->count;
}

static void model_use(struct model *m, size_t file)
{
    struct event *f = &m->files[file];
    for (size_t e = 0; e < m->index->count; e++) {
        uint64_t used = entry_overlap(m, file, e), entry_start = dynamic_index_start(m->index, e);
        if (!used)
            continue;
        uint64_t start = f->start > entry_start ? f->start - entry_start : 0;
        bool goes_on =
            start > 0 && file > 0 && m->files[file - 1].reused && last_chunk_of(m, file - 1) == m->chunk_of[e];
        if (!goes_on) {
            struct reuse_chunk chunk = {.entry = e, .size = chunk_size(m, e), .padding = chunk_size(m, e)};
            chunk.head = start;
            m->listings[m->listing_count++] = (struct listing){.chunk = chunk};
        }
        struct reuse_chunk *chunk = &m->listings[m->listing_count - 1].chunk;
        chunk->padding -= used;
        chunk->tail = chunk->size - start - used;
    }
}

static struct model *model_of(const struct scene *s)
{
    struct model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    m->scene = s;
    m->index = &s->index;
    for (size_t k = 0; k < CHUNKS_MAX; k++)
        m->chunk_of[k] = NONE;
    for (size_t i = 0, from = 0; i < s->event_count; i++) {
        const struct event *e = &s->events[i];
        if (e->kind != EVENT_LEAVE && i - from >= s->options.cache_limit &&
            model_cached(m, from, i) >= s->options.cache_limit) {
            model_flush(m);
            from = i;
        }
        if (e->kind > EVENT_RAW)
            continue;
        m->source[m->count] = i;
        m->files[m->count] = *e;
        model_assign(m, m->count++);
        if (e->kind == EVENT_RAW && e->old_end > m->told_end)
            m->told_end = e->old_end;
    }
    if (last_offered(m) == SIZE_MAX)
        for (size_t f = m->first; f < m->count; f++) {
            m->files[f].reused = false;
            m->files[f].reason = FILE_MTIME;
        }
    else
        model_resolve(m);
    for (size_t f = 0; f < m->count; f++)
        if (m->files[f].reused)
            model_use(m, f);
    return m;
}

static uint64_t model_given_up(const struct model *m, enum file_reason reason)
{
    uint64_t count = 0;
    for (size_t k = 0; k < m->index->count; k++)
        count += m->chunk_reason[k] == reason;
    return count;
}

/* ---- random cases ---- */

static uint64_t random_state;
static uint64_t below(uint64_t limit)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (random_state >> 33) % limit;
}

struct random_case {
    struct scene scene;
    struct index_entry entries[CHUNKS_MAX];
    struct old_file old_files[FILES_MAX];
    struct event events[FILES_MAX * 4];
    uint16_t contents; /* different chunks so far */
};

static void add_entry(struct random_case *c, uint64_t end, const struct digest *digest)
{
    struct index_entry *e = &c->entries[c->scene.index.count++];
    *e = (struct index_entry){.end = end};
    if (digest)
        e->digest = *digest;
    else
        memcpy(e->digest.bytes, &(uint16_t){++c->contents}, sizeof c->contents);
}

static void add_event(struct random_case *c, struct event event)
{
    static const enum event_kind others[] = {EVENT_LINK, EVENT_SPECIAL, EVENT_ENTER, EVENT_LEAVE};
    struct scene *s = &c->scene;
    s->events[s->event_count++] = event;
    if (below(5) == 0)
        s->events[s->event_count++] = (struct event){.kind = others[below(4)]};
}

static void make_old(struct random_case *c)
{
    struct scene *s = &c->scene;
    size_t count = 1 + below(24);
    uint64_t at = 16, chunk_start = 0;
    uint64_t chunk_size_max = 20 + below(300), gap_every = 1 + below(12);
    bool large = below(3) == 0, copies = below(3) == 0;
    for (size_t i = 0; i < count; i++) {
        if (below(gap_every) == 0 && gap_every < 9)
            at += below(40);
        uint64_t end = at + 16 + below(below(4) ? 30 : large ? 600 : 120);
        c->old_files[i] = (struct old_file){at, end};
        at = end;
        /* Chunks end where files end, or anywhere. */
        while (at - chunk_start > chunk_size_max && s->index.count < 60) {
            const struct digest *copied = NULL;
            uint64_t chunk_end = below(3) ? at : chunk_start + 1 + below(chunk_size_max);
            size_t other = below(s->index.count + 4);
            uint64_t size =
                other < s->index.count ? c->entries[other].end - (other ? c->entries[other - 1].end : 0) : 0;
            if (copies && size > 0 && size <= at - chunk_start) {
                chunk_end = chunk_start + size;
                copied = &c->entries[other].digest;
            }
            add_entry(c, chunk_end, copied);
            chunk_start = chunk_end;
        }
    }
    at += below(2) ? 16 : 0;
    if (at > chunk_start)
        add_entry(c, at, NULL);
    s->index.entries = c->entries;
    s->old_files = c->old_files;
    s->old_file_count = count;
}

static void make_new(struct random_case *c)
{
    struct scene *s = &c->scene;
    uint64_t change_every = 2 + below(10), insert_every = 2 + below(20), raw_size = 1 + below(200);
    s->events = c->events;
    for (size_t i = 0; i < s->old_file_count; i++) {
        struct old_file f = c->old_files[i];
        if (below(insert_every) == 0)
            add_event(c, (struct event){.kind = EVENT_RAW, .end = 16 + below(raw_size)});
        if (below(change_every) > 0)
            add_event(c, (struct event){.kind = EVENT_OFFERED, .start = f.start, .end = f.end});
        else if (below(3) > 0)
            add_event(c,
                      (struct event){.kind = EVENT_RAW, .end = 16 + below(raw_size), .old_end = below(3) ? f.end : 0});
    }
}

/* What the run made becomes the old archive of the next one: chunks then are listed several times. */
static void grow_old(struct random_case *c)
{
    struct scene *s = &c->scene;
    struct index_entry before[CHUNKS_MAX];
    memcpy(before, c->entries, sizeof before);
    s->index.count = s->old_file_count = 0;
    add_entry(c, 16, NULL);
    size_t listed = 0;
    for (size_t i = 0; i < s->event_count; i++) {
        const struct event *e = &s->events[i];
        if (e->kind > EVENT_RAW)
            continue;
        for (; listed < s->listing_count && s->listings[listed].boundary <= e->offset; listed++)
            add_entry(c, s->listings[listed].boundary + s->listings[listed].chunk.size,
                      &before[s->listings[listed].chunk.entry].digest);
        uint64_t end = e->offset + e->end - e->start;
        c->old_files[s->old_file_count++] = (struct old_file){e->offset, end};
        if (!e->reused)
            add_entry(c, end, NULL);
    }
    for (; listed < s->listing_count; listed++)
        add_entry(c, s->listings[listed].boundary + s->listings[listed].chunk.size,
                  &before[s->listings[listed].chunk.entry].digest);
    add_entry(c, s->position + 16, NULL);
    s->event_count = 0;
}

static void make_case(struct random_case *c, uint64_t seed)
{
    static const uint32_t thresholds[] = {0, 50000, 100000, 200000, 300000, 500000, 900000, PPM_ONE};
    static const uint64_t small[] = {0, 40, 80, 150, 100000}, until[] = {0, 20, 50, 100, 300, 5000};
    memset(c, 0, sizeof *c);
    random_state = seed * 2654435761u + 12345;
    below(2);
    make_old(c);
    make_new(c);
    c->scene.options = (struct lookahead_options){
        .profile = PROFILE_STORED,
        .threshold_ppm = thresholds[below(8)],
        .cache_limit = SIZE_MAX,
        .absorb_below = small[below(5)],
        .absorb_until = until[below(6)],
        .max_instances = 1 + (uint32_t)below(4),
    };
    for (uint64_t generation = below(4); generation > 0; generation--) {
        assert_int_equal(scene_run(&c->scene), OK);
        if (c->scene.listing_count + c->scene.event_count + 2 > CHUNKS_MAX || c->scene.event_count > FILES_MAX / 2)
            break;
        grow_old(c);
        make_new(c);
    }
}

static void print_case(const struct random_case *c, uint64_t seed)
{
    const struct scene *s = &c->scene;
    print_message("seed %llu threshold %u limit %zu below %llu until %llu instances %u\nchunks",
                  (unsigned long long)seed, s->options.threshold_ppm, s->options.cache_limit,
                  (unsigned long long)s->options.absorb_below, (unsigned long long)s->options.absorb_until,
                  s->options.max_instances);
    for (size_t i = 0; i < s->index.count; i++)
        print_message(" %llu(%u)", (unsigned long long)s->index.entries[i].end,
                      s->index.entries[i].digest.bytes[0] + 256u * s->index.entries[i].digest.bytes[1]);
    print_message("\n");
    for (size_t i = 0; i < s->event_count; i++) {
        const struct event *e = &s->events[i];
        print_message("%zu kind %d %llu..%llu: %s at %llu\n", i, e->kind, (unsigned long long)e->start,
                      (unsigned long long)e->end, file_reason_name(e->reason), (unsigned long long)e->offset);
    }
}

static bool same_listings(const struct scene *s, const struct model *m)
{
    if (s->listing_count != m->listing_count)
        return false;
    for (size_t i = 0; i < s->listing_count; i++) {
        const struct reuse_chunk *a = &s->listings[i].chunk, *b = &m->listings[i].chunk;
        if (a->entry != b->entry || a->padding != b->padding || a->head != b->head || a->tail != b->tail)
            return false;
    }
    return true;
}

static bool same_files(const struct scene *s, const struct model *m)
{
    for (size_t f = 0; f < m->count; f++) {
        const struct event *e = &s->events[m->source[f]];
        if (e->reused != m->files[f].reused || e->reason != m->files[f].reason)
            return false;
    }
    return true;
}

static void check_same(const struct random_case *c, const struct model *m, uint64_t seed)
{
    const struct lookahead_counters *n = &c->scene.counters;
    bool same = same_files(&c->scene, m) && same_listings(&c->scene, m) && n->early_chunks == m->early_chunks &&
                n->given_up_threshold == model_given_up(m, FILE_THRESHOLD) &&
                n->given_up_instances == model_given_up(m, FILE_INSTANCES) &&
                n->given_up_absorbed == model_given_up(m, FILE_ABSORBED);
    if (!same) {
        print_case(c, seed);
        for (size_t f = 0; f < m->count; f++)
            print_message("model %zu: %s\n", m->source[f], file_reason_name(m->files[f].reason));
    }
    assert_true(same);
}

static void test_equals_its_definition(void **state)
{
    (void)state;
    struct random_case c;
    uint64_t threshold = 0, instances = 0, absorbed = 0, listed = 0, relisted = 0;
    for (uint64_t seed = 0; seed < ROUNDS; seed++) {
        make_case(&c, seed);
        struct model *m = model_of(&c.scene);
        assert_int_equal(scene_run(&c.scene), OK);
        check_same(&c, m, seed);
        threshold += c.scene.counters.given_up_threshold;
        instances += c.scene.counters.given_up_instances;
        absorbed += c.scene.counters.given_up_absorbed;
        listed += m->listing_count;
        relisted += c.scene.counters.relisted_chunks;
        free(m);
        scene_deinit(&c.scene);
    }
    /* The cases are worth something: everything happens in them often. */
    assert_true(threshold > ROUNDS / 2 && instances > ROUNDS / 20 && absorbed > ROUNDS / 2);
    assert_true(listed > ROUNDS && relisted > ROUNDS / 10);
}

/* Also: what is decided early does not depend on when the cache looks for what it may let go. */
static void test_equals_its_definition_at_every_cache_limit(void **state)
{
    (void)state;
    static const size_t limits[] = {1, 2, 3, 5, 8, 13};
    struct random_case c;
    for (uint64_t seed = 0; seed < ROUNDS / 8; seed++) {
        make_case(&c, seed + 3 * ROUNDS);
        c.scene.options.cache_limit = limits[seed % 6];
        struct model *m = model_of(&c.scene);
        assert_int_equal(scene_run(&c.scene), OK);
        check_same(&c, m, seed + 3 * ROUNDS);
        free(m);
        scene_deinit(&c.scene);
    }
}

/* ---- small caches ---- */

/* Entries to chunks as the definition has it, or equal contents as one. */
static void name_chunks(const struct scene *s, bool by_contents, size_t out_chunk_of[CHUNKS_MAX])
{
    struct model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    m->scene = s;
    m->index = &s->index;
    for (size_t k = 0; k < CHUNKS_MAX; k++)
        m->chunk_of[k] = NONE;
    for (size_t i = 0; i < s->event_count; i++)
        if (s->events[i].kind == EVENT_OFFERED) {
            m->files[m->count] = s->events[i];
            model_assign(m, m->count++);
        }
    for (size_t k = 0; k < s->index.count; k++) {
        out_chunk_of[k] = m->chunk_of[k];
        for (size_t i = k + 1; by_contents && i-- > 0;)
            if (same_contents(m, i, k))
                out_chunk_of[k] = i;
    }
    free(m);
}

struct sums {
    uint64_t waste, over, relisted, times_max;
};

/* From listings alone. */
static struct sums sum_up(const struct scene *s, const size_t chunk_of[CHUNKS_MAX])
{
    uint64_t live[CHUNKS_MAX] = {0}, times[CHUNKS_MAX] = {0};
    struct sums sums = {0};
    for (size_t i = 0; i < s->listing_count; i++) {
        size_t k = chunk_of[s->listings[i].chunk.entry];
        assert_true(i == 0 || s->listings[i].chunk.entry >= s->listings[i - 1].chunk.entry);
        times[k]++;
        live[k] += s->listings[i].chunk.size - s->listings[i].chunk.padding;
    }
    for (size_t k = 0; k < s->index.count; k++) {
        uint64_t size = dynamic_index_chunk_size(&s->index, k), waste = size - (live[k] < size ? live[k] : size);
        sums.relisted += times[k] > 1;
        sums.times_max = times[k] > sums.times_max ? times[k] : sums.times_max;
        if (times[k] > 0) {
            sums.waste += waste;
            sums.over += waste * PPM_ONE > size * s->options.threshold_ppm;
        }
    }
    return sums;
}

static void check_counters(const struct random_case *c, uint64_t seed)
{
    const struct scene *s = &c->scene;
    size_t chunk_of[CHUNKS_MAX];
    name_chunks(s, true, chunk_of);
    struct sums sums = sum_up(s, chunk_of);
    if (s->counters.stored_waste_bytes != sums.waste || s->counters.relisted_chunks != sums.relisted)
        print_case(c, seed);
    assert_int_equal(s->counters.stored_waste_bytes, sums.waste);
    assert_int_equal(s->counters.relisted_chunks, sums.relisted);
    if (s->options.profile != PROFILE_STORED)
        return;
    name_chunks(s, false, chunk_of);
    sums = sum_up(s, chunk_of);
    assert_true(sums.over <= s->counters.early_chunks);
    assert_true(sums.times_max <= s->options.max_instances);
}

struct usage {
    uint64_t used, first, last; /* bytes of a listing that files use; first == last: none */
};

static void use(struct usage *u, uint64_t start, uint64_t end)
{
    if (u->used == 0)
        u->first = start;
    u->used += end - start;
    u->last = end;
}

/* Every reference hits what its file held, in listed chunks that belong together; and of each listing that is used
 * which was said to be: padding, head and tail. */
static void check_references(const struct scene *s)
{
    struct usage usage[FILES_MAX * 8] = {0};
    assert_true(s->listing_count <= FILES_MAX * 8);
    size_t k = 0;
    for (size_t i = 0; i < s->event_count; i++) {
        const struct event *e = &s->events[i];
        if (e->kind > EVENT_RAW || !e->reused)
            continue;
        while (k < s->listing_count && s->listings[k].boundary + s->listings[k].chunk.size <= e->offset)
            k++;
        uint64_t old = e->start, at = e->offset;
        for (size_t j = k; old < e->end; j++) {
            assert_true(j < s->listing_count && s->listings[j].boundary <= at);
            const struct listing *l = &s->listings[j];
            uint64_t start = at - l->boundary, left = e->end - old;
            size_t entry = 0; /* that held it: the listed one, or one of equal contents */
            while (s->index.entries[entry].end <= old)
                entry++;
            assert_memory_equal(&s->index.entries[entry].digest, &s->index.entries[l->chunk.entry].digest,
                                sizeof(struct digest));
            assert_int_equal(dynamic_index_start(&s->index, entry) + start, old);
            uint64_t step = l->chunk.size - start < left ? l->chunk.size - start : left;
            use(&usage[j], start, start + step);
            old += step;
            at += step;
        }
    }
    for (size_t j = 0; j < s->listing_count; j++) {
        const struct reuse_chunk *c = &s->listings[j].chunk;
        assert_int_equal(c->padding, c->size - usage[j].used);
        assert_int_equal(c->head, usage[j].used ? usage[j].first : c->size);
        assert_int_equal(c->tail, usage[j].used ? c->size - usage[j].last : 0);
    }
}

static void test_small_caches_stay_valid(void **state)
{
    (void)state;
    static const size_t limits[] = {1, 2, 3, 5, 64, SIZE_MAX};
    struct random_case c;
    uint64_t reused[6] = {0}, early = 0;
    for (uint64_t seed = 0; seed < ROUNDS / 8; seed++) {
        make_case(&c, seed + ROUNDS);
        for (size_t i = 0; i < 6; i++) {
            c.scene.options.cache_limit = limits[i];
            assert_int_equal(scene_run(&c.scene), OK);
            check_counters(&c, seed);
            check_references(&c.scene);
            early += c.scene.counters.early_chunks;
            for (size_t k = 0; k < c.scene.event_count; k++)
                reused[i] += c.scene.events[k].kind == EVENT_OFFERED && c.scene.events[k].reused;
        }
        scene_deinit(&c.scene);
    }
    assert_true(early > ROUNDS / 8);
    print_message("reused files at limits 1, 2, 3, 5, 64, none:");
    for (size_t i = 0; i < 6; i++)
        print_message(" %llu", (unsigned long long)reused[i]);
    print_message("\n");
}

static void test_other_profiles_tell_the_same_of_their_listings(void **state)
{
    (void)state;
    static const size_t limits[] = {1, 2, 3, 5, SIZE_MAX};
    struct random_case c;
    uint64_t relisted = 0, unreferenced = 0;
    for (uint64_t seed = 0; seed < ROUNDS / 8; seed++) {
        make_case(&c, seed + 2 * ROUNDS);
        for (size_t i = 0; i < 10; i++) {
            c.scene.options.profile = i < 5 ? PROFILE_TIGHT : PROFILE_UPSTREAM;
            c.scene.options.cache_limit = limits[i % 5];
            assert_int_equal(scene_run(&c.scene), OK);
            check_counters(&c, seed);
            check_references(&c.scene);
            relisted += c.scene.counters.relisted_chunks;
            unreferenced += c.scene.counters.unreferenced_chunks;
        }
        scene_deinit(&c.scene);
    }
    assert_true(relisted > ROUNDS / 8 && unreferenced > ROUNDS / 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_its_definition),
        cmocka_unit_test(test_equals_its_definition_at_every_cache_limit),
        cmocka_unit_test(test_small_caches_stay_valid),
        cmocka_unit_test(test_other_profiles_tell_the_same_of_their_listings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
