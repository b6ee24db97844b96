/* rope.c: rotary tables. See rope.h. */
#include "model/rope.h"

#include <math.h>

static const double pi = 3.14159265358979323846;

/* Frequency j of D/2. */
static double frequency(const stlora_hf_config *c, int64_t j)
{
    double f = pow(c->rope_theta, -2.0 * (double)j / (double)c->head_dim);
    if (c->rope_kind == STLORA_ROPE_DEFAULT) return f;
    double original = (double)c->rope_original_positions;
    double wavelength = 2.0 * pi / f;
    if (wavelength < original / c->rope_high_freq_factor) return f;
    if (wavelength > original / c->rope_low_freq_factor) return f / c->rope_factor;
    double smooth =
        (original / wavelength - c->rope_low_freq_factor) / (c->rope_high_freq_factor - c->rope_low_freq_factor);
    return (1.0 - smooth) * f / c->rope_factor + smooth * f;
}

void stlora_rope_frequencies(const stlora_hf_config *config, double *f)
{
    for (int64_t j = 0; j < config->head_dim / 2; j++)
        f[j] = frequency(config, j);
}

void stlora_rope_tables(const stlora_hf_config *config, int64_t positions, float *cosines, float *sines)
{
    int64_t half = config->head_dim / 2;
    for (int64_t j = 0; j < half; j++) {
        float f = (float)frequency(config, j);
        for (int64_t t = 0; t < positions; t++) {
            double angle = (double)((float)t * f);
            cosines[t * half + j] = (float)cos(angle);
            sines[t * half + j] = (float)sin(angle);
        }
    }
}
