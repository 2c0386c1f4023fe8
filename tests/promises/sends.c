/* Notes in DISK_LOG what a process sends over sockets, before it does: put before it, together with
 * tests/storage/disk.c, by LD_PRELOAD. A record is one of kind `a` there; its bytes are what was to
 * be sent, of which some may not have been.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int log_file = -1;
static ssize_t (*real_send)(int, const void *, size_t, int);

__attribute__((constructor)) static void begin(void) {
    const char *log = getenv("DISK_LOG");
    real_send = dlsym(RTLD_NEXT, "send");
    if (log) log_file = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

ssize_t send(int descriptor, const void *bytes, size_t length, int flags) {
    if (log_file >= 0) {
        uint64_t numbers[2] = {0, length};
        char *record = malloc(18 + length);
        record[0] = 'a';
        record[1] = 0;
        memcpy(record + 2, numbers, 16);
        memcpy(record + 18, bytes, length);
        if (write(log_file, record, 18 + length) != (ssize_t)(18 + length)) abort();
        free(record);
    }
    return real_send(descriptor, bytes, length, flags);
}
