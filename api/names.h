/* Names as Kubernetes and DNS spell them: pure predicates, and the nearest word for "did you mean".
 */
#ifndef WEFT_API_NAMES_H
#define WEFT_API_NAMES_H

#include "base/core/slice.h"

#define NAME_LABEL_MAX 63
#define NAME_SUBDOMAIN_MAX 253
#define NAME_SUGGEST_BYTES_MAX 64 /* longer words get no suggestion */

/* RFC 1123 label: a-z 0-9 -, at most 63, starting and ending with a letter or digit. */
bool name_is_label(struct slice s);
/* RFC 1035 label: the same, starting with a letter (Service names). */
bool name_is_label_1035(struct slice s);
/* RFC 1123 subdomain: labels joined by dots, at most 253. */
bool name_is_subdomain(struct slice s);
/* Key of a label or annotation: [subdomain/]name of [A-Za-z0-9_.-], at most 63. */
bool name_is_qualified(struct slice s);
/* Value of a label: empty, or as the name of a key. */
bool name_is_label_value(struct slice s);
/* IANA_SVC_NAME of a port: at most 15 of a-z 0-9 -, with a letter, no "--". */
bool name_is_port(struct slice s);
/* A host: a DNS name in any case with at most one trailing dot, labels with inner underscores. */
bool name_is_host(struct slice s);
/* A host, "*", or "*." and a host (Istio: wildcards stand for whole labels, on the left; "*foo"
 * too). */
bool name_is_wildcard_host(struct slice s);
/* An HTTP token (RFC 9110 §5.6.2): header names, methods. */
bool name_is_token(struct slice s);
bool name_is_ipv4(struct slice s);
bool name_is_ipv6(struct slice s);
bool name_is_ip(struct slice s);
/* An address with an optional /prefix. */
bool name_is_cidr(struct slice s);
/* Does the wildcard (or plain) pattern cover the host or narrower wildcard? "*.com" covers "a.com".
 */
bool name_host_covers(struct slice pattern, struct slice host);

/* Keeps the candidate that is nearest to a word, within a third of its length in edits. */
struct name_suggest {
    struct slice word;
    struct slice best; /* empty: none is near */
    size_t edits;
};
void name_suggest_try(struct name_suggest *s, struct slice candidate);

#endif
