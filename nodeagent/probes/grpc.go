package probes

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// gRPC's health protocol is one call with one string in and one number out. It is spoken here over net/http: the gRPC library
// would be a quarter of the agent's program, and of the memory that it needs when it is idle.

// States of health in the protocol's words.
var grpcStates = map[uint64]string{0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}

const (
	grpcServing       = 1
	grpcUnimplemented = "12"
	grpcDeadline      = "4"
)

func checkGRPC(ctx context.Context, host string, action *corev1.GRPCAction, timeout time.Duration) (Outcome, string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	address := net.JoinHostPort(host, strconv.Itoa(int(action.Port)))
	secure := action.Mode != nil && *action.Mode == corev1.GRPCProbeModeTLS
	conn, err := grpcConnect(ctx, address, secure)
	if err != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return Failure, fmt.Sprintf("timeout: failed to connect service %q within %v: %+v", address, timeout, err), nil
		}
		return Failure, fmt.Sprintf("error: failed to connect service at %q: %+v", address, err), nil
	}
	defer conn.Close()
	service := ""
	if action.Service != nil {
		service = *action.Service
	}
	state, problem := grpcCheck(ctx, conn, address, secure, service)
	switch {
	case problem == nil && state == grpcServing:
		return Success, "service healthy", nil
	case problem == nil:
		return Failure, fmt.Sprintf("service unhealthy (responded with %q)", grpcStates[state]), nil
	case problem.status == grpcUnimplemented:
		return Failure, "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): " + problem.message, nil
	case problem.status == grpcDeadline || errors.Is(ctx.Err(), context.DeadlineExceeded):
		return Failure, fmt.Sprintf("timeout: health rpc did not complete within %v", timeout), nil
	}
	return Failure, "error: health rpc probe failed: " + problem.Error(), nil
}

func grpcConnect(ctx context.Context, address string, secure bool) (net.Conn, error) {
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil || !secure {
		return conn, err
	}
	wrapped := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err := wrapped.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return wrapped, nil
}

// grpcProblem is a call that failed: by a status of the server's, or before there was one.
type grpcProblem struct {
	status, message string
	err             error
}

func (p *grpcProblem) Error() string {
	if p.err != nil {
		return p.err.Error()
	}
	return fmt.Sprintf("rpc error: code = Code(%s) desc = %s", p.status, p.message)
}

func grpcCheck(ctx context.Context, conn net.Conn, address string, secure bool, service string) (uint64, *grpcProblem) {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	protocols.SetHTTP2(true)
	given := func(context.Context, string, string) (net.Conn, error) { return conn, nil }
	transport := &http.Transport{Protocols: protocols, DialContext: given, DialTLSContext: given, DisableCompression: true}
	defer transport.CloseIdleConnections()
	scheme := "http"
	if secure {
		scheme = "https"
	}
	// HealthCheckRequest{service = 1} behind gRPC's frame: a flag for compression and the length.
	var message []byte
	if service != "" {
		message = append(binary.AppendUvarint([]byte{1<<3 | 2}, uint64(len(service))), service...)
	}
	frame := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, scheme+"://"+address+"/grpc.health.v1.Health/Check", bytes.NewReader(frame))
	if err != nil {
		return 0, &grpcProblem{err: err}
	}
	req.Header = http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}, "User-Agent": {userAgent}}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return 0, &grpcProblem{err: err}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody))
	if err != nil {
		return 0, &grpcProblem{err: err}
	}
	status, text := res.Trailer.Get("Grpc-Status"), res.Trailer.Get("Grpc-Message")
	if status == "" { // an answer without a body has its trailers in its header
		status, text = res.Header.Get("Grpc-Status"), res.Header.Get("Grpc-Message")
	}
	if decoded, err := url.PathUnescape(text); err == nil {
		text = decoded
	}
	switch {
	case status == "" && res.StatusCode != http.StatusOK:
		return 0, &grpcProblem{err: fmt.Errorf("rpc error: code = Unknown desc = unexpected HTTP status code received from server: %s", res.Status)}
	case status != "0":
		return 0, &grpcProblem{status: status, message: text}
	}
	return grpcState(body)
}

// grpcState reads HealthCheckResponse{status = 1} behind its frame. A status that is left out is UNKNOWN.
func grpcState(body []byte) (uint64, *grpcProblem) {
	if len(body) < 5 || uint32(len(body)-5) < binary.BigEndian.Uint32(body[1:5]) {
		return 0, &grpcProblem{err: errors.New("rpc error: code = Internal desc = the answer is cut off")}
	}
	message := body[5 : 5+binary.BigEndian.Uint32(body[1:5])]
	if len(message) >= 2 && message[0] == 1<<3 {
		state, n := binary.Uvarint(message[1:])
		if n > 0 {
			return state, nil
		}
	}
	return 0, nil
}
