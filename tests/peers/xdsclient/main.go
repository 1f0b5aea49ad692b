// A proxyless gRPC client in Go: resolves xds:///TARGET, calls it --count times and prints which servers
// answered as JSON. --serve makes it the server instead.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/xds"

	health "google.golang.org/grpc/health/grpc_health_v1"
)

// The health service stands in for an application: its answer's header names the instance.
type server struct {
	health.UnimplementedHealthServer
	name string
}

func (s *server) Check(ctx context.Context, _ *health.HealthCheckRequest) (*health.HealthCheckResponse, error) {
	grpc.SetHeader(ctx, metadata.Pairs("x-version", s.name))
	return &health.HealthCheckResponse{Status: health.HealthCheckResponse_SERVING}, nil
}

func serve(addr, name string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	s := grpc.NewServer()
	health.RegisterHealthServer(s, &server{name: name})
	return s.Serve(l)
}

func call(target string, count int, headers string) error {
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	client := health.NewHealthClient(conn)
	tally := map[string]int{}
	failed := 0
	var last string
	for i := 0; i < count; i++ {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		if headers != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "end-user", headers)
		}
		var md metadata.MD
		_, err := client.Check(ctx, &health.HealthCheckRequest{}, grpc.Header(&md))
		cancel()
		if err != nil {
			failed++
			last = err.Error()
			continue
		}
		if v := md.Get("x-version"); len(v) > 0 {
			tally[v[0]]++
		}
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{"tally": tally, "failed": failed, "last": last})
}

func main() {
	target := flag.String("target", "", "xds:///NAME:PORT")
	count := flag.Int("count", 100, "calls")
	user := flag.String("end-user", "", "value of the end-user header")
	serveAt := flag.String("serve", "", "address: be the server")
	name := flag.String("name", "v1", "what the server calls itself")
	flag.Parse()
	_ = xds.NewGRPCServer // registers the xds resolver and balancers
	var err error
	if *serveAt != "" {
		err = serve(*serveAt, *name)
	} else {
		err = call(*target, *count, *user)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
