package core

import (
	"fmt"
	"reflect"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiff-project/skiff/apiserver/kinds"
	"github.com/skiff-project/skiff/apiserver/kinds/internal/check"
)

const (
	longestEventField = 128
	longestEventNote  = 1024
)

// throughCore says whether a client speaks the old version, whose rules are loose.
func throughCore(req *kinds.Request) bool { return req == nil || req.GroupVersion.Group == "" }

func validateNewEvent(req *kinds.Request, e *corev1.Event) field.ErrorList {
	l := check.List{ErrorList: eventBasics(req, e)}
	if throughCore(req) {
		return l.ErrorList
	}
	l.All(kinds.ValidateFinalizers(e))
	if e.Name != "" && len(kinds.PathSegment(e.Name, false)) == 0 {
		l.Subdomain(field.NewPath("metadata", "name"), e.Name)
	}
	eventSeries(&l, e)
	if e.EventTime.IsZero() {
		l.Add(field.Required(field.NewPath("eventTime"), ""))
	}
	if e.Type != corev1.EventTypeNormal && e.Type != corev1.EventTypeWarning {
		l.Add(field.Invalid(field.NewPath("type"), "", fmt.Sprintf("has invalid value: %v", e.Type)))
	}
	for _, f := range []struct {
		name string
		set  bool
	}{{"firstTimestamp", !e.FirstTimestamp.IsZero()}, {"lastTimestamp", !e.LastTimestamp.IsZero()}, {"count", e.Count != 0},
		{"source", e.Source != (corev1.EventSource{})}} {
		if f.set {
			l.Add(field.Invalid(field.NewPath(f.name), "", "needs to be unset"))
		}
	}
	return l.ErrorList
}

// validateEventUpdate: through the new version, only the series of an event goes on.
func validateEventUpdate(req *kinds.Request, e, old *corev1.Event) field.ErrorList {
	l := check.List{ErrorList: eventBasics(req, e)}
	if throughCore(req) {
		return l.ErrorList
	}
	l.All(kinds.ValidateFinalizers(e))
	if !reflect.DeepEqual(e.Series, old.Series) {
		eventSeries(&l, e)
	}
	for _, f := range []struct {
		name     string
		now, was any
	}{{"involvedObject", e.InvolvedObject, old.InvolvedObject}, {"reason", e.Reason, old.Reason}, {"message", e.Message, old.Message},
		{"source", e.Source, old.Source}, {"firstTimestamp", e.FirstTimestamp, old.FirstTimestamp}, {"lastTimestamp", e.LastTimestamp, old.LastTimestamp},
		{"count", e.Count, old.Count}, {"reason", e.Reason, old.Reason}, {"type", e.Type, old.Type}} {
		l.Immutable(field.NewPath(f.name), f.now, f.was)
	}
	if !e.EventTime.Truncate(time.Microsecond).Equal(old.EventTime.Truncate(time.Microsecond)) {
		l.Immutable(field.NewPath("eventTime"), e.EventTime, old.EventTime)
	}
	l.Immutable(field.NewPath("action"), e.Action, old.Action)
	l.Immutable(field.NewPath("related"), e.Related, old.Related)
	l.Immutable(field.NewPath("reportingController"), e.ReportingController, old.ReportingController)
	l.Immutable(field.NewPath("reportingInstance"), e.ReportingInstance, old.ReportingInstance)
	return l.ErrorList
}

func eventSeries(l *check.List, e *corev1.Event) {
	if e.Series == nil {
		return
	}
	if e.Series.Count < 2 {
		l.Add(field.Invalid(field.NewPath("series.count"), "", "should be at least 2"))
	}
	if e.Series.LastObservedTime.IsZero() {
		l.Add(field.Required(field.NewPath("series.lastObservedTime"), ""))
	}
}

// eventBasics: an event lies where its object does; those of cluster-scoped objects lie in the default namespace. New
// events (those with an eventTime) say who reports what.
func eventBasics(req *kinds.Request, e *corev1.Event) field.ErrorList {
	var l check.List
	object := e.InvolvedObject.Namespace
	elsewhere := func() {
		l.Add(field.Invalid(field.NewPath("involvedObject", "namespace"), object, "does not match event.namespace"))
	}
	if e.EventTime.IsZero() {
		if object == "" && e.Namespace != metav1.NamespaceNone && e.Namespace != metav1.NamespaceDefault || object != "" && object != e.Namespace {
			elsewhere()
		}
		return l.ErrorList
	}
	if object == "" && e.Namespace != metav1.NamespaceDefault && e.Namespace != metav1.NamespaceSystem {
		elsewhere()
	}
	controller := field.NewPath("reportingController")
	if throughCore(req) {
		controller = field.NewPath("reportingComponent")
	}
	l.Require(controller, e.ReportingController)
	l.Qualified(controller, e.ReportingController)
	for _, f := range []struct{ name, value string }{{"reportingInstance", e.ReportingInstance}, {"action", e.Action}, {"reason", e.Reason}} {
		l.Require(field.NewPath(f.name), f.value)
		if len(f.value) > longestEventField {
			l.Add(field.Invalid(field.NewPath(f.name), "", fmt.Sprintf("can have at most %v characters", longestEventField)))
		}
	}
	if len(e.Message) > longestEventNote {
		l.Add(field.Invalid(field.NewPath("message"), "", fmt.Sprintf("can have at most %v characters", longestEventNote)))
	}
	return l.ErrorList
}
