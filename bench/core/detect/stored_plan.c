#include "detect/stored_plan.h"

#include "base/buffer.h"

#include <stdlib.h>
#include <string.h>

static uint64_t add_capped(uint64_t a, uint64_t b)
{
    uint64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static uint64_t size_of(const struct plan_chunk *c)
{
    return c->end - c->start;
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
    free(p->pass.at);
    free(p->next_pass.at);
    free(p->fresh.at);
    free(p->next_fresh.at);
}

/* ---- entries that list the same chunk ---- */

bool plan_same_chunk(const struct dynamic_index *index, size_t a, size_t b)
{
    return dynamic_index_chunk_size(index, a) == dynamic_index_chunk_size(index, b) &&
           digest_equal(&index->entries[a].digest, &index->entries[b].digest);
}

/* The chunk that a file uses from `start` on (within the entry), if one before it was used up to there at most. Only
 * the nearest of equal contents counts: copies that are used from the front again are chunks of their own. */
static struct plan_recent *find_recent(struct stored_plan *p, const struct dynamic_index *index, size_t entry,
                                       uint64_t start)
{
    struct plan_recent *best = NULL;
    for (size_t i = 0; i < p->recent_count; i++) {
        struct plan_recent *r = &p->recent[i];
        if (r->entry + PLAN_REACH >= entry && (!best || r->entry > best->entry) &&
            plan_same_chunk(index, r->entry, entry))
            best = r;
    }
    return best && best->used_end <= start ? best : NULL;
}

static struct plan_recent *add_recent(struct stored_plan *p, size_t entry)
{
    size_t kept = 0;
    for (size_t i = 0; i < p->recent_count; i++)
        if (p->recent[i].entry + PLAN_REACH >= entry)
            p->recent[kept++] = p->recent[i];
    p->recent_count = kept;
    ASSERT(kept < PLAN_REACH + 1); /* each has another entry as its last one, `entry` is a further one */
    struct plan_recent *r = &p->recent[p->recent_count++];
    *r = (struct plan_recent){.entry = entry, .id = ++p->last_id};
    return r;
}

static uint64_t find_again(const struct dynamic_index *index, size_t entry)
{
    uint64_t end = 0;
    for (size_t j = entry + 1; j < index->count && j <= entry + PLAN_REACH; j++)
        if (plan_same_chunk(index, entry, j))
            end = index->entries[j].end;
    return end;
}

bool plan_may_come_again(const struct plan_chunk *c, uint64_t passed)
{
    return c->used_end < size_of(c) && c->again_end > passed;
}

bool plan_is_closed(const struct plan_chunk *c, uint64_t passed)
{
    return c->entry_end <= passed && !plan_may_come_again(c, passed);
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
    return !c->settled && size_of(c) < p->absorb_below;
}

/* A chunk that the window did not touch yet, decided earlier or not. */
static enum status add_chunk(struct stored_plan *p, const struct dynamic_index *index, struct plan_recent *r,
                             size_t entry, struct error *err)
{
    void *chunks = p->chunks;
    TRY(array_grow(&chunks, p->chunk_count, &p->chunk_capacity, sizeof *p->chunks, PLAN_CHUNKS_MAX,
                   "chunks of a window", err));
    p->chunks = chunks;
    r->in_window = true;
    r->chunk = (uint32_t)p->chunk_count;
    p->chunks[p->chunk_count++] = (struct plan_chunk){
        .id = r->id,
        .start = dynamic_index_start(index, entry),
        .end = index->entries[entry].end,
        .entry = SIZE_MAX,
        .listed = r->listed,
        .settled = r->settled,
        .before = r->before,
    };
    return OK;
}

/* A file uses the chunk through `entry`, up to `used_end` within it. */
static void touch(struct stored_plan *p, const struct dynamic_index *index, struct plan_recent *r, size_t entry,
                  uint64_t used_end)
{
    struct plan_chunk *c = &p->chunks[r->chunk];
    bool other_entry = c->entry != entry;
    r->entry = c->entry = entry;
    r->used_end = c->used_end = used_end;
    c->entry_end = index->entries[entry].end;
    if (other_entry)
        c->again_end = used_end < size_of(c) ? find_again(index, entry) : 0;
}

static enum status touch_head(struct stored_plan *p, const struct dynamic_index *index, struct plan_file *file,
                              struct error *err)
{
    uint64_t entry_start = dynamic_index_start(index, file->entry);
    struct plan_recent *r = find_recent(p, index, file->entry, file->start - entry_start);
    if (!r)
        r = add_recent(p, file->entry);
    if (!r->in_window) {
        ASSERT(r->settled || r->used_end == 0); /* what is out and not settled is closed */
        TRY(add_chunk(p, index, r, file->entry, err));
    }
    file->head = r->chunk;
    uint64_t end = file->end < file->head_end ? file->end : file->head_end;
    touch(p, index, r, file->entry, end - entry_start);
    struct plan_chunk *c = &p->chunks[file->head];
    uint32_t number = (uint32_t)p->file_count; /* that the file is about to get */
    if (c->first_file == 0)
        c->first_file = number;
    else
        p->files[c->last_file].next = number;
    c->last_file = number;
    return OK;
}

enum status plan_add_offered(struct stored_plan *p, const struct dynamic_index *index, uint64_t start, uint64_t end,
                             struct error *err)
{
    struct covering covering;
    TRY(covering_find(index, start, end, PROFILE_STORED, p->search_hint, &covering, err));
    p->search_hint = covering.first;
    struct plan_file file = {
        .start = start,
        .end = end,
        .entry = covering.first,
        .head_end = index->entries[covering.first].end,
        .offered = true,
    };
    TRY(touch_head(p, index, &file, err));
    file.small = is_small(p, &p->chunks[file.head]);
    file.rest_first = (uint32_t)p->chunk_count;
    file.rest_count = (uint32_t)(covering.count - 1);
    for (size_t k = 1; k < covering.count; k++) {
        size_t entry = covering.first + k;
        struct plan_recent *r = add_recent(p, entry);
        TRY(add_chunk(p, index, r, entry, err));
        struct plan_chunk *c = &p->chunks[r->chunk];
        c->opener = (uint32_t)p->file_count;
        touch(p, index, r, entry, (end < c->end ? end : c->end) - c->start);
        file.small = file.small && is_small(p, c);
    }
    return add_file(p, &file, err);
}

/* How many bytes of the chunk are the file's, which touches it. */
static uint64_t overlap(const struct stored_plan *p, const struct plan_file *f, uint32_t chunk)
{
    if (chunk == f->head)
        return (f->end < f->head_end ? f->end : f->head_end) - f->start;
    const struct plan_chunk *c = &p->chunks[chunk];
    return (f->end < c->end ? f->end : c->end) - c->start;
}

/* ---- marks ---- */

static int compare_numbers(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

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

static void append(struct plan_marks *m, size_t number)
{
    ASSERT(m->count < m->capacity);
    m->at[m->count++] = (uint32_t)number;
}

/* What was appended to `next` becomes the heap `now`, which is empty. */
static void begin_pass(struct plan_marks *now, struct plan_marks *next)
{
    struct plan_marks empty = *now;
    *now = *next;
    *next = empty;
    if (now->count > 0)
        qsort(now->at, now->count, sizeof *now->at, compare_numbers); /* ascending is a heap */
}

static void heap_push(struct plan_marks *m, size_t number)
{
    append(m, number);
    for (size_t i = m->count - 1; i > 0 && m->at[(i - 1) / 2] > m->at[i]; i = (i - 1) / 2) {
        uint32_t parent = m->at[(i - 1) / 2];
        m->at[(i - 1) / 2] = m->at[i];
        m->at[i] = parent;
    }
}

static uint32_t heap_pop(struct plan_marks *m)
{
    uint32_t least = m->at[0], moved = m->at[--m->count];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < m->count; i = child) {
        if (child + 1 < m->count && m->at[child + 1] < m->at[child])
            child++;
        if (moved <= m->at[child])
            break;
        m->at[i] = m->at[child];
    }
    m->at[i] = moved;
    return least;
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
    if (p->current_file < file)
        heap_push(&p->fresh, file);
    else
        append(&p->next_fresh, file);
}

/* ---- giving up ---- */

static uint32_t last_touched(const struct plan_file *f)
{
    return plan_touched(f, f->rest_count);
}

/* Whether the listing of the chunk that `file` uses was begun by the file before it. */
static bool joined_before(const struct stored_plan *p, size_t file, uint32_t chunk)
{
    if (chunk != p->files[file].head)
        return false;
    if (file == 1)
        return p->continues;
    const struct plan_file *before = &p->files[file - 1];
    return before->reused && last_touched(before) == chunk;
}

static bool joined_behind(const struct stored_plan *p, size_t file, uint32_t chunk)
{
    return file + 1 < p->file_count && p->files[file + 1].reused && p->files[file + 1].head == chunk;
}

static void examine_again(struct stored_plan *p, uint32_t chunk)
{
    struct plan_chunk *c = &p->chunks[chunk];
    if (chunk > p->current_chunk) {
        if (!c->marked)
            heap_push(&p->pass, chunk);
        c->marked = true;
    } else {
        if (!c->marked_next)
            append(&p->next_pass, chunk);
        c->marked_next = true;
    }
}

static void give_up_file(struct stored_plan *p, size_t file, enum file_reason reason)
{
    struct plan_file *f = &p->files[file];
    for (uint32_t i = 0; i < plan_touched_count(f); i++) {
        uint32_t k = plan_touched(f, i);
        struct plan_chunk *c = &p->chunks[k];
        if (c->verdict != FILE_UNCHANGED)
            continue;
        c->live -= overlap(p, f, k);
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

static void give_up_chunk(struct stored_plan *p, uint32_t chunk, enum file_reason reason)
{
    struct plan_chunk *c = &p->chunks[chunk];
    if (c->verdict != FILE_UNCHANGED)
        return;
    c->verdict = reason;
    if (c->opener && p->files[c->opener].reused)
        give_up_file(p, c->opener, reason);
    for (uint32_t f = c->first_file; f; f = p->files[f].next)
        if (p->files[f].reused)
            give_up_file(p, f, reason);
}

/* ---- passes over the chunks ---- */

static enum file_reason judge(const struct stored_plan *p, const struct plan_chunk *c)
{
    if (!c->settled && padding_exceeds(size_of(c) - c->live, size_of(c), p->threshold_ppm))
        return FILE_THRESHOLD;
    if ((uint64_t)c->listed + c->stretches > p->max_instances)
        return FILE_INSTANCES;
    return FILE_UNCHANGED;
}

/* Passes in ascending order until one gives up nothing. A pass needs to look only at chunks that changed since they
 * were examined: those marked before it, and behind the current one those that lose a file right now. */
static void settle(struct stored_plan *p)
{
    while (p->next_pass.count > 0) {
        begin_pass(&p->pass, &p->next_pass);
        for (size_t i = 0; i < p->pass.count; i++) {
            p->chunks[p->pass.at[i]].marked = true;
            p->chunks[p->pass.at[i]].marked_next = false;
        }
        while (p->pass.count > 0) {
            uint32_t chunk = heap_pop(&p->pass);
            struct plan_chunk *c = &p->chunks[chunk];
            c->marked = false;
            p->current_chunk = chunk;
            enum file_reason reason = c->verdict == FILE_UNCHANGED ? judge(p, c) : FILE_UNCHANGED;
            if (reason != FILE_UNCHANGED)
                give_up_chunk(p, chunk, reason);
        }
        p->current_chunk = p->chunk_count;
    }
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
        const struct plan_file *f = &p->files[victim];
        for (uint32_t i = 0; i < plan_touched_count(f); i++)
            give_up_chunk(p, plan_touched(f, i), FILE_ABSORBED);
        grown = true;
    }
}

/* Over the raw runs in archive order. One that did not change since it was looked at would stop again at once: its
 * neighbours are the same, and small they are or not. */
static bool absorb(struct stored_plan *p)
{
    bool given_up = false;
    begin_pass(&p->fresh, &p->next_fresh);
    while (p->fresh.count > 0) {
        p->current_file = heap_pop(&p->fresh);
        given_up = grow_run(p, p->current_file) || given_up;
    }
    p->current_file = SIZE_MAX;
    return given_up;
}

/* ---- resolving ---- */

static enum status reset_marks(struct stored_plan *p, struct error *err)
{
    TRY(reserve(&p->pass, p->chunk_count, err));
    TRY(reserve(&p->next_pass, p->chunk_count, err));
    TRY(reserve(&p->fresh, p->file_count, err));
    TRY(reserve(&p->next_fresh, p->file_count, err));
    p->current_chunk = p->chunk_count;
    p->current_file = SIZE_MAX;
    return OK;
}

static void reset_chunks(struct stored_plan *p)
{
    for (size_t k = 0; k < p->chunk_count; k++) {
        struct plan_chunk *c = &p->chunks[k];
        c->live = c->unseen_live;
        c->stretches = 0;
        c->verdict = FILE_UNCHANGED;
        c->marked = false;
        c->marked_next = true;
        append(&p->next_pass, k);
    }
}

/* Before any verdict: everything offered is reused but what touches a chunk given up in an earlier window. */
static void reset_files(struct stored_plan *p)
{
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
        for (uint32_t i = 0; i < plan_touched_count(file); i++) {
            uint32_t k = plan_touched(file, i);
            p->chunks[k].live += overlap(p, file, k);
            if (!joined_before(p, f, k))
                p->chunks[k].stretches++;
        }
    }
    for (size_t k = 0; k < p->chunk_count; k++)
        if (p->chunks[k].before != FILE_UNCHANGED)
            give_up_chunk(p, (uint32_t)k, p->chunks[k].before);
}

/* The last file that touches a chunk of this one's; SIZE_MAX: there may be more to come. */
static size_t reach_of(const struct stored_plan *p, const struct plan_file *f, uint64_t passed)
{
    size_t reach = 0;
    if (!f->offered)
        return 0;
    for (uint32_t i = 0; i < plan_touched_count(f); i++) {
        const struct plan_chunk *c = &p->chunks[plan_touched(f, i)];
        size_t last = plan_is_closed(c, passed) ? c->last_file : SIZE_MAX;
        if (last > reach)
            reach = last;
    }
    return reach;
}

/* The last place with a raw run before it that is long enough already to absorb nothing, and no chunk across it. */
static size_t find_early_cut(const struct stored_plan *p, uint64_t passed, bool boundary)
{
    size_t cut = 1, reach = 0;
    uint64_t run = p->carried_raw;
    for (size_t f = 1; f < p->file_count; f++) {
        const struct plan_file *file = &p->files[f];
        if (file->offered && reach < f && run >= p->absorb_until)
            cut = f;
        size_t own_reach = reach_of(p, file, passed);
        reach = own_reach > reach ? own_reach : reach;
        run = file->reused ? 0 : add_capped(run, file->end - file->start);
    }
    return boundary && reach < p->file_count && run >= p->absorb_until ? p->file_count : cut;
}

enum status plan_resolve(struct stored_plan *p, uint64_t passed, bool boundary, struct error *err)
{
    TRY(reset_marks(p, err));
    reset_chunks(p);
    reset_files(p);
    settle(p);
    p->early_cut = find_early_cut(p, passed, boundary);
    while (absorb(p))
        settle(p);
    return OK;
}

size_t plan_cut(const struct stored_plan *p, uint64_t passed)
{
    size_t cut = p->early_cut, reach = 0;
    for (size_t f = 1; f < p->file_count; f++) {
        const struct plan_file *file = &p->files[f];
        size_t own_reach = reach_of(p, file, passed);
        reach = own_reach > reach ? own_reach : reach;
        if (f >= cut && file->reused && reach <= f && !is_small(p, &p->chunks[last_touched(file)]))
            cut = f + 1;
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

/* Chunks before `gone` leave the window. */
static void update_recent(struct stored_plan *p, uint32_t gone, uint64_t passed)
{
    for (size_t i = 0; i < p->recent_count; i++) {
        struct plan_recent *r = &p->recent[i];
        if (!r->in_window)
            continue;
        if (r->chunk >= gone) {
            r->chunk -= gone;
            continue;
        }
        const struct plan_chunk *c = &p->chunks[r->chunk];
        r->in_window = false;
        r->settled = !plan_is_closed(c, passed);
        r->listed = c->listed;
        r->before = c->verdict;
    }
}

static void renumber(struct stored_plan *p, uint32_t files, uint32_t chunks)
{
    for (size_t f = 1; f < p->file_count; f++) {
        struct plan_file *file = &p->files[f];
        file->head -= file->offered ? chunks : 0;
        file->rest_first -= file->offered ? chunks : 0;
        file->next -= file->next ? files : 0;
    }
    for (size_t k = 0; k < p->chunk_count; k++) {
        struct plan_chunk *c = &p->chunks[k];
        c->opener -= c->opener ? files : 0;
        c->first_file -= c->first_file ? files : 0;
        c->last_file -= c->last_file ? files : 0;
    }
}

struct plan_given_up plan_drop(struct stored_plan *p, size_t count, uint64_t passed)
{
    ASSERT(count >= 1 && count <= p->file_count);
    struct plan_given_up given_up = {0};
    ASSERT(count == p->file_count || p->files[count].offered);
    /* A cut lies between chunks: the first file behind it began one. */
    size_t chunks = count < p->file_count ? p->files[count].head : p->chunk_count;
    for (size_t k = 0; k < chunks; k++)
        count_given_up(&p->chunks[k], &given_up);
    update_recent(p, (uint32_t)chunks, passed);
    p->carried_raw = raw_length_before(p, count);
    if (chunks > 0)
        memmove(p->chunks, p->chunks + chunks, (p->chunk_count - chunks) * sizeof *p->chunks);
    memmove(p->files + 1, p->files + count, (p->file_count - count) * sizeof *p->files);
    p->chunk_count -= chunks;
    p->file_count -= count - 1;
    renumber(p, (uint32_t)(count - 1), (uint32_t)chunks);
    return given_up;
}
