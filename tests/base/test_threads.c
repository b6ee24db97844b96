/* test_threads.c: every task once, by threads that help when they are there and are not waited for when they are not. */
#include "support.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/threads.h"

enum { TASKS = 1000, THREADS = 5 };
static const double MUCH = 1e9, LITTLE = 1; /* nanoseconds of work, as the caller says */

typedef struct record {
    _Atomic int done[TASKS], busy[THREADS];
    _Atomic int64_t last[THREADS], last_own[THREADS];
    int64_t tasks, threads; /* of the call; 0 threads: not looked at */
    _Atomic bool wrong;
} record;

static stlora_team *create(int threads)
{
    stlora_error err = {0};
    stlora_team *team;
    assert_int_equal(stlora_team_create(&team, threads, &err), STLORA_OK);
    assert_int_equal(stlora_team_threads(team), threads);
    return team;
}

static void sleep_ms(long ms)
{
    const struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    (void)nanosleep(&t, NULL);
}

static void note(const void *context, int64_t task, int thread)
{
    record *r = *(record *const *)context;
    if (atomic_fetch_add(&r->busy[thread], 1) != 0) r->wrong = true;
    r->last[thread] = task;
    /* its own share comes first task first; what it takes from others may not */
    const int64_t n = r->threads, begin = n ? (thread * r->tasks + n - 1) / n : 0,
                  end = n ? ((thread + 1) * r->tasks + n - 1) / n : 0;
    if (task >= begin && task < end) {
        if (task < r->last_own[thread]) r->wrong = true;
        r->last_own[thread] = task + 1;
    }
    r->done[task]++;
    atomic_fetch_sub(&r->busy[thread], 1);
}

static void run_and_check(stlora_team *team, int threads, int64_t tasks, double work)
{
    record r = {.tasks = tasks, .threads = threads}, *at = &r;
    for (int i = 0; i < THREADS; i++)
        r.last[i] = -1;
    stlora_team_run(team, tasks, work, note, &at);
    assert_false(r.wrong);
    for (int64_t i = 0; i < TASKS; i++)
        assert_int_equal(r.done[i], i < tasks);
    for (int i = threads; i < THREADS; i++)
        assert_int_equal(r.last[i], -1);
}

static void every_task_once(void **state)
{
    (void)state;
    static const int64_t counts[] = {0, 1, 2, 3, 7, 100, TASKS};
    for (int threads = 1; threads <= THREADS; threads++) {
        stlora_team *team = create(threads);
        for (int again = 0; again < 40; again++) {
            for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
                run_and_check(team, threads, counts[i], i % 3 == 2 ? 10e3 : MUCH);
            if (again % 8 == 0) sleep_ms(1); /* now and then they are asleep */
        }
        run_and_check(team, 1, TASKS, LITTLE); /* not shared */
        stlora_team_free(team);
    }
    run_and_check(NULL, 1, TASKS, MUCH);
    stlora_team_free(NULL);
    assert_int_equal(stlora_team_threads(NULL), 1);
    assert_in_range(stlora_team_cores(), 1, STLORA_MAX_THREADS);
}

/* Nobody leaves before all have come: as many threads as tasks, each in one of them, and that is its own. */
typedef struct meeting {
    _Atomic int present, strangers;
} meeting;

static void meet(const void *context, int64_t task, int thread)
{
    meeting *m = *(meeting *const *)context;
    if (task != thread) m->strangers++;
    m->present++;
    for (int i = 0; i < 20000 && m->present % THREADS != 0; i++)
        sleep_ms(1);
}

static void sleepers_are_woken(void **state)
{
    (void)state;
    stlora_team *team = create(THREADS);
    meeting m = {0}, *at = &m;
    for (int i = 1; i <= 10; i++) {
        sleep_ms(3);
        stlora_team_run(team, THREADS, MUCH, meet, &at);
        assert_int_equal(m.present, i * THREADS);
    }
    assert_int_equal(m.strangers, 0);
    stlora_team_free(team);
}

/* The same for two who are awake, and see the call while it is being dealt. */
static void meet_at_once(const void *context, int64_t task, int thread)
{
    meeting *m = *(meeting *const *)context;
    if (task != thread) m->strangers++;
    m->present++;
    for (int i = 0; i < 10000000 && m->present % 2 != 0; i++)
        (void)sched_yield();
}

static void who_is_awake_begins_with_its_own(void **state)
{
    (void)state;
    stlora_team *team = create(2);
    meeting m = {0}, *at = &m;
    for (int i = 1; i <= 2000; i++) {
        stlora_team_run(team, 2, MUCH, meet_at_once, &at);
        assert_int_equal(m.present, i * 2);
    }
    assert_int_equal(m.strangers, 0);
    stlora_team_free(team);
}

/* The caller's task is short, the others' are longer than anybody's patience. */
static void linger(const void *context, int64_t task, int thread)
{
    _Atomic int64_t *sum = *(_Atomic int64_t *const *)context;
    if (thread > 0)
        sleep_ms(5);
    else
        sleep_ms(1);
    *sum += task;
}

static void the_last_task_is_waited_for(void **state)
{
    (void)state;
    stlora_team *team = create(3);
    for (int i = 0; i < 10; i++) {
        _Atomic int64_t sum = 0, *at = &sum;
        stlora_team_run(team, 6, MUCH, linger, &at);
        assert_int_equal(sum, 15);
    }
    stlora_team_free(team);
}

static void *own_team(void *wrong)
{
    stlora_team *team = create(3);
    for (int again = 0; again < 200; again++) {
        record r = {0}, *at = &r;
        for (int i = 0; i < THREADS; i++)
            r.last[i] = -1;
        stlora_team_run(team, 50, MUCH, note, &at);
        for (int i = 0; i < 50; i++)
            if (r.done[i] != 1 || r.wrong) *(_Atomic bool *)wrong = true;
    }
    stlora_team_free(team);
    return NULL;
}

static void teams_beside_each_other(void **state)
{
    (void)state;
    pthread_t callers[3];
    _Atomic bool wrong = false;
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&callers[i], NULL, own_team, &wrong), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_join(callers[i], NULL), 0);
    assert_false(wrong);
}

static void add(const void *context, int64_t task, int thread)
{
    _Atomic int64_t *sum = *(_Atomic int64_t *const *)context;
    (void)thread;
    *sum += task;
}

/* The child has no threads but itself: nobody helps it, and it waits for nobody. */
static void a_child_runs_alone(void **state)
{
    (void)state;
    stlora_team *team = create(4);
    run_and_check(team, 4, TASKS, MUCH);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)alarm(20); /* a child that hangs is a failure */
        _Atomic int64_t sum = 0, *at = &sum;
        for (int i = 0; i < 3; i++)
            stlora_team_run(team, TASKS, MUCH, add, &at);
        stlora_team_free(team);
        _exit(sum == 3 * (TASKS - 1) * TASKS / 2 ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    run_and_check(team, 4, TASKS, MUCH);
    stlora_team_free(team);
}

static int threads_of_the_process(void)
{
    DIR *dir = opendir("/proc/self/task");
    int count = 0;
    if (!dir) return -1;
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;)
        count += entry->d_name[0] != '.';
    (void)closedir(dir);
    return count;
}

static void nobody_stays_behind(void **state)
{
    (void)state;
    const int before = threads_of_the_process();
    if (before < 0) skip();
    stlora_team *team = create(THREADS);
    assert_int_equal(threads_of_the_process(), before + THREADS - 1);
    stlora_team_free(team);
    for (int i = 0; i < 1000 && threads_of_the_process() != before;
         i++) /* a joined thread's entry goes a little later */
        sleep_ms(1);
    assert_int_equal(threads_of_the_process(), before);
}

static void a_refused_thread_is_a_sentence(void **state)
{
    (void)state;
#if STLORA_SANITIZED
    skip(); /* its memory is not to be limited */
#else
    const int before = threads_of_the_process();
    struct rlimit old, tight = {256 << 20, 256 << 20};
    stlora_error err = {0};
    stlora_team *team = NULL;
    assert_int_equal(getrlimit(RLIMIT_AS, &old), 0);
    tight.rlim_max = old.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_AS, &tight), 0);
    const stlora_status status = stlora_team_create(&team, STLORA_MAX_THREADS, &err);
    assert_int_equal(setrlimit(RLIMIT_AS, &old), 0);
    if (status == STLORA_OK) { /* the limit is not kept here */
        stlora_team_free(team);
        skip();
    }
    assert_int_equal(status, STLORA_E_NOMEM);
    assert_null(team);
    assert_non_null(strstr(err.text, " of 1024 cannot be started: "));
    for (int i = 0; i < 1000 && threads_of_the_process() != before; i++)
        sleep_ms(1);
    assert_int_equal(threads_of_the_process(), before);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_task_once),
        cmocka_unit_test(sleepers_are_woken),
        cmocka_unit_test(who_is_awake_begins_with_its_own),
        cmocka_unit_test(the_last_task_is_waited_for),
        cmocka_unit_test(teams_beside_each_other),
        cmocka_unit_test(a_child_runs_alone),
        cmocka_unit_test(nobody_stays_behind),
        cmocka_unit_test(a_refused_thread_is_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
