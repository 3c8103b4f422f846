/* Profile stored against its definition, computed again from scratch for every question, on small random cases; and
 * what must hold with caches too small to see everything, in the other profiles, too. */
#include "testing/testing.h"

#include "detect/stored_for_test.h"

enum { FILES_MAX = 64, CHUNKS_MAX = 64, ROUNDS = 80000 };

/* ---- the definition (bench/spec/reuse-stored.md 2, 4) ---- */

/* Decides over the files [first, count) with all before them decided: those seen since the cache was full last. */
struct model {
    const struct scene *scene;
    const struct dynamic_index *index;
    struct event files[FILES_MAX]; /* offered and raw ones alone */
    size_t source[FILES_MAX];      /* their events */
    size_t first, count;
    enum file_reason chunk_reason[CHUNKS_MAX];
    enum file_reason settled_reason[CHUNKS_MAX];
    bool settled[CHUNKS_MAX];
    uint64_t unseen; /* bytes of the last chunk */
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

static uint64_t model_overlap(const struct model *m, size_t file, size_t chunk)
{
    const struct event *f = &m->files[file];
    uint64_t start = dynamic_index_start(m->index, chunk), end = m->index->entries[chunk].end;
    if (f->kind != EVENT_OFFERED || f->end <= start || f->start >= end)
        return 0;
    return (f->end < end ? f->end : end) - (f->start > start ? f->start : start);
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
    while (!model_overlap(m, file, k))
        k--;
    return k;
}

static uint64_t model_waste(const struct model *m, size_t chunk)
{
    uint64_t live = last_chunk_of(m, last_offered(m)) == chunk ? m->unseen : 0;
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
        within = uses || (within && m->files[f].reused);
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

/* Cut B: files before the last place with a long raw run before it and no chunk across. */
static size_t model_early_cut(const struct model *m)
{
    for (size_t f = m->count; f-- > m->first;) {
        if (m->files[f].kind != EVENT_OFFERED)
            continue;
        bool across = false;
        for (size_t k = 0; k < m->index->count; k++)
            across = across || (model_overlap(m, f, k) && model_touched(m, m->first, f, k));
        uint64_t length = 0;
        for (size_t r = f; r > 0 && !m->files[r - 1].reused; r--)
            length += length_of(&m->files[r - 1]);
        if (!across && length >= m->scene->options.absorb_until)
            return f;
    }
    return m->first;
}

static void model_resolve(struct model *m, uint64_t unseen)
{
    m->unseen = unseen;
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
    m->early_cut = model_early_cut(m);
    while (model_absorb(m))
        model_settle(m);
}

/* How many of the model's files are certain. */
static size_t model_cut(const struct model *m)
{
    size_t offered = last_offered(m);
    for (size_t f = m->count; offered != SIZE_MAX && f-- > m->early_cut;) {
        if (!m->files[f].reused)
            continue;
        size_t k = last_chunk_of(m, f);
        if (!model_small(m, k) && !model_touched(m, f + 1, m->count, k) &&
            m->index->entries[k].end <= m->files[offered].end)
            return f + 1;
    }
    return m->early_cut;
}

/* Entries that are cached when `events` of them have come; `from`: of the event behind the last flush. */
static size_t model_cached(struct model *m, size_t from, size_t events)
{
    if (last_offered(m) == SIZE_MAX)
        return 0;
    model_resolve(m, 0);
    size_t cut = model_cut(m), cached = 0;
    while (cut < m->count && m->files[cut].kind != EVENT_OFFERED)
        cut++;
    if (cut == m->count)
        return 0;
    for (size_t i = m->source[cut] > from ? m->source[cut] : from; i < events; i++)
        cached += m->scene->events[i].kind != EVENT_LEAVE;
    return cached;
}

static void model_flush(struct model *m)
{
    size_t offered = last_offered(m), last = last_chunk_of(m, offered);
    uint64_t end = m->index->entries[last].end, from = m->files[offered].end, unseen = 0;
    bool open = from < end;
    from = m->told_end > from ? m->told_end : from;
    if (open && !m->settled[last]) {
        m->early_chunks++;
        for (size_t i = 0; i < m->scene->old_file_count; i++) {
            const struct old_file *f = &m->scene->old_files[i];
            if (f->start >= from && f->start < end)
                unseen += (f->end < end ? f->end : end) - f->start;
        }
    }
    model_resolve(m, unseen);
    if (open) {
        m->settled[last] = true;
        m->settled_reason[last] = m->chunk_reason[last];
    }
    m->first = m->count;
}

static void model_use(struct model *m, size_t file)
{
    struct event *f = &m->files[file];
    for (size_t k = 0; k < m->index->count; k++) {
        uint64_t used = model_overlap(m, file, k);
        if (!used)
            continue;
        bool raw_between = false;
        size_t before = file;
        while (before > 0 && !(m->files[before - 1].reused && model_overlap(m, before - 1, k)))
            before--, raw_between = raw_between || !m->files[before].reused;
        if (before == 0 || raw_between) {
            struct reuse_chunk chunk = {.entry = k, .size = chunk_size(m, k), .padding = chunk_size(m, k)};
            chunk.head = f->start > dynamic_index_start(m->index, k) ? f->start - dynamic_index_start(m->index, k) : 0;
            m->listings[m->listing_count++] = (struct listing){.chunk = chunk};
        }
        struct reuse_chunk *chunk = &m->listings[m->listing_count - 1].chunk;
        assert_int_equal(chunk->entry, k);
        chunk->padding -= used;
        chunk->tail = f->end < m->index->entries[k].end ? m->index->entries[k].end - f->end : 0;
    }
}

static struct model *model_of(const struct scene *s)
{
    struct model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    m->scene = s;
    m->index = &s->index;
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
        m->files[m->count++] = *e;
        if (e->kind == EVENT_RAW && e->old_end > m->told_end)
            m->told_end = e->old_end;
    }
    if (last_offered(m) == SIZE_MAX)
        for (size_t f = m->first; f < m->count; f++) {
            m->files[f].reused = false;
            m->files[f].reason = FILE_MTIME;
        }
    else
        model_resolve(m, 0);
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
};

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
    bool large = below(3) == 0;
    for (size_t i = 0; i < count; i++) {
        if (below(gap_every) == 0 && gap_every < 9)
            at += below(40);
        uint64_t end = at + 16 + below(below(4) ? 30 : large ? 600 : 120);
        c->old_files[i] = (struct old_file){at, end};
        at = end;
        /* Chunks end where files end, or anywhere. */
        while (at - chunk_start > chunk_size_max && s->index.count < CHUNKS_MAX - 2) {
            uint64_t chunk_end = below(3) ? at : chunk_start + 1 + below(chunk_size_max);
            c->entries[s->index.count++].end = chunk_end;
            chunk_start = chunk_end;
        }
    }
    at += below(2) ? 16 : 0;
    if (at > chunk_start)
        c->entries[s->index.count++].end = at;
    for (size_t k = 0; k < s->index.count; k++)
        c->entries[k].digest.bytes[0] = (uint8_t)k;
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
}

static void print_case(const struct random_case *c, uint64_t seed)
{
    const struct scene *s = &c->scene;
    print_message("seed %llu threshold %u limit %zu below %llu until %llu instances %u\nchunks",
                  (unsigned long long)seed, s->options.threshold_ppm, s->options.cache_limit,
                  (unsigned long long)s->options.absorb_below, (unsigned long long)s->options.absorb_until,
                  s->options.max_instances);
    for (size_t i = 0; i < s->index.count; i++)
        print_message(" %llu", (unsigned long long)s->index.entries[i].end);
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
    assert_true(threshold > ROUNDS && instances > ROUNDS / 10 && absorbed > ROUNDS / 10);
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

/* From listings and references alone. */
static void check_counters(const struct random_case *c, uint64_t seed)
{
    const struct scene *s = &c->scene;
    uint64_t live[CHUNKS_MAX] = {0}, waste = 0, over = 0, relisted = 0;
    unsigned times[CHUNKS_MAX] = {0};
    bool stored = s->options.profile == PROFILE_STORED;
    unsigned instances_max = stored ? s->options.max_instances : FILES_MAX;
    for (size_t i = 0; i < s->listing_count; i++) {
        size_t k = s->listings[i].chunk.entry;
        assert_true(i == 0 || k >= s->listings[i - 1].chunk.entry);
        times[k]++;
        relisted += times[k] == 2;
        live[k] += s->listings[i].chunk.size - s->listings[i].chunk.padding;
    }
    for (size_t k = 0; k < s->index.count; k++) {
        uint64_t used = 0, size = dynamic_index_chunk_size(&s->index, k);
        for (size_t i = 0; i < s->event_count; i++) {
            const struct event *e = &s->events[i];
            uint64_t start = dynamic_index_start(&s->index, k), end = s->index.entries[k].end;
            if (e->reused && e->start < end && e->end > start)
                used += (e->end < end ? e->end : end) - (e->start > start ? e->start : start);
        }
        if (used != live[k] || times[k] > instances_max)
            print_case(c, seed);
        assert_int_equal(used, live[k]);
        assert_true(times[k] <= instances_max);
        if (times[k] > 0) {
            waste += size - used;
            over += (size - used) * PPM_ONE > size * s->options.threshold_ppm;
        }
    }
    assert_int_equal(waste, s->counters.stored_waste_bytes);
    assert_int_equal(relisted, s->counters.relisted_chunks);
    assert_true(!stored || over <= s->counters.early_chunks);
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
            assert_int_equal(dynamic_index_start(&s->index, l->chunk.entry) + start, old);
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
