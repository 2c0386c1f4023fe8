/* A disk that fails, and one that is remembered: put before a process by LD_PRELOAD.
 *
 * It counts the writes, truncations and syncs of files whose names begin with DISK_PREFIX.
 * `disk_arm` lets some of them fail: with EIO, or, where all do from then on, with ENOSPC; a write
 * that fails has written half of its bytes. DISK_LOG names a file that gets each of them that
 * succeeded, in their order, and what is written to standard output between them:
 *     kind (1 byte: w, t, s; a is standard output), name's length (1 byte), the name behind the
 *     prefix, offset (8 bytes), length (8 bytes), bytes (of w and a)
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static const char *prefix;
static long fail_at, count;
static int forever, log_file = -1;
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_write)(int, const void *, size_t);
static int (*real_ftruncate)(int, off_t);
static int (*real_fsync)(int), (*real_fdatasync)(int);

__attribute__((constructor)) static void begin(void) {
    const char *log = getenv("DISK_LOG");
    prefix = getenv("DISK_PREFIX");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_write = dlsym(RTLD_NEXT, "write");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    if (log) log_file = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

/* Let the n-th of them from now on fail, or all from the n-th on; none where n is 0. */
void disk_arm(long number, int all) {
    count = 0;
    forever = all;
    fail_at = number;
}

/* How many there were since `disk_arm`. */
long disk_count(void) { return count; }

/* The name behind the prefix, or NULL where the file is not one of those. */
static const char *name_of(int descriptor, char *buffer, size_t size) {
    char link[64];
    if (!prefix) return NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, buffer, size - 1);
    if (length < 0) return NULL;
    buffer[length] = 0;
    size_t skipped = strlen(prefix);
    return strncmp(buffer, prefix, skipped) ? NULL : buffer + skipped;
}

static int fails(void) {
    long number = __sync_add_and_fetch(&count, 1);
    return fail_at && (forever ? number >= fail_at : number == fail_at);
}

static void say(char kind, const char *name, uint64_t offset, uint64_t length, const void *bytes) {
    if (log_file < 0) return;
    size_t name_length = strlen(name), stored = bytes ? length : 0;
    char *record = malloc(18 + name_length + stored);
    record[0] = kind;
    record[1] = (char)name_length;
    memcpy(record + 2, name, name_length);
    memcpy(record + 2 + name_length, &offset, 8);
    memcpy(record + 10 + name_length, &length, 8);
    if (stored) memcpy(record + 18 + name_length, bytes, stored);
    real_write(log_file, record, 18 + name_length + stored);
    free(record);
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t length, off_t offset) {
    char buffer[4096];
    const char *name = name_of(descriptor, buffer, sizeof buffer);
    if (name && fails()) {
        real_pwrite(descriptor, bytes, length / 2, offset);
        errno = forever ? ENOSPC : EIO;
        return -1;
    }
    ssize_t written = real_pwrite(descriptor, bytes, length, offset);
    if (name && written > 0) say('w', name, offset, written, bytes);
    return written;
}

ssize_t pwrite(int descriptor, const void *bytes, size_t length, off_t offset) {
    return pwrite64(descriptor, bytes, length, offset);
}

ssize_t write(int descriptor, const void *bytes, size_t length) {
    if (descriptor == 1 && log_file >= 0) say('a', "", 0, length, bytes);
    return real_write(descriptor, bytes, length);
}

int ftruncate64(int descriptor, off_t length) {
    char buffer[4096];
    const char *name = name_of(descriptor, buffer, sizeof buffer);
    if (name && fails()) {
        errno = EIO;
        return -1;
    }
    int failed = real_ftruncate(descriptor, length);
    if (name && !failed) say('t', name, 0, length, NULL);
    return failed;
}

int ftruncate(int descriptor, off_t length) { return ftruncate64(descriptor, length); }

static int synced(int descriptor, int (*real)(int)) {
    char buffer[4096];
    const char *name = name_of(descriptor, buffer, sizeof buffer);
    if (name && fails()) {
        errno = EIO;
        return -1;
    }
    int failed = real(descriptor);
    if (name && !failed) say('s', name, 0, 0, NULL);
    return failed;
}

int fsync(int descriptor) { return synced(descriptor, real_fsync); }
int fdatasync(int descriptor) { return synced(descriptor, real_fdatasync); }
