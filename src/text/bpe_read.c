/* bpe_read.c: the "model" of tokenizer.json, and the tables behind bpe.c's fast paths. Invariant: every merge names
 * pieces that the vocabulary has, every id is below STLORA_LARGEST_ID and has one piece.
 * Guarded by tests/text/test_tokenizer_bad.c (refusals) and test_tokenizer_golden.c (the tables). */
#include "text/bpe.h"

#include <stdio.h>

#include "text/byte_level.h"

void stlora_bpe_free(stlora_bpe *bpe)
{
    stlora_piece_map_free(&bpe->vocabulary);
    stlora_piece_map_free(&bpe->words);
    stlora_merge_map_free(&bpe->merges);
    stlora_free(bpe->unk);
    stlora_free(bpe->prefix);
    stlora_free(bpe->suffix);
    stlora_free(bpe->settled);
    *bpe = (stlora_bpe){0};
}

static stlora_status read_vocabulary(stlora_bpe *bpe, json_t *vocab, const stlora_place *place,
                                     stlora_error *err)
{
    const char *content;
    json_t *value;
    json_int_t largest = -1;
    json_object_foreach(vocab, content, value)
    {
        stlora_place here = {place, content, 0};
        if (!json_is_integer(value)) return stlora_wanted(&here, "an integer", value, err);
        json_int_t id = json_integer_value(value);
        if (id < 0 || id > STLORA_LARGEST_ID)
            return stlora_place_fail(&here, STLORA_E_FORMAT, err,
                                     "wanted an id from 0 to %d, found %lld", STLORA_LARGEST_ID,
                                     (long long)id);
        if (id > largest) largest = id;
    }
    STLORA_TRY(stlora_piece_map_create(&bpe->vocabulary, json_object_size(vocab),
                                       (size_t)(largest + 1), err));
    json_object_foreach(vocab, content, value)
    {
        stlora_place here = {place, content, 0};
        int32_t id = (int32_t)json_integer_value(value);
        const char *other;
        size_t length;
        if (stlora_piece_map_text(&bpe->vocabulary, id, &other, &length))
            return stlora_place_fail(&here, STLORA_E_FORMAT, err, "id %d belongs to '%.*s' already",
                                     (int)id, length > 40 ? 40 : (int)length, other);
        STLORA_TRY(stlora_piece_map_add(&bpe->vocabulary, content, strlen(content), id, err));
    }
    return STLORA_OK;
}

/* One merge: "left right" or ["left", "right"]; a string that begins with #version is none. */
static stlora_status merge_parts(const json_t *merge, const char *parts[2], size_t lengths[2],
                                 bool *none, const stlora_place *place, stlora_error *err)
{
    *none = false;
    if (json_is_string(merge)) {
        const char *text = json_string_value(merge), *space = strchr(text, ' ');
        *none = strncmp(text, "#version", 8) == 0;
        if (*none) return STLORA_OK;
        if (!space || strchr(space + 1, ' '))
            return stlora_place_fail(place, STLORA_E_FORMAT, err,
                                     "wanted two pieces with a space between, found '%.80s'", text);
        parts[0] = text;
        lengths[0] = (size_t)(space - text);
        parts[1] = space + 1;
        lengths[1] = strlen(space + 1);
        return STLORA_OK;
    }
    if (!json_is_array(merge) || json_array_size(merge) != 2 ||
        !json_is_string(json_array_get(merge, 0)) || !json_is_string(json_array_get(merge, 1)))
        return stlora_wanted(place, "a string or two strings", merge, err);
    for (size_t i = 0; i < 2; i++) {
        parts[i] = json_string_value(json_array_get(merge, i));
        lengths[i] = json_string_length(json_array_get(merge, i));
    }
    return STLORA_OK;
}

static stlora_status piece_id(const stlora_bpe *bpe, const char *piece, size_t length, int32_t *id,
                              const stlora_place *place, stlora_error *err)
{
    *id = stlora_piece_map_find(&bpe->vocabulary, piece, length);
    if (*id >= 0) return STLORA_OK;
    return stlora_place_fail(place, STLORA_E_FORMAT, err, "the vocabulary has no '%.*s'",
                             length > 80 ? 80 : (int)length, piece);
}

static stlora_status read_merge(stlora_bpe *bpe, const json_t *merge, uint32_t *rank,
                                stlora_bytes *joined, const stlora_place *place, stlora_error *err)
{
    const char *parts[2] = {"", ""};
    size_t lengths[2] = {0};
    int32_t left, right, both;
    bool none;
    STLORA_TRY(merge_parts(merge, parts, lengths, &none, place, err));
    if (none) return STLORA_OK;
    STLORA_TRY(piece_id(bpe, parts[0], lengths[0], &left, place, err));
    STLORA_TRY(piece_id(bpe, parts[1], lengths[1], &right, place, err));
    if (lengths[1] < bpe->prefix_length)
        return stlora_place_fail(place, STLORA_E_FORMAT, err,
                                 "'%.80s' is shorter than the prefix '%.40s'", parts[1],
                                 bpe->prefix);
    joined->count = 0;
    STLORA_TRY(stlora_bytes_append(joined, parts[0], lengths[0], err));
    STLORA_TRY(stlora_bytes_append(joined, parts[1] + bpe->prefix_length,
                                   lengths[1] - bpe->prefix_length, err));
    STLORA_TRY(piece_id(bpe, joined->data ? joined->data : "", joined->count, &both, place, err));
    stlora_merge_map_put(&bpe->merges, left, right, (*rank)++, both);

    static const char mark[] = "\xE2\x96\x81";
    bool right_marked = lengths[1] >= 3 && memcmp(parts[1], mark, 3) == 0;
    bool left_marked = lengths[0] >= 3 && memcmp(parts[0] + lengths[0] - 3, mark, 3) == 0;
    if (right_marked && !left_marked) bpe->cut_at_mark = false;
    return STLORA_OK;
}

static stlora_status read_merges(stlora_bpe *bpe, const json_t *merges, const stlora_place *place,
                                 stlora_error *err)
{
    stlora_bytes joined = {0};
    stlora_status status = stlora_merge_map_create(&bpe->merges, json_array_size(merges), err);
    uint32_t rank = 0;
    for (size_t i = 0; status == STLORA_OK && i < json_array_size(merges); i++) {
        stlora_place here = {place, NULL, i};
        status = read_merge(bpe, json_array_get(merges, i), &rank, &joined, &here, err);
    }
    stlora_bytes_free(&joined);
    return status;
}

static stlora_status copy_member(char **out, size_t *length, const json_t *model, const char *key,
                                 const stlora_place *place, stlora_error *err)
{
    const char *text;
    size_t bytes;
    STLORA_TRY(stlora_member_string(model, key, false, &text, &bytes, place, err));
    if (!text) return STLORA_OK;
    STLORA_TRY(stlora_strdup_n(out, text, bytes, err));
    *length = bytes;
    return STLORA_OK;
}

static stlora_status read_options(stlora_bpe *bpe, const json_t *model, const stlora_place *place,
                                  stlora_error *err)
{
    const char *type;
    size_t length = 0;
    bool vocab_and_merges =
        json_is_object(json_object_get(model, "vocab")) && json_object_get(model, "merges");
    /* Files from before 2021 do not say the type; then vocab and merges tell. */
    STLORA_TRY(stlora_member_string(model, "type", !vocab_and_merges, &type, &length, place, err));
    if (type && strcmp(type, "BPE") != 0)
        return stlora_place_fail(place, STLORA_E_UNSUPPORTED, err,
                                 "the model type '%.40s' is not supported, only BPE", type);
    const json_t *dropout = json_object_get(model, "dropout");
    if (dropout && !json_is_null(dropout))
        return stlora_place_fail(place, STLORA_E_UNSUPPORTED, err,
                                 "dropout is not supported, only null");
    STLORA_TRY(stlora_member_bool(model, "fuse_unk", false, &bpe->fuse_unk, place, err));
    STLORA_TRY(stlora_member_bool(model, "byte_fallback", false, &bpe->byte_fallback, place, err));
    STLORA_TRY(stlora_member_bool(model, "ignore_merges", false, &bpe->ignore_merges, place, err));
    STLORA_TRY(copy_member(&bpe->unk, &length, model, "unk_token", place, err));
    STLORA_TRY(copy_member(&bpe->prefix, &bpe->prefix_length, model, "continuing_subword_prefix",
                           place, err));
    return copy_member(&bpe->suffix, &bpe->suffix_length, model, "end_of_word_suffix", place, err);
}

stlora_status stlora_bpe_read(stlora_bpe *bpe, const json_t *model, const stlora_place *place,
                              stlora_error *err)
{
    if (!json_is_object(model)) return stlora_wanted(place, "an object", model, err);
    STLORA_TRY(read_options(bpe, model, place, err));
    json_t *vocab = json_object_get(model, "vocab");
    const json_t *merges;
    stlora_place vocab_place = {place, "vocab", 0}, merges_place = {place, "merges", 0};
    if (!json_is_object(vocab)) return stlora_wanted(&vocab_place, "an object", vocab, err);
    STLORA_TRY(read_vocabulary(bpe, vocab, &vocab_place, err));
    STLORA_TRY(stlora_member_array(model, "merges", &merges, place, err));
    bpe->cut_at_mark = true; /* until a merge reaches over the mark */
    STLORA_TRY(read_merges(bpe, merges, &merges_place, err));

    bpe->unk_id =
        bpe->unk ? stlora_piece_map_find(&bpe->vocabulary, bpe->unk, strlen(bpe->unk)) : -1;
    for (unsigned byte = 0; byte < 256; byte++) {
        char name[8];
        int length = snprintf(name, sizeof name, "<0x%02X>", byte);
        bpe->fallback[byte] = stlora_piece_map_find(&bpe->vocabulary, name, (size_t)length);
    }
    return STLORA_OK;
}

/* The vocabulary under the bytes that its pieces spell; pieces with other characters never equal a word. */
static stlora_status spell_out_words(stlora_bpe *bpe, stlora_error *err)
{
    STLORA_TRY(stlora_piece_map_create(&bpe->words, bpe->vocabulary.ids, bpe->vocabulary.ids, err));
    stlora_bytes raw = {0};
    stlora_status status = STLORA_OK;
    for (size_t id = 0; status == STLORA_OK && id < bpe->vocabulary.ids; id++) {
        const char *piece;
        size_t length;
        bool all;
        if (!stlora_piece_map_text(&bpe->vocabulary, (int32_t)id, &piece, &length)) continue;
        raw.count = 0;
        status = stlora_byte_level_read(&raw, piece, length, &all, err);
        if (status == STLORA_OK && all)
            status = stlora_piece_map_add(&bpe->words, raw.data, raw.count, (int32_t)id, err);
    }
    stlora_bytes_free(&raw);
    return status;
}

/* Encodes every piece of the vocabulary once. A piece that cannot be encoded is not settled: its error, if it is one,
 * belongs to the text that has it. */
static stlora_status settle(stlora_bpe *bpe, stlora_error *err)
{
    const stlora_piece_map *words = bpe->raw ? &bpe->words : &bpe->vocabulary;
    stlora_bpe_work *work = NULL;
    stlora_ids ids = {0};
    bool *settled = NULL;
    STLORA_TRY(stlora_bpe_work_create(&work, false, err));
    stlora_status status = stlora_alloc(&settled, words->ids, sizeof *settled, "vocabulary", err);
    for (size_t id = 0; status == STLORA_OK && id < words->ids; id++) {
        const char *piece;
        size_t length;
        if (!stlora_piece_map_text(words, (int32_t)id, &piece, &length)) continue;
        stlora_error why = {0};
        ids.count = 0;
        stlora_status encoded = stlora_bpe_encode(bpe, work, piece, length, &ids, &why);
        if (encoded == STLORA_E_NOMEM) status = stlora_fail(err, encoded, "%s", why.text);
        settled[id] = encoded == STLORA_OK && ids.count == 1 && ids.data[0] == (int32_t)id;
    }
    stlora_bpe_work_free(work);
    stlora_ids_free(&ids);
    if (status != STLORA_OK) {
        stlora_free(settled);
        return status;
    }
    bpe->settled = settled;
    return STLORA_OK;
}

stlora_status stlora_bpe_prepare(stlora_bpe *bpe, bool byte_level, stlora_error *err)
{
    bool plain = bpe->prefix_length == 0 && bpe->suffix_length == 0;
    bpe->raw = byte_level && plain;
    for (unsigned byte = 0; byte < 256; byte++) {
        stlora_bytes spelt = {0};
        STLORA_TRY(
            stlora_byte_level_spell(&spelt, (const char[]){(char)(unsigned char)byte}, 1, err));
        bpe->byte_id[byte] = stlora_piece_map_find(&bpe->vocabulary, spelt.data, spelt.count);
        if (bpe->byte_id[byte] < 0) bpe->raw = false;
        stlora_bytes_free(&spelt);
    }
    /* The mark must be a symbol of its own: then what is on its left cannot wait for what is on its right. */
    if (bpe->raw || !plain || bpe->ignore_merges ||
        stlora_piece_map_find(&bpe->vocabulary, "\xE2\x96\x81", 3) < 0)
        bpe->cut_at_mark = false;
    if (bpe->raw) STLORA_TRY(spell_out_words(bpe, err));
    return plain && !bpe->ignore_merges ? settle(bpe, err) : STLORA_OK;
}
