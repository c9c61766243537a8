/* guest_jni.c -- guest.h for GuestHost.java. Threads: the JVM's main thread. */
#include "guest.h"

#include <jni.h>

static jstring text_of(JNIEnv *env, const char *text)
{
    return text == NULL ? NULL : (*env)->NewStringUTF(env, text);
}

JNIEXPORT jstring JNICALL Java_GuestHost_open(JNIEnv *env, jclass host, jstring directory)
{
    (void)host;
    const char *path = (*env)->GetStringUTFChars(env, directory, NULL);
    const char *text = guest_open(path);
    (*env)->ReleaseStringUTFChars(env, directory, path);
    return text_of(env, text);
}

JNIEXPORT jstring JNICALL Java_GuestHost_load(JNIEnv *env, jclass host, jint seed)
{
    (void)host;
    return text_of(env, guest_load((uint32_t)seed));
}

JNIEXPORT jstring JNICALL Java_GuestHost_check(JNIEnv *env, jclass host, jint seed)
{
    (void)host;
    return text_of(env, guest_check((uint32_t)seed));
}

JNIEXPORT jstring JNICALL Java_GuestHost_close(JNIEnv *env, jclass host)
{
    (void)host;
    return text_of(env, guest_close());
}

JNIEXPORT jstring JNICALL Java_GuestHost_modes(JNIEnv *env, jclass host)
{
    (void)host;
    return text_of(env, guest_modes());
}

JNIEXPORT jlong JNICALL Java_GuestHost_cacheBytes(JNIEnv *env, jclass host)
{
    (void)env;
    (void)host;
    return (jlong)guest_cache_bytes();
}
