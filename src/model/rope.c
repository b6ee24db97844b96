/* rope.c: rotary tables. See rope.h. */
#include "model/rope.h"

#include <math.h>

static const double pi = 3.14159265358979323846;

bool stlora_rope_by_length(const stlora_rope *rope)
{
    return rope->kind == STLORA_ROPE_DYNAMIC || rope->kind == STLORA_ROPE_LONGROPE;
}

static double llama3(const stlora_rope *r, double f)
{
    double original = (double)r->original_positions, wavelength = 2.0 * pi / f;
    if (wavelength < original / r->high_freq_factor) return f;
    if (wavelength > original / r->low_freq_factor) return f / r->factor;
    double smooth = (original / wavelength - r->low_freq_factor) / (r->high_freq_factor - r->low_freq_factor);
    return (1.0 - smooth) * f / r->factor + smooth * f;
}

/* The pair, of whole and broken number, that turns `turns` times. */
static double turning_pair(const stlora_rope *r, double turns)
{
    return (double)r->dim * log((double)r->original_positions / (turns * 2.0 * pi)) / (2.0 * log(r->theta));
}

static double yarn(const stlora_rope *r, int64_t j, double f)
{
    double from = turning_pair(r, r->beta_fast), to = turning_pair(r, r->beta_slow);
    if (r->truncate) {
        from = floor(from);
        to = ceil(to);
    }
    if (from < 0) from = 0;
    if (to > (double)(r->dim - 1)) to = (double)(r->dim - 1);
    if (from == to) to += 0.001;
    double ramp = ((double)j - from) / (to - from);
    ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
    return f / r->factor * ramp + f * (1 - ramp);
}

/* Frequency j of R/2. */
static double frequency(const stlora_rope *r, int64_t length, int64_t j)
{
    double dim = (double)r->dim, theta = r->theta;
    const bool longer = length > r->original_positions;
    if (r->kind == STLORA_ROPE_DYNAMIC && longer)
        theta *= pow(r->factor * (double)length / (double)r->original_positions - (r->factor - 1), dim / (dim - 2));
    double f = pow(theta, -2.0 * (double)j / dim);
    switch (r->kind) {
    case STLORA_ROPE_DEFAULT:
    case STLORA_ROPE_DYNAMIC:
        return f;
    case STLORA_ROPE_LINEAR:
        return f / r->factor;
    case STLORA_ROPE_LLAMA3:
        return llama3(r, f);
    case STLORA_ROPE_YARN:
        return yarn(r, j, f);
    case STLORA_ROPE_LONGROPE:
        return f / (longer ? r->long_factor : r->short_factor)[j];
    }
    return f;
}

void stlora_rope_frequencies(const stlora_rope *rope, int64_t length, double *f)
{
    for (int64_t j = 0; j < rope->dim / 2; j++)
        f[j] = frequency(rope, length, j);
}

void stlora_rope_tables(const stlora_rope *rope, int64_t length, int64_t positions, float *cosines, float *sines)
{
    int64_t half = rope->dim / 2;
    for (int64_t j = 0; j < half; j++) {
        float f = (float)frequency(rope, length, j);
        for (int64_t t = 0; t < positions; t++) {
            double angle = (double)((float)t * f);
            cosines[t * half + j] = (float)(cos(angle) * rope->attention_factor);
            sines[t * half + j] = (float)(sin(angle) * rope->attention_factor);
        }
    }
}

/* Tables that there are. */
static int types_of(const stlora_hf_config *config)
{
    return config->rope_by_type ? STLORA_LAYER_TYPES : 1;
}

/* Are the frequencies of a row so long its own? */
static bool own_frequencies(const stlora_hf_config *config, int64_t length)
{
    for (int t = 0; t < types_of(config); t++)
        if (stlora_rope_by_length(&config->rope[t]) && length > config->rope[t].original_positions) return true;
    return false;
}

void stlora_rotation_lay_out(stlora_rotation *rotation, const stlora_hf_config *config, stlora_arena *arena,
                             int64_t positions, int64_t tokens)
{
    rotation->positions = positions;
    rotation->own = own_frequencies(config, positions) ? tokens : 0;
    for (int t = 0; t < types_of(config); t++) {
        size_t table = (size_t)((positions + rotation->own) * (config->rope[t].dim / 2));
        rotation->cosines[t] = stlora_arena_take(arena, table, sizeof(float));
        rotation->sines[t] = stlora_arena_take(arena, table, sizeof(float));
    }
    if (rotation->own) rotation->rows = stlora_arena_take(arena, (size_t)tokens, sizeof *rotation->rows);
}

void stlora_rotation_fill(const stlora_rotation *rotation, const stlora_hf_config *config, int64_t length)
{
    for (int t = 0; t < types_of(config); t++)
        stlora_rope_tables(&config->rope[t], length, rotation->positions, rotation->cosines[t], rotation->sines[t]);
}

void stlora_rotation_row(const stlora_rotation *rotation, const stlora_hf_config *config, int64_t first, int64_t length)
{
    if (!rotation->own) return;
    const bool own = own_frequencies(config, length);
    const int64_t from = own ? rotation->positions + first : 0;
    for (int64_t i = 0; i < length; i++)
        rotation->rows[first + i] = (int32_t)(from + i);
    for (int t = 0; t < types_of(config) && own; t++) {
        int64_t at = from * (config->rope[t].dim / 2);
        stlora_rope_tables(&config->rope[t], length, length, rotation->cosines[t] + at, rotation->sines[t] + at);
    }
}
