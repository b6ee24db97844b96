/* lora_spectral.c: first values out of the weight itself: PiSSA's singular vectors, OLoRA's QR. See lora.h.
 *
 * PiSSA by subspace iteration: rows of y [l, m] span what (W W^T)^k W makes of l random rows; with y orthonormal and z = y W [l, n],
 * W ~ y^T z, whose singular value decomposition is that of z^T's R. A map no wider than EXACT has all of its space in y, so that nothing is
 * approximated; a larger one is iterated ITERATIONS times with r + SPARE rows more than asked for (docs/NUMERICS.md). W is read where it lies, by
 * the backend's products, so the result does not depend on threads. Test: tests/model/test_lora_spectral.c.
 */
#include <math.h>

#include "base/memory.h"
#include "base/rng.h"
#include "base/small_matrix.h"
#include "model/lora.h"

enum { EXACT = 128, ITERATIONS = 24, SPARE = 8 };

/* The sketch of one map: l rows on either side of the weight, and what makes rows orthonormal. */
typedef struct sketch {
    const stlora_linear *linear;
    const stlora_backend *backend;
    int64_t l;
    float *y, *z;  /* [l, m], [l, n] */
    double *tall;  /* [max(n, m), l] */
    double *small; /* [3, l, l]: R, its rotations, and work space */
} sketch;

static int64_t widest(const stlora_linear *linear)
{
    return linear->n > linear->m ? linear->n : linear->m;
}

static int64_t narrowest(const stlora_linear *linear)
{
    return linear->n < linear->m ? linear->n : linear->m;
}

/* y = z W^T, or z = y W. */
static void multiply(const sketch *s, bool to_y)
{
    const stlora_linear *w = s->linear;
    const int64_t in = to_y ? w->n : w->m, out = to_y ? w->m : w->n;
    const bool out_in = (w->layout == STLORA_OUT_IN) == to_y;
    s->backend->product(s->backend,
                        &(stlora_product_args){.tokens = s->l,
                                               .in = in,
                                               .out = out,
                                               .x = {to_y ? s->z : s->y, STLORA_F32, s->l, in, in},
                                               .w = w->weight.data,
                                               .w_dtype = w->weight.dtype,
                                               .w_layout = out_in ? STLORA_OUT_IN : STLORA_IN_OUT,
                                               .ldw = w->layout == STLORA_OUT_IN ? w->n : w->m,
                                               .y = stlora_mat_whole(to_y ? s->y : s->z, STLORA_F32, s->l, out)},
                        1);
}

/* tall [width, l] becomes Q of the rows x [l, width], small R. */
static void factor(const sketch *s, const float *x, int64_t width)
{
    for (int64_t k = 0; k < s->l; k++)
        for (int64_t i = 0; i < width; i++)
            s->tall[i * s->l + k] = (double)x[k * width + i];
    stlora_qr(s->tall, width, s->l, s->small, s->small + s->l * s->l);
}

static void orthonormalise(const sketch *s, float *x, int64_t width)
{
    factor(s, x, width);
    for (int64_t k = 0; k < s->l; k++)
        for (int64_t i = 0; i < width; i++)
            x[k * width + i] = (float)s->tall[i * s->l + k];
}

/* Of the norms that have not been taken, which are set to -1. */
static int64_t largest_row(const double *norms, int64_t l)
{
    int64_t best = 0;
    for (int64_t k = 1; k < l; k++)
        if (norms[k] > norms[best]) best = k;
    return best;
}

/* z^T = Q R, R = sum_k s_k u_k v_k^T: W ~ sum_k s_k (y^T v_k) (Q u_k)^T, of which the r largest make A and B. */
static void take_largest(const sketch *s, stlora_lora_map *map)
{
    const int64_t l = s->l, n = map->linear->n, m = map->linear->m;
    factor(s, s->z, n);
    double *u = s->small + l * l, *v = u + l * l, *norms = s->small;
    for (int64_t k = 0; k < l; k++) /* rows of u: the columns of R */
        for (int64_t i = 0; i < l; i++)
            u[k * l + i] = s->small[i * l + k];
    stlora_svd_rows(u, v, l);
    for (int64_t k = 0; k < l; k++) {
        double squares = 0;
        for (int64_t i = 0; i < l; i++)
            squares += u[k * l + i] * u[k * l + i];
        norms[k] = sqrt(squares);
    }
    for (int64_t q = 0; q < map->r; q++) {
        const int64_t k = largest_row(norms, l);
        const double sigma = norms[k], root = sqrt(sigma / map->scale), unit = sigma > 0 ? root / sigma : 0;
        norms[k] = -1;
        for (int64_t i = 0; i < n; i++) {
            double sum = 0;
            for (int64_t j = 0; j < l; j++)
                sum += s->tall[i * l + j] * u[k * l + j];
            map->a[q * n + i] = (float)(unit * sum);
        }
        for (int64_t o = 0; o < m; o++) {
            double sum = 0;
            for (int64_t j = 0; j < l; j++)
                sum += (double)s->y[j * m + o] * v[k * l + j];
            map->b[o * map->r + q] = (float)(root * sum);
        }
    }
}

static void singular_vectors(sketch *s, stlora_lora_map *map, const stlora_lora_init *init)
{
    const int64_t n = map->linear->n, m = map->linear->m;
    const int iterations = init->niter >= 0 ? init->niter : s->l == narrowest(map->linear) ? 1 : ITERATIONS;
    for (int64_t i = 0; i < s->l * n; i++)
        s->z[i] = (float)stlora_rng_normal(init->seed, STLORA_RNG_INIT_A, map->linear->id, (uint64_t)i);
    multiply(s, true);
    orthonormalise(s, s->y, m);
    for (int k = 0; k < iterations; k++) {
        multiply(s, false);
        orthonormalise(s, s->z, n);
        multiply(s, true);
        orthonormalise(s, s->y, m);
    }
    multiply(s, false);
    take_largest(s, map);
}

/* Q of the first r columns of W, which are the first r of Q; R = Q^T W. */
static void first_columns(const sketch *s, stlora_lora_map *map)
{
    const stlora_linear *w = map->linear;
    const int64_t r = map->r, out_stride = w->layout == STLORA_OUT_IN ? w->n : 1, in_stride = w->layout == STLORA_OUT_IN ? 1 : w->m;
    for (int64_t q = 0; q < r; q++)
        for (int64_t o = 0; o < w->m; o++)
            s->y[q * w->m + o] = (float)stlora_load(w->weight.data, w->weight.dtype, o * out_stride + q * in_stride);
    orthonormalise(s, s->y, w->m);
    multiply(s, false);
    for (int64_t q = 0; q < r; q++) {
        for (int64_t i = 0; i < w->n; i++)
            map->a[q * w->n + i] = s->z[q * w->n + i];
        for (int64_t o = 0; o < w->m; o++)
            map->b[o * r + q] = s->y[q * w->m + o];
    }
}

static int64_t rows_of(const stlora_lora_map *map, const stlora_lora_init *init)
{
    const int64_t least = narrowest(map->linear), most = least < STLORA_SMALL_MATRIX_MOST ? least : STLORA_SMALL_MATRIX_MOST;
    if (init->kind == STLORA_INIT_OLORA || init->niter >= 0) return map->r;
    if (least <= EXACT) return least;
    return 2 * map->r + SPARE < most ? 2 * map->r + SPARE : most;
}

stlora_status stlora_lora_spectral(stlora_lora_map *map, const stlora_lora_init *init, stlora_error *err)
{
    const int64_t n = map->linear->n, m = map->linear->m, least = narrowest(map->linear);
    const int64_t most = least < STLORA_SMALL_MATRIX_MOST ? least : STLORA_SMALL_MATRIX_MOST;
    if (map->r > most)
        return stlora_fail(err, STLORA_E_USAGE, "--init-lora-weights: %s [%lld, %lld] has room for rank %lld, found %lld",
                           map->linear->name, (long long)m, (long long)n, (long long)most, (long long)map->r);
    if (!(map->scale > 0))
        return stlora_fail(err, STLORA_E_USAGE, "--init-lora-weights: the alpha of %s must be above 0", map->linear->name);
    sketch s = {.linear = map->linear, .backend = init->backend, .l = rows_of(map, init)};
    const size_t l = (size_t)s.l;
    stlora_status status = stlora_alloc(&s.y, l * (size_t)m, sizeof *s.y, "singular vectors", err);
    if (status == STLORA_OK) status = stlora_alloc(&s.z, l * (size_t)n, sizeof *s.z, "singular vectors", err);
    if (status == STLORA_OK) status = stlora_alloc(&s.tall, l * (size_t)widest(map->linear), sizeof *s.tall, "singular vectors", err);
    if (status == STLORA_OK) status = stlora_alloc(&s.small, 3 * l * l + 2 * l, sizeof *s.small, "singular vectors", err);
    if (status == STLORA_OK) {
        if (init->kind == STLORA_INIT_OLORA)
            first_columns(&s, map);
        else
            singular_vectors(&s, map, init);
    }
    stlora_free(s.y);
    stlora_free(s.z);
    stlora_free(s.tall);
    stlora_free(s.small);
    return status;
}
