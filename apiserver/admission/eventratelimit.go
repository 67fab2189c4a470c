package admission

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/lru"
	"sigs.k8s.io/yaml"
)

const (
	eventRateLimit = "EventRateLimit"
	rateVersion    = "eventratelimit.admission.k8s.io/v1alpha1"
	// bucketsKept is how many namespaces, users or sources are told apart at a time unless the configuration says so.
	bucketsKept = 4096
)

// rates is EventRateLimit's configuration.
type rates struct {
	metav1.TypeMeta `json:",inline"`
	Limits          []limit `json:"limits"`
}

// limit is so many Events a second, and so many at once, for all or for each of a kind of bucket.
type limit struct {
	Type      string `json:"type"`
	QPS       int32  `json:"qps"`
	Burst     int32  `json:"burst"`
	CacheSize int32  `json:"cacheSize,omitempty"`
}

// bucketOf says whose allowance an Event uses up.
var bucketOf = map[string]func(*Attributes) string{
	"Server":    func(*Attributes) string { return "" },
	"Namespace": func(a *Attributes) string { return a.Namespace },
	"User": func(a *Attributes) string {
		if a.User == nil {
			return ""
		}
		return a.User.Name
	},
	"SourceAndObject": func(a *Attributes) string {
		e, ok := a.Object.(*corev1.Event)
		if !ok {
			return ""
		}
		o := e.InvolvedObject
		return strings.Join([]string{e.Source.Component, e.Source.Host, o.Kind, o.Namespace, o.Name, string(o.UID), o.APIVersion}, "")
	},
}

func parseRates(text []byte) (*rates, error) {
	if len(text) == 0 {
		return nil, errors.New("no configuration has been provided")
	}
	r := &rates{}
	if err := yaml.UnmarshalStrict(text, r); err != nil {
		return nil, err
	}
	if r.Kind != "Configuration" || r.APIVersion != rateVersion {
		return nil, fmt.Errorf("is a %s of %s, not a Configuration of %s", r.Kind, r.APIVersion, rateVersion)
	}
	path := field.NewPath("limits")
	var errs field.ErrorList
	if len(r.Limits) == 0 {
		errs = append(errs, field.Invalid(path, r.Limits, "must not be empty"))
	}
	for i, l := range r.Limits {
		at := path.Index(i)
		if bucketOf[l.Type] == nil {
			errs = append(errs, field.NotSupported(at.Child("type"), l.Type, []string{"Namespace", "Server", "SourceAndObject", "User"}))
		}
		if l.Burst <= 0 {
			errs = append(errs, field.Invalid(at.Child("burst"), l.Burst, "must be positive"))
		}
		if l.QPS <= 0 {
			errs = append(errs, field.Invalid(at.Child("qps"), l.QPS, "must be positive"))
		}
		if l.Type != "Server" && l.CacheSize < 0 {
			errs = append(errs, field.Invalid(at.Child("cacheSize"), l.CacheSize, "must not be negative"))
		}
	}
	return r, errs.ToAggregate()
}

// EventRateLimit keeps Events from filling etcd: token buckets for the server, each namespace, each user, or each source
// and object, as its configuration says. Every bucket is asked, also after one has refused, as with upstream.
func EventRateLimit(config []byte) (Rule, error) {
	parsed, err := parseRates(config)
	if err != nil {
		return Rule{}, fmt.Errorf("%s: %w", eventRateLimit, err)
	}
	var all []*buckets
	for _, l := range parsed.Limits {
		size := int(l.CacheSize)
		if size == 0 {
			size = bucketsKept
		}
		if l.Type == "Server" {
			size = 1
		}
		all = append(all, &buckets{limit: l, kept: lru.New(size)})
	}
	return Rule{Name: eventRateLimit, Validate: func(_ context.Context, a *Attributes) error {
		if a.Kind.GVK.Group != "" || a.Kind.Resource != "events" || a.DryRun || a.Operation != Create && a.Operation != Update {
			return nil
		}
		var refused []string
		for _, b := range all {
			key := bucketOf[b.limit.Type](a)
			if text := fmt.Sprintf("limit reached on type %v for key %v", b.limit.Type, key); !b.take(key) && !slices.Contains(refused, text) {
				refused = append(refused, text)
			}
		}
		switch len(refused) {
		case 0:
			return nil
		case 1:
			return apierrors.NewTooManyRequestsError(refused[0])
		}
		return apierrors.NewTooManyRequestsError("[" + strings.Join(refused, ", ") + "]")
	}}, nil
}

// buckets are the allowances of one limit. Those that have not been used for longest are forgotten.
type buckets struct {
	limit limit
	mu    sync.Mutex
	kept  *lru.Cache
}

func (b *buckets) take(key string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if found, ok := b.kept.Get(key); ok {
		return found.(*rate.Limiter).Allow()
	}
	fresh := rate.NewLimiter(rate.Limit(b.limit.QPS), int(b.limit.Burst))
	b.kept.Add(key, fresh)
	return fresh.Allow()
}
