/* step_profile.c: see step_profile.h. */
#include "train/step_profile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/ceiling.h"
#include "backend/profile.h"
#include "base/atomic_file.h"
#include "base/memory.h"

enum { CEILING_TRIES = 20, READ_TRIES = 5, LINE_BYTES = 192 };

struct stlora_step_profile {
    const stlora_session *session;
    stlora_op_profile *ops;
    int64_t steps_seen;
    bool counting;
    double optimizer_seconds;
    stlora_profile_line *lines; /* made by _finish */
    stlora_profile result;
};

/* The multipliers that the run's products use. */
static void measure_ceiling(stlora_step_profile *p)
{
    const stlora_backend *backend = p->session->backend;
    const stlora_ceiling_kind kind = stlora_ceiling_of(backend, p->session->act);
    const double rate = 1e9 * stlora_ceiling_flops(kind, backend->team, CEILING_TRIES);
    if (rate > p->result.ceiling_flops) p->result.ceiling_flops = rate;
}

stlora_status stlora_step_profile_create(stlora_step_profile **out, const stlora_session *session, stlora_error *err)
{
    stlora_step_profile *p;
    STLORA_TRY(stlora_alloc(&p, 1, sizeof *p, "a profile", err));
    p->session = session;
    const stlora_status status = stlora_op_profile_create(&p->ops, session->backend, err);
    if (status != STLORA_OK) {
        stlora_free(p);
        return status;
    }
    measure_ceiling(p);
    *out = p;
    return STLORA_OK;
}

void stlora_step_profile_free(stlora_step_profile *p)
{
    if (!p) return;
    stlora_op_profile_free(p->ops);
    stlora_free(p->lines);
    stlora_free(p);
}

const stlora_backend *stlora_step_profile_table(const stlora_step_profile *p, const stlora_backend *otherwise)
{
    return p ? stlora_op_profile_table(p->ops) : otherwise;
}

void stlora_step_profile_begin(stlora_step_profile *p, bool last)
{
    if (!p) return;
    p->counting = p->steps_seen++ > 0 || last;
    stlora_op_profile_record(p->ops, p->counting);
}

void stlora_step_profile_row(stlora_step_profile *p, int64_t tokens, int64_t supervised)
{
    if (!p || !p->counting) return;
    p->result.needed_flops += stlora_pass_flops(p->session->model, p->session->lora, &tokens, 1, supervised, true);
}

void stlora_step_profile_end(stlora_step_profile *p, double seconds, double optimizer_seconds)
{
    if (!p || !p->counting) return;
    p->counting = false;
    stlora_op_profile_record(p->ops, false); /* evaluations run through the same table */
    p->result.steps++;
    p->result.seconds += seconds;
    p->optimizer_seconds += optimizer_seconds;
}

static int slowest_first(const void *a, const void *b)
{
    const stlora_profile_line *x = a, *y = b;
    return (x->seconds < y->seconds) - (x->seconds > y->seconds);
}

/* All ops, the optimizer, and last what is none of them: so that the lines' seconds add up to the steps'. */
static stlora_status sum_up(stlora_step_profile *p, stlora_error *err)
{
    size_t ops, count = 0;
    const stlora_op_line *lines = stlora_op_profile_lines(p->ops, &ops);
    STLORA_TRY(stlora_alloc(&p->lines, ops + 2, sizeof *p->lines, "a profile", err));
    double rest = p->result.seconds - p->optimizer_seconds;
    for (; count < ops; count++) {
        const stlora_op_line *line = &lines[count];
        p->lines[count] = (stlora_profile_line){line->op, line->calls, line->seconds, line->flops, line->bytes};
        rest -= line->seconds;
    }
    /* The norm of the gradients reads g (2 operations); AdamW is 14 and moves p, m, v both ways, and g. */
    const double updated = (double)p->session->lora->elements * (double)p->result.steps;
    p->lines[count++] = (stlora_profile_line){"optimizer", p->result.steps, p->optimizer_seconds, 16 * updated,
                                              8 * sizeof(float) * updated};
    qsort(p->lines, count, sizeof *p->lines, slowest_first);
    p->lines[count++] = (stlora_profile_line){"other", p->result.steps, rest, 0, 0};
    p->result.lines = p->lines;
    p->result.line_count = count;
    return STLORA_OK;
}

static stlora_status write_csv(const stlora_step_profile *p, const char *dir, stlora_error *err)
{
    char *path, *text;
    const size_t size = (p->result.line_count + 2) * LINE_BYTES;
    STLORA_TRY(stlora_alloc(&text, size, 1, "a profile", err));
    size_t used = (size_t)snprintf(text, size, "op,calls,seconds,flops,bytes\n");
    for (size_t i = 0; i < p->result.line_count; i++) {
        const stlora_profile_line *line = &p->lines[i];
        used += (size_t)snprintf(text + used, size - used, "%s,%lld,%.9g,%.9g,%.9g\n", line->op, (long long)line->calls,
                                 line->seconds, line->flops, line->bytes);
    }
    stlora_status status = stlora_path_join(&path, dir, "profile.csv", err);
    if (status == STLORA_OK) {
        status = stlora_atomic_write_all(path, text, used, err);
        stlora_free(path);
    }
    stlora_free(text);
    return status;
}

stlora_status stlora_step_profile_finish(stlora_step_profile *p, const char *dir, stlora_error *err)
{
    if (!p) return STLORA_OK;
    const stlora_linear *head = &p->session->model->head; /* the largest matrix, and all of it has been read */
    measure_ceiling(p);
    p->result.ceiling_bytes =
        1e9 * stlora_ceiling_read(head->weight.data,
                                  (size_t)(head->n * head->m) * stlora_dtype_size(head->weight.dtype),
                                  p->session->backend->team, READ_TRIES);
    STLORA_TRY(sum_up(p, err));
    return write_csv(p, dir, err);
}

stlora_profile stlora_step_profile_result(const stlora_step_profile *p)
{
    return p ? p->result : (stlora_profile){0};
}
