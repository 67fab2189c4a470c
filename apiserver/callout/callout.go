// Package callout calls the webhooks that objects of the API name: by a URL, or by a Service, which is reached at one of its
// endpoints so that the host of this server needs no proxy.
package callout

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Dialer connects to a port of a Service. It blocks until it is connected or ctx ends.
type Dialer = func(ctx context.Context, namespace, service string, port int32) (net.Conn, error)

// Target is where a webhook is: URL, or else a Service.
type Target struct {
	URL                *string
	Namespace, Service string
	// Path and Port of the Service may be nil: / and 443.
	Path *string
	Port *int32
	// CABundle is PEM; empty means the host's own authorities.
	CABundle []byte
}

// Client calls one webhook. It is safe for concurrent use.
type Client struct {
	http *http.Client
	url  url.URL
}

// New makes the client of a webhook. Nothing is connected yet. The error says what is wrong with the target.
func New(t Target, dial Dialer) (*Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if bundle := bytes.TrimSpace(t.CABundle); len(bundle) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(bundle) {
			return nil, errors.New("unable to load root certificates: unable to parse bytes as PEM block")
		}
	}
	transport := &http.Transport{TLSClientConfig: config, TLSHandshakeTimeout: 10 * time.Second, MaxIdleConnsPerHost: 16, IdleConnTimeout: 30 * time.Second, ForceAttemptHTTP2: true,
		DialContext: (&net.Dialer{Timeout: 30 * time.Second}).DialContext}
	c := &Client{http: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	switch {
	case t.URL != nil:
		u, err := url.Parse(*t.URL)
		if err != nil {
			return nil, err
		}
		c.url = *u
	case t.Service != "":
		port := int32(443)
		if t.Port != nil {
			port = *t.Port
		}
		config.ServerName = t.Service + "." + t.Namespace + ".svc"
		c.url = url.URL{Scheme: "https", Host: net.JoinHostPort(config.ServerName, strconv.Itoa(int(port)))}
		if t.Path != nil {
			c.url.Path = "/" + strings.TrimPrefix(*t.Path, "/")
		}
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dial(ctx, t.Namespace, t.Service, port)
		}
	default:
		return nil, errors.New("webhook configuration must have either service or URL")
	}
	return c, nil
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Post sends a review as JSON and reads the answer, of at most limit bytes. The webhook is told in the parameter timeout how
// many seconds ctx leaves. An answer that is no success is a Status error.
func (c *Client) Post(ctx context.Context, review, answer any, limit int64) error {
	body, err := json.Marshal(review)
	if err != nil {
		return err
	}
	target := c.url
	if deadline, ok := ctx.Deadline(); ok {
		if left := time.Until(deadline); left > 0 {
			query := target.Query()
			query.Set("timeout", strconv.FormatInt(int64((left+time.Second-1)/time.Second), 10)+"s")
			target.RawQuery = query.Encode()
		}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, */*")
	r.Header.Set("User-Agent", "kube-apiserver-admission")
	resp, err := c.http.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return err
	}
	if int64(len(text)) > limit {
		return fmt.Errorf("the answer is longer than %d bytes", limit)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		if status := new(metav1.Status); json.Unmarshal(text, status) == nil && status.Kind == "Status" && status.Message != "" {
			return &apierrors.StatusError{ErrStatus: *status}
		}
		return apierrors.NewGenericServerResponse(resp.StatusCode, "post", schema.GroupResource{}, "", string(text), 0, true)
	}
	return json.Unmarshal(text, answer)
}
