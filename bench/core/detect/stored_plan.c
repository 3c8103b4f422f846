#include "detect/stored_plan.h"

#include "base/buffer.h"

#include <stdlib.h>
#include <string.h>

static uint64_t add_capped(uint64_t a, uint64_t b)
{
    uint64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

enum status plan_init(struct stored_plan *p, struct error *err)
{
    void *files = p->files;
    TRY(array_grow(&files, p->file_count, &p->file_capacity, sizeof *p->files, PLAN_FILES_MAX, "files of a window",
                   err));
    p->files = files;
    p->files[0] = (struct plan_file){0};
    p->file_count = 1;
    return OK;
}

void plan_deinit(struct stored_plan *p)
{
    free(p->files);
    free(p->chunks);
    free(p->queue.at);
    free(p->examined.at);
    free(p->fresh.at);
}

/* ---- the window ---- */

static enum status add_file(struct stored_plan *p, const struct plan_file *file, struct error *err)
{
    void *files = p->files;
    TRY(array_grow(&files, p->file_count, &p->file_capacity, sizeof *p->files, PLAN_FILES_MAX, "files of a window",
                   err));
    p->files = files;
    p->files[p->file_count++] = *file;
    return OK;
}

enum status plan_add_raw(struct stored_plan *p, uint64_t length, struct error *err)
{
    return add_file(p, &(struct plan_file){.end = length}, err);
}

static bool is_small(const struct stored_plan *p, const struct plan_chunk *c)
{
    return !c->settled && c->end - c->start < p->absorb_below;
}

static enum status add_chunk(struct stored_plan *p, const struct dynamic_index *index, size_t entry, struct error *err)
{
    void *chunks = p->chunks;
    TRY(array_grow(&chunks, p->chunk_count, &p->chunk_capacity, sizeof *p->chunks, PLAN_CHUNKS_MAX,
                   "chunks of a window", err));
    p->chunks = chunks;
    struct plan_chunk *c = &p->chunks[p->chunk_count++];
    *c = (struct plan_chunk){
        .entry = entry,
        .start = dynamic_index_start(index, entry),
        .end = index->entries[entry].end,
        .first_file = (uint32_t)p->file_count, /* the file about to be added */
    };
    if (p->carry.valid && p->carry.entry == entry) {
        c->settled = true;
        c->listed = p->carry.listed;
        c->before = p->carry.before;
    }
    p->carry.valid = false; /* entries ascend: it can only be the first one */
    return OK;
}

enum status plan_add_offered(struct stored_plan *p, const struct dynamic_index *index, uint64_t start, uint64_t end,
                             struct error *err)
{
    struct covering covering;
    TRY(covering_find(index, start, end, PROFILE_STORED, p->search_hint, &covering, err));
    p->search_hint = covering.first;
    size_t entry = covering.first;
    struct plan_file file = {.start = start, .end = end, .offered = true, .small = true};
    bool shares = p->chunk_count > 0 && p->chunks[p->chunk_count - 1].entry == entry;
    size_t old_count = p->chunk_count;
    file.first = (uint32_t)(shares ? old_count - 1 : old_count);
    for (size_t k = shares ? 1 : 0; k < covering.count; k++) {
        enum status status = add_chunk(p, index, entry + k, err);
        if (status != OK) {
            p->chunk_count = old_count;
            return status;
        }
    }
    file.last = (uint32_t)(p->chunk_count - 1);
    for (size_t k = file.first; k <= file.last; k++)
        file.small = file.small && is_small(p, &p->chunks[k]);
    enum status status = add_file(p, &file, err);
    if (status != OK) {
        p->chunk_count = old_count;
        return status;
    }
    for (size_t k = file.first; k <= file.last; k++)
        p->chunks[k].last_file = (uint32_t)(p->file_count - 1);
    return OK;
}

/* ---- raw runs: disjoint sets of neighbouring files ---- */

static uint32_t run_of(struct stored_plan *p, size_t file)
{
    uint32_t f = (uint32_t)file;
    while (p->files[f].parent != f) {
        p->files[f].parent = p->files[p->files[f].parent].parent;
        f = p->files[f].parent;
    }
    return f;
}

static bool is_raw(const struct stored_plan *p, size_t file)
{
    return file == 0 ? p->carried_raw > 0 : !p->files[file].reused;
}

/* `right` follows `left`. The longer one stays root, so that paths stay short. */
static void join_runs(struct stored_plan *p, size_t left, size_t right)
{
    uint32_t a = run_of(p, left), b = run_of(p, right);
    struct plan_file *first = &p->files[a], *last = &p->files[b];
    uint32_t run_first = first->run_first, run_last = last->run_last;
    uint64_t length = add_capped(first->run_length, last->run_length);
    bool left_stays = first->run_last - first->run_first >= last->run_last - last->run_first;
    uint32_t root = left_stays ? a : b;
    p->files[left_stays ? b : a].parent = root;
    p->files[root].run_first = run_first;
    p->files[root].run_last = run_last;
    p->files[root].run_length = length;
}

static void start_run(struct stored_plan *p, size_t file, uint64_t length)
{
    struct plan_file *f = &p->files[file];
    f->parent = f->run_first = f->run_last = (uint32_t)file;
    f->run_length = length;
    p->fresh.at[p->fresh.count++] = (uint32_t)file;
}

/* ---- giving up ---- */

static uint64_t overlap(const struct plan_file *f, const struct plan_chunk *c)
{
    uint64_t start = f->start > c->start ? f->start : c->start;
    uint64_t end = f->end < c->end ? f->end : c->end;
    return end - start;
}

/* Whether the listing of the chunk that `file` uses was begun by a file before it. */
static bool joined_before(const struct stored_plan *p, size_t file, size_t chunk)
{
    if (file == 1)
        return p->continues && chunk == 0;
    const struct plan_file *before = &p->files[file - 1];
    return before->reused && before->last >= chunk;
}

static bool joined_behind(const struct stored_plan *p, size_t file, size_t chunk)
{
    return file + 1 < p->file_count && p->files[file + 1].reused && p->files[file + 1].first <= chunk;
}

static void examine_again(struct stored_plan *p, size_t chunk)
{
    struct plan_chunk *c = &p->chunks[chunk];
    if (chunk > p->current) {
        if (p->examine_to <= chunk)
            p->examine_to = chunk + 1;
    } else if (!c->queued) {
        c->queued = true;
        p->queue.at[p->queue.count++] = (uint32_t)chunk;
    }
}

static void give_up_file(struct stored_plan *p, size_t file, enum file_reason reason)
{
    struct plan_file *f = &p->files[file];
    for (size_t k = f->first; k <= f->last; k++) {
        struct plan_chunk *c = &p->chunks[k];
        if (c->verdict != FILE_UNCHANGED)
            continue;
        c->live -= overlap(f, c);
        /* It goes with another chunk, so it is the first or the last of this one's: no stretch falls apart. */
        if (!joined_before(p, file, k) && !joined_behind(p, file, k))
            c->stretches--;
        examine_again(p, k);
    }
    f->reused = false;
    f->reason = reason;
    start_run(p, file, f->end - f->start);
    if (is_raw(p, file - 1))
        join_runs(p, file - 1, file);
    if (file + 1 < p->file_count && is_raw(p, file + 1))
        join_runs(p, file, file + 1);
}

static void give_up_chunk(struct stored_plan *p, size_t chunk, enum file_reason reason)
{
    struct plan_chunk *c = &p->chunks[chunk];
    if (c->verdict != FILE_UNCHANGED)
        return;
    c->verdict = reason;
    for (size_t f = c->first_file; f <= c->last_file; f++)
        if (p->files[f].reused)
            give_up_file(p, f, reason);
}

/* ---- passes over the chunks ---- */

static enum file_reason judge(const struct stored_plan *p, const struct plan_chunk *c)
{
    uint64_t size = c->end - c->start;
    if (!c->settled && padding_exceeds(size - c->live, size, p->threshold_ppm))
        return FILE_THRESHOLD;
    if ((uint64_t)c->listed + c->stretches > p->max_instances)
        return FILE_INSTANCES;
    return FILE_UNCHANGED;
}

static void examine(struct stored_plan *p, size_t chunk)
{
    const struct plan_chunk *c = &p->chunks[chunk];
    if (c->verdict != FILE_UNCHANGED)
        return;
    enum file_reason reason = judge(p, c);
    p->current = chunk;
    if (reason != FILE_UNCHANGED)
        give_up_chunk(p, chunk, reason);
}

static int compare_numbers(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* Passes in ascending order until one gives up nothing. A pass needs to look only at chunks that changed since they
 * were examined: those queued, and behind the current one those that lose a file right now. */
static void settle(struct stored_plan *p)
{
    while (p->queue.count > 0) {
        struct plan_marks now = p->queue;
        p->queue = p->examined;
        p->queue.count = 0;
        p->examined = now;
        const uint32_t *chunks = now.at;
        size_t count = now.count;
        qsort(now.at, count, sizeof *now.at, compare_numbers);
        for (size_t i = 0; i < count; i++)
            p->chunks[chunks[i]].queued = false;
        size_t next = 0;
        p->examine_to = 0;
        for (size_t i = 0; next < p->examine_to || i < count; next++) {
            if (next >= p->examine_to && chunks[i] > next)
                next = chunks[i];
            examine(p, next);
            while (i < count && chunks[i] <= next)
                i++;
        }
    }
    p->current = p->chunk_count;
}

/* ---- absorbing ---- */

static bool may_absorb(const struct stored_plan *p, size_t file)
{
    return p->files[file].reused && p->files[file].small;
}

/* The run takes neighbours in small chunks along until it is long enough: first behind it, then before it. */
static bool grow_run(struct stored_plan *p, size_t file)
{
    bool grown = false;
    for (;;) {
        const struct plan_file *run = &p->files[run_of(p, file)];
        size_t behind = (size_t)run->run_last + 1, victim;
        if (run->run_length >= p->absorb_until)
            return grown;
        if (behind < p->file_count && may_absorb(p, behind))
            victim = behind;
        else if (run->run_first > 1 && may_absorb(p, run->run_first - 1))
            victim = run->run_first - 1;
        else
            return grown;
        for (size_t k = p->files[victim].first; k <= p->files[victim].last; k++)
            give_up_chunk(p, k, FILE_ABSORBED);
        grown = true;
    }
}

/* Over the raw runs in archive order. One that did not change since it was looked at would stop again at once: its
 * neighbours are the same, and small they are or not. */
static bool absorb(struct stored_plan *p)
{
    bool given_up = false;
    size_t count = p->fresh.count;
    qsort(p->fresh.at, count, sizeof *p->fresh.at, compare_numbers);
    for (size_t i = 0; i < count; i++)
        given_up = grow_run(p, p->fresh.at[i]) || given_up;
    p->fresh.count = 0; /* what was absorbed belongs to runs looked at */
    return given_up;
}

/* ---- resolving ---- */

static enum status reserve(struct plan_marks *m, size_t count, struct error *err)
{
    m->count = 0;
    if (m->capacity >= count)
        return OK;
    void *grown;
    TRY(array_new(count + count / 2, sizeof *m->at, (size_t)PLAN_CHUNKS_MAX * 2, "marks of a window", &grown, err));
    free(m->at);
    m->at = grown;
    m->capacity = count + count / 2;
    return OK;
}

/* Before any verdict: everything offered is reused but what touches a chunk given up in an earlier window. */
static void reset(struct stored_plan *p)
{
    p->current = p->chunk_count;
    p->examine_to = 0;
    for (size_t k = 0; k < p->chunk_count; k++) {
        struct plan_chunk *c = &p->chunks[k];
        c->live = 0;
        c->stretches = 0;
        c->verdict = FILE_UNCHANGED;
        c->queued = true;
        p->queue.at[p->queue.count++] = (uint32_t)k;
    }
    if (p->chunk_count > 0)
        p->chunks[p->chunk_count - 1].live = p->unseen_live;
    if (p->carried_raw > 0)
        start_run(p, 0, p->carried_raw);
    for (size_t f = 1; f < p->file_count; f++) {
        struct plan_file *file = &p->files[f];
        file->reused = file->offered;
        file->reason = FILE_UNCHANGED;
        if (!file->offered) {
            start_run(p, f, file->end);
            if (is_raw(p, f - 1))
                join_runs(p, f - 1, f);
            continue;
        }
        for (size_t k = file->first; k <= file->last; k++) {
            p->chunks[k].live += overlap(file, &p->chunks[k]);
            if (!joined_before(p, f, k))
                p->chunks[k].stretches++;
        }
    }
    if (p->chunk_count > 0 && p->chunks[0].before != FILE_UNCHANGED)
        give_up_chunk(p, 0, p->chunks[0].before);
}

/* The last place with a raw run before it that is long enough already to absorb nothing, and no chunk across it. */
static size_t find_early_cut(const struct stored_plan *p, bool boundary)
{
    size_t cut = 1;
    uint64_t run = p->carried_raw;
    for (size_t f = 1; f < p->file_count; f++) {
        const struct plan_file *file = &p->files[f];
        if (file->offered && p->chunks[file->first].first_file == f && run >= p->absorb_until)
            cut = f;
        run = file->reused ? 0 : add_capped(run, file->end - file->start);
    }
    return boundary && run >= p->absorb_until ? p->file_count : cut;
}

enum status plan_resolve(struct stored_plan *p, bool boundary, struct error *err)
{
    TRY(reserve(&p->queue, p->chunk_count, err));
    TRY(reserve(&p->examined, p->chunk_count, err));
    TRY(reserve(&p->fresh, p->file_count, err));
    reset(p);
    settle(p);
    p->early_cut = find_early_cut(p, boundary);
    while (absorb(p))
        settle(p);
    return OK;
}

size_t plan_cut(const struct stored_plan *p, uint64_t passed)
{
    size_t cut = p->early_cut;
    for (size_t f = p->file_count; f-- > cut;) {
        const struct plan_file *file = &p->files[f];
        if (!file->reused)
            continue;
        const struct plan_chunk *last = &p->chunks[file->last];
        if (last->last_file == f && last->end <= passed && !is_small(p, last)) {
            cut = f + 1;
            break;
        }
    }
    while (cut < p->file_count && !p->files[cut].offered)
        cut++;
    return cut;
}

/* ---- what is out ---- */

static void count_given_up(const struct plan_chunk *c, struct plan_given_up *out)
{
    if (c->before != FILE_UNCHANGED)
        return; /* counted then */
    out->threshold += c->verdict == FILE_THRESHOLD;
    out->instances += c->verdict == FILE_INSTANCES;
    out->absorbed += c->verdict == FILE_ABSORBED;
}

static uint64_t raw_length_before(const struct stored_plan *p, size_t count)
{
    uint64_t length = 0;
    while (count > 1) {
        const struct plan_file *f = &p->files[count - 1];
        if (f->reused)
            return length;
        length = add_capped(length, f->end - f->start);
        count--;
    }
    return add_capped(length, p->carried_raw);
}

struct plan_given_up plan_drop(struct stored_plan *p, size_t count)
{
    ASSERT(count >= 1 && count <= p->file_count);
    struct plan_given_up given_up = {0};
    ASSERT(count == p->file_count || p->files[count].offered);
    size_t chunks = count < p->file_count ? p->files[count].first : p->chunk_count;
    for (size_t k = 0; k < chunks; k++)
        count_given_up(&p->chunks[k], &given_up);
    p->carried_raw = raw_length_before(p, count);
    if (chunks > 0)
        memmove(p->chunks, p->chunks + chunks, (p->chunk_count - chunks) * sizeof *p->chunks);
    memmove(p->files + 1, p->files + count, (p->file_count - count) * sizeof *p->files);
    p->chunk_count -= chunks;
    p->file_count -= count - 1;
    for (size_t f = 1; f < p->file_count; f++) {
        if (!p->files[f].offered)
            continue;
        p->files[f].first -= (uint32_t)chunks;
        p->files[f].last -= (uint32_t)chunks;
    }
    for (size_t k = 0; k < p->chunk_count; k++) {
        p->chunks[k].first_file -= (uint32_t)(count - 1);
        p->chunks[k].last_file -= (uint32_t)(count - 1);
    }
    return given_up;
}
