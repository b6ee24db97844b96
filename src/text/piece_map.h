/* piece_map.h: the two hash tables of a vocabulary: byte string <-> id, and pair of ids -> merge. Internal to text/.
 * Both are filled while loading and only read afterwards. */
#ifndef STLORA_TEXT_PIECE_MAP_H
#define STLORA_TEXT_PIECE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text/byte_string.h"

enum {
    STLORA_LARGEST_ID = 16 * 1024 * 1024
}; /* a larger one in a file is refused: tables are indexed by id */

typedef struct stlora_piece {
    uint32_t begin, length; /* in the map's bytes; begin STLORA_NO_PIECE: no piece has this id */
} stlora_piece;

#define STLORA_NO_PIECE UINT32_MAX

typedef struct stlora_piece_slot {
    uint32_t hash; /* upper half of the piece's hash: most misses end here */
    int32_t id;    /* -1: free */
} stlora_piece_slot;

typedef struct stlora_piece_map {
    stlora_piece_slot *slots;
    size_t slot_mask;     /* count of slots - 1, a power of two at least twice the pieces */
    stlora_piece *pieces; /* by id */
    size_t ids;           /* largest id + 1 */
    stlora_bytes bytes;
    size_t longest;
} stlora_piece_map;

/* stlora_piece_map_create: an empty map for at most `count` pieces with ids below `ids`. Pair with _free. */
STLORA_NODISCARD stlora_status stlora_piece_map_create(stlora_piece_map *map, size_t count,
                                                       size_t ids, stlora_error *err);
void stlora_piece_map_free(stlora_piece_map *map);

/* stlora_piece_map_add: puts a piece under an id that has none yet (assert). A piece that is there already stays as it is, and
 * *there says so. */
STLORA_NODISCARD stlora_status stlora_piece_map_add(stlora_piece_map *map, const char *bytes, size_t length, int32_t id,
                                                    bool *there, stlora_error *err);

/* stlora_piece_map_find: the piece's id, -1 when it has none. */
int32_t stlora_piece_map_find(const stlora_piece_map *map, const char *bytes, size_t length);

/* stlora_piece_map_text: the piece of an id, borrowed; false when there is none. */
static inline bool stlora_piece_map_text(const stlora_piece_map *map, int32_t id,
                                         const char **bytes, size_t *length)
{
    if (id < 0 || (size_t)id >= map->ids || map->pieces[id].begin == STLORA_NO_PIECE) return false;
    *bytes = map->bytes.data + map->pieces[id].begin;
    *length = map->pieces[id].length;
    return true;
}

typedef struct stlora_merge {
    uint64_t pair; /* left id << 32 | right id; STLORA_NO_PAIR: free slot */
    uint32_t rank; /* lower merges first */
    int32_t id;    /* of what they become */
} stlora_merge;

#define STLORA_NO_PAIR UINT64_MAX

typedef struct stlora_merge_map {
    stlora_merge *slots;
    size_t slot_mask;
    int shift; /* 64 - log2(count of slots) */
} stlora_merge_map;

STLORA_NODISCARD stlora_status stlora_merge_map_create(stlora_merge_map *map, size_t count,
                                                       stlora_error *err);
void stlora_merge_map_free(stlora_merge_map *map);

/* stlora_merge_map_put: a pair that is there already gets the new rank (the library's later line wins). */
void stlora_merge_map_put(stlora_merge_map *map, int32_t left, int32_t right, uint32_t rank,
                          int32_t id);

static inline size_t stlora_merge_home(const stlora_merge_map *map, uint64_t pair)
{
    return (size_t)((pair ^ pair >> 29) * UINT64_C(0x9E3779B97F4A7C15) >> map->shift);
}

/* stlora_merge_find: the merge of two neighbours, NULL when there is none. */
static inline const stlora_merge *stlora_merge_find(const stlora_merge_map *map, int32_t left,
                                                    int32_t right)
{
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    for (size_t at = stlora_merge_home(map, pair);; at = (at + 1) & map->slot_mask) {
        const stlora_merge *slot = &map->slots[at];
        if (slot->pair == pair) return slot;
        if (slot->pair == STLORA_NO_PAIR) return NULL;
    }
}

#endif
