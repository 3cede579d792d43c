/*
 * Stands between a process and the C library: counts the calls that read or change files below given
 * directories, over all threads, and at the call of a given number ends the process or lets the call fail.
 *
 *   cc -shared -fPIC -O1 -o io_faults.so io_faults.c -ldl      LD_PRELOAD=io_faults.so
 *
 *   IO_FAULTS_BELOW=DIR[:DIR…]   absolute directories whose files count, themselves included
 *   IO_FAULTS_CLASS=write|read   which calls count: those that change files (the default), or those that read
 *   IO_FAULTS_AT=K               the fault is planted at call K, or the first one behind it that it can befall
 *   IO_FAULTS_KIND=KIND          kill-before, kill-after, torn (half of a write, then SIGKILL), short (half of
 *                                a write), eio, eio-forever, enospc, enospc-forever, slow (a sync)
 *   IO_FAULTS_SLOW_MS=N          a slow sync takes so much longer
 *   IO_FAULTS_THREADS=K          no more than K threads can be alive, besides the first
 *   IO_FAULTS_LOG=FILE           one line for each faulted call, `F NUMBER CALL PATH`, and with
 *   IO_FAULTS_LOG_ALL=1          one for every call that counts, `. NUMBER CALL PATH`
 *
 * Not seen: calls that a program makes without the C library, and memory-mapped files.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

enum { FDS = 4096, PATHS = 320, DIRECTORIES = 4 };
enum class_of_call { WRITES, READS };
enum kind { NONE, KILL_BEFORE, KILL_AFTER, TORN, SHORT, EIO_ONCE, EIO_EVER, ENOSPC_ONCE, ENOSPC_EVER, SLOW };
/* What a call is, for kinds of faults that befall only some. */
enum { ALLOCATES = 1, TRANSFERS = 2, SYNCS = 4 };

static char below[DIRECTORIES][PATH_MAX];
/* Where relative paths begin, if that is below one of them. */
static char here[PATHS];
static int directories;
static enum class_of_call wanted;
static enum kind kind;
static long at, slow_ms, most_threads = -1;
static int log_fd = -1, log_all;
static atomic_long calls, threads;
static atomic_int struck;
/* The path of every descriptor that counts; empty for the others. */
static char path_of[FDS][PATHS];

static void *next(const char *name) {
    return dlsym(RTLD_NEXT, name);
}

#define REAL(result, name, ...)                                                                              \
    static result (*real)(__VA_ARGS__);                                                                      \
    if (!real) real = (result(*)(__VA_ARGS__))next(name)

static long number(const char *name) {
    const char *text = getenv(name);
    return text ? atol(text) : 0;
}

static int is_below(const char *path) {
    for (int i = 0; i < directories; i++) {
        size_t length = strlen(below[i]);
        if (strncmp(path, below[i], length) == 0 && (path[length] == 0 || path[length] == '/')) return 1;
    }
    return 0;
}

__attribute__((constructor)) static void start(void) {
    static const char *const kinds[] = {"none", "kill-before", "kill-after", "torn", "short",
                                        "eio", "eio-forever", "enospc", "enospc-forever",
                                        "slow"};
    const char *text = getenv("IO_FAULTS_BELOW");
    while (text && *text && directories < DIRECTORIES) {
        size_t length = strcspn(text, ":");
        if (length < PATH_MAX) {
            memcpy(below[directories], text, length);
            below[directories++][length] = 0;
        }
        text += length + (text[length] == ':');
    }
    if (!getcwd(here, sizeof here) || !is_below(here)) here[0] = 0;
    text = getenv("IO_FAULTS_CLASS");
    wanted = text && strcmp(text, "read") == 0 ? READS : WRITES;
    text = getenv("IO_FAULTS_KIND");
    for (int i = 0; text && i < (int)(sizeof kinds / sizeof *kinds); i++)
        if (strcmp(text, kinds[i]) == 0) kind = (enum kind)i;
    at = number("IO_FAULTS_AT");
    if (getenv("IO_FAULTS_THREADS")) most_threads = number("IO_FAULTS_THREADS");
    slow_ms = number("IO_FAULTS_SLOW_MS");
    log_all = (int)number("IO_FAULTS_LOG_ALL");
    text = getenv("IO_FAULTS_LOG");
    if (text) {
        int fd = (int)syscall(SYS_openat, AT_FDCWD, text, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        /* Out of the way of the numbers a program sees, and of its limits where they are low. */
        log_fd = fcntl(fd, F_DUPFD_CLOEXEC, 900);
        if (log_fd < 0) log_fd = fd;
        else syscall(SYS_close, fd);
    }
}

static const char *path_of_fd(int fd) {
    return fd >= 0 && fd < FDS && path_of[fd][0] ? path_of[fd] : NULL;
}

/* The path that counts, or NULL. */
static const char *resolve(int dir, const char *path, char *into) {
    if (!path) return NULL;
    if (path[0] == '/') return is_below(path) ? path : NULL;
    const char *base = dir == AT_FDCWD ? here : path_of_fd(dir);
    if (!base || !*base) return NULL;
    /* A longer one is cut, and still counts. */
    int length = snprintf(into, PATHS, "%s/%s", base, path);
    (void)length;
    return into;
}

static void note(char mark, long call, const char *name, const char *path) {
    if (log_fd < 0 || (mark != 'F' && !log_all)) return;
    int kept = errno;
    char line[PATHS + 64];
    int length = snprintf(line, sizeof line, "%c %ld %s %s\n", mark, call, name, path);
    syscall(SYS_write, log_fd, line, (size_t)length);
    errno = kept;
}

static void end_now(void) {
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) pause();
}

static int can_befall(int what) {
    switch (kind) {
    case NONE: return 0;
    case TORN: case SHORT: return what & TRANSFERS;
    case ENOSPC_ONCE: case ENOSPC_EVER: return what & ALLOCATES;
    case SLOW: return what & SYNCS;
    default: return 1;
    }
}

/* Counts a call. 0: let it be; otherwise the kind of fault that befalls it now. */
static enum kind befalls(enum class_of_call class, const char *name, const char *path, int what) {
    if (!path || class != wanted) return NONE;
    long call = atomic_fetch_add(&calls, 1) + 1;
    int strikes = at > 0 && call >= at && can_befall(what);
    int for_ever = kind == EIO_EVER || kind == ENOSPC_EVER;
    if (strikes && !for_ever) strikes = atomic_exchange(&struck, 1) == 0;
    note(strikes ? 'F' : '.', call, name, path);
    if (!strikes) return NONE;
    if (kind == KILL_BEFORE) end_now();
    if (kind == SLOW) {
        struct timespec time = {slow_ms / 1000, (slow_ms % 1000) * 1000000};
        nanosleep(&time, NULL);
    }
    return kind;
}

static int fails(enum kind fault) {
    if (fault == EIO_ONCE || fault == EIO_EVER) errno = EIO;
    else if (fault == ENOSPC_ONCE || fault == ENOSPC_EVER) errno = ENOSPC;
    else return 0;
    return 1;
}

/* What is behind a call. */
#define DONE(fault, result)                                                                                  \
    do {                                                                                                     \
        if ((fault) == KILL_AFTER) end_now();                                                                \
        return result;                                                                                       \
    } while (0)

static void remember(int fd, const char *path) {
    if (fd < 0 || fd >= FDS) return;
    snprintf(path_of[fd], PATHS, "%s", path ? path : "");
}

/* open */

static int opened(int dir, const char *path, int flags, mode_t mode, const char *name) {
    char buffer[PATHS];
    const char *counts = resolve(dir, path, buffer);
    int changes = (flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC);
    enum kind fault = befalls(changes ? WRITES : READS, name, counts, flags & O_CREAT ? ALLOCATES : 0);
    if (fails(fault)) return -1;
    REAL(int, "openat", int, const char *, int, ...);
    int fd = real(dir, path, flags, mode);
    remember(fd, counts);
    DONE(fault, fd);
}

#define OPEN(name)                                                                                           \
    int name(const char *path, int flags, ...) {                                                             \
        va_list more;                                                                                        \
        va_start(more, flags);                                                                               \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0;                            \
        va_end(more);                                                                                        \
        return opened(AT_FDCWD, path, flags, mode, "open");                                                  \
    }
#define OPENAT(name)                                                                                         \
    int name(int dir, const char *path, int flags, ...) {                                                    \
        va_list more;                                                                                        \
        va_start(more, flags);                                                                               \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0;                            \
        va_end(more);                                                                                        \
        return opened(dir, path, flags, mode, "open");                                                       \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

int creat(const char *path, mode_t mode) {
    return opened(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode, "open");
}
int creat64(const char *path, mode_t mode) {
    return creat(path, mode);
}

static FILE *stream(const char *path, const char *how) {
    char buffer[PATHS];
    const char *counts = resolve(AT_FDCWD, path, buffer);
    enum kind fault = befalls(how[0] == 'r' ? READS : WRITES, "open", counts, how[0] == 'r' ? 0 : ALLOCATES);
    if (fails(fault)) return NULL;
    REAL(FILE *, "fopen", const char *, const char *);
    FILE *file = real(path, how);
    if (file) remember(fileno(file), counts);
    DONE(fault, file);
}
FILE *fopen(const char *path, const char *how) {
    return stream(path, how);
}
FILE *fopen64(const char *path, const char *how) {
    return stream(path, how);
}

DIR *opendir(const char *path) {
    char buffer[PATHS];
    const char *counts = resolve(AT_FDCWD, path, buffer);
    enum kind fault = befalls(READS, "opendir", counts, 0);
    if (fails(fault)) return NULL;
    REAL(DIR *, "opendir", const char *);
    DIR *dir = real(path);
    if (dir) remember(dirfd(dir), counts);
    DONE(fault, dir);
}

/* close and copies of descriptors: never faulted, but what they stand for changes */

int close(int fd) {
    REAL(int, "close", int);
    remember(fd, NULL);
    return real(fd);
}
int fclose(FILE *file) {
    REAL(int, "fclose", FILE *);
    remember(fileno(file), NULL);
    return real(file);
}
int closedir(DIR *dir) {
    REAL(int, "closedir", DIR *);
    remember(dirfd(dir), NULL);
    return real(dir);
}
int dup(int fd) {
    REAL(int, "dup", int);
    int copy = real(fd);
    remember(copy, path_of_fd(fd));
    return copy;
}

static int controlled(int fd, int command, void *argument) {
    REAL(int, "fcntl", int, int, ...);
    int result = real(fd, command, argument);
    if (command == F_DUPFD || command == F_DUPFD_CLOEXEC) remember(result, path_of_fd(fd));
    return result;
}
#define FCNTL(name)                                                                                          \
    int name(int fd, int command, ...) {                                                                     \
        va_list more;                                                                                        \
        va_start(more, command);                                                                             \
        void *argument = va_arg(more, void *);                                                               \
        va_end(more);                                                                                        \
        return controlled(fd, command, argument);                                                            \
    }
FCNTL(fcntl)
FCNTL(fcntl64)

/* writing */

ssize_t write(int fd, const void *bytes, size_t count) {
    REAL(ssize_t, "write", int, const void *, size_t);
    enum kind fault = befalls(WRITES, "write", path_of_fd(fd), ALLOCATES | TRANSFERS);
    if (fails(fault)) return -1;
    if ((fault == TORN || fault == SHORT) && count > 1) count /= 2;
    ssize_t written = real(fd, bytes, count);
    if (fault == TORN) end_now();
    DONE(fault, written);
}

static ssize_t written_at(int fd, const void *bytes, size_t count, off_t offset) {
    REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
    enum kind fault = befalls(WRITES, "pwrite", path_of_fd(fd), ALLOCATES | TRANSFERS);
    if (fails(fault)) return -1;
    if ((fault == TORN || fault == SHORT) && count > 1) count /= 2;
    ssize_t written = real(fd, bytes, count, offset);
    if (fault == TORN) end_now();
    DONE(fault, written);
}
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) {
    return written_at(fd, bytes, count, offset);
}
ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) {
    return written_at(fd, bytes, count, offset);
}

static ssize_t gathered(int fd, const struct iovec *parts, int count, off_t offset, int has_offset) {
    const char *path = path_of_fd(fd);
    if (path && count > 0) {
        /* Only the first part: a short write, which a caller has to go on from anyway. */
        return has_offset ? written_at(fd, parts->iov_base, parts->iov_len, offset)
                          : write(fd, parts->iov_base, parts->iov_len);
    }
    if (has_offset) return syscall(SYS_pwritev, fd, parts, count, (long)offset, 0L);
    return syscall(SYS_writev, fd, parts, count);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    return gathered(fd, parts, count, 0, 0);
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    return gathered(fd, parts, count, offset, 1);
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
    return gathered(fd, parts, count, offset, 1);
}

ssize_t copy_file_range(int in, off64_t *in_at, int out, off64_t *out_at, size_t count, unsigned flags) {
    enum kind fault = befalls(WRITES, "copy_file_range", path_of_fd(out), ALLOCATES | TRANSFERS);
    if (fails(fault)) return -1;
    if ((fault == TORN || fault == SHORT) && count > 1) count = count > 512 ? 512 : count / 2;
    ssize_t copied = syscall(SYS_copy_file_range, in, in_at, out, out_at, count, flags);
    if (fault == TORN) end_now();
    DONE(fault, copied);
}

/* A plain call on a descriptor or a path. */
#define CALL(class, name, what, path, result, expression)                                                    \
    do {                                                                                                     \
        enum kind fault = befalls(class, name, path, what);                                                  \
        if (fails(fault)) return -1;                                                                         \
        result outcome = expression;                                                                         \
        DONE(fault, outcome);                                                                                \
    } while (0)

int fsync(int fd) {
    REAL(int, "fsync", int);
    CALL(WRITES, "fsync", SYNCS, path_of_fd(fd), int, real(fd));
}
int fdatasync(int fd) {
    REAL(int, "fdatasync", int);
    CALL(WRITES, "fdatasync", SYNCS, path_of_fd(fd), int, real(fd));
}
int sync_file_range(int fd, off64_t offset, off64_t count, unsigned flags) {
    REAL(int, "sync_file_range", int, off64_t, off64_t, unsigned);
    CALL(WRITES, "sync_file_range", 0, path_of_fd(fd), int, real(fd, offset, count, flags));
}
int ftruncate(int fd, off_t length) {
    REAL(int, "ftruncate", int, off_t);
    CALL(WRITES, "ftruncate", ALLOCATES, path_of_fd(fd), int, real(fd, length));
}
int ftruncate64(int fd, off64_t length) {
    REAL(int, "ftruncate", int, off_t);
    CALL(WRITES, "ftruncate", ALLOCATES, path_of_fd(fd), int, real(fd, length));
}
int fallocate(int fd, int mode, off_t offset, off_t length) {
    REAL(int, "fallocate", int, int, off_t, off_t);
    CALL(WRITES, "fallocate", ALLOCATES, path_of_fd(fd), int, real(fd, mode, offset, length));
}
int posix_fallocate(int fd, off_t offset, off_t length) {
    enum kind fault = befalls(WRITES, "posix_fallocate", path_of_fd(fd), ALLOCATES);
    if (fails(fault)) return errno;
    REAL(int, "posix_fallocate", int, off_t, off_t);
    int outcome = real(fd, offset, length);
    DONE(fault, outcome);
}

/* names */

int renameat(int from_dir, const char *from, int to_dir, const char *to) {
    char buffer[PATHS];
    REAL(int, "renameat", int, const char *, int, const char *);
    CALL(WRITES, "rename", 0, resolve(to_dir, to, buffer), int, real(from_dir, from, to_dir, to));
}
int rename(const char *from, const char *to) {
    return renameat(AT_FDCWD, from, AT_FDCWD, to);
}
int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    char buffer[PATHS];
    REAL(int, "renameat2", int, const char *, int, const char *, unsigned);
    CALL(WRITES, "rename", 0, resolve(to_dir, to, buffer), int, real(from_dir, from, to_dir, to, flags));
}
int unlinkat(int dir, const char *path, int flags) {
    char buffer[PATHS];
    REAL(int, "unlinkat", int, const char *, int);
    CALL(WRITES, flags & AT_REMOVEDIR ? "rmdir" : "unlink", 0, resolve(dir, path, buffer), int,
         real(dir, path, flags));
}
int unlink(const char *path) {
    return unlinkat(AT_FDCWD, path, 0);
}
int rmdir(const char *path) {
    return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}
int mkdirat(int dir, const char *path, mode_t mode) {
    char buffer[PATHS];
    REAL(int, "mkdirat", int, const char *, mode_t);
    CALL(WRITES, "mkdir", ALLOCATES, resolve(dir, path, buffer), int, real(dir, path, mode));
}
int mkdir(const char *path, mode_t mode) {
    return mkdirat(AT_FDCWD, path, mode);
}
int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags) {
    char buffer[PATHS];
    REAL(int, "linkat", int, const char *, int, const char *, int);
    CALL(WRITES, "link", ALLOCATES, resolve(to_dir, to, buffer), int, real(from_dir, from, to_dir, to, flags));
}
int link(const char *from, const char *to) {
    return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

/* reading */

#undef fread_unlocked

ssize_t read(int fd, void *bytes, size_t count) {
    REAL(ssize_t, "read", int, void *, size_t);
    CALL(READS, "read", TRANSFERS, path_of_fd(fd), ssize_t, real(fd, bytes, count));
}
ssize_t pread(int fd, void *bytes, size_t count, off_t offset) {
    REAL(ssize_t, "pread", int, void *, size_t, off_t);
    CALL(READS, "pread", TRANSFERS, path_of_fd(fd), ssize_t, real(fd, bytes, count, offset));
}
ssize_t pread64(int fd, void *bytes, size_t count, off64_t offset) {
    REAL(ssize_t, "pread", int, void *, size_t, off_t);
    CALL(READS, "pread", TRANSFERS, path_of_fd(fd), ssize_t, real(fd, bytes, count, offset));
}

static size_t streamed(void *bytes, size_t size, size_t count, FILE *file) {
    REAL(size_t, "fread", void *, size_t, size_t, FILE *);
    enum kind fault = befalls(READS, "fread", path_of_fd(fileno(file)), TRANSFERS);
    if (fails(fault)) {
        file->_flags |= 0x20; /* what ferror() looks at */
        return 0;
    }
    size_t outcome = real(bytes, size, count, file);
    DONE(fault, outcome);
}
size_t fread(void *bytes, size_t size, size_t count, FILE *file) {
    return streamed(bytes, size, count, file);
}
size_t fread_unlocked(void *bytes, size_t size, size_t count, FILE *file) {
    return streamed(bytes, size, count, file);
}

#define READDIR(name, type)                                                                                  \
    struct type *name(DIR *dir) {                                                                            \
        REAL(struct type *, #name, DIR *);                                                                   \
        enum kind fault = befalls(READS, "readdir", path_of_fd(dirfd(dir)), 0);                              \
        if (fails(fault)) return NULL;                                                                       \
        struct type *entry = real(dir);                                                                      \
        DONE(fault, entry);                                                                                  \
    }
READDIR(readdir, dirent)
READDIR(readdir64, dirent64)

/* threads */

struct thread {
    void *(*run)(void *);
    int (*run_c11)(void *);
    void *argument;
};

/* Room for one more, or NULL. */
static struct thread *take_room(struct thread wanted_thread) {
    struct thread *thread = NULL;
    if (atomic_fetch_add(&threads, 1) < most_threads) thread = malloc(sizeof *thread);
    if (thread) *thread = wanted_thread;
    else atomic_fetch_sub(&threads, 1);
    return thread;
}

static void *run_counted(void *argument) {
    struct thread thread = *(struct thread *)argument;
    free(argument);
    void *result = thread.run(thread.argument);
    atomic_fetch_sub(&threads, 1);
    return result;
}
static int run_counted_c11(void *argument) {
    struct thread thread = *(struct thread *)argument;
    free(argument);
    int result = thread.run_c11(thread.argument);
    atomic_fetch_sub(&threads, 1);
    return result;
}

int pthread_create(pthread_t *made, const pthread_attr_t *attributes, void *(*run)(void *), void *argument) {
    REAL(int, "pthread_create", pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (most_threads < 0) return real(made, attributes, run, argument);
    struct thread *thread = take_room((struct thread){run, NULL, argument});
    return thread ? real(made, attributes, run_counted, thread) : EAGAIN;
}
int thrd_create(thrd_t *made, thrd_start_t run, void *argument) {
    REAL(int, "thrd_create", thrd_t *, thrd_start_t, void *);
    if (most_threads < 0) return real(made, run, argument);
    struct thread *thread = take_room((struct thread){NULL, run, argument});
    return thread ? real(made, run_counted_c11, thread) : thrd_error;
}
