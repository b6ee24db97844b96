/* eval_choice.c: eval --task choice: which of a row's choices is the most probable after its prompt, and which per byte. All rows are read
 * before the first is scored. Test: tests/cli/test_eval.py. */
#include <math.h>
#include <string.h>

#include "api/eval_task.h"
#include "base/memory.h"
#include "train/choice.h"

typedef struct question {
    char *prompt;
    char **choices;  /* [count] */
    size_t *lengths; /* [count] bytes */
    int32_t **ids;   /* [count] prompt and choice */
    int64_t *counts; /* [count] */
    size_t count, answer;
    stlora_arena arena; /* all of these */
} question;

typedef struct choosing {
    stlora_eval_task *task;
    question *rows;
    stlora_question *questions; /* the same, as the scorer takes them */
    size_t rows_room, questions_room, ends_room;
    stlora_ids all; /* a row's ids, choice after choice; choice c ends at ends[c] */
    size_t *ends;
    int64_t correct, correct_norm;
} choosing;

static void lay_out(question *q, const stlora_row *row, const size_t *ends)
{
    size_t n = row->choice_count;
    q->prompt = stlora_arena_take(&q->arena, row->prompt_length + 1, 1);
    q->choices = stlora_arena_take(&q->arena, n, sizeof *q->choices);
    q->lengths = stlora_arena_take(&q->arena, n, sizeof *q->lengths);
    q->ids = stlora_arena_take(&q->arena, n, sizeof *q->ids);
    q->counts = stlora_arena_take(&q->arena, n, sizeof *q->counts);
    for (size_t c = 0; c < n; c++) {
        char *text = stlora_arena_take(&q->arena, row->choice_lengths[c] + 1, 1);
        int32_t *ids = stlora_arena_take(&q->arena, ends[c] - (c ? ends[c - 1] : 0), sizeof *ids);
        if (!q->choices) continue;
        q->choices[c] = text;
        q->ids[c] = ids;
    }
}

static void fill(question *q, const stlora_row *row, const int32_t *ids, const size_t *ends)
{
    memcpy(q->prompt, row->prompt, row->prompt_length);
    q->count = row->choice_count;
    q->answer = row->answer;
    for (size_t c = 0; c < q->count; c++) {
        size_t from = c ? ends[c - 1] : 0;
        memcpy(q->choices[c], row->choices[c], row->choice_lengths[c]);
        memcpy(q->ids[c], ids + from, (ends[c] - from) * sizeof *ids);
        q->lengths[c] = row->choice_lengths[c];
        q->counts[c] = (int64_t)(ends[c] - from);
    }
}

/* A choice's ids behind those of the others; *from is where the scored ones begin. */
static stlora_status encode(choosing *c, const stlora_row *row, size_t choice, size_t *from, stlora_error *err)
{
    stlora_ids *ids = &c->task->ids;
    stlora_row one = *row;
    bool is_prefix;
    one.completion = row->choices[choice];
    one.completion_length = row->choice_lengths[choice];
    STLORA_TRY(stlora_encode_row(c->task->session.encoder, NULL, &one, ids, from, &is_prefix, err));
    if (*from == 0) *from = 1;
    if (*from >= ids->count)
        return stlora_fail(err, STLORA_E_FORMAT, "%s: choice %zu gives no token after the prompt", row->where, choice);
    STLORA_TRY(stlora_eval_ids(c->task, 1, row->where, err));
    for (size_t i = 0; i < ids->count; i++)
        STLORA_TRY(stlora_ids_push(&c->all, ids->data[i], err));
    STLORA_TRY(stlora_grow(&c->ends, &c->ends_room, choice + 1, sizeof *c->ends, "rows", err));
    c->ends[choice] = c->all.count;
    return STLORA_OK;
}

static stlora_status take_row(void *context, const stlora_row *row, stlora_error *err)
{
    choosing *c = context;
    size_t n = (size_t)c->task->rows, from = 1;
    if (row->kind != STLORA_ROW_CHOICE)
        return stlora_fail(err, STLORA_E_FORMAT, "%s: choice wants rows of prompt, choices, label, found \"%s\"",
                           row->where, stlora_row_kind_name(row->kind));
    c->all.count = 0;
    for (size_t i = 0; i < row->choice_count; i++)
        STLORA_TRY(encode(c, row, i, &from, err));
    STLORA_TRY(stlora_grow(&c->rows, &c->rows_room, n + 1, sizeof *c->rows, "rows", err));
    question *q = &c->rows[n];
    *q = (question){0};
    c->task->rows++;
    lay_out(q, row, c->ends);
    STLORA_TRY(stlora_arena_bind(&q->arena, "a row", err));
    lay_out(q, row, c->ends);
    fill(q, row, c->all.data, c->ends);
    STLORA_TRY(stlora_grow(&c->questions, &c->questions_room, n + 1, sizeof *c->questions, "rows", err));
    c->questions[n] = (stlora_question){(const int32_t *const *)q->ids, q->counts, (int64_t)q->count, (int64_t)from};
    return STLORA_OK;
}

static json_t *line_of(const question *q, const double *sums, size_t best, size_t best_norm)
{
    json_t *logprobs = json_array();
    for (size_t i = 0; i < q->count; i++)
        (void)json_array_append_new(logprobs, json_real(sums[i]));
    return json_pack("{s:I, s:I, s:I, s:b, s:b, s:o}", "label", (json_int_t)q->answer, "choice", (json_int_t)best,
                     "choice_norm", (json_int_t)best_norm, "correct", best == q->answer, "correct_norm",
                     best_norm == q->answer, "logprobs", logprobs);
}

/* Of equal ones the first. */
static stlora_status on_sums(void *context, int64_t row, const double *sums, stlora_error *err)
{
    choosing *c = context;
    const question *q = &c->rows[row];
    size_t best = 0, best_norm = 0;
    double top = 0, top_norm = 0;
    for (size_t i = 0; i < q->count; i++) {
        double norm = sums[i] / (double)(q->lengths[i] ? q->lengths[i] : 1);
        if (!isfinite(sums[i]))
            return stlora_fail(err, STLORA_E_NONFINITE, "row %lld: the log-probability of choice %zu is not finite",
                               (long long)row + 1, i);
        if (i == 0 || sums[i] > top) {
            top = sums[i];
            best = i;
        }
        if (i == 0 || norm > top_norm) {
            top_norm = norm;
            best_norm = i;
        }
    }
    c->correct += best == q->answer;
    c->correct_norm += best_norm == q->answer;
    const stlora_eval_row done = {
        .prompt = q->prompt, .wanted = q->choices[q->answer], .found = q->choices[best], .correct = best == q->answer};
    return stlora_eval_report(c->task, &done, line_of(q, sums, best, best_norm), err);
}

stlora_status stlora_eval_choice(stlora_eval_task *task, stlora_eval_result *out, stlora_error *err)
{
    choosing c = {.task = task};
    const volatile sig_atomic_t *stop = task->callbacks ? task->callbacks->stop : NULL;
    stlora_status status = stlora_eval_read(task, take_row, &c, err);
    if (status == STLORA_OK) status = stlora_choose(&task->session, c.questions, task->rows, stop, on_sums, &c, err);
    if (status == STLORA_OK) {
        out->accuracy = stlora_eval_share(c.correct, task->rows, &out->accuracy_stderr);
        out->accuracy_norm = stlora_eval_share(c.correct_norm, task->rows, &out->accuracy_norm_stderr);
    }
    for (int64_t i = 0; i < task->rows; i++)
        stlora_arena_free(&c.rows[i].arena);
    stlora_free(c.rows);
    stlora_free(c.questions);
    stlora_free(c.ends);
    stlora_ids_free(&c.all);
    return status;
}
