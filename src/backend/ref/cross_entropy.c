/* cross_entropy.c: the loss of rows of logits, and its gradient.
 *
 *   lse = log sum_v exp(logits[i,v])           logprob[i] = logits[i,target] - lse          *loss -= logprob[i], i ascending
 *   dlogits[i,v] = scale (exp(logits[i,v] - lse) - [v == target]) f'     f' = 1, or 1 - (logits[i,v] / softcap)^2 where they came from a soft cap
 *
 * The exponentials are taken relative to the row's largest logit. A row with a NaN or with +infinity gives NaN, as it should;
 * -infinity is a forbidden token of probability 0. dlogits may be the logits' own memory: a row is read before it is written.
 */
#include "backend/ref/ref.h"

#include <math.h>

void stlora_ref_cross_entropy(const stlora_backend *backend, const stlora_cross_entropy_args *a)
{
    (void)backend;
    assert(a->logits.rows >= a->rows && a->logits.cols == a->vocab && a->vocab > 0);
    assert(!a->dlogits.data || (a->dlogits.rows >= a->rows && a->dlogits.cols == a->vocab));
    for (int64_t i = 0; i < a->rows; i++) {
        const int64_t target = a->targets[i];
        assert(target >= 0 && target < a->vocab);
        double largest = stlora_ref_get(a->logits, i, 0), sum = 0;
        for (int64_t v = 1; v < a->vocab; v++) {
            const double logit = stlora_ref_get(a->logits, i, v);
            if (logit > largest) largest = logit; /* a NaN is passed by here and comes back in the sum */
        }
        for (int64_t v = 0; v < a->vocab; v++)
            sum += exp(stlora_ref_get(a->logits, i, v) - largest);
        const double lse = largest + log(sum);
        const double logprob = stlora_ref_get(a->logits, i, target) - lse;
        if (a->logprob) a->logprob[i] = (float)logprob;
        if (a->loss) *a->loss -= logprob;

        for (int64_t v = 0; a->dlogits.data && v < a->vocab; v++) {
            const double logit = stlora_ref_get(a->logits, i, v), part = a->softcap > 0 ? logit / a->softcap : 0;
            const double softmax = exp(logit - lse);
            stlora_ref_put(a->dlogits, i, v, a->scale * (softmax - (v == target ? 1 : 0)) * (1 - part * part));
        }
    }
}
