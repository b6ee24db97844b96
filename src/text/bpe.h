/* bpe.h: the model: words to ids by byte pair encoding. Internal to text/.
 *
 * A word is cut into characters, each one is looked up in the vocabulary, and then, again and again, the neighbours
 * whose merge has the lowest rank (the leftmost of them) become one, until no neighbours merge.
 * Source: Sennrich, Haddow, Birch, ACL 2016; byte fallback and unknown characters as the tokenizers library has them.
 */
#ifndef STLORA_TEXT_BPE_H
#define STLORA_TEXT_BPE_H

#include "text/json_place.h"
#include "text/json_text.h"
#include "text/piece_map.h"
#include "text/tokenizer.h"

typedef struct stlora_bpe {
    stlora_piece_map vocabulary; /* contents as the file spells them */
    stlora_merge_map merges;
    char *unk, *prefix, *suffix; /* NULL when the file names none */
    size_t prefix_length, suffix_length;
    int32_t unk_id; /* -1: unk is not in the vocabulary */
    bool fuse_unk, byte_fallback, ignore_merges;
    int32_t fallback[256]; /* ids of "<0x00>" to "<0xFF>", -1 where missing */

    /* raw: words come as the bytes that a byte-level vocabulary spells; with ignore_merges they are looked up as such
     * in `words`, which is empty otherwise. */
    bool raw;
    int32_t byte_id[256]; /* id of each byte's character */
    stlora_piece_map words;

    /* cut_at_mark: no merge reaches over a boundary before U+2581, so a text may be cut there. */
    bool cut_at_mark;
    bool alone[128]; /* with cut_at_mark: the ASCII characters that take part in no merge, so that a text may be cut
                      * before and behind them; all false where a character may be unknown */
} stlora_bpe;

/* Where the two large members of the file's "model" stand. */
typedef struct stlora_bpe_text {
    stlora_json_span file, vocab, merges;
} stlora_bpe_text;

/* stlora_bpe_read: fills *bpe, all zero, from the file's "model", in which vocab and merges may be empty: what they hold is
 * in text. Free it whatever happens. */
STLORA_NODISCARD stlora_status stlora_bpe_read(stlora_bpe *bpe, const json_t *model, const stlora_bpe_text *text,
                                               const stlora_place *place, stlora_error *err);

/* stlora_bpe_prepare: builds the tables behind the fast paths, once, after _read; byte_level tells that the last
 * pre-tokenizer spells bytes in the byte-level alphabet. From then on bpe->raw tells how words are to be given. */
STLORA_NODISCARD stlora_status stlora_bpe_prepare(stlora_bpe *bpe, bool byte_level, stlora_error *err);
void stlora_bpe_free(stlora_bpe *bpe);

/* What encoding works with: symbols, heap, and, from _remember on, the words it has seen. One thread at a time. */
typedef struct stlora_bpe_work stlora_bpe_work;

STLORA_NODISCARD stlora_status stlora_bpe_work_create(stlora_bpe_work **out, stlora_error *err);

/* stlora_bpe_work_remember: from now on words are looked up among those seen before; their ids are the same. */
STLORA_NODISCARD stlora_status stlora_bpe_work_remember(stlora_bpe_work *work, stlora_error *err);
void stlora_bpe_work_free(stlora_bpe_work *work);

/* stlora_bpe_encode: appends the ids of one word: valid UTF-8, or, with bpe->raw, any bytes.
 * STLORA_E_FORMAT when the unknown token is needed and not in the vocabulary. */
STLORA_NODISCARD stlora_status stlora_bpe_encode(const stlora_bpe *bpe, stlora_bpe_work *work, const char *word,
                                                 size_t length, stlora_ids *out, stlora_error *err);

#endif
