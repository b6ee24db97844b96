/* score.c: stlora_score. */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "stlora/infer.h"
#include "train/configs.h"
#include "train/scorer.h"

typedef struct scoring {
    stlora_session session;
    stlora_scorer *scorer;
    stlora_ids ids;
    char *line;
    size_t length, capacity;
    const stlora_infer_callbacks *callbacks;
} scoring;

static stlora_status add(scoring *s, const char *text, stlora_error *err)
{
    size_t length = strlen(text);
    STLORA_TRY(stlora_grow(&s->line, &s->capacity, s->length + length + 1, 1, "a line", err));
    memcpy(s->line + s->length, text, length + 1);
    s->length += length;
    return STLORA_OK;
}

static stlora_status score_row(void *context, const stlora_row *row, stlora_error *err)
{
    scoring *s = context;
    char number[48];
    size_t prompt_ids;
    bool is_prefix;
    const float *logprob = NULL;
    if (row->kind == STLORA_ROW_CHOICE)
        return stlora_fail(err, STLORA_E_FORMAT, "%s: a row of choices is for eval --task choice", row->where);
    STLORA_TRY(stlora_encode_row(s->session.encoder, s->session.chat, row, &s->ids, &prompt_ids, &is_prefix, err));
    int64_t count = (int64_t)s->ids.count;
    if (count > 0) STLORA_TRY(stlora_scorer_run(s->scorer, s->ids.data, count, 1, row->where, &logprob, err));
    s->length = 0;
    STLORA_TRY(add(s, "{\"ids\": [", err));
    for (int64_t i = 0; i < count; i++) {
        (void)snprintf(number, sizeof number, i ? ", %d" : "%d", s->ids.data[i]);
        STLORA_TRY(add(s, number, err));
    }
    STLORA_TRY(add(s, "], \"logprob\": [", err));
    for (int64_t i = 0; i + 1 < count; i++) {
        (void)snprintf(number, sizeof number, i ? ", %.7g" : "%.7g", (double)logprob[i]);
        STLORA_TRY(add(s, number, err));
    }
    STLORA_TRY(add(s, "]}", err));
    if (s->callbacks && s->callbacks->on_line) STLORA_TRY(s->callbacks->on_line(s->callbacks->context, s->line, err));
    if (s->callbacks && s->callbacks->stop && *s->callbacks->stop)
        return stlora_fail(err, STLORA_E_INTERRUPTED, "stopped by request");
    return STLORA_OK;
}

static stlora_status score(scoring *s, const stlora_score_config *c, stlora_error *err)
{
    bool known = false;
    stlora_row_kind kind = STLORA_ROW_TEXT;
    if (c->data.count == 0) return stlora_fail(err, STLORA_E_USAGE, "--data: wanted a file of rows, found none");
    STLORA_TRY(stlora_session_open(&s->session, c->model, c->adapter, c->precision, (int)c->threads, false, err));
    STLORA_TRY(stlora_session_chat(&s->session, c->model, c->chat_template, c->now, err));
    STLORA_TRY(stlora_scorer_create(&s->scorer, &s->session, err));
    for (size_t i = 0; i < c->data.count; i++)
        STLORA_TRY(stlora_rows_read(c->data.items[i], &known, &kind, score_row, s, err));
    return STLORA_OK;
}

stlora_status stlora_score(const stlora_params *params, const stlora_infer_callbacks *callbacks, stlora_error *err)
{
    scoring s = {.callbacks = callbacks};
    stlora_status status = score(&s, stlora_params_values(params, "score"), err);
    stlora_free(s.line);
    stlora_ids_free(&s.ids);
    stlora_scorer_free(s.scorer);
    stlora_session_close(&s.session);
    return status;
}
