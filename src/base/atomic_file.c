/* atomic_file.c: write beside, sync, rename. Not here: what is written.
 * Invariant: until the rename nothing that the user had has changed, and after a failure no temporary file is left. */
#include "base/atomic_file.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/errno_text.h"
#include "base/memory.h"
#include "base/size.h"

enum { BUFFER_BYTES = 1 << 16, LINK_LIMIT = 40, NAME_TRIES = 100, TREE_DEPTH = 64 };

struct stlora_atomic_file {
    char *path;   /* as the user gave it, for sentences */
    char *target; /* what is written: path with links in its last part resolved */
    char *temp;   /* NULL: target is a device or a pipe and is written in place */
    int fd;
    int failed; /* errno of the first write that failed, 0 = none; a commit then fails too */
    size_t used;
    unsigned char buffer[BUFFER_BYTES];
};

static stlora_status refused(stlora_error *err, const char *path, const char *what, int code)
{
    stlora_errno_words words;
    return stlora_fail(err, STLORA_E_IO, "%s: %s: %s", path, what, stlora_errno_text(code, &words));
}

/* ---- paths ---- */

stlora_status stlora_path_join(char **out, const char *dir, const char *name, stlora_error *err)
{
    size_t dir_length = strlen(dir), name_length = strlen(name), size;
    bool slash = dir_length > 0 && dir[dir_length - 1] != '/';
    if (!stlora_size_add(dir_length, name_length, &size) || !stlora_size_add(size, 2, &size))
        return stlora_fail(err, STLORA_E_NOMEM, "a path is too long");
    char *joined;
    STLORA_TRY(stlora_alloc(&joined, size, 1, "path", err));
    memcpy(joined, dir, dir_length);
    if (slash) joined[dir_length++] = '/';
    memcpy(joined + dir_length, name, name_length + 1);
    *out = joined;
    return STLORA_OK;
}

bool stlora_path_exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

bool stlora_path_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Creates the folder that path lies in: "." for a bare name. path has no trailing slash. */
static stlora_status parent_of(char **out, const char *path, stlora_error *err)
{
    const char *slash = strrchr(path, '/');
    if (!slash) return stlora_strdup_n(out, ".", 1, err);
    return stlora_strdup_n(out, path, slash == path ? 1 : (size_t)(slash - path), err);
}

static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Creates path without trailing slashes, and with a link as its last part followed to where it points, whether or not
 * something is there: so a link stays a link, and the file behind it is what is replaced. */
static stlora_status resolve(char **out, const char *path, stlora_error *err)
{
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/') length--;
    char *current;
    STLORA_TRY(stlora_strdup_n(&current, path, length, err));
    for (int i = 0; i < LINK_LIMIT; i++) {
        char link[PATH_MAX];
        ssize_t size = readlink(current, link, sizeof link - 1);
        if (size < 0) { /* no link, or nothing there: whoever opens it says so */
            *out = current;
            return STLORA_OK;
        }
        link[size] = '\0';
        while (size > 1 && link[size - 1] == '/') link[--size] = '\0';
        char *next = NULL, *dir = NULL;
        stlora_status status;
        if (link[0] == '/') {
            status = stlora_strdup_n(&next, link, (size_t)size, err);
        } else {
            status = parent_of(&dir, current, err);
            if (status == STLORA_OK) status = stlora_path_join(&next, dir, link, err);
        }
        stlora_free(dir);
        stlora_free(current);
        if (status != STLORA_OK) return status;
        current = next;
    }
    stlora_free(current);
    return refused(err, path, "cannot be followed", ELOOP);
}

/* Creates ".name.tmp-<process>-<number>" beside path. Names that are taken are the caller's to retry with attempt + 1. */
static stlora_status temporary_name(char **out, const char *path, int attempt, stlora_error *err)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    char suffix[64];
    (void)snprintf(suffix, sizeof suffix, ".tmp-%ld-%lx%02x", (long)getpid(), (unsigned long)now.tv_nsec,
                   (unsigned)attempt);
    const char *name = name_of(path);
    size_t dir_length = (size_t)(name - path), name_length = strlen(name);
    /* A name may be NAME_MAX bytes long already; the temporary one only has to be told apart. */
    if (name_length > 128) name_length = 128;
    char *temp;
    STLORA_TRY(stlora_alloc(&temp, dir_length + name_length + sizeof suffix + 2, 1, "path", err));
    memcpy(temp, path, dir_length);
    temp[dir_length] = '.';
    memcpy(temp + dir_length + 1, name, name_length);
    memcpy(temp + dir_length + 1 + name_length, suffix, strlen(suffix) + 1);
    *out = temp;
    return STLORA_OK;
}

/* Makes a rename last. A file system that cannot sync a directory is no failure. */
static int sync_directory(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return 0;
    int code = fsync(fd) == 0 ? 0 : errno;
    (void)close(fd);
    return code == EIO || code == ENOSPC || code == EDQUOT ? code : 0;
}

static stlora_status sync_parent(const char *path, stlora_error *err)
{
    char *dir;
    STLORA_TRY(parent_of(&dir, path, err));
    int code = sync_directory(dir);
    stlora_free(dir);
    return code ? refused(err, path, "cannot be made durable", code) : STLORA_OK;
}

/* ---- files ---- */

static void file_free(stlora_atomic_file *file)
{
    if (file->fd >= 0) (void)close(file->fd);
    stlora_free(file->path);
    stlora_free(file->target);
    stlora_free(file->temp);
    stlora_free(file);
}

static stlora_status open_temporary(stlora_atomic_file *file, stlora_error *err)
{
    int code = EEXIST;
    for (int i = 0; i < NAME_TRIES && code == EEXIST; i++) {
        char *temp;
        STLORA_TRY(temporary_name(&temp, file->target, i, err));
        file->fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (file->fd >= 0) {
            file->temp = temp;
            return STLORA_OK;
        }
        code = errno;
        stlora_free(temp);
    }
    return refused(err, file->path, "cannot be written", code);
}

static stlora_status open_target(stlora_atomic_file *file, stlora_error *err)
{
    struct stat st;
    STLORA_TRY(resolve(&file->target, file->path, err));
    if (file->path[0] == '\0') return stlora_fail(err, STLORA_E_IO, "a file name must not be empty");
    if (stat(file->target, &st) != 0) {
        if (errno != ENOENT) return refused(err, file->path, "cannot be written", errno);
        if (file->path[strlen(file->path) - 1] == '/')
            return stlora_fail(err, STLORA_E_IO, "%s: must name a file, found a trailing slash",
                               file->path);
        return open_temporary(file, err);
    }
    if (S_ISDIR(st.st_mode))
        return stlora_fail(err, STLORA_E_IO, "%s: must be a file to be written, found a directory",
                           file->path);
    if (!S_ISREG(st.st_mode)) { /* a device or a pipe: nothing there could be kept, and a rename would replace it */
        file->fd = open(file->target, O_WRONLY | O_CLOEXEC | O_NOCTTY);
        return file->fd < 0 ? refused(err, file->path, "cannot be written", errno) : STLORA_OK;
    }
    if (access(file->target, W_OK) != 0) return refused(err, file->path, "cannot be written", errno);
    STLORA_TRY(open_temporary(file, err));
    (void)fchmod(file->fd, st.st_mode & 07777); /* the new file is as private as the old one was */
    return STLORA_OK;
}

stlora_status stlora_atomic_open(stlora_atomic_file **out, const char *path, stlora_error *err)
{
    stlora_atomic_file *file;
    STLORA_TRY(stlora_alloc(&file, 1, sizeof *file, path, err));
    file->fd = -1;
    stlora_status status = stlora_strdup_n(&file->path, path, strlen(path), err);
    if (status == STLORA_OK) status = open_target(file, err);
    if (status == STLORA_OK)
        *out = file;
    else
        file_free(file); /* open_target fails before a temporary file exists, or without one */
    return status;
}

static stlora_status failed(const stlora_atomic_file *file, stlora_error *err)
{
    return refused(err, file->path, "cannot be written", file->failed);
}

static stlora_status write_out(stlora_atomic_file *file, const unsigned char *bytes, size_t size,
                               stlora_error *err)
{
    while (size > 0 && !file->failed) {
        ssize_t done = write(file->fd, bytes, size < ((size_t)1 << 30) ? size : (size_t)1 << 30);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) {
            file->failed = done < 0 ? errno : ENOSPC;
            break;
        }
        bytes += done;
        size -= (size_t)done;
    }
    return file->failed ? failed(file, err) : STLORA_OK;
}

static stlora_status flush(stlora_atomic_file *file, stlora_error *err)
{
    size_t used = file->used;
    file->used = 0;
    return write_out(file, file->buffer, used, err);
}

stlora_status stlora_atomic_write(stlora_atomic_file *file, const void *bytes, size_t size,
                                  stlora_error *err)
{
    if (file->failed) return failed(file, err);
    if (size == 0) return STLORA_OK;
    if (size > BUFFER_BYTES - file->used) STLORA_TRY(flush(file, err));
    if (size >= BUFFER_BYTES) return write_out(file, bytes, size, err);
    memcpy(file->buffer + file->used, bytes, size);
    file->used += size;
    return STLORA_OK;
}

static stlora_status finish(stlora_atomic_file *file, stlora_error *err)
{
    STLORA_TRY(flush(file, err)); /* an earlier failure included */
    if (file->temp && fsync(file->fd) != 0) return refused(err, file->path, "cannot be written", errno);
    int fd = file->fd;
    file->fd = -1;
    if (close(fd) != 0 && errno != EINTR) return refused(err, file->path, "cannot be written", errno);
    if (!file->temp) return STLORA_OK;
    if (rename(file->temp, file->target) != 0)
        return refused(err, file->path, "cannot be put in place", errno);
    stlora_free(file->temp);
    file->temp = NULL;
    return sync_parent(file->target, err);
}

stlora_status stlora_atomic_commit(stlora_atomic_file *file, stlora_error *err)
{
    stlora_status status = finish(file, err);
    if (status != STLORA_OK)
        stlora_atomic_abort(file);
    else
        file_free(file);
    return status;
}

void stlora_atomic_abort(stlora_atomic_file *file)
{
    if (!file) return;
    if (file->temp) (void)unlink(file->temp);
    file_free(file);
}

stlora_status stlora_atomic_write_all(const char *path, const void *bytes, size_t size,
                                      stlora_error *err)
{
    stlora_atomic_file *file;
    STLORA_TRY(stlora_atomic_open(&file, path, err));
    stlora_status status = stlora_atomic_write(file, bytes, size, err);
    if (status == STLORA_OK) return stlora_atomic_commit(file, err);
    stlora_atomic_abort(file);
    return status;
}

/* ---- directories ---- */

/* STLORA_OK when nothing, or an empty directory, is at path. */
static stlora_status must_be_free(const char *path, stlora_error *err)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return errno == ENOENT ? STLORA_OK : refused(err, path, "cannot be made", errno);
    if (!S_ISDIR(st.st_mode))
        return stlora_fail(err, STLORA_E_IO, "%s: must be absent or an empty directory, found a file",
                           path);
    DIR *dir = opendir(path);
    if (!dir) return refused(err, path, "cannot be examined", errno);
    bool empty = true;
    for (struct dirent *entry; empty && (entry = readdir(dir));)
        empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    (void)closedir(dir);
    if (!empty)
        return stlora_fail(err, STLORA_E_IO,
                           "%s: must be absent or an empty directory, found a directory in use", path);
    return STLORA_OK;
}

static stlora_status make_temporary_dir(char **out, const char *target, const char *path,
                                        stlora_error *err)
{
    const char *name = name_of(target);
    if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return stlora_fail(err, STLORA_E_IO, "%s: must end in a name of its own", path);
    STLORA_TRY(must_be_free(target, err));
    int code = EEXIST;
    for (int i = 0; i < NAME_TRIES && code == EEXIST; i++) {
        char *temp;
        STLORA_TRY(temporary_name(&temp, target, i, err));
        if (mkdir(temp, 0777) == 0) {
            *out = temp;
            return STLORA_OK;
        }
        code = errno;
        stlora_free(temp);
    }
    return refused(err, path, "cannot be made", code);
}

stlora_status stlora_atomic_dir_begin(char **temp, const char *path, stlora_error *err)
{
    char *target;
    STLORA_TRY(resolve(&target, path, err));
    stlora_status status = make_temporary_dir(temp, target, path, err);
    stlora_free(target);
    return status;
}

static stlora_status put_dir_in_place(const char *temp, const char *target, const char *path,
                                      stlora_error *err)
{
    int code = sync_directory(temp);
    if (code) return refused(err, path, "cannot be made durable", code);
    if (rename(temp, target) != 0) {
        code = errno;
        STLORA_TRY(must_be_free(target, err)); /* the better sentence */
        return refused(err, path, "cannot be put in place", code);
    }
    return STLORA_OK;
}

stlora_status stlora_atomic_dir_commit(char *temp, const char *path, stlora_error *err)
{
    char *target = NULL;
    stlora_status status = resolve(&target, path, err);
    if (status == STLORA_OK) status = put_dir_in_place(temp, target, path, err);
    if (status != STLORA_OK) {
        stlora_atomic_dir_abort(temp);
    } else {
        stlora_free(temp);
        status = sync_parent(target, err);
    }
    stlora_free(target);
    return status;
}

void stlora_atomic_dir_abort(char *temp)
{
    if (temp) {
        stlora_status ignored = stlora_remove_tree(temp, NULL); /* the failure that led here is what is told */
        (void)ignored;
    }
    stlora_free(temp);
}

/* Empties the directory behind fd, and closes it. 0 or an errno; EINVAL: something that we never make. */
static int remove_entries(int fd, int depth)
{
    DIR *dir = fdopendir(fd);
    if (!dir) {
        int code = errno;
        (void)close(fd);
        return code;
    }
    int code = depth > TREE_DEPTH ? ELOOP : 0;
    for (struct dirent *entry; code == 0 && (entry = readdir(dir));) {
        const char *name = entry->d_name;
        struct stat st;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) continue;
        if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
            code = errno;
        } else if (S_ISDIR(st.st_mode)) {
            int inner = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            code = inner < 0 ? errno : remove_entries(inner, depth + 1);
            if (code == 0 && unlinkat(fd, name, AT_REMOVEDIR) != 0) code = errno;
        } else if (!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode)) {
            code = EINVAL;
        } else if (unlinkat(fd, name, 0) != 0) {
            code = errno;
        }
    }
    (void)closedir(dir);
    return code;
}

stlora_status stlora_remove_tree(const char *path, stlora_error *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return refused(err, path, "cannot be removed", errno);
    int code = remove_entries(fd, 0);
    if (code == 0 && rmdir(path) != 0) code = errno;
    return code ? refused(err, path, "cannot be removed", code) : STLORA_OK;
}
