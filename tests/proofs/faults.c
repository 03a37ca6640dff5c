/* Counts every call that changes the file system below one folder, over all processes of a run, and at the n-th does as
   it was told: fails it, or ends the run there; or writes down what each call did, for a disk to be played back.

   Loaded by LD_PRELOAD, so that it sees what the C library is asked for, whoever asks. It obeys the environment:

   FAULTS_FOLDER  the folder; nothing is done without it
   FAULTS_STATE   a file of two integers: the calls so far, the attempts at a network so far
   FAULTS_AT      the number of the call, from 1
   FAULTS_DO      kill: end the process group before it; after: after it; torn: in the middle, if it is a write;
                  a number: fail it with that errno; with a + behind it: and all that follow that need the disk
                  (of a disk that became read-only: all that follow)
   FAULTS_LOG     a file to append what is done to: see `note`
   FAULTS_NET     if set: no network; sockets of the internet families and looking up names fail

   faults_arm() reads them again, after a fork. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FAILED, CREATE, WRITE, TRUNCATE, SYNC, RENAME, MKDIR, UNLINK, RMDIR, OTHER };

static char folder[PATH_MAX];
static long at;
static const char *todo = "";
static int log_handle = -1, no_network;
static struct { long calls, network; } *state;

void faults_arm(void) {
    const char *name = getenv("FAULTS_FOLDER"), *path = getenv("FAULTS_STATE"), *file = getenv("FAULTS_LOG");
    folder[0] = 0;
    no_network = getenv("FAULTS_NET") != NULL;
    if (path) {
        int handle = syscall(SYS_openat, AT_FDCWD, path, O_RDWR, 0);
        state = mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, handle, 0);
        close(handle);
        if (state == MAP_FAILED) abort();
    }
    at = getenv("FAULTS_AT") ? atol(getenv("FAULTS_AT")) : 0;
    todo = getenv("FAULTS_DO") ? strdup(getenv("FAULTS_DO")) : "";
    log_handle = file ? syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_APPEND | O_CLOEXEC, 0) : -1;
    if (name && state) snprintf(folder, sizeof folder, "%s", name);
}

__attribute__((constructor)) static void begin(void) { faults_arm(); }

/* The real function behind a name. */
#define REAL(name) ({ static __typeof__(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name); real; })

static int below(const char *path) {
    size_t length = strlen(folder);
    return length && strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static void of_handle(int handle, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = 0;
}

/* A path as seen from a folder's handle, absolute. */
static void from(int handle, const char *name, char *path) {
    if (name[0] == '/') {
        snprintf(path, PATH_MAX, "%s", name);
        return;
    }
    if (handle == AT_FDCWD) {
        if (!getcwd(path, PATH_MAX)) path[0] = 0;
    } else of_handle(handle, path);
    size_t length = strlen(path);
    snprintf(path + length, PATH_MAX - length, "/%s", name);
}

static int quiet(void) { return !folder[0]; }

/* A record: seven integers (what, process, offset, length of the data, of the path, of the second one, 0) and the three. */
static void note(int what, const char *path, const char *second, long offset, const void *data, size_t length) {
    if (log_handle < 0) return;
    int kept = errno;
    long head[7] = {what, getpid(), offset, length, strlen(path), strlen(second), 0};
    struct iovec parts[4] = {{head, sizeof head}, {(void *)path, head[4]}, {(void *)second, head[5]}, {(void *)data, length}};
    if (syscall(SYS_writev, log_handle, parts, 4) < 0) abort();
    errno = kept;
}

/* Count a call and do what is to be done before it: 0, or the errno that it fails with. `grows`: it needs the disk. */
static int step(int grows, int *last) {
    long number = __sync_add_and_fetch(&state->calls, 1);
    *last = at && number == at;
    int is_kill = todo[0] == 'k' || todo[0] == 'a' || todo[0] == 't';
    if (*last && todo[0] == 'k') kill(0, SIGKILL);
    if (is_kill || !at) return 0;
    int sticky = strchr(todo, '+') != NULL;
    int wrong = atoi(todo);
    return *last || (sticky && number > at && (grows || wrong == EROFS)) ? wrong : 0;
}

static void over(int last) { if (last && (todo[0] == 'a' || todo[0] == 't')) kill(0, SIGKILL); }

/* Around a call on paths or handles that is below the folder. */
#define AROUND(grows, failed, call, ...) do { \
        int last, wrong = step(grows, &last); \
        if (wrong) { errno = wrong; return failed; } \
        __typeof__(call) result = (call); \
        if (result != failed) { __VA_ARGS__; } else note(FAILED, path, "", 0, "", 0); \
        over(last); \
        return result; \
    } while (0)

static int opened(int (*real)(int, const char *, int, ...), int handle, const char *name, int flags, mode_t mode) {
    char path[PATH_MAX];
    if (quiet() || !(flags & (O_CREAT | O_TRUNC))) return real(handle, name, flags, mode);
    from(handle, name, path);
    if (!below(path)) return real(handle, name, flags, mode);
    struct stat status;
    int there = syscall(SYS_newfstatat, AT_FDCWD, path, &status, 0) == 0;
    if (there && !(flags & O_TRUNC)) return real(handle, name, flags, mode);
    AROUND(1, -1, real(handle, name, flags, mode), note(there ? TRUNCATE : CREATE, path, "", 0, "", 0));
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        va_list more; va_start(more, flags); mode_t mode = va_arg(more, int); va_end(more); \
        return opened(REAL(openat), AT_FDCWD, path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int handle, const char *path, int flags, ...) { \
        va_list more; va_start(more, flags); mode_t mode = va_arg(more, int); va_end(more); \
        return opened(REAL(name), handle, path, flags, mode); \
    }
OPENAT(openat)
OPENAT(openat64)

static ssize_t written(int handle, const void *data, size_t length, off_t offset, int moves) {
    char path[PATH_MAX];
    if (!quiet() && handle != log_handle) of_handle(handle, path);
    if (quiet() || handle == log_handle || !below(path))
        return moves ? REAL(write)(handle, data, length) : REAL(pwrite)(handle, data, length, offset);
    int last, wrong = step(1, &last);
    if (wrong) { errno = wrong; return -1; }
    if (last && todo[0] == 't') length = (length + 1) / 2;
    if (moves) {
        struct stat status;
        int flags = fcntl(handle, F_GETFL);
        offset = flags & O_APPEND ? (fstat(handle, &status), status.st_size) : lseek(handle, 0, SEEK_CUR);
    }
    ssize_t result = moves ? REAL(write)(handle, data, length) : REAL(pwrite)(handle, data, length, offset);
    note(result > 0 ? WRITE : FAILED, path, "", offset, data, result > 0 ? result : 0);
    over(last);
    return result;
}

ssize_t write(int handle, const void *data, size_t length) { return written(handle, data, length, 0, 1); }
ssize_t pwrite(int handle, const void *data, size_t length, off_t offset) { return written(handle, data, length, offset, 0); }
ssize_t pwrite64(int handle, const void *data, size_t length, off64_t offset) { return written(handle, data, length, offset, 0); }

ssize_t writev(int handle, const struct iovec *parts, int count) {
    for (int n = 0; n < count; n++) /* a short write, which callers must be ready for */
        if (parts[n].iov_len) return written(handle, parts[n].iov_base, parts[n].iov_len, 0, 1);
    return 0;
}

#define ON_HANDLE(declared, grows, call, ...) \
    declared { \
        char path[PATH_MAX]; \
        if (quiet()) return call; \
        of_handle(handle, path); \
        if (!below(path)) return call; \
        AROUND(grows, -1, call, __VA_ARGS__); \
    }
ON_HANDLE(int ftruncate(int handle, off_t length), 1, REAL(ftruncate)(handle, length), note(TRUNCATE, path, "", length, "", 0))
ON_HANDLE(int ftruncate64(int handle, off64_t length), 1, REAL(ftruncate64)(handle, length), note(TRUNCATE, path, "", length, "", 0))
ON_HANDLE(int fsync(int handle), 1, REAL(fsync)(handle), note(SYNC, path, "", 0, "", 0))
ON_HANDLE(int fdatasync(int handle), 1, REAL(fdatasync)(handle), note(SYNC, path, "", 0, "", 0))
ON_HANDLE(int fallocate(int handle, int mode, off_t offset, off_t length), 1, REAL(fallocate)(handle, mode, offset, length), note(OTHER, path, "", 0, "", 0))
ON_HANDLE(int posix_fallocate(int handle, off_t offset, off_t length), 1, REAL(posix_fallocate)(handle, offset, length), note(OTHER, path, "", 0, "", 0))
ON_HANDLE(ssize_t copy_file_range(int in, off64_t *from_offset, int handle, off64_t *offset, size_t length, unsigned flags), 1, REAL(copy_file_range)(in, from_offset, handle, offset, length, flags), note(OTHER, path, "", 0, "", 0))
ON_HANDLE(ssize_t sendfile(int handle, int in, off_t *offset, size_t length), 1, REAL(sendfile)(handle, in, offset, length), note(OTHER, path, "", 0, "", 0))
ON_HANDLE(ssize_t sendfile64(int handle, int in, off64_t *offset, size_t length), 1, REAL(sendfile64)(handle, in, offset, length), note(OTHER, path, "", 0, "", 0))

#define ON_PATH(declared, folder_handle, grows, call, ...) \
    declared { \
        char path[PATH_MAX]; \
        if (quiet()) return call; \
        from(folder_handle, name, path); \
        if (!below(path)) return call; \
        AROUND(grows, -1, call, __VA_ARGS__); \
    }
ON_PATH(int mkdir(const char *name, mode_t mode), AT_FDCWD, 1, REAL(mkdir)(name, mode), note(MKDIR, path, "", 0, "", 0))
ON_PATH(int mkdirat(int handle, const char *name, mode_t mode), handle, 1, REAL(mkdirat)(handle, name, mode), note(MKDIR, path, "", 0, "", 0))
ON_PATH(int unlink(const char *name), AT_FDCWD, 0, REAL(unlink)(name), note(UNLINK, path, "", 0, "", 0))
ON_PATH(int unlinkat(int handle, const char *name, int flags), handle, 0, REAL(unlinkat)(handle, name, flags), note(flags & AT_REMOVEDIR ? RMDIR : UNLINK, path, "", 0, "", 0))
ON_PATH(int rmdir(const char *name), AT_FDCWD, 0, REAL(rmdir)(name), note(RMDIR, path, "", 0, "", 0))
ON_PATH(int truncate(const char *name, off_t length), AT_FDCWD, 1, REAL(truncate)(name, length), note(TRUNCATE, path, "", length, "", 0))
ON_PATH(int symlink(const char *target, const char *name), AT_FDCWD, 1, REAL(symlink)(target, name), note(OTHER, path, "", 0, "", 0))
ON_PATH(int link(const char *target, const char *name), AT_FDCWD, 1, REAL(link)(target, name), note(OTHER, path, "", 0, "", 0))

#define ON_TWO(declared, first_handle, second_handle, call) \
    declared { \
        char path[PATH_MAX], second[PATH_MAX]; \
        if (quiet()) return call; \
        from(first_handle, name, path); \
        from(second_handle, other, second); \
        if (!below(path) && !below(second)) return call; \
        AROUND(1, -1, call, note(RENAME, path, second, 0, "", 0)); \
    }
ON_TWO(int rename(const char *name, const char *other), AT_FDCWD, AT_FDCWD, REAL(rename)(name, other))
ON_TWO(int renameat(int a, const char *name, int b, const char *other), a, b, REAL(renameat)(a, name, b, other))
ON_TWO(int renameat2(int a, const char *name, int b, const char *other, unsigned flags), a, b, REAL(renameat2)(a, name, b, other, flags))

int socket(int domain, int type, int protocol) {
    if (no_network && (domain == AF_INET || domain == AF_INET6)) {
        if (state) __sync_add_and_fetch(&state->network, 1);
        errno = EACCES;
        return -1;
    }
    return REAL(socket)(domain, type, protocol);
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    if (no_network) {
        if (state) __sync_add_and_fetch(&state->network, 1);
        return EAI_FAIL;
    }
    return REAL(getaddrinfo)(name, service, hints, found);
}
