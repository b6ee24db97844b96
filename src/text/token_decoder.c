/* token_decoder.c: reading the decoder of tokenizer.json. Guarded by tests/text/test_tokenizer_small.c (each part) and
 * test_tokenizer_bad.c. */
#include "text/token_decoder.h"

#include "text/token_decoder_steps.h"

void stlora_token_decoder_free(stlora_token_decoder *decoder)
{
    for (size_t i = 0; i < decoder->count; i++) {
        stlora_pattern_free(&decoder->steps[i].pattern);
        stlora_free(decoder->steps[i].text);
    }
    stlora_free(decoder->steps);
    *decoder = (stlora_token_decoder){0};
}

static stlora_status add_step(stlora_token_decoder *decoder, stlora_decode_step **step,
                              stlora_decode_kind kind, stlora_error *err)
{
    STLORA_TRY(stlora_grow(&decoder->steps, &decoder->capacity, decoder->count + 1,
                           sizeof *decoder->steps, "decoder", err));
    *step = &decoder->steps[decoder->count++];
    (*step)->kind = kind;
    return STLORA_OK;
}

static stlora_status copy_text(char **out, size_t *length, const char *text, size_t bytes,
                               stlora_error *err)
{
    *length = bytes;
    return stlora_strdup_n(out, text, bytes, err);
}

static stlora_status read_metaspace(stlora_decode_step *step, const json_t *part,
                                    const stlora_place *place, stlora_error *err)
{
    const char *text;
    size_t length;
    bool prefix;
    STLORA_TRY(stlora_member_char(part, "replacement", &text, &length, place, err));
    STLORA_TRY(copy_text(&step->pattern.string, &step->pattern.length, text, length, err));
    STLORA_TRY(stlora_member_string(part, "prepend_scheme", false, &text, &length, place, err));
    STLORA_TRY(stlora_member_bool(part, "add_prefix_space", true, &prefix, place, err));
    step->keep_first = text ? strcmp(text, "never") == 0 : !prefix;
    return STLORA_OK;
}

static stlora_status read_step(void *context, const json_t *part, const char *type,
                               const stlora_place *place, stlora_error *err)
{
    static const struct {
        const char *type;
        stlora_decode_kind kind;
    } kinds[] = {
        {"ByteLevel", STLORA_DECODE_BYTE_LEVEL}, {"ByteFallback", STLORA_DECODE_BYTE_FALLBACK},
        {"Replace", STLORA_DECODE_REPLACE},      {"Fuse", STLORA_DECODE_FUSE},
        {"Strip", STLORA_DECODE_STRIP},          {"Metaspace", STLORA_DECODE_METASPACE},
        {"BPEDecoder", STLORA_DECODE_BPE},       {"WordPiece", STLORA_DECODE_WORD_PIECE},
    };
    size_t i = 0;
    while (i < sizeof kinds / sizeof *kinds && strcmp(type, kinds[i].type) != 0)
        i++;
    if (i == sizeof kinds / sizeof *kinds)
        return stlora_place_fail(place, STLORA_E_UNSUPPORTED, err,
                                 "the decoder '%.40s' is not supported", type);

    stlora_decode_step *step;
    const char *text;
    size_t length;
    STLORA_TRY(add_step(context, &step, kinds[i].kind, err));
    switch (step->kind) {
    case STLORA_DECODE_REPLACE:
        STLORA_TRY(stlora_pattern_read(&step->pattern, part, "pattern", place, err));
        STLORA_TRY(stlora_member_string(part, "content", true, &text, &length, place, err));
        return copy_text(&step->text, &step->length, text, length, err);
    case STLORA_DECODE_STRIP:
        STLORA_TRY(stlora_member_char(part, "content", &text, &length, place, err));
        STLORA_TRY(stlora_member_count(part, "start", &step->start, place, err));
        STLORA_TRY(stlora_member_count(part, "stop", &step->stop, place, err));
        return copy_text(&step->text, &step->length, text, length, err);
    case STLORA_DECODE_METASPACE:
        return read_metaspace(step, part, place, err);
    case STLORA_DECODE_BPE:
        STLORA_TRY(stlora_member_string(part, "suffix", true, &text, &length, place, err));
        return copy_text(&step->pattern.string, &step->pattern.length, text, length, err);
    case STLORA_DECODE_WORD_PIECE:
        STLORA_TRY(stlora_member_bool(part, "cleanup", true, &step->clean_up, place, err));
        STLORA_TRY(stlora_member_string(part, "prefix", true, &text, &length, place, err));
        return copy_text(&step->text, &step->length, text, length, err);
    case STLORA_DECODE_JOIN:
    case STLORA_DECODE_BYTE_LEVEL:
    case STLORA_DECODE_BYTE_FALLBACK:
    case STLORA_DECODE_FUSE:
        break;
    }
    return STLORA_OK;
}

stlora_status stlora_token_decoder_read(stlora_token_decoder *decoder, const json_t *part,
                                        const stlora_place *place, stlora_error *err)
{
    stlora_decode_step *step;
    if (!part || json_is_null(part)) return add_step(decoder, &step, STLORA_DECODE_JOIN, err);
    return stlora_part_visit(part, "decoders", read_step, decoder, place, err);
}
