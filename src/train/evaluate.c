/* evaluate.c: every example once, in order, in as few micro-batches as fit. */
#include "train/evaluate.h"

#include <math.h>

#include "base/memory.h"
#include "train/plan.h"

enum { ROWS_PER_PACK = 64 };

stlora_pass_batch stlora_pass_view(const stlora_pack *pack)
{
    return (stlora_pass_batch){.tokens = pack->tokens,
                               .segments = pack->segments,
                               .supervised = pack->supervised,
                               .ids = pack->ids,
                               .positions = pack->positions,
                               .starts = pack->starts,
                               .rows = pack->rows,
                               .targets = pack->targets,
                               .at = pack->at};
}

stlora_status stlora_evaluate_with(stlora_pass *pass, stlora_pack *pack, const stlora_examples *examples,
                                   const volatile sig_atomic_t *stop, stlora_eval_metrics *out, stlora_error *err)
{
    uint32_t chosen[ROWS_PER_PACK];
    size_t count = stlora_examples_count(examples);
    const stlora_example_counts *counts = stlora_examples_counts(examples);
    double loss = 0;
    for (size_t from = 0; from < count;) {
        size_t offered = count - from < ROWS_PER_PACK ? count - from : ROWS_PER_PACK;
        for (size_t k = 0; k < offered; k++)
            chosen[k] = (uint32_t)(from + k);
        size_t taken = stlora_pack_fill(pack, examples, chosen, offered, 0);
        stlora_pass_batch batch = stlora_pass_view(pack);
        stlora_pass_loss(pass, &batch, &loss, NULL);
        from += taken;
        if (stop && *stop) return stlora_fail(err, STLORA_E_INTERRUPTED, "stopped during an evaluation");
    }
    out->loss = loss / (double)counts->supervised;
    out->perplexity = exp(out->loss);
    out->supervised_tokens = counts->supervised;
    out->rows = (int64_t)count;
    return STLORA_OK;
}

stlora_status stlora_evaluate(const stlora_session *session, const stlora_examples *examples, int64_t budget,
                              const volatile sig_atomic_t *stop, stlora_eval_metrics *out, stlora_error *err)
{
    const stlora_example_counts *counts = stlora_examples_counts(examples);
    stlora_pass_shape shape;
    stlora_pass *pass = NULL;
    stlora_pack pack = {0};
    int64_t bound;
    STLORA_TRY(stlora_batch_tokens_bound(examples, ROWS_PER_PACK, &bound, err));
    stlora_plan_task task = {
        .act = session->act, .longest = counts->longest, .batch_tokens = bound, .batch_size = ROWS_PER_PACK};
    STLORA_TRY(stlora_plan_shape(session->model, session->lora, &task, budget, &shape, err));
    stlora_status status = stlora_pass_create(&pass, session->model, session->lora, session->backend, &shape, err);
    if (status == STLORA_OK) status = stlora_pack_create(&pack, shape.max_tokens, shape.max_segments, err);
    if (status == STLORA_OK) status = stlora_evaluate_with(pass, &pack, examples, stop, out, err);
    stlora_pack_free(&pack);
    stlora_pass_free(pass);
    return status;
}
