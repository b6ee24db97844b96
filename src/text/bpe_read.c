/* bpe_read.c: the "model" of tokenizer.json, and the tables behind bpe.c's fast paths. Invariant: every merge names
 * pieces that the vocabulary has, every id is below STLORA_LARGEST_ID and has one piece.
 * Guarded by tests/text/test_tokenizer_bad.c (refusals) and test_tokenizer_golden.c (the tables). */
#include "text/bpe.h"

#include <assert.h>
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
    *bpe = (stlora_bpe){0};
}

/* ---- vocabulary and merges, from their text ---- */

/* Why the reader of place's text gave up; the words about what is wrong are jansson's, from the whole file. */
static stlora_status no_json(const stlora_json_reader *reader, const stlora_bpe_text *text, const stlora_place *place,
                             stlora_error *err)
{
    json_t *value;
    const stlora_place *file = place;
    while (file->above)
        file = file->above;
    if (reader->status == STLORA_E_NOMEM)
        return stlora_fail(err, STLORA_E_NOMEM, "%s: no memory for its JSON", file->name);
    STLORA_TRY(stlora_json_parse(&value, text->file.text, text->file.length, file->name, err));
    json_decref(value);
    return stlora_place_fail(place, STLORA_E_FORMAT, err, "cannot be read");
}

/* The value that the reader stands before, built; a reader that cannot gets the status. */
static stlora_status take_any(stlora_json_reader *reader, json_t **value)
{
    stlora_json_span span = stlora_json_take_value(reader);
    if (reader->status == STLORA_OK) reader->status = stlora_json_parse(value, span.text, span.length, "", NULL);
    return reader->status;
}

static stlora_status read_id(stlora_json_reader *reader, int32_t *id, const stlora_place *place, stlora_error *err)
{
    int32_t small;
    json_int_t found;
    if (stlora_json_take_integer(reader, &small)) {
        found = small;
    } else {
        json_t *value = NULL;
        STLORA_TRY(take_any(reader, &value));
        bool integer = json_is_integer(value);
        found = json_integer_value(value);
        stlora_status status = integer ? STLORA_OK : stlora_wanted(place, "an integer", value, err);
        json_decref(value);
        STLORA_TRY(status);
    }
    if (found < 0 || found > STLORA_LARGEST_ID)
        return stlora_place_fail(place, STLORA_E_FORMAT, err, "wanted an id from 0 to %d, found %lld",
                                 STLORA_LARGEST_ID, (long long)found);
    *id = (int32_t)found;
    return STLORA_OK;
}

/* Adds a piece; one that is there twice is the reader's affair, as in any object. */
static stlora_status add_piece(stlora_bpe *bpe, stlora_json_reader *reader, const char *piece, size_t length,
                               int32_t id, const stlora_place *place, stlora_error *err)
{
    const char *other;
    size_t other_length;
    bool there;
    if (stlora_piece_map_text(&bpe->vocabulary, id, &other, &other_length))
        return stlora_place_fail(place, STLORA_E_FORMAT, err, "id %d belongs to '%.*s' already", (int)id,
                                 other_length > 40 ? 40 : (int)other_length, other);
    STLORA_TRY(stlora_piece_map_add(&bpe->vocabulary, piece, length, id, &there, err));
    if (there) reader->status = STLORA_E_FORMAT;
    return reader->status;
}

/* Walks through the vocabulary: with `add` into the map, otherwise to know how large the map must be. */
static stlora_status walk_vocabulary(stlora_bpe *bpe, stlora_json_reader *reader, bool add, size_t *count, size_t *ids,
                                     const stlora_place *place, stlora_error *err)
{
    const char *piece;
    size_t length;
    while (stlora_json_next(reader, &piece, &length)) {
        char name[80]; /* of the member, for a sentence */
        size_t shown = length < sizeof name ? length : sizeof name - 1;
        stlora_place here = {place, name, 0};
        int32_t id = 0;
        memcpy(name, piece, shown);
        name[shown] = '\0';
        STLORA_TRY(read_id(reader, &id, &here, err));
        if (add) STLORA_TRY(add_piece(bpe, reader, piece, length, id, &here, err));
        ++*count;
        if ((size_t)id >= *ids) *ids = (size_t)id + 1;
    }
    return reader->status;
}

static stlora_status read_vocabulary(stlora_bpe *bpe, const stlora_bpe_text *text, const stlora_place *place,
                                     stlora_error *err)
{
    stlora_status status = STLORA_OK;
    size_t count = 0, ids = 0, again = 0;
    for (int add = 0; add < 2 && status == STLORA_OK; add++) {
        stlora_json_reader reader = stlora_json_reader_open(text->vocab);
        if (add) status = stlora_piece_map_create(&bpe->vocabulary, count, ids, err);
        if (status == STLORA_OK) status = walk_vocabulary(bpe, &reader, add, add ? &again : &count, &ids, place, err);
        if (reader.status != STLORA_OK) status = no_json(&reader, text, place, err);
        stlora_json_reader_close(&reader);
    }
    return status;
}

typedef struct merge_reading {
    stlora_bpe *bpe;
    uint32_t rank;       /* of the next merge */
    int32_t last;        /* what the one before became */
    stlora_bytes joined; /* the pieces of one merge behind one another */
} merge_reading;

static stlora_status piece_id(const stlora_bpe *bpe, const char *piece, size_t length, int32_t *id,
                              const stlora_place *place, stlora_error *err)
{
    *id = stlora_piece_map_find(&bpe->vocabulary, piece, length);
    if (*id >= 0) return STLORA_OK;
    return stlora_place_fail(place, STLORA_E_FORMAT, err, "the vocabulary has no '%.*s'",
                             length > 80 ? 80 : (int)length, piece);
}

/* What a merge becomes: mostly the piece of the one before or the one behind it, which is near in memory. */
static stlora_status joined_id(merge_reading *r, const char *piece, size_t length, const stlora_place *place,
                               stlora_error *err)
{
    for (int32_t id = r->last; id <= r->last + 1; id++) {
        const char *text;
        size_t size;
        if (!stlora_piece_map_text(&r->bpe->vocabulary, id, &text, &size) || size != length) continue;
        if (length && memcmp(text, piece, length) != 0) continue;
        r->last = id;
        return STLORA_OK;
    }
    return piece_id(r->bpe, piece, length, &r->last, place, err);
}

/* One merge, of which r->joined is the left piece, left_length bytes, and then the right one with its prefix. */
static stlora_status put_merge(merge_reading *r, size_t left_length, const stlora_place *place, stlora_error *err)
{
    static const char mark[] = "\xE2\x96\x81";
    stlora_bpe *bpe = r->bpe;
    stlora_bytes *joined = &r->joined;
    const char *pieces = joined->data ? joined->data : "";
    size_t right_length = joined->count - left_length, prefix = bpe->prefix_length;
    char *right_piece = joined->data + left_length;
    int32_t left, right;
    STLORA_TRY(piece_id(bpe, pieces, left_length, &left, place, err));
    STLORA_TRY(piece_id(bpe, pieces + left_length, right_length, &right, place, err));
    if (right_length < prefix)
        return stlora_place_fail(place, STLORA_E_FORMAT, err, "'%.*s' is shorter than the prefix '%.40s'",
                                 right_length > 80 ? 80 : (int)right_length, pieces + left_length, bpe->prefix);
    bool right_marked = right_length >= 3 && memcmp(right_piece, mark, 3) == 0;
    bool left_marked = left_length >= 3 && memcmp(right_piece - 3, mark, 3) == 0;
    if (right_marked && !left_marked) bpe->cut_at_mark = false;

    if (prefix) memmove(right_piece, right_piece + prefix, right_length - prefix);
    STLORA_TRY(joined_id(r, pieces, joined->count - prefix, place, err));
    stlora_merge_map_put(&bpe->merges, left, right, r->rank++, r->last);
    return STLORA_OK;
}

/* "left right"; a string that begins with #version is no merge. */
static stlora_status read_merge_string(merge_reading *r, const char *text, size_t length, const stlora_place *place,
                                       stlora_error *err)
{
    static const char version[] = "#version";
    if (length >= sizeof version - 1 && memcmp(text, version, sizeof version - 1) == 0) return STLORA_OK;
    const char *space = length ? memchr(text, ' ', length) : NULL;
    size_t left = space ? (size_t)(space - text) : 0;
    if (!space || memchr(space + 1, ' ', length - left - 1))
        return stlora_place_fail(place, STLORA_E_FORMAT, err, "wanted two pieces with a space between, found '%.*s'",
                                 length > 80 ? 80 : (int)length, text);
    STLORA_TRY(stlora_bytes_append(&r->joined, text, left, err));
    STLORA_TRY(stlora_bytes_append(&r->joined, space + 1, length - left - 1, err));
    return put_merge(r, left, place, err);
}

/* ["left", "right"]; *pair is false when it is something else. */
static stlora_status read_merge_pair(merge_reading *r, stlora_json_span span, bool *pair, const stlora_place *place,
                                     stlora_error *err)
{
    stlora_json_reader reader = stlora_json_reader_open(span);
    stlora_status status = STLORA_OK;
    const char *key, *piece;
    size_t length, left = 0, count = 0;
    while (status == STLORA_OK && stlora_json_next(&reader, &key, &length) && !key &&
           stlora_json_take_string(&reader, &piece, &length)) {
        if (count++ == 1) left = r->joined.count;
        status = stlora_bytes_append(&r->joined, piece, length, err);
    }
    *pair = count == 2 && reader.status == STLORA_OK && reader.at == reader.end;
    stlora_json_reader_close(&reader);
    return status == STLORA_OK && *pair ? put_merge(r, left, place, err) : status;
}

static stlora_status read_merge(merge_reading *r, stlora_json_reader *reader, const stlora_place *place,
                                stlora_error *err)
{
    const char *text;
    size_t length;
    bool pair = false;
    r->joined.count = 0;
    if (stlora_json_take_string(reader, &text, &length)) return read_merge_string(r, text, length, place, err);
    stlora_json_span span = stlora_json_take_value(reader);
    if (reader->status != STLORA_OK) return reader->status;
    if (*span.text == '[') STLORA_TRY(read_merge_pair(r, span, &pair, place, err));
    if (pair) return STLORA_OK;
    json_t *value;
    reader->status = stlora_json_parse(&value, span.text, span.length, "", NULL);
    if (reader->status != STLORA_OK) return reader->status;
    stlora_status status = stlora_wanted(place, "a string or two strings", value, err);
    json_decref(value);
    return status;
}

static stlora_status read_merges(stlora_bpe *bpe, const stlora_bpe_text *text, const stlora_place *place,
                                 stlora_error *err)
{
    merge_reading r = {.bpe = bpe};
    const char *key;
    size_t count = 0, index = 0, length;
    stlora_json_reader counter = stlora_json_reader_open(text->merges), reader = counter;
    while (stlora_json_next(&counter, &key, &length)) {
        (void)stlora_json_take_value(&counter);
        count++;
    }
    stlora_json_reader_close(&counter);
    stlora_status status = stlora_merge_map_create(&bpe->merges, count, err);
    while (status == STLORA_OK && index < count && stlora_json_next(&reader, &key, &length)) {
        stlora_place here = {place, NULL, index++};
        status = read_merge(&r, &reader, &here, err);
    }
    if (reader.status != STLORA_OK) status = no_json(&reader, text, place, err);
    stlora_json_reader_close(&reader);
    stlora_bytes_free(&r.joined);
    return status;
}

/* ---- the rest of the model ---- */

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

static stlora_status read_options(stlora_bpe *bpe, const json_t *model, const stlora_place *place, stlora_error *err)
{
    const char *type;
    size_t length = 0;
    bool vocab_and_merges = json_is_object(json_object_get(model, "vocab")) && json_object_get(model, "merges");
    /* Files from before 2021 do not say the type; then vocab and merges tell. */
    STLORA_TRY(stlora_member_string(model, "type", !vocab_and_merges, &type, &length, place, err));
    if (type && strcmp(type, "BPE") != 0)
        return stlora_place_fail(place, STLORA_E_UNSUPPORTED, err, "the model type '%.40s' is not supported, only BPE",
                                 type);
    const json_t *dropout = json_object_get(model, "dropout");
    if (dropout && !json_is_null(dropout) && !(json_is_number(dropout) && json_number_value(dropout) == 0))
        return stlora_place_fail(place, STLORA_E_UNSUPPORTED, err, "dropout is not supported, only null and 0");
    STLORA_TRY(stlora_member_bool(model, "fuse_unk", false, &bpe->fuse_unk, place, err));
    STLORA_TRY(stlora_member_bool(model, "byte_fallback", false, &bpe->byte_fallback, place, err));
    STLORA_TRY(stlora_member_bool(model, "ignore_merges", false, &bpe->ignore_merges, place, err));
    STLORA_TRY(copy_member(&bpe->unk, &length, model, "unk_token", place, err));
    STLORA_TRY(copy_member(&bpe->prefix, &bpe->prefix_length, model, "continuing_subword_prefix", place, err));
    return copy_member(&bpe->suffix, &bpe->suffix_length, model, "end_of_word_suffix", place, err);
}

stlora_status stlora_bpe_read(stlora_bpe *bpe, const json_t *model, const stlora_bpe_text *text,
                              const stlora_place *place, stlora_error *err)
{
    if (!json_is_object(model)) return stlora_wanted(place, "an object", model, err);
    STLORA_TRY(read_options(bpe, model, place, err));
    const json_t *vocab = json_object_get(model, "vocab"), *merges;
    stlora_place vocab_place = {place, "vocab", 0}, merges_place = {place, "merges", 0};
    if (!json_is_object(vocab)) return stlora_wanted(&vocab_place, "an object", vocab, err);
    STLORA_TRY(read_vocabulary(bpe, text, &vocab_place, err));
    STLORA_TRY(stlora_member_array(model, "merges", &merges, place, err));
    bpe->cut_at_mark = true; /* until a merge reaches over the mark */
    STLORA_TRY(read_merges(bpe, text, &merges_place, err));

    bpe->unk_id = bpe->unk ? stlora_piece_map_find(&bpe->vocabulary, bpe->unk, strlen(bpe->unk)) : -1;
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
        bool there = false;
        if (status == STLORA_OK && all)
            status = stlora_piece_map_add(&bpe->words, raw.data, raw.count, (int32_t)id, &there, err);
        assert(!there); /* the alphabet spells a byte string one way */
    }
    stlora_bytes_free(&raw);
    return status;
}

static stlora_status find_alone(stlora_bpe *bpe, stlora_error *err)
{
    bool *merged;
    for (unsigned byte = 0; byte < 256; byte++)
        if (!bpe->byte_fallback || bpe->fallback[byte] < 0) return STLORA_OK;
    STLORA_TRY(stlora_alloc(&merged, bpe->vocabulary.ids, sizeof *merged, "vocabulary", err));
    for (size_t i = 0; i <= bpe->merges.slot_mask; i++) {
        uint64_t pair = bpe->merges.slots[i].pair;
        if (pair != STLORA_NO_PAIR) merged[pair >> 32] = merged[(uint32_t)pair] = true;
    }
    for (unsigned char c = 0; c < 128; c++) {
        int32_t id = stlora_piece_map_find(&bpe->vocabulary, (const char[]){(char)c}, 1);
        bpe->alone[c] = !merged[id >= 0 ? id : bpe->fallback[c]];
    }
    stlora_free(merged);
    return STLORA_OK;
}

stlora_status stlora_bpe_prepare(stlora_bpe *bpe, bool byte_level, stlora_error *err)
{
    bool plain = bpe->prefix_length == 0 && bpe->suffix_length == 0;
    bpe->raw = byte_level && plain;
    for (unsigned byte = 0; byte < 256; byte++) {
        stlora_bytes spelt = {0};
        STLORA_TRY(stlora_byte_level_spell(&spelt, (const char[]){(char)(unsigned char)byte}, 1, err));
        bpe->byte_id[byte] = stlora_piece_map_find(&bpe->vocabulary, spelt.data, spelt.count);
        if (bpe->byte_id[byte] < 0) bpe->raw = false;
        stlora_bytes_free(&spelt);
    }
    /* The mark must be a symbol of its own: then what is on its left cannot wait for what is on its right. */
    if (bpe->raw || !plain || bpe->ignore_merges || stlora_piece_map_find(&bpe->vocabulary, "\xE2\x96\x81", 3) < 0)
        bpe->cut_at_mark = false;
    if (bpe->cut_at_mark) STLORA_TRY(find_alone(bpe, err));
    return bpe->raw && bpe->ignore_merges ? spell_out_words(bpe, err) : STLORA_OK;
}
