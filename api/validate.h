/* The rules of each kind beyond its schema: what Istio's validation and the CRDs' CEL rules refuse,
 * and what they warn of. Each takes the whole object, at the empty path.
 *
 * Warnings of an object alone; codes below 0200 are Istio's (api/analyze.h has those of the state):
 *
 *   WFT0130  a route that is never reached
 *   WFT0131  a match that is there twice
 *   WFT0135  a field that is deprecated
 *   WFT0201  TLS that is not in effect yet: traffic stays in plain text
 *   WFT0202  TLS of a gateway's server: what happens to it today
 */
#ifndef WEFT_API_VALIDATE_H
#define WEFT_API_VALIDATE_H

#include "api/check.h"

void validate_meta(struct check *c, const json_t *object);
void validate_service(struct check *c, const json_t *object);
void validate_endpoint_slice(struct check *c, const json_t *object);
void validate_workload_entry(struct check *c, const json_t *object);
void validate_service_entry(struct check *c, const json_t *object);
void validate_virtual_service(struct check *c, const json_t *object);
void validate_destination_rule(struct check *c, const json_t *object);
void validate_gateway(struct check *c, const json_t *object);
void validate_sidecar(struct check *c, const json_t *object);
void validate_lease(struct check *c, const json_t *object);
void validate_namespace(struct check *c, const json_t *object);

#endif
