/* step_profile.h: what the steps of a run are made of: their ops' times and counts, the optimizer's, what lies between, and how far
 * the whole is from what the machine could do. It changes no bit of the run. Every function takes a NULL profile and does nothing
 * then, so that a run without one has no other code. Test: tests/cli/test_profile.py.
 */
#ifndef STLORA_TRAIN_STEP_PROFILE_H
#define STLORA_TRAIN_STEP_PROFILE_H

#include "stlora/train.h"
#include "train/session.h"

typedef struct stlora_step_profile stlora_step_profile; /* opaque */

/* stlora_step_profile_create: for steps of this session, which has an adapter and is borrowed; takes a first measure of the machine's
 * ceiling. Creates; pair with _free. */
STLORA_NODISCARD stlora_status stlora_step_profile_create(stlora_step_profile **out, const stlora_session *session,
                                                          stlora_error *err);
void stlora_step_profile_free(stlora_step_profile *profile);

/* stlora_step_profile_table: the table of kernels that the run's passes must use; `otherwise` where profile is NULL. */
const stlora_backend *stlora_step_profile_table(const stlora_step_profile *profile, const stlora_backend *otherwise);

/* A step: _begin, _row for each of its rows, _end. The first step of a process pays for pages and caches: it is not counted unless
 * it is the only one (last = no step follows). */
void stlora_step_profile_begin(stlora_step_profile *profile, bool last);
void stlora_step_profile_row(stlora_step_profile *profile, int64_t tokens, int64_t supervised);
void stlora_step_profile_end(stlora_step_profile *profile, double seconds, double optimizer_seconds);

/* stlora_step_profile_finish: measures the ceilings again (the best counts), sums up, writes dir/profile.csv. */
STLORA_NODISCARD stlora_status stlora_step_profile_finish(stlora_step_profile *profile, const char *dir,
                                                          stlora_error *err);

/* stlora_step_profile_result: as _finish left it: zero before; lines borrowed. */
stlora_profile stlora_step_profile_result(const stlora_step_profile *profile);

#endif
