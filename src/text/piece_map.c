/* piece_map.c: see piece_map.h. Open addressing with linear probing at most half full, so that every search ends.
 * Guarded by tests/text/test_tokenizer_small.c and, with 400,000 entries, test_tokenizer_golden.c. */
#include "text/piece_map.h"

#include <assert.h>

static uint64_t hash_bytes(const char *bytes, size_t length)
{
    const uint64_t odd = UINT64_C(0xD6E8FEB86659FD93);
    uint64_t hash = (uint64_t)length * odd, word;
    for (; length >= sizeof word; bytes += sizeof word, length -= sizeof word) {
        memcpy(&word, bytes, sizeof word);
        hash = (hash ^ word) * odd;
        hash ^= hash >> 32;
    }
    word = 0;
    if (length) memcpy(&word, bytes, length);
    hash = (hash ^ word) * odd;
    hash ^= hash >> 32;
    hash *= odd;
    return hash ^ hash >> 29;
}

/* The power of two that is at least twice count. */
static stlora_status slot_count(size_t count, size_t *slots, int *bits, stlora_error *err)
{
    if (count > (size_t)1 << 30)
        return stlora_fail(err, STLORA_E_NOMEM, "a table of %zu entries is too large", count);
    *bits = 4;
    while ((size_t)1 << *bits < 2 * count)
        ++*bits;
    *slots = (size_t)1 << *bits;
    return STLORA_OK;
}

stlora_status stlora_piece_map_create(stlora_piece_map *map, size_t count, size_t ids,
                                      stlora_error *err)
{
    size_t slots = 0;
    int bits = 0;
    *map = (stlora_piece_map){0};
    STLORA_TRY(slot_count(count, &slots, &bits, err));
    STLORA_TRY(stlora_alloc(&map->slots, slots, sizeof *map->slots, "vocabulary", err));
    stlora_status status = stlora_alloc(&map->pieces, ids, sizeof *map->pieces, "vocabulary", err);
    if (status != STLORA_OK) {
        stlora_piece_map_free(map);
        return status;
    }
    for (size_t i = 0; i < slots; i++)
        map->slots[i].id = -1;
    for (size_t i = 0; i < ids; i++)
        map->pieces[i].begin = STLORA_NO_PIECE;
    map->slot_mask = slots - 1;
    map->ids = ids;
    return STLORA_OK;
}

void stlora_piece_map_free(stlora_piece_map *map)
{
    stlora_free(map->slots);
    stlora_free(map->pieces);
    stlora_bytes_free(&map->bytes);
    *map = (stlora_piece_map){0};
}

/* The piece's slot, or the free one where it would go. */
static size_t find_slot(const stlora_piece_map *map, const char *bytes, size_t length,
                        uint64_t hash)
{
    for (size_t at = (size_t)hash & map->slot_mask;; at = (at + 1) & map->slot_mask) {
        const stlora_piece_slot *slot = &map->slots[at];
        if (slot->id < 0) return at;
        if (slot->hash != (uint32_t)(hash >> 32)) continue;
        const stlora_piece *piece = &map->pieces[slot->id];
        if (piece->length == length &&
            (!length || memcmp(map->bytes.data + piece->begin, bytes, length) == 0))
            return at;
    }
}

stlora_status stlora_piece_map_add(stlora_piece_map *map, const char *bytes, size_t length, int32_t id, bool *there,
                                   stlora_error *err)
{
    assert(id >= 0 && (size_t)id < map->ids && map->pieces[id].begin == STLORA_NO_PIECE);
    uint64_t hash = hash_bytes(bytes, length);
    size_t at = find_slot(map, bytes, length, hash);
    *there = map->slots[at].id >= 0;
    if (*there) return STLORA_OK;
    if (length >= UINT32_MAX - map->bytes.count)
        return stlora_fail(err, STLORA_E_NOMEM, "the vocabulary's text is longer than 4 GiB");
    stlora_piece piece = {(uint32_t)map->bytes.count, (uint32_t)length};
    STLORA_TRY(stlora_bytes_append(&map->bytes, bytes, length, err));
    map->pieces[id] = piece;
    map->slots[at] = (stlora_piece_slot){(uint32_t)(hash >> 32), id};
    if (length > map->longest) map->longest = length;
    return STLORA_OK;
}

int32_t stlora_piece_map_find(const stlora_piece_map *map, const char *bytes, size_t length)
{
    if (length > map->longest || !map->slots) return -1;
    return map->slots[find_slot(map, bytes, length, hash_bytes(bytes, length))].id;
}

stlora_status stlora_merge_map_create(stlora_merge_map *map, size_t count, stlora_error *err)
{
    size_t slots = 0;
    int bits = 0;
    *map = (stlora_merge_map){0};
    STLORA_TRY(slot_count(count, &slots, &bits, err));
    STLORA_TRY(stlora_alloc(&map->slots, slots, sizeof *map->slots, "merges", err));
    for (size_t i = 0; i < slots; i++)
        map->slots[i].pair = STLORA_NO_PAIR;
    map->slot_mask = slots - 1;
    map->shift = 64 - bits;
    return STLORA_OK;
}

void stlora_merge_map_free(stlora_merge_map *map)
{
    stlora_free(map->slots);
    *map = (stlora_merge_map){0};
}

void stlora_merge_map_put(stlora_merge_map *map, int32_t left, int32_t right, uint32_t rank,
                          int32_t id)
{
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    size_t at = stlora_merge_home(map, pair);
    while (map->slots[at].pair != STLORA_NO_PAIR && map->slots[at].pair != pair)
        at = (at + 1) & map->slot_mask;
    map->slots[at] = (stlora_merge){pair, rank, id};
}
