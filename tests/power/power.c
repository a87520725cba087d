/*
 * A disk that loses what was not synced, for LD_PRELOAD.
 *
 * Bytes written to files below a directory stay in the memory of the process until fsync or
 * fdatasync of that file; kill -9 drops the rest, as a power loss would. The process itself
 * reads its newest bytes. A second function is a full disk: nothing can be created and no
 * file can grow, while what is allocated can be written.
 *
 *   POWER_DISK_DIRECTORY  the directory, absolute and without symbolic links
 *   POWER_DISK_CONTROL    a file of 3 bytes or more that the process looks at all the
 *                              time, so that its owner can change the following:
 *     byte 0  'b' keep unsynced bytes in memory; 't' let them through, as when only the
 *             process dies; 'h' keep even what is synced, as a disk that lies
 *     byte 1  'f' the disk is full
 *     byte 2  0 to 255: of 256 blocks of 4 KiB that are written, so many reach the disk at
 *             once, in no order, as the kernel might have it
 *
 * Modelled: the content and the length of files, per file, through whichever descriptor.
 * Not modelled: names. Creating, renaming and removing are durable at once, and so is the
 * truncation by O_TRUNC. Bytes written through mmap or by a direct system call would go past
 * all this; mmap of a file with unsynced bytes fails.
 */
#define _GNU_SOURCE
#undef _FILE_OFFSET_BITS
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define DESCRIPTORS_MAX 65536
#define BUCKETS 1024
#define BLOCK_BYTES 4096

/* A write, or the setting of a length when there are no bytes. */
struct change {
    struct change *next;
    off_t offset;
    size_t length, room;
    char *bytes;
};

struct file {
    struct file *next;
    dev_t device;
    ino_t inode;
    pthread_mutex_t lock;
    struct change *first, *last;
    /* As the process sees it; only meaningful while there are changes. */
    off_t length;
};

static struct file *buckets[BUCKETS];
static struct file *descriptors[DESCRIPTORS_MAX];
static pthread_mutex_t table = PTHREAD_MUTEX_INITIALIZER;
static char directory[PATH_MAX];
static size_t directory_length;
static volatile unsigned char defaults[3] = {'b', 0, 0};
static volatile unsigned char *control = defaults;
static uint64_t noise = 88172645463325252ull;

#define REAL(result, name, ...)                                                      \
    static result (*name##_found)(__VA_ARGS__);                                      \
    static result (*name##_real(void))(__VA_ARGS__) {                                \
        if (!name##_found) *(void **)&name##_found = dlsym(RTLD_NEXT, #name);        \
        return name##_found;                                                         \
    }

REAL(int, open64, const char *, int, ...)
REAL(int, openat64, int, const char *, int, ...)
REAL(int, close, int)
REAL(int, dup, int)
REAL(int, dup2, int, int)
REAL(int, dup3, int, int, int)
REAL(int, fcntl64, int, int, ...)
REAL(ssize_t, read, int, void *, size_t)
REAL(ssize_t, write, int, const void *, size_t)
REAL(ssize_t, pread64, int, void *, size_t, off_t)
REAL(ssize_t, pwrite64, int, const void *, size_t, off_t)
REAL(ssize_t, readv, int, const struct iovec *, int)
REAL(ssize_t, writev, int, const struct iovec *, int)
REAL(ssize_t, preadv64, int, const struct iovec *, int, off_t)
REAL(ssize_t, pwritev64, int, const struct iovec *, int, off_t)
REAL(off_t, lseek64, int, off_t, int)
REAL(int, ftruncate64, int, off_t)
REAL(int, fallocate64, int, int, off_t, off_t)
REAL(int, fsync, int)
REAL(int, fdatasync, int)
REAL(int, fstat64, int, struct stat64 *)
REAL(int, stat64, const char *, struct stat64 *)
REAL(int, lstat64, const char *, struct stat64 *)
REAL(int, fstatat64, int, const char *, struct stat64 *, int)
REAL(int, statx, int, const char *, int, unsigned, struct statx *)
REAL(void *, mmap64, void *, size_t, int, int, int, off_t)
REAL(ssize_t, copy_file_range, int, off_t *, int, off_t *, size_t, unsigned)
REAL(ssize_t, sendfile64, int, int, off_t *, size_t)

__attribute__((constructor)) static void start(void) {
    const char *below = getenv("POWER_DISK_DIRECTORY");
    const char *path = getenv("POWER_DISK_CONTROL");
    if (below && strlen(below) < sizeof directory) {
        strcpy(directory, below);
        directory_length = strlen(directory);
    }
    noise ^= (uint64_t)getpid() * 0x9e3779b97f4a7c15ull;
    if (!path) return;
    int descriptor = open64_real()(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return;
    void *mapped = mmap64_real()(0, sizeof defaults, PROT_READ, MAP_SHARED, descriptor, 0);
    if (mapped != MAP_FAILED) control = mapped;
    close_real()(descriptor);
}

static int is_full(void) { return control[1] == 'f'; }

static struct file *lookup(dev_t device, ino_t inode, int make) {
    struct file **bucket = &buckets[(inode ^ device) % BUCKETS];
    pthread_mutex_lock(&table);
    struct file *file = *bucket;
    while (file && (file->inode != inode || file->device != device)) file = file->next;
    if (!file && make) {
        file = calloc(1, sizeof *file);
        if (!file) abort();
        file->device = device;
        file->inode = inode;
        pthread_mutex_init(&file->lock, 0);
        file->next = *bucket;
        *bucket = file;
    }
    pthread_mutex_unlock(&table);
    return file;
}

/* Files are never freed: there are few, and a descriptor may still name them. */
static struct file *file_of(int descriptor) {
    if (descriptor < 0 || descriptor >= DESCRIPTORS_MAX) return 0;
    return __atomic_load_n(&descriptors[descriptor], __ATOMIC_ACQUIRE);
}

static void set_file(int descriptor, struct file *file) {
    if (descriptor >= 0 && descriptor < DESCRIPTORS_MAX)
        __atomic_store_n(&descriptors[descriptor], file, __ATOMIC_RELEASE);
}

static void forget(struct file *file) {
    while (file->first) {
        struct change *change = file->first;
        file->first = change->next;
        free(change->bytes);
        free(change);
    }
    file->last = 0;
}

static off_t length_on_disk(int descriptor) {
    struct stat64 found;
    return fstat64_real()(descriptor, &found) == 0 ? found.st_size : 0;
}

static off_t length_of(struct file *file, int descriptor) {
    return file->first ? file->length : length_on_disk(descriptor);
}

static struct change *append(struct file *file, off_t offset, size_t room) {
    struct change *change = calloc(1, sizeof *change);
    if (!change) abort();
    change->offset = offset;
    change->room = room;
    if (room && !(change->bytes = malloc(room))) abort();
    if (file->last) file->last->next = change;
    else file->first = change;
    file->last = change;
    return change;
}

/* Writes what is pending to the file. The lock is held. */
static int settle(struct file *file, int descriptor) {
    int writable = descriptor, failed = 0;
    if (control[0] == 'h') return 0;
    if ((fcntl64_real()(descriptor, F_GETFL) & O_ACCMODE) == O_RDONLY && file->first) {
        char path[64];
        snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
        writable = open64_real()(path, O_WRONLY | O_CLOEXEC);
        if (writable < 0) return -1;
    }
    for (struct change *change = file->first; change && !failed; change = change->next) {
        if (!change->bytes) {
            failed = ftruncate64_real()(writable, change->offset);
            continue;
        }
        for (size_t done = 0; done < change->length && !failed;) {
            ssize_t written = pwrite64_real()(writable, change->bytes + done,
                                              change->length - done, change->offset + done);
            if (written < 0 && errno != EINTR) failed = -1;
            if (written > 0) done += written;
        }
    }
    if (!failed) forget(file);
    if (writable != descriptor) close_real()(writable);
    return failed;
}

/* Some blocks reach the disk before anybody asks for it. */
static void leak(int descriptor, const char *bytes, size_t length, off_t offset) {
    for (size_t done = 0; control[2] && done < length;) {
        size_t portion = BLOCK_BYTES - (offset + done) % BLOCK_BYTES;
        if (portion > length - done) portion = length - done;
        noise ^= noise << 13, noise ^= noise >> 7, noise ^= noise << 17;
        if ((noise >> 32 & 255) < control[2])
            (void)!pwrite64_real()(descriptor, bytes + done, portion, offset + done);
        done += portion;
    }
}

/* The lock is held. */
static ssize_t put(struct file *file, int descriptor, const char *bytes, size_t length,
                   off_t offset) {
    if (length == 0) return 0;
    if (is_full() && offset + (off_t)length > length_on_disk(descriptor)) {
        errno = ENOSPC;
        return -1;
    }
    if (control[0] == 't') {
        if (settle(file, descriptor)) return -1;
        return pwrite64_real()(descriptor, bytes, length, offset);
    }
    off_t before = length_of(file, descriptor);
    leak(descriptor, bytes, length, offset);
    struct change *last = file->last;
    int joins = last && last->bytes && offset >= last->offset &&
                offset <= last->offset + (off_t)last->length;
    if (!joins) last = append(file, offset, length);
    size_t at = offset - last->offset;
    if (at + length > last->room) {
        last->room = 2 * (at + length);
        if (!(last->bytes = realloc(last->bytes, last->room))) abort();
    }
    memcpy(last->bytes + at, bytes, length);
    if (at + length > last->length) last->length = at + length;
    off_t end = offset + (off_t)length;
    file->length = end > before ? end : before;
    return length;
}

/* The lock is held. */
static ssize_t get(struct file *file, int descriptor, char *bytes, size_t length, off_t offset) {
    if (!file->first) return pread64_real()(descriptor, bytes, length, offset);
    if (offset >= file->length) return 0;
    if (length > (size_t)(file->length - offset)) length = file->length - offset;
    size_t filled = 0;
    while (filled < length) {
        ssize_t count =
            pread64_real()(descriptor, bytes + filled, length - filled, offset + filled);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return -1;
        if (count == 0) break;
        filled += count;
    }
    memset(bytes + filled, 0, length - filled);
    off_t end = offset + (off_t)length;
    for (struct change *change = file->first; change; change = change->next) {
        off_t from = change->offset, to = from + (off_t)change->length;
        if (!change->bytes) {
            if (from < end) {
                off_t cut = from > offset ? from : offset;
                memset(bytes + (cut - offset), 0, end - cut);
            }
            continue;
        }
        if (from < offset) from = offset;
        if (to > end) to = end;
        if (from < to)
            memcpy(bytes + (from - offset), change->bytes + (from - change->offset), to - from);
    }
    return length;
}

/* Descriptors. */

static int exists(int at, const char *path) {
    struct stat64 found;
    return fstatat64_real()(at, path, &found, 0) == 0;
}

static int starts_below(const char *path) {
    return directory_length && strncmp(path, directory, directory_length) == 0 &&
           (path[directory_length] == '/' || path[directory_length] == 0);
}

static int path_of(int descriptor, char *path, size_t room) {
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(name, path, room - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return 1;
}

static void opened(int descriptor, int flags, int is_new) {
    char path[PATH_MAX];
    struct stat64 found;
    if (descriptor < 0 || !directory_length) return;
    set_file(descriptor, 0);
    if (fstat64_real()(descriptor, &found) || !S_ISREG(found.st_mode)) return;
    if (!path_of(descriptor, path, sizeof path) || !starts_below(path)) return;
    struct file *file = lookup(found.st_dev, found.st_ino, 1);
    if (is_new || (flags & O_TRUNC)) {
        /* An inode that is used again, or a truncation. */
        pthread_mutex_lock(&file->lock);
        forget(file);
        pthread_mutex_unlock(&file->lock);
    }
    set_file(descriptor, file);
}

/* The path of a file that open would make, when it is below the directory. */
static int is_refused(int at, const char *path, int flags, int is_new) {
    if (!(flags & O_CREAT) || !is_new || !is_full()) return 0;
    if (path[0] == '/') return starts_below(path);
    char below[PATH_MAX];
    if (at == AT_FDCWD) return getcwd(below, sizeof below) && starts_below(below);
    return path_of(at, below, sizeof below) && starts_below(below);
}

int openat64(int at, const char *path, int flags, ...) {
    mode_t mode = 0;
    if (flags & (O_CREAT | O_TMPFILE)) {
        va_list rest;
        va_start(rest, flags);
        mode = va_arg(rest, mode_t);
        va_end(rest);
    }
    int is_new = directory_length && (flags & O_CREAT) && !exists(at, path);
    if (is_refused(at, path, flags, is_new)) {
        errno = ENOSPC;
        return -1;
    }
    int descriptor = openat64_real()(at, path, flags, mode);
    opened(descriptor, flags, is_new);
    return descriptor;
}

static int open_any(const char *path, int flags, mode_t mode) {
    return openat64(AT_FDCWD, path, flags, mode);
}

#define MODE                                  \
    mode_t mode = 0;                          \
    if (flags & (O_CREAT | O_TMPFILE)) {      \
        va_list rest;                         \
        va_start(rest, flags);                \
        mode = va_arg(rest, mode_t);          \
        va_end(rest);                         \
    }

int open(const char *path, int flags, ...) {
    MODE return open_any(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    MODE return open_any(path, flags, mode);
}
int openat(int at, const char *path, int flags, ...) {
    MODE return openat64(at, path, flags, mode);
}
int creat(const char *path, mode_t mode) {
    return open_any(path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}
int creat64(const char *path, mode_t mode) { return creat(path, mode); }

int close(int descriptor) {
    set_file(descriptor, 0);
    return close_real()(descriptor);
}

static int copied(int from, int to) {
    if (to >= 0) set_file(to, file_of(from));
    return to;
}

int dup(int descriptor) { return copied(descriptor, dup_real()(descriptor)); }
int dup2(int from, int to) { return copied(from, dup2_real()(from, to)); }
int dup3(int from, int to, int flags) { return copied(from, dup3_real()(from, to, flags)); }

int fcntl64(int descriptor, int command, ...) {
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    int result = fcntl64_real()(descriptor, command, argument);
    if (command == F_DUPFD || command == F_DUPFD_CLOEXEC) copied(descriptor, result);
    return result;
}

int fcntl(int descriptor, int command, ...) {
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    return fcntl64(descriptor, command, argument);
}

/* Reading and writing. */

ssize_t pwrite64(int descriptor, const void *bytes, size_t length, off_t offset) {
    struct file *file = file_of(descriptor);
    if (!file) return pwrite64_real()(descriptor, bytes, length, offset);
    pthread_mutex_lock(&file->lock);
    ssize_t result = put(file, descriptor, bytes, length, offset);
    pthread_mutex_unlock(&file->lock);
    return result;
}
ssize_t pwrite(int descriptor, const void *bytes, size_t length, off_t offset) {
    return pwrite64(descriptor, bytes, length, offset);
}

ssize_t write(int descriptor, const void *bytes, size_t length) {
    struct file *file = file_of(descriptor);
    if (!file) return write_real()(descriptor, bytes, length);
    pthread_mutex_lock(&file->lock);
    off_t offset = fcntl64_real()(descriptor, F_GETFL) & O_APPEND
                       ? length_of(file, descriptor)
                       : lseek64_real()(descriptor, 0, SEEK_CUR);
    ssize_t result = put(file, descriptor, bytes, length, offset);
    if (result > 0) lseek64_real()(descriptor, offset + result, SEEK_SET);
    pthread_mutex_unlock(&file->lock);
    return result;
}

ssize_t pread64(int descriptor, void *bytes, size_t length, off_t offset) {
    struct file *file = file_of(descriptor);
    if (!file) return pread64_real()(descriptor, bytes, length, offset);
    pthread_mutex_lock(&file->lock);
    ssize_t result = get(file, descriptor, bytes, length, offset);
    pthread_mutex_unlock(&file->lock);
    return result;
}
ssize_t pread(int descriptor, void *bytes, size_t length, off_t offset) {
    return pread64(descriptor, bytes, length, offset);
}

ssize_t read(int descriptor, void *bytes, size_t length) {
    struct file *file = file_of(descriptor);
    if (!file) return read_real()(descriptor, bytes, length);
    pthread_mutex_lock(&file->lock);
    off_t offset = lseek64_real()(descriptor, 0, SEEK_CUR);
    ssize_t result = get(file, descriptor, bytes, length, offset);
    if (result > 0) lseek64_real()(descriptor, offset + result, SEEK_SET);
    pthread_mutex_unlock(&file->lock);
    return result;
}

/* The first buffer with anything in it: a short count, which callers have to expect. */
static const struct iovec *filled(const struct iovec *buffers, int count) {
    while (count > 1 && buffers->iov_len == 0) buffers++, count--;
    return buffers;
}

ssize_t writev(int descriptor, const struct iovec *buffers, int count) {
    if (!file_of(descriptor) || count < 1) return writev_real()(descriptor, buffers, count);
    buffers = filled(buffers, count);
    return write(descriptor, buffers->iov_base, buffers->iov_len);
}
ssize_t readv(int descriptor, const struct iovec *buffers, int count) {
    if (!file_of(descriptor) || count < 1) return readv_real()(descriptor, buffers, count);
    buffers = filled(buffers, count);
    return read(descriptor, buffers->iov_base, buffers->iov_len);
}
ssize_t pwritev64(int descriptor, const struct iovec *buffers, int count, off_t offset) {
    if (!file_of(descriptor) || count < 1)
        return pwritev64_real()(descriptor, buffers, count, offset);
    buffers = filled(buffers, count);
    return pwrite64(descriptor, buffers->iov_base, buffers->iov_len, offset);
}
ssize_t pwritev(int descriptor, const struct iovec *buffers, int count, off_t offset) {
    return pwritev64(descriptor, buffers, count, offset);
}
ssize_t preadv64(int descriptor, const struct iovec *buffers, int count, off_t offset) {
    if (!file_of(descriptor) || count < 1)
        return preadv64_real()(descriptor, buffers, count, offset);
    buffers = filled(buffers, count);
    return pread64(descriptor, buffers->iov_base, buffers->iov_len, offset);
}
ssize_t preadv(int descriptor, const struct iovec *buffers, int count, off_t offset) {
    return preadv64(descriptor, buffers, count, offset);
}

off_t lseek64(int descriptor, off_t offset, int whence) {
    struct file *file = file_of(descriptor);
    if (file && whence == SEEK_END) {
        pthread_mutex_lock(&file->lock);
        offset += length_of(file, descriptor);
        pthread_mutex_unlock(&file->lock);
        whence = SEEK_SET;
    }
    return lseek64_real()(descriptor, offset, whence);
}
off_t lseek(int descriptor, off_t offset, int whence) {
    return lseek64(descriptor, offset, whence);
}

int ftruncate64(int descriptor, off_t length) {
    struct file *file = file_of(descriptor);
    if (!file) return ftruncate64_real()(descriptor, length);
    int failed = 0;
    pthread_mutex_lock(&file->lock);
    if (is_full() && length > length_on_disk(descriptor)) {
        errno = ENOSPC;
        failed = -1;
    } else if (control[0] == 't') {
        failed = settle(file, descriptor) || ftruncate64_real()(descriptor, length) ? -1 : 0;
    } else {
        append(file, length, 0);
        file->length = length;
    }
    pthread_mutex_unlock(&file->lock);
    return failed;
}
int ftruncate(int descriptor, off_t length) { return ftruncate64(descriptor, length); }

int fallocate64(int descriptor, int mode, off_t offset, off_t length) {
    struct file *file = file_of(descriptor);
    if (file && is_full()) {
        errno = ENOSPC;
        return -1;
    }
    if (file) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return fallocate64_real()(descriptor, mode, offset, length);
}
int fallocate(int descriptor, int mode, off_t offset, off_t length) {
    return fallocate64(descriptor, mode, offset, length);
}

/* Syncing. */

static int settle_first(int descriptor) {
    struct file *file = file_of(descriptor);
    if (!file) return 0;
    pthread_mutex_lock(&file->lock);
    int failed = settle(file, descriptor);
    pthread_mutex_unlock(&file->lock);
    return failed;
}

int fsync(int descriptor) {
    return settle_first(descriptor) ? -1 : fsync_real()(descriptor);
}
int fdatasync(int descriptor) {
    return settle_first(descriptor) ? -1 : fdatasync_real()(descriptor);
}

/* Lengths, as the process sees them. */

static void correct(struct stat64 *found) {
    if (!directory_length || !S_ISREG(found->st_mode)) return;
    struct file *file = lookup(found->st_dev, found->st_ino, 0);
    if (!file) return;
    pthread_mutex_lock(&file->lock);
    if (file->first) found->st_size = file->length;
    pthread_mutex_unlock(&file->lock);
}

#define CORRECTED(call)             \
    int failed = call;              \
    if (!failed) correct(found);    \
    return failed;

int fstat64(int descriptor, struct stat64 *found) {
    CORRECTED(fstat64_real()(descriptor, found))
}
int stat64(const char *path, struct stat64 *found) { CORRECTED(stat64_real()(path, found)) }
int lstat64(const char *path, struct stat64 *found) { CORRECTED(lstat64_real()(path, found)) }
int fstatat64(int at, const char *path, struct stat64 *found, int flags) {
    CORRECTED(fstatat64_real()(at, path, found, flags))
}
/* On 64-bit systems both are the same. */
int fstat(int descriptor, struct stat *found) {
    return fstat64(descriptor, (struct stat64 *)found);
}
int stat(const char *path, struct stat *found) { return stat64(path, (struct stat64 *)found); }
int lstat(const char *path, struct stat *found) { return lstat64(path, (struct stat64 *)found); }
int fstatat(int at, const char *path, struct stat *found, int flags) {
    return fstatat64(at, path, (struct stat64 *)found, flags);
}

int statx(int at, const char *path, int flags, unsigned mask, struct statx *found) {
    int failed = statx_real()(at, path, flags, mask | STATX_INO | STATX_TYPE, found);
    if (failed || !directory_length || !S_ISREG(found->stx_mode)) return failed;
    dev_t device = makedev(found->stx_dev_major, found->stx_dev_minor);
    struct file *file = lookup(device, found->stx_ino, 0);
    if (!file) return 0;
    pthread_mutex_lock(&file->lock);
    if (file->first) found->stx_size = file->length;
    pthread_mutex_unlock(&file->lock);
    return 0;
}

/* Ways around: the caller has to take the plain one. */

void *mmap64(void *at, size_t length, int protection, int flags, int descriptor, off_t offset) {
    struct file *file = flags & MAP_ANONYMOUS ? 0 : file_of(descriptor);
    if (file && (file->first || (protection & PROT_WRITE && flags & MAP_SHARED))) {
        errno = ENODEV;
        return MAP_FAILED;
    }
    return mmap64_real()(at, length, protection, flags, descriptor, offset);
}

ssize_t copy_file_range(int from, off_t *from_at, int to, off_t *to_at, size_t length,
                        unsigned flags) {
    if (file_of(from) || file_of(to)) {
        errno = EINVAL;
        return -1;
    }
    return copy_file_range_real()(from, from_at, to, to_at, length, flags);
}

ssize_t sendfile64(int to, int from, off_t *at, size_t length) {
    if (file_of(from) || file_of(to)) {
        errno = EINVAL;
        return -1;
    }
    return sendfile64_real()(to, from, at, length);
}
