/* bpe.c: see bpe.h. The two ways of merging (a scan for short words, a heap for long ones) give the same ids: both take
 * the merge of lowest rank, leftmost first. Guarded by tests/text/test_tokenizer_golden.c, test_tokenizer_small.c. */
#include "text/bpe.h"

#include <assert.h>

#include "text/utf8.h"
#include "text/word_cache.h"

enum { SCAN_SYMBOLS = 32 }; /* up to here a scan over all neighbours is faster than a heap */

typedef struct candidate {
    uint32_t rank, at; /* the merge's rank and its left symbol */
    int32_t id;        /* what the two become */
} candidate;

typedef struct neighbours {
    uint32_t before, after; /* NONE at the ends */
} neighbours;

#define NONE UINT32_MAX

struct stlora_bpe_work {
    stlora_ids symbols;
    neighbours *links;
    candidate *heap;
    size_t links_capacity, heap_capacity, heap_count;
    stlora_bytes spelt;        /* one character with prefix or suffix */
    stlora_cached_word *cache; /* NULL: no cache */
};

stlora_status stlora_bpe_work_create(stlora_bpe_work **out, stlora_error *err)
{
    return stlora_alloc(out, 1, sizeof **out, "tokenizer", err);
}

stlora_status stlora_bpe_work_remember(stlora_bpe_work *work, stlora_error *err)
{
    if (work->cache) return STLORA_OK;
    return stlora_alloc(&work->cache, (size_t)1 << STLORA_CACHE_BITS, sizeof *work->cache, "tokenizer", err);
}

void stlora_bpe_work_free(stlora_bpe_work *work)
{
    if (!work) return;
    stlora_ids_free(&work->symbols);
    stlora_free(work->links);
    stlora_free(work->heap);
    stlora_bytes_free(&work->spelt);
    stlora_free(work->cache);
    stlora_free(work);
}

static stlora_status push_all(stlora_ids *out, const int32_t *ids, size_t count, stlora_error *err)
{
    STLORA_TRY(stlora_grow(&out->data, &out->capacity, out->count + count, sizeof *out->data, "ids", err));
    if (count) memcpy(out->data + out->count, ids, count * sizeof *ids);
    out->count += count;
    return STLORA_OK;
}

/* ---- characters to symbols ---- */

/* The id of the character word[at, at + size) with the prefix of a later and the suffix of the last one. */
static stlora_status character_id(const stlora_bpe *bpe, stlora_bpe_work *work, const char *word, size_t length,
                                  size_t at, size_t size, int32_t *id, stlora_error *err)
{
    bool prefixed = at > 0 && bpe->prefix_length > 0, suffixed = at + size == length && bpe->suffix_length > 0;
    if (!prefixed && !suffixed) {
        *id = stlora_piece_map_find(&bpe->vocabulary, word + at, size);
        return STLORA_OK;
    }
    work->spelt.count = 0;
    if (prefixed) STLORA_TRY(stlora_bytes_append(&work->spelt, bpe->prefix, bpe->prefix_length, err));
    STLORA_TRY(stlora_bytes_append(&work->spelt, word + at, size, err));
    if (suffixed) STLORA_TRY(stlora_bytes_append(&work->spelt, bpe->suffix, bpe->suffix_length, err));
    *id = stlora_piece_map_find(&bpe->vocabulary, work->spelt.data, work->spelt.count);
    return STLORA_OK;
}

/* The bytes of what was looked up as "<0x..>" symbols; *all is false, nothing pushed, when one of them is missing. */
static stlora_status fall_back(const stlora_bpe *bpe, stlora_bpe_work *work, const char *bytes, size_t size, bool *all,
                               stlora_error *err)
{
    *all = false;
    for (size_t i = 0; i < size; i++)
        if (bpe->fallback[(unsigned char)bytes[i]] < 0) return STLORA_OK;
    for (size_t i = 0; i < size; i++)
        STLORA_TRY(stlora_ids_push(&work->symbols, bpe->fallback[(unsigned char)bytes[i]], err));
    *all = true;
    return STLORA_OK;
}

/* Fills work->symbols. An unknown character waits until the next known one, as in the library: so several become one
 * with fuse_unk, and byte symbols in between come before it. Without an unknown token it vanishes. */
static stlora_status split_characters(const stlora_bpe *bpe, stlora_bpe_work *work, const char *word, size_t length,
                                      stlora_error *err)
{
    bool waiting = false;
    size_t size;
    for (size_t at = 0; at < length; at += size) {
        int32_t id;
        (void)stlora_utf8_read(word + at, &size);
        work->spelt.count = 0;
        STLORA_TRY(character_id(bpe, work, word, length, at, size, &id, err));
        if (id >= 0) {
            if (waiting) STLORA_TRY(stlora_ids_push(&work->symbols, bpe->unk_id, err));
            waiting = false;
            STLORA_TRY(stlora_ids_push(&work->symbols, id, err));
            continue;
        }
        if (bpe->byte_fallback) {
            bool all, spelt = work->spelt.count > 0;
            STLORA_TRY(fall_back(bpe, work, spelt ? work->spelt.data : word + at, spelt ? work->spelt.count : size,
                                 &all, err));
            if (all) continue;
        }
        if (!bpe->unk) continue;
        if (bpe->unk_id < 0)
            return stlora_fail(err, STLORA_E_FORMAT,
                               "the text has '%.*s', which the vocabulary does not have, nor the "
                               "unknown token '%s'",
                               (int)size, word + at, bpe->unk);
        if (waiting && !bpe->fuse_unk) STLORA_TRY(stlora_ids_push(&work->symbols, bpe->unk_id, err));
        waiting = true;
    }
    if (waiting) STLORA_TRY(stlora_ids_push(&work->symbols, bpe->unk_id, err));
    return STLORA_OK;
}

static stlora_status split_bytes(const stlora_bpe *bpe, stlora_bpe_work *work, const char *word, size_t length,
                                 stlora_error *err)
{
    stlora_ids *symbols = &work->symbols;
    STLORA_TRY(stlora_grow(&symbols->data, &symbols->capacity, length, sizeof *symbols->data, "ids", err));
    for (size_t i = 0; i < length; i++)
        symbols->data[i] = bpe->byte_id[(unsigned char)word[i]];
    symbols->count = length;
    return STLORA_OK;
}

/* ---- merging ---- */

/* What the symbol at i and the next one become; a pair without a merge comes last. */
static void find_merge(const stlora_bpe *bpe, const int32_t *symbols, size_t i, uint32_t *ranks, int32_t *becomes)
{
    const stlora_merge *merge = stlora_merge_find(&bpe->merges, symbols[i], symbols[i + 1]);
    ranks[i] = merge ? merge->rank : UINT32_MAX;
    becomes[i] = merge ? merge->id : -1;
}

static void merge_by_scan(const stlora_bpe *bpe, stlora_ids *symbols)
{
    uint32_t ranks[SCAN_SYMBOLS]; /* of symbol i and i + 1 */
    int32_t becomes[SCAN_SYMBOLS], *ids = symbols->data;
    size_t count = symbols->count;
    for (size_t i = 0; i + 1 < count; i++)
        find_merge(bpe, ids, i, ranks, becomes);
    for (;;) {
        size_t best = 0;
        uint32_t rank = UINT32_MAX;
        for (size_t i = 0; i + 1 < count; i++) {
            if (ranks[i] >= rank) continue;
            rank = ranks[i];
            best = i;
        }
        if (rank == UINT32_MAX) break;
        ids[best] = becomes[best];
        count--;
        for (size_t i = best + 1; i < count; i++) {
            ids[i] = ids[i + 1];
            ranks[i - 1] = ranks[i];
            becomes[i - 1] = becomes[i];
        }
        if (best > 0) find_merge(bpe, ids, best - 1, ranks, becomes);
        if (best + 1 < count) find_merge(bpe, ids, best, ranks, becomes);
    }
    symbols->count = count;
}

static bool comes_before(const candidate *a, const candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void sift_down(candidate *heap, size_t count, size_t at)
{
    candidate moving = heap[at];
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && comes_before(&heap[child + 1], &heap[child])) child++;
        if (!comes_before(&heap[child], &moving)) break;
        heap[at] = heap[child];
    }
    heap[at] = moving;
}

static stlora_status heap_push(stlora_bpe_work *work, candidate entry, stlora_error *err)
{
    STLORA_TRY(stlora_grow(&work->heap, &work->heap_capacity, work->heap_count + 1, sizeof *work->heap, "merges", err));
    size_t at = work->heap_count++;
    for (; at > 0 && comes_before(&entry, &work->heap[(at - 1) / 2]); at = (at - 1) / 2)
        work->heap[at] = work->heap[(at - 1) / 2];
    work->heap[at] = entry;
    return STLORA_OK;
}

/* Puts the merge of the symbol at `left` and the one after it, if they have one. */
static stlora_status propose(const stlora_bpe *bpe, stlora_bpe_work *work, uint32_t left, stlora_error *err)
{
    uint32_t right = work->links[left].after;
    if (right == NONE) return STLORA_OK;
    const stlora_merge *merge = stlora_merge_find(&bpe->merges, work->symbols.data[left], work->symbols.data[right]);
    if (!merge) return STLORA_OK;
    return heap_push(work, (candidate){merge->rank, left, merge->id}, err);
}

/* O(n log n): symbols in a linked list, possible merges in a heap; an entry whose neighbours have changed since is
 * dropped when it comes up. A symbol that is gone has id -1. */
static stlora_status merge_by_heap(const stlora_bpe *bpe, stlora_bpe_work *work, stlora_error *err)
{
    size_t count = work->symbols.count;
    int32_t *ids = work->symbols.data;
    if (count >= NONE) return stlora_fail(err, STLORA_E_FORMAT, "a word of %zu symbols is too long", count);
    STLORA_TRY(stlora_grow(&work->links, &work->links_capacity, count, sizeof *work->links, "symbols", err));
    neighbours *links = work->links;
    for (size_t i = 0; i < count; i++) {
        links[i].before = i > 0 ? (uint32_t)i - 1 : NONE;
        links[i].after = i + 1 < count ? (uint32_t)i + 1 : NONE;
    }
    work->heap_count = 0;
    for (size_t i = 0; i + 1 < count; i++)
        STLORA_TRY(propose(bpe, work, (uint32_t)i, err));
    while (work->heap_count > 0) {
        candidate top = work->heap[0];
        work->heap[0] = work->heap[--work->heap_count];
        if (work->heap_count > 0) sift_down(work->heap, work->heap_count, 0);
        uint32_t right = links[top.at].after;
        if (ids[top.at] < 0 || right == NONE) continue;
        const stlora_merge *merge = stlora_merge_find(&bpe->merges, ids[top.at], ids[right]);
        if (!merge || merge->id != top.id) continue;
        ids[top.at] = top.id;
        ids[right] = -1;
        links[top.at].after = links[right].after;
        if (links[right].after != NONE) links[links[right].after].before = top.at;
        if (links[top.at].before != NONE) STLORA_TRY(propose(bpe, work, links[top.at].before, err));
        STLORA_TRY(propose(bpe, work, top.at, err));
    }
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (ids[i] >= 0) ids[kept++] = ids[i];
    work->symbols.count = kept;
    return STLORA_OK;
}

/* ---- words ---- */

/* Leaves the ids of a word in work->symbols. */
static stlora_status merge_word(const stlora_bpe *bpe, stlora_bpe_work *work, const char *word, size_t length,
                                stlora_error *err)
{
    work->symbols.count = 0;
    if (bpe->ignore_merges) {
        int32_t id = stlora_piece_map_find(bpe->raw ? &bpe->words : &bpe->vocabulary, word, length);
        if (id >= 0) return stlora_ids_push(&work->symbols, id, err);
    }
    if (bpe->raw)
        STLORA_TRY(split_bytes(bpe, work, word, length, err));
    else
        STLORA_TRY(split_characters(bpe, work, word, length, err));
    if (work->symbols.count > SCAN_SYMBOLS || bpe->prefix_length > 0) return merge_by_heap(bpe, work, err);
    merge_by_scan(bpe, &work->symbols);
    return STLORA_OK;
}

static stlora_status encode_word(const stlora_bpe *bpe, stlora_bpe_work *work, const char *word, size_t length,
                                 stlora_ids *out, stlora_error *err)
{
    if (!work->cache || length > STLORA_CACHED_BYTES) {
        STLORA_TRY(merge_word(bpe, work, word, length, err));
        return push_all(out, work->symbols.data, work->symbols.count, err);
    }
    const stlora_word_key key = stlora_word_key_make(word, length);
    stlora_cached_word *place = stlora_word_cache_place(work->cache, key);
    if (!stlora_word_cache_holds(place, key)) {
        STLORA_TRY(merge_word(bpe, work, word, length, err));
        stlora_word_cache_put(place, key, work->symbols.data, work->symbols.count);
        return push_all(out, work->symbols.data, work->symbols.count, err);
    }
    STLORA_TRY(stlora_grow(&out->data, &out->capacity, out->count + STLORA_CACHED_IDS, sizeof *out->data, "ids", err));
    for (size_t i = 0; i < STLORA_CACHED_IDS && place->ids[i] >= 0; i++)
        out->data[out->count++] = place->ids[i];
    return STLORA_OK;
}

static bool is_alone(const stlora_bpe *bpe, char c)
{
    return (unsigned char)c < 128 && bpe->alone[(unsigned char)c];
}

/* The end of the longest part of text from `at` on that no merge leaves: a character that merges with nothing, or
 * white-space marks and then other characters. */
static size_t next_cut(const stlora_bpe *bpe, const char *text, size_t length, size_t at)
{
    static const char mark[] = "\xE2\x96\x81";
    size_t end = at;
    if (is_alone(bpe, text[at])) return at + 1;
    while (length - end >= 3 && memcmp(text + end, mark, 3) == 0)
        end += 3;
    for (; end < length; end++) {
        if (is_alone(bpe, text[end])) return end;
        if (text[end] == mark[0] && length - end >= 3 && memcmp(text + end, mark, 3) == 0) return end;
    }
    return length;
}

stlora_status stlora_bpe_encode(const stlora_bpe *bpe, stlora_bpe_work *work, const char *word, size_t length,
                                stlora_ids *out, stlora_error *err)
{
    if (length == 0) return STLORA_OK;
    if (!bpe->cut_at_mark) return encode_word(bpe, work, word, length, out, err);
    for (size_t at = 0, end; at < length; at = end) {
        end = next_cut(bpe, word, length, at);
        STLORA_TRY(encode_word(bpe, work, word + at, end - at, out, err));
    }
    return STLORA_OK;
}
