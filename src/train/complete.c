/* complete.c: see complete.h. The cache has equal seats. In each call every seated prompt goes on: by one token where its own text has begun,
 * else by as much of the prompt as the call has room for; a seat that falls free is the next prompt's. */
#include "train/complete.h"

#include "base/memory.h"
#include "model/decoder.h"
#include "train/plan.h"
#include "train/sample.h"

enum { SEATS = 32, CALL_TOKENS = 512 };

typedef struct seat {
    int64_t prompt;     /* -1 = free */
    int64_t past, made; /* tokens in the cache; tokens made */
    int64_t piece;      /* tokens in the current call; 0 = none */
    int32_t *ids;       /* [most of all prompts] made */
} seat;

typedef struct completer {
    const stlora_session *session;
    const stlora_prompt *prompts;
    const stlora_completing *completing;
    int64_t count, next, ended;
    stlora_decoder *decoder;
    stlora_decoder_shape shape;
    seat *seats; /* [shape.pieces] */
    stlora_decoder_piece *pieces;
    int64_t *at; /* [shape.pieces] last tokens of the pieces whose logits are wanted */
    int32_t *ids;
    stlora_arena arena; /* the four above */
} completer;

static void lay_out(completer *c, int64_t most)
{
    size_t seats = (size_t)c->shape.pieces;
    c->seats = stlora_arena_take(&c->arena, seats, sizeof *c->seats);
    c->pieces = stlora_arena_take(&c->arena, seats, sizeof *c->pieces);
    c->at = stlora_arena_take(&c->arena, seats, sizeof *c->at);
    c->ids = stlora_arena_take(&c->arena, seats * (size_t)most, sizeof *c->ids);
}

/* As many seats as half of the free memory has room for. */
static stlora_status create(completer *c, stlora_error *err)
{
    const stlora_session *s = c->session;
    int64_t most = 1, longest = 1;
    for (int64_t i = 0; i < c->count; i++) {
        const stlora_prompt *p = &c->prompts[i];
        int64_t positions = p->count + (p->most > 0 ? p->most - 1 : 0); /* the last token does not go in */
        if (positions > longest) longest = positions;
        if (p->most > most) most = p->most;
    }
    int64_t seats = c->count < SEATS ? c->count : SEATS;
    for (;; seats /= 2) {
        c->shape = (stlora_decoder_shape){longest, longest * seats, CALL_TOKENS, seats, seats, 0};
        if (longest * seats < CALL_TOKENS) c->shape.tokens = longest * seats;
        if (seats == 1 ||
            stlora_decoder_bytes(s->model, s->lora, s->act, &c->shape) <= (size_t)stlora_memory_free() / 2)
            break;
    }
    lay_out(c, most);
    STLORA_TRY(stlora_arena_bind(&c->arena, "what is generated", err));
    lay_out(c, most);
    for (int64_t i = 0; i < seats; i++)
        c->seats[i] = (seat){.prompt = -1, .ids = c->ids + i * most};
    return stlora_decoder_create(&c->decoder, s->model, s->lora, s->backend, s->act, &c->shape, err);
}

static stlora_status end(completer *c, seat *s, stlora_error *err)
{
    int64_t prompt = s->prompt;
    s->prompt = -1;
    c->ended++;
    return c->completing->on_end(c->completing->context, prompt, s->ids, s->made, err);
}

/* The next prompt of which anything is to be made. */
static stlora_status sit_down(completer *c, seat *s, stlora_error *err)
{
    while (s->prompt < 0 && c->next < c->count) {
        s->prompt = c->next++;
        s->past = s->made = 0;
        if (c->prompts[s->prompt].most == 0) STLORA_TRY(end(c, s, err));
    }
    return STLORA_OK;
}

/* Puts a call together and runs it; *wanted pieces have their logits at c->at. */
static stlora_status step(completer *c, int64_t *wanted, stlora_error *err)
{
    int64_t count = 0, tokens = 0, speaking = 0;
    for (int64_t i = 0; i < c->shape.pieces; i++) {
        seat *s = &c->seats[i];
        STLORA_TRY(sit_down(c, s, err));
        speaking += s->prompt >= 0 && s->made > 0;
    }
    *wanted = 0;
    for (int64_t i = 0; i < c->shape.pieces; i++) {
        seat *s = &c->seats[i];
        s->piece = 0;
        if (s->prompt < 0) continue;
        const stlora_prompt *p = &c->prompts[s->prompt];
        int64_t left = p->count - s->past, room = c->shape.tokens - tokens - speaking;
        const int32_t *ids = p->ids + s->past;
        if (s->made > 0) { /* their tokens have room whatever the prompts take */
            ids = &s->ids[s->made - 1];
            left = room = 1;
            speaking--;
        }
        s->piece = left < room ? left : room;
        if (s->piece == 0) continue;
        c->pieces[count++] = (stlora_decoder_piece){i * c->shape.positions, s->past, s->piece, ids};
        tokens += s->piece;
        s->past += s->piece;
        if (s->piece == left) c->at[(*wanted)++] = tokens - 1;
    }
    if (count > 0) stlora_decoder_run(c->decoder, c->pieces, count);
    return STLORA_OK;
}

/* A token for the seat. */
static stlora_status take(completer *c, seat *s, const float *logits, stlora_error *err)
{
    const stlora_sampling greedy = {.top_p = 1};
    const stlora_completing *how = c->completing;
    int32_t id;
    bool enough = false;
    STLORA_TRY(stlora_sample(logits, c->session->model->config.vocab_size, &greedy, 0, NULL, &id, err));
    if (stlora_session_is_end(c->session, id)) return end(c, s, err);
    s->ids[s->made++] = id;
    if (s->made == c->prompts[s->prompt].most) return end(c, s, err);
    if (how->is_enough) STLORA_TRY(how->is_enough(how->context, s->prompt, s->ids, s->made, &enough, err));
    return enough ? end(c, s, err) : STLORA_OK;
}

static stlora_status complete(completer *c, stlora_error *err)
{
    const volatile sig_atomic_t *stop = c->completing->stop;
    int64_t vocab = c->session->model->config.vocab_size;
    while (c->ended < c->count) {
        int64_t wanted;
        STLORA_TRY(step(c, &wanted, err));
        const float *logits = wanted ? stlora_decoder_logits(c->decoder, c->at, wanted) : NULL;
        for (int64_t i = 0; i < c->shape.pieces; i++) {
            seat *s = &c->seats[i];
            if (s->prompt < 0 || s->piece == 0 || s->past < c->prompts[s->prompt].count) continue;
            STLORA_TRY(take(c, s, logits, err));
            logits += vocab;
        }
        if (stop && *stop)
            return stlora_fail(err, STLORA_E_INTERRUPTED, "stopped after %lld of %lld rows", (long long)c->ended,
                               (long long)c->count);
    }
    return STLORA_OK;
}

stlora_status stlora_complete(const stlora_session *session, const stlora_prompt *prompts, int64_t count,
                              const stlora_completing *completing, stlora_error *err)
{
    completer c = {.session = session, .prompts = prompts, .completing = completing, .count = count};
    stlora_status status = create(&c, err);
    if (status == STLORA_OK) status = complete(&c, err);
    stlora_decoder_free(c.decoder);
    stlora_arena_free(&c.arena);
    return status;
}
