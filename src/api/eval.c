/* eval.c: stlora_eval: the task loss, and what all tasks share. Test: tests/cli/test_eval.py. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "api/eval_task.h"
#include "base/memory.h"
#include "model/decoder.h"
#include "train/evaluate.h"
#include "train/plan.h"

stlora_status stlora_eval_read(const stlora_eval_task *task, stlora_row_callback callback, void *context,
                               stlora_error *err)
{
    bool known = false;
    stlora_row_kind kind = STLORA_ROW_TEXT;
    for (size_t i = 0; i < task->config->data.count; i++)
        STLORA_TRY(stlora_rows_read(task->config->data.items[i], &known, &kind, callback, context, err));
    return STLORA_OK;
}

stlora_status stlora_eval_ids(const stlora_eval_task *task, int64_t positions_spared, const char *where,
                              stlora_error *err)
{
    const stlora_transformer *model = task->session.model;
    int64_t vocab = model->config.vocab_size, positions = stlora_decoder_most(model);
    if ((int64_t)task->ids.count - positions_spared > positions)
        return stlora_fail(err, STLORA_E_UNSUPPORTED, "%s: %zu tokens are more than the model's %" PRId64 " positions",
                           where, task->ids.count, positions);
    for (size_t i = 0; i < task->ids.count; i++)
        if (task->ids.data[i] < 0 || task->ids.data[i] >= vocab)
            return stlora_fail(err, STLORA_E_FORMAT, "%s: the tokenizer gives id %d, the model has %" PRId64 " tokens",
                               where, task->ids.data[i], vocab);
    return STLORA_OK;
}

static stlora_status write_line(stlora_eval_task *task, json_t *line, stlora_error *err)
{
    json_t *whole = json_pack("{s:I}", "row", (json_int_t)task->seen);
    char *text = NULL;
    if (line && json_object_update(whole, line) == 0)
        text = json_dumps(whole, JSON_COMPACT | JSON_REAL_PRECISION(9));
    json_decref(whole);
    json_decref(line);
    if (!text) return stlora_fail(err, STLORA_E_NOMEM, "row %" PRId64 ": no memory for its line", task->seen);
    stlora_status status = stlora_atomic_write(task->per_row, text, strlen(text), err);
    free(text); /* jansson's */
    STLORA_TRY(status);
    return stlora_atomic_write(task->per_row, "\n", 1, err);
}

stlora_status stlora_eval_report(stlora_eval_task *task, const stlora_eval_row *row, json_t *line, stlora_error *err)
{
    const stlora_infer_callbacks *c = task->callbacks;
    stlora_eval_row numbered = *row;
    numbered.row = ++task->seen;
    numbered.rows = task->rows;
    if (task->per_row)
        STLORA_TRY(write_line(task, line, err));
    else
        json_decref(line);
    if (c && c->on_row) c->on_row(c->context, &numbered);
    if (c && c->stop && *c->stop)
        return stlora_fail(err, STLORA_E_INTERRUPTED, "stopped after row %" PRId64 " of %" PRId64, task->seen,
                           task->rows);
    return STLORA_OK;
}

double stlora_eval_share(int64_t correct, int64_t rows, double *standard_error)
{
    double p = (double)correct / (double)rows;
    *standard_error = sqrt(p * (1 - p) / (double)(rows - 1));
    return p;
}

static stlora_status loss(stlora_eval_task *task, stlora_eval_result *out, stlora_error *err)
{
    const stlora_eval_config *c = task->config;
    stlora_examples *examples;
    stlora_eval_metrics metrics = {0};
    STLORA_TRY(
        stlora_session_examples(&task->session, c->data, c->max_length, c->completion_only_loss, &examples, NULL, err));
    stlora_status status = stlora_evaluate(&task->session, examples, stlora_memory_free(),
                                           task->callbacks ? task->callbacks->stop : NULL, &metrics, err);
    stlora_examples_free(examples);
    STLORA_TRY(status);
    out->loss = metrics.loss;
    out->perplexity = metrics.perplexity;
    out->supervised_tokens = metrics.supervised_tokens;
    task->seen = metrics.rows;
    return STLORA_OK;
}

/* Parameters that belong to another task. */
static stlora_status check(const stlora_eval_config *c, stlora_error *err)
{
    bool match = strcmp(c->task, "exact-match") == 0;
    if (c->data.count == 0) return stlora_fail(err, STLORA_E_USAGE, "--data: wanted a file of rows, found none");
    if (!match && strcmp(c->extract, "none") != 0)
        return stlora_fail(err, STLORA_E_USAGE,
                           "--extract %s: answers are extracted from generated text, which --task %s has none of",
                           c->extract, c->task);
    if (!match && c->stop_strings.count > 0)
        return stlora_fail(err, STLORA_E_USAGE, "--stop-strings: they end generated text, which --task %s has none of",
                           c->task);
    for (size_t i = 0; i < c->stop_strings.count; i++)
        if (!*c->stop_strings.items[i])
            return stlora_fail(err, STLORA_E_USAGE, "--stop-strings: an empty string would end every completion");
    if (c->per_row && strcmp(c->task, "loss") == 0)
        return stlora_fail(err, STLORA_E_USAGE,
                           "--per-row: --task loss is taken over all rows together; score gives a line per row");
    return STLORA_OK;
}

static stlora_status evaluate(stlora_eval_task *task, stlora_eval_result *out, stlora_error *err)
{
    const stlora_eval_config *c = task->config;
    stlora_eval_result result = {0};
    STLORA_TRY(check(c, err));
    STLORA_TRY(stlora_session_open(&task->session, c->model, c->adapter, c->precision, (int)c->threads, false, err));
    STLORA_TRY(stlora_session_chat(&task->session, c->model, c->chat_template, c->now, err));
    if (c->per_row) STLORA_TRY(stlora_atomic_open(&task->per_row, c->per_row, err));
    if (strcmp(c->task, "loss") == 0)
        STLORA_TRY(loss(task, &result, err));
    else if (strcmp(c->task, "choice") == 0)
        STLORA_TRY(stlora_eval_choice(task, &result, err));
    else
        STLORA_TRY(stlora_eval_match(task, &result, err));
    if (task->per_row) {
        stlora_atomic_file *file = task->per_row;
        task->per_row = NULL;
        STLORA_TRY(stlora_atomic_commit(file, err));
    }
    result.rows = task->seen;
    *out = result;
    return STLORA_OK;
}

stlora_status stlora_eval(const stlora_params *params, const stlora_infer_callbacks *callbacks, stlora_eval_result *out,
                          stlora_error *err)
{
    stlora_eval_task task = {.config = stlora_params_values(params, "eval"), .callbacks = callbacks};
    stlora_status status = evaluate(&task, out, err);
    stlora_atomic_abort(task.per_row);
    stlora_ids_free(&task.ids);
    stlora_session_close(&task.session);
    return status;
}
