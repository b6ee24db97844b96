/* bench_ceiling: what the machine can do at most, with one thread and with several.
 *
 *   bench_ceiling [--threads N] [--tries N] [--only handover]
 *
 * CSV on standard output: fp32 and bf16 multiply-adds, these in vector and in tile registers, in GFLOP/s (0 where the processor has no such instruction), reading memory in GB/s;
 * with several threads what it takes at least to share something out: a call in which they do nothing but meet, the median, in microseconds;
 * and how fast each takes over what another one has just written, in GB/s. Cores that do not share a third-level cache do that several times slower,
 * and a virtual machine can be moved between the two within seconds.
 * "sustained" is all tries together where the others are the best of them: on a machine with other tenants no program of seconds gets more.
 */
#include <math.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/ceiling.h"
#include "base/memory.h"
#include "measure.h"

enum {
    MEMORY_NUMBERS = 64 << 20, /* 256 MB: larger than any cache here */
    READS = 5,
    MEETINGS = 5000,
    HANDED_OVER = 64 << 10, /* numbers: 256 KB, which fit into every second-level cache here */
    LINE = 16,              /* of them are a cache line */
    HANDOVERS = 200
};

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

/* Nobody leaves before all have come. */
static void wait_for_all(const meeting *m)
{
    const int64_t threads = stlora_team_threads(m->team), came = atomic_fetch_add(m->came, 1);
    while (atomic_load(m->came) < (came / threads + 1) * threads)
        ;
}

static void meet_work(const void *context, int64_t task, int thread)
{
    (void)task, (void)thread;
    wait_for_all(context);
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

/* Each thread changes what the one before it changed in the call before. */
typedef struct handover {
    meeting meeting;
    float *numbers; /* (threads, HANDED_OVER) */
    int64_t calls;
} handover;

static void hand_over_work(const void *context, int64_t task, int thread)
{
    const handover *h = context;
    float *own = h->numbers + (task + h->calls) % stlora_team_threads(h->meeting.team) * HANDED_OVER;
    (void)thread;
    for (int64_t i = 0; i < HANDED_OVER; i += LINE)
        own[i] += 1.0f;
    wait_for_all(&h->meeting); /* so that each thread has one task */
}

static void hand_over(void *context)
{
    handover *h = context;
    h->calls++;
    stlora_team_run(h->meeting.team, stlora_team_threads(h->meeting.team), HUGE_VAL, hand_over_work, h);
}

static void measure_handover(stlora_team *team)
{
    _Atomic int64_t came = 0;
    const int threads = stlora_team_threads(team);
    handover h = {.meeting = {team, &came}, .numbers = measure_numbers(STLORA_F32, (int64_t)threads * HANDED_OVER)};
    const double seconds = measure_calls(threads, HANDOVERS, hand_over, &h).median;
    (void)printf("handover,%d,%.1f,GB/s\n", threads, 1e-9 * HANDED_OVER * sizeof *h.numbers / seconds);
    stlora_free(h.numbers);
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
    if (threads > 1) {
        measure_meeting(team);
        measure_handover(team);
    }
    stlora_team_free(team);
}

static void measure_handover_only(int threads)
{
    stlora_error err = {0};
    stlora_team *team;
    measure_must(stlora_team_create(&team, threads, &err), &err);
    measure_handover(team);
    stlora_team_free(team);
}

int main(int argc, char **argv)
{
    int threads = 1, tries = 200;
    bool only_handover = false;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--threads") == 0) threads = (int)strtol(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--tries") == 0) tries = (int)strtol(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--only") == 0) only_handover = strcmp(argv[i + 1], "handover") == 0;
    }
    const int fewest = only_handover ? 2 : 1;
    if (argc % 2 == 0 || threads < fewest || threads > STLORA_MAX_THREADS || tries < 1) {
        (void)fprintf(stderr, "usage: bench_ceiling [--threads N] [--tries N] [--only handover]\n");
        return 2;
    }
    (void)printf("what,threads,rate,unit\n");
    if (only_handover) {
        measure_handover_only(threads);
        return 0;
    }
    float *memory = measure_numbers(STLORA_F32, MEMORY_NUMBERS);
    measure_all(1, tries, memory);
    if (threads > 1) measure_all(threads, tries, memory);
    stlora_free(memory);
    return 0;
}
