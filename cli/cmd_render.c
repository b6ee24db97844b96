/* cmd_render.c: the verb render: a conversation as the text that a chat template makes of it, or cut where training begins and ends to learn. */
#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "output.h"
#include "stlora/infer.h"

/* How many code points text[0, bytes) has. */
static size_t code_points(const char *text, size_t bytes)
{
    size_t count = 0;
    for (size_t i = 0; i < bytes; i++)
        count += ((unsigned char)text[i] & 0xC0) != 0x80;
    return count;
}

static stlora_status show_json(const stlora_rendering *made, stlora_error *err)
{
    json_t *document = json_pack("{s:s%}", "text", made->text, made->length);
    if (made->spans) {
        json_t *spans = json_array();
        for (size_t i = 0; i < made->span_count; i++)
            (void)json_array_append_new(spans,
                                        json_pack("[I, I]", (json_int_t)code_points(made->text, made->spans[i][0]),
                                                  (json_int_t)code_points(made->text, made->spans[i][1])));
        (void)json_object_set_new(document, "spans", spans);
    }
    return document ? put_json(document, 2, err) : refuse(err, STLORA_E_NOMEM, "no memory for the result");
}

static stlora_status show_part(const char *text, size_t begin, size_t end, bool learnt, stlora_error *err)
{
    if (begin >= end) return STLORA_OK;
    stlora_status status = put_format(err, "%s ", learnt ? "learnt" : "given ");
    json_t *part = json_stringn(text + begin, end - begin);
    if (!part) return refuse(err, STLORA_E_NOMEM, "no memory for the result");
    return status == STLORA_OK ? put_json(part, 0, err) : (json_decref(part), status);
}

static stlora_status show_parts(const stlora_rendering *made, stlora_error *err)
{
    size_t at = 0;
    for (size_t i = 0; i < made->span_count; i++) {
        stlora_status status = show_part(made->text, at, made->spans[i][0], false, err);
        if (status == STLORA_OK) status = show_part(made->text, made->spans[i][0], made->spans[i][1], true, err);
        if (status != STLORA_OK) return status;
        at = made->spans[i][1];
    }
    return show_part(made->text, at, made->length, false, err);
}

stlora_status cmd_render(const struct options *options, stlora_error *err)
{
    stlora_rendering made = {0};
    stlora_status status = stlora_render(options->params, &made, err);
    if (status != STLORA_OK) return status;
    if (options->json)
        status = show_json(&made, err);
    else
        status = made.spans ? show_parts(&made, err) : put(made.text, made.length, err);
    stlora_rendering_free(&made);
    return status;
}
