/* rope.h: the tables of rotary positions. Test: tests/model/test_rope.c. */
#ifndef STLORA_MODEL_ROPE_H
#define STLORA_MODEL_ROPE_H

#include "formats/hf_config.h"

/* stlora_rope_frequencies: inverse frequencies f[D/2] in double:
 *   f_j = theta^(-2j/D);  llama3: wavelength w = 2 pi / f:  w < orig/high: f;  w > orig/low: f/factor;  between: blended with
 *   (1-s) f/factor + s f,  s = (orig/w - low) / (high - low) */
void stlora_rope_frequencies(const stlora_hf_config *config, double *f);

/* stlora_rope_tables: cos and sin [positions, D/2] of position * f_j, angle formed in float as Transformers forms it. */
void stlora_rope_tables(const stlora_hf_config *config, int64_t positions, float *cosines, float *sines);

#endif
