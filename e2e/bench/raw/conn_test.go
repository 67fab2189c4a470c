package raw

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func dial(t *testing.T, handler http.HandlerFunc) *Conn {
	server := httptest.NewUnstartedServer(handler)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	c, err := Dial(t.Context(), (&net.Dialer{}).DialContext, server.Listener.Addr().String(), &tls.Config{RootCAs: pool})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func TestAnswersAreCounted(t *testing.T) {
	big := bytes.Repeat([]byte("x"), 5<<20)
	c := dial(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.ProtoMajor != 2 {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		if string(body) == "no" {
			http.Error(w, "why not", http.StatusConflict)
			return
		}
		_, _ = w.Write(big)
	})
	for range 3 {
		n, err := c.Do(t.Context(), Request{Method: "POST", Path: "/a", ContentType: "text/plain", Body: []byte("yes")}, nil)
		require.NoError(t, err)
		require.EqualValues(t, len(big), n)
	}
	_, err := c.Do(t.Context(), Request{Method: "POST", Path: "/a", ContentType: "text/plain", Body: []byte("no")}, nil)
	var bad *Error
	require.ErrorAs(t, err, &bad)
	require.Equal(t, http.StatusConflict, bad.Status)
	require.Contains(t, bad.Text, "why not")
}

func TestStreamsAreReadUntilTheReaderHasEnough(t *testing.T) {
	gone := make(chan struct{})
	c := dial(t, func(w http.ResponseWriter, r *http.Request) {
		defer close(gone)
		for i := 0; r.Context().Err() == nil; i++ {
			fmt.Fprintf(w, "%d\n", i)
			w.(http.Flusher).Flush()
		}
	})
	lines := 0
	_, err := c.Do(t.Context(), Request{Method: "GET", Path: "/"}, func(b []byte) bool {
		lines += bytes.Count(b, []byte{'\n'})
		return lines < 100
	})
	require.NoError(t, err)
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		require.Fail(t, "the server was not told that nobody reads")
	}
}

func TestAnEndedContextEndsTheRequest(t *testing.T) {
	c := dial(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			<-r.Context().Done()
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := c.Do(ctx, Request{Method: "GET", Path: "/wait"}, nil)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	_, err = c.Do(t.Context(), Request{Method: "GET", Path: "/"}, nil)
	require.NoError(t, err, "the connection lives on")
}
