/* bench_ceiling: what the machine can do at most, with one thread and with several.
 *
 *   bench_ceiling [--threads N] [--tries N]
 *
 * CSV on standard output: fp32 and bf16 multiply-adds, these in vector and in tile registers, in GFLOP/s (0 where the processor has no such instruction), reading memory in GB/s;
 * with several threads what it takes at least to share something out: a call in which they do nothing but meet, the median, in microseconds.
 * "sustained" is all tries together where the others are the best of them: on a machine with other tenants no program of seconds gets more.
 */
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/ceiling.h"
#include "base/memory.h"
#include "measure.h"

enum { MEMORY_NUMBERS = 64 << 20, READS = 5, MEETINGS = 5000 }; /* 256 MB: larger than any cache here */

static void measure_flops(const char *name, stlora_ceiling_kind kind, stlora_team *team, int tries)
{
    const int threads = stlora_team_threads(team);
    double best = 0, time = 0; /* time of a flop, summed over the tries */
    for (int i = 0; i < tries; i++) {
        const double rate = stlora_ceiling_flops(kind, team, 1);
        if (rate > best) best = rate;
        if (rate > 0) time += 1 / rate;
    }
    (void)printf("%s,%d,%.1f,GFLOP/s\n", name, threads, best);
    (void)printf("%s sustained,%d,%.1f,GFLOP/s\n", name, threads, time > 0 ? tries / time : 0);
}

typedef struct meeting {
    stlora_team *team;
    _Atomic int64_t *came; /* in all calls so far */
} meeting;

static void meet_work(const void *context, int64_t task, int thread)
{
    const meeting *m = context;
    const int64_t threads = stlora_team_threads(m->team), came = atomic_fetch_add(m->came, 1);
    (void)task, (void)thread;
    while (atomic_load(m->came) < (came / threads + 1) * threads)
        ;
}

static void meet(void *context)
{
    const meeting *m = context;
    stlora_team_run(m->team, stlora_team_threads(m->team), HUGE_VAL, meet_work, m);
}

static void measure_meeting(stlora_team *team)
{
    _Atomic int64_t came = 0;
    meeting m = {team, &came};
    const int threads = stlora_team_threads(team);
    (void)printf("call,%d,%.3f,us\n", threads, 1e6 * measure_calls(threads, MEETINGS, meet, &m).median);
}

static void measure_all(int threads, int tries, const float *memory)
{
    stlora_error err = {0};
    stlora_team *team;
    measure_must(stlora_team_create(&team, threads, &err), &err);
    measure_flops("fp32", STLORA_CEILING_FP32, team, tries);
    measure_flops("bf16", STLORA_CEILING_BF16, team, tries);
    measure_flops("bf16 tiles", STLORA_CEILING_TILES, team, tries);
    (void)printf("memory,%d,%.1f,GB/s\n", threads,
                 stlora_ceiling_read(memory, MEMORY_NUMBERS * sizeof *memory, team, READS));
    if (threads > 1) measure_meeting(team);
    stlora_team_free(team);
}

int main(int argc, char **argv)
{
    int threads = 1, tries = 200;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--threads") == 0) threads = (int)strtol(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--tries") == 0) tries = (int)strtol(argv[i + 1], NULL, 10);
    }
    if (argc % 2 == 0 || threads < 1 || threads > STLORA_MAX_THREADS || tries < 1) {
        (void)fprintf(stderr, "usage: bench_ceiling [--threads N] [--tries N]\n");
        return 2;
    }
    float *memory = measure_numbers(STLORA_F32, MEMORY_NUMBERS);
    (void)printf("what,threads,rate,unit\n");
    measure_all(1, tries, memory);
    if (threads > 1) measure_all(threads, tries, memory);
    stlora_free(memory);
    return 0;
}
