/* scorer.h: log-probabilities of one row's tokens, row by row: nothing of one row reaches another. Tests: tests/train/test_evaluate.c,
 * tests/api/test_golden_real.c. */
#ifndef STLORA_TRAIN_SCORER_H
#define STLORA_TRAIN_SCORER_H

#include "train/session.h"

typedef struct stlora_scorer stlora_scorer; /* opaque; grows with the longest row seen */

/* stlora_scorer_create: borrows session. Pair with _free. */
STLORA_NODISCARD stlora_status stlora_scorer_create(stlora_scorer **out, const stlora_session *session,
                                                    stlora_error *err);
void stlora_scorer_free(stlora_scorer *scorer);

/* stlora_scorer_run: logprob[i] = log p(ids[i] | ids[0..i-1]) for i in [from, count), from >= 1; *logprob is borrowed until the next call and
 * starts with that of ids[from]. Ids are checked against the vocabulary: STLORA_E_FORMAT. where names the row in sentences. */
STLORA_NODISCARD stlora_status stlora_scorer_run(stlora_scorer *scorer, const int32_t *ids, int64_t count, int64_t from,
                                                 const char *where, const float **logprob, stlora_error *err);

#endif
