/* file_map.c: mapping and reading whole files. Not here: writing (atomic_file.c).
 * A mapped file that somebody shortens meanwhile raises SIGBUS on access: checkpoints are replaced, not rewritten. */
#include "base/file_map.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/errno_text.h"
#include "base/memory.h"

static stlora_status refused(stlora_error *err, const char *path, const char *what, int code)
{
    stlora_errno_words words;
    return stlora_fail(err, code == ENOMEM ? STLORA_E_NOMEM : STLORA_E_IO, "%s: %s: %s", path, what,
                       stlora_errno_text(code, &words));
}

enum { LARGE_FILE = 4 << 20 };

static stlora_status map_descriptor(stlora_file_map *out, int fd, const char *path,
                                    stlora_error *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0) return refused(err, path, "cannot be examined", errno);
    if (S_ISDIR(st.st_mode))
        return stlora_fail(err, STLORA_E_IO, "%s: must be a file, found a directory", path);
    if (!S_ISREG(st.st_mode))
        return stlora_fail(err, STLORA_E_IO, "%s: must be a regular file, found a pipe or device",
                           path);
    if (st.st_size == 0) {
        *out = (stlora_file_map){0};
        return STLORA_OK;
    }
    if ((uintmax_t)st.st_size > PTRDIFF_MAX)
        return stlora_fail(err, STLORA_E_IO, "%s: too large to be mapped", path);
    size_t size = (size_t)st.st_size;
    void *bytes = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED) return refused(err, path, "cannot be mapped", errno);
#if defined(MADV_HUGEPAGE)
    /* Systems that can do so then read the file in large pages: looking up small ones takes as long as multiplying what
     * they hold. */
    if (size >= LARGE_FILE) (void)madvise(bytes, size, MADV_HUGEPAGE);
#endif
    *out = (stlora_file_map){.bytes = bytes, .size = size};
    return STLORA_OK;
}

stlora_status stlora_file_map_open(stlora_file_map *out, const char *path, stlora_error *err)
{
    /* O_NONBLOCK: a pipe without a writer is to be refused, not waited for. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return refused(err, path, "cannot be opened", errno);
    stlora_status status = map_descriptor(out, fd, path, err);
    (void)close(fd); /* the mapping stays */
    return status;
}

void stlora_file_map_close(stlora_file_map *map)
{
    if (map->bytes) {
        union {
            const unsigned char *given;
            void *block;
        } view = {.given = map->bytes};
        (void)munmap(view.block, map->size);
    }
    *map = (stlora_file_map){0};
}

static stlora_status read_all(char **block, size_t *size, int fd, const char *path, size_t limit,
                              stlora_error *err)
{
    size_t capacity = 0, used = 0;
    struct stat st;
    /* A hint only: files under /proc say 0, and a file may grow while it is read. */
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0) {
        if ((uintmax_t)st.st_size > limit)
            return stlora_fail(err, STLORA_E_FORMAT, "%s: must be at most %zu bytes, found %jd", path,
                               limit, (intmax_t)st.st_size);
        STLORA_TRY(stlora_grow(block, &capacity, (size_t)st.st_size + 8192, 1, path, err));
    }
    for (;;) {
        /* Room for one byte beyond the limit, so that a longer file shows itself, and for the final NUL. */
        STLORA_TRY(stlora_grow(block, &capacity, used + 4096, 1, path, err));
        ssize_t got = read(fd, *block + used, capacity - used - 1);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return refused(err, path, "cannot be read", errno);
        if (got == 0) break;
        used += (size_t)got;
        if (used > limit)
            return stlora_fail(err, STLORA_E_FORMAT, "%s: must be at most %zu bytes, found more", path,
                               limit);
    }
    (*block)[used] = '\0';
    *size = used;
    return STLORA_OK;
}

stlora_status stlora_file_read(char **out, size_t *size, const char *path, size_t limit,
                               stlora_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return refused(err, path, "cannot be opened", errno);
    char *block = NULL;
    stlora_status status = read_all(&block, size, fd, path, limit, err);
    (void)close(fd);
    if (status == STLORA_OK)
        *out = block;
    else
        stlora_free(block);
    return status;
}
