/* post_processor.c: see post_processor.h. Guarded by tests/text/test_tokenizer_small.c, test_tokenizer_bad.c. */
#include "text/post_processor.h"

#include <string.h>

#include "base/memory.h"

enum { MOST_COPIES = 16 }; /* of the text: what a sequence of templates may multiply it by */

typedef struct reading {
    stlora_post_processor *processor;
    size_t ids;
} reading;

void stlora_post_processor_free(stlora_post_processor *processor)
{
    stlora_free(processor->stages);
    stlora_free(processor->pieces);
    stlora_ids_free(&processor->ids);
    *processor = (stlora_post_processor){0};
}

static stlora_status add_piece(stlora_post_processor *processor, bool is_text, size_t begin,
                               stlora_error *err)
{
    STLORA_TRY(stlora_grow(&processor->pieces, &processor->capacity, processor->count + 1,
                           sizeof *processor->pieces, "post-processor", err));
    processor->pieces[processor->count++] =
        (stlora_post_piece){is_text, begin, processor->ids.count};
    return STLORA_OK;
}

static stlora_status push_id(const reading *into, const json_t *value, const stlora_place *place,
                             stlora_error *err)
{
    if (!json_is_integer(value)) return stlora_wanted(place, "an id", value, err);
    json_int_t id = json_integer_value(value);
    if (id < 0 || (unsigned long long)id >= into->ids)
        return stlora_place_fail(place, STLORA_E_FORMAT, err, "wanted an id below %zu, found %lld",
                                 into->ids, (long long)id);
    return stlora_ids_push(&into->processor->ids, (int32_t)id, err);
}

/* One element of "single": {"Sequence": {"id": "A"}} or {"SpecialToken": {"id": name}}. */
static stlora_status read_piece(const reading *into, const json_t *piece,
                                const json_t *special_tokens, const stlora_place *place,
                                stlora_error *err)
{
    stlora_post_processor *processor = into->processor;
    const json_t *text = json_object_get(piece, "Sequence"),
                 *special = json_object_get(piece, "SpecialToken");
    const char *name;
    size_t length, begin = processor->ids.count;
    if (!json_is_object(text) && !json_is_object(special))
        return stlora_wanted(place, "an object with Sequence or SpecialToken", piece, err);
    stlora_place here = {place, text ? "Sequence" : "SpecialToken", 0};
    STLORA_TRY(stlora_member_string(text ? text : special, "id", true, &name, &length, &here, err));
    if (text) {
        if (strcmp(name, "A") != 0)
            return stlora_place_fail(&here, STLORA_E_FORMAT, err,
                                     "wanted the sequence A, found '%.40s'", name);
        return add_piece(processor, true, begin, err);
    }
    const json_t *ids = json_object_get(json_object_get(special_tokens, name), "ids");
    if (!json_is_array(ids))
        return stlora_place_fail(&here, STLORA_E_FORMAT, err,
                                 "special_tokens has no ids for '%.80s'", name);
    for (size_t i = 0; i < json_array_size(ids); i++)
        STLORA_TRY(push_id(into, json_array_get(ids, i), &here, err));
    return add_piece(processor, false, begin, err);
}

static stlora_status read_template(const reading *into, const json_t *part,
                                   const stlora_place *place, stlora_error *err)
{
    const json_t *single;
    STLORA_TRY(stlora_member_array(part, "single", &single, place, err));
    stlora_place array = {place, "single", 0};
    for (size_t i = 0; i < json_array_size(single); i++) {
        stlora_place here = {&array, NULL, i};
        STLORA_TRY(read_piece(into, json_array_get(single, i),
                              json_object_get(part, "special_tokens"), &here, err));
    }
    return STLORA_OK;
}

/* Bert and Roberta: cls, text, sep; each ["name", id]. */
static stlora_status read_classifier(const reading *into, const json_t *part,
                                     const stlora_place *place, stlora_error *err)
{
    for (int last = 0; last < 2; last++) {
        stlora_place here = {place, last ? "sep" : "cls", 0};
        size_t begin = into->processor->ids.count;
        STLORA_TRY(push_id(into, json_array_get(json_object_get(part, here.name), 1), &here, err));
        STLORA_TRY(add_piece(into->processor, false, begin, err));
        if (!last) STLORA_TRY(add_piece(into->processor, true, into->processor->ids.count, err));
    }
    return STLORA_OK;
}

static stlora_status read_part(void *context, const json_t *part, const char *type,
                               const stlora_place *place, stlora_error *err)
{
    const reading *into = context;
    if (strcmp(type, "ByteLevel") == 0) return STLORA_OK;
    bool template = strcmp(type, "TemplateProcessing") == 0;
    if (!template && strcmp(type, "BertProcessing") != 0 && strcmp(type, "RobertaProcessing") != 0)
        return stlora_place_fail(place, STLORA_E_UNSUPPORTED, err,
                                 "the post-processor '%.40s' is not supported", type);
    STLORA_TRY(template ? read_template(into, part, place, err) : read_classifier(into, part, place, err));
    stlora_post_processor *processor = into->processor;
    size_t texts = 0;
    for (size_t i = processor->stage_count ? processor->stages[processor->stage_count - 1] : 0; i < processor->count; i++)
        texts += processor->pieces[i].is_text;
    processor->copies = processor->stage_count ? processor->copies * texts : texts;
    if (processor->copies > MOST_COPIES)
        return stlora_place_fail(place, STLORA_E_FORMAT, err, "the text comes more than %d times", MOST_COPIES);
    STLORA_TRY(stlora_grow(&processor->stages, &processor->stage_capacity, processor->stage_count + 1, sizeof *processor->stages,
                           "post-processor", err));
    processor->stages[processor->stage_count++] = processor->count;
    return STLORA_OK;
}

stlora_status stlora_post_processor_read(stlora_post_processor *processor, const json_t *part,
                                         size_t ids, const stlora_place *place, stlora_error *err)
{
    reading into = {processor, ids};
    return stlora_part_visit(part, "processors", read_part, &into, place, err);
}

static stlora_status append(stlora_ids *out, const int32_t *ids, size_t count, stlora_error *err)
{
    STLORA_TRY(
        stlora_grow(&out->data, &out->capacity, out->count + count, sizeof *out->data, "ids", err));
    if (count) memcpy(out->data + out->count, ids, count * sizeof *ids);
    out->count += count;
    return STLORA_OK;
}

static stlora_status run_stage(const stlora_post_processor *processor, size_t stage, const stlora_ids *text,
                               bool add_special_tokens, stlora_ids *out, stlora_error *err)
{
    for (size_t i = stage ? processor->stages[stage - 1] : 0; i < processor->stages[stage]; i++) {
        const stlora_post_piece *piece = &processor->pieces[i];
        if (piece->is_text)
            STLORA_TRY(append(out, text->data, text->count, err));
        else if (add_special_tokens)
            STLORA_TRY(append(out, processor->ids.data + piece->begin, piece->end - piece->begin, err));
    }
    return STLORA_OK;
}

stlora_status stlora_post_process(const stlora_post_processor *processor, stlora_ids *text, bool add_special_tokens,
                                  stlora_ids *out, stlora_error *err)
{
    if (processor->stage_count == 0) return append(out, text->data, text->count, err);
    const size_t last = processor->stage_count - 1;
    for (size_t stage = 0; stage < last; stage++) {
        stlora_ids made = {0};
        stlora_status status = run_stage(processor, stage, text, add_special_tokens, &made, err);
        stlora_ids_free(status == STLORA_OK ? text : &made);
        STLORA_TRY(status);
        *text = made;
    }
    return run_stage(processor, last, text, add_special_tokens, out, err);
}
