#include "api/schema_table.h"

/* networking.istio.io: ServiceEntry, Gateway, Sidecar. */

/* ServiceEntry. */

STRING_MAX(string_64, 64);
STRING_MAX(string_256, 256);
LIST_BOUNDED(entry_hosts, &schema_string, 1, 256);
LIST_BOUNDED(entry_addresses, &string_64, 0, 256);
LIST_BOUNDED(entry_endpoints, &schema_workload_entry_spec, 0, 4096);
OBJECT(entry_port, REQUIRED("number", &schema_uint32, "Port that clients use."),
       FIELD("protocol", &string_256, "HTTP, HTTPS, GRPC, HTTP2, MONGO, TCP or TLS."),
       REQUIRED("name", &string_256, "Label of the port, unique within the entry."),
       FIELD("targetPort", &schema_uint32, "Port of the endpoints; number when absent."));
LIST_KEYED(entry_ports, &entry_port, 256, "name");
ENUM(entry_location, "MESH_EXTERNAL", "MESH_INTERNAL");
ENUM(entry_resolution, "NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS");
OBJECT(service_entry_spec,
       REQUIRED("hosts", &entry_hosts, "Hosts of the service; wildcards on the left."),
       FIELD("addresses", &entry_addresses, "Virtual addresses or subnets."),
       FIELD("ports", &entry_ports, "Ports of the service."),
       FIELD("location", &entry_location,
             "Whether it is part of the mesh; MESH_EXTERNAL when absent."),
       FIELD("resolution", &entry_resolution, "How endpoints are found; NONE when absent."),
       FIELD("endpoints", &entry_endpoints, "Endpoints, with STATIC or DNS."),
       FIELD("workloadSelector", &schema_workload_selector,
             "WorkloadEntries (and pods) behind the service."),
       FIELD("exportTo", &schema_strings,
             "Namespaces that see it: \"*\" (all, when absent), \".\" (own)."),
       FIELD("subjectAltNames", &schema_strings,
             "Names of which the server's certificate must have one."));
SHARED_OBJECT(schema_service_entry, TOP_FIELDS, REQUIRED("spec", &service_entry_spec, NULL),
              FIELD("status", &schema_istio_status, NULL));

/* Gateway. */

OBJECT(gateway_port, REQUIRED("number", &schema_uint32, "Port to listen on."),
       REQUIRED("protocol", &schema_string, "HTTP, HTTPS, GRPC, HTTP2, MONGO, TCP or TLS."),
       REQUIRED("name", &schema_string, "Label of the port."),
       FIELD("targetPort", &schema_uint32, NULL));
OBJECT(server, REQUIRED("port", &gateway_port, "Where to listen."),
       FIELD("bind", &schema_string, "Address to listen on."),
       REQUIRED("hosts", &schema_strings,
                "Hosts to serve: host, namespace/host, wildcards on the left."),
       FIELD("tls", &schema_server_tls, "TLS of the server."),
       FIELD("defaultEndpoint", &schema_string, NULL),
       FIELD("name", &schema_string, "Name for people."));
LIST(servers, &server);
OBJECT(gateway_spec, FIELD("servers", &servers, "Ports, hosts and TLS."),
       FIELD("selector", &schema_string_map, "Labels of the gateway workloads."));
SHARED_OBJECT(schema_gateway, TOP_FIELDS, FIELD("spec", &gateway_spec, NULL),
              FIELD("status", &schema_istio_status, NULL));

/* Sidecar. */

ENUM(capture_mode, "DEFAULT", "IPTABLES", "NONE");
OBJECT(ingress_listener, REQUIRED("port", &schema_server_port, "Port of the listener."),
       FIELD("bind", &schema_string, "Address to listen on."),
       FIELD("captureMode", &capture_mode, "How traffic gets to the listener."),
       FIELD("defaultEndpoint", &schema_string, "127.0.0.1:PORT, 0.0.0.0:PORT or unix:///path."),
       FIELD("tls", &schema_server_tls, "TLS from outside the mesh."),
       FIELD("connectionPool", &schema_connection_pool, "Limits towards the application."));
LIST(ingress_listeners, &ingress_listener);
OBJECT(egress_listener,
       FIELD("port", &schema_server_port, "Port of the listener; each service's when absent."),
       FIELD("bind", &schema_string, "Address to listen on, or unix:// path."),
       FIELD("captureMode", &capture_mode, "How traffic gets to the listener."),
       REQUIRED("hosts", &schema_strings, "Services that are reached: namespace/host."));
LIST(egress_listeners, &egress_listener);
ENUM(outbound_mode, "REGISTRY_ONLY", "ALLOW_ANY");
OBJECT(outbound_policy, FIELD("mode", &outbound_mode, "What becomes of traffic to unknown hosts."),
       FIELD("egressProxy", &schema_destination, NULL));
OBJECT(sidecar_spec,
       FIELD("workloadSelector", &schema_workload_selector,
             "Workloads it is for; the namespace's when absent."),
       FIELD("ingress", &ingress_listeners, "Listeners for traffic to the workload."),
       FIELD("egress", &egress_listeners,
             "Listeners for traffic from the workload, and what they reach."),
       FIELD("outboundTrafficPolicy", &outbound_policy, NULL),
       FIELD("inboundConnectionPool", &schema_connection_pool, "Limits towards the application."));
SHARED_OBJECT(schema_sidecar, TOP_FIELDS, FIELD("spec", &sidecar_spec, NULL),
              FIELD("status", &schema_istio_status, NULL));
