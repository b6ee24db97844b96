/* test_files.c: mapping and reading files; output that appears whole or not at all. */
#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/atomic_file.h"
#include "base/file_map.h"
#include "base/memory.h"

static char base[256]; /* the test's own directory */

static int make_base(void **state)
{
    (void)state;
    (void)snprintf(base, sizeof base, "%s", temporary_dir());
    return 0;
}

static int remove_base(void **state)
{
    (void)state;
    return stlora_remove_tree(base, NULL) == STLORA_OK ? 0 : -1;
}

/* "<base>/<name>", in one of four buffers in turn. */
static const char *at(const char *name)
{
    static char paths[4][600];
    static int next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", base, name);
    return path;
}

static int entries(const char *dir)
{
    DIR *open_dir = opendir(dir);
    assert_non_null(open_dir);
    int count = -2; /* "." and ".." */
    while (readdir(open_dir)) count++;
    closedir(open_dir);
    return count;
}

static void put(const char *path, const char *text)
{
    stlora_error err = {0};
    assert_ok(stlora_atomic_write_all(path, text, strlen(text), &err));
}

static void holds(const char *path, const char *text)
{
    stlora_error err = {0};
    char *found;
    size_t size;
    assert_ok(stlora_file_read(&found, &size, path, 1 << 20, &err));
    assert_int_equal(size, strlen(text));
    assert_string_equal(found, text);
    stlora_free(found);
}

static void test_map(void **state)
{
    (void)state;
    stlora_error err = {0};
    stlora_file_map map = {0};
    stlora_file_map_close(&map); /* a zeroed one is allowed */
    put(at("a"), "hello");
    assert_ok(stlora_file_map_open(&map, at("a"), &err));
    assert_int_equal(map.size, 5);
    assert_memory_equal(map.bytes, "hello", 5);
    put(at("a"), "other"); /* replaced, not rewritten: the mapping still shows the old file */
    assert_memory_equal(map.bytes, "hello", 5);
    stlora_file_map_close(&map);
    assert_null(map.bytes);
    put(at("a"), "");
    assert_ok(stlora_file_map_open(&map, at("a"), &err));
    assert_null(map.bytes);
    assert_int_equal(map.size, 0);
    stlora_file_map_close(&map);
}

static void test_map_refusals(void **state)
{
    (void)state;
    stlora_error err = {0};
    stlora_file_map map = {.size = 77};
    assert_int_equal(stlora_file_map_open(&map, at("none"), &err), STLORA_E_IO);
    assert_non_null(strstr(err.text, "/none: cannot be opened: No such file or directory"));
    assert_int_equal(stlora_file_map_open(&map, base, &err), STLORA_E_IO);
    assert_non_null(strstr(err.text, ": must be a file, found a directory"));
    assert_int_equal(mkfifo(at("pipe"), 0600), 0);
    assert_int_equal(stlora_file_map_open(&map, at("pipe"), &err), STLORA_E_IO); /* does not wait for a writer */
    assert_non_null(strstr(err.text, ": must be a regular file"));
    assert_int_equal(stlora_file_map_open(&map, "/dev/zero", &err), STLORA_E_IO);
    assert_int_equal(stlora_file_map_open(&map, "", NULL), STLORA_E_IO);
    assert_int_equal(map.size, 77); /* untouched */
    assert_int_equal(unlink(at("pipe")), 0);
}

static void test_read(void **state)
{
    (void)state;
    stlora_error err = {0};
    char *text = NULL;
    size_t size = 0;
    put(at("a"), "hello");
    assert_ok(stlora_file_read(&text, &size, at("a"), 5, &err));
    assert_int_equal(size, 5);
    assert_string_equal(text, "hello");
    stlora_free(text);
    text = NULL;
    assert_int_equal(stlora_file_read(&text, &size, at("a"), 4, &err), STLORA_E_FORMAT);
    assert_non_null(strstr(err.text, "/a: must be at most 4 bytes, found 5"));
    assert_int_equal(stlora_file_read(&text, &size, "/dev/zero", 100000, &err), STLORA_E_FORMAT);
    assert_string_equal(err.text, "/dev/zero: must be at most 100000 bytes, found more");
    assert_int_equal(stlora_file_read(&text, &size, base, 100, &err), STLORA_E_IO);
    assert_non_null(strstr(err.text, "cannot be read: Is a directory"));
    assert_int_equal(stlora_file_read(&text, &size, at("none"), 100, &err), STLORA_E_IO);
    assert_null(text);
    put(at("a"), "");
    assert_ok(stlora_file_read(&text, &size, at("a"), 0, &err));
    assert_int_equal(size, 0);
    assert_string_equal(text, "");
    stlora_free(text);
    assert_ok(stlora_file_read(&text, &size, "/proc/self/status", 1 << 20, &err)); /* says it has 0 bytes */
    assert_true(size > 0);
    stlora_free(text);
}

static void test_read_a_large_file(void **state)
{
    (void)state;
    stlora_error err = {0};
    enum { SIZE = 300001 };
    static char big[SIZE];
    for (size_t i = 0; i < SIZE; i++) big[i] = (char)(i * 7 + i / 251);
    stlora_atomic_file *file;
    assert_ok(stlora_atomic_open(&file, at("big"), &err));
    for (size_t i = 0, part = 1; i < SIZE; i += part, part = (part * 5 + 3) % 90000) {
        if (part > SIZE - i) part = SIZE - i;
        assert_ok(stlora_atomic_write(file, big + i, part, &err)); /* smaller and larger than the buffer */
    }
    assert_ok(stlora_atomic_commit(file, &err));
    char *text;
    size_t size;
    assert_ok(stlora_file_read(&text, &size, at("big"), SIZE, &err));
    assert_int_equal(size, SIZE);
    assert_memory_equal(text, big, SIZE);
    assert_int_equal(text[SIZE], 0);
    stlora_free(text);
}

static void test_nothing_shows_before_the_commit(void **state)
{
    (void)state;
    stlora_error err = {0};
    stlora_atomic_file *file;
    assert_ok(stlora_atomic_open(&file, at("new"), &err));
    assert_ok(stlora_atomic_write(file, "abc", 3, &err));
    assert_false(stlora_path_exists(at("new")));
    stlora_atomic_abort(file);
    assert_int_equal(entries(base), 0);
    stlora_atomic_abort(NULL);

    put(at("old"), "old");
    assert_int_equal(chmod(at("old"), 0640), 0);
    assert_ok(stlora_atomic_open(&file, at("old"), &err));
    assert_ok(stlora_atomic_write(file, "new!", 4, &err));
    holds(at("old"), "old");
    assert_ok(stlora_atomic_commit(file, &err));
    holds(at("old"), "new!");
    assert_int_equal(entries(base), 1);
    struct stat st;
    assert_int_equal(stat(at("old"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640); /* as private as before */
}

static void test_new_files_obey_the_umask(void **state)
{
    (void)state;
    mode_t before = umask(027);
    put(at("a"), "x");
    (void)umask(before);
    struct stat st;
    assert_int_equal(stat(at("a"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
}

static void test_links_stay_links(void **state)
{
    (void)state;
    struct stat st;
    assert_int_equal(mkdir(at("real"), 0700), 0);
    put(at("real/file"), "old");
    assert_int_equal(symlink("real/file", at("link")), 0);
    assert_int_equal(symlink("link", at("link2")), 0);
    put(at("link2"), "new");
    holds(at("real/file"), "new");
    assert_int_equal(lstat(at("link"), &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(symlink("real/later", at("dangling")), 0);
    assert_true(stlora_path_exists(at("dangling")));
    assert_false(stlora_path_is_dir(at("dangling")));
    put(at("dangling"), "made");
    holds(at("real/later"), "made");
    assert_int_equal(entries(at("real")), 2);

    stlora_error err = {0};
    assert_int_equal(symlink("loop2", at("loop1")), 0);
    assert_int_equal(symlink("loop1", at("loop2")), 0);
    assert_int_equal(stlora_atomic_write_all(at("loop1"), "x", 1, &err), STLORA_E_IO);
    assert_non_null(strstr(err.text, "Too many levels of symbolic links"));
}

static void test_write_refusals(void **state)
{
    (void)state;
    stlora_error err = {0};
    assert_int_equal(stlora_atomic_write_all(base, "x", 1, &err), STLORA_E_IO);
    assert_non_null(strstr(err.text, "must be a file to be written, found a directory"));
    assert_int_equal(stlora_atomic_write_all(at("none/a"), "x", 1, &err), STLORA_E_IO);
    assert_non_null(strstr(err.text, "/none/a: cannot be written: No such file or directory"));
    put(at("file"), "kept");
    assert_int_equal(stlora_atomic_write_all(at("file/a"), "x", 1, &err), STLORA_E_IO);
    assert_non_null(strstr(err.text, "Not a directory"));
    assert_int_equal(stlora_atomic_write_all(at("new/"), "x", 1, &err), STLORA_E_IO);
    assert_int_equal(stlora_atomic_write_all("", "x", 1, &err), STLORA_E_IO);
    assert_int_equal(stlora_atomic_write_all(at("file"), "x", 0, &err), STLORA_OK);
    holds(at("file"), "");
    assert_int_equal(entries(base), 1);
}

static void test_disk_full(void **state)
{
    (void)state;
    stlora_error err = {0};
    static char block[200000];
    assert_int_equal(stlora_atomic_write_all("/dev/full", "x", 1, &err), STLORA_E_IO);
    assert_string_equal(err.text, "/dev/full: cannot be written: No space left on device");
    err = (stlora_error){0};
    assert_int_equal(stlora_atomic_write_all("/dev/full", block, sizeof block, &err), STLORA_E_IO);
    assert_string_equal(err.text, "/dev/full: cannot be written: No space left on device");
    /* Whoever overlooks a failed write is told at the commit. */
    stlora_atomic_file *file;
    assert_int_equal(symlink("/dev/full", at("link")), 0);
    assert_ok(stlora_atomic_open(&file, at("link"), &err));
    assert_int_equal(stlora_atomic_write(file, block, sizeof block, &err), STLORA_E_IO);
    assert_int_equal(stlora_atomic_write(file, "x", 1, &err), STLORA_E_IO);
    assert_int_equal(stlora_atomic_commit(file, &err), STLORA_E_IO);
    assert_non_null(strstr(err.text, "/link: cannot be written: No space left on device"));
    struct stat st;
    assert_int_equal(stat("/dev/full", &st), 0);
    assert_true(S_ISCHR(st.st_mode)); /* still there */
    assert_ok(stlora_atomic_write_all("/dev/null", block, sizeof block, &err));
    assert_int_equal(entries(base), 1);
}

/* A limit on file sizes is the nearest thing to a full disk that a plain file can meet. */
static void test_file_too_large(void **state)
{
    (void)state;
    put(at("old"), "old");
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        static char block[200000];
        stlora_error err = {0};
        (void)signal(SIGXFSZ, SIG_IGN);
        const struct rlimit limit = {100000, 100000};
        if (setrlimit(RLIMIT_FSIZE, &limit) != 0) _exit(2);
        stlora_status status = stlora_atomic_write_all(at("old"), block, sizeof block, &err);
        _exit(status == STLORA_E_IO && strstr(err.text, "/old: cannot be written: File too large") ? 0 : 3);
    }
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how));
    assert_int_equal(WEXITSTATUS(how), 0);
    holds(at("old"), "old");
    assert_int_equal(entries(base), 1);
}

static void test_killed_while_writing(void **state)
{
    (void)state;
    put(at("old"), "old");
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        static char block[1 << 20];
        stlora_atomic_file *file;
        if (stlora_atomic_open(&file, at("old"), NULL) != STLORA_OK) _exit(1);
        if (stlora_atomic_write(file, block, sizeof block, NULL) != STLORA_OK) _exit(1);
        (void)raise(SIGKILL);
    }
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFSIGNALED(how));
    holds(at("old"), "old");
}

static void test_dir_commit(void **state)
{
    (void)state;
    stlora_error err = {0};
    char *temp, *inside;
    assert_ok(stlora_atomic_dir_begin(&temp, at("run/"), &err));
    assert_true(stlora_path_is_dir(temp));
    assert_false(stlora_path_exists(at("run")));
    assert_ok(stlora_path_join(&inside, temp, "a", &err));
    put(inside, "x");
    stlora_free(inside);
    assert_ok(stlora_atomic_dir_commit(temp, at("run/"), &err));
    holds(at("run/a"), "x");
    assert_int_equal(entries(base), 1);
    /* Onto an empty directory: allowed. */
    assert_int_equal(mkdir(at("empty"), 0755), 0);
    assert_ok(stlora_atomic_dir_begin(&temp, at("empty"), &err));
    assert_ok(stlora_atomic_dir_commit(temp, at("empty"), &err));
    /* Through a link to one: the link stays. */
    assert_int_equal(symlink("empty", at("link")), 0);
    assert_ok(stlora_atomic_dir_begin(&temp, at("link"), &err));
    assert_ok(stlora_path_join(&inside, temp, "b", &err));
    put(inside, "y");
    stlora_free(inside);
    assert_ok(stlora_atomic_dir_commit(temp, at("link"), &err));
    holds(at("empty/b"), "y");
    assert_int_equal(entries(base), 3);
}

static void test_dir_refusals(void **state)
{
    (void)state;
    stlora_error err = {0};
    char *temp = NULL;
    assert_int_equal(mkdir(at("used"), 0755), 0);
    put(at("used/mine"), "kept");
    put(at("file"), "kept");
    assert_int_equal(stlora_atomic_dir_begin(&temp, at("used"), &err), STLORA_E_IO);
    assert_non_null(strstr(err.text, "/used: must be absent or an empty directory, found a directory in use"));
    assert_int_equal(stlora_atomic_dir_begin(&temp, at("file"), &err), STLORA_E_IO);
    assert_non_null(strstr(err.text, "/file: must be absent or an empty directory, found a file"));
    assert_int_equal(stlora_atomic_dir_begin(&temp, at("none/run"), &err), STLORA_E_IO);
    assert_int_equal(stlora_atomic_dir_begin(&temp, ".", &err), STLORA_E_IO);
    assert_int_equal(stlora_atomic_dir_begin(&temp, "/", &err), STLORA_E_IO);
    assert_int_equal(stlora_atomic_dir_begin(&temp, "", &err), STLORA_E_IO);
    assert_null(temp);
    assert_int_equal(entries(base), 2);
    /* Somebody fills the place while we work. */
    assert_ok(stlora_atomic_dir_begin(&temp, at("late"), &err));
    assert_int_equal(mkdir(at("late"), 0755), 0);
    put(at("late/mine"), "kept");
    assert_int_equal(stlora_atomic_dir_commit(temp, at("late"), &err), STLORA_E_IO);
    assert_non_null(strstr(err.text, "/late: must be absent or an empty directory, found a directory in use"));
    holds(at("late/mine"), "kept");
    assert_ok(stlora_atomic_dir_begin(&temp, at("late2"), &err));
    put(at("late2"), "kept");
    assert_int_equal(stlora_atomic_dir_commit(temp, at("late2"), &err), STLORA_E_IO);
    holds(at("late2"), "kept");
    holds(at("used/mine"), "kept");
    assert_int_equal(entries(base), 4); /* used, file, late, late2: no temporary one */
}

static void test_dir_abort(void **state)
{
    (void)state;
    stlora_error err = {0};
    char *temp, *inside;
    put(at("outside"), "kept");
    assert_ok(stlora_atomic_dir_begin(&temp, at("run"), &err));
    assert_ok(stlora_path_join(&inside, temp, "deep", &err));
    assert_int_equal(mkdir(inside, 0755), 0);
    char *link;
    assert_ok(stlora_path_join(&link, inside, "link", &err));
    assert_int_equal(symlink(at("outside"), link), 0);
    stlora_free(link);
    stlora_free(inside);
    stlora_atomic_dir_abort(temp);
    stlora_atomic_dir_abort(NULL);
    holds(at("outside"), "kept"); /* a link is unlinked, not followed */
    assert_int_equal(entries(base), 1);
}

static void test_remove_tree_refusals(void **state)
{
    (void)state;
    stlora_error err = {0};
    assert_int_equal(stlora_remove_tree(at("none"), &err), STLORA_E_IO);
    put(at("file"), "kept");
    assert_int_equal(stlora_remove_tree(at("file"), &err), STLORA_E_IO);
    assert_int_equal(mkdir(at("dir"), 0755), 0);
    put(at("dir/kept"), "kept");
    assert_int_equal(symlink("dir", at("link")), 0);
    assert_int_equal(stlora_remove_tree(at("link"), &err), STLORA_E_IO); /* not followed */
    holds(at("file"), "kept");
    holds(at("dir/kept"), "kept");
    assert_int_equal(mkfifo(at("dir/pipe"), 0600), 0); /* we never make one: it is not ours */
    assert_int_equal(stlora_remove_tree(at("dir"), &err), STLORA_E_IO);
    assert_true(stlora_path_exists(at("dir/pipe")));
    assert_int_equal(unlink(at("dir/pipe")), 0);
}

static void test_paths(void **state)
{
    (void)state;
    stlora_error err = {0};
    const char *cases[][3] = {{"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"/", "b", "/b"}, {"", "b", "b"}};
    for (size_t i = 0; i < 4; i++) {
        char *joined;
        assert_ok(stlora_path_join(&joined, cases[i][0], cases[i][1], &err));
        assert_string_equal(joined, cases[i][2]);
        stlora_free(joined);
    }
    assert_true(stlora_path_exists(base));
    assert_true(stlora_path_is_dir(base));
    assert_false(stlora_path_exists(at("none")));
    assert_false(stlora_path_is_dir(at("none")));
}

static void test_long_names(void **state)
{
    (void)state;
    char name[256];
    memset(name, 'n', sizeof name);
    name[255] = '\0';
    put(at(name), "x"); /* as long as a name may be: the temporary one must not be longer */
    holds(at(name), "x");
}

#define FILE_TEST(f) cmocka_unit_test_setup_teardown(f, make_base, remove_base)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILE_TEST(test_map),
        FILE_TEST(test_map_refusals),
        FILE_TEST(test_read),
        FILE_TEST(test_read_a_large_file),
        FILE_TEST(test_nothing_shows_before_the_commit),
        FILE_TEST(test_new_files_obey_the_umask),
        FILE_TEST(test_links_stay_links),
        FILE_TEST(test_write_refusals),
        FILE_TEST(test_disk_full),
        FILE_TEST(test_file_too_large),
        FILE_TEST(test_killed_while_writing),
        FILE_TEST(test_dir_commit),
        FILE_TEST(test_dir_refusals),
        FILE_TEST(test_dir_abort),
        FILE_TEST(test_remove_tree_refusals),
        FILE_TEST(test_paths),
        FILE_TEST(test_long_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
