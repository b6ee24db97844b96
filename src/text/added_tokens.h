/* added_tokens.h: the tokens beside the model's vocabulary, which are found in a text before it is cut into words.
 * Those with normalized false are looked for in the text as given, the others, in their normal form, in the normal
 * form of what lies between. Internal to text/. */
#ifndef STLORA_TEXT_ADDED_TOKENS_H
#define STLORA_TEXT_ADDED_TOKENS_H

#include "text/normalizer.h"
#include "text/piece_map.h"
#include "text/text_pattern.h"

typedef struct stlora_added_token {
    char *content,
        *normal; /* as written, and as the normalizer makes it (NULL where normalized is false) */
    size_t length, normal_length;
    int32_t id;
    bool single_word, lstrip, rstrip, normalized, special;
} stlora_added_token;

typedef struct stlora_trie_node stlora_trie_node;

typedef struct stlora_trie {
    stlora_trie_node *nodes;
    size_t count, capacity;
    int32_t first[256]; /* node of each first byte, -1: none */
} stlora_trie;

typedef struct stlora_added_tokens {
    stlora_added_token *tokens;
    size_t count, capacity;
    stlora_piece_map contents;
    int32_t *by_id; /* index in tokens by id, -1: not an added one */
    size_t ids;     /* largest id of model and added tokens + 1 */
    stlora_trie given, normal;
    stlora_pattern word; /* one word character, when a token is single_word */
} stlora_added_tokens;

/* stlora_added_read: from the file's "added_tokens" (absent: none), numbered as the library numbers them: a token that
 * the vocabulary has keeps its id, the others go on behind its count. Free it whatever happens. */
STLORA_NODISCARD stlora_status stlora_added_read(stlora_added_tokens *added, const json_t *array,
                                                 const stlora_piece_map *vocabulary,
                                                 const stlora_normalizer *normalizer,
                                                 const stlora_place *place, stlora_error *err);
void stlora_added_free(stlora_added_tokens *added);

/* stlora_added_by_id: the added token of an id, NULL when it is none. */
const stlora_added_token *stlora_added_by_id(const stlora_added_tokens *added, int32_t id);

/* stlora_added_find: by content; NULL when there is none. */
const stlora_added_token *stlora_added_find(const stlora_added_tokens *added, const char *content,
                                            size_t length);

/* stlora_added_split: tells the visitor, in their order, the tokens of one kind in text (valid UTF-8) and what lies between
 * them: token NULL, then the stretch text[begin, end), at least one byte. */
typedef stlora_status stlora_stretch_visitor(void *context, const stlora_added_token *token,
                                             const char *text, size_t begin, size_t end,
                                             stlora_error *err);
STLORA_NODISCARD stlora_status stlora_added_split(const stlora_added_tokens *added, bool normal,
                                                  const char *text, size_t length,
                                                  stlora_stretch_visitor *visit, void *context,
                                                  stlora_error *err);

#endif
