/* cmd_score.c: the verb score: one line of ids and log-probabilities per row. */
#include <string.h>

#include "output.h"
#include "signals.h"
#include "stlora/infer.h"
#include "verbs.h"

static stlora_status on_line(void *context, const char *line, stlora_error *err)
{
    (void)context;
    stlora_status status = put(line, strlen(line), err);
    return status == STLORA_OK ? put("\n", 1, err) : status;
}

stlora_status cmd_score(const struct options *options, stlora_error *err)
{
    const stlora_infer_callbacks callbacks = {
        .on_line = on_line, .log = stderr_log, .stop = catch_signals()};
    return stlora_score(options->params, &callbacks, err);
}
