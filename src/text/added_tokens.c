/* added_tokens.c: see added_tokens.h. The search is leftmost, then longest, over a trie of bytes.
 * Guarded by tests/text/test_tokenizer_golden.c and test_tokenizer_small.c. */
#include "text/added_tokens.h"

#include "text/utf8.h"

struct stlora_trie_node {
    int32_t child, sibling, token; /* -1: none */
    unsigned char byte;
};

void stlora_added_free(stlora_added_tokens *added)
{
    for (size_t i = 0; i < added->count; i++) {
        stlora_free(added->tokens[i].content);
        stlora_free(added->tokens[i].normal);
    }
    stlora_free(added->tokens);
    stlora_piece_map_free(&added->contents);
    stlora_free(added->by_id);
    stlora_free(added->given.nodes);
    stlora_free(added->normal.nodes);
    stlora_pattern_free(&added->word);
    *added = (stlora_added_tokens){0};
}

const stlora_added_token *stlora_added_by_id(const stlora_added_tokens *added, int32_t id)
{
    if (id < 0 || (size_t)id >= added->ids || added->by_id[id] < 0) return NULL;
    return &added->tokens[added->by_id[id]];
}

const stlora_added_token *stlora_added_find(const stlora_added_tokens *added, const char *content,
                                            size_t length)
{
    return stlora_added_by_id(added, stlora_piece_map_find(&added->contents, content, length));
}

/* ---- reading ---- */

/* Walks down from *link among siblings to the node of byte, made where missing. */
static stlora_status trie_step(stlora_trie *trie, int32_t parent, unsigned char byte, int32_t *node,
                               stlora_error *err)
{
    int32_t first = parent < 0 ? trie->first[byte] : trie->nodes[parent].child;
    for (int32_t at = first; at >= 0; at = trie->nodes[at].sibling) {
        if (trie->nodes[at].byte != byte) continue;
        *node = at;
        return STLORA_OK;
    }
    if (trie->count >= INT32_MAX)
        return stlora_fail(err, STLORA_E_NOMEM, "added tokens: more than 2 GiB of text");
    STLORA_TRY(stlora_grow(&trie->nodes, &trie->capacity, trie->count + 1, sizeof *trie->nodes,
                           "added tokens", err));
    *node = (int32_t)trie->count++;
    trie->nodes[*node] =
        (stlora_trie_node){.child = -1, .sibling = first, .token = -1, .byte = byte};
    if (parent < 0)
        trie->first[byte] = *node;
    else
        trie->nodes[parent].child = *node;
    return STLORA_OK;
}

/* Of two tokens that look the same the first one counts. */
static stlora_status trie_add(stlora_trie *trie, const char *text, size_t length, size_t token,
                              stlora_error *err)
{
    int32_t node = -1;
    for (size_t i = 0; i < length; i++)
        STLORA_TRY(trie_step(trie, node, (unsigned char)text[i], &node, err));
    if (node >= 0 && trie->nodes[node].token < 0) trie->nodes[node].token = (int32_t)token;
    return STLORA_OK;
}

/* The id that the library gives: the file's must be the same, or rows of the embedding would be taken for others. */
static stlora_status check_id(const stlora_added_tokens *added, const stlora_piece_map *vocabulary,
                              const stlora_added_token *token, int32_t *next,
                              const stlora_place *place, stlora_error *err)
{
    int32_t known = stlora_piece_map_find(vocabulary, token->content, token->length);
    const char *other;
    size_t length;
    if (stlora_piece_map_find(&added->contents, token->content, token->length) >= 0)
        return stlora_place_fail(place, STLORA_E_FORMAT, err, "'%.80s' is there twice",
                                 token->content);
    if (stlora_piece_map_text(&added->contents, token->id, &other, &length))
        return stlora_place_fail(place, STLORA_E_FORMAT, err,
                                 "id %d of '%.80s' belongs to '%.*s' already", (int)token->id,
                                 token->content, length > 80 ? 80 : (int)length, other);
    if (known >= 0 && known != token->id)
        return stlora_place_fail(place, STLORA_E_FORMAT, err,
                                 "'%.80s' has id %d here and %d in the vocabulary", token->content,
                                 (int)token->id, (int)known);
    if (known >= 0) return STLORA_OK;
    if (stlora_piece_map_text(vocabulary, token->id, &other, &length))
        return stlora_place_fail(
            place, STLORA_E_FORMAT, err, "id %d of '%.80s' belongs to '%.*s' in the vocabulary",
            (int)token->id, token->content, length > 80 ? 80 : (int)length, other);
    if (token->id != *next)
        return stlora_place_fail(
            place, STLORA_E_FORMAT, err,
            "'%.80s' has id %d, but the next token behind the vocabulary gets %d", token->content,
            (int)token->id, (int)*next);
    ++*next;
    return STLORA_OK;
}

static stlora_status read_flags(stlora_added_token *token, const json_t *item,
                                const stlora_place *place, stlora_error *err)
{
    STLORA_TRY(stlora_member_bool(item, "special", false, &token->special, place, err));
    STLORA_TRY(
        stlora_member_bool(item, "normalized", !token->special, &token->normalized, place, err));
    STLORA_TRY(stlora_member_bool(item, "single_word", false, &token->single_word, place, err));
    STLORA_TRY(stlora_member_bool(item, "lstrip", false, &token->lstrip, place, err));
    return stlora_member_bool(item, "rstrip", false, &token->rstrip, place, err);
}

static stlora_status normal_form(stlora_added_token *token, const stlora_normalizer *normalizer,
                                 stlora_normal_work *work, stlora_error *err)
{
    const char *text = token->content;
    size_t length = token->length;
    size_t origin = 0;
    STLORA_TRY(stlora_normalize(normalizer, work, &text, &length, &origin, err));
    token->normal_length = length;
    return stlora_strdup_n(&token->normal, text, length, err);
}

static stlora_status read_id(const json_t *item, int32_t *out, const stlora_place *place,
                             stlora_error *err)
{
    if (!json_is_object(item)) return stlora_wanted(place, "an object", item, err);
    size_t id;
    STLORA_TRY(stlora_member_count(item, "id", &id, place, err));
    if (id > STLORA_LARGEST_ID)
        return stlora_place_fail(place, STLORA_E_FORMAT, err,
                                 "wanted an id from 0 to %d, found %zu", STLORA_LARGEST_ID, id);
    *out = (int32_t)id;
    return STLORA_OK;
}

static stlora_status read_token(stlora_added_tokens *added, const json_t *item,
                                const stlora_piece_map *vocabulary,
                                const stlora_normalizer *normalizer, stlora_normal_work *work,
                                int32_t *next, const stlora_place *place, stlora_error *err)
{
    stlora_added_token token = {0};
    const char *content;
    STLORA_TRY(read_id(item, &token.id, place, err));
    STLORA_TRY(stlora_member_string(item, "content", true, &content, &token.length, place, err));
    STLORA_TRY(read_flags(&token, item, place, err));
    if (token.length == 0)
        return STLORA_OK; /* nothing can be it; the library leaves it out as well */
    STLORA_TRY(stlora_grow(&added->tokens, &added->capacity, added->count + 1,
                           sizeof *added->tokens, "added tokens", err));
    STLORA_TRY(stlora_strdup_n(&token.content, content, token.length, err));
    bool there; /* check_id has looked */
    stlora_status status = check_id(added, vocabulary, &token, next, place, err);
    if (status == STLORA_OK)
        status = stlora_piece_map_add(&added->contents, content, token.length, token.id, &there, err);
    if (status == STLORA_OK && token.normalized)
        status = normal_form(&token, normalizer, work, err);
    added->tokens[added->count++] = token; /* owned from here on, whatever the status */
    return status;
}

static stlora_status index_tokens(stlora_added_tokens *added, stlora_error *err)
{
    bool single_word = false;
    for (size_t i = 0; i < added->count; i++)
        single_word = single_word || added->tokens[i].single_word;
    STLORA_TRY(stlora_alloc(&added->by_id, added->ids, sizeof *added->by_id, "added tokens", err));
    for (size_t id = 0; id < added->ids; id++)
        added->by_id[id] = -1;
    for (int byte = 0; byte < 256; byte++)
        added->given.first[byte] = added->normal.first[byte] = -1;
    for (size_t i = 0; i < added->count; i++) {
        const stlora_added_token *token = &added->tokens[i];
        added->by_id[token->id] = (int32_t)i;
        if (token->normalized)
            STLORA_TRY(trie_add(&added->normal, token->normal, token->normal_length, i, err));
        else
            STLORA_TRY(trie_add(&added->given, token->content, token->length, i, err));
    }
    if (!single_word) return STLORA_OK;
    return stlora_pattern_compile(&added->word,
                                  "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200C}\\x{200D}]", err);
}

stlora_status stlora_added_read(stlora_added_tokens *added, const json_t *array,
                                const stlora_piece_map *vocabulary,
                                const stlora_normalizer *normalizer, const stlora_place *place,
                                stlora_error *err)
{
    if (array && !json_is_null(array) && !json_is_array(array))
        return stlora_wanted(place, "an array", array, err);
    size_t pieces = 0, count = json_array_size(array);
    const char *text;
    for (size_t id = 0, length; id < vocabulary->ids; id++)
        pieces += stlora_piece_map_text(vocabulary, (int32_t)id, &text, &length);
    added->ids = vocabulary->ids;
    for (size_t i = 0; i < count; i++) {
        stlora_place here = {place, NULL, i};
        int32_t id = 0;
        STLORA_TRY(read_id(json_array_get(array, i), &id, &here, err));
        if ((size_t)id >= added->ids) added->ids = (size_t)id + 1;
    }
    STLORA_TRY(stlora_piece_map_create(&added->contents, count, added->ids, err));
    stlora_normal_work work = {0};
    stlora_status status = STLORA_OK;
    int32_t next = (int32_t)pieces;
    for (size_t i = 0; status == STLORA_OK && i < count; i++) {
        stlora_place here = {place, NULL, i};
        status = read_token(added, json_array_get(array, i), vocabulary, normalizer, &work, &next,
                            &here, err);
    }
    stlora_normal_work_free(&work);
    return status == STLORA_OK ? index_tokens(added, err) : status;
}

/* ---- finding ---- */

/* The longest token that begins at text[at]; -1 when none does. */
static int32_t longest_at(const stlora_trie *trie, const char *text, size_t length, size_t at,
                          size_t *end)
{
    int32_t token = -1, node = trie->first[(unsigned char)text[at]];
    while (node >= 0) {
        at++;
        if (trie->nodes[node].token >= 0) {
            token = trie->nodes[node].token;
            *end = at;
        }
        if (at == length) break;
        node = trie->nodes[node].child;
        while (node >= 0 && trie->nodes[node].byte != (unsigned char)text[at])
            node = trie->nodes[node].sibling;
    }
    return token;
}

static stlora_status is_word(const stlora_added_tokens *added, const char *text, size_t begin,
                             bool *word, stlora_error *err)
{
    size_t size, b, e;
    (void)stlora_utf8_read(text + begin, &size);
    stlora_matches walk = {0};
    return stlora_pattern_next(&added->word, text + begin, size, &walk, word, &b, &e, err);
}

static stlora_status stands_alone(const stlora_added_tokens *added, const char *text, size_t length,
                                  size_t begin, size_t end, bool *alone, stlora_error *err)
{
    bool before = false, after = false;
    if (begin > 0) STLORA_TRY(is_word(added, text, stlora_utf8_back(text, begin), &before, err));
    if (end < length) STLORA_TRY(is_word(added, text, end, &after, err));
    *alone = !before && !after;
    return STLORA_OK;
}

/* The library's way with the white space that a token takes along: on the left not what an earlier one has taken, on
 * the right all; but the search itself goes on right behind the token. */
static void take_white_space(const stlora_added_token *token, const char *text, size_t length,
                             size_t done, size_t *begin, size_t *end)
{
    size_t size;
    if (token->lstrip) {
        size_t at = *begin;
        while (at > 0) {
            size_t back = stlora_utf8_back(text, at);
            if (!stlora_is_white_space(stlora_utf8_read(text + back, &size))) break;
            at = back;
        }
        *begin = at > done ? at : done;
    }
    while (token->rstrip && *end < length &&
           stlora_is_white_space(stlora_utf8_read(text + *end, &size)))
        *end += size;
}

stlora_status stlora_added_split(const stlora_added_tokens *added, bool normal, const char *text,
                                 size_t length, stlora_stretch_visitor *visit, void *context,
                                 stlora_error *err)
{
    const stlora_trie *trie = normal ? &added->normal : &added->given;
    size_t done = 0;
    for (size_t at = 0, found_end = 0; trie->count > 0 && at < length;) {
        int32_t index = longest_at(trie, text, length, at, &found_end);
        if (index < 0) {
            at++;
            continue;
        }
        const stlora_added_token *token = &added->tokens[index];
        size_t begin = at, end = found_end;
        at = found_end;
        bool alone = true;
        if (token->single_word)
            STLORA_TRY(stands_alone(added, text, length, begin, end, &alone, err));
        if (!alone) continue;
        take_white_space(token, text, length, done, &begin, &end);
        if (begin >= end) continue; /* all of it was white space that the token before took */
        if (done < begin) STLORA_TRY(visit(context, NULL, text, done, begin, err));
        STLORA_TRY(visit(context, token, text, begin, end, err));
        done = end;
    }
    return done < length ? visit(context, NULL, text, done, length, err) : STLORA_OK;
}
