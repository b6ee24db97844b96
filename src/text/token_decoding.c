/* token_decoding.c: running the decoder: see token_decoder.h. Invariant: a part passes on whole characters only, and
 * never anything that a later token could change; stretches of one token come before end_token, all before finish.
 * Guarded by tests/text/test_tokenizer_golden.c (list and stream), test_tokenizer_small.c. */
#include "text/token_decoder.h"

#include "text/byte_level.h"
#include "text/token_decoder_steps.h"
#include "text/utf8.h"

static const char replacement_character[] = "\xEF\xBF\xBD"; /* U+FFFD */

/* How much the tokens may become: a byte that is no character becomes three, and what is put for a space is short. */
enum { GROWTH_MAX = 64, GROWTH_SPARE = 4096 };

typedef struct part_state {
    stlora_bytes held;  /* of the token that is coming, or what waits for later ones */
    stlora_bytes bytes; /* BYTE_LEVEL, BYTE_FALLBACK: bytes that are no character yet */
    size_t tokens;      /* how many have ended */
    size_t stripped;    /* STRIP: from the beginning of the token */
    size_t trailing;    /* STRIP: characters held back at its end */
    bool
        begun; /* JOIN: the token's space is out; STRIP: past the beginning; BPE: a token waits in bytes */
} part_state;

struct stlora_decoding {
    const stlora_token_decoder *decoder;
    part_state *states;
    stlora_bytes text;
    size_t room; /* bytes that may still be handed from part to part */
};

stlora_status stlora_decoding_create(stlora_decoding **out, const stlora_token_decoder *decoder,
                                     stlora_error *err)
{
    stlora_decoding *decoding;
    STLORA_TRY(stlora_alloc(&decoding, 1, sizeof *decoding, "decoder", err));
    decoding->decoder = decoder;
    decoding->room = GROWTH_SPARE * (decoder->count + 1);
    stlora_status status =
        stlora_alloc(&decoding->states, decoder->count, sizeof *decoding->states, "decoder", err);
    if (status != STLORA_OK) {
        stlora_decoding_free(decoding);
        return status;
    }
    *out = decoding;
    return STLORA_OK;
}

void stlora_decoding_free(stlora_decoding *decoding)
{
    if (!decoding) return;
    for (size_t i = 0; decoding->states && i < decoding->decoder->count; i++) {
        stlora_bytes_free(&decoding->states[i].held);
        stlora_bytes_free(&decoding->states[i].bytes);
    }
    stlora_free(decoding->states);
    stlora_bytes_free(&decoding->text);
    stlora_free(decoding);
}

stlora_bytes *stlora_decoding_text(stlora_decoding *decoding)
{
    return &decoding->text;
}

static stlora_status give(stlora_decoding *d, size_t at, const char *text, size_t length,
                          stlora_error *err);
static stlora_status end_token(stlora_decoding *d, size_t at, stlora_error *err);

static stlora_status give_token(stlora_decoding *d, size_t at, const char *text, size_t length,
                                stlora_error *err)
{
    STLORA_TRY(give(d, at, text, length, err));
    return end_token(d, at, err);
}

/* ---- ByteLevel: all tokens become one, of the bytes that they spell ---- */

/* Passes on whole characters of state->bytes, with one U+FFFD for each stretch that is none; with `last` also for a
 * character that is not finished, which otherwise waits. */
static stlora_status give_characters(stlora_decoding *d, size_t at, bool last, stlora_error *err)
{
    stlora_bytes *bytes = &d->states[at].bytes;
    size_t begin = 0;
    while (begin < bytes->count) {
        size_t valid = stlora_utf8_valid(bytes->data + begin, bytes->count - begin), size = 0;
        bool cut = false;
        if (valid) STLORA_TRY(give(d, at + 1, bytes->data + begin, valid, err));
        begin += valid;
        if (begin == bytes->count) break;
        (void)stlora_utf8_step(bytes->data + begin, bytes->count - begin, &size, &cut);
        if (cut && !last) break;
        STLORA_TRY(give(d, at + 1, replacement_character, 3, err));
        begin += size;
    }
    memmove(bytes->data, bytes->data + begin, bytes->count - begin);
    bytes->count -= begin;
    return STLORA_OK;
}

static stlora_status end_byte_level(stlora_decoding *d, size_t at, stlora_error *err)
{
    part_state *state = &d->states[at];
    bool all;
    STLORA_TRY(
        stlora_byte_level_read(&state->bytes, state->held.data, state->held.count, &all, err));
    if (!all)
        STLORA_TRY(stlora_bytes_append(&state->bytes, state->held.data, state->held.count, err));
    state->held.count = 0;
    return state->bytes.count ? give_characters(d, at, false, err) : STLORA_OK;
}

/* ---- ByteFallback: a run of "<0x..>" tokens becomes the text of its bytes, or as many U+FFFD ---- */

/* The byte of "<0xHH>", -1 for other tokens. Like the library's number parser it takes "+H" for HH. */
static int fallback_byte(const char *token, size_t length)
{
    if (length != 6 || memcmp(token, "<0x", 3) != 0 || token[5] != '>') return -1;
    int value = 0;
    for (size_t i = 3; i < 5; i++) {
        char c = token[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (i == 3 && c == '+') digit = 0;
        if (digit < 0) return -1;
        value = 16 * value + digit;
    }
    return value;
}

static stlora_status give_byte_run(stlora_decoding *d, size_t at, stlora_error *err)
{
    stlora_bytes *run = &d->states[at].bytes;
    size_t count = run->count;
    run->count = 0;
    if (count == 0) return STLORA_OK;
    if (stlora_utf8_valid(run->data, count) == count)
        return give_token(d, at + 1, run->data, count, err);
    for (size_t i = 0; i < count; i++)
        STLORA_TRY(give_token(d, at + 1, replacement_character, 3, err));
    return STLORA_OK;
}

static stlora_status end_byte_fallback(stlora_decoding *d, size_t at, stlora_error *err)
{
    part_state *state = &d->states[at];
    int byte = fallback_byte(state->held.data, state->held.count);
    size_t count = state->held.count;
    state->held.count = 0;
    if (byte >= 0)
        return stlora_bytes_append(&state->bytes, (const char[]){(char)(unsigned char)byte}, 1,
                                   err);
    STLORA_TRY(give_byte_run(d, at, err));
    return give_token(d, at + 1, state->held.data, count, err);
}

/* ---- Replace ---- */

/* Replaces in text[0, length); with `last` false only what no further text can change, the rest is *kept: a string that
 * may have begun. Regular expressions and the empty string wait for the end of the token. */
static stlora_status replace_in(stlora_decoding *d, size_t at, const char *text, size_t length,
                                const char *replacement, size_t replacement_length, bool last,
                                size_t *kept, stlora_error *err)
{
    const stlora_pattern *pattern = &d->decoder->steps[at].pattern;
    size_t done = 0;
    *kept = length;
    if (!last && (pattern->regex || pattern->length == 0)) return STLORA_OK;
    stlora_matches walk = {0};
    for (;;) {
        size_t begin, end;
        bool found;
        STLORA_TRY(stlora_pattern_next(pattern, text, length, &walk, &found, &begin, &end, err));
        if (!found) break;
        if (begin > done) STLORA_TRY(give(d, at + 1, text + done, begin - done, err));
        if (replacement_length) STLORA_TRY(give(d, at + 1, replacement, replacement_length, err));
        done = end;
    }
    size_t until = length;
    if (!last) {
        until = length - done >= pattern->length ? length - (pattern->length - 1) : done;
        while (until > done && until < length && ((unsigned char)text[until] & 0xC0) == 0x80)
            until--;
    }
    if (until > done) STLORA_TRY(give(d, at + 1, text + done, until - done, err));
    *kept = length - (until > done ? until : done);
    return STLORA_OK;
}

static stlora_status give_replaced(stlora_decoding *d, size_t at, bool last, stlora_error *err)
{
    const stlora_decode_step *step = &d->decoder->steps[at];
    stlora_bytes *held = &d->states[at].held;
    size_t kept;
    STLORA_TRY(replace_in(d, at, held->data ? held->data : "", held->count, step->text,
                          step->length, last, &kept, err));
    if (held->count > kept) memmove(held->data, held->data + held->count - kept, kept);
    held->count = kept;
    return STLORA_OK;
}

/* ---- Strip: up to `start` copies of a character at the beginning of a token, up to `stop` at its end ---- */

static stlora_status give_stripped(stlora_decoding *d, size_t at, const char *text, size_t length,
                                   stlora_error *err)
{
    const stlora_decode_step *step = &d->decoder->steps[at];
    part_state *state = &d->states[at];
    size_t size;
    for (size_t i = 0; i < length; i += size) {
        (void)stlora_utf8_read(text + i, &size);
        bool same = size == step->length && memcmp(text + i, step->text, size) == 0;
        if (!state->begun && same && state->stripped < step->start) {
            state->stripped++;
            continue;
        }
        state->begun = true;
        if (step->stop == 0) return give(d, at + 1, text + i, length - i, err);
        if (same && state->trailing < step->stop) {
            state->trailing++;
            continue;
        }
        if (same) { /* one more than may be stripped: the first of them stays */
            STLORA_TRY(give(d, at + 1, text + i, size, err));
            continue;
        }
        for (; state->trailing > 0; state->trailing--)
            STLORA_TRY(give(d, at + 1, step->text, step->length, err));
        STLORA_TRY(give(d, at + 1, text + i, size, err));
    }
    return STLORA_OK;
}

/* ---- Metaspace ---- */

static stlora_status give_metaspace(stlora_decoding *d, size_t at, const char *text, size_t length,
                                    stlora_error *err)
{
    bool drop = d->states[at].tokens == 0 && !d->decoder->steps[at].keep_first;
    size_t kept;
    return replace_in(d, at, text, length, " ", drop ? 0 : 1, true, &kept, err);
}

/* ---- BPEDecoder: the suffix is a space, but nothing at the end of the last token, which waits to be known ---- */

static stlora_status give_waiting(stlora_decoding *d, size_t at, bool last, stlora_error *err)
{
    part_state *state = &d->states[at];
    size_t kept;
    if (!state->begun) return STLORA_OK;
    state->begun = false;
    STLORA_TRY(replace_in(d, at, state->bytes.data ? state->bytes.data : "", state->bytes.count,
                          " ", last ? 0 : 1, true, &kept, err));
    return end_token(d, at + 1, err);
}

static stlora_status end_bpe(stlora_decoding *d, size_t at, stlora_error *err)
{
    part_state *state = &d->states[at];
    STLORA_TRY(give_waiting(d, at, false, err));
    stlora_bytes empty = state->bytes;
    state->bytes = state->held;
    state->held = empty;
    state->held.count = 0;
    state->begun = true;
    return STLORA_OK;
}

/* ---- WordPiece: a blank before each token but the first and those that continue a word ---- */

/* The library's rules for English, one after the other over the whole token. */
static void clean_up(char *text, size_t *length)
{
    static const char *const rules[][2] = {{" .", "."},     {" ?", "?"},     {" !", "!"},           {" ,", ","},   {" ' ", "'"},  {" n't", "n't"},
                                           {" 'm", "'m"},   {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    for (size_t r = 0; r < sizeof rules / sizeof *rules; r++) {
        const size_t from = strlen(rules[r][0]), to = strlen(rules[r][1]);
        size_t kept = 0, at = 0;
        while (at < *length) {
            const size_t found = stlora_find_bytes(text, *length, at, rules[r][0], from);
            memmove(text + kept, text + at, found - at);
            kept += found - at;
            at = found;
            if (found == *length) break;
            memcpy(text + kept, rules[r][1], to);
            kept += to;
            at += from;
        }
        *length = kept;
    }
}

static stlora_status give_word_piece(stlora_decoding *d, size_t at, stlora_error *err)
{
    const stlora_decode_step *step = &d->decoder->steps[at];
    part_state *state = &d->states[at];
    stlora_bytes *held = &state->held, *whole = &state->bytes;
    const bool continues =
        state->tokens > 0 && held->count >= step->length && (!step->length || memcmp(held->data, step->text, step->length) == 0);
    const size_t skipped = continues ? step->length : 0;
    whole->count = 0;
    if (state->tokens > 0 && !continues) STLORA_TRY(stlora_bytes_append(whole, " ", 1, err));
    STLORA_TRY(stlora_bytes_append(whole, held->data ? held->data + skipped : "", held->count - skipped, err));
    held->count = 0;
    if (step->clean_up && whole->count) clean_up(whole->data, &whole->count);
    return whole->count ? give(d, at + 1, whole->data, whole->count, err) : STLORA_OK;
}

/* ---- the chain ---- */

static stlora_status join(stlora_decoding *d, size_t at, stlora_error *err)
{
    part_state *state = &d->states[at];
    if (state->begun) return STLORA_OK;
    state->begun = true;
    return state->tokens > 0 ? give(d, at + 1, " ", 1, err) : STLORA_OK;
}

static stlora_status give(stlora_decoding *d, size_t at, const char *text, size_t length,
                          stlora_error *err)
{
    if (length > d->room)
        return stlora_fail(err, STLORA_E_FORMAT, "the decoder makes more than %d bytes for each byte of the tokens", GROWTH_MAX);
    d->room -= length;
    if (at == d->decoder->count) return stlora_bytes_append(&d->text, text, length, err);
    part_state *state = &d->states[at];
    switch (d->decoder->steps[at].kind) {
    case STLORA_DECODE_JOIN:
        STLORA_TRY(join(d, at, err));
        break;
    case STLORA_DECODE_FUSE:
        break;
    case STLORA_DECODE_STRIP:
        return give_stripped(d, at, text, length, err);
    case STLORA_DECODE_METASPACE:
        return give_metaspace(d, at, text, length, err);
    case STLORA_DECODE_REPLACE:
        STLORA_TRY(stlora_bytes_append(&state->held, text, length, err));
        return give_replaced(d, at, false, err);
    case STLORA_DECODE_BYTE_LEVEL:
    case STLORA_DECODE_BYTE_FALLBACK:
    case STLORA_DECODE_BPE:
    case STLORA_DECODE_WORD_PIECE:
        return stlora_bytes_append(&state->held, text, length, err);
    }
    return give(d, at + 1, text, length, err);
}

static stlora_status end_token(stlora_decoding *d, size_t at, stlora_error *err)
{
    if (at == d->decoder->count) return STLORA_OK;
    part_state *state = &d->states[at];
    switch (d->decoder->steps[at].kind) {
    case STLORA_DECODE_FUSE:
        return STLORA_OK;
    case STLORA_DECODE_BYTE_LEVEL:
        return end_byte_level(d, at, err);
    case STLORA_DECODE_BYTE_FALLBACK:
        return end_byte_fallback(d, at, err);
    case STLORA_DECODE_BPE:
        return end_bpe(d, at, err);
    case STLORA_DECODE_REPLACE:
        STLORA_TRY(give_replaced(d, at, true, err));
        break;
    case STLORA_DECODE_JOIN:
        STLORA_TRY(join(d, at, err));
        break;
    case STLORA_DECODE_WORD_PIECE:
        STLORA_TRY(give_word_piece(d, at, err));
        break;
    case STLORA_DECODE_METASPACE:
    case STLORA_DECODE_STRIP:
        break;
    }
    state->stripped = state->trailing = 0;
    state->begun = false;
    state->tokens++;
    return end_token(d, at + 1, err);
}

/* What waits for the end, and where several tokens become one, that token's end. */
static stlora_status finish(stlora_decoding *d, size_t at, stlora_error *err)
{
    for (; at < d->decoder->count; at++) {
        part_state *state = &d->states[at];
        switch (d->decoder->steps[at].kind) {
        case STLORA_DECODE_BYTE_LEVEL:
            if (state->bytes.count) STLORA_TRY(give_characters(d, at, true, err));
            STLORA_TRY(end_token(d, at + 1, err));
            break;
        case STLORA_DECODE_FUSE:
            STLORA_TRY(end_token(d, at + 1, err));
            break;
        case STLORA_DECODE_BYTE_FALLBACK:
            STLORA_TRY(give_byte_run(d, at, err));
            break;
        case STLORA_DECODE_BPE:
            STLORA_TRY(give_waiting(d, at, true, err));
            break;
        case STLORA_DECODE_JOIN:
        case STLORA_DECODE_REPLACE:
        case STLORA_DECODE_STRIP:
        case STLORA_DECODE_METASPACE:
        case STLORA_DECODE_WORD_PIECE:
            break;
        }
        *state = (part_state){.held = {state->held.data, 0, state->held.capacity},
                              .bytes = {state->bytes.data, 0, state->bytes.capacity}};
    }
    return STLORA_OK;
}

stlora_status stlora_decoding_token(stlora_decoding *decoding, const char *token, size_t length,
                                    stlora_error *err)
{
    decoding->room += (length + 1) * GROWTH_MAX * (decoding->decoder->count + 1);
    return give_token(decoding, 0, token, length, err);
}

stlora_status stlora_decoding_finish(stlora_decoding *decoding, stlora_error *err)
{
    return finish(decoding, 0, err);
}
