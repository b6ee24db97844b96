/* word_cache.h: the ids of words seen before. Of fixed size: a word's place is its hash, and a newer word takes the place of
 * an older one. An entry is half a cache line, so that finding a word touches memory once; longer words, or words of more
 * ids, are not kept. One cache belongs to one thread. Internal to text/. Guarded by tests/text/test_word_cache.c. */
#ifndef STLORA_TEXT_WORD_CACHE_H
#define STLORA_TEXT_WORD_CACHE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "text/tokenizer.h"

enum { STLORA_CACHED_BYTES = 15, STLORA_CACHED_IDS = 4, STLORA_CACHE_BITS = 15 };

/* A word as 16 bytes: its own, zeros, its length. */
typedef struct stlora_word_key {
    uint64_t half[2];
} stlora_word_key;

typedef struct stlora_cached_word {
    stlora_word_key key;            /* length 0: free */
    int32_t ids[STLORA_CACHED_IDS]; /* -1 behind the last */
} stlora_cached_word;

/* stlora_word_key_make: 1 <= length <= STLORA_CACHED_BYTES. */
static inline stlora_word_key stlora_word_key_make(const char *word, size_t length)
{
    unsigned char bytes[sizeof(stlora_word_key)] = {0};
    stlora_word_key key;
    memcpy(bytes, word, length);
    bytes[sizeof bytes - 1] = (unsigned char)length;
    memcpy(&key, bytes, sizeof key);
    return key;
}

/* stlora_word_cache_place: the entry where a word is, if it is there. cache has 2^STLORA_CACHE_BITS entries, all zero at first. */
static inline stlora_cached_word *stlora_word_cache_place(stlora_cached_word *cache, stlora_word_key key)
{
    uint64_t hash = (key.half[0] ^ key.half[1] >> 23) * UINT64_C(0x9E3779B97F4A7C15);
    hash = (hash ^ hash >> 32 ^ key.half[1]) * UINT64_C(0xD6E8FEB86659FD93);
    return &cache[hash >> (64 - STLORA_CACHE_BITS)];
}

static inline bool stlora_word_cache_holds(const stlora_cached_word *entry, stlora_word_key key)
{
    return entry->key.half[0] == key.half[0] && entry->key.half[1] == key.half[1];
}

/* stlora_word_cache_put: the ids of a word into its place; too many are not kept. */
static inline void stlora_word_cache_put(stlora_cached_word *place, stlora_word_key key, const int32_t *ids,
                                         size_t count)
{
    if (count > STLORA_CACHED_IDS) return;
    place->key = key;
    for (size_t i = 0; i < STLORA_CACHED_IDS; i++)
        place->ids[i] = i < count ? ids[i] : -1;
}

#endif
