/* run_adapter.h: the adapter that a run's parameters ask for: a new one, or the one it starts from, which the flags may not contradict.
 * Test: tests/cli/test_adapter_flags.py.
 */
#ifndef STLORA_TRAIN_RUN_ADAPTER_H
#define STLORA_TRAIN_RUN_ADAPTER_H

#include <jansson.h>

#include "train/configs.h"
#include "train/session.h"

/* stlora_run_adapter_init: how the adapter begins. Sets config->shrink_ratio to 0 where B does not begin at 0 and the flags say nothing of the
 * ratio; *shrink_off is then true. STLORA_E_USAGE: a word that is none; a shrink that they ask for without --force-shrink. */
STLORA_NODISCARD stlora_status stlora_run_adapter_init(stlora_lora_init *out, const stlora_params *params,
                                                       stlora_train_config *config, bool *shrink_off, stlora_error *err);

/* stlora_run_adapter_open: session->lora, trained: made from the flags where the session has none; where it has the one of
 * --adapter, checked against the flags that were given. *shrink_off and config->shrink_ratio: as above, where a B of that adapter is not 0;
 * otherwise *shrink_off is left alone. STLORA_E_USAGE naming the flag. */
STLORA_NODISCARD stlora_status stlora_run_adapter_open(stlora_session *session, const stlora_params *params,
                                                       stlora_train_config *config, const stlora_lora_init *init, bool *shrink_off,
                                                       stlora_error *err);

/* stlora_run_adapter_record: in an object of parameters, as stlora_params_json makes it, the words of the adapter that a run starts from. */
STLORA_NODISCARD stlora_status stlora_run_adapter_record(json_t *params, const stlora_lora *lora, stlora_error *err);

#endif
