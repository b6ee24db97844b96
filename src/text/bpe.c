/* bpe.c: see bpe.h. The two ways of merging (a scan for short words, a heap for long ones) give the same ids: both take
 * the merge of lowest rank, leftmost first. Guarded by tests/text/test_tokenizer_golden.c, test_tokenizer_small.c. */
#include "text/bpe.h"

#include <assert.h>

#include "text/byte_level.h"
#include "text/utf8.h"

enum {
    SCAN_SYMBOLS = 32, /* up to here a scan over all neighbours is faster than a heap */
    CACHE_ENTRIES = 1 << 13,
    CACHE_WORD = 64,       /* longer words are not remembered */
    CACHE_BYTES = 1 << 22, /* of words or ids; when full, all is forgotten */
};

typedef struct cached_word {
    uint64_t hash;
    uint32_t word, ids; /* where they begin in the work's cached_words and cached_ids */
    uint16_t length, count;
} cached_word; /* length 0: free */

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
    stlora_bytes spelt; /* one character with prefix or suffix */
    cached_word *cache; /* NULL: no cache */
    stlora_bytes cached_words;
    stlora_ids cached_ids;
};

stlora_status stlora_bpe_work_create(stlora_bpe_work **out, bool with_cache, stlora_error *err)
{
    stlora_bpe_work *work;
    STLORA_TRY(stlora_alloc(&work, 1, sizeof *work, "tokenizer", err));
    if (with_cache) {
        stlora_status status =
            stlora_alloc(&work->cache, CACHE_ENTRIES, sizeof *work->cache, "tokenizer", err);
        if (status != STLORA_OK) {
            stlora_bpe_work_free(work);
            return status;
        }
    }
    *out = work;
    return STLORA_OK;
}

void stlora_bpe_work_free(stlora_bpe_work *work)
{
    if (!work) return;
    stlora_ids_free(&work->symbols);
    stlora_free(work->links);
    stlora_free(work->heap);
    stlora_bytes_free(&work->spelt);
    stlora_free(work->cache);
    stlora_bytes_free(&work->cached_words);
    stlora_ids_free(&work->cached_ids);
    stlora_free(work);
}

static stlora_status push_all(stlora_ids *out, const int32_t *ids, size_t count, stlora_error *err)
{
    STLORA_TRY(
        stlora_grow(&out->data, &out->capacity, out->count + count, sizeof *out->data, "ids", err));
    if (count) memcpy(out->data + out->count, ids, count * sizeof *ids);
    out->count += count;
    return STLORA_OK;
}

/* ---- characters to symbols ---- */

/* The id of the character word[at, at + size) with the prefix of a later and the suffix of the last one. */
static stlora_status character_id(const stlora_bpe *bpe, stlora_bpe_work *work, const char *word,
                                  size_t length, size_t at, size_t size, int32_t *id,
                                  stlora_error *err)
{
    bool prefixed = at > 0 && bpe->prefix_length > 0,
         suffixed = at + size == length && bpe->suffix_length > 0;
    if (!prefixed && !suffixed) {
        *id = stlora_piece_map_find(&bpe->vocabulary, word + at, size);
        return STLORA_OK;
    }
    work->spelt.count = 0;
    if (prefixed)
        STLORA_TRY(stlora_bytes_append(&work->spelt, bpe->prefix, bpe->prefix_length, err));
    STLORA_TRY(stlora_bytes_append(&work->spelt, word + at, size, err));
    if (suffixed)
        STLORA_TRY(stlora_bytes_append(&work->spelt, bpe->suffix, bpe->suffix_length, err));
    *id = stlora_piece_map_find(&bpe->vocabulary, work->spelt.data, work->spelt.count);
    return STLORA_OK;
}

/* The bytes of what was looked up as "<0x..>" symbols; *all is false, nothing pushed, when one of them is missing. */
static stlora_status fall_back(const stlora_bpe *bpe, stlora_bpe_work *work, const char *bytes,
                               size_t size, bool *all, stlora_error *err)
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
static stlora_status split_characters(const stlora_bpe *bpe, stlora_bpe_work *work,
                                      const char *word, size_t length, stlora_error *err)
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
            STLORA_TRY(fall_back(bpe, work, spelt ? work->spelt.data : word + at,
                                 spelt ? work->spelt.count : size, &all, err));
            if (all) continue;
        }
        if (!bpe->unk) continue;
        if (bpe->unk_id < 0)
            return stlora_fail(err, STLORA_E_FORMAT,
                               "the text has '%.*s', which the vocabulary does not have, nor the "
                               "unknown token '%s'",
                               (int)size, word + at, bpe->unk);
        if (waiting && !bpe->fuse_unk)
            STLORA_TRY(stlora_ids_push(&work->symbols, bpe->unk_id, err));
        waiting = true;
    }
    if (waiting) STLORA_TRY(stlora_ids_push(&work->symbols, bpe->unk_id, err));
    return STLORA_OK;
}

static stlora_status split_bytes(const stlora_bpe *bpe, stlora_bpe_work *work, const char *word,
                                 size_t length, stlora_error *err)
{
    stlora_ids *symbols = &work->symbols;
    STLORA_TRY(
        stlora_grow(&symbols->data, &symbols->capacity, length, sizeof *symbols->data, "ids", err));
    for (size_t i = 0; i < length; i++)
        symbols->data[i] = bpe->byte_id[(unsigned char)word[i]];
    symbols->count = length;
    return STLORA_OK;
}

/* ---- merging ---- */

static void merge_by_scan(const stlora_bpe *bpe, stlora_ids *symbols)
{
    const stlora_merge *merges[SCAN_SYMBOLS]; /* of symbol i and i + 1 */
    int32_t *ids = symbols->data;
    size_t count = symbols->count;
    for (size_t i = 0; i + 1 < count; i++)
        merges[i] = stlora_merge_find(&bpe->merges, ids[i], ids[i + 1]);
    for (;;) {
        size_t best = count;
        uint32_t rank = UINT32_MAX;
        for (size_t i = 0; i + 1 < count; i++) {
            if (!merges[i] || (best < count && merges[i]->rank >= rank)) continue;
            rank = merges[i]->rank;
            best = i;
        }
        if (best == count) break;
        ids[best] = merges[best]->id;
        count--;
        for (size_t i = best + 1; i < count; i++) {
            ids[i] = ids[i + 1];
            merges[i - 1] = merges[i];
        }
        if (best > 0) merges[best - 1] = stlora_merge_find(&bpe->merges, ids[best - 1], ids[best]);
        if (best + 1 < count)
            merges[best] = stlora_merge_find(&bpe->merges, ids[best], ids[best + 1]);
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
    STLORA_TRY(stlora_grow(&work->heap, &work->heap_capacity, work->heap_count + 1,
                           sizeof *work->heap, "merges", err));
    size_t at = work->heap_count++;
    for (; at > 0 && comes_before(&entry, &work->heap[(at - 1) / 2]); at = (at - 1) / 2)
        work->heap[at] = work->heap[(at - 1) / 2];
    work->heap[at] = entry;
    return STLORA_OK;
}

/* Puts the merge of the symbol at `left` and the one after it, if they have one. */
static stlora_status propose(const stlora_bpe *bpe, stlora_bpe_work *work, uint32_t left,
                             stlora_error *err)
{
    uint32_t right = work->links[left].after;
    if (right == NONE) return STLORA_OK;
    const stlora_merge *merge =
        stlora_merge_find(&bpe->merges, work->symbols.data[left], work->symbols.data[right]);
    if (!merge) return STLORA_OK;
    return heap_push(work, (candidate){merge->rank, left, merge->id}, err);
}

/* O(n log n): symbols in a linked list, possible merges in a heap; an entry whose neighbours have changed since is
 * dropped when it comes up. A symbol that is gone has id -1. */
static stlora_status merge_by_heap(const stlora_bpe *bpe, stlora_bpe_work *work, stlora_error *err)
{
    size_t count = work->symbols.count;
    int32_t *ids = work->symbols.data;
    if (count >= NONE)
        return stlora_fail(err, STLORA_E_FORMAT, "a word of %zu symbols is too long", count);
    STLORA_TRY(stlora_grow(&work->links, &work->links_capacity, count, sizeof *work->links,
                           "symbols", err));
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

static const cached_word *look_up_seen(const stlora_bpe_work *work, const char *word, size_t length,
                                       uint64_t hash)
{
    const cached_word *entry = &work->cache[hash % CACHE_ENTRIES];
    if (entry->hash != hash || entry->length != length) return NULL;
    return memcmp(work->cached_words.data + entry->word, word, length) == 0 ? entry : NULL;
}

static stlora_status remember(stlora_bpe_work *work, const char *word, size_t length, uint64_t hash,
                              stlora_error *err)
{
    if (work->cached_words.count + length > CACHE_BYTES ||
        work->cached_ids.count + length > CACHE_BYTES) {
        memset(work->cache, 0, CACHE_ENTRIES * sizeof *work->cache);
        work->cached_words.count = work->cached_ids.count = 0;
    }
    cached_word entry = {hash, (uint32_t)work->cached_words.count, (uint32_t)work->cached_ids.count,
                         (uint16_t)length, (uint16_t)work->symbols.count};
    STLORA_TRY(stlora_bytes_append(&work->cached_words, word, length, err));
    STLORA_TRY(push_all(&work->cached_ids, work->symbols.data, work->symbols.count, err));
    work->cache[hash % CACHE_ENTRIES] = entry;
    return STLORA_OK;
}

static stlora_status encode_word(const stlora_bpe *bpe, stlora_bpe_work *work, const char *word,
                                 size_t length, stlora_ids *out, stlora_error *err)
{
    const stlora_piece_map *words = bpe->raw ? &bpe->words : &bpe->vocabulary;
    uint64_t hash = 0;
    bool remembered = work->cache && length <= CACHE_WORD;
    if (remembered || length <= words->longest) {
        hash = stlora_piece_hash(word, length);
        int32_t id = stlora_piece_map_find_hashed(words, word, length, hash);
        if (id >= 0 && (bpe->ignore_merges || (bpe->settled && bpe->settled[id])))
            return stlora_ids_push(out, id, err);
        const cached_word *seen = remembered ? look_up_seen(work, word, length, hash) : NULL;
        if (seen) return push_all(out, work->cached_ids.data + seen->ids, seen->count, err);
    }
    work->symbols.count = 0;
    if (bpe->raw)
        STLORA_TRY(split_bytes(bpe, work, word, length, err));
    else
        STLORA_TRY(split_characters(bpe, work, word, length, err));
    if (work->symbols.count > SCAN_SYMBOLS || bpe->prefix_length > 0)
        STLORA_TRY(merge_by_heap(bpe, work, err));
    else
        merge_by_scan(bpe, &work->symbols);
    if (remembered) STLORA_TRY(remember(work, word, length, hash, err));
    return push_all(out, work->symbols.data, work->symbols.count, err);
}

/* The end of the longest part of text from `at` on that no merge leaves: white-space marks, then other characters. */
static size_t next_cut(const char *text, size_t length, size_t at)
{
    static const char mark[] = "\xE2\x96\x81";
    size_t end = at;
    while (length - end >= 3 && memcmp(text + end, mark, 3) == 0)
        end += 3;
    while (end < length) {
        const char *lead = memchr(text + end, mark[0], length - end);
        if (!lead) return length;
        end = (size_t)(lead - text);
        if (length - end >= 3 && memcmp(lead, mark, 3) == 0) return end;
        end++;
    }
    return length;
}

stlora_status stlora_bpe_encode(const stlora_bpe *bpe, stlora_bpe_work *work, const char *word,
                                size_t length, stlora_ids *out, stlora_error *err)
{
    if (length == 0) return STLORA_OK;
    if (!bpe->cut_at_mark) return encode_word(bpe, work, word, length, out, err);
    for (size_t at = 0, end; at < length; at = end) {
        end = next_cut(word, length, at);
        STLORA_TRY(encode_word(bpe, work, word + at, end - at, out, err));
    }
    return STLORA_OK;
}
