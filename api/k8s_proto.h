/* Kubernetes' protobuf bodies: kubectl create namespace, create service and other typed clients
 * send them for Kubernetes' own kinds and do not fall back to JSON.
 *
 *   json_t *o = k8s_proto_is(body) ? k8s_proto_parse(body, &err) : json_parse(body, &err);
 *
 * A body is "k8s\0" and a runtime.Unknown that holds the message. It becomes the JSON that kubectl
 * would have sent: zero and empty values are left out where JSON leaves them out. Answers may stay
 * JSON: clients accept both.
 */
#ifndef WEFT_API_K8S_PROTO_H
#define WEFT_API_K8S_PROTO_H

#include <jansson.h>

#include "base/core/err.h"
#include "base/core/slice.h"

#define K8S_PROTO_TYPE "application/vnd.kubernetes.protobuf"

/* Does the body start as one? */
bool k8s_proto_is(struct slice body);
/* A new object with apiVersion and kind; Namespace, Service and EndpointSlice are known. Fields
 * that the tables do not know (status, managedFields) are skipped. NULL and err: ERR_INVALID,
 * ERR_LIMIT (JSON_BYTES_MAX), ERR_UNSUPPORTED for another kind. */
json_t *k8s_proto_parse(struct slice body, struct err *err);

#endif
