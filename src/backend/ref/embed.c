/* embed.c: rows of the token table, plus rows of the table of learned positions where the family has one.
 *
 *   x[t,c] = table[ids[t], c] + positions_table[positions[t], c]
 *
 * Ids are checked where rows are tokenised; here a negative one is our bug. The tables are frozen: there is no gradient.
 */
#include "backend/ref/ref.h"

void stlora_ref_embed(const stlora_backend *backend, const stlora_embed_args *a)
{
    (void)backend;
    assert(a->x.rows >= a->tokens && a->x.cols == a->width && a->x.ld >= a->width);
    for (int64_t t = 0; t < a->tokens; t++) {
        assert(a->ids[t] >= 0 && (!a->position_table || a->positions[t] >= 0));
        for (int64_t c = 0; c < a->width; c++) {
            double x = stlora_load(a->table, a->table_dtype, a->ids[t] * a->width + c);
            if (a->position_table) {
                x += stlora_load(a->position_table, a->position_dtype, a->positions[t] * a->width + c);
            }
            stlora_ref_put(a->x, t, c, x);
        }
    }
}
