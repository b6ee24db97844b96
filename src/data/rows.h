/* rows.h: a JSONL or JSON file of training rows, and what kind of rows they are.
 *
 * Data's way: file -> rows (here) -> examples: ids + labels (example.h) -> order (sampler.h) -> packed batch (pack.h).
 * Tests: tests/data/test_rows.c.
 */
#ifndef STLORA_DATA_ROWS_H
#define STLORA_DATA_ROWS_H

#include "base/error.h"
#include "base/threads.h"
#include "stlora/types.h"
#include "text/chat.h"

/* X(enumerator, name that is printed). */
#define STLORA_ROW_KINDS(X)                                                                                            \
    X(TEXT, "text")                                                                                                    \
    X(PROMPT_COMPLETION, "prompt, completion")                                                                         \
    X(INSTRUCTION, "instruction, input, output")                                                                       \
    X(QUESTION_ANSWER, "question, answer")                                                                             \
    X(INPUT_IDS, "input_ids, labels")                                                                                  \
    X(CHOICE, "prompt, choices, label")                                                                                \
    X(MESSAGES, "messages")

typedef enum stlora_row_kind {
#define STLORA_ROW_KIND_ENUM(name, text) STLORA_ROW_##name,
    STLORA_ROW_KINDS(STLORA_ROW_KIND_ENUM)
#undef STLORA_ROW_KIND_ENUM
} stlora_row_kind;

const char *stlora_row_kind_name(stlora_row_kind kind);

/* One row, borrowed for the length of the callback. Text rows of all kinds come as prompt + completion:
 *   text                 has_prompt false, prompt "", completion = text
 *   prompt, completion   as they are, nothing put between them
 *   instruction, ...     prompt = Alpaca's wording around instruction and input (two wordings: with an input, and where it is
 *                        absent, null or ""), completion = output
 *   question, answer     prompt = question and one line break (none is added to a question that ends in one), completion = answer
 *   choices              prompt as it is, completion ""; the caller puts a choice into completion to encode it
 *   messages             neither; conversation */
typedef struct stlora_row {
    stlora_row_kind kind;
    const char *file;
    int64_t line;      /* from 1; in a JSON array: the element, from 1 */
    const char *where; /* to begin a sentence with: "rows.jsonl line 7", "rows.json element 7" */
    bool has_prompt;
    const char *prompt, *completion; /* UTF-8, may hold NUL: use the lengths */
    size_t prompt_length, completion_length;
    const int64_t *input_ids, *labels; /* INPUT_IDS; labels NULL = supervise every id */
    size_t id_count;
    const char *const *choices; /* CHOICE */
    const size_t *choice_lengths;
    size_t choice_count, answer;      /* answer: index of the right choice */
    stlora_conversation conversation; /* MESSAGES; checked */
} stlora_row;

typedef stlora_status (*stlora_row_callback)(void *context, const stlora_row *row, stlora_error *err);

/* Workers that share the rows of a file. Each block of rows is cut into as many stretches as there are workers; worker w is
 * called back for each row of stretch w, in order, with contexts[w], beside the others; then collect is called once for each
 * worker, in the order of the stretches, from the caller's thread. So what is collected is in the order of the file, whatever
 * the number of workers. */
typedef struct stlora_row_team {
    size_t workers;
    stlora_team *threads; /* that run the workers; NULL: the caller, one after another */
    stlora_row_callback callback;
    void *const *contexts;                                                   /* [workers] */
    stlora_status (*collect)(void *owner, void *context, stlora_error *err); /* NULL: nothing is collected */
    void *owner;
} stlora_row_team;

/* The kind of a row is that of the first line here all of whose keys it has, so that a rendering kept beside the parts of
 * a row does not hide them; any further keys are ignored:
 *   input_ids > messages or conversations > prompt, choices, label > prompt, completion > instruction, output >
 *   question, answer > text
 * Every key of the kind must hold the right type; null is as good as absent for the optional ones, input and labels.
 *
 * stlora_rows_read: calls back for every row of path, in order, streaming: a block of about a MiB of lines is held at a time, or the
 * longest line (JSON lines; blank lines are skipped), or the one array is. The kind is told from the first row of the first file (*kind_known false on entry), and a row of
 * another kind is STLORA_E_FORMAT with file and line. A file without rows is E_FORMAT. The callback's
 * failure ends the reading and is returned. A row that fits no shape of the contract is E_FORMAT naming the keys found. A file whose
 * first non-blank byte is '[' is one array. Carriage returns before line breaks, a byte order mark at the start and a missing last
 * line break are tolerated. path may be a pipe. *kind_known and *kind change on success only. */
STLORA_NODISCARD stlora_status stlora_rows_read(const char *path, bool *kind_known, stlora_row_kind *kind,
                                                stlora_row_callback callback, void *context, stlora_error *err);

/* stlora_rows_share: the same by a team. The failure returned is the first one in the order of the file, and nothing behind it has
 * been collected. */
STLORA_NODISCARD stlora_status stlora_rows_share(const char *path, bool *kind_known, stlora_row_kind *kind,
                                                 const stlora_row_team *team, stlora_error *err);

#endif
