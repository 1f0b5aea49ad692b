/* Bounds of protobuf decoding. They hold for one message; a caller that knows its peer passes
 * narrower ones to pb_unpack_limited(). */
#ifndef WEFT_BASE_WIRE_PB_LIMITS_H
#define WEFT_BASE_WIRE_PB_LIMITS_H

/* Messages inside messages: what the C++, Java and Python libraries allow. */
#define PB_DEPTH_MAX 100
/* Wire bytes. The first delta request of a reconnect carries the version of every resource that the
 * client has: 200,000 resources of 100 bytes are 20 MB. */
#define PB_BYTES_MAX ((size_t)64 << 20)
/* Fields and elements of packed fields. Two wire bytes make an empty message of half a kilobyte, so
 * bytes alone bound nothing. */
#define PB_ELEMENTS_MAX ((size_t)4 << 20)
/* Heap bytes of the unpacked tree, estimated while scanning. */
#define PB_MEMORY_MAX ((size_t)512 << 20)

/* JSON: values inside values, in either direction. */
#define PB_JSON_DEPTH_MAX 100

#endif
