/* mail.c -- see mail.h. */
#include "mail.h"

#include "cistern/alloc.h"
#include "cistern/error.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

uint32_t mail_init(struct mail *mail, uint32_t capacity, struct cistern_error *error)
{
    *mail = (struct mail){.capacity = capacity, .event_fd = -1};
    mail->messages = cistern_allocate_zeroed(capacity, sizeof mail->messages[0]);
    if (mail->messages == NULL) {
        return cistern_fail(
            error, CISTERN_NO_MEMORY, "mail", "no memory for %u messages", capacity);
    }
    memset(mail->messages, 0, capacity * sizeof mail->messages[0]);
    mail->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (mail->event_fd < 0) {
        int32_t os_errno = errno;
        cistern_release(mail->messages);
        mail->messages = NULL;
        return cistern_fail_errno(error, os_errno, "eventfd", "cannot make the main thread's bell");
    }
    pthread_mutex_init(&mail->lock, NULL);
    pthread_cond_init(&mail->taken, NULL);
    return CISTERN_OK;
}

void mail_deinit(struct mail *mail)
{
    if (mail->messages == NULL) {
        return;
    }
    struct message message;
    while (mail_take(mail, &message)) {
        cistern_release(message.slice);
    }
    (void)close(mail->event_fd);
    pthread_cond_destroy(&mail->taken);
    pthread_mutex_destroy(&mail->lock);
    cistern_release(mail->messages);
    mail->messages = NULL;
}

void mail_post(struct mail *mail, const struct message *message)
{
    pthread_mutex_lock(&mail->lock);
    while (mail->posted - mail->consumed == mail->capacity) {
        pthread_cond_wait(&mail->taken, &mail->lock);
    }
    mail->messages[mail->posted++ % mail->capacity] = *message;
    pthread_mutex_unlock(&mail->lock);
    uint64_t one = 1;
    ssize_t written = write(mail->event_fd, &one, sizeof one);
    (void)written; /* fails only when the counter is at its end: then the bell rings already */
}

int mail_take(struct mail *mail, struct message *ret_message)
{
    pthread_mutex_lock(&mail->lock);
    int any = mail->posted != mail->consumed;
    if (any) {
        *ret_message = mail->messages[mail->consumed++ % mail->capacity];
        pthread_cond_signal(&mail->taken);
    }
    pthread_mutex_unlock(&mail->lock);
    return any;
}
