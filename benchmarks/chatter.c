/* Writes lines of progress to its standard output, RATE a second, for as long as somebody reads.
 *
 *   chatter RATE
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define PAUSE 2000000 /* nanoseconds between two bursts */

int main(int argc, char **argv) {
    long burst = argc > 1 ? atol(argv[1]) / (1000000000 / PAUSE) : 1, line = 0;
    char *text = malloc(burst * 32);
    struct timespec due;
    clock_gettime(CLOCK_MONOTONIC, &due);
    for (;;) {
        size_t length = 0, written = 0;
        for (long i = 0; i < burst; i++, line++)
            length += sprintf(text + length, "%ld.%02ld%%\n", line / 10000000 % 100,
                              line / 100000 % 100);
        while (written < length) {
            ssize_t count = write(1, text + written, length - written);
            if (count < 0) return 1;
            written += count;
        }
        if ((due.tv_nsec += PAUSE) >= 1000000000) {
            due.tv_nsec -= 1000000000;
            due.tv_sec++;
        }
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
    }
}
