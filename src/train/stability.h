/* stability.h: measures what a run's steps change: every so many steps the change of chosen pairs' outputs is taken apart
 * (optim/decomposition.h) over a sample of the step's tokens (model/probe.h), and written to stability.jsonl. It only looks: no bit of the
 * training depends on it. Every function but _create takes NULL for a run that is not measured, and does nothing then.
 * Test: tests/cli/test_stability.py.
 */
#ifndef STLORA_TRAIN_STABILITY_H
#define STLORA_TRAIN_STABILITY_H

#include "base/threads.h"
#include "model/lora.h"
#include "model/probe.h"
#include "stlora/optim.h"
#include "train/run_dir.h"

typedef struct stlora_stability stlora_stability; /* opaque; one thread at a time */

enum {
    STLORA_STABILITY_TOKENS = 256,
    STLORA_STABILITY_FEWEST = 16
}; /* of a step that are looked at: wanted, and at least */

/* stlora_stability_create: for the pairs that `pairs` names: "spread" (of every kind of map the first, the middle and the last that are
 * adapted), "all", or names as --target-modules takes them. team: whose threads share the pairs. drawn: how the run's A was drawn, element by
 * element, so that it can be drawn again; NULL = it was not. Borrows lora and team. Creates; pair with _free. STLORA_E_USAGE: names that mean no
 * pair. */
STLORA_NODISCARD stlora_status stlora_stability_create(stlora_stability **out, const stlora_lora *lora,
                                                       stlora_team *team, int64_t every, const char *pairs,
                                                       uint64_t seed, const stlora_lora_init *drawn, stlora_error *err);
void stlora_stability_free(stlora_stability *s);

/* stlora_stability_pairs: how many pairs are measured. stlora_stability_bytes: what _take will take to look at `tokens` tokens. */
int64_t stlora_stability_pairs(const stlora_stability *s);
size_t stlora_stability_bytes(const stlora_stability *s, int64_t tokens, stlora_dtype act);
STLORA_NODISCARD stlora_status stlora_stability_take(stlora_stability *s, int64_t tokens, stlora_dtype act,
                                                     stlora_error *err);

/* stlora_stability_open: opens dir/stability.jsonl as stlora_metrics_open does. */
STLORA_NODISCARD stlora_status stlora_stability_open(stlora_stability *s, const char *dir, int64_t last_step,
                                                     stlora_error *err);

/* The course of a step: _begin before its forward pass gives what the pass must watch with, NULL in a step that is not measured (measured are
 * the first, every so-many-th and the last); _before keeps A and B; _after, when the optimizer has changed them, writes a line per pair
 * and fills in metrics' medians. A step that was skipped ends without _after. */
stlora_probe *stlora_stability_begin(stlora_stability *s, const stlora_step_metrics *metrics);
void stlora_stability_before(stlora_stability *s, const stlora_optimizer *optimizer);
STLORA_NODISCARD stlora_status stlora_stability_after(stlora_stability *s, const stlora_optimizer *optimizer,
                                                      stlora_step_metrics *metrics, stlora_error *err);

#endif
