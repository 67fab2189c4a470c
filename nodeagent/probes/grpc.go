package probes

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
)

func checkGRPC(ctx context.Context, host string, action *corev1.GRPCAction, timeout time.Duration) (Outcome, string, error) {
	service := ""
	if action.Service != nil {
		service = *action.Service
	}
	creds := insecure.NewCredentials()
	if action.Mode != nil && *action.Mode == corev1.GRPCProbeModeTLS {
		creds = credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	address := net.JoinHostPort(host, strconv.Itoa(int(action.Port)))
	// A blocking dial tells "nobody listens" from "does not answer", which the two messages below need.
	conn, err := grpc.DialContext(ctx, address, //nolint:staticcheck // NewClient cannot block
		grpc.WithUserAgent(userAgent), grpc.WithBlock(), grpc.WithTransportCredentials(creds), //nolint:staticcheck // as above
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return dialer.DialContext(ctx, "tcp", addr) }))
	if err != nil {
		if ctx.Err() == context.DeadlineExceeded {
			return Failure, fmt.Sprintf("timeout: failed to connect service %q within %v: %+v", address, timeout, err), nil
		}
		return Failure, fmt.Sprintf("error: failed to connect service at %q: %+v", address, err), nil
	}
	defer conn.Close()
	answer, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: service})
	if err != nil {
		return Failure, grpcProblem(err, timeout), nil
	}
	if s := answer.GetStatus(); s != healthpb.HealthCheckResponse_SERVING {
		return Failure, fmt.Sprintf("service unhealthy (responded with %q)", s.String()), nil
	}
	return Success, "service healthy", nil
}

func grpcProblem(err error, timeout time.Duration) string {
	s, _ := status.FromError(err)
	switch s.Code() {
	case codes.Unimplemented:
		return fmt.Sprintf("error: this server does not implement the grpc health protocol (grpc.health.v1.Health): %s", s.Message())
	case codes.DeadlineExceeded:
		return fmt.Sprintf("timeout: health rpc did not complete within %v", timeout)
	}
	return fmt.Sprintf("error: health rpc probe failed: %+v", err)
}
