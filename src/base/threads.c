/* threads.c: see threads.h.
 *
 * A call deals its tasks out in shares, one a thread, each a run of consecutive tasks. A share is two numbers in one atomic word: its owner
 * takes from the front, who has nothing left takes from the back of another's. That is the only way into a call, so a thread that comes late
 * finds the shares empty, or dealt for the next call, and both are right. Who waits watches `dealt`, which counts calls when all of their shares are
 * there: with an eye on the shares it would see another's before its own, and take that. `open` is the number of tasks that are not done; the
 * caller returns when it is 0, so what a call says (job) stays while anybody who took a task looks at it.
 *
 * To sleep, a thread counts itself among `sleepers`, looks once more, and waits for a token. Who lowers `sleepers` by one owes a token.
 * Either the last look sees the tasks or the caller sees the sleeper: both are sequentially consistent. The same for the caller, who
 * is in `waiting` and gets its token from whoever does the last task. There is no lock that fork could copy in a locked state.
 */
#define _GNU_SOURCE /* sched_getaffinity */
#include "base/threads.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>
#include <unistd.h>

#include "base/errno_text.h"
#include "base/memory.h"

/* Nanoseconds. Looking for work goes on for at most SPIN_MOST, which outlasts what a training step does on one thread between two
 * calls. It is halved down to SPIN_LEAST when it was in vain, and doubled when work came. */
#define SPIN_MOST  100e3
#define SPIN_LEAST 3e3
/* A look at the clock that comes so much later than the one before: another program had the core. */
#define PUT_ASIDE 20e3
/* Less work than this is not shared; to be worth waking somebody it must be more than that. */
#define WORTH_SHARING 3e3
#define WORTH_WAKING  30e3

enum { LOOKS = 32 }; /* between two looks at the clock */

/* A thread and its share of a call. A cache line of its own, which the others read when they look for work. */
typedef struct member {
    _Alignas(STLORA_ALIGN) _Atomic uint64_t
        share; /* the first task in the low half, the one behind the last in the high half */
    stlora_team *team;
    pthread_t thread;
    double patience; /* nanoseconds of spinning, its own */
    uint64_t seen;   /* of the calls that were dealt */
    int number;
} member;

struct stlora_team {
    int threads, started; /* with the caller; those that are to be joined, without it */
    pid_t owner;          /* the process that has them */
    member *members;      /* (threads); the first is the caller */
    struct {
        stlora_team_work work;
        const void *context;
    } job;
    sem_t work_token, done_token;
    _Alignas(STLORA_ALIGN) _Atomic uint64_t dealt; /* cache lines of their own */
    _Alignas(STLORA_ALIGN) _Atomic int64_t open;
    _Alignas(STLORA_ALIGN) _Atomic int sleepers;
    _Atomic bool waiting, stop;
};

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
}

static void rest(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void take_token(sem_t *token)
{
    while (sem_wait(token) != 0)
        assert(errno == EINTR);
}

static uint64_t share_of(int64_t begin, int64_t end)
{
    return (uint64_t)begin | (uint64_t)end << 32;
}
static int64_t share_begin(uint64_t share)
{
    return (int64_t)(share & UINT32_MAX);
}
static int64_t share_end(uint64_t share)
{
    return (int64_t)(share >> 32);
}

static bool work_is_there(const member *m)
{
    return atomic_load(&m->team->dealt) != m->seen || atomic_load(&m->team->stop);
}

static bool all_is_done(const member *m)
{
    return atomic_load(&m->team->open) == 0;
}

/* Looks for what is wanted as long as the member has patience for it; false: it is not there. */
static bool spin(member *m, bool (*there)(const member *))
{
    const double begin = now();
    for (double before = begin;;) {
        for (int i = 0; i < LOOKS; i++) {
            if (there(m)) {
                m->patience = m->patience < SPIN_MOST / 2 ? 2 * m->patience : SPIN_MOST;
                return true;
            }
            rest();
        }
        const double after = now();
        if (after - begin > m->patience || after - before > PUT_ASIDE) break;
        before = after;
    }
    m->patience = m->patience > 2 * SPIN_LEAST ? m->patience / 2 : SPIN_LEAST;
    return there(m);
}

/* Lowers a counter by one unless it is 0. */
static bool take_one(_Atomic int *count)
{
    int seen = atomic_load(count);
    while (seen > 0)
        if (atomic_compare_exchange_weak(count, &seen, seen - 1)) return true;
    return false;
}

static void wait_for_work(member *m)
{
    stlora_team *team = m->team;
    if (spin(m, work_is_there)) return;
    atomic_fetch_add(&team->sleepers, 1);
    if (work_is_there(m) && take_one(&team->sleepers)) return;
    take_token(&team->work_token);
}

static void wait_for_others(member *m)
{
    stlora_team *team = m->team;
    if (spin(m, all_is_done)) return;
    atomic_store(&team->waiting, true);
    if (all_is_done(m) && atomic_exchange(&team->waiting, false)) return;
    take_token(&team->done_token);
}

/* The next task of a share, or -1: the owner's from the front, another's from the back. */
static int64_t take_task(member *from, bool own)
{
    uint64_t share = atomic_load(&from->share);
    for (;;) {
        const int64_t begin = share_begin(share), end = share_end(share);
        if (begin >= end) return -1;
        const uint64_t rest = own ? share_of(begin + 1, end) : share_of(begin, end - 1);
        if (atomic_compare_exchange_weak(&from->share, &share, rest)) return own ? begin : end - 1;
    }
}

/* Takes tasks until there are none; true if it did the last one that was open. */
static bool take_tasks(stlora_team *team, int thread)
{
    int64_t done = 0;
    for (int i = 0; i < team->threads; i++) {
        member *from = &team->members[(thread + i) % team->threads];
        for (int64_t task; (task = take_task(from, i == 0)) >= 0; done++)
            team->job.work(team->job.context, task, thread);
    }
    return done > 0 && atomic_fetch_sub(&team->open, done) == done;
}

static void *live(void *argument)
{
    member *m = argument;
    stlora_team *team = m->team;
    for (;;) {
        wait_for_work(m);
        if (atomic_load(&team->stop)) return NULL;
        m->seen = atomic_load(&team->dealt);
        if (take_tasks(team, m->number) && atomic_exchange(&team->waiting, false)) (void)sem_post(&team->done_token);
    }
}

static void wake(stlora_team *team, int64_t most)
{
    for (int64_t i = 0; i < most && take_one(&team->sleepers); i++)
        (void)sem_post(&team->work_token);
}

void stlora_team_run(stlora_team *team, int64_t tasks, double nanoseconds, stlora_team_work work, const void *context)
{
    if (!team || team->threads == 1 || tasks <= 1 || nanoseconds < WORTH_SHARING) {
        for (int64_t task = 0; task < tasks; task++)
            work(context, task, 0);
        return;
    }
    assert(atomic_load(&team->open) == 0 && tasks <= UINT32_MAX); /* one call at a time */
    team->job.work = work;
    team->job.context = context;
    atomic_store(&team->open, tasks);
    for (int64_t i = 0; i < team->threads; i++) /* rounded up: of few tasks the caller has the first */
        atomic_store(&team->members[i].share, share_of((i * tasks + team->threads - 1) / team->threads,
                                                       ((i + 1) * tasks + team->threads - 1) / team->threads));
    atomic_fetch_add(&team->dealt, 1);
    if (nanoseconds >= WORTH_WAKING) wake(team, tasks - 1);
    if (!take_tasks(team, 0)) wait_for_others(&team->members[0]);
}

/* The threads leave signals to the program's own. */
static stlora_status start_members(stlora_team *team, stlora_error *err)
{
    sigset_t all, before;
    int refused = 0;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    for (int i = 0; i < team->threads; i++)
        team->members[i] = (member){.team = team, .patience = SPIN_MOST, .number = i};
    for (; team->started < team->threads - 1 && !refused; team->started += !refused) {
        member *m = &team->members[team->started + 1];
        refused = pthread_create(&m->thread, NULL, live, m);
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    stlora_errno_words words;
    if (refused)
        return stlora_fail(err, STLORA_E_NOMEM, "thread %d of %d cannot be started: %s", team->started + 2,
                           team->threads, stlora_errno_text(refused, &words));
    return STLORA_OK;
}

stlora_status stlora_team_create(stlora_team **out, int threads, stlora_error *err)
{
    assert(threads >= 1 && threads <= STLORA_MAX_THREADS);
    stlora_team *team;
    STLORA_TRY(stlora_alloc(&team, 1, sizeof *team, "a team of threads", err));
    team->threads = threads;
    team->owner = getpid();
    (void)sem_init(&team->work_token, 0, 0); /* fails for values that are too large only */
    (void)sem_init(&team->done_token, 0, 0);
    stlora_status status = stlora_alloc(&team->members, (size_t)threads, sizeof *team->members, "threads", err);
    if (status == STLORA_OK) status = start_members(team, err);
    if (status != STLORA_OK) {
        stlora_team_free(team);
        return status;
    }
    *out = team;
    return STLORA_OK;
}

void stlora_team_free(stlora_team *team)
{
    if (!team) return;
    if (getpid() == team->owner) { /* a child after fork has none of the threads */
        atomic_store(&team->stop, true);
        wake(team, team->threads);
        for (int i = 1; i <= team->started; i++)
            (void)pthread_join(team->members[i].thread, NULL);
        (void)sem_destroy(&team->work_token);
        (void)sem_destroy(&team->done_token);
    }
    stlora_free(team->members);
    stlora_free(team);
}

int stlora_team_threads(const stlora_team *team)
{
    return team ? team->threads : 1;
}

int stlora_team_cores(void)
{
    cpu_set_t set; /* of the first 1024; with more the system refuses */
    const long cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : sysconf(_SC_NPROCESSORS_ONLN);
    return cores < 1 ? 1 : cores > STLORA_MAX_THREADS ? STLORA_MAX_THREADS : (int)cores;
}
