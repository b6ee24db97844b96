/* cmd_eval.c: the verb eval: loss, exact match or choice over rows. */
#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "output.h"
#include "progress.h"
#include "signals.h"
#include "stlora/infer.h"

struct tally {
    int64_t correct;
};

static void on_row(void *context, const stlora_eval_row *row)
{
    struct tally *tally = context;
    tally->correct += row->correct;
    progress_show(row->row == row->rows, "row %lld/%lld  %lld right", (long long)row->row,
                  (long long)row->rows, (long long)tally->correct);
}

static stlora_status show_loss(const stlora_eval_result *r, bool as_json, stlora_error *err)
{
    if (!as_json)
        return put_format(err, "loss %.6f, perplexity %.6g, over %lld supervised tokens of %lld rows\n",
                          r->loss, r->perplexity, (long long)r->supervised_tokens, (long long)r->rows);
    json_t *json = json_object();
    (void)json_object_set_new(json, "loss", json_finite(r->loss));
    (void)json_object_set_new(json, "perplexity", json_finite(r->perplexity));
    (void)json_object_set_new(json, "supervised_tokens", json_integer(r->supervised_tokens));
    (void)json_object_set_new(json, "rows", json_integer(r->rows));
    return put_json(json, 0, err);
}

static stlora_status show_exact_match(const stlora_eval_result *r, bool as_json, stlora_error *err)
{
    if (!as_json)
        return put_format(err, "exact match %.2f %% of %lld rows\n", 100 * r->exact_match,
                          (long long)r->rows);
    json_t *json = json_object();
    (void)json_object_set_new(json, "exact_match", json_finite(r->exact_match));
    (void)json_object_set_new(json, "rows", json_integer(r->rows));
    return put_json(json, 0, err);
}

static stlora_status show_choice(const stlora_eval_result *r, bool as_json, stlora_error *err)
{
    if (!as_json)
        return put_format(err, "accuracy %.2f %% of %lld rows, %.2f %% by log-probability per byte\n",
                          100 * r->accuracy, (long long)r->rows, 100 * r->accuracy_norm);
    json_t *json = json_object();
    (void)json_object_set_new(json, "accuracy", json_finite(r->accuracy));
    (void)json_object_set_new(json, "accuracy_norm", json_finite(r->accuracy_norm));
    (void)json_object_set_new(json, "rows", json_integer(r->rows));
    return put_json(json, 0, err);
}

stlora_status cmd_eval(const struct options *options, stlora_error *err)
{
    struct tally tally = {0};
    const stlora_infer_callbacks callbacks = {
        .on_row = on_row, .context = &tally, .log = stderr_log, .stop = catch_signals()};
    stlora_eval_result result = {0};
    stlora_status status = stlora_eval(options->params, &callbacks, &result, err);
    progress_end();
    if (status != STLORA_OK) return status;
    if (option_is(options, "task", "exact-match")) return show_exact_match(&result, options->json, err);
    if (option_is(options, "task", "choice")) return show_choice(&result, options->json, err);
    return show_loss(&result, options->json, err);
}
