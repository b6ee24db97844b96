/* clip.h: scaling all gradients so that their common norm does not exceed a bound. Test: E-18 in test_optim_vectors.c. */
#ifndef STLORA_OPTIM_CLIP_H
#define STLORA_OPTIM_CLIP_H

/* stlora_clip_factor: min(1, max_norm / (norm + 1e-6)); max_norm 0 = no clipping, factor 1. norm >= 0, finite. */
double stlora_clip_factor(double norm, double max_norm);

#endif
