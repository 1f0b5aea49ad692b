#include "api/schema_table.h"

const struct schema schema_string = {.type = SCHEMA_STRING};
const struct schema schema_strings = {.type = SCHEMA_LIST, .items = &schema_string};
const struct schema schema_string_map = {.type = SCHEMA_MAP, .items = &schema_string};
const struct schema schema_bool = {.type = SCHEMA_BOOL};
const struct schema schema_nullable_bool = {.type = SCHEMA_BOOL, .nullable = true};
const struct schema schema_int = {.type = SCHEMA_INT};
const struct schema schema_int32 = {.type = SCHEMA_INT, .format = SCHEMA_FORMAT_INT32};
const struct schema schema_int64 = {.type = SCHEMA_INT, .format = SCHEMA_FORMAT_INT64};
const struct schema schema_uint32 = {.type = SCHEMA_INT, .format = SCHEMA_FORMAT_UINT32};
const struct schema schema_nullable_uint32 = {
    .type = SCHEMA_INT, .format = SCHEMA_FORMAT_UINT32, .nullable = true};
const struct schema schema_uint = {.type = SCHEMA_INT, .bounded = true, .min = 0, .max = INT64_MAX};
const struct schema schema_number = {.type = SCHEMA_NUMBER};
const struct schema schema_duration = {.type = SCHEMA_STRING, .format = SCHEMA_FORMAT_DURATION};
const struct schema schema_duration_any = {.type = SCHEMA_STRING,
                                           .format = SCHEMA_FORMAT_DURATION_ANY};
const struct schema schema_int_or_string = {.type = SCHEMA_INT_OR_STRING};
const struct schema schema_date_time = {.type = SCHEMA_STRING, .format = SCHEMA_FORMAT_DATE_TIME};
const struct schema schema_any = {.type = SCHEMA_ANY};

SHARED_OBJECT(schema_percent, FIELD("value", &schema_number, "0 to 100, with fractions."));

/* Metadata. */

OBJECT(owner_reference, REQUIRED("apiVersion", &schema_string, NULL),
       REQUIRED("kind", &schema_string, NULL), REQUIRED("name", &schema_string, NULL),
       REQUIRED("uid", &schema_string, NULL),
       FIELD("controller", &schema_bool, "The owner manages this object."),
       FIELD("blockOwnerDeletion", &schema_bool, NULL));
static const struct schema owner_references = {
    .type = SCHEMA_LIST, .items = &owner_reference, .list_key = "uid"};
static const struct schema finalizers = {.type = SCHEMA_LIST, .items = &schema_string, .set = true};
LIST(any_list, &schema_any);

SHARED_OBJECT(schema_object_meta,
              FIELD("name", &schema_string, "Name, unique within the namespace and the kind."),
              FIELD("generateName", &schema_string, "Prefix of a name that the server completes."),
              FIELD("namespace", &schema_string, "Namespace; \"default\" when absent."),
              FIELD("labels", &schema_string_map, "Keys and values that selectors match."),
              FIELD("annotations", &schema_string_map, "Keys and values for tools."),
              FIELD("uid", &schema_string, "Set by the server."),
              FIELD("resourceVersion", &schema_string,
                    "Revision of the last change; sent back, it guards an update."),
              FIELD("generation", &schema_int64, "Rises when the spec changes. Set by the server."),
              FIELD("creationTimestamp", &schema_date_time, "Set by the server."),
              FIELD("deletionTimestamp", &schema_date_time, "Set by the server."),
              FIELD("deletionGracePeriodSeconds", &schema_int64, NULL),
              FIELD("finalizers", &finalizers, NULL),
              FIELD("ownerReferences", &owner_references, NULL),
              FIELD("managedFields", &any_list, "Not kept."),
              FIELD("selfLink", &schema_string, "Not kept."));

/* Status. */

OPEN_OBJECT(condition, FIELD("type", &schema_string, "Accepted, Distributed …"),
            FIELD("status", &schema_string, "True, False or Unknown."),
            FIELD("reason", &schema_string, "One word for programs."),
            FIELD("message", &schema_string, "A sentence for people."),
            FIELD("observedGeneration", &schema_int_or_string,
                  "metadata.generation that this is about."),
            FIELD("lastTransitionTime", &schema_date_time, "When status last changed."),
            FIELD("lastProbeTime", &schema_date_time, NULL));
const struct schema schema_conditions = {
    .type = SCHEMA_LIST, .items = &condition, .list_key = "type"};

ENUM(message_level, "UNKNOWN", "ERROR", "WARNING", "INFO");
OPEN_OBJECT(message_type, FIELD("code", &schema_string, NULL), FIELD("name", &schema_string, NULL));
OPEN_OBJECT(validation_message, FIELD("type", &message_type, NULL),
            FIELD("level", &message_level, NULL), FIELD("documentationUrl", &schema_string, NULL));
LIST(validation_messages, &validation_message);
OBJECT_AS(, schema_istio_status, .open = true,
          FIELD("conditions", &schema_conditions, "What became of the object."),
          FIELD("validationMessages", &validation_messages, "What analysis says."),
          FIELD("observedGeneration", &schema_int_or_string, NULL));

/* Parts of networking.istio.io. */

MAP_BOUNDED(labels_256, &schema_string, 256);
STRING_MAX(label_value, 63);
MAP_BOUNDED(selector_labels, &label_value, 256);
SHARED_OBJECT(schema_workload_selector,
              FIELD("labels", &selector_labels, "Labels that a workload must all have."));

SHARED_OBJECT(schema_port_selector, FIELD("number", &schema_uint32, "Port number."));
SHARED_OBJECT(schema_destination,
              REQUIRED("host", &schema_string,
                       "Service, by its short name in the namespace of the rule or in full."),
              FIELD("subset", &schema_string, "Subset that a DestinationRule of the host defines."),
              FIELD("port", &schema_port_selector,
                    "Needed when the service has more than one port."));

SHARED_OBJECT(schema_server_port, FIELD("number", &schema_uint32, "Port number."),
              FIELD("protocol", &schema_string, "HTTP, HTTPS, GRPC, HTTP2, MONGO, TCP or TLS."),
              FIELD("name", &schema_string, "Label of the port."),
              FIELD("targetPort", &schema_uint32, NULL));

ENUM(tls_mode, "PASSTHROUGH", "SIMPLE", "MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL",
     "OPTIONAL_MUTUAL");
ENUM(tls_version, "TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3");
OBJECT(tls_certificate, FIELD("serverCertificate", &schema_string, "Path of the certificate."),
       FIELD("privateKey", &schema_string, "Path of its key."),
       FIELD("caCertificates", &schema_string, "Path of the authorities of clients."));
LIST_BOUNDED(tls_certificates, &tls_certificate, 1, 2);
LIST_BOUNDED(credential_names, &schema_string, 1, 2);
SHARED_OBJECT(
    schema_server_tls,
    FIELD("mode", &tls_mode, "Whether TLS ends here, and who must show a certificate."),
    FIELD("httpsRedirect", &schema_bool, "Answer plain requests with a redirect to HTTPS."),
    FIELD("serverCertificate", &schema_string, "Path of the certificate."),
    FIELD("privateKey", &schema_string, "Path of its key."),
    FIELD("caCertificates", &schema_string, "Path of the authorities of clients."),
    FIELD("caCrl", &schema_string, "Path of a revocation list."),
    FIELD("credentialName", &schema_string, "Name of the secret with certificate and key."),
    FIELD("credentialNames", &credential_names, "Two secrets, of RSA and of ECDSA."),
    FIELD("tlsCertificates", &tls_certificates, "Two certificates by path, of RSA and of ECDSA."),
    FIELD("caCertCredentialName", &schema_string,
          "Name of the secret with the authorities of clients."),
    FIELD("subjectAltNames", &schema_strings,
          "Names of which a client's certificate must have one."),
    FIELD("verifyCertificateSpki", &schema_strings, "Hashes of public keys of clients."),
    FIELD("verifyCertificateHash", &schema_strings, "Hashes of certificates of clients."),
    FIELD("minProtocolVersion", &tls_version, "Lowest TLS version; TLSV1_2 when absent."),
    FIELD("maxProtocolVersion", &tls_version, "Highest TLS version."),
    FIELD("cipherSuites", &schema_strings, NULL), FIELD("ecdhCurves", &schema_strings, NULL),
    FIELD("insecureSkipVerify", &schema_nullable_bool, NULL));

OBJECT(tcp_keepalive,
       FIELD("probes", &schema_uint32, "Probes without answer before the connection is dead."),
       FIELD("time", &schema_duration, "Idle time before the first probe."),
       FIELD("interval", &schema_duration, "Time between probes."));
OBJECT(tcp_pool, FIELD("maxConnections", &schema_int32, "Connections to a destination."),
       FIELD("connectTimeout", &schema_duration, "10s when absent."),
       FIELD("tcpKeepalive", &tcp_keepalive, NULL),
       FIELD("maxConnectionDuration", &schema_duration, "Longest life of a connection."),
       FIELD("idleTimeout", &schema_duration_any, "1h when absent; 0s: none."));
OBJECT(http2_keepalive, FIELD("interval", &schema_duration, "Time between PING frames."),
       FIELD("timeout", &schema_duration, "Time for the answer."));
ENUM(h2_upgrade, "DEFAULT", "DO_NOT_UPGRADE", "UPGRADE");
OBJECT(http_pool,
       FIELD("http1MaxPendingRequests", &schema_int32, "Requests that wait for a connection."),
       FIELD("http2MaxRequests", &schema_int32, "Requests at a time to a destination."),
       FIELD("maxRequestsPerConnection", &schema_int32, "0: no limit. 1: no keep-alive."),
       FIELD("maxRetries", &schema_int32, "Retries at a time to a destination."),
       FIELD("idleTimeout", &schema_duration, "1h when absent."),
       FIELD("h2UpgradePolicy", &h2_upgrade, "Whether HTTP/1.1 goes on as HTTP/2."),
       FIELD("useClientProtocol", &schema_bool, "Keep the protocol of the client."),
       FIELD("maxConcurrentStreams", &schema_int32, "Streams of one HTTP/2 connection."),
       FIELD("http2KeepAlive", &http2_keepalive, NULL));
SHARED_OBJECT(schema_connection_pool,
              FIELD("tcp", &tcp_pool, "Of TCP connections, below HTTP too."),
              FIELD("http", &http_pool, "Of HTTP/1.1, HTTP/2 and gRPC."));

/* WorkloadEntry. */

STRING_MAX(string_253, 253);
STRING_MAX(string_256, 256);
STRING_MAX(string_2048, 2048);
MAP_BOUNDED(ports_128, &schema_uint32, 128);
SHARED_OBJECT(schema_workload_entry_spec,
              FIELD("address", &string_256, "IP address, DNS name or unix:// path."),
              FIELD("ports", &ports_128,
                    "Numbers of the service's ports by name, where they differ."),
              FIELD("labels", &labels_256, "Labels that selectors match."),
              FIELD("network", &string_2048, "Network of the address."),
              FIELD("locality", &string_2048, "region/zone/subzone."),
              FIELD("weight", &schema_uint32, "Share of load; 1 when absent."),
              FIELD("serviceAccount", &string_253, "Identity of the workload."));
SHARED_OBJECT(schema_workload_entry, TOP_FIELDS,
              REQUIRED("spec", &schema_workload_entry_spec, NULL),
              FIELD("status", &schema_istio_status, NULL));
