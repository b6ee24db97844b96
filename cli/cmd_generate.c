/* cmd_generate.c: the verb generate: text as it comes, or one JSON document at the end. */
#include <stdio.h>

#include "output.h"
#include "signals.h"
#include "stlora/infer.h"
#include "verbs.h"

/* context is the options. */
static stlora_status on_text(void *context, const char *text, size_t length, stlora_error *err)
{
    const struct options *options = context;
    if (options->json) return STLORA_OK; // all of it comes at the end
    stlora_status status = put(text, length, err);
    return status == STLORA_OK ? put_flush(err) : status;
}

static json_t *ids_json(const stlora_generation *made)
{
    json_t *ids = json_array();
    for (size_t i = 0; i < made->count; i++) (void)json_array_append_new(ids, json_integer(made->ids[i]));
    return ids;
}

static stlora_status show_json(const stlora_generation *made, stlora_error *err)
{
    json_t *text = made->text ? json_stringn(made->text, made->length) : json_null();
    if (!text) return refuse(err, STLORA_E_FORMAT, "the generated text is no UTF-8");
    json_t *json = json_object();
    (void)json_object_set_new(json, "ids", ids_json(made));
    (void)json_object_set_new(json, "text", text);
    return put_json(json, 0, err);
}

stlora_status cmd_generate(const struct options *options, stlora_error *err)
{
    int given = stlora_params_given(options->params, "prompt") + stlora_params_given(options->params, "prompt_ids") +
                stlora_params_given(options->params, "messages");
    if (given != 1)
        return refuse(err, STLORA_E_USAGE, given ? "generate: --prompt, --prompt-ids and --messages exclude one another"
                                                 : "generate: wanted --prompt, --prompt-ids or --messages, found none");
    struct options copy = *options; // callbacks take no const
    const stlora_infer_callbacks callbacks = {
        .on_text = on_text, .context = &copy, .log = stderr_log, .stop = catch_signals()};
    stlora_generation made = {0};
    stlora_status status = stlora_generate(options->params, &callbacks, &made, err);
    if (status == STLORA_OK) {
        if (options->json)
            status = show_json(&made, err);
        else if (made.text)
            status = put("\n", 1, err); // the text has gone out as it came
        else
            status = put_json(ids_json(&made), 0, err);
    }
    stlora_generation_free(&made);
    return status;
}
