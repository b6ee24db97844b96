/* example.h: rows as token ids with a label mask; the set of all examples of a run.
 * Tests: tests/data/test_example.c.
 */
#ifndef STLORA_DATA_EXAMPLE_H
#define STLORA_DATA_EXAMPLE_H

#include "data/rows.h"
#include "text/tokenizer.h"

/* One example. What is to be predicted in the place of ids[i] from ids[0..i-1] is stlora_example_target. */
typedef struct stlora_example {
    const int32_t *ids;         /* [length] */
    const int32_t *labels;      /* [length], -1 = not supervised; NULL = the ids themselves */
    int64_t length, supervised; /* supervised: how many targets >= 0 */
    int64_t first;              /* nothing before it is supervised; at least 1, since nothing stands before ids[0] */
    int64_t row;                /* number of the row in the data, from 0, over all files, dropped ones counted */
} stlora_example;

/* stlora_example_target: ids[i], or labels[i] where given; -1 = not supervised. 0 <= i < length. */
static inline int32_t stlora_example_target(const stlora_example *example, int64_t i)
{
    if (i < example->first) return -1;
    return example->labels ? example->labels[i] : example->ids[i];
}

typedef struct stlora_examples stlora_examples; /* opaque, growing; ids lie in blocks that never move */

typedef struct stlora_example_options {
    const stlora_tokenizer *tokenizer; /* NULL allowed for INPUT_IDS rows */
    const stlora_chat *chat;           /* how MESSAGES rows are written; NULL = they are not supported */
    int32_t eos;                       /* appended for training unless the text ends in it; -1 = none */
    int64_t max_length;                /* tokens; longer rows are cut at the end and counted; 0 = no limit */
    int64_t vocab_size;                /* ids at or beyond it are E_FORMAT with file, line, place; 0 = no limit */
    int completion_only; /* 0 every token; else the completion's where rows have one, the assistant's of {"messages"} rows, every token of {"text"} rows:
                                          -1 (not asked for) and 1 (asked for) are the same. "labels" of a row always stand */
    stlora_team *team;   /* shares the rows; any number of threads gives the same examples and the same failure; NULL = the caller alone */
} stlora_example_options;

typedef struct stlora_example_counts {
    int64_t rows, dropped /* nothing supervised */, cut /* longer than max_length */,
        prompt_no_prefix;       /* of all rows */
    int64_t tokens, supervised; /* of the examples kept */
    int64_t longest;            /* tokens of the longest of them */
} stlora_example_counts;

/* stlora_examples_read: all rows of the files as examples, in order.
 *
 * prompt and completion are encoded as one text with the tokenizer's own special tokens; labels start after as many ids as the
 * prompt alone has (rows where those ids are no prefix are counted, labels still start there); eos is appended unless the last id
 * is it already, and belongs to the completion; a row cut at its end has lost it. MESSAGES rows are the text that the chat template makes, encoded without special tokens
 * of the tokenizer's own and without an eos; labels are where tokens hold an answer (text/chat.h, text/token_spans.h).
 * INPUT_IDS rows are taken as they are (labels[i] belongs to ids[i], -100 = not supervised). Rows without a supervised
 * token are dropped and counted; none left is STLORA_E_FORMAT. CHOICE rows are E_FORMAT here ("for eval --task choice"), and so are
 * text rows without a tokenizer. *out and *kind change on success only. Pair with _free. */
STLORA_NODISCARD stlora_status stlora_examples_read(stlora_examples **out, const char *const *paths, size_t path_count,
                                                    const stlora_example_options *options, stlora_row_kind *kind,
                                                    stlora_error *err);
void stlora_examples_free(stlora_examples *examples);
size_t stlora_examples_count(const stlora_examples *examples);
stlora_example stlora_examples_at(const stlora_examples *examples, size_t i); /* borrowed */
const stlora_example_counts *stlora_examples_counts(const stlora_examples *examples);
size_t stlora_examples_bytes(const stlora_examples *examples); /* memory held, for the plan */

/* stlora_encode_row: ids of one row as in the rule above, for score, eval and generate: special tokens as the tokenizer has
 * them, nothing appended. *ids is emptied first and filled; on failure it holds nothing of use. *prompt_ids is how many ids the
 * prompt alone has (0 without a prompt), and *prompt_is_prefix whether those are the first ids of the row: where they are not,
 * *prompt_ids may even be more than ids->count. A row of kind CHOICE is encoded with the completion that the caller put into it.
 * INPUT_IDS rows are copied; of MESSAGES rows the chat template makes the text, to which nothing is added. STLORA_E_FORMAT with file and line:
 * what the tokenizer or the template refuses, or text where encoder is NULL. STLORA_E_UNSUPPORTED: messages where chat is NULL or has no
 * template. */
STLORA_NODISCARD stlora_status stlora_encode_row(stlora_encoder *encoder, const stlora_chat *chat, const stlora_row *row,
                                                 stlora_ids *ids, size_t *prompt_ids, bool *prompt_is_prefix,
                                                 stlora_error *err);

#endif
