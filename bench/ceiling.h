/* ceiling.h: what this machine's multipliers can do at most, measured now: independent chains of multiply-adds in registers.
 * Operations are counted as everywhere in bench/: a multiply-add is two. */
#ifndef STLORA_BENCH_CEILING_H
#define STLORA_BENCH_CEILING_H

/* Seconds of a clock that only goes forward: with one thread the thread's own time on a processor, which other programs on the machine
 * do not stretch (though they still dirty its caches); with several the time on the wall. */
double ceiling_now(int threads);

typedef enum ceiling_kind { CEILING_FP32, CEILING_BF16 } ceiling_kind;

/* GFLOP/s of `threads` threads together, best of `tries`; 0 where the processor has no such instruction. */
double ceiling_measure(ceiling_kind kind, int threads, int tries);

#endif
