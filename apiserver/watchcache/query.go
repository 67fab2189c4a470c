package watchcache

import (
	"fmt"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ParseRevision reads a resourceVersion; empty and "0" are 0. Its error is worded as upstream's.
func ParseRevision(text string) (int64, error) {
	if text == "" || text == "0" {
		return 0, nil
	}
	v, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, field.ErrorList{field.Invalid(field.NewPath("resourceVersion"), text, err.Error())}.ToAggregate()
	}
	return int64(min(v, 1<<63-1)), nil
}

// query is what ListOptions come to.
type query struct {
	// prefix is that of the keys listed, from the one at which a continued list goes on; empty for one from the start.
	prefix, from string
	// exact is the revision to list at; 0 for the newest, which must then not be older than atLeast.
	exact, atLeast int64
	limit          int64
	name           string
	labels         labels.Selector
	fields         fields.Selector
}

func newQuery(r *Resource, opts *ListOptions) (*query, error) {
	q := &query{prefix: prefixOf(r, opts.Namespace), limit: max(opts.Limit, 0), name: opts.Name}
	if opts.Labels != nil && !opts.Labels.Empty() {
		q.labels = opts.Labels
	}
	if opts.Fields != nil && !opts.Fields.Empty() {
		q.fields = opts.Fields
	}
	if opts.Continue != "" {
		from, revision, err := decodeToken(opts.Continue, q.prefix)
		if err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid continue token: %v", err))
		}
		if opts.ResourceVersion != "" && opts.ResourceVersion != "0" {
			return nil, apierrors.NewBadRequest("specifying resource version is not allowed when using continue")
		}
		q.from, q.exact = from, max(revision, 0)
		return q, nil
	}
	revision, err := ParseRevision(opts.ResourceVersion)
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid resource version: %v", err))
	}
	switch {
	case opts.Match == metav1.ResourceVersionMatchExact:
		q.exact = revision
	case opts.Match == "" && q.limit > 0 && revision > 0: // what a limit meant before there was resourceVersionMatch
		q.exact = revision
	default:
		q.atLeast = revision
	}
	if opts.ResourceVersion == "0" {
		q.limit = 0 // upstream's cache answers these whole; informers of old count on it
	}
	return q, nil
}

func prefixOf(r *Resource, namespace string) string {
	if r.Namespaced && namespace != "" {
		return r.Prefix + namespace + "/"
	}
	return r.Prefix
}

func keyOf(r *Resource, namespace, name string) string { return prefixOf(r, namespace) + name }

// endOf is the first key after all that begin with a prefix, which ends in a slash.
func endOf(prefix string) string { return prefix[:len(prefix)-1] + string('/'+1) }

// selective says that not all objects below the prefix are wanted.
func (q *query) selective() bool { return q.labels != nil || q.fields != nil || q.name != "" }

func (q *query) matches(o *Object) bool {
	return (q.name == "" || q.name == o.Name) && o.matches(q.labels, q.fields)
}

// start is the key at which the list begins.
func (q *query) start() string {
	if q.from != "" {
		return q.from
	}
	return q.prefix
}

// page collects what a query wants, from objects that come in order.
type page struct {
	q     *query
	items []*Object
	more  bool
	err   error
}

// add takes the next object and says whether to go on.
func (p *page) add(o *Object) bool {
	if !p.q.matches(o) {
		return true
	}
	if p.q.limit > 0 && int64(len(p.items)) == p.q.limit {
		p.more = true
		return false
	}
	// A list without an object that exists would be a lie, so there is none.
	if p.err = o.Err(); p.err != nil {
		return false
	}
	p.items = append(p.items, o)
	return true
}

// next is the key at which the list goes on after this page.
func (p *page) next() string { return p.items[len(p.items)-1].Key + "\x00" }

const retrySeconds = 1

// tooLarge is upstream's answer to a revision that has not happened.
func tooLarge(wanted, current int64) error {
	err := apierrors.NewTimeoutError(fmt.Sprintf("Too large resource version: %d, current: %d", wanted, current), retrySeconds)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version"}}
	return err
}

// tooOld is upstream's answer to a watch from a revision whose successors are no longer at hand.
func tooOld(revision, oldest int64) *apierrors.StatusError {
	return apierrors.NewResourceExpired(fmt.Sprintf("too old resource version: %d (%d)", revision, oldest))
}

// exactField is the value that a field selector asks a field to have.
func exactField(s fields.Selector, name string) (string, bool) {
	if s == nil {
		return "", false
	}
	return s.RequiresExactMatch(name)
}
