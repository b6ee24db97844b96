/* scorer.c: a pass over one segment. See scorer.h. */
#include "train/scorer.h"

#include <assert.h>

#include "base/memory.h"
#include "train/plan.h"

struct stlora_scorer {
    const stlora_session *session;
    stlora_pass *pass;
    int64_t capacity;
    int32_t *positions, *targets;
    int64_t *at;
    float *logprob;
    stlora_arena arena; /* the four above */
};

stlora_status stlora_scorer_create(stlora_scorer **out, const stlora_session *session, stlora_error *err)
{
    stlora_scorer *scorer;
    STLORA_TRY(stlora_alloc(&scorer, 1, sizeof *scorer, "scorer", err));
    scorer->session = session;
    *out = scorer;
    return STLORA_OK;
}

static void release(stlora_scorer *scorer)
{
    stlora_pass_free(scorer->pass);
    stlora_arena_free(&scorer->arena);
    scorer->pass = NULL;
    scorer->capacity = 0;
}

void stlora_scorer_free(stlora_scorer *scorer)
{
    if (!scorer) return;
    release(scorer);
    stlora_free(scorer);
}

static void lay_out(stlora_scorer *scorer, size_t capacity)
{
    scorer->positions = stlora_arena_take(&scorer->arena, capacity, sizeof *scorer->positions);
    scorer->targets = stlora_arena_take(&scorer->arena, capacity, sizeof *scorer->targets);
    scorer->at = stlora_arena_take(&scorer->arena, capacity, sizeof *scorer->at);
    scorer->logprob = stlora_arena_take(&scorer->arena, capacity, sizeof *scorer->logprob);
}

static stlora_status make_room(stlora_scorer *scorer, int64_t count, const char *where, stlora_error *err)
{
    const stlora_session *s = scorer->session;
    int64_t limit = s->model->config.max_positions;
    if (s->model->family->learned_positions && count > limit)
        return stlora_fail(err, STLORA_E_UNSUPPORTED, "%s: %lld tokens are more than the model's %lld positions", where,
                           (long long)count, (long long)limit);
    if (count <= scorer->capacity) return STLORA_OK;
    int64_t capacity = count > 256 ? count + count / 4 : 256;
    if (s->model->family->learned_positions && capacity > limit) capacity = limit;
    release(scorer);
    stlora_pass_shape shape;
    stlora_plan_task task = {.act = s->act, .longest = capacity, .batch_tokens = capacity, .batch_size = 1};
    STLORA_TRY(stlora_plan_shape(s->model, s->lora, &task, stlora_memory_free(), &shape, err));
    lay_out(scorer, (size_t)capacity);
    STLORA_TRY(stlora_arena_bind(&scorer->arena, "scores", err));
    lay_out(scorer, (size_t)capacity);
    STLORA_TRY(stlora_pass_create(&scorer->pass, s->model, s->lora, s->backend, &shape, err));
    scorer->capacity = capacity;
    return STLORA_OK;
}

stlora_status stlora_scorer_run(stlora_scorer *scorer, const int32_t *ids, int64_t count, int64_t from,
                                const char *where, const float **logprob, stlora_error *err)
{
    int64_t vocab = scorer->session->model->config.vocab_size, supervised = 0;
    const int64_t starts[2] = {0, count}, row = 0;
    double loss = 0;
    assert(from >= 1 && from <= count);
    for (int64_t i = 0; i < count; i++)
        if (ids[i] < 0 || ids[i] >= vocab)
            return stlora_fail(err, STLORA_E_FORMAT, "%s: id %d at place %lld, the model has %lld tokens", where,
                               ids[i], (long long)i, (long long)vocab);
    STLORA_TRY(make_room(scorer, count, where, err));
    for (int64_t t = 0; t < count; t++) {
        bool counts = t + 1 >= from && t + 1 < count;
        scorer->positions[t] = (int32_t)t;
        scorer->targets[t] = counts ? ids[t + 1] : -1;
        if (counts) scorer->at[supervised++] = t;
    }
    stlora_pass_batch batch = {.tokens = count,
                               .segments = 1,
                               .supervised = supervised,
                               .ids = ids,
                               .positions = scorer->positions,
                               .starts = starts,
                               .rows = &row,
                               .targets = scorer->targets,
                               .at = scorer->at};
    stlora_pass_loss(scorer->pass, &batch, &loss, scorer->logprob);
    *logprob = scorer->logprob;
    return STLORA_OK;
}
