/* rope.h: the tables of rotary positions. Test: tests/model/test_rope.c. */
#ifndef STLORA_MODEL_ROPE_H
#define STLORA_MODEL_ROPE_H

#include "base/memory.h"
#include "formats/hf_config.h"

/* stlora_rope_frequencies: inverse frequencies f[R/2] in double of a row of `length` tokens, R = rope->dim, base = theta^(2j/R):
 *   default   f_j = 1 / base                  linear   f_j = 1 / (factor base)
 *   dynamic   a row of at most orig: default; a longer one: theta (factor length / orig - (factor - 1))^(R / (R-2)) for theta
 *   llama3    f as default, wavelength w = 2 pi / f:  w < orig/high: f;  w > orig/low: f/factor;  between: blended with
 *             (1-s) f/factor + s f,  s = (orig/w - low) / (high - low)
 *   yarn      f_j = r_j / (factor base) + (1 - r_j) / base,  r_j = (j - from) / (to - from) within 0 ... 1, where the pair that turns b times
 *             in orig positions is R log(orig / (2 pi b)) / (2 log theta): from that of beta_fast, rounded down, to that of beta_slow, rounded up
 *   longrope  f_j = 1 / (x_j base), x_j of short_factor for a row of at most orig, of long_factor for a longer one */
void stlora_rope_frequencies(const stlora_rope *rope, int64_t length, double *f);

/* stlora_rope_by_length: do the frequencies depend on a row's length? Then only rows of more than rope->original_positions differ. */
bool stlora_rope_by_length(const stlora_rope *rope);

/* stlora_rope_tables: cos and sin [positions, R/2] of position * f_j, times attention_factor, of a row of `length` tokens; the angle formed in
 * float as Transformers forms it. */
void stlora_rope_tables(const stlora_rope *rope, int64_t length, int64_t positions, float *cosines, float *sines);

/* The tables that the layers of a model take, and which row of them each token of a call takes. */
typedef struct stlora_rotation {
    float *cosines[STLORA_LAYER_TYPES], *sines[STLORA_LAYER_TYPES]; /* (positions + own, R/2); the second only where rope_by_type */
    int64_t positions; /* rows for positions of rows whose length does not matter */
    int64_t own;       /* rows behind them, one for each token of a call: for rows whose length does */
    int32_t *rows;     /* [own] row of each token; NULL where own is 0 */
} stlora_rotation;

/* stlora_rotation_lay_out: takes the memory from the arena (measuring or bound), for calls of `tokens` tokens in rows of at most `positions`;
 * tokens 0: all tokens belong to rows of the length that _fill is told. */
void stlora_rotation_lay_out(stlora_rotation *rotation, const stlora_hf_config *config, stlora_arena *arena,
                             int64_t positions, int64_t tokens);

/* stlora_rotation_fill: computes the tables for rows of `length` tokens; 0 = of a length that does not matter. */
void stlora_rotation_fill(const stlora_rotation *rotation, const stlora_hf_config *config, int64_t length);

/* stlora_rotation_row: the rows of the tables that `length` tokens of a call take, from its token `first` on, which are one row of text
 * from its beginning. Nothing to do where own is 0: then it is their positions. */
void stlora_rotation_row(const stlora_rotation *rotation, const stlora_hf_config *config, int64_t first, int64_t length);

#endif
