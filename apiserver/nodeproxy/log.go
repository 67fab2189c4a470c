package nodeproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"github.com/skiff-project/skiff/apiserver/routes"
)

// maxRefusal bounds what is read of an agent's refusal.
const maxRefusal = 50000

func (p *Proxy) log(w http.ResponseWriter, r *http.Request, c *routes.Connection) error {
	ctx := r.Context()
	options, err := logOptions(r.URL.Query(), c.Name)
	if err != nil {
		return err
	}
	pod, err := p.pod(ctx, c.Namespace, c.Name)
	if err != nil {
		return err
	}
	name, err := container(pod, options.Container)
	if err != nil {
		return err
	}
	if pod.Spec.NodeName == "" {
		w.WriteHeader(http.StatusNoContent) // nothing has run, so nothing was said
		return nil
	}
	host, port, err := p.agent(ctx, pod.Spec.NodeName)
	if err != nil {
		return err
	}
	location := &url.URL{Scheme: "https", Host: net.JoinHostPort(host, port),
		Path: fmt.Sprintf("/containerLogs/%s/%s/%s", pod.Namespace, pod.Name, name), RawQuery: logQuery(options).Encode()}
	transport := p.nodes
	if options.InsecureSkipTLSVerifyBackend {
		transport = p.skipVerify
	}
	body, err := p.fetch(ctx, transport, location, c.Name)
	if err != nil {
		return err
	}
	defer body.Close()
	if wsstream.IsWebSocketRequest(r) {
		// A browser, or whoever else has nothing but sockets.
		if err := wsstream.NewReader(body, true, wsstream.NewDefaultReaderProtocols()).Copy(w, r); err != nil {
			p.cfg.Log.Debug("log over a web socket ended", "pod", pod.Namespace+"/"+pod.Name, "err", err)
		}
		return nil
	}
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(http.StatusOK)
	copyFlushing(w, body)
	return nil
}

// fetch gets a log. What the agent refuses is refused with its words.
func (p *Proxy) fetch(ctx context.Context, transport *http.Transport, location *url.URL, pod string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, location.String(), nil)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return errors.New("redirects are prevented")
	}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	if resp.StatusCode >= http.StatusOK && resp.StatusCode <= http.StatusPartialContent {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	switch resp.StatusCode {
	case http.StatusInternalServerError:
		return nil, apierrors.NewInternalError(fmt.Errorf("%s", text))
	case http.StatusBadRequest:
		return nil, apierrors.NewBadRequest(string(text))
	}
	return nil, apierrors.NewGenericServerResponse(resp.StatusCode, "", schema.GroupResource{Resource: "pods/log"}, pod, string(text), 0, false)
}

var logBuffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

// copyFlushing shows each line as it comes.
func copyFlushing(w http.ResponseWriter, from io.Reader) {
	flusher := http.NewResponseController(w)
	buffer := logBuffers.Get().(*[]byte)
	defer logBuffers.Put(buffer)
	// The header goes out at once: a client that follows must not wait for the first line to know that it may wait.
	_ = flusher.Flush()
	for {
		n, err := from.Read(*buffer)
		if n > 0 {
			if _, werr := w.Write((*buffer)[:n]); werr != nil {
				return
			}
			_ = flusher.Flush()
		}
		if err != nil {
			return
		}
	}
}
