/* eval_match.c: eval --task exact-match: does the greedy completion of a row's prompt give the row's answer? All rows are read before
 * the first is completed; they end in any order and are reported in theirs. Test: tests/cli/test_eval.py. */
#include <string.h>

#include "api/eval_task.h"
#include "base/memory.h"
#include "data/conversation.h"
#include "model/decoder.h"
#include "train/complete.h"
#include "train/extract.h"

enum { TOKENS_TO_AN_ANSWER = 512 };

typedef struct match {
    char *prompt, *completion; /* the row's */
    stlora_answer wanted;      /* the answer of that */
    int32_t *ids;              /* of the prompt */
    char *found;               /* what was generated; NULL = not yet */
    size_t found_length;
    stlora_answer answer; /* the answer of that */
    bool done;
} match;

typedef struct matching {
    stlora_eval_task *task;
    stlora_extract extract;
    match *rows;
    stlora_prompt *prompts;
    size_t rows_room, prompts_room;
    int64_t correct, no_answer, rows_without_answer;
} matching;

/* The answer that the row itself gives. Either of the two marked forms will do, so that a model that learned the one can be asked what was
 * written in the other. */
static stlora_status wanted_answer(matching *m, const stlora_row *row, stlora_answer *answer, stlora_error *err)
{
    const char *text = row->completion;
    size_t length = row->completion_length;
    STLORA_TRY(stlora_extract_answer(m->extract, text, length, answer, err));
    if (!answer->text && m->extract == STLORA_EXTRACT_GSM8K)
        return stlora_extract_answer(STLORA_EXTRACT_METAMATH, text, length, answer, err);
    if (!answer->text && m->extract == STLORA_EXTRACT_METAMATH)
        return stlora_extract_answer(STLORA_EXTRACT_GSM8K, text, length, answer, err);
    return STLORA_OK;
}

/* Tokens that are made for the row: `wanted` is how many its completion has. */
static int64_t most_of(const matching *m, int64_t prompt, int64_t wanted)
{
    const stlora_transformer *model = m->task->session.model;
    int64_t most = m->task->config->max_new_tokens, left = stlora_decoder_most(model) - prompt;
    const char *turn_end = m->task->session.turn_end_text;
    if (turn_end) wanted += (int64_t)strlen(turn_end); /* no fewer than its tokens */
    if (most == 0) most = m->extract == STLORA_EXTRACT_NONE ? wanted + 1 : TOKENS_TO_AN_ANSWER;
    return most > left ? left + 1 : most; /* the last one need not be fed */
}

/* A row of messages as prompt and completion: its last answer is asked for. What it holds is created. */
static stlora_status last_answer(const matching *m, const stlora_row *row, stlora_chat_text *before,
                                 stlora_row *as_prompt, char **answer, stlora_error *err)
{
    const json_t *messages = row->conversation.messages;
    const size_t last = stlora_chat_last_answer(messages);
    stlora_error why = {0};
    if (m->task->rows == 0) STLORA_TRY(stlora_session_answers(&m->task->session, err));
    if (last == json_array_size(messages))
        return stlora_fail(err, STLORA_E_FORMAT, "%s: no message has the role \"assistant\", whose answer is wanted",
                           row->where);
    stlora_status status =
        stlora_chat_render_first(m->task->session.chat, &row->conversation, last, true, before, &why);
    if (status != STLORA_OK) return stlora_fail(err, status, "%s: %s", row->where, why.text);
    *as_prompt = *row;
    as_prompt->prompt = before->text;
    as_prompt->prompt_length = before->length;
    STLORA_TRY(stlora_message_text(json_array_get(messages, last), answer, &as_prompt->completion_length, err));
    as_prompt->completion = *answer;
    return STLORA_OK;
}

/* Puts the prompt's ids into task->ids; *wanted is how many the completion has. */
static stlora_status encode_prompt(const matching *m, const stlora_row *row, int64_t *wanted, stlora_error *err)
{
    stlora_encoder *encoder = m->task->session.encoder;
    stlora_ids *ids = &m->task->ids;
    const bool chat = row->kind == STLORA_ROW_MESSAGES;
    size_t prompt_ids;
    bool is_prefix;
    if (chat) {
        ids->count = 0;
        STLORA_TRY(stlora_encode(encoder, row->completion, row->completion_length, false, ids, err));
        *wanted = (int64_t)ids->count;
    } else {
        STLORA_TRY(stlora_encode_row(encoder, NULL, row, ids, &prompt_ids, &is_prefix, err));
        *wanted = ids->count > prompt_ids ? (int64_t)(ids->count - prompt_ids) : 0;
    }
    ids->count = 0;
    return stlora_encode(encoder, row->prompt, row->prompt_length, !chat, ids, err);
}

static stlora_status take_prompt(matching *m, const stlora_row *row, stlora_error *err)
{
    stlora_eval_task *task = m->task;
    stlora_ids *ids = &task->ids;
    size_t n = (size_t)task->rows;
    int64_t wanted;
    STLORA_TRY(encode_prompt(m, row, &wanted, err));
    if (ids->count == 0)
        return stlora_fail(err, STLORA_E_FORMAT, "%s: the prompt gives no token to go on from", row->where);
    STLORA_TRY(stlora_eval_ids(task, 0, row->where, err));
    STLORA_TRY(stlora_grow(&m->rows, &m->rows_room, n + 1, sizeof *m->rows, "rows", err));
    STLORA_TRY(stlora_grow(&m->prompts, &m->prompts_room, n + 1, sizeof *m->prompts, "rows", err));
    match *made = &m->rows[n];
    *made = (match){0};
    task->rows++;
    STLORA_TRY(stlora_strdup_n(&made->prompt, row->prompt, row->prompt_length, err));
    STLORA_TRY(stlora_strdup_n(&made->completion, row->completion, row->completion_length, err));
    STLORA_TRY(wanted_answer(m, row, &made->wanted, err));
    m->rows_without_answer += !made->wanted.text;
    STLORA_TRY(stlora_alloc(&made->ids, ids->count, sizeof *made->ids, "rows", err));
    memcpy(made->ids, ids->data, ids->count * sizeof *made->ids);
    m->prompts[n] = (stlora_prompt){made->ids, (int64_t)ids->count, most_of(m, (int64_t)ids->count, wanted)};
    return STLORA_OK;
}

static stlora_status take_row(void *context, const stlora_row *row, stlora_error *err)
{
    matching *m = context;
    if (row->kind == STLORA_ROW_MESSAGES) {
        stlora_chat_text before = {0};
        stlora_row as_prompt;
        char *answer = NULL;
        stlora_status status = last_answer(m, row, &before, &as_prompt, &answer, err);
        if (status == STLORA_OK) status = take_prompt(m, &as_prompt, err);
        stlora_chat_text_free(&before);
        stlora_free(answer);
        return status;
    }
    if (!row->has_prompt || row->kind == STLORA_ROW_CHOICE)
        return stlora_fail(err, STLORA_E_FORMAT,
                           "%s: exact-match wants rows with a prompt and a completion, found \"%s\"", row->where,
                           stlora_row_kind_name(row->kind));
    return take_prompt(m, row, err);
}

/* The text of generated ids. A model may have more rows than its tokenizer has tokens: such an id is a number without text. */
static stlora_status text_of(const matching *m, const int32_t *ids, int64_t count, char **text, size_t *length,
                             stlora_error *err)
{
    const stlora_tokenizer *tokenizer = m->task->session.tokenizer;
    stlora_ids with_text = {0};
    stlora_status status = stlora_tokenizer_decode(tokenizer, ids, (size_t)count, true, text, length, err);
    if (status != STLORA_E_FORMAT) return status;
    status = STLORA_OK;
    for (int64_t i = 0; status == STLORA_OK && i < count; i++) {
        char *alone;
        size_t n;
        status = stlora_tokenizer_decode(tokenizer, ids + i, 1, true, &alone, &n, err);
        if (status == STLORA_OK) {
            stlora_free(alone);
            status = stlora_ids_push(&with_text, ids[i], err);
        } else if (status == STLORA_E_FORMAT) {
            status = STLORA_OK;
        }
    }
    if (status == STLORA_OK)
        status = stlora_tokenizer_decode(tokenizer, with_text.data, with_text.count, true, text, length, err);
    stlora_ids_free(&with_text);
    return status;
}

/* Where `stop` begins in the text, or its end. */
static size_t until(const char *stop, const char *text, size_t length)
{
    const size_t n = strlen(stop);
    for (size_t at = 0; at + n <= length; at++)
        if (memcmp(text + at, stop, n) == 0) return at;
    return length;
}

/* The text up to the first stop string, or to the words that end an answer; its length, and whether there are any. */
static size_t until_stop(const matching *m, const char *text, size_t length, bool *found)
{
    const stlora_strings *stops = &m->task->config->stop_strings;
    const char *turn_end = m->task->session.turn_end_text;
    size_t end = turn_end ? until(turn_end, text, length) : length;
    for (size_t i = 0; i < stops->count; i++)
        end = until(stops->items[i], text, end);
    *found = end < length;
    return end;
}

static stlora_status is_enough(void *context, int64_t prompt, const int32_t *ids, int64_t count, bool *enough,
                               stlora_error *err)
{
    const matching *m = context;
    char *text;
    size_t length;
    (void)prompt;
    STLORA_TRY(text_of(m, ids, count, &text, &length, err));
    (void)until_stop(m, text, length, enough);
    stlora_free(text);
    return STLORA_OK;
}

static void free_texts(match *row)
{
    stlora_free(row->prompt);
    stlora_free(row->completion);
    stlora_free(row->wanted.text);
    stlora_free(row->ids);
    stlora_free(row->found);
    stlora_free(row->answer.text);
    *row = (match){.done = row->done};
}

static json_t *answer_json(const stlora_answer *answer)
{
    return answer->text ? json_stringn(answer->text, answer->length) : json_null();
}

static stlora_status report(matching *m, match *row, stlora_error *err)
{
    bool correct = stlora_same_answer(&row->wanted, &row->answer);
    m->correct += correct;
    m->no_answer += !row->answer.text;
    const stlora_eval_row done = {
        .prompt = row->prompt, .wanted = row->completion, .found = row->found, .correct = correct};
    json_t *line = json_pack("{s:s%, s:o, s:o, s:b}", "completion", row->found, row->found_length, "answer",
                             answer_json(&row->answer), "wanted", answer_json(&row->wanted), "correct", correct);
    stlora_status status = stlora_eval_report(m->task, &done, line, err);
    free_texts(row);
    return status;
}

/* A completion has ended: all rows up to the first that has not are reported. */
static stlora_status on_end(void *context, int64_t prompt, const int32_t *ids, int64_t count, stlora_error *err)
{
    matching *m = context;
    stlora_eval_task *task = m->task;
    match *row = &m->rows[prompt];
    bool stopped;
    STLORA_TRY(text_of(m, ids, count, &row->found, &row->found_length, err));
    row->found_length = until_stop(m, row->found, row->found_length, &stopped);
    row->found[row->found_length] = '\0';
    STLORA_TRY(stlora_extract_answer(m->extract, row->found, row->found_length, &row->answer, err));
    row->done = true;
    while (task->seen < task->rows && m->rows[task->seen].done)
        STLORA_TRY(report(m, &m->rows[task->seen], err));
    return STLORA_OK;
}

stlora_status stlora_eval_match(stlora_eval_task *task, stlora_eval_result *out, stlora_error *err)
{
    matching m = {.task = task, .extract = stlora_extract_named(task->config->extract)};
    stlora_completing completing = {
        .on_end = on_end, .context = &m, .stop = task->callbacks ? task->callbacks->stop : NULL};
    if (!task->session.tokenizer)
        return stlora_fail(err, STLORA_E_FORMAT, "%s: no tokenizer.json there; exact-match compares texts",
                           task->config->model);
    stlora_status status = stlora_eval_read(task, take_row, &m, err);
    if (task->config->stop_strings.count || task->session.turn_end_text) completing.is_enough = is_enough;
    if (status == STLORA_OK) status = stlora_complete(&task->session, m.prompts, task->rows, &completing, err);
    if (status == STLORA_OK) {
        out->exact_match = stlora_eval_share(m.correct, task->rows, &out->exact_match_stderr);
        out->no_answer = m.no_answer;
        out->rows_without_answer = m.rows_without_answer;
    }
    for (int64_t i = 0; i < task->rows; i++)
        free_texts(&m.rows[i]);
    stlora_free(m.rows);
    stlora_free(m.prompts);
    return status;
}
