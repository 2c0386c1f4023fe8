/* A closed-loop load generator for servers that answer each request with one line.
 *
 *   load HOST PORT CLIENTS DEPTH SECONDS MOST EVERY EXPECTED <request
 *
 * CLIENTS connections to HOST (an IPv4 address) keep DEPTH copies of the request in flight each,
 * for SECONDS, or until MOST of them were answered (0: no such limit). With EVERY above 0 the first
 * connection sends one request each EVERY microseconds instead; one that is due while another is
 * unanswered counts from when it was due. An answer that does not begin with EXPECTED is counted
 * as bad. Answers of the first fifth of the time, at most 0.3 s, are not counted, unless MOST says
 * when to end. Prints one JSON object; latencies are in microseconds, from a request's being handed
 * to the connection to its answer's being read.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define MANTISSA 7 /* bits: a bucket of the histogram is at most 1/128 wide */
#define BUCKETS ((64 - MANTISSA + 1) << MANTISSA)
#define SILENCE 30000000000ull /* nanoseconds without any answer: the server hangs */

struct client {
    int fd, wants_to_write, wrong;
    size_t unsent, offset, seen; /* bytes to send; where in the request; bytes of this answer */
    unsigned first, count;       /* the ring of times at which what is in flight was sent */
    uint64_t *sent;
};

static char request[1 << 16], *copies, first_answer[48];
static size_t request_length, copies_length, expected_length;
static const char *expected;
static unsigned depth;
static uint64_t buckets[BUCKETS], counted, answered, bad, longest;
static int poller;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000ull + time.tv_nsec;
}

static void count_latency(uint64_t nanoseconds) {
    unsigned bucket = nanoseconds;
    if (nanoseconds >> MANTISSA) {
        unsigned shift = 63 - __builtin_clzll(nanoseconds) - MANTISSA;
        bucket = ((shift + 1) << MANTISSA) + ((nanoseconds >> shift) & ((1 << MANTISSA) - 1));
    }
    buckets[bucket]++;
    counted++;
    if (nanoseconds > longest) longest = nanoseconds;
}

static double quantile(double share) {
    uint64_t passed = 0, wanted = counted * share;
    for (unsigned bucket = 0; bucket < BUCKETS; bucket++) {
        passed += buckets[bucket];
        if (passed > wanted) {
            unsigned shift = bucket >> MANTISSA, low = bucket & ((1 << MANTISSA) - 1);
            uint64_t value = shift ? (uint64_t)(low | 1 << MANTISSA) << (shift - 1) : low;
            return value / 1e3;
        }
    }
    return longest / 1e3;
}

static void flush(struct client *client) {
    while (client->unsent) {
        size_t length = copies_length - client->offset;
        if (length > client->unsent) length = client->unsent;
        ssize_t written = write(client->fd, copies + client->offset, length);
        if (written < 0 && errno != EAGAIN) fail("write");
        if (written < 0) break;
        client->unsent -= written;
        client->offset = (client->offset + written) % request_length;
    }
    int wants = client->unsent > 0;
    if (wants != client->wants_to_write) {
        struct epoll_event event = {.events = EPOLLIN | (wants ? EPOLLOUT : 0), .data.ptr = client};
        client->wants_to_write = wants;
        epoll_ctl(poller, EPOLL_CTL_MOD, client->fd, &event);
    }
}

static void ask(struct client *client, unsigned count, uint64_t when) {
    for (unsigned i = 0; i < count; i++)
        client->sent[(client->first + client->count++) % depth] = when;
    client->unsent += count * request_length;
    flush(client);
}

/* Gives how many answers came. */
static unsigned receive(struct client *client, uint64_t count_from) {
    static char data[1 << 18];
    ssize_t length = read(client->fd, data, sizeof data);
    if (length < 0 && errno == EAGAIN) return 0;
    if (length < 0) fail("read");
    if (length == 0) {
        fprintf(stderr, "the server closed the connection; first answer: %s\n", first_answer);
        exit(1);
    }
    uint64_t time = now();
    unsigned answers = 0;
    char *at = data, *end = data + length;
    if (!first_answer[0])
        for (size_t i = 0; i < sizeof first_answer - 1 && i < (size_t)length && at[i] >= 32; i++)
            first_answer[i] = at[i] == '"' || at[i] == '\\' ? '\'' : at[i];
    while (at < end) {
        char *newline = memchr(at, '\n', end - at);
        size_t part = (newline ? newline : end) - at;
        if (client->seen < expected_length) {
            size_t compared = expected_length - client->seen;
            if (compared > part) compared = part;
            client->wrong |= memcmp(at, expected + client->seen, compared) != 0;
        }
        client->seen += part;
        if (!newline) break;
        if (!client->count) {
            fprintf(stderr, "an answer that was not asked for: %.*s\n", (int)part, at);
            exit(1);
        }
        bad += client->wrong || client->seen < expected_length;
        client->wrong = 0;
        client->seen = 0;
        uint64_t sent = client->sent[client->first];
        client->first = (client->first + 1) % depth;
        client->count--;
        answers++;
        if (time >= count_from) count_latency(time - sent);
        at = newline + 1;
    }
    answered += answers;
    return answers;
}

int main(int argc, char **argv) {
    if (argc != 9) {
        fprintf(stderr, "usage: load HOST PORT CLIENTS DEPTH SECONDS MOST EVERY EXPECTED\n");
        return 2;
    }
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
    inet_pton(AF_INET, argv[1], &address.sin_addr);
    unsigned number = atoi(argv[3]);
    depth = atoi(argv[4]);
    uint64_t duration = atof(argv[5]) * 1e9, most = atoll(argv[6]), every = atoll(argv[7]) * 1000;
    expected = argv[8];
    expected_length = strlen(expected);

    for (ssize_t n; (n = read(0, request + request_length, sizeof request - request_length)) > 0;)
        request_length += n;
    copies_length = request_length * depth;
    copies = malloc(copies_length);
    for (unsigned i = 0; i < depth; i++)
        memcpy(copies + i * request_length, request, request_length);

    if (every) { /* what is measured is the server's delay, not that of this process */
        struct sched_param realtime = {.sched_priority = 1};
        sched_setscheduler(0, SCHED_FIFO, &realtime);
    }
    poller = epoll_create1(0);
    struct client *clients = calloc(number, sizeof *clients);
    for (unsigned i = 0; i < number; i++) {
        int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fd, (void *)&address, sizeof address)) fail("connect");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        fcntl(fd, F_SETFL, O_NONBLOCK);
        clients[i].fd = fd;
        clients[i].sent = calloc(depth, sizeof(uint64_t));
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &clients[i]};
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    }

    uint64_t start = now(), end = start + duration, warm = duration / 5, due = start, asked = 0;
    if (warm > 300000000) warm = 300000000;
    uint64_t count_from = most ? start : start + warm, last = start;
    if (!every)
        for (unsigned i = 0; i < number; i++) {
            unsigned count = most && asked + depth > most ? most - asked : depth;
            asked += count;
            ask(&clients[i], count, now());
        }
    for (uint64_t time = start; time < end && !(most && answered >= most); time = now()) {
        uint64_t until = end < last + SILENCE ? end : last + SILENCE;
        if (every && !clients[0].count) {
            if (time >= due) {
                /* late by less than a turn: this process was, not the server */
                ask(&clients[0], 1, time < due + every ? time : due);
                due += every;
            }
            if (due < until && !clients[0].count) until = due;
        }
        uint64_t left = until > time ? until - time : 0;
        struct timespec timeout = {left / 1000000000, left % 1000000000};
        struct epoll_event events[256];
        int ready = epoll_pwait2(poller, events, 256, &timeout, NULL);
        if (ready < 0 && errno != EINTR) fail("epoll_pwait2");
        for (int i = 0; i < ready; i++) {
            struct client *client = events[i].data.ptr;
            if (events[i].events & EPOLLOUT) flush(client);
            if (!(events[i].events & ~EPOLLOUT)) continue;
            unsigned answers = receive(client, count_from);
            if (answers) last = now();
            if (!every && answers) {
                unsigned count = most && asked + answers > most ? most - asked : answers;
                asked += count;
                ask(client, count, last);
            }
        }
        if (now() - last > SILENCE) {
            fprintf(stderr, "no answer for 30 s, after %lu; first: %s\n", answered, first_answer);
            return 1;
        }
    }
    double seconds = (now() - count_from) / 1e9;
    printf("{\"requests\": %lu, \"seconds\": %.4f, \"rate\": %.1f, \"p50\": %.1f, \"p99\": %.1f,"
           " \"longest\": %.1f, \"bad\": %lu, \"first\": \"%s\"}\n",
           counted, seconds, counted / seconds, quantile(0.5), quantile(0.99), longest / 1e3, bad,
           first_answer);
    return 0;
}
