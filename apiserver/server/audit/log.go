package audit

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"sigs.k8s.io/yaml"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/request"
)

// maxBody bounds what is kept of a body: as much as a request may have.
const maxBody = 3 << 20

// Log is an audit log. A nil Log logs nothing.
type Log struct {
	policy *auditv1.Policy
	out    io.WriteCloser
	log    *slog.Logger
	// events and errors count for /metrics.
	events, errors prometheus.Counter
	levels         *prometheus.CounterVec
}

// Metrics are the log's.
func (l *Log) Metrics() []prometheus.Collector {
	return []prometheus.Collector{l.events, l.errors, l.levels}
}

// Open opens the log. Without a policy the metadata of every request is logged.
func Open(policy *auditv1.Policy, cfg FileConfig) (*Log, error) {
	if policy == nil {
		policy = everything()
	}
	out, err := openFile(cfg)
	if err != nil {
		return nil, err
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	return &Log{policy: policy, out: out, log: slog.Default(),
		events: counter("apiserver_audit_event_total", "[ALPHA] Counter of audit events generated and sent to the audit backend."),
		errors: counter("apiserver_audit_error_total", "[ALPHA] Counter of audit events that failed to be audited properly."),
		levels: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "apiserver_audit_level_total",
			Help: "[ALPHA] Counter of policy levels for audit events (1 per request)."}, []string{"level"}),
	}, nil
}

// Close closes the file.
func (l *Log) Close() error {
	if l == nil {
		return nil
	}
	return l.out.Close()
}

// Entry is one request's way through the log. A nil Entry is one that the policy leaves out.
type Entry struct {
	log     *Log
	verdict verdict
	state   *request.State
	header  http.Header

	mu       sync.Mutex
	event    auditv1.Event
	body     capture
	answer   capture
	started  bool
	finished bool
}

// Begin opens an entry, after authentication: the user is part of what the policy asks for.
func (l *Log) Begin(w http.ResponseWriter, r *http.Request, state *request.State) *Entry {
	if l == nil {
		return nil
	}
	v := judge(l.policy, state.User, state.Info)
	l.levels.WithLabelValues(string(v.level)).Inc()
	if v.level == auditv1.LevelNone {
		return nil
	}
	e := &Entry{log: l, verdict: v, state: state, header: w.Header()}
	e.event = auditv1.Event{
		TypeMeta: metav1.TypeMeta{APIVersion: auditv1.SchemeGroupVersion.String(), Kind: "Event"},
		Level:    v.level, AuditID: types.UID(state.AuditID), RequestURI: r.URL.RequestURI(), Verb: state.Info.Verb,
		UserAgent: shortAgent(r.UserAgent()), SourceIPs: sources(r), RequestReceivedTimestamp: metav1.NewMicroTime(time.Now()),
	}
	if i := state.Info; i.IsResource {
		e.event.ObjectRef = &auditv1.ObjectReference{Namespace: i.Namespace, Name: i.Name, Resource: i.Resource,
			Subresource: i.Subresource, APIGroup: i.Group, APIVersion: i.Version}
	}
	e.body.kind = r.Header.Get("Content-Type")
	e.write(auditv1.StageRequestReceived)
	return e
}

func shortAgent(s string) string {
	const limit = 1024
	if len(s) > limit {
		return s[:limit] + "...TRUNCATED"
	}
	return s
}

func sources(r *http.Request) []string {
	var out []string
	for _, ip := range utilnet.SourceIPs(r) {
		out = append(out, ip.String())
	}
	if len(out) == 0 {
		if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
			out = append(out, host)
		}
	}
	return out
}

// Body returns a body that is noted while it is read, if the policy asks for it.
func (e *Entry) Body(body io.ReadCloser) io.ReadCloser {
	if e == nil || body == nil || e.verdict.level == auditv1.LevelMetadata {
		return body
	}
	return struct {
		io.Reader
		io.Closer
	}{io.TeeReader(body, &e.body), body}
}

// Tee takes the answer, if the policy asks for it; otherwise it is nil.
func (e *Entry) Tee() func([]byte) {
	if e == nil || e.verdict.level != auditv1.LevelRequestResponse || e.state.Info.LongRunning() {
		return nil
	}
	return func(b []byte) { _, _ = e.answer.Write(b) }
}

// Began notes the answer of a long-running request when it begins.
func (e *Entry) Began(code int) {
	if e == nil || !e.state.Info.LongRunning() {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.started {
		e.started = true
		e.event.ResponseStatus = &metav1.Status{Code: int32(code)}
		e.write(auditv1.StageResponseStarted)
	}
}

// End notes the answer. Only the first call counts.
func (e *Entry) End(code int) {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.finished {
		return
	}
	e.finished = true
	if code == 0 {
		code = http.StatusOK
	}
	e.event.ResponseStatus = &metav1.Status{Code: int32(code)}
	e.event.Annotations = e.state.Notes
	if e.body.Len() > 0 {
		e.event.RequestObject = e.body.object(e.verdict.omitManaged)
	}
	if e.answer.Len() > 0 {
		e.answer.kind = e.header.Get("Content-Type")
		if e.answer.expand(e.header.Get("Content-Encoding")) {
			e.event.ResponseObject = e.answer.object(e.verdict.omitManaged)
		}
	}
	if code >= 400 && e.event.ResponseObject != nil {
		status := &metav1.Status{}
		if json.Unmarshal(e.event.ResponseObject.Raw, status) == nil && status.Kind == "Status" {
			e.event.ResponseStatus = &metav1.Status{Status: status.Status, Message: status.Message, Reason: status.Reason, Details: status.Details, Code: status.Code}
		}
	}
	e.write(auditv1.StageResponseComplete)
}

// Panicked notes that serving the request ended in a mistake of ours.
func (e *Entry) Panicked(reason any) {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.finished {
		return
	}
	e.finished = true
	e.event.ResponseStatus = &metav1.Status{Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Reason: metav1.StatusReasonInternalError,
		Message: fmt.Sprintf("APIServer panic'd: %v", reason)}
	e.event.Annotations = e.state.Notes
	e.write(auditv1.StagePanic)
}

func (e *Entry) write(stage auditv1.Stage) {
	if slices.Contains(e.verdict.omit, stage) {
		return
	}
	e.event.Stage = stage
	e.event.StageTimestamp = metav1.NewMicroTime(time.Now())
	if stage == auditv1.StageRequestReceived {
		e.event.StageTimestamp = e.event.RequestReceivedTimestamp
	}
	if user := e.state.User; user != nil {
		e.event.User = user.ToAuthentication()
		if by := e.state.Impersonator; by != nil {
			as := user.ToAuthentication()
			e.event.User, e.event.ImpersonatedUser = by.ToAuthentication(), &as
		}
	} else {
		e.event.User = authenticationv1.UserInfo{}
	}
	line, err := json.Marshal(&e.event)
	if err == nil {
		_, err = e.log.out.Write(append(line, '\n'))
	}
	e.log.events.Inc()
	if err != nil {
		e.log.errors.Inc()
		e.log.log.Error("audit event lost", "id", e.event.AuditID, "err", err)
	}
}

// capture keeps a body up to a limit.
type capture struct {
	bytes.Buffer
	kind    string
	clipped bool
}

func (c *capture) Write(b []byte) (int, error) {
	if room := maxBody - c.Len(); room < len(b) {
		c.clipped = true
		c.Buffer.Write(b[:max(room, 0)])
		return len(b), nil
	}
	return c.Buffer.Write(b)
}

// expand undoes the compression of an answer, and says whether it could.
func (c *capture) expand(encoding string) bool {
	if encoding == "" || c.clipped {
		return true
	}
	if encoding != "gzip" {
		return false
	}
	r, err := gzip.NewReader(bytes.NewReader(c.Bytes()))
	if err != nil {
		return false
	}
	var plain bytes.Buffer
	if _, err := io.Copy(&plain, io.LimitReader(r, maxBody+1)); err != nil {
		return false
	}
	c.Buffer, c.clipped = plain, plain.Len() > maxBody
	return true
}

// object is a body as JSON: nil for one that is not an object, or was clipped.
func (c *capture) object(omitManaged bool) *runtime.Unknown {
	if c.clipped {
		return nil
	}
	raw := c.Bytes()
	switch {
	case strings.Contains(c.kind, "protobuf"):
		s := protobuf.NewSerializer(kinds.Scheme, kinds.Scheme)
		obj, _, err := s.Decode(raw, nil, nil)
		if err != nil {
			return nil
		}
		if raw, err = json.Marshal(obj); err != nil {
			return nil
		}
	case strings.Contains(c.kind, "yaml"):
		var err error
		if raw, err = yaml.YAMLToJSON(raw); err != nil {
			return nil
		}
	}
	if !json.Valid(raw) {
		return nil
	}
	if omitManaged {
		raw = withoutManagedFields(raw)
	}
	return &runtime.Unknown{Raw: bytes.TrimSpace(raw), ContentType: runtime.ContentTypeJSON}
}

func withoutManagedFields(raw []byte) []byte {
	if !bytes.Contains(raw, []byte(`"managedFields"`)) {
		return raw
	}
	var obj map[string]any
	if json.Unmarshal(raw, &obj) != nil {
		return raw
	}
	drop := func(o map[string]any) {
		if meta, ok := o["metadata"].(map[string]any); ok {
			delete(meta, "managedFields")
		}
	}
	drop(obj)
	if items, ok := obj["items"].([]any); ok {
		for _, item := range items {
			if o, ok := item.(map[string]any); ok {
				drop(o)
			}
		}
	}
	out, err := json.Marshal(obj)
	if err != nil {
		return raw
	}
	return out
}
